package auth

import (
	"context"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// Claims are what a verified access token or ticket says.
type Claims struct {
	UserID    chat.UserID
	SessionID chat.SessionID
	ExpiresAt time.Time
}

// Revocations spreads the news of revoked sessions to every edge; bound to a KV bucket in cmd.
type Revocations interface {
	// Revoke makes the session's tokens worthless everywhere within 5 s; durable before it returns.
	Revoke(ctx context.Context, id chat.SessionID) error
	// Revoked reports whether a session is known to be revoked; answered from memory.
	Revoked(id chat.SessionID) bool
}
