package jetstream

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// register puts c on reg, or finds the one that another part of the same kind put there. A nil reg
// leaves it unregistered; it works all the same.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	if err == nil {
		return c
	}
	if there, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if same, ok := there.ExistingCollector.(C); ok {
			return same
		}
	}
	panic(err) // two different metrics of one name: a fault of the program
}

func counters(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	return register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_jetstream_" + name, Help: help}, labels))
}

func gauges(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.GaugeVec {
	return register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "parley_jetstream_" + name, Help: help}, labels))
}

type barrierMetrics struct {
	seconds  prometheus.Histogram
	waiters  prometheus.Gauge
	failures prometheus.Counter
}

func newBarrierMetrics(reg prometheus.Registerer) barrierMetrics {
	return barrierMetrics{
		seconds: register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "parley_jetstream_barrier_seconds", Help: "Duration of one sync of the data folder.",
			Buckets: []float64{.00025, .0005, .001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1, 2, 4},
		})),
		waiters:  gauges(reg, "barrier_waiters", "Callers that wait for the barrier now.").WithLabelValues(),
		failures: counters(reg, "barrier_failures_total", "Failed syncs; the first one ends the process.").WithLabelValues(),
	}
}

type leaseMetrics struct {
	held  prometheus.Gauge
	takes prometheus.Counter
	lost  prometheus.Counter
	fails prometheus.Counter
}

func newLeaseMetrics(reg prometheus.Registerer, key string) leaseMetrics {
	return leaseMetrics{
		held:  gauges(reg, "lease_held", "1 while this process holds the lease.", "lease").WithLabelValues(key),
		takes: counters(reg, "lease_takes_total", "Terms that this process began.", "lease").WithLabelValues(key),
		lost:  counters(reg, "lease_lost_total", "Leases lost to another process or to silence.", "lease").WithLabelValues(key),
		fails: counters(reg, "lease_refresh_failures_total", "Refreshes without an answer.", "lease").WithLabelValues(key),
	}
}

type loopMetrics struct {
	lag, handledTo                             prometheus.Gauge
	handled, batches, retries, dead, redeliver prometheus.Counter
	missed, resets, followed                   prometheus.Counter
}

func newLoopMetrics(reg prometheus.Registerer, stream, consumer string) loopMetrics {
	labels := []string{"stream", "consumer"}
	counter := func(name, help string) prometheus.Counter {
		return counters(reg, "consumer_"+name, help, labels...).WithLabelValues(stream, consumer)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return gauges(reg, "consumer_"+name, help, labels...).WithLabelValues(stream, consumer)
	}
	return loopMetrics{
		lag:       gauge("lag", "Messages of the stream that the consumer has not handled."),
		handledTo: gauge("handled_sequence", "Stream sequence up to which everything is handled."),
		handled:   counter("handled_total", "Messages handled."),
		batches:   counter("batches_total", "Batches handled."),
		retries:   counter("retries_total", "Batches that had to be handed again."),
		dead:      counter("dead_letters_total", "Messages that went to the dead letters."),
		redeliver: counter("redelivered_total", "Messages that came again and were dropped."),
		missed:    counter("missed_total", "Messages that the log had trimmed before they were handled."),
		followed:  counter("followed_total", "Messages that came from the owner in this process, not from the broker."),
		resets:    counter("resets_total", "Resets of the consumer's delivery after its start."),
	}
}

type trimMetrics struct {
	trimmed, bytes, first prometheus.Gauge
	failures              prometheus.Counter
}

func newTrimMetrics(reg prometheus.Registerer, stream string) trimMetrics {
	return trimMetrics{
		trimmed:  gauges(reg, "trimmed_sequence", "Stream sequence below which this process has trimmed.", "stream").WithLabelValues(stream),
		bytes:    gauges(reg, "stream_bytes", "Size of the stream.", "stream").WithLabelValues(stream),
		first:    gauges(reg, "stream_first_sequence", "First sequence that the stream holds.", "stream").WithLabelValues(stream),
		failures: counters(reg, "trim_failures_total", "Trims that failed and will be tried again.", "stream").WithLabelValues(stream),
	}
}

type revocationMetrics struct {
	known     prometheus.Gauge
	connected prometheus.Gauge
	restarts  prometheus.Counter
}

func newRevocationMetrics(reg prometheus.Registerer) revocationMetrics {
	return revocationMetrics{
		known:     gauges(reg, "revoked_sessions", "Revoked sessions held in memory.").WithLabelValues(),
		connected: gauges(reg, "revocations_connected", "1 while the news of revoked sessions arrives.").WithLabelValues(),
		restarts:  counters(reg, "revocation_watch_restarts_total", "Watches of revoked sessions that had to be begun again.").WithLabelValues(),
	}
}

type cursorMetrics struct {
	updates, conflicts prometheus.Counter
}

func newCursorMetrics(reg prometheus.Registerer) cursorMetrics {
	return cursorMetrics{
		updates:   counters(reg, "cursor_updates_total", "Cursors written to the bucket.").WithLabelValues(),
		conflicts: counters(reg, "cursor_conflicts_total", "Cursor writes that another write overtook.").WithLabelValues(),
	}
}
