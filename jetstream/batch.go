package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/pkg/chat"
)

// loopBatchState is a batch on its way through a loop's handler.
type loopBatchState struct {
	entries    []chat.Entry
	messages   []*nats.Msg // as they came, parallel to entries; none when the feed gave them
	unreadable []int       // indexes of entries of which only the headers could be read
	reasons    []string    // parallel to unreadable
}

// add decodes a message. A message, edit or delete that can not be read goes on as what its headers tell
// and into the dead letters; a record of a kind that changes a conversation's state ends the loop.
func (b *loopBatchState) add(m *nats.Msg, generation uint32, seq uint64) error {
	e, err := DecodeEntry(m.Subject, m.Header, m.Data, generation, seq)
	if err != nil {
		if !stateless(e.Kind) {
			return fmt.Errorf("%w: %w", ErrRecord, err)
		}
		b.unreadable = append(b.unreadable, len(b.entries))
		b.reasons = append(b.reasons, err.Error())
	}
	b.entries = append(b.entries, e)
	b.messages = append(b.messages, m)
	return nil
}

// message is an entry as it stands in the log.
func (b *loopBatchState) message(t Token, at int) *nats.Msg {
	if b.messages == nil {
		return EncodeEntry(t, &b.entries[at])
	}
	return b.messages[at]
}

func (b *loopBatchState) last() uint64 { return b.entries[len(b.entries)-1].StreamSeq }

// handle returns when the handler has taken the batch, or with ctx's error.
func (l *Loop) handle(ctx context.Context, b *loopBatchState) error {
	err := l.insist(ctx, b.last(), func() error {
		if l.c.Gate == nil {
			return nil
		}
		return l.c.Gate.WaitDurable(ctx, b.last())
	})
	if err != nil {
		return err
	}
	for i, at := range b.unreadable {
		if err := l.bury(ctx, b, at, b.reasons[i]); err != nil {
			return err
		}
	}
	b.unreadable = nil
	return l.insist(ctx, b.last(), func() error {
		for {
			err := l.c.Handler.Handle(ctx, b.entries)
			at, reason, ok := l.verdict(b, err)
			if !ok {
				return err
			}
			if err := l.bury(ctx, b, at, reason); err != nil {
				return err
			}
		}
	})
}

// verdict finds the entry that the handler condemns.
func (l *Loop) verdict(b *loopBatchState, err error) (at int, reason string, ok bool) {
	var poison interface {
		Poison() (streamSeq uint64, reason string)
	}
	if !errors.As(err, &poison) {
		return 0, "", false
	}
	seq, reason := poison.Poison()
	first := b.entries[0].StreamSeq
	if seq < first || seq > b.last() || seq == l.condemned {
		return 0, "", false
	}
	l.condemned = seq
	return int(seq - first), reason, true
}

// bury puts an entry into the dead letters, durably, and tells the handler.
func (l *Loop) bury(ctx context.Context, b *loopBatchState, at int, reason string) error {
	e, m := b.entries[at], b.message(l.c.Token, at)
	err := l.insist(ctx, e.StreamSeq, func() error {
		if err := putDead(ctx, l.js, l.c.Consumer, l.c.Token, m, e.StreamSeq, reason); err != nil {
			return err
		}
		if l.c.Barrier == nil {
			return nil
		}
		return l.c.Barrier.Sync(ctx)
	})
	if err != nil {
		return err
	}
	l.metrics.dead.Inc()
	l.c.Log.Error("record went to the dead letters", slog.String("consumer", l.c.Consumer), slog.String("partition", l.c.Token.String()),
		slog.Uint64("stream_seq", e.StreamSeq), slog.String("conversation", string(e.ConversationID)), slog.String("reason", reason))
	l.c.Handler.Quarantine(e, reason)
	return nil
}

// insist tries until it succeeds or ctx ends, ever more slowly.
func (l *Loop) insist(ctx context.Context, seq uint64, try func() error) error {
	for wait := leastWait; ; wait = min(2*wait, longestWait) {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.metrics.retries.Inc()
		l.c.Log.Warn("batch will be tried again", slog.String("consumer", l.c.Consumer), slog.String("partition", l.c.Token.String()),
			slog.Uint64("stream_seq", seq), slog.Duration("wait", wait), slog.Any("error", err))
		l.measure(ctx)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// measure keeps the lag true while a batch does not get through.
func (l *Loop) measure(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if s, err := streamState(ctx, l.c.NC, LogStream(l.c.Token)); err == nil {
		l.metrics.lag.Set(float64(s.Last - min(l.handled.Load(), s.Last)))
	}
}
