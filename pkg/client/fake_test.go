package client

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const goodToken = "good"

// fakeServer speaks the protocol for one conversation of one user; what it does wrong a test decides.
type fakeServer struct {
	t    *testing.T
	http *httptest.Server
	user chat.UserID
	conv chat.ConversationID

	mu      sync.Mutex
	log     []chat.Record
	answers map[chat.ClientID]wire.Sent
	links   []*fakeLink
	tokens  []string // accepted
	dials   int
	renewed []string // tokens given in place
	syncs   []wire.Sync
	cursors []wire.CursorUp
	others  []string      // "type data" of presence and typing
	busy    int           // subscriptions to refuse
	limit   int           // messages a sync answers
	ahead   time.Duration // of the server's clock
	gone    bool

	// onSend decides on a send that is not known yet; nil: commit and answer.
	onSend     func(l *fakeLink, f wire.Frame, m wire.MessageSend) verdict
	refuseSync int // so many syncs are refused

	// refusal refuses a page; nil: answer it.
	refusal func() *wire.Error
}

type verdict struct {
	refuse *wire.Error
	mute   bool // commit, but neither answer nor push
	drop   bool // abort the connection; together with mute after the commit
}

type fakeLink struct {
	s  *fakeServer
	ws *websocket.Conn
	mu sync.Mutex // guards writes
}

func newFake(t *testing.T) *fakeServer {
	t.Helper()
	s := &fakeServer{
		t: t, user: chat.NewUserID(), conv: chat.ConversationID("g" + string(chat.NewUserID()[1:])),
		answers: map[chat.ClientID]wire.Sent{}, tokens: []string{goodToken}, limit: wire.MaxMessages,
	}
	s.commit(chat.Record{Kind: chat.KindCreate, SenderID: s.user, Type: "group", Members: []chat.MemberEntry{{UserID: s.user, Role: chat.RoleOwner}}})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/ws", s.serve)
	mux.HandleFunc("GET /api/v1/conversations/{id}/messages", s.page)
	s.http = httptest.NewServer(mux)
	t.Cleanup(func() {
		s.abort()
		s.http.Close()
	})
	return s
}

// commit appends a record; with the lock held or before anybody else has the server.
func (s *fakeServer) commit(r chat.Record) chat.Record {
	r.ConversationID, r.Seq = s.conv, chat.Seq(len(s.log)+1)
	r.ID = chat.MakeID(time.Now().UnixMilli(), 0, 0) + chat.ID(r.Seq)
	if len(s.log) > 0 {
		r.N = s.log[len(s.log)-1].N
	}
	if r.Kind.Counts() {
		r.N++
	}
	s.log = append(s.log, r)
	return r
}

// says commits a message of somebody else and pushes it, unless it is to be lost on the way.
func (s *fakeServer) says(text string, lost bool) chat.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.commit(chat.Record{Kind: chat.KindMessage, SenderID: "uother", Type: "text", Text: text})
	if !lost {
		s.push(r, nil)
	}
	return r
}

func (s *fakeServer) push(r chat.Record, except *fakeLink) {
	typ := wire.TypeRecordReceived
	if r.Kind == chat.KindMessage {
		typ = wire.TypeMessageReceived
	}
	frame := wire.AppendRaw(nil, typ, r.AppendJSON(nil))
	for _, l := range s.links {
		if l != except {
			l.write(frame)
		}
	}
}

func (l *fakeLink) write(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.ws.WriteMessage(websocket.TextMessage, frame)
}

func (l *fakeLink) reply(id uint64, typ string, data any) {
	frame, err := wire.EncodeFrame(id, typ, data)
	if err != nil {
		l.s.t.Error(err)
	}
	l.write(frame)
}

// abort ends every connection without a word.
func (s *fakeServer) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		_ = l.ws.Close()
	}
}

// closeWith ends every connection with a code.
func (s *fakeServer) closeWith(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		_ = l.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "test"), time.Now().Add(time.Second))
		_ = l.ws.Close()
	}
}

func (s *fakeServer) broadcast(typ string, data any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		l.reply(0, typ, data)
	}
}

func (s *fakeServer) serve(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{Subprotocols: []string{wire.Subprotocol}}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	l := &fakeLink{s: s, ws: ws}
	if !l.auth() {
		return
	}
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			break
		}
		f, err := wire.DecodeFrame(b)
		if err != nil {
			s.t.Errorf("client sent %s: %v", b, err)
			break
		}
		l.handle(f)
	}
	s.mu.Lock()
	s.links = slices.DeleteFunc(s.links, func(o *fakeLink) bool { return o == l })
	s.mu.Unlock()
}

