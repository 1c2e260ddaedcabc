package conversation

import "github.com/parley-chat/parley/pkg/chat"

// Interval is a stretch of membership: seqs in [Joined, Removed) are the member's; Removed 0 means open.
type Interval struct {
	Joined  chat.Seq `json:"joined"`
	Removed chat.Seq `json:"removed,omitzero"`
	N       uint64   `json:"n,omitzero"` // running number of messages just before Joined
}

// Member is one person's standing; a former member keeps the entry with a closed last interval.
type Member struct {
	Role      chat.Role  `json:"role"`
	Intervals []Interval `json:"intervals"`
	Seq       chat.Seq   `json:"seq"` // the record that last changed this row
}

// Members is immutable once it is part of a State: Apply replaces it, so it may be shared freely.
type Members map[chat.UserID]Member

// State is one conversation up to Head. It is a value: copying it is a snapshot.
// The zero State (Head.Seq 0) is a conversation that does not exist.
type State struct {
	ID          chat.ConversationID
	Type        chat.Type
	Name        string
	History     chat.HistoryAccess
	CreatedID   chat.ID // id of the create record, whose time is created_at
	SettingsSeq chat.Seq
	Head        chat.Head
	Bucket      chat.Bucket
	BucketCount int // records in Bucket so far
	Members     Members
	MemberCount int // open members
	Preferences Preferences
}

// Outcome is what a command gave: the answer to its sender, now and to every repeat.
type Outcome struct {
	ID   chat.ID
	Seq  chat.Seq
	N    uint64
	Hash chat.Hash // body hash of the command that made the record
}

// Target is the record that an edit or delete names, as far as its rules need it.
type Target struct {
	Kind    chat.RecordKind
	Sender  chat.UserID
	Deleted bool
}

// Op is what a command wants.
type Op string

// The commands.
const (
	OpCreate   Op = "create"
	OpSend     Op = "send"
	OpEdit     Op = "edit"
	OpDelete   Op = "delete"
	OpAdd      Op = "add"
	OpRemove   Op = "remove" // of oneself: leave
	OpRole     Op = "role"
	OpSettings Op = "settings"

	OpPreference Op = "preference"
)

// Command is a wish, checked in form by whoever made it from a request (Check), decided at the head.
type Command struct {
	Op             Op                  `json:"op"`
	ConversationID chat.ConversationID `json:"conversation_id"`
	Actor          chat.UserID         `json:"actor"`
	ClientID       chat.ClientID       `json:"client_id,omitzero"`
	Hash           chat.Hash           `json:"hash,omitzero"`
	Trace          string              `json:"trace,omitzero"`

	Type      string             `json:"type,omitzero"`       // send: message type
	Text      string             `json:"text,omitzero"`       // send, edit
	ReplyTo   chat.Seq           `json:"reply_to,omitzero"`   // send
	TargetSeq chat.Seq           `json:"target_seq,omitzero"` // edit, delete
	Name      *string            `json:"name,omitzero"`       // create, settings
	History   chat.HistoryAccess `json:"history,omitzero"`    // create, settings
	Members   []chat.UserID      `json:"members,omitzero"`    // create (without the actor), add, remove and role (one)
	Role      chat.Role          `json:"role,omitzero"`       // role

	About      chat.ConversationID `json:"about,omitzero"`       // preference
	MutedUntil *chat.MutedUntil    `json:"muted_until,omitzero"` // preference
	Archived   *bool               `json:"archived,omitzero"`    // preference
	Pinned     *bool               `json:"pinned,omitzero"`      // preference
}

// Facts are what Decide may need beside the state. The shell looks them up when Decide asks.
type Facts struct {
	PriorKnown  bool
	Prior       *Outcome // what (actor, client id) gave before, nil: nothing
	TargetKnown bool
	Target      *Target // nil: there is no such record
}

// Verdict is one of: a record to commit, an outcome that stands already, or facts that are needed first.
type Verdict struct {
	Record      *chat.Record // without Seq, N, ID: Stamp sets them
	Standing    *Outcome     // a repeat, or a command that changes nothing (present head)
	NeedsPrior  bool
	NeedsTarget bool
}

// Loaded is a conversation as a store has it. The rows may be of different ages: whoever loads folds the
// log's records above the store's sealed position over it (Apply goes by each row's own seq).
type Loaded struct {
	State State // zero Head: the store has no such conversation
	// ClientTimes holds, per sender, the highest time (ms) inside the client ids stored.
	ClientTimes map[chat.UserID]int64
}

// Limits are the installation's limits on conversations.
type Limits struct {
	GroupMembers int // most open members of a group; 0 means 500
}

// Answer is what the owner of a partition says of a conversation, from committed state only.
type Answer struct {
	State State
	// Generation names the log that Tail's stream sequences belong to.
	Generation uint32
	// Tail lists the records above the store's applied position, ascending: 16 bytes each.
	Tail []chat.Place
	// Sends is, per sender, the last message within Tail: it moves the sender's own cursor before
	// the store has it.
	Sends map[chat.UserID]chat.Cursor
}
