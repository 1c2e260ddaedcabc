package persist

import (
	"context"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// Stored is one row of history.
type Stored struct {
	Seq     chat.Seq
	ID      chat.ID
	N       uint64
	Kind    chat.RecordKind
	Sender  chat.UserID
	Raw     []byte   // the record's JSON as in the log; text emptied once deleted
	Edited  chat.Seq // message: seq of its last edit, 0 none
	Deleted bool     // message or edit whose text was deleted for everyone
}

// Batch is what one Write stores: entries ascending in StreamSeq, and the position after them.
type Batch struct {
	Entries  []chat.Entry
	Position chat.Mark // of the last record seen, fences included
	// Quarantined lists entries to store as placeholders (KindQuarantined), by StreamSeq.
	Quarantined map[uint64]string
}

// Store keeps records, heads, members, client ids and cursors. All methods are safe for concurrent use.
// Errors are chat.Unavailable when the store can not answer now, anything else is a fault of the data.
type Store interface {
	// Write stores a batch of one partition and its position, in one step or so that a repeat completes
	// it. Idempotent; a record already stored is not changed, a position never goes back.
	// In the same step: state rows, client ids, edits and deletes on their targets (a delete empties the
	// target and every edit of it), and the sender's own cursor for messages.
	Write(ctx context.Context, partition int, b Batch) error
	// Position is the last position written, and the last one known to be synced: what a restart can
	// rely on. Zero marks when nothing was written.
	Position(ctx context.Context, partition int) (applied, sealed chat.Mark, err error)
	// Seal makes everything written before the call survive a power cut and then moves sealed to the
	// position that was applied when it began. synced does the syncing when the store itself need not
	// (embedded on Linux: the barrier's syncfs); nil: the store syncs itself.
	Seal(ctx context.Context, partition int, synced func(context.Context) error) error

	// Load reads a conversation's state rows.
	Load(ctx context.Context, id chat.ConversationID) (conversation.Loaded, error)
	// Heads reads several conversations' heads; missing ones are left out.
	Heads(ctx context.Context, ids []chat.ConversationID) (map[chat.ConversationID]chat.Head, error)
	// Conversations lists the ids of all conversations above after, ascending, at most limit.
	Conversations(ctx context.Context, after chat.ConversationID, limit int) ([]chat.ConversationID, error)
	// Prior finds what a client id gave, for the life of the record.
	Prior(ctx context.Context, id chat.ConversationID, sender chat.UserID, client chat.ClientID) (conversation.Outcome, bool, error)

	// Target is the record at seq as the rules of edit and delete need it; ok is false when there is none.
	Target(ctx context.Context, id chat.ConversationID, seq chat.Seq) (t conversation.Target, ok bool, err error)
	// Range reads rows with from <= seq <= to, ascending, at most limit from the low end, or from the
	// high end when newest is set.
	Range(ctx context.Context, id chat.ConversationID, from, to chat.Seq, limit int, newest bool) ([]Stored, error)
	// SeqOf finds the seq of an id; ok is false when the conversation has no such record.
	SeqOf(ctx context.Context, id chat.ConversationID, record chat.ID) (seq chat.Seq, ok bool, err error)
	// SeqAt is the seq of the first record at or after the id's place in time; head+1 when there is none.
	SeqAt(ctx context.Context, id chat.ConversationID, at chat.ID) (chat.Seq, error)
	// Versions lists the edits of a message, ascending, deleted ones with empty text.
	Versions(ctx context.Context, id chat.ConversationID, target chat.Seq) ([]Stored, error)

	// Cursors reads the cursors of users in a conversation (nil users: of everybody); missing ones are zero.
	Cursors(ctx context.Context, id chat.ConversationID, users []chat.UserID) (map[chat.UserID]chat.Cursors, error)
	// CursorsOf reads one user's cursors in several conversations.
	CursorsOf(ctx context.Context, user chat.UserID, ids []chat.ConversationID) (map[chat.ConversationID]chat.Cursors, error)
	// PutCursors merges cursors by maximum.
	PutCursors(ctx context.Context, rows []CursorRow) error
}

// CursorRow is one person's cursors in one conversation.
type CursorRow struct {
	ConversationID chat.ConversationID
	UserID         chat.UserID
	Cursors        chat.Cursors
}
