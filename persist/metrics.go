package persist

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type workerMetrics struct {
	batches, entries, failures, quarantined prometheus.Counter
	stuck, terms                            prometheus.Counter // alarms: any value above 0 needs a person
	seals, sealFailures                     prometheus.Counter
	applied, sealed                         prometheus.Gauge
	seconds                                 prometheus.Histogram
}

func newWorkerMetrics(reg prometheus.Registerer, partition int) *workerMetrics {
	if reg != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"partition": strconv.Itoa(partition)}, reg)
	}
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "parley_persist_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "parley_persist_" + name, Help: help})
	}
	return &workerMetrics{
		batches:      counter("batches_total", "Batches stored."),
		entries:      counter("entries_total", "Entries of the log handled, fences and repeats included."),
		failures:     counter("failures_total", "Batches that could not be stored and are handed again."),
		quarantined:  counter("quarantined_total", "Entries for which a placeholder is stored."),
		stuck:        counter("stuck_total", "Alarm: times that a record which must not be skipped could not be stored."),
		terms:        counter("term_went_back_total", "Alarm: records of a former owner that stand after a newer owner's."),
		seals:        counter("seals_total", "Seals done."),
		sealFailures: counter("seal_failures_total", "Seals that failed and are tried again."),
		applied:      gauge("applied_stream_seq", "Stream sequence up to which the store has the log."),
		sealed:       gauge("sealed_stream_seq", "Stream sequence up to which the store has surely synced it."),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_persist_batch_seconds", Help: "Time to store one batch.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
	}
}

type historyMetrics struct {
	reads         *prometheus.CounterVec
	shared        prometheus.Counter
	holes         prometheus.Counter
	unrepaired    prometheus.Counter
	tailRecords   prometheus.Counter
	tailScanned   prometheus.Counter
	tailUncached  prometheus.Counter
	cutByBytes    prometheus.Counter
	cutByScanning prometheus.Counter
	seconds       *prometheus.HistogramVec
}

func newHistoryMetrics(reg prometheus.Registerer) *historyMetrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "parley_history_" + name, Help: help})
	}
	return &historyMetrics{
		reads:         f.NewCounterVec(prometheus.CounterOpts{Name: "parley_history_reads_total", Help: "Reads by operation."}, []string{"operation"}),
		shared:        counter("shared_total", "Reads that were answered by an identical one in flight."),
		holes:         counter("holes_total", "Ranges that had a hole at first and were read again."),
		unrepaired:    counter("holes_unrepaired_total", "Ranges whose hole stayed: the read was refused."),
		tailRecords:   counter("tail_records_total", "Records taken from the log because the store did not have them yet."),
		tailScanned:   counter("tail_scanned_total", "Records of the log looked through for edits and deletes."),
		tailUncached:  counter("tail_uncached_total", "Tails whose edits and deletes were too many to keep between reads."),
		cutByBytes:    counter("cut_by_bytes_total", "Answers that ended early because of their size."),
		cutByScanning: counter("cut_by_scanning_total", "Pages that ended early because of many records without an item."),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parley_history_seconds", Help: "Time of one read.", Buckets: prometheus.ExponentialBuckets(0.0002, 2, 15),
		}, []string{"operation"}),
	}
}
