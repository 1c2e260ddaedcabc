package sequencer

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

func TestARestartGoesOnFromTheSealedPosition(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		for _, at := range [][2]uint64{{0, 0}, {7, 3}, {12, 12}, {3, 0}} {
			t.Run(fmt.Sprintf("exclusive %v, stored %d, sealed %d", exclusive, at[0], at[1]), func(t *testing.T) {
				w := newWorld(t)
				c := w.config()
				c.Exclusive = exclusive
				s := w.start(c)
				id := groupID(1)
				s.do(w.create(id, user(0), user(1), user(2)))
				for i := range 5 {
					s.do(w.send(id, user(i%2), fmt.Sprint(i)))
				}
				s.do(w.remove(id, user(0), user(1)))
				s.do(w.edit(id, user(0), 2, "edited"))
				s.do(w.delete(id, user(0), 2))
				s.do(hashed(conversation.Command{Op: conversation.OpAdd, ConversationID: id, Actor: user(0), Members: []chat.UserID{user(3)}}))
				s.do(w.create(groupID(2), user(0)))
				s.do(w.send(id, user(0), "last"))
				base := s.Durable().StreamSeq - 12
				before := s.ask(id)
				w.persist(nil, base+at[0], base+at[1])
				s.stop()
				s = w.start(c)
				after := s.ask(id)
				if fmt.Sprint(before.State) != fmt.Sprint(after.State) {
					t.Fatalf("state %+v\nwas   %+v", after.State, before.State)
				}
				s.refused(w.send(id, user(1), "removed"), chat.NotFound)
				s.refused(w.edit(id, user(0), 2, "deleted"), chat.Conflict)
				if o := s.do(w.send(id, user(3), "goes on")); o.Seq != before.State.Head.Seq+1 || o.N != before.State.Head.N+1 {
					t.Fatalf("outcome %+v after %+v", o, before.State.Head)
				}
				for _, p := range s.ask(id).Tail {
					if p.StreamSeq <= base+at[0] {
						t.Fatalf("tail holds %+v, the store has %d", p, base+at[0])
					}
				}
				w.check()
			})
		}
	}
}

func TestIDsRiseOverARestartThatSeesFencesOnly(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.Exclusive = false
	now := time.Now()
	c.Now = func() time.Time { return now }
	s := w.start(c)
	first := s.do(w.create(groupID(1), user(0)))
	s.stop()
	for range 3 {
		w.start(c).stop() // a fence each
	}
	end := uint64(len(w.log()))
	w.persist(nil, end, end)
	now = now.Add(-time.Hour)
	s = w.start(c)
	if o := s.do(w.create(groupID(2), user(0))); o.ID <= first.ID {
		t.Fatalf("%+v after %+v", o, first)
	}
	w.check()
}

func TestAStartRefusesALogThatDoesNotFit(t *testing.T) {
	spoil := map[string]func(w *world){
		"the store is ahead": func(w *world) {
			w.store.applied = chat.Mark{Generation: 1, StreamSeq: 100}
		},
		"the store is of a later generation": func(w *world) {
			w.store.applied = chat.Mark{Generation: 2, StreamSeq: 1}
		},
		"the log was trimmed above the sealed position": func(w *world) {
			_, err := w.nc.Request("$JS.API.STREAM.PURGE."+jetstream.LogStream(w.token), []byte(`{"seq":3}`), patience)
			if err != nil {
				w.t.Fatal(err)
			}
		},
	}
	for name, do := range spoil {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.start(w.config())
			for i := range 4 {
				s.do(w.create(groupID(i), user(0)))
			}
			w.persist(nil, 1, 1)
			s.stop()
			do(w)
			if err := w.launch(w.config()).wait(); !errors.Is(err, ErrLog) {
				t.Fatalf("Run returned %v", err)
			}
		})
	}
}

func TestATrimmedLogStarts(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	var last conversation.Outcome
	for i := range 4 {
		last = s.do(w.create(groupID(i), user(0)))
	}
	w.persist(nil, 4, 4)
	s.stop()
	if _, err := w.nc.Request("$JS.API.STREAM.PURGE."+jetstream.LogStream(w.token), nil, patience); err != nil {
		t.Fatal(err)
	}
	c := w.config()
	c.Now = func() time.Time { return time.Now().Add(-time.Hour) }
	s = w.start(c)
	// Nothing but the store's position tells which ids are in use.
	if o := s.do(w.create(groupID(9), user(0))); o.ID <= last.ID {
		t.Fatalf("%+v after %+v", o, last)
	}
	if o := s.do(w.send(groupID(1), user(0), "on")); o.Seq != 2 {
		t.Fatalf("%+v", o)
	}
}

