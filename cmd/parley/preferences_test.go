package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
	"github.com/parley-chat/parley/pkg/wire"
)

// mark is what a device shows of what its person wants of a conversation.
type mark struct {
	muted            chat.MutedUntil
	archived, pinned bool
}

func markOf(c wire.Conversation) mark { return mark{c.MutedUntil, c.Archived, c.Pinned} }

// mark takes in a live preference, field by field. Called with mu held.
func (d *device) mark(r chat.Record) {
	if r.Kind != chat.KindPreference {
		return
	}
	m := d.marks[r.About]
	if r.MutedUntil != nil {
		m.muted = *r.MutedUntil
	}
	if r.Archived != nil {
		m.archived = *r.Archived
	}
	if r.Pinned != nil {
		m.pinned = *r.Pinned
	}
	d.marks[r.About] = m
}

// waitMark blocks until the device shows a conversation so.
func (d *device) waitMark(t testing.TB, id chat.ConversationID, want mark) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		d.mu.Lock()
		got, known := d.marks[id]
		changed := d.changed
		d.mu.Unlock()
		if known && got == want {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s shows %+v, want %+v", d.name, got, want)
		}
	}
}

func prefer(t testing.TB, api *client.API, id chat.ConversationID, change client.PreferenceChange) wire.Sent {
	t.Helper()
	sent, err := api.SetPreferences(t.Context(), id, change)
	if err != nil {
		t.Fatalf("preferences of %s: %v", id, err)
	}
	return sent
}

// wanted reads a mark anew, by a session of its own.
func wanted(t testing.TB, p *process, id chat.ConversationID) mark {
	t.Helper()
	c, err := login(t, p, "alice").Conversation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return markOf(c)
}

// TestPreferencesAreTheSameEverywhere pins, mutes and archives on one device and looks on the other: live, after
// kill -9, with a store that is built anew from the log, and with a log that is opened anew from the store.
func TestPreferencesAreTheSameEverywhere(t *testing.T) {
	p := serve(t)
	phone, bob := register(t, p, "alice"), register(t, p, "bob")
	talk, err := phone.CreateDirect(t.Context(), bob.Account().User.ID)
	if err != nil {
		t.Fatal(err)
	}
	group, err := phone.CreateGroup(t.Context(), newClientID(), "club", nil)
	if err != nil {
		t.Fatal(err)
	}
	desk := connect(t, p, login(t, p, "alice"), "desk", 0)
	bobs := connect(t, p, bob, "bob's", 0)
	desk.waitMark(t, talk.ID, mark{})
	bobs.waitMark(t, talk.ID, mark{})
	end := chat.MutedUntilTime(time.Now().Add(time.Hour))
	first := prefer(t, phone, talk.ID, client.PreferenceChange{Pinned: new(true), MutedUntil: &end})
	desk.waitMark(t, talk.ID, mark{muted: end, pinned: true})
	if again := prefer(t, phone, talk.ID, client.PreferenceChange{Pinned: new(true), MutedUntil: &end}); again.Seq != first.Seq {
		t.Errorf("the same again stands at %d, the first at %d", again.Seq, first.Seq)
	}
	me, err := phone.Me(t.Context())
	if err != nil || me.SelfConversationID != first.ConversationID {
		t.Fatalf("users/me tells %q, the record stands in %q, %v", me.SelfConversationID, first.ConversationID, err)
	}
	note, err := desk.Send(me.SelfConversationID, "buy milk", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}

	p.kill()
	p.start()
	prefer(t, login(t, p, "alice"), group.ID, client.PreferenceChange{Archived: new(true)})
	desk.waitMark(t, group.ID, mark{archived: true})
	later := connect(t, p, login(t, p, "alice"), "a new device", 0)
	later.waitMark(t, talk.ID, mark{muted: end, pinned: true})
	later.waitMark(t, group.ID, mark{archived: true})

	withoutStore(t, p)
	if got := wanted(t, p, talk.ID); got != (mark{muted: end, pinned: true}) {
		t.Errorf("with a store built from the log: %+v", got)
	}
	prefer(t, login(t, p, "alice"), talk.ID, client.PreferenceChange{MutedUntil: new(chat.MutedUntil("")), Pinned: new(false)})
	for _, d := range []*device{desk, later} {
		d.waitMark(t, talk.ID, mark{})
	}

	withoutLog(t, p)
	if got := wanted(t, p, talk.ID); got != (mark{}) {
		t.Errorf("with a log opened from the store, ended: %+v", got)
	}
	if got := wanted(t, p, group.ID); got != (mark{archived: true}) {
		t.Errorf("with a log opened from the store: %+v", got)
	}
	list, _, err := login(t, p, "alice").ConversationsArchived(t.Context(), false, 0, "")
	if err != nil || slices.ContainsFunc(list, func(c wire.Conversation) bool { return c.ID == group.ID }) || len(list) != 2 {
		t.Errorf("not archived: %+v, %v", list, err)
	}
	records := history(t, login(t, p, "alice"), me.SelfConversationID)
	if len(records) != 2 || records[1].Text != "buy milk" || records[1].N != 1 {
		t.Errorf("the notes: %+v", records)
	}
	bobs.mu.Lock()
	defer bobs.mu.Unlock()
	if len(bobs.marks) != 1 || bobs.marks[talk.ID] != (mark{}) {
		t.Errorf("bob is shown %+v", bobs.marks)
	}
}

