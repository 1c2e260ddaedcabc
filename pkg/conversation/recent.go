package conversation

import (
	"maps"

	"github.com/parley-chat/parley/pkg/chat"
)

const recentDefault = 256

// Recent is what a conversation's owner holds in memory of client ids: a bounded window, and for each
// sender the highest time inside the ids that are not in the window. So most new ids are known to be new
// without a look at the store, and no clock is consulted. Not safe for concurrent use.
type Recent struct {
	limit int
	held  map[sent]Outcome
	order []sent // a ring once full
	next  int    // the oldest, when full
	times map[chat.UserID]int64
}

type sent struct {
	sender chat.UserID
	client chat.ClientID
}

// NewRecent starts a window. times holds, per sender, the highest time (ms) inside the client ids stored;
// it is copied. limit is the most ids held; 0 or less means 256.
func NewRecent(times map[chat.UserID]int64, limit int) *Recent {
	if limit <= 0 {
		limit = recentDefault
	}
	return &Recent{limit: limit, held: make(map[sent]Outcome), times: maps.Clone(times)}
}

// Lookup says what a client id gave. known with nil prior: the id is new. Not known: only the store can tell.
// No id is always new.
func (r *Recent) Lookup(sender chat.UserID, client chat.ClientID) (known bool, prior *Outcome) {
	if client.IsZero() {
		return true, nil
	}
	if o, ok := r.held[sent{sender, client}]; ok {
		return true, &o
	}
	high, stored := r.times[sender]
	return !stored || client.UnixMilli() > high, nil
}

// Add holds what a client id gave and lets go of the oldest when the window is full. An id that is held
// keeps its first outcome; a zero id is not held.
func (r *Recent) Add(sender chat.UserID, client chat.ClientID, o Outcome) {
	key := sent{sender, client}
	if _, ok := r.held[key]; ok || client.IsZero() {
		return
	}
	r.held[key] = o
	if len(r.order) < r.limit {
		r.order = append(r.order, key)
		return
	}
	r.forget(r.order[r.next])
	r.order[r.next] = key
	r.next = (r.next + 1) % r.limit
}

func (r *Recent) forget(old sent) {
	delete(r.held, old)
	if r.times == nil {
		r.times = make(map[chat.UserID]int64)
	}
	if high, ok := r.times[old.sender]; !ok || old.client.UnixMilli() > high {
		r.times[old.sender] = old.client.UnixMilli()
	}
}
