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
	kinds := []chat.RecordKind{chat.KindCreate, chat.KindMessage, chat.KindEdit, chat.KindDelete, chat.KindMember, chat.KindSettings}
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
