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
	fill  bool // event is a Gap that is to be filled from history
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
		c.config.OnEvent(e)
		c.shown(ctx, e.Record.ConversationID, e.Record.Seq)
	case RecordReceived:
		c.config.OnEvent(e)
		c.shown(ctx, e.Record.ConversationID, e.Record.Seq)
	case Gap:
		c.config.OnEvent(e)
		if q.fill && !c.fill(ctx, e) {
			return
		}
		c.shown(ctx, e.ConversationID, e.Before-1)
	case Gone:
		if err := c.config.Store.Delete(ctx, e.ConversationID); err != nil {
			c.config.Log.Error("position not deleted", slog.String("conversation", string(e.ConversationID)), slog.Any("error", err))
		}
		c.config.OnEvent(e)
	default:
		c.config.OnEvent(e)
	}
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
func (c *Client) fill(ctx context.Context, g Gap) bool {
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
				return true // not a member any more: what is left may not be seen
			}
			c.rest(ctx, c.config.Reconnect.wait(attempt, hintOf(err)))
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

func hintOf(err error) time.Duration {
	if e, _ := refused(err); e != nil {
		return e.RetryAfter
	}
	return 0
}
