package edge

import (
	"context"
	"slices"
	"strings"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/directory"
)

// What the model's readers answer: always from the whole log, up to the answer's head.

func (w *world) visible(a conversation.Answer, visible []conversation.Interval) []chat.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	deleted := map[chat.Seq]bool{}
	for _, e := range w.log {
		if e.ConversationID == a.State.ID && e.Kind == chat.KindDelete {
			deleted[e.TargetSeq] = true
		}
	}
	var out []chat.Record
	for _, e := range w.log {
		if e.ConversationID != a.State.ID || e.Seq > a.State.Head.Seq {
			continue
		}
		if !slices.ContainsFunc(visible, func(in conversation.Interval) bool { return in.Contains(e.Seq) }) {
			continue
		}
		r := e.Record
		if deleted[r.Seq] {
			r.Text, r.Deleted = "", true
		}
		out = append(out, r)
	}
	return out
}

func (w *world) Records(_ context.Context, q conversation.RecordsQuery) (conversation.Records, error) {
	all := w.visible(q.Answer, q.Visible)
	out := conversation.Records{After: q.After}
	messages := 0
	for i := len(all) - 1; i >= 0 && all[i].Seq > q.After; i-- {
		if all[i].Kind == chat.KindMessage {
			messages++
		}
		if messages > q.Messages || q.Messages == 0 || len(out.Records) == q.Records {
			out.Before = all[i].Seq + 1
			return out, nil
		}
		out.Records = slices.Insert(out.Records, 0, all[i].AppendJSON(nil))
	}
	return out, nil
}

func (w *world) Page(_ context.Context, q conversation.PageQuery) (conversation.Page, error) {
	all := slices.DeleteFunc(w.visible(q.Answer, q.Visible), func(r chat.Record) bool { return r.Kind.Folded() })
	p := conversation.Page{Head: q.Answer.State.Head}
	from, to := max(0, len(all)-q.Limit), len(all)
	at := func(p *chat.Position) int {
		i := slices.IndexFunc(all, func(r chat.Record) bool { return uint64(r.Seq) >= uint64(*p) })
		if i < 0 {
			return len(all)
		}
		return i
	}
	switch {
	case q.Before != nil:
		to = at(q.Before)
		from = max(0, to-q.Limit)
	case q.After != nil:
		next := *q.After + 1
		from = at(&next)
		to = min(len(all), from+q.Limit)
	case q.Around != nil:
		from = at(q.Around)
		to = min(len(all), from+q.Limit)
	}
	for _, r := range all[from:to] {
		p.Messages = append(p.Messages, r.AppendJSON(nil))
	}
	if from < to {
		p.FromSeq, p.ToSeq = all[from].Seq, all[to-1].Seq
	}
	p.MoreBefore, p.MoreAfter = from > 0, to < len(all)
	return p, nil
}

func (w *world) Resolve(_ context.Context, a conversation.Answer, p chat.Position) (chat.Head, error) {
	for _, r := range w.visible(a, []conversation.Interval{{Joined: 1}}) {
		if seq, ok := p.Seq(); ok && r.Seq == seq || !ok && r.ID == p.ID() {
			return chat.Head{Seq: r.Seq, N: r.N, ID: r.ID}, nil
		}
	}
	return chat.Head{}, chat.Errorf(chat.NotFound, "no such record")
}

func (w *world) Versions(_ context.Context, a conversation.Answer, visible []conversation.Interval, target chat.Seq) ([][]byte, error) {
	var out [][]byte
	for _, r := range w.visible(a, visible) {
		if r.Seq == target || r.Kind == chat.KindEdit && r.TargetSeq == target {
			out = append(out, r.AppendJSON(nil))
		}
	}
	return out, nil
}

func (w *world) LastMessage(_ context.Context, a conversation.Answer, visible []conversation.Interval) ([]byte, error) {
	all := w.visible(a, visible)
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Kind == chat.KindMessage {
			return all[i].AppendJSON(nil), nil
		}
	}
	return nil, nil
}

func (w *world) Advance(_ context.Context, id chat.ConversationID, u chat.UserID, c chat.Cursors) (chat.Cursors, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stored[id] == nil {
		w.stored[id] = map[chat.UserID]chat.Cursors{}
	}
	old := w.stored[id][u]
	w.stored[id][u] = old.Max(c)
	return w.stored[id][u], w.stored[id][u] != old, nil
}

func (w *world) Of(_ context.Context, u chat.UserID, ids []chat.ConversationID) (map[chat.ConversationID]chat.Cursors, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[chat.ConversationID]chat.Cursors{}
	for _, id := range ids {
		out[id] = w.stored[id][u]
	}
	return out, nil
}

func (w *world) In(_ context.Context, id chat.ConversationID, users []chat.UserID) (map[chat.UserID]chat.Cursors, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[chat.UserID]chat.Cursors{}
	for _, u := range users {
		out[u] = w.stored[id][u]
	}
	return out, nil
}

type people struct{ w *world }

func (p people) Account(_ context.Context, id chat.UserID) (directory.Account, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	u, ok := p.w.users[id]
	if !ok {
		return directory.Account{}, chat.Errorf(chat.NotFound, "no such user")
	}
	return directory.Account{User: u, Email: u.Username + "@example.org"}, nil
}

func (p people) Users(_ context.Context, ids []chat.UserID) ([]directory.User, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	var out []directory.User
	for _, id := range ids {
		if u, ok := p.w.users[id]; ok {
			out = append(out, u)
		}
	}
	return out, nil
}

func (p people) SearchUsers(_ context.Context, prefix string, limit int) ([]directory.User, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	var out []directory.User
	for _, u := range p.w.users {
		if strings.HasPrefix(u.Username, prefix) && len(out) < limit {
			out = append(out, u)
		}
	}
	return out, nil
}

func (p people) SetProfile(_ context.Context, id chat.UserID, name string) error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	u := p.w.users[id]
	u.DisplayName = name
	p.w.users[id] = u
	return nil
}

func (p people) Participations(_ context.Context, u chat.UserID, after chat.ConversationID, limit int) ([]directory.Participant, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.w.lagging {
		return nil, nil
	}
	var out []directory.Participant
	for id, s := range p.w.states {
		if id > after && s.IsMember(u) {
			out = append(out, directory.Participant{ConversationID: id, UserID: u})
		}
	}
	slices.SortFunc(out, func(a, b directory.Participant) int {
		return strings.Compare(string(a.ConversationID), string(b.ConversationID))
	})
	return out[:min(limit, len(out))], nil
}
