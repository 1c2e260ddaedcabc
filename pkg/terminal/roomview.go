package terminal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// indent keeps the further lines of a message away from where names and times stand, so that no text can look
// like a message of somebody else.
const (
	indent   = 6
	mostName = 20
)

// roomHeight is how many lines of messages fit: the title, the typing line and the input are around them.
func (m *Model) roomHeight() int { return max(m.bodyHeight()-3, 1) }

func (m *Model) roomWidth() int {
	if m.width < twoPanes {
		return m.width
	}
	return m.width - listWidth - 3
}

func (m *Model) roomView(w int) ([]string, *tea.Cursor) {
	r := m.current()
	if r == nil {
		return []string{"", m.style.faint(clip("  Choose a conversation, or ctrl+n for a new one.", w))}, nil
	}
	lines := []string{m.roomTitle(r, w)}
	messages := m.visible(r, w, m.roomHeight())
	for range m.roomHeight() - len(messages) {
		lines = append(lines, "")
	}
	lines = append(lines, messages...)
	lines = append(lines, m.below(r, w))
	text, at := r.draft.view(w - 3)
	return append(lines, "> "+text), tea.NewCursor(2+at, len(lines))
}

func (m *Model) roomTitle(r *room, w int) string {
	about := ""
	switch r.id.Type() {
	case chat.Direct:
		about = m.presenceText(r.about.PeerID)
	case chat.Group:
		about = plural(r.about.MemberCount, "member", "members")
	case chat.Self:
	}
	title := clip(m.title(r), max(w-width(about)-2, 8))
	return m.style.strong(title) + "  " + m.style.faint(clip(about, max(w-width(title)-2, 0)))
}

func (m *Model) presenceText(id chat.UserID) string {
	p := m.people[id]
	if p == nil {
		return ""
	}
	switch p.presence.Status {
	case wire.StatusOnline:
		return "online"
	case wire.StatusAway:
		return "away"
	case wire.StatusOffline:
		if seen := p.presence.LastSeen; !seen.IsZero() {
			return "last seen " + m.moment(seen)
		}
		return "offline"
	case wire.StatusUnknown:
	}
	return ""
}

// moment is a time as short as it is clear.
func (m *Model) moment(t time.Time) string {
	t, now := t.In(m.options.Zone), m.options.Now().In(m.options.Zone)
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("2 Jan 2006 15:04")
}

// below is the line over the input: who writes, or that there is more below.
func (m *Model) below(r *room, w int) string {
	if r.scroll > 0 {
		text := "↓ PgDn for newer messages"
		if n := r.unread(); n > 0 {
			text = fmt.Sprintf("↓ %d new, PgDn", n)
		}
		return m.style.news(clip(text, w))
	}
	names := m.writing(r)
	switch {
	case len(names) == 0:
		return ""
	case len(names) == 1:
		return m.style.faint(clip(names[0]+" is writing…", w))
	default:
		return m.style.faint(clip(strings.Join(names, ", ")+" are writing…", w))
	}
}

// visible is the lines of messages on the screen: they are put together from the newest up, so that the cost is
// that of the screen and what was scrolled.
func (m *Model) visible(r *room, w, height int) []string {
	need := height + r.scroll
	var upward []string
	for at := len(r.items) - 1; at >= 0 && len(upward) < need; at-- {
		block := m.block(r, at, w)
		slices.Reverse(block)
		upward = append(upward, block...)
	}
	if len(upward) < need {
		upward = append(upward, m.top(r, w)...)
	}
	from := min(r.scroll, max(len(upward)-height, 0))
	upward = upward[from:min(from+height, len(upward))]
	slices.Reverse(upward)
	return upward
}

// top is what stands above the oldest message.
func (m *Model) top(r *room, w int) []string {
	switch {
	case r.loading:
		return []string{m.style.faint(clip("fetching older messages…", w))}
	case len(r.items) >= mostRead:
		return []string{m.style.faint(clip("more is not kept here", w))}
	case len(r.items) == 0 && r.known:
		return []string{m.style.faint(clip("Nothing has been said yet.", w))}
	}
	return nil
}

// lines counts what the messages of a conversation take on the screen.
func (m *Model) lines(r *room) int {
	n, w := 0, m.roomWidth()
	for at := range r.items {
		n += m.height1(r, at, w)
	}
	return n
}

// fills reports whether the messages take more than n lines; it looks at no more of them than it must.
func (m *Model) fills(r *room, n int) bool {
	w := m.roomWidth()
	for at := len(r.items) - 1; at >= 0 && n >= 0; at-- {
		n -= m.height1(r, at, w)
	}
	return n < 0
}

// height1 is the number of lines that block makes.
func (m *Model) height1(r *room, at, w int) int {
	n := len(m.wrapped(r.items[at], w))
	if m.day(r, at) != "" {
		n++
	}
	if _, quotes := m.quote(r, r.items[at]); quotes {
		n++
	}
	if r.items[at].failed != nil {
		n++
	}
	return n
}

