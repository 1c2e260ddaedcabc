package edge

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	looksEvery     = time.Second // between subscriptions of one connection
	looksBurst     = 10
	lookTime       = 5 * time.Second
	lookWidth      = 16       // questions for members in flight, per subscription
	lookTries      = 4        // for members that change meanwhile
	peopleAtOnce   = 250      // in one presence:state, below 32 KiB; the others follow
	sheddableBytes = 32 << 10 // a queue fuller than this takes no presence and no typing
	lastSeenTime   = 3 * time.Second
	learnRetry     = time.Second // after members could not be read
)

// connPresence is a connection's part in presence.
type connPresence struct {
	seat    uint64        // owned by whoever makes the connection known and lets it go
	rate    *rate.Limiter // owned by the reader; nil until used
	looking atomic.Bool   // a subscription is under way
	late    atomic.Bool   // looks.late holds something
	looks   *looks        // guarded by the lookout's lock; nil until used
}

// comes registers a connection for presence; goes takes it out.
func (e *Edge) comes(c *connection, who auth.Claims) {
	c.presence.seat = e.deps.Presence.Enter(who.UserID, who.SessionID)
}

func (e *Edge) goes(c *connection) {
	if c.presence.seat == 0 {
		return
	}
	e.deps.Presence.Leave(c.presence.seat)
	e.turn(e.lookout.leave(c))
}

// turn tells the owners who is not looked at any more. Fresh people are watched by watch.
func (e *Edge) turn(change turnover) {
	if len(change.gone) > 0 {
		e.deps.Presence.Unwatch(change.gone)
	}
}

// watch begins to watch people and takes what is known of them.
func (e *Edge) watch(ctx context.Context, change turnover) {
	if len(change.fresh) > 0 {
		for _, a := range e.deps.Presence.Watch(ctx, change.fresh) {
			e.complete(ctx, &a)
			e.noted(&a)
		}
	}
	e.turn(change)
}

// subscribePresence takes a presence:subscribe.
func (c *connection) subscribePresence(f wire.Frame) {
	ids, err := watchedOf(f)
	if err == nil {
		err = c.mayLook()
	}
	if err != nil {
		c.refuse(f.ID, err)
		return
	}
	c.startLook(f.ID, ids)
}

func (c *connection) startLook(id uint64, ids []chat.ConversationID) {
	started := c.work(func() {
		if err := c.look(id, ids); err != nil {
			c.presence.looking.Store(false)
			c.refuse(id, err)
		}
	})
	if !started {
		c.presence.looking.Store(false)
		c.refuse(id, chat.Errorf(chat.Unavailable, "this node is stopping"))
	}
}

func watchedOf(f wire.Frame) ([]chat.ConversationID, error) {
	data, err := wire.DecodeData[wire.PresenceSubscribe](f)
	if err != nil {
		return nil, err
	}
	return parseWatched(data.ConversationIDs)
}

