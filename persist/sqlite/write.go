package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

const (
	seqBits = 36
	maxSeq  = 1 << seqBits // above every seq and user key that this store can hold
	maxKey  = 1 << 27      // of a conversation, so that key << seqBits fits 63 bits
)

// Write stores a batch in one transaction.
func (s *Store) Write(ctx context.Context, partition int, b persist.Batch) error {
	err := s.writer.transact(ctx, func(ctx context.Context, t *transaction) error {
		w := &batchWrite{
			transaction: t, partition: partition,
			records: make([]any, 0, s.writer.sql.addRecords.columns*len(b.Entries)),
			touched: map[*conversationRow]struct{}{}, members: map[*conversationRow]*membersRows{}, people: map[int64]*personRow{},
			preferences: map[wish]conversation.Preference{},
		}
		return w.run(ctx, b)
	})
	return failed(fmt.Sprintf("write batch of partition %d up to %d", partition, b.Position.StreamSeq), err)
}

// batchWrite gathers what a batch changes: rows that many records touch are written once, at its end, and
// records many at a time.
type batchWrite struct {
	*transaction
	partition   int
	records     []any // columns of the records not written yet; nothing may read records before they are
	scratch     []byte
	touched     map[*conversationRow]struct{}
	members     map[*conversationRow]*membersRows
	people      map[int64]*personRow             // by key of members
	preferences map[wish]conversation.Preference // only rows that change
	stored      int
	repeated    int
}

// conversationRow is a row of conversations and its head; of its state, members and preferences are left out.
type conversationRow struct {
	key       int64
	id        chat.ConversationID
	partition int
	state     conversation.State
	saved     about // what the row in the file says
}

// about is what few records change of a conversation.
type about struct {
	partition   int
	kind        chat.Type
	name        string
	history     chat.HistoryAccess
	settingsSeq chat.Seq
	createdID   chat.ID
}

func (c *conversationRow) about() about {
	s := &c.state
	return about{c.partition, s.Type, s.Name, s.History, s.SettingsSeq, s.CreatedID}
}

func (c *conversationRow) recordKey(seq chat.Seq) int64 { return c.key<<seqBits | int64(seq) }

func (c *conversationRow) memberKey(user int64) int64 { return c.key<<seqBits | user }

type personRow struct {
	clientTime int64
	cursors    chat.Cursors
}

