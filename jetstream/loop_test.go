package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
)

// recorder is a handler that remembers what it took.
type recorder struct {
	mu          sync.Mutex
	seen        []chat.Entry
	quarantined map[uint64]string
	fail        func(batch []chat.Entry) error // nil: succeed
	progress    chan struct{}                  // capacity 1: something was taken
}

func newRecorder() *recorder {
	return &recorder{quarantined: map[uint64]string{}, progress: make(chan struct{}, 1)}
}

func (r *recorder) Handle(_ context.Context, batch []chat.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		if err := r.fail(batch); err != nil {
			return err
		}
	}
	r.seen = append(r.seen, batch...)
	select {
	case r.progress <- struct{}{}:
	default:
	}
	return nil
}

func (r *recorder) Quarantine(e chat.Entry, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quarantined[e.StreamSeq] = reason
}

func (r *recorder) seqs() []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []uint64
	for _, e := range r.seen {
		out = append(out, e.StreamSeq)
	}
	return out
}

// waitFor waits until the recorder has taken stream sequence last.
func (r *recorder) waitFor(t *testing.T, last uint64) {
	t.Helper()
	end := time.After(patience)
	for {
		if s := r.seqs(); len(s) > 0 && s[len(s)-1] >= last {
			return
		}
		select {
		case <-r.progress:
		case <-end:
			s := r.seqs()
			t.Fatalf("taken %d records, waited in vain for %d", len(s), last)
		}
	}
}

func (r *recorder) wantSpan(t *testing.T, from, to uint64) {
	t.Helper()
	got := r.seqs()
	for i, s := range got {
		if s != from+uint64(i) {
			t.Fatalf("record %d of those taken is %d, want %d", i, s, from+uint64(i))
		}
	}
	if uint64(len(got)) != to-from+1 {
		t.Fatalf("%d records were taken, want %d to %d", len(got), from, to)
	}
}

func loopOf(w *world, h Handler, change func(*LoopConfig)) *Loop {
	w.t.Helper()
	c := LoopConfig{NC: w.connect(w.server), Token: w.token, Consumer: ConsumerPersist, Handler: h, Log: quiet()}
	if change != nil {
		change(&c)
	}
	return NewLoop(c)
}

func from(seq uint64) func(context.Context) (uint64, error) {
	return func(context.Context) (uint64, error) { return seq, nil }
}

func TestALoopTakesEverythingInOrder(t *testing.T) {
	w := newWorld(t)
	w.publish(FenceMsg(w.token, 1))
	w.fill(2500, 11)
	r := newRecorder()
	l := loopOf(w, r, nil)
	out, stop := running(t, w.ctx, l.Run)
	r.waitFor(t, 2501)
	w.fill(300, 3) // live
	r.waitFor(t, 2801)
	r.wantSpan(t, 1, 2801)
	if r.seen[0].Kind != chat.KindFence || r.seen[1].Text != "message 0" {
		t.Errorf("the first are %+v, %+v", r.seen[0].Record, r.seen[1].Record)
	}
	eventually(t, "the lag to vanish", func() bool { return value(t, l.metrics.lag) == 0 && l.Handled() == 2801 })
	stop()
	if err := await(t, "the end", out); !errors.Is(err, context.Canceled) {
		t.Errorf("Run gives %v", err)
	}
	next := newRecorder()
	l = loopOf(w, next, nil)
	_, stop = running(t, w.ctx, l.Run)
	w.say(conversationID(0), "after the restart")
	next.waitFor(t, 2802)
	stop()
}

// A role whose position comes from a partition's owner may learn of a record that was written a moment ago.
func TestALogThatGrowsDuringAStartIsNotShort(t *testing.T) {
	w := newWorld(t)
	w.fill(10, 1)
	r := newRecorder()
	l := loopOf(w, r, func(c *LoopConfig) {
		c.Start = func(context.Context) (uint64, error) {
			w.say(conversationID(0), "written while the position was asked for")
			w.say(conversationID(0), "the first one wanted")
			return 12, nil
		}
	})
	out, stop := running(t, w.ctx, l.Run)
	select {
	case err := <-out:
		t.Fatalf("Run gives %v", err)
	case <-r.progress:
	}
	stop()
	if got := r.seqs(); got[0] != 12 {
		t.Errorf("it began with %d, want 12", got[0])
	}
}

