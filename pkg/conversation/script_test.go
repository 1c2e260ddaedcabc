package conversation_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

var update = flag.Bool("update", false, "rewrite the outputs recorded in testdata")

// TestScripts runs testdata/*.txt. A script is blocks parted by blank lines: comments (#), commands, a line
// of four dashes and what the commands gave. Run with -update to record anew, and read the difference.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(raw))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(raw), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("recorded (-), got (+):\n%s", diff)
			}
		})
	}
}

func runScript(t *testing.T, script string) string {
	t.Helper()
	s := &scripted{world: newWorld(), names: map[string]string{}}
	var out []string
	for block := range strings.SplitSeq(strings.TrimSpace(script), "\n\n") {
		input, _, _ := strings.Cut(block, "\n----")
		lines := []string{input}
		commands := 0
		for line := range strings.SplitSeq(input, "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if commands++; commands == 1 {
				lines = append(lines, "----")
			}
			lines = append(lines, s.run(line)...)
		}
		out = append(out, strings.Join(lines, "\n"))
	}
	return strings.Join(out, "\n\n") + "\n"
}

// scripted turns lines into commands and what they give into lines.
type scripted struct {
	*world
	names  map[string]string // id -> the script's name of it
	number int
}

func (s *scripted) user(name string) chat.UserID {
	u := user(name)
	s.names[string(u)] = name
	return u
}

func (s *scripted) conv(name string) chat.ConversationID {
	c := conv(name)
	s.names[string(c)] = name
	return c
}

func (s *scripted) users(list string) []chat.UserID {
	if list == "" {
		return nil
	}
	var users []chat.UserID
	for name := range strings.SplitSeq(list, ",") {
		users = append(users, s.user(name))
	}
	return users
}

// words splits a line at spaces; key=value words become options. Double quotes hold a Go string.
func words(line string) (plain []string, options map[string]string, err error) {
	options = map[string]string{}
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		end := strings.IndexAny(line, ` "`)
		if end < 0 {
			end = len(line)
		}
		word := line[:end]
		line = line[end:]
		if strings.HasPrefix(line, `"`) {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, nil, err
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, nil, err
			}
			line = line[len(quoted):]
			word += text
		}
		if key, value, ok := strings.Cut(word, "="); ok && key != "" && !strings.Contains(key, " ") {
			options[key] = value
		} else {
			plain = append(plain, word)
		}
	}
	return plain, options, nil
}

func (s *scripted) run(line string) []string {
	plain, options, err := words(line)
	if err != nil {
		return []string{"script: " + err.Error()}
	}
	at := func(i int) string {
		if i < len(plain) {
			return plain[i]
		}
		return ""
	}
	switch plain[0] {
	case "clock":
		return s.clock(at(1))
	case "limit":
		s.limits.GroupMembers = number(options["members"])
		return nil
	case "restart":
		s.thread(s.conv(at(1))).restart(number(options["window"]))
		return nil
	case "state":
		return s.show(s.thread(s.conv(at(1))).state)
	case "sees":
		return s.sees(s.user(at(1)), s.conv(at(2)))
	case "cursors":
		return s.cursors(s.user(at(1)), s.conv(at(2)), options)
	case "audience":
		l := s.thread(s.conv(at(1))).log[number(at(2))-1]
		return []string{s.list(conversation.Audience(l.before, l.after, l.record))}
	case "fill":
		return s.fill(s.user(at(1)), s.conv(at(2)), number(at(3)))
	}
	c := conversation.Command{Op: conversation.Op(plain[0]), Actor: s.user(at(1)), ConversationID: s.conv(at(2))}
	if err := s.arguments(&c, at, options); err != nil {
		return []string{"script: " + err.Error()}
	}
	res, err := s.do(c)
	return []string{s.outcome(res, err)}
}

// arguments fills a command in. Client ids: id=none, id=v4, id=+25h (of a time ahead), id=7 (the seventh of
// those made on new year's day), without id= a new one of this moment where one is required.
func (s *scripted) arguments(c *conversation.Command, at func(int) string, options map[string]string) error {
	if name, ok := options["name"]; ok {
		c.Name = &name
	}
	c.History = chat.HistoryAccess(options["history"])
	c.Type = options["type"]
	switch c.Op {
	case conversation.OpCreate:
		c.Members = s.users(options["with"])
		for i := range number(options["crowd"]) {
			c.Members = append(c.Members, s.user(fmt.Sprintf("crowd%d", i)))
		}
	case conversation.OpSend:
		c.Text, c.ReplyTo = text(at(3), options), chat.Seq(number(options["reply"]))
		if c.Type == "" {
			c.Type = chat.MessageText
		}
	case conversation.OpEdit:
		c.TargetSeq, c.Text = chat.Seq(number(at(3))), text(at(4), options)
	case conversation.OpDelete:
		c.TargetSeq = chat.Seq(number(at(3)))
	case conversation.OpAdd, conversation.OpRemove:
		c.Members = s.users(at(3))
	case "leave":
		c.Op, c.Members = conversation.OpRemove, []chat.UserID{c.Actor}
	case conversation.OpRole:
		c.Members, c.Role = s.users(at(3)), chat.Role(at(4))
	case conversation.OpPreference:
		s.preference(c, at(3), options)
	default:
	}
	return s.client(c, options["id"])
}

