package terminal

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-chat/parley/pkg/client"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	twoPanes  = 80 // columns from which list and conversation stand side by side
	listWidth = 28
	leastWide = 20
	leastHigh = 6
)

// View draws everything.
func (m *Model) View() tea.View {
	v := tea.NewView("")
	v.AltScreen, v.ReportFocus = true, true
	v.WindowTitle = "parley"
	if n := m.unread(); n > 0 {
		v.WindowTitle = "(" + strconv.FormatUint(n, 10) + ") parley"
	}
	if m.width < leastWide || m.height < leastHigh {
		v.SetContent(clip("too small", m.width))
		return v
	}
	body, cursor := m.body()
	lines := append([]string{m.header()}, body...)
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:m.height-1], m.footer())
	v.SetContent(strings.Join(lines, "\n"))
	if cursor != nil {
		cursor.Y++ // the header
		v.Cursor = cursor
	}
	return v
}

func (m *Model) unread() uint64 {
	n := uint64(0)
	for _, r := range m.rooms {
		if r.known && !r.about.Archived && !m.muted(r) {
			n += r.unread()
		}
	}
	return n
}

func (m *Model) muted(r *room) bool {
	until := string(r.about.MutedUntil)
	if until == "" {
		return false
	}
	at, err := time.Parse(time.RFC3339, until)
	return err != nil || m.options.Now().Before(at) // no time: forever
}

// header says who and where one is, and how the connection is.
func (m *Model) header() string {
	left := " parley  " + m.name(m.options.Me.ID)
	if m.options.Server != "" {
		left += " at " + cleanLine(m.options.Server)
	}
	right := m.connection()
	return m.style.strong(fit(left, m.width-width(right)-2)) + " " + m.style.news(right) + " "
}

func (m *Model) connection() string {
	switch m.link.Phase {
	case client.Connected:
		if !m.synced {
			return "fetching news…"
		}
		return ""
	case client.Stopped:
		return "logged out"
	case client.Waiting, client.Connecting:
		if m.link.Connection == 0 && m.link.Err == nil {
			return "connecting…"
		}
		return "offline, trying again…"
	}
	return "connecting…"
}

// body is everything between header and footer.
func (m *Model) body() (lines []string, cursor *tea.Cursor) {
	switch m.screen {
	case screenHelp:
		return m.help(), nil
	case screenDirect:
		return m.directView()
	case screenGroup:
		return m.groupView()
	case screenRoom, screenList:
	}
	if m.width < twoPanes {
		if m.screen == screenRoom {
			return m.roomView(m.width)
		}
		return m.listView(m.width), nil
	}
	list := m.listView(listWidth)
	right, cursor := m.roomView(m.width - listWidth - 3)
	for i := range m.bodyHeight() {
		line := fit("", listWidth)
		if i < len(list) {
			line = list[i]
		}
		line += m.style.faint(" │ ")
		if i < len(right) {
			line += right[i]
		}
		lines = append(lines, line)
	}
	if m.screen == screenList {
		return lines, nil
	}
	if cursor != nil {
		cursor.X += listWidth + 3
	}
	return lines, cursor
}

func (m *Model) bodyHeight() int { return m.height - 2 }

// listRows is how many conversations fit; each takes two lines.
func (m *Model) listRows() int { return max(m.bodyHeight()/2, 1) }

func (m *Model) listView(w int) []string {
	rooms := m.list()
	if len(rooms) == 0 {
		if !m.synced {
			return nil
		}
		return []string{fit("No conversations yet.", w), fit("ctrl+n finds a person.", w)}
	}
	at := 0
	for i, r := range rooms {
		if r.id == m.chosen {
			at = i
		}
	}
	first := max(at-m.listRows()+1, 0)
	var lines []string
	for _, r := range rooms[first:min(first+m.listRows(), len(rooms))] {
		lines = append(lines, m.row(r, w)...)
	}
	return lines
}

