package presence

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// step is one thing that happens to a site.
type step struct {
	what string
	user int
	edge int
	wait time.Duration // afterwards
}

func steps(t *rapid.T) []step {
	waits := []time.Duration{0, 100 * time.Millisecond, time.Second, 4 * time.Second, 9 * time.Second, 12 * time.Second, 35 * time.Second}
	kinds := []string{"enter", "enter", "enter", "leave", "leave", "away", "back", "kill", "owner", "lose", "outage"}
	all := make([]step, 0, 40)
	for range rapid.IntRange(5, 40).Draw(t, "steps") {
		all = append(all, step{
			what: rapid.SampledFrom(kinds).Draw(t, "what"), user: rapid.IntRange(0, 3).Draw(t, "user"),
			edge: rapid.IntRange(0, 1).Draw(t, "edge"), wait: rapid.SampledFrom(waits).Draw(t, "wait"),
		})
	}
	return all
}

// play is a site under steps, beside what is true of its people.
type play struct {
	*site
	users   []chat.UserID
	edges   []*desk
	life    int              // of edges, so that names differ
	seats   []map[uint64]int // by edge: connection to user
	away    map[string]bool  // by edge and connection
	watcher *desk            // lives through everything
}

func newPlay(t *testing.T) *play {
	p := &play{
		site: newSite(t, Limits{}), away: map[string]bool{},
	}
	for i := range 4 {
		p.users = append(p.users, chat.UserID("u"+strings.Repeat(string(rune('a'+i)), 26)))
	}
	p.seats = make([]map[uint64]int, 2)
	p.edges = make([]*desk, 2)
	for i := range p.edges {
		p.open(i)
	}
	p.watcher = p.edge("watcher")
	p.watcher.watch(p.users...)
	return p
}

func (p *play) open(edge int) {
	p.life++
	p.edges[edge], p.seats[edge] = p.edge(fmt.Sprint("edge", p.life)), map[uint64]int{}
}

func (p *play) key(edge int, c uint64) string { return fmt.Sprint(p.edges[edge].name, c) }

// one picks the first connection of a user at an edge.
func (p *play) one(s step) (uint64, bool) {
	for _, c := range slices.Sorted(maps.Keys(p.seats[s.edge])) {
		if p.seats[s.edge][c] == s.user {
			return c, true
		}
	}
	return 0, false
}

func (p *play) do(s step) {
	user, at := p.users[s.user], p.edges[s.edge]
	switch s.what {
	case "enter":
		p.seats[s.edge][at.Enter(user, session)] = s.user
	case "leave":
		if c, ok := p.one(s); ok {
			at.Leave(c)
			delete(p.seats[s.edge], c)
		}
	case "away", "back":
		if c, ok := p.one(s); ok {
			at.SetAway(c, s.what == "away")
			p.away[p.key(s.edge, c)] = s.what == "away"
		}
	case "kill":
		at.kill()
		p.open(s.edge)
	case "owner":
		p.lease.lose()
	case "lose":
		p.bus.mu.Lock()
		p.bus.lost += 2
		p.bus.mu.Unlock()
	case "outage":
		p.bus.mu.Lock()
		p.bus.away = true
		p.bus.mu.Unlock()
		time.Sleep(7 * time.Second)
		p.bus.mu.Lock()
		p.bus.away = false
		p.bus.mu.Unlock()
	}
	time.Sleep(s.wait)
}

func (p *play) status(user chat.UserID) wire.Status {
	status := wire.StatusOffline
	for edge, seats := range p.seats {
		for c, u := range seats {
			if p.users[u] != user {
				continue
			}
			if p.away[p.key(edge, c)] {
				status = max(status, wire.StatusAway)
			} else {
				status = wire.StatusOnline
			}
		}
	}
	return status
}

func (p *play) known(u chat.UserID) wire.Status {
	p.watcher.mu.Lock()
	defer p.watcher.mu.Unlock()
	return p.watcher.known[u].Status
}

// TestAnyOrderOfEventsEndsInTheTruth plays steps, lets everything come to rest and compares.
func TestAnyOrderOfEventsEndsInTheTruth(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		script := steps(rt)
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t)
			for _, s := range script {
				p.do(s)
			}
			p.bus.mu.Lock()
			p.bus.lost = 0
			p.bus.mu.Unlock()
			time.Sleep(EdgeLife + 2*Grace + 2*BeatEvery)
			synctest.Wait()
			for _, u := range p.users {
				if got, want := p.known(u), p.status(u); got != want {
					t.Errorf("%s: told %s, is %s", u[:3], got, want)
				}
			}
			living := 0
			for _, seats := range p.seats {
				living += len(seats)
			}
			if n := p.bus.size(); n != living {
				t.Errorf("%d entries in the registry, %d connections", n, living)
			}
		})
		if t.Failed() {
			rt.Fatalf("script %+v", script)
		}
	})
}

// TestNobodyWhoStaysIsEverOffline keeps one person connected, now here, now there, through everything else.
func TestNobodyWhoStaysIsEverOffline(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		script := steps(rt)
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t)
			stays := chat.NewUserID()
			p.watcher.watch(stays)
			c := p.watcher.Enter(stays, session)
			time.Sleep(time.Second)
			p.watcher.hears()
			for _, s := range script {
				p.do(s)
				time.Sleep(2 * time.Second) // an outage of 7 s and a reconnect of 1 s still fit into the grace
				p.watcher.Leave(c)
				time.Sleep(time.Second)
				c = p.watcher.Enter(stays, session)
				if slices.Contains(p.watcher.hears(), nameOf(stays)+" offline") {
					t.Fatalf("after %+v of %+v: told offline", s, script)
				}
			}
		})
		if t.Failed() {
			rt.Fatalf("script %+v", script)
		}
	})
}
