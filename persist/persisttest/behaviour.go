package persisttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/pkg/chat"
)

func positions(t *testing.T, s Subject) {
	ctx := t.Context()
	marks := func() chat.Mark {
		t.Helper()
		applied, _, err := s.Position(ctx, 2)
		if err != nil {
			t.Fatal(err)
		}
		return applied
	}
	steps := []struct{ write, want chat.Mark }{
		{chat.Mark{Generation: 1, StreamSeq: 10, ID: 5}, chat.Mark{Generation: 1, StreamSeq: 10, ID: 5}},
		{chat.Mark{Generation: 1, StreamSeq: 7, ID: 4}, chat.Mark{Generation: 1, StreamSeq: 10, ID: 5}},
		{chat.Mark{}, chat.Mark{Generation: 1, StreamSeq: 10, ID: 5}},
		{chat.Mark{Generation: 1, StreamSeq: 12}, chat.Mark{Generation: 1, StreamSeq: 12}},
		{chat.Mark{Generation: 2, StreamSeq: 3, ID: 9}, chat.Mark{Generation: 2, StreamSeq: 3, ID: 9}},
		{chat.Mark{Generation: 1, StreamSeq: 99, ID: 9}, chat.Mark{Generation: 2, StreamSeq: 3, ID: 9}},
	}
	for _, step := range steps {
		if err := s.Write(ctx, 2, persist.Batch{Position: step.write}); err != nil {
			t.Fatal(err)
		}
		same(t, "position", marks(), step.want)
	}
	applied, _, err := s.Position(ctx, 0)
	if err != nil || applied != (chat.Mark{}) {
		t.Errorf("another partition stands at %v, %v", applied, err)
	}
}

func seals(t *testing.T, s Subject) {
	ctx := t.Context()
	l := sample()
	if err := s.Write(ctx, 0, l.Batch(0, 4)); err != nil {
		t.Fatal(err)
	}
	during := func(ctx context.Context) error { return s.Write(ctx, 0, l.Batch(4, 9)) }
	if err := s.Seal(ctx, 0, during); err != nil {
		t.Fatal(err)
	}
	applied, sealed, err := s.Position(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "applied", applied, l.Mark(9))
	same(t, "sealed", sealed, l.Mark(4))
	if err := s.Seal(ctx, 0, nil); err != nil { // by itself
		t.Fatal(err)
	}
	if _, sealed, err = s.Position(ctx, 0); err != nil {
		t.Fatal(err)
	}
	same(t, "sealed", sealed, l.Mark(9))
}

func sealFails(t *testing.T, s Subject) {
	ctx := t.Context()
	l := sample()
	if err := s.Write(ctx, 0, l.Batch(0, 4)); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the disk is gone")
	if err := s.Seal(ctx, 0, func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("seal: %v, want the cause", err)
	}
	if _, sealed, err := s.Position(ctx, 0); err != nil || sealed != (chat.Mark{}) {
		t.Errorf("sealed %v, %v after a sync that failed", sealed, err)
	}
}

