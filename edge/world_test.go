package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/directory"
	"github.com/parley-chat/parley/pkg/wire"
)

// world is a small correct model of everything behind an edge: one log decided by pkg/conversation, its
// readers, and one fan-out worker that numbers its hops.
type world struct {
	t        testing.TB
	edge     *Edge
	registry *prometheus.Registry
	http     *httptest.Server
	over     func() // ends Run and waits for it; once

	mu         sync.Mutex // guards what follows
	log        []chat.Entry
	states     map[chat.ConversationID]conversation.State
	priors     map[string]conversation.Outcome
	stored     map[chat.ConversationID]map[chat.UserID]chat.Cursors
	users      map[chat.UserID]directory.User
	tokens     map[string]auth.Claims
	tickets    map[string]auth.Claims
	revoked    map[chat.SessionID]bool
	hooks      []func(chat.SessionID)
	deaf       bool // no news of revocations
	counts     map[chat.UserID]int
	changed    map[chat.UserID][]chat.ConversationID
	lagging    bool // the directory's projection holds nothing
	term       uint64
	sent       uint64 // last stream sequence sent to the edge
	late       bool   // hops wait for flush
	queued     [][]byte
	lose       func(seq uint64) bool
	noReplay   bool
	replays    int
	gate       func(ctx context.Context, c conversation.Command) error // before a command is decided
	refuse     map[string]bool                                         // limiter kinds that are exhausted
	onAsk      func()                                                  // before and after an answer is read
	askFails   int                                                     // answers that fail from now on
	onRegister func()                                                  // once counted, before the answer
	crowd      *crowd
	typed      []string // "start|stop user" as the worker heard them
}

const testHeartbeat = time.Minute

