package fanout

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// Replay sends an edge again what was sent to it on a lane after a number, as hops marked so, the first with
// Prev = from; they have been handed to the transport when it returns, ahead of anything newer. The last one
// ends at the number of the last delivery to the edge. generation is the one that from belongs to; the
// cursor lane has none. chat.Unavailable means that it can not be done: the clients must resync.
func (w *Worker) Replay(ctx context.Context, edge string, lane wire.Lane, generation uint32, from uint64) error {
	w.mu.Lock()
	ticket, err := w.queueReplay(edge, lane, generation, from)
	w.mu.Unlock()
	if err != nil {
		w.metrics.resyncs.Inc()
		return err
	}
	w.metrics.replays.Inc()
	w.pump()
	if err := w.awaitSent(ctx, ticket); err != nil {
		return fmt.Errorf("replay to edge %s: %w", edge, err)
	}
	return nil
}

func resync(why string) error { return chat.Errorf(chat.Unavailable, "resync: %s", why) }

// queueReplay is called with the lock held, so that nothing newer comes between.
func (w *Worker) queueReplay(name string, lane wire.Lane, generation uint32, from uint64) (uint64, error) {
	e := w.registry.edges[name]
	if e == nil || lane >= lanes {
		return 0, resync("the edge is not registered")
	}
	asked := from
	if lane == wire.LaneLog && generation != w.position.Generation {
		if generation != e.former.Generation || from < e.former.StreamSeq {
			return 0, resync("the generation is over")
		}
		from = 0
	}
	r := &w.rings[lane]
	if from > e.last[lane] || !r.covers(from, e.base[lane]) {
		return 0, resync("too much was missed")
	}
	head := w.hopHead(e, lane)
	head.Prev, head.Replay = asked, true
	parcels, bytes := replayed(name, head, r.above(from), from, e.last[lane])
	if w.outbox.bytes+bytes > w.config.Limits.ReplayOutbox {
		return 0, resync("too many replays at once")
	}
	for _, p := range parcels {
		w.outbox.add(p)
	}
	return w.outbox.queued, nil
}

// replayed makes the hops of a replay from the items above from; they end at last.
func replayed(edge string, head wire.Hop, items []item, from, last uint64) ([]parcel, int) {
	p, reached := newPacker(edge, head), from
	later := look(items)
	for i := range items {
		for _, t := range items[i].targets {
			if t.edge.name == edge {
				p.add(later.delivery(&items[i], t.users))
				reached = items[i].number
			}
		}
	}
	if reached < last { // what was lost concerns nobody who is known: the number moves all the same
		p.add(wire.Delivery{Seq: last})
	}
	if len(p.head.Deliveries) == 0 && len(p.out) == 0 {
		p.seal() // nothing was missed: an empty hop says so
	}
	parcels := p.finish()
	bytes := 0
	for i := range parcels {
		bytes += parcels[i].size
	}
	return parcels, bytes
}

// aftermath is what later items take from earlier ones. A delete or a removal is always younger than what it
// takes from, so it is in the ring as long as that is.
type aftermath struct {
	deleted map[place]bool
	left    map[membership]uint64 // number of the removal, for who has not come back
}

type membership struct {
	conversation chat.ConversationID
	user         chat.UserID
}

func look(items []item) aftermath {
	var a aftermath
	for i := range items {
		it := &items[i]
		if it.kind == chat.KindDelete {
			if a.deleted == nil {
				a.deleted = make(map[place]bool)
			}
			a.deleted[place{it.conversation, it.target}] = true
		}
		for _, u := range it.left {
			if a.left == nil {
				a.left = make(map[membership]uint64)
			}
			a.left[membership{it.conversation, u}] = it.number
		}
		for _, u := range it.joined {
			delete(a.left, membership{it.conversation, u})
		}
	}
	return a
}

// delivery is the item's delivery to users as it may be shown now.
func (a *aftermath) delivery(it *item, users []chat.UserID) wire.Delivery {
	d := it.delivery(users)
	if len(a.left) > 0 && it.seq != 0 {
		d.Recipients = make([]chat.UserID, 0, len(users))
		for _, u := range users {
			if gone := a.left[membership{it.conversation, u}]; gone <= it.number {
				d.Recipients = append(d.Recipients, u)
			}
		}
	}
	if len(a.deleted) > 0 && textGone(it.kind, place{it.conversation, it.seq}, place{it.conversation, it.target}, a.deleted) {
		d.Frame = blanked(it)
		if d.Frame == nil {
			d.Recipients = nil // never shown rather than shown with its text; the next sync has it
		}
	}
	return d
}

// blanked is the item's frame without its text; nil if that can not be made.
func blanked(it *item) []byte {
	frame, err := wire.DecodeFrame(it.frame)
	if err != nil {
		return nil
	}
	record, err := wire.DecodeRecord(frame.Data)
	if err != nil {
		return nil
	}
	return wire.AppendRaw(nil, frame.Type, withoutText(record))
}
