package fanout

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// modelEdge is an edge's side of the numbering: it holds a lane at a gap, asks for a replay, goes on.
type modelEdge struct {
	name     string
	last     uint64
	begun    bool
	online   map[chat.UserID]uint64 // position of the registration
	received map[chat.UserID][]wire.Delivery
	inbox    []wire.Hop // on the way
}

// online time of one user at one edge: what lies in (from, to] must arrive there.
type stay struct {
	edge     string
	user     chat.UserID
	from, to uint64
}

type model struct {
	t     *rapid.T
	b     *bench
	edges []*modelEdge
	stays []stay
	names []string
	ids   []chat.ConversationID
	next  []chat.Entry // committed, not handled
	gone  map[place]bool
}

func (m *model) edge(name string) *modelEdge {
	return m.edges[slices.IndexFunc(m.edges, func(e *modelEdge) bool { return e.name == name })]
}

// arrive takes the next hop from the way to an edge.
func (m *model) arrive(e *modelEdge, h wire.Hop) {
	if h.Lane != wire.LaneLog {
		return
	}
	if !e.begun {
		m.t.Fatalf("edge %s hears of a lane it never registered with", e.name)
	}
	if h.Prev > e.last {
		m.ask(e)
	}
	if h.Prev > e.last {
		m.t.Fatalf("edge %s is at %d after a replay, the hop follows %d", e.name, e.last, h.Prev)
	}
	m.apply(e, h)
}

func (m *model) apply(e *modelEdge, h wire.Hop) {
	for _, d := range h.Deliveries {
		if d.Seq <= e.last {
			continue
		}
		e.last = d.Seq
		for _, u := range d.Recipients {
			if from, ok := e.online[u]; ok && d.Seq > from {
				e.received[u] = append(e.received[u], d)
			}
		}
	}
}

// ask replays; everything sent before comes first or is lost, the replay itself arrives.
func (m *model) ask(e *modelEdge) {
	m.b.wires.take(e.name)
	if err := m.b.Replay(context.Background(), e.name, wire.LaneLog, 1, e.last); err != nil {
		m.t.Fatalf("edge %s at %d: %v", e.name, e.last, err)
	}
	for _, h := range m.b.wires.take(e.name) {
		if !h.Replay || h.Prev > e.last {
			m.t.Fatalf("edge %s at %d: replay follows %d", e.name, e.last, h.Prev)
		}
		m.apply(e, h)
	}
	e.inbox = nil // older than the replay
}

func (m *model) collect() {
	for _, e := range m.edges {
		e.inbox = append(e.inbox, m.b.wires.take(e.name)...)
	}
}

func (m *model) commit() {
	id := rapid.SampledFrom(m.ids).Draw(m.t, "conversation")
	who := rapid.SampledFrom(m.names).Draw(m.t, "who")
	state := m.b.states[id]
	if !state.Exists() {
		m.next = append(m.next, m.b.create(id, "owner", who, "keeper"))
		return
	}
	switch rapid.SampledFrom([]string{"say", "say", "say", "add", "remove", "delete", "edit", "fence"}).Draw(m.t, "what") {
	case "say":
		m.next = append(m.next, m.b.say(id, "owner", fmt.Sprint("text of ", state.Head.Seq+1)))
	case "add":
		if !state.IsMember(user(who)) {
			m.next = append(m.next, m.b.member(id, chat.ActionAdded, who))
		}
	case "remove":
		if state.IsMember(user(who)) {
			m.next = append(m.next, m.b.member(id, chat.ActionRemoved, who))
		}
	case "delete":
		target := chat.Seq(rapid.Uint64Range(1, uint64(state.Head.Seq)).Draw(m.t, "target"))
		m.next = append(m.next, m.b.delete(id, "owner", target))
		m.gone[place{id, target}] = true
	case "edit":
		target := chat.Seq(rapid.Uint64Range(1, uint64(state.Head.Seq)).Draw(m.t, "target"))
		if !m.gone[place{id, target}] {
			m.next = append(m.next, m.b.edit(id, "owner", target, "new text"))
		}
	case "fence":
		m.next = append(m.next, m.b.fence())
	}
}

func (m *model) handle(n int) {
	n = min(n, len(m.next))
	if n == 0 {
		return
	}
	if rapid.IntRange(0, 9).Draw(m.t, "forget") == 0 {
		m.b.audiences.remove(m.next[0].ConversationID)
	}
	if err := m.b.Handle(context.Background(), m.next[:n]); err != nil {
		m.t.Fatal(err)
	}
	m.next = m.next[n:]
	m.collect()
}

func (m *model) register() {
	e := rapid.SampledFrom(m.edges).Draw(m.t, "edge")
	u := user(rapid.SampledFrom(m.names).Draw(m.t, "user"))
	if _, on := e.online[u]; on {
		m.leave(e, u)
		return
	}
	m.handle(len(m.next)) // it waits for what is durable
	r, err := m.b.Register(context.Background(), e.name, []chat.UserID{u})
	if err != nil {
		m.t.Fatal(err)
	}
	m.collect()
	if !e.begun {
		e.begun, e.last = true, r.Position
	}
	e.online[u] = r.Position
}