// row is one conversation: its name and news, below it the last message.
func (m *Model) row(r *room, w int) []string {
	badge := ""
	if n := r.unread(); n > 0 {
		badge = " " + strconv.FormatUint(n, 10) + " "
	}
	marker := m.dot(r)
	if r.about.Pinned {
		marker = "▲"
	}
	title := fit(marker+" "+m.title(r), w-width(badge))
	preview := r.last
	if r.lastBy == m.options.Me.ID && preview != "" {
		preview = "you: " + preview
	}
	if len(m.writing(r)) > 0 {
		preview = "writing…"
	}
	below := m.style.faint(fit("  "+preview, w))
	switch {
	case r.id == m.chosen && m.screen == screenList:
		return []string{m.style.chosen(title + badge), below}
	case r.id == m.open || r.id == m.chosen:
		return []string{m.style.strong(title) + m.style.news(badge), below}
	case r.about.Archived || m.muted(r):
		return []string{m.style.faint(title + badge), below}
	}
	return []string{title + m.style.news(badge), below}
}

// dot shows the presence of the other person of a direct conversation.
func (m *Model) dot(r *room) string {
	if p := m.people[r.about.PeerID]; r.direct() && p != nil {
		switch p.presence.Status {
		case wire.StatusOnline:
			return "●"
		case wire.StatusAway:
			return "◐"
		case wire.StatusOffline, wire.StatusUnknown:
		}
	}
	return " "
}

// footer names the keys, or what went wrong.
func (m *Model) footer() string {
	if m.note != "" {
		return m.style.bad(fit(" "+m.note, m.width))
	}
	if m.link.Phase == client.Stopped {
		return m.style.bad(fit(" This login has ended. Leave with ctrl+c and start again to log in.", m.width))
	}
	keys := "? help · enter open · ctrl+n new chat · ctrl+g new group · q quit"
	switch m.screen {
	case screenRoom:
		keys = "F1 help · enter send · PgUp older · esc list · ctrl+n new chat · ctrl+c quit"
	case screenDirect:
		keys = "type a username · ↑↓ choose · enter open · esc back"
	case screenGroup:
		keys = "tab other field · enter next, make · esc back"
	case screenHelp:
		keys = "any key goes back"
	case screenList:
	}
	return m.style.faint(fit(" "+keys, m.width))
}

func (m *Model) help() []string {
	text := []string{
		"", "Conversations", "  ↑ ↓ k j       choose", "  enter         open",
		"  ctrl+n        a new conversation with one person", "  ctrl+g        a new group",
		"", "In a conversation", "  enter         send", "  alt+enter     a new line (ctrl+j too)",
		"  PgUp PgDn     older and newer messages", "  ctrl+↑ ctrl+↓ the next conversation",
		"  ctrl+r        send again what was refused", "  esc           back to the list",
		"", "Marks: sending, sent, delivered, read, failed.  ● online  ◐ away  ▲ pinned",
		"", "  ctrl+c        leave", "",
	}
	for i := range text {
		text[i] = clip(" "+text[i], m.width)
	}
	return text
}

func (m *Model) directView() ([]string, *tea.Cursor) {
	f := &m.direct
	text, at := f.query.view(m.width - 12)
	lines := []string{"", m.style.strong(" New conversation"), "", " Username: " + text, ""}
	for i, u := range f.found {
		line := fit("  "+m.name(u.ID)+"  @"+cleanLine(u.Username), m.width)
		if i == f.chosen {
			line = m.style.chosen(line)
		}
		lines = append(lines, line)
	}
	if q := query(f); q != "" && f.asked == q && len(f.found) == 0 {
		lines = append(lines, m.style.faint("  Nobody is called that."))
	}
	return lines, tea.NewCursor(11+at, 3)
}

func (m *Model) groupView() ([]string, *tea.Cursor) {
	g := &m.group
	name, at := g.name.view(m.width - 12)
	members, atMembers := g.members.view(m.width - 12)
	lines := []string{"", m.style.strong(" New group"), "", " Name:     " + name, " Members:  " + members}
	lines = append(lines, "", m.style.faint(clip(" Usernames, with spaces or commas between them.", m.width)))
	if g.busy {
		lines = append(lines, "", " Making it…")
	}
	if g.second {
		return lines, tea.NewCursor(11+atMembers, 4)
	}
	return lines, tea.NewCursor(11+at, 3)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