func newWorld(tb testing.TB, change ...func(*Config)) *world {
	tb.Helper()
	w := &world{
		t: tb, states: map[chat.ConversationID]conversation.State{}, priors: map[string]conversation.Outcome{},
		stored: map[chat.ConversationID]map[chat.UserID]chat.Cursors{}, users: map[chat.UserID]directory.User{},
		tokens: map[string]auth.Claims{}, tickets: map[string]auth.Claims{}, revoked: map[chat.SessionID]bool{},
		counts: map[chat.UserID]int{}, changed: map[chat.UserID][]chat.ConversationID{}, refuse: map[string]bool{}, term: 1,
		registry: prometheus.NewRegistry(), crowd: newCrowd(),
	}
	c := Config{
		ID: "e1", Heartbeat: testHeartbeat, KeyConversations: []byte("conversations"), KeyBodies: []byte("bodies"),
		Reg: w.registry,
		Log: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	e, err := New(c, Deps{
		Partitions: w, History: w, Cursors: w, Fanout: []Fanout{w.worker()}, Presence: w.crowd, People: w, Directory: people{w}, Revocations: w, Limiter: w,
	})
	if err != nil {
		tb.Fatal(err)
	}
	w.edge = e
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { defer close(ran); _ = e.Run(ctx) }()
	w.http = httptest.NewServer(e.Handler())
	w.over = sync.OnceFunc(func() { cancel(); <-ran; w.http.Close() })
	tb.Cleanup(w.over)
	return w
}

// maker is newWorld with a form of connections.
type maker func(tb testing.TB, change ...func(*Config)) *world

// onEachForm runs a test with dense connections and with plain ones.
func onEachForm(t *testing.T, test func(t *testing.T, newWorld maker)) {
	t.Helper()
	forms := []string{SocketsPlain}
	if runtime.GOOS == "linux" {
		forms = append(forms, SocketsDense)
	}
	for _, form := range forms {
		t.Run(form, func(t *testing.T) {
			test(t, func(tb testing.TB, change ...func(*Config)) *world {
				tb.Helper()
				return newWorld(tb, append(change, func(c *Config) { c.Sockets = form })...)
			})
		})
	}
}

// person makes a user with a session and a token.
func (w *world) person(name string) chat.UserID {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := chat.NewUserID()
	w.users[id] = directory.User{ID: id, Username: name, DisplayName: name, CreatedAt: time.Now()}
	return id
}

func (w *world) token(u chat.UserID) string { return w.tokenFor(u, time.Now().Add(time.Hour)) }

func (w *world) tokenFor(u chat.UserID, expires time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	session := chat.NewSessionID()
	token := "a." + string(session) + ".z"
	w.tokens[token] = auth.Claims{UserID: u, SessionID: session, ExpiresAt: expires}
	return token
}

// group makes a group of its first person as owner.
func (w *world) group(people ...chat.UserID) chat.ConversationID {
	w.t.Helper()
	client := chat.NewClientID(time.Now())
	id := chat.GroupID(w.edge.config.KeyConversations, people[0], client)
	name := "group"
	w.do(conversation.Command{Op: conversation.OpCreate, ConversationID: id, Actor: people[0], ClientID: client, Name: &name, Members: people[1:]})
	return id
}

func (w *world) direct(a, b chat.UserID) chat.ConversationID {
	w.t.Helper()
	id := chat.DirectID(w.edge.config.KeyConversations, a, b)
	w.do(conversation.Command{Op: conversation.OpCreate, ConversationID: id, Actor: a, Members: []chat.UserID{b}})
	return id
}

// say sends a message as if from another edge.
func (w *world) say(id chat.ConversationID, u chat.UserID, text string) {
	w.t.Helper()
	w.do(conversation.Command{Op: conversation.OpSend, ConversationID: id, Actor: u, ClientID: chat.NewClientID(time.Now()), Type: "text", Text: text})
}

func (w *world) do(c conversation.Command) conversation.Outcome {
	w.t.Helper()
	o, err := w.decide(c)
	if err != nil {
		w.t.Fatalf("%s: %v", c.Op, err)
	}
	return o
}

func priorKey(c conversation.Command) string {
	return fmt.Sprint(c.ConversationID, c.Actor, c.ClientID)
}

func (w *world) Submit(ctx context.Context, c conversation.Command) (conversation.Outcome, error) {
	w.mu.Lock()
	gate := w.gate
	w.mu.Unlock()
	if gate != nil {
		if err := gate(ctx, c); err != nil {
			return conversation.Outcome{}, err
		}
	}
	return w.decide(c)
}

func (w *world) decide(c conversation.Command) (conversation.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.states[c.ConversationID]
	facts := conversation.Facts{PriorKnown: true, TargetKnown: true, Target: w.target(c)}
	if prior, ok := w.priors[priorKey(c)]; ok && !c.ClientID.IsZero() {
		facts.Prior = &prior
	}
	v, err := conversation.Decide(s, c, facts, conversation.Limits{})
	if err != nil {
		return conversation.Outcome{}, err
	}
	if v.Standing != nil {
		return *v.Standing, nil
	}
	last := chat.ID(0)
	if len(w.log) > 0 {
		last = w.log[len(w.log)-1].ID
	}
	bucket := conversation.Stamp(s, v.Record, chat.NextID(last, time.Now(), 0))
	after := conversation.Apply(s, *v.Record, bucket)
	w.states[c.ConversationID] = after
	o := conversation.Outcome{ID: v.Record.ID, Seq: v.Record.Seq, N: v.Record.N, Hash: c.Hash}
	w.priors[priorKey(c)] = o
	entry := chat.Entry{Record: *v.Record, Raw: v.Record.AppendJSON(nil), Generation: 1, StreamSeq: uint64(len(w.log) + 1)}
	w.log = append(w.log, entry)
	for _, u := range conversation.Audience(s, after, *v.Record) {
		if v.Record.Kind == chat.KindCreate || v.Record.Kind == chat.KindMember {
			w.changed[u] = append(w.changed[u], c.ConversationID)
		}
	}
	w.hop(entry, conversation.Audience(s, after, *v.Record))
	return o, nil
}

func (w *world) target(c conversation.Command) *conversation.Target {
	deleted := map[chat.Seq]bool{}
	var target *conversation.Target
	for _, e := range w.log {
		if e.ConversationID != c.ConversationID {
			continue
		}
		if e.Kind == chat.KindDelete {
			deleted[e.TargetSeq] = true
		}
		if e.Seq == c.TargetSeq {
			target = &conversation.Target{Kind: e.Kind, Sender: e.SenderID}
		}
	}
	if target != nil {
		target.Deleted = deleted[c.TargetSeq]
	}
	return target
}

func (w *world) Ask(_ context.Context, id chat.ConversationID) (conversation.Answer, error) {
	w.mu.Lock()
	onAsk := w.onAsk
	w.mu.Unlock()
	if onAsk != nil {
		onAsk()
		defer onAsk()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.askFails > 0 {
		w.askFails--
		return conversation.Answer{}, chat.Errorf(chat.Unavailable, "the owner is away")
	}
	return conversation.Answer{State: w.states[id], Generation: 1, Sends: w.sends(id)}, nil
}

func (w *world) sends(id chat.ConversationID) map[chat.UserID]chat.Cursor {
	sends := map[chat.UserID]chat.Cursor{}
	for _, e := range w.log {
		if e.ConversationID == id && e.Kind == chat.KindMessage {
			sends[e.SenderID] = chat.Cursor{Seq: e.Seq, N: e.N}
		}
	}
	return sends
}

// hop tells the edge of an entry, as its worker would. Called with mu held.
func (w *world) hop(e chat.Entry, audience []chat.UserID) {
	h := wire.Hop{Lane: wire.LaneLog, Generation: 1, Term: w.term, Prev: w.sent}
	if d, ok := w.deliveryOf(e, audience); ok {
		h.Deliveries = []wire.Delivery{d}
		w.sent = e.StreamSeq
	} else {
		return
	}
	if w.lose != nil && w.lose(e.StreamSeq) {
		return
	}
	w.transport(wire.AppendHop(nil, &h))
}

func (w *world) transport(hop []byte) {
	if w.late {
		w.queued = append(w.queued, hop)
		return
	}
	w.edge.Deliver(hop)
}

func (w *world) deliveryOf(e chat.Entry, audience []chat.UserID) (wire.Delivery, bool) {
	typ := wire.TypeRecordReceived
	if e.Kind == chat.KindMessage {
		typ = wire.TypeMessageReceived
	}
	d := wire.Delivery{Seq: e.StreamSeq, Conversation: e.ConversationID, RecordSeq: e.Seq, Frame: wire.AppendRaw(nil, typ, e.Raw)}
	for _, u := range audience {
		if w.counts[u] > 0 {
			d.Recipients = append(d.Recipients, u)
		}
	}
	return d, len(d.Recipients) > 0
}

// flush sends the hops that waited.
func (w *world) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, hop := range w.queued {
		w.edge.Deliver(hop)
	}
	w.queued, w.late = nil, false
}

// heartbeat is an idle worker's hop.
func (w *world) heartbeat() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.transport(wire.AppendHop(nil, &wire.Hop{Lane: wire.LaneLog, Generation: 1, Term: w.term, Prev: w.sent}))
}

