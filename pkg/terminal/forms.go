package terminal

import (
	"context"
	"errors"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
)

// directForm finds a person by the beginning of their username.
type directForm struct {
	query  editor
	serial int // of the last change of query: older answers are not shown
	found  []client.User
	asked  string // query that found belongs to
	chosen int
	opens  bool
}

// groupForm names a group and its members.
type groupForm struct {
	name, members editor
	second        bool // the members are being typed
	id            chat.ClientID
	busy          bool
}

func (g *groupForm) field() *editor {
	if g.second {
		return &g.members
	}
	return &g.name
}

type (
	searchDueMsg struct{ serial int }
	foundMsg     struct {
		serial int
		query  string
		users  []client.User
		err    error
	}
	groupReadyMsg struct {
		about aboutMsg
		err   error
	}
)

// searchPause is how long the typing must rest before a search.
const searchPause = 200 * time.Millisecond

func (m *Model) pressDirect(k tea.KeyPressMsg, key string) tea.Cmd {
	f := &m.direct
	switch key {
	case "esc":
		m.screen = m.behind
	case "up":
		f.chosen = max(f.chosen-1, 0)
	case "down":
		f.chosen = min(f.chosen+1, max(len(f.found)-1, 0))
	case "enter":
		if f.opens || f.asked != query(f) || f.chosen >= len(f.found) {
			return nil
		}
		f.opens = true
		return m.openDirect(f.found[f.chosen])
	default:
		if f.query.key(k) {
			return m.searchSoon()
		}
	}
	return nil
}

func query(f *directForm) string {
	return strings.ToLower(strings.TrimPrefix(strings.TrimSpace(f.query.String()), "@"))
}

func (m *Model) searchSoon() tea.Cmd {
	m.direct.serial++
	serial := m.direct.serial
	return tea.Tick(searchPause, func(time.Time) tea.Msg { return searchDueMsg{serial} })
}

func (m *Model) formMsg(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case searchDueMsg:
		if q := query(&m.direct); msg.serial == m.direct.serial && q != "" {
			return m.search(msg.serial, q)
		}
	case foundMsg:
		m.found(msg)
	case groupReadyMsg:
		m.group.busy = false
		if msg.err != nil {
			m.complainOf(msg.err)
			return nil
		}
		m.described(msg.about)
	}
	return nil
}

func (m *Model) search(serial int, q string) tea.Cmd {
	return func() tea.Msg {
		users, err := m.backend.Search(context.Background(), q)
		return foundMsg{serial, q, users, err}
	}
}

func (m *Model) found(msg foundMsg) {
	if msg.serial != m.direct.serial {
		return
	}
	if msg.err != nil {
		m.complain("search", msg.err)
		return
	}
	m.direct.found, m.direct.asked, m.direct.chosen = nil, msg.query, 0
	for _, u := range msg.users {
		m.meet(u)
		if u.ID != m.options.Me.ID {
			m.direct.found = append(m.direct.found, u)
		}
	}
}

func (m *Model) openDirect(u client.User) tea.Cmd {
	return func() tea.Msg {
		c, err := m.backend.Direct(context.Background(), u.ID)
		return groupReadyMsg{about: aboutMsg{id: c.ID, conversation: c, open: true}, err: err}
	}
}

func (m *Model) pressGroup(k tea.KeyPressMsg, key string) tea.Cmd {
	g := &m.group
	switch key {
	case "esc":
		m.screen = m.behind
	case "tab", "up", "down", "shift+tab":
		g.second = !g.second
	case "enter":
		if !g.second {
			g.second = true
			return nil
		}
		return m.makeGroup()
	default:
		if g.field().key(k) {
			g.id = chat.ClientID{} // it is another group now
		}
	}
	return nil
}

// errNobody says which usernames nobody has.
type errNobody struct{ names []string }

func (e errNobody) Error() string { return "nobody is called " + strings.Join(e.names, ", ") }

func (m *Model) complainOf(err error) {
	m.direct.opens = false
	if nobody, ok := errors.AsType[errNobody](err); ok {
		m.note = cleanLine(nobody.Error())
		return
	}
	m.complain("not made", err)
}

// makeGroup finds the people and makes the group. Pressing enter again after a failure makes the same group.
func (m *Model) makeGroup() tea.Cmd {
	g := &m.group
	name := strings.TrimSpace(g.name.String())
	if g.busy {
		return nil
	}
	if name == "" {
		m.note = "a group needs a name"
		return nil
	}
	if g.id.IsZero() {
		g.id = chat.NewClientID(m.options.Now())
	}
	g.busy = true
	id := g.id
	usernames := strings.FieldsFunc(strings.ToLower(g.members.String()), func(r rune) bool {
		return r == ' ' || r == ',' || r == ';' || r == '\n' || r == '@'
	})
	return func() tea.Msg {
		ctx := context.Background()
		members, err := m.find(ctx, usernames)
		if err != nil {
			return groupReadyMsg{err: err}
		}
		c, err := m.backend.Group(ctx, id, name, members)
		return groupReadyMsg{about: aboutMsg{id: c.ID, conversation: c, open: true}, err: err}
	}
}

// find turns usernames into people. It runs outside of Update and touches the backend alone.
func (m *Model) find(ctx context.Context, usernames []string) ([]chat.UserID, error) {
	var ids []chat.UserID
	var missing []string
	for _, name := range usernames {
		users, err := m.backend.Search(ctx, name)
		if err != nil {
			return nil, err
		}
		before := len(ids)
		for _, u := range users {
			if u.Username == name {
				ids = append(ids, u.ID)
			}
		}
		if len(ids) == before {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return nil, errNobody{missing}
	}
	return ids, nil
}
