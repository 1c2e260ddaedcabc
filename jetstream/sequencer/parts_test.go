package sequencer

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

func TestRingIsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ring[int]
		var want []int
		for i := range rapid.IntRange(0, 400).Draw(t, "steps") {
			switch what := rapid.IntRange(0, 5).Draw(t, "what"); {
			case what < 3:
				r.push(i)
				want = append(want, i)
			case what == 3:
				r.pushFront(i)
				want = slices.Insert(want, 0, i)
			case len(want) > 0:
				if r.front() != want[0] || r.pop() != want[0] {
					t.Fatal("another front")
				}
				want = want[1:]
			}
			if r.len() != len(want) {
				t.Fatalf("%d items, want %d", r.len(), len(want))
			}
		}
	})
}

// The index must tell what a plain list of entries tells.
func TestTailIndexTellsWhatTheLogTells(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newTailIndex()
		var all []chat.Entry
		heads := map[chat.ConversationID]chat.Head{}
		sealed, stream := uint64(0), uint64(0)
		var given []conversation.Answer
		var were []string
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.IntRange(0, 20).Draw(t, "seal") == 0 {
				sealed = rapid.Uint64Range(sealed, stream).Draw(t, "sealed")
				for x.prune(sealed, 3) {
				}
				continue
			}
			stream += rapid.Uint64Range(1, 2).Draw(t, "fences")
			id := groupID(rapid.IntRange(0, 2).Draw(t, "conversation"))
			h := heads[id]
			h.Seq++
			e := chat.Entry{StreamSeq: stream, Record: chat.Record{
				ConversationID: id, Seq: h.Seq, SenderID: user(rapid.IntRange(0, 2).Draw(t, "sender")), ID: chat.ID(stream),
				Kind: rapid.SampledFrom([]chat.RecordKind{chat.KindMessage, chat.KindMessage, chat.KindDelete, chat.KindMember}).Draw(t, "kind"),
			}}
			if e.Kind == chat.KindMessage {
				h.N++
				e.ClientID = chat.NewClientID(time.UnixMilli(1_700_000_000_000))
			}
			if e.Kind == chat.KindDelete {
				e.TargetSeq = chat.Seq(rapid.IntRange(1, int(h.Seq)).Draw(t, "target"))
			}
			e.N = h.N
			heads[id] = h
			x.add(&e)
			all = append(all, e)
			applied := rapid.Uint64Range(sealed, stream).Draw(t, "applied")
			a := conversation.Answer{Tail: x.convs[id].above(applied), Sends: x.convs[id].sendsAbove(applied)}
			compareTail(t, &x, all, id, sealed, applied)
			given, were = append(given, a), append(were, fmt.Sprint(a))
		}
		for i, a := range given {
			if fmt.Sprint(a) != were[i] {
				t.Fatalf("an answer changed: %s, was %s", fmt.Sprint(a), were[i])
			}
		}
	})
}

func compareTail(t *rapid.T, x *tailIndex, all []chat.Entry, id chat.ConversationID, sealed, applied uint64) {
	tail := x.convs[id]
	var places []chat.Place
	sends := map[chat.UserID]chat.Cursor{}
	count := 0
	for _, e := range all {
		if e.StreamSeq > sealed {
			count++
		}
		if e.ConversationID != id {
			continue
		}
		got, found := tail.find(clientKey{e.SenderID, e.ClientID})
		if held := e.StreamSeq > sealed && !e.ClientID.IsZero(); held != (found && !e.ClientID.IsZero()) || held && got != outcomeOf(&e) {
			t.Fatalf("client id of %d: %+v %v, sealed %d", e.StreamSeq, got, found, sealed)
		}
		if (tail.at(e.Seq) != nil) != (e.StreamSeq > sealed) {
			t.Fatalf("record %d at %d, sealed %d", e.Seq, e.StreamSeq, sealed)
		}
		if e.Kind == chat.KindDelete && e.StreamSeq > sealed && !tail.deleted(e.TargetSeq) {
			t.Fatalf("delete of %d is not known", e.TargetSeq)
		}
		if e.StreamSeq > applied {
			places = append(places, chat.Place{Seq: e.Seq, StreamSeq: e.StreamSeq})
			if e.Kind == chat.KindMessage {
				sends[e.SenderID] = chat.Cursor{Seq: e.Seq, N: e.N}
			}
		}
	}
	if diff := cmp.Diff(places, tail.above(applied)); diff != "" {
		t.Fatal(diff)
	}
	have := tail.sendsAbove(applied)
	if len(have)+len(sends) > 0 && !cmp.Equal(have, sends) {
		t.Fatal(cmp.Diff(have, sends))
	}
	if x.len() != count {
		t.Fatalf("%d places, want %d", x.len(), count)
	}
}

