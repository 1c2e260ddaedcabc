package client

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
)

// Whatever comes, in whatever order, however often: each seq is shown once, in order, nothing is left out, and
// after a sync everything is shown.
func TestTimelineShowsEachSeqOnceInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		head := rapid.IntRange(1, 60).Draw(t, "head")
		log := make([]chat.Record, head)
		for i := range log {
			log[i] = chat.Record{Seq: chat.Seq(i + 1), Kind: chat.KindMessage}
		}
		log[0].Kind = chat.KindCreate
		tl := &timeline{}
		next := chat.Seq(1)
		show := func(in []incoming) {
			for _, i := range in {
				if i.record.Seq != next {
					t.Fatalf("shows seq %d, want %d", i.record.Seq, next)
				}
				next++
			}
		}
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			at := rapid.IntRange(0, head-1).Draw(t, "seq")
			if rapid.IntRange(0, 9).Draw(t, "what") == 0 {
				show(tl.synced(log[min(int(tl.shown), at):at]))
				continue
			}
			show(tl.live(incoming{log[at], SourceLive}, "ume", time.Unix(1, 0)))
		}
		show(tl.synced(log[tl.shown:]))
		if next != chat.Seq(head+1) {
			t.Fatalf("after the sync seq %d is next, the head is %d", next, head)
		}
		if len(tl.held) != 0 || !tl.since.IsZero() {
			t.Fatalf("%d records are held with everything shown", len(tl.held))
		}
	})
}

func TestTimelineHoldsNoMoreThanItsBound(t *testing.T) {
	tl := &timeline{known: true}
	for seq := chat.Seq(2); seq < 3*mostHeldRecords; seq++ {
		tl.live(incoming{chat.Record{Seq: seq}, SourceLive}, "ume", time.Unix(1000, 0))
	}
	if len(tl.held) != mostHeldRecords {
		t.Errorf("%d records are held, the bound is %d", len(tl.held), mostHeldRecords)
	}
	if tl.since.After(time.Unix(1000, 0).Add(-time.Hour)) {
		t.Error("at its bound the timeline does not ask for a sync at once")
	}
}

func TestBackoffIsBoundedAndHonoursTheHint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Backoff{time.Second, time.Minute}
		attempt := rapid.IntRange(0, 100).Draw(t, "attempt")
		hint := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "hint"))
		wait := b.Wait(attempt, hint)
		if wait < hint || wait > hint+b.Cap {
			t.Fatalf("attempt %d with hint %s waits %s", attempt, hint, wait)
		}
	})
}
