package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	loopBatch   = 500
	leastWait   = 100 * time.Millisecond // between two tries of the same thing
	longestWait = 5 * time.Second
)

// Handler is what a role does with the log.
type Handler interface {
	// Handle takes a batch: ascending, contiguous stream sequences, fences included. It must be
	// idempotent. An error with Poison() (streamSeq uint64, reason string) condemns one entry; after any
	// other error the same batch comes again.
	Handle(ctx context.Context, batch []chat.Entry) error
	// Quarantine tells that e stands in the dead letters; the batch that holds it comes (again) to Handle.
	Quarantine(e chat.Entry, reason string)
}

// LoopConfig is one consumer of one log.
type LoopConfig struct {
	NC       *nats.Conn
	Token    Token
	Consumer string // a durable consumer that Ensure made
	Handler  Handler
	// Start gives the first stream sequence wanted, from the role's own position. nil: one past the ack
	// floor, and what was trimmed meanwhile is counted as missed.
	Start func(ctx context.Context) (uint64, error)
	// Gate holds a batch back until its last record is durable. nil: none is needed.
	Gate interface {
		WaitDurable(ctx context.Context, streamSeq uint64) error
	}
	// Feed gives what the owner in this process has written, so that it need not come from the broker. nil: all
	// of it does. It needs a Start: the broker's ack floor trails while the feed is followed.
	Feed    *Feed
	Barrier Barrier // makes a dead letter durable before it is passed over; nil: the broker syncs itself
	Batch   int     // 0: 500
	// Gather is a pause after a batch that was not full: a consumer whose work costs by the batch does less of
	// it, and lags by so much. 0: none.
	Gather time.Duration
	Reg    prometheus.Registerer
	Log    *slog.Logger
}

// Faults that end a loop: the data is not what it must be.
var (
	ErrTrimmed  = errors.New("log was trimmed above position")
	ErrLogShort = errors.New("log ends below position")
	ErrHole     = errors.New("hole in the log")
	ErrRecord   = errors.New("record can not be read")
)

// errTurn leads from one way to consume to the other; the loop itself goes on.
var errTurn = errors.New("the loop turns from the broker to the feed, or back")

// Loop is the one way in which a role consumes a log: in order, each entry at least once, nothing
// skipped. Only one loop of a consumer may run at a time (a lease sees to it).
type Loop struct {
	c       LoopConfig
	metrics loopMetrics
	handled atomic.Uint64 // stream sequence

	// Owned by Run.
	js     natsjs.JetStream
	next   uint64 // stream sequence wanted next; 0 before the first reset
	silent int    // pulls in a row that ended without a message that is there

	doubted uint64 // stream sequence that the log has and the feed had not: it comes from the broker

	condemned uint64 // what the handler condemned last; condemned again, it is an ordinary failure
}

// NewLoop makes a loop that has not begun.
func NewLoop(c LoopConfig) *Loop {
	if c.Batch == 0 {
		c.Batch = loopBatch
	}
	return &Loop{c: c, metrics: newLoopMetrics(c.Reg, LogStream(c.Token), c.Consumer)}
}

// Handled is the stream sequence up to which everything has been handled since Run began; 0 before.
func (l *Loop) Handled() uint64 { return l.handled.Load() }

