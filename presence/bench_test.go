package presence

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// The crowd of the benchmark: 10,000 people on four edges, each with 20 contacts. One in ten looks at his
// contacts at any time. Each second 1,000 connections come or go; half of those that go are back within 5 s.
const (
	crowdPeople   = 10_000
	crowdContacts = 20
	crowdEdges    = 4
	crowdLooking  = crowdPeople / 10
	crowdRate     = 1000
)

type crowd struct {
	users    []chat.UserID
	lookers  map[chat.UserID][]int // people who look at a person, by index
	contacts [][]int
	online   []bool
	random   *rand.Rand
}

func newCrowd() *crowd {
	c := &crowd{lookers: map[chat.UserID][]int{}, online: make([]bool, crowdPeople), random: rand.New(rand.NewPCG(1, 2))}
	for range crowdPeople {
		c.users = append(c.users, chat.NewUserID())
	}
	c.contacts = make([][]int, crowdPeople)
	for i := range c.contacts {
		for range crowdContacts {
			other := c.random.IntN(crowdPeople)
			c.contacts[i] = append(c.contacts[i], other)
			if i < crowdLooking {
				c.lookers[c.users[other]] = append(c.lookers[c.users[other]], i)
			}
		}
	}
	return c
}

func (c *crowd) edgeOf(i int) string { return string(rune('a' + i%crowdEdges)) }

// change lets the next person come or go: about half of those who just went come back.
func (c *crowd) change(recent *[]int) (person int, comes bool) {
	if len(*recent) > 0 && c.random.IntN(3) == 0 {
		person = (*recent)[0]
		*recent = (*recent)[1:]
	} else {
		person = c.random.IntN(crowdPeople)
	}
	c.online[person] = !c.online[person]
	if !c.online[person] && c.random.IntN(2) == 0 {
		*recent = append(*recent, person)
	}
	return person, c.online[person]
}

// frame is what an edge makes once for everybody who is told.
func frame(u chat.UserID, s wire.Status) []byte {
	b, err := wire.EncodeFrame(0, wire.TypePresenceUpdate, wire.PresenceUpdate{UserID: u, Status: s.String()})
	if err != nil {
		panic(err)
	}
	return b
}

type bill struct{ frames, hops, bytes int }

func (t *bill) report(b *testing.B) {
	n := float64(b.N)
	b.ReportMetric(float64(t.frames)/n, "frames/change")
	b.ReportMetric(float64(t.hops)/n, "hops/change")
	b.ReportMetric(float64(t.bytes)/n, "hop-B/change")
}

// BenchmarkPresence is one connection's coming or going, from the registry's news to the frames that are made
// for clients; queues and sockets are not in it.
func BenchmarkPresence(b *testing.B) {
	b.Run("interests", func(b *testing.B) { benchInterests(b, newCrowd()) })
	b.Run("broadcast", func(b *testing.B) { benchBroadcast(b, newCrowd()) })
}

func benchInterests(b *testing.B, c *crowd) {
	now := time.Unix(1_800_000_000, 0)
	r := newRoll(Limits{}.withDefaults(), newShardMetrics(nil, &Shard{}), now)
	now = now.Add(2 * Grace)
	r.tick(now)
	for e := range crowdEdges {
		var watched []chat.UserID
		for i := e; i < crowdLooking; i += crowdEdges {
			for _, other := range c.contacts[i] {
				watched = append(watched, c.users[other])
			}
		}
		if _, err := r.watch(c.edgeOf(e), 1, watched, now); err != nil {
			b.Fatal(err)
		}
	}
	var total bill
	var queued [][]byte // as the outboxes would take them
	var recent []int
	const perTick = crowdRate / int(time.Second/tickEvery)
	b.ResetTimer()
	for i := range b.N {
		person, comes := c.change(&recent)
		r.entry(Entry{User: c.users[person], Edge: c.edgeOf(person), Run: 1, Number: uint64(person), Gone: !comes}, now)
		if i%perTick != perTick-1 {
			continue
		}
		now = now.Add(tickEvery)
		for e := range crowdEdges {
			r.beat(c.edgeOf(e), 1, now)
		}
		r.tick(now)
		for _, n := range r.notices() {
			body := wire.AppendAnnouncement(nil, &wire.Announcement{Version: r.version, People: n.people})
			total.hops, total.bytes = total.hops+1, total.bytes+len(body)
			a, err := wire.DecodeAnnouncement(body)
			if err != nil {
				b.Fatal(err)
			}
			queued = queued[:0]
			for _, p := range a.People {
				made := frame(p.UserID, p.Status)
				for _, looker := range c.lookers[p.UserID] {
					if c.edgeOf(looker) == n.edge {
						queued = append(queued, made)
					}
				}
			}
			total.frames += len(queued)
		}
	}
	total.report(b)
}

// benchBroadcast tells every change at once to every edge, and there to every contact who is connected.
func benchBroadcast(b *testing.B, c *crowd) {
	var total bill
	var queued [][]byte
	var recent []int
	b.ResetTimer()
	for range b.N {
		person, comes := c.change(&recent)
		s := wire.PersonStatus{UserID: c.users[person], Status: wire.StatusOffline}
		if comes {
			s.Status = wire.StatusOnline
		}
		for e := range crowdEdges {
			body := wire.AppendAnnouncement(nil, &wire.Announcement{People: []wire.PersonStatus{s}})
			total.hops, total.bytes = total.hops+1, total.bytes+len(body)
			a, err := wire.DecodeAnnouncement(body)
			if err != nil {
				b.Fatal(err)
			}
			made := frame(a.People[0].UserID, a.People[0].Status)
			queued = queued[:0]
			for _, other := range c.contacts[person] {
				if c.online[other] && other%crowdEdges == e {
					queued = append(queued, made)
				}
			}
			total.frames += len(queued)
		}
	}
	total.report(b)
}

// BenchmarkConnectionMemory holds b.N connections of as many people: the registrar of their edge and the owner of
// their shard, both in one process.
func BenchmarkConnectionMemory(b *testing.B) {
	users := make([]chat.UserID, b.N)
	for i := range users {
		users[i] = chat.NewUserID()
	}
	before := heapNow()
	edge := NewRegistrar(RegistrarConfig{Edge: "e1"})
	for _, u := range users {
		edge.Enter(u, session)
	}
	for len(edge.take()) > 0 { // written
	}
	registrar := heapNow()
	r := newRoll(Limits{}.withDefaults(), newShardMetrics(nil, &Shard{}), time.Unix(1_800_000_000, 0))
	for i, u := range users {
		r.entry(Entry{User: u, Edge: "e1", Run: 1, Number: uint64(i)}, time.Unix(1_800_000_000, 0))
	}
	b.ReportMetric(float64(registrar-before)/float64(b.N), "registrar-B")
	b.ReportMetric(float64(heapNow()-registrar)/float64(b.N), "owner-B")
	runtime.KeepAlive(edge)
	runtime.KeepAlive(r)
}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
