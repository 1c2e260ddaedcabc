package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	trimKeep  = 72 * time.Hour
	trimEvery = time.Minute
)

// TrimmerConfig is the trimming of one partition's logs.
type TrimmerConfig struct {
	NC    *nats.Conn
	Token Token
	Keep  time.Duration // a record is kept at least so long; 0: 72 h
	Every time.Duration // 0: a minute
	// Floors give how far each of those has come that must not lose records: persist's sealed position,
	// roster's position. Nothing is trimmed while one of them fails.
	Floors []func(ctx context.Context) (chat.Mark, error)
	Now    func() time.Time
	Reg    prometheus.Registerer
	Log    *slog.Logger
}

// Trimmer purges a partition's log from the low end, by sequence. The record at the lowest floor stays,
// so that a position can be checked against the log. It deletes the partition's logs of old generations.
type Trimmer struct {
	c       TrimmerConfig
	metrics trimMetrics
}

// NewTrimmer makes a trimmer that has not begun.
func NewTrimmer(c TrimmerConfig) *Trimmer {
	if c.Keep == 0 {
		c.Keep = trimKeep
	}
	if c.Every == 0 {
		c.Every = trimEvery
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Trimmer{c: c, metrics: newTrimMetrics(c.Reg, LogStream(c.Token))}
}

// Run trims now and then; a failure is counted, logged and tried again the next time.
func (t *Trimmer) Run(ctx context.Context) error {
	return trimOften(ctx, t.c.Every, t.Trim, t.metrics, t.c.Log.With(slog.String("partition", t.c.Token.String())))
}

func trimOften(ctx context.Context, every time.Duration, trim func(context.Context) error, metrics trimMetrics, log *slog.Logger) error {
	for {
		if err := trim(ctx); err != nil && ctx.Err() == nil {
			metrics.failures.Inc()
			log.Warn("stream was not trimmed", slog.Any("error", err))
		}
		if err := sleep(ctx, every); err != nil {
			return err
		}
	}
}

// Trim trims once.
func (t *Trimmer) Trim(ctx context.Context) error {
	floor, err := t.floor(ctx)
	if err != nil {
		return fmt.Errorf("trim %s: %w", t.c.Token, err)
	}
	if err := t.trimPresent(ctx, floor); err != nil {
		return fmt.Errorf("trim %s: %w", t.c.Token, err)
	}
	if err := t.deleteOld(ctx, floor); err != nil {
		return fmt.Errorf("trim %s: %w", t.c.Token, err)
	}
	return nil
}

// floor is the lowest of all floors. Without any floor nothing may go.
func (t *Trimmer) floor(ctx context.Context) (chat.Mark, error) {
	var lowest chat.Mark
	for i, f := range t.c.Floors {
		m, err := f(ctx)
		if err != nil {
			return chat.Mark{}, fmt.Errorf("floor %d: %w", i, err)
		}
		if i == 0 || m.Before(lowest) {
			lowest = m
		}
	}
	return lowest, nil
}

func (t *Trimmer) trimPresent(ctx context.Context, floor chat.Mark) error {
	low := floor.StreamSeq
	if floor.Generation != t.c.Token.Generation {
		low = 0 // those of an older generation have not begun this log
	}
	return trimStream(ctx, t.c.NC, LogStream(t.c.Token), low, t.c.Now().Add(-t.c.Keep), t.metrics)
}

// trimStream purges below floor what is older than since; the message at floor stays, and the last one.
func trimStream(ctx context.Context, nc *nats.Conn, stream string, floor uint64, since time.Time, metrics trimMetrics) error {
	s, err := streamState(ctx, nc, stream)
	if err != nil {
		return err
	}
	metrics.bytes.Set(float64(s.Bytes))
	metrics.first.Set(float64(s.First))
	if s.Messages == 0 || floor <= s.First {
		return nil
	}
	young, err := firstSince(ctx, nc, stream, since, s.Last)
	if err != nil {
		return err
	}
	keep := min(floor, young, s.Last)
	if keep <= s.First {
		return nil
	}
	if err := purgeBelow(ctx, nc, stream, keep); err != nil {
		return err
	}
	metrics.trimmed.Set(float64(keep))
	metrics.first.Set(float64(keep))
	return nil
}

// firstSince is the first sequence stored at or after the time; none when there is none.
func firstSince(ctx context.Context, nc *nats.Conn, stream string, at time.Time, none uint64) (uint64, error) {
	found := none
	err := directGet(ctx, nc, stream, getRequest{StartTime: &at, Batch: 1}, func(m stored) error {
		found = m.Seq
		return nil
	})
	return found, err
}

// purgeBelow removes every message below keep.
func purgeBelow(ctx context.Context, nc *nats.Conn, stream string, keep uint64) error {
	var answer struct {
		Success bool `json:"success"`
	}
	in := struct {
		Seq uint64 `json:"seq"`
	}{keep}
	if err := request(ctx, nc, "$JS.API.STREAM.PURGE."+stream, in, &answer); err != nil {
		return err
	}
	if !answer.Success {
		return fmt.Errorf("purge %s below %d: refused", stream, keep)
	}
	return nil
}

// deleteOld deletes this partition's logs of generations that every floor has left behind and whose
// last message is older than Keep.
func (t *Trimmer) deleteOld(ctx context.Context, floor chat.Mark) error {
	names, err := logStreams(ctx, t.c.NC)
	if err != nil {
		return err
	}
	for _, old := range names {
		if old.Partition != t.c.Token.Partition || old.Generation >= floor.Generation || old.Generation >= t.c.Token.Generation {
			continue
		}
		s, err := streamState(ctx, t.c.NC, LogStream(old))
		if err != nil {
			return err
		}
		if s.Messages > 0 && t.c.Now().Sub(s.LastTime) < t.c.Keep {
			continue
		}
		if err := request(ctx, t.c.NC, "$JS.API.STREAM.DELETE."+LogStream(old), nil, &struct{}{}); err != nil && !errors.Is(err, errNoStream) {
			return err
		}
		t.c.Log.Info("log of an old generation deleted", slog.String("partition", old.String()))
	}
	return nil
}

// logStreams lists the logs that the broker has, of every generation.
func logStreams(ctx context.Context, nc *nats.Conn) ([]Token, error) {
	var found []Token
	for offset := 0; ; {
		var answer struct {
			Total   int      `json:"total"`
			Streams []string `json:"streams"`
		}
		in := struct {
			Offset int `json:"offset"`
		}{offset}
		if err := request(ctx, nc, "$JS.API.STREAM.NAMES", in, &answer); err != nil {
			return nil, err
		}
		for _, name := range answer.Streams {
			if t, ok := parseLogStream(name); ok {
				found = append(found, t)
			}
		}
		offset += len(answer.Streams)
		if len(answer.Streams) == 0 || offset >= answer.Total {
			return found, nil
		}
	}
}

// parseLogStream is the inverse of LogStream.
func parseLogStream(name string) (Token, bool) {
	rest, ok := strings.CutPrefix(name, "LOG_g")
	if !ok {
		return Token{}, false
	}
	g, p, ok := strings.Cut(rest, "p")
	if !ok {
		return Token{}, false
	}
	generation, err := strconv.ParseUint(g, 10, 32)
	if err != nil {
		return Token{}, false
	}
	partition, err := strconv.Atoi(p)
	t := Token{uint32(generation), partition}
	return t, err == nil && partition >= 0 && LogStream(t) == name
}

// CursorTrimmerConfig is the trimming of one cursor bucket.
type CursorTrimmerConfig struct {
	NC        *nats.Conn
	Partition int
	Keep      time.Duration // 0: 72 h
	Every     time.Duration // 0: a minute
	Now       func() time.Time
	Reg       prometheus.Registerer
	Log       *slog.Logger
}

// CursorTrimmer purges cursors that the store has: those that presence's consumer acknowledged and that
// are older than Keep.
type CursorTrimmer struct {
	c       CursorTrimmerConfig
	stream  string
	metrics trimMetrics
}

// NewCursorTrimmer makes a trimmer that has not begun.
func NewCursorTrimmer(c CursorTrimmerConfig) *CursorTrimmer {
	if c.Keep == 0 {
		c.Keep = trimKeep
	}
	if c.Every == 0 {
		c.Every = trimEvery
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	stream := bucketStreamName(CursorBucket(c.Partition))
	return &CursorTrimmer{c: c, stream: stream, metrics: newTrimMetrics(c.Reg, stream)}
}

// Run trims now and then; a failure is counted, logged and tried again the next time.
func (t *CursorTrimmer) Run(ctx context.Context) error {
	return trimOften(ctx, t.c.Every, t.Trim, t.metrics, t.c.Log.With(slog.Int("partition", t.c.Partition)))
}

// Trim trims once.
func (t *CursorTrimmer) Trim(ctx context.Context) error {
	var answer struct {
		AckFloor struct {
			Stream uint64 `json:"stream_seq"`
		} `json:"ack_floor"`
	}
	if err := request(ctx, t.c.NC, "$JS.API.CONSUMER.INFO."+t.stream+"."+ConsumerPresence, nil, &answer); err != nil {
		return fmt.Errorf("trim %s: %w", t.stream, err)
	}
	if err := trimStream(ctx, t.c.NC, t.stream, answer.AckFloor.Stream, t.c.Now().Add(-t.c.Keep), t.metrics); err != nil {
		return fmt.Errorf("trim %s: %w", t.stream, err)
	}
	return nil
}
