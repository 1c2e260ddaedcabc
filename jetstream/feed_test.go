package jetstream

import (
	"fmt"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
)

// offering writes records and offers them as their owner does.
func offering(w *world, f *Feed, texts ...string) {
	entries := make([]*chat.Entry, len(texts))
	for i, text := range texts {
		e := w.say(conversationID(0), text)
		entries[i] = &e
	}
	f.Offer(slices.Values(entries))
}

func following(w *world, r *recorder, f *Feed) *Loop {
	return loopOf(w, r, func(c *LoopConfig) {
		c.Start, c.Feed, c.Reg = from(1), f, prometheus.NewRegistry()
	})
}

func TestALoopFollowsTheFeedAndFindsBackToTheLog(t *testing.T) {
	w := newWorld(t)
	w.fill(700, 3) // before the feed began
	f, r := NewFeed(), newRecorder()
	l := following(w, r, f)
	_, stop := running(t, w.ctx, l.Run)
	r.waitFor(t, 700)
	last := uint64(700)
	for value(t, l.metrics.followed) == 0 { // the broker's pull may be the quicker one for a while
		offering(w, f, "one", "another")
		last += 2
		r.waitFor(t, last)
		if last > 2000 {
			t.Fatal("the feed is not followed")
		}
	}
	offering(w, f, "one more")
	offering(w, f, "three", "at", "once")
	last += 4
	r.waitFor(t, last)

	w.publish(FenceMsg(w.token, 2)) // a takeover: the feed begins anew behind it
	offering(w, f, "behind the fence")
	last += 2
	r.waitFor(t, last)
	offering(w, f, "and on")
	last++
	r.waitFor(t, last)

	f.Break() // another process is the owner now
	w.fill(3, 1)
	last += 3
	r.waitFor(t, last)
	stop()
	r.wantSpan(t, 1, last)
	if value(t, l.metrics.resets) != 0 || value(t, l.metrics.lag) != 0 {
		t.Errorf("%v resets, lag %v", value(t, l.metrics.resets), value(t, l.metrics.lag))
	}
}

func TestASilentFeedIsComparedWithTheLog(t *testing.T) {
	w := newWorld(t)
	f, r := NewFeed(), newRecorder()
	l := following(w, r, f)
	offering(w, f, "1")
	_, stop := running(t, w.ctx, l.Run)
	r.waitFor(t, 1)
	offering(w, f, "2")
	r.waitFor(t, 2)
	w.fill(2, 1) // another owner's: the feed does not tell of it, nor that it has ended
	r.waitFor(t, 4)
	stop()
	r.wantSpan(t, 1, 4)
}

func TestALoopThatIsTooSlowForTheFeedReadsTheLog(t *testing.T) {
	w := newWorld(t)
	f, r := NewFeed(), newRecorder()
	hold := make(chan struct{})
	r.fail = func(batch []chat.Entry) error {
		if batch[0].StreamSeq == 3 {
			<-hold
		}
		return nil
	}
	offering(w, f, "1")
	l := following(w, r, f)
	_, stop := running(t, w.ctx, l.Run)
	r.waitFor(t, 1)
	offering(w, f, "2")
	r.waitFor(t, 2)
	for range 5 {
		texts := make([]string, feedEntries)
		for i := range texts {
			texts[i] = fmt.Sprint(i)
		}
		offering(w, f, texts...)
	}
	close(hold)
	r.waitFor(t, 2+5*feedEntries)
	stop()
	r.wantSpan(t, 1, 2+5*feedEntries)
	if n := len(f.entries); n > 2*feedEntries {
		t.Errorf("the feed holds %d entries", n)
	}
}

// What was handed out stays as it is, whatever comes later.
func TestTheFeedKeepsWhatItHandedOut(t *testing.T) {
	f := NewFeed()
	offer := func(from, to uint64) {
		f.Offer(func(yield func(*chat.Entry) bool) {
			for seq := from; seq <= to; seq++ {
				if !yield(&chat.Entry{StreamSeq: seq, Raw: make([]byte, 3000)}) {
					return
				}
			}
		})
	}
	offer(1, 10)
	batch, last, _, ok := f.take(3, 5)
	if !ok || last != 10 || len(batch) != 5 || batch[0].StreamSeq != 3 {
		t.Fatalf("take(3) gives %d entries, last %d, %v", len(batch), last, ok)
	}
	offer(11, 20_000)
	for i, e := range batch {
		if e.StreamSeq != 3+uint64(i) {
			t.Errorf("entry %d became %d", i, e.StreamSeq)
		}
	}
	if f.bytes > 2*feedBytes+3000 || f.covers(3) || !f.covers(20_001) || f.covers(20_002) {
		t.Errorf("the window has %d bytes, from %d", f.bytes, f.entries[0].StreamSeq)
	}
	f.Break()
	if f.covers(20_001) {
		t.Error("a broken feed covers something")
	}
}

func TestPoisonFromTheFeedGoesToTheDeadLetters(t *testing.T) {
	w := newWorld(t)
	f, r := NewFeed(), newRecorder()
	r.fail = func(batch []chat.Entry) error {
		for _, e := range batch {
			if _, passed := r.quarantined[e.StreamSeq]; !passed && e.StreamSeq == 3 {
				return poisonError{3, "bad"}
			}
		}
		return nil
	}
	offering(w, f, "1")
	_, stop := running(t, w.ctx, following(w, r, f).Run)
	r.waitFor(t, 1)
	offering(w, f, "2")
	r.waitFor(t, 2)
	offering(w, f, "3", "4")
	r.waitFor(t, 4)
	stop()
	dead := deadLetters(w)
	if len(dead) != 1 || dead[0].Header.Get(HeaderStreamSeq) != "3" || len(dead[0].Data) == 0 {
		t.Fatalf("dead letters: %v", dead)
	}
}
