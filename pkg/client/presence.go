package client

import (
	"context"
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// Presence says how present a person is. LastSeen stands with StatusOffline, when it is known.
type Presence struct {
	UserID   chat.UserID
	Status   wire.Status
	LastSeen time.Time
}

// Watching says in which conversations the server tells presence now: those asked for, without those that one
// may not see and without large groups.
type Watching struct{ ConversationIDs []chat.ConversationID }

// Typing says that somebody writes, or has stopped to. It ends after wire.TypingEnds by itself, with a message
// of theirs, and with the connection.
type Typing struct {
	ConversationID chat.ConversationID
	UserID         chat.UserID
	Writing        bool
}

func (Presence) event() {}
func (Watching) event() {}
func (Typing) event()   {}

const (
	typingWaits    = 32 // signals of one's own that wait for the writer; beyond: dropped
	typistsAtMost  = 256
	subscribeAgain = time.Second // after a refusal that passes
)

// company is what the client knows and tells of who is there. Guarded by the client's lock.
type company struct {
	wanted  []chat.ConversationID
	dirty   bool      // the server does not know wanted
	notYet  time.Time // before it no subscription is sent
	asked   uint64    // frame of the last subscription
	away    bool
	tellMe  bool // the server does not know away
	signals []signalUp
	started map[chat.ConversationID]time.Time // one's own starts
	typists map[typistKey]time.Time           // others' last starts
}

type signalUp struct {
	typ string
	id  chat.ConversationID
}

type typistKey struct {
	conversation chat.ConversationID
	user         chat.UserID
}

// SubscribePresence looks at the people in these conversations, at most wire.MaxWatched, and no longer at
// those of an earlier call. Presence events follow: the present state, then changes. It holds for later
// connections too; while there is none, what was told last may be old.
func (c *Client) SubscribePresence(ids ...chat.ConversationID) error {
	if len(ids) > wire.MaxWatched {
		return chat.Errorf(chat.Invalid, "%d conversations, at most %d are allowed", len(ids), wire.MaxWatched)
	}
	c.mu.Lock()
	c.company.wanted, c.company.dirty = slices.Clone(ids), true
	c.mu.Unlock()
	c.wakeWriter()
	return nil
}

// SetAway says that the person has left this device, or is back.
func (c *Client) SetAway(away bool) {
	c.mu.Lock()
	if c.company.away != away {
		c.company.away, c.company.tellMe = away, true
	}
	c.mu.Unlock()
	c.wakeWriter()
}

// Typing says that the user writes in a conversation, or has stopped to. Call it with every key: what goes on
// is one start in wire.TypingEvery. Without a connection it is nothing.
func (c *Client) Typing(id chat.ConversationID, writing bool) {
	now := c.config.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	last, writes := c.company.started[id]
	if writing && writes && now.Sub(last) < wire.TypingEvery || !writing && !writes || len(c.company.signals) >= typingWaits {
		return
	}
	typ := wire.TypeTypingStop
	delete(c.company.started, id)
	if writing {
		typ = wire.TypeTypingStart
		if c.company.started == nil || len(c.company.started) >= typistsAtMost {
			c.company.started = make(map[chat.ConversationID]time.Time)
		}
		c.company.started[id] = now
	}
	c.company.signals = append(c.company.signals, signalUp{typ, id})
	c.wakeWriter()
}

// begin follows a new connection: the server knows nothing.
func (p *company) begin() {
	p.dirty, p.tellMe, p.notYet = len(p.wanted) > 0, p.away, time.Time{}
	p.signals, p.started = nil, nil
}

// due is what goes up now, and who has stopped to write by the clock.
func (p *company) due(now time.Time, next func() uint64) (frames [][]byte, ended []Event) {
	add := func(typ string, data any) (id uint64) {
		id = next()
		if frame, err := wire.EncodeFrame(id, typ, data); err == nil {
			frames = append(frames, frame)
		}
		return id
	}
	if p.tellMe {
		p.tellMe = false
		status := wire.StatusOnline
		if p.away {
			status = wire.StatusAway
		}
		add(wire.TypePresenceUpdate, wire.PresenceSet{Status: status.String()})
	}
	if p.dirty && !now.Before(p.notYet) {
		p.dirty = false
		request := wire.PresenceSubscribe{ConversationIDs: []string{}}
		for _, id := range p.wanted {
			request.ConversationIDs = append(request.ConversationIDs, string(id))
		}
		p.asked = add(wire.TypePresenceSub, request)
	}
	for _, s := range p.signals {
		add(s.typ, wire.TypingUp{ConversationID: string(s.id)})
	}
	p.signals = nil
	for who, began := range p.typists {
		if now.Sub(began) >= wire.TypingEnds {
			delete(p.typists, who)
			ended = append(ended, Typing{who.conversation, who.user, false})
		}
	}
	return frames, ended
}

// refused takes the refusal of a frame; true when it was the subscription.
func (p *company) refused(frame uint64, err error, now time.Time) bool {
	if frame == 0 || frame != p.asked {
		return false
	}
	if refusal, retry := refused(err); retry {
		p.dirty, p.notYet = true, now.Add(subscribeAgain)
		if refusal != nil && refusal.RetryAfter > subscribeAgain {
			p.notYet = now.Add(refusal.RetryAfter)
		}
	}
	return true
}

func (c *Client) presenceState(ctx context.Context, s wire.PresenceState) {
	c.emit(ctx, Watching{s.ConversationIDs})
	for _, u := range s.People {
		c.presenceUpdate(ctx, u)
	}
}

func (c *Client) presenceUpdate(ctx context.Context, u wire.PresenceUpdate) {
	status, err := wire.ParseStatus(u.Status)
	if err != nil {
		return // of a later version
	}
	p := Presence{UserID: u.UserID, Status: status}
	if seen, err := time.Parse(time.RFC3339, u.LastSeen); err == nil {
		p.LastSeen = seen
	}
	c.emit(ctx, p)
}

// typingDown takes a signal of somebody else. A repeat only lasts longer.
func (c *Client) typingDown(ctx context.Context, d wire.TypingDown, writing bool) {
	who := typistKey{d.ConversationID, d.UserID}
	c.mu.Lock()
	_, wrote := c.company.typists[who]
	full := len(c.company.typists) >= typistsAtMost && !wrote
	switch {
	case !writing:
		delete(c.company.typists, who)
	case !full:
		if c.company.typists == nil {
			c.company.typists = make(map[typistKey]time.Time)
		}
		c.company.typists[who] = c.config.Now()
	}
	c.mu.Unlock()
	if wrote != writing && !full {
		c.emit(ctx, Typing{d.ConversationID, d.UserID, writing})
	}
}

// wrote ends somebody's typing with their message.
func (c *Client) wrote(ctx context.Context, r *chat.Record) {
	if r.Kind != chat.KindMessage {
		return
	}
	who := typistKey{r.ConversationID, r.SenderID}
	c.mu.Lock()
	_, writing := c.company.typists[who]
	delete(c.company.typists, who)
	c.mu.Unlock()
	if writing {
		c.emit(ctx, Typing{r.ConversationID, r.SenderID, false})
	}
}

// hush ends all typing: the connection over which its end would be told is over.
func (c *Client) hush(ctx context.Context) {
	c.mu.Lock()
	typists := c.company.typists
	c.company.typists = nil
	c.mu.Unlock()
	for who := range typists {
		c.emit(ctx, Typing{who.conversation, who.user, false})
	}
}
