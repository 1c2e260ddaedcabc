package presence

import (
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
