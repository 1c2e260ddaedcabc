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

// Seen is when a person was last seen.
type Seen struct {
	User chat.UserID
	At   time.Time
}

// Account is a user with what only they and the server see.
type Account struct {
	User
	Email        string
	PasswordHash Secret
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

// RefreshKey is how a refresh token is known to the directory: the SHA-256 of the part that a session keeps
// for life, and of the whole token. A known family with another token is an earlier token of that session,
// so one row per session tells every reuse, however old.
type RefreshKey struct {
	Family [32]byte
	Token  [32]byte
}

// Rotation replaces a session's refresh token by the next one.
type Rotation struct {
	Old       RefreshKey
	Next      [32]byte // the token that takes Old's place in the family; a function of Old where Leeway is used
	Now       time.Time
	ExpiresAt time.Time // of the session, when it is not used again
	// Leeway is how long after its rotation Old may come again and give Next again: its answer may have been lost.
	Leeway time.Duration
}

// Participant is one row of the projection: a conversation that a user is or was a member of. In a
// Projection it says what one record changed: a zero Role, JoinedSeq or RemovedSeq changes nothing.
type Participant struct {
	ConversationID chat.ConversationID
	UserID         chat.UserID
	Role           chat.Role
	JoinedSeq      chat.Seq // where the last membership began
	RemovedSeq     chat.Seq // where it ended; as read, 0: member now
	Seq            chat.Seq // of the record that last changed this row
}

// Conversation is the projection of a conversation's settings. In a Projection a zero CreatedAt changes
// nothing; name and type are always given.
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
	// Account finds an account by its id; chat.NotFound otherwise.
	Account(ctx context.Context, id chat.UserID) (Account, error)
	// Users reads several people; unknown ids are left out.
	Users(ctx context.Context, ids []chat.UserID) ([]User, error)
	// SearchUsers finds usernames by prefix, exact first, at most limit; an empty prefix finds nobody.
	SearchUsers(ctx context.Context, prefix string, limit int) ([]User, error)
	// SetProfile changes the display name; chat.NotFound when there is no such user.
	SetProfile(ctx context.Context, id chat.UserID, displayName string) error

	// SetLastSeen notes when people were last seen, all in one transaction; a time never goes back, unknown
	// people are passed over.
	SetLastSeen(ctx context.Context, rows []Seen) error
	// LastSeen reads it: the latest of what was noted and of the use of a session's refresh token, so that a
	// crash loses less than the life of an access token. Who was never seen is left out.
	LastSeen(ctx context.Context, ids []chat.UserID) (map[chat.UserID]time.Time, error)

	// CreateSession stores a session and what its first refresh token is known by.
	CreateSession(ctx context.Context, s Session, key RefreshKey) error
	// RotateRefresh replaces a refresh token by the next, once, and prolongs its session. A token that was
	// rotated before, but not to Next within the leeway, revokes its session: reused is true then, also when it was revoked already, and the
	// session is returned. chat.Unauthorized: the token is unknown, or its session revoked or expired.
	RotateRefresh(ctx context.Context, r Rotation) (s Session, reused bool, err error)
	// Session finds a session, living or not; chat.NotFound otherwise.
	Session(ctx context.Context, id chat.SessionID) (Session, error)
	// Sessions lists a user's living sessions, newest first.
	Sessions(ctx context.Context, user chat.UserID, now time.Time) ([]Session, error)
	// RevokeSession is idempotent; chat.NotFound when the user has no such session.
	RevokeSession(ctx context.Context, user chat.UserID, id chat.SessionID, now time.Time) error
	// RevokedSince lists sessions revoked at or after t: a starting edge closes what it missed.
	RevokedSince(ctx context.Context, t time.Time) ([]Session, error)

	// Project writes rows of the projection and the position after them, in one transaction. Rows may come
	// in any order and again: the highest JoinedSeq and RemovedSeq stand, the role and name of the highest
	// Seq. A position never goes back.
	Project(ctx context.Context, partition int, rows Projection) error
	// Projected is the position after the last Project of a partition.
	Projected(ctx context.Context, partition int) (chat.Mark, error)
	// Participations lists the conversations a user is a member of now, ascending by id above after, at most limit.
	Participations(ctx context.Context, user chat.UserID, after chat.ConversationID, limit int) ([]Participant, error)
	// Conversations reads the projection of several conversations; unknown ids are left out.
	Conversations(ctx context.Context, ids []chat.ConversationID) ([]Conversation, error)
	// ShareConversation reports whether two people are members of one conversation now.
	ShareConversation(ctx context.Context, a, b chat.UserID) (bool, error)
}

// Projection is one batch of the projection.
type Projection struct {
	Conversations []Conversation
	Participants  []Participant
	Position      chat.Mark
}
