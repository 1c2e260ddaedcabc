package presence

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const mostInterests = 1_000_000 // people that an edge looks at, per shard

// shardSide is what an edge looks at in one shard.
type shardSide struct {
	registrar *Registrar
	number    int
	owner     Owner
	renew     chan struct{} // holds one: a renewal is due

	// asking is held while the owner is asked to watch or unwatch, so that both sides agree on the order.
	asking sync.Mutex

	mu     sync.Mutex // guards what follows
	refs   map[chat.UserID]*interest
	held   int  // interests that the owner confirmed
	idle   bool // some have no use any more
	behind bool // the owner could not be asked for all
}

type interest struct {
	uses int
	held bool
}

// Watch counts uses of people up and answers how they are, as far as their owners answer: what is missing
// comes by OnChange. Each call is undone by Unwatch.
func (r *Registrar) Watch(ctx context.Context, users []chat.UserID) []wire.Announcement {
	var answers []wire.Announcement
	for shard, some := range r.byShard(users) {
		if a, ok := r.shards[shard].watch(ctx, some); ok {
			answers = append(answers, a)
		}
	}
	return answers
}

// Unwatch counts uses down.
func (r *Registrar) Unwatch(users []chat.UserID) {
	for shard, some := range r.byShard(users) {
		r.shards[shard].unwatch(some)
	}
}

// Look answers how people are, once.
func (r *Registrar) Look(ctx context.Context, users []chat.UserID) ([]wire.PersonStatus, error) {
	var people []wire.PersonStatus
	for shard, some := range r.byShard(users) {
		ctx, cancel := context.WithTimeout(ctx, askWithin)
		a, err := r.config.Owners[shard].Look(ctx, some)
		cancel()
		if err != nil {
			return nil, err
		}
		people = append(people, a.People...)
	}
	return people, nil
}

func (r *Registrar) byShard(users []chat.UserID) map[int][]chat.UserID {
	if len(users) == 0 {
		return nil
	}
	parts := make(map[int][]chat.UserID, len(r.shards))
	for _, u := range users {
		shard := ShardOf(u, len(r.shards))
		parts[shard] = append(parts[shard], u)
	}
	return parts
}

func (s *shardSide) watch(ctx context.Context, users []chat.UserID) (wire.Announcement, bool) {
	s.asking.Lock()
	defer s.asking.Unlock()
	s.mu.Lock()
	for _, u := range users {
		if s.refs[u] == nil {
			if len(s.refs) >= mostInterests {
				s.registrar.metrics.shed.Inc()
				continue
			}
			s.refs[u] = &interest{}
		}
		s.refs[u].uses++
	}
	s.mu.Unlock()
	a, err := s.ask(ctx, users)
	return a, err == nil
}

// ask has the owner watch people. Called with asking held.
func (s *shardSide) ask(ctx context.Context, users []chat.UserID) (wire.Announcement, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	a, err := s.owner.Watch(ctx, s.registrar.config.Edge, s.registrar.number(), users)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.behind = true
		s.registrar.metrics.asksFailed.Inc()
		return a, err
	}
	for _, u := range users {
		if i := s.refs[u]; i != nil && !i.held {
			i.held = true
			s.held++
		}
	}
	return a, nil
}

func (s *shardSide) unwatch(users []chat.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range users {
		if i := s.refs[u]; i != nil {
			i.uses--
			s.idle = s.idle || i.uses <= 0
		}
	}
}

// run keeps both sides together until ctx ends.
func (s *shardSide) run(ctx context.Context) {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.renew:
			s.renewAll(ctx)
		case <-tick.C:
			s.dropIdle(ctx)
			s.mu.Lock()
			behind := s.behind
			s.mu.Unlock()
			if behind {
				s.renewAll(ctx)
			}
		}
	}
}

// dropIdle tells the owner whom nobody looks at any more.
func (s *shardSide) dropIdle(ctx context.Context) {
	s.asking.Lock()
	defer s.asking.Unlock()
	s.mu.Lock()
	var gone []chat.UserID
	if s.idle {
		for u, i := range s.refs {
			if i.uses > 0 {
				continue
			}
			if i.held {
				s.held--
				gone = append(gone, u)
			}
			delete(s.refs, u)
		}
	}
	s.idle = false
	s.mu.Unlock()
	if len(gone) == 0 {
		return
	}
	for part := range slices.Chunk(gone, peoplePerAnnouncement) {
		limited, cancel := context.WithTimeout(ctx, askWithin)
		err := s.owner.Unwatch(limited, s.registrar.config.Edge, s.registrar.number(), part)
		cancel()
		if err != nil {
			s.registrar.metrics.asksFailed.Inc() // the next renewal sees that the two sides differ
		}
	}
}

// renewAll renews the interests, and asks for all of them again where the owner lacks any.
func (s *shardSide) renewAll(ctx context.Context) {
	s.asking.Lock()
	defer s.asking.Unlock()
	s.mu.Lock()
	held, run := s.held, s.registrar.number()
	if s.behind {
		held = -1 // no owner agrees with that
	}
	s.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, askWithin)
	answer, err := s.owner.Renew(limited, s.registrar.config.Edge, run, held)
	cancel()
	switch {
	case err != nil:
		s.registrar.metrics.asksFailed.Inc()
		s.mu.Lock()
		s.behind = true
		s.mu.Unlock()
	case answer.Over:
		s.registrar.over(run) // it renews with the new run
	case answer.Again:
		s.again(ctx)
	}
}

// again asks for everybody. Called with asking held.
func (s *shardSide) again(ctx context.Context) {
	s.mu.Lock()
	s.behind, s.held = false, 0
	users := make([]chat.UserID, 0, len(s.refs))
	for u, i := range s.refs {
		i.held = false
		if i.uses > 0 {
			users = append(users, u)
		}
	}
	s.mu.Unlock()
	if len(users) > 0 {
		s.registrar.metrics.again.Inc()
		s.registrar.config.Log.Debug("presence is asked again", slog.Int("shard", s.number), slog.Int("people", len(users)))
	}
	for part := range slices.Chunk(users, peoplePerAnnouncement) {
		a, err := s.ask(ctx, part)
		if err != nil {
			return // behind: soon again
		}
		s.registrar.config.OnChange(a)
	}
}
