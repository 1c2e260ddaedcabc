package wire

import (
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// Bounds of presence and typing. Both are told to clients, so they stand here.
const (
	MaxWatched       = 100 // conversations that a connection may look at
	MaxWatchedPeople = 1000
	MaxLively        = 100 // members of a group up to which it tells presence and typing

	TypingEvery = 3 * time.Second // one start per person and conversation goes on in this time
	TypingEnds  = 6 * time.Second // after the last start, unless stopped or sent
)

// Status is how present a person is. The zero value is not known, and never told to a client.
type Status uint8

// The statuses, in rising order: a person has the highest of their connections.
const (
	StatusUnknown Status = iota
	StatusOffline
	StatusAway
	StatusOnline
)

// String is the status in frames; empty for one that is not known.
func (s Status) String() string {
	switch s {
	case StatusOffline:
		return "offline"
	case StatusAway:
		return "away"
	case StatusOnline:
		return "online"
	default:
		return ""
	}
}

// ParseStatus reads what String writes.
func ParseStatus(s string) (Status, error) {
	for _, status := range []Status{StatusOffline, StatusAway, StatusOnline} {
		if s == status.String() {
			return status, nil
		}
	}
	return StatusUnknown, chat.Errorf(chat.Invalid, "a status is online, away or offline")
}

// PresenceSubscribe names the conversations whose people a client looks at. It replaces the former set.
type PresenceSubscribe struct {
	ConversationIDs []string `json:"conversation_ids"`
}

// PresenceState answers PresenceSubscribe: the conversations that are looked at now, and the people in them
// whose status is known. The others follow as PresenceUpdate.
type PresenceState struct {
	ConversationIDs []chat.ConversationID `json:"conversation_ids"`
	People          []PresenceUpdate      `json:"people"`
}

// PresenceUpdate tells that a person's status changed. LastSeen stands with offline, when it is known.
type PresenceUpdate struct {
	UserID   chat.UserID `json:"user_id"`
	Status   string      `json:"status"`
	LastSeen string      `json:"last_seen,omitzero"`
}

// PresenceSet tells the status of the sending connection: online or away.
type PresenceSet struct {
	Status string `json:"status"`
}

// TypingUp tells that one begins or stops to write.
type TypingUp struct {
	ConversationID string `json:"conversation_id"`
}

// TypingDown tells that somebody else does.
type TypingDown struct {
	ConversationID chat.ConversationID `json:"conversation_id"`
	UserID         chat.UserID         `json:"user_id"`
}
