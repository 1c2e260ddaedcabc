package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestRegisterWaitsForWhatIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, Limits{})
		e := b.create(groupID("g"), "owner", "ann")
		answer := make(chan Registered, 1)
		go func() {
			r, err := b.Register(context.Background(), "e", users("ann"))
			if err != nil {
				t.Error(err)
			}
			answer <- r
		}()
		synctest.Wait()
		select {
		case r := <-answer:
			t.Fatalf("answered %+v before the durable record was handled", r)
		default:
		}
		b.handle(t, e)
		r := <-answer
		if r.Generation != 1 || r.Position != 1 {
			t.Errorf("answer %+v", r)
		}
		if diff := cmp.Diff(map[chat.UserID][]chat.ConversationID{user("ann"): {groupID("g")}}, r.Changed); diff != "" {
			t.Error(diff)
		}
		if hops := b.wires.take("e"); len(hops) != 0 {
			t.Errorf("%d hops of what lies up to the position", len(hops))
		}
	})
}

func TestRegisterGivesUpAfterTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, Limits{})
		e := b.create(groupID("g"), "owner", "ann")
		began := time.Now()
		_, err := b.Register(t.Context(), "e", users("ann"))
		wantUnavailable(t, err)
		if took := time.Since(began); took != registerTime {
			t.Errorf("gave up after %s", took)
		}
		b.handle(t, e)
		if hops := b.wires.take("e"); len(hops) != 0 {
			t.Error("a refused registration gets deliveries")
		}
		b.say(groupID("g"), "ann", "x")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Register(ctx, "e", users("ann")); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the caller's own", err)
		}
	})
}

func TestRegisterWaitsForTheTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, Limits{})
		g := groupID("g")
		b.register(t, "e", "ann")
		b.handle(t, b.create(g, "owner", "ann", "bob"))
		release := make(chan struct{})
		b.wires.onSend = func(string, wire.Hop) { <-release }
		e := b.say(g, "ann", "x")
		var both sync.WaitGroup
		both.Go(func() { b.handle(t, e) })
		synctest.Wait()
		_, err := b.Register(t.Context(), "e", users("bob"))
		wantUnavailable(t, err)
		if b.registry.users[user("bob")] != nil {
			t.Error("a refused registration stays")
		}
		both.Go(func() {
			if r, err := b.Register(context.Background(), "e", users("bob")); err != nil || r.Position != 2 {
				t.Errorf("answer %+v, %v", r, err)
			}
		})
		synctest.Wait()
		close(release)
		both.Wait()
	})
}

func TestRegisterBeforeTheWorkerIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{})
		b.durable = chat.Mark{}
		_, err := b.Register(t.Context(), "e", users("ann"))
		wantUnavailable(t, err)
		_, err = b.Start(t.Context())
		wantUnavailable(t, err)
	})
}

func TestBoundsOfTheRegistry(t *testing.T) {
	b := started(t, Limits{Edges: 2, Registrations: 3})
	b.register(t, "e", "ann", "bob")
	b.register(t, "f", "ann")
	_, err := b.Register(t.Context(), "f", users("bob"))
	wantUnavailable(t, err)
	b.Unregister("e", users("ann"))
	_, err = b.Register(t.Context(), "g", users("bob"))
	wantUnavailable(t, err)
	b.register(t, "f", "bob")
	if n := valueOf(t, b.metrics.refused); n != 2 {
		t.Errorf("%v refusals counted", n)
	}
}

// No record may fall between a registration's position and its first delivery, nor come twice.
func TestRegisterRacesWithHandle(t *testing.T) {
	b := started(t, Limits{})
	g := groupID("g")
	const rounds, registrars = 400, 8
	var members []string
	for i := range registrars * 10 {
		members = append(members, fmt.Sprint("m", i))
	}
	b.handle(t, b.create(g, append([]string{"owner"}, members...)...))

	positions := make([]uint64, len(members))
	var all sync.WaitGroup
	all.Go(func() {
		for i := range rounds {
			if err := b.Handle(context.Background(), []chat.Entry{b.say(g, "owner", "a"), b.say(g, "owner", fmt.Sprint(i))}); err != nil {
				t.Error(err)
			}
		}
	})
	for r := range registrars {
		all.Go(func() {
			for i := r; i < len(members); i += registrars {
				answer, err := b.Register(context.Background(), "e", users(members[i]))
				if err != nil {
					t.Error(err)
				}
				positions[i] = answer.Position
			}
		})
	}
	all.Wait()
	first, last, count := map[chat.UserID]uint64{}, map[chat.UserID]uint64{}, map[chat.UserID]uint64{}
	for _, h := range b.wires.take("e") {
		for _, d := range h.Deliveries {
			for _, u := range d.Recipients {
				if first[u] == 0 {
					first[u] = d.Seq
				}
				last[u] = d.Seq
				count[u]++
			}
		}
	}
	const end = 1 + 2*rounds
	for i, m := range members {
		u, from := user(m), positions[i]
		if from == end {
			continue
		}
		if first[u] != from+1 || last[u] != end || count[u] != end-from {
			t.Errorf("%s registered at %d: %d deliveries from %d to %d", m, from, count[u], first[u], last[u])
		}
	}
}

