package checker

import (
	"slices"

	"github.com/parley-chat/parley/pkg/chat"
)

// fold makes everybody's intervals from the records.
func (c *conversation) fold() {
	for _, e := range c.entries {
		if e == nil || e.Kind != chat.KindCreate && e.Kind != chat.KindMember {
			continue
		}
		for _, u := range e.Users {
			p := c.person(u)
			switch {
			case e.Kind == chat.KindCreate || e.Action == chat.ActionAdded:
				if !p.member() {
					p.intervals = append(p.intervals, interval{joined: e.Seq})
				}
			case e.Action == chat.ActionRemoved || e.Action == chat.ActionLeft:
				if p.member() {
					p.intervals[len(p.intervals)-1].removed = e.Seq
				}
			}
		}
	}
}

// created reports whether membership can be told: the create record was seen.
func (c *conversation) created() bool { return c.at(1) != nil && c.at(1).Kind == chat.KindCreate }

// joinedOnly reports whether newcomers see only what comes after them. Settings may change it: the strictest
// reading would be wrong then, so any record that opens the history makes the check mild.
func (c *conversation) joinedOnly() bool {
	for _, e := range c.entries {
		if e != nil && e.Kind == chat.KindSettings && e.History == chat.HistoryAll {
			return false
		}
	}
	return c.at(1).History == chat.HistoryJoined
}

// members checks I8: nobody got what lies outside their membership.
func (h *history) members(c *conversation) {
	if !c.created() {
		return
	}
	joined := c.joinedOnly()
	for _, p := range c.order {
		for seq := range c.entries {
			s := chat.Seq(seq)
			e := c.entries[seq]
			if e == nil {
				continue
			}
			if p.live.has(s) {
				h.report.check("I8")
				if !p.contains(s) && !e.concerns(p.user) {
					h.violate("I8", "%s was sent seq %d of %s live, outside their membership", p.user, s, c.id)
				}
			}
			if p.read.has(s) {
				h.report.check("I8")
				if !p.mayRead(s, joined) && !e.concerns(p.user) {
					h.violate("I8", "%s read seq %d of %s, outside their membership", p.user, s, c.id)
				}
			}
		}
		h.readsAfterRemoval(c, p)
	}
}

// concerns reports whether the record changes u's membership: who is removed is told so.
func (e *entry) concerns(u chat.UserID) bool {
	return e.Kind == chat.KindMember && slices.Contains(e.Users, u)
}

func (p *person) mayRead(s chat.Seq, joined bool) bool {
	if joined {
		return p.contains(s)
	}
	if len(p.intervals) == 0 {
		return false
	}
	last := p.intervals[len(p.intervals)-1]
	return last.removed == 0 || s < last.removed
}

// readsAfterRemoval checks what only times tell: a read begun after a removal was acknowledged, and not after
// any return that may have come in between.
func (h *history) readsAfterRemoval(c *conversation, p *person) {
	for _, page := range p.pages {
		h.report.check("I8")
		var removal moment
		for _, m := range p.removals {
			if m.t < page.t0 {
				removal = m
			}
		}
		excused := false
		for _, m := range p.returns {
			if m.t > removal.t && m.t0 < page.t {
				excused = true
			}
		}
		if !excused {
			h.report.violate("I8", page.line, "%s read a page of %s begun after their removal was acknowledged", p.user, c.id)
		}
	}
}

// visible reports whether a member may read seq at rest.
func (c *conversation) visible(p *person, s chat.Seq, joined bool) bool {
	return p.member() && (!joined || p.contains(s))
}

// viewJoins checks I5: a device's steps over seqs must be over what it may not see, or what it read from history.
func (h *history) viewJoins(c *conversation, v *view) {
	p := c.person(v.client.user)
	for _, j := range v.jumps {
		for s := j.from + 1; s < j.to; s++ {
			if v.covered.has(s) || c.created() && !p.contains(s) {
				continue
			}
			if e := c.at(s); j.filled && e != nil && e.Kind.Folded() {
				continue // a fill that a lost connection cut short has no filled_range
			}
			h.report.violate("I5", j.line, "%s goes from seq %d to seq %d of %s without seq %d", v.client.name, j.from, j.to, c.id, s)
			break
		}
	}
}

