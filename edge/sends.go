package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	waitingSends = 256     // per connection, over all conversations
	waitingBytes = 2 << 20 // of text in them; one send always fits
	ownDelivered = 1024    // answered sends whose delivery has not passed yet
)

// sendState is what a connection knows of its own sends. Guarded by the connection's lock.
type sendState struct {
	lanes   map[chat.ConversationID]*sendLane
	waiting int
	bytes   int
	// passed holds sends that were answered before their delivery came by; bounded, oldest dropped.
	passed map[placed][]byte // what such a record contains, and no other
	order  []placed
}

type placed struct {
	conversation chat.ConversationID
	seq          chat.Seq
}

// sendLane keeps one conversation's sends in order: one is under way, the others wait.
type sendLane struct {
	queue []pendingSend
	mine  []byte    // what the record of the send under way contains, and no other
	early *delivery // its delivery, when that came before the answer
}

type pendingSend struct {
	id       uint64
	reply    string
	command  conversation.Command
	began    time.Time
	deadline time.Time
	release  func() // may be nil
}

func (p *pendingSend) size() int { return len(p.command.Text) }

func (p *pendingSend) done() {
	if p.release != nil {
		p.release()
	}
}

func (s *sendState) idle() bool { return len(s.lanes) == 0 }

// isOwn reports whether a delivery is of a send of this very connection, which has message:sent instead.
func (s *sendState) isOwn(d *delivery) bool {
	where := placed{d.conversation, d.seq}
	if mine, ok := s.passed[where]; ok {
		delete(s.passed, where)
		if len(s.passed) == 0 {
			s.passed, s.order = nil, nil
		}
		return bytes.Contains(recordHead(d.payload), mine)
	}
	lane := s.lanes[d.conversation]
	if lane == nil || lane.early != nil || !bytes.Contains(recordHead(d.payload), lane.mine) {
		return false
	}
	lane.early = d
	return true
}

// answered notes that the record at a place was acknowledged to this connection. (The place of a command that
// changed nothing is the head, somebody else's record perhaps: hence the look into it later.)
func (s *sendState) answered(lane *sendLane, where placed) {
	if lane.early != nil && lane.early.seq == where.seq {
		lane.early = nil
		return
	}
	if s.passed == nil {
		s.passed = make(map[placed][]byte)
	}
	if len(s.order) >= ownDelivered {
		delete(s.passed, s.order[0])
		s.order = s.order[1:]
	}
	s.passed[where] = lane.mine
	s.order = append(s.order, where)
}

// recordHead is the part of a pushed record in which sender and client id stand, before any text of people.
func recordHead(payload []byte) []byte { return payload[:min(len(payload), 400)] }

// ownMark is what stands in the record of a command, as chat.Record.AppendJSON writes it.
func ownMark(c conversation.Command) []byte {
	return fmt.Appendf(nil, `"sender_id":"%s","client_id":"%s"`, c.Actor, c.ClientID)
}

// send queues a send, edit or delete; taken means that release is called when it has been answered.
func (c *connection) send(f wire.Frame, release func()) (taken bool) {
	began := time.Now()
	cmd, err := c.commandOf(f)
	if err == nil && c.leaves.Load() {
		err = chat.Errorf(chat.Unavailable, "this node is stopping")
	}
	if err != nil {
		c.refuse(f.ID, err)
		return false
	}
	p := pendingSend{id: f.ID, reply: wire.TypeRecordSent, command: cmd, began: began, deadline: began.Add(commandTime), release: release}
	if f.Type == wire.TypeMessageSend {
		p.reply = wire.TypeMessageSent
	}
	if err := c.queueSend(p); err != nil {
		c.refuse(f.ID, err)
		return false
	}
	return true
}

func (c *connection) queueSend(p pendingSend) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := p.command.ConversationID
	if lane := c.sends.lanes[id]; lane != nil {
		if c.sends.waiting >= waitingSends || c.sends.bytes > 0 && c.sends.bytes+p.size() > waitingBytes {
			return limitedFor(time.Second, "%d sends wait already", c.sends.waiting)
		}
		c.sends.waiting++
		c.sends.bytes += p.size()
		lane.queue = append(lane.queue, p)
		return nil
	}
	lane := &sendLane{mine: ownMark(p.command)}
	if !c.work(func() { c.runLane(lane, p) }) {
		return chat.Errorf(chat.Unavailable, "this node is stopping")
	}
	if c.sends.lanes == nil {
		c.sends.lanes = make(map[chat.ConversationID]*sendLane)
	}
	c.sends.lanes[id] = lane
	return nil
}