func parseWatched(texts []string) ([]chat.ConversationID, error) {
	if len(texts) > wire.MaxWatched {
		return nil, chat.Errorf(chat.Invalid, "%d conversations, at most %d are allowed", len(texts), wire.MaxWatched)
	}
	ids := make([]chat.ConversationID, 0, len(texts))
	seen := make(map[chat.ConversationID]bool, len(texts))
	for _, text := range texts {
		id, err := chat.ParseConversationID(text)
		if err != nil {
			return nil, err
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// mayLook lets one subscription at a time pass, and not too many.
func (c *connection) mayLook() error {
	if c.presence.rate == nil && !c.edge.config.NoLimits {
		c.presence.rate = rate.NewLimiter(rate.Every(looksEvery), looksBurst)
	}
	if c.presence.rate != nil && !c.presence.rate.Allow() || c.presence.looking.Swap(true) {
		return limitedFor(looksEvery, "one subscription at a time, and one a second")
	}
	return nil
}

// look replaces what the connection looks at and answers with what is known.
func (c *connection) look(id uint64, ids []chat.ConversationID) error {
	e := c.edge
	ctx, cancel := context.WithTimeout(e.live, lookTime)
	defer cancel()
	scenes := e.lookout.pin(ids)
	defer func() { e.lookout.unpin(scenes) }()
	if err := e.learnAll(ctx, scenes); err != nil {
		return err
	}
	watched, change := e.lookout.look(c, scenes)
	e.watch(ctx, change)
	c.tellState(id, watched)
	return nil
}

// learnAll asks for the members of scenes. What does not exist has none.
func (e *Edge) learnAll(ctx context.Context, scenes []*scene) error {
	var group errgroup.Group
	group.SetLimit(lookWidth)
	for _, s := range scenes {
		group.Go(func() error { return e.learn(ctx, s) })
	}
	return group.Wait()
}

func (e *Edge) learn(ctx context.Context, s *scene) error {
	for range lookTries {
		a, err := e.deps.Partitions.Ask(ctx, s.id)
		if err != nil && chat.KindOf(err) != chat.NotFound {
			return unavailable(err, "members of", s.id)
		}
		change, ok := e.lookout.learn(s, &a.State)
		if ok {
			e.watch(ctx, change)
			return nil
		}
	}
	return chat.Errorf(chat.Unavailable, "the members are changing, try again")
}

// tellState answers a subscription. Who does not fit, and who changed meanwhile, follows.
func (c *connection) tellState(id uint64, watched []chat.ConversationID) {
	o := &c.edge.lookout.mu
	state := wire.PresenceState{ConversationIDs: watched, People: []wire.PresenceUpdate{}}
	if watched == nil {
		state.ConversationIDs = []chat.ConversationID{}
	}
	o.Lock()
	late := make(map[chat.UserID]struct{})
	for _, u := range c.edge.lookout.peopleOf(c) {
		p := c.edge.lookout.people[u]
		switch {
		case p == nil || p.status == wire.StatusUnknown:
		case len(state.People) == peopleAtOnce:
			late[u] = struct{}{}
		default:
			state.People = append(state.People, updateOf(u, p))
		}
	}
	c.presence.looking.Store(false)            // who has the answer may ask again
	c.reply(id, wire.TypePresenceState, state) // queued before any later change
	c.presence.looks.quiet, c.presence.looks.late = false, late
	c.presence.late.Store(len(late) > 0)
	o.Unlock()
	c.tellLate()
}

func updateOf(u chat.UserID, p *person) wire.PresenceUpdate {
	update := wire.PresenceUpdate{UserID: u, Status: p.status.String()}
	if p.status == wire.StatusOffline && p.lastSeen > 0 {
		update.LastSeen = time.UnixMilli(p.lastSeen).UTC().Format(chat.TimeLayout)
	}
	return update
}

// tellLate tells what found no room before, as it is now. The sweep calls it each second.
func (c *connection) tellLate() {
	if !c.presence.late.Load() || c.edge.pressure.sheds(shedPresence) {
		return
	}
	o := c.edge.lookout
	o.mu.Lock()
	defer o.mu.Unlock()
	for u := range c.presence.looks.late {
		p := o.people[u]
		if p != nil && o.sees(c, p) && !c.offer(presenceFrame(u, p)) {
			return
		}
		delete(c.presence.looks.late, u)
	}
	c.presence.late.Store(false)
}

// presenceFrame is presence:update, ready for the wire.
func presenceFrame(u chat.UserID, p *person) []byte {
	payload, err := wire.EncodeFrame(0, wire.TypePresenceUpdate, updateOf(u, p))
	if err != nil {
		return nil // texts of our own
	}
	return onWire(opText, payload)
}

// offer queues a frame that may be lost: false when the client has not taken enough of what waits already.
func (c *connection) offer(frame []byte) bool {
	if !c.out.pushBelow(frame, sheddableBytes) {
		return false
	}
	c.conn.flush()
	return true
}

// setStatus takes a presence:update from below: the person is at the device, or away from it.
func (c *connection) setStatus(f wire.Frame) {
	data, err := wire.DecodeData[wire.PresenceSet](f)
	var status wire.Status
	if err == nil {
		status, err = wire.ParseStatus(data.Status)
	}
	if err == nil && status == wire.StatusOffline {
		err = chat.Errorf(chat.Invalid, "a connection is online or away")
	}
	if err != nil {
		c.refuse(f.ID, err)
		return
	}
	c.edge.deps.Presence.SetAway(c.presence.seat, status == wire.StatusAway)
}

// PresenceChanged takes an owner's announcement. It does not block.
func (e *Edge) PresenceChanged(a wire.Announcement) {
	if !lacksSeen(&a) {
		e.noted(&a)
		return
	}
	e.spawn(func() {
		e.complete(e.live, &a)
		e.noted(&a)
	})
}

// heard reads an announcement from an edge's subject.
func (e *Edge) heard(b []byte) {
	a, err := wire.DecodeAnnouncement(b)
	if err != nil {
		e.metrics.badHops.Inc()
		return
	}
	e.PresenceChanged(a)
}

func lacksSeen(a *wire.Announcement) bool {
	for i := range a.People {
		if p := &a.People[i]; p.Status == wire.StatusOffline && p.LastSeen == 0 {
			return true
		}
	}
	return false
}

// complete reads when people were last seen whose owner does not know. Without the directory it is left out.
func (e *Edge) complete(ctx context.Context, a *wire.Announcement) {
	var users []chat.UserID
	for i := range a.People {
		if p := &a.People[i]; p.Status == wire.StatusOffline && p.LastSeen == 0 {
			users = append(users, p.UserID)
		}
	}
	if len(users) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastSeenTime)
	defer cancel()
	seen, err := e.deps.Directory.LastSeen(ctx, users)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			e.log.Warn("last seen not read", slog.Int("people", len(users)), slog.Any("error", err))
		}
		return
	}
	for i := range a.People {
		if p := &a.People[i]; p.Status == wire.StatusOffline && p.LastSeen == 0 && !seen[p.UserID].IsZero() {
			p.LastSeen = seen[p.UserID].UnixMilli()
		}
	}
}