// withoutStore has the message store built anew from the log, as after its loss.
func withoutStore(t testing.TB, p *process) {
	t.Helper()
	p.kill()
	files, err := filepath.Glob(filepath.Join(p.data, "messages.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no store: %v", err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
}

// withoutLog has the log opened anew from the store's heads.
func withoutLog(t testing.TB, p *process) {
	t.Helper()
	if err := p.stop(); err != nil {
		t.Fatalf("stop: %v\n%s", err, p.out)
	}
	if err := os.RemoveAll(filepath.Join(p.data, "nats")); err != nil {
		t.Fatal(err)
	}
	p.start()
}

// TestPreferencesAreRefusedOverREST sends what must be refused and leaves nothing by it.
func TestPreferencesAreRefusedOverREST(t *testing.T) {
	p := serve(t)
	alice, bob := register(t, p, "alice"), register(t, p, "bob")
	group, err := bob.CreateGroup(t.Context(), newClientID(), "bob's own", nil)
	if err != nil {
		t.Fatal(err)
	}
	own, err := alice.CreateGroup(t.Context(), newClientID(), "alice's own", nil)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := bob.SelfConversation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id     chat.ConversationID
		body   string
		status int
		code   chat.Kind
	}{
		"not a member":         {group.ID, `{"pinned":true}`, 404, chat.NotFound},
		"somebody else's self": {theirs.ID, `{"pinned":true}`, 404, chat.NotFound},
		"nothing named":        {own.ID, `{"later":true}`, 422, chat.Invalid},
		"bad time":             {own.ID, `{"muted_until":"next week"}`, 422, chat.Invalid},
		"wrong type":           {own.ID, `{"archived":"true"}`, 422, chat.Invalid},
		"future client id":     {own.ID, `{"pinned":true,"client_id":"ffffffff-ffff-7fff-bfff-ffffffffffff"}`, 422, chat.InvalidClientID},
		"too large":            {own.ID, `{"pinned":true,"x":"` + strings.Repeat("x", 300_000) + `"}`, 413, chat.TooLarge},
	} {
		url := fmt.Sprintf("%s/api/v1/conversations/%s/preferences", p.api, c.id)
		status, answer := do(t, alice, http.MethodPut, url, []byte(c.body))
		if status != c.status || !strings.Contains(string(answer), `"code":"`+string(c.code)+`"`) {
			t.Errorf("%s: %d %.200s, want %d %s", name, status, answer, c.status, c.code)
		}
	}
	list, _, err := alice.Conversations(t.Context(), 0, "")
	if err != nil || len(list) != 1 {
		t.Errorf("refusals left %+v, %v", list, err)
	}
	if _, err := alice.Send(t.Context(), theirs.ID, newClientID(), "hi", 0); chat.KindOf(err) != chat.NotFound {
		t.Errorf("a message to somebody else's self: %v", err)
	}
}

// TestNotesToOneself has both devices of a person write the first note at once: there is one conversation, and both
// show both notes in one order.
func TestNotesToOneself(t *testing.T) {
	p := serve(t)
	alice := register(t, p, "alice")
	me, err := alice.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	phone, desk := connect(t, p, alice, "phone", 0), connect(t, p, login(t, p, "alice"), "desk", 0)
	var sent []*client.Pending
	for i, d := range []*device{phone, desk, phone, desk} {
		note, err := d.Send(me.SelfConversationID, fmt.Sprint("note ", i), 0)
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, note)
	}
	for _, note := range sent {
		if _, err := note.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	complete := func(shown []chat.Record) bool { return len(texts(shown)) == len(sent) }
	want := texts(history(t, alice, me.SelfConversationID))
	for _, d := range []*device{phone, desk} {
		same(t, d.name, want, texts(d.waitFor(t, "every note", 30*time.Second, complete)))
	}
	list, _, err := alice.Conversations(t.Context(), 0, "")
	if err != nil || len(list) != 1 || list[0].ID != me.SelfConversationID || list[0].Unread != 0 || list[0].Head.Seq != 5 {
		t.Errorf("list %+v, %v", list, err)
	}
}
