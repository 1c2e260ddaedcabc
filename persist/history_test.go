package persist_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/persist/persisttest"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// scene is a random conversation split at random between store, log and what came after the answer.
type scene struct {
	history *persist.History
	answer  conversation.Answer
	visible []conversation.Interval
	// want counts the deletes up to the answer, wantMore also those after it that the store has: a text
	// may be gone sooner, never later.
	want, wantMore *reference
	log            *persisttest.Log
}

func drawScene(t *rapid.T) *scene {
	l := persisttest.RandomLog(t, 120)
	id, created := persisttest.Group(0), 1
	if rapid.IntRange(0, 4).Draw(t, "which") == 0 {
		id, created = persisttest.Self(0), 4 // half of it is preferences
	}
	count := rapid.IntRange(created, len(l.Entries)).Draw(t, "entries in the answer")
	applied := rapid.IntRange(0, count).Draw(t, "applied when answered")
	stored := rapid.IntRange(applied, len(l.Entries)).Draw(t, "stored when read")
	log := &fakeLog{entries: l.Entries, trimmed: uint64(rapid.IntRange(0, stored).Draw(t, "trimmed"))}
	s := &scene{
		history: persist.NewHistory(persist.HistoryConfig{Store: newModelStore(l.Entries[:stored]), Log: log}),
		answer:  l.Answer(id, applied, count),
		visible: drawVisible(t),
		log:     l,
	}
	s.want = newReference(l, id, count, 0, s.visible)
	s.wantMore = newReference(l, id, count, stored, s.visible)
	return s
}

func drawVisible(t *rapid.T) []conversation.Interval {
	if rapid.Bool().Draw(t, "all visible") {
		return []conversation.Interval{{Joined: 1}}
	}
	var visible []conversation.Interval
	at := chat.Seq(rapid.IntRange(1, 10).Draw(t, "joined"))
	for range rapid.IntRange(0, 2).Draw(t, "closed intervals") {
		end := at + chat.Seq(rapid.IntRange(1, 15).Draw(t, "length"))
		visible = append(visible, conversation.Interval{Joined: at, Removed: end})
		at = end + chat.Seq(rapid.IntRange(1, 6).Draw(t, "away"))
	}
	return append(visible, conversation.Interval{Joined: at})
}

func (s *scene) page(t *rapid.T, q conversation.PageQuery) conversation.Page {
	t.Helper()
	q.Answer, q.Visible = s.answer, s.visible
	p, err := s.history.Page(context.Background(), q)
	if err != nil {
		t.Fatalf("page: %v", err)
	}
	s.check(t, q, p)
	return p
}

// check holds one page against the reference: its range, its messages, what it says of the rest.
func (s *scene) check(t *rapid.T, q conversation.PageQuery, p conversation.Page) {
	t.Helper()
	if p.Head != s.answer.State.Head {
		t.Fatalf("head %v, the answer's is %v", p.Head, s.answer.State.Head)
	}
	if p.FromSeq == 0 {
		if p.ToSeq != 0 || len(p.Messages) > 0 {
			t.Fatalf("an empty page with %d messages up to %d", len(p.Messages), p.ToSeq)
		}
		return
	}
	var items []chat.Seq
	for seq := p.FromSeq; seq <= p.ToSeq; seq++ {
		if !s.want.sees(seq) {
			t.Fatalf("page %d to %d covers %d, which is not visible", p.FromSeq, p.ToSeq, seq)
		}
		if s.want.item(seq) {
			items = append(items, seq)
		}
	}
	if len(items) != len(p.Messages) || len(items) > q.Limit {
		t.Fatalf("page %d to %d has %d messages, want %d of at most %d", p.FromSeq, p.ToSeq, len(p.Messages), len(items), q.Limit)
	}
	for i, seq := range items {
		if got := string(p.Messages[i]); got != s.want.folded(seq) && got != s.wantMore.folded(seq) {
			t.Fatalf("message %d differs (-want +got):\n%s", seq, cmp.Diff(s.want.folded(seq), got))
		}
	}
	seqs := s.want.seqs()
	if more := seqs[0] < p.FromSeq; more != p.MoreBefore {
		t.Fatalf("more before %d: %v, want %v", p.FromSeq, p.MoreBefore, more)
	}
	if more := seqs[len(seqs)-1] > p.ToSeq; more != p.MoreAfter {
		t.Fatalf("more after %d: %v, want %v", p.ToSeq, p.MoreAfter, more)
	}
}

