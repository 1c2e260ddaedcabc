package fanout

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// planned is one entry with everything that does not depend on who is registered.
type planned struct {
	entry *chat.Entry
	users []chat.UserID
	whole *audience // the audience that users is the whole of, or nil
	frame []byte

	passed bool // a fence, or put aside: it moves the position only
}

// poison is the verdict that one entry can never be delivered.
type poison struct {
	seq    uint64
	reason string
}

func (p *poison) Error() string { return fmt.Sprintf("stream sequence %d: %s", p.seq, p.reason) }

// Poison names the entry and the reason.
func (p *poison) Poison() (streamSeq uint64, reason string) { return p.seq, p.reason }

// Handle delivers a batch: entries of one generation or several, ascending and contiguous. Entries up to the
// position are dropped. An error means that nothing of the batch was delivered and it is to be handed again;
// once delivered it waits while too much is waiting for the transport.
func (w *Worker) Handle(ctx context.Context, entries []chat.Entry) error {
	entries = w.fresh(entries)
	if len(entries) == 0 {
		return nil
	}
	b, err := w.plan(ctx, entries)
	if err != nil {
		return err
	}
	w.typists.said(b.plans)
	w.grouped.said(b.plans)
	w.deliver(b.plans)
	for id, a := range b.audiences {
		w.audiences.put(id, a)
	}
	w.pump()
	return w.awaitRoom(ctx)
}

// fresh drops what lies up to the position.
func (w *Worker) fresh(entries []chat.Entry) []chat.Entry {
	position := w.Position()
	for len(entries) > 0 && !position.Before(markOf(&entries[0])) {
		entries = entries[1:]
	}
	return entries
}

func markOf(e *chat.Entry) chat.Mark {
	return chat.Mark{Generation: e.Generation, StreamSeq: e.StreamSeq, ID: e.ID}
}

// spot is an entry's place alone: what was quarantined may not have told its id.
func spot(e *chat.Entry) chat.Mark {
	return chat.Mark{Generation: e.Generation, StreamSeq: e.StreamSeq}
}

// Quarantine puts an entry aside: nobody receives it when its batch is handed again.
func (w *Worker) Quarantine(e chat.Entry, reason string) {
	w.audiences.remove(e.ConversationID) // it lacks this record now
	w.metrics.quarantined.Inc()
	w.config.Log.Error("a record is delivered to nobody",
		slog.String("conversation", string(e.ConversationID)), slog.Uint64("seq", uint64(e.Seq)), slog.String("reason", reason))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.position.Before(markOf(&e)) {
		w.aside[spot(&e)] = true
	}
}

// leftAside are the entries of a batch that were quarantined.
func (w *Worker) leftAside(entries []chat.Entry) map[*chat.Entry]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.aside) == 0 {
		return nil
	}
	left := make(map[*chat.Entry]bool)
	for i := range entries {
		if w.aside[spot(&entries[i])] {
			left[&entries[i]] = true
		}
	}
	return left
}

// batch is a batch while it is planned: private copies of the audiences, so that a failure leaves no trace.
type batch struct {
	w         *Worker
	audiences map[chat.ConversationID]*audience
	deleted   map[place]bool       // what the batch itself deletes
	aside     map[*chat.Entry]bool // only its place counts
	plans     []planned
}

type place struct {
	conversation chat.ConversationID
	seq          chat.Seq
}

// plan finds each entry's audience, asking the owner where it is not known.
func (w *Worker) plan(ctx context.Context, entries []chat.Entry) (*batch, error) {
	b := &batch{
		w: w, audiences: make(map[chat.ConversationID]*audience), aside: w.leftAside(entries),
		plans: make([]planned, 0, len(entries)),
	}
	if err := b.load(ctx, entries); err != nil {
		return nil, err
	}
	for i := range entries {
		if e := &entries[i]; e.Kind == chat.KindDelete {
			if b.deleted == nil {
				b.deleted = make(map[place]bool)
			}
			b.deleted[place{e.ConversationID, e.TargetSeq}] = true
		}
	}
	for i := range entries {
		p, err := b.planOne(ctx, &entries[i])
		if err != nil {
			return nil, err
		}
		b.plans = append(b.plans, p)
	}
	return b, nil
}

