package edge

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	laneLog        = wire.LaneLog
	heldDeliveries = 20_000
	heldHopBytes   = 32 << 20
	replayTime     = 10 * time.Second
	replayAttempts = 5
	lanesEach      = 2 // per partition
)

// hopLane is one numbering: a partition's worker, one lane. Its lock is held while deliveries are handed to
// connections, so their order is the worker's.
type hopLane struct {
	partition int
	lane      wire.Lane

	mu         sync.Mutex // guards what follows
	generation uint32
	term       uint64 // 0: no hop was seen yet
	last       uint64 // everything up to here was handed on
	begun      bool   // last means something
	replaying  bool   // hops are held until the worker has replayed
	renewed    bool   // the replay is because of a new worker, which does not know our users
	held       []wire.Hop
	heldCount  int
	heldBytes  int
	overflowed bool
	flushes
}

func newHopLane(partition int, lane wire.Lane) *hopLane {
	return &hopLane{partition: partition, lane: lane}
}

func (e *Edge) lane(partition int, lane wire.Lane) *hopLane {
	return e.lanes[partition*lanesEach+int(lane)]
}

// begin takes a registration's position as the start of a lane that has seen nothing yet: a hop that is lost
// before the first one arrives is then missed.
func (l *hopLane) begin(r Registered) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun {
		l.begun, l.generation, l.last = true, r.Generation, r.Position
	}
}

// reset forgets where a lane stands, while nobody is here for whom it matters.
func (l *hopLane) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.replaying {
		l.begun, l.term = false, 0
	}
}

// Deliver takes one hop of a fan-out worker, or an announcement of the owner of a presence shard. The edge keeps
// hop: the caller must not change it. It does not block, and it may be called from within Fanout.Replay.
func (e *Edge) Deliver(hop []byte) {
	if wire.IsAnnouncement(hop) {
		e.heard(hop)
		return
	}
	h, err := wire.DecodeHop(hop)
	if err == nil && h.Lane == wire.LaneSignals {
		e.signalled(&h)
		return
	}
	if err != nil || int(h.Partition) >= len(e.deps.Fanout) || h.Lane >= lanesEach {
		e.metrics.badHops.Inc() // its numbers are missed by the next one
		return
	}
	l := e.lane(int(h.Partition), h.Lane)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case h.Replay:
		if l.replaying && h.Prev <= l.last {
			e.apply(l, &h)
		}
	case l.replaying:
		l.keep(h, len(hop))
	default:
		e.accept(l, h, len(hop))
	}
}

// accept hands a hop on if it follows what was handed on before; otherwise the lane is held for a replay.
func (e *Edge) accept(l *hopLane, h wire.Hop, size int) {
	if l.term == 0 {
		if !l.begun {
			l.begun, l.generation, l.last = true, h.Generation, h.Prev
		}
		l.term = h.Term
	}
	if h.Term > l.term && l.lane != laneLog { // the log's lane brings us back; a receipt missed comes with a sync
		l.term, l.generation, l.last = h.Term, h.Generation, h.Prev
	}
	reason := ""
	switch {
	case h.Term < l.term || h.Generation < l.generation:
		return // a former owner's, late
	case h.Term > l.term:
		reason, l.renewed = "term", true
	case h.Generation > l.generation:
		reason = "generation"
	case h.Prev > l.last:
		reason = "lost"
	}
	if reason == "" {
		e.apply(l, &h)
		return
	}
	e.metrics.gaps.WithLabelValues(reason).Inc()
	l.replaying = true
	l.keep(h, size)
	e.spawn(func() { e.replay(l) })
}

// apply hands on the deliveries that were not handed on before.
func (e *Edge) apply(l *hopLane, h *wire.Hop) {
	if h.Generation != l.generation {
		l.generation, l.last = h.Generation, 0
	}
	for i := range h.Deliveries {
		d := &h.Deliveries[i]
		if d.Seq <= l.last {
			continue
		}
		e.fan(l, d)
		l.last = d.Seq
	}
	e.settle(&l.flushes)
}

func (l *hopLane) keep(h wire.Hop, size int) {
	if l.overflowed || l.heldCount+len(h.Deliveries) > heldDeliveries || l.heldBytes+size > heldHopBytes {
		l.overflowed = true
		l.held = append(l.held[:0], wire.Hop{Generation: h.Generation, Term: h.Term, Prev: h.Last()})
		return
	}
	l.held = append(l.held, h)
	l.heldCount += len(h.Deliveries)
	l.heldBytes += size
}

