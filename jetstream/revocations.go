package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	revocationProof = time.Second     // between two proofs that the news arrives
	revocationStale = 5 * time.Second // without a proof for so long, it does not
)

// RevocationsConfig is one process's view of the revoked sessions.
type RevocationsConfig struct {
	NC      *nats.Conn
	Barrier Barrier       // makes a revocation durable; nil: the broker syncs itself
	Life    time.Duration // as Topology.RevocationLife: after it a session's tokens have expired by themselves
	Now     func() time.Time
	Reg     prometheus.Registerer
	Log     *slog.Logger
}

// Revocations spreads revoked sessions over a bucket and holds them in memory, each for Life. The
// bucket's size bounds the memory. Revoked is true at once in the process that revoked, elsewhere as
// fast as the bucket's watch is; Connected says when that can not be relied on.
type Revocations struct {
	c       RevocationsConfig
	metrics revocationMetrics
	proven  atomic.Int64 // unix nanoseconds of the last proof that the news arrives, 0: never

	mu      sync.RWMutex
	revoked map[chat.SessionID]time.Time // until when it matters
	hooks   []func(chat.SessionID)
}

// NewRevocations makes a view that knows nothing until Run.
func NewRevocations(c RevocationsConfig) *Revocations {
	c.Life = max(c.Life, leastRevocationLife)
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Revocations{c: c, metrics: newRevocationMetrics(c.Reg), revoked: map[chat.SessionID]time.Time{}}
}

// On has f called for every session that becomes known as revoked. f must not block. Call it before Run.
func (r *Revocations) On(f func(chat.SessionID)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hooks = append(r.hooks, f)
}

// Revoke makes it known everywhere, durably. After an error it may have happened or not.
func (r *Revocations) Revoke(ctx context.Context, id chat.SessionID) error {
	js, err := natsjs.New(r.c.NC)
	if err != nil {
		return fmt.Errorf("revoke %s: %w", id, err)
	}
	limited, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	if _, err := js.Publish(limited, bucketSubject(BucketRevocations, string(id)), nil); err != nil {
		return fmt.Errorf("revoke %s: %w", id, unavailable(err))
	}
	r.learn(id, r.c.Now())
	if r.c.Barrier == nil {
		return nil
	}
	if err := r.c.Barrier.Sync(ctx); err != nil {
		return fmt.Errorf("revoke %s: %w", id, unavailable(err))
	}
	return nil
}

// Revoked answers from memory.
func (r *Revocations) Revoked(id chat.SessionID) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.revoked[id]
	return ok
}

// Connected reports that everything revoked so far is known here, as of at most 5 s ago.
func (r *Revocations) Connected() bool {
	at := r.proven.Load()
	return at != 0 && r.c.Now().UnixNano()-at < int64(revocationStale)
}

// Run watches the bucket until ctx ends. Outages are waited out.
func (r *Revocations) Run(ctx context.Context) error {
	for {
		err := r.watch(ctx)
		r.metrics.connected.Set(0)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.metrics.restarts.Inc()
		r.c.Log.Warn("watch of revoked sessions begins again", slog.Any("error", err))
		if err := sleep(ctx, leastWait); err != nil {
			return err
		}
	}
}

// watch learns what the bucket holds and what comes, and proves each second that nothing is missing.
func (r *Revocations) watch(ctx context.Context) error {
	stream := bucketStreamName(BucketRevocations)
	s, err := streamState(ctx, r.c.NC, stream)
	if err != nil {
		return err
	}
	kv, err := Bucket(ctx, r.c.NC, BucketRevocations)
	if err != nil {
		return err
	}
	w, err := kv.WatchAll(ctx, natsjs.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("watch revoked sessions: %w", err)
	}
	defer endWatch(w)
	tick := time.NewTicker(revocationProof)
	defer tick.Stop()
	proof := proof{last: s.Last, since: r.c.Now()}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("watch revoked sessions: ended")
			}
			if e == nil {
				proof.loaded, proof.seen = true, max(proof.seen, s.Last) // what the bucket held at first is known
				r.prove(&proof)
				continue
			}
			proof.seen = max(proof.seen, e.Revision())
			if id, err := chat.ParseSessionID(e.Key()); err == nil {
				r.learn(id, e.Created())
			}
		case <-tick.C:
			r.forget()
			if s, err := streamState(ctx, r.c.NC, stream); err == nil {
				proof.last = s.Last
				r.prove(&proof)
			}
			if r.c.Now().Sub(proof.since) > revocationStale && r.c.NC.IsConnected() {
				return errors.New("watch revoked sessions: it does not keep up")
			}
		}
	}
}

// proof compares what the watch brought with what the bucket has given.
type proof struct {
	loaded bool
	seen   uint64    // highest revision that came
	last   uint64    // last revision of the bucket
	since  time.Time // of the last time that they were equal
}

func (r *Revocations) prove(p *proof) {
	if !p.loaded || p.seen < p.last {
		return
	}
	p.since = r.c.Now()
	r.proven.Store(p.since.UnixNano())
	r.metrics.connected.Set(1)
}

// learn adds a session and tells the hooks, once.
func (r *Revocations) learn(id chat.SessionID, at time.Time) {
	r.mu.Lock()
	_, known := r.revoked[id]
	r.revoked[id] = at.Add(r.c.Life)
	r.metrics.known.Set(float64(len(r.revoked)))
	hooks := r.hooks
	r.mu.Unlock()
	if known {
		return
	}
	for _, f := range hooks {
		f(id)
	}
}

// forget drops the sessions whose tokens have expired by now.
func (r *Revocations) forget() {
	now := r.c.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, until := range r.revoked {
		if until.Before(now) {
			delete(r.revoked, id)
		}
	}
	r.metrics.known.Set(float64(len(r.revoked)))
}
