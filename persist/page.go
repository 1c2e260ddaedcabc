package persist

import (
	"context"
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// page answers a page query.
func (s *snapshot) page(ctx context.Context, q conversation.PageQuery) (conversation.Page, error) {
	if len(s.visible) == 0 {
		return conversation.Page{Head: s.answer.State.Head}, nil
	}
	var rows []Stored
	var at chat.Seq // where an empty page lies: between at-1 and at
	var err error
	switch {
	case q.Before != nil:
		rows, at, err = s.before(ctx, *q.Before, q.Limit)
	case q.After != nil:
		rows, at, err = s.after(ctx, *q.After, q.Limit)
	case q.Around != nil:
		rows, at, err = s.aroundPosition(ctx, *q.Around, q.Limit)
	case !q.At.IsZero():
		rows, at, err = s.aroundTime(ctx, q.At, q.Limit)
	default:
		last := s.visible[len(s.visible)-1]
		at = last.high + 1
		rows, err = s.down(ctx, last, q.Limit)
	}
	if err != nil {
		return conversation.Page{}, err
	}
	return s.assemble(ctx, rows, at)
}

func (s *snapshot) assemble(ctx context.Context, rows []Stored, at chat.Seq) (conversation.Page, error) {
	first, last := s.visible[0].low, s.visible[len(s.visible)-1].high
	p := conversation.Page{Head: s.answer.State.Head, MoreBefore: first < at, MoreAfter: last >= at}
	if len(rows) == 0 {
		return p, nil
	}
	p.FromSeq, p.ToSeq = rows[0].Seq, rows[len(rows)-1].Seq
	p.MoreBefore, p.MoreAfter = first < p.FromSeq, last > p.ToSeq
	for _, row := range rows {
		if row.Kind.Folded() {
			continue
		}
		raw, err := s.folded(ctx, row)
		if err != nil {
			return conversation.Page{}, err
		}
		p.Messages = append(p.Messages, raw)
	}
	return p, nil
}

// seqOf turns a position into a seq. A seq is taken as it is, an id must be a visible record's.
func (s *snapshot) seqOf(ctx context.Context, p chat.Position) (chat.Seq, error) {
	if seq, ok := p.Seq(); ok {
		return seq, nil
	}
	seq, ok, err := s.find(ctx, p.ID())
	if err != nil {
		return 0, err
	}
	if !ok || !s.sees(seq) {
		return 0, chat.Errorf(chat.NotFound, "no such record in this conversation")
	}
	return seq, nil
}

func (s *snapshot) before(ctx context.Context, p chat.Position, limit int) ([]Stored, chat.Seq, error) {
	seq, err := s.seqOf(ctx, p)
	if err != nil || seq == 0 || seq > s.head+1 {
		return nil, seq, err
	}
	for _, v := range slices.Backward(s.visible) {
		if v.low < seq {
			rows, err := s.down(ctx, stretch{v.low, min(v.high, seq-1)}, limit)
			return rows, seq, err
		}
	}
	return nil, seq, nil
}

func (s *snapshot) after(ctx context.Context, p chat.Position, limit int) ([]Stored, chat.Seq, error) {
	seq, err := s.seqOf(ctx, p)
	if err != nil {
		return nil, 0, err
	}
	for _, v := range s.visible {
		if v.high > seq {
			rows, err := s.up(ctx, stretch{max(v.low, seq+1), v.high}, limit)
			return rows, seq + 1, err
		}
	}
	return nil, seq + 1, nil
}

func (s *snapshot) aroundPosition(ctx context.Context, p chat.Position, limit int) ([]Stored, chat.Seq, error) {
	seq, err := s.seqOf(ctx, p)
	if err != nil {
		return nil, 0, err
	}
	rows, err := s.around(ctx, seq, limit)
	return rows, seq, err
}

func (s *snapshot) aroundTime(ctx context.Context, t time.Time, limit int) ([]Stored, chat.Seq, error) {
	seq, err := s.firstAtOrAfter(ctx, chat.MakeID(t.UnixMilli(), 0, 0))
	if err != nil {
		return nil, 0, err
	}
	for _, v := range s.visible {
		if v.high >= seq {
			seq = max(seq, v.low)
			break
		}
	}
	rows, err := s.around(ctx, seq, limit)
	return rows, seq, err
}

// around takes half of the items before seq, seq itself and the rest after it; what one side lacks the
// other gives. Nothing when seq is not visible.
func (s *snapshot) around(ctx context.Context, seq chat.Seq, limit int) ([]Stored, error) {
	i := slices.IndexFunc(s.visible, func(v stretch) bool { return seq >= v.low && seq <= v.high })
	if i < 0 {
		return nil, nil
	}
	in := s.visible[i]
	upper, err := s.up(ctx, stretch{seq + 1, in.high}, (limit-1)/2)
	if err != nil {
		return nil, err
	}
	lower, err := s.down(ctx, stretch{in.low, seq}, limit-items(upper))
	if err != nil {
		return nil, err
	}
	if lower[0].Seq == in.low {
		from := lower[len(lower)-1].Seq + 1
		if upper, err = s.up(ctx, stretch{from, in.high}, limit-items(lower)); err != nil {
			return nil, err
		}
	}
	return append(lower, upper...), nil
}

func items(rows []Stored) int {
	count := 0
	for _, row := range rows {
		if !row.Kind.Folded() {
			count++
		}
	}
	return count
}

// down reads from the high end of a stretch until it has limit items, ascending. It stops early at the
// bounds on bytes and records, then with at least one record.
func (s *snapshot) down(ctx context.Context, in stretch, limit int) ([]Stored, error) {
	var taken []Stored
	budget := budget{items: limit, bytes: mostBytes, records: mostScanned}
	for high := in.high; high >= in.low && limit > 0; {
		low := s.chunkBelow(in.low, high, limit, max(budget.items, 1))
		rows, err := s.span(ctx, low, high)
		if err != nil {
			return nil, err
		}
		for _, row := range slices.Backward(rows) {
			if budget.items == 0 || !s.afford(&budget, row) {
				slices.Reverse(taken)
				return taken, nil
			}
			taken = append(taken, row)
		}
		high = low - 1
	}
	slices.Reverse(taken)
	return taken, nil
}

// up reads from the low end of a stretch until it has limit items, and on to the next item, so that what
// is left holds one. It stops early like down.
func (s *snapshot) up(ctx context.Context, in stretch, limit int) ([]Stored, error) {
	var taken []Stored
	budget := budget{items: limit, bytes: mostBytes, records: mostScanned}
	for low := in.low; low <= in.high && limit > 0; {
		high := min(in.high, low+chunkSize(limit)-1)
		rows, err := s.span(ctx, low, high)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if (budget.items == 0 && !row.Kind.Folded()) || !s.afford(&budget, row) {
				return taken, nil
			}
			taken = append(taken, row)
		}
		low = high + 1
	}
	return taken, nil
}

// chunkSize is how many records are read at once for limit items: some are edits and deletes.
func chunkSize(limit int) chat.Seq { return chat.Seq(limit + limit/8 + 4) }

// chunkBelow is the low end of the records read at once down from high, for limit items of which enough
// would do. It stays within the tail when that may do: then a store that is away is not missed.
func (s *snapshot) chunkBelow(low, high chat.Seq, limit, enough int) chat.Seq {
	if n := chunkSize(limit); high-low >= n {
		low = high - n + 1
	}
	if low < s.tailFrom && high+1 >= s.tailFrom+chat.Seq(enough) {
		return s.tailFrom
	}
	return low
}

// budget is what an answer may still take.
type budget struct{ items, bytes, records int }

// afford takes a record from the budget; false when it does not fit. The first one always does.
func (s *snapshot) afford(b *budget, row Stored) bool {
	first := b.bytes == mostBytes
	if !first && b.bytes < len(row.Raw) {
		s.metrics.cutByBytes.Inc()
		return false
	}
	if b.records == 0 {
		s.metrics.cutByScanning.Inc()
		return false
	}
	b.bytes -= len(row.Raw)
	b.records--
	if !row.Kind.Folded() {
		b.items--
	}
	return true
}
