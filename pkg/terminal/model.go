package terminal

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
	"github.com/parley-chat/parley/pkg/wire"
)

// screen is what the keys go to.
type screen int

const (
	screenList screen = iota
	screenRoom
	screenDirect // search for a person
	screenGroup
	screenHelp
)

// Options configure a Model.
type Options struct {
	Me      client.User
	Server  string // shown in the header
	Colours bool
	Zone    *time.Location   // nil: time.Local
	Now     func() time.Time // nil: time.Now
}

// person is what is known of somebody.
type person struct {
	name, username string // cleaned
	presence       client.Presence
}

// Model is the client without terminal and network. Everything in it belongs to the goroutine that calls Update.
type Model struct {
	backend Backend
	options Options
	style   style

	width, height int
	blurred       bool // the terminal does not have the focus
	screen        screen
	behind        screen // where help and forms return to
	chosen        chat.ConversationID
	open          chat.ConversationID
	direct        directForm
	group         groupForm
	note          string // the last thing that went wrong, until the next key
	leaving       bool   // ctrl+c was pressed while messages wait

	link    client.State
	synced  bool // everything missed has been shown once
	rooms   map[chat.ConversationID]*room
	people  map[chat.UserID]*person
	wanted  map[chat.UserID]bool // names to ask for
	asking  bool
	looking []chat.ConversationID
	touched time.Time // last key
	away    bool
}

// New makes a model that shows nothing yet.
func New(backend Backend, o Options) *Model {
	if o.Zone == nil {
		o.Zone = time.Local
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &Model{
		backend: backend, options: o, style: style{o.Colours}, width: 80, height: 24,
		rooms: map[chat.ConversationID]*room{}, people: map[chat.UserID]*person{}, wanted: map[chat.UserID]bool{},
		touched: o.Now(),
	}
	m.meet(o.Me)
	return m
}

type (
	// eventMsg is something that the SDK tells.
	eventMsg struct{ event client.Event }
	// endedMsg says that the SDK runs no more.
	endedMsg struct{ err error }
	namesMsg struct {
		asked []chat.UserID
		users []client.User
		err   error
	}
	aboutMsg struct {
		id           chat.ConversationID
		conversation wire.Conversation
		open         bool
		err          error
	}
	olderMsg struct {
		id      chat.ConversationID
		from    chat.Seq
		records []chat.Record
		more    bool
		err     error
	}
	minuteMsg struct{}
)

// Event makes the message that shows an event of the SDK.
func Event(e client.Event) tea.Msg { return eventMsg{e} }

// Ended makes the message that says why the SDK runs no more.
func Ended(err error) tea.Msg { return endedMsg{err} }

const (
	minute    = time.Minute
	awayAfter = 5 * time.Minute // without a key
)

// Init starts the clock.
func (m *Model) Init() tea.Cmd { return everyMinute() }

func everyMinute() tea.Cmd { return tea.Tick(minute, func(time.Time) tea.Msg { return minuteMsg{} }) }

// Update takes one message.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.FocusMsg:
		m.blurred = false
	case tea.BlurMsg:
		m.blurred = true
	case tea.KeyPressMsg:
		cmd = m.press(msg)
	case tea.PasteMsg:
		cmd = m.paste(msg.Content)
	case eventMsg:
		cmd = m.event(msg.event)
	case endedMsg:
		m.ended(msg.err)
	case namesMsg:
		m.named(msg)
	case aboutMsg:
		m.described(msg)
	case olderMsg:
		m.paged(msg)
	case searchDueMsg, foundMsg, groupReadyMsg:
		cmd = m.formMsg(msg)
	case minuteMsg:
		m.rest()
		cmd = everyMinute()
	}
	m.markRead()
	return m, tea.Batch(cmd, m.askNames(), m.fillScreen())
}

// rest says away after some minutes without a key.
func (m *Model) rest() {
	if away := m.options.Now().Sub(m.touched) >= awayAfter; away != m.away {
		m.away = away
		m.backend.Away(away)
	}
}

func (m *Model) touch() {
	m.touched = m.options.Now()
	m.rest()
}

// markRead moves the read cursor to the newest message when it is on the screen.
func (m *Model) markRead() {
	r := m.current()
	if r == nil || m.screen != screenRoom || m.blurred || r.scroll > 0 || r.low == 0 || r.unread() == 0 {
		return
	}
	r.readTo(r.head)
	m.backend.Read(r.id, r.head.Seq)
}

func (m *Model) current() *room { return m.rooms[m.open] }

func (m *Model) room(id chat.ConversationID) *room {
	r := m.rooms[id]
	if r == nil {
		r = newRoom(id)
		m.rooms[id] = r
	}
	return r
}

