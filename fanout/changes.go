package fanout

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// change is one person's membership of one conversation changing at a place in the log.
type change struct {
	mark         chat.Mark
	user         chat.UserID
	conversation chat.ConversationID
}

// changes holds the membership changes that the roster may not hold yet. Guarded by the worker's lock.
type changes struct {
	most  int
	queue []change // ascending by mark
	index map[chat.UserID]map[chat.ConversationID]int
	known chat.Mark // the roster's position when it was last read
}

func newChanges(most int) changes {
	return changes{most: most, index: make(map[chat.UserID]map[chat.ConversationID]int)}
}

// note takes a record's membership changes; it reports how many older ones had to be forgotten.
func (c *changes) note(e *chat.Entry) (forgotten int) {
	switch {
	case e.Kind == chat.KindCreate:
		for _, m := range e.Members {
			forgotten += c.push(e, m.UserID)
		}
	case e.Kind == chat.KindMember && e.Action != chat.ActionRole:
		for _, u := range e.UserIDs {
			forgotten += c.push(e, u)
		}
	}
	return forgotten
}

func (c *changes) push(e *chat.Entry, u chat.UserID) (forgotten int) {
	mark := markOf(e)
	if !c.known.Before(mark) {
		return 0
	}
	c.queue = append(c.queue, change{mark, u, e.ConversationID})
	if c.index[u] == nil {
		c.index[u] = make(map[chat.ConversationID]int)
	}
	c.index[u][e.ConversationID]++
	if len(c.queue) > c.most {
		c.pop()
		return 1
	}
	return 0
}

func (c *changes) pop() {
	old := c.queue[0]
	c.queue[0] = change{}
	c.queue = c.queue[1:]
	of := c.index[old.user]
	if of[old.conversation]--; of[old.conversation] == 0 {
		delete(of, old.conversation)
	}
	if len(of) == 0 {
		delete(c.index, old.user)
	}
}

// prune forgets what the roster holds.
func (c *changes) prune(roster chat.Mark) {
	if c.known.Before(roster) {
		c.known = roster
	}
	for len(c.queue) > 0 && !c.known.Before(c.queue[0].mark) {
		c.pop()
	}
	if len(c.queue) == 0 {
		c.queue = nil
	}
}

// of lists a person's changed conversations, sorted.
func (c *changes) of(u chat.UserID) []chat.ConversationID {
	if len(c.index[u]) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(c.index[u]))
}

// noteChange is called with the lock held.
func (w *Worker) noteChange(e *chat.Entry) {
	if n := w.changes.note(e); n > 0 {
		w.metrics.changesForgotten.Add(float64(n))
	}
}

// Start takes the durable end of the log as the worker's position, folds the membership changes between the
// roster's position and there, and answers the first stream sequence to hand to Handle. Called again it
// answers one past the position. It is chat.Unavailable as long as the owner is not ready.
func (w *Worker) Start(ctx context.Context) (uint64, error) {
	if at := w.Position(); at.Generation != 0 {
		return at.StreamSeq + 1, nil
	}
	durable := w.config.Owner.Durable()
	if durable.Generation == 0 {
		return 0, chat.Errorf(chat.Unavailable, "the owner of partition %d is not ready", w.config.Partition)
	}
	roster, err := w.config.RosterPosition(ctx)
	if err != nil {
		return 0, fmt.Errorf("roster's position in partition %d: %w", w.config.Partition, err)
	}
	from := uint64(1)
	if roster.Generation == durable.Generation {
		from = roster.StreamSeq + 1
	}
	w.mu.Lock()
	w.changes.prune(roster)
	w.mu.Unlock()
	if from <= durable.StreamSeq {
		fold := func(entries []chat.Entry) error { return w.Prime(ctx, entries) }
		if err := w.config.Scan(ctx, from, durable.StreamSeq, fold); err != nil {
			return 0, fmt.Errorf("read partition %d from roster's position: %w", w.config.Partition, err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.position = durable
	w.rings[0].begin(durable.StreamSeq)
	w.moved.wake()
	return durable.StreamSeq + 1, nil
}

// Prime takes the membership changes of entries below the worker's position. Start calls it.
func (w *Worker) Prime(ctx context.Context, entries []chat.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range entries {
		w.noteChange(&entries[i])
	}
	return ctx.Err()
}

// followRoster forgets changes as the roster's position passes them.
func (w *Worker) followRoster(ctx context.Context) {
	every := time.NewTicker(rosterEvery)
	defer every.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		w.mu.Lock()
		held := len(w.changes.queue)
		w.mu.Unlock()
		if held == 0 {
			continue
		}
		err := w.readRoster(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			w.config.Log.Warn("the roster's position can not be read", slog.Int("partition", w.config.Partition), slog.Any("error", err))
		}
		failing = err != nil
	}
}

func (w *Worker) readRoster(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rosterTime)
	defer cancel()
	roster, err := w.config.RosterPosition(ctx)
	if err != nil {
		w.metrics.rosterErrors.Inc()
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes.prune(roster)
	return nil
}
