package jetstream

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
)

// listener is a PresenceReader that remembers.
type listener struct {
	mu      sync.Mutex
	entries []PresenceEntry
	edges   []string
	loaded  int
	changed chan struct{}
}

func (l *listener) note(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *listener) Entry(e PresenceEntry) { l.note(func() { l.entries = append(l.entries, e) }) }
func (l *listener) Beat(edge string, run uint64) {
	l.note(func() { l.edges = append(l.edges, fmt.Sprint("beat ", edge, " ", run)) })
}

func (l *listener) Bye(edge string, run uint64) {
	l.note(func() { l.edges = append(l.edges, fmt.Sprint("bye ", edge, " ", run)) })
}
func (l *listener) Loaded() { l.note(func() { l.loaded++ }) }

// until waits for what the listener must hear.
func (l *listener) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		l.mu.Lock()
		done := ok()
		l.mu.Unlock()
		if done {
			return
		}
		select {
		case <-l.changed:
		case <-limit:
			t.Fatalf("not heard: %s", what)
		}
	}
}

func (w *world) presence(t *testing.T) *PresenceKV {
	t.Helper()
	k, err := NewPresenceKV(PresenceKVConfig{NC: w.nc, Shard: func(chat.UserID) int { return 1 }, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *PresenceKV) listen(t *testing.T) *listener {
	t.Helper()
	l := &listener{changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = k.Watch(ctx, 1, l) }()
	t.Cleanup(func() { cancel(); <-done })
	return l
}

func TestTheRegistryTellsWhatStandsAndWhatComes(t *testing.T) {
	w := newWorld(t)
	k := w.presence(t)
	user := chat.NewUserID()
	first := PresenceEntry{User: user, Edge: "edge-1", Run: 77, Number: 1, Session: chat.NewSessionID()}
	away := PresenceEntry{User: user, Edge: "edge-1", Run: 77, Number: 2, Session: chat.NewSessionID(), Away: true}
	gone := PresenceEntry{User: user, Edge: "edge-1", Run: 77, Number: 1, Gone: true}
	if err := k.Beat(w.ctx, "edge-1", 77); err != nil {
		t.Fatal(err)
	}
	if err := k.Write(w.ctx, []PresenceEntry{first, away}); err != nil {
		t.Fatal(err)
	}
	l := k.listen(t)
	l.until(t, "what stood there", func() bool { return l.loaded == 1 })
	if diff := cmp.Diff([]PresenceEntry{first, away}, l.entries); diff != "" {
		t.Errorf("written (-), told (+):\n%s", diff)
	}
	if !slices.Equal(l.edges, []string{"beat edge-1 77"}) {
		t.Errorf("edges %q", l.edges)
	}
	if err := k.Write(w.ctx, []PresenceEntry{gone}); err != nil {
		t.Fatal(err)
	}
	if err := k.Bye(w.ctx, "edge-1", 77); err != nil {
		t.Fatal(err)
	}
	l.until(t, "the removal and the end", func() bool { return len(l.entries) == 3 && len(l.edges) == 2 })
	if l.entries[2] != gone || l.edges[1] != "bye edge-1 77" {
		t.Errorf("told %+v and %q", l.entries[2], l.edges[1])
	}

	again := k.listen(t)
	again.until(t, "what stands there", func() bool { return again.loaded == 1 })
	living := slices.DeleteFunc(slices.Clone(again.entries), func(e PresenceEntry) bool { return e.Gone })
	if diff := cmp.Diff([]PresenceEntry{away}, living); diff != "" {
		t.Errorf("stands (-), told (+):\n%s", diff)
	}
}

func TestPresenceIsHeldInMemoryAndRemovalsExpire(t *testing.T) {
	w := newWorld(t)
	for _, bucket := range privateBuckets() {
		s, err := w.js.Stream(w.ctx, bucketStreamName(bucket))
		if err != nil {
			t.Fatal(err)
		}
		if c := s.CachedInfo().Config; c.Storage.String() != "Memory" || !c.AllowMsgTTL || c.MaxBytes <= 0 {
			t.Errorf("%s: storage %s, per-message life %v, %d bytes", bucket, c.Storage, c.AllowMsgTTL, c.MaxBytes)
		}
	}
	m, err := presenceMessage(&PresenceEntry{User: chat.NewUserID(), Edge: "e", Gone: true}, 0)
	if err != nil || m.Header.Get("Nats-TTL") == "" || m.Header.Get("Nats-Rollup") != "sub" {
		t.Errorf("a removal is written as %v, %v", m.Header, err)
	}
}

func TestPresenceKeysRoundTrip(t *testing.T) {
	for _, edge := range []string{"e1", "edge-with-signs-7", "-"} {
		e := PresenceEntry{User: chat.NewUserID(), Edge: edge, Run: 1<<63 + 5, Number: 12}
		got, err := parsePresenceKey(presenceKey(&e))
		if err != nil || got != e {
			t.Errorf("%s: %+v, %v", edge, got, err)
		}
	}
	for _, key := range []string{"", "u", string(chat.NewUserID()), string(chat.NewUserID()) + ".e1-x", string(chat.NewUserID()) + ".e1-!-1", strings.Repeat("-", 9)} {
		if _, err := parsePresenceKey(key); err == nil {
			t.Errorf("%q passes", key)
		}
	}
}

// BenchmarkRegistry registers and removes connections in batches of 1,000, as an edge under many logins does,
// with the shard's owner following. Beside the time it tells the memory that a registered connection takes.
func BenchmarkRegistry(b *testing.B) {
	w := newWorld(b)
	k, err := NewPresenceKV(PresenceKVConfig{NC: w.nc, Shard: func(chat.UserID) int { return 1 }, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	heard := &tally{}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = k.Watch(ctx, 1, heard) }()
	defer func() { cancel(); <-done }()
	const batch = 1000
	entries := make([]PresenceEntry, 0, b.N)
	for i := range b.N {
		entries = append(entries, PresenceEntry{User: chat.NewUserID(), Edge: "e1", Run: 1 << 60, Number: uint64(i), Session: chat.NewSessionID()})
	}
	before := heapNow()
	b.ResetTimer()
	for part := range slices.Chunk(entries, batch) {
		if err := k.Write(w.ctx, part); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(heapNow()-before)/float64(b.N), "heap-B/connection")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connections/s")
}

// tally counts what it hears.
type tally struct{ entries atomic.Int64 }

func (t *tally) Entry(PresenceEntry) { t.entries.Add(1) }
func (*tally) Beat(string, uint64)   {}
func (*tally) Bye(string, uint64)    {}
func (*tally) Loaded()               {}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
