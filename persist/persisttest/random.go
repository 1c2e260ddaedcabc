package persisttest

import (
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	randomGroups = 3
	randomUsers  = 5
)

// RandomLog draws a log of about n entries in a few groups: messages, edits, deletes, members coming and
// going, settings, preferences, unknown kinds, fences. Targets are drawn without regard to rules, as a store must
// stand it.
func RandomLog(t *rapid.T, n int) *Log {
	l := NewLog()
	for i := range randomGroups {
		l.Create(Group(i), User(i), User(i+1))
	}
	l.CreateSelf(Self(0), User(0))
	for i := range rapid.IntRange(1, n).Draw(t, "records") {
		l.randomRecord(t, i)
	}
	return l
}

func (l *Log) randomRecord(t *rapid.T, i int) {
	id := Group(rapid.IntRange(0, randomGroups-1).Draw(t, "group"))
	user := User(rapid.IntRange(0, randomUsers-1).Draw(t, "user"))
	other := User(rapid.IntRange(0, randomUsers-1).Draw(t, "other"))
	target := chat.Seq(rapid.Uint64Range(1, uint64(l.State(id).Head.Seq)).Draw(t, "target"))
	switch kind := rapid.IntRange(0, 18).Draw(t, "kind"); kind {
	case 0, 1, 2, 3, 4, 5:
		l.Send(id, user, Text(i))
	case 6, 7, 8:
		l.Edit(id, user, target, "edited: "+Text(i))
	case 9, 10:
		l.Delete(id, user, target)
	case 11:
		l.Member(id, user, chat.ActionAdded, "", other)
	case 12:
		l.Member(id, user, rapid.SampledFrom([]chat.Action{chat.ActionRemoved, chat.ActionLeft}).Draw(t, "leave"), "", other)
	case 13:
		l.Member(id, user, chat.ActionRole, chat.RoleAdmin, other)
	case 14:
		l.Settings(id, user, Text(i))
	case 15, 16, 17:
		l.randomPreference(t, id)
	default:
		l.Append(chat.Record{ConversationID: id, Kind: "pin", SenderID: user, TargetSeq: target})
		l.Fence()
	}
}

func (l *Log) randomPreference(t *rapid.T, about chat.ConversationID) {
	until := []chat.MutedUntil{"", chat.MutedForever, chat.MutedUntilTime(Epoch)}
	muted := rapid.Ptr(rapid.SampledFrom(until), true).Draw(t, "muted")
	l.Prefer(Self(0), User(0), about, muted, rapid.Ptr(rapid.Bool(), true).Draw(t, "archived"), rapid.Ptr(rapid.Bool(), true).Draw(t, "pinned"))
}
