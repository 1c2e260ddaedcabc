package edge

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/parley-chat/parley/pkg/wire"
)

type metrics struct {
	connections prometheus.Gauge
	streams     prometheus.Gauge
	pressure    prometheus.Gauge
	handshakes  prometheus.Gauge
	turnedAway  *prometheus.CounterVec // by reason, before the upgrade
	closed      *prometheus.CounterVec // by close code
	frames      *prometheus.CounterVec // by type
	refusals    *prometheus.CounterVec // by code of the error frame
	sends       prometheus.Histogram
	syncs       prometheus.Histogram
	largeWaits  prometheus.Counter
	stalled     prometheus.Counter
	workers     prometheus.Gauge
	poolFull    prometheus.Counter
	writes      prometheus.Counter
	written     prometheus.Counter // frames
	blocked     prometheus.Counter
	deliveries  prometheus.Counter
	recipients  prometheus.Counter
	badHops     prometheus.Counter
	gaps        *prometheus.CounterVec // by reason
	replays     *prometheus.CounterVec // by outcome
	resyncs     prometheus.Counter
	presence    prometheus.Counter
	shed        *prometheus.CounterVec // by what
	requests    *prometheus.CounterVec // by operation and status
	seconds     *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "parley_edge_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "parley_edge_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "parley_edge_" + name, Help: help})
	}
	seconds := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: "parley_edge_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}
	}
	return &metrics{
		connections: gauge("connections", "Authenticated connections."),
		pressure:    gauge("pressure", "What gives way to sends now: 0 nothing, 1 typing, 2 presence, 3 receipts by REST, 4 history and lists, 5 new connections and logins; each with those before it."),
		streams:     gauge("streams", "Of the connections, those that are event streams or polls."),
		handshakes:  gauge("handshakes", "Connections that have not authenticated yet."),
		turnedAway:  counters("turned_away_total", "Upgrades refused, by reason.", "reason"),
		closed:      counters("closed_total", "Connections ended, by close code.", "code"),
		frames:      counters("frames_total", "Inbound frames, by type.", "type"),
		refusals:    counters("refusals_total", "Error frames sent, by code.", "code"),
		sends:       f.NewHistogram(seconds("send_seconds", "From a send's frame to its answer.")),
		syncs:       f.NewHistogram(seconds("sync_seconds", "From a sync's frame to caught_up.")),
		largeWaits:  counter("large_frame_waits_total", "Frames above 64 KiB that waited for the process's shared budget."),
		stalled:     counter("stalled_frames_total", "Connections closed because a frame that had begun did not arrive in time."),
		workers:     gauge("workers_busy", "Goroutines that read dense connections now."),
		poolFull:    counter("workers_full_total", "Readable connections that had to wait because every worker was busy."),
		writes:      counter("writes_total", "Writes to connections' sockets."),
		written:     counter("frames_written_total", "Frames in those writes."),
		blocked:     counter("writes_blocked_total", "Writes that met a full socket: the client reads too slowly, or nothing."),
		deliveries:  counter("deliveries_total", "Deliveries taken from hops."),
		recipients:  counter("recipients_total", "Frames queued to connections by deliveries."),
		badHops:     counter("bad_hops_total", "Hops that could not be read."),
		gaps:        counters("hop_gaps_total", "Lanes held for a replay, by reason.", "reason"),
		replays:     counters("replays_total", "Replays asked for, by outcome.", "outcome"),
		resyncs:     counter("resyncs_total", "Connections told to resync."),
		presence:    counter("presence_updates_total", "Frames queued to connections about somebody's presence."),
		shed:        counters("shed_total", "Frames that found no room and gave way: presence (told later), typing and receipts in groups (lost), and reads refused under pressure.", "what"),
		requests:    counters("requests_total", "REST requests, by operation and status.", "operation", "status"),
		seconds:     f.NewHistogramVec(seconds("request_seconds", "Time of REST requests."), []string{"operation"}),
	}
}

// wrote counts one write of whole frames.
func (m *metrics) wrote(frames int) {
	m.writes.Inc()
	m.written.Add(float64(frames))
}

func (m *metrics) closedWith(code int) { m.closed.WithLabelValues(strconv.Itoa(code)).Inc() }

// frame counts an inbound frame; a client's own inventions share one label.
func (m *metrics) frame(typ string) {
	switch typ {
	case wire.TypeAuth, wire.TypeMessageSend, wire.TypeMessageEdit, wire.TypeMessageDelete, wire.TypeMessageDelivered,
		wire.TypeMessageRead, wire.TypeSync, wire.TypeTypingStart, wire.TypeTypingStop,
		wire.TypePresenceSub, wire.TypePresenceUpdate, wire.TypePing, wire.TypePong:
	default:
		typ = "unknown"
	}
	m.frames.WithLabelValues(typ).Inc()
}
