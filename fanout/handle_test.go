package fanout

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestOneHopPerEdgeWithAllRecipients(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "east", "ann", "bob", "eve")
	b.register(t, "west", "cid")
	g := groupID("g")
	b.handle(t, b.create(g, "owner", "ann", "bob", "cid"), b.say(g, "ann", "hello"))

	east, west := b.wires.take("east"), b.wires.take("west")
	if len(east) != 1 || len(west) != 1 {
		t.Fatalf("hops: east %d, west %d, want one each", len(east), len(west))
	}
	want := []string{"ann 1", "bob 1", "ann 2", "bob 2"}
	if diff := cmp.Diff(want, got(east, "ann", "bob", "eve", "cid")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"cid 1", "cid 2"}, got(west, "ann", "bob", "eve", "cid")); diff != "" {
		t.Error(diff)
	}
	h := east[0]
	if h.Partition != 3 || h.Term != 7 || h.Generation != 1 || h.Prev != 0 || h.Last() != 2 || h.Lane != wire.LaneLog || h.Replay {
		t.Errorf("hop head %+v", h)
	}
	if f := string(h.Deliveries[0].Frame); !strings.HasPrefix(f, `{"type":"record:received","data":{"conversation_id":"`+string(g)) {
		t.Error("frame of the create:", f)
	}
	message := b.log[1].Raw
	if f := string(h.Deliveries[1].Frame); f != `{"type":"message:received","data":`+string(message)+`}` {
		t.Error("frame of the message is not the log's bytes:", f)
	}
}

