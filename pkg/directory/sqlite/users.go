package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

// CreateUser stores an account, once per username and e-mail address.
func (s *Store) CreateUser(ctx context.Context, a directory.Account) error {
	return s.change(ctx, "create user", func(tx *sql.Tx) error {
		username, email := directory.Fold(a.Username), directory.Fold(a.Email)
		done, err := tx.ExecContext(ctx, `INSERT INTO users (id, username, display_name, email, email_folded, password_hash, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
			string(a.ID), username, a.DisplayName, a.Email, email, string(a.PasswordHash), millis(a.CreatedAt))
		if err != nil {
			return err
		}
		if stored, err := done.RowsAffected(); err != nil || stored == 1 {
			return err
		}
		return taken(ctx, tx, username, email)
	})
}

// taken says which name it was that stood in the way.
func taken(ctx context.Context, tx *sql.Tx, username, email string) error {
	var names, emails int
	err := tx.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM users WHERE username = $1),
		(SELECT COUNT(*) FROM users WHERE email_folded = $2 AND email_folded <> '')`, username, email).Scan(&names, &emails)
	switch {
	case err != nil:
		return err
	case names > 0:
		return chat.Errorf(chat.Conflict, "username is taken")
	case emails > 0:
		return chat.Errorf(chat.Conflict, "e-mail address is taken")
	default:
		return chat.Errorf(chat.Conflict, "user id is taken")
	}
}

// AccountByLogin finds an account by username or e-mail address.
func (s *Store) AccountByLogin(ctx context.Context, login string) (directory.Account, error) {
	return s.account("find account by login", s.read.QueryRowContext(ctx, `SELECT id, username, display_name, created_at, email, password_hash
		FROM users WHERE username = $1 OR (email_folded = $1 AND email_folded <> '')`, directory.Fold(login)))
}

// Account finds an account by its id.
func (s *Store) Account(ctx context.Context, id chat.UserID) (directory.Account, error) {
	return s.account("read account", s.read.QueryRowContext(ctx, `SELECT id, username, display_name, created_at, email, password_hash
		FROM users WHERE id = $1`, string(id)))
}

func (s *Store) account(operation string, row *sql.Row) (directory.Account, error) {
	var a directory.Account
	var created int64
	err := row.Scan(&a.ID, &a.Username, &a.DisplayName, &created, &a.Email, &a.PasswordHash)
	if errors.Is(err, sql.ErrNoRows) {
		err = chat.Errorf(chat.NotFound, "no such user")
	}
	if err != nil {
		return directory.Account{}, s.fault(operation, err)
	}
	a.CreatedAt = fromMillis(created)
	return a, nil
}

// Users reads several people, in no order.
func (s *Store) Users(ctx context.Context, ids []chat.UserID) ([]directory.User, error) {
	var users []directory.User
	for some := range slices.Chunk(ids, idsAtOnce) {
		rows, err := s.read.QueryContext(ctx, `SELECT id, username, display_name, created_at FROM users WHERE id IN (`+idList+`)`, padded(some)...)
		found, err := collect(rows, err, scanUser)
		if err != nil {
			return nil, s.fault("read users", err)
		}
		users = append(users, found...)
	}
	return users, nil
}

// SearchUsers finds usernames by prefix, ascending: the exact one is the first.
func (s *Store) SearchUsers(ctx context.Context, prefix string, limit int) ([]directory.User, error) {
	if prefix == "" || limit <= 0 {
		return nil, nil
	}
	prefix = directory.Fold(prefix)
	const afterAll = "{" // sorts after every character of a username
	rows, err := s.read.QueryContext(ctx, `SELECT id, username, display_name, created_at FROM users
		WHERE username >= $1 AND username < $2 ORDER BY username LIMIT $3`, prefix, prefix+afterAll, limit)
	users, err := collect(rows, err, scanUser)
	return users, s.fault("search users", err)
}

func scanUser(rows *sql.Rows) (directory.User, error) {
	var u directory.User
	var created int64
	err := rows.Scan(&u.ID, &u.Username, &u.DisplayName, &created)
	u.CreatedAt = fromMillis(created)
	return u, err
}

// SetProfile changes the display name.
func (s *Store) SetProfile(ctx context.Context, id chat.UserID, displayName string) error {
	return s.change(ctx, "set profile", func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE users SET display_name = $2 WHERE id = $1`, string(id), displayName)
		if err != nil {
			return err
		}
		if changed, err := done.RowsAffected(); err != nil || changed == 1 {
			return err
		}
		return chat.Errorf(chat.NotFound, "no such user")
	})
}

// idList is a constant list of places, so that the statement is constant too; padded fills it.
const (
	idsAtOnce = 25
	idList    = `$1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25`
)

func padded[T ~string](ids []T) []any {
	arguments := make([]any, idsAtOnce)
	for i := range arguments {
		arguments[i] = "" // no id is empty
		if i < len(ids) {
			arguments[i] = string(ids[i])
		}
	}
	return arguments
}

// millis keeps the zero time as 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
