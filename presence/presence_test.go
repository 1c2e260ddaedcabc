package presence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	g   = chat.ConversationID("gaaaaaaaaaaaaaaaaaaaaaaaaaa")
	h   = chat.ConversationID("gbbbbbbbbbbbbbbbbbbbbbbbbba")
	ann = chat.UserID("uaaaaaaaaaaaaaaaaaaaaaaaaaa")
	bob = chat.UserID("ubbbbbbbbbbbbbbbbbbbbbbbbba")
)

type key struct {
	id   chat.ConversationID
	user chat.UserID
}

// box is bucket, store and barrier in one: small correct models of each.
type box struct {
	mu        sync.Mutex
	hot       map[key]chat.Cursors
	revision  map[key]int
	synced    map[key]chat.Cursors // of the bucket, by the last barrier
	stored    map[key]chat.Cursors
	reads     int // of the store, by Cursors
	puts      int
	onRead    func() // before the store is read
	kvFails   error
	readFails error
	putFails  error
	syncFails error
}

func newBox() *box {
	return &box{hot: map[key]chat.Cursors{}, revision: map[key]int{}, synced: map[key]chat.Cursors{}, stored: map[key]chat.Cursors{}}
}

func (b *box) cursors() *Cursors { return NewCursors(Config{KV: b, Store: b, Barrier: b}) }

func (b *box) Sync(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.syncFails != nil {
		return b.syncFails
	}
	b.synced = maps.Clone(b.hot)
	return nil
}

func (b *box) Update(_ context.Context, id chat.ConversationID, user chat.UserID, merge func(chat.Cursors) (chat.Cursors, bool)) (chat.Cursors, error) {
	if b.kvFails != nil {
		return chat.Cursors{}, b.kvFails
	}
	k := key{id, user}
	for {
		b.mu.Lock()
		old, revision := b.hot[k], b.revision[k]
		b.mu.Unlock()
		next, write := merge(old)
		if !write {
			return next, nil
		}
		b.mu.Lock()
		won := b.revision[k] == revision
		if won {
			b.hot[k] = next
			b.revision[k]++
		}
		b.mu.Unlock()
		if won {
			return next, nil
		}
	}
}

func (b *box) Get(_ context.Context, user chat.UserID, ids []chat.ConversationID) (map[chat.ConversationID]chat.Cursors, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[chat.ConversationID]chat.Cursors{}
	for _, id := range ids {
		if c, ok := b.hot[key{id, user}]; ok {
			all[id] = c
		}
	}
	return all, b.kvFails
}

func (b *box) In(_ context.Context, id chat.ConversationID, users []chat.UserID) (map[chat.UserID]chat.Cursors, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[chat.UserID]chat.Cursors{}
	for _, u := range users {
		if c, ok := b.hot[key{id, u}]; ok {
			all[u] = c
		}
	}
	return all, b.kvFails
}

