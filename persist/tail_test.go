package persist_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/persist/persisttest"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

var everything = []conversation.Interval{{Joined: 1}}

// stage is a conversation of a create and n messages, with a store that has the first stored entries.
type stage struct {
	*testing.T
	log     *persisttest.Log
	store   *modelStore
	tail    *fakeLog
	reg     *prometheus.Registry
	history *persist.History
}

func newStage(t *testing.T, l *persisttest.Log, stored int) *stage {
	t.Helper()
	s := &stage{T: t, log: l, store: newModelStore(l.Entries[:stored]), tail: &fakeLog{entries: l.Entries}, reg: prometheus.NewRegistry()}
	s.history = persist.NewHistory(persist.HistoryConfig{Store: s.store, Log: s.tail, Reg: s.reg})
	return s
}

func chatter(n int) *persisttest.Log {
	l := persisttest.NewLog()
	l.Create(persisttest.Group(0), persisttest.User(1))
	for i := range n {
		l.Send(persisttest.Group(0), persisttest.User(1), persisttest.Text(i))
	}
	return l
}

func (s *stage) newest(applied, limit int) (conversation.Page, error) {
	a := s.log.Answer(persisttest.Group(0), applied, len(s.log.Entries))
	return s.history.Page(s.Context(), conversation.PageQuery{Answer: a, Visible: everything, Limit: limit})
}

// counter is the sum of a metric over its labels.
func counter(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

func TestAHoleIsReadAgainAndNeverReturned(t *testing.T) {
	s := newStage(t, chatter(20), 21)
	s.store.hidden[15] = 1
	p, err := s.newest(21, 10)
	if err != nil || len(p.Messages) != 10 {
		t.Fatalf("a hole that passes: %d messages, %v", len(p.Messages), err)
	}
	if n := counter(t, s.reg, "parley_history_holes_total"); n != 1 {
		t.Errorf("%v holes counted", n)
	}
	s.store.hidden[15] = 100
	if _, err := s.newest(21, 10); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("a hole that stays: %v, want unavailable", err)
	}
	if n := counter(t, s.reg, "parley_history_holes_unrepaired_total"); n != 1 {
		t.Errorf("%v refusals counted", n)
	}
	if p, err = s.newest(10, 10); err != nil || len(p.Messages) != 10 {
		t.Errorf("a hole that the log fills: %d messages, %v", len(p.Messages), err)
	}
}

func TestRecentHistorySurvivesADeadStore(t *testing.T) {
	s := newStage(t, chatter(30), 10)
	s.store.away = true
	p, err := s.newest(10, 10)
	if err != nil || len(p.Messages) != 10 || p.ToSeq != 31 {
		t.Errorf("newest page: %d messages up to %d, %v", len(p.Messages), p.ToSeq, err)
	}
	a := s.log.Answer(persisttest.Group(0), 10, 31)
	if _, err := s.history.LastMessage(t.Context(), a, everything); err != nil {
		t.Errorf("last message: %v", err)
	}
	if h, err := s.history.Resolve(t.Context(), a, chat.Position(s.log.Entries[20].ID)); err != nil || h.Seq != 21 {
		t.Errorf("resolve: %v, %v", h, err)
	}
	if _, err := s.newest(10, 100); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("a page that needs the store: %v", err)
	}
}

func TestWhatTheLogLostSinceTheAnswerIsInTheStore(t *testing.T) {
	s := newStage(t, chatter(30), 31)
	s.tail.trimmed = 25
	if p, err := s.newest(10, 30); err != nil || len(p.Messages) != 30 {
		t.Errorf("trimmed: %d messages, %v", len(p.Messages), err)
	}
	s.tail.away = true
	if p, err := s.newest(10, 20); err != nil || len(p.Messages) != 20 {
		t.Errorf("log away: %d messages, %v", len(p.Messages), err)
	}
	s.store.away = true
	if _, err := s.newest(10, 20); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("both away: %v", err)
	}
}

