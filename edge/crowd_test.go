package edge

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// crowd is a small correct model of all owners of presence.
type crowd struct {
	mu      sync.Mutex
	next    uint64
	seats   map[uint64]chat.UserID
	away    map[uint64]bool
	status  map[chat.UserID]wire.PersonStatus
	uses    map[chat.UserID]int
	version uint64
	answer  func() // before Watch answers
	seen    map[chat.UserID]time.Time
}

func newCrowd() *crowd {
	return &crowd{
		seats: map[uint64]chat.UserID{}, away: map[uint64]bool{}, status: map[chat.UserID]wire.PersonStatus{},
		uses: map[chat.UserID]int{}, seen: map[chat.UserID]time.Time{},
	}
}

func (c *crowd) Enter(user chat.UserID, _ chat.SessionID) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	c.seats[c.next] = user
	return c.next
}

func (c *crowd) SetAway(n uint64, away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away[n] = away
}

func (c *crowd) isAway(n uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away[n]
}

func (c *crowd) registered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seats)
}

func (c *crowd) Leave(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seats, n)
}

func (c *crowd) Watch(_ context.Context, users []chat.UserID) []wire.Announcement {
	c.mu.Lock()
	answer := c.answer
	for _, u := range users {
		c.uses[u]++
	}
	a := wire.Announcement{Term: 1, People: c.of(users)}
	c.version++
	a.Version = c.version
	c.mu.Unlock()
	if answer != nil {
		answer()
	}
	return []wire.Announcement{a}
}

func (c *crowd) of(users []chat.UserID) []wire.PersonStatus {
	var people []wire.PersonStatus
	for _, u := range users {
		if s, ok := c.status[u]; ok {
			people = append(people, s)
		}
	}
	return people
}

func (c *crowd) Unwatch(users []chat.UserID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range users {
		if c.uses[u]--; c.uses[u] == 0 {
			delete(c.uses, u)
		}
	}
}

func (c *crowd) Look(_ context.Context, users []chat.UserID) ([]wire.PersonStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of(users), nil
}

// watched lists who is watched, sorted.
func (c *crowd) watched() []chat.UserID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.uses))
}

// becomes has a person's status change, and announces it to the edge if it watches.
func (w *world) becomes(u chat.UserID, s wire.Status) {
	c := w.crowd
	c.mu.Lock()
	c.status[u] = wire.PersonStatus{UserID: u, Status: s}
	c.version++
	a := wire.Announcement{Term: 1, Version: c.version, People: []wire.PersonStatus{c.status[u]}}
	told := c.uses[u] > 0
	c.mu.Unlock()
	if told {
		w.edge.Deliver(wire.AppendAnnouncement(nil, &a))
	}
}

func (p people) LastSeen(_ context.Context, ids []chat.UserID) (map[chat.UserID]time.Time, error) {
	p.w.crowd.mu.Lock()
	defer p.w.crowd.mu.Unlock()
	found := map[chat.UserID]time.Time{}
	for _, u := range ids {
		if at, ok := p.w.crowd.seen[u]; ok {
			found[u] = at
		}
	}
	return found, nil
}

// Typing is heard as the worker's would be.
func (k worker) Typing(_ chat.ConversationID, user chat.UserID, stop bool) {
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	what := "start "
	if stop {
		what = "stop "
	}
	k.w.typed = append(k.w.typed, what+string(user))
}
