package jetstream

import (
	"errors"
	"sync"
	"testing"

	"github.com/parley-chat/parley/pkg/chat"
)

func TestTheFirstProcessDecidesTheMeta(t *testing.T) {
	w := newWorld(t)
	if _, ok, err := ReadMeta(w.ctx, w.nc); ok || err != nil {
		t.Fatalf("meta before there is one: %v, %v", ok, err)
	}
	metas := make([]Meta, 8)
	var all sync.WaitGroup
	for i := range metas {
		nc := w.connect(w.server)
		all.Go(func() {
			m, err := InitMeta(w.ctx, nc, Meta{Partitions: i + 1, Fingerprint: "abc"}, 1)
			if err != nil {
				t.Error(err)
			}
			metas[i] = m
		})
	}
	all.Wait()
	for _, m := range metas {
		if m != metas[0] || m.Generation != 1 || m.Revision == 0 {
			t.Fatalf("two processes see %+v and %+v", metas[0], m)
		}
	}
	w.restart()
	m, ok, err := ReadMeta(w.ctx, w.nc)
	if !ok || err != nil || m != metas[0] {
		t.Errorf("after a restart: %+v, %v, %v", m, ok, err)
	}
}

func TestAnotherKeyIsRefused(t *testing.T) {
	w := newWorld(t)
	if _, err := InitMeta(w.ctx, w.nc, Meta{Partitions: 1, Fingerprint: "one"}, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := InitMeta(w.ctx, w.nc, Meta{Partitions: 1, Fingerprint: "two"}, 1); !errors.Is(err, ErrOtherKey) {
		t.Errorf("got %v", err)
	}
}

func TestMetaIsMadeBeforeAnythingElse(t *testing.T) {
	ctx := testContext(t)
	s, err := StartServer(ctx, ServerConfig{Folder: t.TempDir(), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	nc, err := s.Connect("meta")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, ok, err := ReadMeta(ctx, nc); ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	m, err := InitMeta(ctx, nc, Meta{Partitions: 2, Fingerprint: "x"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	drift, err := Ensure(ctx, nc, Topology{Generation: m.Generation, Partitions: m.Partitions, LogMaxBytes: 1 << 20})
	if err != nil || len(drift) > 0 {
		t.Errorf("drift %v, %v", drift, err)
	}
}

func TestOneProcessOpensAGeneration(t *testing.T) {
	w := newWorld(t)
	m, err := InitMeta(w.ctx, w.nc, Meta{Partitions: 1, Fingerprint: "abc"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	old := w.say(conversationID(0), "of the first generation")
	topo := w.topo
	topo.Partitions = 2
	next, drift, err := OpenGeneration(w.ctx, w.nc, m, topo)
	if err != nil || len(drift) > 0 {
		t.Fatalf("drift %v, %v", drift, err)
	}
	if next.Generation != 2 || next.Partitions != 2 || next.Fingerprint != "abc" {
		t.Errorf("%+v", next)
	}
	if _, _, err := OpenGeneration(w.ctx, w.nc, m, topo); !errors.Is(err, ErrMetaChanged) {
		t.Errorf("a second process opened it too: %v", err)
	}
	if now, _, err := ReadMeta(w.ctx, w.nc); err != nil || now != next {
		t.Errorf("%+v, %v", now, err)
	}
	topo.Generation = 2
	if err := CheckReady(w.ctx, w.nc, topo); err != nil {
		t.Error(err)
	}
	got, err := NewLogReader(w.nc).Get(w.ctx, 1, conversationID(0), 0, placesOf([]chat.Entry{old}))
	if err != nil || len(got) != 1 {
		t.Errorf("the old generation can not be read: %v", err)
	}
	w.token = Token{2, 0}
	w.say(conversationID(0), "somebody writes already")
	stale := next
	stale.Generation = 1
	if _, _, err := OpenGeneration(w.ctx, w.nc, stale, topo); err == nil {
		t.Error("a generation that is written was opened again")
	}
}

func TestPositionsAreCheckedAgainstTheLog(t *testing.T) {
	w := newWorld(t)
	w.publish(FenceMsg(w.token, 1))
	a := w.say(conversationID(0), "a")
	b := w.say(conversationID(0), "b")
	r := NewLogReader(w.nc)
	check := func(name string, m chat.Mark, want bool) {
		t.Helper()
		if behind, err := CheckPosition(w.ctx, r, w.token, m); err != nil || behind != want {
			t.Errorf("%s: behind %v, %v", name, behind, err)
		}
	}
	check("nothing stored", chat.Mark{}, false)
	check("at the end", chat.Mark{Generation: 1, StreamSeq: b.StreamSeq, ID: b.ID}, false)
	check("in the middle", chat.Mark{Generation: 1, StreamSeq: a.StreamSeq, ID: a.ID}, false)
	check("a fence", chat.Mark{Generation: 1, StreamSeq: 1}, false)
	check("above the end", chat.Mark{Generation: 1, StreamSeq: 4, ID: b.ID}, true)
	check("another record", chat.Mark{Generation: 1, StreamSeq: 2, ID: b.ID}, true)
	check("a fence where a record was", chat.Mark{Generation: 1, StreamSeq: 1, ID: b.ID}, true)
	check("a record where a fence was", chat.Mark{Generation: 1, StreamSeq: 2}, true)
	check("an older generation", chat.Mark{Generation: 0, StreamSeq: 99, ID: b.ID}, false)
	check("a newer generation", chat.Mark{Generation: 2, StreamSeq: 1, ID: b.ID}, true)
	if err := purgeBelow(w.ctx, w.nc, LogStream(w.token), 3); err != nil {
		t.Fatal(err)
	}
	check("trimmed", chat.Mark{Generation: 1, StreamSeq: 2, ID: b.ID}, false)
	check("still at the end", chat.Mark{Generation: 1, StreamSeq: b.StreamSeq, ID: b.ID}, false)
}
