package sequencer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

func TestEverythingAcknowledgedStandsInTheLogInOrder(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	const conversations, senders, each = 20, 24, 60
	var all []chat.UserID
	for i := 1; i < senders; i++ {
		all = append(all, user(i))
	}
	for c := range conversations {
		s.do(w.create(groupID(c), user(0), all...))
	}
	type sent struct {
		conv    chat.ConversationID
		text    string
		outcome conversation.Outcome
	}
	results := make([][]sent, senders)
	var working sync.WaitGroup
	for i := range senders {
		working.Go(func() {
			for k := range each {
				id := groupID((i + k) % conversations)
				c := w.send(id, user(i), fmt.Sprintf("%d of %d", k, i))
				o, err := s.Submit(context.Background(), c)
				if err != nil {
					t.Errorf("send: %v", err)
					return
				}
				results[i] = append(results[i], sent{id, c.Text, o})
			}
		})
	}
	working.Wait()
	type place struct {
		conv chat.ConversationID
		seq  chat.Seq
	}
	stands := map[place]chat.Entry{}
	records := w.check()
	for _, e := range records {
		stands[place{e.ConversationID, e.Seq}] = e
	}
	for i, mine := range results {
		last := map[chat.ConversationID]chat.Seq{}
		for _, m := range mine {
			e := stands[place{m.conv, m.outcome.Seq}]
			if e.SenderID != user(i) || e.Text != m.text || outcomeOf(&e) != m.outcome {
				t.Fatalf("acknowledged %+v, the log has %+v", m, e.Record)
			}
			if m.outcome.Seq <= last[m.conv] {
				t.Fatalf("sender %d: seq %d after %d", i, m.outcome.Seq, last[m.conv])
			}
			last[m.conv] = m.outcome.Seq
		}
	}
	if want := conversations + senders*each; len(records) != want {
		t.Fatalf("%d records, want %d", len(records), want)
	}
	if mark := s.Durable(); mark.StreamSeq != uint64(len(records)) || mark.ID != records[len(records)-1].ID || mark.Generation != 1 {
		t.Fatalf("watermark %+v after %d records", mark, len(records))
	}
}

func TestARepeatGivesTheFirstOutcome(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.bounds.cached, c.bounds.recent = 3, 4
	s := w.start(c)
	id := groupID(1)
	s.do(w.create(id, user(0), user(1)))
	first := w.send(id, user(0), "first")
	want := s.do(first)
	other := first
	other.Text = "another body"
	other = hashed(other)
	same := func(where string, s *running) {
		t.Helper()
		if got := s.do(first); got != want {
			t.Fatalf("%s: repeat gives %+v, first %+v", where, got, want)
		}
		s.refused(other, chat.Conflict)
	}
	same("held in memory", s)
	for i := range 10 {
		s.do(w.send(id, user(0), fmt.Sprint(i)))
	}
	same("out of the window, in the tail", s)
	w.persist(s, 9, 4)
	for i := range 10 {
		s.do(w.create(groupID(100+i), user(0)))
	}
	same("let go of and loaded again", s)
	s.do(w.delete(id, user(0), want.Seq))
	same("deleted since", s)
	if err := s.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	s = w.start(w.config())
	same("after a restart, in the tail", s)
	end := s.Durable().StreamSeq
	w.persist(s, end, end)
	s.stop()
	s = w.start(w.config())
	same("after a restart, in the store", s)
	w.check()
}

func TestACreateRepeatedAtOnceIsOneConversation(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	id := chat.DirectID(key, user(1), user(2))
	outcomes := make([]conversation.Outcome, 20)
	var working sync.WaitGroup
	for i := range outcomes {
		working.Go(func() {
			a, b := user(1), user(2)
			if i%2 == 1 {
				a, b = b, a
			}
			outcomes[i] = s.do(hashed(conversation.Command{Op: conversation.OpCreate, ConversationID: id, Actor: a, Members: []chat.UserID{b}}))
		})
	}
	working.Wait()
	for _, o := range outcomes {
		if o.Seq != 1 || o.ID != outcomes[0].ID {
			t.Fatalf("outcomes %+v", outcomes)
		}
	}
	if n := len(w.check()); n != 1 {
		t.Fatalf("%d records", n)
	}
}

