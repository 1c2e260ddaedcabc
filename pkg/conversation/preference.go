package conversation

import (
	"slices"
	"strings"

	"github.com/parley-chat/parley/pkg/chat"
)

// Preference is what one person wants of one conversation; it stands in their self conversation.
// But for About and Seq the zero value is the default.
type Preference struct {
	About      chat.ConversationID `json:"about"`
	MutedUntil chat.MutedUntil     `json:"muted_until,omitzero"`
	Archived   bool                `json:"archived,omitzero"`
	Pinned     bool                `json:"pinned,omitzero"`
	Seq        chat.Seq            `json:"seq"` // the record that last changed this row
}

// IsDefault reports that nothing is wanted: as if it had never been said.
func (p Preference) IsDefault() bool { return p.MutedUntil == "" && !p.Archived && !p.Pinned }

// change is p with what r names changed.
func (p Preference) change(r *chat.Record) Preference {
	p.About, p.Seq = r.About, r.Seq
	if r.MutedUntil != nil {
		p.MutedUntil = *r.MutedUntil
	}
	if r.Archived != nil {
		p.Archived = *r.Archived
	}
	if r.Pinned != nil {
		p.Pinned = *r.Pinned
	}
	return p
}

// Preferences are a self conversation's, ascending by About, defaults left out. Like Members they are immutable
// once part of a State. Not a map: to copy one of MaxPreferences rows takes five times as long.
type Preferences []Preference

// Of is the row of a conversation; zero when there is none.
func (p Preferences) Of(about chat.ConversationID) Preference {
	if i, held := p.find(about); held {
		return p[i]
	}
	return Preference{}
}

func (p Preferences) find(about chat.ConversationID) (at int, held bool) {
	return slices.BinarySearchFunc(p, about, func(row Preference, id chat.ConversationID) int {
		return strings.Compare(string(row.About), string(id))
	})
}

// put is a copy in which row has its place; without it when it is the default.
func (p Preferences) put(row Preference) Preferences {
	i, held := p.find(row.About)
	rest := p[i:]
	if held {
		rest = rest[1:]
	}
	if row.IsDefault() {
		return slices.Concat(p[:i], rest)
	}
	return slices.Concat(p[:i], Preferences{row}, rest)
}

// applyPreference changes one row. A row that becomes the default goes, and its seq with it: whoever folds
// records again that a state holds already folds on to its head.
func applyPreference(s State, r chat.Record) State {
	row := s.Preferences.Of(r.About)
	if r.Seq > row.Seq {
		s.Preferences = s.Preferences.put(row.change(&r))
	}
	return s
}

func decidePreference(s State, c Command) (Verdict, error) {
	if s.Type != chat.Self {
		return Verdict{}, chat.Errorf(chat.Forbidden, "preferences stand in the conversation with oneself")
	}
	row := s.Preferences.Of(c.About)
	r := newRecord(c, chat.KindPreference)
	r.About = c.About
	if c.MutedUntil != nil && *c.MutedUntil != row.MutedUntil {
		r.MutedUntil = c.MutedUntil
	}
	if c.Archived != nil && *c.Archived != row.Archived {
		r.Archived = c.Archived
	}
	if c.Pinned != nil && *c.Pinned != row.Pinned {
		r.Pinned = c.Pinned
	}
	if r.MutedUntil == nil && r.Archived == nil && r.Pinned == nil {
		return standing(s, c)
	}
	if row.IsDefault() && len(s.Preferences) >= MaxPreferences {
		return Verdict{}, chat.Errorf(chat.Conflict, "%d conversations are muted, archived or pinned, no more are allowed", len(s.Preferences))
	}
	return Verdict{Record: r}, nil
}

func checkPreference(c Command) error {
	if c.ConversationID.Type() != chat.Self {
		return chat.Errorf(chat.Invalid, "preferences stand in the conversation with oneself")
	}
	if _, err := chat.ParseConversationID(string(c.About)); err != nil {
		return err
	}
	if c.MutedUntil == nil && c.Archived == nil && c.Pinned == nil {
		return chat.Errorf(chat.Invalid, "no preference named")
	}
	if c.MutedUntil == nil {
		return nil
	}
	until, err := chat.ParseMutedUntil(string(*c.MutedUntil))
	if err == nil && until != *c.MutedUntil {
		err = chat.Errorf(chat.Invalid, "muted_until %q is not %q", chat.Clip(string(*c.MutedUntil)), until)
	}
	return err
}
