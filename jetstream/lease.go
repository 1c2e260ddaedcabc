package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Times of a lease. A holder gives up before others may take it; both judge by their own clocks.
const (
	leaseRefresh = time.Second
	leaseExpire  = 2500 * time.Millisecond // since the last refresh that a watcher saw
	leasePoll    = 250 * time.Millisecond
)

// ErrLeaseHeld means that another holder has the lease: the caller is no longer owner.
var ErrLeaseHeld = errors.New("the lease is held by another")

// Lease is the right to own something: one holder at a time, for liveness. It is no fence: a holder
// that was stopped for a while may act after it lost it.
type Lease interface {
	// Take blocks until the lease is this holder's, and begins a new term.
	Take(ctx context.Context) (term uint64, err error)
	// Retake begins a new term of a lease that is held, after an outcome that is unknown. ErrLeaseHeld
	// when another holder has it.
	Retake(ctx context.Context) (term uint64, err error)
	// Lost closes when the lease taken last was lost.
	Lost() <-chan struct{}
	// Release gives it back at once.
	Release(ctx context.Context) error
}

// LeaseConfig is one lease in one process.
type LeaseConfig struct {
	KV     natsjs.KeyValue // of BucketLeases
	Key    string          // what is owned, such as sequencer.g1p0
	Holder string          // unique per process and start
	// Exclusive says that no other process can live (embedded: the data folder's lock is held), so Take
	// does not wait for a former holder's time to pass.
	Exclusive bool

	Refresh, Expire, Poll time.Duration // 0: 1 s, 2.5 s, 250 ms
	Now                   func() time.Time
	Reg                   prometheus.Registerer
	Log                   *slog.Logger
}

// KVLease keeps a lease in a bucket. The term is the bucket's revision of the take, so it rises for ever;
// refreshes keep it. Run must run beside whoever uses it.
type KVLease struct {
	c       LeaseConfig
	metrics leaseMetrics

	// writing serialises writes of the key, so that a refresh never overtakes a retake.
	writing sync.Mutex

	mu       sync.Mutex
	term     uint64 // 0: not held
	revision uint64 // of the last write of ours
	proven   time.Time
	lost     chan struct{}
}

// leaseValue is what the key holds. Term is 0 in the write that begins a term: its revision is the term.
type leaseValue struct {
	Holder   string `json:"holder"`
	Term     uint64 `json:"term,omitzero"`
	Released bool   `json:"released,omitzero"`
}

// NewLease makes a lease that is not held.
func NewLease(c LeaseConfig) *KVLease {
	if c.Refresh == 0 {
		c.Refresh = leaseRefresh
	}
	if c.Expire == 0 {
		c.Expire = leaseExpire
	}
	if c.Poll == 0 {
		c.Poll = leasePoll
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &KVLease{c: c, metrics: newLeaseMetrics(c.Reg, c.Key), lost: closedChannel()}
}

func closedChannel() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Take waits until the key is free or its holder has not refreshed it for Expire, then takes it by
// compare-and-set. It returns only with the lease or with ctx's error: outages are waited out.
func (l *KVLease) Take(ctx context.Context) (term uint64, err error) {
	var seen uint64     // revision
	var since time.Time // when this process first saw it
	for {
		value, revision, err := l.read(ctx)
		if err == nil {
			if revision != seen || since.IsZero() {
				seen, since = revision, l.c.Now()
			}
			// A write of our own whose answer was lost needs no waiting either.
			free := revision == 0 || value.Released || l.c.Exclusive || value.Holder == l.c.Holder ||
				l.c.Now().Sub(since) >= l.c.Expire
			if free {
				if term, err := l.begin(ctx, revision); err == nil {
					return term, nil
				}
				seen, since = 0, time.Time{} // somebody was faster, or the outcome is unknown: look again
			}
		} else if ctx.Err() == nil {
			l.metrics.fails.Inc()
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("take lease %s: %w", l.c.Key, ctx.Err())
		case <-time.After(l.c.Poll):
		}
	}
}

// Retake writes a new term over the last revision of ours.
func (l *KVLease) Retake(ctx context.Context) (term uint64, err error) {
	value, revision, err := l.read(ctx)
	if err != nil {
		return 0, fmt.Errorf("retake lease %s: %w", l.c.Key, err)
	}
	if revision != 0 && (value.Holder != l.c.Holder || value.Released) {
		l.lose()
		return 0, fmt.Errorf("retake lease %s: %w: %s", l.c.Key, ErrLeaseHeld, value.Holder)
	}
	term, err = l.begin(ctx, revision)
	if errors.Is(err, ErrLeaseHeld) {
		// A refresh of ours may have come between; whoever it was stands there now.
		if value, revision, err = l.read(ctx); err == nil && value.Holder == l.c.Holder && !value.Released {
			term, err = l.begin(ctx, revision)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("retake lease %s: %w", l.c.Key, err)
	}
	return term, nil
}

// Lost closes when the term begun last has ended; before the first one it is closed.
func (l *KVLease) Lost() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Term is the present term; 0 when the lease is not held.
func (l *KVLease) Term() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term
}

// Release marks the key as free, so that the next holder need not wait.
func (l *KVLease) Release(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	term, revision := l.term, l.revision
	l.mu.Unlock()
	if term == 0 {
		return nil
	}
	l.lose()
	_, err := l.write(ctx, leaseValue{Holder: l.c.Holder, Term: term, Released: true}, revision)
	if err != nil && !errors.Is(err, ErrLeaseHeld) {
		return fmt.Errorf("release lease %s: %w", l.c.Key, err)
	}
	return nil
}

// Run refreshes the lease while it is held and declares it lost when another has it, or when no refresh
// has succeeded for Expire.
func (l *KVLease) Run(ctx context.Context) error {
	tick := time.NewTicker(l.c.Refresh)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			l.refresh(ctx)
		}
	}
}