// held starts a sequencer with a gate, and holds a group in flight; release lets everything pass.
func (w *world) held(c Config, prepare func(*running)) (s *running, release func()) {
	w.t.Helper()
	g := newGate()
	c.Barrier = g
	s = w.launch(c)
	g.open <- nil // of the start
	if err := s.WaitDurable(w.ctx, 0); err != nil {
		w.t.Fatal(err)
	}
	stopPassing := make(chan struct{})
	passing := make(chan struct{})
	go func() {
		defer close(passing)
		for {
			select {
			case g.open <- nil:
			case <-stopPassing:
				return
			}
		}
	}()
	prepare(s)
	close(stopPassing)
	<-passing
	for len(g.begun) > 0 {
		<-g.begun
	}
	s.later(w.create(groupID(9999), user(0)))
	<-g.begun
	return s, sync.OnceFunc(func() { close(g.open) })
}

// later submits in the background; the reply comes on the channel.
func (r *running) later(c conversation.Command) <-chan reply {
	out := make(chan reply, 1)
	go func() {
		o, err := r.Submit(context.Background(), c)
		out <- reply{o, err}
	}()
	return out
}

// queued waits until count commands wait in a conversation.
func (w *world) queued(s *running, count int64) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%d waiting commands", count), func() bool {
		return s.waiting.Load() == count && len(s.intake) == 0
	})
}

func TestMembershipIsDecidedAtTheHead(t *testing.T) {
	w := newWorld(t)
	id := groupID(1)
	var removed, after, rename, again <-chan reply
	s, release := w.held(w.config(), func(s *running) { s.do(w.create(id, user(0), user(1))) })
	before := s.later(w.send(id, user(1), "before"))
	w.queued(s, 2)
	removed = s.later(w.remove(id, user(0), user(1)))
	w.queued(s, 3)
	after = s.later(w.send(id, user(1), "after"))
	w.queued(s, 4)
	// Judged by what is not committed yet: answered with it.
	again = s.later(w.remove(id, user(0), user(1)))
	w.queued(s, 5)
	name := "group"
	rename = s.later(hashed(conversation.Command{Op: conversation.OpSettings, ConversationID: id, Actor: user(0), Name: &name}))
	w.queued(s, 6)
	release()
	if r := <-before; r.err != nil || r.outcome.Seq != 2 {
		t.Fatalf("before: %+v", r)
	}
	if r := <-removed; r.err != nil || r.outcome.Seq != 3 {
		t.Fatalf("removed: %+v", r)
	}
	if r := <-after; chat.KindOf(r.err) != chat.NotFound {
		t.Fatalf("after the removal: %+v", r)
	}
	for _, c := range []<-chan reply{again, rename} {
		if r := <-c; r.err != nil || r.outcome.Seq != 3 {
			t.Fatalf("a command that changes nothing: %+v", r)
		}
	}
	if a := s.ask(id); a.State.Head.Seq != 3 || a.State.IsMember(user(1)) {
		t.Fatalf("state %+v", a.State)
	}
	w.check()
}

func TestNoAnswerRestsOnWhatIsNotDurable(t *testing.T) {
	w := newWorld(t)
	id := groupID(1)
	g := newGate()
	c := w.config()
	c.Barrier = g
	s := w.launch(c)
	pass := func() {
		<-g.begun
		g.open <- nil
	}
	pass() // the start
	created := s.later(w.create(id, user(0), user(1)))
	<-g.begun
	removed := s.later(w.remove(id, user(0), user(1)))
	w.queued(s, 2)
	after := s.later(w.send(id, user(1), "after"))
	w.queued(s, 3)
	g.open <- nil
	if r := <-created; r.err != nil {
		t.Fatal(r.err)
	}
	<-g.begun // the removal stands in the log; it is not durable
	if n := s.waiting.Load(); n != 2 {
		t.Fatalf("%d commands wait, want the removal and the one it refuses", n)
	}
	close(g.open)
	if r := <-removed; r.err != nil {
		t.Fatal(r.err)
	}
	if r := <-after; chat.KindOf(r.err) != chat.NotFound {
		t.Fatalf("after the removal: %+v", r)
	}
}

func TestARepeatWithinAGroup(t *testing.T) {
	w := newWorld(t)
	id := groupID(1)
	s, release := w.held(w.config(), func(s *running) { s.do(w.create(id, user(0), user(1))); s.do(w.send(id, user(0), "x")) })
	c := w.send(id, user(0), "once")
	first := s.later(c)
	w.queued(s, 2)
	second := s.later(c)
	w.queued(s, 3)
	deleted := s.later(w.delete(id, user(0), 2))
	w.queued(s, 4)
	edited := s.later(w.edit(id, user(0), 2, "y"))
	w.queued(s, 5)
	fresh := s.later(w.edit(id, user(0), 3, "edited in the group that makes it"))
	w.queued(s, 6)
	release()
	a, b := <-first, <-second
	if a.err != nil || a != b {
		t.Fatalf("first %+v, second %+v", a, b)
	}
	if r := <-deleted; r.err != nil || r.outcome.Seq != 4 {
		t.Fatalf("delete %+v", r)
	}
	if r := <-edited; chat.KindOf(r.err) != chat.Conflict {
		t.Fatalf("edit of what is being deleted: %+v", r)
	}
	if r := <-fresh; r.err != nil || r.outcome.Seq != 5 {
		t.Fatalf("edit of a message of the same group: %+v", r)
	}
	w.check()
}

