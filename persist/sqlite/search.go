package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/pkg/chat"
)

// SeqOf finds the seq of an id.
func (s *Store) SeqOf(ctx context.Context, id chat.ConversationID, record chat.ID) (chat.Seq, bool, error) {
	seq, found, _, err := s.reader.firstAtOrAfter(ctx, id, record)
	if err != nil {
		return 0, false, failed(fmt.Sprintf("find id %d in %s", record, id), err)
	}
	return seq, found == record && seq > 0, nil
}

// SeqAt is the seq of the first record at or after an id's place in time.
func (s *Store) SeqAt(ctx context.Context, id chat.ConversationID, at chat.ID) (chat.Seq, error) {
	seq, _, head, err := s.reader.firstAtOrAfter(ctx, id, at)
	if err != nil {
		return 0, failed(fmt.Sprintf("find time %d in %s", at, id), err)
	}
	if seq == 0 {
		return head + 1, nil
	}
	return seq, nil
}

// firstAtOrAfter finds the first record whose id is not below want by halving the range of seqs, which
// works because ids rise with seq. seq is 0 when there is none. A hole does not disturb it: each probe
// takes the first record at or above the middle.
func (r *reader) firstAtOrAfter(ctx context.Context, id chat.ConversationID, want chat.ID) (seq chat.Seq, found chat.ID, head chat.Seq, err error) {
	var key, last int64
	err = r.sql.key.QueryRowContext(ctx, string(id)).Scan(&key, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, 0, nil
	}
	if err != nil {
		return 0, 0, 0, err
	}
	base := key << seqBits
	low, high := int64(1), last+1 // the answer lies in [low, high]; high stands for none, or for seq
	for low < high {
		middle := low + (high-low)/2
		var at, probe int64
		err := r.sql.next.QueryRowContext(ctx, base|middle, base|last).Scan(&at, &probe)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			high = middle
		case err != nil:
			return 0, 0, 0, err
		case chat.ID(probe) >= want:
			seq, found, high = chat.Seq(at), chat.ID(probe), middle
		default:
			low = at + 1
		}
	}
	return seq, found, chat.Seq(last), nil
}
