package checker

import (
	"github.com/parley-chat/parley/pkg/chat"
)

// judge decides what only the whole history tells.
func (h *history) judge() {
	h.report.Conversations = len(h.list)
	h.report.Clients = len(h.firstClient)
	for _, c := range h.list {
		head := h.heads(c)
		h.dense(c, head)
		h.sendsStand(c)
		h.received(c)
		h.deviceOrder(c)
		h.deletes(c)
		c.fold()
		h.members(c)
		for _, v := range c.views {
			h.viewJoins(c, v)
			if v.client.final {
				h.viewIsWhole(c, v, head)
			}
		}
		h.devicesShowAll(c, head)
		for _, r := range c.readers {
			h.readerIsWhole(c, r, head)
		}
		h.unread(c, head)
		h.receipts(c, head)
	}
	h.judgePresence()
}

// heads is the head at rest: everybody must see the same. Without final heads it is the highest seq seen.
func (h *history) heads(c *conversation) chat.Seq {
	if c.head == nil {
		return chat.Seq(max(len(c.entries)-1, 0))
	}
	for _, e := range c.later {
		h.report.check("I3")
		if e.Seq != c.head.Seq || e.ID != c.head.ID || e.N != c.head.N {
			h.violate("I3", "at rest the head of %s is seq %d for %s and seq %d for %s", c.id, c.head.Seq, c.head.Client, e.Seq, e.Client)
		}
	}
	if most := chat.Seq(len(c.entries) - 1); len(c.entries) > 0 && most > c.head.Seq {
		h.violate("I1", "seq %d of %s was seen, at rest the head is seq %d", most, c.id, c.head.Seq)
	}
	return c.head.Seq
}

// dense checks that every seq up to the head is a record and that n counts messages.
func (h *history) dense(c *conversation, head chat.Seq) {
	folded := c.ackedFolded()
	var n uint64
	known := true
	var last chat.ID
	for s := chat.Seq(1); s <= head; s++ {
		h.report.check("I4")
		e := c.at(s)
		if e == nil {
			if !folded.has(s) {
				h.violate("I4", "seq %d of %s is a hole: nobody saw it, the head is seq %d", s, c.id, head)
				known = false
			}
			continue
		}
		if e.Kind.Counts() {
			n++
		}
		if known && e.N != n {
			h.violate("I4", "seq %d of %s has n %d, it is message number %d", s, c.id, e.N, n)
		}
		n, known = e.N, true
		if e.ID <= last {
			h.violate("I3", "seq %d of %s has id %s, the record before it has %s", s, c.id, e.ID, last)
		}
		last = e.ID
	}
}

// ackedFolded are the seqs of acknowledged edits and deletes: pages do not show them by themselves.
func (c *conversation) ackedFolded() bits {
	var b bits
	for _, s := range c.ordered {
		if s.acked && s.kind.Folded() {
			b.add(s.seq)
		}
	}
	return b
}

// sendsStand checks I1: what was acknowledged is there once, what was not is there at most once.
func (h *history) sendsStand(c *conversation) {
	for seq := range c.entries {
		e := c.entries[seq]
		if e == nil || e.ClientID.IsZero() {
			continue
		}
		s := c.sends[sendKey{e.Sender, e.ClientID}]
		if s == nil {
			continue // received judges it, or it is no message
		}
		if s.stored != 0 {
			h.violate("I1", "client id %s of %s stands at seq %d and at seq %d of %s", e.ClientID, e.Sender, s.stored, e.Seq, c.id)
			continue
		}
		s.stored = e.Seq
	}
	for _, s := range c.ordered {
		h.report.check("I1")
		switch {
		case s.acked:
			h.standsWhereAcked(c, s)
		case s.refused != "":
			h.report.Refused++
			if s.stored != 0 {
				h.violate("I1", "client id %s was refused (%s) and stands at seq %d of %s", s.key.id, s.refused, s.stored, c.id)
			}
		default:
			h.report.Unknown++
			if s.stored != 0 {
				h.report.Stored++
			}
		}
	}
}

