package fanout

import (
	"context"
	"strconv"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// CursorChange is one person's cursors in one conversation after a change.
type CursorChange struct {
	StreamSeq      uint64 // in the partition's cursor bucket
	ConversationID chat.ConversationID
	UserID         chat.UserID
	Cursors        chat.Cursors
}

type receiptKey struct {
	conversation chat.ConversationID
	user         chat.UserID
}

// A change of stream sequence s has two numbers on its lane, so that each of its frames has its own.
func deliveredNumber(s uint64) uint64 { return 2*s - 1 }
func readNumber(s uint64) uint64      { return 2 * s }

// receipt is one frame about a cursor.
type receipt struct {
	number       uint64
	conversation chat.ConversationID
	users        []chat.UserID
	frame        []byte
}

// HandleCursors delivers cursor changes, ascending in StreamSeq; what lies up to the last one handled is
// dropped. An error means that nothing of the batch was delivered and it is to be handed again.
func (w *Worker) HandleCursors(ctx context.Context, batch []CursorChange) error {
	w.mu.Lock()
	last := w.cursors
	w.mu.Unlock()
	for len(batch) > 0 && batch[0].StreamSeq <= last {
		batch = batch[1:]
	}
	if len(batch) == 0 {
		return nil
	}
	peers, err := w.peers(ctx, batch)
	if err != nil {
		return err
	}
	w.deliverReceipts(batch, w.planReceipts(batch, peers))
	w.pump()
	return w.awaitRoom(ctx)
}

// peers finds the audiences of the direct conversations in a batch. One that its owner does not know has none.
func (w *Worker) peers(ctx context.Context, batch []CursorChange) (map[chat.ConversationID]*audience, error) {
	known := make(map[chat.ConversationID]*audience)
	var missing []chat.ConversationID
	for i := range batch {
		id := batch[i].ConversationID
		if _, seen := known[id]; seen || id.Type() != chat.Direct {
			continue
		}
		known[id] = w.audiences.get(id)
		if known[id] == nil {
			missing = append(missing, id)
		}
	}
	answers, errs := w.askAll(ctx, missing)
	for i, id := range missing {
		switch {
		case errs[i] == nil:
			known[id] = answers[i]
			w.audiences.putAbsent(id, answers[i])
		case chat.KindOf(errs[i]) != chat.NotFound:
			return nil, errs[i]
		}
	}
	return known, nil
}

// planReceipts makes a frame for each part that moved.
func (w *Worker) planReceipts(batch []CursorChange, peers map[chat.ConversationID]*audience) []receipt {
	receipts := make([]receipt, 0, len(batch))
	for i := range batch {
		c := &batch[i]
		key := receiptKey{c.ConversationID, c.UserID}
		before, _ := w.receipts.get(key)
		after := before.Max(c.Cursors)
		w.receipts.put(key, after)
		users := []chat.UserID{c.UserID}
		if c.ConversationID.Type() == chat.Group && after != before {
			w.grouped.moved(c.ConversationID, c.UserID, before, after)
		}
		if a := peers[c.ConversationID]; a != nil {
			if peer := a.state.Peer(c.UserID); peer != "" {
				users = append(users, peer)
			}
		}
		add := func(number uint64, typ string, at chat.Cursor) {
			receipts = append(receipts, receipt{number, c.ConversationID, users, cursorFrame(typ, c, at)})
		}
		if after.Delivered.Seq > before.Delivered.Seq {
			add(deliveredNumber(c.StreamSeq), wire.TypeMessageDelivered, after.Delivered)
		}
		if after.Read.Seq > before.Read.Seq {
			add(readNumber(c.StreamSeq), wire.TypeMessageRead, after.Read)
		}
	}
	return receipts
}

// cursorFrame is the push frame of wire.CursorDown.
func cursorFrame(typ string, c *CursorChange, at chat.Cursor) []byte {
	b := make([]byte, 0, 160)
	b = append(b, `{"conversation_id":"`...)
	b = append(b, c.ConversationID...)
	b = append(b, `","user_id":"`...)
	b = append(b, c.UserID...)
	b = append(b, `","seq":`...)
	b = strconv.AppendUint(b, uint64(at.Seq), 10)
	b = append(b, `,"n":`...)
	b = strconv.AppendUint(b, at.N, 10)
	b = append(b, '}')
	return wire.AppendRaw(make([]byte, 0, len(b)+48), typ, b)
}

func (w *Worker) deliverReceipts(batch []CursorChange, receipts []receipt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &w.rings[wire.LaneCursors]
	if !r.started {
		r.started, r.start = true, readNumber(batch[0].StreamSeq-1)
	}
	c := commit{w: w, lane: wire.LaneCursors}
	for i := range receipts {
		it := item{number: receipts[i].number, conversation: receipts[i].conversation, frame: receipts[i].frame}
		it.targets = w.registry.targets(receipts[i].users)
		c.deliver(it)
	}
	w.cursors = batch[len(batch)-1].StreamSeq
	w.metrics.receipts.Add(float64(len(receipts)))
	c.seal()
}