// position is a seq as itself or as the id of its record.
func (s *scene) position(t *rapid.T, seq chat.Seq) *chat.Position {
	p := chat.Position(seq)
	if seq > 0 && s.want.sees(seq) && rapid.Bool().Draw(t, "by id") {
		p = chat.Position(s.want.records[seq-1].ID)
	}
	return &p
}

func TestWalkingPagesNeitherSkipsNorRepeats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		var back []chat.Seq
		for p := s.page(t, conversation.PageQuery{Limit: limit}); p.FromSeq > 0; {
			var covered []chat.Seq
			for seq := p.FromSeq; seq <= p.ToSeq; seq++ {
				covered = append(covered, seq)
			}
			back = append(covered, back...)
			if !p.MoreBefore {
				break
			}
			p = s.page(t, conversation.PageQuery{Limit: limit, Before: s.position(t, p.FromSeq)})
		}
		if d := cmp.Diff(s.want.seqs(), back); d != "" {
			t.Fatalf("walking back (-want +got):\n%s", d)
		}
		var forth []chat.Seq
		for at := chat.Seq(0); ; {
			p := s.page(t, conversation.PageQuery{Limit: limit, After: s.position(t, at)})
			for seq := p.FromSeq; seq <= p.ToSeq && seq > 0; seq++ {
				forth = append(forth, seq)
			}
			if !p.MoreAfter {
				break
			}
			if p.MoreAfter && len(p.Messages) < limit && at > 0 && p.FromSeq == 0 {
				t.Fatalf("an empty page after %d says there is more", at)
			}
			at = p.ToSeq
		}
		if d := cmp.Diff(s.want.seqs(), forth); d != "" {
			t.Fatalf("walking forth (-want +got):\n%s", d)
		}
	})
}

func TestAPageAroundAPositionIsFullAndHoldsIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		q := conversation.PageQuery{Limit: rapid.IntRange(1, 12).Draw(t, "limit")}
		seq := chat.Seq(rapid.IntRange(0, int(s.want.head)+3).Draw(t, "around"))
		if rapid.Bool().Draw(t, "by time") && seq >= 1 && seq <= s.want.head {
			q.At = s.want.records[seq-1].ID.Time()
			for seq <= s.want.head && !s.want.sees(seq) {
				seq++
			}
		} else {
			q.Around = s.position(t, seq)
		}
		p := s.page(t, q)
		if !s.want.sees(seq) {
			if p.FromSeq != 0 {
				t.Fatalf("around %d, which is not visible: %d to %d", seq, p.FromSeq, p.ToSeq)
			}
			return
		}
		if seq < p.FromSeq || seq > p.ToSeq {
			t.Fatalf("around %d: %d to %d", seq, p.FromSeq, p.ToSeq)
		}
		low, high := s.want.stretch(seq)
		available := 0
		for at := low; at <= high; at++ {
			if s.want.item(at) {
				available++
			}
		}
		if want := min(available, q.Limit); len(p.Messages) != want && s.want.item(seq) {
			t.Fatalf("around %d of %d to %d: %d messages, want %d", seq, low, high, len(p.Messages), want)
		}
	})
}

