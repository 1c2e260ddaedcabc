package jetstream

import (
	"context"
	"fmt"
	"time"
)

// followCheck is how often a loop that follows the feed moves the broker's ack floor to where it stands, and how
// long it trusts a silent feed: another owner may write.
const followCheck = 5 * time.Second

// fed reports whether the feed has what this loop wants next, or will have it.
func (l *Loop) fed() bool { return l.c.Feed != nil && l.next != l.doubted && l.c.Feed.covers(l.next) }

// follow consumes from the feed until it no longer has what comes next.
func (l *Loop) follow(ctx context.Context) error {
	check := time.NewTicker(followCheck)
	defer check.Stop()
	floor := l.next
	for {
		entries, last, moved, ok := l.c.Feed.take(l.next, l.c.Batch)
		if !ok {
			return errTurn
		}
		if len(entries) > 0 {
			if err := l.handle(ctx, &loopBatchState{entries: entries}); err != nil {
				return err
			}
			l.done(entries, last-entries[len(entries)-1].StreamSeq)
			l.metrics.followed.Add(float64(len(entries)))
			if err := l.gather(ctx, len(entries)); err != nil {
				return err
			}
			continue
		}
		select {
		case <-moved:
		case <-check.C:
			if err := l.checkFeed(ctx, &floor); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// checkFeed compares a feed that has nothing with the log, and moves the ack floor, which serves figures.
func (l *Loop) checkFeed(ctx context.Context, floor *uint64) error {
	s, err := streamState(ctx, l.c.NC, LogStream(l.c.Token))
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	if s.Last >= l.next { // a fence, a group on its way to the feed, or another owner's
		l.doubted = l.next
		return errTurn
	}
	if *floor == l.next {
		return nil
	}
	if _, err := l.js.ResetConsumerToSequence(ctx, LogStream(l.c.Token), l.c.Consumer, l.next); err != nil {
		return fmt.Errorf("follow: reset to %d: %w", l.next, err)
	}
	*floor = l.next
	return nil
}
