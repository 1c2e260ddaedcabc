package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	closeGrace = time.Second // for the last frames, and for the client to close its side
	framesRate = 200         // frames a second per connection
	framesMost = 2000        // in a burst
)

// connection is one client's socket with all that is under way for it.
type connection struct {
	// Fixed at construction.
	edge *Edge
	conn conn
	out  *outbox
	done chan struct{} // closed by finish

	syncBegun chan struct{} // closed by the first sync
	opened    chan struct{} // closed once the first sync may answer: nobody lets go of held frames any more

	// Owned by the reader.
	frames     *rate.Limiter // nil: no limit
	registered bool          // the workers count this connection

	claims atomic.Pointer[auth.Claims] // nil until authenticated; replaced when the token is
	heard  atomic.Int64                // Unix nanoseconds of the last sign of life
	pinged atomic.Int64                // the heard value that the last ping asked after
	leaves atomic.Bool                 // goaway was sent: no new work

	ending sync.Once
	code   int // written before done closes
	reason string

	working sync.WaitGroup // goroutines that work for this connection beside reader and writer

	mu      sync.Mutex // guards what follows
	hold    *heldFrames
	syncing bool
	synced  bool // syncBegun is closed
	covered coverage
	sends   sendState
	cursors cursorState
}

func newConnection(e *Edge, c conn) *connection {
	o := &connection{edge: e, conn: c, out: newOutbox(), done: make(chan struct{}), syncBegun: make(chan struct{}), opened: make(chan struct{})}
	if !e.config.NoLimits {
		o.frames = rate.NewLimiter(framesRate, framesMost)
	}
	return o
}

func (c *connection) who() *auth.Claims { return c.claims.Load() }

// serve owns the connection until it is over and everything it started has ended.
func (c *connection) serve() {
	var writer sync.WaitGroup
	writer.Go(c.write)
	if c.handshake() {
		c.read()
	}
	c.finish(websocket.CloseNormalClosure, "")
	c.linger()
	writer.Wait()
	_ = c.conn.Shut()
	c.flushCursors()
	c.working.Wait()
	c.edge.leave(c)
	if c.registered {
		c.edge.unregister(c.who().UserID)
	}
	c.edge.metrics.closedWith(c.code)
}

// finish ends the connection with a close code, once: what is queued is still written, unless the client is
// too slow for that. It does not block.
func (c *connection) finish(code int, reason string) {
	c.ending.Do(func() {
		c.code, c.reason = code, reason
		_ = c.conn.SetWriteDeadline(time.Now().Add(closeGrace))
		c.out.close(code == wire.CloseTooSlow)
		close(c.done)
	})
}

// linger reads on until the client closed its side or the grace is over, so that the close frame is not lost
// to a reset of the transport.
func (c *connection) linger() {
	_ = c.conn.SetReadDeadline(time.Now().Add(closeGrace))
	for {
		in, err := c.conn.ReadFrame()
		if err != nil {
			return
		}
		c.recycle(in)
	}
}

func (c *connection) recycle(in inbound) {
	if in.release != nil {
		in.release()
	}
	c.conn.recycle(in)
}

// write is the only writer of the socket.
func (c *connection) write() {
	var batch [][]byte
	for over := false; !over; {
		select {
		case <-c.out.wake:
		case <-c.done:
			over = true
		}
		batch = c.out.take(batch[:0])
		if len(batch) == 0 {
			continue
		}
		if !over {
			_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		}
		if c.ended() { // finish may have set its own, shorter deadline just before
			_ = c.conn.SetWriteDeadline(time.Now().Add(closeGrace))
		}
		if err := c.conn.WriteFrames(batch); err != nil {
			c.finish(websocket.CloseAbnormalClosure, "")
			_ = c.conn.SetReadDeadline(time.Now()) // the reader has nothing to wait for
			return
		}
		clear(batch)
	}
	if c.code != websocket.CloseAbnormalClosure {
		_ = c.conn.WriteFrames([][]byte{closeOnWire(c.code, c.reason)})
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(closeGrace)) // a reader that waits for frames learns of the end
}

func (c *connection) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// read handles frames until the connection is over.
func (c *connection) read() {
	for {
		in, err := c.conn.ReadFrame()
		if err != nil {
			c.readFailed(err)
			return
		}
		if c.ended() {
			c.recycle(in)
			return
		}
		c.alive()
		c.handle(in)
	}
}

func (c *connection) alive() { c.heard.Store(time.Now().UnixNano()) }

func (c *connection) readFailed(err error) {
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		code := closed.Code
		if code == websocket.CloseNoStatusReceived || code == websocket.CloseAbnormalClosure {
			code = websocket.CloseNormalClosure
		}
		c.finish(code, "")
		return
	}
	switch {
	case errors.Is(err, errBinary):
		c.finish(wire.CloseProtocol, "binary frame")
	case errors.Is(err, errTooLarge):
		c.finish(wire.CloseTooLarge, "frame too large")
	case errors.Is(err, errBusy):
		c.finish(wire.CloseOverloaded, "too many large frames")
	default:
		c.finish(websocket.CloseAbnormalClosure, "")
	}
}

// push queues a text frame; a client that does not keep up loses its connection.
func (c *connection) push(payload []byte) { c.pushReady(onWire(opText, payload)) }

func (c *connection) pushReady(frame []byte) {
	if !c.out.push(frame) {
		c.finish(wire.CloseTooSlow, "too slow")
	}
}