func TestSyncRecordsAreTheNewestWithoutHoles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		q := conversation.RecordsQuery{
			Answer: s.answer, Visible: s.visible,
			After:    chat.Seq(rapid.IntRange(0, int(s.want.head)+2).Draw(t, "after")),
			Messages: rapid.IntRange(0, 15).Draw(t, "messages"), Records: rapid.IntRange(1, 40).Draw(t, "records"),
		}
		got, err := s.history.Records(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var want []chat.Seq
		messages, left := 0, false
		for _, seq := range slices.Backward(s.want.seqs()) {
			if seq <= q.After {
				break
			}
			isMessage := s.want.records[seq-1].Kind == chat.KindMessage
			if q.Messages == 0 || len(want) == q.Records || isMessage && messages == q.Messages {
				left = true
				break
			}
			if isMessage {
				messages++
			}
			want = append(want, seq)
		}
		slices.Reverse(want)
		if len(got.Records) != len(want) || left != (got.Before != 0) {
			t.Fatalf("%d records, gap before %d; want %d, gap %v", len(got.Records), got.Before, len(want), left)
		}
		for i, seq := range want {
			if s.want.records[seq-1].Kind == chat.KindEdit && !s.want.edits(seq) {
				continue
			}
			if raw := string(got.Records[i]); raw != s.want.unfolded(seq) && raw != s.wantMore.unfolded(seq) {
				t.Fatalf("record %d differs (-want +got):\n%s", seq, cmp.Diff(s.want.unfolded(seq), raw))
			}
		}
		if left && len(want) > 0 && got.Before != want[0] {
			t.Fatalf("gap ends at %d, the first record is %d", got.Before, want[0])
		}
		if left && got.After < q.After {
			t.Fatalf("gap begins at %d, below what was asked", got.After)
		}
	})
}

func TestVersionsLastMessageAndPositions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := t.Context()
		s := drawScene(t)
		last, err := s.history.LastMessage(ctx, s.answer, s.visible)
		if err != nil {
			t.Fatal(err)
		}
		newest := chat.Seq(0)
		for _, seq := range s.want.seqs() {
			if s.want.records[seq-1].Kind == chat.KindMessage {
				newest = seq
			}
		}
		if newest == 0 && last != nil || newest > 0 && string(last) != s.want.folded(newest) && string(last) != s.wantMore.folded(newest) {
			t.Fatalf("last message is %s, want that of %d", last, newest)
		}
		seq := chat.Seq(rapid.IntRange(0, int(s.want.head)+2).Draw(t, "seq"))
		s.checkResolve(t, seq)
		versions, err := s.history.Versions(ctx, s.answer, s.visible, seq)
		if !s.want.sees(seq) || s.want.records[seq-1].Kind != chat.KindMessage {
			if chat.KindOf(err) != chat.NotFound {
				t.Fatalf("versions of %d: %v", seq, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for _, r := range s.want.records[seq-1:] {
			if !s.want.sees(r.Seq) || r.Seq != seq && (r.Kind != chat.KindEdit || r.TargetSeq != seq) {
				continue
			}
			if r.Kind == chat.KindEdit && !s.want.edits(r.Seq) {
				i++
				continue
			}
			if i >= len(versions) || string(versions[i]) != s.want.unfolded(r.Seq) && string(versions[i]) != s.wantMore.unfolded(r.Seq) {
				t.Fatalf("version %d of %d: %s, want %s", i, seq, versions[i:], s.want.unfolded(r.Seq))
			}
			i++
		}
		if i != len(versions) {
			t.Fatalf("%d versions of %d, want %d", len(versions), seq, i)
		}
	})
}

func (s *scene) checkResolve(t *rapid.T, seq chat.Seq) {
	t.Helper()
	head, err := s.history.Resolve(t.Context(), s.answer, chat.Position(seq))
	if seq == 0 || seq > s.want.head {
		if chat.KindOf(err) != chat.NotFound {
			t.Fatalf("resolve %d: %v, want not_found", seq, err)
		}
		return
	}
	r := s.want.records[seq-1]
	want := chat.Head{Seq: seq, N: r.N, ID: r.ID}
	if err != nil || head != want {
		t.Fatalf("resolve %d: %v, %v; want %v", seq, head, err, want)
	}
	if head, err = s.history.Resolve(t.Context(), s.answer, chat.Position(r.ID)); err != nil || head != want {
		t.Fatalf("resolve id of %d: %v, %v; want %v", seq, head, err, want)
	}
	if _, err = s.history.Resolve(t.Context(), s.answer, chat.Position(r.ID-1)); chat.KindOf(err) != chat.NotFound {
		t.Fatalf("resolve nobody's id: %v", err)
	}
}

