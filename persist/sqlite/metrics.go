package sqlite

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	records     prometheus.Counter
	repeats     prometheus.Counter
	differing   prometheus.Counter
	gaps        prometheus.Counter
	unplaced    prometheus.Counter
	placeholder prometheus.Counter
	write       prometheus.Histogram
	seal        prometheus.Histogram
	rollbacks   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "parley_sqlite_" + name, Help: help})
	}
	duration := func(name, help string) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_sqlite_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		})
	}
	return &metrics{
		records:     counter("records_total", "Records stored."),
		repeats:     counter("repeats_total", "Records that were stored already when they came again."),
		differing:   counter("differing_total", "Records that came again with another id than the stored one: a fault; the stored one stays."),
		gaps:        counter("gaps_total", "Records stored above a hole in their conversation's seq: a fault."),
		unplaced:    counter("unplaced_total", "Quarantined records without a usable conversation or seq: nothing stands for them."),
		placeholder: counter("placeholders_total", "Placeholders stored for quarantined records."),
		write:       duration("write_seconds", "Time of one write, waiting for the writer included."),
		seal:        duration("seal_seconds", "Time of one seal."),
		rollbacks:   counter("rollbacks_total", "Transactions that did not commit."),
	}
}
