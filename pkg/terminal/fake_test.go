package terminal

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
	"github.com/parley-chat/parley/pkg/wire"
)

var (
	alice = client.User{ID: "ualice", Username: "alice", DisplayName: "Alice"}
	bob   = client.User{ID: "ubob", Username: "bob", DisplayName: "Bob"}
	carol = client.User{ID: "ucarol", Username: "carol"}
)

const (
	withBob  = chat.ConversationID("dbob")
	theGroup = chat.ConversationID("ggroup")
)

// fakeBackend notes what the model wants and answers from what the test gave it.
type fakeBackend struct {
	calls  []string
	full   error
	broken error // of history
	unsent int
	serial byte
	pages  map[chat.Seq][]chat.Record
	asked  []client.Message
}

func (f *fakeBackend) note(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fakeBackend) Send(m client.Message) (client.Message, error) {
	if f.full != nil {
		return m, f.full
	}
	if m.ClientID.IsZero() {
		f.serial++
		m.ClientID = chat.ClientID{f.serial}
	}
	f.asked = append(f.asked, m)
	f.note("send %s %s", m.ConversationID, m.Text)
	return m, nil
}
func (f *fakeBackend) Read(id chat.ConversationID, seq chat.Seq) { f.note("read %s %d", id, seq) }
func (f *fakeBackend) Typing(id chat.ConversationID, writing bool) {
	f.note("typing %s %t", id, writing)
}
func (f *fakeBackend) Look(ids []chat.ConversationID) { f.note("look %v", ids) }
func (f *fakeBackend) Away(away bool)                 { f.note("away %t", away) }
func (f *fakeBackend) Unsent() int                    { return f.unsent }

func (f *fakeBackend) Names(_ context.Context, ids []chat.UserID) ([]client.User, error) {
	return f.people(func(u client.User) bool {
		return slices.Contains(ids, u.ID)
	}), nil
}

func (f *fakeBackend) people(want func(client.User) bool) []client.User {
	var users []client.User
	for _, u := range []client.User{alice, bob, carol} {
		if want(u) {
			users = append(users, u)
		}
	}
	return users
}

func (f *fakeBackend) Search(_ context.Context, query string) ([]client.User, error) {
	return f.people(func(u client.User) bool { return strings.HasPrefix(u.Username, query) }), nil
}

func (f *fakeBackend) Direct(_ context.Context, user chat.UserID) (wire.Conversation, error) {
	f.note("direct %s", user)
	return direct(withBob, user, 0), nil
}

func (f *fakeBackend) Group(_ context.Context, _ chat.ClientID, name string, members []chat.UserID) (wire.Conversation, error) {
	f.note("group %s %v", name, members)
	return wire.Conversation{ID: theGroup, Type: chat.Group, Name: name, MemberCount: len(members) + 1}, nil
}

func (f *fakeBackend) Conversation(_ context.Context, id chat.ConversationID) (wire.Conversation, error) {
	f.note("conversation %s", id)
	if id.Type() == chat.Direct {
		return direct(id, bob.ID, 0), nil
	}
	return wire.Conversation{ID: id, Type: chat.Group, Name: "Riders", MemberCount: 3}, nil
}

func (f *fakeBackend) Older(_ context.Context, id chat.ConversationID, before chat.Seq) (chat.Seq, []chat.Record, bool, error) {
	f.note("older %s %d", id, before)
	if f.broken != nil {
		return 0, nil, false, f.broken
	}
	records := f.pages[before]
	if len(records) == 0 {
		return 0, nil, false, nil
	}
	return records[0].Seq, records, records[0].Seq > 1, nil
}