func (l *KVLease) refresh(ctx context.Context) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	term, revision, proven := l.term, l.revision, l.proven
	l.mu.Unlock()
	if term == 0 {
		return
	}
	began := l.c.Now()
	ctx, cancel := context.WithTimeout(ctx, max(min(l.c.Refresh, l.c.Expire-began.Sub(proven)), time.Millisecond))
	defer cancel()
	revision, err := l.write(ctx, leaseValue{Holder: l.c.Holder, Term: term}, revision)
	switch {
	case err == nil:
		l.mu.Lock()
		l.revision, l.proven = revision, began
		l.mu.Unlock()
		return
	case errors.Is(err, ErrLeaseHeld):
		// Perhaps a refresh of ours whose answer was lost.
		value, revision, err := l.read(ctx)
		if err == nil && value.Holder == l.c.Holder && value.Term == term && !value.Released {
			l.mu.Lock()
			l.revision = revision
			l.mu.Unlock()
			return
		}
		if err == nil {
			l.c.Log.Warn("lease lost", slog.String("lease", l.c.Key), slog.String("holder", value.Holder))
			l.lose()
			return
		}
	}
	l.metrics.fails.Inc()
	if !l.c.Exclusive && l.c.Now().Sub(proven) >= l.c.Expire {
		l.c.Log.Warn("lease lost: no refresh was answered", slog.String("lease", l.c.Key), slog.Any("error", err))
		l.lose()
	}
}

// begin writes a new term over revision.
func (l *KVLease) begin(ctx context.Context, revision uint64) (term uint64, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	began := l.c.Now()
	ctx, cancel := context.WithTimeout(ctx, l.c.Expire)
	defer cancel()
	term, err = l.write(ctx, leaseValue{Holder: l.c.Holder}, revision)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == 0 {
		l.lost = make(chan struct{})
	}
	l.term, l.revision, l.proven = term, term, began
	l.metrics.held.Set(1)
	l.metrics.takes.Inc()
	return term, nil
}

func (l *KVLease) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == 0 {
		return
	}
	l.term = 0
	close(l.lost)
	l.metrics.held.Set(0)
	l.metrics.lost.Inc()
}

// read asks any replica: a stale answer only makes a compare-and-set fail.
func (l *KVLease) read(ctx context.Context) (leaseValue, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.c.Expire)
	defer cancel()
	entry, err := l.c.KV.Get(ctx, l.c.Key)
	if errors.Is(err, natsjs.ErrKeyNotFound) {
		return leaseValue{}, 0, nil
	}
	if err != nil {
		return leaseValue{}, 0, unavailable(err)
	}
	var value leaseValue
	if err := json.Unmarshal(entry.Value(), &value); err != nil {
		return leaseValue{}, 0, fmt.Errorf("value of lease %s: %w", l.c.Key, err)
	}
	return value, entry.Revision(), nil
}

// write is the compare-and-set; ErrLeaseHeld when the revision is not the last.
func (l *KVLease) write(ctx context.Context, value leaseValue, revision uint64) (uint64, error) {
	body, err := json.Marshal(value)
	if err != nil {
		return 0, fmt.Errorf("value of lease %s: %w", l.c.Key, err)
	}
	next, err := l.c.KV.Update(ctx, l.c.Key, body, revision)
	if overtaken(err) {
		return 0, fmt.Errorf("%w: %w", ErrLeaseHeld, err)
	}
	if err != nil {
		return 0, unavailable(err)
	}
	return next, nil
}

// overtaken reports that a compare-and-set lost against another write.
func overtaken(err error) bool {
	refused, ok := errors.AsType[*natsjs.APIError](err)
	return ok && (refused.ErrorCode == codeWrongLastSequence || refused.ErrorCode == codeWrongLastSubject) ||
		errors.Is(err, natsjs.ErrKeyExists)
}