func (h *history) standsWhereAcked(c *conversation, s *send) {
	e := c.at(s.seq)
	switch {
	case e == nil && s.kind.Folded():
		h.tookEffect(c, s)
	case e == nil:
		h.violate("I1", "client id %s of %s was acknowledged at seq %d of %s and is lost", s.key.id, s.client.name, s.seq, c.id)
	case e.ClientID != s.key.id || e.Sender != s.key.user || e.ID != s.id:
		h.violate("I1", "client id %s of %s was acknowledged at seq %d of %s, where client id %s of %s stands", s.key.id, s.client.name, s.seq, c.id, e.ClientID, e.Sender)
	case e.N != s.n:
		h.violate("I4", "client id %s was acknowledged with n %d, seq %d of %s has n %d", s.key.id, s.n, s.seq, c.id, e.N)
	case e.Kind.Folded():
		h.tookEffect(c, s)
	}
}

// tookEffect checks an edit or delete by its target, where one was read at rest.
func (h *history) tookEffect(c *conversation, s *send) {
	target := c.at(s.target)
	if target == nil || len(c.readers) == 0 {
		return
	}
	if s.kind == chat.KindEdit && target.EditedSeq < s.seq && !target.Deleted {
		h.violate("I1", "the edit acknowledged at seq %d of %s does not show in seq %d", s.seq, c.id, s.target)
	}
}

// received checks I7: nothing stands that was not sent so.
func (h *history) received(c *conversation) {
	for _, e := range c.entries {
		if e == nil || !hasText(e.Kind) && e.Kind != chat.KindDelete {
			continue
		}
		h.report.check("I7")
		s := c.sends[sendKey{e.Sender, e.ClientID}]
		switch {
		case s == nil:
			h.violate("I7", "seq %d of %s (%s by %s, client id %s) was not sent by anybody", e.Seq, c.id, e.Kind, e.Sender, e.ClientID)
		case s.kind != e.Kind || s.target != e.Target:
			h.violate("I7", "client id %s was sent as %s of seq %d and stands as %s of seq %d at seq %d of %s", e.ClientID, s.kind, s.target, e.Kind, e.Target, e.Seq, c.id)
		case e.text && (s.hash != e.TextHash || s.replyTo != e.ReplyTo):
			h.violate("I7", "seq %d of %s is not what client id %s sent", e.Seq, c.id, e.ClientID)
		}
	}
}

// deviceOrder checks I6: a device's messages stand in the order in which it sent them.
func (h *history) deviceOrder(c *conversation) {
	last := map[*client]*send{}
	for _, s := range c.ordered {
		at := s.seq
		if !s.acked {
			at = s.stored
		}
		if at == 0 {
			continue
		}
		h.report.check("I6")
		before := last[s.client]
		if before == nil {
			last[s.client] = s
			continue
		}
		if prior := max(before.seq, before.stored); at <= prior {
			h.violate("I6", "%s sent client id %s before %s, they stand at seq %d and %d of %s", s.client.name, before.key.id, s.key.id, prior, at, c.id)
			continue
		}
		last[s.client] = s
	}
}

// deletes checks I13 at rest, and that no text is gone that nobody deleted.
func (h *history) deletes(c *conversation) {
	var deleted bits
	for target := range c.deleted {
		deleted.add(target)
	}
	for _, e := range c.entries {
		if e != nil && e.Kind == chat.KindDelete {
			deleted.add(e.Target)
		}
	}
	for _, e := range c.entries {
		if e == nil || !hasText(e.Kind) {
			continue
		}
		target := e.Seq
		if e.Kind == chat.KindEdit {
			target = e.Target
		}
		if deleted.has(target) {
			h.report.check("I13")
			if c.finalText.has(e.Seq) {
				h.violate("I13", "the text of seq %d of %s is read at rest, it was deleted", e.Seq, c.id)
			}
		} else if e.Deleted {
			h.violate("I1", "the text of seq %d of %s is gone, nobody deleted it", e.Seq, c.id)
		}
	}
}
