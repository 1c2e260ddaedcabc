package persist_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/persist/persisttest"
	"github.com/parley-chat/parley/persist/sqlite"
	"github.com/parley-chat/parley/pkg/chat"
)

// poison is what the consumer loop recognises.
type poison interface {
	error
	Poison() (streamSeq uint64, reason string)
}

func newStore(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "messages.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// deliver hands a batch as the consumer loop does: poison is quarantined and the batch handed again.
func deliver(t *testing.T, w *persist.Worker, entries []chat.Entry) (dead []uint64) {
	t.Helper()
	for range len(entries) + 1 {
		err := w.Handle(t.Context(), entries)
		if err == nil {
			return dead
		}
		p, ok := errors.AsType[poison](err)
		if !ok {
			t.Fatalf("handle: %v", err)
		}
		seq, reason := p.Poison()
		if reason == "" {
			t.Error("no reason given")
		}
		dead = append(dead, seq)
		for _, e := range entries {
			if e.StreamSeq == seq {
				w.Quarantine(e, reason)
			}
		}
	}
	t.Fatal("the batch is never stored")
	return nil
}

func spoil(entries []chat.Entry, at ...int) []chat.Entry {
	spoiled := append([]chat.Entry(nil), entries...)
	for _, i := range at {
		spoiled[i].Raw = []byte("{")
	}
	return spoiled
}

func TestPoisonIsFoundAndItsPlaceKept(t *testing.T) {
	for _, bad := range [][]int{{1}, {100}, {37}, {37, 38, 99}} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			l := chatter(100)
			store := newStore(t)
			w := persist.NewWorker(persist.Config{Store: store})
			entries := spoil(l.Entries, bad...)
			dead := deliver(t, w, entries)
			if len(dead) != len(bad) {
				t.Fatalf("dead letters %v, want those of %v", dead, bad)
			}
			for i, at := range bad {
				if dead[i] != entries[at].StreamSeq {
					t.Errorf("dead letter %d, want %d", dead[i], entries[at].StreamSeq)
				}
			}
			rows, err := store.Range(t.Context(), persisttest.Group(0), 1, 1000, 1000, false)
			if err != nil || len(rows) != len(entries) {
				t.Fatalf("%d rows of %d, %v", len(rows), len(entries), err)
			}
			quarantined := 0
			for _, row := range rows {
				if row.Kind == chat.KindQuarantined {
					quarantined++
				}
			}
			if quarantined != len(bad) {
				t.Errorf("%d placeholders for %d", quarantined, len(bad))
			}
			if again := deliver(t, persist.NewWorker(persist.Config{Store: store}), entries); len(again) > 0 {
				t.Errorf("redelivered after a restart: dead letters %v again", again)
			}
		})
	}
}

func TestNoPlaceholderStandsForState(t *testing.T) {
	l := chatter(5)
	l.Member(persisttest.Group(0), persisttest.User(1), chat.ActionAdded, "", persisttest.User(2))
	l.Settings(persisttest.Group(0), persisttest.User(1), "name")
	l.CreateSelf(persisttest.Self(0), persisttest.User(1))
	l.Prefer(persisttest.Self(0), persisttest.User(1), persisttest.Group(0), nil, new(true), nil)
	l.Send(persisttest.Group(0), persisttest.User(1), "after")
	for _, at := range []int{0, 6, 7, 8, 9} {
		store, reg := newStore(t), prometheus.NewRegistry()
		w := persist.NewWorker(persist.Config{Store: store, Reg: reg})
		err := w.Handle(t.Context(), spoil(l.Entries, at))
		if _, isPoison := errors.AsType[poison](err); err == nil || isPoison || chat.KindOf(err) == chat.Unavailable {
			t.Errorf("entry %d: %v", at, err)
		}
		if n := counter(t, reg, "parley_persist_stuck_total"); n != 1 {
			t.Errorf("the alarm stands at %v", n)
		}
		if applied, _, err := store.Position(t.Context(), 0); err != nil || applied.StreamSeq != uint64(at) {
			t.Errorf("stored up to %d, %v; want everything before entry %d", applied.StreamSeq, err, at)
		}
	}
}

// sick fails writes of a real store on demand.
type sick struct {
	persist.Store
	fail func(persist.Batch) error
}

func (s *sick) Write(ctx context.Context, partition int, b persist.Batch) error {
	if err := s.fail(b); err != nil {
		return err
	}
	return s.Store.Write(ctx, partition, b)
}

func TestAnOutageCostsNoRecord(t *testing.T) {
	l := chatter(50)
	store := newStore(t)
	broken := errors.New("a bug that refuses everything")
	outages := map[string]error{
		"unavailable": fmt.Errorf("write: %w", chat.Errorf(chat.Unavailable, "disk full")),
		"cancelled":   fmt.Errorf("write: %w", context.Canceled),
		"everything":  broken,
	}
	for name, outage := range outages {
		w := persist.NewWorker(persist.Config{Store: &sick{store, func(persist.Batch) error { return outage }}})
		err := w.Handle(t.Context(), l.Entries)
		if _, isPoison := errors.AsType[poison](err); err == nil || isPoison {
			t.Errorf("%s: %v, want an error that passes", name, err)
		}
	}
	if dead := deliver(t, persist.NewWorker(persist.Config{Store: store}), l.Entries); len(dead) > 0 {
		t.Errorf("dead letters %v", dead)
	}
}