func (b *box) CursorsOf(_ context.Context, user chat.UserID, ids []chat.ConversationID) (map[chat.ConversationID]chat.Cursors, error) {
	if b.onRead != nil {
		b.onRead()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[chat.ConversationID]chat.Cursors{}
	for _, id := range ids {
		if c, ok := b.stored[key{id, user}]; ok {
			all[id] = c
		}
	}
	return all, b.readFails
}

func (b *box) Cursors(_ context.Context, id chat.ConversationID, users []chat.UserID) (map[chat.UserID]chat.Cursors, error) {
	if b.onRead != nil {
		b.onRead()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	if users == nil {
		return nil, errors.New("nil users mean everybody")
	}
	all := map[chat.UserID]chat.Cursors{}
	for _, u := range users {
		if c, ok := b.stored[key{id, u}]; ok {
			all[u] = c
		}
	}
	return all, b.readFails
}

func (b *box) PutCursors(_ context.Context, rows []Row) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.puts++
	if b.putFails != nil {
		return b.putFails
	}
	for _, r := range rows {
		k := key{r.ConversationID, r.UserID}
		b.stored[k] = b.stored[k].Max(r.Cursors)
	}
	return nil
}

// drain moves everything hot into the store and trims the bucket.
func (b *box) drain(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	var batch []CursorChange
	for k, c := range b.hot {
		batch = append(batch, CursorChange{StreamSeq: 1, ConversationID: k.id, UserID: k.user, Cursors: c})
	}
	b.mu.Unlock()
	if err := NewDrainer(DrainerConfig{Barrier: b, Sink: b}).Handle(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.hot)
	for k := range b.revision {
		b.revision[k]++
	}
}

func at(seq chat.Seq) chat.Cursor { return chat.Cursor{Seq: seq, N: uint64(seq) * 10} }

func both(read, delivered chat.Seq) chat.Cursors {
	return chat.Cursors{Read: at(read), Delivered: at(delivered)}
}

func TestAdvance(t *testing.T) {
	b := newBox()
	c := b.cursors()
	step := func(to, want chat.Cursors, wantChanged bool) {
		t.Helper()
		merged, changed, err := c.Advance(t.Context(), g, ann, to)
		if err != nil || merged != want || changed != wantChanged {
			t.Errorf("advance to %+v: %+v, %t, %v; want %+v, %t", to, merged, changed, err, want, wantChanged)
		}
		if b.synced[key{g, ann}].Max(b.stored[key{g, ann}]) != want {
			t.Errorf("advance to %+v: answered before %+v was durable", to, want)
		}
	}
	step(both(0, 3), both(0, 3), true)
	step(both(5, 0), both(5, 5), true) // read beyond delivered raises it
	step(both(5, 0), both(5, 5), false)
	step(both(2, 4), both(5, 5), false)
	step(both(4, 9), both(5, 9), true)
	if b.reads != 1 {
		t.Errorf("the store was read %d times, want once: the bucket had nothing", b.reads)
	}
	b.drain(t)
	step(both(1, 6), both(5, 9), false) // the bucket is empty, the store is not
	step(both(6, 0), both(6, 9), true)
	if got := b.hot[key{g, ann}]; got != both(6, 9) {
		t.Errorf("the bucket holds %+v, less than the store", got)
	}
}

func TestAdvanceFailsRatherThanGuesses(t *testing.T) {
	b := newBox()
	c := b.cursors()
	try := func(what string) {
		t.Helper()
		if _, changed, err := c.Advance(t.Context(), g, ann, both(1, 1)); chat.KindOf(err) != chat.Unavailable || changed {
			t.Errorf("%s: changed %t, %v; want unavailable", what, changed, err)
		}
	}
	away := chat.Errorf(chat.Unavailable, "away")
	b.kvFails = away
	try("bucket")
	b.kvFails, b.readFails = nil, away
	try("store")
	if len(b.hot) != 0 {
		t.Error("written without knowing what the store holds")
	}
	b.readFails, b.syncFails = nil, away
	try("barrier")
	b.syncFails = nil
	if _, _, err := c.Advance(t.Context(), g, ann, both(1, 1)); err != nil {
		t.Error(err)
	}
}

func TestReadersTakeTheMaximum(t *testing.T) {
	b := newBox()
	c := b.cursors()
	b.hot[key{g, ann}], b.stored[key{g, ann}] = both(2, 9), both(5, 7)
	b.stored[key{h, ann}] = both(3, 3)
	b.hot[key{g, bob}] = both(1, 1)
	of, err := c.Of(t.Context(), ann, []chat.ConversationID{g, h})
	if diff := cmp.Diff(map[chat.ConversationID]chat.Cursors{g: both(5, 9), h: both(3, 3)}, of); err != nil || diff != "" {
		t.Error(err, diff)
	}
	in, err := c.In(t.Context(), g, []chat.UserID{ann, bob, "nobody"})
	if diff := cmp.Diff(map[chat.UserID]chat.Cursors{ann: both(5, 9), bob: both(1, 1), "nobody": {}}, in); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if in, err := c.In(t.Context(), g, nil); err != nil || len(in) != 0 {
		t.Errorf("nobody asked for: %v, %v", in, err)
	}
	b.readFails = chat.Errorf(chat.Unavailable, "away")
	if _, err := c.Of(t.Context(), ann, []chat.ConversationID{g}); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("half the truth: %v", err)
	}
}

// What is drained and trimmed between the two reads is still seen.
func TestReadersMissNothingThatIsDrainedMeanwhile(t *testing.T) {
	b := newBox()
	c := b.cursors()
	b.hot[key{g, ann}] = both(4, 4)
	b.onRead = func() {
		b.onRead = nil
		b.drain(t)
	}
	of, err := c.Of(t.Context(), ann, []chat.ConversationID{g})
	if err != nil || of[g] != both(4, 4) {
		t.Errorf("read %+v, %v", of[g], err)
	}
}

// Whatever happens at once: nobody is told less than before, and the end is the maximum.
func TestAdvanceIsMonotoneUnderConcurrency(t *testing.T) {
	b := newBox()
	c := b.cursors()
	const devices, steps = 8, 200
	var all sync.WaitGroup
	var kept sync.RWMutex // the bucket keeps a change for longer than an Advance takes
	for d := range devices {
		all.Go(func() {
			var told chat.Cursors
			for i := range steps {
				seq := chat.Seq((i*7 + d*13) % steps)
				to := both(seq/2, seq)
				kept.RLock()
				merged, _, err := c.Advance(context.Background(), g, ann, to)
				kept.RUnlock()
				if err != nil {
					t.Error(err)
				}
				if merged.Max(told) != merged || merged.Max(to) != merged {
					t.Errorf("told %+v after %+v, asked for %+v", merged, told, to)
				}
				told = merged
				if i%20 == d {
					kept.Lock()
					b.drain(t)
					kept.Unlock()
				}
			}
		})
	}
	all.Wait()
	of, err := c.Of(t.Context(), ann, []chat.ConversationID{g})
	if err != nil || of[g] != both((steps-1)/2, steps-1) {
		t.Errorf("in the end %+v, %v", of[g], err)
	}
}

