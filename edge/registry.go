package edge

import (
	"context"
	"slices"
	"sync"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
)

// admit has Run wait for one more connection, until release forgets it; false once the edge has stopped.
func (e *Edge) admit() bool {
	e.starting.Lock()
	defer e.starting.Unlock()
	if e.stopped {
		return false
	}
	e.running.Add(1)
	return true
}

// enter makes a connection known to the sweep and the stop; its conn is there by now.
func (e *Edge) enter(c *connection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all[c] = struct{}{}
}

// known makes a connection that authenticated reachable for deliveries; it holds them back until released.
func (e *Edge) known(c *connection, who auth.Claims) {
	e.comes(c, who)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.users[who.UserID] = append(e.users[who.UserID], c)
	e.sessions[who.SessionID] = append(e.sessions[who.SessionID], c)
	e.metrics.connections.Inc()
}

// leave forgets a connection.
func (e *Edge) leave(c *connection) {
	e.goes(c)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.all, c)
	if who := c.who(); who != nil {
		without(e.users, who.UserID, c)
		without(e.sessions, who.SessionID, c)
		e.metrics.connections.Dec()
	}
	if len(e.all) == 0 {
		e.tellEmpty()
	}
}

func without[K comparable](m map[K][]*connection, key K, c *connection) {
	rest := slices.DeleteFunc(m[key], func(o *connection) bool { return o == c })
	if len(rest) == 0 {
		delete(m, key)
		return
	}
	m[key] = rest
}

// registered lists the user of every authenticated connection, one entry each, as the workers count them.
func (e *Edge) registered() []chat.UserID {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var users []chat.UserID
	for u, list := range e.users {
		for range list {
			users = append(users, u)
		}
	}
	return users
}

// register counts the user in at every partition's worker. What fails is undone.
func (e *Edge) register(ctx context.Context, user chat.UserID) ([]Registered, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTime)
	defer cancel()
	if e.seats.Add(1) == 1 { // nobody was here: nobody misses what came before
		for _, l := range e.lanes {
			l.reset()
		}
	}
	users := []chat.UserID{user}
	answers := make([]Registered, len(e.deps.Fanout))
	errs := make([]error, len(e.deps.Fanout))
	one := func(p int) { answers[p], errs[p] = e.deps.Fanout[p].Register(ctx, e.config.ID, users) }
	if len(answers) == 1 {
		one(0)
	} else {
		var all sync.WaitGroup
		for p := range answers {
			all.Go(func() { one(p) })
		}
		all.Wait()
	}
	for p, err := range errs {
		if err != nil {
			e.seats.Add(-1)
			for q := range errs {
				if errs[q] == nil {
					e.deps.Fanout[q].Unregister(e.config.ID, users)
				}
			}
			return nil, unavailable(err, "register with partition", p)
		}
	}
	for p := range answers {
		e.lane(p, laneLog).begin(answers[p])
	}
	return answers, nil
}

func (e *Edge) unregister(user chat.UserID) {
	for _, f := range e.deps.Fanout {
		f.Unregister(e.config.ID, []chat.UserID{user})
	}
	e.seats.Add(-1)
}

const participationsPage = 1000

// conversationsOf lists the conversations that a user may be a member of now, ascending. Whether they are,
// the conversation's owner tells. It holds at least what was committed before the call.
func (e *Edge) conversationsOf(ctx context.Context, user chat.UserID) ([]chat.ConversationID, error) {
	answers, err := e.register(ctx, user)
	if err != nil {
		return nil, err
	}
	defer e.unregister(user)
	var ids []chat.ConversationID
	for after := chat.ConversationID(""); ; {
		page, err := e.deps.Directory.Participations(ctx, user, after, participationsPage)
		if err != nil {
			return nil, unavailable(err, "participations of", user)
		}
		for _, p := range page {
			ids = append(ids, p.ConversationID)
		}
		if len(page) < participationsPage {
			break
		}
		after = page[len(page)-1].ConversationID
	}
	for _, a := range answers {
		ids = append(ids, a.Changed[user]...)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
