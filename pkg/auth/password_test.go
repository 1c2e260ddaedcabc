package auth

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
)

func TestHashingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		h := newHasher(cheap(), 1, 2*time.Second, newMetrics(reg))
		if err := h.enter(t.Context()); err != nil { // somebody hashes
			t.Fatal(err)
		}
		var all sync.WaitGroup
		results := make([]error, waitersPerHasher)
		for i := range results {
			all.Go(func() { results[i] = h.enter(t.Context()) })
		}
		synctest.Wait()
		begun := time.Now()
		err := h.enter(t.Context())
		wantKind(t, "one more than may wait", err, chat.Unavailable)
		if time.Since(begun) != 0 {
			t.Error("it waited")
		}
		if chat.Public(err).RetryAfter <= 0 {
			t.Error("it is not told when to come again")
		}
		h.leave() // one of those who wait comes in and stays
		synctest.Wait()
		all.Wait()
		entered := 0
		for _, err := range results {
			if err == nil {
				entered++
				continue
			}
			wantKind(t, "one who waited too long", err, chat.Unavailable)
		}
		if entered != 1 || time.Since(begun) != 2*time.Second {
			t.Errorf("%d came in, the others left after %v", entered, time.Since(begun))
		}
		if refused := counted(t, reg, "parley_auth_hashers_busy_total"); refused != waitersPerHasher {
			t.Errorf("%v refusals were counted", refused)
		}
		if h.waiting.Load() != 0 {
			t.Errorf("%d still count as waiting", h.waiting.Load())
		}
	})
}

func TestWhoGivesUpWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(cheap(), 1, time.Hour, newMetrics(nil))
		if err := h.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := h.hash(ctx, password)
		if wantKind(t, "a caller who gave up", err, chat.Unavailable); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the cause is not told: %v", err)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	h := newHasher(DefaultHashParams(), 1, time.Second, newMetrics(nil))
	for b.Loop() {
		if _, err := h.hash(b.Context(), password); err != nil {
			b.Fatal(err)
		}
	}
}
