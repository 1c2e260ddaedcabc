package jetstream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestWaitersShareOneSyncThatBeganAfterThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written, durable, syncs atomic.Int64
		s := newSyncfs(func() error {
			syncs.Add(1)
			at := written.Load()
			time.Sleep(time.Second) // the fake clock's
			durable.Store(at)
			return nil
		}, nil, nil)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				for range 5 {
					mine := written.Add(1)
					if err := s.Sync(t.Context()); err != nil {
						t.Error(err)
					}
					if durable.Load() < mine {
						t.Errorf("%d is not durable, only up to %d", mine, durable.Load())
					}
				}
			})
		}
		all.Wait()
		// 500 calls, each of the 5 turns served by at most two syncs.
		if n := syncs.Load(); n > 11 {
			t.Errorf("%d syncs", n)
		}
	})
}

func TestACallerThatComesDuringASyncWaitsForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, release := make(chan int, 10), make(chan struct{})
		n := 0
		s := newSyncfs(func() error { n++; began <- n; <-release; return nil }, nil, nil)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- s.Sync(t.Context()) }()
		<-began
		go func() { second <- s.Sync(t.Context()) }()
		synctest.Wait()
		release <- struct{}{}
		<-first
		synctest.Wait()
		select {
		case <-second:
			t.Fatal("served by a sync that had begun before it came")
		default:
		}
		<-began
		release <- struct{}{}
		if err := <-second; err != nil {
			t.Error(err)
		}
	})
}

func TestAFailedSyncIsFinal(t *testing.T) {
	broken := errors.New("input/output error")
	reg := prometheus.NewRegistry()
	calls := 0
	s := newSyncfs(func() error { calls++; return broken }, nil, reg)
	for range 3 {
		if err := s.Sync(t.Context()); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
	if calls != 1 {
		t.Errorf("the disk was asked %d times", calls)
	}
	if n := value(t, s.metrics.failures); n != 1 {
		t.Errorf("%v failures counted", n)
	}
}

func TestAFailureReachesThoseWhoWaitForTheNextSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken, release := errors.New("input/output error"), make(chan struct{})
		s := newSyncfs(func() error { <-release; return broken }, nil, nil)
		results := make(chan error, 3)
		for range 3 {
			go func() { results <- s.Sync(t.Context()) }()
			synctest.Wait()
		}
		close(release)
		for range 3 {
			if err := <-results; !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestAWaiterThatLeavesDoesNotStallTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, release := make(chan struct{}, 10), make(chan struct{})
		s := newSyncfs(func() error { began <- struct{}{}; <-release; return nil }, nil, nil)
		first := make(chan error, 1)
		go func() { first <- s.Sync(t.Context()) }()
		<-began
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- s.Sync(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		close(release)
		<-first
		// The duty to run the round of the one who left falls to the next who comes.
		if err := s.Sync(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestSyncfsOfARealFolder(t *testing.T) {
	s := NewSyncfs(t.TempDir(), nil)
	if err := s.Sync(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := NewSyncfs("/nonexistent/folder", nil).Sync(t.Context()); err == nil {
		t.Error("a folder that is not there was synced")
	}
	if err := (NopBarrier{}).Sync(t.Context()); err != nil {
		t.Error(err)
	}
}
