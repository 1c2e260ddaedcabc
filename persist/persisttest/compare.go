package persisttest

import (
	"context"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/pkg/chat"
)

// failer is what the suite needs of *testing.T and *rapid.T.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func must[T any](t failer) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("unexpected error: %v", err)
		}
		return v
	}
}

// same reports a difference; empty and nil are the same.
func same(t failer, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%s differs (-want +got):\n%s", what, d)
	}
}

// Compare holds every read method against the model.
func Compare(ctx context.Context, t failer, store persist.Store, m *Model) {
	t.Helper()
	ids := m.Ids()
	same(t, "conversations", must[[]chat.ConversationID](t)(store.Conversations(ctx, "", 1000)), ids)
	heads := map[chat.ConversationID]chat.Head{}
	for _, id := range ids {
		heads[id] = m.Conversations[id].State.Head
	}
	same(t, "heads", must[map[chat.ConversationID]chat.Head](t)(store.Heads(ctx, append(ids, Group(999_999)))), heads)
	for _, id := range ids {
		compareConversation(ctx, t, store, id, m.Conversations[id])
	}
}

func compareConversation(ctx context.Context, t failer, store persist.Store, id chat.ConversationID, c *ModelConversation) {
	t.Helper()
	loaded, err := store.Load(ctx, id)
	if err != nil {
		t.Fatalf("load %s: %v", id, err)
	}
	same(t, "state", loaded.State, c.State)
	same(t, "client times", loaded.ClientTimes, c.ClientTimes)
	rows := must[[]persist.Stored](t)(store.Range(ctx, id, 1, chat.MaxSeq, len(c.Rows)+1, false))
	same(t, "rows", rows, c.Rows)
	same(t, "cursors", must[map[chat.UserID]chat.Cursors](t)(store.Cursors(ctx, id, nil)), c.Cursors)
	for user, want := range c.Cursors {
		of := must[map[chat.ConversationID]chat.Cursors](t)(store.CursorsOf(ctx, user, []chat.ConversationID{id}))
		same(t, "cursors of a user", of[id], want)
	}
	for key, want := range c.Priors {
		got, ok, err := store.Prior(ctx, id, key.sender, key.client)
		if err != nil || !ok {
			t.Fatalf("prior %s: ok %v, error %v", key.client, ok, err)
		}
		same(t, "prior", got, want)
	}
	for i, row := range c.Rows {
		compareRow(ctx, t, store, id, c, i, row)
	}
	if n := len(c.Rows); n > 0 {
		seq := must[chat.Seq](t)(store.SeqAt(ctx, id, c.Rows[n-1].ID+1))
		same(t, "seq after the last id", seq, chat.Seq(n+1))
	}
}

func compareRow(ctx context.Context, t failer, store persist.Store, id chat.ConversationID, c *ModelConversation, i int, row persist.Stored) {
	t.Helper()
	seq, ok, err := store.SeqOf(ctx, id, row.ID)
	if err != nil || !ok || seq != row.Seq {
		t.Fatalf("seq of id %d: %d, %v, %v; want %d", row.ID, seq, ok, err, row.Seq)
	}
	if seq, ok, err := store.SeqOf(ctx, id, row.ID-1); err != nil || (ok && seq == row.Seq) {
		t.Fatalf("seq of an id that is nobody's: %d, %v, %v", seq, ok, err)
	}
	between := row.ID - 1
	if i > 0 {
		between = max(between, c.Rows[i-1].ID+1)
	}
	same(t, "seq at a time", must[chat.Seq](t)(store.SeqAt(ctx, id, between)), row.Seq)
	target, ok, err := store.Target(ctx, id, row.Seq)
	if err != nil || !ok || target.Kind != row.Kind || target.Sender != row.Sender || target.Deleted != row.Deleted {
		t.Fatalf("target %d: %+v, %v, %v; want %+v", row.Seq, target, ok, err, row)
	}
	if row.Kind == chat.KindMessage {
		same(t, "versions", must[[]persist.Stored](t)(store.Versions(ctx, id, row.Seq)), c.Versions(row.Seq))
	}
}
