package sequencer

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// model judges commands with every fact at hand: what a sequencer must do, one command at a time.
type model struct {
	states  map[chat.ConversationID]conversation.State
	priors  map[chat.ConversationID]map[clientKey]conversation.Outcome
	targets map[chat.ConversationID]map[chat.Seq]conversation.Target
}

func newModel() *model {
	return &model{
		states:  map[chat.ConversationID]conversation.State{},
		priors:  map[chat.ConversationID]map[clientKey]conversation.Outcome{},
		targets: map[chat.ConversationID]map[chat.Seq]conversation.Target{},
	}
}

// judge tells what a command gives; id is the id that the sequencer gave, if it made a record.
func (m *model) judge(c conversation.Command, id chat.ID) (conversation.Outcome, chat.Kind) {
	s := m.states[c.ConversationID]
	f := conversation.Facts{PriorKnown: true, TargetKnown: true}
	if prior, ok := m.priors[c.ConversationID][clientKey{c.Actor, c.ClientID}]; ok {
		f.Prior = &prior
	}
	if target, ok := m.targets[c.ConversationID][c.TargetSeq]; ok {
		f.Target = &target
	}
	v, err := conversation.Decide(s, c, f, conversation.Limits{})
	switch {
	case err != nil:
		return conversation.Outcome{}, chat.KindOf(err)
	case v.Standing != nil:
		return *v.Standing, ""
	}
	bucket := conversation.Stamp(s, v.Record, id)
	m.states[c.ConversationID] = conversation.Apply(s, *v.Record, bucket)
	o := conversation.Outcome{ID: id, Seq: v.Record.Seq, N: v.Record.N, Hash: c.Hash}
	if m.priors[c.ConversationID] == nil {
		m.priors[c.ConversationID] = map[clientKey]conversation.Outcome{}
		m.targets[c.ConversationID] = map[chat.Seq]conversation.Target{}
	}
	if !c.ClientID.IsZero() {
		m.priors[c.ConversationID][clientKey{c.Actor, c.ClientID}] = o
	}
	targets := m.targets[c.ConversationID]
	targets[o.Seq] = conversation.Target{Kind: v.Record.Kind, Sender: c.Actor}
	if v.Record.Kind == chat.KindDelete {
		target := targets[c.TargetSeq]
		target.Deleted = true
		targets[c.TargetSeq] = target
	}
	return o, ""
}

func TestASequencerDoesWhatTheModelDoes(t *testing.T) {
	w := newWorld(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := newModel()
		c := w.config()
		c.bounds.cached = rapid.IntRange(1, 2).Draw(rt, "cached")
		c.bounds.recent = rapid.IntRange(1, 4).Draw(rt, "recent")
		s := w.start(c)
		defer func() { _ = s.stop() }()
		var history []conversation.Command
		for i := range 2 {
			compare(rt, s, m, w.create(groupID(1000+2*run+i), user(0), user(1)))
			compare(rt, s, m, w.send(groupID(1000+2*run+i), user(1), "two"))
			compare(rt, s, m, w.send(groupID(1000+2*run+i), user(0), "three"))
		}
		for step := range rapid.IntRange(10, 60).Draw(rt, "steps") {
			switch rapid.IntRange(0, 19).Draw(rt, "what") {
			case 0:
				end := s.Durable().StreamSeq
				applied := rapid.Uint64Range(w.store.applied.StreamSeq, end).Draw(rt, "applied")
				w.persist(s, applied, rapid.Uint64Range(w.store.sealed.StreamSeq, applied).Draw(rt, "sealed"))
			case 1:
				_ = s.stop()
				c.NC = w.connect("again")
				c.publish = nil
				s = w.start(c)
			case 2, 3, 4:
				if len(history) > 0 {
					old := history[rapid.IntRange(0, len(history)-1).Draw(rt, "old")]
					if rapid.IntRange(0, 3).Draw(rt, "changed") == 0 {
						old.Text += "!"
						old = hashed(old)
					}
					compare(rt, s, m, old)
				}
			default:
				cmd := w.any(rt, run, step)
				history = append(history, cmd)
				compare(rt, s, m, cmd)
			}
		}
		for id, state := range m.states {
			if diff := cmp.Diff(state, s.ask(id).State); diff != "" {
				rt.Fatalf("%s (-model +sequencer)\n%s", id, diff)
			}
		}
	})
	kinds := map[chat.RecordKind]int{}
	for _, e := range w.check() {
		kinds[e.Kind]++
	}
	t.Log(kinds)
}

// any draws a command, correct in form, in one of two conversations.
func (w *world) any(rt *rapid.T, run, step int) conversation.Command {
	id := groupID(1000 + 2*run + rapid.IntRange(0, 1).Draw(rt, "conversation"))
	actor := user(rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 3}).Draw(rt, "actor"))
	who := user(rapid.IntRange(0, 3).Draw(rt, "who"))
	seq := chat.Seq(rapid.IntRange(1, 6).Draw(rt, "seq"))
	text := fmt.Sprintf("%d of %d", step, run)
	switch op := rapid.SampledFrom([]conversation.Op{
		conversation.OpSend, conversation.OpSend, conversation.OpEdit, conversation.OpEdit, conversation.OpDelete, conversation.OpDelete,
		conversation.OpCreate, conversation.OpAdd, conversation.OpRemove, conversation.OpRole, conversation.OpSettings,
	}).Draw(rt, "op"); op {
	case conversation.OpCreate:
		return w.create(id, user(0), user(1))
	case conversation.OpSend:
		return w.send(id, actor, text)
	case conversation.OpEdit:
		return w.edit(id, actor, seq, text)
	case conversation.OpDelete:
		return w.delete(id, actor, seq)
	case conversation.OpSettings:
		return hashed(conversation.Command{Op: op, ConversationID: id, Actor: actor, Name: &text})
	default:
		c := conversation.Command{Op: op, ConversationID: id, Actor: actor, Members: []chat.UserID{who}}
		if op == conversation.OpRole {
			c.Role = rapid.SampledFrom([]chat.Role{chat.RoleOwner, chat.RoleAdmin, chat.RoleMember}).Draw(rt, "role")
		}
		return hashed(c)
	}
}

func compare(rt *rapid.T, s *running, m *model, c conversation.Command) {
	got, err := s.Submit(context.Background(), c)
	want, kind := m.judge(c, got.ID)
	if kind != chat.KindOf(err) || got != want {
		rt.Fatalf("%s by %s in %s: %+v, %v; the model says %+v, %q", c.Op, c.Actor, c.ConversationID, got, err, want, kind)
	}
}