// viewIsWhole checks I2: at rest a device shows everything since its user's present membership began.
func (h *history) viewIsWhole(c *conversation, v *view, head chat.Seq) {
	p := c.person(v.client.user)
	if !c.created() || !p.member() {
		return
	}
	for s := p.intervals[len(p.intervals)-1].joined; s <= head; s++ {
		h.report.check("I2")
		e := c.at(s)
		if v.shown.has(s) || v.covered.has(s) && (e == nil || e.Kind.Folded()) || e == nil {
			continue
		}
		h.violate("I2", "%s does not show seq %d of %s at rest (it ends at seq %d, the head is seq %d)", v.client.name, s, c.id, v.last, head)
		return
	}
}

// devicesShowAll finds devices at rest that show nothing at all of a conversation of theirs.
func (h *history) devicesShowAll(c *conversation, head chat.Seq) {
	if !c.created() || head == 0 {
		return
	}
	for _, p := range c.order {
		if !p.member() {
			continue
		}
		for _, who := range h.devices[p.user] {
			if who.final && c.view[who] == nil {
				h.violate("I2", "%s shows nothing of %s at rest, its head is seq %d", who.name, c.id, head)
			}
		}
	}
}

// readerIsWhole checks that the pages read at rest cover everything and show every record that is not folded.
func (h *history) readerIsWhole(c *conversation, r *reader, head chat.Seq) {
	if !c.created() {
		return
	}
	p := c.person(r.client.user)
	joined := c.joinedOnly()
	for s := chat.Seq(1); s <= head; s++ {
		if !c.visible(p, s, joined) {
			continue
		}
		h.report.check("I4")
		e := c.at(s)
		if !r.covered.has(s) {
			h.report.violate("I4", r.line, "the pages of %s that %s read at rest do not cover seq %d", c.id, r.client.name, s)
			return
		}
		if e != nil && !e.Kind.Folded() && !r.items.has(s) {
			h.report.violate("I4", r.line, "the pages of %s that %s read at rest lack seq %d", c.id, r.client.name, s)
			return
		}
	}
}

// unread checks I10 and, as own sends move it, the read cursor.
func (h *history) unread(c *conversation, head chat.Seq) {
	for _, e := range c.later {
		if e.Read == nil {
			continue
		}
		h.report.check("I10")
		who := h.client(e.Client)
		read := *e.Read
		if e.Unread != e.N-min(read.N, e.N) {
			h.violate("I10", "%s has %d unread in %s, the head is message %d and %d were read", e.Client, e.Unread, c.id, e.N, read.N)
		}
		if read.Seq > head {
			h.violate("I9", "%s has read up to seq %d of %s, the head is seq %d", e.Client, read.Seq, c.id, head)
		}
		if r := c.at(read.Seq); r != nil && r.N != read.N {
			h.violate("I10", "%s has read up to seq %d of %s as message %d, it is message %d", e.Client, read.Seq, c.id, read.N, r.N)
		}
		p := c.person(who.user)
		if own := p.own; read.Seq < own && p.member() && p.contains(own) {
			h.violate("I10", "%s has read up to seq %d of %s and wrote seq %d", e.Client, read.Seq, c.id, own)
		}
		if set := p.cursor; read.Seq < set && p.contains(set) {
			h.violate("I9", "%s moved the read cursor in %s to seq %d, at rest it is at seq %d", e.Client, c.id, set, read.Seq)
		}
	}
}

// receipts checks that nobody has read what does not exist.
func (h *history) receipts(c *conversation, head chat.Seq) {
	for key, seq := range c.cursors {
		if seq > head {
			h.violate("I9", "%s saw the %s cursor of %s in %s at seq %d, the head is seq %d", key.client.name, key.which, key.user, c.id, seq, head)
		}
	}
}
