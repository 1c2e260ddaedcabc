package edge

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

func (w *world) records() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.log)
}

func TestTheSelfConversationIsMadeOnce(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	token := w.token(alice)
	var me personAnswer
	w.call(t, token, "GET", "users/me", "", 200, &me)
	var a, b conversationAnswer
	w.call(t, token, "POST", "conversations", `{"type":"self"}`, 200, &a)
	w.call(t, token, "POST", "conversations", `{"type":"self"}`, 200, &b)
	c := a.Conversation
	if c.ID != b.Conversation.ID || c.ID != me.User.SelfConversationID || c.Type != chat.Self || c.MemberCount != 1 || c.Role != chat.RoleMember || w.records() != 1 {
		t.Errorf("made %+v, then %+v, %d records, users/me tells %s", c, b.Conversation, w.records(), me.User.SelfConversationID)
	}
	path := "conversations/" + string(c.ID)
	w.call(t, token, "POST", path+"/messages", `{"type":"text","text":"milk"}`, 200, nil)
	w.call(t, token, "PATCH", path+"/messages/2", `{"text":"milk, eggs"}`, 200, nil)
	var page conversationsAnswer
	w.call(t, token, "GET", "conversations", "", 200, &page)
	if len(page.Conversations) != 1 || page.Conversations[0].Unread != 0 || page.Conversations[0].Read.Seq != 2 {
		t.Errorf("list %+v", page.Conversations)
	}
	for _, bad := range []string{`{"type":"self","name":"notes"}`, `{"type":"self","history":"joined"}`} {
		w.problem(t, token, "POST", "conversations", bad, chat.Invalid)
	}
	stranger := w.token(bob)
	w.problem(t, stranger, "GET", path, "", chat.NotFound)
	w.problem(t, stranger, "POST", path+"/messages", `{"type":"text","text":"hi"}`, chat.NotFound)
	var other personAnswer
	w.call(t, stranger, "GET", "users/"+string(alice), "", 200, &other)
	if other.User.SelfConversationID != "" {
		t.Error("another person's self conversation is told")
	}
}

func TestTheFirstNoteMakesTheSelfConversation(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	self := w.edge.selfID(alice)
	writes, reads, stranger := w.login(t, alice), w.login(t, alice), w.login(t, bob)
	for _, d := range []*phone{writes, reads, stranger} {
		d.synced(d.send(wire.TypeSync, wire.Sync{}))
	}
	stranger.send(wire.TypeMessageSend, message(self, "hi"))
	stranger.refused(chat.NotFound)
	writes.send(wire.TypeMessageEdit, wire.MessageEdit{ConversationID: string(self), Seq: 1, ClientID: newClient(), Text: "x"})
	writes.refused(chat.NotFound)
	if w.records() != 0 {
		t.Fatalf("%d records", w.records())
	}
	note := message(self, "buy milk")
	writes.send(wire.TypeMessageSend, note)
	if r := into[chat.Record](t, writes.want(wire.TypeRecordReceived)); r.Kind != chat.KindCreate || r.ConversationID != self {
		t.Errorf("first came %+v", r)
	}
	if sent := into[wire.Sent](t, writes.want(wire.TypeMessageSent)); sent.Seq != 2 || sent.N != 1 {
		t.Errorf("sent %+v", sent)
	}
	reads.want(wire.TypeRecordReceived)
	if r := into[chat.Record](t, reads.want(wire.TypeMessageReceived)); r.Text != "buy milk" {
		t.Errorf("the other device got %+v", r)
	}
	writes.send(wire.TypeMessageSend, note)
	if sent := into[wire.Sent](t, writes.want(wire.TypeMessageSent)); sent.Seq != 2 || w.records() != 2 {
		t.Errorf("sent again %+v, %d records", sent, w.records())
	}
	stranger.quiet()
	w.call(t, w.token(bob), "POST", "conversations/"+string(w.edge.selfID(bob))+"/messages", `{"type":"text","text":"by REST"}`, 200, nil)
}

