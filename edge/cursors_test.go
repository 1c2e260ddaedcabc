package edge

import (
	"testing"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestCursorsMoveToTheFurthestPlaceAndAnswerOnlyWhenAsked(t *testing.T) {
	onEachForm(t, cursorsMoveToTheFurthestPlaceAndAnswerOnlyWhenAsked)
}

func cursorsMoveToTheFurthestPlaceAndAnswerOnlyWhenAsked(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	for range 5 {
		w.say(g, bob, "x")
	}
	d := w.login(t, alice)
	for _, seq := range []chat.Seq{2, 5, 3} {
		d.raw(`{"type":"message:read","data":{"conversation_id":"` + string(g) + `","seq":` + chat.ID(seq).String() + `}}`)
	}
	id := d.send(wire.TypeMessageRead, wire.CursorUp{ConversationID: string(g), ID: w.log[3].ID}) // seq 4
	f := d.want(wire.TypeMessageRead)
	down := into[wire.CursorDown](t, f)
	if f.ID != id || down.UserID != alice || down.ConversationID != g || down.Seq < 4 {
		t.Errorf("frame %d: %+v", f.ID, down)
	}
	last := d.send(wire.TypeMessageDelivered, wire.CursorUp{ConversationID: string(g), Seq: 5})
	if f = d.want(wire.TypeMessageDelivered); f.ID != last {
		t.Errorf("answered %d", f.ID)
	}
	if got := w.stored[g][alice]; got.Read != (chat.Cursor{Seq: 5, N: 4}) || got.Delivered != (chat.Cursor{Seq: 5, N: 4}) {
		t.Errorf("stored %+v", got)
	}
	d.quiet()
}

func TestCursorsBeyondTheHeadOrWithoutARecordAreInvalid(t *testing.T) {
	onEachForm(t, cursorsBeyondTheHeadOrWithoutARecordAreInvalid)
}

func cursorsBeyondTheHeadOrWithoutARecordAreInvalid(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g, other := w.group(bob, alice), w.group(bob)
	w.say(other, bob, "elsewhere")
	d := w.login(t, alice)
	for _, up := range []wire.CursorUp{
		{ConversationID: string(g), Seq: 2},
		{ConversationID: string(g), ID: w.log[len(w.log)-1].ID}, // another conversation's
		{ConversationID: string(g), ID: 3},                      // a seq where an id belongs
		{ConversationID: string(g), Seq: chat.MaxSeq},
		{ConversationID: string(g)},
	} {
		d.send(wire.TypeMessageRead, up)
		d.refused(chat.Invalid)
	}
	d.send(wire.TypeMessageRead, wire.CursorUp{ConversationID: string(other), Seq: 1})
	d.refused(chat.NotFound)
}

func TestANewcomerHasNoCursorBeforeWhatTheyMaySee(t *testing.T) {
	onEachForm(t, aNewcomerHasNoCursorBeforeWhatTheyMaySee)
}

func aNewcomerHasNoCursorBeforeWhatTheyMaySee(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob)
	w.say(g, bob, "before")
	w.do(conversation.Command{Op: conversation.OpSettings, ConversationID: g, Actor: bob, History: chat.HistoryJoined})
	w.do(conversation.Command{Op: conversation.OpAdd, ConversationID: g, Actor: bob, Members: []chat.UserID{alice}})
	d := w.login(t, alice)
	d.send(wire.TypeMessageRead, wire.CursorUp{ConversationID: string(g), Seq: 2})
	d.refused(chat.Invalid)
	d.send(wire.TypeMessageRead, wire.CursorUp{ConversationID: string(g), ID: w.log[1].ID})
	d.refused(chat.Invalid)
	d.send(wire.TypeMessageRead, wire.CursorUp{ConversationID: string(g), Seq: 4})
	d.want(wire.TypeMessageRead)
}

func TestWhatWasReadCountsAlsoWhenTheConnectionEnds(t *testing.T) {
	onEachForm(t, whatWasReadCountsAlsoWhenTheConnectionEnds)
}

func whatWasReadCountsAlsoWhenTheConnectionEnds(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	w.say(g, bob, "x")
	d := w.login(t, alice)
	d.raw(`{"type":"message:read","data":{"conversation_id":"` + string(g) + `","seq":2}}`)
	d.quiet() // the frame was taken, its flush is to come
	_ = d.ws.Close()
	w.over() // waits for the connection
	if got := w.stored[g][alice].Read.Seq; got != 2 {
		t.Errorf("read up to %d", got)
	}
}

func TestACursorAfterADeliveryNeedsNoRead(t *testing.T) {
	onEachForm(t, aCursorAfterADeliveryNeedsNoRead)
}

func aCursorAfterADeliveryNeedsNoRead(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	w.login(t, alice).quiet()
	w.say(g, bob, "x")
	w.say(g, bob, "y")
	head, ok := w.edge.seen.find(g, func(h chat.Head) bool { return h.Seq == 2 })
	if !ok || head.N != 1 || head.ID != w.log[1].ID {
		t.Errorf("remembered %+v %v", head, ok)
	}
}
