package edge

import (
	"fmt"
	"testing"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// counted is the sum of a metric over its labels, or over those with a value among them.
func (w *world) counted(name string, label ...string) float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "parley_edge_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if len(label) > 0 && l.GetValue() != label[0] {
					m = nil
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// receives reads live messages, which must have these texts in this order.
func (d *phone) receives(texts ...string) {
	d.t.Helper()
	for _, text := range texts {
		if r := into[chat.Record](d.t, d.want(wire.TypeMessageReceived)); r.Text != text {
			d.t.Fatalf("received %q, want %q", r.Text, text)
		}
	}
}

func TestALostHopIsReplayedBeforeWhatFollows(t *testing.T) {
	onEachForm(t, aLostHopIsReplayedBeforeWhatFollows)
}

func aLostHopIsReplayedBeforeWhatFollows(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	d := w.login(t, alice)
	w.with(func() { w.lose = func(seq uint64) bool { return seq == 2 || seq == 4 || seq == 5 } })
	for i := range 6 {
		w.say(g, bob, fmt.Sprint(i))
	}
	d.receives("0", "1", "2", "3", "4", "5")
	d.quiet()
	var replays int
	w.with(func() { replays = w.replays })
	if replays == 0 {
		t.Error("nothing was replayed")
	}
}

func TestTheVeryFirstHopIsMissedToo(t *testing.T) { onEachForm(t, theVeryFirstHopIsMissedToo) }

func theVeryFirstHopIsMissedToo(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	d := w.login(t, alice)
	w.with(func() { w.lose = func(uint64) bool { return true } })
	w.say(g, bob, "lost")
	w.with(func() { w.lose = nil })
	w.heartbeat()
	d.receives("lost")
}

func TestRepeatedAndLateHopsAreDropped(t *testing.T) { onEachForm(t, repeatedAndLateHopsAreDropped) }

func repeatedAndLateHopsAreDropped(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	d := w.login(t, alice)
	w.with(func() { w.late = true })
	w.say(g, bob, "0")
	w.say(g, bob, "1")
	w.with(func() { w.queued = append(w.queued, w.queued[0], w.queued[1]) })
	w.flush()
	d.receives("0", "1")
	d.quiet()
	old := wire.AppendHop(nil, &wire.Hop{Generation: 1, Term: 0, Prev: 900})
	w.edge.Deliver(old)
	w.edge.Deliver([]byte("nonsense"))
	w.say(g, bob, "2")
	d.receives("2")
	if w.counted("bad_hops_total") != 1 {
		t.Error("the unreadable hop was not counted")
	}
}

func TestANewWorkerIsToldOurUsersAndReplays(t *testing.T) {
	onEachForm(t, aNewWorkerIsToldOurUsersAndReplays)
}

func aNewWorkerIsToldOurUsersAndReplays(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	d := w.login(t, alice)
	w.say(g, bob, "before")
	d.receives("before")
	w.with(func() {
		w.term = 2
		clear(w.counts) // it knows nobody
	})
	w.say(g, bob, "unseen") // for nobody: no hop
	w.with(func() { w.sent = uint64(len(w.log)) })
	w.heartbeat()
	d.receives("unseen")
	w.say(g, bob, "after")
	d.receives("after")
	w.with(func() {
		if w.counts[alice] != 1 {
			t.Errorf("alice is registered %d times", w.counts[alice])
		}
	})
}

func TestWithoutAReplayClientsAreToldToResync(t *testing.T) {
	onEachForm(t, withoutAReplayClientsAreToldToResync)
}

func withoutAReplayClientsAreToldToResync(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	d := w.login(t, alice)
	w.with(func() {
		w.noReplay = true
		w.lose = func(seq uint64) bool { return seq == 2 }
	})
	w.say(g, bob, "lost")
	w.say(g, bob, "next")
	d.receives("next")
	d.want(wire.TypeResync)
	w.say(g, bob, "goes on")
	d.receives("goes on")
}

func TestTooManyHeldHopsEndInAResync(t *testing.T) { onEachForm(t, tooManyHeldHopsEndInAResync) }

func tooManyHeldHopsEndInAResync(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	d := w.login(t, alice)
	l := w.edge.lane(0, laneLog)
	l.mu.Lock()
	l.replaying = true
	frame := wire.AppendRaw(nil, wire.TypeMessageReceived, []byte(`{}`))
	big := wire.Hop{Generation: 1, Term: 1, Prev: 5, Deliveries: make([]wire.Delivery, heldDeliveries)}
	for i := range big.Deliveries {
		big.Deliveries[i] = wire.Delivery{Seq: uint64(6 + i), Conversation: g, Frame: frame}
	}
	l.keep(big, 1)
	l.keep(wire.Hop{Generation: 1, Term: 1, Prev: big.Last(), Deliveries: big.Deliveries[:1]}, 1)
	if len(l.held) != 1 || !l.overflowed {
		t.Errorf("%d hops held, overflowed %v", len(l.held), l.overflowed)
	}
	l.mu.Unlock()
	w.edge.replay(l)
	d.want(wire.TypeResync)
}

func TestReceiptsComeOnTheirOwnLane(t *testing.T) { onEachForm(t, receiptsComeOnTheirOwnLane) }

func receiptsComeOnTheirOwnLane(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	direct := w.direct(alice, bob)
	d := w.login(t, alice)
	down, err := wire.EncodeFrame(0, wire.TypeMessageRead, wire.CursorDown{ConversationID: direct, UserID: bob, Seq: 1})
	if err != nil {
		t.Fatal(err)
	}
	hop := wire.Hop{Lane: wire.LaneCursors, Generation: 1, Term: 9, Deliveries: []wire.Delivery{
		{Seq: 1, Recipients: []chat.UserID{alice}, Conversation: direct, Frame: down},
	}}
	w.edge.Deliver(wire.AppendHop(nil, &hop))
	if got := into[wire.CursorDown](t, d.want(wire.TypeMessageRead)); got.UserID != bob {
		t.Errorf("got %+v", got)
	}
}

func TestHeadsAreReadFromRecordsAsTheyAreWritten(t *testing.T) {
	r := chat.Record{
		ConversationID: "g", Seq: 7, N: 5, ID: 12345, Kind: chat.KindMessage, SenderID: "u",
		Text: `,"n":9,"id":"8"`,
	}
	head, ok := headOf(7, wire.AppendRaw(nil, wire.TypeMessageReceived, r.AppendJSON(nil)))
	if !ok || head != (chat.Head{Seq: 7, N: 5, ID: 12345}) {
		t.Errorf("got %+v %v", head, ok)
	}
	if _, ok := headOf(7, []byte(`{"type":"x"}`)); ok {
		t.Error("a head was found where there is none")
	}
}
