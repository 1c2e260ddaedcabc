package checker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/chat"
)

// Check reads a history to its end and judges it. An error says that it is no history, never that a promise is
// broken.
func Check(in io.Reader) (Report, error) {
	h := newHistory()
	lines := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			h.line++
			var e Event
			if wrong := json.Unmarshal(line, &e); wrong != nil {
				return Report{}, fmt.Errorf("history line %d: %w", h.line, wrong)
			}
			if wrong := h.take(&e); wrong != nil {
				return Report{}, fmt.Errorf("history line %d: %w", h.line, wrong)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Report{}, fmt.Errorf("read history: %w", err)
		}
	}
	h.line = 0
	h.judge()
	return *h.report, nil
}

// take adds one event and judges what can be judged at once.
func (h *history) take(e *Event) error {
	h.report.Events++
	if err := bounded(e); err != nil {
		return err
	}
	who := h.client(e.Client)
	switch e.Op {
	case OpRegister:
		h.registered(who, e)
		return nil
	case OpFinalDevice:
		who.final = true
		h.presences.of(who).final = e.T
		return nil
	default:
	}
	if h.presence(who, e) {
		return nil
	}
	if e.Conversation == "" {
		return fmt.Errorf("%q without a conversation", e.Op)
	}
	c := h.conversation(e.Conversation)
	switch e.Op {
	case OpSend, OpSent, OpFail, OpUnknown, OpConflictProbe:
		h.command(c, who, e)
	case OpReceived, OpSynced, OpFilled, OpFilledRange, OpRepeat, OpMissed, OpGone:
		h.device(c, who, e)
	case OpPage, OpVersions:
		h.page(c, who, e)
	case OpMemberAdd, OpMemberRemove:
		h.membership(c, e)
	case OpCursor:
		h.receipt(c, who, e)
	case OpCursorSet:
		if e.Code == OK && e.Which == "read" {
			p := c.person(who.user)
			p.cursor = max(p.cursor, e.Seq)
		}
	case OpFinalHead:
		h.finalHead(c, e)
	case OpFinalPage:
		h.finalPage(c, who, e)
	default:
		return fmt.Errorf("unknown operation %q", e.Op)
	}
	return nil
}

func bounded(e *Event) error {
	most := max(e.Seq, e.From, e.To, e.Target, e.ReplyTo)
	for i := range e.Records {
		most = max(most, e.Records[i].Seq, e.Records[i].Target, e.Records[i].EditedSeq)
		if e.Records[i].Seq == 0 {
			return errors.New("a record without a seq")
		}
	}
	if most > mostSeq {
		return fmt.Errorf("seq %d is above %d", most, mostSeq)
	}
	return nil
}

func (h *history) registered(who *client, e *Event) {
	if e.Code != OK {
		return
	}
	h.report.check("I14")
	if first, taken := h.names[e.Username]; taken {
		h.violate("I14", "username %q was given to %s and to %s", e.Username, first, who.name)
		return
	}
	h.names[e.Username] = who.name
}

// command takes what a client sent and what it was told about it.
func (h *history) command(c *conversation, who *client, e *Event) {
	key := sendKey{who.user, e.ClientID}
	s := c.sends[key]
	if e.Op == OpSend {
		if s == nil {
			s = &send{
				key: key, client: who, line: h.line, kind: e.Kind, hash: e.TextHash, target: e.Target, replyTo: e.ReplyTo,
			}
			c.sends[key] = s
			c.ordered = append(c.ordered, s)
			h.report.Sends++
		}
		return
	}
	if s == nil {
		h.violate("I7", "%s: %s for client id %s, which was not sent", who.name, e.Op, e.ClientID)
		return
	}
	switch e.Op {
	case OpSent:
		h.sent(c, s, e)
	case OpFail:
		s.refused = e.Code
	case OpUnknown:
		s.unknown = true
	case OpConflictProbe:
		h.report.check("I11")
		if e.Code != string(chat.Conflict) && !chat.Kind(e.Code).Rule().Retryable && e.Code != Unknown {
			h.violate("I11", "client id %s with another body was answered %q, not conflict", e.ClientID, e.Code)
		}
	default: // send was taken above
	}
}

