package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	tickEvery   = 250 * time.Millisecond // changes within it are announced once
	storeEvery  = 5 * time.Second        // last seen is written so often
	storeWithin = 5 * time.Second        // one such write, and the last one at a stop
	tidyAtOnce  = 1000                   // entries of ended runs removed per tick
	tidyWithin  = 2 * time.Second
	takeAgain   = time.Second // after the source failed
)

// Lease is the right to own a shard; jetstream.KVLease is one.
type Lease interface {
	// Take waits until the shard is free and begins a term, higher than any before.
	Take(ctx context.Context) (term uint64, err error)
	// Lost closes when the lease taken last was lost.
	Lost() <-chan struct{}
	Release(ctx context.Context) error
}

// Announcer brings announcements to edges. It may lose them; it does not block for long.
type Announcer interface {
	Send(edge string, announcement []byte) error
}

// Seen is when a person was last seen.
type Seen struct {
	User chat.UserID
	At   time.Time
}

// SeenStore keeps last seen durably. A time never goes back.
type SeenStore interface {
	SetLastSeen(ctx context.Context, rows []Seen) error
}

// Limits bound what a shard holds. Zero fields take the defaults; reaching one is counted.
type Limits struct {
	People    int // default 2,000,000; beyond: a person who comes stays offline
	Interests int // pairs of edge and person; default 4,000,000; beyond: refused
	Edges     int // default 4,096; beyond: an edge's people stay offline
	Changes   int // waiting for one edge's next announcement; default 20,000; beyond: the edge asks again at its next renewal
	Seen      int // times waiting for the store; default 262,144; beyond: the older one stays
}

func (l Limits) withDefaults() Limits {
	fill := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	fill(&l.People, 2_000_000)
	fill(&l.Interests, 4_000_000)
	fill(&l.Edges, 4096)
	fill(&l.Changes, 20_000)
	fill(&l.Seen, 262_144)
	return l
}

// ShardConfig is what a Shard needs.
type ShardConfig struct {
	Shard     int
	Lease     Lease
	Source    Source
	Registry  Registry // to remove what ended edges left
	Announcer Announcer
	Store     SeenStore
	Limits    Limits
	Now       func() time.Time // nil: time.Now
	Reg       prometheus.Registerer
	Log       *slog.Logger // nil: discards
}

// Shard owns the presence of the people of one shard while it holds the lease. It is an Owner; its methods may
// be called at any time.
type Shard struct {
	config  ShardConfig
	metrics *shardMetrics

	mu   sync.Mutex
	roll *roll // nil: not the owner, or not loaded yet
	term uint64
}

// NewShard makes a shard that owns nothing before Run.
func NewShard(c ShardConfig) *Shard {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Limits = c.Limits.withDefaults()
	s := &Shard{config: c}
	s.metrics = newShardMetrics(c.Reg, s)
	return s
}

// Run owns the shard whenever the lease is free, until ctx ends. At an orderly end everybody who is there has
// been seen now.
func (s *Shard) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		term, err := s.config.Lease.Take(ctx)
		if err != nil {
			return err
		}
		err = s.own(ctx, term)
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWithin)
		if failed := s.config.Lease.Release(release); failed != nil {
			err = errors.Join(err, failed) // it runs out by itself
		}
		cancel()
		if ctx.Err() != nil {
			break
		}
		s.config.Log.Warn("presence shard begins again", slog.Int("shard", s.config.Shard), slog.Any("error", err))
		pause(ctx, takeAgain)
	}
	return ctx.Err()
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// own lives through one term.
func (s *Shard) own(ctx context.Context, term uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The shard answers before it is loaded: absent people are not known yet in any case.
	next := newRoll(s.config.Limits, s.metrics, s.config.Now())
	s.mu.Lock()
	s.roll, s.term = next, term
	s.mu.Unlock()
	var parts sync.WaitGroup
	broken := make(chan error, 1)
	parts.Go(func() { broken <- s.config.Source.Watch(ctx, s.config.Shard, reader{s}) })
	parts.Go(func() { s.storing(ctx) })
	err := s.ticking(ctx, broken)
	stopping := ctx.Err() != nil
	cancel()
	parts.Wait()
	s.mu.Lock()
	s.roll = nil
	s.mu.Unlock()
	s.lastStore(next, stopping)
	return err
}

// ticking announces changes until the term is over.
func (s *Shard) ticking(ctx context.Context, broken <-chan error) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	lost := s.config.Lease.Lost()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-lost:
			return errors.New("the lease was lost")
		case err := <-broken:
			return fmt.Errorf("registry: %w", err)
		case <-tick.C:
			s.announce()
			s.tidy(ctx)
		}
	}
}

func (s *Shard) announce() {
	s.mu.Lock()
	s.roll.tick(s.config.Now())
	notices := s.roll.notices()
	head := wire.Announcement{Shard: uint16(s.config.Shard), Term: s.term, Version: s.roll.version}
	s.mu.Unlock()
	for _, n := range notices {
		head.People = n.people
		if err := s.config.Announcer.Send(n.edge, wire.AppendAnnouncement(nil, &head)); err != nil {
			s.metrics.shed.WithLabelValues(shedTransport).Inc()
			s.missed(n.edge)
			continue
		}
		s.metrics.announcements.Inc()
		s.metrics.announced.Add(float64(len(n.people)))
	}
}

