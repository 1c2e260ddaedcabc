package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
)

func transcriptOf(t *testing.T, text string) (*transcript, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "day.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readTranscript(path)
}

func TestTranscriptTakesWhatPeopleSaid(t *testing.T) {
	script, err := transcriptOf(t, strings.Join([]string{
		"[23:58] <alice> hello",
		"[23:58]  * bob waves",
		"=== carol joined",
		"[23:59] <bob>  two spaces before, one after ",
		"[23:59] <bob>",
		"[23:59] <bob>   ",
		"[23:59] <[a|c]`^> <b>\ttab & \x02bold\x02 \"quoted\" \\ ünï",
		"[00:01] <alice> past midnight",
		"[00:01] <alice> \xff is no UTF-8",
		"",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []line{
		{0, "alice", "hello"},
		{time.Minute, "bob", " two spaces before, one after "},
		{90 * time.Second, "[a|c]`^", "<b>\ttab & \x02bold\x02 \"quoted\" \\ ünï"},
		{3 * time.Minute, "alice", "past midnight"},
	}
	if diff := cmp.Diff(want, script.lines, cmp.AllowUnexported(line{})); diff != "" {
		t.Errorf("lines:\n%s", diff)
	}
	if script.left != 4 || script.bad != 1 {
		t.Errorf("left out %d and not text %d, want 4 and 1", script.left, script.bad)
	}
	if diff := cmp.Diff([]string{"alice", "bob", "[a|c]`^"}, script.nicks); diff != "" {
		t.Errorf("nicks:\n%s", diff)
	}
}

func TestTranscriptWithoutPeopleIsAnError(t *testing.T) {
	if _, err := transcriptOf(t, "nothing\n[10:00] <alone> hi\n"); err == nil {
		t.Error("accepted")
	}
}

func TestUsernamesOfNicksAreValidAndUnique(t *testing.T) {
	valid := regexp.MustCompile(`^[a-z0-9_.-]{2,32}$`)
	seen := map[string]bool{}
	for i, nick := range []string{"Alice", "alice", "[[|]]", "ünï", strings.Repeat("x", 100), "A.B_c-d"} {
		name := username("deadbeef", i, nick)
		if !valid.MatchString(name) || seen[name] {
			t.Errorf("username %q of %q", name, nick)
		}
		seen[name] = true
	}
	if got := displayName(strings.Repeat("é", 80)); len([]rune(got)) != 64 {
		t.Errorf("display name of %d characters", len([]rune(got)))
	}
}

func TestExpectationFindsEveryDifference(t *testing.T) {
	lines := []line{{0, "alice", "one"}, {0, "bob", "two"}}
	users := map[chat.UserID]string{"ua": "alice", "ub": "bob"}
	message := func(n uint64, sender chat.UserID, text string) chat.Record {
		return chat.Record{Kind: chat.KindMessage, N: n, SenderID: sender, Text: text}
	}
	one, two := message(1, "ua", "one"), message(2, "ub", "two")
	for name, c := range map[string]struct {
		seen []chat.Record
		ok   bool
	}{
		"equal":        {[]chat.Record{{Kind: chat.KindCreate}, one, two}, true},
		"missing":      {[]chat.Record{one}, false},
		"exchanged":    {[]chat.Record{two, one}, false},
		"repeated":     {[]chat.Record{one, one, two}, false},
		"one too many": {[]chat.Record{one, two, message(3, "ua", "three")}, false},
		"other byte":   {[]chat.Record{one, message(2, "ub", "twO")}, false},
		"other person": {[]chat.Record{one, message(2, "ua", "two")}, false},
		"other number": {[]chat.Record{one, message(3, "ub", "two")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := &expectation{who: "test", lines: lines, users: users}
			for _, r := range c.seen {
				e.see(r)
			}
			if err := e.done(); (err == nil) != c.ok {
				t.Errorf("judged %v", err)
			}
		})
	}
}