func (l *fakeLink) auth() bool {
	s := l.s
	_, b, err := l.ws.ReadMessage()
	if err != nil {
		return false
	}
	f, _ := wire.DecodeFrame(b)
	a, _ := wire.DecodeData[wire.Auth](f)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	if !slices.Contains(s.tokens, a.Token) {
		l.reply(f.ID, wire.TypeError, wire.Error{Code: chat.Unauthorized, Message: "token refused"})
		_ = l.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(wire.CloseUnauthorized, ""), time.Now().Add(time.Second))
		return false
	}
	l.reply(f.ID, wire.TypeAuthOK, wire.AuthOK{
		UserID: s.user, SessionID: chat.NewSessionID(), HeartbeatMS: 25_000,
		ServerTime: time.Now().Add(s.ahead).UTC().Format(chat.TimeLayout),
	})
	s.links = append(s.links, l)
	return true
}

func (l *fakeLink) handle(f wire.Frame) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f.Type {
	case wire.TypeMessageSend:
		m, err := wire.DecodeData[wire.MessageSend](f)
		if err != nil {
			s.t.Error(err)
		}
		l.send(f, m)
	case wire.TypeSync:
		q, _ := wire.DecodeData[wire.Sync](f)
		s.syncs = append(s.syncs, q)
		if len(s.syncs) <= s.refuseSync {
			l.reply(f.ID, wire.TypeError, wire.Error{Code: chat.Unavailable, Message: "later", Retryable: true})
			return
		}
		l.sync(f.ID, q)
	case wire.TypeMessageRead, wire.TypeMessageDelivered:
		c, _ := wire.DecodeData[wire.CursorUp](f)
		s.cursors = append(s.cursors, c)
	case wire.TypePresenceSub, wire.TypePresenceUpdate, wire.TypeTypingStart, wire.TypeTypingStop:
		s.others = append(s.others, f.Type+" "+string(f.Data))
		if s.busy > 0 {
			s.busy--
			l.reply(f.ID, wire.TypeError, wire.Error{Code: chat.RateLimited, Retryable: true, RetryAfterMS: 10})
			return
		}
		if f.Type == wire.TypePresenceSub {
			l.reply(f.ID, wire.TypePresenceState, wire.PresenceState{
				ConversationIDs: []chat.ConversationID{s.conv}, People: []wire.PresenceUpdate{{UserID: s.user, Status: "away"}},
			})
		}
	case wire.TypeAuth:
		a, _ := wire.DecodeData[wire.Auth](f)
		s.renewed = append(s.renewed, a.Token)
		l.reply(f.ID, wire.TypeAuthOK, wire.AuthOK{UserID: s.user, HeartbeatMS: 25_000, ServerTime: time.Now().UTC().Format(chat.TimeLayout)})
	case wire.TypePing:
		l.reply(f.ID, wire.TypePong, struct{}{})
	}
}

func (l *fakeLink) send(f wire.Frame, m wire.MessageSend) {
	s := l.s
	client, err := chat.ParseClientID(m.ClientID)
	if err != nil {
		s.t.Error(err)
	}
	if sent, ok := s.answers[client]; ok {
		l.reply(f.ID, wire.TypeMessageSent, sent)
		return
	}
	v := verdict{}
	if s.onSend != nil {
		v = s.onSend(l, f, m)
	}
	if v.refuse != nil {
		l.reply(f.ID, wire.TypeError, *v.refuse)
		return
	}
	if v.drop && !v.mute {
		_ = l.ws.Close()
		return
	}
	r := s.commit(chat.Record{Kind: chat.KindMessage, SenderID: s.user, ClientID: client, Type: "text", Text: m.Text, ReplyTo: m.ReplyTo})
	s.answers[client] = sentOf(r)
	if v.mute {
		if v.drop {
			_ = l.ws.Close()
		}
		return
	}
	l.reply(f.ID, wire.TypeMessageSent, sentOf(r))
	s.push(r, l)
}