// missed has an edge ask again at its next renewal.
func (s *Shard) missed(edge string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.roll.runs[edge]; w != nil {
		w.shed = true
	}
}

// tidy removes what ended edges left in the registry. What fails is tried again.
func (s *Shard) tidy(ctx context.Context) {
	s.mu.Lock()
	n := min(len(s.roll.rubbish), tidyAtOnce)
	part := s.roll.rubbish[:n:n]
	s.mu.Unlock()
	if n == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tidyWithin)
	defer cancel()
	if err := s.config.Registry.Write(ctx, part); err != nil {
		return
	}
	s.mu.Lock()
	if s.roll.rubbish = s.roll.rubbish[n:]; len(s.roll.rubbish) == 0 {
		s.roll.rubbish = nil
	}
	s.mu.Unlock()
}

// storing writes last seen, each person's newest time once.
func (s *Shard) storing(ctx context.Context) {
	tick := time.NewTicker(storeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.store(ctx)
		}
	}
}

func (s *Shard) store(ctx context.Context) {
	s.mu.Lock()
	rows := seenRows(s.roll.seen)
	s.mu.Unlock()
	if s.put(ctx, rows) != nil {
		return // they are still there
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range rows {
		if s.roll.seen[row.User] == row.At.UnixMilli() {
			delete(s.roll.seen, row.User)
		}
	}
}

func seenRows(seen map[chat.UserID]int64) []Seen {
	rows := make([]Seen, 0, len(seen))
	for u, at := range seen {
		rows = append(rows, Seen{u, time.UnixMilli(at)})
	}
	return rows
}

const rowsPerStore = 1000

func (s *Shard) put(ctx context.Context, rows []Seen) error {
	for part := range slices.Chunk(rows, rowsPerStore) {
		limited, cancel := context.WithTimeout(ctx, storeWithin)
		err := s.config.Store.SetLastSeen(limited, part)
		cancel()
		if err != nil {
			s.metrics.storeFailures.Inc()
			s.config.Log.Warn("last seen not stored", slog.Int("shard", s.config.Shard), slog.Any("error", err))
			return err
		}
		s.metrics.stored.Add(float64(len(part)))
	}
	return nil
}

// lastStore ends a term. At a stop of the process who is there was seen now; otherwise the next owner sees them.
func (s *Shard) lastStore(r *roll, stopping bool) {
	now := s.config.Now()
	for u, a := range r.people {
		switch {
		case !a.fades.IsZero():
			r.note(u, a.left)
		case stopping:
			r.note(u, now)
		}
	}
	if len(r.seen) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeWithin)
	defer cancel()
	_ = s.put(ctx, seenRows(r.seen)) // it said so itself
}

// reader takes the registry's news for a shard.
type reader struct{ s *Shard }

func (r reader) with(f func(*roll, time.Time)) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.roll != nil {
		f(r.s.roll, r.s.config.Now())
	}
}

// Entry takes a connection's news.
func (r reader) Entry(e Entry) { r.with(func(to *roll, now time.Time) { to.entry(e, now) }) }

// Beat takes an edge's sign of life.
func (r reader) Beat(edge string, number uint64) {
	r.with(func(to *roll, now time.Time) { to.beat(edge, number, now) })
}

// Bye takes the end of an edge's run.
func (r reader) Bye(edge string, number uint64) {
	r.with(func(to *roll, now time.Time) { to.bye(edge, number, now) })
}

// Loaded begins the grace of those who are absent: all that was written before is known now.
func (r reader) Loaded() {
	r.with(func(to *roll, now time.Time) { to.warmAt = now.Add(Grace) })
}

// Watch implements Owner.
func (s *Shard) Watch(_ context.Context, edge string, number uint64, users []chat.UserID) (wire.Announcement, error) {
	return s.answer(func(r *roll) ([]wire.PersonStatus, error) { return r.watch(edge, number, users, s.config.Now()) })
}

// Look implements Owner.
func (s *Shard) Look(_ context.Context, users []chat.UserID) (wire.Announcement, error) {
	return s.answer(func(r *roll) ([]wire.PersonStatus, error) { return r.look(users), nil })
}

func (s *Shard) answer(ask func(*roll) ([]wire.PersonStatus, error)) (wire.Announcement, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.roll == nil {
		return wire.Announcement{}, s.nobody()
	}
	people, err := ask(s.roll)
	return wire.Announcement{Shard: uint16(s.config.Shard), Term: s.term, Version: s.roll.version, People: people}, err
}

func (s *Shard) nobody() error {
	return chat.Errorf(chat.Unavailable, "presence has no owner now, try again")
}

// Unwatch implements Owner.
func (s *Shard) Unwatch(_ context.Context, edge string, number uint64, users []chat.UserID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.roll == nil {
		return s.nobody()
	}
	s.roll.unwatch(edge, number, users)
	return nil
}

// Renew implements Owner.
func (s *Shard) Renew(_ context.Context, edge string, number uint64, interests int) (Renewed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.roll == nil {
		return Renewed{}, s.nobody()
	}
	return s.roll.renew(edge, number, interests, s.config.Now()), nil
}
