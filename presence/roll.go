package presence

import (
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// roll is one shard's state without I/O, clock or lock: who is there, since when somebody is not, and which
// edges look at whom. Every call is told the time, which must not go back.
type roll struct {
	limits Limits
	count  *shardMetrics

	warmAt  time.Time // until then who is absent may be reconnecting
	warm    bool
	people  map[chat.UserID]*attendance
	runs    map[string]*run // by edge: the last one
	looking map[chat.UserID][]*run
	watched int                   // pairs in looking
	fading  []fade                // ascending by at
	seen    map[chat.UserID]int64 // last seen, not stored yet; milliseconds
	rubbish []Entry               // entries of ended runs: to be removed from the registry
	version uint64                // of the last answer or announcement
}

// attendance is one person who is there, or was until a moment ago.
type attendance struct {
	seats  []seat
	status wire.Status // online or away; kept while fading
	left   time.Time   // when the last connection ended
	fades  time.Time   // when the person is offline, unless somebody came; zero while one is here
}

type seat struct {
	run    *run
	number uint64
	away   bool
}

// run is one life of an edge.
type run struct {
	edge      string
	number    uint64
	heard     time.Time
	dead      bool
	interests int
	changed   map[chat.UserID]struct{} // to be announced
	shed      bool                     // announcements were dropped: the edge must ask again
}

type fade struct {
	user chat.UserID
	at   time.Time
}

func newRoll(l Limits, count *shardMetrics, now time.Time) *roll {
	return &roll{
		limits: l, count: count, warmAt: now.Add(Grace),
		people: make(map[chat.UserID]*attendance), runs: make(map[string]*run),
		looking: make(map[chat.UserID][]*run), seen: make(map[chat.UserID]int64),
	}
}

// entry takes one change of the registry.
func (r *roll) entry(e Entry, now time.Time) {
	current := r.runs[e.Edge]
	switch {
	case current != nil && (e.Run < current.number || e.Run == current.number && current.dead):
		if !e.Gone {
			r.discard(e)
		}
		return
	case current == nil || e.Run > current.number:
		if e.Gone {
			return
		}
		if current = r.begin(e.Edge, e.Run, now); current == nil {
			return
		}
	}
	if e.Gone {
		r.leave(e.User, current, e.Number, now)
		return
	}
	r.arrive(e.User, seat{current, e.Number, e.Away})
}

func (r *roll) discard(e Entry) {
	if len(r.rubbish) < r.limits.People {
		e.Gone = true
		r.rubbish = append(r.rubbish, e)
	}
}

// beat takes an edge's sign of life.
func (r *roll) beat(edge string, number uint64, now time.Time) {
	switch current := r.runs[edge]; {
	case current == nil || number > current.number:
		r.begin(edge, number, now)
	case number == current.number && !current.dead:
		current.heard = now
	}
}

// bye ends a run that says so itself.
func (r *roll) bye(edge string, number uint64, now time.Time) {
	if current := r.runs[edge]; current != nil && current.number == number && !current.dead {
		r.end(current, now, now)
	}
}

// begin puts a run in the place of the one before; nil when there are too many edges.
func (r *roll) begin(edge string, number uint64, now time.Time) *run {
	former := r.runs[edge]
	if former == nil && len(r.runs) >= r.limits.Edges && !r.forgetDead() {
		r.count.shed.WithLabelValues(shedEdges).Inc()
		return nil
	}
	if former != nil && !former.dead {
		r.end(former, former.heard, now)
	}
	next := &run{edge: edge, number: number, heard: now}
	r.runs[edge] = next
	return next
}

// forgetDead makes room for an edge: a dead one is remembered only so that its return is noticed.
func (r *roll) forgetDead() bool {
	for edge, old := range r.runs {
		if old.dead {
			delete(r.runs, edge)
			return true
		}
	}
	return false
}

// end takes a run's connections and interests away. heard is when its people were there for sure.
func (r *roll) end(ended *run, heard, now time.Time) {
	ended.dead = true
	r.count.edgesEnded.Inc()
	for user, a := range r.people {
		for i := 0; i < len(a.seats); {
			if s := a.seats[i]; s.run == ended {
				r.discard(Entry{User: user, Edge: ended.edge, Run: ended.number, Number: s.number})
				a.seats = slices.Delete(a.seats, i, i+1)
				continue
			}
			i++
		}
		if a.fades.IsZero() {
			r.settle(user, a, heard, now)
		}
	}
	r.unwatchAll(ended)
}

func (r *roll) arrive(user chat.UserID, s seat) {
	a := r.people[user]
	if a == nil {
		if len(r.people) >= r.limits.People {
			r.count.shed.WithLabelValues(shedPeople).Inc()
			return
		}
		a = &attendance{}
		r.people[user] = a
	}
	at := slices.IndexFunc(a.seats, func(o seat) bool { return o.run == s.run && o.number == s.number })
	if at >= 0 {
		a.seats[at] = s
	} else {
		a.seats = append(a.seats, s)
	}
	a.fades = time.Time{}
	r.become(user, a)
}

func (r *roll) leave(user chat.UserID, of *run, number uint64, now time.Time) {
	a := r.people[user]
	if a == nil {
		return
	}
	at := slices.IndexFunc(a.seats, func(o seat) bool { return o.run == of && o.number == number })
	if at < 0 {
		return
	}
	a.seats = slices.Delete(a.seats, at, at+1)
	r.settle(user, a, now, now)
}

// settle follows the end of a connection: another one is left, or the grace begins.
func (r *roll) settle(user chat.UserID, a *attendance, left, now time.Time) {
	if len(a.seats) > 0 {
		r.become(user, a)
		return
	}
	a.left, a.fades = left, now.Add(Grace)
	if len(r.fading) >= r.limits.People {
		r.count.shed.WithLabelValues(shedGrace).Inc()
		r.fade(r.fading[0])
		r.fading = r.fading[1:]
	}
	r.fading = append(r.fading, fade{user, a.fades})
}

// become works the status out and has a change announced.
func (r *roll) become(user chat.UserID, a *attendance) {
	status := wire.StatusAway
	for i := range a.seats {
		if !a.seats[i].away {
			status = wire.StatusOnline
		}
	}
	if status != a.status {
		a.status = status
		r.mark(user)
	}
}

// tick lets time pass: edges that were not heard of end, graces end, the owner becomes warm.
func (r *roll) tick(now time.Time) {
	for _, one := range r.runs {
		if !one.dead && now.Sub(one.heard) >= EdgeLife {
			r.end(one, one.heard, now)
		}
	}
	for len(r.fading) > 0 && !now.Before(r.fading[0].at) {
		r.fade(r.fading[0])
		r.fading = r.fading[1:]
	}
	if len(r.fading) == 0 {
		r.fading = nil
	}
	if !r.warm && !now.Before(r.warmAt) {
		r.warm = true
		for user := range r.looking {
			if r.people[user] == nil {
				r.mark(user)
			}
		}
	}
}

// fade makes a person offline whose grace is over; one who came back, or left again later, is not.
func (r *roll) fade(f fade) {
	a := r.people[f.user]
	if a == nil || !a.fades.Equal(f.at) {
		return
	}
	delete(r.people, f.user)
	r.note(f.user, a.left)
	r.mark(f.user)
}

// note keeps when a person was last seen until it is stored.
func (r *roll) note(user chat.UserID, at time.Time) {
	if _, ok := r.seen[user]; !ok && len(r.seen) >= r.limits.Seen {
		r.count.shed.WithLabelValues(shedSeen).Inc()
		return
	}
	r.seen[user] = at.UnixMilli()
}

// mark has a person's status announced to every edge that looks.
func (r *roll) mark(user chat.UserID) {
	r.count.changes.Inc()
	for _, edge := range r.looking[user] {
		if len(edge.changed) >= r.limits.Changes {
			edge.shed = true
			r.count.shed.WithLabelValues(shedChanges).Inc()
			continue
		}
		if edge.changed == nil {
			edge.changed = make(map[chat.UserID]struct{})
		}
		edge.changed[user] = struct{}{}
	}
}

// statusOf is what may be told of a person now.
func (r *roll) statusOf(user chat.UserID) wire.PersonStatus {
	if a := r.people[user]; a != nil {
		return wire.PersonStatus{UserID: user, Status: a.status}
	}
	if !r.warm {
		return wire.PersonStatus{UserID: user}
	}
	return wire.PersonStatus{UserID: user, Status: wire.StatusOffline, LastSeen: r.seen[user]}
}

// look answers how people are; who is not known is left out.
func (r *roll) look(users []chat.UserID) []wire.PersonStatus {
	r.version++
	answer := make([]wire.PersonStatus, 0, len(users))
	for _, u := range users {
		if s := r.statusOf(u); s.Status != wire.StatusUnknown {
			answer = append(answer, s)
		}
	}
	return answer
}
