package persisttest

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// Epoch is when the first record of a Log is made.
var Epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// User is the i-th of a fixed series of people.
func User(i int) chat.UserID { return chat.UserID("u" + fixed(i)) }

// Group is the i-th of a fixed series of group conversations.
func Group(i int) chat.ConversationID { return chat.ConversationID("g" + fixed(i)) }

// Self is the i-th of a fixed series of self conversations.
func Self(i int) chat.ConversationID { return chat.ConversationID("s" + fixed(i)) }

func fixed(i int) string {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	b := []byte("aaaaaaaaaaaaaaaaaaaaaaaaaa")
	for at := len(b) - 2; i > 0 && at >= 0; at-- {
		b[at] = digits[i%32]
		i /= 32
	}
	return string(b)
}

// Client is a client id of a given time; different salts give different ids.
func Client(t time.Time, salt int) chat.ClientID {
	var c chat.ClientID
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(t.UnixMilli()))
	copy(c[:6], ms[2:])
	c[6], c[8] = 0x70, 0x80
	binary.BigEndian.PutUint32(c[12:], uint32(salt))
	return c
}

// Log makes the entries of one partition as a sequencer would: dense seqs, rising ids, state applied.
// It checks no rule. Not safe for concurrent use.
type Log struct {
	Generation uint32
	Now        time.Time
	Step       time.Duration // between records
	Entries    []chat.Entry

	last   chat.ID
	states map[chat.ConversationID]conversation.State
}

// NewLog is an empty log of generation 1, a second between records.
func NewLog() *Log {
	return &Log{Generation: 1, Now: Epoch, Step: time.Second, states: map[chat.ConversationID]conversation.State{}}
}

// Append completes a record with its place and adds it. A zero client id becomes one made of the place.
func (l *Log) Append(r chat.Record) chat.Entry {
	l.Now = l.Now.Add(l.Step)
	l.last = chat.NextID(l.last, l.Now, 0)
	s := l.states[r.ConversationID]
	if r.ClientID.IsZero() {
		r.ClientID = Client(l.Now, len(l.Entries))
	}
	bucket := conversation.Stamp(s, &r, l.last)
	l.states[r.ConversationID] = conversation.Apply(s, r, bucket)
	e := chat.Entry{
		Record: r, Raw: r.AppendJSON(nil), Bucket: bucket, Term: 1, Generation: l.Generation, StreamSeq: uint64(len(l.Entries) + 1),
	}
	binary.BigEndian.PutUint64(e.BodyHash[:], uint64(r.ID))
	l.Entries = append(l.Entries, e)
	return e
}

// Fence adds a fence.
func (l *Log) Fence() chat.Entry {
	e := chat.Entry{Record: chat.Record{Kind: chat.KindFence}, Term: 1, Generation: l.Generation, StreamSeq: uint64(len(l.Entries) + 1)}
	l.Entries = append(l.Entries, e)
	return e
}

// State is a conversation after everything in the log.
func (l *Log) State(id chat.ConversationID) conversation.State { return l.states[id] }

// Create adds a group of users, the first of them its owner.
func (l *Log) Create(id chat.ConversationID, users ...chat.UserID) chat.Entry {
	name := "group " + string(id[len(id)-3:])
	r := chat.Record{ConversationID: id, Kind: chat.KindCreate, SenderID: users[0], Type: string(chat.Group), Name: &name, History: chat.HistoryAll}
	for i, u := range users {
		role := chat.RoleMember
		if i == 0 {
			role = chat.RoleOwner
		}
		r.Members = append(r.Members, chat.MemberEntry{UserID: u, Role: role})
	}
	return l.Append(r)
}

// CreateSelf adds the self conversation of a user.
func (l *Log) CreateSelf(id chat.ConversationID, user chat.UserID) chat.Entry {
	return l.Append(chat.Record{
		ConversationID: id, Kind: chat.KindCreate, SenderID: user, Type: string(chat.Self),
		Members: []chat.MemberEntry{{UserID: user, Role: chat.RoleMember}},
	})
}

// Prefer adds a change of what the user of a self conversation wants of another; nil fields do not change.
func (l *Log) Prefer(id chat.ConversationID, user chat.UserID, about chat.ConversationID, muted *chat.MutedUntil, archived, pinned *bool) chat.Entry {
	return l.Append(chat.Record{
		ConversationID: id, Kind: chat.KindPreference, SenderID: user, About: about, MutedUntil: muted, Archived: archived, Pinned: pinned,
	})
}

// Send adds a message.
func (l *Log) Send(id chat.ConversationID, from chat.UserID, text string) chat.Entry {
	return l.Append(chat.Record{ConversationID: id, Kind: chat.KindMessage, SenderID: from, Type: chat.MessageText, Text: text})
}

// Edit adds an edit.
func (l *Log) Edit(id chat.ConversationID, from chat.UserID, target chat.Seq, text string) chat.Entry {
	return l.Append(chat.Record{ConversationID: id, Kind: chat.KindEdit, SenderID: from, TargetSeq: target, Text: text})
}

// Delete adds a delete.
func (l *Log) Delete(id chat.ConversationID, from chat.UserID, target chat.Seq) chat.Entry {
	return l.Append(chat.Record{ConversationID: id, Kind: chat.KindDelete, SenderID: from, TargetSeq: target})
}

// Member adds a membership record.
func (l *Log) Member(id chat.ConversationID, from chat.UserID, action chat.Action, role chat.Role, users ...chat.UserID) chat.Entry {
	return l.Append(chat.Record{ConversationID: id, Kind: chat.KindMember, SenderID: from, Action: action, Role: role, UserIDs: users})
}

// Settings adds a change of the name.
func (l *Log) Settings(id chat.ConversationID, from chat.UserID, name string) chat.Entry {
	return l.Append(chat.Record{ConversationID: id, Kind: chat.KindSettings, SenderID: from, Name: &name})
}

// Batch is entries [from, to) of the log with the position after them.
func (l *Log) Batch(from, to int) persist.Batch {
	b := persist.Batch{Entries: l.Entries[from:to]}
	if to > 0 {
		b.Position = l.Mark(to)
	}
	return b
}

// Mark is the position after the first count entries.
func (l *Log) Mark(count int) chat.Mark {
	if count == 0 {
		return chat.Mark{}
	}
	e := l.Entries[count-1]
	return chat.Mark{Generation: e.Generation, StreamSeq: e.StreamSeq, ID: e.ID}
}

// Answer is what a partition's owner says of a conversation after the first count entries, when the store
// has the first applied of them.
func (l *Log) Answer(id chat.ConversationID, applied, count int) conversation.Answer {
	a := conversation.Answer{Generation: l.Generation, Sends: map[chat.UserID]chat.Cursor{}}
	for i, e := range l.Entries[:count] {
		if e.ConversationID != id {
			continue
		}
		a.State = conversation.Apply(a.State, e.Record, e.Bucket)
		if i < applied {
			continue
		}
		a.Tail = append(a.Tail, chat.Place{Seq: e.Seq, StreamSeq: e.StreamSeq})
		if e.Kind.Counts() {
			a.Sends[e.SenderID] = chat.Cursor{Seq: e.Seq, N: e.N}
		}
	}
	return a
}

// Text is a text that tells where it was made.
func Text(i int) string { return fmt.Sprintf("text %d: grüße, \"quoted\" \\ and 🙂\n", i) }
