package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	retryAfter    = time.Second
	primaryResult = 0xff // the low byte of SQLite's extended result codes
)

// fault names the operation and gives an error of the file its kind; a *chat.Error inside stays what it is.
func (s *Store) fault(operation string, err error) error {
	if err == nil {
		return nil
	}
	if _, ours := errors.AsType[*chat.Error](err); ours {
		return fmt.Errorf("%s: %w", operation, err)
	}
	if !transient(err) {
		s.metrics.failures.WithLabelValues(string(chat.Internal)).Inc()
		return fmt.Errorf("%s: %w", operation, err)
	}
	s.metrics.failures.WithLabelValues(string(chat.Unavailable)).Inc()
	public := chat.Errorf(chat.Unavailable, "the directory can not answer now")
	public.RetryAfter = retryAfter
	return fmt.Errorf("%s: %w: %w", operation, public, err)
}

// transient tells what may pass (a lock, the disk, the caller's deadline) from a fault of the data.
func transient(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sql.ErrConnDone) {
		return true
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return strings.Contains(err.Error(), "database is closed") // database/sql exports no value for it
	}
	switch e.Code() & primaryResult {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT:
		return true
	default:
		return false
	}
}

// change runs f in a transaction that holds the write lock from its beginning.
func (s *Store) change(ctx context.Context, operation string, f func(*sql.Tx) error) error {
	begun := time.Now()
	err := s.transact(ctx, f)
	s.metrics.seconds.WithLabelValues(operation).Observe(time.Since(begun).Seconds())
	return s.fault(operation, err)
}

func (s *Store) transact(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing once committed
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// collect reads all rows of a query.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) (list []T, _ error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // an early end has its error already
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, rows.Err()
}