func TestAFloodDoesNotStarveOthers(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.bounds.groupRecords = 10
	flood, calm := groupID(1), groupID(2)
	s, release := w.held(c, func(s *running) { s.do(w.create(flood, user(0))); s.do(w.create(calm, user(0))) })
	for i := range 200 {
		s.later(w.send(flood, user(0), fmt.Sprint(i)))
	}
	w.queued(s, 201)
	answered := s.later(w.send(calm, user(0), "me too"))
	w.queued(s, 202)
	release()
	if r := <-answered; r.err != nil {
		t.Fatal(r.err)
	}
	w.queued(s, 0)
	before := 0
	for _, e := range w.check() {
		if e.Text == "me too" {
			break
		}
		if e.ConversationID == flood && e.Kind == chat.KindMessage {
			before++
		}
	}
	if before > 1 {
		t.Fatalf("the calm conversation waited for %d records of the flood", before)
	}
}

func TestAQueueIsBounded(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.bounds.queue = 5
	id := groupID(1)
	s, release := w.held(c, func(s *running) { s.do(w.create(id, user(0))) })
	for i := range 5 {
		s.later(w.send(id, user(0), fmt.Sprint(i)))
	}
	w.queued(s, 6)
	s.refused(w.send(id, user(0), "too many"), chat.Unavailable)
	release()
	w.queued(s, 0)
	s.do(w.send(id, user(0), "room again"))
}

func TestALargeRecordGoesAlone(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.bounds.groupBytes = 4000
	id := groupID(1)
	s, release := w.held(c, func(s *running) { s.do(w.create(id, user(0))) })
	large := make([]byte, 8000)
	for i := range large {
		large[i] = 'a'
	}
	var replies []<-chan reply
	for i := range 6 {
		text := fmt.Sprint(i)
		if i%2 == 1 {
			text = string(large)
		}
		replies = append(replies, s.later(w.send(id, user(0), text)))
		w.queued(s, int64(i+2))
	}
	release()
	for i, c := range replies {
		if r := <-c; r.err != nil || r.outcome.Seq != chat.Seq(i+2) {
			t.Fatalf("%d: %+v", i, r)
		}
	}
	w.check()
}

func TestTheWatermarkIsNeverAheadOfTheBarrier(t *testing.T) {
	w := newWorld(t)
	id := groupID(1)
	s, release := w.held(w.config(), func(s *running) { s.do(w.create(id, user(0))) })
	// One group stands in the log and its barrier has not ended.
	if mark := s.Durable(); mark.StreamSeq != 1 {
		t.Fatalf("watermark %+v", mark)
	}
	if n := len(w.log()); n != 2 {
		t.Fatalf("%d records in the log, want the one in flight too", n)
	}
	if a := s.ask(groupID(9999)); a.State.Exists() {
		t.Fatal("Ask tells what is not durable")
	}
	waited := make(chan error, 1)
	go func() { waited <- s.WaitDurable(w.ctx, 2) }()
	select {
	case <-waited:
		t.Fatal("WaitDurable did not wait")
	default:
	}
	release()
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if a := s.ask(groupID(9999)); !a.State.Exists() {
		t.Fatal("the watermark moved before the state")
	}
}

func TestAFailedBarrierIsFinal(t *testing.T) {
	w := newWorld(t)
	g := newGate()
	c := w.config()
	c.Barrier = g
	s := w.launch(c)
	g.open <- nil
	sent := s.later(w.create(groupID(1), user(0)))
	<-g.begun
	g.open <- errors.New("input/output error")
	if r := <-sent; chat.KindOf(r.err) != chat.UnknownOutcome {
		t.Fatalf("sender hears %+v", r)
	}
	if err := s.wait(); !errors.Is(err, ErrBarrier) {
		t.Fatalf("Run returned %v", err)
	}
	if mark := s.Durable(); mark.StreamSeq != 0 {
		t.Fatalf("watermark %+v", mark)
	}
	s.refused(w.create(groupID(2), user(0)), chat.Unavailable)
}

