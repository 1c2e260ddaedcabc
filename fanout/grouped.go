package fanout

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	receiptMembers = 32          // of a group whose receipts are pushed; in a larger one they are asked for
	authorsKept    = 64          // newest messages of a group whose authors are known
	groupsKept     = 8192        // groups of which either is known; the one used least is forgotten
	receiptsEvery  = time.Second // in one group
)

// groupReceipts gathers how far the members of small groups have come, for the authors of what they passed. What
// is forgotten here is still told to who asks.
type groupReceipts struct {
	mu      sync.Mutex // guards what follows
	groups  *lru[chat.ConversationID, *groupOfReceipts]
	waiting map[chat.ConversationID]bool // those with moves
}

type groupOfReceipts struct {
	messages []authored // ascending
	moves    map[chat.UserID]move
	told     time.Time
}

type authored struct {
	seq chat.Seq
	by  chat.UserID
}

// move is how far one member came since it was told last.
type move struct{ from, to chat.Cursors }

// groupReceipt is one frame to be.
type groupReceipt struct {
	conversation chat.ConversationID
	user         chat.UserID
	typ          string
	at           chat.Cursor
	authors      []chat.UserID
}

func newGroupReceipts() groupReceipts {
	return groupReceipts{groups: newLRU[chat.ConversationID, *groupOfReceipts](groupsKept, nil), waiting: make(map[chat.ConversationID]bool)}
}

// of is called with mu held.
func (g *groupReceipts) of(id chat.ConversationID) *groupOfReceipts {
	s, ok := g.groups.get(id)
	if !ok {
		s = &groupOfReceipts{}
		g.groups.put(id, s)
	}
	return s
}

// said notes the authors of messages in small groups.
func (g *groupReceipts) said(plans []planned) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range plans {
		e := plans[i].entry
		if plans[i].passed || e.Kind != chat.KindMessage || e.ConversationID.Type() != chat.Group || len(plans[i].users) > receiptMembers {
			continue
		}
		s := g.of(e.ConversationID)
		if n := len(s.messages); n > 0 && s.messages[n-1].seq >= e.Seq {
			continue
		}
		if len(s.messages) == authorsKept {
			s.messages = slices.Delete(s.messages, 0, 1)
		}
		s.messages = append(s.messages, authored{e.Seq, e.SenderID})
	}
}

// moved notes that a member came from one place to another.
func (g *groupReceipts) moved(id chat.ConversationID, user chat.UserID, from, to chat.Cursors) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.of(id)
	if len(s.messages) == 0 {
		return // a large group, or a quiet one
	}
	if s.moves == nil {
		s.moves = make(map[chat.UserID]move)
	}
	if before, ok := s.moves[user]; ok {
		from = before.from
	}
	s.moves[user] = move{from, to}
	g.waiting[id] = true
}

// take gives what is due now.
func (g *groupReceipts) take(now time.Time) []groupReceipt {
	g.mu.Lock()
	defer g.mu.Unlock()
	var due []groupReceipt
	for id := range g.waiting {
		s, ok := g.groups.get(id)
		if ok && now.Sub(s.told) < receiptsEvery {
			continue
		}
		delete(g.waiting, id)
		if !ok {
			continue
		}
		for user, m := range s.moves {
			due = append(due, s.receipts(id, user, m)...)
		}
		s.moves, s.told = nil, now
	}
	return due
}

// receipts are the frames of one move; what is read counts as delivered, so read alone is told where both moved.
func (s *groupOfReceipts) receipts(id chat.ConversationID, user chat.UserID, m move) []groupReceipt {
	var due []groupReceipt
	if authors := s.authors(user, m.from.Read.Seq, m.to.Read.Seq); len(authors) > 0 {
		due = append(due, groupReceipt{id, user, wire.TypeMessageRead, m.to.Read, authors})
	}
	if authors := s.authors(user, max(m.from.Delivered.Seq, m.to.Read.Seq), m.to.Delivered.Seq); len(authors) > 0 {
		due = append(due, groupReceipt{id, user, wire.TypeMessageDelivered, m.to.Delivered, authors})
	}
	return due
}

// authors are those of the messages above after, up to upTo, but for reader.
func (s *groupOfReceipts) authors(reader chat.UserID, after, upTo chat.Seq) []chat.UserID {
	var authors []chat.UserID
	for _, m := range s.messages {
		if m.seq > after && m.seq <= upTo && m.by != reader && !slices.Contains(authors, m.by) {
			authors = append(authors, m.by)
		}
	}
	return authors
}

// tellReceipts sends what is due to the authors that are members still, of members that are.
func (w *Worker) tellReceipts(ctx context.Context) {
	for _, r := range w.grouped.take(w.config.Now()) {
		a, err := w.signalAudience(ctx, r.conversation)
		if err != nil { // the owner is away: one wait is enough, typing is behind this
			w.metrics.signal("unavailable")
			return
		}
		if len(a.open) > receiptMembers || !a.state.IsMember(r.user) {
			continue
		}
		authors := slices.DeleteFunc(r.authors, func(u chat.UserID) bool { return !a.state.IsMember(u) })
		if len(authors) == 0 {
			continue
		}
		w.sendSignal(r.conversation, authors, cursorFrame(r.typ, &CursorChange{ConversationID: r.conversation, UserID: r.user}, r.at))
	}
}
