package presence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

var errAway = errors.New("the registry is away")

type entryKey struct {
	user        chat.UserID
	edge        string
	run, number uint64
}

// bus is the registry and the transport of all processes: one bucket in memory that readers follow.
type bus struct {
	mu      sync.Mutex
	entries map[entryKey]Entry
	beats   map[string]uint64
	readers map[Reader]bool
	writes  int
	away    bool
	edges   map[string]func(wire.Announcement)
	lost    int // announcements still to lose
	sent    int
	seen    map[chat.UserID]time.Time
	stores  int
}

func newBus() *bus {
	return &bus{
		entries: map[entryKey]Entry{}, beats: map[string]uint64{}, readers: map[Reader]bool{},
		edges: map[string]func(wire.Announcement){}, seen: map[chat.UserID]time.Time{},
	}
}

func keyOf(e Entry) entryKey { return entryKey{e.User, e.Edge, e.Run, e.Number} }

func (b *bus) Write(_ context.Context, entries []Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return errAway
	}
	b.writes++
	for _, e := range entries {
		if e.Gone {
			delete(b.entries, keyOf(e))
		} else {
			b.entries[keyOf(e)] = e
		}
		for r := range b.readers {
			r.Entry(e)
		}
	}
	return nil
}

func (b *bus) Beat(_ context.Context, edge string, run uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return errAway
	}
	b.beats[edge] = run
	for r := range b.readers {
		r.Beat(edge, run)
	}
	return nil
}

func (b *bus) Bye(_ context.Context, edge string, run uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for r := range b.readers {
		r.Bye(edge, run)
	}
	return nil
}

func (b *bus) Watch(ctx context.Context, _ int, to Reader) error {
	b.mu.Lock()
	for edge, run := range b.beats {
		to.Beat(edge, run)
	}
	for _, e := range b.entries {
		to.Entry(e)
	}
	to.Loaded()
	b.readers[to] = true
	b.mu.Unlock()
	<-ctx.Done()
	b.mu.Lock()
	delete(b.readers, to)
	b.mu.Unlock()
	return ctx.Err()
}

func (b *bus) Send(edge string, body []byte) error {
	a, err := wire.DecodeAnnouncement(body)
	if err != nil {
		return err
	}
	b.mu.Lock()
	to := b.edges[edge]
	b.sent++
	if b.lost > 0 {
		b.lost--
		b.mu.Unlock()
		return errAway
	}
	b.mu.Unlock()
	if to != nil {
		to(a)
	}
	return nil
}

func (b *bus) SetLastSeen(_ context.Context, rows []Seen) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return errAway
	}
	b.stores++
	for _, r := range rows {
		if b.seen[r.User].Before(r.At) {
			b.seen[r.User] = r.At
		}
	}
	return nil
}

// token is a lease that a test hands on.
type token struct {
	mu    sync.Mutex
	term  uint64
	taken chan struct{} // one may hold it
	lost  chan struct{}
}

func newToken() *token { return &token{taken: make(chan struct{}, 1), lost: make(chan struct{})} }

func (l *token) Take(ctx context.Context) (uint64, error) {
	select {
	case l.taken <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term++
	l.lost = make(chan struct{})
	return l.term, nil
}

func (l *token) Lost() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

func (l *token) Release(context.Context) error { <-l.taken; return nil }

// lose ends the present term.
func (l *token) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.lost: // it is on its way to the next owner
	default:
		close(l.lost)
	}
}

// site is one shard on a bus, with edges.
type site struct {
	t     *testing.T
	bus   *bus
	lease *token
	shard *Shard
	stop  func()
}

func newSite(t *testing.T, l Limits) *site {
	t.Helper()
	s := &site{t: t, bus: newBus(), lease: newToken()}
	s.shard = NewShard(ShardConfig{Lease: s.lease, Source: s.bus, Registry: s.bus, Announcer: s.bus, Store: s.bus, Limits: l})
	s.stop = s.run(s.shard.Run)
	synctest.Wait()
	return s
}

func (s *site) run(f func(context.Context) error) func() {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = f(ctx) }()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(stop)
	return stop
}

// desk is one edge of a site, and what its clients would have been told.
type desk struct {
	*Registrar
	s    *site
	name string
	kill func() // without a last word

	mu    sync.Mutex
	known map[chat.UserID]wire.PersonStatus
	marks map[chat.UserID][2]uint64
	told  []string // "name status" for each change
}

func (s *site) edge(name string) *desk {
	d := &desk{s: s, name: name, known: map[chat.UserID]wire.PersonStatus{}, marks: map[chat.UserID][2]uint64{}}
	d.Registrar = NewRegistrar(RegistrarConfig{Edge: name, Registry: silenced{s.bus}, Owners: []Owner{s.shard}, OnChange: d.take})
	s.bus.mu.Lock()
	s.bus.edges[name] = d.take
	s.bus.mu.Unlock()
	d.kill = s.run(d.Run)
	synctest.Wait()
	return d
}

// silenced says no last word: a stop is a kill.
type silenced struct{ *bus }

func (silenced) Bye(context.Context, string, uint64) error { return nil }

// take does what an edge does with announcements.
func (d *desk) take(a wire.Announcement) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range a.People {
		if m := d.marks[p.UserID]; a.Term < m[0] || a.Term == m[0] && a.Version <= m[1] {
			continue
		}
		d.marks[p.UserID] = [2]uint64{a.Term, a.Version}
		if d.known[p.UserID].Status != p.Status {
			d.told = append(d.told, fmt.Sprint(nameOf(p.UserID), " ", p.Status))
		}
		d.known[p.UserID] = p
	}
}

func (d *desk) watch(users ...chat.UserID) {
	for _, a := range d.Watch(d.s.t.Context(), users) {
		d.take(a)
	}
}

// hears lists what was told since it was asked last.
func (d *desk) hears() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	told := d.told
	d.told = nil
	slices.Sort(told)
	return told
}

func (d *desk) wants(t *testing.T, what string, want ...string) {
	t.Helper()
	if got := d.hears(); !slices.Equal(got, want) {
		t.Errorf("%s: told %q, want %q", what, got, want)
	}
}

func nameOf(u chat.UserID) string {
	switch u {
	case ann:
		return "ann"
	case bob:
		return "bob"
	default:
		return string(u)
	}
}

func (b *bus) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.entries)
}

func (b *bus) written() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.writes
}

func (b *bus) lastSeen() map[chat.UserID]time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.seen)
}

func counterOf(t *testing.T, c prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
