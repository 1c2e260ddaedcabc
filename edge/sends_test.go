package edge

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

// block is a gate at which the first command waits; those after it pass.
func block(started, proceed chan struct{}) func(context.Context, conversation.Command) error {
	first := make(chan struct{}, 1)
	first <- struct{}{}
	return func(ctx context.Context, _ conversation.Command) error {
		select {
		case <-first:
		default:
			return nil
		}
		close(started)
		select {
		case <-proceed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestTheSenderHasSentAndEverybodyElseReceived(t *testing.T) {
	onEachForm(t, theSenderHasSentAndEverybodyElseReceived)
}

func theSenderHasSentAndEverybodyElseReceived(t *testing.T, newWorld maker) {
	for _, late := range []bool{false, true} { // the delivery before the answer, and after it
		t.Run(fmt.Sprintf("late=%v", late), func(t *testing.T) {
			w := newWorld(t)
			alice, bob := w.person("alice"), w.person("bob")
			g := w.group(alice, bob)
			phone1, desk, peer := w.login(t, alice), w.login(t, alice), w.login(t, bob)
			w.with(func() { w.late = late })
			m := message(g, "hello")
			id := phone1.send(wire.TypeMessageSend, m)
			f := phone1.want(wire.TypeMessageSent)
			sent := into[wire.Sent](t, f)
			if f.ID != id || sent.Seq != 2 || sent.N != 1 || sent.ClientID.String() != m.ClientID || sent.SentAt != sent.ID.Time().Format(chat.TimeLayout) {
				t.Errorf("sent %+v", sent)
			}
			w.flush()
			for _, d := range []*phone{desk, peer} {
				got := d.want(wire.TypeMessageReceived)
				if want := w.raw(1); string(got.Data) != want {
					t.Errorf("received %s, the log holds %s", got.Data, want)
				}
			}
			phone1.quiet()
		})
	}
}

func TestEditsAndDeletesAreAnsweredWithRecordSent(t *testing.T) {
	onEachForm(t, editsAndDeletesAreAnsweredWithRecordSent)
}

func editsAndDeletesAreAnsweredWithRecordSent(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(alice, bob)
	w.say(g, alice, "first")
	d, peer := w.login(t, alice), w.login(t, bob)
	d.send(wire.TypeMessageEdit, wire.MessageEdit{ConversationID: string(g), Seq: 2, ClientID: newClient(), Text: "second"})
	if sent := into[wire.Sent](t, d.want(wire.TypeRecordSent)); sent.Seq != 3 || sent.N != 1 {
		t.Errorf("edit %+v", sent)
	}
	del := wire.MessageDelete{ConversationID: string(g), Seq: 2, ClientID: newClient()}
	d.send(wire.TypeMessageDelete, del)
	d.want(wire.TypeRecordSent)
	d.quiet()
	peer.want(wire.TypeRecordReceived)
	peer.want(wire.TypeRecordReceived)
	peer.send(wire.TypeMessageEdit, wire.MessageEdit{ConversationID: string(g), Seq: 2, ClientID: newClient(), Text: "x"})
	peer.refused(chat.Forbidden)
}

func TestACommandThatChangesNothingDoesNotHideTheHead(t *testing.T) {
	onEachForm(t, aCommandThatChangesNothingDoesNotHideTheHead)
}

func aCommandThatChangesNothingDoesNotHideTheHead(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(alice, bob)
	w.say(g, alice, "gone")
	w.do(conversation.Command{Op: conversation.OpDelete, ConversationID: g, Actor: alice, ClientID: chat.NewClientID(time.Now()), TargetSeq: 2})
	d := w.login(t, alice)
	w.with(func() { w.late = true })
	w.say(g, bob, "the head")
	d.send(wire.TypeMessageDelete, wire.MessageDelete{ConversationID: string(g), Seq: 2, ClientID: newClient()})
	if sent := into[wire.Sent](t, d.want(wire.TypeRecordSent)); sent.Seq != 4 {
		t.Fatalf("answered with %+v", sent)
	}
	w.flush()
	d.want(wire.TypeMessageReceived)
}

func TestARepeatGivesTheFirstResultAndAnotherBodyIsAConflict(t *testing.T) {
	onEachForm(t, aRepeatGivesTheFirstResultAndAnotherBodyIsAConflict)
}

func aRepeatGivesTheFirstResultAndAnotherBodyIsAConflict(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	g := w.group(alice)
	d := w.login(t, alice)
	m := message(g, "once")
	d.send(wire.TypeMessageSend, m)
	first := into[wire.Sent](t, d.want(wire.TypeMessageSent))
	w.say(g, alice, "between")
	d.want(wire.TypeMessageReceived)
	d.send(wire.TypeMessageSend, m)
	if again := into[wire.Sent](t, d.want(wire.TypeMessageSent)); again != first {
		t.Errorf("repeat %+v, first %+v", again, first)
	}
	m.Text = "twice"
	d.send(wire.TypeMessageSend, m)
	d.refused(chat.Conflict)
}

func TestSendsKeepTheirOrderAndAFailureFailsThoseBehindIt(t *testing.T) {
	onEachForm(t, sendsKeepTheirOrderAndAFailureFailsThoseBehindIt)
}

func sendsKeepTheirOrderAndAFailureFailsThoseBehindIt(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	g, other := w.group(alice), w.group(alice)
	d := w.login(t, alice)
	started, proceed := make(chan struct{}), make(chan struct{})
	passes := block(started, proceed)
	w.with(func() {
		w.gate = func(ctx context.Context, c conversation.Command) error {
			if c.ConversationID != g {
				return nil
			}
			if err := passes(ctx, c); err != nil {
				return err
			}
			if c.Text == "fails" {
				return chat.Errorf(chat.Unavailable, "the store is away")
			}
			return nil
		}
	})
	fails := d.send(wire.TypeMessageSend, message(g, "fails"))
	<-started
	second, third := d.send(wire.TypeMessageSend, message(g, "2")), d.send(wire.TypeMessageSend, message(g, "3"))
	d.send(wire.TypeMessageSend, message(other, "not behind it"))
	d.want(wire.TypeMessageSent)
	close(proceed)
	for _, want := range []struct {
		id   uint64
		kind chat.Kind
	}{{fails, chat.Unavailable}, {second, chat.PriorFailed}, {third, chat.PriorFailed}} {
		f := d.want(wire.TypeError)
		if e := into[wire.Error](t, f); f.ID != want.id || e.Code != want.kind {
			t.Errorf("frame %d: %s, want %d: %s", f.ID, e.Code, want.id, want.kind)
		}
	}
	for _, text := range []string{"1", "2", "3"} {
		d.send(wire.TypeMessageSend, message(g, text))
	}
	for range 3 {
		d.want(wire.TypeMessageSent)
	}
	if texts := w.texts(g); texts != "1 2 3" {
		t.Errorf("the log holds %q", texts)
	}
}

func (w *world) texts(id chat.ConversationID) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var texts []string
	for _, e := range w.log {
		if e.ConversationID == id && e.Kind == chat.KindMessage {
			texts = append(texts, e.Text)
		}
	}
	return strings.Join(texts, " ")
}

func TestWaitingSendsAreBounded(t *testing.T) { onEachForm(t, waitingSendsAreBounded) }

func waitingSendsAreBounded(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	g := w.group(alice)
	d := w.login(t, alice)
	started, proceed := make(chan struct{}), make(chan struct{})
	w.with(func() { w.gate = block(started, proceed) })
	d.send(wire.TypeMessageSend, message(g, "0"))
	<-started
	for i := range waitingSends {
		d.send(wire.TypeMessageSend, message(g, fmt.Sprint(i+1)))
	}
	d.send(wire.TypeMessageSend, message(g, "too many"))
	if e := d.refused(chat.RateLimited); e.RetryAfterMS == 0 {
		t.Error("no hint when to come back")
	}
	close(proceed)
	for range waitingSends + 1 {
		d.want(wire.TypeMessageSent)
	}
}

func TestASendWithoutAnAnswerInTimeIsUnknown(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	w.gate = func(ctx context.Context, _ conversation.Command) error { <-ctx.Done(); return ctx.Err() }
	_, err := w.edge.submit(ctx, conversation.Command{})
	if kind := chat.KindOf(err); kind != chat.UnknownOutcome {
		t.Errorf("got %v, want unknown_outcome", err)
	}
}

func TestAnUnansweredSendThatWasDeliveredIsStillSeen(t *testing.T) {
	onEachForm(t, anUnansweredSendThatWasDeliveredIsStillSeen)
}

func anUnansweredSendThatWasDeliveredIsStillSeen(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	g := w.group(alice)
	d := w.login(t, alice)
	d.synced(d.send(wire.TypeSync, wire.Sync{}))
	w.with(func() {
		w.gate = func(_ context.Context, c conversation.Command) error {
			if _, err := w.decide(c); err != nil {
				return err
			}
			return chat.Errorf(chat.UnknownOutcome, "committed, but the answer was lost")
		}
	})
	d.send(wire.TypeMessageSend, message(g, "was it?"))
	got := map[string]bool{} // in either order: what was held for the sync may still be let go
	for range 2 {
		f, err := d.next()
		if err != nil {
			t.Fatal(err)
		}
		got[f.Type] = true
	}
	if !got[wire.TypeMessageReceived] || !got[wire.TypeError] {
		t.Errorf("got %v", got)
	}
}

func TestARemovedMemberNeitherSendsNorHears(t *testing.T) {
	onEachForm(t, aRemovedMemberNeitherSendsNorHears)
}

func aRemovedMemberNeitherSendsNorHears(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(alice, bob)
	d := w.login(t, bob)
	w.do(conversation.Command{Op: conversation.OpRemove, ConversationID: g, Actor: alice, Members: []chat.UserID{bob}})
	if r := into[chat.Record](t, d.want(wire.TypeRecordReceived)); r.Action != chat.ActionRemoved {
		t.Errorf("got %+v", r)
	}
	w.say(g, alice, "without bob")
	d.quiet()
	d.send(wire.TypeMessageSend, message(g, "me too"))
	d.refused(chat.NotFound)
	d.send(wire.TypeMessageRead, wire.CursorUp{ConversationID: string(g), Seq: 1})
	d.refused(chat.NotFound)
}

func TestASlowReaderIsCutOffAndCostsTheOthersNothing(t *testing.T) {
	onEachForm(t, aSlowReaderIsCutOffAndCostsTheOthersNothing)
}

func aSlowReaderIsCutOffAndCostsTheOthersNothing(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
	g := w.group(alice, bob, carol)
	slow, fast := w.login(t, bob), w.login(t, carol)
	text := strings.Repeat("x", 16<<10)
	const messages = 1500 // 24 MB: more than the sockets' buffers hold
	for range messages {
		w.say(g, alice, text)
		fast.want(wire.TypeMessageReceived)
	}
	for { // what was written before is still there; then the connection is over
		_, _, err := slow.ws.ReadMessage()
		if err == nil {
			continue
		}
		if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			t.Errorf("closed with %v", err)
		}
		break
	}
	w.over() // waits until the connection has been counted
	if got := w.counted("closed_total", "4501"); got != 1 {
		t.Errorf("%v connections closed as too slow", got)
	}
}

func newClient() string { return chat.NewClientID(time.Now()).String() }
