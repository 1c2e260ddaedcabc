package main

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/telemetry"
)

// steppedClock is a clock that a test moves.
type steppedClock struct{ offset atomic.Int64 }

func (c *steppedClock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

func (c *steppedClock) step(d time.Duration) { c.offset.Add(int64(d)) }

// serveHere runs a node inside the test, with a clock or faults of the test's.
func serveHere(t *testing.T, clock func() time.Time, f faults) *process {
	t.Helper()
	out := &tail{}
	log, err := telemetry.NewLogger(out, "text", "info")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, api: "http://" + freeAddress(t), out: out}
	config := defaults()
	config.Data, config.Limits = filepath.Join(t.TempDir(), "data"), "off"
	config.Listen, config.AdminListen = strings.TrimPrefix(p.api, "http://"), ""
	n := &node{config: config, now: clock, log: log, reg: telemetry.NewRegistry(), faults: f}
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- n.run(ctx, out, started) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	select {
	case <-started:
	case err := <-ended:
		ended <- nil
		t.Fatalf("start: %v\n%s", err, out)
	case <-time.After(startWithin):
		t.Fatalf("not started\n%s", out)
	}
	return p
}

// TestFaultClock steps the server's clock by an hour forth and back under load.
func TestFaultClock(t *testing.T) {
	clock := &steppedClock{}
	p := serveHere(t, clock.now, faults{})
	d := faultTime(t)
	l := startLoad(t, p, d, mixed()...)
	for _, step := range []time.Duration{time.Hour, -2 * time.Hour, time.Hour} {
		pause(t.Context(), d/4)
		clock.step(step)
	}
	l.verdict(p)
}
