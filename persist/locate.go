package persist

import (
	"context"
	"slices"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	lastWithin = 200 // records looked through for the newest message before n tells where it is
	lastChunk  = 25
	lastTries  = 16 // placeholders passed over while looking for it
)

// resolve finds the record at a position up to the head.
func (s *snapshot) resolve(ctx context.Context, p chat.Position) (chat.Head, error) {
	seq, err := s.seqOf(ctx, p)
	if err != nil {
		return chat.Head{}, err
	}
	if seq == 0 || seq > s.head {
		return chat.Head{}, chat.Errorf(chat.NotFound, "no such record in this conversation")
	}
	if seq == s.head {
		return s.answer.State.Head, nil
	}
	row, err := s.row(ctx, seq)
	if err != nil {
		return chat.Head{}, err
	}
	return chat.Head{Seq: row.Seq, N: row.N, ID: row.ID}, nil
}

// find is the seq of an id up to the head.
func (s *snapshot) find(ctx context.Context, id chat.ID) (chat.Seq, bool, error) {
	if head := s.answer.State.Head; id >= head.ID {
		return head.Seq, id == head.ID && head.Seq > 0, nil
	}
	inTail, err := s.beginsBefore(ctx, id)
	if err != nil {
		return 0, false, err
	}
	if !inTail {
		seq, ok, err := s.store.SeqOf(ctx, s.id, id)
		return seq, ok && seq <= s.head, err
	}
	seq, err := s.searchTail(ctx, id)
	if err != nil {
		return 0, false, err
	}
	row, err := s.row(ctx, seq)
	return seq, err == nil && row.ID == id, err
}

// firstAtOrAfter is the first record up to the head whose id is not below id; head+1 when there is none.
func (s *snapshot) firstAtOrAfter(ctx context.Context, id chat.ID) (chat.Seq, error) {
	if id > s.answer.State.Head.ID {
		return s.head + 1, nil
	}
	inTail, err := s.beginsBefore(ctx, id)
	if err != nil {
		return 0, err
	}
	if inTail {
		return s.searchTail(ctx, id)
	}
	seq, err := s.store.SeqAt(ctx, s.id, id)
	return min(seq, s.tailFrom), err
}

// beginsBefore tells whether the tail's first record lies at or before id: then id is to be found there.
func (s *snapshot) beginsBefore(ctx context.Context, id chat.ID) (bool, error) {
	if s.tailFrom > s.head {
		return false, nil
	}
	first, err := s.row(ctx, s.tailFrom)
	return err == nil && first.ID <= id, err
}

// searchTail is the first record of the tail whose id is not below id, which is not above the head's.
func (s *snapshot) searchTail(ctx context.Context, id chat.ID) (chat.Seq, error) {
	return s.search(ctx, stretch{s.tailFrom, s.head}, func(row Stored) bool { return row.ID >= id })
}

// search is the first seq of a stretch whose record fits, given that all after it fit and the last does.
func (s *snapshot) search(ctx context.Context, in stretch, fits func(Stored) bool) (chat.Seq, error) {
	low, high := in.low, in.high
	for low < high {
		middle := low + (high-low)/2
		row, err := s.row(ctx, middle)
		if err != nil {
			return 0, err
		}
		if fits(row) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low, nil
}

// lastMessage looks through the newest records and, when they hold no message, goes to where n rose last.
func (s *snapshot) lastMessage(ctx context.Context) ([]byte, error) {
	left := lastWithin
	for _, v := range slices.Backward(s.visible) {
		high := v.high
		for high >= v.low && left > 0 {
			low := s.chunkBelow(v.low, high, lastChunk, 1)
			rows, err := s.span(ctx, low, high)
			if err != nil {
				return nil, err
			}
			for _, row := range slices.Backward(rows) {
				if row.Kind == chat.KindMessage {
					return s.folded(ctx, row)
				}
			}
			left -= len(rows)
			high = low - 1
		}
		row, ok, err := s.lastByNumber(ctx, stretch{v.low, high})
		if err != nil {
			return nil, err
		}
		if ok {
			return s.folded(ctx, row)
		}
	}
	return nil, nil
}

// lastByNumber finds the newest message of a stretch by halving: n rises at messages only.
func (s *snapshot) lastByNumber(ctx context.Context, in stretch) (Stored, bool, error) {
	var before uint64 // n just before the stretch
	if in.low > 1 && in.high >= in.low {
		row, err := s.row(ctx, in.low-1)
		if err != nil {
			return Stored{}, false, err
		}
		before = row.N
	}
	for range lastTries {
		if in.high < in.low {
			return Stored{}, false, nil
		}
		last, err := s.row(ctx, in.high)
		if err != nil || last.N == before {
			return Stored{}, false, err
		}
		seq, err := s.search(ctx, in, func(row Stored) bool { return row.N >= last.N })
		if err != nil {
			return Stored{}, false, err
		}
		row, err := s.row(ctx, seq)
		if err != nil || row.Kind == chat.KindMessage {
			return row, err == nil, err
		}
		in.high = seq - 1
	}
	return Stored{}, false, nil
}
