package sequencer

import (
	"slices"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// tailIndex knows every record of the log above the store's sealed position: where it stands, and what
// rules, repeats and cursors need of it. Written by the owner goroutine under view.mu; read by it freely
// and by others under view.mu. About 120 bytes a record.
type tailIndex struct {
	convs map[chat.ConversationID]*convTail
	order ring[ordered] // all places in stream order, for pruning
}

type ordered struct {
	streamSeq uint64
	tail      *convTail
}

// convTail is one conversation's part. places and metas are parallel; their elements are never modified,
// so that a slice handed out stays true while the index grows and is pruned.
type convTail struct {
	id      chat.ConversationID
	places  []chat.Place
	metas   []meta
	sends   map[chat.UserID]lastSend
	deletes map[chat.Seq]chat.Seq // target -> seq of the delete
	ids     map[clientKey]conversation.Outcome

	view        map[chat.UserID]chat.Cursor // what Answer.Sends shares; nil: to be made
	viewApplied uint64
}

type lastSend struct {
	cursor    chat.Cursor
	streamSeq uint64
}

type clientKey struct {
	sender chat.UserID
	client chat.ClientID
}

// meta is what stays known of a record without reading it.
type meta struct {
	id     chat.ID
	n      uint64
	hash   chat.Hash
	client chat.ClientID
	sender chat.UserID
	bucket chat.Bucket
	kind   kindCode
	target chat.Seq
}

type kindCode uint8

// The codes; kindOther changes nothing but the head.
const (
	kindOther kindCode = iota
	kindMessage
	kindEdit
	kindDelete
	kindStateful // create, member, settings, preference: the record itself is needed to fold it
)

func codeOf(k chat.RecordKind) kindCode {
	switch k {
	case chat.KindMessage:
		return kindMessage
	case chat.KindEdit:
		return kindEdit
	case chat.KindDelete:
		return kindDelete
	case chat.KindCreate, chat.KindMember, chat.KindSettings, chat.KindPreference:
		return kindStateful
	default:
		return kindOther
	}
}

// recordKind is precise for messages, which is all that rules ask.
func (k kindCode) recordKind() chat.RecordKind {
	switch k {
	case kindMessage:
		return chat.KindMessage
	case kindEdit:
		return chat.KindEdit
	case kindDelete:
		return chat.KindDelete
	default:
		return ""
	}
}

func (m *meta) outcome(seq chat.Seq) conversation.Outcome {
	return conversation.Outcome{ID: m.id, Seq: seq, N: m.n, Hash: m.hash}
}

func newTailIndex() tailIndex {
	return tailIndex{convs: make(map[chat.ConversationID]*convTail)}
}

func (x *tailIndex) len() int { return x.order.len() }

// add appends a record; stream sequences ascend. Fences are not added.
func (x *tailIndex) add(e *chat.Entry) {
	t := x.convs[e.ConversationID]
	if t == nil {
		t = &convTail{id: e.ConversationID}
		x.convs[e.ConversationID] = t
	}
	m := meta{
		id: e.ID, n: e.N, hash: e.BodyHash, client: e.ClientID, sender: e.SenderID,
		bucket: e.Bucket, kind: codeOf(e.Kind), target: e.TargetSeq,
	}
	t.places = append(t.places, chat.Place{Seq: e.Seq, StreamSeq: e.StreamSeq})
	t.metas = append(t.metas, m)
	x.order.push(ordered{e.StreamSeq, t})
	switch m.kind {
	case kindMessage:
		if t.sends == nil {
			t.sends = make(map[chat.UserID]lastSend)
		}
		t.sends[e.SenderID] = lastSend{chat.Cursor{Seq: e.Seq, N: e.N}, e.StreamSeq}
		t.view = nil
	case kindDelete:
		if t.deletes == nil {
			t.deletes = make(map[chat.Seq]chat.Seq)
		}
		t.deletes[e.TargetSeq] = e.Seq
	default:
	}
	if t.ids != nil && !m.client.IsZero() {
		t.ids[clientKey{m.sender, m.client}] = m.outcome(e.Seq)
	}
}

// prune lets go of at most limit records up to sealed and reports whether more are left to go.
func (x *tailIndex) prune(sealed uint64, limit int) (more bool) {
	for ; x.order.len() > 0 && x.order.front().streamSeq <= sealed; limit-- {
		if limit == 0 {
			return true
		}
		t := x.order.pop().tail
		t.dropFirst()
		if len(t.places) == 0 {
			delete(x.convs, t.id)
		}
	}
	return false
}

func (t *convTail) dropFirst() {
	place, m := t.places[0], &t.metas[0]
	switch m.kind {
	case kindMessage:
		if last, ok := t.sends[m.sender]; ok && last.streamSeq == place.StreamSeq {
			delete(t.sends, m.sender)
			t.view = nil
		}
	case kindDelete:
		if t.deletes[m.target] == place.Seq {
			delete(t.deletes, m.target)
		}
	default:
	}
	if t.ids != nil {
		delete(t.ids, clientKey{m.sender, m.client})
	}
	t.places, t.metas = t.places[1:], t.metas[1:]
}

// scanIDs is the longest tail that is searched one by one for a client id.
const scanIDs = 512

// find looks for what a client id gave within the tail.
func (t *convTail) find(key clientKey) (conversation.Outcome, bool) {
	if t == nil {
		return conversation.Outcome{}, false
	}
	if t.ids == nil && len(t.metas) > scanIDs {
		t.ids = make(map[clientKey]conversation.Outcome, len(t.metas))
		for i := range t.metas {
			if m := &t.metas[i]; !m.client.IsZero() {
				t.ids[clientKey{m.sender, m.client}] = m.outcome(t.places[i].Seq)
			}
		}
	}
	if t.ids != nil {
		o, ok := t.ids[key]
		return o, ok
	}
	for i := len(t.metas) - 1; i >= 0; i-- {
		if m := &t.metas[i]; m.client == key.client && m.sender == key.sender {
			return m.outcome(t.places[i].Seq), true
		}
	}
	return conversation.Outcome{}, false
}

// at is the record at seq, nil when it is not in the tail.
func (t *convTail) at(seq chat.Seq) *meta {
	if t == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(t.places, seq, func(p chat.Place, seq chat.Seq) int {
		return int(int64(p.Seq) - int64(seq))
	})
	if !ok {
		return nil
	}
	return &t.metas[i]
}

// deleted reports whether a delete of seq stands in the tail.
func (t *convTail) deleted(seq chat.Seq) bool {
	if t == nil {
		return false
	}
	_, ok := t.deletes[seq]
	return ok
}

// above is the places beyond a stream sequence, shared.
func (t *convTail) above(applied uint64) []chat.Place {
	if t == nil {
		return nil
	}
	i, _ := slices.BinarySearchFunc(t.places, applied, func(p chat.Place, applied uint64) int {
		if p.StreamSeq <= applied {
			return -1
		}
		return 1
	})
	if i == len(t.places) {
		return nil
	}
	return t.places[i:len(t.places):len(t.places)]
}

// sendsAbove is, per sender, the last message beyond a stream sequence, shared.
func (t *convTail) sendsAbove(applied uint64) map[chat.UserID]chat.Cursor {
	if t == nil || len(t.sends) == 0 {
		return nil
	}
	if t.view == nil || t.viewApplied != applied {
		t.view, t.viewApplied = make(map[chat.UserID]chat.Cursor, len(t.sends)), applied
		for u, last := range t.sends {
			if last.streamSeq > applied {
				t.view[u] = last.cursor
			}
		}
	}
	return t.view
}
