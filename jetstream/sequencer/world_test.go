package sequencer

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

func TestMain(m *testing.M) {
	if addresses := os.Getenv(ownerEnvironment); addresses != "" {
		fmt.Fprintln(os.Stderr, "owner ended:", runOwner(addresses))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m,
		// nats-server keeps one for the life of the process.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.init.3.func1"))
}

const patience = 20 * time.Second // of every wait for something that must come

var key = []byte("installation")

// world is a real embedded server, a small store and as many sequencers as a test starts.
type world struct {
	t      testing.TB
	ctx    context.Context
	folder string
	server *jetstream.Server
	reader *jetstream.LogReader
	nc     *nats.Conn
	token  jetstream.Token
	store  *memory
	term   atomic.Uint64
	tick   atomic.Int64 // makes client ids ascend
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, folder: t.TempDir(), token: jetstream.Token{Generation: 1}, store: newMemory()}
	w.startServer(false)
	drift, err := jetstream.Ensure(ctx, w.nc, jetstream.Topology{Generation: 1, Partitions: 1, LogMaxBytes: 1 << 30})
	if err != nil || len(drift) > 0 {
		t.Fatalf("drift %v, error %v", drift, err)
	}
	return w
}

func (w *world) startServer(always bool) {
	w.t.Helper()
	s, err := jetstream.StartServer(w.ctx, jetstream.ServerConfig{Folder: w.folder, SyncAlways: always, Log: quiet()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = s
	w.t.Cleanup(s.Stop)
	w.nc = w.connect("world")
	w.reader = jetstream.NewLogReader(w.nc)
}

func (w *world) connect(name string) *nats.Conn {
	w.t.Helper()
	nc, err := w.server.Connect(name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	return nc
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// config is an embedded owner's: its lease is granted at once, its barrier does nothing.
func (w *world) config() Config {
	return Config{
		NC: w.connect("sequencer"), Token: w.token, Partitions: 1, Exclusive: true,
		Lease: &grant{terms: &w.term}, Barrier: jetstream.NopBarrier{}, Store: w.store, Reader: w.reader,
		Rates: Rates{Off: true}, Log: quiet(),
		bounds: bounds{silence: 300 * time.Millisecond},
	}
}

// running is a sequencer under test.
type running struct {
	*Sequencer
	t      testing.TB
	result chan error
	cancel context.CancelFunc
	once   sync.Once
	err    error
}

// start runs a sequencer until the test ends; it is ready when start returns.
func (w *world) start(c Config) *running {
	w.t.Helper()
	r := w.launch(c)
	if err := r.WaitDurable(w.ctx, 0); err != nil {
		w.t.Fatalf("not started: %v; %v", err, r.stop())
	}
	w.eventually("the sequencer to be ready", func() bool { return r.ready.Load() })
	return r
}

func (w *world) launch(c Config) *running {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	r := &running{Sequencer: New(c), t: w.t, result: make(chan error, 1), cancel: cancel}
	go func() { r.result <- r.Run(ctx) }()
	w.t.Cleanup(func() { _ = r.stop() })
	return r
}

// stop ends it and returns what Run returned.
func (r *running) stop() error {
	r.cancel()
	return r.wait()
}

// wait waits for Run to end by itself.
func (r *running) wait() error {
	r.once.Do(func() {
		select {
		case r.err = <-r.result:
		case <-time.After(patience):
			r.t.Error("Run does not end")
		}
	})
	return r.err
}

// do submits a command that must succeed.
func (r *running) do(c conversation.Command) conversation.Outcome {
	r.t.Helper()
	o, err := r.Submit(context.Background(), c)
	if err != nil {
		r.t.Fatalf("%s in %s: %v", c.Op, c.ConversationID, err)
	}
	return o
}

// refused submits a command that must be refused with a kind.
func (r *running) refused(c conversation.Command, kind chat.Kind) {
	r.t.Helper()
	o, err := r.Submit(context.Background(), c)
	if chat.KindOf(err) != kind {
		r.t.Fatalf("%s in %s: outcome %+v, error %v, want %s", c.Op, c.ConversationID, o, err, kind)
	}
}

func (r *running) ask(id chat.ConversationID) conversation.Answer {
	r.t.Helper()
	a, err := r.Ask(context.Background(), id)
	if err != nil {
		r.t.Fatalf("ask %s: %v", id, err)
	}
	return a
}

// user and group are fixed, valid ids.
func user(i int) chat.UserID {
	return chat.UserID("u" + string(chat.SelfID(key, chat.UserID(fmt.Sprint(i))))[1:])
}

func groupID(i int) chat.ConversationID {
	return chat.GroupID(key, user(0), chat.ClientID{byte(i >> 8), byte(i)})
}

// client makes client ids whose times ascend.
func (w *world) client() chat.ClientID {
	return chat.NewClientID(time.Now().Add(-time.Hour).Add(time.Duration(w.tick.Add(1)) * time.Millisecond))
}

func hashed(c conversation.Command) conversation.Command {
	c.Hash = conversation.BodyHash(key, c)
	return c
}

func (w *world) create(id chat.ConversationID, owner chat.UserID, others ...chat.UserID) conversation.Command {
	name := "group"
	return hashed(conversation.Command{Op: conversation.OpCreate, ConversationID: id, Actor: owner, ClientID: w.client(), Name: &name, Members: others})
}

func (w *world) send(id chat.ConversationID, actor chat.UserID, text string) conversation.Command {
	return hashed(conversation.Command{Op: conversation.OpSend, ConversationID: id, Actor: actor, ClientID: w.client(), Type: chat.MessageText, Text: text})
}

func (w *world) edit(id chat.ConversationID, actor chat.UserID, seq chat.Seq, text string) conversation.Command {
	return hashed(conversation.Command{Op: conversation.OpEdit, ConversationID: id, Actor: actor, ClientID: w.client(), TargetSeq: seq, Text: text})
}

func (w *world) delete(id chat.ConversationID, actor chat.UserID, seq chat.Seq) conversation.Command {
	return hashed(conversation.Command{Op: conversation.OpDelete, ConversationID: id, Actor: actor, ClientID: w.client(), TargetSeq: seq})
}

func (w *world) remove(id chat.ConversationID, actor, who chat.UserID) conversation.Command {
	return hashed(conversation.Command{Op: conversation.OpRemove, ConversationID: id, Actor: actor, Members: []chat.UserID{who}})
}

// log reads everything that stands in the log; fences included.
func (w *world) log() []chat.Entry {
	w.t.Helper()
	last, err := w.reader.LastFromLeader(w.ctx, w.token)
	if err != nil {
		w.t.Fatal(err)
	}
	first, err := w.reader.First(w.ctx, w.token)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []chat.Entry
	err = w.reader.Scan(w.ctx, w.token, first, last, func(e []chat.Entry) error {
		all = append(all, e...)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// check holds the log to its rules and returns its records: seq dense per conversation, n counts messages,
// ids rise, no client id twice.
func (w *world) check() []chat.Entry {
	w.t.Helper()
	heads := map[chat.ConversationID]chat.Head{}
	ids := map[string]chat.Seq{}
	var records []chat.Entry
	var last chat.ID
	for _, e := range w.log() {
		if e.Kind == chat.KindFence {
			continue
		}
		h := heads[e.ConversationID]
		if e.Kind.Counts() {
			h.N++
		}
		if e.Seq != h.Seq+1 || e.N != h.N || e.ID <= last {
			w.t.Fatalf("record at %d is %s seq %d n %d id %d after seq %d id %d", e.StreamSeq, e.ConversationID, e.Seq, e.N, e.ID, h.Seq, last)
		}
		if !e.ClientID.IsZero() {
			name := string(e.ConversationID) + string(e.SenderID) + e.ClientID.String()
			if before, twice := ids[name]; twice {
				w.t.Fatalf("client id at seq %d and at %d", before, e.Seq)
			}
			ids[name] = e.Seq
		}
		heads[e.ConversationID], last = chat.Head{Seq: e.Seq, N: e.N, ID: e.ID}, e.ID
		records = append(records, e)
	}
	return records
}

// persist brings the store to a stream sequence, and its sealed position to another.
func (w *world) persist(r *running, applied, sealed uint64) {
	w.t.Helper()
	w.store.write(w.log(), applied, sealed)
	if r != nil {
		a, s, _ := w.store.Position(w.ctx, 0)
		r.Stored(a, s)
	}
}

// eventually polls a condition that no channel announces.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// grant is a lease that is always given, with ever higher terms.
type grant struct {
	terms *atomic.Uint64
	held  atomic.Bool // by another: Retake says so
	mu    sync.Mutex
	lost  chan struct{}
}

func (g *grant) Take(context.Context) (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lost = make(chan struct{})
	return g.terms.Add(1), nil
}

func (g *grant) Retake(ctx context.Context) (uint64, error) {
	if g.held.Load() {
		return 0, jetstream.ErrLeaseHeld
	}
	return g.Take(ctx)
}

func (g *grant) Lost() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lost
}

func (g *grant) lose() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.lost)
}

func (g *grant) Release(context.Context) error { return nil }

// gate is a barrier that a test opens one sync at a time.
type gate struct {
	begun chan struct{} // one for each sync that began
	open  chan error    // closed: every sync passes
}

func newGate() *gate { return &gate{begun: make(chan struct{}, 1000), open: make(chan error)} }

func (g *gate) Sync(ctx context.Context) error {
	g.begun <- struct{}{}
	select {
	case err := <-g.open:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// memory is a store that is right because it is simple: it keeps whole entries.
type memory struct {
	mu      sync.Mutex
	entries map[chat.ConversationID][]chat.Entry
	applied chat.Mark
	sealed  chat.Mark
	down    map[string]bool // "load", "prior", "target", "position", or a conversation
	asked   map[string]int
}

func newMemory() *memory {
	return &memory{entries: map[chat.ConversationID][]chat.Entry{}, down: map[string]bool{}, asked: map[string]int{}}
}

func (m *memory) write(log []chat.Entry, applied, sealed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range log {
		if e.StreamSeq <= m.applied.StreamSeq || e.StreamSeq > applied {
			continue
		}
		m.applied = chat.Mark{Generation: e.Generation, StreamSeq: e.StreamSeq, ID: e.ID}
		if e.Kind != chat.KindFence {
			m.entries[e.ConversationID] = append(m.entries[e.ConversationID], e)
		}
	}
	for _, e := range log {
		if e.StreamSeq == sealed {
			m.sealed = chat.Mark{Generation: e.Generation, StreamSeq: e.StreamSeq, ID: e.ID}
		}
	}
}

func (m *memory) fail(what string, down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down[what] = down
}

func (m *memory) count(what string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[what]
}

func (m *memory) enter(what, id string) error {
	m.asked[what]++
	if m.down[what] || m.down[id] {
		return chat.Errorf(chat.Unavailable, "the store is down")
	}
	return nil
}

func (m *memory) Load(_ context.Context, id chat.ConversationID) (conversation.Loaded, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("load", string(id)); err != nil {
		return conversation.Loaded{}, err
	}
	l := conversation.Loaded{ClientTimes: map[chat.UserID]int64{}}
	for _, e := range m.entries[id] {
		l.State = conversation.Apply(l.State, e.Record, e.Bucket)
		if !e.ClientID.IsZero() {
			l.ClientTimes[e.SenderID] = max(l.ClientTimes[e.SenderID], e.ClientID.UnixMilli())
		}
	}
	return l, nil
}

func (m *memory) Prior(_ context.Context, id chat.ConversationID, sender chat.UserID, client chat.ClientID) (conversation.Outcome, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("prior", string(id)); err != nil {
		return conversation.Outcome{}, false, err
	}
	for _, e := range m.entries[id] {
		if e.SenderID == sender && e.ClientID == client {
			return outcomeOf(&e), true, nil
		}
	}
	return conversation.Outcome{}, false, nil
}

func (m *memory) Target(_ context.Context, id chat.ConversationID, seq chat.Seq) (conversation.Target, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("target", string(id)); err != nil {
		return conversation.Target{}, false, err
	}
	var t conversation.Target
	found := false
	for _, e := range m.entries[id] {
		if e.Seq == seq {
			t, found = conversation.Target{Kind: e.Kind, Sender: e.SenderID}, true
		}
		if e.Kind == chat.KindDelete && e.TargetSeq == seq {
			t.Deleted = true
		}
	}
	return t, found, nil
}

func (m *memory) Position(context.Context, int) (applied, sealed chat.Mark, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied, m.sealed, m.enter("position", "")
}