// noted takes what is newer than what is known, and tells who looks.
func (e *Edge) noted(a *wire.Announcement) {
	o := e.lookout
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range a.People {
		now := &a.People[i]
		p := o.people[now.UserID]
		if p == nil || a.Term < p.term || a.Term == p.term && a.Version <= p.version {
			continue
		}
		p.term, p.version = a.Term, a.Version
		if now.Status == p.status && (now.LastSeen == 0 || now.LastSeen == p.lastSeen) {
			continue
		}
		p.status, p.lastSeen = now.Status, now.LastSeen
		e.tellLookers(now.UserID, p)
	}
}

// tellLookers tells everybody who looks at a person but themselves, once. Called with the lookout's lock held.
func (e *Edge) tellLookers(u chat.UserID, p *person) {
	var frame []byte
	told := make(map[*connection]struct{})
	for _, s := range p.in {
		for c := range s.lookers {
			if _, again := told[c]; again || c.who().UserID == u {
				continue
			}
			told[c] = struct{}{}
			if frame == nil {
				frame = presenceFrame(u, p)
			}
			e.tell(c, u, frame)
		}
	}
}

func (e *Edge) tell(c *connection, u chat.UserID, frame []byte) {
	if !c.presence.looks.quiet && !e.pressure.sheds(shedPresence) && c.offer(frame) {
		e.metrics.presence.Inc()
		return
	}
	if !c.presence.looks.quiet {
		e.metrics.shed.WithLabelValues("presence").Inc()
	}
	if c.presence.looks.late == nil {
		c.presence.looks.late = make(map[chat.UserID]struct{})
	}
	c.presence.looks.late[u] = struct{}{} // at most the people looked at
	c.presence.late.Store(true)
}

const (
	memberFrame = `{"type":"` + wire.TypeRecordReceived + `"`
	memberKind  = `"kind":"member"`
)

// presenceOf is how present a person is, for who has a direct conversation with them: that is told at the
// head, where a shared group would be told by a projection that lags. nil: not to be told, or not known now.
func (e *Edge) presenceOf(ctx context.Context, asker, user chat.UserID) *PersonPresence {
	if asker == user {
		return nil
	}
	if _, err := e.ask(ctx, chat.DirectID(e.config.KeyConversations, asker, user), asker); err != nil {
		return nil
	}
	found, err := e.deps.Presence.Look(ctx, []chat.UserID{user})
	if err != nil || len(found) == 0 {
		return nil
	}
	a := wire.Announcement{People: found}
	e.complete(ctx, &a)
	update := updateOf(user, &person{status: a.People[0].Status, lastSeen: a.People[0].LastSeen})
	return &PersonPresence{update.Status, update.LastSeen}
}

// sceneChanged follows a membership record on its way to its recipients: whoever it removes is not looked at
// any more, nor looks, before it is delivered. Who it adds is asked for.
func (e *Edge) sceneChanged(d *wire.Delivery) {
	if !bytes.HasPrefix(d.Frame, []byte(memberFrame)) || !bytes.Contains(recordHead(d.Frame), []byte(memberKind)) || !e.lookout.has(d.Conversation) {
		return
	}
	var frame struct {
		Data chat.Record `json:"data"`
	}
	if err := json.Unmarshal(d.Frame, &frame); err != nil || frame.Data.Kind != chat.KindMember {
		return
	}
	switch frame.Data.Action {
	case chat.ActionRemoved, chat.ActionLeft:
		e.turn(e.lookout.removed(d.Conversation, d.RecordSeq, frame.Data.UserIDs))
	case chat.ActionAdded:
		e.spawn(func() { e.learnAgain([]chat.ConversationID{d.Conversation}) })
	case chat.ActionRole: // the members are the same
	}
}

// scenesLost asks for all members again: deliveries were lost, removals perhaps among them.
func (e *Edge) scenesLost() {
	if ids := e.lookout.ids(); len(ids) > 0 {
		e.spawn(func() { e.learnAgain(ids) })
	}
}

// learnAgain does not give up: somebody may look who was removed.
func (e *Edge) learnAgain(ids []chat.ConversationID) {
	scenes := e.lookout.pin(ids)
	defer e.lookout.unpin(scenes)
	for {
		ctx, cancel := context.WithTimeout(e.live, lookTime)
		err := e.learnAll(ctx, scenes)
		cancel()
		if err == nil {
			return
		}
		e.log.Warn("members not read again, trying again", slog.Any("error", err))
		select {
		case <-e.stopping:
			return
		case <-time.After(learnRetry):
		}
	}
}
