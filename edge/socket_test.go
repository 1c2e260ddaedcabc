package edge

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestAuthIsAnsweredWithWhoAndWhen(t *testing.T) { onEachForm(t, authIsAnsweredWithWhoAndWhen) }

func authIsAnsweredWithWhoAndWhen(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	d := w.open(t)
	id := d.send(wire.TypeAuth, wire.Auth{Token: w.token(alice)})
	f := d.want(wire.TypeAuthOK)
	ok := into[wire.AuthOK](t, f)
	if f.ID != id || ok.UserID != alice || ok.SessionID == "" || ok.HeartbeatMS != int(testHeartbeat.Milliseconds()) {
		t.Errorf("answer %d %+v", f.ID, ok)
	}
	at, err := time.Parse(chat.TimeLayout, ok.ServerTime)
	if err != nil || time.Since(at) > time.Minute {
		t.Errorf("server time %q", ok.ServerTime)
	}
}

func TestWrongTokensAreRefusedAndClosed(t *testing.T) { onEachForm(t, wrongTokensAreRefusedAndClosed) }

func wrongTokensAreRefusedAndClosed(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	revoked := w.token(alice)
	_ = w.Revoke(context.Background(), w.tokens[revoked], w.tokens[revoked].SessionID)
	for name, token := range map[string]string{
		"forged": "a.b.c", "empty": "", "no ticket": "x", "expired": w.tokenFor(alice, time.Now().Add(-time.Second)), "revoked": revoked,
	} {
		t.Run(name, func(t *testing.T) {
			d := w.open(t)
			d.send(wire.TypeAuth, wire.Auth{Token: token})
			d.refused(chat.Unauthorized)
			d.closed(wire.CloseUnauthorized)
		})
	}
}

func TestATicketOpensOneConnection(t *testing.T) { onEachForm(t, aTicketOpensOneConnection) }

func aTicketOpensOneConnection(t *testing.T, newWorld maker) {
	w := newWorld(t)
	token := w.token(w.person("alice"))
	var answer ticketAnswer
	w.call(t, token, http.MethodPost, "auth/ticket", "", http.StatusOK, &answer)
	d := w.open(t)
	d.send(wire.TypeAuth, wire.Auth{Token: answer.Ticket})
	d.want(wire.TypeAuthOK)
	d = w.open(t)
	d.send(wire.TypeAuth, wire.Auth{Token: answer.Ticket})
	d.closed(wire.CloseUnauthorized)
}

func TestTheFirstFrameIsAuth(t *testing.T) { onEachForm(t, theFirstFrameIsAuth) }

func theFirstFrameIsAuth(t *testing.T, newWorld maker) {
	w := newWorld(t)
	for _, first := range []string{`{"id":1,"type":"ping"}`, `{"id":1,"type":"message:send","data":{}}`, `nonsense`, `{}`} {
		d := w.open(t)
		d.raw(first)
		d.closed(wire.CloseProtocol)
	}
	d := w.open(t)
	if err := d.ws.WriteMessage(websocket.BinaryMessage, []byte(`{"type":"auth"}`)); err != nil {
		t.Fatal(err)
	}
	d.closed(wire.CloseProtocol)
}

func TestFramesThatAreWrongAreAnsweredAndTheConnectionStays(t *testing.T) {
	onEachForm(t, framesThatAreWrongAreAnsweredAndTheConnectionStays)
}

