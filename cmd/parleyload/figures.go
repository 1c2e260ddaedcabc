package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// latencies is a histogram in microseconds that many goroutines feed: a lock per shard.
type latencies struct {
	shards [8]struct {
		mu sync.Mutex
		h  *hdrhistogram.Histogram
	}
}

const (
	shortest = 1          // µs
	longest  = 60_000_000 // µs; what took longer counts as that
)

func newLatencies() *latencies {
	l := &latencies{}
	for i := range l.shards {
		l.shards[i].h = hdrhistogram.New(shortest, longest, 3)
	}
	return l
}

// add records one latency; who spreads the goroutines over the shards.
func (l *latencies) add(who int, d time.Duration) {
	s := &l.shards[who%len(l.shards)]
	s.mu.Lock()
	_ = s.h.RecordValue(min(max(d.Microseconds(), shortest), longest)) // in range
	s.mu.Unlock()
}

func (l *latencies) merged() *hdrhistogram.Histogram {
	all := hdrhistogram.New(shortest, longest, 3)
	for i := range l.shards {
		l.shards[i].mu.Lock()
		all.Merge(l.shards[i].h)
		l.shards[i].mu.Unlock()
	}
	return all
}

// Summary is a latency distribution in milliseconds.
type Summary struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p99_9_ms"`
	Max   float64 `json:"max_ms"`
	// Curve is for the plot: percentiles from 0 to 99.99 and their milliseconds.
	Curve []Point `json:"curve"`
}

// Point is one point of a percentile curve.
type Point struct {
	Percentile float64 `json:"percentile"`
	Millis     float64 `json:"ms"`
}

func summarize(h *hdrhistogram.Histogram) Summary {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	at := func(p float64) float64 { return ms(h.ValueAtPercentile(p)) }
	s := Summary{Count: h.TotalCount()}
	if s.Count == 0 {
		return s
	}
	s.Mean, s.P50, s.P90, s.P99, s.P999, s.Max = h.Mean()/1000, at(50), at(90), at(99), at(99.9), ms(h.Max())
	for tail := 1.0; tail <= 10000; tail *= 1.2589 { // ten points per decade of 1 / (1 - p)
		p := 100 * (1 - 1/tail)
		s.Curve = append(s.Curve, Point{p, at(p)})
	}
	return s
}

// meter counts what happened in each second of the measured time.
type meter struct {
	start   time.Time
	seconds []atomic.Int64
	total   atomic.Int64
}

func newMeter(start time.Time, length time.Duration) *meter {
	return &meter{start: start, seconds: make([]atomic.Int64, int(length/time.Second)+1)}
}

// add counts n at time t; what lies outside the measured time does not count.
func (m *meter) add(t time.Time, n int64) {
	i := t.Sub(m.start)
	if i < 0 || int(i/time.Second) >= len(m.seconds) {
		return
	}
	m.seconds[i/time.Second].Add(n)
	m.total.Add(n)
}

// series are the whole seconds.
func (m *meter) series() []int64 {
	s := make([]int64, max(len(m.seconds)-1, 0))
	for i := range s {
		s[i] = m.seconds[i].Load()
	}
	return s
}

// Result is what a run measured, with its conditions.
type Result struct {
	Started       time.Time `json:"started"`
	URL           string    `json:"url"`
	Shape         string    `json:"shape"` // "50 pairs", "10 groups of 100"
	Loop          string    `json:"loop"`  // "closed" or "open at 1000/s"
	Size          int       `json:"size_bytes"`
	Receipts      bool      `json:"receipts"`
	Seconds       float64   `json:"seconds"`
	Sent          int64     `json:"sent"`
	Acked         int64     `json:"acked"`
	Delivered     int64     `json:"delivered"`
	Expected      int64     `json:"expected_deliveries"` // of what was sent in the measured time and acknowledged
	Refused       int64     `json:"refused"`
	Slow          int       `json:"slow_readers,omitzero"`
	Stalled       int       `json:"stalled_readers,omitzero"`
	SlowClosed    int64     `json:"slow_readers_closed,omitzero"`
	Skipped       int64     `json:"skipped"` // open loop: not sent because too many waited for an answer
	AckedRate     float64   `json:"acked_per_s"`
	DeliveredRate float64   `json:"delivered_per_s"`
	ClientCPU     float64   `json:"client_cpu_s"`
	ServerCPU     float64   `json:"server_cpu_s,omitzero"`
	PerMillion    float64   `json:"server_cpu_s_per_million,omitzero"`
	Ack           Summary   `json:"send_to_ack"`
	Receive       Summary   `json:"send_to_receive"`
	AckedSeries   []int64   `json:"acked_each_second"`
	Received      []int64   `json:"received_each_second"`
}

// print writes the table.
func (r *Result) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) } // Flush tells
	line("%s, %s loop, %d bytes, receipts %t, %.1f s", r.Shape, r.Loop, r.Size, r.Receipts, r.Seconds)
	line("")
	line("acknowledged\t%d\t%.0f/s", r.Acked, r.AckedRate)
	line("delivered\t%d of %d\t%.0f/s", r.Delivered, r.Expected, r.DeliveredRate)
	if r.Refused+r.Skipped > 0 {
		line("refused\t%d\t", r.Refused)
		line("skipped\t%d\t", r.Skipped)
	}
	if r.Slow+r.Stalled > 0 {
		line("laggards\t%d slow, %d stalled\t%d slow ones closed by the server", r.Slow, r.Stalled, r.SlowClosed)
	}
	line("client CPU\t%.1f s\t", r.ClientCPU)
	if r.ServerCPU > 0 {
		line("server CPU\t%.1f s\t%.1f s per million acknowledged", r.ServerCPU, r.PerMillion)
	}
	line("")
	line("ms\tp50\tp90\tp99\tp99.9\tmax\tmean")
	row := func(name string, s Summary) {
		line("%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f", name, s.P50, s.P90, s.P99, s.P999, s.Max, s.Mean)
	}
	row("send to ack", r.Ack)
	row("send to receive", r.Receive)
	return t.Flush()
}
