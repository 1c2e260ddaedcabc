package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testKey = []byte("a key of the tests")

func user(name string) chat.UserID {
	id := chat.SelfID(testKey, chat.UserID(name)) // any 26 characters that depend on the name
	return chat.UserID("u" + string(id[1:]))
}

func users(names ...string) []chat.UserID {
	all := make([]chat.UserID, 0, len(names))
	for _, n := range names {
		all = append(all, user(n))
	}
	return all
}

func groupID(name string) chat.ConversationID {
	return "g" + chat.SelfID(testKey, chat.UserID(name))[1:]
}

// annWith is the direct conversation of ann and the other.
func annWith(other string) chat.ConversationID {
	return chat.DirectID(testKey, user("ann"), user(other))
}

// world is a log in memory with the owner that wrote it.
type world struct {
	mu         sync.Mutex
	generation uint32
	log        []chat.Entry // of the present generation, stream sequences from 1
	states     map[chat.ConversationID]conversation.State
	audience   map[chat.Mark][]chat.UserID // by place: who receives it, by the rule of the heart
	lastID     chat.ID
	durable    chat.Mark
	asks       int
	askFails   error
}

func newWorld() *world {
	return &world{generation: 1, durable: chat.Mark{Generation: 1}, states: make(map[chat.ConversationID]conversation.State), audience: make(map[chat.Mark][]chat.UserID)}
}

func (w *world) Ask(_ context.Context, id chat.ConversationID) (conversation.Answer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asks++
	if w.askFails != nil {
		return conversation.Answer{}, w.askFails
	}
	s, ok := w.states[id]
	if !ok {
		return conversation.Answer{}, chat.Errorf(chat.NotFound, "no such conversation")
	}
	return conversation.Answer{State: s, Generation: w.generation}, nil
}

func (w *world) Durable() chat.Mark {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable
}

// append commits a record and gives its entry.
func (w *world) append(r chat.Record) chat.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.states[r.ConversationID]
	w.lastID = chat.NextID(w.lastID, time.UnixMilli(1_800_000_000_000), 0)
	bucket := conversation.Stamp(before, &r, w.lastID)
	after := conversation.Apply(before, r, bucket)
	w.states[r.ConversationID] = after
	e := chat.Entry{Record: r, Raw: r.AppendJSON(nil), Bucket: bucket, Generation: w.generation, StreamSeq: uint64(len(w.log) + 1)}
	w.log = append(w.log, e)
	w.durable = markOf(&e)
	w.audience[spot(&e)] = conversation.Audience(before, after, r)
	return e
}

func (w *world) fence() chat.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := chat.Entry{Record: chat.Record{Kind: chat.KindFence}, Generation: w.generation, StreamSeq: uint64(len(w.log) + 1)}
	w.log = append(w.log, e)
	w.durable = markOf(&e)
	return e
}

// turn opens the next generation.
func (w *world) turn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.generation++
	w.log = nil
	w.durable = chat.Mark{Generation: w.generation}
}

func (w *world) create(id chat.ConversationID, members ...string) chat.Entry {
	r := chat.Record{ConversationID: id, Kind: chat.KindCreate, SenderID: user(members[0]), Type: string(id.Type())}
	for _, m := range members {
		r.Members = append(r.Members, chat.MemberEntry{UserID: user(m), Role: chat.RoleMember})
	}
	return w.append(r)
}

func (w *world) say(id chat.ConversationID, sender, text string) chat.Entry {
	return w.append(chat.Record{ConversationID: id, Kind: chat.KindMessage, SenderID: user(sender), Type: chat.MessageText, Text: text})
}

func (w *world) edit(id chat.ConversationID, sender string, target chat.Seq, text string) chat.Entry {
	return w.append(chat.Record{ConversationID: id, Kind: chat.KindEdit, SenderID: user(sender), TargetSeq: target, Text: text})
}

func (w *world) delete(id chat.ConversationID, sender string, target chat.Seq) chat.Entry {
	return w.append(chat.Record{ConversationID: id, Kind: chat.KindDelete, SenderID: user(sender), TargetSeq: target})
}

func (w *world) member(id chat.ConversationID, action chat.Action, names ...string) chat.Entry {
	return w.append(chat.Record{ConversationID: id, Kind: chat.KindMember, SenderID: user("owner"), Action: action, UserIDs: users(names...)})
}

func (w *world) scan(_ context.Context, from, to uint64, f func([]chat.Entry) error) error {
	w.mu.Lock()
	part := slices.Clone(w.log[from-1 : to])
	w.mu.Unlock()
	for _, e := range part { // one at a time: the reader's batches may end anywhere
		if err := f([]chat.Entry{e}); err != nil {
			return err
		}
	}
	return nil
}

// wires is a transport that keeps hops by edge.
type wires struct {
	mu     sync.Mutex
	hops   map[string][]wire.Hop
	fail   error
	onSend func(edge string, h wire.Hop)
}

func (t *wires) Send(edge string, hop []byte) error {
	h, err := wire.DecodeHop(hop)
	if err != nil {
		panic(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fail != nil {
		return t.fail
	}
	if t.onSend != nil {
		t.onSend(edge, h)
	}
	if t.hops == nil {
		t.hops = make(map[string][]wire.Hop)
	}
	t.hops[edge] = append(t.hops[edge], h)
	return nil
}

// take gives what came for an edge since it was asked last.
func (t *wires) take(edge string) []wire.Hop {
	t.mu.Lock()
	defer t.mu.Unlock()
	hops := t.hops[edge]
	delete(t.hops, edge)
	return hops
}

// got lists "user seq" of what came on the log lane for an edge, in order.
func got(hops []wire.Hop, names ...string) []string {
	var lines []string
	for _, h := range hops {
		for _, d := range h.Deliveries {
			for _, n := range names {
				if slices.Contains(d.Recipients, user(n)) {
					lines = append(lines, fmt.Sprintf("%s %d", n, d.RecordSeq))
				}
			}
		}
	}
	return lines
}

type bench struct {
	*world
	*Worker
	wires  *wires
	roster atomic.Pointer[chat.Mark]
}

func newBench(t testing.TB, l Limits) *bench {
	t.Helper()
	b := &bench{world: newWorld(), wires: &wires{}}
	b.Worker = New(Config{
		Partition: 3, Term: 7, Owner: b.world, Transport: b.wires, Limits: l, Scan: b.scan,
		RosterPosition: func(context.Context) (chat.Mark, error) { return *b.roster.Load(), nil },
	})
	b.projected(chat.Mark{})
	return b
}

// projected says how far the roster has come.
func (b *bench) projected(m chat.Mark) { b.roster.Store(&m) }

func started(t testing.TB, l Limits) *bench {
	t.Helper()
	b := newBench(t, l)
	b.start(t)
	return b
}

func (b *bench) start(t testing.TB) uint64 {
	t.Helper()
	first, err := b.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return first
}

func (b *bench) handle(t testing.TB, entries ...chat.Entry) {
	t.Helper()
	if err := b.Handle(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) register(t testing.TB, edge string, names ...string) Registered {
	t.Helper()
	r, err := b.Register(t.Context(), edge, users(names...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	if chat.KindOf(err) != chat.Unavailable {
		t.Fatalf("error %v, want unavailable", err)
	}
}

var errBroken = errors.New("broken")

func valueOf(t *testing.T, c prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}
