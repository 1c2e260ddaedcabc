package jetstream

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
)

func cursorsAt(read, delivered chat.Seq) chat.Cursors {
	return chat.Cursors{Read: chat.Cursor{Seq: read, N: uint64(read)}, Delivered: chat.Cursor{Seq: delivered, N: uint64(delivered)}}
}

func raise(to chat.Cursors) func(chat.Cursors) (chat.Cursors, bool) {
	return func(old chat.Cursors) (chat.Cursors, bool) {
		merged := old.Max(to)
		return merged, merged != old
	}
}

func TestConcurrentCursorsMergeToTheirMaximum(t *testing.T) {
	w := newWorld(t)
	topo := w.topo
	topo.Partitions = 3
	w.ensure(topo)
	const users, conversations, writers = 2, 3, 6
	want := map[string]chat.Cursors{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range writers {
		k := NewCursorKV(CursorKVConfig{NC: w.connect(w.server), Partitions: 3})
		all.Go(func() {
			var before [users][conversations]chat.Cursors
			for range 40 {
				u, c := rand.IntN(users), rand.IntN(conversations)
				mine := cursorsAt(chat.Seq(rand.IntN(1000)), chat.Seq(rand.IntN(1000)))
				got, err := k.Update(w.ctx, conversationID(c), userID(u), raise(mine))
				if err != nil {
					t.Error(err)
					return
				}
				if got.Max(mine) != got || got.Max(before[u][c]) != got {
					t.Errorf("%+v is below %+v or %+v", got, mine, before[u][c])
				}
				before[u][c] = got
				mu.Lock()
				key := cursorKey(userID(u), conversationID(c))
				want[key] = want[key].Max(mine)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	k := NewCursorKV(CursorKVConfig{NC: w.nc, Partitions: 3})
	ids := []chat.ConversationID{conversationID(0), conversationID(1), conversationID(2), conversationID(99)}
	for u := range users {
		got, err := k.Get(w.ctx, userID(u), ids)
		if err != nil {
			t.Fatal(err)
		}
		for c := range conversations {
			if got[ids[c]] != want[cursorKey(userID(u), ids[c])] {
				t.Errorf("user %d in %d: %+v, want %+v", u, c, got[ids[c]], want[cursorKey(userID(u), ids[c])])
			}
		}
		if _, ok := got[ids[3]]; ok {
			t.Error("a cursor that was never written")
		}
	}
	in, err := k.In(w.ctx, ids[0], []chat.UserID{userID(0), userID(1), userID(77)})
	if err != nil || len(in) != 2 || in[userID(1)] != want[cursorKey(userID(1), ids[0])] {
		t.Errorf("%+v, %v", in, err)
	}
}

func TestManyCursorsInOneRead(t *testing.T) {
	w := newWorld(t)
	k := NewCursorKV(CursorKVConfig{NC: w.nc, Partitions: 1})
	var ids []chat.ConversationID
	for i := range 1200 {
		ids = append(ids, conversationID(i))
		if i%2 == 0 {
			if _, err := k.Update(w.ctx, ids[i], userID(1), raise(cursorsAt(chat.Seq(i+1), 0))); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := k.Get(w.ctx, userID(1), ids)
	if err != nil || len(got) != 600 || got[ids[1198]].Read.Seq != 1199 {
		t.Errorf("%d cursors, %v", len(got), err)
	}
	if got, err := k.Get(w.ctx, userID(1), nil); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWhatDoesNotChangeIsNotWritten(t *testing.T) {
	w := newWorld(t)
	k := NewCursorKV(CursorKVConfig{NC: w.nc, Partitions: 1})
	for range 3 {
		got, err := k.Update(w.ctx, conversationID(0), userID(1), raise(cursorsAt(5, 7)))
		if err != nil || got != cursorsAt(5, 7) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	s, err := streamState(w.ctx, w.nc, bucketStreamName(CursorBucket(0)))
	if err != nil || s.Last != 1 {
		t.Errorf("%d writes, %v", s.Last, err)
	}
}

type cursorRecorder struct {
	mu    sync.Mutex
	seen  []CursorChange
	fails int
	moved chan struct{}
}

func (r *cursorRecorder) HandleCursors(_ context.Context, batch []CursorChange) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails--; r.fails >= 0 {
		return errors.New("the store is away")
	}
	r.seen = append(r.seen, batch...)
	select {
	case r.moved <- struct{}{}:
	default:
	}
	return nil
}

// last gives the last cursors seen by key, checking that sequences rise.
func (r *cursorRecorder) last(t *testing.T) map[string]chat.Cursors {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	out, before := map[string]chat.Cursors{}, uint64(0)
	for _, c := range r.seen {
		if c.StreamSeq <= before {
			t.Fatalf("%d comes after %d", c.StreamSeq, before)
		}
		before = c.StreamSeq
		out[cursorKey(c.UserID, c.ConversationID)] = c.Cursors
	}
	return out
}

func TestEveryCursorReachesTheHandler(t *testing.T) {
	w := newWorld(t)
	k := NewCursorKV(CursorKVConfig{NC: w.nc, Partitions: 1})
	want := map[string]chat.Cursors{}
	write := func(n int) {
		for range n {
			c, u := conversationID(rand.IntN(5)), userID(rand.IntN(5))
			got, err := k.Update(w.ctx, c, u, raise(cursorsAt(chat.Seq(rand.IntN(1000)+1), 0)))
			if err != nil {
				t.Fatal(err)
			}
			want[cursorKey(u, c)] = got
		}
	}
	write(200)
	barriers := 0
	r := &cursorRecorder{moved: make(chan struct{}, 1), fails: 2}
	l := NewCursorLoop(CursorLoopConfig{
		NC: w.connect(w.server), Partition: 0, Consumer: ConsumerPresence, Handler: r, Batch: 10, Log: quiet(),
		Barrier: newSyncfs(func() error { barriers++; return nil }, nil, nil),
	})
	_, stop := running(t, w.ctx, l.Run)
	write(100)
	eventually(t, "every cursor", func() bool { return cmp.Equal(r.last(t), want) })
	stop()
	if barriers < 3 || value(t, l.metrics.retries) != 2 {
		t.Errorf("%d barriers, %v retries", barriers, value(t, l.metrics.retries))
	}
	// A second consumer of the same bucket has a floor of its own.
	other := &cursorRecorder{moved: make(chan struct{}, 1)}
	_, stop = running(t, w.ctx, NewCursorLoop(CursorLoopConfig{NC: w.connect(w.server), Consumer: ConsumerFanout, Handler: other, Log: quiet()}).Run)
	eventually(t, "every cursor at fanout", func() bool { return cmp.Equal(other.last(t), want) })
	stop()
}

func TestDrainedCursorsAreTrimmed(t *testing.T) {
	w := newWorld(t)
	k := NewCursorKV(CursorKVConfig{NC: w.nc, Partitions: 1})
	for i := range 50 {
		if _, err := k.Update(w.ctx, conversationID(i), userID(1), raise(cursorsAt(3, 3))); err != nil {
			t.Fatal(err)
		}
	}
	c := &clock{now: time.Now().Add(100 * time.Hour)}
	trimmer := NewCursorTrimmer(CursorTrimmerConfig{NC: w.nc, Now: c.Now, Log: quiet()})
	messages := func() uint64 {
		s, err := streamState(w.ctx, w.nc, bucketStreamName(CursorBucket(0)))
		if err != nil {
			t.Fatal(err)
		}
		return s.Messages
	}
	if err := trimmer.Trim(w.ctx); err != nil || messages() != 50 {
		t.Fatalf("trimmed before the store had them: %d left, %v", messages(), err)
	}
	r := &cursorRecorder{moved: make(chan struct{}, 1)}
	_, stop := running(t, w.ctx, NewCursorLoop(CursorLoopConfig{NC: w.connect(w.server), Consumer: ConsumerPresence, Handler: r, Log: quiet()}).Run)
	eventually(t, "the drain", func() bool { return len(r.last(t)) == 50 })
	c.advance(-40 * time.Hour)
	if err := trimmer.Trim(w.ctx); err != nil || messages() != 50 {
		t.Fatalf("trimmed while young: %d left, %v", messages(), err)
	}
	c.advance(40 * time.Hour)
	eventually(t, "the trim", func() bool {
		if err := trimmer.Trim(w.ctx); err != nil {
			t.Fatal(err)
		}
		return messages() == 1
	})
	stop()
}
