package edge

import (
	"slices"
	"sync"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

// lookout knows who looks at whom on this edge: connections look at conversations, and through them at the
// people who are members now. A person is watched once, however many connections look.
type lookout struct {
	mu     sync.Mutex // guards everything below, scenes and persons and looks included
	scenes map[chat.ConversationID]*scene
	people map[chat.UserID]*person
}

// scene is one conversation that somebody looks at, or is about to.
type scene struct {
	id      chat.ConversationID
	seq     chat.Seq      // members is who they were after this record, or later
	members []chat.UserID // sorted; replaced, never changed
	lookers map[*connection]struct{}
	pins    int // calls that are about to look: the scene stays, and hears of removals
}

// person is one member of a scene that has lookers.
type person struct {
	status   wire.Status
	lastSeen int64 // milliseconds, with offline; 0: not known
	term     uint64
	version  uint64
	in       []*scene
}

// looks is what one connection looks at.
type looks struct {
	scenes []*scene
	late   map[chat.UserID]struct{} // statuses that found no room: told again, as they are then
	quiet  bool                     // until the answer to a subscription stands, changes are late
}

// turnover collects who begins and ends to be watched: once the lock is free, the owners are told.
type turnover struct{ fresh, gone []chat.UserID }

func newLookout() *lookout {
	return &lookout{scenes: make(map[chat.ConversationID]*scene), people: make(map[chat.UserID]*person)}
}

// pin makes scenes stay. A removal that is delivered from now on is not missed by who asks for members.
func (o *lookout) pin(ids []chat.ConversationID) []*scene {
	o.mu.Lock()
	defer o.mu.Unlock()
	pinned := make([]*scene, 0, len(ids))
	for _, id := range ids {
		s := o.scenes[id]
		if s == nil {
			s = &scene{id: id, lookers: make(map[*connection]struct{})}
			o.scenes[id] = s
		}
		s.pins++
		pinned = append(pinned, s)
	}
	return pinned
}

func (o *lookout) unpin(scenes []*scene) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range scenes {
		s.pins--
		o.tidy(s)
	}
}

// tidy forgets a scene without use. Called with the lock held, as what follows in lower case below.
func (o *lookout) tidy(s *scene) {
	if s.pins == 0 && len(s.lookers) == 0 && o.scenes[s.id] == s {
		delete(o.scenes, s.id)
	}
}

// learn takes members from the owner's answer; false when a later removal was heard of: ask again. Above the
// bound a scene has no lookers.
func (o *lookout) learn(s *scene, state *conversation.State) (change turnover, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if state.Head.Seq < s.seq {
		return change, false
	}
	members := state.OpenMembers()
	if len(members) > wire.MaxLively {
		members = nil
	}
	s.seq = state.Head.Seq
	o.setMembers(s, members, &change)
	return change, true
}

func (o *lookout) setMembers(s *scene, members []chat.UserID, change *turnover) {
	former := s.members
	s.members = members
	if len(s.lookers) > 0 {
		for _, u := range former {
			if _, still := slices.BinarySearch(members, u); !still {
				o.unlink(s, u, change)
			}
		}
		for _, u := range members {
			if _, was := slices.BinarySearch(former, u); !was {
				o.link(s, u, change)
			}
		}
	}
	for c := range s.lookers {
		if _, member := slices.BinarySearch(members, c.who().UserID); !member {
			o.detach(c, s, change)
		}
	}
}

// removed takes people out of a scene at a record of its history.
func (o *lookout) removed(id chat.ConversationID, seq chat.Seq, users []chat.UserID) (change turnover) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.scenes[id]
	if s == nil || seq <= s.seq {
		return change
	}
	s.seq = seq
	rest := slices.DeleteFunc(slices.Clone(s.members), func(u chat.UserID) bool { return slices.Contains(users, u) })
	o.setMembers(s, rest, &change)
	return change
}