// Work that costs by the batch is done in few of them while records come one by one.
func TestALoopLetsRecordsGather(t *testing.T) {
	w := newWorld(t)
	r := newRecorder()
	l := loopOf(w, r, func(c *LoopConfig) { c.Start, c.Gather, c.Reg = from(1), 50*time.Millisecond, prometheus.NewRegistry() })
	_, stop := running(t, w.ctx, l.Run)
	w.fill(1, 1)
	r.waitFor(t, 1)
	for range 200 {
		w.say(conversationID(0), "one by one")
	}
	r.waitFor(t, 201)
	stop()
	r.wantSpan(t, 1, 201)
	if batches := value(t, l.metrics.batches); batches > 100 {
		t.Errorf("201 records in %v batches", batches)
	}
}

// The worst case of COMMIT.md: a worker fetches, dies, and its successor's first acknowledgement
// would cover what the first one never handled.
func TestARestartSkipsNothing(t *testing.T) {
	w := newWorld(t)
	w.fill(1000, 5)
	reached := make(chan struct{})
	dying := newRecorder()
	dying.fail = func(batch []chat.Entry) error {
		if batch[0].StreamSeq > 1 {
			close(reached)
			dying.fail = func([]chat.Entry) error { return errors.New("dying") }
			return errors.New("dying")
		}
		return nil
	}
	_, stop := running(t, w.ctx, loopOf(w, dying, func(c *LoopConfig) { c.Batch = 200 }).Run)
	await(t, "the second batch", reached)
	stop()
	handled := dying.seqs()
	next := newRecorder()
	_, stop = running(t, w.ctx, loopOf(w, next, func(c *LoopConfig) { c.Batch = 200 }).Run)
	next.waitFor(t, 1000)
	stop()
	first := next.seqs()[0]
	if first > uint64(len(handled))+1 {
		t.Fatalf("the first worker handled %d, the second begins at %d", len(handled), first)
	}
	next.wantSpan(t, first, 1000)
}

func TestALoopBeginsAtTheRolesOwnPosition(t *testing.T) {
	w := newWorld(t)
	w.fill(500, 5)
	r := newRecorder()
	_, stop := running(t, w.ctx, loopOf(w, r, nil).Run)
	r.waitFor(t, 500) // the ack floor goes to 500
	stop()
	again := newRecorder()
	_, stop = running(t, w.ctx, loopOf(w, again, func(c *LoopConfig) { c.Start = from(321) }).Run)
	again.waitFor(t, 500)
	stop()
	again.wantSpan(t, 321, 500)
}

func TestAPositionThatTheLogCanNotServe(t *testing.T) {
	w := newWorld(t)
	w.fill(100, 5)
	if err := purgeBelow(w.ctx, w.nc, LogStream(w.token), 50); err != nil {
		t.Fatal(err)
	}
	for start, want := range map[uint64]error{49: ErrTrimmed, 0: ErrTrimmed, 102: ErrLogShort} {
		out, _ := running(t, w.ctx, loopOf(w, newRecorder(), func(c *LoopConfig) { c.Start = from(start) }).Run)
		if err := await(t, "the fault", out); !errors.Is(err, want) {
			t.Errorf("from %d: %v", start, err)
		}
	}
	for _, start := range []uint64{50, 101} {
		r := newRecorder()
		_, stop := running(t, w.ctx, loopOf(w, r, func(c *LoopConfig) { c.Start = from(start) }).Run)
		e := w.say(conversationID(0), "next")
		r.waitFor(t, e.StreamSeq)
		stop()
		r.wantSpan(t, start, e.StreamSeq)
	}
}

func TestAnOutageIsWaitedOut(t *testing.T) {
	w := newWorld(t)
	w.fill(50, 2)
	r := newRecorder()
	failures := 3
	r.fail = func([]chat.Entry) error {
		if failures--; failures >= 0 {
			return fmt.Errorf("store: %w", chat.Errorf(chat.Unavailable, "away"))
		}
		return nil
	}
	starts := 0
	l := loopOf(w, r, func(c *LoopConfig) {
		c.Start = func(context.Context) (uint64, error) {
			if starts++; starts == 1 {
				return 0, errors.New("the position can not be read yet")
			}
			return 1, nil
		}
	})
	_, stop := running(t, w.ctx, l.Run)
	r.waitFor(t, 50)
	stop()
	r.wantSpan(t, 1, 50)
	if got := value(t, l.metrics.retries); got != 3 {
		t.Errorf("%v retries counted, want 3", got)
	}
}

