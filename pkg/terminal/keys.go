package terminal

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
)

// press takes a key: the keys of every screen first.
func (m *Model) press(k tea.KeyPressMsg) tea.Cmd {
	m.touch()
	m.note = ""
	key := k.Keystroke()
	if key == "ctrl+c" {
		return m.leave()
	}
	m.leaving = false
	if m.screen == screenHelp {
		m.screen = m.behind
		return nil
	}
	switch {
	case key == "f1", k.Text == "?" && m.screen == screenList:
		m.enter(screenHelp)
		return nil
	case key == "ctrl+n":
		m.direct = directForm{serial: m.direct.serial}
		m.enter(screenDirect)
		return nil
	case key == "ctrl+g":
		m.group = groupForm{}
		m.enter(screenGroup)
		return nil
	}
	switch m.screen {
	case screenRoom:
		return m.pressRoom(k, key)
	case screenDirect:
		return m.pressDirect(k, key)
	case screenGroup:
		return m.pressGroup(k, key)
	default:
		return m.pressList(k, key)
	}
}

// enter shows a screen that returns to the list or the conversation.
func (m *Model) enter(s screen) {
	if m.screen == screenList || m.screen == screenRoom {
		m.behind = m.screen
	}
	m.screen = s
}

// leave ends the program, unless messages would be lost by it and that was not said yet.
func (m *Model) leave() tea.Cmd {
	if n := m.backend.Unsent(); n > 0 && !m.leaving {
		m.leaving = true
		m.note = plural(n, "message is", "messages are") + " not sent yet; ctrl+c again leaves without"
		return nil
	}
	m.hush()
	return tea.Quit
}

func (m *Model) pressList(k tea.KeyPressMsg, key string) tea.Cmd {
	switch {
	case key == "up", k.Text == "k":
		m.choose(-1)
	case key == "down", k.Text == "j":
		m.choose(+1)
	case key == "pgup":
		m.choose(-m.listRows())
	case key == "pgdown":
		m.choose(+m.listRows())
	case key == "enter", key == "right", key == "tab":
		if m.rooms[m.chosen] == nil {
			m.choose(0)
		}
		if m.rooms[m.chosen] != nil {
			m.show(m.chosen)
		}
	case k.Text == "q":
		return m.leave()
	}
	return nil
}

// choose moves the cursor of the list.
func (m *Model) choose(by int) {
	rooms := m.list()
	if len(rooms) == 0 {
		return
	}
	at := slices.IndexFunc(rooms, func(r *room) bool { return r.id == m.chosen })
	if at < 0 {
		at, by = 0, 0
	}
	m.chosen = rooms[min(max(at+by, 0), len(rooms)-1)].id
}

func (m *Model) pressRoom(k tea.KeyPressMsg, key string) tea.Cmd {
	r := m.current()
	if r == nil {
		m.screen = screenList
		return nil
	}
	switch key {
	case "esc", "tab":
		m.hush()
		m.screen = screenList
	case "enter":
		m.send(r)
	case "alt+enter", "shift+enter", "ctrl+j":
		r.draft.insert("\n")
	case "pgup":
		return m.up(r)
	case "pgdown":
		r.scroll = max(r.scroll-m.page(), 0)
		r.trim()
	case "alt+up", "ctrl+up", "ctrl+p":
		m.step(-1)
	case "alt+down", "ctrl+down":
		m.step(+1)
	case "ctrl+r":
		m.sendAgain(r)
	default:
		if r.draft.key(k) {
			m.backend.Typing(r.id, len(r.draft.text) > 0)
		}
	}
	return nil
}

// step opens the neighbour in the list.
func (m *Model) step(by int) {
	m.chosen = m.open
	m.choose(by)
	m.show(m.chosen)
}

func (m *Model) page() int { return max(m.roomHeight()-1, 1) }

// up shows what stands above; at the top it asks history.
func (m *Model) up(r *room) tea.Cmd {
	if r.low != 1 && !r.loading {
		r.more = true
	}
	all := m.lines(r)
	r.scroll = min(r.scroll+m.page(), max(all-m.roomHeight(), 0))
	if all <= r.scroll+2*m.roomHeight() {
		return m.older(r)
	}
	return nil
}

func (m *Model) send(r *room) {
	text := r.draft.String()
	if strings.TrimSpace(text) == "" {
		return
	}
	message, err := m.backend.Send(client.Message{ConversationID: r.id, Kind: chat.KindMessage, Text: text})
	if err != nil {
		m.note = "not sent: " + cleanLine(err.Error())
		return
	}
	r.wait(message, m.options.Me.ID)
	r.draft = editor{}
	r.scroll = 0
}

// sendAgain sends what was refused, each under its client id: what did arrive is not doubled.
func (m *Model) sendAgain(r *room) {
	for _, old := range r.refused() {
		message := client.Message{
			ConversationID: r.id, ClientID: old.ClientID, Kind: chat.KindMessage, Text: old.Text, ReplyTo: old.ReplyTo,
		}
		_, err := m.backend.Send(message)
		r.wait(message, m.options.Me.ID)
		if err != nil {
			r.fail(old.ClientID, err)
		}
	}
}

func (m *Model) paste(text string) tea.Cmd {
	m.touch()
	switch m.screen {
	case screenRoom:
		if r := m.current(); r != nil {
			r.draft.insert(text)
			m.backend.Typing(r.id, len(r.draft.text) > 0)
		}
	case screenDirect:
		m.direct.query.insert(strings.TrimSpace(text))
		return m.searchSoon()
	case screenGroup:
		m.group.field().insert(strings.TrimSpace(text))
		m.group.id = chat.ClientID{} // it is another group now
	case screenList, screenHelp:
	}
	return nil
}
