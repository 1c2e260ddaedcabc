package client

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// eventsOf are the events of one kind, in order.
func eventsOf[E Event](events []Event) []E {
	var all []E
	for _, e := range events {
		if one, ok := e.(E); ok {
			all = append(all, one)
		}
	}
	return all
}

func TestPresenceIsSubscribedAgainOnEachConnection(t *testing.T) {
	s := newFake(t)
	s.busy = 1
	c, l, _ := connected(t, s, nil)
	if err := c.SubscribePresence(s.conv); err != nil {
		t.Fatal(err)
	}
	has[Watching](t, l, "the answer after a refusal that passes", 1)
	c.SetAway(true)
	away := `presence:update {"status":"away"}`
	s.until(t, "away to be told", func() bool { return slices.Contains(s.others, away) })
	s.broadcast(wire.TypePresenceUpdate, wire.PresenceUpdate{UserID: s.user, Status: "offline", LastSeen: "2026-03-01T12:00:00.000Z"})
	has[Presence](t, l, "the update", 2)
	s.abort()
	has[Watching](t, l, "the answer on the next connection", 2)
	s.mu.Lock()
	if n := len(slices.DeleteFunc(slices.Clone(s.others), func(o string) bool { return o != away })); n != 2 {
		t.Errorf("away was told %d times, want once per connection", n)
	}
	s.mu.Unlock()
	var got []Presence
	l.until(t, "three statuses", func(events []Event) bool { got = eventsOf[Presence](events); return len(got) >= 3 })
	want := []Presence{
		{UserID: s.user, Status: wire.StatusAway},
		{UserID: s.user, Status: wire.StatusOffline, LastSeen: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
		{UserID: s.user, Status: wire.StatusAway},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), told (+):\n%s", diff)
	}
	if err := c.SubscribePresence(make([]chat.ConversationID, wire.MaxWatched+1)...); chat.KindOf(err) != chat.Invalid {
		t.Errorf("too many: %v", err)
	}
}

func TestTypingGoesUpOnceInAWhileAndEndsWithAMessage(t *testing.T) {
	s := newFake(t)
	c, l, _ := connected(t, s, nil)
	c.Typing(s.conv, false)
	for range 5 {
		c.Typing(s.conv, true)
	}
	c.Typing(s.conv, false)
	c.Typing(s.conv, true)
	if _, err := mustSend(t, c, s, "hello").Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Typing(s.conv, true)
	if _, err := mustSend(t, c, s, "again").Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := ` {"conversation_id":"` + string(s.conv) + `"}`
	want := []string{wire.TypeTypingStart + body, wire.TypeTypingStop + body, wire.TypeTypingStart + body, wire.TypeTypingStart + body}
	s.mu.Lock()
	if diff := cmp.Diff(want, s.others); diff != "" {
		t.Errorf("want (-), sent (+):\n%s", diff)
	}
	s.mu.Unlock()

	peer := s.says("first", false).SenderID
	down := wire.TypingDown{ConversationID: s.conv, UserID: peer}
	s.broadcast(wire.TypeTypingStart, down)
	s.broadcast(wire.TypeTypingStart, down) // lasts longer, no event
	s.broadcast(wire.TypeTypingStop, down)
	s.broadcast(wire.TypeTypingStop, down)
	s.broadcast(wire.TypeTypingStart, down)
	s.says("ends it", false)
	s.broadcast(wire.TypeTypingStart, down)
	has[Typing](t, l, "typing", 5)
	s.abort()
	has[Typing](t, l, "the end with the connection", 6)
	var writing []bool
	l.until(t, "all", func(events []Event) bool {
		writing = nil
		for _, e := range eventsOf[Typing](events) {
			writing = append(writing, e.Writing)
		}
		return true
	})
	if want := []bool{true, false, true, false, true, false}; !slices.Equal(writing, want) {
		t.Errorf("told %v, want %v", writing, want)
	}
}

func TestTypingEndsByTheClock(t *testing.T) {
	began := time.Now()
	who := typistKey{"g", "u"}
	p := company{typists: map[typistKey]time.Time{who: began}}
	next := func() uint64 { return 1 }
	if _, ended := p.due(began.Add(wire.TypingEnds-time.Millisecond), next); len(ended) != 0 {
		t.Errorf("ended early: %v", ended)
	}
	_, ended := p.due(began.Add(wire.TypingEnds), next)
	if len(ended) != 1 || ended[0] != Event(Typing{"g", "u", false}) || len(p.typists) != 0 {
		t.Errorf("after 6 s: %v, %d left", ended, len(p.typists))
	}
}