func TestPreferencesAreShown(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, func(c *Config) { c.Now = func() time.Time { return now } })
	alice, bob := w.person("alice"), w.person("bob")
	g, direct := w.group(alice, bob), w.direct(alice, bob)
	token := w.token(alice)
	set := func(id chat.ConversationID, body string) Committed {
		t.Helper()
		var c Committed
		w.call(t, token, "PUT", "conversations/"+string(id)+"/preferences", body, 200, &c)
		return c
	}
	get := func(id chat.ConversationID) wire.Conversation {
		t.Helper()
		var a conversationAnswer
		w.call(t, token, "GET", "conversations/"+string(id), "", 200, &a)
		return a.Conversation
	}
	shown := func(c wire.Conversation) string { return fmt.Sprintf("%s %v %v", c.MutedUntil, c.Archived, c.Pinned) }

	if got := shown(get(g)); got != " false false" {
		t.Errorf("before anything was said: %s", got)
	}
	first := set(g, `{"muted_until":"2026-05-01T14:30:00+02:00","pinned":true}`)
	if first.ConversationID != w.edge.selfID(alice) || first.Seq != 2 || first.N != 0 {
		t.Errorf("stands at %+v", first)
	}
	if got := shown(get(g)); got != "2026-05-01T12:30:00.000Z false true" {
		t.Errorf("muted and pinned: %s", got)
	}
	records := w.records()
	if again := set(g, `{"muted_until":"2026-05-01T12:30:00Z","pinned":true,"archived":false,"unknown":1}`); again.Seq != first.Seq || w.records() != records {
		t.Errorf("nothing changed, %d records more, answered %+v", w.records()-records, again)
	}
	now = now.Add(30 * time.Minute)
	if got := shown(get(g)); got != " false true" {
		t.Errorf("a mute that is over: %s", got)
	}
	for _, end := range []string{`null`, `""`} {
		set(g, `{"muted_until":"forever"}`)
		if got := shown(get(g)); got != "forever false true" {
			t.Errorf("muted for ever: %s", got)
		}
		set(g, `{"muted_until":`+end+`}`)
		if got := shown(get(g)); got != " false true" {
			t.Errorf("ended by %s: %s", end, got)
		}
	}
	set(direct, `{"archived":true}`)
	set(w.edge.selfID(alice), `{"pinned":true}`)
	list := func(query string) string {
		t.Helper()
		var all []string
		for cursor := ""; ; {
			var page conversationsAnswer
			w.call(t, token, "GET", "conversations?limit=1&cursor="+cursor+query, "", 200, &page)
			for _, c := range page.Conversations {
				all = append(all, fmt.Sprint(c.Type, " ", shown(c)))
			}
			if cursor = page.Next; cursor == "" {
				return strings.Join(all, ", ")
			}
		}
	}
	if got := list(""); got != "self  false true, direct  true false, group  false true" {
		t.Errorf("all: %s", got)
	}
	if got := list("&archived=false"); got != "self  false true, group  false true" {
		t.Errorf("not archived: %s", got)
	}
	if got := list("&archived=true"); got != "direct  true false" {
		t.Errorf("archived: %s", got)
	}
	w.problem(t, token, "GET", "conversations?archived=perhaps", "", chat.Invalid)
	var others conversationAnswer
	w.call(t, w.token(bob), "GET", "conversations/"+string(g), "", 200, &others)
	if got := shown(others.Conversation); got != " false false" {
		t.Errorf("another member sees %s", got)
	}
}

func TestPreferencesAreRefused(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g, others := w.group(alice, bob), w.group(bob)
	token := w.token(alice)
	path := func(id chat.ConversationID) string { return "conversations/" + string(id) + "/preferences" }
	client := newClient()
	for name, c := range map[string]struct {
		path, body string
		kind       chat.Kind
	}{
		"not a member":         {path(others), `{"pinned":true}`, chat.NotFound},
		"somebody else's self": {path(w.edge.selfID(bob)), `{"pinned":true}`, chat.NotFound},
		"no such conversation": {path("gaaaaaaaaaaaaaaaaaaaaaaaaaa"), `{"pinned":true}`, chat.NotFound},
		"no id":                {"conversations/general/preferences", `{"pinned":true}`, chat.NotFound},
		"nothing named":        {path(g), `{}`, chat.Invalid},
		"unknown alone":        {path(g), `{"starred":true}`, chat.Invalid},
		"null flag":            {path(g), `{"pinned":null}`, chat.Invalid},
		"no time":              {path(g), `{"muted_until":"tomorrow"}`, chat.Invalid},
		"a day":                {path(g), `{"muted_until":"2026-05-01"}`, chat.Invalid},
		"no such day":          {path(g), `{"muted_until":"2026-02-30T00:00:00Z"}`, chat.Invalid},
		"time as number":       {path(g), `{"muted_until":1700000000}`, chat.Invalid},
		"time as flag":         {path(g), `{"muted_until":true}`, chat.Invalid},
		"time beyond all":      {path(g), `{"muted_until":"9999-12-31T23:59:59-23:00"}`, chat.Invalid},
		"flag as text":         {path(g), `{"archived":"yes"}`, chat.Invalid},
		"flag as number":       {path(g), `{"pinned":1}`, chat.Invalid},
		"surrogate":            {path(g), `{"muted_until":"\udfff"}`, chat.InvalidText},
		"twice":                {path(g), `{"pinned":true,"pinned":false}`, chat.Invalid},
		"no JSON":              {path(g), `{"pinned":`, chat.Invalid},
		"list":                 {path(g), `[]`, chat.Invalid},
		"client id":            {path(g), `{"pinned":true,"client_id":"7"}`, chat.InvalidClientID},
		"too large":            {path(g), `{"pinned":true,"x":"` + strings.Repeat("x", smallBody) + `"}`, chat.TooLarge},
	} {
		t.Run(name, func(t *testing.T) { w.problem(t, token, "PUT", c.path, c.body, c.kind) })
	}
	if w.records() != 2 {
		t.Errorf("%d records: refusals left some", w.records())
	}
	var first, again Committed
	w.call(t, token, "PUT", path(g), `{"pinned":true,"client_id":"`+client+`"}`, 200, &first)
	w.call(t, token, "PUT", path(g), `{"pinned":false}`, 200, nil)
	w.call(t, token, "PUT", path(g), `{"pinned":true,"client_id":"`+client+`"}`, 200, &again)
	if first != again || first.ClientID.String() != client {
		t.Errorf("a repeat gave %+v, the first %+v", again, first)
	}
	w.problem(t, token, "PUT", path(g), `{"pinned":true,"archived":true,"client_id":"`+client+`"}`, chat.Conflict)
}

