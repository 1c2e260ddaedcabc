package presence

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	gatherEntries = 50 * time.Millisecond // registry writes within it go together
	entriesAtOnce = 1000
	writeWithin   = 5 * time.Second
	askWithin     = 2 * time.Second
	retryEvery    = time.Second
	mostWaiting   = 262_144 // entries; beyond: a new run, which needs no entry of those who left
)

// RegistrarConfig is what a Registrar needs.
type RegistrarConfig struct {
	Edge     string
	Registry Registry
	Owners   []Owner // by shard
	// OnChange takes what owners answered when they were asked again. It does not block.
	OnChange func(wire.Announcement)
	Now      func() time.Time // nil: time.Now
	Reg      prometheus.Registerer
	Log      *slog.Logger // nil: discards
}

// Registrar is an edge's side of presence: it writes the edge's connections into the registry, keeps the
// edge's lease, and holds what the edge looks at. Its methods may be called at any time.
type Registrar struct {
	config  RegistrarConfig
	metrics *registrarMetrics
	shards  []*shardSide
	wake    chan struct{} // holds one: entries wait
	beat    chan struct{} // holds one: a new run is to be told

	mu      sync.Mutex // guards what follows
	run     uint64
	next    uint64
	seats   map[uint64]*registered
	waiting map[uint64]Entry
}

// registered is one connection as the registry has it, or will.
type registered struct {
	user    chat.UserID
	session chat.SessionID
	away    bool
	written bool // perhaps
}

// NewRegistrar makes a registrar; what it is told before Run is written then.
func NewRegistrar(c RegistrarConfig) *Registrar {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Registrar{
		config: c, wake: make(chan struct{}, 1), beat: make(chan struct{}, 1),
		run:   uint64(c.Now().UnixNano()), // after 1970, and above the run before
		seats: make(map[uint64]*registered), waiting: make(map[uint64]Entry),
	}
	r.metrics = newRegistrarMetrics(c.Reg, r)
	for i, owner := range c.Owners {
		r.shards = append(r.shards, &shardSide{registrar: r, number: i, owner: owner, renew: make(chan struct{}, 1), refs: make(map[chat.UserID]*interest)})
	}
	return r
}

// Enter counts a connection in and names it. It does not wait.
func (r *Registrar) Enter(user chat.UserID, session chat.SessionID) (connection uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	r.seats[r.next] = &registered{user: user, session: session}
	r.note(r.next)
	return r.next
}

// SetAway tells whether the person at a connection is away from it.
func (r *Registrar) SetAway(connection uint64, away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.seats[connection]; s != nil && s.away != away {
		s.away = away
		r.note(connection)
	}
}

// Leave counts a connection out.
func (r *Registrar) Leave(connection uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[connection]
	if s == nil {
		return
	}
	delete(r.seats, connection)
	if !s.written {
		delete(r.waiting, connection)
		return
	}
	r.wait(connection, Entry{User: s.user, Edge: r.config.Edge, Run: r.run, Number: connection, Gone: true})
}

// note has a connection's entry written. Called with mu held, as what follows.
func (r *Registrar) note(connection uint64) {
	s := r.seats[connection]
	r.wait(connection, Entry{User: s.user, Edge: r.config.Edge, Run: r.run, Number: connection, Session: s.session, Away: s.away})
}

func (r *Registrar) wait(connection uint64, e Entry) {
	r.waiting[connection] = e
	if len(r.waiting) > mostWaiting+len(r.seats) { // the registry is away and people come and go
		r.metrics.runs.WithLabelValues("full").Inc()
		r.begin()
	}
	wake(r.wake)
}

// begin starts a new run: everything under the former one is over, the present connections are written again.
func (r *Registrar) begin() {
	r.run = max(r.run+1, uint64(r.config.Now().UnixNano()))
	clear(r.waiting)
	for connection, s := range r.seats {
		s.written = false
		r.note(connection)
	}
	wake(r.beat)
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // one is enough
	}
}

// Run writes, renews and asks again until ctx ends; then it says that this run is over.
func (r *Registrar) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { r.writing(ctx) })
	for _, side := range r.shards {
		parts.Go(func() { side.run(ctx) })
	}
	r.beating(ctx)
	parts.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWithin)
	defer cancel()
	if err := r.config.Registry.Bye(last, r.config.Edge, r.number()); err != nil {
		r.config.Log.Warn("the edge's end is not told, it is noticed in a while", slog.Any("error", err))
	}
	return ctx.Err()
}

func (r *Registrar) number() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.run
}

// writing brings entries into the registry, one batch at a time.
func (r *Registrar) writing(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		pause(ctx, gatherEntries)
		for batch := r.take(); len(batch) > 0 && ctx.Err() == nil; batch = r.take() {
			limited, cancel := context.WithTimeout(ctx, writeWithin)
			err := r.config.Registry.Write(limited, batch)
			cancel()
			if err != nil && ctx.Err() == nil {
				r.metrics.failures.Inc()
				r.config.Log.Warn("connections not registered, trying again", slog.Int("entries", len(batch)), slog.Any("error", err))
				r.putBack(batch)
				pause(ctx, retryEvery)
				continue
			}
			r.metrics.entries.Add(float64(len(batch)))
			r.metrics.batches.Inc()
		}
	}
}

func (r *Registrar) take() []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	batch := make([]Entry, 0, min(len(r.waiting), entriesAtOnce))
	for connection, e := range r.waiting {
		if len(batch) == entriesAtOnce {
			break
		}
		delete(r.waiting, connection)
		if s := r.seats[connection]; s != nil {
			s.written = true
		}
		batch = append(batch, e)
	}
	return batch
}

// putBack has entries written again, unless newer news of the connection waits or the run is over.
func (r *Registrar) putBack(batch []Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range batch {
		if _, newer := r.waiting[e.Number]; !newer && e.Run == r.run {
			r.wait(e.Number, e)
		}
	}
	wake(r.wake)
}

// beating keeps the edge's lease and renews what it looks at.
func (r *Registrar) beating(ctx context.Context) {
	for {
		limited, cancel := context.WithTimeout(ctx, askWithin)
		err := r.config.Registry.Beat(limited, r.config.Edge, r.number())
		cancel()
		wait := BeatEvery
		if err != nil && ctx.Err() == nil {
			r.metrics.failures.Inc()
			r.config.Log.Warn("the edge's lease is not refreshed, trying again", slog.Any("error", err))
			wait = retryEvery
		}
		for _, side := range r.shards {
			wake(side.renew)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.beat:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// over follows an owner's verdict on a run.
func (r *Registrar) over(run uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run != run {
		return // another shard said so already
	}
	r.metrics.runs.WithLabelValues("over").Inc()
	r.config.Log.Warn("this edge was taken for dead, its connections are registered again", slog.Int("connections", len(r.seats)))
	r.begin()
}
