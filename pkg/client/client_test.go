package client

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func mustSend(t *testing.T, c *Client, s *fakeServer, text string) *Pending {
	t.Helper()
	p, err := c.Send(s.conv, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOwnAndForeignMessagesAreShownOnceInOrder(t *testing.T) {
	s := newFake(t)
	c, l, stop := connected(t, s, nil)
	for i := range 20 {
		sent, err := mustSend(t, c, s, fmt.Sprint("mine ", i)).Wait(t.Context())
		if err != nil || sent.Seq == 0 {
			t.Fatalf("sent %+v, %v", sent, err)
		}
		s.says(fmt.Sprint("theirs ", i), false)
	}
	l.shows(t, 41)
	if err := stop(); err != nil {
		t.Fatalf("Run ended with %v, want nil on cancel", err)
	}
}

// Every fault a send can meet: dropped before the commit, after it, answered late. The order and the number
// of messages must not change.
func TestOutboxKeepsOrderAndSendsOnceThroughFaults(t *testing.T) {
	s := newFake(t)
	n := 0
	s.onSend = func(*fakeLink, wire.Frame, wire.MessageSend) verdict {
		n++
		switch n % 7 {
		case 2:
			return verdict{drop: true}
		case 4:
			return verdict{drop: true, mute: true}
		case 5:
			return verdict{refuse: &wire.Error{Code: chat.UnknownOutcome, Retryable: true}}
		case 6:
			return verdict{refuse: &wire.Error{Code: chat.PriorFailed, Retryable: true}}
		}
		return verdict{}
	}
	c, l, _ := connected(t, s, nil)
	var want []string
	var last *Pending
	for i := range 40 {
		text := fmt.Sprint("message ", i)
		want = append(want, text)
		last = mustSend(t, c, s, text)
	}
	if _, err := last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, s.texts()); diff != "" {
		t.Errorf("stored differs from sent:\n%s", diff)
	}
	l.shows(t, 41)
	if left := c.Unsent(); len(left) != 0 {
		t.Errorf("%d messages are left in the outbox", len(left))
	}
}

func TestRetryableRefusalsAreRetriedNoEarlierThanTheHint(t *testing.T) {
	for _, kind := range []chat.Kind{chat.Unavailable, chat.UnknownOutcome, chat.RateLimited, chat.PriorFailed} {
		t.Run(string(kind), func(t *testing.T) {
			s := newFake(t)
			var tries []time.Time
			var ids []string
			s.onSend = func(_ *fakeLink, _ wire.Frame, m wire.MessageSend) verdict {
				tries, ids = append(tries, time.Now()), append(ids, m.ClientID)
				if len(tries) == 1 {
					return verdict{refuse: &wire.Error{Code: kind, Retryable: true, RetryAfterMS: 60}}
				}
				return verdict{}
			}
			c, _, stop := connected(t, s, nil)
			if _, err := mustSend(t, c, s, "again").Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			_ = stop()
			if len(tries) != 2 || ids[0] != ids[1] {
				t.Fatalf("tries %d with ids %v, want the same message twice", len(tries), ids)
			}
			if waited := tries[1].Sub(tries[0]); waited < 55*time.Millisecond {
				t.Errorf("tried again after %s, the server asked for 60ms", waited)
			}
		})
	}
}

func TestPermanentRefusalIsReportedAndTheNextGoesOn(t *testing.T) {
	s := newFake(t)
	s.onSend = func(_ *fakeLink, _ wire.Frame, m wire.MessageSend) verdict {
		if m.Text == "bad" {
			return verdict{refuse: &wire.Error{Code: chat.Forbidden, Message: "no"}}
		}
		return verdict{}
	}
	c, l, _ := connected(t, s, nil)
	bad, good := mustSend(t, c, s, "bad"), mustSend(t, c, s, "good")
	if _, err := bad.Wait(t.Context()); chat.KindOf(err) != chat.Forbidden {
		t.Errorf("refused with %v, want forbidden", err)
	}
	if _, err := good.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	has[Answered](t, l, "both answers", 2)
	invalid := mustSend(t, c, s, "\xff is no text")
	if _, err := invalid.Wait(t.Context()); chat.KindOf(err) != chat.InvalidText {
		t.Errorf("invalid UTF-8 ended with %v, want invalid_text", err)
	}
	if _, err := mustSend(t, c, s, "after").Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOneMessageUnderWayPerConversation(t *testing.T) {
	s := newFake(t)
	under := make(chan string, 10)
	s.onSend = func(_ *fakeLink, _ wire.Frame, m wire.MessageSend) verdict {
		under <- m.Text
		if m.Text == "first" {
			return verdict{mute: true}
		}
		return verdict{}
	}
	c, l, _ := connected(t, s, nil)
	mustSend(t, c, s, "first")
	mustSend(t, c, s, "second")
	if got := <-under; got != "first" {
		t.Fatalf("%q went first", got)
	}
	c.Sync() // a round trip of the same writer: the second would have been written before it
	has[CaughtUp](t, l, "another sync", 2)
	select {
	case text := <-under:
		t.Errorf("%q was sent while the first had no answer", text)
	default:
	}
}

func TestUnauthorizedStops(t *testing.T) {
	s := newFake(t)
	_, l, _ := connected(t, s, nil)
	s.closeWith(wire.CloseUnauthorized)
	l.until(t, "the stop", func(events []Event) bool {
		last, ok := events[len(events)-1].(State)
		return ok && last.Phase == Stopped
	})
}

func TestCloseCodesDecide(t *testing.T) {
	for code, stops := range map[int]bool{
		wire.CloseProtocol: true, wire.CloseTooLarge: true, 4499: true, wire.CloseDrain: false, wire.CloseTooSlow: false,
		wire.CloseIdle: false, wire.CloseOverloaded: false, 4999: false, websocket.CloseGoingAway: false,
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			s := newFake(t)
			_, l, stop := connected(t, s, nil)
			s.closeWith(code)
			if !stops {
				has[CaughtUp](t, l, "the next connection", 2)
				return
			}
			l.until(t, "the stop", func(events []Event) bool {
				last, ok := events[len(events)-1].(State)
				return ok && last.Phase == Stopped
			})
			if _, ok := errors.AsType[*StoppedError](stop()); !ok {
				t.Errorf("Run ended without a StoppedError")
			}
		})
	}
}