func framesThatAreWrongAreAnsweredAndTheConnectionStays(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	g := w.group(alice, w.person("bob"))
	d := w.login(t, alice)
	conv, client := string(g), chat.NewClientID(time.Now()).String()
	ahead := chat.NewClientID(time.Now().Add(25 * time.Hour)).String()
	send := func(conv, client, typ, text string) string {
		return `{"id":9,"type":"message:send","data":{"conversation_id":"` + conv + `","client_id":"` + client + `","type":"` + typ + `","text":"` + text + `"}}`
	}
	for name, c := range map[string]struct {
		frame string
		kind  chat.Kind
	}{
		"no JSON":           {`{"id":9,"type":`, chat.Invalid},
		"no type":           {`{"id":9}`, chat.Invalid},
		"repeated name":     {`{"id":9,"type":"ping","type":"ping"}`, chat.Invalid},
		"wrong type":        {`{"id":9,"type":"sync","data":{"limit":"x"}}`, chat.Invalid},
		"unknown frame":     {`{"id":9,"type":"dance","data":{}}`, chat.UnknownType},
		"deep":              {`{"id":9,"type":"sync","data":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, chat.Invalid},
		"unknown message":   {send(conv, client, "poll", "x"), chat.UnknownType},
		"empty text":        {send(conv, client, "text", ""), chat.InvalidText},
		"too long":          {send(conv, client, "text", strings.Repeat("x", wire.MaxTextRunes+1)), chat.InvalidText},
		"escaped surrogate": {send(conv, client, "text", `\ud800`), chat.InvalidText},
		"bad client id":     {send(conv, "7", "text", "x"), chat.InvalidClientID},
		"version 4":         {send(conv, "9b2f4c1e-8d3a-4f5b-9c6d-1e2f3a4b5c6d", "text", "x"), chat.InvalidClientID},
		"future client id":  {send(conv, ahead, "text", "x"), chat.InvalidClientID},
		"bad conversation":  {send("general", client, "text", "x"), chat.Invalid},
		"wildcard":          {send("g*", client, "text", "x"), chat.Invalid},
		"stranger":          {send(string(chat.GroupID([]byte("k"), alice, chat.ClientID{})), client, "text", "x"), chat.NotFound},
		"cursor nowhere":    {`{"id":9,"type":"message:read","data":{"conversation_id":"` + conv + `","seq":99}}`, chat.Invalid},
		"cursor twice":      {`{"id":9,"type":"message:read","data":{"conversation_id":"` + conv + `","seq":1,"id":"5"}}`, chat.Invalid},
		"limit":             {`{"id":9,"type":"sync","data":{"limit":101}}`, chat.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			d := &phone{t: t, w: w, ws: d.ws}
			d.raw(c.frame)
			f := d.want(wire.TypeError)
			if e := into[wire.Error](t, f); e.Code != c.kind {
				t.Errorf("refused with %s (%s), want %s", e.Code, e.Message, c.kind)
			}
			if f.ID != 9 && name != "no JSON" {
				t.Errorf("the refusal has id %d", f.ID)
			}
		})
	}
	d.send(wire.TypeMessageSend, message(g, "still here"))
	d.want(wire.TypeMessageSent)
}

func TestRawTextThatIsNotUnicodeIsRefusedAndEndsTheConnection(t *testing.T) {
	onEachForm(t, rawTextThatIsNotUnicodeIsRefusedAndEndsTheConnection)
}

func rawTextThatIsNotUnicodeIsRefusedAndEndsTheConnection(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t)
	alice := w.person("alice")
	g := w.group(alice)
	d := w.login(t, alice)
	d.raw(`{"id":3,"type":"message:send","data":{"conversation_id":"` + string(g) + `","type":"text","text":"` + "\xed\xa0\x80" + `"}}`)
	d.refused(chat.InvalidText)
	w.with(func() {
		if len(w.log) != 1 {
			t.Error("something was stored")
		}
	})
	d.closed(websocket.CloseInvalidFramePayloadData)
}

func TestAnOldClientIDIsNeverRefused(t *testing.T) { onEachForm(t, anOldClientIDIsNeverRefused) }

func anOldClientIDIsNeverRefused(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	g := w.group(alice)
	d := w.login(t, alice)
	m := message(g, "from long ago")
	m.ClientID = chat.NewClientID(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)).String()
	d.send(wire.TypeMessageSend, m)
	d.want(wire.TypeMessageSent)
}

func TestFramesAboveTheLimitClose(t *testing.T) { onEachForm(t, framesAboveTheLimitClose) }

func framesAboveTheLimitClose(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t)
	alice := w.person("alice")
	d := w.login(t, alice)
	d.raw(`{"id":1,"type":"ping","data":"` + strings.Repeat("x", wire.MaxFrame-32) + `"}`)
	d.want(wire.TypePong)
	_ = d.ws.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("x", wire.MaxFrame+1)))
	d.closed(wire.CloseTooLarge)

	d = w.login(t, alice)
	if err := d.ws.WriteMessage(websocket.BinaryMessage, []byte{1}); err != nil {
		t.Fatal(err)
	}
	d.closed(wire.CloseProtocol)
}

func TestUpgradesAreTurnedAwayWithAProblem(t *testing.T) {
	onEachForm(t, upgradesAreTurnedAwayWithAProblem)
}

func upgradesAreTurnedAwayWithAProblem(t *testing.T, newWorld maker) {
	w := newWorld(t, func(c *Config) { c.Origins = []string{"https://chat.example.org"} })
	origin := func(o string) http.Header { return http.Header{"Origin": {o}} }
	if resp := w.turnedAway(t, origin("https://evil.example.org"), wire.Subprotocol); resp.StatusCode != http.StatusForbidden {
		t.Errorf("foreign origin: %s", resp.Status)
	}
	if resp := w.turnedAway(t, nil, "chat"); resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("other subprotocol: %s", resp.Status)
	}
	for _, fine := range []string{"https://chat.example.org", w.http.URL} {
		ws, _, err := (&websocket.Dialer{Subprotocols: []string{wire.Subprotocol}}).Dial(w.wsURL(), origin(fine))
		if err != nil {
			t.Fatalf("origin %s: %v", fine, err)
		}
		_ = ws.Close()
	}
	w.with(func() { w.refuse[auth.LimitHandshake] = true })
	resp := w.turnedAway(t, nil, wire.Subprotocol)
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "2" {
		t.Errorf("limited: %s, retry after %q", resp.Status, resp.Header.Get("Retry-After"))
	}
}

func TestHalfOpenConnectionsAreBounded(t *testing.T) { onEachForm(t, halfOpenConnectionsAreBounded) }

func halfOpenConnectionsAreBounded(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Handshakes = 3 })
	alice := w.person("alice")
	var silent []*phone
	for range 3 {
		silent = append(silent, w.open(t))
	}
	if resp := w.turnedAway(t, nil, wire.Subprotocol); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the fourth: %s", resp.Status)
	}
	silent[0].send(wire.TypeAuth, wire.Auth{Token: w.token(alice)})
	silent[0].want(wire.TypeAuthOK)
	w.login(t, alice) // an authenticated connection does not count
	for _, d := range silent[1:] {
		d.closed(wire.CloseHandshake) // after wire.AuthTimeout
	}
	w.login(t, alice)
}

func TestARevokedSessionsConnectionsClose(t *testing.T) {
	onEachForm(t, aRevokedSessionsConnectionsClose)
}

func aRevokedSessionsConnectionsClose(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	token := w.token(alice)
	d := w.open(t)
	d.send(wire.TypeAuth, wire.Auth{Token: token})
	d.want(wire.TypeAuthOK)
	other := w.login(t, alice)
	w.call(t, token, http.MethodDelete, "sessions/"+string(w.tokens[token].SessionID), "", http.StatusNoContent, nil)
	d.closed(wire.CloseUnauthorized)
	other.quiet()
}

func TestATokenThatExpiresClosesUnlessANewerOneCame(t *testing.T) {
	onEachForm(t, aTokenThatExpiresClosesUnlessANewerOneCame)
}

func aTokenThatExpiresClosesUnlessANewerOneCame(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t)
	alice := w.person("alice")
	soon := time.Now().Add(1500 * time.Millisecond)
	d := w.open(t)
	d.send(wire.TypeAuth, wire.Auth{Token: w.tokenFor(alice, soon)})
	d.want(wire.TypeAuthOK)
	renewing := w.open(t)
	token := w.tokenFor(alice, soon)
	renewing.send(wire.TypeAuth, wire.Auth{Token: token})
	renewing.want(wire.TypeAuthOK)
	newer := "a.newer.z"
	w.with(func() {
		claims := w.tokens[token]
		claims.ExpiresAt = time.Now().Add(time.Hour)
		w.tokens[newer] = claims
	})
	renewing.send(wire.TypeAuth, wire.Auth{Token: w.token(alice)}) // another session's
	renewing.refused(chat.Unauthorized)
	renewing.send(wire.TypeAuth, wire.Auth{Token: newer})
	renewing.want(wire.TypeAuthOK)
	d.closed(wire.CloseUnauthorized)
	renewing.quiet()
}

func TestWithoutNewsOfRevocationsNobodyIsServed(t *testing.T) {
	onEachForm(t, withoutNewsOfRevocationsNobodyIsServed)
}

func withoutNewsOfRevocationsNobodyIsServed(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(w.person("alice"))
	d := w.login(t, w.person("bob"))
	w.with(func() { w.deaf = true })
	d.closed(wire.CloseUnavailable) // after outageAllowed
	if resp := w.turnedAway(t, nil, wire.Subprotocol); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("upgrade: %s", resp.Status)
	}
	w.call(t, token, http.MethodGet, "users/me", "", http.StatusServiceUnavailable, nil)
}

func TestASilentConnectionIsPingedThenClosed(t *testing.T) {
	onEachForm(t, aSilentConnectionIsPingedThenClosed)
}

func aSilentConnectionIsPingedThenClosed(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Heartbeat = 2 * time.Second })
	alice := w.person("alice")
	d := w.login(t, alice)
	pinged := make(chan struct{}, 8)
	d.ws.SetPingHandler(func(string) error { pinged <- struct{}{}; return nil }) // no pong
	d.closed(wire.CloseIdle)
	if len(pinged) != 1 {
		t.Errorf("%d pings", len(pinged))
	}
}

func TestDrainSaysWhenToComeBackAndFinishesWhatIsUnderWay(t *testing.T) {
	onEachForm(t, drainSaysWhenToComeBackAndFinishesWhatIsUnderWay)
}

func drainSaysWhenToComeBackAndFinishesWhatIsUnderWay(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.DrainTime = 4 * time.Second })
	alice := w.person("alice")
	g := w.group(alice)
	idle, busy := w.login(t, alice), w.login(t, alice)
	started, proceed := make(chan struct{}), make(chan struct{})
	w.with(func() { w.gate = block(started, proceed) })
	busy.send(wire.TypeMessageSend, message(g, "on its way"))
	<-started
	drained := make(chan struct{})
	go func() { defer close(drained); w.edge.Drain(context.Background()) }()
	away := into[wire.GoAway](t, idle.want(wire.TypeGoAway))
	if away.ReconnectAfterMS < 0 || away.ReconnectAfterMS > 4000 {
		t.Errorf("reconnect after %d ms", away.ReconnectAfterMS)
	}
	idle.closed(wire.CloseDrain)
	busy.want(wire.TypeGoAway)
	busy.send(wire.TypeMessageSend, message(g, "too late"))
	busy.refused(chat.Unavailable)
	if resp := w.turnedAway(t, nil, wire.Subprotocol); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("upgrade: %s", resp.Status)
	}
	close(proceed)
	busy.want(wire.TypeMessageSent)
	busy.closed(wire.CloseDrain)
	<-drained
}

func TestLargeFramesShareABudget(t *testing.T) { onEachForm(t, largeFramesShareABudget) }

func largeFramesShareABudget(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t)
	alice := w.person("alice")
	large := `{"id":1,"type":"ping","data":"` + strings.Repeat("x", smallFrame) + `"}`
	d := w.login(t, alice)
	if !w.edge.large.shares.TryAcquire(largeFrames) {
		t.Fatal("the budget is not whole")
	}
	d.quiet() // small frames need none of it
	d.raw(large)
	d.closed(wire.CloseOverloaded) // after budgetWait
	w.edge.large.shares.Release(largeFrames)
	d = w.login(t, alice)
	for range 2 * largeFrames / wire.MaxFrame { // given back each time
		d.raw(large)
		d.want(wire.TypePong)
	}
}

func TestWhatIsCommittedWhileOneConnectsIsNotLost(t *testing.T) {
	onEachForm(t, whatIsCommittedWhileOneConnectsIsNotLost)
}

func whatIsCommittedWhileOneConnectsIsNotLost(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	w.with(func() { w.onRegister = func() { w.say(g, bob, "just now") } })
	d := w.login(t, alice) // auth:ok comes first
	d.receives("just now")
}

func TestARevocationWhoseNewsWasMissedClosesAllTheSame(t *testing.T) {
	onEachForm(t, aRevocationWhoseNewsWasMissedClosesAllTheSame)
}

func aRevocationWhoseNewsWasMissedClosesAllTheSame(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t)
	alice := w.person("alice")
	d := w.open(t)
	token := w.token(alice)
	d.send(wire.TypeAuth, wire.Auth{Token: token})
	d.want(wire.TypeAuthOK)
	w.with(func() { w.revoked[w.tokens[token].SessionID] = true })
	d.closed(wire.CloseUnauthorized)
}
