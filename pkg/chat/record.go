package chat

import (
	"strconv"
	"time"
)

// RecordKind says what a record does. Unknown kinds pass through every role untouched.
type RecordKind string

// The kinds of record.
const (
	KindCreate   RecordKind = "create"
	KindMessage  RecordKind = "message"
	KindEdit     RecordKind = "edit"
	KindDelete   RecordKind = "delete"
	KindMember   RecordKind = "member"
	KindSettings RecordKind = "settings"
	// KindPreference stands in self conversations: what their person wants of one conversation.
	KindPreference RecordKind = "preference"

	// KindFence marks the filler of a takeover: it belongs to no conversation and no consumer acts on it.
	KindFence RecordKind = "fence"
	// KindQuarantined stands in a store at the seq of a record that could not be stored.
	KindQuarantined RecordKind = "quarantined"
)

// Counts reports whether a record of the kind advances n.
func (k RecordKind) Counts() bool { return k == KindMessage }

// Folded reports whether a history page shows the record in what it changed (its target, the conversation
// that it is about) instead of by itself.
func (k RecordKind) Folded() bool { return k == KindEdit || k == KindDelete || k == KindPreference }

// Role is a member's standing in a group; in direct conversations everybody is a member.
type Role string

// The roles, from most to least.
const (
	RoleOwner  Role = "owner"
	RoleAdmin  Role = "admin"
	RoleMember Role = "member"
)

// Action is what a member record did.
type Action string

// The actions of a member record.
const (
	ActionAdded   Action = "added"
	ActionRemoved Action = "removed"
	ActionLeft    Action = "left"
	ActionRole    Action = "role"
)

// HistoryAccess says what a newcomer of a group may read of what came before.
type HistoryAccess string

// The values of the setting; the zero value of a create means HistoryAll.
const (
	HistoryAll    HistoryAccess = "all"
	HistoryJoined HistoryAccess = "joined"
)

// MessageText is the message type of plain text.
const MessageText = "text"

// MemberEntry is one member inside a create record.
type MemberEntry struct {
	UserID UserID `json:"user_id"`
	Role   Role   `json:"role"`
}

// Record is one fact of a conversation: flat, the fields of its kind filled in. Its JSON, as AppendJSON
// writes it, is what the log holds and what clients receive, byte for byte.
type Record struct {
	ConversationID ConversationID `json:"conversation_id"`
	Seq            Seq            `json:"seq"`
	N              uint64         `json:"n"`
	ID             ID             `json:"id"`
	Kind           RecordKind     `json:"kind"`
	SenderID       UserID         `json:"sender_id"`
	ClientID       ClientID       `json:"client_id,omitzero"`
	V              int            `json:"v,omitzero"`

	Type      string        `json:"type,omitzero"`       // create: conversation type; message: message type
	Name      *string       `json:"name,omitzero"`       // create, settings
	History   HistoryAccess `json:"history,omitzero"`    // create, settings
	Members   []MemberEntry `json:"members,omitzero"`    // create
	Text      string        `json:"text,omitzero"`       // message, edit
	ReplyTo   Seq           `json:"reply_to,omitzero"`   // message
	TargetSeq Seq           `json:"target_seq,omitzero"` // edit, delete
	Action    Action        `json:"action,omitzero"`     // member
	UserIDs   []UserID      `json:"user_ids,omitzero"`   // member
	Role      Role          `json:"role,omitzero"`       // member with action role

	About      ConversationID `json:"about,omitzero"`       // preference
	MutedUntil *MutedUntil    `json:"muted_until,omitzero"` // preference: "" ends it
	Archived   *bool          `json:"archived,omitzero"`    // preference
	Pinned     *bool          `json:"pinned,omitzero"`      // preference

	EditedSeq Seq  `json:"edited_seq,omitzero"` // folded message: its last edit; never in the log
	Deleted   bool `json:"deleted,omitzero"`    // folded message, or an edit of it: text is ""; never in the log
}

// TimeLayout is how every time looks on the wire: RFC 3339, UTC, milliseconds.
const TimeLayout = "2006-01-02T15:04:05.000Z"

// AppendJSON appends the record's JSON: fields in declaration order, sent_at from the id, minimal escapes.
func (r *Record) AppendJSON(b []byte) []byte {
	b = r.AppendHead(b)
	if r.V != 0 {
		b = append(b, `,"v":`...)
		b = strconv.AppendInt(b, int64(r.V), 10)
	}
	b = r.appendBody(b)
	return append(b, '}')
}