func TestPreferencesReachOtherDevices(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(alice, bob)
	d := w.login(t, alice)
	w.call(t, w.token(alice), "PUT", "conversations/"+string(g)+"/preferences", `{"pinned":true,"muted_until":"forever"}`, 200, nil)
	d.want(wire.TypeRecordReceived) // the self conversation
	r := into[chat.Record](t, d.want(wire.TypeRecordReceived))
	if r.Kind != chat.KindPreference || r.About != g || !*r.Pinned || *r.MutedUntil != chat.MutedForever || r.Archived != nil {
		t.Errorf("live: %+v", r)
	}
	later := w.login(t, alice)
	parts, _ := later.synced(later.send(wire.TypeSync, wire.Sync{}))
	if c := parts[g].Conversation; !c.Pinned || c.MutedUntil != chat.MutedForever || c.Archived {
		t.Errorf("by sync: %+v", c)
	}
	if got := seqs(t, parts[w.edge.selfID(alice)]); got != "1 2" {
		t.Errorf("records of the self conversation: %s", got)
	}
}

// TestPreferencesJoinSyncAndLive changes preferences while a sync is under way that fetches no records: its shapes
// and what comes live are together what holds in the end.
func TestPreferencesJoinSyncAndLive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		defer w.over()
		alice := w.person("alice")
		self := w.edge.selfID(alice)
		groups := []chat.ConversationID{w.group(alice), w.group(alice), w.group(alice)}
		if rapid.Bool().Draw(rt, "made") {
			w.do(conversation.Command{Op: conversation.OpCreate, ConversationID: self, Actor: alice})
		}
		d := w.login(t, alice)
		changes := rapid.SliceOfN(rapid.IntRange(0, 5), 0, 30).Draw(rt, "changes")
		var mu sync.Mutex // guards changes
		change := func() {
			mu.Lock()
			defer mu.Unlock()
			if len(changes) == 0 {
				return
			}
			n := changes[0]
			changes = changes[1:]
			c := conversation.Command{Op: conversation.OpPreference, ConversationID: self, Actor: alice, About: groups[n%3], Pinned: new(n < 3)}
			_, _ = w.decide(c) // not_found before the self conversation is made
		}
		w.with(func() { w.onAsk, w.onRegister = change, change })
		limit := 0
		id := d.send(wire.TypeSync, wire.Sync{Limit: &limit})
		shown := map[chat.ConversationID]bool{}
		for caughtUp := false; !caughtUp; {
			f, err := d.next()
			if err != nil {
				rt.Fatal(err)
			}
			switch f.Type {
			case wire.TypeSyncRecords:
				shape := into[wire.SyncRecords](t, f).Conversation
				shown[shape.ID] = shape.Pinned
			case wire.TypeRecordReceived:
				rt.Fatalf("live within a sync: %s", f.Data)
			default:
				caughtUp = f.Type == wire.TypeCaughtUp && f.ID == id
			}
		}
		w.with(func() { w.onAsk, w.onRegister = nil, nil })
		d.send(wire.TypePing, nil)
		for {
			f, err := d.next()
			if err != nil {
				rt.Fatal(err)
			}
			if f.Type == wire.TypePong {
				break
			}
			if r := into[chat.Record](t, f); r.Kind == chat.KindPreference {
				shown[r.About] = *r.Pinned
			}
		}
		w.mu.Lock()
		wanted := w.states[self].Preferences
		w.mu.Unlock()
		for _, g := range groups {
			if shown[g] != wanted.Of(g).Pinned {
				rt.Fatalf("%s is shown as pinned: %v, it is %v", g, shown[g], wanted.Of(g).Pinned)
			}
		}
		_ = d.ws.Close()
	})
}
