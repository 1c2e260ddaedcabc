package sqlite

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

// SetLastSeen writes all rows in one transaction; the latest time stands.
func (s *Store) SetLastSeen(ctx context.Context, rows []directory.Seen) error {
	if len(rows) == 0 {
		return nil
	}
	return s.change(ctx, "set last seen", func(tx *sql.Tx) error {
		put, err := tx.PrepareContext(ctx, `INSERT INTO last_seen (user_id, at)
			SELECT $1, $2 WHERE EXISTS (SELECT 1 FROM users WHERE id = $1)
			ON CONFLICT (user_id) DO UPDATE SET at = MAX(at, excluded.at)`)
		if err != nil {
			return err
		}
		defer func() { _ = put.Close() }() // the transaction ends it in any case
		for _, row := range rows {
			if _, err := put.ExecContext(ctx, string(row.User), millis(row.At)); err != nil {
				return err
			}
		}
		return nil
	})
}

// LastSeen reads when people were last seen, in no order.
func (s *Store) LastSeen(ctx context.Context, ids []chat.UserID) (map[chat.UserID]time.Time, error) {
	seen := make(map[chat.UserID]time.Time, len(ids))
	for some := range slices.Chunk(ids, idsAtOnce) {
		rows, err := s.read.QueryContext(ctx, `SELECT u.id, MAX(
			COALESCE((SELECT at FROM last_seen WHERE user_id = u.id), 0),
			COALESCE((SELECT MAX(last_used_at) FROM sessions WHERE user_id = u.id), 0))
			FROM users u WHERE u.id IN (`+idList+`)`, padded(some)...)
		found, err := collect(rows, err, scanSeen)
		if err != nil {
			return nil, s.fault("read last seen", err)
		}
		for _, one := range found {
			if !one.At.IsZero() {
				seen[one.User] = one.At
			}
		}
	}
	return seen, nil
}

func scanSeen(rows *sql.Rows) (directory.Seen, error) {
	var one directory.Seen
	var at int64
	err := rows.Scan(&one.User, &at)
	one.At = fromMillis(at)
	return one, err
}
