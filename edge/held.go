package edge

import (
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	holdBytes = 1 << 20                // of live frames held back during a sync
	syncGrace = 250 * time.Millisecond // live frames wait so long for the first sync
)

// delivery is one live frame on its way to connections, made once for all of them.
type delivery struct {
	frame        []byte // ready for the wire
	payload      []byte // the JSON inside frame
	lane         wire.Lane
	conversation chat.ConversationID
	seq          chat.Seq
}

// heldFrames are live frames that wait until a sync has been answered. Guarded by the connection's lock.
type heldFrames struct {
	list  []*delivery
	bytes int
	lost  bool // the bound was reached: the client is told to resync
}

func (h *heldFrames) add(d *delivery) {
	if h.lost || h.bytes+len(d.frame) > holdBytes {
		h.list, h.bytes, h.lost = nil, 0, true
		return
	}
	h.list = append(h.list, d)
	h.bytes += len(d.frame)
}

const coverageKept = 30 * time.Second

// coverage is what the last sync answered, by conversation up to a seq: the workers may deliver the end of it
// later than the sync was answered. Guarded by the connection's lock; nil soon after the sync.
type coverage struct {
	upTo  map[chat.ConversationID]chat.Seq
	until time.Time
}

// has reports whether a live frame's record was in the sync. The first one beyond it ends the question, since
// a conversation's frames come in order.
func (c *coverage) has(d *delivery) bool {
	upTo, ok := c.upTo[d.conversation]
	if !ok || d.lane != wire.LaneLog {
		return false
	}
	if d.seq <= upTo {
		return true
	}
	delete(c.upTo, d.conversation)
	return false
}

func (c *coverage) forget(now time.Time) {
	if c.upTo != nil && now.After(c.until) {
		*c = coverage{}
	}
}

// holdBack makes deliveries wait from now on; those that wait already go on waiting.
func (c *connection) holdBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hold == nil {
		c.hold = &heldFrames{}
	}
}

// letGo sends on what was held, without what the sync covered (by conversation, up to a seq), and ends the
// holding. It waits for room, so it is not called with the lock held.
func (c *connection) letGo(covered map[chat.ConversationID]chat.Seq) {
	c.mu.Lock()
	c.covered = coverage{covered, c.edge.config.Now().Add(coverageKept)}
	c.mu.Unlock()
	for {
		c.mu.Lock()
		list, lost := c.hold.list, c.hold.lost
		c.hold.list, c.hold.bytes = nil, 0
		list = slices.DeleteFunc(list, c.covered.has)
		if len(list) == 0 {
			c.hold = nil
			if lost {
				c.resync()
			}
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		for _, d := range list {
			if c.pushWait(c.edge.live, d.frame) != nil {
				break // it is over; what is held is dropped with the connection
			}
		}
	}
}

// resync tells the client that it missed too much.
func (c *connection) resync() {
	c.edge.metrics.resyncs.Inc()
	c.reply(0, wire.TypeResync, struct{}{})
}

// deliver takes a live frame for this connection; true: it is queued and the caller has the connection flushed. It
// does not block.
func (c *connection) deliver(d *delivery) (queued bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.lane == wire.LaneLog && c.sends.isOwn(d) {
		return false
	}
	return c.pass(d)
}

// pass is called with the lock held: the order of calls is the order on the wire.
func (c *connection) pass(d *delivery) (queued bool) {
	c.edge.metrics.recipients.Inc()
	if c.hold != nil {
		c.hold.add(d)
		return false
	}
	if c.covered.has(d) {
		return false
	}
	return c.queue(d.frame)
}
