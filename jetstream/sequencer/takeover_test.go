package sequencer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
)

// wire is the way from a sequencer to the broker; a test may interfere with it.
type wire struct {
	nc *nats.Conn
	mu sync.Mutex
	on func(count int, m *nats.Msg) (*nats.Msg, error) // nil message: lost. count: records so far
	n  int
}

func (w *wire) publish(m *nats.Msg) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on != nil && !isFence(m) {
		w.n++
		var err error
		if m, err = w.on(w.n, m); err != nil || m == nil {
			return err
		}
	}
	return w.nc.PublishMsg(m)
}

func isFence(m *nats.Msg) bool { return strings.HasSuffix(m.Subject, "."+jetstream.FenceToken) }

func (w *wire) set(on func(int, *nats.Msg) (*nats.Msg, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on, w.n = on, 0
}

// wired is a config whose messages pass through a wire.
func (w *world) wired() (Config, *wire) {
	c := w.config()
	tap := &wire{nc: c.NC}
	c.publish = tap.publish
	return c, tap
}

func unanswered(m *nats.Msg) *nats.Msg {
	copied := *m
	copied.Reply = ""
	return &copied
}

func TestAnUnknownOutcomeEndsOnceInTheLog(t *testing.T) {
	faults := map[string]func(int, *nats.Msg) (*nats.Msg, error){
		"no answer at all":       func(_ int, m *nats.Msg) (*nats.Msg, error) { return unanswered(m), nil },
		"last answer lost":       func(n int, m *nats.Msg) (*nats.Msg, error) { return pick(n == 20, unanswered(m), m), nil },
		"first answer lost":      func(n int, m *nats.Msg) (*nats.Msg, error) { return pick(n == 1, unanswered(m), m), nil },
		"one message lost":       func(n int, m *nats.Msg) (*nats.Msg, error) { return pick(n == 7, nil, m), nil },
		"first message lost":     func(n int, m *nats.Msg) (*nats.Msg, error) { return pick(n == 1, nil, m), nil },
		"last message lost":      func(n int, m *nats.Msg) (*nats.Msg, error) { return pick(n == 20, nil, m), nil },
		"everything lost":        func(int, *nats.Msg) (*nats.Msg, error) { return nil, nil },
		"publish fails":          func(n int, m *nats.Msg) (*nats.Msg, error) { return pick(n == 5, nil, m), failAt(n, 5) },
		"two answers swapped":    func(n int, m *nats.Msg) (*nats.Msg, error) { return swapped(n, m), nil },
		"one answer misdirected": func(n int, m *nats.Msg) (*nats.Msg, error) { return pick(n == 3, misdirected(m), m), nil },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c, tap := w.wired()
			id := groupID(1)
			s, release := w.held(c, func(s *running) { s.do(w.create(id, user(0), user(1))) })
			var replies []<-chan reply
			for i := range 20 {
				replies = append(replies, s.later(w.send(id, user(i%2), fmt.Sprint(i))))
			}
			w.queued(s, 21)
			// The fault strikes the first attempt alone.
			tap.set(func(n int, m *nats.Msg) (*nats.Msg, error) {
				if n > 20 {
					return m, nil
				}
				return fault(n, m)
			})
			release()
			seen := map[chat.Seq]bool{}
			for _, c := range replies {
				r := <-c
				if r.err != nil || seen[r.outcome.Seq] {
					t.Fatalf("reply %+v", r)
				}
				seen[r.outcome.Seq] = true
			}
			records := w.check()
			if len(records) != 22 {
				t.Fatalf("%d records, want 22", len(records))
			}
			fences := 0
			for _, e := range w.log() {
				if e.Kind == chat.KindFence {
					fences++
				}
			}
			if fences == 0 || fences%fenceLength != 0 {
				t.Fatalf("%d fences", fences)
			}
			s.do(w.send(id, user(0), "and on"))
			places := s.ask(id).Tail
			for i, e := range w.entries(id) {
				if places[i].StreamSeq != e.StreamSeq || places[i].Seq != e.Seq {
					t.Fatalf("tail has %+v, the log %d at %d", places[i], e.Seq, e.StreamSeq)
				}
			}
		})
	}
}

func (w *world) entries(id chat.ConversationID) []chat.Entry {
	var all []chat.Entry
	for _, e := range w.check() {
		if e.ConversationID == id {
			all = append(all, e)
		}
	}
	return all
}

func pick(yes bool, a, b *nats.Msg) *nats.Msg {
	if yes {
		return a
	}
	return b
}

func failAt(n, at int) error {
	if n == at {
		return errors.New("connection reset")
	}
	return nil
}

// misdirected makes a message's answer come under the number of another one.
func misdirected(m *nats.Msg) *nats.Msg { return readdressed(m, 0) }

func readdressed(m *nats.Msg, number int) *nats.Msg {
	copied := *m
	copied.Reply = m.Reply[:strings.LastIndexByte(m.Reply, '.')+1] + strconv.Itoa(number)
	return &copied
}

// swapped exchanges the answers to the fourth and the fifth message.
func swapped(n int, m *nats.Msg) *nats.Msg {
	switch n {
	case 4:
		return readdressed(m, 4)
	case 5:
		return readdressed(m, 3)
	default:
		return m
	}
}

func TestOutcomesUnknownAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	c, tap := w.wired()
	id := groupID(1)
	s := w.start(c)
	s.do(w.create(id, user(0)))
	dice := rand.New(rand.NewPCG(1, 2))
	tap.set(func(_ int, m *nats.Msg) (*nats.Msg, error) { return pick(dice.IntN(8) == 0, nil, m), nil })
	var replies []<-chan reply
	for i := range 40 {
		replies = append(replies, s.later(w.send(id, user(0), fmt.Sprint(i))))
	}
	for _, c := range replies {
		if r := <-c; r.err != nil {
			t.Fatal(r.err)
		}
	}
	if n := len(w.check()); n != 41 {
		t.Fatalf("%d records", n)
	}
}

// The hole of pipelined expectations: the former owner's records m+1 and on arrive after the new owner
// wrote m. Neither owner knows of the other but by the log.
func TestAPausedOwnerIsFencedOut(t *testing.T) {
	for _, delivered := range []int{0, 7} {
		for _, written := range []int{0, 4, 12} {
			for _, knows := range []bool{true, false} {
				name := fmt.Sprintf("%d delivered, %d written since, lease lost %v", delivered, written, knows)
				t.Run(name, func(t *testing.T) { fencedOut(t, delivered, written, knows) })
			}
		}
	}
}

func fencedOut(t *testing.T, delivered, written int, knows bool) {
	w := newWorld(t)
	c, tap := w.wired()
	c.Exclusive = false
	c.bounds.silence = time.Minute // it learns of the takeover by what it is refused, however slow this machine
	lease := &grant{terms: &w.term}
	c.Lease = lease
	id := groupID(1)
	old, release := w.held(c, func(s *running) { s.do(w.create(id, user(0))) })
	var replies []<-chan reply
	for i := range 20 {
		replies = append(replies, old.later(w.send(id, user(0), fmt.Sprint("old ", i))))
	}
	w.queued(old, 21)
	var pausedAt []*nats.Msg
	paused := make(chan struct{})
	tap.set(func(n int, m *nats.Msg) (*nats.Msg, error) {
		if n > 20 {
			return m, nil
		}
		if n > delivered {
			pausedAt = append(pausedAt, m)
			m = nil
		}
		if n == 20 {
			close(paused)
		}
		return m, nil
	})
	release()
	<-paused
	lease.held.Store(knows)
	d := w.config()
	d.Exclusive = false
	owner := w.start(d)
	newAcked := map[string]bool{}
	for i := range written {
		text := fmt.Sprint("new ", i)
		owner.do(w.send(id, user(0), text))
		newAcked[text] = true
	}
	before := len(w.log())
	for _, m := range pausedAt {
		if err := tap.nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := tap.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := old.wait(); !errors.Is(err, ErrOvertaken) {
		t.Fatalf("the old owner ended with %v", err)
	}
	for _, c := range replies {
		if r := <-c; chat.KindOf(r.err) != chat.UnknownOutcome {
			t.Fatalf("a sender of the old owner hears %+v", r)
		}
	}
	records := w.check()
	found := 0
	for i, e := range w.log() {
		if i >= before && strings.HasPrefix(e.Text, "old") {
			t.Fatalf("%q was accepted after the takeover", e.Text)
		}
		if newAcked[e.Text] {
			found++
		}
	}
	if found != written || len(records) != 2+delivered+written {
		t.Fatalf("%d of %d new records, %d in all", found, written, len(records))
	}
	if !knows {
		return // the old owner's last fence has ended the new one's term too
	}
	owner.do(w.send(id, user(0), "the owner goes on"))
}

func TestALostLeaseIsTakenAgainOrEndsTheOwner(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	lease := &grant{terms: &w.term}
	c.Lease = lease
	s := w.start(c)
	id := groupID(1)
	s.do(w.create(id, user(0)))
	lease.lose()
	if err := s.WaitDurable(w.ctx, 1+fenceLength); err != nil {
		t.Fatal(err)
	}
	s.do(w.send(id, user(0), "still the owner"))
	if n := len(w.log()); n != 2+fenceLength {
		t.Fatalf("%d in the log, want one fence", n)
	}
	lease.held.Store(true)
	lease.lose()
	if err := s.wait(); !errors.Is(err, ErrOvertaken) {
		t.Fatalf("Run returned %v", err)
	}
	s.refused(w.send(id, user(0), "no more"), chat.Unavailable)
}

func TestALowerTermThanTheLogsIsNoOwner(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.Exclusive = false
	w.term.Store(40)
	w.start(c).stop()
	w.term.Store(3)
	for _, exclusive := range []bool{true, false} {
		c := w.config()
		c.Exclusive = exclusive
		if err := w.launch(c).wait(); !errors.Is(err, ErrOvertaken) {
			t.Fatalf("exclusive %v: Run returned %v", exclusive, err)
		}
	}
}

func TestAForeignRecordEndsTheOwner(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	id := groupID(1)
	s.do(w.create(id, user(0)))
	e := chat.Entry{Record: chat.Record{ConversationID: id, Seq: 2, N: 1, ID: 1, Kind: chat.KindMessage, SenderID: user(0), Type: "text", Text: "forged"}}
	e.Raw = e.AppendJSON(nil)
	if _, err := w.nc.RequestMsg(jetstream.EncodeEntry(w.token, &e), patience); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Submit(context.Background(), w.send(id, user(0), "mine")); chat.KindOf(err) != chat.UnknownOutcome {
		t.Fatal(err)
	}
	if err := s.wait(); !errors.Is(err, ErrOvertaken) {
		t.Fatalf("Run returned %v", err)
	}
}
