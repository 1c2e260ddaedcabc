package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
	"github.com/parley-chat/parley/pkg/telemetry"
	"github.com/parley-chat/parley/pkg/wire"
	"github.com/parley-chat/parley/presence"
)

// watcher is a live client that remembers what it was told of others.
type watcher struct {
	*client.Client
	stop func()

	mu      sync.Mutex
	told    []client.Event // Presence, Watching, Typing, Receipt and Connected
	changed chan struct{}
}

// watching runs a client of a server at url.
func watching(t *testing.T, url string, api *client.API) *watcher {
	t.Helper()
	w := &watcher{changed: make(chan struct{})}
	c, err := client.New(client.Config{
		URL: url, Tokens: api, SkipGaps: true, OnEvent: w.event,
		Reconnect: client.Backoff{Base: 50 * time.Millisecond, Cap: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Client = c
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	w.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(w.stop)
	return w
}

func (w *watcher) event(e client.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := e.(type) {
	case client.Presence, client.Watching, client.Typing, client.Receipt:
		w.told = append(w.told, e)
	case client.State:
		if e.Phase == client.Connected {
			w.told = append(w.told, client.State{Phase: e.Phase})
		}
	default:
		return
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// until waits for an event among those told since a mark, and returns how many there were and when it came.
func (w *watcher) until(t *testing.T, what string, from int, within time.Duration, is func(client.Event) bool) (client.Event, int) {
	t.Helper()
	limit := time.After(within)
	for {
		w.mu.Lock()
		told, changed := slices.Clone(w.told), w.changed
		w.mu.Unlock()
		if at := slices.IndexFunc(told[min(from, len(told)):], is); at >= 0 {
			return told[from+at], from + at + 1
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%s: not told within %s; told %+v", what, within, told)
		}
	}
}

func (w *watcher) toldOf(u chat.UserID) (all []client.Presence) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.told {
		if p, ok := e.(client.Presence); ok && p.UserID == u {
			all = append(all, p)
		}
	}
	return all
}

func (w *watcher) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.told)
}

func isStatus(u chat.UserID, s wire.Status) func(client.Event) bool {
	return func(e client.Event) bool {
		p, ok := e.(client.Presence)
		return ok && p.UserID == u && p.Status == s
	}
}

func isTyping(u chat.UserID, writing bool) func(client.Event) bool {
	return func(e client.Event) bool {
		y, ok := e.(client.Typing)
		return ok && y.UserID == u && y.Writing == writing
	}
}

func isConnected(e client.Event) bool { _, ok := e.(client.State); return ok }

const soon = 10 * time.Second

// TestPresenceAndTyping follows two people through a day: one comes, writes, leaves, and the server is killed.
func TestPresenceAndTyping(t *testing.T) {
	t.Parallel()
	p := serve(t)
	aliceAPI, bobAPI, cydAPI := register(t, p, "alice"), register(t, p, "bob"), register(t, p, "cyd")
	bob, cyd := bobAPI.Account().User.ID, cydAPI.Account().User.ID
	direct, err := aliceAPI.CreateDirect(t.Context(), bob)
	if err != nil {
		t.Fatal(err)
	}
	withCyd, err := aliceAPI.CreateDirect(t.Context(), cyd)
	if err != nil {
		t.Fatal(err)
	}
	alice := watching(t, p.api, aliceAPI)
	if err := alice.SubscribePresence(direct.ID, withCyd.ID); err != nil {
		t.Fatal(err)
	}
	guest := watching(t, p.api, cydAPI)
	_, at := alice.until(t, "cyd comes", 0, soon, isStatus(cyd, wire.StatusOnline))
	left := time.Now()
	guest.stop()

	peer := watching(t, p.api, bobAPI)
	_, at = alice.until(t, "bob comes", at, soon, isStatus(bob, wire.StatusOnline))
	peer.Typing(direct.ID, true)
	_, at = alice.until(t, "bob writes", at, soon, isTyping(bob, true))
	if _, err := peer.Send(direct.ID, "hello", 0); err != nil {
		t.Fatal(err)
	}
	_, at = alice.until(t, "his message ends it", at, soon, isTyping(bob, false))
	peer.SetAway(true)
	_, at = alice.until(t, "bob is away", at, soon, isStatus(bob, wire.StatusAway))
	peer.SetAway(false)
	alice.until(t, "bob is back", at, soon, isStatus(bob, wire.StatusOnline))

	gone, _ := alice.until(t, "cyd is offline after the grace", 0, presence.Grace+soon, isStatus(cyd, wire.StatusOffline))
	seen := gone.(client.Presence).LastSeen // isStatus looked
	if took := time.Since(left); took < presence.Grace-time.Second || seen.Sub(left).Abs() > 2*time.Second {
		t.Errorf("cyd left at %s, is told offline %s later, last seen %s", left, took, seen)
	}
	pause(t.Context(), 7*time.Second) // last seen is written within 5 s

	before := alice.mark()
	p.kill()
	p.start()
	_, at = alice.until(t, "alice returns", before, soon, isConnected)
	again, _ := alice.until(t, "cyd is offline when the grace of the restart is over", at, presence.Grace+soon, isStatus(cyd, wire.StatusOffline))
	if p := again.(client.Presence); !p.LastSeen.Equal(seen) { // isStatus looked
		t.Errorf("last seen %s after a restart, %s before", p.LastSeen, seen)
	}
	for _, told := range alice.toldOf(bob) {
		if told.Status == wire.StatusOffline && told.LastSeen.After(left) {
			t.Errorf("bob, who returned at once, was told offline: %+v", told)
		}
	}
	_, _ = alice.until(t, "bob is online after the restart", before, soon, isStatus(bob, wire.StatusOnline))
}

// TestAKilledEdgesPeopleAreOffline is promise I12 on real buckets: a second edge registers bob and is never
// heard of again.
func TestAKilledEdgesPeopleAreOffline(t *testing.T) {
	t.Parallel()
	n := inProcess(t)
	aliceAPI := client.NewAPI(client.APIConfig{URL: n.front.api.url()})
	bobAPI := client.NewAPI(client.APIConfig{URL: n.front.api.url()})
	for name, api := range map[string]*client.API{"alice": aliceAPI, "bob": bobAPI} {
		if _, err := api.Register(t.Context(), name, name+"@example.org", password); err != nil {
			t.Fatal(err)
		}
	}
	bob := bobAPI.Account().User.ID
	direct, err := aliceAPI.CreateDirect(t.Context(), bob)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := jetstream.NewPresenceKV(jetstream.PresenceKVConfig{
		NC: n.broker.presence, Log: n.log, Shard: func(u chat.UserID) int { return presence.ShardOf(u, jetstream.PresenceShards) },
	})
	if err != nil {
		t.Fatal(err)
	}
	run := uint64(time.Now().UnixNano())
	if err := kv.Beat(t.Context(), "e2", run); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := kv.Write(t.Context(), []jetstream.PresenceEntry{{User: bob, Edge: "e2", Run: run, Number: 1, Session: chat.NewSessionID()}}); err != nil {
		t.Fatal(err)
	}
	alice := watching(t, n.front.api.url(), aliceAPI)
	if err := alice.SubscribePresence(direct.ID); err != nil {
		t.Fatal(err)
	}
	_, at := alice.until(t, "bob is online at the other edge", 0, soon, isStatus(bob, wire.StatusOnline))
	alice.until(t, "bob is offline", at, 45*time.Second-time.Since(killed), isStatus(bob, wire.StatusOffline))
	if took := time.Since(killed); took < presence.EdgeLife {
		t.Errorf("offline after %s, the edge's lease lives %s", took, presence.EdgeLife)
	}
}

// inProcess runs a node inside the test.
func inProcess(t *testing.T) *node {
	t.Helper()
	config := defaults()
	config.Data, config.Listen, config.AdminListen = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0", ""
	n := &node{config: config, now: time.Now, log: slog.New(slog.DiscardHandler), reg: telemetry.NewRegistry()}
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- n.run(ctx, io.Discard, started) }()
	select {
	case <-started:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return n
}
