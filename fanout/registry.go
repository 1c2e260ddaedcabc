package fanout

import (
	"context"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// Registered is the answer to Register.
type Registered struct {
	Generation uint32
	// Position is a stream sequence: everything above it is delivered live to the users registered.
	Position uint64
	// Changed lists, by user, conversations whose membership of them changed above the roster's position.
	Changed map[chat.UserID][]chat.ConversationID
}

// Register counts the users' connections at an edge up by one each. It answers after the worker has handled
// what was durable at the call and handed on what it had for the edge: chat.Unavailable if that takes
// longer than 2 s, and then nothing is registered.
func (w *Worker) Register(ctx context.Context, edge string, users []chat.UserID) (Registered, error) {
	wait, cancel := context.WithTimeout(ctx, registerTime)
	defer cancel()
	durable := w.config.Owner.Durable()
	reached := func() bool { return durable.Generation != 0 && !w.position.Before(durable) }
	if err := w.await(wait, &w.moved, reached); err != nil {
		return Registered{}, w.lateRegister(ctx)
	}
	r, ticket, err := w.register(edge, users)
	if err != nil {
		w.metrics.refused.Inc()
		return Registered{}, err
	}
	if err := w.awaitSent(wait, ticket); err != nil {
		w.Unregister(edge, users)
		return Registered{}, w.lateRegister(ctx)
	}
	return r, nil
}

func (w *Worker) lateRegister(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.metrics.refused.Inc()
	e := chat.Errorf(chat.Unavailable, "deliveries are behind, try again")
	e.RetryAfter = time.Second
	return e
}

func (w *Worker) register(edge string, users []chat.UserID) (Registered, uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, err := w.registry.open(edge, users)
	if err != nil {
		return Registered{}, 0, err
	}
	if e.fresh {
		e.fresh = false
		e.last = [lanes]uint64{wire.LaneLog: w.position.StreamSeq, wire.LaneCursors: readNumber(w.cursors)}
		e.base = e.last
		e.sent = [lanes]time.Time{w.config.Now(), w.config.Now()}
	}
	for _, u := range users {
		w.registry.add(e, u)
	}
	r := Registered{Generation: w.position.Generation, Position: w.position.StreamSeq}
	for _, u := range users {
		if ids := w.changes.of(u); len(ids) > 0 {
			if r.Changed == nil {
				r.Changed = make(map[chat.UserID][]chat.ConversationID)
			}
			r.Changed[u] = ids
		}
	}
	return r, w.outbox.queued, nil
}

// Unregister counts down what Register counted up; unknown edges and users are ignored.
func (w *Worker) Unregister(edge string, users []chat.UserID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.registry.edges[edge]
	if e == nil {
		return
	}
	for _, u := range users {
		w.registry.drop(e, u)
	}
	if e.users == 0 {
		e.emptied = w.config.Now()
	}
}

// Forget drops an edge with all its registrations, for one that is known to have ended.
func (w *Worker) Forget(edge string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.registry.edges[edge]
	if e == nil {
		return
	}
	for u, seats := range w.registry.users {
		for _, s := range seats {
			if s.edge == e {
				w.registry.unseat(e, u)
				break
			}
		}
	}
	delete(w.registry.edges, edge)
}

// edgeState is one edge as the worker numbers it. Guarded by the worker's lock.
type edgeState struct {
	name    string
	fresh   bool             // has no numbers yet
	last    [lanes]uint64    // number of the last delivery queued for it
	base    [lanes]uint64    // where its numbering began in this generation
	former  chat.Mark        // the generation before: its number, and the last number in it
	sent    [lanes]time.Time // when a hop was last queued
	users   int              // registered pairs
	emptied time.Time        // when users became 0
	packers [lanes]*packer   // of the commit under way
	round   uint64           // scratch of targets
	slot    int              // scratch of targets
}

type seat struct {
	edge  *edgeState
	count int // connections
}

// registry is who is where. Guarded by the worker's lock.
type registry struct {
	limits Limits
	edges  map[string]*edgeState
	users  map[chat.UserID][]seat
	pairs  int    // (user, edge)
	epoch  uint64 // moves with every pair that comes or goes
	round  uint64
}

// target is the recipients of one delivery at one edge. users is immutable once made.
type target struct {
	edge  *edgeState
	users []chat.UserID
}

func newRegistry(l Limits) registry {
	return registry{limits: l, edges: make(map[string]*edgeState), users: make(map[chat.UserID][]seat), epoch: 1}
}

// open finds or begins an edge, if there is room for its users.
func (r *registry) open(name string, users []chat.UserID) (*edgeState, error) {
	if r.pairs+len(users) > r.limits.Registrations {
		return nil, chat.Errorf(chat.Unavailable, "too many people are connected")
	}
	e := r.edges[name]
	if e == nil {
		if len(r.edges) >= r.limits.Edges {
			return nil, chat.Errorf(chat.Unavailable, "too many edges are connected")
		}
		e = &edgeState{name: name, fresh: true}
		r.edges[name] = e
	}
	return e, nil
}

func (r *registry) add(e *edgeState, u chat.UserID) {
	seats := r.users[u]
	for i := range seats {
		if seats[i].edge == e {
			seats[i].count++
			return
		}
	}
	r.users[u] = append(seats, seat{e, 1})
	r.pairs++
	r.epoch++
	e.users++
}

func (r *registry) drop(e *edgeState, u chat.UserID) {
	seats := r.users[u]
	for i := range seats {
		if seats[i].edge != e {
			continue
		}
		if seats[i].count--; seats[i].count == 0 {
			r.unseat(e, u)
		}
		return
	}
}

func (r *registry) unseat(e *edgeState, u chat.UserID) {
	seats := r.users[u]
	for i := range seats {
		if seats[i].edge == e {
			seats[i] = seats[len(seats)-1]
			seats = seats[:len(seats)-1]
			break
		}
	}
	if len(seats) == 0 {
		delete(r.users, u)
	} else {
		r.users[u] = seats
	}
	r.pairs--
	r.epoch++
	e.users--
}

// targets splits users by the edges they are registered at, in order.
func (r *registry) targets(users []chat.UserID) []target {
	r.round++
	var found []target
	for _, u := range users {
		for _, s := range r.users[u] {
			e := s.edge
			if e.round != r.round {
				e.round, e.slot = r.round, len(found)
				found = append(found, target{edge: e})
			}
			t := &found[e.slot]
			t.users = append(t.users, u)
		}
	}
	return found
}

const aimFrom = 16 // members: from there on the split is kept with the audience

// aim is the targets of users, which are the whole of a when a is not nil.
func (r *registry) aim(users []chat.UserID, a *audience) []target {
	if a == nil || len(users) < aimFrom {
		return r.targets(users)
	}
	if a.aimEpoch != r.epoch {
		a.aim, a.aimEpoch = r.targets(users), r.epoch
	}
	return a.aim
}