// Run consumes until ctx ends, or until it meets a fault of the data (ErrTrimmed, ErrLogShort, ErrHole,
// ErrRecord). Outages are waited out, for ever.
func (l *Loop) Run(ctx context.Context) error {
	js, err := natsjs.New(l.c.NC)
	if err != nil {
		return fmt.Errorf("consume %s as %s: %w", l.c.Token, l.c.Consumer, err)
	}
	l.js = js
	for wait := leastWait; ; wait = min(2*wait, longestWait) {
		before := l.handled.Load()
		err := l.session(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fatal(err) {
			return fmt.Errorf("consume %s as %s: %w", l.c.Token, l.c.Consumer, err)
		}
		if errors.Is(err, errTurn) {
			wait = leastWait / 2 // doubled below
			continue
		}
		if l.handled.Load() != before {
			wait = leastWait
		}
		l.metrics.resets.Inc()
		l.c.Log.Warn("consumer begins again", slog.String("consumer", l.c.Consumer), slog.String("partition", l.c.Token.String()),
			slog.Duration("wait", wait), slog.Any("error", err))
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func fatal(err error) bool {
	return errors.Is(err, ErrTrimmed) || errors.Is(err, ErrLogShort) || errors.Is(err, ErrHole) || errors.Is(err, ErrRecord) ||
		errors.Is(err, nats.ErrConnectionClosed)
}

// sleep waits or returns ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// session follows the feed where it can, or resets the consumer and consumes, until something is wrong or the
// other way is open.
func (l *Loop) session(ctx context.Context) error {
	if l.next != 0 && l.fed() {
		return l.follow(ctx)
	}
	if err := l.reset(ctx); err != nil {
		return err
	}
	p, err := openPuller(l.c.NC, LogStream(l.c.Token), l.c.Consumer, l.c.Batch)
	if err != nil {
		return err
	}
	defer p.close()
	for {
		messages, err := p.next(ctx)
		if len(messages) > 0 {
			l.silent = 0
			if err := l.take(ctx, p, messages); err != nil {
				return err
			}
			if err := l.gather(ctx, len(messages)); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if l.fed() {
			return errTurn
		}
		if len(messages) == 0 {
			if err := l.idle(ctx); err != nil {
				return err
			}
		}
	}
}

func (l *Loop) gather(ctx context.Context, came int) error {
	if l.c.Gather == 0 || came >= l.c.Batch {
		return nil
	}
	return sleep(ctx, l.c.Gather)
}

// idle judges a pull that brought nothing.
func (l *Loop) idle(ctx context.Context) error {
	s, err := streamState(ctx, l.c.NC, LogStream(l.c.Token))
	if err != nil {
		return err
	}
	l.metrics.lag.Set(float64(s.Last + 1 - min(l.next, s.Last+1)))
	if s.Last < l.next {
		l.silent = 0
		return nil
	}
	if l.silent++; l.silent < idleEnds {
		return nil
	}
	l.silent = 0
	return fmt.Errorf("sequences %d to %d do not arrive", l.next, s.Last)
}

// reset makes the consumer deliver from where this loop stands. Without it an AckAll consumer goes on
// after what a predecessor had fetched, and skips it.
func (l *Loop) reset(ctx context.Context) error {
	want, err := l.begin(ctx)
	if err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	// Read after the position: the log grows, so a position is never above what is read here by mere haste.
	s, err := streamState(ctx, l.c.NC, LogStream(l.c.Token))
	if err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	first := s.First
	if s.Messages == 0 {
		first = s.Last + 1
	}
	if want == 0 {
		want = first // it has never handled anything: nothing was missed
	}
	if l.c.Start == nil {
		want = min(want, s.Last+1) // an ack floor may outlive a tail that was not durable
	}
	if want > s.Last+1 {
		return fmt.Errorf("%w: wanted %d, the last is %d", ErrLogShort, want, s.Last)
	}
	if want < first {
		if l.c.Start != nil {
			return fmt.Errorf("%w: wanted %d, the first is %d", ErrTrimmed, want, first)
		}
		l.metrics.missed.Add(float64(first - want))
		l.c.Log.Warn("records were trimmed before they were handled", slog.String("consumer", l.c.Consumer),
			slog.String("partition", l.c.Token.String()), slog.Uint64("from", want), slog.Uint64("before", first))
		want = first
	}
	if _, err := l.js.ResetConsumerToSequence(ctx, LogStream(l.c.Token), l.c.Consumer, want); err != nil {
		return fmt.Errorf("reset to %d: %w", want, err)
	}
	l.next = want
	l.handled.Store(want - 1)
	l.metrics.handledTo.Set(float64(want - 1))
	l.metrics.lag.Set(float64(s.Last + 1 - want))
	return nil
}

// begin is where a loop stands, or starts: the role's position, or the ack floor; 0 when it has neither.
func (l *Loop) begin(ctx context.Context) (uint64, error) {
	if l.next != 0 {
		return l.next, nil
	}
	if l.c.Start != nil {
		want, err := l.c.Start(ctx)
		if err != nil {
			return 0, fmt.Errorf("position: %w", err)
		}
		return max(want, 1), nil
	}
	c, err := l.js.Consumer(ctx, LogStream(l.c.Token), l.c.Consumer)
	if err != nil {
		return 0, fmt.Errorf("ack floor: %w", err)
	}
	floor := c.CachedInfo().AckFloor.Stream
	if floor == 0 {
		return 0, nil
	}
	return floor + 1, nil
}

// take handles what came, up to the first hole.
func (l *Loop) take(ctx context.Context, p *puller, messages []*nats.Msg) error {
	b := &loopBatchState{}
	want := l.next
	var pending uint64
	var hole error
	for _, m := range messages {
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("message without its place: %w", err)
		}
		seq := meta.Sequence.Stream
		if seq < want {
			l.metrics.redeliver.Inc()
			continue
		}
		if seq > want {
			hole = l.hole(ctx, want, seq)
			break
		}
		if err := b.add(m, l.c.Token.Generation, seq); err != nil {
			return err
		}
		pending = meta.NumPending
		want++
	}
	if len(b.entries) > 0 {
		if err := l.handle(ctx, b); err != nil {
			return err
		}
		p.ack(b.messages[len(b.messages)-1])
		l.done(b.entries, pending+uint64(p.buffered()))
	}
	return hole
}

// hole judges a sequence that did not come. What the leader has was lost on the way, or another
// process's pull has it: a reset brings it again. What it does not have is missing.
func (l *Loop) hole(ctx context.Context, want, got uint64) error {
	_, err := leaderGet(ctx, l.c.NC, LogStream(l.c.Token), getRequest{Seq: want})
	if err == nil {
		return fmt.Errorf("sequence %d did not arrive, %d did", want, got)
	}
	if !errors.Is(err, errNoMessage) {
		return err
	}
	s, err := streamState(ctx, l.c.NC, LogStream(l.c.Token))
	if err != nil {
		return err
	}
	if s.First > want {
		return fmt.Errorf("sequence %d was trimmed", want) // the reset decides what that means
	}
	return fmt.Errorf("%w: after %d comes %d", ErrHole, want-1, got)
}

func (l *Loop) done(entries []chat.Entry, lag uint64) {
	last := entries[len(entries)-1].StreamSeq
	l.next = last + 1
	l.handled.Store(last)
	l.metrics.handled.Add(float64(len(entries)))
	l.metrics.batches.Inc()
	l.metrics.handledTo.Set(float64(last))
	l.metrics.lag.Set(float64(lag))
}