func TestADeleteInTheTailHidesTextEverywhere(t *testing.T) {
	const secret = "not for long"
	l := persisttest.NewLog()
	id, u := persisttest.Group(0), persisttest.User(1)
	l.Create(id, u)
	l.Send(id, u, secret)
	l.Edit(id, u, 2, secret+" edited")
	for i := range 60 {
		l.Send(id, u, persisttest.Text(i))
	}
	l.Edit(id, u, 2, secret+" again")
	l.Delete(id, u, 2)
	for stored := range len(l.Entries) + 1 {
		s := newStage(t, l, stored)
		a := l.Answer(id, stored, len(l.Entries))
		records, err := s.history.Records(t.Context(), conversation.RecordsQuery{Answer: a, Visible: everything, Messages: 100, Records: 1000})
		if err != nil {
			t.Fatal(err)
		}
		page, err := s.history.Page(t.Context(), conversation.PageQuery{Answer: a, Visible: everything, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		versions, err := s.history.Versions(t.Context(), a, everything, 2)
		if err != nil || len(versions) != 3 {
			t.Fatalf("%d versions, %v", len(versions), err)
		}
		for _, raw := range append(append(records.Records, page.Messages...), versions...) {
			if strings.Contains(string(raw), secret) {
				t.Fatalf("store has %d: %s", stored, raw)
			}
		}
	}
}

func TestALongTailIsLookedThroughOnce(t *testing.T) {
	l := chatter(2000)
	l.Edit(persisttest.Group(0), persisttest.User(1), 1500, "edited")
	s := newStage(t, l, 100)
	for range 3 {
		if _, err := s.newest(100, 50); err != nil {
			t.Fatal(err)
		}
	}
	if n := counter(t, s.reg, "parley_history_tail_scanned_total"); n != float64(len(l.Entries)-100) {
		t.Errorf("%v records looked through for three pages, the tail has %d", n, len(l.Entries)-100)
	}
	l.Delete(persisttest.Group(0), persisttest.User(1), 1990)
	s.tail.entries = l.Entries
	p, err := s.newest(300, 50)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(p.Messages[len(p.Messages)-12]), `"deleted":true`) {
		t.Errorf("a delete that came since is not applied: %s", p.Messages[len(p.Messages)-12])
	}
}

func TestAnAnswerIsBoundedInBytes(t *testing.T) {
	l := persisttest.NewLog()
	id, u := persisttest.Group(0), persisttest.User(1)
	l.Create(id, u)
	for range 60 {
		l.Send(id, u, strings.Repeat("x", 300_000))
	}
	s := newStage(t, l, 61)
	p, err := s.newest(61, 50)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(p.Messages); n < 10 || n > 14 || !p.MoreBefore || p.ToSeq-p.FromSeq+1 != chat.Seq(n) {
		t.Errorf("%d messages from %d to %d, more %v", n, p.FromSeq, p.ToSeq, p.MoreBefore)
	}
	r, err := s.history.Records(t.Context(), conversation.RecordsQuery{Answer: l.Answer(id, 61, 61), Visible: everything, Messages: 50, Records: 1000})
	if err != nil || len(r.Records) != len(p.Messages) || r.Before != p.FromSeq {
		t.Errorf("%d records, gap before %d, %v", len(r.Records), r.Before, err)
	}
}

func TestALastMessageFarBackIsFoundByItsNumber(t *testing.T) {
	l := chatter(5)
	id, u := persisttest.Group(0), persisttest.User(1)
	for range 5000 {
		l.Edit(id, u, 3, "once more")
	}
	s := newStage(t, l, len(l.Entries)-10)
	a := l.Answer(id, len(l.Entries)-10, len(l.Entries))
	raw, err := s.history.LastMessage(t.Context(), a, everything)
	if err != nil || string(raw) != string(l.Entries[5].Raw) {
		t.Errorf("%s, %v", raw, err)
	}
	if s.store.ranges > 60 {
		t.Errorf("it took %d reads", s.store.ranges)
	}
	none, err := s.history.LastMessage(t.Context(), a, []conversation.Interval{{Joined: 10, Removed: 4000}, {Joined: 4500}})
	if err != nil || none != nil {
		t.Errorf("no message is visible, got %s, %v", none, err)
	}
}

func TestAPageOfManyEditsIsBounded(t *testing.T) {
	l := chatter(5)
	for range 5000 {
		l.Edit(persisttest.Group(0), persisttest.User(1), 3, "once more")
	}
	s := newStage(t, l, len(l.Entries))
	seen, pages := 0, 0
	q := conversation.PageQuery{Answer: l.Answer(persisttest.Group(0), len(l.Entries), len(l.Entries)), Visible: everything}
	for {
		p, err := s.history.Page(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(p.Messages)
		if pages++; !p.MoreBefore {
			break
		}
		at := chat.Position(p.FromSeq)
		q.Before = &at
	}
	if seen != 6 || pages != 3 {
		t.Errorf("%d items on %d pages", seen, pages)
	}
}

func TestIdenticalReadsInFlightAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatter(30), 31)
		release := make(chan struct{})
		s.store.before = func() { <-release }
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if p, err := s.newest(31, 10); err != nil || len(p.Messages) != 10 {
					t.Errorf("%d messages, %v", len(p.Messages), err)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
		if s.store.ranges != 1 {
			t.Errorf("the store was read %d times", s.store.ranges)
		}
	})
}

func TestAReaderThatGoesAwayTakesNobodyAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatter(30), 31)
		q := conversation.PageQuery{Answer: s.log.Answer(persisttest.Group(0), 31, 31), Visible: everything, Limit: 10}
		release := make(chan struct{})
		s.store.before = func() { <-release }
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := s.history.Page(ctx, q); err == nil {
				t.Error("the reader that went away got a page")
			}
		})
		synctest.Wait()
		all.Go(func() {
			if p, err := s.history.Page(t.Context(), q); err != nil || len(p.Messages) != 10 {
				t.Errorf("the other reader: %d messages, %v", len(p.Messages), err)
			}
		})
		synctest.Wait()
		cancel()
		close(release)
		all.Wait()
	})
}

func TestWhatWasNeverChangedIsReturnedByteForByte(t *testing.T) {
	l := persisttest.NewLog()
	id, u := persisttest.Group(0), persisttest.User(1)
	l.Create(id, u)
	l.Send(id, u, "plain")
	odd := &l.Entries[1]
	odd.Raw = []byte(`{ "conversation_id":"` + string(id) + `", "of_a_newer_version": [1, 2], "kind":"message" }`)
	s := newStage(t, l, 2)
	p, err := s.newest(2, 10)
	if err != nil || string(p.Messages[1]) != string(odd.Raw) {
		t.Errorf("%s, %v", p.Messages, err)
	}
}

func TestANewGenerationsTailIsLookedThroughAnew(t *testing.T) {
	id, u := persisttest.Group(0), persisttest.User(1)
	l := chatter(60)
	l.Delete(id, u, 50)
	s := newStage(t, l, 5)
	if _, err := s.newest(5, 50); err != nil {
		t.Fatal(err)
	}
	next := chatter(61) // the delete was lost with its log: another record has its seq
	next.Generation = 2
	for i := range next.Entries {
		next.Entries[i].Generation = 2
	}
	s.log, s.tail.entries = next, next.Entries
	p, err := s.newest(5, 50)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range p.Messages {
		if strings.Contains(string(raw), `"deleted":true`) {
			t.Errorf("a delete of the generation before is applied: %s", raw)
		}
	}
}