type worker struct{ w *world }

func (w *world) worker() Fanout { return worker{w} }

func (k worker) Register(_ context.Context, _ string, users []chat.UserID) (Registered, error) {
	k.w.mu.Lock()
	onRegister := k.w.onRegister
	if onRegister != nil {
		defer onRegister()
	}
	defer k.w.mu.Unlock()
	out := Registered{Generation: 1, Position: uint64(len(k.w.log)), Changed: map[chat.UserID][]chat.ConversationID{}}
	for _, u := range users {
		k.w.counts[u]++
		out.Changed[u] = slices.Clone(k.w.changed[u])
	}
	return out, nil
}

func (k worker) Unregister(_ string, users []chat.UserID) {
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	for _, u := range users {
		if k.w.counts[u]--; k.w.counts[u] < 0 {
			k.w.t.Error("unregistered more often than registered")
		}
	}
}

func (k worker) Replay(_ context.Context, _ string, lane wire.Lane, _ uint32, from uint64) error {
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	k.w.replays++
	if k.w.noReplay {
		return chat.Errorf(chat.Unavailable, "resync")
	}
	if lane != wire.LaneLog {
		return nil
	}
	h := wire.Hop{Lane: lane, Replay: true, Generation: 1, Term: k.w.term, Prev: from}
	for _, e := range k.w.log {
		if e.StreamSeq <= from || e.StreamSeq > k.w.sent {
			continue
		}
		if d, ok := k.w.deliveryOf(e, k.w.states[e.ConversationID].OpenMembers()); ok {
			h.Deliveries = append(h.Deliveries, d)
		}
	}
	k.w.edge.Deliver(wire.AppendHop(nil, &h))
	return nil
}

