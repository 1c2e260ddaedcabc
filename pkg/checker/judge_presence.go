package checker

import (
	"cmp"
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// What I12 leaves to the clocks of clients, to slow readers and to the time that news takes.
const (
	presenceWindow = 20 * time.Second // before somebody was told offline: the absence lies in it
	leastAbsence   = 5 * time.Second  // half the grace: a connection's end is noticed sooner at one side
	presenceRest   = 15 * time.Second // connected for so long: everybody who looks has been told
)

// presences is who was connected when, as the devices themselves saw it, and what others were told of it.
type presences struct {
	devices map[*client]*attendance
	told    []told
}

// attendance is one device's connections, as its own lines tell them: in order.
type attendance struct {
	spans []span
	last  map[chat.UserID]*told // what it was told last
	final int64
}

// span is one connection; to is 0 while it lasts.
type span struct{ from, to int64 }

// told is somebody's status as a device was told.
type told struct {
	by   *client
	user chat.UserID
	t    int64
	line int
	off  bool
}

func (p *presences) of(c *client) *attendance {
	if p.devices == nil {
		p.devices = map[*client]*attendance{}
	}
	a := p.devices[c]
	if a == nil {
		a = &attendance{last: map[chat.UserID]*told{}}
		p.devices[c] = a
	}
	return a
}

// presence takes an event about who is there; false when it is about something else.
func (h *history) presence(who *client, e *Event) bool {
	switch e.Op {
	case OpConnected:
		a := h.presences.of(who)
		a.spans = append(a.spans, span{from: e.T})
	case OpDisconnected:
		if a := h.presences.of(who); len(a.spans) > 0 && a.spans[len(a.spans)-1].to == 0 {
			a.spans[len(a.spans)-1].to = e.T
		}
	case OpPresence:
		news := told{who, e.User, e.T, h.line, e.Which == "offline"}
		h.presences.told = append(h.presences.told, news)
		h.presences.of(who).last[e.User] = &news
	default:
		return false
	}
	return true
}

// judgePresence checks I12 as far as clients see it: nobody was told offline who was never away for long, and
// at rest nobody is shown offline who is there.
func (h *history) judgePresence() {
	here := map[chat.UserID][]span{}
	for _, c := range h.firstClient {
		if a := h.presences.devices[c]; a != nil {
			here[c.user] = append(here[c.user], a.spans...)
		}
	}
	for _, spans := range here {
		slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	}
	for _, n := range h.presences.told {
		if spans := here[n.user]; n.off && len(spans) > 0 && spans[0].from < n.t-int64(presenceWindow) {
			h.report.check("I12")
			if gap := longestAbsence(spans, n.t-int64(presenceWindow), n.t); gap < leastAbsence {
				h.report.violate("I12", n.line, "%s was told that %s is offline, who was away for %s at most", n.by.name, n.user, gap)
			}
		}
	}
	for _, c := range h.firstClient {
		h.restingPresence(c, here)
	}
}

func (h *history) restingPresence(c *client, here map[chat.UserID][]span) {
	a := h.presences.devices[c]
	if a == nil || a.final == 0 || longestAbsence(a.spans, a.final-int64(presenceRest), a.final) > 0 {
		return
	}
	for user, n := range a.last {
		spans := here[user]
		if len(spans) == 0 || longestAbsence(spans, a.final-int64(presenceRest), a.final) > 0 {
			continue
		}
		h.report.check("I12")
		if n.off {
			h.report.violate("I12", n.line, "%s shows %s as offline at rest, who is connected", c.name, user)
		}
	}
}

// longestAbsence is the longest part of a time without any of the spans, which ascend.
func longestAbsence(spans []span, from, to int64) time.Duration {
	var longest int64
	for _, s := range spans {
		if s.to != 0 && s.to <= from {
			continue
		}
		if s.from >= to {
			break
		}
		longest = max(longest, s.from-from)
		if s.to == 0 {
			return time.Duration(longest)
		}
		from = max(from, s.to)
	}
	return time.Duration(max(longest, to-from))
}