func TestADeletedConsumerIsAnOutage(t *testing.T) {
	w := newWorld(t)
	w.fill(20, 2)
	r := newRecorder()
	_, stop := running(t, w.ctx, loopOf(w, r, nil).Run)
	r.waitFor(t, 20)
	if err := w.js.DeleteConsumer(w.ctx, LogStream(w.token), ConsumerPersist); err != nil {
		t.Fatal(err)
	}
	w.fill(20, 2)
	w.ensure(w.topo)
	r.waitFor(t, 40)
	stop()
	r.wantSpan(t, 1, 40)
}

type poisonError struct {
	seq    uint64
	reason string
}

func (p poisonError) Error() string            { return p.reason }
func (p poisonError) Poison() (uint64, string) { return p.seq, p.reason }

func deadLetters(w *world) []stored {
	w.t.Helper()
	var all []stored
	err := directGet(w.ctx, w.nc, StreamDead, getRequest{Seq: 1, Batch: 100}, func(s stored) error { all = append(all, s); return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func TestPoisonGoesToTheDeadLetters(t *testing.T) {
	w := newWorld(t)
	w.fill(9, 3)
	bad := w.message(conversationID(0), "never read")
	spoiled := EncodeEntry(w.token, bad)
	spoiled.Data = []byte(`{"half`)
	w.publish(spoiled) // 10
	w.fill(2, 1)
	r := newRecorder()
	r.fail = func(batch []chat.Entry) error {
		for _, e := range batch {
			if _, passed := r.quarantined[e.StreamSeq]; !passed && (e.StreamSeq == 5 || e.StreamSeq == 6) {
				return fmt.Errorf("write: %w", poisonError{e.StreamSeq, "too\nlong"})
			}
		}
		return nil
	}
	synced := 0
	l := loopOf(w, r, func(c *LoopConfig) {
		c.Start = from(1)
		c.Barrier = newSyncfs(func() error { synced++; return nil }, nil, nil)
	})
	_, stop := running(t, w.ctx, l.Run)
	r.waitFor(t, 12)
	stop()
	r.wantSpan(t, 1, 12)
	if len(r.quarantined) != 3 || r.quarantined[5] != "too\nlong" || r.quarantined[10] == "" {
		t.Errorf("quarantined %v", r.quarantined)
	}
	dead := deadLetters(w)
	if len(dead) != 3 || synced != 3 || value(t, l.metrics.dead) != 3 {
		t.Fatalf("%d dead letters, %d synced, %v counted", len(dead), synced, value(t, l.metrics.dead))
	}
	var places []string
	for _, d := range dead {
		places = append(places, d.Header.Get(HeaderStreamSeq))
	}
	slices.Sort(places)
	if !slices.Equal(places, []string{"10", "5", "6"}) {
		t.Errorf("dead letters of %v", places)
	}
	last := dead[0]
	if last.Subject != "parley.dead.persist.g1p0" || last.Header.Get(HeaderReason) == "" || last.Header.Get(HeaderKind) != "message" || last.Header.Get(HeaderSubject) == "" {
		t.Errorf("the dead letter is %+v", last)
	}
	if e := r.seen[9]; e.Seq != bad.Seq || e.ID != bad.ID || e.N != bad.N || e.ConversationID != bad.ConversationID || e.Kind != chat.KindMessage {
		t.Errorf("what could not be read lost its place: %+v", e)
	}
}

// A handler that condemns the same entry again and again must not end in a loop without a pause.
func TestAnEntryIsCondemnedOnce(t *testing.T) {
	w := newWorld(t)
	w.fill(3, 1)
	calls := 0
	r := newRecorder()
	r.fail = func(batch []chat.Entry) error {
		if batch[len(batch)-1].StreamSeq < 2 {
			return nil
		}
		if calls++; calls < 4 {
			return poisonError{2, "again"}
		}
		return nil
	}
	l := loopOf(w, r, nil)
	_, stop := running(t, w.ctx, l.Run)
	r.waitFor(t, 3)
	stop()
	if dead := value(t, l.metrics.dead); dead != 1 {
		t.Errorf("%v dead letters", dead)
	}
}

func TestAStateRecordThatCanNotBeReadEndsTheLoop(t *testing.T) {
	for _, kind := range []chat.RecordKind{chat.KindCreate, chat.KindMember, chat.KindSettings, chat.KindPreference} {
		t.Run(string(kind), func(t *testing.T) { unreadable(t, kind) })
	}
}

func unreadable(t *testing.T, kind chat.RecordKind) {
	w := newWorld(t)
	w.fill(3, 1)
	member := w.message(conversationID(0), "")
	member.Kind = kind
	spoiled := EncodeEntry(w.token, member)
	spoiled.Data = []byte("{")
	w.publish(spoiled)
	r := newRecorder()
	out, _ := running(t, w.ctx, loopOf(w, r, func(c *LoopConfig) { c.Start = from(1) }).Run)
	if err := await(t, "the fault", out); !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), "4") {
		t.Errorf("got %v", err)
	}
	if len(r.quarantined) != 0 {
		t.Errorf("quarantined %v", r.quarantined)
	}
}

type gate struct {
	mu      sync.Mutex
	durable uint64
	last    uint64 // that was asked for
	moved   chan struct{}
	asked   chan uint64
}

func (g *gate) WaitDurable(ctx context.Context, seq uint64) error {
	g.mu.Lock()
	g.last = seq
	g.mu.Unlock()
	select {
	case g.asked <- seq:
	default:
	}
	for {
		g.mu.Lock()
		ok, moved := g.durable >= seq, g.moved
		g.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *gate) set(seq uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.durable = seq
	close(g.moved)
	g.moved = make(chan struct{})
}

func TestNothingIsHandledAboveTheWatermark(t *testing.T) {
	w := newWorld(t)
	w.fill(30, 3)
	g := &gate{moved: make(chan struct{}), asked: make(chan uint64, 1)}
	r := newRecorder()
	r.fail = func(batch []chat.Entry) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if last := batch[len(batch)-1].StreamSeq; last > g.durable || last != g.last {
			t.Errorf("%d handled, the watermark is %d and was asked for %d", last, g.durable, g.last)
		}
		return nil
	}
	_, stop := running(t, w.ctx, loopOf(w, r, func(c *LoopConfig) { c.Gate, c.Batch = g, 10 }).Run)
	if seq := await(t, "the question", g.asked); seq > 10 {
		t.Errorf("asked for %d", seq)
	}
	if len(r.seqs()) > 0 {
		t.Error("handled before the watermark moved")
	}
	for seq := uint64(1); seq <= 30; seq++ {
		g.set(seq)
	}
	r.waitFor(t, 30)
	stop()
	r.wantSpan(t, 1, 30)
}

func TestAHoleIsAFaultThatNamesItsEdges(t *testing.T) {
	w := newWorld(t)
	w.token = Token{7, 0}
	topo := w.topo
	topo.Generation = 7
	holed := topo.logStream(0)
	holed.DenyDelete = false
	s, err := w.js.CreateStream(w.ctx, holed)
	if err != nil {
		t.Fatal(err)
	}
	if drift, err := Ensure(w.ctx, w.nc, topo); err != nil || len(drift) != 1 {
		t.Fatalf("drift %v, %v", drift, err)
	}
	w.fill(20, 2)
	if err := s.DeleteMsg(w.ctx, 12); err != nil {
		t.Fatal(err)
	}
	r := newRecorder()
	out, _ := running(t, w.ctx, loopOf(w, r, nil).Run)
	err = await(t, "the fault", out)
	if !errors.Is(err, ErrHole) || !strings.Contains(err.Error(), "after 11 comes 13") {
		t.Errorf("got %v", err)
	}
	r.wantSpan(t, 1, 11)
}

// What the way to the consumer lost comes again after a reset; it is no fault of the log.
func TestAMessageLostOnTheWayComesAgain(t *testing.T) {
	w := newWorld(t)
	w.fill(30, 3)
	r := newRecorder()
	l := loopOf(w, r, nil)
	p := lossyPuller(w, l)
	if err := l.take(w.ctx, p, receiveExcept(w, p, 30, 12)); err == nil || fatal(err) {
		t.Fatalf("a message that did not arrive gives %v", err)
	}
	r.wantSpan(t, 1, 11)
	p.close()
	_, stop := running(t, w.ctx, l.Run)
	r.waitFor(t, 30)
	stop()
	r.wantSpan(t, 1, 30)
}

func TestWhatComesAgainIsDropped(t *testing.T) {
	w := newWorld(t)
	w.fill(30, 3)
	r := newRecorder()
	l := loopOf(w, r, nil)
	p := lossyPuller(w, l)
	all := receiveExcept(w, p, 30, 0)
	for _, part := range [][]*nats.Msg{all[:20], all[10:], all} {
		if err := l.take(w.ctx, p, part); err != nil {
			t.Fatal(err)
		}
	}
	r.wantSpan(t, 1, 30)
	if got := value(t, l.metrics.redeliver); got != 40 {
		t.Errorf("%v redelivered messages counted, want 40", got)
	}
}

// A process that lost its lease, or was stopped, may still have a pull open: what goes there must not be
// waited for until the broker delivers it again.
func TestAnotherProcessesOpenPullHoldsNothingBack(t *testing.T) {
	w := newWorld(t)
	stopped := lossyPuller(w, loopOf(w, newRecorder(), nil))
	if err := stopped.pull(); err != nil {
		t.Fatal(err)
	}
	if err := stopped.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r := newRecorder()
	l := loopOf(w, r, nil)
	_, stop := running(t, w.ctx, l.Run)
	eventually(t, "its start", func() bool { return value(t, l.metrics.handledTo) == 0 && l.c.NC.NumSubscriptions() > 1 })
	w.fill(30, 3)
	r.waitFor(t, 30)
	stop()
	r.wantSpan(t, 1, 30)
}

// lossyPuller resets the consumer as a session does and opens its puller.
func lossyPuller(w *world, l *Loop) *puller {
	w.t.Helper()
	l.js = w.js
	if err := l.reset(w.ctx); err != nil {
		w.t.Fatal(err)
	}
	p, err := openPuller(l.c.NC, LogStream(l.c.Token), l.c.Consumer, 500)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.close)
	return p
}

