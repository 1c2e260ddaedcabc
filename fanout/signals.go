package fanout

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	signalQueue   = 1024            // signals waiting; beyond: dropped
	typistsAtMost = 8192            // people writing in one partition; beyond: dropped
	signalAsk     = 2 * time.Second // one question to the owner for a signal
	signalSweep   = 250 * time.Millisecond
)

// typingSignal is somebody who begins or stops to write.
type typingSignal struct {
	conversation chat.ConversationID
	user         chat.UserID
	stop         bool
}

type typist struct {
	conversation chat.ConversationID
	user         chat.UserID
}

// typists is who writes now, by when a start went on last.
type typists struct {
	mu   sync.Mutex // guards what follows
	when map[typist]time.Time
}

// Typing takes a signal; it does not block and may drop it. Nothing of it is stored, numbered or replayed.
func (w *Worker) Typing(id chat.ConversationID, user chat.UserID, stop bool) {
	select {
	case w.signals <- typingSignal{id, user, stop}:
	default:
		w.metrics.signal("queue")
	}
}

// signalling passes signals on, and ends what its typist did not end, until ctx ends.
func (w *Worker) signalling(ctx context.Context) {
	sweep := time.NewTicker(signalSweep)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-w.signals:
			w.typing(ctx, s)
		case <-sweep.C:
			for _, gone := range w.typists.expired(w.config.Now()) {
				w.typing(ctx, typingSignal{gone.conversation, gone.user, true})
			}
			w.tellReceipts(ctx)
		}
	}
}

// typing judges a signal by the members at the head and sends it to the others.
func (w *Worker) typing(ctx context.Context, s typingSignal) {
	who := typist{s.conversation, s.user}
	if s.stop && !w.typists.end(who) {
		w.metrics.signal("idle")
		return
	}
	a, err := w.signalAudience(ctx, s.conversation)
	if err != nil {
		w.metrics.signal("unavailable")
		return
	}
	if !a.state.IsMember(s.user) && !s.stop { // who was removed while writing is ended for the others
		w.metrics.signal("member")
		return
	}
	if len(a.open) > wire.MaxLively {
		w.metrics.signal("large")
		return
	}
	if !s.stop {
		if reason := w.typists.begin(who, w.config.Now()); reason != "" {
			w.metrics.signal(reason)
			return
		}
	}
	others := slices.DeleteFunc(slices.Clone(a.open), func(u chat.UserID) bool { return u == s.user })
	w.sendSignal(s.conversation, others, typingFrame(s))
}

func (w *Worker) signalAudience(ctx context.Context, id chat.ConversationID) (*audience, error) {
	if a := w.audiences.get(id); a != nil {
		return a, nil
	}
	ctx, cancel := context.WithTimeout(ctx, signalAsk)
	defer cancel()
	a, err := w.ask(ctx, id)
	if err == nil {
		w.audiences.putAbsent(id, a)
	}
	return a, err
}

// typingFrame is the push frame of wire.TypingDown.
func typingFrame(s typingSignal) []byte {
	typ := wire.TypeTypingStart
	if s.stop {
		typ = wire.TypeTypingStop
	}
	b := make([]byte, 0, 96)
	b = append(b, `{"conversation_id":"`...)
	b = append(b, s.conversation...)
	b = append(b, `","user_id":"`...)
	b = append(b, s.user...)
	b = append(b, `"}`...)
	return wire.AppendRaw(make([]byte, 0, len(b)+40), typ, b)
}

// sendSignal hands a frame to the edges of users, outside of every numbering. It is the first to give way.
func (w *Worker) sendSignal(id chat.ConversationID, users []chat.UserID, frame []byte) {
	w.mu.Lock()
	if w.outbox.bytes > w.config.Limits.Outbox/2 {
		w.mu.Unlock()
		w.metrics.signal("outbox")
		return
	}
	for _, t := range w.registry.targets(users) {
		d := wire.Delivery{Recipients: t.users, Conversation: id, Frame: frame}
		hop := wire.Hop{Partition: uint16(w.config.Partition), Lane: wire.LaneSignals, Term: w.config.Term, Deliveries: []wire.Delivery{d}}
		w.outbox.add(parcel{edge: t.edge.name, hop: hop, size: hopHeadBytes + deliverySize(&d)})
	}
	w.mu.Unlock()
	w.metrics.signal("sent")
	w.pump()
}

// begin notes a start; the reason why it does not go on, or nothing.
func (t *typists) begin(who typist, now time.Time) (reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, writing := t.when[who]
	switch {
	case writing && now.Sub(last) < wire.TypingEvery:
		return "repeated"
	case !writing && len(t.when) >= typistsAtMost:
		return "typists"
	}
	if t.when == nil {
		t.when = make(map[typist]time.Time)
	}
	t.when[who] = now
	return ""
}

// end forgets a typist; false when there was none.
func (t *typists) end(who typist) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, writing := t.when[who]
	delete(t.when, who)
	return writing
}

// expired lists who began too long ago.
func (t *typists) expired(now time.Time) []typist {
	t.mu.Lock()
	defer t.mu.Unlock()
	var gone []typist
	for who, began := range t.when {
		if now.Sub(began) >= wire.TypingEnds {
			gone = append(gone, who)
		}
	}
	return gone
}

// said ends the typing of those who sent a message: whoever receives it knows.
func (t *typists) said(plans []planned) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.when) == 0 {
		return
	}
	for i := range plans {
		if e := plans[i].entry; !plans[i].passed && e.Kind == chat.KindMessage {
			delete(t.when, typist{e.ConversationID, e.SenderID})
		}
	}
}
