package jetstream

import (
	"errors"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

func newView(w *world, change func(*RevocationsConfig)) *Revocations {
	c := RevocationsConfig{NC: w.connect(w.server), Log: quiet()}
	if change != nil {
		change(&c)
	}
	return NewRevocations(c)
}

func TestARevocationReachesEveryProcessOnce(t *testing.T) {
	w := newWorld(t)
	early := chat.NewSessionID()
	a, b := newView(w, nil), newView(w, nil)
	if err := a.Revoke(w.ctx, early); err != nil { // before anybody watches
		t.Fatal(err)
	}
	if !a.Revoked(early) || a.Connected() {
		t.Error("a process must believe itself at once, and is not connected before it runs")
	}
	heard := make(chan chat.SessionID, 10)
	b.On(func(id chat.SessionID) { heard <- id })
	running(t, w.ctx, a.Run)
	running(t, w.ctx, b.Run)
	if got := await(t, "the early one", heard); got != early {
		t.Errorf("heard %s", got)
	}
	eventually(t, "the connection", func() bool { return a.Connected() && b.Connected() })
	later := chat.NewSessionID()
	if b.Revoked(later) {
		t.Error("revoked before it was")
	}
	for range 3 {
		if err := a.Revoke(w.ctx, later); err != nil {
			t.Fatal(err)
		}
	}
	if got := await(t, "the later one", heard); got != later || !b.Revoked(later) || !a.Revoked(later) {
		t.Errorf("heard %s", got)
	}
	last := chat.NewSessionID()
	if err := b.Revoke(w.ctx, last); err != nil {
		t.Fatal(err)
	}
	if got := await(t, "the last one", heard); got != last {
		t.Errorf("heard %s: a session was told twice", got)
	}
}

func TestARevocationSurvivesARestart(t *testing.T) {
	w := newWorld(t)
	id := chat.NewSessionID()
	synced := 0
	a := newView(w, func(c *RevocationsConfig) { c.Barrier = newSyncfs(func() error { synced++; return nil }, nil, nil) })
	if err := a.Revoke(w.ctx, id); err != nil || synced != 1 {
		t.Fatalf("%v, %d barriers", err, synced)
	}
	w.restart()
	b := newView(w, nil)
	running(t, w.ctx, b.Run)
	eventually(t, "the news", func() bool { return b.Revoked(id) })
}

func TestARevocationThatIsNotDurableIsAnError(t *testing.T) {
	w := newWorld(t)
	a := newView(w, func(c *RevocationsConfig) {
		c.Barrier = newSyncfs(func() error { return errors.New("input/output error") }, nil, nil)
	})
	if err := a.Revoke(w.ctx, chat.NewSessionID()); err == nil {
		t.Error("want an error")
	}
}

func TestRevocationsAreForgottenWhenTheirTokensHaveExpired(t *testing.T) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	r := NewRevocations(RevocationsConfig{Now: c.Now, Log: quiet()})
	id := chat.NewSessionID()
	r.learn(id, c.Now())
	c.advance(14 * time.Minute)
	r.forget()
	if !r.Revoked(id) {
		t.Error("forgotten while its tokens live")
	}
	c.advance(2 * time.Minute)
	r.forget()
	if r.Revoked(id) {
		t.Error("remembered for ever")
	}
}

// Without the broker the view is not to be relied on, 5 s later at most.
func TestAViewWithoutABrokerIsNotConnected(t *testing.T) {
	w := newWorld(t)
	c := &clock{now: time.Now()}
	nc := w.connect(w.server)
	r := newView(w, func(config *RevocationsConfig) { config.NC, config.Now = nc, c.Now })
	running(t, w.ctx, r.Run)
	eventually(t, "the connection", r.Connected)
	nc.Close()
	c.advance(4 * time.Second)
	if !r.Connected() {
		t.Error("gave up after 4 s")
	}
	c.advance(2 * time.Second)
	if r.Connected() {
		t.Error("still counts as connected after 6 s")
	}
}

func TestAWatchThatDoesNotKeepUpProvesNothing(t *testing.T) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	r := NewRevocations(RevocationsConfig{Now: c.Now, Log: quiet()})
	p := proof{loaded: true, seen: 10, last: 10}
	r.prove(&p)
	if !r.Connected() {
		t.Error("everything came")
	}
	c.advance(6 * time.Second)
	p.last = 11 // the bucket has one more, the watch did not bring it
	r.prove(&p)
	if r.Connected() {
		t.Error("a revocation is missing")
	}
	unloaded := proof{last: 0}
	r.prove(&unloaded)
	if r.Connected() {
		t.Error("nothing was read yet")
	}
}