func TestWhoGivesUpKnowsWhatHappened(t *testing.T) {
	w := newWorld(t)
	id := groupID(1)
	g := newGate()
	c := w.config()
	c.Barrier = g
	s := w.launch(c)
	g.open <- nil
	<-g.begun
	short, cancel := context.WithCancel(w.ctx)
	inFlight, waiting := make(chan error, 1), make(chan error, 1)
	go func() { _, err := s.Submit(short, w.create(id, user(0))); inFlight <- err }()
	<-g.begun
	go func() { _, err := s.Submit(short, w.send(id, user(0), "never sent")); waiting <- err }()
	w.queued(s, 2)
	cancel()
	if err := <-inFlight; chat.KindOf(err) != chat.UnknownOutcome {
		t.Fatalf("in flight: %v", err)
	}
	if err := <-waiting; chat.KindOf(err) != chat.Unavailable {
		t.Fatalf("waiting: %v", err)
	}
	close(g.open)
	s.do(w.send(id, user(0), "next"))
	if records := w.check(); len(records) != 2 || records[1].Text != "next" {
		t.Fatalf("a withdrawn command was committed: %d records", len(records))
	}
	w.queued(s, 0)
}

func TestStoppingFinishesTheGroupInFlight(t *testing.T) {
	w := newWorld(t)
	id := groupID(1)
	g := newGate()
	c := w.config()
	c.Barrier = g
	s := w.launch(c)
	g.open <- nil
	<-g.begun
	inFlight := s.later(w.create(id, user(0)))
	<-g.begun
	waiting := s.later(w.send(id, user(0), "waits"))
	w.queued(s, 2)
	s.cancel()
	close(g.open)
	if r := <-inFlight; r.err != nil {
		t.Fatalf("in flight: %v", r.err)
	}
	if r := <-waiting; chat.KindOf(r.err) != chat.Unavailable {
		t.Fatalf("waiting: %+v", r)
	}
	if err := s.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if n := len(w.check()); n != 1 {
		t.Fatalf("%d records", n)
	}
}

func TestIDsRiseWhateverTheClockDoes(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	var mu sync.Mutex
	now := time.Now()
	c.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	step := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	s := w.start(c)
	id := groupID(1)
	s.do(w.create(id, user(0)))
	last := conversation.Outcome{}
	for i, d := range []time.Duration{0, time.Hour, -2 * time.Hour, 0, time.Hour, time.Hour, time.Hour} {
		step(d)
		for range 300 { // more than a millisecond's counter
			o := s.do(w.send(id, user(0), fmt.Sprint(i)))
			if o.ID <= last.ID || o.Seq <= last.Seq {
				t.Fatalf("%+v after %+v", o, last)
			}
			last = o
		}
	}
	step(-3 * time.Hour)
	s.stop()
	s = w.start(c)
	if o := s.do(w.send(id, user(0), "restarted an hour back")); o.ID <= last.ID {
		t.Fatalf("%+v after %+v", o, last)
	}
	ahead := w.send(id, user(0), "from the future")
	ahead.ClientID = chat.NewClientID(time.Now().Add(26 * time.Hour))
	s.refused(ahead, chat.InvalidClientID)
	w.check()
}

func TestAnswersShowTheTail(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	id, other := groupID(1), groupID(2)
	s.do(w.create(id, user(0), user(1)))
	s.do(w.create(other, user(0)))
	s.do(w.send(id, user(0), "one"))
	s.do(w.send(other, user(0), "elsewhere"))
	s.do(w.send(id, user(1), "two"))
	s.do(w.send(id, user(0), "three"))
	want := conversation.Answer{
		State: s.ask(id).State, Generation: 1,
		Tail:  []chat.Place{{Seq: 1, StreamSeq: 1}, {Seq: 2, StreamSeq: 3}, {Seq: 3, StreamSeq: 5}, {Seq: 4, StreamSeq: 6}},
		Sends: map[chat.UserID]chat.Cursor{user(0): {Seq: 4, N: 3}, user(1): {Seq: 3, N: 2}},
	}
	if diff := cmp.Diff(want, s.ask(id)); diff != "" {
		t.Fatal(diff)
	}
	old := s.ask(id)
	w.persist(s, 5, 3)
	want.Tail, want.Sends = want.Tail[3:], map[chat.UserID]chat.Cursor{user(0): {Seq: 4, N: 3}}
	if diff := cmp.Diff(want, s.ask(id)); diff != "" {
		t.Fatal(diff)
	}
	s.do(w.send(id, user(1), "four"))
	if len(old.Tail) != 4 || old.Sends[user(1)].Seq != 3 || old.State.Head.Seq != 4 {
		t.Fatalf("an answer changed after it was given: %+v", old)
	}
	if a := s.ask(groupID(3)); a.State.Exists() {
		t.Fatalf("a conversation that does not exist: %+v", a)
	}
}
