package edge

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// call does a REST request and reads its answer into out (nil: no matter).
func (w *world) call(tb testing.TB, token, method, path, body string, status int, out any) http.Header {
	tb.Helper()
	req, err := http.NewRequest(method, w.http.URL+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "test phone")
	resp, err := w.http.Client().Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	if resp.StatusCode != status {
		tb.Fatalf("%s %s: %s %s, want %d", method, path, resp.Status, raw, status)
	}
	if status >= 400 && resp.Header.Get("Content-Type") != "application/problem+json" {
		tb.Errorf("%s %s: a problem of type %q", method, path, resp.Header.Get("Content-Type"))
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			tb.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return resp.Header
}

// problem does a request that must fail with a kind.
func (w *world) problem(tb testing.TB, token, method, path, body string, kind chat.Kind) Problem {
	tb.Helper()
	var p Problem
	w.call(tb, token, method, path, body, kind.Rule().HTTPStatus, &p)
	if p.Code != kind || p.Status != kind.Rule().HTTPStatus || p.Retryable != kind.Rule().Retryable || p.Title == "" || p.Detail == "" {
		tb.Errorf("%s %s: problem %+v, want %s", method, path, p, kind)
	}
	return p
}

func TestRegisterLoginRefreshLogout(t *testing.T) {
	w := newWorld(t)
	var tokens Tokens
	w.call(t, "", "POST", "auth/register", `{"username":"Alice","email":"a@example.org","password":"right password","later":1}`, 200, &tokens)
	if tokens.User.Username != "alice" || tokens.ExpiresIn != 600 || tokens.AccessToken == "" || tokens.RefreshToken == "" || tokens.Session.Name != "test phone" {
		t.Errorf("registered %+v", tokens)
	}
	w.problem(t, "", "POST", "auth/register", `{"username":"alice","email":"b@example.org","password":"right password"}`, chat.Conflict)
	w.call(t, "", "POST", "auth/login", `{"login":"alice","password":"right password","device":"desk"}`, 200, &tokens)
	if tokens.Session.Name != "desk" {
		t.Errorf("session %q", tokens.Session.Name)
	}
	w.problem(t, "", "POST", "auth/login", `{"login":"alice","password":"wrong"}`, chat.Unauthorized)
	old := tokens.RefreshToken
	w.call(t, "", "POST", "auth/refresh", `{"refresh_token":"`+old+`"}`, 200, &tokens)
	var sessions sessionsAnswer
	w.call(t, tokens.AccessToken, "GET", "sessions", "", 200, &sessions)
	if len(sessions.Sessions) != 1 || !sessions.Sessions[0].Current {
		t.Errorf("sessions %+v", sessions)
	}
	w.call(t, tokens.AccessToken, "POST", "auth/logout", `{"refresh_token":"x"}`, 204, nil)
	h := w.call(t, tokens.AccessToken, "GET", "users/me", "", 401, nil)
	if h.Get("WWW-Authenticate") != "Bearer" {
		t.Error("a 401 without WWW-Authenticate")
	}
}

func TestAddressesAreLimited(t *testing.T) {
	w := newWorld(t)
	w.with(func() { w.refuse[auth.LimitRegister], w.refuse[auth.LimitLogin] = true, true })
	for _, path := range []string{"auth/register", "auth/login"} {
		p := w.problem(t, "", "POST", path, `{`, chat.RateLimited) // a malformed one counts as well
		if p.RetryAfterMS != 1500 {
			t.Errorf("%s: retry after %d ms", path, p.RetryAfterMS)
		}
	}
}

func TestEveryOperationButThreeWantsAToken(t *testing.T) {
	w := newWorld(t)
	open := []string{"register", "login", "refresh"}
	for path, item := range newDocument(w.edge).Paths {
		for method, op := range operationsOf(item) {
			if slices.Contains(open, op.OperationID) {
				continue
			}
			path := strings.NewReplacer("{id}", "x", "{user}", "x", "{position}", "1").Replace(strings.TrimPrefix(path, apiPrefix))
			w.problem(t, "", method, path, "{}", chat.Unauthorized)
			w.problem(t, "a.forged.z", method, path, "{}", chat.Unauthorized)
		}
	}
}

func TestBodiesAreStrict(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice")
	g := w.group(alice)
	token := w.token(alice)
	path := "conversations/" + string(g) + "/messages"
	for name, c := range map[string]struct {
		body string
		kind chat.Kind
	}{
		"none":              {``, chat.Invalid},
		"no JSON":           {`{`, chat.Invalid},
		"two":               {`{}{}`, chat.Invalid},
		"repeated name":     {`{"type":"text","text":"a","text":"b"}`, chat.Invalid},
		"wrong type":        {`{"type":"text","text":7}`, chat.Invalid},
		"deep":              {`{"x":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`, chat.Invalid},
		"raw surrogate":     {`{"type":"text","text":"` + "\xed\xa0\x80" + `"}`, chat.InvalidText},
		"escaped surrogate": {`{"type":"text","text":"\udfff"}`, chat.InvalidText},
		"empty":             {`{"type":"text","text":""}`, chat.InvalidText},
		"unknown type":      {`{"type":"poll","text":"x"}`, chat.UnknownType},
		"client id":         {`{"type":"text","text":"x","client_id":"x"}`, chat.InvalidClientID},
		"too large":         {`{"type":"text","text":"` + strings.Repeat("x", wire.MaxFrame) + `"}`, chat.TooLarge},
	} {
		t.Run(name, func(t *testing.T) { w.problem(t, token, "POST", path, c.body, c.kind) })
	}
	w.problem(t, token, "POST", "conversations", strings.Repeat(" ", smallBody+1), chat.TooLarge)
	w.call(t, token, "POST", path, `{"type":"text","text":"😀\u0000 \ud83d\ude00","unknown":{"a":1}}`, 200, nil)
	if got := w.log[len(w.log)-1].Text; got != "😀\x00 😀" {
		t.Errorf("stored %q", got)
	}
	w.problem(t, token, "GET", "nowhere", "", chat.NotFound)
	w.problem(t, token, "PUT", "users/me", "", chat.NotFound)
}

func TestPeople(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	token := w.token(alice)
	var one personAnswer
	w.call(t, token, "PATCH", "users/me", `{"display_name":"Alice 🐴"}`, 200, &one)
	w.call(t, token, "GET", "users/me", "", 200, &one)
	if one.User.DisplayName != "Alice 🐴" || one.User.Email != "alice@example.org" {
		t.Errorf("me: %+v", one.User)
	}
	w.problem(t, token, "PATCH", "users/me", `{"display_name":""}`, chat.Invalid)
	w.call(t, w.token(bob), "GET", "users/"+string(alice), "", 200, &one)
	if one.User.ID != alice || one.User.Email != "alice@example.org" && one.User.Email != "" {
		t.Errorf("alice: %+v", one.User)
	}
	var raw map[string]map[string]any
	w.call(t, w.token(bob), "GET", "users/"+string(alice), "", 200, &raw)
	if _, leaked := raw["user"]["email"]; leaked {
		t.Error("an e-mail address is shown to others")
	}
	w.problem(t, token, "GET", "users/"+string(chat.NewUserID()), "", chat.NotFound)
	var many peopleAnswer
	w.call(t, token, "GET", "users?ids="+string(alice)+","+string(bob)+","+string(chat.NewUserID()), "", 200, &many)
	if len(many.Users) != 2 {
		t.Errorf("%d users", len(many.Users))
	}
	w.problem(t, token, "GET", "users?ids="+strings.Repeat("x,", 100)+"x", "", chat.Invalid)
	w.call(t, token, "GET", "users/search?query=AL", "", 200, &many)
	if len(many.Users) != 1 || many.Users[0].ID != alice {
		t.Errorf("found %+v", many.Users)
	}
	w.problem(t, token, "GET", "users/search", "", chat.Invalid)
	w.with(func() { w.refuse[auth.LimitSearch] = true })
	if p := w.problem(t, token, "GET", "users/search?query=AL", "", chat.RateLimited); p.RetryAfterMS != 1500 {
		t.Errorf("refused for %d ms", p.RetryAfterMS)
	}
}

func TestConversationsAreCreatedOnce(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	token := w.token(alice)
	var a, b conversationAnswer
	w.call(t, token, "POST", "conversations", `{"type":"direct","user_id":"`+string(bob)+`"}`, 200, &a)
	w.call(t, w.token(bob), "POST", "conversations", `{"type":"direct","user_id":"`+string(alice)+`"}`, 200, &b)
	if a.Conversation.ID != b.Conversation.ID || a.Conversation.PeerID != bob || b.Conversation.PeerID != alice {
		t.Errorf("two directs: %+v, %+v", a.Conversation, b.Conversation)
	}
	body := `{"type":"group","name":"us","member_ids":["` + string(bob) + `"],"client_id":"` + newClient() + `"}`
	w.call(t, token, "POST", "conversations", body, 200, &a)
	w.call(t, token, "POST", "conversations", body, 200, &b)
	if a.Conversation.ID != b.Conversation.ID || a.Conversation.Role != chat.RoleOwner || a.Conversation.MemberCount != 2 || a.Conversation.Name != "us" {
		t.Errorf("two groups: %+v, %+v", a.Conversation, b.Conversation)
	}
	w.call(t, token, "POST", "conversations", `{"type":"group","name":"us","member_ids":[]}`, 200, &b)
	if a.Conversation.ID == b.Conversation.ID {
		t.Error("without a client id every create is another group")
	}
	w.problem(t, token, "POST", "conversations", `{"type":"direct","user_id":"`+string(chat.NewUserID())+`"}`, chat.NotFound)
	w.problem(t, token, "POST", "conversations", `{"type":"direct","user_id":"`+string(alice)+`"}`, chat.Invalid)
	w.problem(t, token, "POST", "conversations", `{"type":"channel"}`, chat.UnknownType)
	w.problem(t, token, "POST", "conversations", `{"type":"group","member_ids":[]}`, chat.Invalid)
}

func TestTheListIsByLastActivityAndPaged(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	var groups []chat.ConversationID
	for range 5 {
		groups = append(groups, w.group(bob, alice))
	}
	w.say(groups[1], bob, "newest")
	left := w.group(bob)
	token := w.token(alice)
	var seen []chat.ConversationID
	for cursor, pages := "", 0; ; pages++ {
		var page conversationsAnswer
		w.call(t, token, "GET", "conversations?limit=2&cursor="+cursor, "", 200, &page)
		for _, c := range page.Conversations {
			seen = append(seen, c.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
		if len(page.Conversations) != 2 || pages > 5 {
			t.Fatalf("page of %d", len(page.Conversations))
		}
	}
	want := []chat.ConversationID{groups[1], groups[4], groups[3], groups[2], groups[0]}
	if !slices.Equal(seen, want) || slices.Contains(seen, left) {
		t.Errorf("order %v, want %v", seen, want)
	}
	var page conversationsAnswer
	w.call(t, token, "GET", "conversations?limit=1", "", 200, &page)
	c := page.Conversations[0]
	last, err := wire.DecodeRecord(c.LastMessage)
	if err != nil || last.Text != "newest" || c.Unread != 1 {
		t.Errorf("last message %s, unread %d", c.LastMessage, c.Unread)
	}
	w.problem(t, token, "GET", "conversations?limit=101", "", chat.Invalid)
	w.problem(t, token, "GET", "conversations?cursor=x", "", chat.Invalid)
}

func TestMembersAndSettings(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
	g := w.group(alice, bob)
	a, b := w.token(alice), w.token(bob)
	members := "conversations/" + string(g) + "/members"
	w.problem(t, b, "POST", members, `{"user_ids":["`+string(carol)+`"]}`, chat.Forbidden)
	w.problem(t, w.token(carol), "GET", members, "", chat.NotFound)
	var sent Committed
	w.call(t, a, "POST", members, `{"user_ids":["`+string(carol)+`"]}`, 200, &sent)
	if sent.Seq != 2 {
		t.Errorf("added at %d", sent.Seq)
	}
	w.call(t, a, "POST", members, `{"user_ids":["`+string(carol)+`"]}`, 200, &sent)
	if sent.Seq != 2 {
		t.Errorf("nothing changed, answered %d", sent.Seq)
	}
	w.problem(t, a, "POST", members, `{"user_ids":["`+string(chat.NewUserID())+`"]}`, chat.NotFound)
	w.problem(t, a, "DELETE", members+"/"+string(alice), "", chat.Conflict) // the last owner
	w.call(t, a, "PATCH", members+"/"+string(bob), `{"role":"admin"}`, 200, nil)
	w.problem(t, a, "PATCH", members+"/"+string(bob), `{"role":"king"}`, chat.Invalid)
	var all []Member
	for cursor := ""; ; {
		var page membersAnswer
		w.call(t, a, "GET", members+"?limit=2&cursor="+cursor, "", 200, &page)
		all = append(all, page.Members...)
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(all) != 3 || !slices.IsSortedFunc(all, func(x, y Member) int { return strings.Compare(string(x.UserID), string(y.UserID)) }) {
		t.Errorf("members %+v", all)
	}
	var shape conversationAnswer
	w.call(t, b, "PATCH", "conversations/"+string(g), `{"name":"renamed","history":"joined"}`, 200, &shape)
	if shape.Conversation.Name != "renamed" || shape.Conversation.History != chat.HistoryJoined {
		t.Errorf("settings %+v", shape.Conversation)
	}
	w.call(t, b, "DELETE", members+"/"+string(carol), "", 200, nil)
	w.problem(t, w.token(carol), "GET", "conversations/"+string(g), "", chat.NotFound)
	w.problem(t, w.token(carol), "GET", "conversations/"+string(g)+"/messages", "", chat.NotFound)
	w.problem(t, a, "GET", "conversations/general", "", chat.NotFound)
}

func TestMessagesBySeqAndID(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(alice, bob)
	a, b := w.token(alice), w.token(bob)
	path := "conversations/" + string(g) + "/messages"
	client := newClient()
	var m messageAnswer
	w.call(t, a, "POST", path, `{"type":"text","text":"one","client_id":"`+client+`"}`, 200, &m)
	if string(m.Message) != string(w.log[1].Raw) {
		t.Errorf("answered %s, the log holds %s", m.Message, w.log[1].Raw)
	}
	w.problem(t, a, "POST", path, `{"type":"text","text":"two","client_id":"`+client+`"}`, chat.Conflict)
	id := w.log[1].ID.String()
	w.call(t, a, "PATCH", path+"/"+id, `{"text":"uno","client_id":"`+newClient()+`"}`, 200, nil)
	w.call(t, a, "PATCH", path+"/2?client_id="+newClient(), `{"text":"eins"}`, 200, nil)
	w.problem(t, b, "PATCH", path+"/2", `{"text":"mine"}`, chat.Forbidden)
	w.problem(t, a, "PATCH", path+"/99", `{"text":"x"}`, chat.NotFound)
	w.problem(t, a, "PATCH", path+"/"+chat.MakeID(time.Now().UnixMilli(), 9, 9).String(), `{"text":"x"}`, chat.NotFound)
	w.problem(t, a, "PATCH", path+"/x", `{"text":"x"}`, chat.Invalid)
	var versions versionsAnswer
	w.call(t, b, "GET", path+"/2/versions", "", 200, &versions)
	if len(versions.Versions) != 3 {
		t.Errorf("%d versions", len(versions.Versions))
	}
	w.call(t, a, "DELETE", path+"/2?client_id="+newClient(), "", 200, nil)
	w.call(t, a, "DELETE", path+"/2", "", 200, nil) // changes nothing
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice")
	g := w.group(alice)
	for i := range 9 {
		w.say(g, alice, fmt.Sprint(i))
	}
	token, path := w.token(alice), "conversations/"+string(g)+"/messages"
	page := func(query string) pageAnswer {
		var p pageAnswer
		w.call(t, token, "GET", path+query, "", 200, &p)
		return p
	}
	if p := page("?limit=3"); p.FromSeq != 8 || p.ToSeq != 10 || !p.MoreBefore || p.MoreAfter || p.Head.Seq != 10 {
		t.Errorf("newest: %+v", p)
	}
	if p := page("?limit=3&before=8"); p.FromSeq != 5 || p.ToSeq != 7 || !p.MoreAfter {
		t.Errorf("before: %+v", p)
	}
	if p := page("?limit=3&after=0"); p.FromSeq != 1 || p.ToSeq != 3 {
		t.Errorf("from the beginning: %+v", p)
	}
	if p := page("?before=1"); len(p.Messages) != 0 || p.Messages == nil {
		t.Errorf("out of range: %+v", p)
	}
	for _, bad := range []string{"?limit=0", "?limit=101", "?limit=x", "?before=1&after=2", "?at=yesterday", "?around=-1"} {
		w.problem(t, token, "GET", path+bad, "", chat.Invalid)
	}
}

func TestCursorsAndReceiptsByREST(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
	g := w.group(alice, bob, carol)
	for range 3 {
		w.say(g, alice, "x")
	}
	token, path := w.token(bob), "conversations/"+string(g)
	var c cursorsAnswer
	w.call(t, token, "PUT", path+"/cursor", `{"read":2,"delivered":"`+w.log[3].ID.String()+`"}`, 200, &c)
	if c.Read != (chat.Cursor{Seq: 2, N: 1}) || c.Delivered.Seq != 4 || c.Unread != 2 {
		t.Errorf("cursors %+v", c)
	}
	w.call(t, token, "PUT", path+"/cursor", `{"read":1}`, 200, &c)
	if c.Read.Seq != 2 {
		t.Error("a cursor moved back")
	}
	w.problem(t, token, "PUT", path+"/cursor", `{"read":5}`, chat.Invalid)
	w.problem(t, token, "PUT", path+"/cursor", `{}`, chat.Invalid)
	w.problem(t, token, "PUT", path+"/cursor", `{"read":"x"}`, chat.Invalid)
	var r receiptsAnswer
	w.call(t, w.token(alice), "GET", path+"/messages/3/receipts", "", 200, &r)
	if len(r.Read) != 0 || len(r.Delivered) != 1 || r.Delivered[0].UserID != bob {
		t.Errorf("receipts %+v", r)
	}
	w.problem(t, token, "GET", path+"/messages/1/receipts", "", chat.NotFound) // the create is no message
}

func TestEveryPathButTheAPIIsTheWebClient(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/", "/c/gabc", "/whatever"} {
		resp, err := http.Get(w.http.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(b), `<div id="app">`) {
			t.Errorf("%s: %s: %s", path, resp.Status, b)
		}
	}
	w.problem(t, "", "GET", "no-such-thing", "", chat.NotFound)
}