var later = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func TestPositionsOutOfRange(t *testing.T) {
	l := persisttest.NewLog()
	id := persisttest.Group(0)
	l.Create(id, persisttest.User(1))
	other := l.Create(persisttest.Group(1), persisttest.User(1))
	for i := range 9 {
		l.Send(id, persisttest.User(1), persisttest.Text(i))
	}
	history := persist.NewHistory(persist.HistoryConfig{Store: newModelStore(l.Entries), Log: &fakeLog{}})
	answer := l.Answer(id, len(l.Entries), len(l.Entries))
	at := func(p chat.Position) *chat.Position { return &p }
	tests := map[string]struct {
		query         conversation.PageQuery
		from, to      chat.Seq
		before, after bool
		kind          chat.Kind
	}{
		"the newest":            {query: conversation.PageQuery{Limit: 3}, from: 8, to: 10, before: true},
		"no limit means fifty":  {query: conversation.PageQuery{}, from: 1, to: 10},
		"before the first":      {query: conversation.PageQuery{Before: at(1)}, after: true},
		"before nothing":        {query: conversation.PageQuery{Before: at(0)}, after: true},
		"before the head's end": {query: conversation.PageQuery{Before: at(11), Limit: 2}, from: 9, to: 10, before: true},
		"before the future":     {query: conversation.PageQuery{Before: at(12), Limit: 2}, before: true},
		"after the last":        {query: conversation.PageQuery{After: at(10)}, before: true},
		"after the future":      {query: conversation.PageQuery{After: at(1000)}, before: true},
		"after nothing":         {query: conversation.PageQuery{After: at(0), Limit: 4}, from: 1, to: 4, after: true},
		"around nothing":        {query: conversation.PageQuery{Around: at(0)}, after: true},
		"around the future":     {query: conversation.PageQuery{Around: at(11)}, before: true},
		"around the first":      {query: conversation.PageQuery{Around: at(1), Limit: 4}, from: 1, to: 4, after: true},
		"around the last":       {query: conversation.PageQuery{Around: at(10), Limit: 4}, from: 7, to: 10, before: true},
		"around the middle":     {query: conversation.PageQuery{Around: at(5), Limit: 5}, from: 3, to: 7, before: true, after: true},
		"long ago":              {query: conversation.PageQuery{At: time.Unix(1, 0), Limit: 2}, from: 1, to: 2, after: true},
		"later":                 {query: conversation.PageQuery{At: later}, before: true},
		"an unknown id":         {query: conversation.PageQuery{Before: at(chat.Position(l.Entries[4].ID + 1))}, kind: chat.NotFound},
		"another's id":          {query: conversation.PageQuery{Around: at(chat.Position(other.ID))}, kind: chat.NotFound},
		"an id of the future":   {query: conversation.PageQuery{After: at(chat.Position(answer.State.Head.ID + 1))}, kind: chat.NotFound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.query.Answer, test.query.Visible = answer, []conversation.Interval{{Joined: 1}}
			p, err := history.Page(t.Context(), test.query)
			if test.kind != "" {
				if chat.KindOf(err) != test.kind {
					t.Errorf("error %v, want %s", err, test.kind)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.FromSeq != test.from || p.ToSeq != test.to || p.MoreBefore != test.before || p.MoreAfter != test.after {
				t.Errorf("%d to %d, more %v and %v; want %d to %d, %v and %v", p.FromSeq, p.ToSeq, p.MoreBefore, p.MoreAfter, test.from, test.to, test.before, test.after)
			}
		})
	}
}