// preference takes muted= (nothing: the end of it), archived= and pinned= (true or false).
func (s *scripted) preference(c *conversation.Command, about string, options map[string]string) {
	c.About = s.conv(about)
	if text, ok := options["muted"]; ok {
		c.MutedUntil = new(chat.MutedUntil(text))
	}
	flag := func(name string) *bool {
		if text, ok := options[name]; ok {
			return new(text == "true")
		}
		return nil
	}
	c.Archived, c.Pinned = flag("archived"), flag("pinned")
}

func (s *scripted) client(c *conversation.Command, id string) error {
	s.number++
	switch {
	case id == "none":
	case id == "v4":
		c.ClientID = clientID(s.now.UnixMilli(), s.number)
		c.ClientID[6] = 0x40
	case strings.HasPrefix(id, "+"):
		ahead, err := time.ParseDuration(id[1:])
		if err != nil {
			return err
		}
		c.ClientID = clientID(s.now.Add(ahead).UnixMilli(), s.number)
	case id != "":
		ms := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() + int64(number(id))
		c.ClientID = clientID(ms, number(id))
	case c.Op == conversation.OpSend || c.Op == conversation.OpEdit || c.Op == conversation.OpDelete,
		c.Op == conversation.OpCreate && c.ConversationID.Type() == chat.Group:
		c.ClientID = clientID(s.now.UnixMilli(), s.number)
	}
	return nil
}

