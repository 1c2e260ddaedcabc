package persisttest

import (
	"context"
	"testing"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/pkg/chat"
)

// Subject is a fresh, empty store. Reopen closes it and opens what it left: the store it returns replaces
// the first one.
type Subject struct {
	persist.Store
	Reopen func() persist.Store
}

// Run holds a store against the contract. open makes a fresh store, closed when its test ends.
func Run(t *testing.T, open func(testing.TB) Subject) {
	t.Helper()
	tests := []struct {
		name string
		run  func(*testing.T, Subject)
	}{
		{"a written log is read as it was", readsWhatWasWritten},
		{"an empty store knows nothing", emptyStore},
		{"redelivery changes nothing", redelivery},
		{"a position never goes back, and a new generation is ahead", positions},
		{"sealed is what was applied before the sync began", seals},
		{"a failed sync seals nothing", sealFails},
		{"both marks survive a reopening", sealSurvives},
		{"a delete empties the message and every edit, in either order", deletes},
		{"a preference goes by its own seq, also when it is the default again", preferences},
		{"a client id keeps its first outcome", priors},
		{"ranges are cut at the end that is asked for", ranges},
		{"cursors merge by maximum", cursors},
		{"cursors may come before the conversation", cursorsFirst},
		{"a placeholder keeps the place of a quarantined record", placeholders},
		{"a quarantined record without a place is passed over", unplaced},
		{"a faulty entry is refused and its batch leaves nothing", faults},
		{"a cancelled context stops a write and is no fault of the data", cancelled},
		{"partitions are written and read at once", concurrent},
		{"conversations are listed in pages", lists},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
	t.Run("a random log in any batches, redelivered, reopened", func(t *testing.T) { randomLogs(t, open) })
}

// writeAll stores the log in batches of size.
func writeAll(ctx context.Context, t failer, store persist.Store, l *Log, size int) {
	t.Helper()
	for from := 0; from < len(l.Entries); from += size {
		to := min(from+size, len(l.Entries))
		if err := store.Write(ctx, 0, l.Batch(from, to)); err != nil {
			t.Fatalf("write %d to %d: %v", from, to, err)
		}
	}
}

func modelOf(l *Log) *Model {
	m := NewModel()
	for _, e := range l.Entries {
		m.Apply(e)
	}
	return m
}

// sample is a log with everything in it once.
func sample() *Log {
	l := NewLog()
	a, b, c := User(1), User(2), User(3)
	l.Create(Group(0), a, b)
	l.Send(Group(0), a, Text(1))
	l.Create(Group(1), b, c)
	l.Send(Group(0), b, Text(2))
	l.Fence()
	l.Edit(Group(0), a, 2, "first edit")
	l.Send(Group(1), c, Text(3))
	l.Edit(Group(0), a, 2, "second edit")
	l.Member(Group(0), a, chat.ActionAdded, "", c)
	l.Send(Group(0), c, Text(4))
	l.Delete(Group(0), a, 2)
	l.Member(Group(0), a, chat.ActionRole, chat.RoleAdmin, b)
	l.Settings(Group(0), a, "another name")
	l.Member(Group(0), c, chat.ActionLeft, "", c)
	l.Append(chat.Record{ConversationID: Group(1), Kind: "pin", SenderID: c, TargetSeq: 2})
	l.Member(Group(0), a, chat.ActionAdded, "", c)
	l.CreateSelf(Self(0), a)
	l.Prefer(Self(0), a, Group(0), new(chat.MutedForever), nil, new(true))
	l.Send(Self(0), a, Text(5))
	l.Prefer(Self(0), a, Group(1), nil, new(true), nil)
	l.Prefer(Self(0), a, Group(0), new(chat.MutedUntilTime(Epoch)), nil, nil)
	l.Prefer(Self(0), a, Group(1), nil, new(false), nil)
	return l
}

func readsWhatWasWritten(t *testing.T, s Subject) {
	l := sample()
	writeAll(t.Context(), t, s, l, 4)
	Compare(t.Context(), t, s, modelOf(l))
	Compare(t.Context(), t, s.Reopen(), modelOf(l))
}

func emptyStore(t *testing.T, s Subject) {
	ctx := t.Context()
	Compare(ctx, t, s, NewModel())
	id := Group(7)
	loaded, err := s.Load(ctx, id)
	if err != nil || loaded.State.Exists() {
		t.Errorf("load: %+v, %v", loaded, err)
	}
	if _, ok, err := s.Prior(ctx, id, User(1), Client(Epoch, 1)); ok || err != nil {
		t.Errorf("prior: %v, %v", ok, err)
	}
	if _, ok, err := s.Target(ctx, id, 1); ok || err != nil {
		t.Errorf("target: %v, %v", ok, err)
	}
	if rows, err := s.Range(ctx, id, 1, 100, 10, true); len(rows) != 0 || err != nil {
		t.Errorf("range: %v, %v", rows, err)
	}
	if _, ok, err := s.SeqOf(ctx, id, 1); ok || err != nil {
		t.Errorf("seq of: %v, %v", ok, err)
	}
	if seq, err := s.SeqAt(ctx, id, 1); seq != 1 || err != nil {
		t.Errorf("seq at: %v, %v; want 1, the place after no record", seq, err)
	}
	if rows, err := s.Versions(ctx, id, 1); len(rows) != 0 || err != nil {
		t.Errorf("versions: %v, %v", rows, err)
	}
	applied, sealed, err := s.Position(ctx, 3)
	if err != nil || applied != (chat.Mark{}) || sealed != (chat.Mark{}) {
		t.Errorf("position: %v, %v, %v", applied, sealed, err)
	}
}

func redelivery(t *testing.T, s Subject) {
	ctx := t.Context()
	l := sample()
	writeAll(ctx, t, s, l, len(l.Entries))
	for _, cut := range [][2]int{{0, 3}, {5, 11}, {0, len(l.Entries)}, {8, 9}, {1, 7}} {
		if err := s.Write(ctx, 0, l.Batch(cut[0], cut[1])); err != nil {
			t.Fatal(err)
		}
		Compare(ctx, t, s, modelOf(l))
	}
	other := l.Entries[1]
	other.ID, other.Text = other.ID+1, "something else"
	other.Raw = other.AppendJSON(nil)
	if err := s.Write(ctx, 0, persist.Batch{Entries: []chat.Entry{other}}); err != nil {
		t.Fatalf("a record that differs from the stored one: %v", err)
	}
	Compare(ctx, t, s, modelOf(l)) // what is stored stays
}

func lists(t *testing.T, s Subject) {
	ctx := t.Context()
	l := NewLog()
	var want []chat.ConversationID
	for i := range 10 {
		l.Create(Group(i), User(1))
		want = append(want, Group(i))
	}
	writeAll(ctx, t, s, l, 100)
	var got []chat.ConversationID
	for {
		after := chat.ConversationID("")
		if len(got) > 0 {
			after = got[len(got)-1]
		}
		page := must[[]chat.ConversationID](t)(s.Conversations(ctx, after, 3))
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	same(t, "list", got, want)
}

func randomLogs(t *testing.T, open func(testing.TB) Subject) {
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		l := RandomLog(rt, 60)
		subject := open(t)
		store := subject.Store
		model := NewModel()
		for done := 0; done < len(l.Entries); {
			to := min(done+rapid.IntRange(1, 20).Draw(rt, "batch"), len(l.Entries))
			from := max(0, done-rapid.IntRange(0, 10).Draw(rt, "overlap"))
			if err := store.Write(ctx, 0, l.Batch(from, to)); err != nil {
				rt.Fatalf("write: %v", err)
			}
			for ; done < to; done++ {
				model.Apply(l.Entries[done])
			}
			randomDisturbance(ctx, rt, &store, subject, l, done)
		}
		Compare(ctx, rt, store, model)
		applied, _, err := store.Position(ctx, 0)
		if err != nil {
			rt.Fatalf("position: %v", err)
		}
		same(rt, "applied", applied, model.Applied)
	})
}

// randomDisturbance writes an old batch again, seals, or reopens, now and then.
func randomDisturbance(ctx context.Context, t *rapid.T, store *persist.Store, subject Subject, l *Log, done int) {
	switch rapid.IntRange(0, 9).Draw(t, "disturbance") {
	case 0, 1, 2:
		from := rapid.IntRange(0, done-1).Draw(t, "old from")
		to := rapid.IntRange(from+1, done).Draw(t, "old to")
		if err := (*store).Write(ctx, 0, l.Batch(from, to)); err != nil {
			t.Fatalf("write again: %v", err)
		}
	case 3:
		if err := (*store).Seal(ctx, 0, func(context.Context) error { return nil }); err != nil {
			t.Fatalf("seal: %v", err)
		}
	case 4:
		*store = subject.Reopen()
	default:
	}
}