// replay asks the worker for what is missing, then hands on what was held meanwhile.
func (e *Edge) replay(l *hopLane) {
	for attempt := 1; ; attempt++ {
		err := e.askReplay(l)
		l.mu.Lock()
		if err != nil || l.overflowed || attempt == replayAttempts {
			e.metrics.replays.WithLabelValues("resync").Inc()
			e.log.Warn("a partition's deliveries can not be replayed, clients resync",
				slog.Int("partition", l.partition), slog.Any("error", err))
			e.skipAhead(l)
			l.mu.Unlock()
			return
		}
		if e.drainHeld(l) {
			e.metrics.replays.WithLabelValues("complete").Inc()
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

func (e *Edge) askReplay(l *hopLane) error {
	l.mu.Lock()
	generation, from, renewed := l.generation, l.last, l.renewed
	l.renewed = false
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(e.live, replayTime)
	defer cancel()
	worker := e.deps.Fanout[l.partition]
	if renewed {
		if users := e.registered(); len(users) > 0 {
			if _, err := worker.Register(ctx, e.config.ID, users); err != nil {
				return unavailable(err, "register again with partition", l.partition)
			}
		}
	}
	if err := worker.Replay(ctx, e.config.ID, l.lane, generation, from); err != nil {
		return unavailable(err, "replay of partition", l.partition)
	}
	return nil
}

// drainHeld hands held hops on in their order; false when there is still a gap before one of them.
func (e *Edge) drainHeld(l *hopLane) bool {
	for len(l.held) > 0 {
		h := l.held[0]
		if h.Generation > l.generation { // the old one was replayed to its end
			l.generation, l.last = h.Generation, 0
		}
		switch {
		case h.Term < l.term || h.Generation < l.generation:
		case h.Prev > l.last:
			return false
		default:
			l.term = h.Term
			e.apply(l, &h)
		}
		l.held = l.held[1:]
	}
	l.released()
	return true
}

// skipAhead gives up on what is missing: every connection resyncs, the lane goes on after what was held.
func (e *Edge) skipAhead(l *hopLane) {
	for i := range l.held {
		h := &l.held[i]
		if h.Term < l.term || h.Generation < l.generation {
			continue
		}
		l.term = h.Term
		e.apply(l, h)
		l.last = max(l.last, h.Last())
	}
	l.released()
	e.scenesLost()
	for _, c := range e.connections() {
		if c.who() == nil {
			continue
		}
		c.mu.Lock()
		if c.hold != nil {
			c.hold.lost = true
		} else {
			c.resync()
		}
		c.mu.Unlock()
	}
}

func (l *hopLane) released() {
	l.replaying, l.overflowed = false, false
	l.held, l.heldCount, l.heldBytes = nil, 0, 0
}

// fan hands one delivery to every connection of its recipients. They are written to when the hop is settled.
func (e *Edge) fan(l *hopLane, d *wire.Delivery) {
	if len(d.Recipients) == 0 { // it only moves the number
		return
	}
	e.metrics.deliveries.Inc()
	out := &delivery{frame: onWire(opText, d.Frame), payload: d.Frame, lane: l.lane, conversation: d.Conversation, seq: d.RecordSeq}
	if l.lane == laneLog {
		e.sceneChanged(d)
		e.seen.note(d.Conversation, d.RecordSeq, d.Frame)
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	queued := &l.now
	if len(d.Recipients) >= crowdSize {
		queued = &l.paced
	}
	for _, u := range d.Recipients {
		for _, c := range e.users[u] {
			switch {
			case !c.deliver(out):
			case c.out.holds(pacedBytes):
				l.now = append(l.now, c)
			default:
				*queued = append(*queued, c)
			}
		}
	}
}

// recentHeads remembers what was delivered lately, so that a cursor that follows a delivery costs no read.
type recentHeads struct {
	mu    sync.Mutex
	rings map[chat.ConversationID]*headRing
}

const (
	ringHeads   = 16
	ringsAtMost = 16_384 // conversations
)

type headRing struct {
	heads [ringHeads]chat.Head
	next  int
}

func newRecentHeads() *recentHeads {
	return &recentHeads{rings: make(map[chat.ConversationID]*headRing)}
}

func (r *recentHeads) note(id chat.ConversationID, seq chat.Seq, payload []byte) {
	head, ok := headOf(seq, recordHead(payload))
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ring := r.rings[id]
	if ring == nil {
		if len(r.rings) >= ringsAtMost {
			for other := range r.rings { // any: what is missing is read
				delete(r.rings, other)
				break
			}
		}
		ring = &headRing{}
		r.rings[id] = ring
	}
	ring.heads[ring.next] = head
	ring.next = (ring.next + 1) % ringHeads
}

func (r *recentHeads) find(id chat.ConversationID, match func(chat.Head) bool) (chat.Head, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ring := r.rings[id]; ring != nil {
		for _, h := range ring.heads {
			if h.Seq != 0 && match(h) {
				return h, true
			}
		}
	}
	return chat.Head{}, false
}
