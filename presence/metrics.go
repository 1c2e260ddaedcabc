package presence

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type cursorMetrics struct {
	advances    *prometheus.CounterVec
	advanceTime prometheus.Histogram
}

func newCursorMetrics(reg prometheus.Registerer) *cursorMetrics {
	return &cursorMetrics{
		advances: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "parley_presence_advances_total", Help: "Cursor updates by result: moved, unchanged or failed.",
		}, []string{"result"}),
		advanceTime: promauto.With(reg).NewHistogram(prometheus.HistogramOpts{
			Name: "parley_presence_advance_seconds", Help: "Time of a cursor update, the barrier included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
	}
}

type drainMetrics struct{ changes, rows, failures prometheus.Counter }

func newDrainMetrics(reg prometheus.Registerer) *drainMetrics {
	counter := func(name, help string) prometheus.Counter {
		return promauto.With(reg).NewCounter(prometheus.CounterOpts{Name: "parley_presence_" + name, Help: help})
	}
	return &drainMetrics{
		changes:  counter("drained_changes_total", "Cursor changes drained into the store."),
		rows:     counter("drained_rows_total", "Rows written for them, one a person, conversation and batch."),
		failures: counter("drain_failures_total", "Batches of cursors that could not be drained and are handed again."),
	}
}

// Reasons for which presence is shed.
const (
	shedPeople    = "people"
	shedInterests = "interests"
	shedEdges     = "edges"
	shedChanges   = "changes"
	shedGrace     = "grace"
	shedSeen      = "last_seen"
	shedTransport = "transport"
)

// shardMetrics are one shard's, told apart by the label shard.
type shardMetrics struct {
	changes, edgesEnded      prometheus.Counter
	announcements, announced prometheus.Counter
	stored, storeFailures    prometheus.Counter
	shed                     *prometheus.CounterVec // by reason
}

func newShardMetrics(reg prometheus.Registerer, s *Shard) *shardMetrics {
	labels := prometheus.Labels{"shard": strconv.Itoa(s.config.Shard)}
	with := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: "parley_presence_" + name, Help: help, ConstLabels: labels})
	}
	gauge := func(name, help string, value func(*roll) int) {
		with.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_presence_" + name, Help: help, ConstLabels: labels}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.roll == nil {
				return 0
			}
			return float64(value(s.roll))
		})
	}
	gauge("people", "People who are there, or left within the grace.", func(r *roll) int { return len(r.people) })
	gauge("interests", "Pairs of edge and person whose changes are announced.", func(r *roll) int { return r.watched })
	gauge("last_seen_waiting", "Times of last seen that are not stored yet.", func(r *roll) int { return len(r.seen) })
	return &shardMetrics{
		changes:       counter("changes_total", "Changes of a person's status."),
		edgesEnded:    counter("edges_ended_total", "Runs of edges that ended: by themselves, by another run, or not heard of for 30 s."),
		announcements: counter("announcements_total", "Messages to edges about changes."),
		announced:     counter("announced_total", "Statuses in those messages."),
		stored:        counter("last_seen_stored_total", "Times of last seen that were stored."),
		storeFailures: counter("last_seen_failures_total", "Writes of last seen that failed and are tried again."),
		shed: with.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_presence_shed_total", Help: "Presence dropped at a bound, by what was full.", ConstLabels: labels,
		}, []string{"reason"}),
	}
}

// registrarMetrics are those of an edge's side.
type registrarMetrics struct {
	entries, batches, failures prometheus.Counter
	asksFailed, again, shed    prometheus.Counter
	runs                       *prometheus.CounterVec // by reason
}

func newRegistrarMetrics(reg prometheus.Registerer, r *Registrar) *registrarMetrics {
	with := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: "parley_presence_registry_" + name, Help: help})
	}
	gauge := func(name, help string, value func() int) {
		with.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_presence_registry_" + name, Help: help}, func() float64 {
			r.mu.Lock()
			defer r.mu.Unlock()
			return float64(value())
		})
	}
	gauge("connections", "Connections that this edge registers.", func() int { return len(r.seats) })
	gauge("waiting", "Entries that wait to be written.", func() int { return len(r.waiting) })
	return &registrarMetrics{
		entries:    counter("entries_total", "Entries written for connections that came, changed or went."),
		batches:    counter("batches_total", "Batches of them."),
		failures:   counter("failures_total", "Writes that failed and are tried again."),
		asksFailed: counter("asks_failed_total", "Questions to owners of shards without an answer."),
		again:      counter("asked_again_total", "Times that everything looked at in a shard was asked for again."),
		shed:       counter("interests_shed_total", "People not looked at: the edge's bound was reached."),
		runs: with.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_presence_registry_runs_total", Help: "Runs begun anew: the former was taken for dead (over), or too much waited (full).",
		}, []string{"reason"}),
	}
}
