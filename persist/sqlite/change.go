package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// target is a record as an edit or delete of it needs it.
type target struct {
	kind    chat.RecordKind
	edited  chat.Seq
	deleted bool
}

func (w *batchWrite) target(ctx context.Context, c *conversationRow, seq chat.Seq) (t target, ok bool, err error) {
	if seq == 0 || seq >= maxSeq {
		return target{}, false, nil
	}
	var edited int64
	err = w.row(ctx, w.sql.findTarget, c.recordKey(seq)).Scan((*string)(&t.kind), &edited, &t.deleted)
	if errors.Is(err, sql.ErrNoRows) {
		return target{}, false, nil
	}
	t.edited = chat.Seq(edited)
	return t, err == nil && t.kind == chat.KindMessage, err
}

// edit puts the edit record, stored already, into its target's chain, which runs from the newest edit to
// the oldest. An edit of what is no message changes nothing.
func (w *batchWrite) edit(ctx context.Context, c *conversationRow, e *chat.Entry) error {
	t, ok, err := w.target(ctx, c, e.TargetSeq)
	if err != nil || !ok {
		return err
	}
	if t.deleted {
		if err := w.empty(ctx, c, e.Seq); err != nil {
			return err
		}
	}
	if e.Seq > t.edited {
		if err := w.exec(ctx, w.sql.setPrev, int64(t.edited), c.recordKey(e.Seq)); err != nil {
			return err
		}
		return w.exec(ctx, w.sql.setEdited, int64(e.Seq), c.recordKey(e.TargetSeq))
	}
	chain, err := w.chain(ctx, c, e.TargetSeq)
	if err != nil {
		return err
	}
	newer, older := t.edited, chat.Seq(0)
	for _, seq := range chain {
		if seq < e.Seq {
			older = seq
			break
		}
		newer = seq
	}
	if err := w.exec(ctx, w.sql.setPrev, int64(older), c.recordKey(e.Seq)); err != nil {
		return err
	}
	return w.exec(ctx, w.sql.setPrev, int64(e.Seq), c.recordKey(newer))
}

// delete empties a message and every edit of it.
func (w *batchWrite) delete(ctx context.Context, c *conversationRow, seq chat.Seq) error {
	t, ok, err := w.target(ctx, c, seq)
	if err != nil || !ok || t.deleted {
		return err
	}
	chain, err := w.chain(ctx, c, seq)
	if err != nil {
		return err
	}
	for _, s := range append(chain, seq) {
		if err := w.empty(ctx, c, s); err != nil {
			return err
		}
	}
	return nil
}

// chain lists the edits of a message, newest first.
func (w *batchWrite) chain(ctx context.Context, c *conversationRow, seq chat.Seq) ([]chat.Seq, error) {
	rows, err := w.stmt(ctx, w.sql.findChain).QueryContext(ctx, c.recordKey(0), int64(seq))
	if err != nil {
		return nil, err
	}
	var chain []chat.Seq
	for rows.Next() {
		var s int64
		if err := rows.Scan(&s); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		chain = append(chain, chat.Seq(s))
	}
	return chain, errors.Join(rows.Err(), rows.Close())
}

// empty replaces a record's JSON by one without text.
func (w *batchWrite) empty(ctx context.Context, c *conversationRow, seq chat.Seq) error {
	key := c.recordKey(seq)
	row := chat.Record{ConversationID: c.id, Seq: seq}
	kept, err := scanRecord(w.row(ctx, w.sql.readRecord, key), &row)
	if err != nil {
		return err
	}
	r, err := wire.DecodeRecord(unpack(&row, kept))
	if err != nil { // the text must go all the same
		r = row
	}
	r.Text, r.Deleted = "", true
	kept, w.scratch = pack(w.scratch, &row, r.AppendJSON(nil))
	return w.exec(ctx, w.sql.emptyRecord, kept, key)
}

// scanRecord fills in what the row's columns say of a record.
func scanRecord(row interface{ Scan(...any) error }, r *chat.Record) (kept []byte, err error) {
	var id, n int64
	var client []byte
	if err := row.Scan(&id, &n, (*string)(&r.Kind), (*string)(&r.SenderID), &client, &kept); err != nil {
		return nil, err
	}
	r.ID, r.N = chat.ID(id), uint64(n)
	copy(r.ClientID[:], client)
	return kept, nil
}
