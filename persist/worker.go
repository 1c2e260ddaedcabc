package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
)

// Config is what a Worker needs. Synced, OnStored, Reg and Log may be nil.
type Config struct {
	Store     Store
	Partition int
	// OnStored hears both marks after each write and each seal, never going back. It must not block.
	OnStored func(partition int, applied, sealed chat.Mark)
	// Synced makes everything written before its call survive a power cut; nil: the store syncs itself.
	Synced func(context.Context) error
	Every  time.Duration // between seals; 0 means a second
	Reg    prometheus.Registerer
	Log    *slog.Logger
}

// Worker stores one partition. The consumer loop calls Handle and Quarantine, one call at a time; Run
// seals beside it.
type Worker struct {
	config  Config
	log     *slog.Logger
	metrics *workerMetrics

	// Owned by the caller of Handle and Quarantine.
	quarantined map[place]string
	checked     chat.Mark // the last entry whose term was checked
	term        uint64    // of that entry

	mu      sync.Mutex // guards what follows, and orders the calls of OnStored
	known   bool       // both marks have been read from the store
	applied chat.Mark
	sealed  chat.Mark
}

// place names an entry of the log.
type place struct {
	generation uint32
	streamSeq  uint64
}

// NewWorker makes a worker that has done nothing yet.
func NewWorker(c Config) *Worker {
	if c.Every <= 0 {
		c.Every = time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Worker{
		config: c, log: c.Log.With(slog.Int("partition", c.Partition)), metrics: newWorkerMetrics(c.Reg, c.Partition),
		quarantined: map[place]string{},
	}
}

// poison is the verdict on one entry that can never be stored while its neighbours can.
type poison struct {
	streamSeq uint64
	cause     error
}

func (p *poison) Error() string {
	return fmt.Sprintf("entry %d can not be stored: %v", p.streamSeq, p.cause)
}

func (p *poison) Unwrap() error { return p.cause }

// Poison names the entry and the reason, for the dead-letter stream.
func (p *poison) Poison() (streamSeq uint64, reason string) { return p.streamSeq, p.cause.Error() }

// Handle stores entries, ascending in the log, and moves the position to the last of them. When one of
// them can never be stored the error names it (Poison), and those before it are stored; when that one
// changes members, settings or preferences the error is permanent but names none, because no placeholder may stand
// for it. Any other error passes: the same entries are handed again.
func (w *Worker) Handle(ctx context.Context, entries []chat.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if err := w.learn(ctx); err != nil {
		return err
	}
	w.checkTerms(ctx, entries)
	began := time.Now()
	err := w.write(ctx, entries)
	if isFault(err) {
		err = w.isolate(ctx, entries)
	}
	if err != nil {
		w.metrics.failures.Inc()
		return fmt.Errorf("store partition %d: %w", w.config.Partition, err)
	}
	w.metrics.batches.Inc()
	w.metrics.entries.Add(float64(len(entries)))
	w.metrics.seconds.Observe(time.Since(began).Seconds())
	return nil
}

// Quarantine has a placeholder stored for e when it is handed again.
func (w *Worker) Quarantine(e chat.Entry, reason string) {
	w.quarantined[place{e.Generation, e.StreamSeq}] = reason
	w.metrics.quarantined.Inc()
}

func (w *Worker) write(ctx context.Context, entries []chat.Entry) error {
	last := entries[len(entries)-1]
	b := Batch{Entries: entries, Position: chat.Mark{Generation: last.Generation, StreamSeq: last.StreamSeq, ID: last.ID}}
	for i := range entries {
		reason, ok := w.quarantined[place{entries[i].Generation, entries[i].StreamSeq}]
		if !ok {
			continue
		}
		if b.Quarantined == nil {
			b.Quarantined = map[uint64]string{}
		}
		b.Quarantined[entries[i].StreamSeq] = reason
	}
	if err := w.config.Store.Write(ctx, w.config.Partition, b); err != nil {
		return err
	}
	for seq := range b.Quarantined {
		delete(w.quarantined, place{last.Generation, seq})
	}
	w.stored(b.Position, chat.Mark{})
	return nil
}

// isFault tells whether err is one of the data. Doubt is no fault: an outage must not cost a record.
func isFault(err error) bool {
	return err != nil && chat.KindOf(err) != chat.Unavailable &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// isolate stores what comes before the first entry at fault and gives the verdict on that one.
func (w *Worker) isolate(ctx context.Context, entries []chat.Entry) error {
	for len(entries) > 1 {
		half := entries[:len(entries)/2]
		err := w.write(ctx, half)
		switch {
		case err == nil:
			entries = entries[len(half):]
		case isFault(err):
			entries = half
		default:
			return err
		}
	}
	err := w.write(ctx, entries)
	if !isFault(err) {
		return err // stored after all, or the store is away
	}
	return w.judge(ctx, entries[0], err)
}

// judge decides what a fault of a single entry means. That the store takes a batch without entries shows
// that the fault is the entry's.
func (w *Worker) judge(ctx context.Context, e chat.Entry, fault error) error {
	if err := w.config.Store.Write(ctx, w.config.Partition, Batch{}); err != nil {
		if isFault(err) {
			return fmt.Errorf("%w: %w", chat.Errorf(chat.Unavailable, "the store refuses every write"), err)
		}
		return err
	}
	_, placeholder := w.quarantined[place{e.Generation, e.StreamSeq}]
	if placeholder || changesState(e.Kind) {
		w.metrics.stuck.Inc()
		w.log.ErrorContext(ctx, "partition stands still: a record that no placeholder may stand for can not be stored",
			slog.String("conversation_id", string(e.ConversationID)), slog.Uint64("seq", uint64(e.Seq)),
			slog.String("kind", string(e.Kind)), slog.Uint64("stream_seq", e.StreamSeq), slog.String("error", fault.Error()))
		return fmt.Errorf("entry %d (%s) can not be stored and must not be skipped: %w", e.StreamSeq, e.Kind, fault)
	}
	return &poison{streamSeq: e.StreamSeq, cause: fault}
}

// changesState tells which kinds a conversation's state is made of: without them everything after would be wrong.
func changesState(k chat.RecordKind) bool {
	return k == chat.KindCreate || k == chat.KindMember || k == chat.KindSettings || k == chat.KindPreference
}

// checkTerms raises the alarm when a former owner's record stands after a newer owner's: the fence did
// not hold. Entries that come again were checked before.
func (w *Worker) checkTerms(ctx context.Context, entries []chat.Entry) {
	for i := range entries {
		e := &entries[i]
		at := chat.Mark{Generation: e.Generation, StreamSeq: e.StreamSeq, ID: e.ID}
		if !w.checked.Before(at) {
			continue
		}
		if at.Generation != w.checked.Generation {
			w.term = 0
		}
		w.checked = at
		if e.Term < w.term {
			w.metrics.terms.Inc()
			w.log.ErrorContext(ctx, "term went back: two owners wrote to the log", slog.Uint64("stream_seq", e.StreamSeq),
				slog.Uint64("term", e.Term), slog.Uint64("newer_term", w.term))
			continue
		}
		w.term = e.Term
	}
}

// Run seals whenever something new was applied, until ctx ends.
func (w *Worker) Run(ctx context.Context) error {
	tick := time.NewTicker(w.config.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.seal(ctx); err != nil && ctx.Err() == nil {
			w.metrics.sealFailures.Inc()
			w.log.ErrorContext(ctx, "seal failed", slog.String("error", err.Error()))
		}
	}
}

func (w *Worker) seal(ctx context.Context) error {
	if err := w.learn(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	idle := !w.sealed.Before(w.applied)
	w.mu.Unlock()
	if idle {
		return nil
	}
	if err := w.config.Store.Seal(ctx, w.config.Partition, w.config.Synced); err != nil {
		return err
	}
	applied, sealed, err := w.config.Store.Position(ctx, w.config.Partition)
	if err != nil {
		return err
	}
	w.metrics.seals.Inc()
	w.stored(applied, sealed)
	return nil
}

// learn reads the store's marks once, so that what is told to others is never below them.
func (w *Worker) learn(ctx context.Context) error {
	w.mu.Lock()
	known := w.known
	w.mu.Unlock()
	if known {
		return nil
	}
	applied, sealed, err := w.config.Store.Position(ctx, w.config.Partition)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.known = true
	w.mu.Unlock()
	w.stored(applied, sealed)
	return nil
}

// stored moves the marks forward and tells them.
func (w *Worker) stored(applied, sealed chat.Mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.applied.Before(applied) {
		w.applied = applied
	}
	if w.sealed.Before(sealed) {
		w.sealed = sealed
	}
	w.metrics.applied.Set(float64(w.applied.StreamSeq))
	w.metrics.sealed.Set(float64(w.sealed.StreamSeq))
	if w.config.OnStored != nil {
		w.config.OnStored(w.config.Partition, w.applied, w.sealed)
	}
}
