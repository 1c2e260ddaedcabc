package client

import (
	"context"
	"log/slog"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// queued is an event on its way to OnEvent.
type queued struct {
	event Event
	epoch uint64    // of a record or gap: the client's when it was decided to show it
	fill  *timeline // event is a Gap of this timeline that is to be filled from history
}

// refusedFill is a gap that the server would not fill. What was to be shown behind it is not: it stays unseen
// until a sync has told again, from the last record shown, or until the conversation is gone.
type refusedFill struct {
	epoch uint64 // events decided earlier are not shown
	gone  bool   // the timeline had ended already: nothing is shown before the Gone that says so
}

func (c *Client) emit(ctx context.Context, e Event) { c.enqueue(ctx, queued{event: e}) }

// enqueue waits for room: a slow application slows its own connection.
func (c *Client) enqueue(ctx context.Context, q queued) {
	select {
	case c.queue <- q:
	case <-ctx.Done():
	}
}

// dispatch is the one goroutine that calls OnEvent and moves the positions.
func (c *Client) dispatch(ctx context.Context) {
	for {
		select {
		case q := <-c.queue:
			c.deliver(ctx, q)
		case <-ctx.Done():
			return
		}
	}
}

// drainEvents waits until what is queued has been handled.
func (c *Client) drainEvents(ctx context.Context) {
	done := make(chan struct{})
	c.enqueue(ctx, queued{event: flush{done}})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// flush is the mark that drainEvents waits for.
type flush struct{ done chan struct{} }

func (flush) event() {}

func (c *Client) deliver(ctx context.Context, q queued) {
	switch e := q.event.(type) {
	case flush:
		close(e.done)
		return
	case MessageReceived:
		c.deliverRecord(ctx, q, e.Record)
	case RecordReceived:
		c.deliverRecord(ctx, q, e.Record)
	case Gap:
		if !c.mayShow(q.epoch, e.ConversationID) {
			return
		}
		c.config.OnEvent(e)
		if q.fill != nil && !c.fill(ctx, e, q.fill) {
			return
		}
		c.shown(ctx, e.ConversationID, e.Before-1)
	case Gone:
		if c.refused[e.ConversationID].gone {
			delete(c.refused, e.ConversationID)
		}
		if err := c.config.Store.Delete(ctx, e.ConversationID); err != nil {
			c.config.Log.Error("position not deleted", slog.String("conversation", string(e.ConversationID)), slog.Any("error", err))
		}
		c.config.OnEvent(e)
	default:
		c.config.OnEvent(e)
	}
}

func (c *Client) deliverRecord(ctx context.Context, q queued, r chat.Record) {
	if !c.mayShow(q.epoch, r.ConversationID) {
		return
	}
	c.config.OnEvent(q.event)
	c.shown(ctx, r.ConversationID, r.Seq)
}

// mayShow reports whether what was decided in an epoch is not behind a gap that was refused.
func (c *Client) mayShow(epoch uint64, id chat.ConversationID) bool {
	refused, ok := c.refused[id]
	if !ok {
		return true
	}
	if refused.gone || epoch < refused.epoch {
		return false
	}
	delete(c.refused, id)
	return true
}

// shown moves the position after OnEvent returned.
func (c *Client) shown(ctx context.Context, id chat.ConversationID, seq chat.Seq) {
	if err := c.config.Store.Put(ctx, id, seq); err != nil {
		// The application has it; after a restart it will be shown again.
		c.config.Log.Error("position not stored", slog.String("conversation", string(id)), slog.Any("error", err))
	}
	if c.config.AutoDelivered {
		c.Delivered(id, seq)
	}
}

// fill shows what lies in a gap, page by page, for as long as it takes. It reports whether the gap is closed.
func (c *Client) fill(ctx context.Context, g Gap, t *timeline) bool {
	at, attempt := g.After, 0
	for at+1 < g.Before {
		after := chat.Position(at)
		page, err := c.config.History.Page(ctx, g.ConversationID, PageQuery{Limit: 100, After: &after})
		var records []chat.Record
		if err == nil {
			records, err = page.Records()
		}
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			if _, retry := refused(err); !retry {
				c.config.Log.Warn("gap not filled", slog.String("conversation", string(g.ConversationID)), slog.Any("error", err))
				c.fillRefused(g.ConversationID, t, at)
				return false
			}
			c.rest(ctx, c.config.Reconnect.Wait(attempt, hintOf(err)))
			attempt++
			continue
		}
		attempt = 0
		for _, r := range records {
			if r.Seq > at && r.Seq < g.Before {
				c.config.OnEvent(eventOf(incoming{r, SourceFill}))
			}
		}
		at = max(at, page.ToSeq)
		if len(records) == 0 || !page.MoreAfter {
			break
		}
		c.shown(ctx, g.ConversationID, min(at, g.Before-1))
	}
	c.config.OnEvent(Filled(g))
	return true
}

// fillRefused takes a conversation back to the last record shown. One was removed since the sync, perhaps to
// return: the next sync tells, a Hold from now unless something else asks for it.
func (c *Client) fillRefused(id chat.ConversationID, t *timeline, shown chat.Seq) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timelines[id] != t {
		c.refused[id] = refusedFill{gone: true}
		return
	}
	c.epoch++
	c.refused[id] = refusedFill{epoch: c.epoch}
	t.takeBack(shown, c.config.Now())
}

func hintOf(err error) time.Duration {
	if e, _ := refused(err); e != nil {
		return e.RetryAfter
	}
	return 0
}
