package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

// endedKept is how long a session that expired or was revoked stays on record. A login of the same user
// removes older ones, so that a user's rows are bounded by what lives and ended lately.
const endedKept = 90 * 24 * time.Hour

// CreateSession stores a session and its first refresh token.
func (s *Store) CreateSession(ctx context.Context, n directory.Session, key directory.RefreshKey) error {
	return s.change(ctx, "create session", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE user_id = $1 AND (expires_at < $2 OR (revoked_at > 0 AND revoked_at < $2))`,
			string(n.UserID), millis(n.CreatedAt.Add(-endedKept)))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO sessions
			(id, user_id, name, created_at, last_used_at, expires_at, revoked_at, refresh_family, refresh_token)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			string(n.ID), string(n.UserID), n.Name, millis(n.CreatedAt), millis(n.LastUsedAt), millis(n.ExpiresAt), millis(n.RevokedAt),
			hex.EncodeToString(key.Family[:]), hex.EncodeToString(key.Token[:]))
		return err
	})
}

// RotateRefresh replaces a refresh token by the next, or revokes the session of one that was used before.
// The write lock makes it once, however many present the token at the same moment.
func (s *Store) RotateRefresh(ctx context.Context, r directory.Rotation) (found directory.Session, reused bool, err error) {
	err = s.change(ctx, "rotate refresh token", func(tx *sql.Tx) error {
		var token string
		found, token, err = byFamily(ctx, tx, r.Old.Family)
		if err != nil {
			return err
		}
		again := token == hex.EncodeToString(r.Next[:]) && found.RevokedAt.IsZero() && r.Now.Before(found.LastUsedAt.Add(r.Leeway))
		if again {
			return nil
		}
		if token != hex.EncodeToString(r.Old.Token[:]) {
			reused = true
			return revokeReused(ctx, tx, &found, r.Now)
		}
		if !found.RevokedAt.IsZero() || !r.Now.Before(found.ExpiresAt) {
			return chat.Errorf(chat.Unauthorized, "session has ended")
		}
		found.LastUsedAt, found.ExpiresAt = fromMillis(millis(r.Now)), fromMillis(millis(r.ExpiresAt))
		_, err := tx.ExecContext(ctx, `UPDATE sessions SET refresh_token = $2, last_used_at = $3, expires_at = $4 WHERE id = $1`,
			string(found.ID), hex.EncodeToString(r.Next[:]), millis(r.Now), millis(r.ExpiresAt))
		return err
	})
	if err != nil {
		return directory.Session{}, false, err
	}
	return found, reused, nil
}

func byFamily(ctx context.Context, tx *sql.Tx, family [32]byte) (n directory.Session, token string, err error) {
	var created, used, expires, revoked int64
	err = tx.QueryRowContext(ctx, `SELECT id, user_id, name, created_at, last_used_at, expires_at, revoked_at, refresh_token
		FROM sessions WHERE refresh_family = $1`, hex.EncodeToString(family[:])).
		Scan(&n.ID, &n.UserID, &n.Name, &created, &used, &expires, &revoked, &token)
	if errors.Is(err, sql.ErrNoRows) {
		return n, "", chat.Errorf(chat.Unauthorized, "refresh token is unknown")
	}
	n.CreatedAt, n.LastUsedAt, n.ExpiresAt, n.RevokedAt = fromMillis(created), fromMillis(used), fromMillis(expires), fromMillis(revoked)
	return n, token, err
}

func revokeReused(ctx context.Context, tx *sql.Tx, n *directory.Session, now time.Time) error {
	if !n.RevokedAt.IsZero() {
		return nil
	}
	n.RevokedAt = fromMillis(millis(now))
	_, err := tx.ExecContext(ctx, `UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at = 0`, string(n.ID), millis(now))
	return err
}

// Session finds a session, living or not.
func (s *Store) Session(ctx context.Context, id chat.SessionID) (directory.Session, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id, user_id, name, created_at, last_used_at, expires_at, revoked_at
		FROM sessions WHERE id = $1`, string(id))
	found, err := collect(rows, err, scanSession)
	if err == nil && len(found) == 0 {
		err = chat.Errorf(chat.NotFound, "no such session")
	}
	if err != nil {
		return directory.Session{}, s.fault("read session", err)
	}
	return found[0], nil
}

// Sessions lists a user's living sessions, newest first.
func (s *Store) Sessions(ctx context.Context, user chat.UserID, now time.Time) ([]directory.Session, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id, user_id, name, created_at, last_used_at, expires_at, revoked_at
		FROM sessions WHERE user_id = $1 AND revoked_at = 0 AND expires_at > $2 ORDER BY created_at DESC, id`, string(user), millis(now))
	found, err := collect(rows, err, scanSession)
	return found, s.fault("list sessions", err)
}

// RevokeSession ends a session; the first time of it stands.
func (s *Store) RevokeSession(ctx context.Context, user chat.UserID, id chat.SessionID, now time.Time) error {
	return s.change(ctx, "revoke session", func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE sessions SET revoked_at = CASE WHEN revoked_at = 0 THEN $3 ELSE revoked_at END
			WHERE id = $1 AND user_id = $2`, string(id), string(user), millis(now))
		if err != nil {
			return err
		}
		if found, err := done.RowsAffected(); err != nil || found == 1 {
			return err
		}
		return chat.Errorf(chat.NotFound, "no such session")
	})
}

// RevokedSince lists sessions revoked at or after t, in the order of it.
func (s *Store) RevokedSince(ctx context.Context, t time.Time) ([]directory.Session, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id, user_id, name, created_at, last_used_at, expires_at, revoked_at
		FROM sessions WHERE revoked_at > 0 AND revoked_at >= $1 ORDER BY revoked_at, id`, millis(t))
	found, err := collect(rows, err, scanSession)
	return found, s.fault("list revoked sessions", err)
}

func scanSession(rows *sql.Rows) (directory.Session, error) {
	var n directory.Session
	var created, used, expires, revoked int64
	err := rows.Scan(&n.ID, &n.UserID, &n.Name, &created, &used, &expires, &revoked)
	n.CreatedAt, n.LastUsedAt, n.ExpiresAt, n.RevokedAt = fromMillis(created), fromMillis(used), fromMillis(expires), fromMillis(revoked)
	return n, err
}
