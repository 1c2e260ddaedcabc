package terminal

import (
	"context"
	"slices"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
)

// event takes what the SDK tells.
func (m *Model) event(e client.Event) tea.Cmd {
	switch e := e.(type) {
	case client.MessageReceived:
		return m.record(e.Record, e.Source)
	case client.RecordReceived:
		return m.record(e.Record, e.Source)
	case client.Answered:
		m.answered(e)
	case client.Receipt:
		m.receipt(e)
	case client.Synced:
		m.room(e.Conversation.ID).describe(e.Conversation)
		m.name(e.Conversation.PeerID)
	case client.Gap:
		m.room(e.ConversationID).gap(e.Before)
	case client.Gone:
		m.gone(e.ConversationID)
	case client.CaughtUp:
		m.caughtUp()
	case client.Presence:
		m.presence(e)
	case client.Typing:
		m.typing(e)
	case client.State:
		m.state(e)
	}
	return nil
}

// record shows a record. What comes live of a conversation that is not known asks for it.
func (m *Model) record(record chat.Record, source client.Source) tea.Cmd {
	if record.Kind == chat.KindPreference {
		m.prefer(record)
	}
	r := m.room(record.ConversationID)
	before := 0
	if r.scroll > 0 {
		before = m.lines(r)
	}
	r.take(record, m.options.Me.ID)
	if r.scroll > 0 {
		r.scroll += max(m.lines(r)-before, 0) // what is looked at stays where it is
	}
	m.mention(record)
	if source != client.SourceLive && source != client.SourceSent {
		return nil
	}
	if r.known && record.Kind != chat.KindMember { // which changes the number of members
		return nil
	}
	return m.ask(r)
}

func (m *Model) ask(r *room) tea.Cmd {
	if r.asked {
		return nil
	}
	r.asked = true
	return m.about(r.id, false)
}

func (m *Model) about(id chat.ConversationID, open bool) tea.Cmd {
	return func() tea.Msg {
		c, err := m.backend.Conversation(context.Background(), id)
		return aboutMsg{id, c, open, err}
	}
}

func (m *Model) described(msg aboutMsg) {
	if msg.err != nil {
		if r := m.rooms[msg.id]; r != nil {
			r.asked = false // the next record or sync tells
		}
		if msg.open {
			m.complain("open the conversation", msg.err)
		}
		return
	}
	m.room(msg.id).describe(msg.conversation)
	m.name(msg.conversation.PeerID)
	if msg.open {
		m.show(msg.id)
	}
	m.look()
}

// prefer shows what the person wants of a conversation, said on another device.
func (m *Model) prefer(record chat.Record) {
	r := m.rooms[record.About]
	if r == nil {
		return
	}
	if record.Archived != nil {
		r.about.Archived = *record.Archived
	}
	if record.Pinned != nil {
		r.about.Pinned = *record.Pinned
	}
	if record.MutedUntil != nil {
		r.about.MutedUntil = *record.MutedUntil
	}
}

func (m *Model) answered(e client.Answered) {
	r := m.room(e.Message.ConversationID)
	if e.Err != nil {
		r.fail(e.Message.ClientID, e.Err)
		return
	}
	if e.Message.Kind == chat.KindMessage { // its record may have its turn later
		r.put(chat.Record{
			ConversationID: r.id, Seq: e.Sent.Seq, N: e.Sent.N, ID: e.Sent.ID, Kind: chat.KindMessage,
			SenderID: m.options.Me.ID, ClientID: e.Message.ClientID, Text: e.Message.Text, ReplyTo: e.Message.ReplyTo,
		})
	}
}

func (m *Model) receipt(e client.Receipt) {
	r := m.room(e.ConversationID)
	if e.UserID != m.options.Me.ID {
		r.follow(e.UserID, e.Kind, e.Cursor.Seq)
		return
	}
	if e.Kind == client.ReceiptRead {
		r.readTo(e.Cursor)
	}
}

func (m *Model) gone(id chat.ConversationID) {
	delete(m.rooms, id)
	if m.open == id {
		m.open = ""
		if m.screen == screenRoom {
			m.screen = screenList
		}
		m.note = "you are not in that conversation any more"
	}
	m.look()
}

func (m *Model) caughtUp() {
	m.synced = true
	for _, r := range m.rooms {
		r.loading = false
		r.more = r.more || r.low != 1
	}
	m.look()
}

func (m *Model) presence(e client.Presence) {
	p := m.people[e.UserID]
	if p == nil {
		p = &person{}
		m.people[e.UserID] = p
	}
	p.presence = e
}

func (m *Model) typing(e client.Typing) {
	r := m.room(e.ConversationID)
	if e.Writing {
		r.typing[e.UserID] = true
		m.name(e.UserID)
		return
	}
	delete(r.typing, e.UserID)
}

func (m *Model) state(e client.State) {
	m.link = e
	if e.Phase == client.Connected {
		m.note = ""
		return
	}
	for _, p := range m.people {
		p.presence = client.Presence{} // nobody tells any more
	}
}

func (m *Model) ended(err error) {
	m.link = client.State{Phase: client.Stopped, Err: err}
}

// writing lists who writes in a conversation, in a fixed order.
func (m *Model) writing(r *room) []string {
	var names []string
	for id := range r.typing {
		names = append(names, m.name(id))
	}
	slices.Sort(names)
	return names
}