// work runs f in a goroutine that the edge waits for before it forgets the connection.
func (c *connection) work(f func()) bool {
	if !c.retain() {
		return false
	}
	ok := c.edge.spawn(func() {
		defer c.release()
		f()
	})
	if !ok {
		c.release()
	}
	return ok
}

// runLane submits a conversation's sends one after the other until none waits.
func (c *connection) runLane(lane *sendLane, p pendingSend) {
	for ok := true; ok; {
		outcome, err := c.submit(p)
		var failed []pendingSend
		var next pendingSend
		c.mu.Lock()
		if err == nil {
			c.sends.answered(lane, placed{p.command.ConversationID, outcome.Seq})
		}
		if lane.early != nil { // not answered, or a repeat that gave another record: the client must see it
			if c.pass(lane.early) {
				c.conn.flush()
			}
			lane.early = nil
		}
		if err != nil {
			failed = c.sends.dropQueue(lane)
		}
		if next, ok = c.sends.nextOf(lane); ok {
			lane.mine = ownMark(next.command)
		} else {
			delete(c.sends.lanes, p.command.ConversationID)
		}
		c.mu.Unlock()
		c.answer(p, outcome, err)
		for i := range failed {
			c.answer(failed[i], conversation.Outcome{}, chat.Errorf(chat.PriorFailed, "an earlier send to this conversation failed"))
		}
		p = next
	}
	c.goneIfIdle()
}

func (s *sendState) dropQueue(lane *sendLane) []pendingSend {
	dropped := lane.queue
	lane.queue = nil
	for i := range dropped {
		s.waiting--
		s.bytes -= dropped[i].size()
	}
	return dropped
}

func (s *sendState) nextOf(lane *sendLane) (pendingSend, bool) {
	if len(lane.queue) == 0 {
		return pendingSend{}, false
	}
	next := lane.queue[0]
	lane.queue[0] = pendingSend{}
	lane.queue = lane.queue[1:]
	s.waiting--
	s.bytes -= next.size()
	return next, true
}

// submit does one send within its deadline. A send whose turn came too late was not tried.
func (c *connection) submit(p pendingSend) (conversation.Outcome, error) {
	if !time.Now().Before(p.deadline) || c.ended() {
		return conversation.Outcome{}, chat.Errorf(chat.Unavailable, "its turn did not come in time")
	}
	ctx, cancel := context.WithDeadline(c.edge.live, p.deadline)
	defer cancel()
	return c.edge.submit(ctx, p.command)
}

// submit commits a command; the first that one writes to oneself makes that conversation before.
func (e *Edge) submit(ctx context.Context, cmd conversation.Command) (conversation.Outcome, error) {
	outcome, err := e.try(ctx, cmd)
	if chat.KindOf(err) != chat.NotFound || !e.writesToSelf(cmd) {
		return outcome, err
	}
	if err := e.createSelf(ctx, cmd.Actor); err != nil {
		return conversation.Outcome{}, err
	}
	return e.try(ctx, cmd)
}

// try commits a command. Only ctx's end makes the outcome unknown.
func (e *Edge) try(ctx context.Context, cmd conversation.Command) (conversation.Outcome, error) {
	began := e.pressure.begin()
	outcome, err := e.deps.Partitions.Submit(ctx, cmd)
	e.pressure.end(began)
	if err == nil {
		return outcome, nil
	}
	if _, told := errors.AsType[*chat.Error](err); !told && ctx.Err() != nil {
		unknown := chat.Errorf(chat.UnknownOutcome, "no answer in time: it may have happened, send it again with the same client_id")
		return outcome, fmt.Errorf("%w: %w", unknown, err)
	}
	return outcome, fmt.Errorf("submit %s to %s: %w", cmd.Op, cmd.ConversationID, err)
}

func (c *connection) answer(p pendingSend, o conversation.Outcome, err error) {
	defer p.done()
	c.edge.metrics.sends.Observe(time.Since(p.began).Seconds())
	if err != nil {
		c.refuse(p.id, err)
		return
	}
	c.reply(p.id, p.reply, sentOf(p.command, o))
}

func sentOf(cmd conversation.Command, o conversation.Outcome) wire.Sent {
	return wire.Sent{
		ConversationID: cmd.ConversationID, ClientID: cmd.ClientID, ID: o.ID, Seq: o.Seq, N: o.N,
		SentAt: o.ID.Time().Format(chat.TimeLayout),
	}
}
