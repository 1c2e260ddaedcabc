package edge

import (
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestPressureFollowsTheTimeOfSends(t *testing.T) {
	var p pressure
	now := time.Unix(1e9, 0)
	second := func(what string, sends int, each time.Duration, want int32) {
		t.Helper()
		p.answered.Store(int64(sends))
		p.took.Store(int64(sends) * int64(each))
		now = now.Add(time.Second)
		if got, _ := p.judge(now); got != want {
			t.Errorf("%s: step %d, want %d", what, got, want)
		}
	}
	second("nobody sends", 0, 0, shedNothing)
	second("quick", 100, 5*time.Millisecond, shedNothing)
	second("a quarter of a second", 100, 250*time.Millisecond, shedTyping)
	second("half", 10, 700*time.Millisecond, shedPresence)
	second("more than one", 10, 1500*time.Millisecond, shedReceipts)
	second("more than two", 10, 2500*time.Millisecond, shedHistory)
	second("five", 10, 5*time.Second, shedConnections)
	second("quick again", 10, time.Millisecond, shedNothing)
	began := p.begin()
	second("the first second of silence", 0, 0, shedNothing)
	second("the next", 0, 0, shedReceipts)
	second("one more", 0, 0, shedHistory)
	second("and another", 0, 0, shedConnections)
	p.end(began)
	second("answered", 1, time.Millisecond, shedNothing)
}

// Under the worst pressure everything gives way but sends and what is connected.
func TestUnderPressureSendsGoOn(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(alice, bob)
	d, other := w.login(t, alice), w.login(t, bob)
	d.synced(d.send(wire.TypeSync, wire.Sync{}))
	other.synced(other.send(wire.TypeSync, wire.Sync{}))
	token := w.token(alice)
	press := func(step int32) {
		w.edge.pressure.answered.Store(1) // so that a sweep meanwhile comes to the same
		w.edge.pressure.took.Store(int64(shedAt[step]))
		w.edge.pressure.step.Store(step)
	}
	press(shedReceipts)
	w.problem(t, token, "GET", "conversations/"+string(g)+"/messages/1/receipts", "", chat.Unavailable)
	w.call(t, token, "GET", "conversations/"+string(g)+"/messages", "", http.StatusOK, nil)
	press(shedConnections)
	w.problem(t, token, "GET", "conversations/"+string(g)+"/messages", "", chat.Unavailable)
	w.problem(t, token, "GET", "conversations", "", chat.Unavailable)
	if p := w.problem(t, "", "POST", "auth/login", `{"login":"alice","password":"x"}`, chat.Unavailable); p.RetryAfterMS == 0 {
		t.Errorf("refused without a hint: %+v", p)
	}
	dialer := websocket.Dialer{Subprotocols: []string{wire.Subprotocol}}
	if _, resp, err := dialer.Dial(w.wsURL(), nil); err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new connection: %v", err)
	}
	d.send(wire.TypeTypingStart, wire.TypingUp{ConversationID: string(g)})
	d.send(wire.TypeMessageSend, message(g, "still here"))
	d.want(wire.TypeMessageSent)
	w.flush()
	other.want(wire.TypeMessageReceived)
	if w.counted("shed_total", "typing") != 1 {
		t.Error("typing did not give way")
	}
}
