package jetstream

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/pkg/chat"
)

func placesOf(entries []chat.Entry) []chat.Place {
	var places []chat.Place
	for _, e := range entries {
		places = append(places, chat.Place{Seq: e.Seq, StreamSeq: e.StreamSeq})
	}
	return places
}

// sameEntries compares without walking along every byte.
func sameEntries(t *testing.T, want, got []chat.Entry) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(want[i], got[i]) {
			t.Fatalf("entry %d: %s", i, cmp.Diff(want[i], got[i]))
		}
	}
}

// written reads the whole log with a plain consumer: the truth to compare with.
func written(w *world) []chat.Entry {
	w.t.Helper()
	var all []chat.Entry
	for seq := uint64(1); seq <= w.last(); seq++ {
		m, err := leaderGet(w.ctx, w.nc, LogStream(w.token), getRequest{Seq: seq})
		if err != nil {
			w.t.Fatal(err)
		}
		e, err := DecodeEntry(m.Subject, m.Header, m.Data, w.token.Generation, seq)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestGetWalksAlongInterleavedConversations(t *testing.T) {
	w := newWorld(t)
	w.fill(3000, 3)
	byConversation := map[chat.ConversationID][]chat.Entry{}
	for _, e := range written(w) {
		byConversation[e.ConversationID] = append(byConversation[e.ConversationID], e)
	}
	r := NewLogReader(w.nc)
	for id, want := range byConversation {
		for _, part := range [][]chat.Entry{want, want[:1], want[len(want)-1:], want[100:700], nil} { // 1,000 places, one, ...
			got, err := r.Get(w.ctx, 1, id, 0, placesOf(part))
			if err != nil {
				t.Fatal(err)
			}
			sameEntries(t, part, got)
		}
		sparse := []chat.Entry{want[3], want[4], want[90], want[999]}
		got, err := r.Get(w.ctx, 1, id, 0, placesOf(sparse))
		if err != nil {
			t.Fatal(err)
		}
		sameEntries(t, sparse, got)
	}
}

func TestGetOfLargeRecords(t *testing.T) {
	w := newWorld(t)
	var want []chat.Entry
	for range 12 { // together above what one batch may bring
		want = append(want, w.say(conversationID(0), strings.Repeat("ü", 400_000)))
	}
	got, err := NewLogReader(w.nc).Get(w.ctx, 1, conversationID(0), 0, placesOf(want))
	if err != nil {
		t.Fatal(err)
	}
	sameEntries(t, want, got)
}

func TestAMissIsNeverSilent(t *testing.T) {
	w := newWorld(t)
	a, b := conversationID(0), conversationID(1)
	first, other, last := w.say(a, "1"), w.say(b, "1"), w.say(a, "2")
	r := NewLogReader(w.nc)
	for name, places := range map[string][]chat.Place{
		"past the end":                 {{Seq: 1, StreamSeq: first.StreamSeq}, {Seq: 3, StreamSeq: 99}},
		"another conversation's place": {{Seq: 1, StreamSeq: first.StreamSeq}, {Seq: 2, StreamSeq: other.StreamSeq}, {Seq: 3, StreamSeq: last.StreamSeq}},
		"another seq":                  {{Seq: 2, StreamSeq: first.StreamSeq}},
	} {
		if got, err := r.Get(w.ctx, 1, a, 0, places); !errors.Is(err, ErrNotInLog) {
			t.Errorf("%s: %d records, %v", name, len(got), err)
		}
	}
	if _, err := r.Get(w.ctx, 9, a, 0, placesOf([]chat.Entry{first})); err == nil {
		t.Error("a log that is not there was read")
	}
}

func TestScanIsContiguous(t *testing.T) {
	w := newWorld(t)
	w.publish(FenceMsg(w.token, 4))
	w.fill(1700, 5)
	w.publish(FenceMsg(w.token, 6))
	want := written(w)
	r := NewLogReader(w.nc)
	for _, span := range [][2]uint64{{1, 1702}, {1, 1}, {700, 1203}, {1702, 1702}, {5, 4}} {
		var got []chat.Entry
		if err := r.Scan(w.ctx, w.token, span[0], span[1], func(b []chat.Entry) error { got = append(got, b...); return nil }); err != nil {
			t.Fatal(err)
		}
		sameEntries(t, want[span[0]-1:max(span[1], span[0]-1)], got)
	}
	stop := errors.New("enough")
	if err := r.Scan(w.ctx, w.token, 1, 1702, func([]chat.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if err := r.Scan(w.ctx, w.token, 1700, 1703, func([]chat.Entry) error { return nil }); !errors.Is(err, ErrNotInLog) {
		t.Errorf("past the end: %v", err)
	}
	if err := purgeBelow(w.ctx, w.nc, LogStream(w.token), 100); err != nil {
		t.Fatal(err)
	}
	if err := r.Scan(w.ctx, w.token, 99, 1702, func([]chat.Entry) error { return nil }); !errors.Is(err, ErrNotInLog) {
		t.Errorf("trimmed: %v", err)
	}
	if first, err := r.First(w.ctx, w.token); err != nil || first != 100 {
		t.Errorf("first %d, %v", first, err)
	}
}

func TestScanStopsAtAStateRecordThatCanNotBeRead(t *testing.T) {
	w := newWorld(t)
	spoiled := EncodeEntry(w.token, w.message(conversationID(0), "x"))
	spoiled.Data = []byte("{")
	w.publish(spoiled)
	var got []chat.Entry
	err := NewLogReader(w.nc).Scan(w.ctx, w.token, 1, 1, func(b []chat.Entry) error { got = append(got, b...); return nil })
	if err != nil || len(got) != 1 || got[0].Seq != 1 {
		t.Errorf("a message that can not be read must keep its place: %v, %v", got, err)
	}
	member := w.message(conversationID(0), "x")
	member.Kind = chat.KindMember
	spoiled = EncodeEntry(w.token, member)
	spoiled.Data = []byte("{")
	w.publish(spoiled)
	if err := NewLogReader(w.nc).Scan(w.ctx, w.token, 1, 2, func([]chat.Entry) error { return nil }); err == nil {
		t.Error("a membership that can not be read was passed over")
	}
}

func TestTheLeaderKnowsLastAndFence(t *testing.T) {
	w := newWorld(t)
	r := NewLogReader(w.nc)
	check := func(wantLast, wantTerm uint64) {
		t.Helper()
		last, err := r.LastFromLeader(w.ctx, w.token)
		if err != nil || last != wantLast {
			t.Errorf("last %d, %v, want %d", last, err, wantLast)
		}
		term, err := r.FenceFromLeader(w.ctx, w.token)
		if err != nil || term != wantTerm {
			t.Errorf("term %d, %v, want %d", term, err, wantTerm)
		}
	}
	check(0, 0)
	w.publish(FenceMsg(w.token, 3))
	check(1, 3)
	w.say(conversationID(0), "of term 5")
	check(2, 5)
	w.publish(FenceMsg(w.token, 9))
	w.say(conversationID(0), "late, of term 5")
	check(4, 9)
	if err := purgeBelow(w.ctx, w.nc, LogStream(w.token), 4); err != nil {
		t.Fatal(err)
	}
	check(4, 5) // the fences are trimmed: the newest record tells
	if size, err := r.Size(w.ctx, w.token); err != nil || size < 100 {
		t.Errorf("size %d, %v", size, err)
	}
	if first, err := r.First(w.ctx, w.token); err != nil || first != 4 {
		t.Errorf("first %d, %v", first, err)
	}
}

func TestABrokerThatIsAwayIsUnavailable(t *testing.T) {
	w := newWorld(t)
	e := w.say(conversationID(0), "x")
	nc := w.connect(w.server)
	r := NewLogReader(nc)
	nc.Close()
	if _, err := r.Get(w.ctx, 1, conversationID(0), 0, placesOf([]chat.Entry{e})); chat.KindOf(err) != chat.Unavailable || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := r.LastFromLeader(w.ctx, w.token); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("got %v", err)
	}
}

func BenchmarkGetTail(b *testing.B) {
	w := newWorld(b)
	w.fill(5000, 10)
	var places []chat.Place
	for i := range 50 {
		places = append(places, chat.Place{Seq: chat.Seq(450 + i + 1), StreamSeq: uint64(4500 + 10*i + 1)})
	}
	r := NewLogReader(w.nc)
	b.ResetTimer()
	for range b.N {
		if _, err := r.Get(w.ctx, 1, conversationID(0), 0, places); err != nil {
			b.Fatal(err)
		}
	}
}
