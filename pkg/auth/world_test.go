package auth

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
	"github.com/parley-chat/parley/pkg/directory/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "correct horse battery"

// world is a Service on a real directory, with a clock that tests turn.
type world struct {
	*Service
	store   *breakable
	revoked *news
	clock   *clock
	log     *bytes.Buffer
	config  Config
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// news is Revocations in memory; it can be made to fail.
type news struct {
	mu    sync.Mutex
	known map[chat.SessionID]int
	fails error
}

func (n *news) Revoke(_ context.Context, id chat.SessionID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fails != nil {
		return n.fails
	}
	n.known[id]++
	return nil
}

func (n *news) Revoked(id chat.SessionID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.known[id] > 0
}

func (n *news) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fails = err
}

// breakable is the real directory, of which one read can be made to fail.
type breakable struct {
	directory.Store
	account error
}

func (b *breakable) Account(ctx context.Context, id chat.UserID) (directory.Account, error) {
	if b.account != nil {
		return directory.Account{}, b.account
	}
	return b.Store.Account(ctx, id)
}

func cheap() HashParams { return HashParams{MemoryKiB: 8, Iterations: 1} }

func newWorld(t *testing.T) *world {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "directory.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	w := &world{
		store: &breakable{Store: store}, revoked: &news{known: map[chat.SessionID]int{}},
		clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, log: &bytes.Buffer{},
	}
	w.config = Config{
		Directory: w.store, Revocations: w.revoked, Keys: InstallationKey{1}.SigningKeys(0), Hash: cheap(), HashWait: time.Minute,
		Now: w.clock.Now, Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if w.Service, err = NewService(w.config); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) register(t *testing.T, name string) Grant {
	t.Helper()
	g, err := w.Register(t.Context(), name, name+"@example.org", password, "laptop")
	if err != nil {
		t.Fatalf("register %s: %v", name, err)
	}
	return g
}

func (w *world) claims(t *testing.T, g Grant) Claims {
	t.Helper()
	c, err := w.Verify(string(g.AccessToken))
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	return c
}

func wantKind(t *testing.T, what string, err error, kind chat.Kind) {
	t.Helper()
	if chat.KindOf(err) != kind {
		t.Errorf("%s: got %v, want %s", what, err, kind)
	}
}

// counted is the sum of a counter over its labels.
func counted(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}