func (h *history) sent(c *conversation, s *send, e *Event) {
	if s.acked {
		h.report.Repeats++
		h.report.check("I11")
		if s.seq != e.Seq || s.id != e.ID || s.n != e.N {
			h.violate("I11", "client id %s was answered seq %d id %s n %d, later seq %d id %s n %d", e.ClientID, s.seq, s.id, s.n, e.Seq, e.ID, e.N)
		}
		return
	}
	s.acked, s.seq, s.id, s.n = true, e.Seq, e.ID, e.N
	h.report.Acked++
	if s.kind == chat.KindDelete {
		if _, ok := c.deleted[s.target]; !ok {
			c.deleted[s.target] = e.T
		}
	}
	if s.kind == chat.KindMessage {
		p := c.person(s.key.user)
		p.own = max(p.own, e.Seq)
	}
}

// device takes what a device showed.
func (h *history) device(c *conversation, who *client, e *Event) {
	v := c.viewOf(who)
	switch e.Op {
	case OpRepeat:
		h.violate("I5", "%s got seq %d of %s twice on connection %d", who.name, e.Seq, c.id, e.Conn)
		return
	case OpMissed:
		h.report.Missed++
		return
	case OpGone:
		// The device drops what it has; whoever returns may be shown all of it again.
		v.started, v.last, v.shown = false, 0, nil
		return
	case OpFilledRange:
		for s := e.From; s <= e.To; s++ {
			v.covered.add(s)
		}
		v.last = max(v.last, e.To)
		v.started = true
		return
	default: // received, synced, filled
	}
	p := c.person(who.user)
	for i := range e.Records {
		r := &e.Records[i]
		h.observe(c, who, r)
		h.show(c, v, r.Seq, e.Op == OpFilled)
		if e.Op == OpReceived {
			p.live.add(r.Seq)
			continue
		}
		p.read.add(r.Seq)
		h.canary(c, who, r, e.T0)
	}
}

// show moves a device's view by one record, which came from history if filled.
func (h *history) show(c *conversation, v *view, s chat.Seq, filled bool) {
	h.report.Shown++
	h.report.check("I2")
	h.report.check("I5")
	switch {
	case v.shown.has(s):
		h.violate("I2", "%s shows seq %d of %s twice", v.client.name, s, c.id)
		return
	case v.started && s <= v.last:
		h.violate("I3", "%s shows seq %d of %s after seq %d", v.client.name, s, c.id, v.last)
	case v.started && s > v.last+1:
		v.jumps = append(v.jumps, jump{v.last, s, h.line, filled})
	}
	v.shown.add(s)
	v.started = true
	v.last = max(v.last, s)
}

// observe compares a record with what others saw at its seq.
func (h *history) observe(c *conversation, who *client, r *Record) {
	h.report.check("I3")
	e := c.at(r.Seq)
	if e == nil {
		h.report.Records++
		e = &entry{Record: *r, line: h.line}
		if hasText(r.Kind) {
			e.Deleted = r.Deleted || r.TextHash == ""
			e.text = !e.Deleted && r.EditedSeq == 0
		}
		c.put(r.Seq, e)
		return
	}
	if e.ID != r.ID || e.N != r.N || e.Kind != r.Kind || e.Sender != r.Sender || e.ClientID != r.ClientID || e.Target != r.Target || e.Action != r.Action {
		h.violate("I3", "%s sees at seq %d of %s: id %s n %d %s by %s (client id %s), others (line %d): id %s n %d %s by %s (client id %s)",
			who.name, r.Seq, c.id, r.ID, r.N, r.Kind, r.Sender, r.ClientID, e.line, e.ID, e.N, e.Kind, e.Sender, e.ClientID)
		return
	}
	h.compareText(c, who, e, r)
}

