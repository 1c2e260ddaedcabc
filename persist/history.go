package persist

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

const (
	defaultLimit = 50
	mostLimit    = 100
	mostBytes    = 4 << 20 // of records in one answer; a larger record is alone in its own
	mostScanned  = 2000    // records that one page may cover
)

// Log reads records that the store may not have yet. Places ascend; the entries come in the same order,
// and one that the log does not hold any more may be left out.
type Log interface {
	Get(ctx context.Context, generation uint32, id chat.ConversationID, places []chat.Place) ([]chat.Entry, error)
}

// HistoryConfig is what a History needs. Reg may be nil.
type HistoryConfig struct {
	Store Store
	Log   Log
	Reg   prometheus.Registerer
}

// History reads conversations: rows of the store, completed from the log up to the head of the answer it
// is given, edits and deletes of both applied. It never returns a range with a hole: that is read again,
// and then refused with chat.Unavailable. Safe for concurrent use; identical reads in flight are one.
type History struct {
	store   Store
	log     Log
	metrics *historyMetrics
	flights singleflight.Group
	tails   tailCache
}

// NewHistory makes a History.
func NewHistory(c HistoryConfig) *History {
	return &History{store: c.Store, log: c.Log, metrics: newHistoryMetrics(c.Reg), tails: tailCache{held: map[chat.ConversationID]*tailScan{}}}
}

// Page reads one page. Before and after are exclusive, around and at inclusive with half of the items on
// each side. A page stays within one stretch of what is visible, so from..to is contiguous; a position
// out of range gives an empty page, an id that is not in what is visible chat.NotFound.
func (h *History) Page(ctx context.Context, q conversation.PageQuery) (conversation.Page, error) {
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	q.Limit = min(q.Limit, mostLimit)
	key := fmt.Sprintf("%d b%s a%s r%s t%d", q.Limit, positionKey(q.Before), positionKey(q.After), positionKey(q.Around), timeKey(q.At))
	return shared(ctx, h, "page", readKey(q.Answer, q.Visible, key), func() (conversation.Page, error) {
		return h.snapshot(q.Answer, q.Visible).page(ctx, q)
	})
}

// Records reads the newest records above q.After that are visible, as in the log, with deletes applied.
// After and Before tell which ones were left out.
func (h *History) Records(ctx context.Context, q conversation.RecordsQuery) (conversation.Records, error) {
	key := fmt.Sprintf("%d %d %d", q.After, q.Messages, q.Records)
	return shared(ctx, h, "records", readKey(q.Answer, q.Visible, key), func() (conversation.Records, error) {
		return h.snapshot(q.Answer, q.Visible).records(ctx, q)
	})
}

// Resolve finds the record at a seq or an id; chat.NotFound when there is none up to the head.
func (h *History) Resolve(ctx context.Context, a conversation.Answer, p chat.Position) (chat.Head, error) {
	return shared(ctx, h, "resolve", readKey(a, nil, fmt.Sprint(uint64(p))), func() (chat.Head, error) {
		return h.snapshot(a, []conversation.Interval{{Joined: 1}}).resolve(ctx, p)
	})
}

// Versions lists a message and its edits as record JSON, ascending; all without text when it is deleted.
func (h *History) Versions(ctx context.Context, a conversation.Answer, visible []conversation.Interval, target chat.Seq) ([][]byte, error) {
	return shared(ctx, h, "versions", readKey(a, visible, fmt.Sprint(target)), func() ([][]byte, error) {
		return h.snapshot(a, visible).versions(ctx, target)
	})
}

// LastMessage is the newest visible message, folded; nil when there is none.
func (h *History) LastMessage(ctx context.Context, a conversation.Answer, visible []conversation.Interval) ([]byte, error) {
	return shared(ctx, h, "last", readKey(a, visible, ""), func() ([]byte, error) {
		return h.snapshot(a, visible).lastMessage(ctx)
	})
}

// shared runs read unless an identical one is in flight, whose result it takes then. When that one ended
// because its own caller went away, it reads by itself.
func shared[T any](ctx context.Context, h *History, operation, key string, read func() (T, error)) (T, error) {
	h.metrics.reads.WithLabelValues(operation).Inc()
	began := time.Now()
	for {
		mine := false
		v, err, _ := h.flights.Do(operation+" "+key, func() (any, error) {
			mine = true
			return read()
		})
		if !mine && ctxEnded(err) && ctx.Err() == nil {
			continue
		}
		if !mine {
			h.metrics.shared.Inc()
		}
		h.metrics.seconds.WithLabelValues(operation).Observe(time.Since(began).Seconds())
		result, _ := v.(T)
		if err != nil {
			return result, fmt.Errorf("history %s: %w", operation, err)
		}
		return result, nil
	}
}

// readKey names a read: the same key gives the same result.
func readKey(a conversation.Answer, visible []conversation.Interval, query string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %d", a.State.ID, a.Generation, a.State.Head.Seq)
	for _, in := range visible {
		fmt.Fprintf(&b, " %d-%d", in.Joined, in.Removed)
	}
	b.WriteString(" ? ")
	b.WriteString(query)
	return b.String()
}

func positionKey(p *chat.Position) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(uint64(*p))
}

func timeKey(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.UnixMilli()
}

// stretch is a run of seqs, both ends included.
type stretch struct{ low, high chat.Seq }

// clip turns intervals into the stretches that exist up to head, ascending.
func clip(visible []conversation.Interval, head chat.Seq) []stretch {
	var seen []stretch
	for _, in := range visible {
		s := stretch{low: max(in.Joined, 1), high: head}
		if in.Removed != 0 {
			s.high = min(head, in.Removed-1)
		}
		if s.low <= s.high {
			seen = append(seen, s)
		}
	}
	return seen
}

// snapshot is one read: a conversation up to the answer's head, as one member may see it. Used by one
// goroutine.
type snapshot struct {
	*History
	answer   conversation.Answer
	id       chat.ConversationID
	head     chat.Seq
	tailFrom chat.Seq // first seq that the store need not have; head+1 when it has all
	visible  []stretch

	tailRows map[chat.Seq]Stored // rows of the tail read so far
	changes  *changes            // nil until the tail was looked through
}

func (h *History) snapshot(a conversation.Answer, visible []conversation.Interval) *snapshot {
	s := &snapshot{History: h, answer: a, id: a.State.ID, head: a.State.Head.Seq, tailRows: map[chat.Seq]Stored{}}
	s.tailFrom = s.head + 1
	if len(a.Tail) > 0 {
		s.tailFrom = a.Tail[0].Seq
	}
	s.visible = clip(visible, s.head)
	return s
}

// sees tells whether seq is a record that the reader may see.
func (s *snapshot) sees(seq chat.Seq) bool {
	return slices.ContainsFunc(s.visible, func(v stretch) bool { return seq >= v.low && seq <= v.high })
}
