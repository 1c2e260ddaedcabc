package persist

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	logChunk     = 256  // records asked of the log at once
	mostTailRows = 1024 // rows of the tail that one read keeps
)

func ctxEnded(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// span reads every record of [low, high], high not above the head. Rows of the store may be younger than
// the head: edits and deletes after it may show in them.
func (s *snapshot) span(ctx context.Context, low, high chat.Seq) ([]Stored, error) {
	rows := make([]Stored, high-low+1)
	missing := s.recall(rows, low)
	var problem error
	for again := range 2 {
		if low < s.tailFrom || again > 0 {
			found, err := s.store.Range(ctx, s.id, low, high, len(rows), false)
			if err != nil {
				return nil, err
			}
			missing -= put(rows, low, found)
		}
		if missing > 0 {
			var taken int
			if taken, problem = s.fromLog(ctx, rows, low); ctx.Err() != nil {
				return nil, ctx.Err()
			}
			missing -= taken
		}
		if missing == 0 {
			return rows, nil
		}
		if again == 0 {
			s.metrics.holes.Inc()
		}
	}
	s.metrics.unrepaired.Inc()
	err := chat.Errorf(chat.Unavailable, "history is incomplete now")
	return nil, errors.Join(fmt.Errorf("records %d to %d of %s: %d missing: %w", low, high, s.id, missing, err), problem)
}

// recall fills in what this read has already had from the tail, and counts what is missing.
func (s *snapshot) recall(rows []Stored, low chat.Seq) (missing int) {
	for i := range rows {
		if row, ok := s.tailRows[low+chat.Seq(i)]; ok {
			rows[i] = row
		} else {
			missing++
		}
	}
	return missing
}

// put sets rows that were found where they belong, once each, and counts those that were missing.
func put(rows []Stored, low chat.Seq, found []Stored) (filled int) {
	for _, row := range found {
		if row.Seq < low || row.Seq >= low+chat.Seq(len(rows)) || rows[row.Seq-low].Seq != 0 {
			continue
		}
		rows[row.Seq-low] = row
		filled++
	}
	return filled
}

// fromLog takes from the log what is missing and stands in the answer's tail.
func (s *snapshot) fromLog(ctx context.Context, rows []Stored, low chat.Seq) (filled int, err error) {
	var places []chat.Place
	for i := range rows {
		if rows[i].Seq != 0 {
			continue
		}
		if p, ok := s.place(low + chat.Seq(i)); ok {
			places = append(places, p)
		}
	}
	for len(places) > 0 {
		n := min(len(places), logChunk)
		entries, err := s.log.Get(ctx, s.answer.Generation, s.id, places[:n])
		if err != nil {
			return filled, fmt.Errorf("read log: %w", err)
		}
		found := make([]Stored, 0, len(entries))
		for i := range entries {
			if e := &entries[i]; e.ConversationID == s.id {
				found = append(found, storedOf(e))
			}
		}
		s.remember(found)
		filled += put(rows, low, found)
		places = places[n:]
	}
	s.metrics.tailRecords.Add(float64(filled))
	return filled, nil
}

func storedOf(e *chat.Entry) Stored {
	return Stored{Seq: e.Seq, ID: e.ID, N: e.N, Kind: e.Kind, Sender: e.SenderID, Raw: e.Raw}
}

func (s *snapshot) remember(found []Stored) {
	for _, row := range found {
		if len(s.tailRows) >= mostTailRows {
			return
		}
		s.tailRows[row.Seq] = row
	}
}

// place finds a seq in the answer's tail, which is dense.
func (s *snapshot) place(seq chat.Seq) (chat.Place, bool) {
	tail := s.answer.Tail
	if seq < s.tailFrom || len(tail) == 0 {
		return chat.Place{}, false
	}
	if i := seq - s.tailFrom; i < chat.Seq(len(tail)) && tail[i].Seq == seq {
		return tail[i], true
	}
	i := sort.Search(len(tail), func(i int) bool { return tail[i].Seq >= seq })
	if i < len(tail) && tail[i].Seq == seq {
		return tail[i], true
	}
	return chat.Place{}, false
}

// row reads one record up to the head.
func (s *snapshot) row(ctx context.Context, seq chat.Seq) (Stored, error) {
	rows, err := s.span(ctx, seq, seq)
	if err != nil {
		return Stored{}, err
	}
	return rows[0], nil
}
