package jetstream

import (
	"iter"
	"sync"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	feedEntries = 2048    // kept for consumers that are a little behind
	feedBytes   = 4 << 20 // of their records
)

// Feed hands a partition's newest durable entries from the owner that wrote them to the consumers of the same
// process: they need not be read back and decoded for each. The log stays the source: a consumer that is not
// within the feed's window reads the log, and comes back when it has caught up. The entries are shared and
// read only.
type Feed struct {
	mu      sync.Mutex
	entries []chat.Entry // contiguous; never changed once there, so that slices of it may be handed out
	bytes   int
	moved   chan struct{} // closed when something changes; nil while nobody waits
}

// NewFeed makes an empty feed.
func NewFeed() *Feed { return &Feed{} }

// Offer adds entries that are durable at their stream sequences. Where one does not follow the last, the
// window begins anew with it.
func (f *Feed) Offer(entries iter.Seq[*chat.Entry]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for e := range entries {
		if n := len(f.entries); n > 0 && e.StreamSeq != f.entries[n-1].StreamSeq+1 {
			f.entries, f.bytes = nil, 0
		}
		if len(f.entries) >= 2*feedEntries || f.bytes >= 2*feedBytes {
			f.shorten()
		}
		f.entries = append(f.entries, *e)
		f.bytes += len(e.Raw)
	}
	f.wake()
}

// shorten moves the newest entries to new memory; the old is freed with the last batch that was cut from it.
func (f *Feed) shorten() {
	from, bytes := len(f.entries), 0
	for from > 0 && len(f.entries)-from < feedEntries && bytes < feedBytes {
		from--
		bytes += len(f.entries[from].Raw)
	}
	f.entries, f.bytes = append(make([]chat.Entry, 0, 2*feedEntries), f.entries[from:]...), bytes
}

// Break empties the feed: its owner is one no more.
func (f *Feed) Break() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries, f.bytes = nil, 0
	f.wake()
}

func (f *Feed) wake() {
	if f.moved != nil {
		close(f.moved)
		f.moved = nil
	}
}

// take gives entries from stream sequence next on, at most most of them. With none of them, moved tells when
// to look again; ok is false when next lies outside of the window.
func (f *Feed) take(next uint64, most int) (batch []chat.Entry, last uint64, moved <-chan struct{}, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.entries) == 0 {
		return nil, 0, nil, false
	}
	first := f.entries[0].StreamSeq
	last = first + uint64(len(f.entries)) - 1
	if next < first || next > last+1 {
		return nil, last, nil, false
	}
	if next == last+1 {
		if f.moved == nil {
			f.moved = make(chan struct{})
		}
		return nil, last, f.moved, true
	}
	from := int(next - first)
	to := min(from+most, len(f.entries))
	return f.entries[from:to:to], last, nil, true
}

// covers reports whether a consumer that wants next may follow.
func (f *Feed) covers(next uint64) bool {
	_, _, _, ok := f.take(next, 0)
	return ok
}
