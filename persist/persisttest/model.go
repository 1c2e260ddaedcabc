package persisttest

import (
	"slices"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// Model is what a store must say after a prefix of a log, computed the plain way.
type Model struct {
	Conversations map[chat.ConversationID]*ModelConversation
	Applied       chat.Mark
}

// ModelConversation is one conversation of a Model.
type ModelConversation struct {
	State       conversation.State
	ClientTimes map[chat.UserID]int64
	Rows        []persist.Stored // Rows[i] has seq i+1
	Records     []chat.Record    // beside Rows, deleted texts emptied
	Priors      map[prior]conversation.Outcome
	Cursors     map[chat.UserID]chat.Cursors
}

type prior struct {
	sender chat.UserID
	client chat.ClientID
}

// NewModel is the state of things before any record.
func NewModel() *Model { return &Model{Conversations: map[chat.ConversationID]*ModelConversation{}} }

// Apply moves the model by one entry.
func (m *Model) Apply(e chat.Entry) {
	m.Applied = chat.Mark{Generation: e.Generation, StreamSeq: e.StreamSeq, ID: e.ID}
	if e.Kind == chat.KindFence {
		return
	}
	c := m.conversation(e.ConversationID)
	c.State = conversation.Apply(c.State, e.Record, e.Bucket)
	c.Rows = append(c.Rows, persist.Stored{Seq: e.Seq, ID: e.ID, N: e.N, Kind: e.Kind, Sender: e.SenderID, Raw: e.Raw})
	c.Records = append(c.Records, e.Record)
	c.Priors[prior{e.SenderID, e.ClientID}] = conversation.Outcome{ID: e.ID, Seq: e.Seq, N: e.N, Hash: e.BodyHash}
	c.ClientTimes[e.SenderID] = max(c.ClientTimes[e.SenderID], e.ClientID.UnixMilli())
	switch e.Kind {
	case chat.KindMessage:
		own := chat.Cursor{Seq: e.Seq, N: e.N}
		c.Cursors[e.SenderID] = c.Cursors[e.SenderID].Max(chat.Cursors{Read: own, Delivered: own})
	case chat.KindEdit:
		if t := c.target(e); t != nil {
			t.Edited = e.Seq
			if t.Deleted { // the rules forbid such an edit; it says nothing
				c.empty(e.TargetSeq)
			}
		}
	case chat.KindDelete:
		if t := c.target(e); t != nil && !t.Deleted {
			c.empty(e.TargetSeq)
		}
	default:
	}
}

func (m *Model) conversation(id chat.ConversationID) *ModelConversation {
	c := m.Conversations[id]
	if c == nil {
		c = &ModelConversation{
			ClientTimes: map[chat.UserID]int64{}, Priors: map[prior]conversation.Outcome{}, Cursors: map[chat.UserID]chat.Cursors{},
		}
		m.Conversations[id] = c
	}
	return c
}

func (c *ModelConversation) target(e chat.Entry) *persist.Stored {
	if e.TargetSeq == 0 || int(e.TargetSeq) >= len(c.Rows) || c.Rows[e.TargetSeq-1].Kind != chat.KindMessage {
		return nil
	}
	return &c.Rows[e.TargetSeq-1]
}

// empty takes the text from a message and from every edit of it.
func (c *ModelConversation) empty(target chat.Seq) {
	for i := range c.Rows {
		r := &c.Records[i]
		if r.Seq != target && (r.Kind != chat.KindEdit || r.TargetSeq != target) {
			continue
		}
		r.Text, r.Deleted = "", true
		c.Rows[i].Raw, c.Rows[i].Deleted = r.AppendJSON(nil), true
	}
}

// Versions are the edits of a message.
func (c *ModelConversation) Versions(target chat.Seq) []persist.Stored {
	var edits []persist.Stored
	for i, r := range c.Records {
		if r.Kind == chat.KindEdit && r.TargetSeq == target {
			edits = append(edits, c.Rows[i])
		}
	}
	return edits
}

// Ids lists the conversations, ascending.
func (m *Model) Ids() []chat.ConversationID {
	var ids []chat.ConversationID
	for id := range m.Conversations {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