func (m *model) leave(e *modelEdge, u chat.UserID) {
	m.drain(e) // what was on the way has arrived when a connection ends in order
	m.stays = append(m.stays, stay{e.name, u, e.online[u], m.b.Position().StreamSeq})
	delete(e.online, u)
	m.b.Unregister(e.name, []chat.UserID{u})
}

// drain lets everything on the way arrive, and what was lost be found by a heartbeat.
func (m *model) drain(e *modelEdge) {
	m.collect()
	for len(e.inbox) > 0 {
		h := e.inbox[0]
		e.inbox = e.inbox[1:]
		m.arrive(e, h)
	}
	if s := m.b.registry.edges[e.name]; s != nil && s.last[0] > e.last {
		m.ask(e)
	}
}

// network loses, repeats or lets arrive the first hop on the way.
func (m *model) network() {
	e := rapid.SampledFrom(m.edges).Draw(m.t, "edge")
	if len(e.inbox) == 0 {
		return
	}
	h := e.inbox[0]
	switch rapid.IntRange(0, 3).Draw(m.t, "fate") {
	case 0:
		e.inbox = e.inbox[1:] // lost
	case 1:
		m.arrive(e, h) // and it comes again
	default:
		e.inbox = e.inbox[1:]
		m.arrive(e, h)
	}
}

// check compares what arrived with what the heart's rule says. A record of which somebody is removed later
// may be missing for them: the owner's state may have been ahead, or the replay came after the removal.
func (m *model) check() {
	for _, s := range m.stays {
		var at uint64
		arrived := map[uint64]bool{}
		for _, d := range m.edge(s.edge).received[s.user] {
			if d.Seq <= s.from || d.Seq > s.to {
				continue
			}
			if d.Seq <= at {
				m.t.Fatalf("%s at %s: %d after %d", s.user, s.edge, d.Seq, at)
			}
			at = d.Seq
			arrived[d.Seq] = true
			m.checkDelivery(s, d)
		}
		for i := s.from; i < s.to; i++ {
			e := &m.b.log[i]
			due := slices.Contains(m.b.audience[spot(e)], s.user)
			if due && !arrived[e.StreamSeq] && !m.removedAfter(e, s.user) {
				m.t.Fatalf("%s at %s (%d, %d]: %d of %s is missing", s.user, s.edge, s.from, s.to, e.StreamSeq, e.ConversationID)
			}
		}
	}
}

func (m *model) checkDelivery(s stay, d wire.Delivery) {
	e := &m.b.log[d.Seq-1]
	if !slices.Contains(m.b.audience[spot(e)], s.user) {
		m.t.Fatalf("%s received %d, which is not theirs", s.user, d.Seq)
	}
	whole := string(wire.AppendRaw(nil, frameType(e.Kind), e.Raw))
	if string(d.Frame) == whole {
		return
	}
	target := place{e.ConversationID, e.Seq}
	if e.Kind == chat.KindEdit {
		target.seq = e.TargetSeq
	}
	if !m.gone[target] || !strings.Contains(string(d.Frame), `"text":"",`) {
		m.t.Fatalf("frame %s of record %s", d.Frame, e.Raw)
	}
}

func (m *model) removedAfter(e *chat.Entry, u chat.UserID) bool {
	return slices.ContainsFunc(m.b.log[e.StreamSeq:], func(later chat.Entry) bool {
		return later.ConversationID == e.ConversationID && later.Action == chat.ActionRemoved && slices.Contains(later.UserIDs, u)
	})
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{t: rt, b: newBench(t, Limits{}), gone: map[place]bool{}, names: []string{"ann", "bob", "cid", "dee"}}
		m.ids = []chat.ConversationID{groupID("g"), groupID("h")}
		for _, n := range []string{"east", "west", "north"} {
			m.edges = append(m.edges, &modelEdge{name: n, online: map[chat.UserID]uint64{}, received: map[chat.UserID][]wire.Delivery{}})
		}
		if _, err := m.b.Start(context.Background()); err != nil {
			rt.Fatal(err)
		}
		actions := map[string]func(*rapid.T){
			"commit":    func(*rapid.T) { m.commit() },
			"commit 2":  func(*rapid.T) { m.commit() },
			"handle":    func(t *rapid.T) { m.handle(rapid.IntRange(1, 5).Draw(t, "batch")) },
			"register":  func(*rapid.T) { m.register() },
			"network":   func(*rapid.T) { m.network() },
			"network 2": func(*rapid.T) { m.network() },
		}
		rt.Repeat(actions)
		m.handle(len(m.next))
		for _, e := range m.edges {
			for u := range e.online {
				m.leave(e, u)
			}
		}
		m.check()
	})
}

// In step with the records, the rule here is the heart's.
func TestAudienceIsTheHearts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		g := groupID("g")
		a := &audience{}
		m := &model{t: rt, b: &bench{world: w}, gone: map[place]bool{}, names: []string{"ann", "bob", "cid"}, ids: []chat.ConversationID{g}}
		for range rapid.IntRange(1, 40).Draw(rt, "records") {
			m.commit()
		}
		for i := range w.log {
			e := &w.log[i]
			if e.Kind == chat.KindFence {
				continue
			}
			users, _ := a.receive(&e.Record, e.Bucket)
			if !slices.Equal(users, w.audience[spot(e)]) {
				rt.Fatalf("%s: %v, want %v", e.Raw, users, w.audience[spot(e)])
			}
		}
	})
}