// AppendHead appends the beginning of the record's JSON, which every kind has: the fields up to sent_at.
// Stores leave it out of their rows, so these bytes may not change.
func (r *Record) AppendHead(b []byte) []byte {
	b = append(b, `{"conversation_id":"`...)
	b = append(b, r.ConversationID...)
	b = append(b, `","seq":`...)
	b = strconv.AppendUint(b, uint64(r.Seq), 10)
	b = append(b, `,"n":`...)
	b = strconv.AppendUint(b, r.N, 10)
	b = append(b, `,"id":"`...)
	b = strconv.AppendUint(b, uint64(r.ID), 10)
	b = append(b, `","kind":"`...)
	b = append(b, r.Kind...)
	b = append(b, `","sender_id":"`...)
	b = append(b, r.SenderID...)
	b = append(b, '"')
	if !r.ClientID.IsZero() {
		b = append(b, `,"client_id":"`...)
		b = r.ClientID.append(b)
		b = append(b, '"')
	}
	b = append(b, `,"sent_at":"`...)
	b = AppendTime(b, r.ID.Time())
	return append(b, '"')
}

func (r *Record) appendBody(b []byte) []byte {
	b = appendString(b, "type", r.Type)
	if r.Name != nil {
		b = append(b, `,"name":`...)
		b = AppendQuoted(b, *r.Name)
	}
	b = appendString(b, "history", string(r.History))
	if len(r.Members) > 0 {
		b = append(b, `,"members":[`...)
		for i, m := range r.Members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"user_id":"`...)
			b = append(b, m.UserID...)
			b = append(b, `","role":"`...)
			b = append(b, m.Role...)
			b = append(b, `"}`...)
		}
		b = append(b, ']')
	}
	if r.Kind == KindMessage || r.Kind == KindEdit {
		b = append(b, `,"text":`...)
		b = AppendQuoted(b, r.Text)
	}
	b = appendSeq(b, "reply_to", r.ReplyTo)
	b = appendSeq(b, "target_seq", r.TargetSeq)
	b = appendString(b, "action", string(r.Action))
	if len(r.UserIDs) > 0 {
		b = append(b, `,"user_ids":[`...)
		for i, u := range r.UserIDs {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '"')
			b = append(b, u...)
			b = append(b, '"')
		}
		b = append(b, ']')
	}
	b = appendString(b, "role", string(r.Role))
	b = appendString(b, "about", string(r.About))
	if r.MutedUntil != nil {
		b = append(b, `,"muted_until":`...)
		b = AppendQuoted(b, string(*r.MutedUntil))
	}
	b = appendBool(b, "archived", r.Archived)
	b = appendBool(b, "pinned", r.Pinned)
	b = appendSeq(b, "edited_seq", r.EditedSeq)
	if r.Deleted {
		b = append(b, `,"deleted":true`...)
	}
	return b
}

func appendString(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return AppendQuoted(b, value)
}

func appendSeq(b []byte, name string, value Seq) []byte {
	if value == 0 {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return strconv.AppendUint(b, uint64(value), 10)
}

func appendBool(b []byte, name string, value *bool) []byte {
	if value == nil {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return strconv.AppendBool(b, *value)
}

// AppendTime appends t in TimeLayout.
func AppendTime(b []byte, t time.Time) []byte { return t.UTC().AppendFormat(b, TimeLayout) }

// AppendQuoted appends s as a JSON string that escapes only what JSON demands. s must be valid UTF-8.
func AppendQuoted(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// Hash is the keyed hash of a command's body: it tells a repeat from a conflict.
type Hash [16]byte

// Bucket is the storage bucket of a record, stamped by the sequencer: months since 2025-01 shifted
// by 12 bits, and a running cut within the month.
type Bucket uint32

// Entry is a record as it stands in the log: its bytes, and what only the headers carry.
type Entry struct {
	Record
	Raw        []byte // the record's JSON, shared: never modified
	Bucket     Bucket
	BodyHash   Hash
	Term       uint64
	Trace      string // W3C traceparent, may be empty
	Generation uint32
	StreamSeq  uint64
}

// Mark is how far a consumer of a partition has come: Generation and StreamSeq order it, ID names the
// record there (0 for a fence).
type Mark struct {
	Generation uint32
	StreamSeq  uint64
	ID         ID
}

// Before reports whether m lies before o.
func (m Mark) Before(o Mark) bool {
	if m.Generation != o.Generation {
		return m.Generation < o.Generation
	}
	return m.StreamSeq < o.StreamSeq
}

// Place is where one record of a conversation stands in the log.
type Place struct {
	Seq       Seq
	StreamSeq uint64
}
