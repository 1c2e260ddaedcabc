package chat_test

import (
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func naughty(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("testdata/blns.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 400 {
		t.Fatalf("only %d strings", len(all))
	}
	return all
}

func message(text string) chat.Record {
	return chat.Record{
		ConversationID: "gaaaaaaaaaaaaaaaaaaaaaaaaaa", Seq: 7, N: 3, ID: chat.MakeID(1_800_000_000_123, 2, 5), Kind: chat.KindMessage,
		SenderID: "uaaaaaaaaaaaaaaaaaaaaaaaaaa", ClientID: chat.NewClientID(time.UnixMilli(1_800_000_000_000)), Type: chat.MessageText, Text: text,
	}
}

func survives(t failer, r chat.Record) {
	raw := r.AppendJSON(nil)
	got, err := wire.DecodeRecord(raw)
	if err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Fatalf("written (-), read (+):\n%s", diff)
	}
	if again := got.AppendJSON(nil); string(again) != string(raw) {
		t.Fatalf("written again:\n%s\n%s", raw, again)
	}
}

func TestNaughtyStringsSurviveByteForByte(t *testing.T) {
	for _, s := range naughty(t) {
		if !utf8.ValidString(s) {
			t.Fatalf("%q is not text", s)
		}
		survives(t, message(s))
		r := message("")
		r.Kind, r.Type, r.Name = chat.KindSettings, "", &s
		survives(t, r)
	}
}

func TestRecordsSurvive(t *testing.T) {
	kinds := []chat.RecordKind{chat.KindCreate, chat.KindMessage, chat.KindEdit, chat.KindDelete, chat.KindMember, chat.KindSettings, chat.KindPreference}
	text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune{0, 1, 8, 9, 10, 12, 13, 31, '"', '\\', '/', 127, 0x2028, 0xfffd, 0x10ffff, 'a'})))
	rapid.Check(t, func(t *rapid.T) {
		r := message(text.Draw(t, "text"))
		r.Kind = rapid.SampledFrom(kinds).Draw(t, "kind")
		if r.Kind != chat.KindMessage && r.Kind != chat.KindEdit {
			r.Text = ""
		}
		r.Seq, r.ID = chat.Seq(rapid.Uint64().Draw(t, "seq")), chat.ID(rapid.Uint64().Draw(t, "id"))
		r.N, r.V = rapid.Uint64().Draw(t, "n"), rapid.IntRange(0, 9).Draw(t, "v")
		if rapid.Bool().Draw(t, "named") {
			name := text.Draw(t, "name")
			r.Name = &name
		}
		r.ReplyTo, r.TargetSeq = chat.Seq(rapid.Uint64Range(0, 2).Draw(t, "reply")), chat.Seq(rapid.Uint64Range(0, 2).Draw(t, "target"))
		r.EditedSeq, r.Deleted = chat.Seq(rapid.Uint64Range(0, 2).Draw(t, "edited")), rapid.Bool().Draw(t, "deleted")
		r.History = rapid.SampledFrom([]chat.HistoryAccess{"", chat.HistoryAll, chat.HistoryJoined}).Draw(t, "history")
		r.Action = rapid.SampledFrom([]chat.Action{"", chat.ActionAdded, chat.ActionRole}).Draw(t, "action")
		r.Role = rapid.SampledFrom([]chat.Role{"", chat.RoleAdmin}).Draw(t, "role")
		if r.Kind == chat.KindPreference {
			r.About = "daaaaaaaaaaaaaaaaaaaaaaaaaa"
			until := []chat.MutedUntil{"", chat.MutedForever, chat.MutedUntilTime(time.UnixMilli(1_900_000_000_001))}
			r.MutedUntil = rapid.Ptr(rapid.SampledFrom(until), true).Draw(t, "muted")
			r.Archived, r.Pinned = rapid.Ptr(rapid.Bool(), true).Draw(t, "archived"), rapid.Ptr(rapid.Bool(), true).Draw(t, "pinned")
		}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			r.Members = append(r.Members, chat.MemberEntry{UserID: chat.NewUserID(), Role: chat.RoleMember})
			r.UserIDs = append(r.UserIDs, chat.NewUserID())
		}
		survives(t, r)
	})
}