func (h *history) compareText(c *conversation, who *client, e *entry, r *Record) {
	if !hasText(r.Kind) {
		return
	}
	h.report.check("I7")
	switch {
	case r.Deleted || r.TextHash == "":
		// Whether it was deleted is judged at the end, when every delete is known.
		e.Deleted = true
	case r.EditedSeq != 0:
		if edit := c.at(r.EditedSeq); edit != nil && edit.text && edit.TextHash != r.TextHash {
			h.violate("I7", "%s sees another text at seq %d of %s than its edit at seq %d has", who.name, r.Seq, c.id, r.EditedSeq)
		}
		e.EditedSeq = max(e.EditedSeq, r.EditedSeq)
	case !e.text:
		e.TextHash, e.text = r.TextHash, true
	case e.TextHash != r.TextHash || e.ReplyTo != r.ReplyTo:
		h.violate("I7", "%s sees another text at seq %d of %s than others (line %d)", who.name, r.Seq, c.id, e.line)
	}
}

func hasText(k chat.RecordKind) bool { return k == chat.KindMessage || k == chat.KindEdit }

// canary reports text that was read although it had been deleted when the read began.
func (h *history) canary(c *conversation, who *client, r *Record, t0 int64) {
	if r.TextHash == "" || t0 == 0 {
		return
	}
	target := r.Seq
	if r.Kind == chat.KindEdit {
		target = r.Target
	}
	if at, ok := c.deleted[target]; ok {
		h.report.check("I13")
		if t0 > at {
			h.violate("I13", "%s reads the text of seq %d of %s, which was deleted before", who.name, r.Seq, c.id)
		}
	}
}

// page takes a read that was made while things happened.
func (h *history) page(c *conversation, who *client, e *Event) {
	p := c.person(who.user)
	for i := range e.Records {
		r := &e.Records[i]
		if e.Op == OpPage {
			h.observe(c, who, r)
		}
		p.read.add(r.Seq)
		h.canary(c, who, r, e.T0)
	}
	if len(e.Records) > 0 && len(p.removals) > 0 && e.T0 > p.removals[len(p.removals)-1].t {
		p.pages = append(p.pages, moment{e.T0, e.T, h.line})
	}
}

func (h *history) membership(c *conversation, e *Event) {
	for _, u := range e.Users {
		p := c.person(u)
		if e.Op == OpMemberAdd {
			if e.Code == OK || e.Code == Unknown {
				p.returns = append(p.returns, moment{e.T0, e.T, h.line})
			}
		} else if e.Code == OK {
			p.removals = append(p.removals, moment{e.T0, e.T, h.line})
		}
	}
}

func (h *history) receipt(c *conversation, who *client, e *Event) {
	h.report.check("I9")
	key := cursorKey{who, e.Conn, e.User, e.Which}
	if e.Seq < c.cursors[key] {
		h.violate("I9", "%s sees the %s cursor of %s in %s fall from %d to %d", who.name, e.Which, e.User, c.id, c.cursors[key], e.Seq)
		return
	}
	c.cursors[key] = e.Seq
	if r := c.at(e.Seq); r != nil && r.N != e.N {
		h.violate("I9", "%s sees the %s cursor of %s in %s at seq %d with n %d, the record has n %d", who.name, e.Which, e.User, c.id, e.Seq, e.N, r.N)
	}
}

func (h *history) finalHead(c *conversation, e *Event) {
	kept := *e
	c.later = append(c.later, &kept)
	if c.head == nil {
		c.head = &kept
	}
}

func (h *history) finalPage(c *conversation, who *client, e *Event) {
	r := c.readerOf(who)
	r.line = h.line
	p := c.person(who.user)
	for i := range e.Records {
		item := &e.Records[i]
		h.observe(c, who, item)
		p.read.add(item.Seq)
		r.items.add(item.Seq)
		if item.TextHash != "" {
			c.finalText.add(item.Seq)
		}
		if item.Seq < e.From || item.Seq > e.To {
			h.violate("I4", "%s reads seq %d on a page of %s that covers %d to %d", who.name, item.Seq, c.id, e.From, e.To)
		}
	}
	for s := e.From; s <= e.To && s > 0; s++ {
		r.covered.add(s)
	}
	r.to = max(r.to, e.Seq)
}
