package conversation_test

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// world is the smallest shell around the pure package: it looks facts up, stamps, applies and remembers,
// as the sequencer does, in memory and for one command at a time.
type world struct {
	now    time.Time
	last   chat.ID
	limits conversation.Limits
	window int
	all    map[chat.ConversationID]*thread
}

type thread struct {
	state  conversation.State
	log    []logged
	priors map[sent]conversation.Outcome
	recent *conversation.Recent
}

type logged struct {
	record chat.Record
	bucket chat.Bucket
	before conversation.State
	after  conversation.State
}

type sent struct {
	sender chat.UserID
	client chat.ClientID
}

// result is what a command came to: a record, or an outcome that stands; and which facts were looked up.
type result struct {
	logged   *logged
	standing *conversation.Outcome
	asked    string
}

func newWorld() *world {
	return &world{
		now: time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC),
		all: map[chat.ConversationID]*thread{},
	}
}

func (w *world) thread(id chat.ConversationID) *thread {
	t := w.all[id]
	if t == nil {
		t = &thread{priors: map[sent]conversation.Outcome{}, recent: conversation.NewRecent(nil, w.window)}
		w.all[id] = t
	}
	return t
}

// restart forgets what only memory held, as a new owner of the partition that loads from the store.
func (t *thread) restart(window int) {
	times := map[chat.UserID]int64{}
	for k := range t.priors {
		times[k.sender] = max(times[k.sender], k.client.UnixMilli())
	}
	t.recent = conversation.NewRecent(times, window)
}

func (t *thread) target(seq chat.Seq) *conversation.Target {
	if seq == 0 || int(seq) > len(t.log) {
		return nil
	}
	r := t.log[seq-1].record
	target := &conversation.Target{Kind: r.Kind, Sender: r.SenderID}
	for _, l := range t.log[seq:] {
		if l.record.Kind == chat.KindDelete && l.record.TargetSeq == seq {
			target.Deleted = true
		}
	}
	return target
}

func (w *world) do(c conversation.Command) (result, error) {
	if err := conversation.Check(c); err != nil {
		return result{}, err
	}
	if err := conversation.CheckClientTime(c, w.now); err != nil {
		return result{}, err
	}
	c.Hash = conversation.BodyHash([]byte("key"), c)
	t := w.thread(c.ConversationID)
	var f conversation.Facts
	f.PriorKnown, f.Prior = t.recent.Lookup(c.Actor, c.ClientID)
	asked := ""
	for range 3 {
		v, err := conversation.Decide(t.state, c, f, w.limits)
		switch {
		case err != nil:
			return result{asked: asked}, err
		case v.Record != nil:
			return result{logged: w.commit(t, c, *v.Record), asked: asked}, nil
		case v.Standing != nil:
			return result{standing: v.Standing, asked: asked}, nil
		}
		if v.NeedsPrior {
			asked += " prior"
			f.PriorKnown = true
			if o, ok := t.priors[sent{c.Actor, c.ClientID}]; ok {
				f.Prior = &o
			}
		}
		if v.NeedsTarget {
			asked += " target"
			f.TargetKnown, f.Target = true, t.target(c.TargetSeq)
		}
	}
	return result{}, fmt.Errorf("command %s asks for facts without end", c.Op)
}

func (w *world) commit(t *thread, c conversation.Command, r chat.Record) *logged {
	w.last = chat.NextID(w.last, w.now, 0)
	l := logged{before: t.state}
	l.bucket = conversation.Stamp(t.state, &r, w.last)
	l.record, l.after = r, conversation.Apply(t.state, r, l.bucket)
	t.state = l.after
	t.log = append(t.log, l)
	if !c.ClientID.IsZero() {
		o := conversation.Outcome{ID: r.ID, Seq: r.Seq, N: r.N, Hash: c.Hash}
		t.priors[sent{c.Actor, c.ClientID}] = o
		t.recent.Add(c.Actor, c.ClientID, o)
	}
	return &t.log[len(t.log)-1]
}

var lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func named(letter, name string) string {
	sum := sha256.Sum256([]byte(name))
	return letter + lower.EncodeToString(sum[:16])
}

// user and conv make ids from the short names of tests; a conversation's first letter is its type's.
func user(name string) chat.UserID         { return chat.UserID(named("u", name)) }
func conv(name string) chat.ConversationID { return chat.ConversationID(named(name[:1], name)) }

// clientID is a version 7 UUID of time ms with a number in its tail.
func clientID(ms int64, number int) chat.ClientID {
	var id chat.ClientID
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(ms))
	copy(id[:6], b[2:])
	id[6], id[8] = 0x70, 0x80
	binary.BigEndian.PutUint32(id[12:], uint32(number))
	return id
}