// TestTheRecordsJSONIsFixed is the golden form: logs and clients hold these very bytes.
func TestTheRecordsJSONIsFixed(t *testing.T) {
	r := message("say \"hi\"\n\u2028\x01é")
	r.ClientID = chat.ClientID{0x01, 0x90, 0xb6, 0xc0, 0x11, 0x11, 0x71, 0x11, 0x81, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11}
	r.ReplyTo = 4
	want := `{"conversation_id":"gaaaaaaaaaaaaaaaaaaaaaaaaaa","seq":7,"n":3,"id":"` + r.ID.String() + `","kind":"message",` +
		`"sender_id":"uaaaaaaaaaaaaaaaaaaaaaaaaaa","client_id":"0190b6c0-1111-7111-8111-111111111111","sent_at":"2027-01-15T08:00:00.123Z",` +
		`"type":"text","text":"say \"hi\"\n` + "\u2028" + `\u0001é","reply_to":4}`
	if diff := cmp.Diff(want, string(r.AppendJSON(nil))); diff != "" {
		t.Error(diff)
	}
}

func TestAPreferencesJSONIsFixed(t *testing.T) {
	r := chat.Record{
		ConversationID: "saaaaaaaaaaaaaaaaaaaaaaaaaa", Seq: 7, N: 3, ID: chat.MakeID(1_800_000_000_123, 2, 5), Kind: chat.KindPreference,
		SenderID: "uaaaaaaaaaaaaaaaaaaaaaaaaaa", About: "gaaaaaaaaaaaaaaaaaaaaaaaaaa",
		MutedUntil: new(chat.MutedUntil("")), Archived: new(false), Pinned: new(true),
	}
	want := `{"conversation_id":"saaaaaaaaaaaaaaaaaaaaaaaaaa","seq":7,"n":3,"id":"` + r.ID.String() + `","kind":"preference",` +
		`"sender_id":"uaaaaaaaaaaaaaaaaaaaaaaaaaa","sent_at":"2027-01-15T08:00:00.123Z",` +
		`"about":"gaaaaaaaaaaaaaaaaaaaaaaaaaa","muted_until":"","archived":false,"pinned":true}`
	if diff := cmp.Diff(want, string(r.AppendJSON(nil))); diff != "" {
		t.Error(diff)
	}
}

func TestMutedUntil(t *testing.T) {
	for text, want := range map[string]chat.MutedUntil{
		"":                               "",
		"forever":                        chat.MutedForever,
		"2026-02-01T08:00:00Z":           "2026-02-01T08:00:00.000Z",
		"2026-02-01T10:30:00.1239+02:30": "2026-02-01T08:00:00.123Z",
		"2026-02-01T08:00:00.123Z":       "2026-02-01T08:00:00.123Z",
		"9999-12-31T23:59:59.999Z":       "9999-12-31T23:59:59.999Z",
		"0001-01-01T00:00:00Z":           "0001-01-01T00:00:00.000Z",
	} {
		got, err := chat.ParseMutedUntil(text)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
		if again, err := chat.ParseMutedUntil(string(got)); err != nil || again != got {
			t.Errorf("%q read again: %q, %v", got, again, err)
		}
	}
	for _, bad := range []string{
		"Forever", "never", "null", " ", "0", "2026-02-01", "2026-02-01 08:00:00Z", "2026-02-01T08:00:00", "2026-02-30T08:00:00Z",
		"0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "10000-01-01T00:00:00Z",
	} {
		if got, err := chat.ParseMutedUntil(bad); chat.KindOf(err) != chat.Invalid {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	end := time.UnixMilli(1_900_000_000_001)
	for _, c := range []struct {
		until chat.MutedUntil
		at    time.Time
		want  bool
	}{
		{"", end, false},
		{chat.MutedForever, end.AddDate(500, 0, 0), true},
		{chat.MutedUntilTime(end), end.Add(-time.Millisecond), true},
		{chat.MutedUntilTime(end), end, false},
	} {
		if got := c.until.At(c.at); got != c.want {
			t.Errorf("%q at %s: %v", c.until, c.at, got)
		}
	}
}

func TestMarksOrderByGenerationFirst(t *testing.T) {
	ascending := []chat.Mark{{}, {Generation: 1, StreamSeq: 5}, {Generation: 1, StreamSeq: 6}, {Generation: 2, StreamSeq: 1}}
	for i, a := range ascending {
		for j, b := range ascending {
			if a.Before(b) != (i < j) {
				t.Errorf("%v before %v: %v", a, b, a.Before(b))
			}
		}
	}
}

func TestClipNeverCutsInsideACharacter(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("é", 30), strings.Repeat("x", 39) + "😀😀"} {
		if c := chat.Clip(s); !utf8.ValidString(c) || len(c) > 43 {
			t.Errorf("%q clipped to %q", s, c)
		}
	}
}