// list is the conversations in their order: pinned, by activity, archived.
func (m *Model) list() []*room {
	rooms := make([]*room, 0, len(m.rooms))
	for _, r := range m.rooms {
		if r.known {
			rooms = append(rooms, r)
		}
	}
	rank := func(r *room) int {
		switch {
		case r.about.Archived:
			return 2
		case r.about.Pinned:
			return 0
		default:
			return 1
		}
	}
	slices.SortFunc(rooms, func(a, b *room) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), b.activity.Compare(a.activity), cmp.Compare(a.id, b.id))
	})
	return rooms
}

// show opens a conversation.
func (m *Model) show(id chat.ConversationID) {
	if m.open != id {
		m.hush()
	}
	m.open, m.chosen, m.screen = id, id, screenRoom
	m.room(id).scroll = 0
	m.look()
}

// hush ends one's own typing in the open conversation.
func (m *Model) hush() {
	if r := m.current(); r != nil && len(r.draft.text) > 0 {
		m.backend.Typing(r.id, false)
	}
}

// look follows the people of the direct conversations, the most active first.
func (m *Model) look() {
	var ids []chat.ConversationID
	if r := m.current(); r != nil {
		ids = append(ids, r.id)
	}
	for _, r := range m.list() {
		if r.direct() && r.id != m.open && len(ids) < wire.MaxWatched {
			ids = append(ids, r.id)
		}
	}
	slices.Sort(ids)
	if !slices.Equal(ids, m.looking) {
		m.looking = ids
		m.backend.Look(ids)
	}
}

// meet takes up a person's name.
func (m *Model) meet(u client.User) {
	p := m.people[u.ID]
	if p == nil {
		p = &person{}
		m.people[u.ID] = p
	}
	p.username = cleanLine(u.Username)
	p.name = strings.TrimSpace(cleanLine(u.DisplayName))
	if p.name == "" {
		p.name = p.username
	}
	delete(m.wanted, u.ID)
}

// name is what a person is called; one who is not known yet is asked for.
func (m *Model) name(id chat.UserID) string {
	if p := m.people[id]; p != nil && p.name != "" {
		return p.name
	}
	if id != "" {
		m.wanted[id] = true
	}
	return "…"
}

// title is what a conversation is called.
func (m *Model) title(r *room) string {
	switch r.id.Type() {
	case chat.Direct:
		return m.name(r.about.PeerID)
	case chat.Self:
		return "Notes to myself"
	default:
		if name := strings.TrimSpace(cleanLine(r.about.Name)); name != "" {
			return name
		}
		return "(no name)"
	}
}

const namesAtOnce = 100

// askNames asks for the people whose names were missing when something was drawn or came.
func (m *Model) askNames() tea.Cmd {
	if m.asking || len(m.wanted) == 0 || m.link.Phase != client.Connected {
		return nil
	}
	var ids []chat.UserID
	for id := range m.wanted {
		if ids = append(ids, id); len(ids) == namesAtOnce {
			break
		}
	}
	m.asking = true
	return func() tea.Msg {
		users, err := m.backend.Names(context.Background(), ids)
		return namesMsg{ids, users, err}
	}
}

func (m *Model) named(msg namesMsg) {
	m.asking = false
	for _, u := range msg.users {
		m.meet(u)
	}
	if msg.err != nil {
		clear(m.wanted) // the next drawing wants them again
		return
	}
	for _, id := range msg.asked {
		if m.wanted[id] {
			m.meet(client.User{ID: id, Username: "(unknown)"})
		}
	}
}

// fillScreen asks for older messages when the open conversation has fewer than the screen has lines.
func (m *Model) fillScreen() tea.Cmd {
	r := m.current()
	if r == nil || m.screen != screenRoom || !r.known || r.head.Seq == 0 || m.link.Phase != client.Connected {
		return nil
	}
	if m.fills(r, m.roomHeight()+r.scroll) {
		return nil
	}
	return m.older(r)
}

func (m *Model) older(r *room) tea.Cmd {
	if r.loading || !r.more || len(r.items) >= mostRead {
		return nil
	}
	r.loading = true
	id, before := r.id, r.low
	return func() tea.Msg {
		from, records, more, err := m.backend.Older(context.Background(), id, before)
		return olderMsg{id, from, records, more, err}
	}
}

func (m *Model) paged(msg olderMsg) {
	r := m.rooms[msg.id]
	if r == nil {
		return
	}
	r.loading = false
	if msg.err != nil {
		r.more = false // until the next PageUp or connection
		m.complain("older messages", msg.err)
		return
	}
	r.older(msg.from, msg.records, msg.more)
	for _, record := range msg.records {
		m.mention(record)
	}
}

// mention asks for the names that a record shows.
func (m *Model) mention(record chat.Record) {
	m.name(record.SenderID)
	for _, id := range record.UserIDs {
		m.name(id)
	}
}

// complain notes what went wrong, in the words of the server where it has some.
func (m *Model) complain(what string, err error) {
	if refusal, ok := errors.AsType[*chat.Error](err); ok {
		m.note = what + ": " + cleanLine(refusal.Message)
		return
	}
	m.note = what + ": the server can not be reached"
}
