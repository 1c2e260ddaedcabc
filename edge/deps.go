package edge

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/directory"
	"github.com/parley-chat/parley/pkg/wire"
)

// Partitions are the owners of the conversations.
type Partitions interface {
	// Submit answers after the commit, with what stands or a refusal. When ctx ends first the outcome is unknown.
	Submit(ctx context.Context, c conversation.Command) (conversation.Outcome, error)
	// Ask answers from committed state only; a conversation that does not exist has a zero head or is not_found.
	Ask(ctx context.Context, id chat.ConversationID) (conversation.Answer, error)
}

// History reads records: the store, completed from the log up to the answer's head.
type History interface {
	Page(ctx context.Context, q conversation.PageQuery) (conversation.Page, error)
	Records(ctx context.Context, q conversation.RecordsQuery) (conversation.Records, error)
	// Resolve finds the record at a seq or id; not_found when there is none.
	Resolve(ctx context.Context, a conversation.Answer, p chat.Position) (chat.Head, error)
	// Versions are the message and its edits, ascending.
	Versions(ctx context.Context, a conversation.Answer, visible []conversation.Interval, target chat.Seq) ([][]byte, error)
	// LastMessage is the newest message, folded; nil when there is none.
	LastMessage(ctx context.Context, a conversation.Answer, visible []conversation.Interval) ([]byte, error)
}

// Cursors keeps how far people have come.
type Cursors interface {
	// Advance is durable on return; a cursor never moves back.
	Advance(ctx context.Context, id chat.ConversationID, user chat.UserID, c chat.Cursors) (merged chat.Cursors, changed bool, err error)
	// Of reads one user's cursors in several conversations; missing ones are zero or left out.
	Of(ctx context.Context, user chat.UserID, ids []chat.ConversationID) (map[chat.ConversationID]chat.Cursors, error)
	// In reads several users' cursors in one conversation; missing ones are zero or left out.
	In(ctx context.Context, id chat.ConversationID, users []chat.UserID) (map[chat.UserID]chat.Cursors, error)
}

// Fanout is one partition's delivery worker.
type Fanout interface {
	// Register counts the users' connections at an edge up by one each: every record above the answer's
	// position is delivered live. It answers after the worker has reached what was durable at the call.
	Register(ctx context.Context, edge string, users []chat.UserID) (Registered, error)
	// Unregister counts down what Register counted up.
	Unregister(edge string, users []chat.UserID)
	// Typing passes on that a member begins or stops to write. It does not block and may drop it.
	Typing(id chat.ConversationID, user chat.UserID, stop bool)
	// Replay delivers again what came after from, as hops marked so, before it returns; an error means that it can not.
	Replay(ctx context.Context, edge string, lane wire.Lane, generation uint32, from uint64) error
}

// Registered is the answer to Register.
type Registered struct {
	Generation uint32
	Position   uint64 // stream sequence
	// Changed lists, by user, conversations whose membership of them changed and that the directory's
	// projection may not hold yet.
	Changed map[chat.UserID][]chat.ConversationID
}

// Presence is who is here, as the edge tells it, and who is anywhere, as it asks; presence.Registrar is it.
type Presence interface {
	// Enter counts a connection in and names it, never 0; Leave counts it out. SetAway tells whether the person
	// is away from it. They do not wait.
	Enter(user chat.UserID, session chat.SessionID) (connection uint64)
	SetAway(connection uint64, away bool)
	Leave(connection uint64)
	// Watch has changes of people announced from now on and answers how they are, as far as that is known;
	// each call is undone by Unwatch.
	Watch(ctx context.Context, users []chat.UserID) []wire.Announcement
	Unwatch(users []chat.UserID)
	// Look answers how people are, once; who is not known now is left out.
	Look(ctx context.Context, users []chat.UserID) ([]wire.PersonStatus, error)
}

// People registers, logs in and recognises persons; auth.Service is it.
type People interface {
	Register(ctx context.Context, username, email, password, device string) (auth.Grant, error)
	Login(ctx context.Context, login, password, device string) (auth.Grant, error)
	// Refresh exchanges a refresh token, once; within the leeway again, with the same result.
	Refresh(ctx context.Context, token string, leeway time.Duration) (auth.Grant, error)
	Logout(ctx context.Context, c auth.Claims) error
	Verify(token string) (auth.Claims, error)
	// Ticket makes a single-use token that opens one WebSocket.
	Ticket(ctx context.Context, c auth.Claims) (string, error)
	Redeem(ticket string) (auth.Claims, error)
	Sessions(ctx context.Context, c auth.Claims) ([]directory.Session, error)
	Revoke(ctx context.Context, c auth.Claims, id chat.SessionID) error
}

// Directory is the part of the directory's store that the edge reads and writes.
type Directory interface {
	Account(ctx context.Context, id chat.UserID) (directory.Account, error)
	Users(ctx context.Context, ids []chat.UserID) ([]directory.User, error)
	SearchUsers(ctx context.Context, prefix string, limit int) ([]directory.User, error)
	SetProfile(ctx context.Context, id chat.UserID, displayName string) error
	// LastSeen reads when people were last seen; who never was is left out.
	LastSeen(ctx context.Context, ids []chat.UserID) (map[chat.UserID]time.Time, error)
	Participations(ctx context.Context, user chat.UserID, after chat.ConversationID, limit int) ([]directory.Participant, error)
}

// Revocations is the news of revoked sessions.
type Revocations interface {
	Revoked(id chat.SessionID) bool
	// On has f called for each session revoked from now on; f does not block.
	On(f func(chat.SessionID))
	// Connected reports whether the news would arrive now.
	Connected() bool
}

// Limiter limits what an address may do before it is known who is behind it.
type Limiter interface {
	// ClientAddr is the address of the client, behind trusted proxies.
	ClientAddr(r *http.Request) netip.Addr
	// Allow judges one try of a kind of auth's (auth.LimitLogin and so on).
	Allow(kind string, addr netip.Addr) (ok bool, retryAfter time.Duration)
	// AllowUser judges one try of a person.
	AllowUser(kind string, user chat.UserID) (ok bool, retryAfter time.Duration)
}

// Deps are the edge's ways to everybody else, bound in cmd.
type Deps struct {
	Partitions  Partitions
	History     History
	Cursors     Cursors
	Fanout      []Fanout // by partition
	Presence    Presence
	People      People
	Directory   Directory
	Revocations Revocations
	Limiter     Limiter
}
