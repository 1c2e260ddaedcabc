package fanout

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// audience is one conversation's state and what is derived from it. Handle works on a copy of its own.
type audience struct {
	state    conversation.State
	open     []chat.UserID // members now, sorted; immutable, shared
	youngest chat.Seq      // highest joined_seq of a member now

	// The targets of open at a registry's epoch; set and read under the worker's lock by Handle alone.
	aim      []target
	aimEpoch uint64
}

func newAudience(s conversation.State) *audience {
	s.Preferences = nil // no matter who receives what, and of any size
	a := &audience{state: s}
	a.refresh()
	return a
}

func (a *audience) refresh() {
	a.open, a.youngest, a.aim, a.aimEpoch = a.state.OpenMembers(), 0, nil, 0
	for _, u := range a.open {
		a.youngest = max(a.youngest, a.state.JoinedSeq(u))
	}
}

// behind reports whether the state lacks a record before seq.
func (a *audience) behind(seq chat.Seq) bool { return a.state.Head.Seq+1 < seq }

// receive moves the state on by the record, unless it is ahead already, and tells who receives it: who is a
// member now and was one at the record, and whom it removed. whole means that users is a.open.
func (a *audience) receive(r *chat.Record, bucket chat.Bucket) (users []chat.UserID, whole bool) {
	if r.Seq == a.state.Head.Seq+1 {
		a.state = conversation.Apply(a.state, *r, bucket)
		a.state.Preferences = nil
		if r.Kind == chat.KindCreate || r.Kind == chat.KindMember {
			a.refresh()
		}
	}
	removes := r.Kind == chat.KindMember && (r.Action == chat.ActionRemoved || r.Action == chat.ActionLeft)
	if a.youngest <= r.Seq && !removes {
		return a.open, true
	}
	users = make([]chat.UserID, 0, len(a.open)+len(r.UserIDs))
	for _, u := range a.open {
		if a.wasMember(u, r.Seq) {
			users = append(users, u)
		}
	}
	if removes {
		for _, u := range r.UserIDs {
			if a.removedAt(u, r.Seq) {
				users = append(users, u)
			}
		}
		slices.Sort(users)
	}
	return slices.Compact(users), false
}

func (a *audience) wasMember(u chat.UserID, seq chat.Seq) bool {
	return slices.ContainsFunc(a.state.Members[u].Intervals, func(in conversation.Interval) bool { return in.Contains(seq) })
}

func (a *audience) removedAt(u chat.UserID, seq chat.Seq) bool {
	return slices.ContainsFunc(a.state.Members[u].Intervals, func(in conversation.Interval) bool { return in.Removed == seq })
}

// audiences keeps what was asked, bounded by weight. Entries are never changed once they are in it.
type audiences struct {
	mu   sync.Mutex
	kept *lru[chat.ConversationID, *audience]
}

func newAudiences(most int) *audiences {
	weight := func(a *audience) int { return 8 + len(a.state.Members) }
	return &audiences{kept: newLRU[chat.ConversationID, *audience](most, weight)}
}

func (s *audiences) get(id chat.ConversationID) *audience {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, _ := s.kept.get(id)
	return a
}

func (s *audiences) put(id chat.ConversationID, a *audience) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept.put(id, a)
}

// putAbsent keeps a unless Handle, whose state is folded in order, has put one.
func (s *audiences) putAbsent(id chat.ConversationID, a *audience) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.kept.get(id); !ok {
		s.kept.put(id, a)
	}
}

func (s *audiences) remove(id chat.ConversationID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept.remove(id)
}

// ask has the owner answer; a conversation that it does not know is chat.NotFound.
func (w *Worker) ask(ctx context.Context, id chat.ConversationID) (*audience, error) {
	w.metrics.asked.Inc()
	answer, err := w.config.Owner.Ask(ctx, id)
	if err == nil && !answer.State.Exists() {
		err = chat.Errorf(chat.NotFound, "no such conversation")
	}
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", id, err)
	}
	return newAudience(answer.State), nil
}

// askAll asks for several conversations, a bounded number at a time. Answers and errors stand in the order
// of ids; every id has one of the two.
func (w *Worker) askAll(ctx context.Context, ids []chat.ConversationID) ([]*audience, []error) {
	answers, errs := make([]*audience, len(ids)), make([]error, len(ids))
	if len(ids) == 1 {
		answers[0], errs[0] = w.ask(ctx, ids[0])
		return answers, errs
	}
	var group errgroup.Group
	group.SetLimit(askWidth)
	for i, id := range ids {
		group.Go(func() error {
			answers[i], errs[i] = w.ask(ctx, id)
			return nil // each error is judged by itself
		})
	}
	_ = group.Wait()
	return answers, errs
}