func TestAStoreOutageRefusesOnlyWhatNeedsTheStore(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	for i := range 3 {
		s.do(w.create(groupID(i), user(0)))
		s.do(w.send(groupID(i), user(0), "x"))
	}
	old := w.send(groupID(1), user(0), "old")
	first := s.do(old)
	w.persist(nil, 7, 7)
	s.stop()
	s = w.start(w.config())
	s.do(w.send(groupID(0), user(0), "loads"))
	s.do(w.send(groupID(1), user(0), "loads"))
	w.store.fail("load", true)
	w.store.fail("prior", true)
	w.store.fail("target", true)
	began := time.Now()
	s.refused(w.send(groupID(2), user(0), "not loaded"), chat.Unavailable)
	if took := time.Since(began); took > storeWithin {
		t.Fatalf("the refusal took %s", took)
	}
	s.refused(old, chat.Unavailable) // never taken as new
	s.refused(w.edit(groupID(1), user(0), 3, "a target in the store"), chat.Unavailable)
	s.do(w.send(groupID(0), user(0), "in memory"))
	s.do(w.send(groupID(1), user(0), "in memory"))
	w.queued(s, 0)
	if _, err := s.Ask(w.ctx, groupID(2)); chat.KindOf(err) != chat.Unavailable {
		t.Fatal(err)
	}
	for _, what := range []string{"load", "prior", "target"} {
		w.store.fail(what, false)
	}
	if o := s.do(old); o != first {
		t.Fatalf("repeat gives %+v, first %+v", o, first)
	}
	s.do(w.send(groupID(2), user(0), "again"))
	s.do(w.edit(groupID(1), user(0), 3, "again"))
	w.check()
}

func TestAStartWaitsForTheStore(t *testing.T) {
	w := newWorld(t)
	w.store.fail("position", true)
	s := w.launch(w.config())
	created := s.later(w.create(groupID(1), user(0)))
	w.eventually("the store to be asked twice", func() bool { return w.store.count("position") > 1 })
	if err := s.Ready(w.ctx); chat.KindOf(err) != chat.Unavailable {
		t.Fatalf("ready: %v", err)
	}
	w.store.fail("position", false)
	if r := <-created; r.err != nil {
		t.Fatal(r.err)
	}
	if err := s.Ready(w.ctx); err != nil {
		t.Fatal(err)
	}
}

func TestMostClientIDsNeedNoLookUp(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	id := groupID(1)
	s.do(w.create(id, user(0)))
	for i := range 200 {
		s.do(w.send(id, user(0), fmt.Sprint(i)))
	}
	if n := w.store.count("prior"); n != 0 {
		t.Fatalf("%d look-ups of rising client ids", n)
	}
}

func TestAFullLogRefusesNewContentOnly(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.LogMaxBytes = 20_000
	s := w.start(c)
	id := groupID(1)
	s.do(w.create(id, user(0), user(1)))
	s.do(hashed(conversation.Command{Op: conversation.OpCreate, ConversationID: chat.SelfID(key, user(0)), Actor: user(0)}))
	sent := 0
	var err error
	for ; err == nil && sent < 200; sent++ {
		_, err = s.Submit(w.ctx, w.send(id, user(0), fmt.Sprintf("%0100d", sent)))
	}
	if chat.KindOf(err) != chat.Unavailable || sent < 20 {
		t.Fatalf("after %d sends: %v", sent, err)
	}
	size, err := w.reader.Size(w.ctx, w.token)
	if err != nil {
		t.Fatal(err)
	}
	if size < 17_000 || size > 20_000 {
		t.Fatalf("the log has %d bytes", size)
	}
	s.refused(w.edit(id, user(0), 2, "edit"), chat.Unavailable)
	s.refused(w.create(groupID(2), user(0)), chat.Unavailable)
	s.refused(prefer(id, nil, nil, new(true)), chat.Unavailable)
	s.do(w.delete(id, user(0), 2))
	s.do(w.remove(id, user(0), user(1)))
	// Trimmed, it takes sends again once the broker was asked.
	if _, err := w.nc.Request("$JS.API.STREAM.PURGE."+jetstream.LogStream(w.token), nil, patience); err != nil {
		t.Fatal(err)
	}
	w.eventually("room in the log", func() bool {
		_, err := s.Submit(w.ctx, w.send(id, user(0), "room"))
		return err == nil
	})
}

