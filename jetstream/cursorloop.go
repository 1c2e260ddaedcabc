package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// CursorHandler takes changes of cursors, in the order in which they were written; of several changes
// of one key only the last may come. It must be idempotent; after an error the same batch comes again.
type CursorHandler interface {
	HandleCursors(ctx context.Context, batch []CursorChange) error
}

// CursorLoopConfig is one consumer of one cursor bucket.
type CursorLoopConfig struct {
	NC        *nats.Conn
	Partition int
	Consumer  string // ConsumerPresence or ConsumerFanout
	Handler   CursorHandler
	// Barrier is passed after a batch was fetched and before it is handled. nil: the broker syncs
	// itself, or the handler does it.
	Barrier Barrier
	Batch   int // 0: 500
	Reg     prometheus.Registerer
	Log     *slog.Logger
}

// CursorLoop feeds the changes of a cursor bucket to a handler, each key's last one at least once. The
// bucket forgets what was overwritten, so its sequences have holes by nature.
type CursorLoop struct {
	c       CursorLoopConfig
	stream  string
	metrics loopMetrics
}

// NewCursorLoop makes a loop that has not begun.
func NewCursorLoop(c CursorLoopConfig) *CursorLoop {
	if c.Batch == 0 {
		c.Batch = loopBatch
	}
	stream := bucketStreamName(CursorBucket(c.Partition))
	return &CursorLoop{c: c, stream: stream, metrics: newLoopMetrics(c.Reg, stream, c.Consumer)}
}

// Run consumes until ctx ends. Outages are waited out.
func (l *CursorLoop) Run(ctx context.Context) error {
	for wait := leastWait; ; wait = min(2*wait, longestWait) {
		progress, err := l.session(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, nats.ErrConnectionClosed) {
			return fmt.Errorf("consume %s as %s: %w", l.stream, l.c.Consumer, err)
		}
		if progress {
			wait = leastWait
		}
		l.metrics.resets.Inc()
		l.c.Log.Warn("cursor consumer begins again", slog.String("consumer", l.c.Consumer), slog.String("stream", l.stream),
			slog.Duration("wait", wait), slog.Any("error", err))
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// session goes back to the ack floor and consumes until something is wrong.
func (l *CursorLoop) session(ctx context.Context) (progress bool, err error) {
	js, err := natsjs.New(l.c.NC)
	if err != nil {
		return false, fmt.Errorf("reset: %w", err)
	}
	reset, err := js.ResetConsumer(ctx, l.stream, l.c.Consumer)
	if err != nil {
		return false, fmt.Errorf("reset: %w", err)
	}
	p, err := openPuller(l.c.NC, l.stream, l.c.Consumer, l.c.Batch)
	if err != nil {
		return false, err
	}
	defer p.close()
	taken := max(reset.ResetSeq, 1) - 1 // stream sequence
	silent := 0                         // pulls in a row that ended without a message that is there
	for {
		messages, err := p.next(ctx)
		if len(messages) > 0 {
			if err := l.take(ctx, p, messages, &taken); err != nil {
				return progress, err
			}
			progress, silent = true, 0
		}
		if err != nil {
			return progress, err
		}
		if len(messages) > 0 {
			continue
		}
		s, err := streamState(ctx, l.c.NC, l.stream)
		if err != nil {
			return progress, err
		}
		if s.Last <= taken {
			silent = 0
		} else if silent++; silent >= idleEnds {
			return progress, fmt.Errorf("sequences %d to %d do not arrive", taken+1, s.Last)
		}
	}
}

func (l *CursorLoop) take(ctx context.Context, p *puller, messages []*nats.Msg, taken *uint64) error {
	batch := make([]CursorChange, 0, len(messages))
	var pending uint64
	for _, m := range messages {
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("message without its place: %w", err)
		}
		if meta.Sequence.Stream <= *taken {
			l.metrics.redeliver.Inc()
			continue
		}
		*taken, pending = meta.Sequence.Stream, meta.NumPending
		c, ok, err := decodeCursor(m.Subject, m.Data, *taken)
		if err != nil {
			l.metrics.dead.Inc()
			l.c.Log.Error("cursor can not be read and is passed over", slog.String("stream", l.stream),
				slog.Uint64("stream_seq", *taken), slog.Any("error", err))
		}
		if ok {
			batch = append(batch, c)
		}
	}
	if len(batch) > 0 {
		if err := l.insist(ctx, batch); err != nil {
			return err
		}
	}
	p.ack(messages[len(messages)-1])
	l.metrics.handled.Add(float64(len(batch)))
	l.metrics.batches.Inc()
	l.metrics.handledTo.Set(float64(*taken))
	l.metrics.lag.Set(float64(pending + uint64(p.buffered())))
	return nil
}

// insist tries until it succeeds or ctx ends, ever more slowly.
func (l *CursorLoop) insist(ctx context.Context, batch []CursorChange) error {
	for wait := leastWait; ; wait = min(2*wait, longestWait) {
		err := l.handle(ctx, batch)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.metrics.retries.Inc()
		l.c.Log.Warn("cursors will be tried again", slog.String("consumer", l.c.Consumer), slog.String("stream", l.stream),
			slog.Duration("wait", wait), slog.Any("error", err))
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (l *CursorLoop) handle(ctx context.Context, batch []CursorChange) error {
	if l.c.Barrier != nil {
		if err := l.c.Barrier.Sync(ctx); err != nil {
			return err
		}
	}
	return l.c.Handler.HandleCursors(ctx, batch)
}