func (w *batchWrite) run(ctx context.Context, b persist.Batch) error {
	for i := range b.Entries {
		e := &b.Entries[i]
		if e.Kind == chat.KindFence {
			continue
		}
		_, quarantined := b.Quarantined[e.StreamSeq]
		if err := w.entry(ctx, e, quarantined); err != nil {
			return fmt.Errorf("record %s %d: %w", chat.Clip(string(e.ConversationID)), e.Seq, err)
		}
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	p := b.Position
	if err := w.exec(ctx, w.sql.setApplied, w.partition, int64(p.Generation), int64(p.StreamSeq), int64(p.ID)); err != nil {
		return fmt.Errorf("position: %w", err)
	}
	w.metrics.records.Add(float64(w.stored))
	w.metrics.repeats.Add(float64(w.repeated))
	return nil
}

func (w *batchWrite) entry(ctx context.Context, e *chat.Entry, quarantined bool) error {
	if err := checkPlaced(e); err != nil {
		if !quarantined {
			return err
		}
		w.metrics.unplaced.Inc()
		w.log.ErrorContext(ctx, "quarantined record has no place in a conversation", slog.Uint64("stream_seq", e.StreamSeq), slog.String("reason", err.Error()))
		return nil
	}
	c, err := w.conversation(ctx, e.ConversationID)
	if err != nil {
		return err
	}
	if e.Seq <= c.state.Head.Seq { // before the form is checked: a placeholder may stand there
		if stored, err := w.isStored(ctx, c, e); err != nil || stored {
			return err
		}
	}
	if !quarantined {
		if err := checkWhole(e); err != nil {
			return err
		}
	}
	if e.Seq > c.state.Head.Seq+1 {
		w.reportGap(ctx, c, e)
	}
	c.partition = w.partition
	w.touched[c] = struct{}{}
	w.stored++
	if quarantined {
		return w.placeholder(ctx, c, e)
	}
	return w.record(ctx, c, e)
}

func (w *batchWrite) reportGap(ctx context.Context, c *conversationRow, e *chat.Entry) {
	w.metrics.gaps.Inc()
	w.log.ErrorContext(ctx, "record stored above a hole", slog.String("conversation_id", string(c.id)),
		slog.Uint64("head", uint64(c.state.Head.Seq)), slog.Uint64("seq", uint64(e.Seq)))
}

// checkPlaced demands what even a placeholder needs.
func checkPlaced(e *chat.Entry) error {
	if _, err := chat.ParseConversationID(string(e.ConversationID)); err != nil {
		return faultf("conversation id is malformed")
	}
	if e.Seq == 0 || e.Seq >= maxSeq {
		return faultf("seq %d is out of range", e.Seq)
	}
	return nil
}

func checkWhole(e *chat.Entry) error {
	switch {
	case e.ID == 0:
		return faultf("id is missing")
	case e.Kind == "":
		return faultf("kind is missing")
	case !jsontext.Value(e.Raw).IsValid():
		return faultf("the record is not JSON")
	}
	if _, err := chat.ParseUserID(string(e.SenderID)); err != nil {
		return faultf("sender id is malformed")
	}
	return nil
}

// isStored tells whether a record at or below the head is there already; what is there stays.
func (w *batchWrite) isStored(ctx context.Context, c *conversationRow, e *chat.Entry) (bool, error) {
	if err := w.addGathered(ctx); err != nil {
		return false, err
	}
	var id int64
	var kind string
	err := w.row(ctx, w.sql.findRecord, c.recordKey(e.Seq)).Scan(&id, &kind)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if chat.ID(id) != e.ID && chat.RecordKind(kind) != chat.KindQuarantined {
		w.metrics.differing.Inc()
		w.log.ErrorContext(ctx, "record differs from the stored one", slog.String("conversation_id", string(e.ConversationID)),
			slog.Uint64("seq", uint64(e.Seq)), slog.Uint64("stored_id", uint64(id)), slog.Uint64("id", uint64(e.ID)))
	}
	w.repeated++
	return true, nil
}

func (w *batchWrite) record(ctx context.Context, c *conversationRow, e *chat.Entry) error {
	sender, err := w.userKey(ctx, e.SenderID)
	if err != nil {
		return err
	}
	w.add(c, e, sender, &e.Record, e.Raw)
	w.sent(c, e, sender)
	switch e.Kind {
	case chat.KindEdit:
		if err := w.addGathered(ctx); err != nil {
			return err
		}
		if err := w.edit(ctx, c, e); err != nil {
			return fmt.Errorf("edit of %d: %w", e.TargetSeq, err)
		}
	case chat.KindDelete:
		if err := w.addGathered(ctx); err != nil {
			return err
		}
		if err := w.delete(ctx, c, e.TargetSeq); err != nil {
			return fmt.Errorf("delete of %d: %w", e.TargetSeq, err)
		}
	default:
	}
	return w.fold(ctx, c, &e.Record, e.Bucket)
}

// placeholder keeps the place of a record that can not be stored: its seq, and of its n and id at least
// what keeps both rising. Its client id still answers a repeat.
func (w *batchWrite) placeholder(ctx context.Context, c *conversationRow, e *chat.Entry) error {
	p := chat.Record{ConversationID: e.ConversationID, Seq: e.Seq, N: e.N, ID: e.ID, Kind: chat.KindQuarantined, SenderID: e.SenderID}
	if _, err := chat.ParseUserID(string(p.SenderID)); err != nil {
		p.SenderID = ""
	}
	if head := c.state.Head; p.Seq > head.Seq {
		p.ID, p.N = max(p.ID, head.ID+1), max(p.N, head.N)
	}
	sender, err := w.userKey(ctx, p.SenderID)
	if err != nil {
		return err
	}
	w.add(c, e, sender, &p, p.AppendJSON(nil))
	if p.SenderID != "" {
		w.sent(c, e, sender)
	}
	w.metrics.placeholder.Inc()
	return w.fold(ctx, c, &p, e.Bucket)
}

// add gathers the row of e, which says what r and raw say.
func (w *batchWrite) add(c *conversationRow, e *chat.Entry, sender int64, r *chat.Record, raw []byte) {
	row := chat.Record{ConversationID: c.id, Seq: r.Seq, N: r.N, ID: r.ID, Kind: r.Kind, SenderID: r.SenderID}
	var client, hash any
	if !e.ClientID.IsZero() && r.SenderID != "" {
		row.ClientID = e.ClientID
		client, hash = e.ClientID[:], e.BodyHash[:]
	}
	var kept []byte
	kept, w.scratch = pack(w.scratch, &row, raw)
	w.records = append(w.records, c.recordKey(row.Seq), int64(row.ID), int64(row.N), string(row.Kind), sender, client, hash, kept)
}

// addGathered writes the records gathered so far.
func (w *batchWrite) addGathered(ctx context.Context) error {
	rows := w.records
	w.records = w.records[:0]
	return w.execWide(ctx, &w.sql.addRecords, rows)
}

// sent notes what a record says of its sender: the time in the client id, and for a message the own cursor.
func (w *batchWrite) sent(c *conversationRow, e *chat.Entry, sender int64) {
	if e.ClientID.IsZero() && !e.Kind.Counts() {
		return
	}
	key := c.memberKey(sender)
	p := w.people[key]
	if p == nil {
		p = &personRow{}
		w.people[key] = p
	}
	if e.Kind.Counts() {
		own := chat.Cursor{Seq: e.Seq, N: e.N}
		p.cursors = p.cursors.Max(chat.Cursors{Read: own, Delivered: own})
	}
	if !e.ClientID.IsZero() {
		p.clientTime = max(p.clientTime, e.ClientID.UnixMilli())
	}
}