// receiveExcept pulls n messages and loses the one of a stream sequence.
func receiveExcept(w *world, p *puller, n int, lost uint64) []*nats.Msg {
	w.t.Helper()
	var got []*nats.Msg
	for n > 0 {
		messages, err := p.next(w.ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		n -= len(messages)
		for _, m := range messages {
			if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream != lost {
				got = append(got, m)
			}
		}
	}
	return got
}

func TestWhatWasTrimmedIsCountedForThoseWithoutAPosition(t *testing.T) {
	w := newWorld(t)
	w.fill(2000, 5)
	release, reached := make(chan struct{}), make(chan struct{})
	r := newRecorder()
	first := true
	r.fail = func([]chat.Entry) error {
		if first {
			first = false
			close(reached)
			<-release
		}
		return nil
	}
	l := loopOf(w, r, func(c *LoopConfig) { c.Consumer, c.Batch = ConsumerFanout, 100 })
	_, stop := running(t, w.ctx, l.Run)
	await(t, "the first batch", reached)
	if err := purgeBelow(w.ctx, w.nc, LogStream(w.token), 1500); err != nil {
		t.Fatal(err)
	}
	close(release)
	r.waitFor(t, 2000)
	stop()
	got := r.seqs()
	if n := 2000 - len(got); value(t, l.metrics.missed) != float64(n) || n < 1000 {
		t.Errorf("%d were missed, %v counted", n, value(t, l.metrics.missed))
	}
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Error("out of order or twice")
	}
}

