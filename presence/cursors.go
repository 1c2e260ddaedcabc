package presence

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
)

// KV is the hot cursors of all partitions. Missing ones are zero. Safe for concurrent use.
type KV interface {
	// Update hands merge the present value and writes what it gives if it says so, by compare-and-set:
	// merge may be called several times. It answers with the value that stands afterwards.
	Update(ctx context.Context, id chat.ConversationID, user chat.UserID,
		merge func(old chat.Cursors) (next chat.Cursors, write bool)) (chat.Cursors, error)
	// Get reads one user's cursors in several conversations.
	Get(ctx context.Context, user chat.UserID, ids []chat.ConversationID) (map[chat.ConversationID]chat.Cursors, error)
	// In reads several users' cursors in one conversation.
	In(ctx context.Context, id chat.ConversationID, users []chat.UserID) (map[chat.UserID]chat.Cursors, error)
}

// Store is what the cursors were drained into; persist.Store has it. Missing ones are zero or left out.
type Store interface {
	Cursors(ctx context.Context, id chat.ConversationID, users []chat.UserID) (map[chat.UserID]chat.Cursors, error)
	CursorsOf(ctx context.Context, user chat.UserID, ids []chat.ConversationID) (map[chat.ConversationID]chat.Cursors, error)
}

// Barrier returns once everything written before the call survives a power cut.
type Barrier interface {
	Sync(ctx context.Context) error
}

// Config is what Cursors need.
type Config struct {
	KV      KV
	Store   Store
	Barrier Barrier
	Reg     prometheus.Registerer
}

// Cursors moves and reads cursors. Safe for concurrent use; it holds nothing in memory.
type Cursors struct {
	config  Config
	metrics *cursorMetrics
}

// NewCursors makes Cursors.
func NewCursors(c Config) *Cursors {
	return &Cursors{config: c, metrics: newCursorMetrics(c.Reg)}
}

// Advance merges a person's cursors with what stands. It relies on the bucket to keep a change for longer than an
// Advance takes, as trimming by age does: else its answer, though never what readers see, could go back. The answer is what stands afterwards, durable; changed
// reports whether either cursor moved. Whether the place exists is the caller's to check.
func (c *Cursors) Advance(ctx context.Context, id chat.ConversationID, user chat.UserID, to chat.Cursors) (chat.Cursors, bool, error) {
	began := time.Now()
	merged, changed, err := c.advance(ctx, id, user, to)
	if err != nil {
		c.metrics.advances.WithLabelValues("failed").Inc()
		return chat.Cursors{}, false, err
	}
	if err := c.config.Barrier.Sync(ctx); err != nil {
		c.metrics.advances.WithLabelValues("failed").Inc()
		return chat.Cursors{}, false, fmt.Errorf("make cursors of %s in %s durable: %w", user, id, err)
	}
	result := "unchanged"
	if changed {
		result = "moved"
	}
	c.metrics.advances.WithLabelValues(result).Inc()
	c.metrics.advanceTime.Observe(time.Since(began).Seconds())
	return merged, changed, nil
}

func (c *Cursors) advance(ctx context.Context, id chat.ConversationID, user chat.UserID, to chat.Cursors) (chat.Cursors, bool, error) {
	merged, cold, changed, err := c.update(ctx, id, user, chat.Cursors{}.Max(to), nil)
	if err != nil || !cold {
		return merged, changed, err
	}
	stored, err := c.config.Store.Cursors(ctx, id, []chat.UserID{user})
	if err != nil {
		return chat.Cursors{}, false, fmt.Errorf("stored cursors of %s in %s: %w", user, id, err)
	}
	base := stored[user] // matters only while the bucket has nothing
	merged, _, changed, err = c.update(ctx, id, user, base.Max(to), &base)
	return merged, changed, err
}

// update merges to into the bucket. Where the bucket has nothing it writes nothing and reports cold, unless
// base is known, which then counts as what stood.
func (c *Cursors) update(ctx context.Context, id chat.ConversationID, user chat.UserID, to chat.Cursors, base *chat.Cursors) (merged chat.Cursors, cold, changed bool, err error) {
	merge := func(old chat.Cursors) (chat.Cursors, bool) {
		cold, changed = false, false
		if old == (chat.Cursors{}) {
			if base == nil {
				cold = true
				return old, false
			}
			old = *base
		}
		next := old.Max(to)
		changed = moved(old, next)
		return next, changed
	}
	merged, err = c.config.KV.Update(ctx, id, user, merge)
	if err != nil {
		return chat.Cursors{}, false, false, fmt.Errorf("advance cursors of %s in %s: %w", user, id, err)
	}
	return merged.Max(to), cold, changed, nil
}

// moved reports whether a cursor lies further in next than in old. Seqs decide, as they do in a merge.
func moved(old, next chat.Cursors) bool {
	return next.Read.Seq > old.Read.Seq || next.Delivered.Seq > old.Delivered.Seq
}

// Of reads one person's cursors in several conversations; missing ones are zero.
func (c *Cursors) Of(ctx context.Context, user chat.UserID, ids []chat.ConversationID) (map[chat.ConversationID]chat.Cursors, error) {
	if len(ids) == 0 {
		return map[chat.ConversationID]chat.Cursors{}, nil
	}
	hot, err := c.config.KV.Get(ctx, user, ids)
	if err != nil {
		return nil, fmt.Errorf("hot cursors of %s: %w", user, err)
	}
	stored, err := c.config.Store.CursorsOf(ctx, user, ids)
	if err != nil {
		return nil, fmt.Errorf("stored cursors of %s: %w", user, err)
	}
	return merge(ids, hot, stored), nil
}

// In reads several people's cursors in one conversation; missing ones are zero.
func (c *Cursors) In(ctx context.Context, id chat.ConversationID, users []chat.UserID) (map[chat.UserID]chat.Cursors, error) {
	if len(users) == 0 {
		return map[chat.UserID]chat.Cursors{}, nil // the store takes none for everybody
	}
	hot, err := c.config.KV.In(ctx, id, users)
	if err != nil {
		return nil, fmt.Errorf("hot cursors in %s: %w", id, err)
	}
	stored, err := c.config.Store.Cursors(ctx, id, users)
	if err != nil {
		return nil, fmt.Errorf("stored cursors in %s: %w", id, err)
	}
	return merge(users, hot, stored), nil
}

func merge[K comparable](keys []K, hot, stored map[K]chat.Cursors) map[K]chat.Cursors {
	all := make(map[K]chat.Cursors, len(keys))
	for _, k := range keys {
		all[k] = hot[k].Max(stored[k])
	}
	return all
}