func TestStartFoldsTheLogFromTheRostersPosition(t *testing.T) {
	b := newBench(t, Limits{})
	g, h, d := groupID("g"), groupID("h"), annWith("bob")
	b.create(h, "owner", "ann")
	b.projected(markOf(&b.log[0]))
	b.create(g, "owner", "bob")
	b.member(g, chat.ActionAdded, "ann")
	b.member(g, chat.ActionRole, "ann")
	b.create(d, "ann", "bob")
	b.member(g, chat.ActionRemoved, "bob")
	if first := b.start(t); first != 7 {
		t.Errorf("first stream sequence wanted %d, want 7", first)
	}
	ids := func(all ...chat.ConversationID) []chat.ConversationID { return all }
	want := map[chat.UserID][]chat.ConversationID{user("ann"): ids(d, g), user("bob"): ids(d, g)}
	if diff := cmp.Diff(want, b.register(t, "e", "ann", "bob", "cid").Changed); diff != "" {
		t.Error(diff)
	}
	b.handle(t, b.create(groupID("i"), "cid"))
	if diff := cmp.Diff(map[chat.UserID][]chat.ConversationID{user("cid"): ids(groupID("i"))}, b.register(t, "e", "cid").Changed); diff != "" {
		t.Error(diff)
	}
	if again := b.start(t); again != 8 {
		t.Errorf("started again at %d, want 8", again)
	}
}

func TestChangesAreForgottenAsTheRosterComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, Limits{})
		g, h := groupID("g"), groupID("h")
		b.handle(t, b.create(g, "owner", "ann"), b.create(h, "owner", "ann"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		b.projected(markOf(&b.log[0]))
		time.Sleep(rosterEvery + time.Millisecond)
		synctest.Wait()
		want := map[chat.UserID][]chat.ConversationID{user("ann"): {h}}
		if diff := cmp.Diff(want, b.register(t, "e", "ann").Changed); diff != "" {
			t.Error(diff)
		}
		b.projected(markOf(&b.log[1]))
		time.Sleep(rosterEvery)
		synctest.Wait()
		if r := b.register(t, "e", "ann"); r.Changed != nil || len(b.changes.index) != 0 {
			t.Errorf("left: %v, index %v", r.Changed, b.changes.index)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestTheBoundOfChangesIsKept(t *testing.T) {
	b := started(t, Limits{Changes: 10})
	for i := range 20 {
		b.handle(t, b.create(groupID(fmt.Sprint(i)), "ann"))
	}
	if r := b.register(t, "e", "ann"); len(r.Changed[user("ann")]) != 10 {
		t.Errorf("%d changes kept", len(r.Changed[user("ann")]))
	}
	if n := valueOf(t, b.metrics.changesForgotten); n != 10 {
		t.Errorf("%v forgotten ones counted", n)
	}
}

func TestIdleEdgesHearHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, Limits{})
		b.register(t, "e", "ann")
		b.handle(t, b.create(groupID("g"), "owner", "ann"))
		b.wires.take("e")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(3*beatEvery + beatEvery/2)
		synctest.Wait()
		count := map[wire.Lane]int{}
		for _, h := range b.wires.take("e") {
			count[h.Lane]++
			if len(h.Deliveries) != 0 || h.Lane == wire.LaneLog && (h.Prev != 1 || h.Generation != 1) || h.Term != 7 {
				t.Errorf("heartbeat %+v", h)
			}
		}
		if count[wire.LaneLog] != 3 || count[wire.LaneCursors] != 3 {
			t.Errorf("heartbeats by lane %v in 3.5 s", count)
		}
		b.handle(t, b.say(groupID("g"), "ann", "busy"))
		time.Sleep(beatEvery/2 + beatEvery/4)
		synctest.Wait()
		for _, h := range b.wires.take("e") {
			if h.Lane == wire.LaneLog && len(h.Deliveries) == 0 && h.Prev != 2 {
				t.Errorf("heartbeat %+v after a delivery", h)
			}
		}
		b.Unregister("e", users("ann"))
		time.Sleep(edgeKept + beatEvery)
		synctest.Wait()
		b.wires.take("e")
		time.Sleep(5 * beatEvery)
		synctest.Wait()
		if hops := b.wires.take("e"); len(hops) != 0 {
			t.Errorf("%d hops to an edge that is gone", len(hops))
		}
		cancel()
		<-done
	})
}

// One slow transport holds the handlers back; nothing piles up.
func TestHandlersWaitWhileTheOutboxIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, Limits{Outbox: 100})
		g := groupID("g")
		b.register(t, "e", "ann")
		b.handle(t, b.create(g, "owner", "ann"))
		release := make(chan struct{})
		b.wires.onSend = func(string, wire.Hop) { <-release }
		message := b.say(g, "ann", "x")
		var both sync.WaitGroup
		both.Go(func() { b.handle(t, message) })
		synctest.Wait()
		returned := make(chan struct{})
		both.Go(func() {
			if err := b.HandleCursors(context.Background(), []CursorChange{cursorOf(1, g, "ann", 1, 1)}); err != nil {
				t.Error(err)
			}
			close(returned)
		})
		synctest.Wait()
		select {
		case <-returned:
			t.Error("returned while the outbox is full")
		default:
		}
		close(release)
		both.Wait()
	})
}
