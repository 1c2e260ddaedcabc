package persist

import (
	"context"
	"slices"
	"sync"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	keptFrom      = 32        // tails shorter than this are looked through anew each time
	keptTails     = 512       // conversations whose tail's changes are kept
	keptTailBytes = 256 << 10 // of the changes of one conversation
)

// change is an edit or delete that stands in the tail.
type change struct {
	seq    chat.Seq
	kind   chat.RecordKind
	target chat.Seq
	row    Stored
}

// changes are the edits and deletes of a tail, which the store's rows may not show yet.
type changes struct {
	edits   map[chat.Seq][]change // by target, ascending
	deleted map[chat.Seq]bool     // by target
}

// tailChanges looks the tail through for edits and deletes, once per read.
func (s *snapshot) tailChanges(ctx context.Context) (*changes, error) {
	if s.changes != nil {
		return s.changes, nil
	}
	found := &changes{edits: map[chat.Seq][]change{}, deleted: map[chat.Seq]bool{}}
	list, err := s.scanTail(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		if c.kind == chat.KindDelete {
			found.deleted[c.target] = true
		} else {
			found.edits[c.target] = append(found.edits[c.target], c)
		}
	}
	s.changes = found
	return found, nil
}

// scanTail lists the changes from the start of the tail to the head, in order. Long tails, as when the
// store is behind, are looked through once and then only where they grew.
func (s *snapshot) scanTail(ctx context.Context) ([]change, error) {
	if s.tailFrom > s.head {
		return nil, nil
	}
	scan := &tailScan{generation: s.answer.Generation, from: s.tailFrom, to: s.tailFrom - 1}
	if s.head-s.tailFrom >= keptFrom {
		if kept, ok := s.tails.get(s.id, s.answer.Generation, s.tailFrom); ok {
			scan = kept
		}
	}
	for scan.to < s.head {
		grown, err := s.scanOn(ctx, *scan, min(s.head, scan.to+logChunk))
		if err != nil {
			return nil, err
		}
		scan = grown
		if s.head-s.tailFrom >= keptFrom && !s.tails.put(s.id, scan) {
			s.metrics.tailUncached.Inc()
		}
	}
	return scan.changes, nil
}

// scanOn is scan extended to the seq to. The scan passed in is shared and stays as it was.
func (s *snapshot) scanOn(ctx context.Context, scan tailScan, to chat.Seq) (*tailScan, error) {
	rows, err := s.span(ctx, scan.to+1, to)
	if err != nil {
		return nil, err
	}
	s.metrics.tailScanned.Add(float64(len(rows)))
	scan.changes = slices.Clip(scan.changes)
	scan.to = to
	for _, row := range rows {
		if row.Kind != chat.KindEdit && row.Kind != chat.KindDelete {
			continue
		}
		r, err := wire.DecodeRecord(row.Raw)
		if err != nil {
			continue // it will be quarantined: it changes nothing
		}
		scan.changes = append(scan.changes, change{seq: row.Seq, kind: row.Kind, target: r.TargetSeq, row: row})
		scan.bytes += len(row.Raw)
	}
	return &scan, nil
}

// tailScan is what was found in [from, to] of a log. Immutable once shared.
type tailScan struct {
	generation uint32
	from, to   chat.Seq
	changes    []change
	bytes      int
}

// tailCache keeps scans of long tails. Bounded in conversations and in bytes of each.
type tailCache struct {
	mu   sync.Mutex
	held map[chat.ConversationID]*tailScan
}

// get finds a scan that reaches a tail starting at from; changes below from are the store's already.
func (c *tailCache) get(id chat.ConversationID, generation uint32, from chat.Seq) (*tailScan, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	scan := c.held[id]
	if scan == nil || scan.generation != generation || from < scan.from || from > scan.to+1 {
		return nil, false
	}
	trimmed := *scan
	trimmed.from, trimmed.bytes, trimmed.changes = from, 0, nil
	for _, held := range scan.changes {
		if held.seq >= from {
			trimmed.changes = append(trimmed.changes, held)
			trimmed.bytes += len(held.row.Raw)
		}
	}
	return &trimmed, true
}

// put keeps a scan unless a longer one is held; false when it is too large to keep.
func (c *tailCache) put(id chat.ConversationID, scan *tailScan) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if scan.bytes > keptTailBytes {
		delete(c.held, id)
		return false
	}
	old := c.held[id]
	if old != nil && old.generation == scan.generation && old.to > scan.to && old.from <= scan.from {
		return true
	}
	if old == nil && len(c.held) >= keptTails {
		for other := range c.held { // any one: it is found again by reading
			delete(c.held, other)
			break
		}
	}
	c.held[id] = scan
	return true
}
