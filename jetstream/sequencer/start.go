package sequencer

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// start takes the lease, fixes the log's end and builds the tail index up to it.
func (o *owner) start(ctx context.Context) error {
	began := time.Now()
	term, err := o.s.c.Lease.Take(ctx)
	if err != nil {
		return err
	}
	end, err := o.fixEnd(ctx, term)
	if err != nil {
		return err
	}
	clear(o.committer.terms)
	var applied, sealed chat.Mark
	err = o.patient(ctx, "the store", func(ctx context.Context) (err error) {
		applied, sealed, err = o.position(ctx)
		return err
	})
	if err != nil {
		return err
	}
	var last chat.ID
	err = o.patient(ctx, "the log", func(ctx context.Context) (err error) {
		o.s.view.tail = newTailIndex() // nobody else looks before the start has finished
		last, err = o.readTail(ctx, applied, sealed, end)
		return err
	})
	if err != nil {
		return err
	}
	o.s.Stored(applied, sealed)
	o.committer.last = end
	o.committer.mark = chat.Mark{Generation: o.s.c.Token.Generation, StreamSeq: end, ID: last}
	o.s.mark.set(o.committer.mark)
	o.s.m.watermark.Set(float64(end))
	o.s.m.term.Set(float64(o.committer.term))
	o.s.m.tail.Set(float64(o.s.view.tail.len()))
	o.s.c.Log.Info("partition owned", slog.String("partition", o.s.c.Token.String()), slog.Uint64("term", o.committer.term),
		slog.Uint64("end", end), slog.Int("tail", o.s.view.tail.len()), slog.Duration("took", time.Since(began)))
	return nil
}

// fixEnd makes the log's end final and durable. With the data folder's lock in hand no former owner can
// have anything in flight: what a barrier has synced is the end. Otherwise a fence makes it so.
func (o *owner) fixEnd(ctx context.Context, term uint64) (end uint64, err error) {
	if o.s.c.Exclusive {
		return o.fixEndAlone(ctx, term)
	}
	end, err = o.committer.fence(ctx, term)
	if err == nil {
		o.s.m.takeovers.WithLabelValues("start").Inc()
		return end, o.committer.barrier(ctx)
	}
	if ctx.Err() != nil {
		return 0, err
	}
	o.s.c.Log.Warn("first fence failed: taking over", slog.String("partition", o.s.c.Token.String()), slog.Any("error", err))
	return o.committer.takeOver(ctx, "start")
}

func (o *owner) fixEndAlone(ctx context.Context, term uint64) (end uint64, err error) {
	k := o.committer
	k.term = term
	if err := k.newInbox(); err != nil {
		return 0, err
	}
	if err := k.barrier(ctx); err != nil {
		return 0, err
	}
	err = o.patient(ctx, "the log", func(ctx context.Context) (err error) {
		if err := k.checkTerm(ctx); err != nil {
			return err
		}
		end, err = k.s.c.Reader.LastFromLeader(ctx, k.s.c.Token)
		return err
	})
	return end, err
}

// patient repeats what passes by itself: an outage of the store or of the broker.
func (o *owner) patient(ctx context.Context, what string, do func(context.Context) error) error {
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		err := do(ctx)
		if err == nil || chat.KindOf(err) != chat.Unavailable {
			return err
		}
		o.s.c.Log.Warn("start waits", slog.String("partition", o.s.c.Token.String()), slog.String("for", what), slog.Any("error", err))
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

func (o *owner) position(ctx context.Context) (applied, sealed chat.Mark, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	applied, sealed, err = o.s.c.Store.Position(ctx, o.s.c.Token.Partition)
	if err != nil {
		err = passing(ctx, fmt.Errorf("position of the store: %w", err))
	}
	return applied, sealed, err
}

// readTail indexes every record above the store's sealed position and finds the highest id in use. It
// returns the id of the record at end, 0 for a fence.
func (o *owner) readTail(ctx context.Context, applied, sealed chat.Mark, end uint64) (last chat.ID, err error) {
	c := &o.s.c
	first, err := c.Reader.First(ctx, c.Token)
	if err != nil {
		return 0, err
	}
	from, err := tailFrom(c.Token.Generation, applied, sealed, first, end)
	if err != nil {
		return 0, err
	}
	o.lastID = max(applied.ID, sealed.ID)
	if sealed.Generation == c.Token.Generation && sealed.StreamSeq == end {
		last = sealed.ID
	}
	if from <= end {
		err = c.Reader.Scan(ctx, c.Token, from, end, func(entries []chat.Entry) error {
			for i := range entries {
				last = entries[i].ID
				o.index(&entries[i])
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	if o.s.view.tail.len() > 0 || o.lastID > 0 {
		return last, nil
	}
	return last, o.newestID(ctx, first, min(from-1, end))
}

func (o *owner) index(e *chat.Entry) {
	if e.Kind == chat.KindFence {
		return
	}
	o.lastID = max(o.lastID, e.ID)
	o.s.view.tail.add(e)
}

// tailFrom is the first stream sequence to read, if log and store fit.
func tailFrom(generation uint32, applied, sealed chat.Mark, first, end uint64) (from uint64, err error) {
	if max(applied.Generation, sealed.Generation) > generation {
		return 0, fmt.Errorf("%w: the store has generation %d, the log %d", ErrLog, max(applied.Generation, sealed.Generation), generation)
	}
	for _, m := range []chat.Mark{applied, sealed} {
		if m.Generation == generation && m.StreamSeq > end {
			return 0, fmt.Errorf("%w: the store has %d, the log ends at %d", ErrLog, m.StreamSeq, end)
		}
	}
	from = 1
	if sealed.Generation == generation {
		from = sealed.StreamSeq + 1
	}
	if first > from {
		return 0, fmt.Errorf("%w: the store has sealed %d, the log begins at %d", ErrLog, from-1, first)
	}
	return from, nil
}

// newestID looks for the newest record at or below a sequence that holds fences: the store's position says
// no id when it ends with fences.
func (o *owner) newestID(ctx context.Context, first, below uint64) error {
	for below >= first && below > 0 && o.lastID == 0 {
		from := first
		if below > first+fenceLength {
			from = below - fenceLength
		}
		err := o.s.c.Reader.Scan(ctx, o.s.c.Token, from, below, func(entries []chat.Entry) error {
			for i := range entries {
				o.lastID = max(o.lastID, entries[i].ID)
			}
			return nil
		})
		if err != nil {
			return err
		}
		below = from - 1
	}
	return nil
}
