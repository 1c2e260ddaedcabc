package directory

import (
	"context"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// User is what others may see of a person.
type User struct {
	ID          chat.UserID
	Username    string
	DisplayName string
	CreatedAt   time.Time
}

// Account is a user with what only they and the server see.
type Account struct {
	User
	Email        string
	PasswordHash string
}

// Session is one login on one device. Refresh tokens rotate within it.
type Session struct {
	ID         chat.SessionID
	UserID     chat.UserID
	Name       string // device name or user agent, shown to the user
	CreatedAt  time.Time
	LastUsedAt time.Time
	ExpiresAt  time.Time
	RevokedAt  time.Time // zero: alive
}

// Participant is one row of the projection: a conversation that a user is or was a member of.
type Participant struct {
	ConversationID chat.ConversationID
	UserID         chat.UserID
	Role           chat.Role
	JoinedSeq      chat.Seq
	RemovedSeq     chat.Seq // 0: member now
	Seq            chat.Seq // of the record that last changed this row
}

// Conversation is the projection of a conversation's settings.
type Conversation struct {
	ID        chat.ConversationID
	Type      chat.Type
	Name      string
	CreatedAt time.Time
	Seq       chat.Seq // of the record that last changed this row
}

// Store keeps the directory. Safe for concurrent use; chat.Unavailable when it can not answer now.
type Store interface {
	// CreateUser fails with chat.Conflict when the username or e-mail is taken (which one is in the message).
	CreateUser(ctx context.Context, a Account) error
	// AccountByLogin finds an account by username or e-mail, both folded; chat.NotFound otherwise.
	AccountByLogin(ctx context.Context, login string) (Account, error)
	Account(ctx context.Context, id chat.UserID) (Account, error)
	// Users reads several people; unknown ids are left out.
	Users(ctx context.Context, ids []chat.UserID) ([]User, error)
	// SearchUsers finds usernames by prefix, exact first, at most limit.
	SearchUsers(ctx context.Context, prefix string, limit int) ([]User, error)
	// SetProfile changes the display name.
	SetProfile(ctx context.Context, id chat.UserID, displayName string) error

	// CreateSession stores a session and the hash of its first refresh token.
	CreateSession(ctx context.Context, s Session, refreshHash [32]byte) error
	// RotateRefresh replaces a refresh token by another, once. A token that was rotated before revokes
	// its session: reused is true then, and the session is returned.
	RotateRefresh(ctx context.Context, old, next [32]byte, now time.Time) (s Session, reused bool, err error)
	Session(ctx context.Context, id chat.SessionID) (Session, error)
	// Sessions lists a user's living sessions, newest first.
	Sessions(ctx context.Context, user chat.UserID, now time.Time) ([]Session, error)
	// RevokeSession is idempotent; chat.NotFound when the user has no such session.
	RevokeSession(ctx context.Context, user chat.UserID, id chat.SessionID, now time.Time) error
	// RevokedSince lists sessions revoked at or after t: a starting edge closes what it missed.
	RevokedSince(ctx context.Context, t time.Time) ([]Session, error)

	// Project writes rows of the projection and the position after them, in one transaction. A row with
	// a lower Seq than the stored one is ignored.
	Project(ctx context.Context, partition int, rows Projection) error
	// Projected is the position after the last Project of a partition.
	Projected(ctx context.Context, partition int) (chat.Mark, error)
	// Participations lists the conversations a user is a member of now, ascending by id above after, at most limit.
	Participations(ctx context.Context, user chat.UserID, after chat.ConversationID, limit int) ([]Participant, error)
	// ShareConversation reports whether two people are members of one conversation now.
	ShareConversation(ctx context.Context, a, b chat.UserID) (bool, error)
}

// Projection is one batch of the projection.
type Projection struct {
	Conversations []Conversation
	Participants  []Participant
	Position      chat.Mark
}
