package jetstream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Barrier makes everything that was written before the call survive a power cut.
// An error is final: a second try proves nothing, the process must stop acknowledging and end.
type Barrier interface {
	Sync(ctx context.Context) error
}

// NopBarrier is for a broker that has synced before it answers (sync_interval: always).
type NopBarrier struct{}

// Sync returns at once.
func (NopBarrier) Sync(context.Context) error { return nil }

// Syncfs is the barrier of an embedded server: one syncfs of the data folder's file system serves all
// who came before it began. It owns no goroutine; each sync runs in one of its waiters.
type Syncfs struct {
	sync    func() error
	closer  func() error
	metrics barrierMetrics

	mu      sync.Mutex
	failed  error  // the first failure: every later call returns it
	next    *round // collects waiters, nil: nobody waits
	running bool   // a waiter syncs, or holds the duty to
}

// round is one sync that has not begun; whoever receives from lead must run it.
type round struct {
	lead chan struct{} // capacity 1
	done chan struct{}
	err  error // written before done closes
}

// newSyncfs makes a barrier over any function; closer may be nil.
func newSyncfs(sync, closer func() error, reg prometheus.Registerer) *Syncfs {
	return &Syncfs{sync: sync, closer: closer, metrics: newBarrierMetrics(reg)}
}

// Sync waits for one whole sync that begins after the call. When ctx ends first the outcome is unknown;
// a caller that runs the sync itself returns with the disk.
func (s *Syncfs) Sync(ctx context.Context) error {
	r, err := s.join()
	if err != nil {
		return err
	}
	s.metrics.waiters.Inc()
	defer s.metrics.waiters.Dec()
	select {
	case <-r.done:
		return r.err
	case <-r.lead:
		return s.run(r)
	case <-ctx.Done():
		// The duty to run the round, if this was its last waiter, stays in lead for the next caller.
		return fmt.Errorf("wait for the barrier: %w", ctx.Err())
	}
}

// join enters the round that has not begun. The first to come while nothing runs leads it.
func (s *Syncfs) join() (*round, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return nil, s.failed
	}
	if s.next == nil {
		s.next = &round{lead: make(chan struct{}, 1), done: make(chan struct{})}
	}
	if !s.running {
		s.running = true
		s.next.lead <- struct{}{}
	}
	return s.next, nil
}

// run closes the round to newcomers, syncs, and passes the duty on to the round that formed meanwhile.
func (s *Syncfs) run(r *round) error {
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	began := time.Now()
	err := s.sync()
	s.metrics.seconds.Observe(time.Since(began).Seconds())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.failed == nil {
		s.metrics.failures.Inc()
		s.failed = fmt.Errorf("barrier: %w", err)
	}
	r.err = s.failed
	close(r.done)
	switch {
	case s.next == nil:
		s.running = false
	case s.failed != nil:
		s.next.err = s.failed
		close(s.next.done)
		s.next = nil
		s.running = false
	default:
		s.next.lead <- struct{}{}
	}
	return r.err
}

// Close gives the folder back. No Sync may run or follow.
func (s *Syncfs) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer()
}