// block is one item on the screen, with the line of a new day above it.
func (m *Model) block(r *room, at, w int) []string {
	i := r.items[at]
	var lines []string
	if day := m.day(r, at); day != "" {
		lines = append(lines, m.style.faint(clip("── "+day+" ──", w)))
	}
	if quote, ok := m.quote(r, i); ok {
		lines = append(lines, m.style.faint(strings.Repeat(" ", indent)+clip("┌ "+quote, w-indent)))
	}
	text := m.wrapped(i, w)
	if i.record.Kind != chat.KindMessage {
		for _, line := range text {
			lines = append(lines, strings.Repeat(" ", indent)+m.style.faint(line))
		}
		return lines
	}
	for n, line := range text {
		lead := strings.Repeat(" ", indent)
		if n == 0 {
			lead, line = m.style.faint(fit(m.clock(i), indent)), m.named1(i, line)
		}
		if n == len(text)-1 {
			line += m.mark(r, i)
		}
		lines = append(lines, lead+line)
	}
	if i.failed != nil {
		failed := clip("✗ failed: "+reason(i.failed)+" (ctrl+r sends it again)", w-indent)
		lines = append(lines, strings.Repeat(" ", indent)+m.style.bad(failed))
	}
	return lines
}

func (m *Model) clock(i *item) string {
	if i.pending() {
		return ""
	}
	return i.record.ID.Time().In(m.options.Zone).Format("15:04")
}

// named1 paints the name at the beginning of a message's first line.
func (m *Model) named1(i *item, line string) string {
	name := i.name
	rest, ok := strings.CutPrefix(line, name)
	if !ok {
		return line
	}
	if i.record.Deleted {
		rest = m.style.faint(rest)
	}
	if i.record.SenderID == m.options.Me.ID {
		return m.style.mine(name) + rest
	}
	return m.style.other(name) + rest
}

// day is the text of the day line above an item, "" where the day is the one of the item before.
func (m *Model) day(r *room, at int) string {
	i := r.items[at]
	if i.pending() {
		return ""
	}
	t := i.record.ID.Time().In(m.options.Zone)
	if at > 0 {
		before := r.items[at-1].record.ID.Time().In(m.options.Zone)
		if before.YearDay() == t.YearDay() && before.Year() == t.Year() {
			return ""
		}
	}
	return t.Format("Mon 2 Jan 2006")
}

// markWidth is what is kept free for the mark behind a message's last line.
const markWidth = 14

// wrapped is the text of an item in lines that leave room for the indent and the mark.
func (m *Model) wrapped(i *item, w int) []string {
	name := clip(m.name(i.record.SenderID), mostName)
	if i.wrapped != nil && i.width == w && i.name == name && i.record.Kind == chat.KindMessage {
		return i.wrapped
	}
	i.width, i.name = w, name
	if i.record.Kind != chat.KindMessage {
		i.wrapped = wrap(m.sentence(i.record), w-indent)
		return i.wrapped
	}
	text := clean(i.record.Text)
	if i.record.Deleted {
		text = "(deleted)"
	} else if i.record.EditedSeq != 0 {
		text += " (edited)"
	}
	i.wrapped = wrap(name+"  "+text, max(w-indent-markWidth, mostName+2))
	return i.wrapped
}

// quote is the first line of what a message answers.
func (m *Model) quote(r *room, i *item) (string, bool) {
	if i.record.ReplyTo == 0 || i.record.Deleted {
		return "", false
	}
	at, found := r.find(i.record.ReplyTo)
	if !found {
		return "an older message", true
	}
	target := r.items[at].record
	if target.Deleted {
		return "(deleted)", true
	}
	return m.name(target.SenderID) + ": " + cleanLine(chat.Clip(target.Text)), true
}

// mark says how far a message of one's own is.
func (m *Model) mark(r *room, i *item) string {
	if i.record.SenderID != m.options.Me.ID || r.id.Type() == chat.Self && !i.pending() {
		return ""
	}
	if i.failed != nil {
		return "" // a line of its own says why
	}
	if i.pending() {
		return m.style.faint(" … sending")
	}
	delivered, read := r.reached(i.record.Seq)
	switch {
	case read > 0 && !r.direct():
		return m.style.good(fmt.Sprintf(" ✓✓ read by %d", read))
	case read > 0:
		return m.style.good(" ✓✓ read")
	case delivered > 0:
		return m.style.faint(" ✓✓ delivered")
	default:
		return m.style.faint(" ✓ sent")
	}
}

func reason(err error) string {
	if refusal, ok := errors.AsType[*chat.Error](err); ok {
		return clip(cleanLine(refusal.Message), 40)
	}
	return clip(cleanLine(err.Error()), 40)
}

// sentence says what a record did that is no message.
func (m *Model) sentence(record chat.Record) string {
	who := m.name(record.SenderID)
	switch record.Kind {
	case chat.KindCreate:
		return who + " made this group"
	case chat.KindSettings:
		if record.Name != nil {
			return who + " named the group " + cleanLine(*record.Name)
		}
		return who + " changed who may read what came before"
	case chat.KindMember:
		return who + " " + m.membership(record)
	default:
		return who + " did something that this version does not know"
	}
}

func (m *Model) membership(record chat.Record) string {
	names := make([]string, len(record.UserIDs))
	for i, id := range record.UserIDs {
		names[i] = m.name(id)
	}
	people := strings.Join(names, ", ")
	switch record.Action {
	case chat.ActionAdded:
		return "added " + people
	case chat.ActionRemoved:
		return "removed " + people
	case chat.ActionLeft:
		return "left"
	case chat.ActionRole:
		return "made " + people + " " + cleanLine(string(record.Role))
	default:
		return "changed the members"
	}
}
