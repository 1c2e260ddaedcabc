package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/pkg/chat"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// nats-server keeps one for the life of the process.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.init.3.func1"))
}

const patience = 20 * time.Second // of every wait for something that must come

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// world is a real embedded server with a topology.
type world struct {
	t      testing.TB
	ctx    context.Context
	folder string
	server *Server
	nc     *nats.Conn
	js     natsjs.JetStream
	token  Token
	topo   Topology
	id     chat.ID // of the last record written
	seqs   map[chat.ConversationID]chat.Head
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		t: t, ctx: testContext(t), folder: t.TempDir(), token: Token{1, 0},
		topo: Topology{Generation: 1, Partitions: 1, LogMaxBytes: 1 << 30},
		seqs: map[chat.ConversationID]chat.Head{},
	}
	w.start()
	w.ensure(w.topo)
	t.Cleanup(w.stop)
	return w
}

func (w *world) start() {
	w.t.Helper()
	s, err := StartServer(w.ctx, ServerConfig{Folder: w.folder, Log: quiet()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.server, w.nc = s, w.connect(s)
	if w.js, err = natsjs.New(w.nc); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) connect(s *Server) *nats.Conn {
	w.t.Helper()
	nc, err := s.Connect(w.t.Name())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	return nc
}

func (w *world) stop() {
	w.nc.Close()
	w.server.Stop()
}

func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

func (w *world) ensure(topo Topology) {
	w.t.Helper()
	drift, err := Ensure(w.ctx, w.nc, topo)
	if err != nil || len(drift) > 0 {
		w.t.Fatalf("drift %v, error %v", drift, err)
	}
}

// conversation and user are fixed, valid ids.
func conversationID(i int) chat.ConversationID {
	return chat.GroupID([]byte("key"), "u", chat.ClientID{byte(i >> 8), byte(i)})
}

func userID(i int) chat.UserID {
	return chat.UserID("u" + string(chat.SelfID([]byte("key"), chat.UserID(fmt.Sprint(i))))[1:])
}

// message makes the next message of a conversation; nothing is written.
func (w *world) message(id chat.ConversationID, text string) *chat.Entry {
	h := w.seqs[id]
	w.id = chat.NextID(w.id, time.Now(), w.token.Partition)
	h = chat.Head{Seq: h.Seq + 1, N: h.N + 1, ID: w.id}
	w.seqs[id] = h
	e := &chat.Entry{
		Record: chat.Record{
			ConversationID: id, Seq: h.Seq, N: h.N, ID: h.ID, Kind: chat.KindMessage, SenderID: userID(1),
			ClientID: chat.NewClientID(time.Now()), Type: chat.MessageText, Text: text,
		},
		Bucket: 7, BodyHash: chat.Hash{1, 2, 3}, Term: 5, Generation: w.token.Generation,
	}
	e.Raw = e.AppendJSON(nil)
	return e
}

// say writes a message and returns it as it stands in the log.
func (w *world) say(id chat.ConversationID, text string) chat.Entry {
	w.t.Helper()
	e := w.message(id, text)
	e.StreamSeq = w.publish(EncodeEntry(w.token, e))
	return *e
}

func (w *world) publish(m *nats.Msg) uint64 {
	w.t.Helper()
	ack, err := w.js.PublishMsg(w.ctx, m)
	if err != nil {
		w.t.Fatal(err)
	}
	return ack.Sequence
}

// fill writes n messages over some conversations, in turns, without waiting for each.
func (w *world) fill(n, conversations int) {
	w.t.Helper()
	for i := range n {
		m := EncodeEntry(w.token, w.message(conversationID(i%conversations), fmt.Sprintf("message %d", i)))
		if _, err := w.js.PublishMsgAsync(m); err != nil {
			w.t.Fatal(err)
		}
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-w.ctx.Done():
		w.t.Fatal(w.ctx.Err())
	}
}

func (w *world) last() uint64 {
	w.t.Helper()
	last, err := NewLogReader(w.nc).LastFromLeader(w.ctx, w.token)
	if err != nil {
		w.t.Fatal(err)
	}
	return last
}

// running runs a long-lived thing until the test ends or stop is called; its error comes on the channel.
func running(t *testing.T, ctx context.Context, run func(context.Context) error) (result <-chan error, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	out, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		out <- run(ctx)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return out, stop
}

// await waits for a channel.
func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// eventually polls a condition that no channel announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// value is what a counter or a gauge shows.
func value(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d metrics, %v", len(families), err)
	}
	m := families[0].GetMetric()[0]
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}