// passes reports whether nobody receives the entry.
func (b *batch) passes(e *chat.Entry) bool { return e.Kind == chat.KindFence || b.aside[e] }

// load gets the audiences that the batch begins with; several that are missing are asked for at once.
func (b *batch) load(ctx context.Context, entries []chat.Entry) error {
	var missing []chat.ConversationID
	var first []*chat.Entry
	for i := range entries {
		e := &entries[i]
		if _, seen := b.audiences[e.ConversationID]; seen || b.passes(e) {
			continue
		}
		kept := b.w.audiences.get(e.ConversationID)
		switch {
		case kept != nil && !kept.behind(e.Seq):
			b.w.metrics.kept.Inc()
			own := *kept
			b.audiences[e.ConversationID] = &own
		case e.Kind == chat.KindCreate && e.Seq == 1:
			b.audiences[e.ConversationID] = &audience{} // the record tells it all
		default:
			b.audiences[e.ConversationID] = nil
			missing, first = append(missing, e.ConversationID), append(first, e)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	answers, errs := b.w.askAll(ctx, missing)
	for i, id := range missing {
		if err := judge(first[i], answers[i], errs[i]); err != nil {
			return err
		}
		b.audiences[id] = answers[i]
	}
	return nil
}

// judge tells what an owner's answer for an entry means.
func judge(e *chat.Entry, a *audience, err error) error {
	if chat.KindOf(err) == chat.NotFound {
		return &poison{e.StreamSeq, "the owner of the partition knows no such conversation"}
	}
	if err != nil {
		return err
	}
	if a.state.Head.Seq < e.Seq {
		return chat.Errorf(chat.Unavailable, "the owner answers for seq %d of %s, seq %d is in the log", a.state.Head.Seq, e.ConversationID, e.Seq)
	}
	return nil
}

func (b *batch) planOne(ctx context.Context, e *chat.Entry) (planned, error) {
	if b.passes(e) {
		return planned{entry: e, passed: true}, nil
	}
	a := b.audiences[e.ConversationID]
	if a.behind(e.Seq) { // a record before it was put aside
		asked, err := b.w.ask(ctx, e.ConversationID)
		if err := judge(e, asked, err); err != nil {
			return planned{}, err
		}
		a = asked
		b.audiences[e.ConversationID] = a
	}
	p := planned{entry: e}
	users, whole := a.receive(&e.Record, e.Bucket)
	p.users = users
	if whole {
		p.whole = a
	}
	p.frame = b.frame(e)
	return p, nil
}

// frame is the push frame of an entry, without text that the batch deletes.
func (b *batch) frame(e *chat.Entry) []byte {
	raw := e.Raw
	if len(b.deleted) > 0 && textGone(e.Kind, place{e.ConversationID, e.Seq}, place{e.ConversationID, e.TargetSeq}, b.deleted) {
		raw = withoutText(e.Record)
	}
	return wire.AppendRaw(make([]byte, 0, len(raw)+48), frameType(e.Kind), raw)
}

// textGone reports whether a message, or an edit of it, has lost its text.
func textGone(kind chat.RecordKind, own, target place, deleted map[place]bool) bool {
	switch kind {
	case chat.KindMessage:
		return deleted[own]
	case chat.KindEdit:
		return deleted[target]
	default:
		return false
	}
}

func withoutText(r chat.Record) []byte {
	r.Text, r.Deleted = "", true
	return r.AppendJSON(nil)
}

func frameType(kind chat.RecordKind) string {
	if kind == chat.KindMessage {
		return wire.TypeMessageReceived
	}
	return wire.TypeRecordReceived
}

// deliver is the step that Register is linear with: position, numbers, ring and changes move together.
func (w *Worker) deliver(plans []planned) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := commit{w: w, lane: wire.LaneLog}
	for i := range plans {
		p := &plans[i]
		if p.entry.Generation != w.position.Generation {
			c.seal()
			w.turn(p.entry.Generation)
		}
		w.position = markOf(p.entry)
		if p.passed {
			delete(w.aside, spot(p.entry))
			continue
		}
		w.metrics.records.Inc()
		w.noteChange(p.entry)
		it := itemOf(p)
		it.targets = w.registry.aim(p.users, p.whole)
		c.deliver(it)
	}
	c.seal()
	w.moved.wake()
}
