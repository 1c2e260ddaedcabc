package edge

import (
	"sync"
	"time"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// first acts on the first message, which authenticates. It has to come within wire.AuthTimeout (see sweep).
func (c *connection) first(in inbound) {
	f, err := wire.DecodeFrame(in.data)
	c.recycle(in)
	if err == nil && f.Type != wire.TypeAuth {
		err = chat.Errorf(chat.Unauthorized, "the first frame is auth")
	}
	if err != nil {
		c.refuse(f.ID, err)
		c.finish(wire.CloseProtocol, "first frame is not auth")
		return
	}
	c.edge.metrics.frame(f.Type)
	who, err := c.edge.authenticate(f)
	if err != nil {
		c.refuse(f.ID, err)
		c.finish(closeFor(err), "not authenticated")
		return
	}
	c.conn.aside(func() { c.welcome(f.ID, who) })
}

// handshakeOver is called when the connection has authenticated, or has ended; the first call counts.
func (c *connection) handshakeOver() {
	if c.opens.Swap(false) {
		c.edge.handshakeOver()
	}
}

func closeFor(err error) int {
	if chat.KindOf(err) == chat.Unavailable {
		return wire.CloseUnavailable
	}
	return wire.CloseUnauthorized
}

// welcome registers before it answers: what is committed from then on comes live. It waits for the workers.
func (c *connection) welcome(id uint64, who auth.Claims) {
	c.holdBack()
	c.claims.Store(&who)
	c.alive()
	c.edge.known(c, who) // before the workers know: what they deliver at once is held, not lost
	if _, err := c.edge.register(c.edge.live, who.UserID); err != nil {
		c.refuse(id, err)
		c.finish(wire.CloseUnavailable, "a part of the server does not answer")
		return
	}
	c.registered = true
	if c.edge.deps.Revocations.Revoked(who.SessionID) { // revoked between the look at the token and now
		c.finish(wire.CloseUnauthorized, "session revoked")
		return
	}
	if c.edge.draining.Load() {
		c.goAway()
		c.finish(wire.CloseDrain, "draining")
		return
	}
	c.awaitSync()
	c.handshakeOver() // before the client knows
	c.replyAuth(id, who)
}

// awaitSync keeps live frames held for a moment after auth, so that what comes live before the first sync
// does not come again with it. Who does not sync in time gets them as they are.
func (c *connection) awaitSync() {
	c.mu.Lock()
	c.early, c.opening = true, make(chan struct{})
	c.mu.Unlock()
	c.edge.graces.add(c)
}

// opened ends the wait for the first sync. Called with the lock held.
func (c *connection) opened() {
	c.early = false
	if c.opening != nil {
		close(c.opening)
		c.opening = nil
	}
}

// graceOver is called when no sync came in time.
func (c *connection) graceOver() {
	c.mu.Lock()
	if !c.early {
		c.mu.Unlock()
		return
	}
	c.early = false
	nothing := len(c.hold.list) == 0 && !c.hold.lost
	if nothing {
		c.hold = nil
		c.opened()
	}
	c.mu.Unlock()
	if !nothing {
		c.work(func() { // it may wait for room
			c.letGo(nil)
			c.mu.Lock()
			c.opened()
			c.mu.Unlock()
		})
	}
}

// graces are the connections whose first sync is waited for. All wait equally long, so the queue is in order
// of time, and one goroutine, while it is not empty, serves them all.
type graces struct {
	edge *Edge

	mu      sync.Mutex // guards what follows
	queue   []grace
	serving bool
}

type grace struct {
	c   *connection
	due time.Time
}

func (g *graces) add(c *connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = append(g.queue, grace{c, time.Now().Add(syncGrace)})
	if !g.serving {
		g.serving = g.edge.spawn(g.serve)
	}
}

func (g *graces) serve() {
	timer := time.NewTimer(syncGrace)
	timer.Stop()
	for {
		due, wait := g.take(time.Now())
		for _, c := range due {
			c.graceOver()
		}
		if wait == 0 {
			return
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-g.edge.stopping: // all connections end
			return
		}
	}
}

// take returns whose time is over, and how long the next one still has; 0: nobody is left to wait for.
func (g *graces) take(now time.Time) (due []*connection, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for ; n < len(g.queue) && !now.Before(g.queue[n].due); n++ {
		due = append(due, g.queue[n].c)
	}
	g.queue = g.queue[n:]
	if len(g.queue) == 0 {
		g.queue, g.serving = nil, false
		return due, 0
	}
	return due, max(g.queue[0].due.Sub(now), time.Millisecond)
}

func (c *connection) replyAuth(id uint64, who auth.Claims) {
	c.reply(id, wire.TypeAuthOK, wire.AuthOK{
		UserID: who.UserID, SessionID: who.SessionID,
		ServerTime:  c.edge.config.Now().UTC().Format(chat.TimeLayout),
		HeartbeatMS: int(c.edge.config.Heartbeat.Milliseconds()),
	})
}

// authenticate judges an auth frame's token: an access token or a single-use ticket.
func (e *Edge) authenticate(f wire.Frame) (auth.Claims, error) {
	if e.blind.Load() {
		return auth.Claims{}, chat.Errorf(chat.Unavailable, "the news of revoked sessions is out of reach")
	}
	data, err := wire.DecodeData[wire.Auth](f)
	if err != nil {
		return auth.Claims{}, err
	}
	if data.Token == "" {
		return auth.Claims{}, chat.Errorf(chat.Unauthorized, "no token")
	}
	if isJWT(data.Token) {
		return e.deps.People.Verify(data.Token)
	}
	return e.deps.People.Redeem(data.Token)
}

// reauthenticate takes a newer token of the same session, so that a connection may outlive its first one.
func (c *connection) reauthenticate(f wire.Frame) {
	who, err := c.edge.authenticate(f)
	if err == nil && who.SessionID != c.who().SessionID {
		err = chat.Errorf(chat.Unauthorized, "the token is of another session")
	}
	if err != nil {
		c.refuse(f.ID, err)
		return
	}
	c.claims.Store(&who)
	c.replyAuth(f.ID, who)
}
