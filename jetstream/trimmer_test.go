package jetstream

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

func floorAt(m *chat.Mark) func(context.Context) (chat.Mark, error) {
	return func(context.Context) (chat.Mark, error) { return *m, nil }
}

func firstOf(w *world) uint64 {
	w.t.Helper()
	first, err := NewLogReader(w.nc).First(w.ctx, w.token)
	if err != nil {
		w.t.Fatal(err)
	}
	return first
}

func TestTheLogIsTrimmedBelowEveryFloorAndNeverYoung(t *testing.T) {
	w := newWorld(t)
	w.fill(300, 3)
	sealed, roster := chat.Mark{Generation: 1, StreamSeq: 200}, chat.Mark{Generation: 1, StreamSeq: 120}
	c := &clock{now: time.Now()}
	trimmer := NewTrimmer(TrimmerConfig{
		NC: w.nc, Token: w.token, Now: c.Now, Log: quiet(),
		Floors: []func(context.Context) (chat.Mark, error){floorAt(&sealed), floorAt(&roster)},
	})
	trim := func(want uint64) {
		t.Helper()
		if err := trimmer.Trim(w.ctx); err != nil {
			t.Fatal(err)
		}
		if got := firstOf(w); got != want {
			t.Errorf("the log begins at %d, want %d", got, want)
		}
	}
	trim(1) // too young
	c.advance(71 * time.Hour)
	trim(1)
	c.advance(2 * time.Hour)
	trim(120) // roster's position is the lowest; the record there stays
	roster.StreamSeq = 250
	trim(200)
	sealed.StreamSeq = 1000 // a position beyond the end never empties the log
	roster.StreamSeq = 1000
	trim(300)
	if w.last() != 300 {
		t.Error("the end moved")
	}
	w.say(conversationID(0), "next")
	if w.last() != 301 {
		t.Error("sequences were used again")
	}
}

func TestOnlyWhatIsOldIsTrimmed(t *testing.T) {
	w := newWorld(t)
	w.fill(10, 1)
	var middle time.Time
	eventually(t, "the clock to go on", func() bool { middle = time.Now(); return middle.UnixMilli()%7 == 0 })
	w.fill(10, 1)
	at := chat.Mark{Generation: 1, StreamSeq: 20}
	trimmer := NewTrimmer(TrimmerConfig{
		NC: w.nc, Token: w.token, Keep: time.Hour, Now: func() time.Time { return middle.Add(time.Hour) }, Log: quiet(),
		Floors: []func(context.Context) (chat.Mark, error){floorAt(&at)},
	})
	if err := trimmer.Trim(w.ctx); err != nil {
		t.Fatal(err)
	}
	if got := firstOf(w); got != 11 {
		t.Errorf("the log begins at %d, want 11", got)
	}
}

func TestNothingIsTrimmedWithoutFloors(t *testing.T) {
	w := newWorld(t)
	w.fill(10, 1)
	late := func() time.Time { return time.Now().Add(1000 * time.Hour) }
	none := NewTrimmer(TrimmerConfig{NC: w.nc, Token: w.token, Now: late, Log: quiet()})
	if err := none.Trim(w.ctx); err != nil {
		t.Fatal(err)
	}
	at, away := chat.Mark{Generation: 1, StreamSeq: 10}, errors.New("away")
	broken := NewTrimmer(TrimmerConfig{NC: w.nc, Token: w.token, Now: late, Log: quiet(), Floors: []func(context.Context) (chat.Mark, error){
		floorAt(&at), func(context.Context) (chat.Mark, error) { return chat.Mark{}, away },
	}})
	if err := broken.Trim(w.ctx); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	if got := firstOf(w); got != 1 {
		t.Errorf("the log begins at %d", got)
	}
}

func TestOldGenerationsAreDeletedOncePassed(t *testing.T) {
	w := newWorld(t)
	w.fill(5, 1)
	topo := w.topo
	topo.Generation, topo.Partitions = 2, 2
	w.ensure(topo)
	c := &clock{now: time.Now().Add(time.Hour)}
	sealed, roster := chat.Mark{Generation: 2, StreamSeq: 0}, chat.Mark{Generation: 1, StreamSeq: 5}
	trimmer := NewTrimmer(TrimmerConfig{
		NC: w.nc, Token: Token{2, 0}, Now: c.Now, Log: quiet(),
		Floors: []func(context.Context) (chat.Mark, error){floorAt(&sealed), floorAt(&roster)},
	})
	has := func() bool {
		_, err := streamState(w.ctx, w.nc, LogStream(Token{1, 0}))
		return err == nil
	}
	step := func(name string, want bool) {
		t.Helper()
		if err := trimmer.Trim(w.ctx); err != nil {
			t.Fatal(err)
		}
		if has() != want {
			t.Errorf("%s: the old log is there: %v", name, has())
		}
	}
	c.advance(100 * time.Hour)
	step("roster has not passed it", true)
	roster = chat.Mark{Generation: 2, StreamSeq: 0}
	c.advance(-60 * time.Hour)
	step("passed but young", true)
	c.advance(60 * time.Hour)
	step("passed and old", false)
	if _, err := streamState(w.ctx, w.nc, LogStream(Token{2, 1})); err != nil {
		t.Error(err)
	}
}

func TestTheTrimmerGoesOnAfterAFailure(t *testing.T) {
	w := newWorld(t)
	w.fill(10, 1)
	calls := make(chan int, 10)
	n := 0
	trimmer := NewTrimmer(TrimmerConfig{
		NC: w.nc, Token: w.token, Every: time.Millisecond, Now: func() time.Time { return time.Now().Add(100 * time.Hour) }, Log: quiet(),
		Floors: []func(context.Context) (chat.Mark, error){func(context.Context) (chat.Mark, error) {
			n++
			select {
			case calls <- n:
			default:
			}
			if n == 1 {
				return chat.Mark{}, errors.New("away")
			}
			return chat.Mark{Generation: 1, StreamSeq: 10}, nil
		}},
	})
	_, stop := running(t, w.ctx, trimmer.Run)
	for await(t, "another trim", calls) < 3 {
	}
	stop()
	if got := firstOf(w); got != 10 {
		t.Errorf("the log begins at %d, want 10", got)
	}
	if got := value(t, trimmer.metrics.failures); got != 1 {
		t.Errorf("%v failures counted", got)
	}
}