func (l *fakeLink) sync(id uint64, q wire.Sync) {
	s := l.s
	if s.gone {
		for name := range q.Conversations {
			l.reply(id, wire.TypeSyncGone, wire.SyncGone{ConversationID: name})
		}
		l.reply(id, wire.TypeCaughtUp, struct{}{})
		return
	}
	head := s.log[len(s.log)-1]
	out := wire.SyncRecords{ConversationID: s.conv, Records: []jsontext.Value{}, Head: chat.Head{Seq: head.Seq, N: head.N, ID: head.ID}, JoinedSeq: 1}
	after := q.Conversations[string(s.conv)]
	from := max(int(after), len(s.log)-s.limit)
	if from > int(after) {
		out.Gap = &wire.Gap{After: after, Before: chat.Seq(from + 1)}
	}
	for _, r := range s.log[min(from, len(s.log)):] {
		out.Records = append(out.Records, r.AppendJSON(nil))
	}
	l.reply(id, wire.TypeSyncRecords, out)
	l.reply(id, wire.TypeCaughtUp, struct{}{})
}

func (s *fakeServer) page(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != nil {
		if e := s.refusal(); e != nil {
			w.WriteHeader(e.Code.Rule().HTTPStatus)
			_ = json.MarshalWrite(w, e)
			return
		}
	}
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	to := min(after+limit, len(s.log))
	p := Page{FromSeq: chat.Seq(after + 1), ToSeq: chat.Seq(to), MoreAfter: to < len(s.log), Messages: []jsontext.Value{}}
	for _, rec := range s.log[min(after, to):to] {
		p.Messages = append(p.Messages, rec.AppendJSON(nil))
	}
	_ = json.MarshalWrite(w, p)
}

// texts are the messages of the log, in order.
func (s *fakeServer) texts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var texts []string
	for _, r := range s.log {
		if r.Kind == chat.KindMessage {
			texts = append(texts, r.Text)
		}
	}
	return texts
}

// listener collects events; it wakes whoever waits for one.
type listener struct {
	mu      sync.Mutex
	events  []Event
	changed chan struct{}
}

func newListener() *listener { return &listener{changed: make(chan struct{})} }

func (l *listener) on(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	close(l.changed)
	l.changed = make(chan struct{})
}

// until waits until ready says so of all events so far.
func (l *listener) until(t *testing.T, what string, ready func([]Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		l.mu.Lock()
		done, changed := ready(l.events), l.changed
		l.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s did not happen: %s", what, l.describe())
		}
	}
}

func (l *listener) describe() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, e := range l.events {
		if s, ok := e.(State); ok && s.Err != nil {
			b.WriteString("[" + string(s.Phase) + ": " + s.Err.Error() + "]")
		}
	}
	return b.String()
}

// seqs are the seqs shown, in order.
func seqs(events []Event) []chat.Seq {
	var all []chat.Seq
	for _, e := range events {
		switch e := e.(type) {
		case MessageReceived:
			all = append(all, e.Record.Seq)
		case RecordReceived:
			all = append(all, e.Record.Seq)
		}
	}
	return all
}

func (l *listener) shows(t *testing.T, head int) {
	t.Helper()
	l.until(t, "the head "+strconv.Itoa(head), func(events []Event) bool {
		all := seqs(events)
		return len(all) > 0 && int(all[len(all)-1]) >= head
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, seq := range seqs(l.events) {
		if int(seq) != i+1 {
			t.Fatalf("shown %v: want 1..%d once each, in order", seqs(l.events), head)
		}
	}
}

func count[E Event](events []Event) int {
	n := 0
	for _, e := range events {
		if _, ok := e.(E); ok {
			n++
		}
	}
	return n
}

func has[E Event](t *testing.T, l *listener, what string, n int) {
	t.Helper()
	l.until(t, what, func(events []Event) bool { return count[E](events) >= n })
}

// connected starts a client of the fake and waits until it has caught up.
func connected(t *testing.T, s *fakeServer, change func(*Config)) (*Client, *listener, func() error) {
	t.Helper()
	l := newListener()
	transport := &http.Transport{}
	api := NewAPI(APIConfig{URL: s.http.URL, HTTP: &http.Client{Transport: transport}})
	api.Adopt(Account{User: User{ID: s.user}, AccessToken: goodToken, ExpiresIn: 3600})
	config := Config{
		URL: s.http.URL, Tokens: StaticToken(goodToken), History: api, OnEvent: l.on,
		Reconnect: Backoff{5 * time.Millisecond, 50 * time.Millisecond}, Retry: Backoff{time.Millisecond, 10 * time.Millisecond},
	}
	if change != nil {
		change(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	var once sync.Once
	var result error
	stop := func() error {
		once.Do(func() { cancel(); result = <-ended; transport.CloseIdleConnections() })
		return result
	}
	t.Cleanup(func() { _ = stop() })
	has[CaughtUp](t, l, "the first sync", 1)
	return c, l, stop
}
