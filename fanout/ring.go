package fanout

import (
	"slices"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// item is one delivery as a replay needs it.
type item struct {
	number       uint64 // on its lane
	conversation chat.ConversationID
	seq          chat.Seq // 0 on the cursor lane
	kind         chat.RecordKind
	target       chat.Seq      // edit, delete
	left, joined []chat.UserID // member, create
	frame        []byte
	targets      []target
	size         int
}

func itemOf(p *planned) item {
	e := p.entry
	it := item{number: e.StreamSeq, conversation: e.ConversationID, seq: e.Seq, kind: e.Kind, target: e.TargetSeq, frame: p.frame}
	switch {
	case e.Kind == chat.KindMember && e.Action == chat.ActionAdded:
		it.joined = e.UserIDs
	case e.Kind == chat.KindMember && (e.Action == chat.ActionRemoved || e.Action == chat.ActionLeft):
		it.left = e.UserIDs
	}
	return it
}

func (it *item) delivery(users []chat.UserID) wire.Delivery {
	return wire.Delivery{Seq: it.number, Recipients: users, Conversation: it.conversation, RecordSeq: it.seq, Frame: it.frame}
}

// matters reports whether a replay could need the item: it was sent, or it takes from what was sent.
func (it *item) matters() bool {
	return len(it.targets) > 0 || it.kind == chat.KindDelete || len(it.left) > 0 || len(it.joined) > 0
}

// ring keeps the latest items of a lane. Guarded by the worker's lock.
type ring struct {
	records, most int // bounds: items, bytes
	items         []item
	head          int // items before it are gone
	bytes         int
	started       bool
	start         uint64 // this worker knows of nothing up to here
	evicted       uint64 // the highest number that was let go of
}

func (r *ring) limit(l Limits) { r.records, r.most = l.RingRecords, l.RingBytes }

// begin empties the ring: what comes lies above number.
func (r *ring) begin(number uint64) {
	r.items, r.head, r.bytes = nil, 0, 0
	r.started, r.start, r.evicted = true, number, 0
}

func (r *ring) add(it item) {
	if !it.matters() {
		return
	}
	const overhead = 200
	it.size = overhead + len(it.frame)
	for _, t := range it.targets {
		it.size += 16 * len(t.users)
	}
	r.items = append(r.items, it)
	r.bytes += it.size
	for len(r.items)-r.head > r.records || r.bytes > r.most {
		old := &r.items[r.head]
		r.bytes -= old.size
		r.evicted = old.number
		*old = item{}
		r.head++
	}
	if r.head > 1024 && r.head > len(r.items)/2 {
		r.items = slices.Clone(r.items[r.head:])
		r.head = 0
	}
}

// covers reports whether everything above from that was sent to an edge whose numbering began at base is here.
func (r *ring) covers(from, base uint64) bool {
	return from >= r.evicted && (from == base || r.started && from >= r.start)
}

// above lists the items above a number, ascending.
func (r *ring) above(number uint64) []item {
	kept := r.items[r.head:]
	at, _ := slices.BinarySearchFunc(kept, number, func(it item, n uint64) int {
		if it.number <= n {
			return -1
		}
		return 1
	})
	return kept[at:]
}
