package sequencer

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// lookup is one read of the store on behalf of a conversation, which waits for it. While it is in flight
// nothing of the conversation is committed, so what it finds is true when it is used.
type lookup struct {
	c    *conv
	job  *job // nil: a load
	what string

	// For a load: the conversation's records above the store's sealed position at its beginning.
	places []chat.Place
	metas  []meta

	needs  conversation.Verdict
	facts  conversation.Facts
	state  conversation.State
	recent *conversation.Recent
	err    error
}

// load begins to read a conversation.
func (o *owner) load(work context.Context, c *conv) {
	l := &lookup{c: c, what: "load"}
	if t := o.s.view.tail.convs[c.id]; t != nil {
		l.places, l.metas = t.places, t.metas
	}
	o.look(work, l)
}

// look does a look-up in the pool; when that is full it waits its turn. The backlog is bounded by what
// waits for it: commands and questions.
func (o *owner) look(work context.Context, l *lookup) {
	l.c.looking = true
	if o.lookups >= o.s.b.lookups {
		o.backlog.push(l)
		return
	}
	o.lookups++
	o.s.m.looking.Set(float64(o.lookups))
	o.looking.Go(func() {
		ctx, cancel := context.WithTimeout(work, storeWithin)
		defer cancel()
		if l.job == nil {
			l.load(ctx, o.s)
		} else {
			l.find(ctx, o.s)
		}
		o.found <- l // never full: it holds as many as there are in flight
	})
}

// lookedUp takes in what a look-up found.
func (o *owner) lookedUp(work context.Context, l *lookup) {
	o.lookups--
	o.s.m.looking.Set(float64(o.lookups))
	o.s.m.lookedUp(l.what, l.err)
	l.c.looking = false
	if l.err != nil && chat.KindOf(l.err) != chat.Unavailable {
		o.s.c.Log.Error("look-up failed", slog.String("what", l.what), slog.String("conversation", string(l.c.id)), slog.Any("error", l.err))
	}
	if l.job == nil {
		o.loaded(l)
	} else {
		o.learned(l)
	}
	if o.backlog.len() > 0 {
		o.look(work, o.backlog.pop())
	}
}

// loaded puts a conversation to use; when it could not be read all who wait for it are refused.
func (o *owner) loaded(l *lookup) {
	c := l.c
	asks := c.asks
	c.asks = nil
	if l.err == nil {
		o.lastID = max(o.lastID, l.state.Head.ID)
		c.recent = l.recent
		o.s.view.mu.Lock()
		c.state, c.loaded = l.state, true
		o.s.view.mu.Unlock()
		o.wake(c)
	} else {
		for c.queue.len() > 0 {
			o.reply(c.queue.pop(), reply{err: l.refusal()})
		}
		o.drop(c)
	}
	for _, q := range asks {
		q.done <- l.refusal()
	}
}

// learned gives a command its facts, or refuses that command alone.
func (o *owner) learned(l *lookup) {
	if l.err == nil {
		l.job.facts = l.facts
	} else {
		o.reply(l.c.queue.pop(), reply{err: l.refusal()}) // the command that looks is always the first
	}
	o.wake(l.c)
}

// refusal is what those who wait for the look-up hear: nil when it succeeded.
func (l *lookup) refusal() error {
	switch {
	case l.err == nil:
		return nil
	case chat.KindOf(l.err) == chat.Internal:
		return chat.Errorf(chat.Internal, "the conversation can not be read")
	default:
		return unavailable("the store does not answer")
	}
}

// load reads the store's rows and folds the tail over them, each row by its own seq.
func (l *lookup) load(ctx context.Context, s *Sequencer) {
	rows, err := s.c.Store.Load(ctx, l.c.id)
	if err != nil {
		l.err = passing(ctx, fmt.Errorf("load %s: %w", l.c.id, err))
		return
	}
	l.state, l.err = l.fold(ctx, s, rows.State)
	if l.err != nil {
		return
	}
	l.recent = conversation.NewRecent(rows.ClientTimes, s.b.recent)
	for i := range l.metas {
		m := &l.metas[i]
		l.recent.Add(m.sender, m.client, m.outcome(l.places[i].Seq))
	}
}

// fold reads from the log only the records that change more than the head.
func (l *lookup) fold(ctx context.Context, s *Sequencer, state conversation.State) (conversation.State, error) {
	var wanted []chat.Place
	for i := range l.metas {
		if l.metas[i].kind == kindStateful {
			wanted = append(wanted, l.places[i])
		}
	}
	var full []chat.Entry
	if len(wanted) > 0 {
		var err error
		full, err = s.c.Reader.Get(ctx, s.c.Token.Generation, l.c.id, s.c.Token.Partition, wanted)
		if err != nil {
			return state, passing(ctx, fmt.Errorf("load %s: %w", l.c.id, err))
		}
	}
	for i := range l.metas {
		m, place := &l.metas[i], l.places[i]
		if place.Seq > state.Head.Seq+1 {
			return state, fmt.Errorf("load %s: %w: record %d follows %d", l.c.id, ErrLog, place.Seq, state.Head.Seq)
		}
		r := chat.Record{ConversationID: l.c.id, Seq: place.Seq, N: m.n, ID: m.id, Kind: m.kind.recordKind()}
		if m.kind == kindStateful {
			r, full = full[0].Record, full[1:]
		}
		state = conversation.Apply(state, r, m.bucket)
	}
	return state, nil
}

// find asks the store for the facts that a command needs.
func (l *lookup) find(ctx context.Context, s *Sequencer) {
	cmd := &l.job.cmd
	l.facts = l.job.facts
	if l.needs.NeedsPrior {
		outcome, known, err := s.c.Store.Prior(ctx, l.c.id, cmd.Actor, cmd.ClientID)
		if err != nil {
			l.err = passing(ctx, fmt.Errorf("client id in %s: %w", l.c.id, err))
			return
		}
		l.facts.PriorKnown = true
		if known {
			l.facts.Prior = &outcome
			return
		}
	}
	if l.needs.NeedsTarget {
		target, there, err := s.c.Store.Target(ctx, l.c.id, cmd.TargetSeq)
		if err != nil {
			l.err = passing(ctx, fmt.Errorf("record %d of %s: %w", cmd.TargetSeq, l.c.id, err))
			return
		}
		l.facts.TargetKnown = true
		if there {
			l.facts.Target = &target
		}
	}
}

// passing makes a failure by time unavailable: nothing is known to be wrong with the data.
func passing(ctx context.Context, err error) error {
	if ctx.Err() != nil && chat.KindOf(err) == chat.Internal {
		return fmt.Errorf("%w: %w", chat.Errorf(chat.Unavailable, "the store does not answer in time"), err)
	}
	return err
}
