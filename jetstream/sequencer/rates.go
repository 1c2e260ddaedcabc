package sequencer

import (
	"math"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// mostBuckets bounds each map of token buckets. A bucket that has filled up again is as good as none.
const mostBuckets = 65_536

// limiter holds the token buckets of senders and conversations. Owned by the owner goroutine.
type limiter struct {
	off           bool
	senders       buckets[chat.UserID]
	conversations buckets[chat.ConversationID]
}

type buckets[K comparable] struct {
	perSecond, burst float64
	most             int
	all              map[K]*bucket
	evicted          func()
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter(r Rates, evicted func()) *limiter {
	orDefault := func(v, fallback float64) float64 {
		if v <= 0 {
			return fallback
		}
		return v
	}
	return &limiter{
		off: r.Off,
		senders: buckets[chat.UserID]{
			perSecond: orDefault(r.SenderPerSecond, 100), burst: orDefault(r.SenderBurst, 1000),
			most: mostBuckets, all: make(map[chat.UserID]*bucket), evicted: evicted,
		},
		conversations: buckets[chat.ConversationID]{
			perSecond: orDefault(r.ConversationPerSecond, 1000), burst: orDefault(r.ConversationBurst, 5000),
			most: mostBuckets, all: make(map[chat.ConversationID]*bucket), evicted: evicted,
		},
	}
}

// take takes one token of the sender's and one of the conversation's, or neither and says how long to wait.
func (l *limiter) take(c *conversation.Command, now time.Time) error {
	if l.off {
		return nil
	}
	sender := l.senders.fill(c.Actor, now)
	conv := l.conversations.fill(c.ConversationID, now)
	if wait := max(l.senders.wait(sender), l.conversations.wait(conv)); wait > 0 {
		err := chat.Errorf(chat.RateLimited, "too many commands")
		err.RetryAfter = wait
		return err
	}
	sender.tokens--
	conv.tokens--
	return nil
}

// fill finds a key's bucket with what has flowed in since. A clock that stepped back gives nothing.
func (b *buckets[K]) fill(key K, now time.Time) *bucket {
	have, ok := b.all[key]
	if !ok {
		if len(b.all) >= b.most {
			b.sweep(now)
		}
		have = &bucket{tokens: b.burst, at: now}
		b.all[key] = have
		return have
	}
	if passed := now.Sub(have.at).Seconds(); passed > 0 {
		have.tokens = min(b.burst, have.tokens+passed*b.perSecond)
	}
	have.at = now
	return have
}

func (b *buckets[K]) wait(have *bucket) time.Duration {
	if have.tokens >= 1 {
		return 0
	}
	ms := math.Ceil((1 - have.tokens) / b.perSecond * 1000)
	return time.Duration(ms) * time.Millisecond
}

// sweep drops the buckets that are full by now; when there are few of them, any others, which gives their
// owners a new burst.
func (b *buckets[K]) sweep(now time.Time) {
	for key, have := range b.all {
		if have.tokens+now.Sub(have.at).Seconds()*b.perSecond >= b.burst {
			delete(b.all, key)
		}
	}
	for key := range b.all {
		if len(b.all) <= b.most*3/4 {
			return
		}
		delete(b.all, key)
		b.evicted()
	}
}
