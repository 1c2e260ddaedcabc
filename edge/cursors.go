package edge

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	cursorDelay   = 200 * time.Millisecond // cursor frames within it count as the furthest one
	cursorsWait   = 256                    // conversations, kinds and forms of position waiting per connection
	cursorReplies = 64                     // frames with an id waiting for one cursor's answer
	cursorTime    = 5 * time.Second
)

// cursorState gathers cursor frames. Guarded by the connection's lock.
type cursorState struct {
	waiting map[cursorKey]*pendingCursor
	armed   bool // a flush will come
}

type cursorKey struct {
	conversation chat.ConversationID
	read         bool
	byID         bool
}

type pendingCursor struct {
	position chat.Position
	replies  []uint64
}

// moveCursor notes a message:delivered or message:read; it takes effect with the next flush.
func (c *connection) moveCursor(f wire.Frame) {
	key, position, err := cursorOf(f)
	if err == nil {
		err = c.queueCursor(key, position, f.ID)
	}
	if err != nil {
		c.refuse(f.ID, err)
	}
}

func cursorOf(f wire.Frame) (cursorKey, chat.Position, error) {
	data, err := wire.DecodeData[wire.CursorUp](f)
	if err != nil {
		return cursorKey{}, 0, err
	}
	id, err := chat.ParseConversationID(data.ConversationID)
	if err != nil {
		return cursorKey{}, 0, err
	}
	if (data.Seq == 0) == (data.ID == 0) {
		return cursorKey{}, 0, chat.Errorf(chat.Invalid, "name the place by either seq or id")
	}
	position := chat.Position(data.Seq)
	if data.ID != 0 {
		position = chat.Position(data.ID)
	}
	if _, isSeq := position.Seq(); isSeq != (data.Seq != 0) {
		return cursorKey{}, 0, chat.Errorf(chat.Invalid, "seq or id is out of range")
	}
	return cursorKey{id, f.Type == wire.TypeMessageRead, data.ID != 0}, position, nil
}

func (c *connection) queueCursor(key cursorKey, position chat.Position, reply uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.cursors.waiting[key]
	if p == nil {
		if len(c.cursors.waiting) >= cursorsWait {
			return cursorsLimited()
		}
		if c.cursors.waiting == nil {
			c.cursors.waiting = make(map[cursorKey]*pendingCursor)
		}
		p = &pendingCursor{}
		c.cursors.waiting[key] = p
	}
	if reply != 0 {
		if len(p.replies) >= cursorReplies {
			return cursorsLimited()
		}
		p.replies = append(p.replies, reply)
	}
	p.position = max(p.position, position)
	if !c.cursors.armed {
		c.cursors.armed = c.work(c.flushLater)
	}
	return nil
}

func cursorsLimited() error {
	return limitedFor(cursorDelay, "too many cursors wait")
}

func (c *connection) flushLater() {
	timer := time.NewTimer(cursorDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
		c.flushCursors()
	case <-c.done: // left flushes
	}
}

// flushCursors moves what was noted, also when the connection is over: what was read was read.
func (c *connection) flushCursors() {
	c.mu.Lock()
	waiting := c.cursors.waiting
	c.cursors = cursorState{}
	c.mu.Unlock()
	if len(waiting) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(c.edge.live, cursorTime)
	defer cancel()
	user := c.who().UserID
	for key, p := range waiting {
		down, err := c.edge.advance(ctx, user, key, p.position)
		if err != nil {
			c.cursorFailed(p, err)
			continue
		}
		for _, id := range p.replies {
			c.reply(id, key.frame(), down)
		}
	}
}

func (c *connection) cursorFailed(p *pendingCursor, err error) {
	if len(p.replies) == 0 {
		c.refuse(0, err)
		return
	}
	for _, id := range p.replies {
		c.refuse(id, err)
	}
}

func (k cursorKey) frame() string {
	if k.read {
		return wire.TypeMessageRead
	}
	return wire.TypeMessageDelivered
}

func (e *Edge) advance(ctx context.Context, user chat.UserID, key cursorKey, position chat.Position) (wire.CursorDown, error) {
	a, err := e.ask(ctx, key.conversation, user)
	if err != nil {
		return wire.CursorDown{}, err
	}
	place, err := e.placeOf(ctx, a, user, position)
	if err != nil {
		return wire.CursorDown{}, err
	}
	want := chat.Cursors{Delivered: place}
	if key.read {
		want = chat.Cursors{Read: place, Delivered: place}
	}
	all, _, err := e.deps.Cursors.Advance(ctx, key.conversation, user, want)
	if err != nil {
		return wire.CursorDown{}, unavailable(err, "advance cursor in", key.conversation)
	}
	all = a.CursorsOf(user, all)
	at := all.Delivered
	if key.read {
		at = all.Read
	}
	return wire.CursorDown{ConversationID: key.conversation, UserID: user, Seq: at.Seq, N: at.N}, nil
}

// ask is the state of a conversation for one of its members; not_found for anybody else.
func (e *Edge) ask(ctx context.Context, id chat.ConversationID, user chat.UserID) (conversation.Answer, error) {
	a, err := e.deps.Partitions.Ask(ctx, id)
	if err != nil {
		return a, unavailable(err, "ask for", id)
	}
	if !a.State.IsMember(user) {
		return a, chat.Errorf(chat.NotFound, "no such conversation")
	}
	return a, nil
}

// placeOf is the (seq, n) of a record that the user may see, named by seq or id; invalid when there is none.
func (e *Edge) placeOf(ctx context.Context, a conversation.Answer, user chat.UserID, p chat.Position) (chat.Cursor, error) {
	none := chat.Errorf(chat.Invalid, "no such place in this conversation")
	seq, bySeq := p.Seq()
	if bySeq && (seq > a.State.Head.Seq || !a.State.CanSee(user, seq)) {
		return chat.Cursor{}, none
	}
	match := func(h chat.Head) bool { return bySeq && h.Seq == seq || !bySeq && h.ID == p.ID() }
	head, found := a.State.Head, match(a.State.Head)
	if !found {
		head, found = e.seen.find(a.State.ID, match)
	}
	if !found {
		var err error
		head, err = e.deps.History.Resolve(ctx, a, p)
		if chat.KindOf(err) == chat.NotFound {
			return chat.Cursor{}, none
		}
		if err != nil {
			return chat.Cursor{}, unavailable(fmt.Errorf("position %d: %w", p, err), "resolve in", a.State.ID)
		}
	}
	if head.Seq > a.State.Head.Seq || !a.State.CanSee(user, head.Seq) {
		return chat.Cursor{}, none
	}
	return chat.Cursor{Seq: head.Seq, N: head.N}, nil
}