func TestAudienceOfMembershipRecords(t *testing.T) {
	b := started(t, Limits{})
	names := []string{"owner", "ann", "bob", "cid"}
	b.register(t, "e", names...)
	g := groupID("g")
	step := func(what string, e chat.Entry, want ...string) {
		t.Helper()
		b.handle(t, e)
		var all []string
		for _, n := range want {
			all = append(all, fmt.Sprintf("%s %d", n, e.Seq))
		}
		if diff := cmp.Diff(all, got(b.wires.take("e"), names...)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	step("create", b.create(g, "owner", "ann"), "owner", "ann")
	step("added", b.member(g, chat.ActionAdded, "bob", "cid"), "owner", "ann", "bob", "cid")
	step("role", b.append(chat.Record{ConversationID: g, Kind: chat.KindMember, SenderID: user("owner"), Action: chat.ActionRole, UserIDs: users("ann"), Role: chat.RoleAdmin}), "owner", "ann", "bob", "cid")
	step("removed", b.member(g, chat.ActionRemoved, "bob"), "owner", "ann", "bob", "cid")
	step("after it", b.say(g, "ann", "bob is gone"), "owner", "ann", "cid")
	step("left", b.member(g, chat.ActionLeft, "cid"), "owner", "ann", "cid")
	step("after it", b.say(g, "ann", "cid is gone"), "owner", "ann")
	step("back", b.member(g, chat.ActionAdded, "bob"), "owner", "ann", "bob")
	step("settings", b.append(chat.Record{ConversationID: g, Kind: chat.KindSettings, SenderID: user("owner"), History: chat.HistoryJoined}), "owner", "ann", "bob")
	step("a kind of the future", b.append(chat.Record{ConversationID: g, Kind: "hologram", SenderID: user("ann")}), "owner", "ann", "bob")
	if b.asks != 0 {
		t.Errorf("the owner was asked %d times, the records tell it all", b.asks)
	}
}

// The owner's state may be ahead of the record: a removal wins, and a newcomer gets nothing older.
func TestStateAheadOfTheRecord(t *testing.T) {
	b := started(t, Limits{})
	names := []string{"owner", "ann", "bob", "cid"}
	b.register(t, "e", names...)
	g := groupID("g")
	b.create(g, "owner", "ann", "bob") // 1, never handled: the worker asks
	b.handle(t, b.fence())             // stream sequences have no seq
	e := []chat.Entry{
		b.say(g, "ann", "for ann and owner"),   // 2
		b.member(g, chat.ActionRemoved, "bob"), // 3
		b.say(g, "ann", "without bob"),         // 4
		b.member(g, chat.ActionAdded, "cid"),   // 5
		b.member(g, chat.ActionRemoved, "ann"), // 6
		b.member(g, chat.ActionAdded, "ann"),   // 7
		b.say(g, "cid", "hi"),                  // 8
	}
	for i := range e {
		b.handle(t, e[i])
	}
	want := []string{
		"owner 2", "ann 2", // bob is removed by now
		"owner 3", "ann 3", "bob 3",
		"owner 4", "ann 4",
		"owner 5", "ann 5", "cid 5",
		"owner 6", "ann 6", "cid 6",
		"owner 7", "ann 7", "cid 7",
		"owner 8", "ann 8", "cid 8",
	}
	if diff := cmp.Diff(want, got(b.wires.take("e"), names...)); diff != "" {
		t.Error(diff)
	}
	if b.asks != 1 {
		t.Errorf("asked %d times, want once", b.asks)
	}
}

func TestARepeatedBatchIsDeliveredOnce(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann")
	g := groupID("g")
	batch := []chat.Entry{b.create(g, "owner", "ann"), b.say(g, "ann", "1"), b.say(g, "ann", "2")}
	b.handle(t, batch[:2]...)
	b.handle(t, batch...)
	b.handle(t, batch...)
	if diff := cmp.Diff([]string{"ann 1", "ann 2", "ann 3"}, got(b.wires.take("e"), "ann")); diff != "" {
		t.Error(diff)
	}
}

func TestAnOutageOfTheOwnerDeliversNothingAndLosesNothing(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann")
	g, h := groupID("g"), groupID("h")
	b.create(h, "owner", "ann") // known to the owner alone
	batch := []chat.Entry{b.log[0], b.create(g, "owner", "ann"), b.say(g, "ann", "1"), b.say(h, "ann", "2")}
	b.askFails = chat.Errorf(chat.Unavailable, "away")
	if err := b.Handle(t.Context(), batch[1:]); chat.KindOf(err) != chat.Unavailable {
		t.Fatalf("error %v, want unavailable", err)
	}
	if hops := b.wires.take("e"); len(hops) != 0 || b.Position().StreamSeq != 0 {
		t.Fatalf("%d hops and position %v after a failed batch", len(hops), b.Position())
	}
	b.askFails = nil
	b.handle(t, batch[1:]...)
	if diff := cmp.Diff([]string{"ann 1", "ann 2", "ann 2"}, got(b.wires.take("e"), "ann")); diff != "" {
		t.Error(diff)
	}
}

func TestAnAnswerOlderThanTheLogIsNotUsed(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann")
	g := groupID("g")
	b.create(g, "owner", "ann")
	old := b.states[g]
	e := b.say(g, "ann", "new")
	b.states[g] = old
	wantUnavailable(t, b.Handle(t.Context(), []chat.Entry{e}))
}

func TestPoisonIsPassedAndItsNeighboursAreDelivered(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann")
	g, lost := groupID("g"), groupID("lost")
	b.create(lost, "owner", "ann")
	b.handle(t, b.log[0])
	b.audiences.remove(lost)
	b.wires.take("e")
	batch := []chat.Entry{b.create(g, "owner", "ann"), b.say(lost, "ann", "x"), b.say(g, "ann", "y"), b.say(lost, "ann", "z")}
	delete(b.states, lost)
	for range 2 {
		err := b.Handle(t.Context(), batch)
		verdict, ok := errors.AsType[*poison](err)
		if !ok {
			t.Fatalf("error %v, want a verdict", err)
		}
		seq, reason := verdict.Poison()
		at := slices.IndexFunc(batch, func(e chat.Entry) bool { return e.StreamSeq == seq })
		if at < 0 || batch[at].ConversationID != lost || reason == "" {
			t.Fatalf("verdict on %d: %q", seq, reason)
		}
		b.Quarantine(batch[at], reason)
	}
	b.handle(t, batch...)
	if diff := cmp.Diff([]string{"ann 1", "ann 2"}, got(b.wires.take("e"), "ann")); diff != "" {
		t.Error(diff)
	}
	if b.Position() != markOf(&batch[3]) || len(b.aside) != 0 {
		t.Errorf("position %v, %d aside", b.Position(), len(b.aside))
	}
}

// After a record was put aside the state lacks it, so the owner is asked again.
func TestAHoleInTheSeqsAsksAgain(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann", "bob")
	g := groupID("g")
	batch := []chat.Entry{b.create(g, "owner", "ann", "bob"), b.member(g, chat.ActionRemoved, "bob"), b.say(g, "ann", "secret")}
	b.Quarantine(batch[1], "test")
	b.handle(t, batch...)
	if diff := cmp.Diff([]string{"ann 1", "bob 1", "ann 3"}, got(b.wires.take("e"), "ann", "bob")); diff != "" {
		t.Error(diff)
	}
}

func TestTextDeletedInTheSameBatchIsNotSent(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann")
	g := groupID("g")
	b.handle(t, b.create(g, "owner", "ann"), b.say(g, "ann", "secret one"), b.edit(g, "ann", 2, "secret two"), b.say(g, "ann", "stays"), b.delete(g, "ann", 2))
	hop := b.wires.take("e")[0]
	text := ""
	for _, d := range hop.Deliveries {
		text += string(d.Frame) + "\n"
	}
	if strings.Contains(text, "secret") || !strings.Contains(text, "stays") || strings.Count(text, `"text":"",`) != 2 || strings.Count(text, `"deleted":true`) != 2 {
		t.Error(text)
	}
	if len(hop.Deliveries) != 5 {
		t.Errorf("%d deliveries, want 5: numbers stay", len(hop.Deliveries))
	}
}

func TestHopsAreCut(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann")
	g := groupID("g")
	b.handle(t, b.create(g, "owner", "ann"))
	b.wires.take("e")

	var batch []chat.Entry
	for i := range 250 {
		batch = append(batch, b.say(g, "ann", fmt.Sprint(i)))
	}
	b.handle(t, batch...)
	checkChain(t, b.wires.take("e"), 1, 251, 3)

	batch = nil
	for range 5 {
		batch = append(batch, b.say(g, "ann", strings.Repeat("x", 30_000)))
	}
	batch = append(batch, b.say(g, "ann", strings.Repeat("y", 90_000)))
	b.handle(t, batch...)
	hops := b.wires.take("e")
	checkChain(t, hops, 251, 257, 4)
	for _, h := range hops {
		if size := len(wire.AppendHop(nil, &h)); size > hopBytes && len(h.Deliveries) > 1 {
			t.Errorf("hop of %d bytes with %d deliveries", size, len(h.Deliveries))
		}
	}
}

// checkChain holds hops to join, from one number to another.
func checkChain(t *testing.T, hops []wire.Hop, from, to uint64, count int) {
	t.Helper()
	if len(hops) != count {
		t.Errorf("%d hops, want %d", len(hops), count)
	}
	for i := range hops {
		if hops[i].Prev != from {
			t.Fatalf("hop %d follows %d, want %d", i, hops[i].Prev, from)
		}
		from = hops[i].Last()
	}
	if from != to {
		t.Errorf("the last hop ends at %d, want %d", from, to)
	}
}

func TestParcelSizesAreExact(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann", "owner")
	g := groupID("g")
	b.handle(t, b.create(g, "owner", "ann"), b.say(g, "ann", "x"))
	h := b.wires.take("e")[0]
	p := newPacker("e", wire.Hop{Prev: h.Prev})
	for _, d := range h.Deliveries {
		p.add(d)
	}
	if size := p.finish()[0].size; size != len(wire.AppendHop(nil, &h)) {
		t.Errorf("size %d, the hop has %d bytes", size, len(wire.AppendHop(nil, &h)))
	}
}

func TestALostHopIsCountedAndShowsInTheNumbers(t *testing.T) {
	b := started(t, Limits{})
	b.register(t, "e", "ann")
	g := groupID("g")
	b.wires.fail = errBroken
	b.handle(t, b.create(g, "owner", "ann"))
	b.wires.fail = nil
	b.handle(t, b.say(g, "ann", "x"))
	if hops := b.wires.take("e"); len(hops) != 1 || hops[0].Prev != 1 {
		t.Errorf("hops %+v: the first one's loss must show", hops)
	}
	if n := valueOf(t, b.metrics.sendErrors); n != 1 {
		t.Errorf("%v send errors counted", n)
	}
}

func TestLeavingConnectionsStopDeliveries(t *testing.T) {
	b := started(t, Limits{})
	g := groupID("g")
	b.register(t, "e", "ann", "ann") // two connections
	b.register(t, "f", "ann")
	b.handle(t, b.create(g, "owner", "ann"))
	b.Unregister("e", users("ann"))
	b.Unregister("f", users("ann", "ann", "stranger"))
	b.Unregister("nowhere", users("ann"))
	b.handle(t, b.say(g, "ann", "one is left"))
	b.Unregister("e", users("ann"))
	b.handle(t, b.say(g, "ann", "none is left"))
	if diff := cmp.Diff([]string{"ann 1", "ann 2"}, got(b.wires.take("e"), "ann")); diff != "" {
		t.Error("e", diff)
	}
	if diff := cmp.Diff([]string{"ann 1"}, got(b.wires.take("f"), "ann")); diff != "" {
		t.Error("f", diff)
	}
	b.register(t, "e", "ann", "bob")
	b.Forget("e")
	if b.registry.pairs != 0 || len(b.registry.users) != 0 {
		t.Errorf("%d pairs of %d users are left", b.registry.pairs, len(b.registry.users))
	}
}

// A large group's split by edges is kept between records and must follow who comes and goes.
func TestTheKeptSplitFollowsRegistrations(t *testing.T) {
	b := started(t, Limits{})
	names := []string{"owner"}
	for i := range 40 {
		names = append(names, fmt.Sprint("m", i))
	}
	g := groupID("g")
	b.handle(t, b.create(g, names...))
	received := func() int {
		b.handle(t, b.say(g, "owner", "x"))
		return len(got(b.wires.take("e"), names...))
	}
	want := func(what string, n int) {
		t.Helper()
		if r := received(); r != n {
			t.Errorf("%s: %d recipients, want %d", what, r, n)
		}
	}
	b.register(t, "e", names[:20]...)
	want("registered", 20)
	want("again", 20)
	b.register(t, "f", "m30")
	b.register(t, "e", "m31")
	want("one more", 21)
	b.Unregister("e", users("m31"))
	want("one less", 20)
	b.handle(t, b.member(g, chat.ActionRemoved, "m1"))
	b.wires.take("e")
	want("one removed", 19)
}

func TestTheBoundOfAudiencesIsKept(t *testing.T) {
	b := started(t, Limits{Audience: 100})
	b.register(t, "e", "ann")
	for i := range 50 {
		b.handle(t, b.create(groupID(fmt.Sprint(i)), "owner", "ann"))
	}
	if total := b.audiences.kept.total; total > 100 {
		t.Errorf("audiences weigh %d", total)
	}
	b.handle(t, b.say(groupID("0"), "ann", "x"))
	if b.asks != 1 || len(got(b.wires.take("e"), "ann")) != 51 {
		t.Errorf("%d asks", b.asks)
	}
}