// reply queues an answer to frame id; 0 is a push.
func (c *connection) reply(id uint64, typ string, data any) {
	b, err := wire.EncodeFrame(id, typ, data)
	if err != nil {
		c.edge.log.Error("frame can not be encoded", slog.String("type", typ), slog.Any("error", err))
		return
	}
	c.push(b)
}

// refuse answers frame id with an error. What is our own fault is logged here, the client learns nothing of it.
func (c *connection) refuse(id uint64, err error) {
	told := wire.ErrorOf(err)
	c.edge.metrics.refusals.WithLabelValues(string(told.Code)).Inc()
	if told.Code == chat.Internal {
		c.edge.log.Error("frame failed", slog.Any("error", err))
	}
	c.reply(id, wire.TypeError, told)
}

// handshake waits for the first frame, which authenticates, and registers the user for deliveries.
func (c *connection) handshake() bool {
	defer c.edge.handshakeOver()
	_ = c.conn.SetReadDeadline(time.Now().Add(wire.AuthTimeout))
	in, err := c.conn.ReadFrame()
	if err != nil {
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			c.finish(wire.CloseHandshake, "no auth in time")
		} else {
			c.readFailed(err)
		}
		return false
	}
	f, err := wire.DecodeFrame(in.data)
	c.recycle(in)
	if err == nil && f.Type != wire.TypeAuth {
		err = chat.Errorf(chat.Unauthorized, "the first frame is auth")
	}
	if err != nil {
		c.refuse(f.ID, err)
		c.finish(wire.CloseProtocol, "first frame is not auth")
		return false
	}
	c.edge.metrics.frame(f.Type)
	who, err := c.edge.authenticate(f)
	if err != nil {
		c.refuse(f.ID, err)
		c.finish(closeFor(err), "not authenticated")
		return false
	}
	_ = c.conn.SetReadDeadline(time.Time{})
	return c.welcome(f.ID, who)
}

func closeFor(err error) int {
	if chat.KindOf(err) == chat.Unavailable {
		return wire.CloseUnavailable
	}
	return wire.CloseUnauthorized
}

// welcome registers before it answers: what is committed from then on comes live.
func (c *connection) welcome(id uint64, who auth.Claims) bool {
	c.alive()
	c.holdBack()
	c.claims.Store(&who)
	c.edge.known(c, who) // before the workers know: what they deliver at once is held, not lost
	if _, err := c.edge.register(c.edge.live, who.UserID); err != nil {
		c.refuse(id, err)
		c.finish(wire.CloseUnavailable, "a part of the server does not answer")
		return false
	}
	c.registered = true
	if c.edge.deps.Revocations.Revoked(who.SessionID) { // revoked between the look at the token and now
		c.finish(wire.CloseUnauthorized, "session revoked")
		return false
	}
	if c.edge.draining.Load() {
		c.goAway()
		return false
	}
	c.replyAuth(id, who)
	return c.work(c.awaitSync)
}

// awaitSync keeps live frames held for a moment after auth, so that what comes live before the first sync
// does not come again with it. Who does not sync in time gets them as they are.
func (c *connection) awaitSync() {
	defer close(c.opened)
	grace := time.NewTimer(syncGrace)
	defer grace.Stop()
	select {
	case <-c.syncBegun:
	case <-c.done:
	case <-grace.C:
		c.letGo(nil)
	}
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

// sweep checks once a second what no frame tells: expiry, revocation, silence.
func (c *connection) sweep(now time.Time) {
	c.mu.Lock()
	c.covered.forget(now)
	c.mu.Unlock()
	who := c.who()
	if who == nil {
		return // the handshake has its own deadline
	}
	if !now.Before(who.ExpiresAt) {
		c.finish(wire.CloseUnauthorized, "token expired")
		return
	}
	if c.edge.deps.Revocations.Revoked(who.SessionID) {
		c.finish(wire.CloseUnauthorized, "session revoked")
		return
	}
	heard := c.heard.Load()
	switch quiet := time.Since(time.Unix(0, heard)); {
	case quiet >= 2*c.edge.config.Heartbeat:
		c.finish(wire.CloseIdle, "nothing heard")
	case quiet >= c.edge.config.Heartbeat && c.pinged.Swap(heard) != heard:
		c.pushReady(onWire(opPing, nil))
	}
}

// goAway asks the client to return later and closes once what is under way has been answered.
func (c *connection) goAway() {
	if c.leaves.Swap(true) {
		return
	}
	spread := c.edge.config.DrainTime
	wait := time.Duration(rand.Int64N(int64(spread) + 1)) //nolint:gosec // jitter
	if c.who() != nil {
		c.reply(0, wire.TypeGoAway, wire.GoAway{ReconnectAfterMS: wait.Milliseconds()})
	}
	c.mu.Lock()
	idle := c.sends.idle()
	c.mu.Unlock()
	if idle {
		c.finish(wire.CloseDrain, "draining")
	}
}

// goneIfIdle is called when a send was answered.
func (c *connection) goneIfIdle() {
	if !c.leaves.Load() {
		return
	}
	c.mu.Lock()
	idle := c.sends.idle()
	c.mu.Unlock()
	if idle {
		c.finish(wire.CloseDrain, "draining")
	}
}

// unavailable marks a failure of a part of the server as one that passes, unless it says itself what it is.
func unavailable(err error, doing string, subject any) error {
	if _, ok := errors.AsType[*chat.Error](err); ok {
		return fmt.Errorf("%s %v: %w", doing, subject, err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s %v: %w: %w", doing, subject, chat.Errorf(chat.Unavailable, "a part of the server does not answer"), err)
	}
	return fmt.Errorf("%s %v: %w", doing, subject, err)
}