func TestALoopEndsWithItsConnection(t *testing.T) {
	w := newWorld(t)
	nc := w.connect(w.server)
	r := newRecorder()
	out, _ := running(t, w.ctx, loopOf(w, r, func(c *LoopConfig) { c.NC = nc }).Run)
	w.fill(1, 1)
	r.waitFor(t, 1)
	nc.Close()
	if err := await(t, "the end", out); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkLoop(b *testing.B) {
	w := newWorld(b)
	w.fill(20_000, 50)
	b.ResetTimer()
	for range b.N {
		done := make(chan struct{})
		h := &counting{want: 20_000, done: done}
		ctx, cancel := context.WithCancel(w.ctx)
		ended := make(chan struct{})
		l := loopOf(w, h, func(c *LoopConfig) { c.Start = from(1) })
		go func() { defer close(ended); _ = l.Run(ctx) }()
		<-done
		cancel()
		<-ended
	}
	b.ReportMetric(float64(b.N)*20_000/b.Elapsed().Seconds(), "records/s")
}

type counting struct {
	n, want int
	done    chan struct{}
}

func (c *counting) Handle(_ context.Context, batch []chat.Entry) error {
	if c.n += len(batch); c.n == c.want {
		close(c.done)
	}
	return nil
}
func (c *counting) Quarantine(chat.Entry, string) {}
