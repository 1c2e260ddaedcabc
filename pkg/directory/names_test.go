package directory

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/chat"
)

func TestParseUsername(t *testing.T) {
	for given, want := range map[string]string{
		"al": "al", "Alice": "alice", "A.b-C_9": "a.b-c_9", strings.Repeat("x", 32): strings.Repeat("x", 32),
	} {
		if got, err := ParseUsername(given); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", given, got, err, want)
		}
	}
	for _, given := range []string{"", "a", strings.Repeat("x", 33), "al ice", "al@ice", "älice", "al\x00ice", "алиса", "a\xff", "ал"} {
		if got, err := ParseUsername(given); chat.KindOf(err) != chat.Invalid || got != "" {
			t.Errorf("%q: %q, %v, want invalid", given, got, err)
		}
	}
}

func TestCheckEmail(t *testing.T) {
	for _, good := range []string{"a@b", "alice+tag@example.org", "josé@exämple.org"} {
		if err := CheckEmail(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "@", "a@", "@b", "a@b@c", "alice", "a b@c", "a@b\n", "a@\x00b", "a@b\xff", strings.Repeat("a", 250) + "@b.org"} {
		if err := CheckEmail(bad); chat.KindOf(err) != chat.Invalid {
			t.Errorf("%q: %v, want invalid", bad, err)
		}
	}
}

func TestCheckDisplayName(t *testing.T) {
	for _, good := range []string{"A", "Алиса 🦊", strings.Repeat("界", 64)} {
		if err := CheckDisplayName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, kind := range map[string]chat.Kind{"": chat.Invalid, "  \n": chat.Invalid, strings.Repeat("界", 65): chat.Invalid, "a\xff": chat.InvalidText} {
		if err := CheckDisplayName(bad); chat.KindOf(err) != kind {
			t.Errorf("%q: %v, want %s", bad, err, kind)
		}
	}
}

func TestASecretShowsItselfToItsUserAlone(t *testing.T) {
	const text = "hunter2"
	held := Account{User: User{Username: "alice"}, PasswordHash: text}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	logger.Info("held", slog.Any("account", held), slog.Any("hash", held.PasswordHash), slog.String("text", held.PasswordHash.String()))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&log, verb+verb, held, held.PasswordHash)
	}
	if shown := log.String(); strings.Contains(shown, text) || strings.Contains(shown, fmt.Sprintf("%x", text)) || !strings.Contains(shown, "alice") {
		t.Errorf("shown: %s", shown)
	}
	if string(held.PasswordHash) != text {
		t.Error("the text is lost to its user")
	}
	body, err := json.Marshal(struct{ Token Secret }{text})
	if err != nil || string(body) != `{"Token":"hunter2"}` {
		t.Errorf("in an answer: %s, %v", body, err)
	}
}
