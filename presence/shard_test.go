package presence

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

const session = chat.SessionID("waaaaaaaaaaaaaaaaaaaaaaaaaa")

// warm lets the first grace of an owner pass.
func warm() { time.Sleep(Grace + time.Second) }

func TestPeopleComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		one, two := s.edge("one"), s.edge("two")
		warm()
		two.watch(ann, bob)
		two.wants(t, "at first", "ann offline", "bob offline")
		phone := one.Enter(ann, session)
		time.Sleep(time.Second)
		two.wants(t, "she comes", "ann online")
		laptop := two.Enter(ann, session)
		one.SetAway(phone, true)
		time.Sleep(time.Second)
		two.wants(t, "away from one of two")
		two.SetAway(laptop, true)
		time.Sleep(time.Second)
		two.wants(t, "away from both", "ann away")
		one.SetAway(phone, false)
		two.Leave(laptop)
		time.Sleep(time.Second)
		two.wants(t, "back at one", "ann online")
		left := time.Now()
		one.Leave(phone)
		time.Sleep(9 * time.Second)
		two.wants(t, "within the grace")
		time.Sleep(2 * time.Second)
		two.wants(t, "after the grace", "ann offline")
		if seen := time.UnixMilli(two.known[ann].LastSeen); seen.Sub(left).Abs() > time.Second {
			t.Errorf("last seen %s, she left at %s", seen, left)
		}
		time.Sleep(storeEvery + time.Second)
		if stored := s.bus.lastSeen()[ann]; stored.Sub(left).Abs() > time.Second {
			t.Errorf("stored %s, she left at %s", stored, left)
		}
		if s.bus.size() != 0 {
			t.Errorf("%d entries are left", s.bus.size())
		}
		one.wants(t, "who does not look is told nothing")
	})
}

func TestAShortReconnectDoesNotFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		one, two := s.edge("one"), s.edge("two")
		warm()
		c := one.Enter(ann, session)
		time.Sleep(time.Second)
		two.watch(ann)
		two.wants(t, "at first", "ann online")
		for range 20 {
			one.Leave(c)
			time.Sleep(8 * time.Second)
			c = two.Enter(ann, session)
			one, two = two, one
			time.Sleep(time.Second)
		}
		one.wants(t, "a connection each 9 s")
		two.wants(t, "a connection each 9 s")
		if len(s.bus.lastSeen()) != 0 {
			t.Error("she was stored as seen last while she was here")
		}
	})
}

// TestAKilledEdgesPeopleAreOfflineWithin45s is promise I12.
func TestAKilledEdgesPeopleAreOfflineWithin45s(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		one, two := s.edge("one"), s.edge("two")
		warm()
		one.Enter(ann, session)
		two.Enter(bob, session)
		two.watch(ann, bob)
		time.Sleep(BeatEvery - time.Second) // the sign of life is as young as it may be
		two.wants(t, "both are here", "ann offline", "ann online", "bob offline", "bob online")
		killed := time.Now()
		one.kill()
		time.Sleep(25 * time.Second)
		two.wants(t, "perhaps a network that is slow")
		time.Sleep(45*time.Second - time.Since(killed))
		two.wants(t, "45 s after the kill", "ann offline")
		time.Sleep(time.Second)
		if s.bus.size() != 1 {
			t.Errorf("%d entries are left, want bob's alone", s.bus.size())
		}
	})
}

func TestAnEdgeTakenForDeadRegistersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		one, two := s.edge("one"), s.edge("two")
		warm()
		one.Enter(ann, session)
		two.Enter(bob, session)
		one.watch(bob)
		two.watch(ann)
		time.Sleep(time.Second)
		one.wants(t, "at first", "bob offline", "bob online")
		two.wants(t, "at first", "ann offline", "ann online")
		s.bus.mu.Lock()
		s.bus.away = true
		s.bus.mu.Unlock()
		time.Sleep(25 * time.Second)
		two.wants(t, "a registry that is away for a while makes nobody offline")
		// The owner hears nothing of one alone, which in turn reaches nobody: it is dead to the owner.
		s.shard.mu.Lock()
		s.shard.roll.end(s.shard.roll.runs["one"], time.Now(), time.Now())
		s.shard.mu.Unlock()
		s.bus.mu.Lock()
		s.bus.away = false
		s.bus.mu.Unlock()
		time.Sleep(BeatEvery + 2*time.Second)
		two.wants(t, "back before the grace is over")
		one.wants(t, "what it looks at was asked again")
		one.Leave(1)
		time.Sleep(Grace + time.Second)
		two.wants(t, "the new run counts", "ann offline")
		if n := s.bus.size(); n != 1 {
			t.Errorf("%d entries, want bob's alone", n)
		}
	})
}

func TestARestartedOwnerMakesNobodyFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		one, two := s.edge("one"), s.edge("two")
		warm()
		c := one.Enter(ann, session)
		two.watch(ann, bob)
		time.Sleep(time.Second)
		two.wants(t, "at first", "ann offline", "ann online", "bob offline")
		s.lease.lose()
		time.Sleep(takeAgain + BeatEvery + time.Second)
		two.wants(t, "the next owner read the bucket")
		one.Leave(c)
		two.Enter(bob, session)
		time.Sleep(Grace + time.Second)
		two.wants(t, "the interests came with the renewal", "ann offline", "bob online")

		// The bucket is lost as well, as at a restart of the one process: who returns within the grace was never away.
		s.bus.mu.Lock()
		clear(s.bus.entries)
		s.bus.mu.Unlock()
		s.lease.lose()
		two.kill()
		third := s.edge("third")
		third.known, third.marks = two.known, two.marks
		third.watch(ann, bob)
		time.Sleep(5 * time.Second)
		third.Enter(bob, session)
		time.Sleep(3 * Grace)
		third.wants(t, "bob came back in time, ann has been away")
	})
}

func TestWhoDoesNotReturnAfterARestartIsOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		one := s.edge("one")
		one.watch(ann)
		time.Sleep(Grace - time.Second)
		one.wants(t, "not known yet")
		time.Sleep(2 * time.Second)
		one.wants(t, "after the grace", "ann offline")
	})
}

func TestALostAnnouncementIsMadeGoodAtTheRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		one := s.edge("one")
		warm()
		one.watch(ann)
		s.bus.mu.Lock()
		s.bus.lost = 1
		s.bus.mu.Unlock()
		one.Enter(ann, session)
		one.wants(t, "at first", "ann offline")
		time.Sleep(time.Second)
		one.wants(t, "the announcement was lost")
		time.Sleep(BeatEvery)
		one.wants(t, "the renewal tells", "ann online")
	})
}

func TestChangesBeyondTheBoundAreShedAndMadeGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{Changes: 10})
		one, two := s.edge("one"), s.edge("two")
		warm()
		var people []chat.UserID
		for range 50 {
			people = append(people, chat.NewUserID())
		}
		two.watch(people...)
		for _, u := range people {
			one.Enter(u, session)
		}
		two.hears()
		time.Sleep(time.Second)
		if n := len(two.hears()); n != 10 {
			t.Errorf("%d told at once, want 10", n)
		}
		time.Sleep(BeatEvery)
		if n := len(two.hears()); n != 40 {
			t.Errorf("%d told at the renewal, want 40", n)
		}
	})
}

func TestNobodyIsWatchedWithoutUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		one := s.edge("one")
		warm()
		one.watch(ann, bob)
		one.watch(ann)
		one.Unwatch([]chat.UserID{ann, bob})
		one.hears()
		time.Sleep(2 * time.Second)
		one.Enter(bob, session)
		one.Enter(ann, session)
		time.Sleep(time.Second)
		one.wants(t, "one use is left", "ann online")
		one.Unwatch([]chat.UserID{ann})
		time.Sleep(2 * time.Second)
		s.shard.mu.Lock()
		defer s.shard.mu.Unlock()
		if s.shard.roll.watched != 0 || len(s.shard.roll.looking) != 0 {
			t.Errorf("%d pairs are watched", s.shard.roll.watched)
		}
	})
}

func TestRegistrationsGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		one := s.edge("one")
		before := s.bus.written()
		for range 500 {
			one.Enter(chat.NewUserID(), session)
		}
		gone := one.Enter(ann, session)
		one.Leave(gone) // never written
		time.Sleep(time.Second)
		if n := s.bus.written() - before; n != 1 {
			t.Errorf("500 connections took %d writes, want 1", n)
		}
		if s.bus.size() != 500 {
			t.Errorf("%d entries", s.bus.size())
		}
	})
}

func TestAStopSeesWhoIsHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		one := s.edge("one")
		one.Enter(ann, session)
		time.Sleep(time.Minute)
		now := time.Now()
		s.stop()
		if at := s.bus.lastSeen()[ann]; !at.Equal(now.Truncate(time.Millisecond)) {
			t.Errorf("last seen %s, want now, %s", at, now)
		}
		if _, err := s.shard.Look(t.Context(), []chat.UserID{ann}); chat.KindOf(err) != chat.Unavailable {
			t.Errorf("a shard without an owner answers %v", err)
		}
	})
}

func TestAnEdgeThatSaysGoodbyeIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		two := s.edge("two")
		ctx := t.Context()
		if err := s.bus.Beat(ctx, "one", 5); err != nil {
			t.Fatal(err)
		}
		if err := s.bus.Write(ctx, []Entry{{User: ann, Edge: "one", Run: 5, Number: 1}}); err != nil {
			t.Fatal(err)
		}
		warm()
		two.watch(ann)
		two.wants(t, "at first", "ann online")
		if err := s.bus.Bye(ctx, "one", 5); err != nil {
			t.Fatal(err)
		}
		time.Sleep(Grace + time.Second)
		two.wants(t, "after the grace", "ann offline")
	})
}

func TestANewRunEndsTheFormer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{})
		two := s.edge("two")
		ctx := t.Context()
		for _, e := range []Entry{{User: ann, Edge: "one", Run: 5, Number: 1}, {User: bob, Edge: "one", Run: 6, Number: 1}, {User: ann, Edge: "one", Run: 5, Number: 2}} {
			if err := s.bus.Write(ctx, []Entry{e}); err != nil {
				t.Fatal(err)
			}
		}
		two.watch(ann, bob)
		two.wants(t, "at first", "ann online", "bob online")
		for range 3 {
			if err := s.bus.Beat(ctx, "one", 6); err != nil {
				t.Fatal(err)
			}
			time.Sleep(BeatEvery)
		}
		two.wants(t, "ann's run is over", "ann offline")
		if n := s.bus.size(); n != 1 {
			t.Errorf("%d entries, want bob's alone", n)
		}
	})
}

func TestBoundsOfAShardAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Limits{People: 1, Interests: 1, Edges: 2})
		one, two := s.edge("one"), s.edge("two")
		one.Enter(ann, session)
		time.Sleep(time.Second)
		one.Enter(bob, session)
		time.Sleep(time.Second)
		warm()
		two.watch(ann)
		two.watch(bob)
		two.wants(t, "ann has the place, and the interest", "ann online")
		if a, err := s.shard.Watch(t.Context(), "three", 1, []chat.UserID{ann}); chat.KindOf(err) != chat.Unavailable {
			t.Errorf("a third edge: %+v, %v", a, err)
		}
		for _, reason := range []string{shedPeople, shedInterests, shedEdges} {
			if n := counterOf(t, s.shard.metrics.shed.WithLabelValues(reason)); n == 0 {
				t.Errorf("%s: not counted", reason)
			}
		}
	})
}

func TestShardsAreEven(t *testing.T) {
	counts := make([]int, 4)
	for range 4000 {
		counts[ShardOf(chat.NewUserID(), len(counts))]++
	}
	for shard, n := range counts {
		if n < 800 || n > 1200 {
			t.Errorf("shard %d has %d of 4000", shard, n)
		}
	}
}
