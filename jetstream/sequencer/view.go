package sequencer

import (
	"sync"
	"sync/atomic"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// view is the committed state, which questions read without the owner goroutine. Only the owner
// goroutine writes, under mu; it reads without.
type view struct {
	generation uint32

	mu    sync.Mutex
	convs map[chat.ConversationID]*conv
	tail  tailIndex

	applied atomic.Uint64 // the store's applied position in this generation
	sealed  atomic.Uint64
}

// conv is a conversation in memory.
type conv struct {
	id      chat.ConversationID
	touched atomic.Bool // used since the cache looked for one to let go

	// Written under view.mu.
	loaded bool
	state  conversation.State // committed; does not exist when the conversation does not

	// Of the owner goroutine alone.
	recent  *conversation.Recent
	next    conversation.State // with the records of the group that is built or in flight
	inGroup int                // records of that group
	queue   ring[*job]
	asks    []*question
	looking bool // a load or look-up is in flight
	ready   bool // stands in the ring of those that can be served
	blocked bool // waits for the group to be committed
}

// current is the state to decide against.
func (c *conv) current() conversation.State {
	if c.inGroup > 0 {
		return c.next
	}
	return c.state
}

// busy reports that the conversation must stay in memory.
func (c *conv) busy() bool {
	return c.looking || c.inGroup > 0 || c.queue.len() > 0 || len(c.asks) > 0
}

// answer tells what is committed of a conversation; ok is false when it is not in memory.
func (v *view) answer(id chat.ConversationID) (a conversation.Answer, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.convs[id]
	if c == nil || !c.loaded {
		return conversation.Answer{}, false
	}
	c.touched.Store(true)
	t, applied := v.tail.convs[id], v.applied.Load()
	return conversation.Answer{
		State: c.state, Generation: v.generation, Tail: t.above(applied), Sends: t.sendsAbove(applied),
	}, true
}

// stored moves the store's position; marks of other generations say nothing of this log.
func (v *view) stored(applied, sealed chat.Mark) {
	raise := func(at *atomic.Uint64, m chat.Mark) {
		if m.Generation != v.generation {
			return
		}
		for {
			old := at.Load()
			if m.StreamSeq <= old || at.CompareAndSwap(old, m.StreamSeq) {
				return
			}
		}
	}
	raise(&v.applied, applied)
	raise(&v.sealed, sealed)
}
