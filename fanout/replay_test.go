package fanout

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func (b *bench) replay(t *testing.T, from uint64) []wire.Hop {
	t.Helper()
	const edge = "e"
	b.wires.take(edge)
	if err := b.Replay(t.Context(), edge, wire.LaneLog, b.Position().Generation, from); err != nil {
		t.Fatal(err)
	}
	hops := b.wires.take(edge)
	for _, h := range hops {
		if !h.Replay {
			t.Errorf("hop %+v is not marked as a replay", h)
		}
	}
	return hops
}

func TestReplayRebuildsARange(t *testing.T) {
	b := started(t, Limits{})
	g := groupID("g")
	b.register(t, "e", "ann")
	b.register(t, "f", "bob")
	b.handle(t, b.create(g, "owner", "ann", "bob"))
	for i := range 300 {
		b.handle(t, b.say(g, "ann", fmt.Sprint(i)))
	}
	b.register(t, "e", "bob") // gets nothing older
	hops := b.replay(t, 51)
	checkChain(t, hops, 51, 301, 3)
	var want []string
	for seq := 52; seq <= 301; seq++ {
		want = append(want, fmt.Sprint("ann ", seq))
	}
	if diff := cmp.Diff(want, got(hops, "ann", "bob")); diff != "" {
		t.Error(diff)
	}
	b.handle(t, b.say(g, "ann", "live again"))
	checkChain(t, b.wires.take("e"), 301, 302, 1)
}

func TestReplayOfNothingSaysSo(t *testing.T) {
	b := started(t, Limits{})
	g := groupID("g")
	b.register(t, "e", "ann")
	b.handle(t, b.create(g, "owner", "ann"))
	if hops := b.replay(t, 1); len(hops) != 1 || hops[0].Prev != 1 || len(hops[0].Deliveries) != 0 {
		t.Errorf("hops %+v", hops)
	}
}

// An edge that was away and came back as new has numbers from before: they are moved on.
func TestReplayMovesTheNumberOfAnEdgeWithoutRecipients(t *testing.T) {
	b := started(t, Limits{})
	g := groupID("g")
	b.register(t, "e", "ann")
	b.handle(t, b.create(g, "owner", "ann", "bob"), b.say(g, "ann", "1"))
	b.Forget("e")
	b.handle(t, b.say(g, "ann", "2"), b.say(g, "ann", "3"))
	b.register(t, "e", "bob")
	hops := b.replay(t, 2)
	checkChain(t, hops, 2, 4, 1)
	if lines := got(hops, "ann", "bob"); len(lines) != 0 {
		t.Error("delivered", lines)
	}
}

func TestReplayBeyondTheRing(t *testing.T) {
	for name, limits := range map[string]Limits{"records": {RingRecords: 10}, "bytes": {RingBytes: 10 * 600}} {
		t.Run(name, func(t *testing.T) {
			b := started(t, limits)
			g := groupID("g")
			b.register(t, "e", "ann")
			b.handle(t, b.create(g, "owner", "ann"))
			for range 50 {
				b.handle(t, b.say(g, "ann", strings.Repeat("x", 10)))
			}
			kept := uint64(len(b.rings[0].above(0)))
			if kept > 12 || kept < 8 {
				t.Fatalf("%d items kept", kept)
			}
			wantUnavailable(t, b.Replay(t.Context(), "e", wire.LaneLog, 1, 51-kept-1))
			checkChain(t, b.replay(t, 51-kept), 51-kept, 51, 1)
			if n := valueOf(t, b.metrics.resyncs); n != 1 {
				t.Errorf("%v resyncs counted", n)
			}
		})
	}
}

