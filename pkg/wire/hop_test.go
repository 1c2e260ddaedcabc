package wire_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func anyHop(t *rapid.T) wire.Hop {
	h := wire.Hop{
		Partition: rapid.Uint16().Draw(t, "partition"), Lane: rapid.SampledFrom([]wire.Lane{wire.LaneLog, wire.LaneCursors, wire.LaneSignals}).Draw(t, "lane"),
		Replay: rapid.Bool().Draw(t, "replay"), Generation: rapid.Uint32().Draw(t, "generation"), Term: rapid.Uint64().Draw(t, "term"), Prev: rapid.Uint64().Draw(t, "prev"),
	}
	for range rapid.IntRange(0, 4).Draw(t, "deliveries") {
		d := wire.Delivery{
			Seq: rapid.Uint64().Draw(t, "seq"), RecordSeq: chat.Seq(rapid.Uint64().Draw(t, "record")), Conversation: "gaaaaaaaaaaaaaaaaaaaaaaaaaa",
			Frame: rapid.SliceOf(rapid.Byte()).Draw(t, "frame"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "recipients") {
			d.Recipients = append(d.Recipients, chat.NewUserID())
		}
		h.Deliveries = append(h.Deliveries, d)
	}
	return h
}

func TestHopsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := anyHop(t)
		b := wire.AppendHop(nil, &h)
		got, err := wire.DecodeHop(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(h, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("written (-), read (+):\n%s", diff)
		}
		if got.Last() != h.Last() {
			t.Fatalf("last %d, want %d", got.Last(), h.Last())
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := wire.DecodeHop(b[:cut]); err == nil {
			t.Fatalf("a hop of %d bytes cut at %d passes", len(b), cut)
		}
		if _, err := wire.DecodeHop(append(b, 0)); err == nil {
			t.Fatal("a hop with a byte too many passes")
		}
	})
}

func TestLastIsPrevWithoutDeliveries(t *testing.T) {
	h := wire.Hop{Prev: 9}
	if h.Last() != 9 {
		t.Errorf("last %d", h.Last())
	}
	h.Deliveries = []wire.Delivery{{Seq: 10}, {Seq: 14}}
	if h.Last() != 14 {
		t.Errorf("last %d", h.Last())
	}
}

func FuzzHop(f *testing.F) {
	h := wire.Hop{Partition: 3, Term: 5, Prev: 6, Deliveries: []wire.Delivery{
		{Seq: 7, RecordSeq: 1, Conversation: "gaaaaaaaaaaaaaaaaaaaaaaaaaa", Recipients: []chat.UserID{"uaaaaaaaaaaaaaaaaaaaaaaaaaa"}, Frame: []byte("{}")},
	}}
	f.Add(wire.AppendHop(nil, &h))
	f.Add(wire.AppendHop(nil, &wire.Hop{Lane: wire.LaneCursors, Replay: true}))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := wire.DecodeHop(b)
		if err != nil {
			return
		}
		if again := wire.AppendHop(nil, &h); !bytes.Equal(b, again) {
			t.Fatalf("%x is read as %+v and written as %x", b, h, again)
		}
	})
}

// FuzzRecord: what is read as a record and written again is read as the same record; what is inside a frame
// is taken or refused with a kind that the caller may see.
func FuzzRecord(f *testing.F) {
	r := chat.Record{ConversationID: "gaaaaaaaaaaaaaaaaaaaaaaaaaa", Seq: 2, N: 1, ID: 99, Kind: chat.KindMessage, SenderID: "uaaaaaaaaaaaaaaaaaaaaaaaaaa", Type: "text", Text: "hi\n\"\\\x00"}
	f.Add(r.AppendJSON(nil))
	f.Add([]byte(`{"kind":"preference","about":"daaaaaaaaaaaaaaaaaaaaaaaaaa","muted_until":"2026-02-01T08:00:00.000Z","archived":true}`))
	f.Add([]byte(`{"kind":"edit","text":"\ud83d\ude00","target_seq":1}`))
	f.Add([]byte(`{"kind":"message","text":"\ud83d"}`))
	f.Add([]byte(`{"id":1,"type":"x","data":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if frame, err := wire.DecodeFrame(b); err != nil {
			if k := chat.KindOf(err); k != chat.Invalid && k != chat.InvalidText && k != chat.TooLarge {
				t.Fatalf("refused with %v", err)
			}
		} else if frame.Type == "" {
			t.Fatal("a frame without a type passes")
		}
		r, err := wire.DecodeRecord(b)
		if err != nil || !plain(string(r.ConversationID), string(r.Kind), string(r.SenderID), string(r.Role)) {
			return
		}
		for _, m := range r.Members {
			if !plain(string(m.UserID), string(m.Role)) {
				return
			}
		}
		for _, u := range r.UserIDs {
			if !plain(string(u)) {
				return
			}
		}
		if r.Kind != chat.KindMessage && r.Kind != chat.KindEdit {
			r.Text = "" // only these two have one
		}
		again, err := wire.DecodeRecord(r.AppendJSON(nil))
		if err != nil {
			t.Fatalf("%v in %s", err, r.AppendJSON(nil))
		}
		if diff := cmp.Diff(r, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// plain reports whether the parts need no escapes: ids, kinds and roles are made by the server.
func plain(parts ...string) bool {
	for _, p := range parts {
		if strings.ContainsFunc(p, func(c rune) bool { return c < 0x20 || c == '"' || c == '\\' }) {
			return false
		}
	}
	return true
}
