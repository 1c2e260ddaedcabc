package edge

import (
	"context"
	"net/http"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	typingLeast    = time.Second // between two starts in one conversation that are looked at
	typingMost     = 32          // conversations that a connection may be writing in
	typingInFlight = 64          // questions for membership because of typing, in the whole process
	typingTime     = 2 * time.Second
)

// typingState is when a connection's starts were looked at last. Owned by the reader.
type typingState map[chat.ConversationID]time.Time

// allow lets a start pass unless one has just passed; the clock is the process's own.
func (s *typingState) allow(id chat.ConversationID, now time.Time) bool {
	if last, ok := (*s)[id]; ok && now.Sub(last) < typingLeast {
		return false
	}
	for other, at := range *s {
		if now.Sub(at) >= wire.TypingEnds {
			delete(*s, other)
		}
	}
	if len(*s) >= typingMost {
		return false
	}
	if *s == nil {
		*s = make(typingState)
	}
	(*s)[id] = now
	return true
}

// typing takes a typing:start or typing:stop. There is no answer but a refusal.
func (c *connection) typing(f wire.Frame) {
	data, err := wire.DecodeData[wire.TypingUp](f)
	var id chat.ConversationID
	if err == nil {
		id, err = chat.ParseConversationID(data.ConversationID)
	}
	if err != nil {
		c.refuse(f.ID, err)
		return
	}
	stop := f.Type == wire.TypeTypingStop
	if stop {
		delete(c.writes, id)
	} else if !c.writes.allow(id, time.Now()) {
		return
	}
	e := c.edge
	if e.pressure.sheds(shedTyping) {
		e.metrics.shed.WithLabelValues("typing").Inc()
		return
	}
	select {
	case e.typings <- struct{}{}:
	default:
		e.metrics.shed.WithLabelValues("typing").Inc()
		return
	}
	done := func() { <-e.typings }
	if !c.work(func() {
		defer done()
		if err := e.signalTyping(e.live, id, c.who().UserID, stop); err != nil {
			c.refuse(f.ID, err)
		}
	}) {
		done()
	}
}

// signalTyping passes a member's signal on to the partition's worker.
func (e *Edge) signalTyping(ctx context.Context, id chat.ConversationID, user chat.UserID, stop bool) error {
	ctx, cancel := context.WithTimeout(ctx, typingTime)
	defer cancel()
	if _, err := e.ask(ctx, id, user); err != nil {
		return err
	}
	e.deps.Fanout[id.Partition(len(e.deps.Fanout))].Typing(id, user, stop)
	return nil
}

// signalled hands signals to their recipients' connections. Who does not keep up misses them.
func (e *Edge) signalled(h *wire.Hop) {
	for i := range h.Deliveries {
		d := &h.Deliveries[i]
		frame := onWire(opText, d.Frame)
		e.mu.RLock()
		for _, u := range d.Recipients {
			for _, c := range e.users[u] {
				if e.pressure.sheds(shedTyping) || !c.offer(frame) {
					e.metrics.shed.WithLabelValues("signals").Inc()
				}
			}
		}
		e.mu.RUnlock()
	}
}

type typingBody struct {
	Stop bool `json:"stop,omitzero" doc:"One has stopped to write; absent: one writes."`
}

func (r *rest) typingOperations() {
	handleEmpty(r, spec{method: http.MethodPost, path: "conversations/{id}/typing", id: "signal-typing", tag: "conversations", summary: "Tell the others that one writes, or has stopped to"},
		func(ctx context.Context, in *struct {
			ConversationPath
			Body body[typingBody]
		},
		) error {
			id, err := in.id()
			if err == nil {
				err = in.Body.err
			}
			if err != nil {
				return err
			}
			return r.edge.signalTyping(ctx, id, claimsOf(ctx).UserID, in.Body.value.Stop)
		})
}
