package roster

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

// An idle position is written after this much time or this many entries, whichever comes first.
const (
	idleEvery   = 500 * time.Millisecond
	idleEntries = 20_000
)

// maxQuarantined bounds the entries passed over that are not behind the position yet.
const maxQuarantined = 10_000

// Directory is the part of directory.Store that takes the projection.
type Directory interface {
	Project(ctx context.Context, partition int, rows directory.Projection) error
	Projected(ctx context.Context, partition int) (chat.Mark, error)
}

// Config is what a Worker needs.
type Config struct {
	Directory Directory
	Partition int
	Now       func() time.Time      // nil: time.Now
	Reg       prometheus.Registerer // nil: the metrics stay unregistered
	Log       *slog.Logger          // nil: nothing is logged
}

// Worker projects one partition. Its Handle is called by one loop at a time.
type Worker struct {
	config  Config
	metrics *metrics

	// Owned by the loop that calls Handle.
	written time.Time // when a position was written last
	unsaved int       // entries handled since

	mu          sync.Mutex
	quarantined map[place]bool // guarded by mu
}

type place struct {
	generation uint32
	streamSeq  uint64
}

func placeOf(e *chat.Entry) place { return place{e.Generation, e.StreamSeq} }

// NewWorker makes a Worker.
func NewWorker(c Config) *Worker {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Worker{config: c, metrics: newMetrics(c.Reg, c.Partition), quarantined: map[place]bool{}}
}

// Position is how far the projection surely reaches: where a start begins after.
func (w *Worker) Position(ctx context.Context) (chat.Mark, error) {
	mark, err := w.config.Directory.Projected(ctx, w.config.Partition)
	if err != nil {
		return chat.Mark{}, fmt.Errorf("roster position of partition %d: %w", w.config.Partition, err)
	}
	return mark, nil
}

// Handle projects a batch. An error that is poison names the one entry that can not be projected; any
// other passes, and the same batch is handed again.
func (w *Worker) Handle(ctx context.Context, entries []chat.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	p := w.projection(entries)
	w.unsaved += len(entries)
	if len(p.Conversations) == 0 && len(p.Participants) == 0 && !w.due() {
		return nil
	}
	if err := w.config.Directory.Project(ctx, w.config.Partition, p); err != nil {
		return w.judge(ctx, entries, fmt.Errorf("project partition %d up to %d: %w", w.config.Partition, p.Position.StreamSeq, err))
	}
	w.saved(p)
	return nil
}

// Quarantine has an entry passed over from now on. A start forgets it: handed again, it is judged again.
func (w *Worker) Quarantine(e chat.Entry, reason string) {
	w.metrics.quarantined.WithLabelValues(string(e.Kind)).Inc()
	w.config.Log.Error("record left out of the projection",
		slog.String("conversation", string(e.ConversationID)), slog.Uint64("seq", uint64(e.Seq)),
		slog.Uint64("stream_seq", e.StreamSeq), slog.String("reason", reason))
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.quarantined) < maxQuarantined { // beyond it the entry is judged, and counted, again
		w.quarantined[placeOf(&e)] = true
	}
}

// projection is what a batch changes, and the position after it.
func (w *Worker) projection(entries []chat.Entry) directory.Projection {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := &entries[len(entries)-1]
	p := directory.Projection{Position: markOf(last)}
	for i := range entries {
		if !w.quarantined[placeOf(&entries[i])] {
			project(&p, &entries[i].Record)
		}
	}
	return p
}

func markOf(e *chat.Entry) chat.Mark {
	return chat.Mark{Generation: e.Generation, StreamSeq: e.StreamSeq, ID: e.ID}
}

func (w *Worker) due() bool {
	return w.unsaved >= idleEntries || w.config.Now().Sub(w.written) >= idleEvery
}

func (w *Worker) saved(p directory.Projection) {
	w.written, w.unsaved = w.config.Now(), 0
	w.metrics.rows.WithLabelValues("conversations").Add(float64(len(p.Conversations)))
	w.metrics.rows.WithLabelValues("participants").Add(float64(len(p.Participants)))
	w.metrics.position.WithLabelValues(strconv.FormatUint(uint64(p.Position.Generation), 10)).Set(float64(p.Position.StreamSeq))
	w.mu.Lock()
	defer w.mu.Unlock()
	for at := range w.quarantined {
		if at.generation < p.Position.Generation || (at.generation == p.Position.Generation && at.streamSeq <= p.Position.StreamSeq) {
			delete(w.quarantined, at)
		}
	}
}

// poison is the verdict on one entry: it alone can not be projected.
type poison struct {
	streamSeq uint64
	cause     error
}

func (p *poison) Error() string {
	return fmt.Sprintf("entry %d can not be projected: %v", p.streamSeq, p.cause)
}
func (p *poison) Unwrap() error                  { return p.cause }
func (p *poison) Poison() (seq uint64, r string) { return p.streamSeq, p.cause.Error() }

// judge looks for the entry that is to blame. There is one only if the directory takes nothing of it and
// takes its neighbours: an outage, or a directory that takes nothing at all, is nobody's fault.
func (w *Worker) judge(ctx context.Context, entries []chat.Entry, failed error) error {
	if ctx.Err() != nil || chat.KindOf(failed) == chat.Unavailable {
		return failed
	}
	for i := range entries {
		p := w.projection(entries[i : i+1])
		p.Position = chat.Mark{} // the batch is handed again, so that the position moves as usual
		if len(p.Conversations) == 0 && len(p.Participants) == 0 {
			continue
		}
		err := w.config.Directory.Project(ctx, w.config.Partition, p)
		if err == nil {
			continue
		}
		if ctx.Err() != nil || chat.KindOf(err) == chat.Unavailable || !w.answers(ctx) {
			return failed
		}
		return &poison{streamSeq: entries[i].StreamSeq, cause: err}
	}
	return failed
}

// answers reports whether the directory takes a change that holds nothing.
func (w *Worker) answers(ctx context.Context) bool {
	return w.config.Directory.Project(ctx, w.config.Partition, directory.Projection{}) == nil
}
