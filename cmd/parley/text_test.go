package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/chat"
)

// TestFirstSteps types what the terminal tells a newcomer to type.
func TestFirstSteps(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "sed", "grep"} {
		_, err := exec.LookPath(tool)
		need(t, err == nil, tool)
	}
	p := serve(t)
	script := fmt.Sprintf(firstSteps, p.api)
	_, script, _ = strings.Cut(script, "terminal:")
	out, err := exec.Command("bash", "-eu", "-o", "pipefail", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Count(string(out), `"text":"Hello, Bob"`) != 2 {
		t.Errorf("want the message sent and read:\n%s", out)
	}
	if err := p.stop(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.out)
	}
}

// naughty is every non-empty string of the list, and texts at the limit.
func naughty(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("../../pkg/chat/testdata/blns.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(s string) bool { return s == "" })
	return append(all, strings.Repeat("x", 100_000), strings.Repeat("\U0001F600", 100_000), strings.Repeat("\x00\"\\", 30_000))
}

// escaped is a JSON string of nothing but \u escapes: surrogate pairs for what lies beyond the first plane.
func escaped(s string) []byte {
	b := []byte{'"'}
	for _, u := range utf16.Encode([]rune(s)) {
		b = fmt.Appendf(b, `\u%04x`, u)
	}
	return append(b, '"')
}

// TestTextsComeBackIdentical sends naughty texts in every way and compares them on every path.
func TestTextsComeBackIdentical(t *testing.T) {
	p := serve(t)
	alice, bob := register(t, p, "alice"), register(t, p, "bob")
	talk, err := alice.CreateDirect(t.Context(), bob.Account().User.ID)
	if err != nil {
		t.Fatal(err)
	}
	sender := connect(t, p, alice, "alice's device", 0)
	live := connect(t, p, bob, "bob's device", 0)
	slow := connect(t, p, login(t, p, "bob"), "bob's slow device", 2*time.Millisecond)

	want := naughty(t)
	want = append(want, want...)
	half := len(want) / 2
	for i, text := range want {
		if i < half {
			sent, err := sender.Send(talk.ID, text, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sent.Wait(t.Context()); err != nil {
				t.Fatalf("send %d over the socket: %v", i, err)
			}
			continue
		}
		client := chat.NewClientID(time.Now())
		body := fmt.Appendf(nil, `{"client_id":"%s","type":"text","text":%s}`, client, escaped(text))
		if len(body) > 1_300_000 {
			if _, err := alice.Send(t.Context(), talk.ID, client, text, 0); err != nil {
				t.Fatalf("send %d raw: %v", i, err)
			}
			continue
		}
		if status, answer := post(t, alice, messagesURL(p, talk.ID), body); status != http.StatusOK && status != http.StatusCreated {
			t.Fatalf("send %d escaped: %d %.200s", i, status, answer)
		}
	}
	complete := func(shown []chat.Record) bool { return len(texts(shown)) >= len(want) }
	late := connect(t, p, login(t, p, "bob"), "bob's late device", 0)
	for _, d := range []*device{live, slow, late, sender} {
		same(t, d.name, want, texts(d.waitFor(t, "every text", 60*time.Second, complete)))
	}
	same(t, "history of bob", want, texts(history(t, bob, talk.ID)))
	p.kill()
	p.start()
	same(t, "history after kill -9", want, texts(history(t, login(t, p, "bob"), talk.ID)))
}

func same(t *testing.T, where string, want, got []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d texts, want %d", where, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: text %d is %.80q, want %.80q", where, i, got[i], want[i])
		}
	}
}
