package wire

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/pkg/chat"
)

// Limits of the protocol, in bytes unless said.
const (
	Subprotocol       = "parley.v1"
	MaxFrame          = 1_363_148 // 1.3 MiB: one inbound frame
	MaxRecord         = 1_572_864 // 1.5 MiB: one record
	MaxTextRunes      = 100_000
	MaxDepth          = 16  // nesting of inbound JSON
	MaxMessages       = 100 // messages a sync answers per conversation
	MaxSyncRecords    = 1000
	MaxConversations  = 1000 // conversations a client may name in one sync
	AuthTimeout       = 5 * time.Second
	AnswerWithin      = 10 * time.Second // a send is answered
	DefaultPage       = 50
	MaxPage           = 100
	HeartbeatInterval = 25 * time.Second
)

// The frame types.
const (
	TypeAuth             = "auth"
	TypeAuthOK           = "auth:ok"
	TypeError            = "error"
	TypeMessageSend      = "message:send"
	TypeMessageSent      = "message:sent"
	TypeMessageEdit      = "message:edit"
	TypeMessageDelete    = "message:delete"
	TypeRecordSent       = "record:sent"
	TypeMessageReceived  = "message:received"
	TypeRecordReceived   = "record:received"
	TypeMessageDelivered = "message:delivered"
	TypeMessageRead      = "message:read"
	TypeTypingStart      = "typing:start"
	TypeTypingStop       = "typing:stop"
	TypePresenceSub      = "presence:subscribe"
	TypePresenceState    = "presence:state"
	TypePresenceUpdate   = "presence:update"
	TypeSync             = "sync"
	TypeSyncRecords      = "sync:records"
	TypeSyncGone         = "sync:gone"
	TypeCaughtUp         = "caught_up"
	TypeGoAway           = "goaway"
	TypeResync           = "resync"
	TypePing             = "ping"
	TypePong             = "pong"
)

// Close codes: 4000-4499 do not reconnect (with this token), 4500-4999 reconnect.
const (
	CloseUnauthorized = 4001 // token refused, expired, or session revoked
	CloseProtocol     = 4002 // not the protocol: binary frame, first frame not auth
	CloseTooLarge     = 4003 // a frame above MaxFrame
	CloseDrain        = 4500 // this node goes away; goaway said when to return
	CloseTooSlow      = 4501 // outbound queue full: resume from the cursors
	CloseUnavailable  = 4502 // the node lost what it needs (log, revocations)
	CloseIdle         = 4503 // nothing heard for two heartbeats
	CloseHandshake    = 4504 // no auth within AuthTimeout
	CloseOverloaded   = 4505 // admission refused: come back after the hint
)

// Frame is the envelope of every frame. ID is the client's; a push has none.
type Frame struct {
	ID   uint64         `json:"id,omitzero"`
	Type string         `json:"type"`
	Data jsontext.Value `json:"data,omitzero"`
}

// Auth opens a connection: an access token or a single-use ticket.
type Auth struct {
	Token string `json:"token"`
}

// AuthOK answers Auth; clients correct their clock by ServerTime before they make client ids.
type AuthOK struct {
	UserID      chat.UserID    `json:"user_id"`
	SessionID   chat.SessionID `json:"session_id"`
	ServerTime  string         `json:"server_time"`
	HeartbeatMS int            `json:"heartbeat_ms"`
}

// Error answers a frame that failed.
type Error struct {
	Code         chat.Kind `json:"code"`
	Message      string    `json:"message"`
	Retryable    bool      `json:"retryable"`
	RetryAfterMS int64     `json:"retry_after_ms,omitzero"`
}

// ErrorOf is the wire form of an error.
func ErrorOf(err error) Error {
	e := chat.Public(err)
	return Error{e.Kind, e.Message, e.Kind.Rule().Retryable, e.RetryAfter.Milliseconds()}
}

// MessageSend sends one message.
type MessageSend struct {
	ConversationID string   `json:"conversation_id"`
	ClientID       string   `json:"client_id"`
	Type           string   `json:"type"`
	Text           string   `json:"text"`
	ReplyTo        chat.Seq `json:"reply_to,omitzero"`
}