func (w *world) Verify(token string) (auth.Claims, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	who, ok := w.tokens[token]
	if !ok || w.revoked[who.SessionID] || !time.Now().Before(who.ExpiresAt) {
		return auth.Claims{}, chat.Errorf(chat.Unauthorized, "the token is not valid")
	}
	return who, nil
}

func (w *world) Ticket(_ context.Context, c auth.Claims) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ticket := fmt.Sprintf("ticket%d", len(w.tickets))
	w.tickets[ticket] = c
	return ticket, nil
}

func (w *world) Redeem(ticket string) (auth.Claims, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	who, ok := w.tickets[ticket]
	if !ok {
		return auth.Claims{}, chat.Errorf(chat.Unauthorized, "the ticket is not valid")
	}
	w.tickets[ticket] = auth.Claims{}
	delete(w.tickets, ticket)
	return who, nil
}

func (w *world) grant(u directory.User, device string) auth.Grant {
	token := w.token(u.ID)
	return auth.Grant{
		User: u, AccessToken: directory.Secret(token), ExpiresIn: 10 * time.Minute, RefreshToken: directory.Secret("r-" + token),
		Session: directory.Session{ID: w.tokens[token].SessionID, UserID: u.ID, Name: device},
	}
}

func (w *world) Register(_ context.Context, username, _, _, device string) (auth.Grant, error) {
	name, err := directory.ParseUsername(username)
	if err != nil {
		return auth.Grant{}, err
	}
	w.mu.Lock()
	for _, u := range w.users {
		if u.Username == name {
			w.mu.Unlock()
			return auth.Grant{}, chat.Errorf(chat.Conflict, "username is taken")
		}
	}
	w.mu.Unlock()
	return w.grant(w.users[w.person(name)], device), nil
}

func (w *world) Login(_ context.Context, login, password, device string) (auth.Grant, error) {
	for _, u := range w.users {
		if u.Username == login && password == "right password" {
			return w.grant(u, device), nil
		}
	}
	return auth.Grant{}, chat.Errorf(chat.Unauthorized, "wrong login or password")
}

func (w *world) Refresh(_ context.Context, token string, _ time.Duration) (auth.Grant, error) {
	who, err := w.Verify(strings.TrimPrefix(token, "r-"))
	if err != nil {
		return auth.Grant{}, err
	}
	return w.grant(w.users[who.UserID], ""), nil
}

func (w *world) Logout(ctx context.Context, c auth.Claims) error {
	return w.Revoke(ctx, c, c.SessionID)
}

func (w *world) Sessions(_ context.Context, c auth.Claims) ([]directory.Session, error) {
	return []directory.Session{{ID: c.SessionID, UserID: c.UserID, Name: "here"}}, nil
}

func (w *world) Revoke(_ context.Context, _ auth.Claims, id chat.SessionID) error {
	w.mu.Lock()
	w.revoked[id] = true
	hooks := slices.Clone(w.hooks)
	w.mu.Unlock()
	for _, f := range hooks {
		f(id)
	}
	return nil
}

func (w *world) Revoked(id chat.SessionID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.revoked[id]
}

func (w *world) On(f func(chat.SessionID)) { w.hooks = append(w.hooks, f) }

func (w *world) Connected() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.deaf
}

func (w *world) ClientAddr(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") }

func (w *world) Allow(kind string, _ netip.Addr) (bool, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.refuse[kind], 1500 * time.Millisecond
}

func (w *world) AllowUser(kind string, _ chat.UserID) (bool, time.Duration) {
	return w.Allow(kind, netip.Addr{})
}

// raw is an entry of the log as it is stored.
func (w *world) raw(at int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.log[at].Raw)
}

// with changes the world under its lock.
func (w *world) with(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}