func TestALongTailFindsClientIDs(t *testing.T) {
	x := newTailIndex()
	var ids []chat.ClientID
	for i := range 3 * scanIDs {
		e := chat.Entry{StreamSeq: uint64(i + 1), Record: chat.Record{
			ConversationID: groupID(1), Seq: chat.Seq(i + 1), SenderID: user(1), ClientID: chat.NewClientID(time.Now()), Kind: chat.KindMessage,
		}}
		ids = append(ids, e.ClientID)
		x.add(&e)
		if i > scanIDs && i%97 == 0 {
			x.prune(uint64(i/2), 1<<20)
			for k, id := range ids {
				o, ok := x.convs[groupID(1)].find(clientKey{user(1), id})
				if want := k >= i/2; ok != want || ok && o.Seq != chat.Seq(k+1) {
					t.Fatalf("after %d: client id %d gives %+v %v", i, k, o, ok)
				}
			}
		}
	}
}

func TestRateBucketsAreBounded(t *testing.T) {
	now := time.Now()
	dropped := 0
	l := newLimiter(Rates{SenderPerSecond: 1, SenderBurst: 2, ConversationBurst: 1e9}, func() { dropped++ })
	l.senders.most = 100
	take := func(i int) error {
		return l.take(&conversation.Command{Actor: user(i), ConversationID: groupID(1)}, now)
	}
	for i := range 1000 {
		if err := take(i); err != nil {
			t.Fatal(err)
		}
		if len(l.senders.all) > 100 {
			t.Fatalf("%d buckets", len(l.senders.all))
		}
	}
	if dropped == 0 {
		t.Fatal("dropping is not counted")
	}
	if err := take(999); err != nil {
		t.Fatal(err)
	}
	if err := take(999); chat.KindOf(err) != chat.RateLimited {
		t.Fatalf("third command of a burst of two: %v", err)
	}
	now = now.Add(-time.Hour) // the clock steps back: nothing flows in
	if err := take(999); chat.KindOf(err) != chat.RateLimited {
		t.Fatalf("after a step back: %v", err)
	}
	now = now.Add(1001 * time.Millisecond)
	if err := take(999); err != nil {
		t.Fatal(err)
	}
}

func TestPackedTailsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var places []chat.Place
		var p chat.Place
		for range rapid.IntRange(0, 50).Draw(t, "count") {
			p.Seq += chat.Seq(rapid.Uint64Range(1, 1<<38).Draw(t, "seq"))
			p.StreamSeq += rapid.Uint64Range(1, 1<<40).Draw(t, "stream")
			places = append(places, p)
		}
		got, err := unpackTail(packTail(places))
		if err != nil || !slices.Equal(got, places) {
			t.Fatalf("%v, %v, want %v", got, err, places)
		}
	})
}

func FuzzUnpackTail(f *testing.F) {
	f.Add(packTail([]chat.Place{{Seq: 1, StreamSeq: 9}, {Seq: 300, StreamSeq: 1 << 40}}))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		places, err := unpackTail(b)
		if err != nil {
			return
		}
		again, err := unpackTail(packTail(places))
		if err != nil || !slices.Equal(again, places) {
			t.Fatalf("%v, %v, want %v", again, err, places)
		}
	})
}
