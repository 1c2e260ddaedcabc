package sequencer

import (
	"context"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// group is what is committed together. Its records stand in the log in this order.
type group struct {
	records []record
	// standing are answers that rest on records of this group: given when those are committed.
	standing []standing
	bytes    int
	touched  []*conv
	prior    map[groupKey]conversation.Outcome
	deleted  map[groupSeq]bool
	began    time.Time
	reason   string // not "": an empty group, to take over for this reason
}

type record struct {
	job   *job
	conv  *conv
	entry chat.Entry
}

type standing struct {
	job *job
	reply
}

type groupKey struct {
	conv *conv
	clientKey
}

type groupSeq struct {
	conv *conv
	seq  chat.Seq
}

// entries are those of the records, in order.
func (g *group) entries(yield func(*chat.Entry) bool) {
	for i := range g.records {
		if !yield(&g.records[i].entry) {
			return
		}
	}
}

func newGroup() *group { return &group{began: time.Now()} }

// turn says what became of a conversation's turn.
type turn int

const (
	again turn = iota // it may have another turn
	rest              // it has nothing to decide now
	full              // its record does not fit into the group
)

// build decides what waits, one command per conversation and turn, until a group is full, nothing is left
// to decide, or many turns gave no record.
func (o *owner) build(work context.Context) *group {
	g := newGroup()
	for turns := 8 * o.s.b.groupRecords; turns > 0 && o.ready.len() > 0 && len(g.records) < o.s.b.groupRecords; turns-- {
		c := o.ready.pop()
		switch o.turn(work, g, c) {
		case again:
			o.ready.push(c)
		case full:
			o.ready.pushFront(c)
			return g
		case rest:
			c.ready = false
		}
	}
	return g
}

// turn decides the first command of a conversation.
func (o *owner) turn(work context.Context, g *group, c *conv) turn {
	if c.queue.len() == 0 {
		return rest
	}
	j := c.queue.front()
	if j.withdrawn() {
		o.s.leave(c.queue.pop())
		return again
	}
	facts, wait := o.facts(g, c, j)
	if wait {
		c.blocked = true
		return rest
	}
	v, err := conversation.Decide(c.current(), j.cmd, facts, o.s.c.Limits)
	switch {
	case err != nil:
		o.stand(g, c, reply{err: err})
		return again
	case v.Standing != nil:
		o.stand(g, c, reply{outcome: *v.Standing})
		return again
	case v.NeedsPrior || v.NeedsTarget:
		if c.inGroup > 0 {
			c.blocked = true // its facts could change with the group
			return rest
		}
		o.look(work, &lookup{c: c, job: j, what: "facts", needs: v})
		return rest
	}
	return o.enlist(g, c, j, v.Record)
}

// stand answers the first command without a record: at once, or with the records it was judged by.
func (o *owner) stand(g *group, c *conv, r reply) {
	j := c.queue.pop()
	if c.inGroup == 0 {
		o.reply(j, r)
		return
	}
	g.standing = append(g.standing, standing{j, r})
}

// enlist makes a record part of the group.
func (o *owner) enlist(g *group, c *conv, j *job, r *chat.Record) turn {
	if err := o.admit(r.Kind); err != nil {
		o.stand(g, c, reply{err: err})
		return again
	}
	state := c.current()
	id := chat.NextID(o.lastID, o.s.c.Now(), o.s.c.Token.Partition)
	bucket := conversation.Stamp(state, r, id)
	raw := r.AppendJSON(make([]byte, 0, 320+len(r.Text)))
	if len(raw) > maxRecord {
		o.stand(g, c, reply{err: chat.Errorf(chat.TooLarge, "the record has %d bytes, at most %d are allowed", len(raw), maxRecord)})
		return again
	}
	if len(g.records) > 0 && g.bytes+len(raw) > o.s.b.groupBytes {
		return full
	}
	c.queue.pop()
	if !j.take() {
		o.s.leave(j)
		return again
	}
	o.lastID = id
	if c.inGroup == 0 {
		g.touched = append(g.touched, c)
	}
	c.next = conversation.Apply(state, *r, bucket)
	c.inGroup++
	g.bytes += len(raw)
	g.records = append(g.records, record{job: j, conv: c, entry: chat.Entry{
		Record: *r, Raw: raw, Bucket: bucket, BodyHash: j.cmd.Hash, Trace: j.cmd.Trace, Generation: o.s.c.Token.Generation,
	}})
	g.remember(c, &g.records[len(g.records)-1].entry)
	return again
}

// remember keeps what later commands of the same group must know of a record.
func (g *group) remember(c *conv, e *chat.Entry) {
	if !e.ClientID.IsZero() {
		if g.prior == nil {
			g.prior = make(map[groupKey]conversation.Outcome)
		}
		g.prior[groupKey{c, clientKey{e.SenderID, e.ClientID}}] = outcomeOf(e)
	}
	if e.Kind == chat.KindDelete {
		if g.deleted == nil {
			g.deleted = make(map[groupSeq]bool)
		}
		g.deleted[groupSeq{c, e.TargetSeq}] = true
	}
}

func outcomeOf(e *chat.Entry) conversation.Outcome {
	return conversation.Outcome{ID: e.ID, Seq: e.Seq, N: e.N, Hash: e.BodyHash}
}

// admit refuses new content while the log or the tail is full. What takes away (deletes, removals) passes.
func (o *owner) admit(kind chat.RecordKind) error {
	switch kind {
	case chat.KindMessage, chat.KindEdit, chat.KindCreate, chat.KindPreference:
	default:
		return nil
	}
	if o.full {
		o.s.m.refused("log_full")
		return unavailable("the log is full")
	}
	if o.s.view.tail.len() >= o.s.b.tailPlaces {
		o.s.m.refused("tail_full")
		return unavailable("the store is too far behind the log")
	}
	return nil
}

// facts gives what memory knows of a command's client id and target; the store was asked for the rest.
// wait says that the target is a record of this very group.
func (o *owner) facts(g *group, c *conv, j *job) (f conversation.Facts, wait bool) {
	f = j.facts
	if key := (clientKey{j.cmd.Actor, j.cmd.ClientID}); !f.PriorKnown && !key.client.IsZero() {
		f.PriorKnown, f.Prior = o.prior(g, c, key)
	}
	if op := j.cmd.Op; op != conversation.OpEdit && op != conversation.OpDelete {
		return f, false
	}
	seq := j.cmd.TargetSeq
	if c.inGroup > 0 && seq > c.state.Head.Seq && seq <= c.next.Head.Seq {
		return f, true
	}
	t := o.s.view.tail.convs[c.id]
	if m := t.at(seq); m != nil {
		f.TargetKnown, f.Target = true, &conversation.Target{Kind: m.kind.recordKind(), Sender: m.sender}
	}
	if f.Target != nil && (t.deleted(seq) || g.deleted[groupSeq{c, seq}]) {
		target := *f.Target
		target.Deleted = true
		f.Target = &target
	}
	return f, false
}

// prior looks for a client id in the group, in the window and in the tail.
func (o *owner) prior(g *group, c *conv, key clientKey) (known bool, prior *conversation.Outcome) {
	if outcome, ok := g.prior[groupKey{c, key}]; ok {
		return true, &outcome
	}
	if known, prior := c.recent.Lookup(key.sender, key.client); known {
		return true, prior
	}
	if outcome, ok := o.s.view.tail.convs[c.id].find(key); ok {
		return true, &outcome
	}
	return false, nil
}

// settle takes a durable group into the committed state, moves the watermark, and answers: in this order,
// so that whoever sees the watermark or an answer finds the record in Ask's answers.
func (o *owner) settle(g *group) {
	v := &o.s.view
	v.mu.Lock()
	for _, c := range g.touched {
		c.state, c.next, c.inGroup = c.next, conversation.State{}, 0
	}
	for i := range g.records {
		v.tail.add(&g.records[i].entry)
	}
	v.mu.Unlock()
	for i := range g.records {
		r := &g.records[i]
		r.conv.recent.Add(r.entry.SenderID, r.entry.ClientID, outcomeOf(&r.entry))
	}
	o.s.mark.set(o.committer.mark)
	if o.s.c.Feed != nil && len(g.records) > 0 {
		o.s.c.Feed.Offer(g.entries)
	}
	for i := range g.records {
		r := &g.records[i]
		o.reply(r.job, reply{outcome: outcomeOf(&r.entry)})
	}
	for _, st := range g.standing {
		o.reply(st.job, st.reply)
	}
	for _, c := range g.touched {
		c.blocked = false
		o.wake(c)
	}
	o.account(g)
}

func (o *owner) account(g *group) {
	m := o.s.m
	if n := len(g.records); n > 0 {
		m.groupRecords.Observe(float64(n))
		m.groupBytes.Observe(float64(g.bytes))
		m.commit.Observe(time.Since(g.began).Seconds())
	}
	m.watermark.Set(float64(o.committer.mark.StreamSeq))
	m.term.Set(float64(o.committer.term))
	m.tail.Set(float64(o.s.view.tail.len()))
	m.waiting.Set(float64(o.s.waiting.Load()))
	o.measure(o.committer.written)
	o.committer.written = 0
}