// MessageEdit replaces the text of a message of one's own.
type MessageEdit struct {
	ConversationID string   `json:"conversation_id"`
	Seq            chat.Seq `json:"seq"`
	ClientID       string   `json:"client_id"`
	Text           string   `json:"text"`
}

// MessageDelete deletes a message for everyone.
type MessageDelete struct {
	ConversationID string   `json:"conversation_id"`
	Seq            chat.Seq `json:"seq"`
	ClientID       string   `json:"client_id"`
}

// Sent answers MessageSend (message:sent) and the other commands (record:sent).
type Sent struct {
	ConversationID chat.ConversationID `json:"conversation_id"`
	ClientID       chat.ClientID       `json:"client_id"`
	ID             chat.ID             `json:"id"`
	Seq            chat.Seq            `json:"seq"`
	N              uint64              `json:"n"`
	SentAt         string              `json:"sent_at"`
}

// CursorUp moves one's own cursor: exactly one of Seq and ID.
type CursorUp struct {
	ConversationID string   `json:"conversation_id"`
	Seq            chat.Seq `json:"seq,omitzero"`
	ID             chat.ID  `json:"id,omitzero"`
}

// CursorDown tells that somebody's cursor moved.
type CursorDown struct {
	ConversationID chat.ConversationID `json:"conversation_id"`
	UserID         chat.UserID         `json:"user_id"`
	Seq            chat.Seq            `json:"seq"`
	N              uint64              `json:"n"`
}

// Sync names what the client has, by conversation: the highest seq of which it has everything below.
type Sync struct {
	Conversations map[string]chat.Seq `json:"conversations"`
	Limit         *int                `json:"limit,omitzero"`
}

// SyncRecords is one conversation's part of the answer to Sync.
type SyncRecords struct {
	ConversationID chat.ConversationID `json:"conversation_id"`
	Records        []jsontext.Value    `json:"records"`
	Gap            *Gap                `json:"gap,omitzero"`
	Head           chat.Head           `json:"head"`
	Read           chat.Cursor         `json:"read"`
	Unread         uint64              `json:"unread"`
	JoinedSeq      chat.Seq            `json:"joined_seq"`
	Conversation   Conversation        `json:"conversation"`
	Peer           *Peer               `json:"peer,omitzero"`
}

// Gap says that records with After < seq < Before were left out: history has them.
type Gap struct {
	After  chat.Seq `json:"after"`
	Before chat.Seq `json:"before"`
}

// Peer is the other person of a direct conversation and how far they are.
type Peer struct {
	UserID    chat.UserID `json:"user_id"`
	Delivered chat.Cursor `json:"delivered"`
	Read      chat.Cursor `json:"read"`
}

// SyncGone says that a named conversation may not be seen (any more).
type SyncGone struct {
	ConversationID string `json:"conversation_id"`
}

// GoAway asks the client to reconnect elsewhere, after a wait of its own.
type GoAway struct {
	ReconnectAfterMS int64 `json:"reconnect_after_ms"`
}

// Conversation is REST's and sync's shape of a conversation, as one member sees it.
type Conversation struct {
	ID          chat.ConversationID `json:"id"`
	Type        chat.Type           `json:"type"`
	Name        string              `json:"name,omitzero"`
	History     chat.HistoryAccess  `json:"history,omitzero"`
	PeerID      chat.UserID         `json:"peer_id,omitzero"`
	MemberCount int                 `json:"member_count"`
	Role        chat.Role           `json:"role"`
	JoinedSeq   chat.Seq            `json:"joined_seq"`
	CreatedAt   string              `json:"created_at"`
	Head        chat.Head           `json:"head"`
	Read        chat.Cursor         `json:"read"`
	Delivered   chat.Cursor         `json:"delivered"`
	Unread      uint64              `json:"unread"`
	MutedUntil  chat.MutedUntil     `json:"muted_until,omitzero"`
	Archived    bool                `json:"archived,omitzero"`
	Pinned      bool                `json:"pinned,omitzero"`
	LastMessage jsontext.Value      `json:"last_message,omitzero"`
}
