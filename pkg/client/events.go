package client

import (
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// Event is something that happened; OnEvent gets them one at a time, in order.
type Event interface{ event() }

// Source says which way a record came.
type Source string

// The ways of a record.
const (
	SourceLive Source = "live"    // pushed as it was committed
	SourceSync Source = "sync"    // missed while away
	SourceFill Source = "history" // below a sync's gap, from history: edits and deletes are folded in
	SourceSent Source = "sent"    // sent by this client
)

// MessageReceived shows one message, one's own included.
type MessageReceived struct {
	Record chat.Record
	Source Source
}

// RecordReceived shows a record of another kind: create, edit, delete, member, settings, preference, or one that
// this version does not know. A preference is of one's self conversation and changes what is shown of Record.About:
// of its MutedUntil, Archived and Pinned those that are not nil. SourceFill shows none: Synced tells what holds.
type RecordReceived struct {
	Record chat.Record
	Source Source
}

// ReceiptKind says which cursor moved.
type ReceiptKind string

// The kinds of receipt.
const (
	ReceiptDelivered ReceiptKind = "delivered"
	ReceiptRead      ReceiptKind = "read"
)

// Receipt says how far somebody is. Forward tells whether it is further than what this client knew.
type Receipt struct {
	ConversationID chat.ConversationID
	UserID         chat.UserID
	Kind           ReceiptKind
	Cursor         chat.Cursor
	Forward        bool
	Source         Source // live or sync
}

// Answered reports what became of a message given to Send, Edit or Delete. Err is a *chat.Error when the server
// refused it for good, nil when it stands at Sent.Seq.
type Answered struct {
	Message Message
	Sent    wire.Sent
	Err     error
}

// Synced tells the state of one conversation after a sync; its records came before.
type Synced struct {
	Conversation wire.Conversation
	Head         chat.Head
	Read         chat.Cursor
	Unread       uint64
	JoinedSeq    chat.Seq
}

// Gap says that the records with After < seq < Before are not shown now. With Config.SkipGaps they never are
// and what an application cached below must be dropped; otherwise they follow, and Filled after them.
type Gap struct {
	ConversationID chat.ConversationID
	After, Before  chat.Seq
}

// Filled says that everything with After < seq < Before has been shown, as far as history shows it.
type Filled struct {
	ConversationID chat.ConversationID
	After, Before  chat.Seq
}

// Gone says that a conversation may not be seen any more.
type Gone struct{ ConversationID chat.ConversationID }

// CaughtUp says that everything missed up to the connection's beginning has been shown.
type CaughtUp struct{ Connection uint64 }

// Resync says that the server lost the thread of this connection; a sync follows by itself.
type Resync struct{ Connection uint64 }

// Repeated says that the server delivered a record twice on one connection. It is not shown again.
type Repeated struct {
	ConversationID chat.ConversationID
	Seq            chat.Seq
}

// Missed says that a record did not come although a later one did; a sync fetches it.
type Missed struct {
	ConversationID chat.ConversationID
	After, Before  chat.Seq
}

// Phase is what the client is doing.
type Phase string

// The phases.
const (
	Connecting Phase = "connecting"
	Connected  Phase = "connected"
	Waiting    Phase = "waiting" // Wait until the next try
	Stopped    Phase = "stopped" // Run has ended or is about to
)

// State tells of the connection. Connection numbers the connections of this client from 1.
type State struct {
	Phase      Phase
	Connection uint64
	Err        error // why the last connection ended, nil at first
	Wait       time.Duration
	At         time.Time // when it became so; OnEvent may hear of it later
}

func (MessageReceived) event() {}
func (RecordReceived) event()  {}
func (Receipt) event()         {}
func (Answered) event()        {}
func (Synced) event()          {}
func (Gap) event()             {}
func (Filled) event()          {}
func (Gone) event()            {}
func (CaughtUp) event()        {}
func (Resync) event()          {}
func (Repeated) event()        {}
func (Missed) event()          {}
func (State) event()           {}
