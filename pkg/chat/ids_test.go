package chat_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
)

func TestIdsRoundTrip(t *testing.T) {
	key := []byte("key")
	a, b := chat.NewUserID(), chat.NewUserID()
	client := chat.NewClientID(time.UnixMilli(1_800_000_000_123))
	for id, want := range map[chat.ConversationID]chat.Type{
		chat.DirectID(key, a, b): chat.Direct, chat.SelfID(key, a): chat.Self, chat.GroupID(key, a, client): chat.Group,
	} {
		got, err := chat.ParseConversationID(string(id))
		if err != nil || got != id || got.Type() != want {
			t.Errorf("%s: %s of type %s, %v", id, got, got.Type(), err)
		}
	}
	if got, err := chat.ParseUserID(string(a)); err != nil || got != a {
		t.Errorf("user: %v %v", got, err)
	}
	w := chat.NewSessionID()
	if got, err := chat.ParseSessionID(string(w)); err != nil || got != w {
		t.Errorf("session: %v %v", got, err)
	}
	if client.UnixMilli() != 1_800_000_000_123 {
		t.Errorf("time in the client id is %d", client.UnixMilli())
	}
	if got, err := chat.ParseClientID(strings.ToUpper(client.String())); err != nil || got != client {
		t.Errorf("client id in capitals: %v %v", got, err)
	}
}

func TestDerivedIdsDependOnWhatTheyName(t *testing.T) {
	key := []byte("key")
	a, b, c := chat.NewUserID(), chat.NewUserID(), chat.NewUserID()
	if chat.DirectID(key, a, b) != chat.DirectID(key, b, a) {
		t.Error("the order of two people matters")
	}
	one, two := chat.NewClientID(time.Now()), chat.NewClientID(time.Now())
	seen := map[string]bool{}
	for _, id := range []chat.ConversationID{
		chat.DirectID(key, a, b), chat.DirectID(key, a, c), chat.DirectID([]byte("other"), a, b), chat.SelfID(key, a), chat.SelfID(key, b),
		chat.GroupID(key, a, one), chat.GroupID(key, a, two), chat.GroupID(key, b, one),
	} {
		if seen[string(id[1:])] {
			t.Errorf("%s is made twice", id)
		}
		seen[string(id[1:])] = true
	}
}

func TestForeignIdsAreRefused(t *testing.T) {
	good := string(chat.NewUserID())
	for _, s := range []string{
		"", "u", good[:26], good + "a", "w" + good[1:], strings.ToUpper(good), "u." + good[2:], "u*" + good[2:], "u>" + good[2:],
		"u1" + good[2:], "u " + good[2:], "u\x00" + good[2:], good[:26] + "b", "é" + good[2:],
	} {
		if id, err := chat.ParseUserID(s); chat.KindOf(err) != chat.Invalid || id != "" {
			t.Errorf("%q: %q %v, want invalid", s, id, err)
		}
	}
	for _, s := range []string{
		"", "0", "00000000-0000-0000-0000-000000000000", "0190b6c0-1111-4111-8111-111111111111", "0190b6c0-1111-7111-c111-111111111111",
		"0190b6c011117111811111111111 1111", "{0190b6c0-1111-7111-8111-11111111111}", "0190b6c0-1111-7111-8111-11111111111g", "0190b6c0-1111-7111-8111-1111111111111",
		"0190b6c0-1111-7111-8111-11111111111-", "0190b6c0-1111-7111-8111--11111111111", "0190b6c0-1111-7111-8111-1-1-1-1-1-1-",
	} {
		if _, err := chat.ParseClientID(s); chat.KindOf(err) != chat.InvalidClientID {
			t.Errorf("%q: %v, want invalid_client_id", s, err)
		}
	}
	for _, s := range []string{"", "-1", "+1", "1.0", "1e3", "0x1", " 1", "1 ", "1_000", "18446744073709551616", "١"} {
		if _, err := chat.ParsePosition(s); chat.KindOf(err) != chat.Invalid {
			t.Errorf("position %q: %v, want invalid", s, err)
		}
		var id chat.ID
		if err := id.UnmarshalText([]byte(s)); chat.KindOf(err) != chat.Invalid {
			t.Errorf("id %q: %v, want invalid", s, err)
		}
	}
}

func TestParsersAcceptOnlyWhatTheyPrint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringMatching(`[udgswx][a-z1-9]{25,27}`), rapid.StringMatching(`[0-9a-fA-F]{8}-[0-9a-f]{4}-[67][0-9a-f]{3}-[89abcd][0-9a-f]{3}-[0-9a-f]{12}`)).Draw(t, "text")
		parsed(t, s)
	})
}

type failer interface {
	Fatalf(format string, args ...any)
}

