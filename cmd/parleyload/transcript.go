package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// line is what one person said.
type line struct {
	at   time.Duration // after the transcript's beginning, to the minute
	nick string
	text string // byte for byte what stands in the file
}

// transcript is one file.
type transcript struct {
	name  string
	lines []line
	nicks []string // in order of appearance
	left  int      // lines left out: joins, actions, blank ones
	bad   int      // lines left out because they are no text that can be sent: not UTF-8, or too long
}

// spoken is `[hh:mm] <nick> text`.
var spoken = regexp.MustCompile(`^\[(\d\d):(\d\d)\] <([^>]+)> (.*)$`)

// readTranscript reads the lines `[hh:mm] <nick> text` with text that is not blank; the others are left out.
func readTranscript(path string) (*transcript, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("transcript: %w", err)
	}
	t := &transcript{name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))}
	seen := map[string]bool{}
	clock := dayClock{}
	for b := range bytes.SplitSeq(raw, []byte{'\n'}) {
		l, ok := parseLine(b, &clock)
		if !ok {
			t.left += min(len(b), 1)
			continue
		}
		if !utf8.ValidString(l.text) || !utf8.ValidString(l.nick) || utf8.RuneCountInString(l.text) > wire.MaxTextRunes {
			t.bad++
			continue
		}
		if !seen[l.nick] {
			seen[l.nick] = true
			t.nicks = append(t.nicks, l.nick)
		}
		t.lines = append(t.lines, l)
	}
	if len(t.nicks) < 2 {
		return nil, fmt.Errorf("transcript %s: nothing to replay: %d people", path, len(t.nicks))
	}
	t.spread()
	return t, nil
}

func parseLine(b []byte, clock *dayClock) (line, bool) {
	m := spoken.FindSubmatch(b)
	if m == nil || len(bytes.TrimSpace(m[4])) == 0 {
		return line{}, false
	}
	hour, _ := strconv.Atoi(string(m[1])) // two digits
	minute, _ := strconv.Atoi(string(m[2]))
	return line{at: clock.at(hour, minute), nick: string(m[3]), text: string(m[4])}, true
}

// dayClock turns times of day into times after the beginning: a step back is midnight.
type dayClock struct {
	started     bool
	first, last time.Duration
	days        time.Duration
}

func (c *dayClock) at(hour, minute int) time.Duration {
	now := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute
	switch {
	case !c.started:
		c.started, c.first = true, now
	case now+12*time.Hour < c.last: // less is a clock that was set
		c.days += 24 * time.Hour
	}
	c.last = now
	return max(c.days+now-c.first, 0)
}

// spread gives the lines of a minute their places within it.
func (t *transcript) spread() {
	for from := 0; from < len(t.lines); {
		to := from
		for to < len(t.lines) && t.lines[to].at == t.lines[from].at {
			to++
		}
		for i := from; i < to; i++ {
			t.lines[i].at += time.Minute * time.Duration(i-from) / time.Duration(to-from)
		}
		from = to
	}
}

// username makes a username of a nick: what is not allowed is left out, the number makes it unique.
func username(run string, number int, nick string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(nick) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			b.WriteRune(r)
		}
		if b.Len() == 14 {
			break
		}
	}
	return fmt.Sprintf("%s-%s%d", b.String(), run, number)
}

// displayName is the nick, as far as a display name may be long.
func displayName(nick string) string {
	const most = 64
	if utf8.RuneCountInString(nick) <= most {
		return nick
	}
	return string([]rune(nick)[:most])
}

// expectation compares what one reader sees with a transcript, message by message.
type expectation struct {
	who   string
	lines []line
	users map[chat.UserID]string // nick of each user
	next  int
	wrong error // the first difference
}

// see takes the next message.
func (e *expectation) see(r chat.Record) {
	if e.wrong != nil || r.Kind != chat.KindMessage {
		return
	}
	if e.next >= len(e.lines) {
		e.wrong = fmt.Errorf("%s: message %d (seq %d) is more than the transcript has", e.who, e.next+1, r.Seq)
		return
	}
	want := e.lines[e.next]
	switch {
	case r.Text != want.text:
		e.wrong = fmt.Errorf("%s: line %d is %q, want %q", e.who, e.next+1, chat.Clip(r.Text), chat.Clip(want.text))
	case e.users[r.SenderID] != want.nick:
		e.wrong = fmt.Errorf("%s: line %d is by %q, want %q", e.who, e.next+1, e.users[r.SenderID], want.nick)
	case r.N != uint64(e.next+1):
		e.wrong = fmt.Errorf("%s: line %d has n %d", e.who, e.next+1, r.N)
	}
	e.next++
}

// done tells the first difference, a missing end included.
func (e *expectation) done() error {
	if e.wrong == nil && e.next < len(e.lines) {
		return fmt.Errorf("%s: %d of %d lines", e.who, e.next, len(e.lines))
	}
	return e.wrong
}
