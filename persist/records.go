package persist

import (
	"context"
	"slices"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// records answers a records query: from the head down until a bound is met.
func (s *snapshot) records(ctx context.Context, q conversation.RecordsQuery) (conversation.Records, error) {
	if len(s.visible) == 0 {
		return conversation.Records{After: q.After}, nil
	}
	after := max(q.After, s.visible[0].low-1)
	result := conversation.Records{After: after}
	rows, whole, err := s.newest(ctx, after, q.Messages, q.Records)
	if err != nil {
		return conversation.Records{}, err
	}
	if !whole {
		result.Before = s.visible[len(s.visible)-1].high + 1
		if len(rows) > 0 {
			result.Before = rows[0].Seq
		}
	}
	for _, row := range rows {
		raw, err := s.unfolded(ctx, row)
		if err != nil {
			return conversation.Records{}, err
		}
		result.Records = append(result.Records, raw)
	}
	return result, nil
}

// newest takes visible records above after from the newest down, ascending in the result; whole tells
// that none was left out.
func (s *snapshot) newest(ctx context.Context, after chat.Seq, messages, records int) (taken []Stored, whole bool, err error) {
	if messages <= 0 || records <= 0 {
		return nil, after >= s.visible[len(s.visible)-1].high, nil
	}
	left := budget{bytes: mostBytes, records: records}
	defer func() { slices.Reverse(taken) }()
	for _, v := range slices.Backward(s.visible) {
		low := max(v.low, after+1)
		for high := v.high; high >= low; {
			from := s.chunkBelow(low, high, min(messages, records), max(min(messages, left.records), 1))
			rows, err := s.span(ctx, from, high)
			if err != nil {
				return nil, false, err
			}
			for _, row := range slices.Backward(rows) {
				if left.records == 0 || (row.Kind.Counts() && messages == 0) || !s.afford(&left, row) {
					return taken, false, nil
				}
				if row.Kind.Counts() {
					messages--
				}
				taken = append(taken, row)
			}
			high = from - 1
		}
	}
	return taken, true, nil
}
