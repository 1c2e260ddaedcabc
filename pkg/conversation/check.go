package conversation

import (
	"time"
	"unicode/utf8"

	"github.com/parley-chat/parley/pkg/chat"
)

// Bounds of what a command may carry.
const (
	MaxTextRunes    = 100_000        // Unicode scalar values of a message
	MaxNameRunes    = 64             // Unicode scalar values of a group's name
	MaxGroupMembers = 500            // open members of a group, unless Limits says otherwise
	MaxNamed        = 500            // people that one command names; larger groups grow by several
	MaxPreferences  = 10_000         // conversations of which one person wants something
	MaxClientAhead  = 24 * time.Hour // how far a client id's time may lie after the server's
)

// Check judges a command's form: everything that can be told without the conversation's state and
// without a clock. Decide relies on it; whoever makes a command from outside input calls it first.
func Check(c Command) error {
	if _, err := chat.ParseConversationID(string(c.ConversationID)); err != nil {
		return err
	}
	if _, err := chat.ParseUserID(string(c.Actor)); err != nil {
		return err
	}
	if err := checkClientID(c); err != nil {
		return err
	}
	switch c.Op {
	case OpCreate:
		return checkCreate(c)
	case OpSend:
		return checkSend(c)
	case OpEdit:
		if err := checkTarget(c.TargetSeq); err != nil {
			return err
		}
		return checkText(c.Text)
	case OpDelete:
		return checkTarget(c.TargetSeq)
	case OpAdd:
		if len(c.Members) == 0 {
			return chat.Errorf(chat.Invalid, "name at least one member to add")
		}
		return checkOthers(c)
	case OpRemove:
		return checkOne(c.Members)
	case OpRole:
		return checkRole(c)
	case OpSettings:
		return checkSettings(c)
	case OpPreference:
		return checkPreference(c)
	default:
		return chat.Errorf(chat.Invalid, "unknown command %q", chat.Clip(string(c.Op)))
	}
}

// CheckClientTime refuses a client id whose time lies more than MaxClientAhead after now. An old one is
// never refused.
func CheckClientTime(c Command, now time.Time) error {
	if c.ClientID.IsZero() || c.ClientID.UnixMilli() <= now.Add(MaxClientAhead).UnixMilli() {
		return nil
	}
	return chat.Errorf(chat.InvalidClientID, "client_id lies more than %d hours ahead of the server", int(MaxClientAhead.Hours()))
}

func checkClientID(c Command) error {
	if c.ClientID.IsZero() {
		if needsClientID(c) {
			return chat.Errorf(chat.InvalidClientID, "client_id is required")
		}
		return nil
	}
	if c.ClientID[6]>>4 != 7 || c.ClientID[8]>>6 != 2 {
		return chat.Errorf(chat.InvalidClientID, "client_id is not a UUIDv7")
	}
	return nil
}

func needsClientID(c Command) bool {
	switch c.Op {
	case OpSend, OpEdit, OpDelete:
		return true
	case OpCreate:
		return c.ConversationID.Type() == chat.Group
	default:
		return false
	}
}

func checkCreate(c Command) error {
	kind := c.ConversationID.Type()
	if c.Type != "" && c.Type != string(kind) {
		return chat.Errorf(chat.Invalid, "conversation id is not of type %q", chat.Clip(c.Type))
	}
	if kind == chat.Group {
		if c.Name == nil {
			return chat.Errorf(chat.Invalid, "a group needs a name")
		}
		if err := checkName(*c.Name); err != nil {
			return err
		}
		if err := checkHistory(c.History); err != nil {
			return err
		}
		return checkOthers(c)
	}
	if c.Name != nil || c.History != "" {
		return chat.Errorf(chat.Invalid, "only a group has a name and settings")
	}
	if kind == chat.Self && len(c.Members) != 0 {
		return chat.Errorf(chat.Invalid, "a conversation with oneself has no other members")
	}
	if kind == chat.Direct && len(c.Members) != 1 {
		return chat.Errorf(chat.Invalid, "a direct conversation has exactly one other member")
	}
	return checkOthers(c)
}

func checkSend(c Command) error {
	if c.Type != chat.MessageText {
		return chat.Errorf(chat.UnknownType, "message type %q is unknown", chat.Clip(c.Type))
	}
	if c.ReplyTo >= chat.MaxSeq {
		return chat.Errorf(chat.Invalid, "reply_to is not a seq")
	}
	return checkText(c.Text)
}

func checkTarget(seq chat.Seq) error {
	if seq == 0 || seq >= chat.MaxSeq {
		return chat.Errorf(chat.Invalid, "the message to change is not named by a seq")
	}
	return nil
}

func checkText(text string) error {
	if text == "" {
		return chat.Errorf(chat.InvalidText, "text is empty")
	}
	if !utf8.ValidString(text) {
		return chat.Errorf(chat.InvalidText, "text is not valid Unicode")
	}
	if n := utf8.RuneCountInString(text); n > MaxTextRunes {
		return chat.Errorf(chat.InvalidText, "text has %d characters, at most %d are allowed", n, MaxTextRunes)
	}
	return nil
}

func checkName(name string) error {
	if !utf8.ValidString(name) {
		return chat.Errorf(chat.InvalidText, "name is not valid Unicode")
	}
	if n := utf8.RuneCountInString(name); n < 1 || n > MaxNameRunes {
		return chat.Errorf(chat.Invalid, "name has %d characters, 1 to %d are allowed", n, MaxNameRunes)
	}
	return nil
}

func checkHistory(h chat.HistoryAccess) error {
	switch h {
	case "", chat.HistoryAll, chat.HistoryJoined:
		return nil
	default:
		return chat.Errorf(chat.Invalid, "history is %q, not %q or %q", chat.Clip(string(h)), chat.HistoryAll, chat.HistoryJoined)
	}
}

// checkOthers holds the members of a create or an add to be distinct people other than the actor.
func checkOthers(c Command) error {
	if len(c.Members) > MaxNamed {
		return chat.Errorf(chat.Invalid, "%d members named, at most %d are allowed in one command", len(c.Members), MaxNamed)
	}
	seen := make(map[chat.UserID]bool, len(c.Members))
	for _, u := range c.Members {
		if _, err := chat.ParseUserID(string(u)); err != nil {
			return err
		}
		if u == c.Actor {
			return chat.Errorf(chat.Invalid, "oneself is not named among the members")
		}
		if seen[u] {
			return chat.Errorf(chat.Invalid, "member %s is named twice", u)
		}
		seen[u] = true
	}
	return nil
}

func checkOne(members []chat.UserID) error {
	if len(members) != 1 {
		return chat.Errorf(chat.Invalid, "name exactly one member")
	}
	_, err := chat.ParseUserID(string(members[0]))
	return err
}

func checkRole(c Command) error {
	switch c.Role {
	case chat.RoleOwner, chat.RoleAdmin, chat.RoleMember:
		return checkOne(c.Members)
	default:
		return chat.Errorf(chat.Invalid, "role %q is unknown", chat.Clip(string(c.Role)))
	}
}

func checkSettings(c Command) error {
	if c.Name == nil && c.History == "" {
		return chat.Errorf(chat.Invalid, "no setting named")
	}
	if c.Name != nil {
		if err := checkName(*c.Name); err != nil {
			return err
		}
	}
	return checkHistory(c.History)
}