func someCursors(t *rapid.T, label string) chat.Cursors {
	seq := func(what string) chat.Seq { return chat.Seq(rapid.Uint64Range(0, 20).Draw(t, label+what)) }
	return both(seq("read"), seq("delivered"))
}

func TestMergeIsCommutativeAssociativeIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := someCursors(t, "a"), someCursors(t, "b"), someCursors(t, "c")
		if a.Max(b) != b.Max(a) || a.Max(b).Max(c) != a.Max(b.Max(c)) || a.Max(b).Max(b) != a.Max(b) {
			t.Fatalf("%+v %+v %+v", a, b, c)
		}
		if m := a.Max(b); m.Read.Seq > m.Delivered.Seq {
			t.Fatalf("read beyond delivered: %+v", m)
		}
	})
}

// Any order of advances, drains and repeats ends at the maximum of what was asked for.
func TestCursorsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBox()
		c := b.cursors()
		want := map[key]chat.Cursors{}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			if rapid.IntRange(0, 5).Draw(rt, "drain") == 0 {
				b.drain(t)
				continue
			}
			k := key{rapid.SampledFrom([]chat.ConversationID{g, h}).Draw(rt, "id"), rapid.SampledFrom([]chat.UserID{ann, bob}).Draw(rt, "user")}
			to := someCursors(rt, "to")
			next := want[k].Max(to)
			merged, changed, err := c.Advance(context.Background(), k.id, k.user, to)
			if err != nil || merged != next || changed != (next.Read != want[k].Read || next.Delivered != want[k].Delivered) {
				rt.Fatalf("advance %+v to %+v: %+v, %t, %v", want[k], to, merged, changed, err)
			}
			want[k] = next
		}
		for k, w := range want {
			if in, err := c.In(context.Background(), k.id, []chat.UserID{k.user}); err != nil || in[k.user] != w {
				rt.Fatalf("%v: %+v, %v; want %+v", k, in[k.user], err, w)
			}
		}
	})
}

func TestDrainCoalescesAndRepeats(t *testing.T) {
	b := newBox()
	d := NewDrainer(DrainerConfig{Barrier: b, Sink: b})
	batch := []CursorChange{
		{1, g, ann, both(1, 4)}, {2, h, ann, both(2, 2)}, {3, g, ann, both(3, 3)}, {4, g, bob, both(9, 9)},
	}
	want := map[key]chat.Cursors{{g, ann}: both(3, 4), {h, ann}: both(2, 2), {g, bob}: both(9, 9)}
	for range 2 {
		if err := d.Handle(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(b.stored)); diff != "" {
			t.Error(diff)
		}
	}
	if b.puts != 2 {
		t.Errorf("%d writes, want one a batch", b.puts)
	}
	if rows := coalesce(batch); len(rows) != 3 {
		t.Errorf("%d rows of 3 keys", len(rows))
	}
	if err := d.Handle(t.Context(), nil); err != nil || b.puts != 2 {
		t.Error("an empty batch was written")
	}
}

func TestDrainWritesNothingBeforeTheBarrier(t *testing.T) {
	b := newBox()
	d := NewDrainer(DrainerConfig{Barrier: b, Sink: b})
	batch := []CursorChange{{1, g, ann, both(1, 4)}}
	b.syncFails = errors.New("EIO")
	if err := d.Handle(t.Context(), batch); err == nil || b.puts != 0 {
		t.Errorf("%d writes after a failed barrier, %v", b.puts, err)
	}
	b.syncFails, b.putFails = nil, chat.Errorf(chat.Unavailable, "away")
	if err := d.Handle(t.Context(), batch); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("error %v", err)
	}
	b.putFails = nil
	if err := d.Handle(t.Context(), batch); err != nil || b.stored[key{g, ann}] != both(1, 4) {
		t.Errorf("stored %+v, %v", b.stored[key{g, ann}], err)
	}
}

func TestALargeDrainIsCut(t *testing.T) {
	b := newBox()
	var batch []CursorChange
	for i := range rowsAtOnce*2 + 1 {
		batch = append(batch, CursorChange{uint64(i + 1), g, chat.UserID(fmt.Sprint("u", i)), both(1, 1)})
	}
	if err := NewDrainer(DrainerConfig{Barrier: b, Sink: b}).Handle(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if b.puts != 3 || len(b.stored) != len(batch) {
		t.Errorf("%d writes, %d rows", b.puts, len(b.stored))
	}
}
