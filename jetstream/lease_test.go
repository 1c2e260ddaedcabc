package jetstream

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// clock is a clock that a test moves; a process that was stopped sees nothing of the time between.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// watchedKV tells of every read.
type watchedKV struct {
	natsjs.KeyValue
	reads chan struct{}
}

func (k *watchedKV) Get(ctx context.Context, key string) (natsjs.KeyValueEntry, error) {
	select {
	case k.reads <- struct{}{}:
	default:
	}
	return k.KeyValue.Get(ctx, key)
}

func leaseKV(w *world) *watchedKV {
	w.t.Helper()
	kv, err := Bucket(w.ctx, w.connect(w.server), BucketLeases)
	if err != nil {
		w.t.Fatal(err)
	}
	return &watchedKV{kv, make(chan struct{}, 1)}
}

func newLease(w *world, holder string, c *clock) (*KVLease, *watchedKV) {
	kv := leaseKV(w)
	return NewLease(LeaseConfig{KV: kv, Key: "sequencer.g1p0", Holder: holder, Poll: time.Millisecond, Now: c.Now, Log: quiet()}), kv
}

type taken struct {
	term uint64
	err  error
}

func take(ctx context.Context, l Lease) <-chan taken {
	out := make(chan taken, 1)
	go func() {
		term, err := l.Take(ctx)
		out <- taken{term, err}
	}()
	return out
}

func isLost(l Lease) bool {
	select {
	case <-l.Lost():
		return true
	default:
		return false
	}
}

func TestALeaseHasOneHolder(t *testing.T) {
	w := newWorld(t)
	c := &clock{now: time.Now()}
	a, _ := newLease(w, "a", c)
	b, reads := newLease(w, "b", c)
	if !isLost(a) {
		t.Error("a lease that was never taken counts as held")
	}
	first := await(t, "the first lease", take(w.ctx, a))
	if first.err != nil || first.term == 0 || isLost(a) {
		t.Fatalf("%+v", first)
	}
	second := take(w.ctx, b)
	// While a refreshes, b waits however much time passes.
	for range 5 {
		c.advance(2400 * time.Millisecond)
		a.refresh(w.ctx)
		await(t, "a look at the key", reads.reads)
		await(t, "a look at the key", reads.reads)
	}
	select {
	case got := <-second:
		t.Fatalf("two holders: %+v", got)
	default:
	}
	if a.Term() != first.term {
		t.Errorf("a refresh changed the term from %d to %d", first.term, a.Term())
	}
	// a is stopped: no refresh. b takes over 2.5 s after the last one it saw, under a higher term.
	c.advance(2600 * time.Millisecond)
	got := await(t, "the takeover", second)
	if got.err != nil || got.term <= first.term {
		t.Fatalf("%+v after term %d", got, first.term)
	}
	// a goes on and hears that it lost.
	if _, err := a.Retake(w.ctx); !errors.Is(err, ErrLeaseHeld) {
		t.Errorf("retake gives %v", err)
	}
	if !isLost(a) || isLost(b) {
		t.Errorf("a lost %v, b lost %v", isLost(a), isLost(b))
	}
}

func TestARefreshFindsThatTheLeaseIsLost(t *testing.T) {
	w := newWorld(t)
	c := &clock{now: time.Now()}
	a, _ := newLease(w, "a", c)
	b, reads := newLease(w, "b", c)
	await(t, "the first lease", take(w.ctx, a))
	second := take(w.ctx, b)
	await(t, "a look at the key", reads.reads)
	await(t, "a look at the key", reads.reads)
	c.advance(3 * time.Second)
	await(t, "the takeover", second)
	a.refresh(w.ctx)
	if !isLost(a) {
		t.Error("a believes that it holds the lease")
	}
}

func TestRetakeBeginsANewTerm(t *testing.T) {
	w := newWorld(t)
	a, _ := newLease(w, "a", &clock{now: time.Now()})
	first := await(t, "the lease", take(w.ctx, a))
	a.refresh(w.ctx)
	term, err := a.Retake(w.ctx)
	if err != nil || term <= first.term || a.Term() != term || isLost(a) {
		t.Errorf("term %d after %d, %v", term, first.term, err)
	}
	a.refresh(w.ctx)
	if a.Term() != term || isLost(a) {
		t.Error("the refresh after a retake fails")
	}
}

func TestAReleasedLeaseIsFreeAtOnce(t *testing.T) {
	w := newWorld(t)
	c := &clock{now: time.Now()}
	a, _ := newLease(w, "a", c)
	b, _ := newLease(w, "b", c)
	first := await(t, "the lease", take(w.ctx, a))
	second := take(w.ctx, b)
	if err := a.Release(w.ctx); err != nil {
		t.Fatal(err)
	}
	if got := await(t, "the released lease", second); got.err != nil || got.term <= first.term {
		t.Errorf("%+v", got)
	}
	if !isLost(a) {
		t.Error("a released lease counts as held")
	}
	if err := a.Release(w.ctx); err != nil {
		t.Errorf("a second release: %v", err)
	}
}

func TestAnExclusiveHolderDoesNotWait(t *testing.T) {
	w := newWorld(t)
	c := &clock{now: time.Now()}
	a, _ := newLease(w, "before the kill", c)
	first := await(t, "the lease", take(w.ctx, a))
	b := NewLease(LeaseConfig{KV: leaseKV(w), Key: "sequencer.g1p0", Holder: "after", Exclusive: true, Now: c.Now, Log: quiet()})
	if got := await(t, "the lease", take(w.ctx, b)); got.err != nil || got.term <= first.term {
		t.Errorf("%+v", got)
	}
}

func TestTakeEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	c := &clock{now: time.Now()}
	a, _ := newLease(w, "a", c)
	b, _ := newLease(w, "b", c)
	await(t, "the lease", take(w.ctx, a))
	ctx, cancel := context.WithCancel(w.ctx)
	second := take(ctx, b)
	cancel()
	if got := await(t, "the end", second); !errors.Is(got.err, context.Canceled) {
		t.Errorf("%+v", got)
	}
}

// A holder whose refreshes are not answered gives up by its own clock.
func TestASilentBrokerLosesTheLease(t *testing.T) {
	w := newWorld(t)
	c := &clock{now: time.Now()}
	a, kv := newLease(w, "a", c)
	await(t, "the lease", take(w.ctx, a))
	a.c.KV = deafKV{kv}
	c.advance(time.Second)
	a.refresh(w.ctx)
	if isLost(a) {
		t.Error("lost after one second")
	}
	c.advance(1600 * time.Millisecond)
	a.refresh(w.ctx)
	if !isLost(a) {
		t.Error("held after 2.6 s of silence")
	}
}

type deafKV struct{ natsjs.KeyValue }

func (deafKV) Update(context.Context, string, []byte, uint64) (uint64, error) {
	return 0, context.DeadlineExceeded
}

func TestRunRefreshes(t *testing.T) {
	w := newWorld(t)
	kv := leaseKV(w)
	a := NewLease(LeaseConfig{KV: kv, Key: "k", Holder: "a", Refresh: 5 * time.Millisecond, Log: quiet()})
	first := await(t, "the lease", take(w.ctx, a))
	out, stop := running(t, w.ctx, a.Run)
	eventually(t, "some refreshes", func() bool {
		e, err := kv.KeyValue.Get(w.ctx, "k")
		return err == nil && e.Revision() > first.term+3
	})
	if a.Term() != first.term {
		t.Error("a refresh changed the term")
	}
	stop()
	if err := await(t, "the end", out); !errors.Is(err, context.Canceled) {
		t.Errorf("Run gives %v", err)
	}
}
