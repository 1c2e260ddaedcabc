package fanout

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// running runs a worker inside a bubble.
func running(t *testing.T) *bench {
	t.Helper()
	b := started(t, Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

// signalled lists "type typist > recipients" of the signals that came for an edge, in order.
func signalled(t *testing.T, hops []wire.Hop) []string {
	t.Helper()
	return signals(t, hops, func(f wire.Frame, to string) (string, error) {
		down, err := wire.DecodeData[wire.TypingDown](f)
		return fmt.Sprintf("%s %s > %s", strings.TrimPrefix(f.Type, "typing:"), nameOf(down.UserID), to), err
	})
}

// signals has each signal written as a line, with its recipients sorted, in order.
func signals(t *testing.T, hops []wire.Hop, line func(f wire.Frame, to string) (string, error)) []string {
	t.Helper()
	var lines []string
	for _, h := range hops {
		if h.Lane != wire.LaneSignals {
			continue
		}
		if h.Prev != 0 || h.Generation != 0 || h.Replay {
			t.Errorf("a signal has numbers: %+v", h)
		}
		for _, d := range h.Deliveries {
			f, err := wire.DecodeFrame(d.Frame)
			if err != nil {
				t.Fatal(err)
			}
			var to []string
			for _, u := range d.Recipients {
				to = append(to, nameOf(u))
			}
			slices.Sort(to)
			text, err := line(f, strings.Join(to, " "))
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, text)
		}
	}
	return lines
}

func nameOf(u chat.UserID) string {
	for _, name := range []string{"ann", "bob", "cyd", "eve"} {
		if user(name) == u {
			return name
		}
	}
	return "?"
}

func TestTyping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := running(t)
		g := groupID("g")
		b.handle(t, b.create(g, "ann", "bob", "cyd"))
		b.register(t, "e1", "ann", "bob", "eve")
		b.register(t, "e2", "cyd", "ann")
		step := func(what string, e1, e2 []string) {
			t.Helper()
			synctest.Wait()
			if got := signalled(t, b.wires.take("e1")); !slices.Equal(got, e1) {
				t.Errorf("%s: e1 has %q, want %q", what, got, e1)
			}
			if got := signalled(t, b.wires.take("e2")); !slices.Equal(got, e2) {
				t.Errorf("%s: e2 has %q, want %q", what, got, e2)
			}
		}
		b.Typing(g, user("ann"), false)
		step("the others are told", []string{"start ann > bob"}, []string{"start ann > cyd"})
		b.Typing(g, user("ann"), false)
		step("a repeat within 3 s goes no further", nil, nil)
		time.Sleep(3 * time.Second)
		b.Typing(g, user("ann"), false)
		step("then it does", []string{"start ann > bob"}, []string{"start ann > cyd"})
		b.Typing(g, user("ann"), true)
		step("a stop goes on", []string{"stop ann > bob"}, []string{"stop ann > cyd"})
		b.Typing(g, user("ann"), true)
		step("once", nil, nil)
		b.Typing(g, user("eve"), false)
		step("a stranger's signal is dropped", nil, nil)
		b.Typing(g, user("cyd"), false)
		step("another one writes", []string{"start cyd > ann bob"}, []string{"start cyd > ann"})
		time.Sleep(7 * time.Second)
		step("it ends by itself", []string{"stop cyd > ann bob"}, []string{"stop cyd > ann"})
		b.Typing(g, user("bob"), false)
		step("bob writes", []string{"start bob > ann"}, []string{"start bob > ann cyd"})
		b.handle(t, b.say(g, "bob", "done"))
		time.Sleep(7 * time.Second)
		step("a message ends it", nil, nil)
		b.handle(t, b.member(g, chat.ActionRemoved, "bob"))
		b.Typing(g, user("bob"), false)
		b.Typing(g, user("ann"), false)
		step("who was removed neither tells nor hears", nil, []string{"start ann > cyd"})
	})
}

func TestTypingInALargeGroupStaysWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := running(t)
		g := groupID("large")
		names := []string{"ann"}
		for i := range wire.MaxLively {
			names = append(names, fmt.Sprint(i))
		}
		b.handle(t, b.create(g, names...))
		b.register(t, "e1", names...)
		b.Typing(g, user("ann"), false)
		synctest.Wait()
		if got := signalled(t, b.wires.take("e1")); got != nil {
			t.Errorf("%d members are told %q", len(names), got)
		}
	})
}

// TestSignalsLeaveTheNumbersAlone mixes records and signals: the numbered lanes stay contiguous.
func TestSignalsLeaveTheNumbersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := running(t)
		g := groupID("g")
		b.register(t, "e1", "ann")
		b.handle(t, b.create(g, "ann", "bob"))
		for i := range 5 {
			b.Typing(g, user("bob"), i%2 == 1)
			b.handle(t, b.say(g, "bob", "x"))
			synctest.Wait()
		}
		last := uint64(0)
		for _, h := range b.wires.take("e1") {
			if h.Lane != wire.LaneLog {
				continue
			}
			if h.Prev != last {
				t.Fatalf("a hop follows %d, want %d", h.Prev, last)
			}
			last = h.Last()
		}
		if last != 6 {
			t.Errorf("the last number is %d, want 6", last)
		}
	})
}

func TestASignalGivesWayToRecords(t *testing.T) {
	b := started(t, Limits{})
	for range signalQueue + 5 {
		b.Typing(groupID("g"), user("ann"), false)
	}
	if n := valueOf(t, b.metrics.signals.WithLabelValues("queue")); n != 5 {
		t.Errorf("%v signals dropped at the full queue, want 5", n)
	}
	g := groupID("g")
	b.handle(t, b.create(g, "ann", "bob"))
	b.register(t, "e1", "bob")
	b.Worker.mu.Lock()
	b.outbox.bytes = b.config.Limits.Outbox
	b.Worker.mu.Unlock()
	b.typing(t.Context(), typingSignal{g, user("ann"), false})
	if n := valueOf(t, b.metrics.signals.WithLabelValues("outbox")); n != 1 {
		t.Errorf("%v signals gave way, want 1", n)
	}
}