func direct(id chat.ConversationID, peer chat.UserID, head chat.Seq) wire.Conversation {
	return wire.Conversation{
		ID: id, Type: chat.Direct, PeerID: peer, MemberCount: 2,
		Head: chat.Head{Seq: head, N: uint64(head)}, CreatedAt: "2026-03-01T10:00:00.000Z",
	}
}

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// said is a message of somebody; each seq is a minute after the one before.
func said(id chat.ConversationID, seq chat.Seq, by chat.UserID, text string) chat.Record {
	return chat.Record{
		ConversationID: id, Seq: seq, N: uint64(seq), Kind: chat.KindMessage, SenderID: by, Type: chat.MessageText, Text: text,
		ID: chat.MakeID(noon.Add(time.Duration(seq)*time.Minute).UnixMilli(), 0, 0),
	}
}

// desk is a model with a person before it.
type desk struct {
	t       *testing.T
	model   *Model
	backend *fakeBackend
	now     time.Time
}

func sit(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, backend: &fakeBackend{pages: map[chat.Seq][]chat.Record{}}, now: noon.Add(time.Hour)}
	d.model = New(d.backend, Options{Me: alice, Zone: time.UTC, Now: func() time.Time { return d.now }})
	d.give(tea.WindowSizeMsg{Width: 60, Height: 16})
	return d
}

// online is a desk whose connection has told of one direct conversation with these messages.
func online(t *testing.T, records ...chat.Record) *desk {
	t.Helper()
	d := sit(t)
	d.event(client.State{Phase: client.Connected, Connection: 1})
	for _, r := range records {
		d.event(client.MessageReceived{Record: r, Source: client.SourceSync})
	}
	d.event(client.Synced{Conversation: direct(withBob, bob.ID, chat.Seq(len(records)))})
	d.event(client.CaughtUp{Connection: 1})
	return d
}

// give feeds a message and what its commands answer, except for clocks.
func (d *desk) give(msg tea.Msg) {
	d.t.Helper()
	_, cmd := d.model.Update(msg)
	d.run(cmd)
}

func (d *desk) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil, tea.QuitMsg:
	case tea.BatchMsg:
		for _, c := range msg {
			d.run(c)
		}
	default:
		d.give(msg)
	}
}

func (d *desk) event(e client.Event) { d.t.Helper(); d.give(Event(e)) }

func (d *desk) write(text string) {
	d.t.Helper()
	for _, r := range text {
		d.give(tea.KeyPressMsg{Code: r, Text: string(r)})
	}
}

func (d *desk) press(keys ...string) {
	d.t.Helper()
	known := map[string]tea.KeyPressMsg{
		"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown},
		"pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown}, "tab": {Code: tea.KeyTab}, "f1": {Code: tea.KeyF1},
		"alt+enter": {Code: tea.KeyEnter, Mod: tea.ModAlt}, "?": {Code: '?', Text: "?"}, "backspace": {Code: tea.KeyBackspace},
	}
	for _, name := range keys {
		k, ok := known[name]
		if letter, ctrl := strings.CutPrefix(name, "ctrl+"); ctrl {
			k, ok = tea.KeyPressMsg{Code: rune(letter[0]), Mod: tea.ModCtrl}, true
		}
		if !ok {
			d.t.Fatalf("no key %q", name)
		}
		d.give(k)
	}
}

// screen is what the person sees, without colours and without spaces at the ends.
func (d *desk) screen() string {
	lines := strings.Split(ansi.Strip(d.model.View().Content), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func (d *desk) sees(texts ...string) {
	d.t.Helper()
	screen := d.screen()
	for _, text := range texts {
		if !strings.Contains(screen, text) {
			d.t.Errorf("%q is not on the screen:\n%s", text, screen)
		}
	}
}

func (d *desk) misses(texts ...string) {
	d.t.Helper()
	screen := d.screen()
	for _, text := range texts {
		if strings.Contains(screen, text) {
			d.t.Errorf("%q is on the screen:\n%s", text, screen)
		}
	}
}

func (d *desk) did(call string) bool {
	return slices.Contains(d.backend.calls, call)
}

func (d *desk) wants(calls ...string) {
	d.t.Helper()
	for _, call := range calls {
		if !d.did(call) {
			d.t.Errorf("not done: %q; done: %q", call, d.backend.calls)
		}
	}
}