func TestARefusedSyncIsAskedForAgain(t *testing.T) {
	s := newFake(t)
	s.refuseSync = 3
	s.says("missed", true)
	_, l, _ := connected(t, s, nil) // the first sync that is answered
	l.shows(t, 2)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dials != 1 || len(s.syncs) != 4 {
		t.Errorf("%d connections, %d syncs, want the fourth sync of one connection", s.dials, len(s.syncs))
	}
}

func TestReconnectResumesWithoutGapOrRepeat(t *testing.T) {
	s := newFake(t)
	_, l, _ := connected(t, s, nil)
	for i := range 10 {
		s.says("live", false)
		l.shows(t, 2+2*i)
		s.abort()
		s.says("while away", true)
		has[CaughtUp](t, l, "the next sync", i+2)
	}
	l.shows(t, 21)
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.syncs[len(s.syncs)-1].Conversations[string(s.conv)]; got < 19 {
		t.Errorf("the last sync asked from seq %d, want what was shown", got)
	}
}

func TestALostLiveRecordIsFetched(t *testing.T) {
	s := newFake(t)
	_, l, _ := connected(t, s, func(c *Config) { c.Hold = 10 * time.Millisecond })
	s.says("one", false)
	s.says("two, lost on the way", true)
	s.says("three", false)
	l.shows(t, 4)
	has[Missed](t, l, "the missing record", 1)
}

func TestARepeatedRecordIsShownOnce(t *testing.T) {
	s := newFake(t)
	_, l, _ := connected(t, s, nil)
	r := s.says("once", false)
	s.mu.Lock()
	s.push(r, nil)
	s.mu.Unlock()
	has[Repeated](t, l, "the repeat", 1)
	s.says("next", false)
	l.shows(t, 3)
}

func TestResyncIsFollowed(t *testing.T) {
	s := newFake(t)
	_, l, _ := connected(t, s, nil)
	s.says("lost", true)
	s.broadcast(wire.TypeResync, struct{}{})
	l.shows(t, 2)
}

func TestWhatLiesBelowAGapComesFromHistory(t *testing.T) {
	s := newFake(t)
	for i := range 350 {
		s.says(fmt.Sprint(i), true)
	}
	refusals := 0
	s.refusal = func() *wire.Error {
		if refusals++; refusals == 2 {
			return &wire.Error{Code: chat.Unavailable, Message: "later", Retryable: true}
		}
		return nil
	}
	store := NewMemoryStore()
	_, l, _ := connected(t, s, func(c *Config) { c.Store = store })
	l.shows(t, 351)
	has[Filled](t, l, "the filled gap", 1)
	if positions, _ := store.Positions(t.Context()); positions[s.conv] != 351 {
		t.Errorf("stored position %d, want 351", positions[s.conv])
	}
}

