package fanout

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics of one worker, told apart by the label partition.
type metrics struct {
	records, deliveries, recipients, receipts   prometheus.Counter
	hops, hopBytes, sendErrors, heartbeats      prometheus.Counter
	replays, resyncs, refused, quarantined      prometheus.Counter
	kept, asked, changesForgotten, rosterErrors prometheus.Counter
	signals                                     *prometheus.CounterVec // by result
}

func newMetrics(reg prometheus.Registerer, w *Worker) *metrics {
	labels := prometheus.Labels{"partition": strconv.Itoa(w.config.Partition)}
	with := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: "parley_fanout_" + name, Help: help, ConstLabels: labels})
	}
	gauge := func(name, help string, value func() float64) {
		with.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_fanout_" + name, Help: help, ConstLabels: labels}, value)
	}
	locked := func(value func() int) func() float64 {
		return func() float64 {
			w.mu.Lock()
			defer w.mu.Unlock()
			return float64(value())
		}
	}
	gauge("position", "Stream sequence of the last record handled.", func() float64 { return float64(w.Position().StreamSeq) })
	gauge("lag", "Durable records not handled yet.", w.lag)
	gauge("registrations", "Pairs of user and edge that deliveries go to.", locked(func() int { return w.registry.pairs }))
	gauge("edges", "Edges that deliveries are numbered for.", locked(func() int { return len(w.registry.edges) }))
	gauge("outbox_bytes", "Bytes of hops that wait for the transport.", locked(func() int { return w.outbox.bytes }))
	gauge("ring_bytes", "Bytes kept for replays, both lanes.", locked(func() int { return w.rings[0].bytes + w.rings[1].bytes }))
	gauge("changes", "Membership changes above the roster's position.", locked(func() int { return len(w.changes.queue) }))
	return &metrics{
		records:          counter("records_total", "Records handled, fences left out."),
		deliveries:       counter("deliveries_total", "Frames sent to an edge, however many recipients each has."),
		recipients:       counter("recipients_total", "Recipients of those frames."),
		receipts:         counter("receipts_total", "Frames about cursors that moved."),
		hops:             counter("hops_total", "Hops handed to the transport."),
		hopBytes:         counter("hop_bytes_total", "Bytes of those hops."),
		sendErrors:       counter("send_errors_total", "Hops that the transport refused: lost."),
		heartbeats:       counter("heartbeats_total", "Empty hops of idle lanes."),
		replays:          counter("replays_total", "Replays answered."),
		resyncs:          counter("resyncs_total", "Replays refused: clients resync."),
		refused:          counter("registrations_refused_total", "Registrations refused: behind, or a bound reached."),
		quarantined:      counter("quarantined_total", "Records put aside: delivered to nobody."),
		kept:             counter("audience_hits_total", "Audiences found in memory, once per conversation and batch."),
		asked:            counter("audience_asks_total", "Audiences asked of the partition's owner."),
		changesForgotten: counter("changes_forgotten_total", "Membership changes forgotten before the roster had them: lists lack them until it has."),
		signals: with.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_fanout_signals_total", ConstLabels: labels,
			Help: "Typing, and receipts in groups, by result: sent, or why not (repeated, idle, member, large; dropped: queue, typists, outbox, unavailable).",
		}, []string{"result"}),
		rosterErrors: counter("roster_errors_total", "Failed reads of the roster's position."),
	}
}

// lag counts fences as records; of an older generation's rest it knows nothing.
func (w *Worker) lag() float64 {
	durable, at := w.config.Owner.Durable(), w.Position()
	switch {
	case !at.Before(durable):
		return 0
	case at.Generation == durable.Generation:
		return float64(durable.StreamSeq - at.StreamSeq)
	default:
		return float64(durable.StreamSeq)
	}
}

func (m *metrics) signal(result string) { m.signals.WithLabelValues(result).Inc() }
