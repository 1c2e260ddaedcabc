package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPartsStopInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(slog.New(slog.DiscardHandler), time.Second)
		var mu sync.Mutex
		var order []string
		for _, name := range []string{"log", "store", "edge"} {
			g.Start(name, func(ctx context.Context) error {
				<-ctx.Done()
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
				return ctx.Err()
			})
		}
		if err := g.Stop(); err != nil {
			t.Fatal(err)
		}
		if want := []string{"edge", "store", "log"}; !slices.Equal(order, want) {
			t.Errorf("stopped %v, want %v", order, want)
		}
	})
}

func TestAFailingPartFailsTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(slog.New(slog.DiscardHandler), time.Second)
		broken := errors.New("disk gone")
		g.Start("log", func(context.Context) error { return broken })
		if err := <-g.Failed(); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		_ = g.Stop()
	})
}

func TestAPartThatDoesNotStopIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(slog.New(slog.DiscardHandler), time.Second)
		release := make(chan struct{})
		g.Start("stuck", func(context.Context) error { <-release; return nil })
		if err := g.Stop(); err == nil {
			t.Error("want an error that names the part")
		}
		close(release)
	})
}
