// Package lifecycle runs a process's long-lived parts: started in order, stopped in reverse, each
// waited for. The first part that fails ends the process.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Group owns the goroutines of its parts. The zero value is not usable: see New.
type Group struct {
	log     *slog.Logger
	grace   time.Duration // longest wait for one part to stop
	failed  chan error    // holds the first failure
	stopped sync.Once
	parts   []*part // owned by the goroutine that calls Start and Stop
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // written before done closes
}

// New makes an empty group; grace bounds the wait for each part.
func New(log *slog.Logger, grace time.Duration) *Group {
	return &Group{log: log, grace: grace, failed: make(chan error, 1)}
}

// Start runs a part in a goroutine of its own until Stop cancels its context. A part that returns
// before that, with an error or without, fails the group.
func (g *Group) Start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	g.parts = append(g.parts, p)
	go func() {
		defer close(p.done)
		p.err = run(ctx)
		if ctx.Err() != nil {
			return
		}
		if p.err == nil {
			p.err = errors.New("ended by itself")
		}
		select {
		case g.failed <- fmt.Errorf("%s: %w", name, p.err):
		default:
		}
	}()
}

// Failed delivers the first part's failure.
func (g *Group) Failed() <-chan error { return g.failed }

// Stop cancels the parts in reverse order, waiting for each; it returns what went wrong while stopping.
func (g *Group) Stop() error {
	var problems []error
	g.stopped.Do(func() {
		for _, p := range slices.Backward(g.parts) {
			problems = append(problems, g.stop(p))
		}
	})
	return errors.Join(problems...)
}

func (g *Group) stop(p *part) error {
	began := time.Now()
	p.cancel()
	select {
	case <-p.done:
	case <-time.After(g.grace):
		return fmt.Errorf("stop %s: still running after %s", p.name, g.grace)
	}
	g.log.Debug("part stopped", slog.String("part", p.name), slog.Duration("took", time.Since(began)))
	if p.err != nil && !errors.Is(p.err, context.Canceled) {
		return fmt.Errorf("stop %s: %w", p.name, p.err)
	}
	return nil
}
