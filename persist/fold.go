package persist

import (
	"context"
	"fmt"
	"slices"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// folded is a record as a page shows it: a message with its newest edit that the reader may see, without
// text once deleted. Bytes of what was never changed are returned as they are.
func (s *snapshot) folded(ctx context.Context, row Stored) ([]byte, error) {
	if row.Kind != chat.KindMessage {
		return row.Raw, nil
	}
	tail, err := s.tailChanges(ctx)
	if err != nil {
		return nil, err
	}
	edit, err := s.newestEdit(ctx, row, tail)
	if err != nil {
		return nil, fmt.Errorf("edit of %d: %w", row.Seq, err)
	}
	deleted := row.Deleted || edit.Deleted || tail.deleted[row.Seq]
	if edit.Seq == 0 && (!deleted || row.Deleted) {
		return row.Raw, nil
	}
	r, err := wire.DecodeRecord(row.Raw)
	if err != nil {
		return nil, fmt.Errorf("message %d: %w", row.Seq, err)
	}
	r.EditedSeq = edit.Seq
	if deleted {
		r.Text, r.Deleted = "", true
		return r.AppendJSON(nil), nil
	}
	e, err := wire.DecodeRecord(edit.Raw)
	if err != nil {
		return nil, fmt.Errorf("edit %d: %w", edit.Seq, err)
	}
	r.Text = e.Text
	return r.AppendJSON(nil), nil
}

// newestEdit is the last edit of a message up to the head and within what is visible; zero for none.
func (s *snapshot) newestEdit(ctx context.Context, row Stored, tail *changes) (Stored, error) {
	var newest Stored
	for _, c := range tail.edits[row.Seq] {
		if s.sees(c.seq) {
			newest = c.row
		}
	}
	if row.Edited <= newest.Seq {
		return newest, nil
	}
	if s.sees(row.Edited) {
		return s.row(ctx, row.Edited)
	}
	// The store is ahead of the answer, or the edit came while the reader was no member.
	versions, err := s.store.Versions(ctx, s.id, row.Seq)
	if err != nil {
		return Stored{}, err
	}
	for _, v := range versions {
		if v.Seq > newest.Seq && s.sees(v.Seq) {
			newest = v
		}
	}
	return newest, nil
}

// unfolded is a record as the log has it, without text when its message was deleted.
func (s *snapshot) unfolded(ctx context.Context, row Stored) ([]byte, error) {
	if row.Deleted || (row.Kind != chat.KindMessage && row.Kind != chat.KindEdit) {
		return row.Raw, nil
	}
	tail, err := s.tailChanges(ctx)
	if err != nil {
		return nil, err
	}
	if len(tail.deleted) == 0 || (row.Kind == chat.KindMessage && !tail.deleted[row.Seq]) {
		return row.Raw, nil
	}
	r, err := wire.DecodeRecord(row.Raw)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", row.Seq, err)
	}
	if row.Kind == chat.KindEdit && !tail.deleted[r.TargetSeq] {
		return row.Raw, nil
	}
	return emptied(r), nil
}

func emptied(r chat.Record) []byte {
	r.Text, r.Deleted = "", true
	return r.AppendJSON(nil)
}

// versions lists a visible message and its visible edits.
func (s *snapshot) versions(ctx context.Context, target chat.Seq) ([][]byte, error) {
	if !s.sees(target) {
		return nil, chat.Errorf(chat.NotFound, "no such message")
	}
	row, err := s.row(ctx, target)
	if err != nil {
		return nil, err
	}
	if row.Kind != chat.KindMessage {
		return nil, chat.Errorf(chat.NotFound, "no such message")
	}
	tail, err := s.tailChanges(ctx)
	if err != nil {
		return nil, err
	}
	rows := []Stored{row}
	if target < s.tailFrom { // edits of what only the tail has are in the tail
		edits, err := s.store.Versions(ctx, s.id, target)
		if err != nil {
			return nil, err
		}
		rows = append(rows, edits...)
	}
	for _, c := range tail.edits[target] {
		rows = append(rows, c.row)
	}
	slices.SortStableFunc(rows, func(a, b Stored) int { return int(a.Seq) - int(b.Seq) })
	rows = slices.CompactFunc(rows, func(a, b Stored) bool { return a.Seq == b.Seq })
	rows = slices.DeleteFunc(rows, func(v Stored) bool { return !s.sees(v.Seq) })
	deleted := tail.deleted[target] || slices.ContainsFunc(rows, func(v Stored) bool { return v.Deleted })
	shown := make([][]byte, 0, len(rows))
	for _, v := range rows {
		raw := v.Raw
		if deleted && !v.Deleted {
			r, err := wire.DecodeRecord(v.Raw)
			if err != nil {
				return nil, fmt.Errorf("version %d: %w", v.Seq, err)
			}
			raw = emptied(r)
		}
		shown = append(shown, raw)
	}
	return shown, nil
}
