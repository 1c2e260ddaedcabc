package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const closeGrace = time.Second // for the last frames, and for the client to close its side

// connection is one client's session with all that is under way for it; its socket is conn. What it holds while
// idle counts in thousands of connections: state that only work needs is made when the work comes.
type connection struct {
	// Fixed at construction.
	edge *Edge
	conn conn
	done chan struct{} // closed by finish

	out outbox

	// Owned by the reader.
	frames     allowance
	registered bool // the workers count this connection
	writes     typingState

	presence connPresence

	claims atomic.Pointer[auth.Claims] // nil until authenticated; replaced when the token is
	heard  atomic.Int64                // Unix nanoseconds of the last sign of life; at first, of the beginning
	pinged atomic.Int64                // the heard value that the last ping asked after
	leaves atomic.Bool                 // goaway was sent: no new work
	opens  atomic.Bool                 // counts among those that have not authenticated
	paced  atomic.Bool                 // the pacer will flush it
	holds  atomic.Int32                // the conn and each piece of work; at 0 the connection is forgotten

	ending sync.Once
	code   int // written before done closes
	reason string

	mu      sync.Mutex // guards what follows
	hold    *heldFrames
	opening chan struct{} // closed when the first sync may answer; nil: it may
	early   bool          // live frames wait for the first sync
	syncing *syncRun      // nil: none is under way
	covered coverage
	sends   sendState
	cursors cursorState
}

// newConnection counts among the half-open ones until it has authenticated or ended.
func newConnection(e *Edge) *connection {
	c := &connection{edge: e, done: make(chan struct{})}
	c.holds.Store(1)
	c.heard.Store(time.Now().UnixNano())
	return c
}

func (c *connection) who() *auth.Claims { return c.claims.Load() }

// finish ends the connection with a close code, once: what is queued is still written, unless the client is
// too slow for that. It does not block.
func (c *connection) finish(code int, reason string) {
	c.ending.Do(func() {
		c.code, c.reason = code, reason
		c.out.close(code == wire.CloseTooSlow)
		close(c.done)
		c.handshakeOver()
		c.conn.flush()
	})
}

func (c *connection) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// left is called by the conn when it is over: nothing comes from it any more, nothing goes to it.
func (c *connection) left() {
	c.mu.Lock()
	waiting := len(c.cursors.waiting) > 0
	c.mu.Unlock()
	if !waiting {
		c.release()
		return
	}
	c.edge.running.Go(func() { // the edge still counts this connection, so it may
		c.flushCursors()
		c.release()
	})
}

// retain keeps the connection from being forgotten; false once it has been.
func (c *connection) retain() bool {
	for {
		n := c.holds.Load()
		if n == 0 {
			return false
		}
		if c.holds.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives back what retain took. The last one forgets the connection.
func (c *connection) release() {
	if c.holds.Add(-1) > 0 {
		return
	}
	c.edge.leave(c)
	if c.registered {
		c.edge.unregister(c.who().UserID)
	}
	c.edge.metrics.closedWith(c.code)
	c.edge.running.Done()
}

// received acts on one message; called by the reader.
func (c *connection) received(in inbound) {
	switch {
	case c.ended():
		c.recycle(in)
	case c.who() == nil:
		c.first(in)
	default:
		c.alive()
		c.handle(in)
	}
}

// alive notes a sign of life. Until it has authenticated a connection has its fixed time.
func (c *connection) alive() {
	if c.who() != nil {
		c.heard.Store(time.Now().UnixNano())
	}
}

func (c *connection) pingedBy(data []byte) {
	c.alive()
	c.pushReady(onWire(opPong, data))
}

func (c *connection) recycle(in inbound) {
	if in.release != nil {
		in.release()
	}
	c.edge.recycle(in)
}

// recycle gives back the memory of a message.
func (e *Edge) recycle(in inbound) { put(&e.buffers.read, in.buffer) }

func (c *connection) readFailed(err error) {
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		code := closed.Code
		if code == websocket.CloseNoStatusReceived || code == websocket.CloseAbnormalClosure {
			code = websocket.CloseNormalClosure
		}
		c.finish(code, "")
		return
	}
	broken, isBroken := errors.AsType[protocolError](err)
	switch {
	case isBroken:
		c.finish(websocket.CloseProtocolError, string(broken))
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
	if c.queue(frame) {
		c.conn.flush()
	}
}

// queue is push without the flush.
func (c *connection) queue(frame []byte) (queued bool) {
	if !c.out.push(frame) {
		c.finish(wire.CloseTooSlow, "too slow")
		return false
	}
	return true
}

// pushWait queues a frame once there is room.
func (c *connection) pushWait(ctx context.Context, frame []byte) error {
	err := c.out.pushWait(ctx, c.done, frame)
	c.conn.flush()
	return err
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

// sweep checks once a second what no frame tells: expiry, revocation, silence.
func (c *connection) sweep(now time.Time) {
	c.mu.Lock()
	c.covered.forget(now)
	c.mu.Unlock()
	if c.conn.sweep(time.Now()) && !c.ended() {
		c.edge.metrics.stalled.Inc()
		c.finish(wire.CloseIdle, "a frame did not arrive in time")
		return
	}
	quiet := time.Since(time.Unix(0, c.heard.Load()))
	c.tellLate()
	who := c.who()
	if who == nil {
		if quiet >= wire.AuthTimeout {
			c.finish(wire.CloseHandshake, "no auth in time")
		}
		return
	}
	if !now.Before(who.ExpiresAt) {
		c.finish(wire.CloseUnauthorized, "token expired")
		return
	}
	if c.edge.deps.Revocations.Revoked(who.SessionID) {
		c.finish(wire.CloseUnauthorized, "session revoked")
		return
	}
	c.probe(quiet)
}

// probe pings a client that has been quiet, once, and closes when that brought nothing.
func (c *connection) probe(quiet time.Duration) {
	heard := c.heard.Load()
	switch {
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