// One was removed while the gap was filled, and has returned: nothing may be shown behind the hole, and the
// next sync tells the rest.
func TestWhatLiesBehindARefusedGapIsShownAfterTheNextSync(t *testing.T) {
	s := newFake(t)
	for i := range 350 {
		s.says(fmt.Sprint(i), true)
	}
	pages := 0
	s.refusal = func() *wire.Error {
		if pages++; pages == 2 {
			return &wire.Error{Code: chat.Forbidden, Message: "not a member"}
		}
		return nil
	}
	_, l, _ := connected(t, s, func(c *Config) { c.Hold = 50 * time.Millisecond })
	l.until(t, "the first page", func(events []Event) bool { return slices.Contains(seqs(events), 100) })
	s.says("while one was away", false)
	l.shows(t, 352)
	has[Filled](t, l, "the filled gap", 1)
}

func TestNothingIsShownBehindARefusedGapOnceGone(t *testing.T) {
	s := newFake(t)
	for i := range 350 {
		s.says(fmt.Sprint(i), true)
	}
	s.refusal = func() *wire.Error {
		s.gone = true
		return &wire.Error{Code: chat.Forbidden, Message: "not a member"}
	}
	store := NewMemoryStore()
	_, l, _ := connected(t, s, func(c *Config) { c.Store, c.Hold = store, 50*time.Millisecond })
	has[Gone](t, l, "the removal", 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if got := seqs(l.events); len(got) != 0 {
		t.Errorf("shown %v behind a gap that may not be seen", got)
	}
	if positions, _ := store.Positions(t.Context()); len(positions) != 0 {
		t.Errorf("positions %v", positions)
	}
}

func TestSkippedGapIsTold(t *testing.T) {
	s := newFake(t)
	for i := range 150 {
		s.says(fmt.Sprint(i), true)
	}
	_, l, _ := connected(t, s, func(c *Config) { c.SkipGaps, c.History = true, nil })
	has[Gap](t, l, "the gap", 1)
	l.until(t, "the head", func(events []Event) bool { return slices.Contains(seqs(events), 151) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if first := seqs(l.events)[0]; first != 52 {
		t.Errorf("shown from seq %d, want 52: the newest 100", first)
	}
}

func TestAStoredPositionIsResumedFrom(t *testing.T) {
	s := newFake(t)
	for i := range 9 {
		s.says(fmt.Sprint(i), true)
	}
	store := NewMemoryStore()
	_ = store.Put(t.Context(), s.conv, 7)
	_, l, _ := connected(t, s, func(c *Config) { c.Store = store })
	l.until(t, "the head", func(events []Event) bool { return slices.Contains(seqs(events), 10) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff([]chat.Seq{8, 9, 10}, seqs(l.events)); diff != "" {
		t.Errorf("shown:\n%s", diff)
	}
}

func TestGoAwayReconnectsWithoutLosingASend(t *testing.T) {
	s := newFake(t)
	c, l, _ := connected(t, s, nil)
	s.broadcast(wire.TypeGoAway, wire.GoAway{ReconnectAfterMS: 30})
	pending := mustSend(t, c, s, "during the drain")
	has[CaughtUp](t, l, "the next connection", 2)
	if _, err := pending.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.texts(); len(got) != 1 {
		t.Errorf("stored %v", got)
	}
	l.shows(t, 2)
}

func TestRemovalForgetsAndReturnBeginsAnew(t *testing.T) {
	s := newFake(t)
	store := NewMemoryStore()
	_, l, _ := connected(t, s, func(c *Config) { c.Store = store })
	s.mu.Lock()
	s.push(s.commit(chat.Record{Kind: chat.KindMember, SenderID: "uother", Action: chat.ActionRemoved, UserIDs: []chat.UserID{s.user}}), nil)
	s.mu.Unlock()
	has[Gone](t, l, "the removal", 1)
	if positions, _ := store.Positions(t.Context()); len(positions) != 0 {
		t.Errorf("positions %v after the removal", positions)
	}
	s.mu.Lock()
	s.commit(chat.Record{Kind: chat.KindMessage, SenderID: "uother", Type: "text", Text: "unseen"})
	s.push(s.commit(chat.Record{Kind: chat.KindMember, SenderID: "uother", Action: chat.ActionAdded, UserIDs: []chat.UserID{s.user}}), nil)
	s.mu.Unlock()
	s.says("welcome back", false)
	l.until(t, "the return", func(events []Event) bool { return slices.Contains(seqs(events), 5) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff([]chat.Seq{1, 2, 4, 5}, seqs(l.events)); diff != "" {
		t.Errorf("shown:\n%s", diff)
	}
}

func TestAConversationThatIsGoneIsForgotten(t *testing.T) {
	s := newFake(t)
	_, l, _ := connected(t, s, nil)
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	s.abort()
	has[Gone](t, l, "sync:gone", 1)
}

func TestOutboxIsBounded(t *testing.T) {
	s := newFake(t)
	s.onSend = func(*fakeLink, wire.Frame, wire.MessageSend) verdict { return verdict{mute: true} }
	c, _, _ := connected(t, s, func(c *Config) { c.Outbox = 3 })
	for range 3 {
		mustSend(t, c, s, "x")
	}
	if _, err := c.Send(s.conv, "one too many", 0); !errors.Is(err, ErrOutboxFull) {
		t.Errorf("the fourth of three ended with %v", err)
	}
	if got := len(c.Unsent()); got != 3 {
		t.Errorf("%d unsent, want 3", got)
	}
}

// What an application kept of Unsent goes out from its next run: in order, and once although one had arrived.
func TestUnsentMessagesGoOutFromANewClient(t *testing.T) {
	s := newFake(t)
	arrived := make(chan struct{})
	s.onSend = func(*fakeLink, wire.Frame, wire.MessageSend) verdict {
		close(arrived)
		s.onSend = nil
		return verdict{mute: true}
	}
	before, _, stop := connected(t, s, nil)
	var want []string
	for i := range 5 {
		want = append(want, fmt.Sprint("message ", i))
		mustSend(t, before, s, want[i])
	}
	<-arrived
	_ = stop()
	after, l, _ := connected(t, s, nil)
	for _, m := range before.Unsent() {
		if _, err := after.Do(m); err != nil {
			t.Fatal(err)
		}
	}
	want = append(want, "message 5")
	if _, err := mustSend(t, after, s, want[5]).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, s.texts()); diff != "" {
		t.Errorf("stored differs from sent:\n%s", diff)
	}
	l.shows(t, 7)
}

func TestClientIDsCarryTheServersTime(t *testing.T) {
	s := newFake(t)
	s.ahead = 48 * time.Hour
	c, _, _ := connected(t, s, nil)
	ahead := time.Until(time.UnixMilli(c.NewClientID().UnixMilli()))
	if ahead < 47*time.Hour || ahead > 49*time.Hour {
		t.Errorf("client ids lie %s ahead, the server's clock 48h", ahead)
	}
}

func TestCursorsAreCoalescedAndSentAgainAfterAReconnect(t *testing.T) {
	s := newFake(t)
	c, l, _ := connected(t, s, nil)
	for i := 1; i <= 50; i++ {
		c.Read(s.conv, chat.Seq(i))
	}
	s.until(t, "the cursor", func() bool { return len(s.cursors) > 0 && s.cursors[len(s.cursors)-1].Seq == 50 })
	s.mu.Lock()
	if len(s.cursors) > 3 {
		t.Errorf("%d frames for one cursor", len(s.cursors))
	}
	s.cursors = nil
	s.mu.Unlock()
	s.abort()
	has[CaughtUp](t, l, "the next connection", 2)
	s.until(t, "the cursor again", func() bool { return len(s.cursors) > 0 && s.cursors[0].Seq == 50 })
}

func TestReceiptsTellWhetherTheyMoveForward(t *testing.T) {
	s := newFake(t)
	_, l, _ := connected(t, s, nil)
	for _, seq := range []chat.Seq{3, 5, 4} {
		s.broadcast(wire.TypeMessageRead, wire.CursorDown{ConversationID: s.conv, UserID: "uother", Seq: seq, N: uint64(seq) - 1})
	}
	has[Receipt](t, l, "three receipts", 3)
	l.mu.Lock()
	defer l.mu.Unlock()
	var forward []bool
	for _, e := range l.events {
		if r, ok := e.(Receipt); ok {
			forward = append(forward, r.Forward)
		}
	}
	if diff := cmp.Diff([]bool{true, true, false}, forward); diff != "" {
		t.Errorf("forward:\n%s", diff)
	}
}

// until waits for a condition of the server that no event of the client tells.
func (s *fakeServer) until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		s.mu.Lock()
		done := ready()
		s.mu.Unlock()
		if done {
			return
		}
	}
	t.Fatalf("%s did not happen", what)
}