func TestAStoreFarBehindRefusesNewContent(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.bounds.tailPlaces = 10
	s := w.start(c)
	id := groupID(1)
	s.do(w.create(id, user(0)))
	for i := range 9 {
		s.do(w.send(id, user(0), fmt.Sprint(i)))
	}
	s.refused(w.send(id, user(0), "too far"), chat.Unavailable)
	s.do(w.delete(id, user(0), 2))
	w.persist(s, 11, 11)
	w.eventually("the tail to be pruned", func() bool {
		_, err := s.Submit(w.ctx, w.send(id, user(0), "room"))
		return err == nil
	})
}

func TestTheStoreIsAskedWhenNobodyTells(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	s.do(w.create(groupID(1), user(0)))
	w.store.write(w.log(), 1, 1)
	w.eventually("the answer's tail to be empty", func() bool { return len(s.ask(groupID(1)).Tail) == 0 })
}

func TestRatesRefuseWithAHint(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.Rates = Rates{SenderPerSecond: 10, SenderBurst: 5}
	now := time.Now()
	c.Now = func() time.Time { return now }
	s := w.start(c)
	id := groupID(1)
	s.do(w.create(id, user(0), user(1)))
	for i := range 4 {
		s.do(w.send(id, user(0), fmt.Sprint(i)))
	}
	_, err := s.Submit(w.ctx, w.send(id, user(0), "too fast"))
	if e := chat.Public(err); e.Kind != chat.RateLimited || e.RetryAfter != 100*time.Millisecond {
		t.Fatalf("%v, retry after %s", err, e.RetryAfter)
	}
	s.do(w.send(id, user(1), "another sender"))
	now = now.Add(100 * time.Millisecond)
	s.do(w.send(id, user(0), "in time"))
}

func TestTheRemoteFace(t *testing.T) {
	w := newWorld(t)
	r := NewRemote(w.connect("edge"), 0)
	id := groupID(1)
	if _, err := r.Submit(w.ctx, w.create(id, user(0))); chat.KindOf(err) != chat.Unavailable {
		t.Fatalf("without an owner: %v", err)
	}
	s := w.start(w.config())
	if _, err := r.Submit(w.ctx, w.create(id, user(0), user(1))); err != nil {
		t.Fatal(err)
	}
	send := w.send(id, user(0), "hello")
	o, err := r.Submit(w.ctx, send)
	if err != nil || o != s.do(send) {
		t.Fatalf("%+v, %v", o, err)
	}
	a, err := r.Ask(w.ctx, id)
	if err != nil || fmt.Sprint(a) != fmt.Sprint(s.ask(id)) {
		t.Fatalf("remote %+v, %v\nlocal %+v", a, err, s.ask(id))
	}
	if err := r.WaitDurable(w.ctx, 2); err != nil {
		t.Fatal(err)
	}
	if mark, err := r.Durable(w.ctx, 0); err != nil || mark != s.Durable() {
		t.Fatalf("%+v, %v", mark, err)
	}
	bad := send
	bad.Text = ""
	if _, err := r.Submit(w.ctx, bad); chat.KindOf(err) != chat.InvalidText {
		t.Fatalf("a malformed command: %v", err)
	}
	for subject, body := range map[string]string{
		jetstream.CommandSubject(0, id):         "{",
		jetstream.CommandSubject(0, groupID(2)): `{"op":"send"}`,
		"parley.cmd.0." + jetstream.FenceToken:  `{}`,
		jetstream.DurableSubject(0):             `{"sequence":"x"}`,
	} {
		m, err := w.nc.Request(subject, []byte(body), patience)
		if err != nil || len(m.Data) == 0 || !containsInvalid(m) {
			t.Fatalf("%s %s: %v %s", subject, body, err, m.Data)
		}
	}
}

func containsInvalid(m *nats.Msg) bool {
	var out remoteOutcome
	return json.Unmarshal(m.Data, &out) == nil && out.Error != nil && out.Error.Code == chat.Invalid
}

func TestAConversationOfAnotherPartitionIsRefused(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.Partitions = 2
	s := w.start(c)
	for i := range 20 {
		id := groupID(i)
		_, err := s.Submit(w.ctx, w.create(id, user(0)))
		if own := id.Partition(2) == 0; own != (err == nil) {
			t.Fatalf("%s of partition %d: %v", id, id.Partition(2), err)
		}
	}
}
