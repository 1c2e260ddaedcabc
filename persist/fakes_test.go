package persist_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/persist/persisttest"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

var errAway = chat.Errorf(chat.Unavailable, "away")

// modelStore answers History's reads from the model that the conformance suite holds every store to.
type modelStore struct {
	persist.Store // the methods that History does not use: nil
	model         *persisttest.Model

	mu     sync.Mutex
	away   bool
	hidden map[chat.Seq]int // seqs left out of so many more ranges
	ranges int
	before func() // called before each range
}

func newModelStore(entries []chat.Entry) *modelStore {
	s := &modelStore{model: persisttest.NewModel(), hidden: map[chat.Seq]int{}}
	for _, e := range entries {
		s.model.Apply(e)
	}
	return s
}

func (s *modelStore) rows(id chat.ConversationID) []persist.Stored {
	c := s.model.Conversations[id]
	if c == nil {
		return nil
	}
	return c.Rows
}

func (s *modelStore) Range(ctx context.Context, id chat.ConversationID, from, to chat.Seq, limit int, newest bool) ([]persist.Stored, error) {
	if s.before != nil {
		s.before()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranges++
	if err := s.err(ctx); err != nil {
		return nil, err
	}
	var found []persist.Stored
	for _, row := range s.rows(id) {
		if row.Seq < from || row.Seq > to {
			continue
		}
		if s.hidden[row.Seq] > 0 {
			s.hidden[row.Seq]--
			continue
		}
		found = append(found, row)
	}
	if len(found) > limit && newest {
		found = found[len(found)-limit:]
	}
	return found[:min(limit, len(found))], nil
}

func (s *modelStore) err(ctx context.Context) error {
	if s.away {
		return errAway
	}
	return ctx.Err()
}

func (s *modelStore) SeqOf(ctx context.Context, id chat.ConversationID, record chat.ID) (chat.Seq, bool, error) {
	i := slices.IndexFunc(s.rows(id), func(row persist.Stored) bool { return row.ID == record })
	return chat.Seq(i + 1), i >= 0, s.err(ctx)
}

func (s *modelStore) SeqAt(ctx context.Context, id chat.ConversationID, at chat.ID) (chat.Seq, error) {
	rows := s.rows(id)
	i := slices.IndexFunc(rows, func(row persist.Stored) bool { return row.ID >= at })
	if i < 0 {
		i = len(rows)
	}
	return chat.Seq(i + 1), s.err(ctx)
}

func (s *modelStore) Versions(ctx context.Context, id chat.ConversationID, target chat.Seq) ([]persist.Stored, error) {
	c := s.model.Conversations[id]
	if c == nil {
		return nil, s.err(ctx)
	}
	return c.Versions(target), s.err(ctx)
}

// fakeLog holds entries by stream sequence.
type fakeLog struct {
	entries []chat.Entry
	trimmed uint64 // entries up to here are gone
	away    bool
	asked   int
}

func (l *fakeLog) Get(ctx context.Context, generation uint32, id chat.ConversationID, places []chat.Place) ([]chat.Entry, error) {
	if l.away {
		return nil, errAway
	}
	l.asked += len(places)
	var found []chat.Entry
	for _, p := range places {
		if p.StreamSeq <= l.trimmed || p.StreamSeq > uint64(len(l.entries)) {
			continue
		}
		e := l.entries[p.StreamSeq-1]
		if e.Generation != generation || e.ConversationID != id || e.Seq != p.Seq {
			return nil, errors.New("the place is another record's")
		}
		found = append(found, e)
	}
	return found, ctx.Err()
}

// reference is what History must show of a conversation, computed the plain way.
type reference struct {
	head    chat.Seq
	records []chat.Record // [i] has seq i+1
	raws    [][]byte
	visible []conversation.Interval
	deleted map[chat.Seq]bool
}

// newReference takes the first count entries of a log, and the deletes among the first deletes.
func newReference(l *persisttest.Log, id chat.ConversationID, count, deletes int, visible []conversation.Interval) *reference {
	r := &reference{visible: visible, deleted: map[chat.Seq]bool{}}
	for i, e := range l.Entries[:max(count, deletes)] {
		if e.ConversationID != id {
			continue
		}
		if i < count {
			r.head = e.Seq
			r.records = append(r.records, e.Record)
			r.raws = append(r.raws, e.Raw)
		}
		if e.Kind == chat.KindDelete {
			r.deleted[e.TargetSeq] = true
		}
	}
	return r
}

func (r *reference) sees(seq chat.Seq) bool {
	return seq >= 1 && seq <= r.head && slices.ContainsFunc(r.visible, func(in conversation.Interval) bool { return in.Contains(seq) })
}

// seqs lists what is visible.
func (r *reference) seqs() []chat.Seq {
	var seqs []chat.Seq
	for seq := chat.Seq(1); seq <= r.head; seq++ {
		if r.sees(seq) {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

// stretch is the run of visible seqs around one of them.
func (r *reference) stretch(seq chat.Seq) (low, high chat.Seq) {
	for _, in := range r.visible {
		if in.Contains(seq) {
			low, high = in.Joined, r.head
			if in.Removed != 0 {
				high = min(high, in.Removed-1)
			}
		}
	}
	return low, high
}

func (r *reference) item(seq chat.Seq) bool {
	k := r.records[seq-1].Kind
	return k != chat.KindEdit && k != chat.KindDelete && k != chat.KindPreference
}

func (r *reference) folded(seq chat.Seq) string {
	m := r.records[seq-1]
	if m.Kind != chat.KindMessage {
		return string(r.raws[seq-1])
	}
	text := m.Text
	for _, e := range r.records {
		if e.Kind == chat.KindEdit && e.TargetSeq == seq && r.sees(e.Seq) {
			m.EditedSeq, text = e.Seq, e.Text
		}
	}
	m.Text, m.Deleted = text, r.deleted[seq]
	if m.Deleted {
		m.Text = ""
	}
	return string(m.AppendJSON(nil))
}

func (r *reference) unfolded(seq chat.Seq) string {
	m := r.records[seq-1]
	gone := m.Kind == chat.KindMessage && r.deleted[seq] || m.Kind == chat.KindEdit && r.deleted[m.TargetSeq] && r.edits(seq)
	if gone {
		m.Text, m.Deleted = "", true
	}
	return string(m.AppendJSON(nil))
}

// edits tells whether the edit at seq names a message that was not deleted before. The rules see to it;
// the text of any other may be shown or not.
func (r *reference) edits(seq chat.Seq) bool {
	target := r.records[seq-1].TargetSeq
	for _, d := range r.records[:seq-1] {
		if d.Kind == chat.KindDelete && d.TargetSeq == target {
			return false
		}
	}
	return r.records[target-1].Kind == chat.KindMessage
}

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