func TestReplayRefusals(t *testing.T) {
	b := newBench(t, Limits{})
	g := groupID("g")
	b.create(g, "owner", "ann")
	b.say(g, "ann", "before the worker began")
	b.start(t)
	b.register(t, "e", "ann")
	b.handle(t, b.say(g, "ann", "x"))
	for what, err := range map[string]error{
		"before the worker began": b.Replay(t.Context(), "e", wire.LaneLog, 1, 1),
		"unknown edge":            b.Replay(t.Context(), "f", wire.LaneLog, 1, 2),
		"the future":              b.Replay(t.Context(), "e", wire.LaneLog, 1, 4),
		"no such lane":            b.Replay(t.Context(), "e", 2, 1, 2),
		"another generation":      b.Replay(t.Context(), "e", wire.LaneLog, 9, 2),
		"cursors before any":      b.Replay(t.Context(), "e", wire.LaneCursors, 0, 100),
	} {
		if chat.KindOf(err) != chat.Unavailable {
			t.Errorf("%s: %v, want unavailable", what, err)
		}
	}
	checkChain(t, b.replay(t, 2), 2, 3, 1)
}

func TestReplayIsBoundedByTheOutbox(t *testing.T) {
	b := started(t, Limits{ReplayOutbox: 1000})
	g := groupID("g")
	b.register(t, "e", "ann")
	b.handle(t, b.create(g, "owner", "ann"), b.say(g, "ann", strings.Repeat("x", 2000)))
	wantUnavailable(t, b.Replay(t.Context(), "e", wire.LaneLog, 1, 0))
}

func TestReplayShowsNothingDeletedNorToTheRemoved(t *testing.T) {
	b := started(t, Limits{})
	g := groupID("g")
	b.register(t, "e", "ann", "bob", "cid")
	b.handle(t, b.create(g, "owner", "ann", "bob", "cid"), b.say(g, "ann", "secret one"), b.edit(g, "ann", 2, "secret two"), b.say(g, "ann", "stays"))
	b.handle(t, b.member(g, chat.ActionRemoved, "bob", "cid"))
	b.handle(t, b.delete(g, "ann", 2))
	b.handle(t, b.member(g, chat.ActionAdded, "cid"))
	hops := b.replay(t, 0)
	text := ""
	for _, h := range hops {
		for _, d := range h.Deliveries {
			text += string(d.Frame) + "\n"
		}
	}
	if strings.Contains(text, "secret") || strings.Count(text, `"deleted":true`) != 2 || !strings.Contains(text, "stays") {
		t.Error(text)
	}
	want := []string{
		"ann 1", "cid 1", "ann 2", "cid 2", "ann 3", "cid 3", "ann 4", "cid 4",
		"ann 5", "bob 5", "cid 5", "ann 6", "ann 7", "cid 7",
	}
	if diff := cmp.Diff(want, got(hops, "ann", "bob", "cid")); diff != "" {
		t.Error(diff)
	}
	checkChain(t, hops, 0, 7, 1)
}

func TestANewGenerationNumbersFromItsStart(t *testing.T) {
	b := started(t, Limits{})
	g := groupID("g")
	b.register(t, "e", "ann")
	b.handle(t, b.create(g, "owner", "ann"), b.say(g, "ann", "old"), b.say(g, "ann", "old"))
	b.wires.take("e")
	b.world.turn()
	b.handle(t, b.fence(), b.say(g, "ann", "new"))
	hops := b.wires.take("e")
	if len(hops) != 1 || hops[0].Generation != 2 || hops[0].Prev != 0 || hops[0].Last() != 2 {
		t.Fatalf("hops %+v", hops)
	}
	if err := b.Replay(t.Context(), "e", wire.LaneLog, 1, 3); err != nil {
		t.Fatal(err)
	}
	again := b.wires.take("e")
	if len(again) != 1 || again[0].Generation != 2 || again[0].Prev != 3 || again[0].Last() != 2 {
		t.Errorf("replay from the end of the old generation %+v", again)
	}
	wantUnavailable(t, b.Replay(t.Context(), "e", wire.LaneLog, 1, 2))
	if r := b.register(t, "e", "bob"); r.Generation != 2 || r.Position != 2 {
		t.Errorf("registered %+v", r)
	}
}
