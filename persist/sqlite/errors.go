package sqlite

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/parley-chat/parley/pkg/chat"
)

// fault marks an error as one of the entry's own, found before the database was asked.
type fault struct{ reason string }

func (f *fault) Error() string { return f.reason }

func faultf(format string, args ...any) error { return &fault{reason: fmt.Sprintf(format, args...)} }

// failed wraps err with the operation. Everything but a fault of the data says that the store can not
// answer now: a caller tries again, and an operator reads the cause.
func failed(operation string, err error) error {
	if err == nil {
		return nil
	}
	if isFault(err) {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return fmt.Errorf("%s: %w: %w", operation, chat.Errorf(chat.Unavailable, "the message store can not answer now"), err)
}

// isFault tells whether the same write can never succeed, whatever the state of disk and file.
func isFault(err error) bool {
	if _, ok := errors.AsType[*fault](err); ok {
		return true
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & 0xff { // without the extended part
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return true
	default:
		return false
	}
}

// notDatabase tells whether SQLite does not recognise the file.
func notDatabase(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_NOTADB
}
