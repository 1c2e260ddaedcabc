package fanout

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func cursorOf(stream uint64, id chat.ConversationID, name string, read, delivered chat.Seq) CursorChange {
	at := func(s chat.Seq) chat.Cursor { return chat.Cursor{Seq: s, N: uint64(s) * 10} }
	return CursorChange{StreamSeq: stream, ConversationID: id, UserID: user(name), Cursors: chat.Cursors{Read: at(read), Delivered: at(delivered)}}
}

func (b *bench) move(t *testing.T, batch ...CursorChange) {
	t.Helper()
	if err := b.HandleCursors(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

// receipts lists "recipients: what of whom" of the cursor lane.
func receipts(t *testing.T, hops []wire.Hop, names ...string) []string {
	t.Helper()
	name := map[chat.UserID]string{}
	for _, n := range names {
		name[user(n)] = n
	}
	var lines []string
	for _, h := range hops {
		if h.Lane != wire.LaneCursors || h.Generation != 0 {
			t.Errorf("hop %+v", h)
		}
		for _, d := range h.Deliveries {
			f, err := wire.DecodeFrame(d.Frame)
			if err != nil {
				t.Fatal(err)
			}
			down, err := wire.DecodeData[wire.CursorDown](f)
			if err != nil {
				t.Fatal(err)
			}
			if down.ConversationID != d.Conversation || d.RecordSeq != 0 || down.N != uint64(down.Seq)*10 {
				t.Errorf("delivery %+v of %+v", d, down)
			}
			to := ""
			for _, u := range d.Recipients {
				to += name[u] + " "
			}
			lines = append(lines, fmt.Sprintf("%d to %s: %s %s %d", d.Seq, to, name[down.UserID], f.Type, down.Seq))
		}
	}
	return lines
}

func TestReceiptsGoToThePeerAndToOneself(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann", "bob", "cid")
	d, g, s := annWith("bob"), groupID("g"), chat.SelfID(testKey, user("ann"))
	b.create(d, "ann", "bob")
	b.create(g, "ann", "bob", "cid")
	b.move(t,
		cursorOf(5, d, "ann", 0, 2),
		cursorOf(6, d, "ann", 2, 2),
		cursorOf(9, d, "bob", 1, 2),
		cursorOf(10, g, "ann", 3, 3),
		cursorOf(11, s, "ann", 0, 1),
	)
	want := []string{
		"9 to ann bob : ann message:delivered 2",
		"12 to ann bob : ann message:read 2",
		"17 to bob ann : bob message:delivered 2",
		"18 to bob ann : bob message:read 1",
		"19 to ann : ann message:delivered 3",
		"20 to ann : ann message:read 3",
		"21 to ann : ann message:delivered 1",
	}
	hops := b.wires.take("e")
	if diff := cmp.Diff(want, receipts(t, hops, "ann", "bob", "cid")); diff != "" {
		t.Error(diff)
	}
	if b.asks != 1 {
		t.Errorf("the owner was asked %d times, want once for the direct conversation", b.asks)
	}
	checkChain(t, hops, 0, 21, 1)
}

func TestReceiptsOnlyMoveForward(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann")
	g := groupID("g")
	b.move(t, cursorOf(1, g, "ann", 5, 7))
	b.wires.take("e")
	b.move(t, cursorOf(1, g, "ann", 9, 9))                              // seen already
	b.move(t, cursorOf(2, g, "ann", 4, 7), cursorOf(3, g, "ann", 5, 7)) // behind, and the same
	if lines := receipts(t, b.wires.take("e"), "ann"); len(lines) != 0 {
		t.Error(lines)
	}
	b.move(t, cursorOf(4, g, "ann", 6, 7))
	if diff := cmp.Diff([]string{"8 to ann : ann message:read 6"}, receipts(t, b.wires.take("e"), "ann")); diff != "" {
		t.Error(diff)
	}
}

func TestReceiptsSurviveAnOutageOfTheOwner(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "bob")
	d, lost := annWith("bob"), annWith("cid")
	b.create(d, "ann", "bob")
	b.askFails = chat.Errorf(chat.Unavailable, "away")
	batch := []CursorChange{cursorOf(1, lost, "cid", 1, 1), cursorOf(2, d, "ann", 1, 1)}
	wantUnavailable(t, b.HandleCursors(t.Context(), batch))
	b.askFails = nil
	b.move(t, batch...) // lost is unknown to its owner: nobody else is told, the rest goes on
	want := []string{"3 to bob : ann message:delivered 1", "4 to bob : ann message:read 1"}
	if diff := cmp.Diff(want, receipts(t, b.wires.take("e"), "ann", "bob", "cid")); diff != "" {
		t.Error(diff)
	}
}

func TestReceiptsAreReplayed(t *testing.T) {
	b := started(t, Limits{RingRecords: 4})
	b.register(t, "e", "ann")
	g := groupID("g")
	for i := range uint64(5) {
		b.move(t, cursorOf(100+i, g, "ann", 0, chat.Seq(i+1)))
	}
	b.wires.take("e")
	if err := b.Replay(t.Context(), "e", wire.LaneCursors, 0, deliveredNumber(102)); err != nil {
		t.Fatal(err)
	}
	hops := b.wires.take("e")
	checkChain(t, hops, deliveredNumber(102), deliveredNumber(104), 1)
	if lines := receipts(t, hops, "ann"); len(lines) != 2 {
		t.Error(lines)
	}
	wantUnavailable(t, b.Replay(t.Context(), "e", wire.LaneCursors, 0, 0))
}

func TestTheFirstReceiptMayBeReplayedFromTheStart(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann")
	b.move(t, cursorOf(100, groupID("g"), "ann", 0, 1))
	b.wires.take("e")
	if err := b.Replay(t.Context(), "e", wire.LaneCursors, 0, 0); err != nil {
		t.Fatal(err)
	}
	checkChain(t, b.wires.take("e"), 0, deliveredNumber(100), 1)
	// A number of a former worker's is not one of ours: what came between is not known.
	wantUnavailable(t, b.Replay(t.Context(), "e", wire.LaneCursors, 0, readNumber(50)))
}
