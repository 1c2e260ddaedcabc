package checker

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/parley-chat/parley/pkg/chat"
)

// Op says what an event is.
type Op string

// The operations of a history.
const (
	OpRegister      Op = "register"
	OpSend          Op = "send"
	OpSent          Op = "sent"
	OpFail          Op = "fail"
	OpUnknown       Op = "unknown"
	OpConflictProbe Op = "conflict_probe"
	OpReceived      Op = "received"
	OpSynced        Op = "synced"
	OpFilled        Op = "filled"
	OpFilledRange   Op = "filled_range"
	OpRepeat        Op = "repeat"
	OpMissed        Op = "missed"
	OpGone          Op = "gone"
	OpPage          Op = "page"
	OpVersions      Op = "versions"
	OpMemberAdd     Op = "member_add"
	OpMemberRemove  Op = "member_remove"
	OpCursor        Op = "cursor"
	OpCursorSet     Op = "cursor_set"
	OpConnected     Op = "connected"
	OpDisconnected  Op = "disconnected"
	OpPresence      Op = "presence"
	OpFinalDevice   Op = "final_device"
	OpFinalHead     Op = "final_head"
	OpFinalPage     Op = "final_page"
)

// OK is the code of a request that succeeded.
const OK = "ok"

// Unknown is the code of a request whose outcome nobody knows.
const Unknown = "unknown"

// Event is one line of a history.
type Event struct {
	T            int64               `json:"t"`
	T0           int64               `json:"t0,omitzero"`
	Client       string              `json:"client,omitzero"`
	Op           Op                  `json:"op"`
	Conn         uint64              `json:"conn,omitzero"`
	Conversation chat.ConversationID `json:"conversation,omitzero"`
	ClientID     chat.ClientID       `json:"client_id,omitzero"`
	Kind         chat.RecordKind     `json:"kind,omitzero"`
	TextHash     string              `json:"text_hash,omitzero"`
	Target       chat.Seq            `json:"target,omitzero"`
	ReplyTo      chat.Seq            `json:"reply_to,omitzero"`
	ID           chat.ID             `json:"id,omitzero"`
	Seq          chat.Seq            `json:"seq,omitzero"`
	N            uint64              `json:"n,omitzero"`
	Code         string              `json:"code,omitzero"`
	Username     string              `json:"username,omitzero"`
	User         chat.UserID         `json:"user,omitzero"`
	Users        []chat.UserID       `json:"users,omitzero"`
	Which        string              `json:"which,omitzero"`
	From         chat.Seq            `json:"from,omitzero"`
	To           chat.Seq            `json:"to,omitzero"`
	Read         *chat.Cursor        `json:"read,omitzero"`
	Unread       uint64              `json:"unread,omitzero"`
	Records      []Record            `json:"records,omitzero"`
}

// Record is a record as somebody saw it.
type Record struct {
	Seq       chat.Seq           `json:"seq"`
	N         uint64             `json:"n"`
	ID        chat.ID            `json:"id"`
	Kind      chat.RecordKind    `json:"kind"`
	Sender    chat.UserID        `json:"sender"`
	ClientID  chat.ClientID      `json:"client_id,omitzero"`
	TextHash  string             `json:"text_hash,omitzero"`
	Target    chat.Seq           `json:"target,omitzero"`
	ReplyTo   chat.Seq           `json:"reply_to,omitzero"`
	Action    chat.Action        `json:"action,omitzero"`
	Users     []chat.UserID      `json:"users,omitzero"`
	History   chat.HistoryAccess `json:"history,omitzero"`
	EditedSeq chat.Seq           `json:"edited_seq,omitzero"`
	Deleted   bool               `json:"deleted,omitzero"`
}

// RecordOf is the history's form of a record.
func RecordOf(r chat.Record) Record {
	users := r.UserIDs
	if r.Kind == chat.KindCreate {
		users = make([]chat.UserID, len(r.Members))
		for i, m := range r.Members {
			users[i] = m.UserID
		}
	}
	return Record{
		Seq: r.Seq, N: r.N, ID: r.ID, Kind: r.Kind, Sender: r.SenderID, ClientID: r.ClientID, TextHash: HashText(r.Text),
		Target: r.TargetSeq, ReplyTo: r.ReplyTo, Action: r.Action, Users: users, History: r.History,
		EditedSeq: r.EditedSeq, Deleted: r.Deleted,
	}
}

// HashText stands for a text: 128 bits of its SHA-256 in hexadecimal; empty for the empty text.
func HashText(text string) string {
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
