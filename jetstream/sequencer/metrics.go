package sequencer

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// metrics are one partition's; all carry the label partition.
type metrics struct {
	commands  *prometheus.CounterVec // op, result: ok or the kind of error
	ok        map[conversation.Op]prometheus.Counter
	refusals  *prometheus.CounterVec // reason
	takeovers *prometheus.CounterVec // reason
	lookups   *prometheus.CounterVec // what, result

	groupRecords prometheus.Histogram
	groupBytes   prometheus.Histogram
	publish      prometheus.Histogram
	barrier      prometheus.Histogram
	commit       prometheus.Histogram

	waiting   prometheus.Gauge
	looking   prometheus.Gauge
	watermark prometheus.Gauge
	term      prometheus.Gauge
	tail      prometheus.Gauge
	cached    prometheus.Gauge
	evicted   prometheus.Counter
	forgotten prometheus.Counter
	logBytes  prometheus.Gauge
	isReady   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, t jetstream.Token) *metrics {
	if reg != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"partition": strconv.Itoa(t.Partition)}, reg)
	}
	seconds := prometheus.ExponentialBuckets(0.00025, 2, 16)
	m := &metrics{
		commands:  counters(reg, "commands_total", "Commands answered, by what was asked and how it ended.", "op", "result"),
		refusals:  counters(reg, "refused_total", "Commands and questions refused because a bound was reached.", "reason"),
		takeovers: counters(reg, "takeovers_total", "Fences written, by what made them necessary.", "reason"),
		lookups:   counters(reg, "lookups_total", "Reads of the store, by what was read and how it ended.", "what", "result"),

		groupRecords: histogram(reg, "group_records", "Records of a committed group.", prometheus.ExponentialBuckets(1, 2, 10)),
		groupBytes:   histogram(reg, "group_bytes", "Bytes of a committed group.", prometheus.ExponentialBuckets(256, 4, 8)),
		publish:      histogram(reg, "publish_seconds", "From the first record of a group to its last answer.", seconds),
		barrier:      histogram(reg, "barrier_seconds", "Wait for the durability barrier after a group.", seconds),
		commit:       histogram(reg, "commit_seconds", "From decision to durable, takeovers included.", seconds),

		waiting:   gauge(reg, "waiting_commands", "Commands that wait for a look-up or a group."),
		looking:   gauge(reg, "lookups_in_flight", "Reads of the store in flight."),
		watermark: gauge(reg, "watermark", "Stream sequence up to which the log is durable."),
		term:      gauge(reg, "term", "Term of the owner."),
		tail:      gauge(reg, "tail_records", "Records of the log that the store has not sealed."),
		cached:    gauge(reg, "cached_conversations", "Conversations in memory."),
		evicted:   counter(reg, "evicted_conversations_total", "Conversations let go to stay within the bound."),
		forgotten: counter(reg, "forgotten_rates_total", "Rate buckets dropped before they were full again."),
		logBytes:  gauge(reg, "log_bytes", "Bytes that the log takes."),
		isReady:   gauge(reg, "ready", "1 while commands are taken."),
	}
	m.ok = make(map[conversation.Op]prometheus.Counter)
	for _, op := range []conversation.Op{
		conversation.OpCreate, conversation.OpSend, conversation.OpEdit, conversation.OpDelete,
		conversation.OpAdd, conversation.OpRemove, conversation.OpRole, conversation.OpSettings,
		conversation.OpPreference,
	} {
		m.ok[op] = m.commands.WithLabelValues(string(op), "ok")
	}
	return m
}

func (m *metrics) command(op conversation.Op, err error) {
	known, is := m.ok[op]
	switch {
	case !is:
		m.commands.WithLabelValues("other", string(chat.KindOf(err))).Inc()
	case err == nil:
		known.Inc()
	default:
		m.commands.WithLabelValues(string(op), string(chat.KindOf(err))).Inc()
	}
}

func (m *metrics) refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }

func (m *metrics) lookedUp(what string, err error) {
	result := "ok"
	if err != nil {
		result = string(chat.KindOf(err))
	}
	m.lookups.WithLabelValues(what, result).Inc()
}

// register puts c on reg, or finds the one that a former owner of the partition in this process put there.
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

const metricPrefix = "parley_sequencer_"

func counters(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	return register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, labels))
}

func counter(reg prometheus.Registerer, name, help string) prometheus.Counter {
	return register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}))
}

func gauge(reg prometheus.Registerer, name, help string) prometheus.Gauge {
	return register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: metricPrefix + name, Help: help}))
}

func histogram(reg prometheus.Registerer, name, help string, buckets []float64) prometheus.Histogram {
	return register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{Name: metricPrefix + name, Help: help, Buckets: buckets}))
}
