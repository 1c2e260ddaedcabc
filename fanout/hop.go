package fanout

import (
	"context"
	"log/slog"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	hopBytes      = 64 << 10 // a hop is sealed before a delivery that would take it above this
	hopDeliveries = 100
	hopHeadBytes  = 28
)

// parcel is a hop on its way to one edge. size is its encoded length.
type parcel struct {
	edge string
	hop  wire.Hop
	size int
}

// outbox holds hops in the order in which their numbers were given. Guarded by the worker's lock; whoever
// set pumping takes from it.
type outbox struct {
	queue   []parcel
	bytes   int    // queued and not yet sent
	queued  uint64 // parcels ever
	sent    uint64 // parcels ever
	pumping bool
	room    signal // sent moved
}

func (o *outbox) add(p parcel) {
	o.queue = append(o.queue, p)
	o.bytes += p.size
	o.queued++
}

// pump sends what is queued, unless somebody does: they send it then.
func (w *Worker) pump() {
	o := &w.outbox
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.pumping {
		return
	}
	o.pumping = true
	for len(o.queue) > 0 {
		parcels := o.queue
		o.queue = nil
		w.mu.Unlock()
		bytes := 0
		for i := range parcels {
			w.send(&parcels[i])
			bytes += parcels[i].size
		}
		w.mu.Lock()
		o.bytes -= bytes
		o.sent += uint64(len(parcels))
		o.room.wake()
	}
	o.pumping = false
}

func (w *Worker) send(p *parcel) {
	b := wire.AppendHop(make([]byte, 0, p.size), &p.hop)
	if err := w.config.Transport.Send(p.edge, b); err != nil {
		w.metrics.sendErrors.Inc()
		w.config.Log.Debug("a hop was lost", slog.String("edge", p.edge), slog.Any("error", err))
		return
	}
	w.metrics.hops.Inc()
	w.metrics.hopBytes.Add(float64(len(b)))
}

// awaitSent returns once the parcels up to a ticket were handed to the transport.
func (w *Worker) awaitSent(ctx context.Context, ticket uint64) error {
	return w.await(ctx, &w.outbox.room, func() bool { return w.outbox.sent >= ticket })
}

// awaitRoom holds Handle back while too much is waiting.
func (w *Worker) awaitRoom(ctx context.Context) error {
	return w.await(ctx, &w.outbox.room, func() bool { return w.outbox.bytes <= w.config.Limits.Outbox })
}

func (w *Worker) hopHead(e *edgeState, lane wire.Lane) wire.Hop {
	h := wire.Hop{
		Partition: uint16(w.config.Partition), // at most 16,384 partitions
		Lane:      lane, Term: w.config.Term, Prev: e.last[lane],
	}
	if lane == wire.LaneLog {
		h.Generation = w.position.Generation
	}
	return h
}

// packer cuts deliveries to one edge on one lane into hops, each continuing the one before.
type packer struct {
	edge string
	head wire.Hop // of the next hop
	size int
	out  []parcel
}

func newPacker(edge string, head wire.Hop) *packer {
	return &packer{edge: edge, head: head, size: hopHeadBytes}
}

func (p *packer) add(d wire.Delivery) {
	size := deliverySize(&d)
	if n := len(p.head.Deliveries); n > 0 && (n == hopDeliveries || p.size+size > hopBytes) {
		p.seal()
	}
	p.head.Deliveries = append(p.head.Deliveries, d)
	p.size += size
}

func (p *packer) seal() {
	p.out = append(p.out, parcel{p.edge, p.head, p.size})
	p.head.Prev, p.head.Deliveries, p.size = p.head.Last(), nil, hopHeadBytes
}

// finish seals what is left and gives the hops.
func (p *packer) finish() []parcel {
	if len(p.head.Deliveries) > 0 {
		p.seal()
	}
	return p.out
}

func deliverySize(d *wire.Delivery) int {
	size := 8 + 8 + 1 + len(d.Conversation) + 4 + 4 + len(d.Frame)
	for _, u := range d.Recipients {
		size += 1 + len(u)
	}
	return size
}

// commit collects one batch's deliveries on a lane. It is used with the worker's lock held throughout.
type commit struct {
	w       *Worker
	lane    wire.Lane
	touched []*edgeState
}

// deliver queues an item for its targets and keeps it for replays.
func (c *commit) deliver(it item) {
	for _, t := range it.targets {
		p := t.edge.packers[c.lane]
		if p == nil {
			p = newPacker(t.edge.name, c.w.hopHead(t.edge, c.lane))
			t.edge.packers[c.lane] = p
			c.touched = append(c.touched, t.edge)
		}
		p.add(it.delivery(t.users))
		c.w.metrics.deliveries.Inc()
		c.w.metrics.recipients.Add(float64(len(t.users)))
	}
	c.w.rings[c.lane].add(it)
}

// seal moves what was collected into the outbox and the edges' numbers on.
func (c *commit) seal() {
	if len(c.touched) == 0 {
		return
	}
	now := c.w.config.Now()
	for _, e := range c.touched {
		p := e.packers[c.lane]
		for _, parcel := range p.finish() {
			c.w.outbox.add(parcel)
		}
		e.last[c.lane], e.sent[c.lane], e.packers[c.lane] = p.head.Prev, now, nil
	}
	c.touched = c.touched[:0]
}

// turn begins a generation: numbers start again, deliveries of the one before are no longer replayed.
func (w *Worker) turn(generation uint32) {
	if w.position.Generation == generation {
		return
	}
	for _, e := range w.registry.edges {
		e.former = chat.Mark{Generation: w.position.Generation, StreamSeq: e.last[wire.LaneLog]}
		e.last[wire.LaneLog], e.base[wire.LaneLog] = 0, 0
	}
	w.position = chat.Mark{Generation: generation}
	w.rings[wire.LaneLog].begin(0)
}