func parsed(t failer, s string) {
	if id, err := chat.ParseUserID(s); err == nil && (string(id) != s || s[0] != 'u') {
		t.Fatalf("user id %q from %q", id, s)
	}
	if id, err := chat.ParseConversationID(s); err == nil {
		if string(id) != s || strings.ContainsAny(s, ".*> \t\r\n") || !strings.Contains("dgs", s[:1]) {
			t.Fatalf("conversation id %q from %q", id, s)
		}
		for _, count := range []int{1, 2, 3, 4096} {
			if p := id.Partition(count); p < 0 || p >= count {
				t.Fatalf("partition %d of %d", p, count)
			}
		}
	}
	if id, err := chat.ParseSessionID(s); err == nil && (string(id) != s || s[0] != 'w') {
		t.Fatalf("session id %q from %q", id, s)
	}
	if id, err := chat.ParseClientID(s); err == nil {
		if id.String() != strings.ToLower(s) || id.IsZero() {
			t.Fatalf("client id %q from %q", id, s)
		}
	}
}

func TestNextIDStrictlyRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		partition := rapid.IntRange(0, 1<<14-1).Draw(t, "partition")
		other := rapid.IntRange(0, 1<<14-1).Draw(t, "partition before")
		last := chat.NextID(0, now, other)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(-2000, 2000).Draw(t, "step")) * time.Millisecond)
			for range rapid.SampledFrom([]int{1, 2, 300}).Draw(t, "burst") {
				id := chat.NextID(last, now, partition)
				if id <= last {
					t.Fatalf("%d is not above %d", id, last)
				}
				if id.UnixMilli() < now.UnixMilli() || id.UnixMilli() > max(last.UnixMilli()+1, now.UnixMilli()) {
					t.Fatalf("id of %d, now %d, last %d", id.UnixMilli(), now.UnixMilli(), last.UnixMilli())
				}
				if got := int(id >> 8 & (1<<14 - 1)); got != partition {
					t.Fatalf("partition %d, want %d", got, partition)
				}
				last = id
			}
		}
		var back chat.ID
		if err := back.UnmarshalText([]byte(last.String())); err != nil || back != last {
			t.Fatalf("%d from %s: %v", back, last, err)
		}
	})
}

func TestPositionsAreSeqsOrIds(t *testing.T) {
	for _, v := range []uint64{0, 1, chat.MaxSeq - 1, chat.MaxSeq, 1 << 63} {
		p, err := chat.ParsePosition(strconv.FormatUint(v, 10))
		if err != nil {
			t.Fatal(err)
		}
		if seq, ok := p.Seq(); ok != (v < chat.MaxSeq) || ok && uint64(seq) != v || uint64(p.ID()) != v {
			t.Errorf("%d: seq %d %v, id %d", v, seq, ok, p.ID())
		}
	}
	if first := chat.NextID(0, time.Date(2025, 1, 1, 0, 5, 0, 0, time.UTC), 0); first < chat.MaxSeq {
		t.Errorf("an id five minutes after the epoch, %d, is taken as a seq", first)
	}
}

func TestCursorsMergeByMaximum(t *testing.T) {
	cursor := rapid.Custom(func(t *rapid.T) chat.Cursor {
		seq := rapid.Uint64Range(0, 50).Draw(t, "seq")
		return chat.Cursor{Seq: chat.Seq(seq), N: seq / 2}
	})
	rapid.Check(t, func(t *rapid.T) {
		draw := func(what string) chat.Cursors {
			return chat.Cursors{Read: cursor.Draw(t, what+" read"), Delivered: cursor.Draw(t, what+" delivered")}
		}
		a, b, c := draw("a"), draw("b"), draw("c")
		if a.Max(b) != b.Max(a) || a.Max(b).Max(c) != a.Max(b.Max(c)) || a.Max(b).Max(b) != a.Max(b) {
			t.Fatalf("%v %v %v do not merge in any order", a, b, c)
		}
		if m := a.Max(b); m.Read.Seq < a.Read.Seq || m.Delivered.Seq < a.Delivered.Seq || m.Delivered.Seq < m.Read.Seq {
			t.Fatalf("%v and %v give %v", a, b, m)
		}
	})
}

func FuzzIDs(f *testing.F) {
	for _, s := range []string{
		"uaaaaaaaaaaaaaaaaaaaaaaaaaa", "gaaaaaaaaaaaaaaaaaaaaaaaaa4", "daaaaaaaaaaaaaaaaaaaaaaaaab", "waaaaaaaaaaaaaaaaaaaaaaaaai",
		"0190b6c0-1111-7111-8111-111111111111", "0190B6C0-1111-7111-BFFF-111111111111", "s.*>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { parsed(t, s) })
}

func FuzzPosition(f *testing.F) {
	for _, s := range []string{"0", "1", "1099511627775", "1099511627776", "18446744073709551615", "18446744073709551616", "-1", "007"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := chat.ParsePosition(s)
		digits := s != "" && strings.Trim(s, "0123456789") == ""
		if err == nil && !digits {
			t.Fatalf("position %d from %q", p, s)
		}
		if err == nil && strconv.FormatUint(uint64(p), 10) != strings.TrimLeft(s[:len(s)-1], "0")+s[len(s)-1:] {
			t.Fatalf("position %d from %q", p, s)
		}
	})
}
