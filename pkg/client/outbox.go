package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// ErrOutboxFull is returned when Config.Outbox messages wait for their answer.
var ErrOutboxFull = errors.New("outbox is full")

// Message is a command that makes a record of one's own. Its client id is its name for life: sent again, by
// whomever and whenever, it is still the same message.
type Message struct {
	ConversationID chat.ConversationID
	ClientID       chat.ClientID
	Kind           chat.RecordKind // message, edit or delete
	Text           string          // message, edit
	ReplyTo        chat.Seq        // message
	TargetSeq      chat.Seq        // edit, delete
}

func (m Message) frame(id uint64) ([]byte, error) {
	conversation, client := string(m.ConversationID), m.ClientID.String()
	switch m.Kind {
	case chat.KindEdit:
		return wire.EncodeFrame(id, wire.TypeMessageEdit, wire.MessageEdit{ConversationID: conversation, Seq: m.TargetSeq, ClientID: client, Text: m.Text})
	case chat.KindDelete:
		return wire.EncodeFrame(id, wire.TypeMessageDelete, wire.MessageDelete{ConversationID: conversation, Seq: m.TargetSeq, ClientID: client})
	default:
		return wire.EncodeFrame(id, wire.TypeMessageSend, wire.MessageSend{
			ConversationID: conversation, ClientID: client, Type: chat.MessageText, Text: m.Text, ReplyTo: m.ReplyTo,
		})
	}
}

// record is the record that the server made of m, as its other devices receive it.
func (m Message) record(sender chat.UserID, s wire.Sent) chat.Record {
	r := chat.Record{
		ConversationID: m.ConversationID, Seq: s.Seq, N: s.N, ID: s.ID, Kind: m.Kind, SenderID: sender,
		ClientID: m.ClientID, Text: m.Text, ReplyTo: m.ReplyTo, TargetSeq: m.TargetSeq,
	}
	if m.Kind == chat.KindMessage {
		r.Type = chat.MessageText
	}
	return r
}

// Pending is a message under way.
type Pending struct {
	Message Message
	done    chan struct{}
	sent    wire.Sent
	err     error
}

// Done is closed when the message is answered for good.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait waits for the answer. The message stays under way when ctx ends first. It must not be called from
// OnEvent: the answer may stand behind the event that is being handled.
func (p *Pending) Wait(ctx context.Context) (wire.Sent, error) {
	select {
	case <-p.done:
		return p.sent, p.err
	case <-ctx.Done():
		return wire.Sent{}, ctx.Err()
	}
}

// lane is what one conversation has to send, in order. Only its first message is ever under way.
type lane struct {
	queue    []*Pending
	frame    uint64    // id of the frame under way, 0: none
	since    time.Time // when it was written
	attempts int       // failures of the first message in a row
	after    time.Time // not before
}

// outbox holds every message that is not answered. Its owner's lock guards it.
type outbox struct {
	most   int
	count  int
	lanes  map[chat.ConversationID]*lane
	flying map[uint64]*lane
	ready  []*lane // may be sent as soon as after has come
}

func newOutbox(most int) *outbox {
	return &outbox{most: most, lanes: map[chat.ConversationID]*lane{}, flying: map[uint64]*lane{}}
}

func (o *outbox) add(m Message) (*Pending, error) {
	if o.count >= o.most {
		return nil, ErrOutboxFull
	}
	l := o.lanes[m.ConversationID]
	if l == nil {
		l = &lane{}
		o.lanes[m.ConversationID] = l
	}
	p := &Pending{Message: m, done: make(chan struct{})}
	l.queue = append(l.queue, p)
	o.count++
	if len(l.queue) == 1 {
		o.ready = append(o.ready, l)
	}
	return p, nil
}

// take moves everything that may be sent now into flight. wait is the time until there is more, 0: unknown.
func (o *outbox) take(now time.Time, id func() uint64) (frames [][]byte, wait time.Duration, failed []*Pending) {
	kept := o.ready[:0]
	for _, l := range o.ready {
		if d := l.after.Sub(now); d > 0 {
			kept = append(kept, l)
			if wait == 0 || d < wait {
				wait = d
			}
			continue
		}
		n := id()
		frame, err := l.queue[0].Message.frame(n)
		if err != nil { // text that is no Unicode can not be written as JSON
			p := o.finish(l, wire.Sent{}, chat.Errorf(chat.InvalidText, "%v", err))
			failed = append(failed, p)
			if len(l.queue) > 0 {
				kept = append(kept, l)
				wait = time.Nanosecond
			}
			continue
		}
		l.frame, l.since = n, now
		o.flying[n] = l
		frames = append(frames, frame)
	}
	clear(o.ready[len(kept):])
	o.ready = kept
	return frames, wait, failed
}

// finish takes the first message out of its lane.
func (o *outbox) finish(l *lane, sent wire.Sent, err error) *Pending {
	p := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	l.frame, l.attempts, l.after = 0, 0, time.Time{}
	o.count--
	if len(l.queue) == 0 {
		delete(o.lanes, p.Message.ConversationID)
	}
	p.sent, p.err = sent, err
	close(p.done)
	return p
}

// land takes the lane whose frame was answered out of flight; nil when nothing waits for that frame.
func (o *outbox) land(frame uint64) *lane {
	l := o.flying[frame]
	delete(o.flying, frame)
	return l
}

// settle ends the first message of a landed lane and lets the next one go.
func (o *outbox) settle(l *lane, sent wire.Sent, err error) *Pending {
	p := o.finish(l, sent, err)
	if len(l.queue) > 0 {
		o.ready = append(o.ready, l)
	}
	return p
}

// retry puts the first message of a landed lane back, not before after.
func (o *outbox) retry(l *lane, after time.Time) {
	l.frame, l.after = 0, after
	l.attempts++
	o.ready = append(o.ready, l)
}

// ground puts back everything in flight: its connection is gone, its outcome unknown.
func (o *outbox) ground() {
	for frame, l := range o.flying {
		delete(o.flying, frame)
		l.frame, l.after = 0, time.Time{}
		o.ready = append(o.ready, l)
	}
}

// confirm settles a message whose record came by another way than its answer.
func (o *outbox) confirm(id chat.ConversationID, client chat.ClientID, sent wire.Sent) *Pending {
	l := o.lanes[id]
	if l == nil || l.queue[0].Message.ClientID != client {
		return nil
	}
	if l.frame != 0 {
		return nil // its answer is on its way on this connection
	}
	o.ready = slices.DeleteFunc(o.ready, func(other *lane) bool { return other == l })
	return o.settle(l, sent, nil)
}

// oldest is when the longest unanswered frame was written; zero when none is in flight.
func (o *outbox) oldest() time.Time {
	var first time.Time
	for _, l := range o.flying {
		if first.IsZero() || l.since.Before(first) {
			first = l.since
		}
	}
	return first
}

// all lists what is not answered, in order within each conversation.
func (o *outbox) all() []Message {
	messages := make([]Message, 0, o.count)
	for _, l := range o.lanes {
		for _, p := range l.queue {
			messages = append(messages, p.Message)
		}
	}
	return messages
}
