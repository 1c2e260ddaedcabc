package wire_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestAnnouncementsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := wire.Announcement{Shard: rapid.Uint16().Draw(t, "shard"), Term: rapid.Uint64().Draw(t, "term"), Version: rapid.Uint64().Draw(t, "version")}
		for range rapid.IntRange(0, 4).Draw(t, "people") {
			a.People = append(a.People, wire.PersonStatus{
				UserID: chat.NewUserID(), Status: wire.Status(rapid.IntRange(0, 3).Draw(t, "status")), LastSeen: rapid.Int64().Draw(t, "seen"),
			})
		}
		b := wire.AppendAnnouncement(nil, &a)
		got, err := wire.DecodeAnnouncement(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("written (-), read (+):\n%s", diff)
		}
		if !wire.IsAnnouncement(b) || wire.IsAnnouncement(wire.AppendHop(nil, &wire.Hop{})) {
			t.Fatal("hops and announcements are not told apart")
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := wire.DecodeAnnouncement(b[:cut]); err == nil {
			t.Fatalf("%d bytes cut at %d pass", len(b), cut)
		}
		if _, err := wire.DecodeAnnouncement(append(b, 0)); err == nil {
			t.Fatal("a byte too many passes")
		}
	})
}

func TestStatusesAreSpelledOneWay(t *testing.T) {
	for _, s := range []wire.Status{wire.StatusOffline, wire.StatusAway, wire.StatusOnline} {
		if got, err := wire.ParseStatus(s.String()); err != nil || got != s {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "Online", "busy"} {
		if _, err := wire.ParseStatus(s); chat.KindOf(err) != chat.Invalid {
			t.Errorf("%q: %v, want invalid", s, err)
		}
	}
}

func FuzzAnnouncement(f *testing.F) {
	f.Add(wire.AppendAnnouncement(nil, &wire.Announcement{Shard: 1, Term: 2, Version: 3, People: []wire.PersonStatus{{UserID: "u", Status: wire.StatusAway}}}))
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := wire.DecodeAnnouncement(b)
		if err != nil {
			return
		}
		if diff := cmp.Diff(b, wire.AppendAnnouncement(nil, &a)); diff != "" {
			t.Fatal(diff)
		}
	})
}
