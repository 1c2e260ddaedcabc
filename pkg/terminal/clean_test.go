package terminal

import (
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/client"
)

func TestTextOfPeopleIsMadeHarmless(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":              {"Hello, Bob", "Hello, Bob"},
		"line ends":          {"a\nb\r\nc\td", "a\nb\nc    d"},
		"clear screen":       {"\x1b[2J\x1b[H", "␛[2J␛[H"},
		"title by OSC":       {"\x1b]0;owned\x07", "␛]0;owned␇"},
		"clipboard by OSC":   {"\x1b]52;c;cm0gLXJm\x1b\\", "␛]52;c;cm0gLXJm␛\\"},
		"link by OSC":        {"\x1b]8;;http://x\x1b\\y", "␛]8;;http://x␛\\y"},
		"C1 CSI":             {"\u009b31mred", "<9B>31mred"},
		"C1 OSC and ST":      {"\u009d0;x\u009c", "<9D>0;x<9C>"},
		"a byte of its own":  {"a\x9b31m", "a\uFFFD31m"},
		"nul, return, del":   {"a\x00b\rc\x7f", "a␀b␍c␡"},
		"backspaces":         {"safe\b\b\b\bevil", "safe␈␈␈␈evil"},
		"override":           {"user\u202Etxt.exe", "user<202E>txt.exe"},
		"isolates":           {"\u2066a\u2069", "<2066>a<2069>"},
		"zero width":         {"a\u200Bb\uFEFFc\u00ADd", "abcd"},
		"separators":         {"a\u2028b\u2029c", "a\nb\nc"},
		"family, joined":     {"👩\u200D👩\u200D👧", "👩\u200D👩\u200D👧"},
		"combined":           {"e\u0301", "e\u0301"},
		"smeared":            {"Z" + strings.Repeat("\u0336", 50), "Z" + strings.Repeat("\u0336", mostMarks)},
		"noncharacter":       {"a\uFFFFb", "a\uFFFDb"},
		"scripts":            {"田中さん שלום مرحبا Ω≈ç√", "田中さん שלום مرحبا Ω≈ç√"},
		"blns: invisible":    {"\u3164\u115F", ""},
		"blns: ogham, quote": {"\u1680'\"`$(touch /tmp/x)", "\u1680'\"`$(touch /tmp/x)"},
	} {
		if diff := cmp.Diff(c.want, clean(c.in)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := cleanLine("a\nb"); got != "a␊b" {
		t.Errorf("a line is %q", got)
	}
}

func harmless(text string) bool {
	for _, r := range text {
		if unicode.IsControl(r) && r != '\n' || turns(r) {
			return false
		}
	}
	return true
}

func TestNoTextBringsAControlToTheTerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) + rapid.String().Draw(t, "text")
		if got := clean(raw); !harmless(got) || clean(got) != got {
			t.Fatalf("%q became %q", raw, got)
		}
	})
}

// Everything that people choose is on the screen at once: names, a group's name, a message, a quote, a refusal.
func TestTheWholeScreenIsHarmless(t *testing.T) {
	const evil = "\x1b]0;owned\x07\u009b2J\u202Ex\r\b"
	d := online(t, said(withBob, 1, bob.ID, evil+"\n"+evil))
	reply := said(withBob, 2, bob.ID, evil)
	reply.ReplyTo = 1
	d.event(client.MessageReceived{Record: reply, Source: client.SourceLive})
	d.model.meet(client.User{ID: bob.ID, Username: "bob", DisplayName: evil})
	d.event(client.Typing{ConversationID: withBob, UserID: bob.ID, Writing: true})
	for _, w := range []int{40, 60, 120} {
		d.model.width = w
		for _, keys := range [][]string{{"esc"}, {"enter"}} {
			d.press(keys...)
			screen := d.screen() // what is left after the client's own colours
			if strings.Contains(screen, "\x1b") || !harmless(screen) {
				t.Errorf("width %d: %q", w, screen)
			}
			content := d.model.View().Content
			if strings.Contains(content, "\x1b]") || strings.Contains(content, "[2J") && !strings.Contains(content, "<9B>2J") {
				t.Errorf("width %d: an escape sequence of somebody else in %q", w, content)
			}
		}
	}
}