func (o *lookout) link(s *scene, u chat.UserID, change *turnover) {
	p := o.people[u]
	if p == nil {
		p = &person{}
		o.people[u] = p
		change.fresh = append(change.fresh, u)
	}
	p.in = append(p.in, s)
}

func (o *lookout) unlink(s *scene, u chat.UserID, change *turnover) {
	p := o.people[u]
	if p == nil {
		return
	}
	at := slices.Index(p.in, s)
	if at < 0 {
		return
	}
	p.in = slices.Delete(p.in, at, at+1)
	if len(p.in) == 0 {
		delete(o.people, u)
		change.gone = append(change.gone, u)
	}
}

// attach has a connection look at a scene.
func (o *lookout) attach(c *connection, s *scene, change *turnover) {
	if len(s.lookers) == 0 {
		for _, u := range s.members {
			o.link(s, u, change)
		}
	}
	s.lookers[c] = struct{}{}
	c.presence.looks.scenes = append(c.presence.looks.scenes, s)
}

func (o *lookout) detach(c *connection, s *scene, change *turnover) {
	delete(s.lookers, c)
	c.presence.looks.scenes = slices.DeleteFunc(c.presence.looks.scenes, func(other *scene) bool { return other == s })
	if len(s.lookers) == 0 {
		for _, u := range s.members {
			o.unlink(s, u, change)
		}
		o.tidy(s)
	}
}

// look replaces what a connection looks at by those of the scenes whose member the user is, as far as the
// bound on people reaches. Until answered is called the connection is told nothing.
func (o *lookout) look(c *connection, scenes []*scene) (ids []chat.ConversationID, change turnover) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.presence.looks == nil {
		c.presence.looks = &looks{}
	}
	c.presence.looks.quiet, c.presence.looks.late = true, nil
	user, people := c.who().UserID, make(map[chat.UserID]struct{})
	var next []*scene
	for _, s := range scenes {
		if _, member := slices.BinarySearch(s.members, user); !member || !fits(people, s.members) {
			continue
		}
		next = append(next, s)
		ids = append(ids, s.id)
	}
	former := slices.Clone(c.presence.looks.scenes)
	for _, s := range next {
		if !slices.Contains(former, s) {
			o.attach(c, s, &change)
		}
	}
	for _, s := range former {
		if !slices.Contains(next, s) {
			o.detach(c, s, &change)
		}
	}
	return ids, change
}

// fits adds members to the people looked at, unless they would be too many.
func fits(people map[chat.UserID]struct{}, members []chat.UserID) bool {
	more := 0
	for _, u := range members {
		if _, known := people[u]; !known {
			more++
		}
	}
	if len(people)+more > wire.MaxWatchedPeople {
		return false
	}
	for _, u := range members {
		people[u] = struct{}{}
	}
	return true
}

// leave ends what a connection looks at.
func (o *lookout) leave(c *connection) (change turnover) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.presence.looks == nil {
		return change
	}
	for _, s := range slices.Clone(c.presence.looks.scenes) {
		o.detach(c, s, &change)
	}
	c.presence.looks.late = nil
	return change
}

// peopleOf lists who a connection sees: the others in its scenes.
func (o *lookout) peopleOf(c *connection) []chat.UserID {
	var users []chat.UserID
	for _, s := range c.presence.looks.scenes {
		users = append(users, s.members...)
	}
	slices.Sort(users)
	users = slices.Compact(users)
	self := c.who().UserID
	return slices.DeleteFunc(users, func(u chat.UserID) bool { return u == self })
}

// sees reports whether a connection looks at a person.
func (o *lookout) sees(c *connection, p *person) bool {
	return slices.ContainsFunc(p.in, func(s *scene) bool { _, looks := s.lookers[c]; return looks })
}

// ids lists the conversations that are looked at.
func (o *lookout) ids() []chat.ConversationID {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := make([]chat.ConversationID, 0, len(o.scenes))
	for id := range o.scenes {
		ids = append(ids, id)
	}
	return ids
}

func (o *lookout) has(id chat.ConversationID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.scenes[id] != nil
}
