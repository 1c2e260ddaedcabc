package presence

import (
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// peoplePerAnnouncement keeps one below 64 KiB.
const peoplePerAnnouncement = 1000

// watcher is the run that asks; nil when it is over, or unknown and there is no room for it.
func (r *roll) watcher(edge string, number uint64, now time.Time) *run {
	current := r.runs[edge]
	switch {
	case current == nil || number > current.number:
		return r.begin(edge, number, now)
	case number < current.number || current.dead:
		return nil
	default:
		return current
	}
}

// watch notes interests and answers how the people are.
func (r *roll) watch(edge string, number uint64, users []chat.UserID, now time.Time) ([]wire.PersonStatus, error) {
	w := r.watcher(edge, number, now)
	if w == nil {
		return nil, chat.Errorf(chat.Unavailable, "this edge was taken for dead")
	}
	for _, u := range users {
		if slices.Contains(r.looking[u], w) {
			continue
		}
		if r.watched >= r.limits.Interests {
			r.count.shed.WithLabelValues(shedInterests).Inc()
			return nil, chat.Errorf(chat.Unavailable, "too many people are looked at")
		}
		r.looking[u] = append(r.looking[u], w)
		r.watched++
		w.interests++
	}
	return r.look(users), nil
}

func (r *roll) unwatch(edge string, number uint64, users []chat.UserID) {
	w := r.runs[edge]
	if w == nil || w.number != number {
		return
	}
	for _, u := range users {
		r.unlook(u, w)
	}
}

func (r *roll) unlook(u chat.UserID, w *run) {
	all := r.looking[u]
	at := slices.Index(all, w)
	if at < 0 {
		return
	}
	if len(all) == 1 {
		delete(r.looking, u)
	} else {
		r.looking[u] = slices.Delete(all, at, at+1)
	}
	delete(w.changed, u)
	r.watched--
	w.interests--
}

func (r *roll) unwatchAll(w *run) {
	if w.interests > 0 {
		for u := range r.looking {
			r.unlook(u, w)
		}
	}
	w.changed, w.shed = nil, false
}

// renew keeps an edge's interests, or drops them all where the two sides do not agree.
func (r *roll) renew(edge string, number uint64, interests int, now time.Time) Renewed {
	w := r.watcher(edge, number, now)
	if w == nil {
		return Renewed{Over: true}
	}
	w.heard = now
	if w.interests == interests && !w.shed {
		return Renewed{}
	}
	r.unwatchAll(w)
	return Renewed{Again: true}
}

// notice is what one edge is to be told.
type notice struct {
	edge   string
	people []wire.PersonStatus
}

// notices takes what is to be announced: the present status, however often it changed.
func (r *roll) notices() []notice {
	var out []notice
	for _, w := range r.runs {
		if len(w.changed) == 0 {
			continue
		}
		var people []wire.PersonStatus
		for u := range w.changed {
			if s := r.statusOf(u); s.Status != wire.StatusUnknown {
				people = append(people, s)
			}
		}
		w.changed = nil
		for part := range slices.Chunk(people, peoplePerAnnouncement) {
			out = append(out, notice{w.edge, part})
		}
	}
	if len(out) > 0 {
		r.version++
	}
	return out
}