func TestAnOutageWhileThePoisonIsSoughtIsNoVerdict(t *testing.T) {
	l := chatter(50)
	entries := spoil(l.Entries, 20)
	writes := 0
	store := &sick{newStore(t), func(persist.Batch) error {
		if writes++; writes == 3 {
			return chat.Errorf(chat.Unavailable, "for a moment")
		}
		return nil
	}}
	w := persist.NewWorker(persist.Config{Store: store})
	if err := w.Handle(t.Context(), entries); chat.KindOf(err) != chat.Unavailable {
		t.Fatalf("%v, want unavailable", err)
	}
	if dead := deliver(t, w, entries); len(dead) != 1 || dead[0] != 21 {
		t.Errorf("dead letters %v, want 21", dead)
	}
}

func TestFencesMoveThePosition(t *testing.T) {
	l := chatter(2)
	l.Fence()
	l.Fence()
	store := newStore(t)
	var told []chat.Mark
	w := persist.NewWorker(persist.Config{Store: store, Partition: 3, OnStored: func(partition int, applied, _ chat.Mark) {
		if partition != 3 {
			t.Errorf("partition %d", partition)
		}
		told = append(told, applied)
	}})
	if err := w.Handle(t.Context(), l.Entries); err != nil {
		t.Fatal(err)
	}
	if err := w.Handle(t.Context(), l.Entries[:1]); err != nil { // a redelivery
		t.Fatal(err)
	}
	for _, mark := range told[1:] {
		if mark != l.Mark(5) {
			t.Errorf("told %v, want %v", mark, l.Mark(5))
		}
	}
	if applied, _, err := store.Position(t.Context(), 3); err != nil || applied != l.Mark(5) {
		t.Errorf("position %v, %v", applied, err)
	}
}

func TestATermThatGoesBackRaisesTheAlarm(t *testing.T) {
	l := chatter(6)
	terms := []uint64{1, 1, 4, 4, 3, 4, 9}
	for i := range l.Entries {
		l.Entries[i].Term = terms[i]
	}
	reg := prometheus.NewRegistry()
	w := persist.NewWorker(persist.Config{Store: newStore(t), Reg: reg})
	for _, part := range [][2]int{{0, 3}, {3, 7}, {0, 7}, {2, 5}} { // the last two are redelivered
		if err := w.Handle(t.Context(), l.Entries[part[0]:part[1]]); err != nil {
			t.Fatal(err)
		}
	}
	if n := counter(t, reg, "parley_persist_term_went_back_total"); n != 1 {
		t.Errorf("the alarm stands at %v, want 1", n)
	}
	next := chatter(1)
	for i := range next.Entries {
		next.Entries[i].Generation, next.Entries[i].Term = 2, 1 // a new generation counts anew
	}
	if err := w.Handle(t.Context(), next.Entries); err != nil {
		t.Fatal(err)
	}
	if n := counter(t, reg, "parley_persist_term_went_back_total"); n != 1 {
		t.Errorf("the alarm stands at %v after a new generation", n)
	}
}

// markStore keeps marks only: enough for the sealer, and without I/O.
type markStore struct {
	persist.Store

	mu              sync.Mutex
	applied, sealed chat.Mark
	seals           int
	fail            error
}

func (m *markStore) Write(_ context.Context, _ int, b persist.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = b.Position
	return nil
}

func (m *markStore) Position(context.Context, int) (applied, sealed chat.Mark, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied, m.sealed, nil
}

func (m *markStore) Seal(ctx context.Context, _ int, synced func(context.Context) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seals++
	if m.fail != nil {
		return m.fail
	}
	if err := synced(ctx); err != nil {
		return err
	}
	m.sealed = m.applied
	return nil
}

// failing sets what seals end with and tells how many there were.
func (m *markStore) failing(err error) (seals int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
	return m.seals
}

// lockedText is a log that is read while others write to it.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestTheSealerSealsOnlyWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chatter(9)
		store := &markStore{}
		var log lockedText
		var told atomic.Pointer[chat.Mark]
		w := persist.NewWorker(persist.Config{
			Store: store, Synced: func(context.Context) error { return nil }, Every: 2 * time.Second, Log: textLogger(&log),
			OnStored: func(_ int, _, sealed chat.Mark) { told.Store(&sealed) },
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		wait(10 * time.Second)
		if n := store.failing(nil); n != 0 {
			t.Errorf("%d seals of nothing", n)
		}
		if err := w.Handle(t.Context(), l.Entries[:5]); err != nil {
			t.Fatal(err)
		}
		wait(20 * time.Second)
		if n := store.failing(chat.Errorf(chat.Unavailable, "no disk")); n != 1 || *told.Load() != l.Mark(5) {
			t.Errorf("%d seals, sealed %v", n, *told.Load())
		}
		if err := w.Handle(t.Context(), l.Entries[5:]); err != nil {
			t.Fatal(err)
		}
		wait(6 * time.Second)
		if n := store.failing(nil); n != 4 || *told.Load() != l.Mark(5) || !strings.Contains(log.String(), "seal failed") {
			t.Errorf("%d seals, sealed %v, log %q", n, *told.Load(), log.String())
		}
		wait(2 * time.Second)
		if *told.Load() != l.Mark(10) {
			t.Errorf("sealed %v after the outage", *told.Load())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run ended with %v", err)
		}
	})
}