func sealSurvives(t *testing.T, s Subject) {
	ctx := t.Context()
	l := sample()
	if err := s.Write(ctx, 0, l.Batch(0, 4)); err != nil {
		t.Fatal(err)
	}
	if err := s.Seal(ctx, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(ctx, 0, l.Batch(4, 8)); err != nil {
		t.Fatal(err)
	}
	applied, sealed, err := s.Reopen().Position(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "applied", applied, l.Mark(8))
	same(t, "sealed", sealed, l.Mark(4))
}

func deletes(t *testing.T, s Subject) {
	ctx := t.Context()
	l := NewLog()
	const secret = "do not keep this"
	l.Create(Group(0), User(1), User(2))
	l.Send(Group(0), User(1), secret)
	l.Send(Group(0), User(2), "this stays")
	l.Edit(Group(0), User(1), 2, secret+" 1")
	l.Edit(Group(0), User(2), 3, "this stays too")
	l.Edit(Group(0), User(1), 2, secret+" 2")
	l.Delete(Group(0), User(1), 2)
	l.Edit(Group(0), User(1), 2, secret+" 3") // the rules forbid it; should it come, it says nothing
	for cut := 1; cut < len(l.Entries); cut++ {
		id := cut * 100 // a conversation of its own for every cut
		own := NewLog()
		for _, e := range l.Entries {
			r := e.Record
			r.ConversationID = Group(id)
			own.Append(r)
		}
		for _, part := range [][2]int{{0, cut}, {cut, len(own.Entries)}, {0, len(own.Entries)}} {
			if err := s.Write(ctx, 0, own.Batch(part[0], part[1])); err != nil {
				t.Fatal(err)
			}
		}
		rows := must[[]persist.Stored](t)(s.Range(ctx, Group(id), 1, 100, 100, false))
		versions := must[[]persist.Stored](t)(s.Versions(ctx, Group(id), 2))
		same(t, "number of versions", len(versions), 3)
		for _, row := range append(rows, versions...) {
			if bytes.Contains(row.Raw, []byte(secret)) {
				t.Errorf("cut at %d: row %d still has the text: %s", cut, row.Seq, row.Raw)
			}
		}
		if !rows[1].Deleted || !rows[3].Deleted || rows[2].Deleted || rows[2].Edited != 5 {
			t.Errorf("cut at %d: flags are wrong: %+v", cut, rows)
		}
	}
}

// preferences writes every record of a self conversation by itself, some late or again: what was said last of a
// conversation stays, with the seq at which it was said.
func preferences(t *testing.T, s Subject) {
	ctx := t.Context()
	l := NewLog()
	l.CreateSelf(Self(0), User(1))                                         // 1
	l.Prefer(Self(0), User(1), Group(0), nil, nil, new(true))              // 2
	l.Prefer(Self(0), User(1), Group(1), new(chat.MutedForever), nil, nil) // 3
	l.Prefer(Self(0), User(1), Group(0), nil, nil, new(false))             // 4: the default
	l.Prefer(Self(0), User(1), Group(1), nil, new(true), nil)              // 5
	want := l.State(Self(0)).Preferences
	for _, order := range [][]int{{0, 1, 2, 3, 4}, {0, 3, 1, 2, 4}, {0, 2, 4, 3, 1}, {0, 1, 2, 3, 4, 1, 2, 3}} {
		id := Self(1 + len(must[[]chat.ConversationID](t)(s.Conversations(ctx, "", 100))))
		for _, at := range order {
			e := l.Entries[at]
			e.ConversationID = id
			e.Raw = e.AppendJSON(nil)
			if err := s.Write(ctx, 0, persist.Batch{Entries: []chat.Entry{e}}); err != nil {
				t.Fatal(err)
			}
		}
		loaded, err := s.Load(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprint("preferences written in order ", order), loaded.State.Preferences, want)
	}
}

func priors(t *testing.T, s Subject) {
	ctx := t.Context()
	l := NewLog()
	client := Client(Epoch, 77)
	l.Create(Group(0), User(1), User(2))
	first := l.Append(chat.Record{ConversationID: Group(0), Kind: chat.KindMessage, SenderID: User(1), ClientID: client, Text: "a"})
	l.Append(chat.Record{ConversationID: Group(0), Kind: chat.KindMessage, SenderID: User(1), ClientID: client, Text: "b"})
	other := l.Append(chat.Record{ConversationID: Group(0), Kind: chat.KindMessage, SenderID: User(2), ClientID: client, Text: "c"})
	writeAll(ctx, t, s, l, 10)
	for _, want := range []chat.Entry{first, other} {
		got, ok, err := s.Prior(ctx, Group(0), want.SenderID, client)
		if err != nil || !ok || got.Seq != want.Seq || got.ID != want.ID || got.N != want.N || got.Hash != want.BodyHash {
			t.Errorf("prior of %s: %+v, %v, %v; want that of seq %d", want.SenderID, got, ok, err, want.Seq)
		}
	}
	if _, ok, err := s.Prior(ctx, Group(1), User(1), client); ok || err != nil {
		t.Errorf("prior in another conversation: %v, %v", ok, err)
	}
}

func ranges(t *testing.T, s Subject) {
	ctx := t.Context()
	l := NewLog()
	l.Create(Group(0), User(1))
	for i := range 19 {
		l.Send(Group(0), User(1), Text(i))
	}
	l.Create(Group(1), User(1))
	writeAll(ctx, t, s, l, 7)
	tests := []struct {
		from, to chat.Seq
		limit    int
		newest   bool
		low      chat.Seq
		high     chat.Seq
	}{
		{1, 20, 100, false, 1, 20},
		{5, 9, 100, true, 5, 9},
		{5, 9, 2, false, 5, 6},
		{5, 9, 2, true, 8, 9},
		{18, 4000, 100, false, 18, 20},
		{1, chat.MaxSeq, 3, true, 18, 20},
		{7, 7, 1, false, 7, 7},
		{9, 5, 10, false, 0, 0},
		{21, 30, 10, true, 0, 0},
		{1, 20, 0, true, 0, 0},
	}
	for _, test := range tests {
		rows := must[[]persist.Stored](t)(s.Range(ctx, Group(0), test.from, test.to, test.limit, test.newest))
		var want []chat.Seq
		for seq := test.low; seq <= test.high && seq > 0; seq++ {
			want = append(want, seq)
		}
		var got []chat.Seq
		for _, row := range rows {
			got = append(got, row.Seq)
		}
		same(t, "range", got, want)
	}
}

func cursors(t *testing.T, s Subject) {
	ctx := t.Context()
	l := NewLog()
	l.Create(Group(0), User(1), User(2))
	l.Create(Group(1), User(1), User(2))
	for i := range 5 {
		l.Send(Group(0), User(1), Text(i))
	}
	writeAll(ctx, t, s, l, 100)
	at := func(seq chat.Seq) chat.Cursor { return chat.Cursor{Seq: seq, N: uint64(seq) - 1} }
	put := func(group, user int, read, delivered chat.Cursor) {
		t.Helper()
		row := persist.CursorRow{ConversationID: Group(group), UserID: User(user), Cursors: chat.Cursors{Read: read, Delivered: delivered}}
		if err := s.PutCursors(ctx, []persist.CursorRow{row, row}); err != nil {
			t.Fatal(err)
		}
	}
	put(0, 2, at(3), at(5))
	put(0, 2, at(4), at(2)) // read moves, delivered stays
	put(0, 1, at(2), at(2)) // an own send lies further
	put(1, 2, at(1), chat.Cursor{})
	same(t, "cursors", must[map[chat.UserID]chat.Cursors](t)(s.Cursors(ctx, Group(0), nil)), map[chat.UserID]chat.Cursors{
		User(1): {Read: at(6), Delivered: at(6)},
		User(2): {Read: at(4), Delivered: at(5)},
	})
	same(t, "cursors of some", must[map[chat.UserID]chat.Cursors](t)(s.Cursors(ctx, Group(0), []chat.UserID{User(2), User(9)}))[User(9)], chat.Cursors{})
	same(t, "cursors of nobody", must[map[chat.UserID]chat.Cursors](t)(s.Cursors(ctx, Group(0), []chat.UserID{})), map[chat.UserID]chat.Cursors{})
	of := must[map[chat.ConversationID]chat.Cursors](t)(s.CursorsOf(ctx, User(2), []chat.ConversationID{Group(0), Group(1), Group(5)}))
	same(t, "cursors of one", of, map[chat.ConversationID]chat.Cursors{
		Group(0): {Read: at(4), Delivered: at(5)},
		Group(1): {Read: at(1), Delivered: at(1)}, // what is read counts as delivered
	})
}

func cursorsFirst(t *testing.T, s Subject) {
	ctx := t.Context()
	l := sample()
	read := chat.Cursors{Read: chat.Cursor{Seq: 50, N: 40}, Delivered: chat.Cursor{Seq: 50, N: 40}}
	if err := s.PutCursors(ctx, []persist.CursorRow{{ConversationID: Group(0), UserID: User(2), Cursors: read}}); err != nil {
		t.Fatal(err)
	}
	Compare(ctx, t, s, NewModel()) // there is no conversation yet
	writeAll(ctx, t, s, l, 3)
	m := modelOf(l)
	m.Conversations[Group(0)].Cursors[User(2)] = read
	Compare(ctx, t, s, m)
}

// broken is an entry that no store can hold.
func broken(e chat.Entry) chat.Entry {
	e.Raw = []byte(`{"text":`)
	return e
}

func placeholders(t *testing.T, s Subject) {
	ctx := t.Context()
	l := sample()
	const bad = 6 // a message of User(3) in Group(1)
	b := l.Batch(0, len(l.Entries))
	b.Entries = append([]chat.Entry(nil), b.Entries...)
	b.Entries[bad] = broken(b.Entries[bad])
	b.Quarantined = map[uint64]string{b.Entries[bad].StreamSeq: "not JSON"}
	for range 2 {
		if err := s.Write(ctx, 0, b); err != nil {
			t.Fatal(err)
		}
	}
	b.Quarantined = nil // a redelivery after a restart, which remembers nothing
	if err := s.Write(ctx, 0, b); err != nil {
		t.Fatalf("redelivery of what a placeholder stands for: %v", err)
	}
	m := modelOf(l)
	row := &m.Conversations[Group(1)].Rows[1]
	row.Kind = chat.KindQuarantined
	p := chat.Record{ConversationID: Group(1), Seq: row.Seq, N: row.N, ID: row.ID, Kind: row.Kind, SenderID: row.Sender}
	row.Raw = p.AppendJSON(nil)
	Compare(ctx, t, s, m) // dense, and the client id still answers a repeat
}

func unplaced(t *testing.T, s Subject) {
	ctx := t.Context()
	l := sample()
	b := l.Batch(0, len(l.Entries))
	lost := broken(chat.Entry{Record: chat.Record{ConversationID: "nonsense", Kind: chat.KindMessage}, StreamSeq: 1000})
	b.Entries = append(append([]chat.Entry(nil), b.Entries...), lost)
	b.Quarantined = map[uint64]string{1000: "no conversation"}
	if err := s.Write(ctx, 0, b); err != nil {
		t.Fatal(err)
	}
	Compare(ctx, t, s, modelOf(l))
}

func faults(t *testing.T, s Subject) {
	ctx := t.Context()
	l := sample()
	spoil := map[string]func(*chat.Entry){
		"not JSON":        func(e *chat.Entry) { *e = broken(*e) },
		"no seq":          func(e *chat.Entry) { e.Seq = 0 },
		"a seq too high":  func(e *chat.Entry) { e.Seq = chat.MaxSeq },
		"no conversation": func(e *chat.Entry) { e.ConversationID = "" },
		"no sender":       func(e *chat.Entry) { e.SenderID = "someone" },
		"no id":           func(e *chat.Entry) { e.ID = 0 },
		"no kind":         func(e *chat.Entry) { e.Kind = "" },
	}
	for name, f := range spoil {
		b := l.Batch(0, 8)
		b.Entries = append([]chat.Entry(nil), b.Entries...)
		f(&b.Entries[6])
		err := s.Write(ctx, 0, b)
		if err == nil || chat.KindOf(err) == chat.Unavailable {
			t.Errorf("%s: %v, want a fault of the data", name, err)
		}
		Compare(ctx, t, s, NewModel())
	}
	writeAll(ctx, t, s, l, 5)
	Compare(ctx, t, s, modelOf(l))
}

func cancelled(t *testing.T, s Subject) {
	l := sample()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Write(ctx, 0, l.Batch(0, 8))
	if err == nil || (chat.KindOf(err) != chat.Unavailable && !errors.Is(err, context.Canceled)) {
		t.Errorf("write: %v", err)
	}
	if _, err := s.Range(ctx, Group(0), 1, 10, 10, false); err == nil {
		t.Error("a read with a cancelled context succeeded")
	}
	Compare(t.Context(), t, s, NewModel())
	writeAll(t.Context(), t, s, l, 8)
	Compare(t.Context(), t, s, modelOf(l))
}

func concurrent(t *testing.T, s Subject) {
	const partitions, messages = 3, 150
	logs := make([]*Log, partitions)
	for p := range logs {
		logs[p] = NewLog()
		logs[p].Create(Group(p), User(1), User(2))
		for i := range messages {
			logs[p].Send(Group(p), User(1+i%2), Text(i))
		}
	}
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for p, l := range logs {
		writers.Go(func() {
			for from := 0; from < len(l.Entries); from += 10 {
				to := min(from+10, len(l.Entries))
				if err := s.Write(t.Context(), p, l.Batch(from, to)); err != nil {
					t.Errorf("write: %v", err)
				}
				row := persist.CursorRow{ConversationID: Group(p), UserID: User(2), Cursors: chat.Cursors{Read: chat.Cursor{Seq: chat.Seq(to), N: uint64(to - 1)}}}
				if err := s.PutCursors(t.Context(), []persist.CursorRow{row}); err != nil {
					t.Errorf("put cursors: %v", err)
				}
			}
			if err := s.Seal(t.Context(), p, nil); err != nil {
				t.Errorf("seal: %v", err)
			}
		})
		readers.Go(func() { readDense(t, s, Group(p), done) })
	}
	writers.Wait()
	close(done)
	readers.Wait()
	for p, l := range logs {
		rows := must[[]persist.Stored](t)(s.Range(t.Context(), Group(p), 1, 1000, 1000, false))
		same(t, "number of rows", len(rows), messages+1)
		applied, sealed, err := s.Position(t.Context(), p)
		if err != nil || applied != l.Mark(len(l.Entries)) || sealed != applied {
			t.Errorf("partition %d: %v, %v, %v", p, applied, sealed, err)
		}
	}
}

// readDense reads while others write: a head never lies above what can be read, and no row is missing.
func readDense(t *testing.T, s Subject, id chat.ConversationID, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
		}
		heads, err := s.Heads(t.Context(), []chat.ConversationID{id})
		if err != nil {
			t.Errorf("heads: %v", err)
			return
		}
		rows, err := s.Range(t.Context(), id, 1, chat.MaxSeq, 1000, false)
		if err != nil || len(rows) < int(heads[id].Seq) {
			t.Errorf("range: %d rows, head %d, %v", len(rows), heads[id].Seq, err)
			return
		}
		for i, row := range rows {
			if row.Seq != chat.Seq(i+1) {
				t.Errorf("row %d has seq %d", i, row.Seq)
				return
			}
		}
	}
}