func text(plain string, options map[string]string) string {
	if n := options["times"]; n != "" {
		return strings.Repeat(plain, number(n))
	}
	return plain
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

func (s *scripted) clock(to string) []string {
	if step, err := time.ParseDuration(strings.TrimPrefix(to, "+")); err == nil {
		s.now = s.now.Add(step)
		return nil
	}
	t, err := time.Parse(time.RFC3339, to)
	if err != nil {
		return []string{"script: " + err.Error()}
	}
	s.now = t
	return nil
}

func (s *scripted) fill(u chat.UserID, id chat.ConversationID, count int) []string {
	for range count {
		c := conversation.Command{Op: conversation.OpSend, Actor: u, ConversationID: id, Type: chat.MessageText, Text: "x"}
		if err := s.client(&c, ""); err != nil {
			return []string{err.Error()}
		}
		if _, err := s.do(c); err != nil {
			return []string{err.Error()}
		}
	}
	state := s.thread(id).state
	return []string{fmt.Sprintf("head %d n=%d bucket %s with %d", state.Head.Seq, state.Head.N, bucket(state.Bucket), state.BucketCount)}
}

func (s *scripted) outcome(res result, err error) string {
	asked := ""
	if res.asked != "" {
		asked = "  (asked:" + res.asked + ")"
	}
	if err != nil {
		if e, ok := errors.AsType[*chat.Error](err); ok {
			return string(e.Kind) + ": " + s.shorten(e.Message) + asked
		}
		return "internal: " + err.Error()
	}
	if o := res.standing; o != nil {
		return fmt.Sprintf("stands: %d n=%d%s", o.Seq, o.N, asked)
	}
	return s.record(res.logged.record) + asked
}

func (s *scripted) record(r chat.Record) string {
	b := fmt.Appendf(nil, "%d n=%d %s by %s", r.Seq, r.N, r.Kind, s.names[string(r.SenderID)])
	if r.Type != "" {
		b = fmt.Appendf(b, " %s", r.Type)
	}
	if r.Name != nil {
		b = fmt.Appendf(b, " name=%q", chat.Clip(*r.Name))
	}
	if r.History != "" {
		b = fmt.Appendf(b, " history=%s", r.History)
	}
	for i, m := range r.Members {
		if i == 4 {
			b = fmt.Appendf(b, " and %d more", len(r.Members)-i)
			break
		}
		b = fmt.Appendf(b, " %s:%s", s.names[string(m.UserID)], m.Role)
	}
	if r.Text != "" {
		b = fmt.Appendf(b, " %q", chat.Clip(r.Text))
	}
	if r.ReplyTo != 0 {
		b = fmt.Appendf(b, " reply=%d", r.ReplyTo)
	}
	if r.TargetSeq != 0 {
		b = fmt.Appendf(b, " target=%d", r.TargetSeq)
	}
	if r.Action != "" {
		b = fmt.Appendf(b, " %s %s", r.Action, s.list(r.UserIDs))
	}
	if r.Role != "" {
		b = fmt.Appendf(b, " role=%s", r.Role)
	}
	if r.About != "" {
		b = fmt.Appendf(b, " about %s", s.names[string(r.About)])
	}
	if r.MutedUntil != nil {
		b = fmt.Appendf(b, " muted=%s", *r.MutedUntil)
	}
	if r.Archived != nil {
		b = fmt.Appendf(b, " archived=%v", *r.Archived)
	}
	if r.Pinned != nil {
		b = fmt.Appendf(b, " pinned=%v", *r.Pinned)
	}
	return string(b)
}

func (s *scripted) show(state conversation.State) []string {
	if !state.Exists() {
		return []string{"absent"}
	}
	lines := []string{fmt.Sprintf("%s %q history=%s head %d n=%d, %d members, bucket %s with %d",
		state.Type, state.Name, state.History, state.Head.Seq, state.Head.N, state.MemberCount, bucket(state.Bucket), state.BucketCount)}
	var rows []string
	for u, m := range state.Members {
		rows = append(rows, fmt.Sprintf("  %s %s %s (row %d)", s.names[string(u)], m.Role, intervals(m.Intervals), m.Seq))
	}
	slices.Sort(rows)
	lines = append(lines, rows...)
	return append(lines, s.preferences(state.Preferences)...)
}

func (s *scripted) preferences(all conversation.Preferences) []string {
	var rows []string
	for _, p := range all {
		row := fmt.Appendf(nil, "  of %s:", s.names[string(p.About)])
		if p.MutedUntil != "" {
			row = fmt.Appendf(row, " muted=%s", p.MutedUntil)
		}
		if p.Archived {
			row = append(row, " archived"...)
		}
		if p.Pinned {
			row = append(row, " pinned"...)
		}
		rows = append(rows, fmt.Sprintf("%s (row %d)", row, p.Seq))
	}
	slices.Sort(rows)
	return rows
}

func (s *scripted) sees(u chat.UserID, id chat.ConversationID) []string {
	state := s.thread(id).state
	var seen []string
	for seq := range state.Head.Seq + 2 {
		if state.CanSee(u, seq) {
			seen = append(seen, strconv.Itoa(int(seq)))
		}
	}
	role, peer := state.RoleOf(u), s.names[string(state.Peer(u))]
	if role == "" {
		role = "no member"
	}
	line := fmt.Sprintf("%s, joined %d, visible %s: %s", role, state.JoinedSeq(u), intervals(state.Visible(u)), strings.Join(seen, " "))
	if peer != "" {
		line += ", peer " + peer
	}
	return []string{line}
}

// cursors takes what is stored (read=seq:n, delivered=seq:n) and an own send above it (sent=seq:n).
func (s *scripted) cursors(u chat.UserID, id chat.ConversationID, options map[string]string) []string {
	parse := func(key string) chat.Cursor {
		seq, n, _ := strings.Cut(options[key], ":")
		return chat.Cursor{Seq: chat.Seq(number(seq)), N: uint64(number(n))}
	}
	a := conversation.Answer{State: s.thread(id).state, Sends: map[chat.UserID]chat.Cursor{}}
	if options["sent"] != "" {
		a.Sends[u] = parse("sent")
	}
	c := a.CursorsOf(u, chat.Cursors{Read: parse("read"), Delivered: parse("delivered")})
	return []string{fmt.Sprintf("read %d:%d delivered %d:%d unread %d", c.Read.Seq, c.Read.N, c.Delivered.Seq, c.Delivered.N,
		conversation.Unread(a.State.Head, c.Read))}
}

func (s *scripted) list(users []chat.UserID) string {
	var names []string
	for _, u := range users {
		names = append(names, s.names[string(u)])
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// shorten puts the script's names in the place of ids.
func (s *scripted) shorten(message string) string {
	for id, name := range s.names {
		message = strings.ReplaceAll(message, id, name)
	}
	return message
}

func intervals(list []conversation.Interval) string {
	var b strings.Builder
	for _, in := range list {
		end := ""
		if in.Removed != 0 {
			end = strconv.Itoa(int(in.Removed))
		}
		fmt.Fprintf(&b, "[%d,%s)", in.Joined, end)
		if in.N != 0 {
			fmt.Fprintf(&b, "n=%d", in.N)
		}
	}
	if b.Len() == 0 {
		return "nothing"
	}
	return b.String()
}

func bucket(b chat.Bucket) string {
	months := int(b >> 12)
	return fmt.Sprintf("%d-%02d/%d", 2025+months/12, months%12+1, b&(1<<12-1))
}
