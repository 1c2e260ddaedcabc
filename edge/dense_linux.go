package edge

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"
)

const (
	readTurns  = 8        // reads before others have their turn
	shareWaits = 256      // connections that wait for a share of the budget for large frames, a goroutine each
	cutBytes   = 64 << 20 // of messages up to smallFrame that have not come whole yet, in all dense connections
)

// States of each direction of a dense connection. Whoever moves it away from resting owns the direction until it
// rests again.
const (
	stateResting int32 = iota
	stateActive        // in a pool's queue, or with a worker
	stateAgain         // active, and an edge came meanwhile
	stateBlocked       // writing: the socket is full
	stateOver          // for good
)

// dense is conn on a bare descriptor and the poller: no goroutine, timer or buffer while nothing comes or goes.
type dense struct {
	// Fixed at construction.
	c          *connection
	poller     *poller
	fd         int
	generation uint32 // tells it from others that had the same descriptor

	reading      atomic.Int32 // states
	writing      atomic.Int32
	hangup       atomic.Bool // the client closed its side: after a short read there is more to learn
	arrival      arrival
	blockedUntil atomic.Int64 // Unix nanoseconds; when a write that waits for the client is given up; 0: none waits

	graceEnds time.Time // owned by the sweep; zero until it saw the end of the connection

	// Owned by who reads.
	in      assembly
	rest    []byte // read and not looked at yet, while reading waits
	kept    int    // bytes of in that count against cutBytes
	release func() // the share of the message under way
	asked   bool   // reading waited for that share
	pause   func() // what reading has to wait for
	deaf    bool   // what comes is thrown away

	// Owned by who writes.
	unsent [][]byte
	last   bool // nothing follows unsent

	mu     sync.Mutex // guards what follows
	ends   int        // directions that are over
	closed bool
}

func (d *dense) begin() {
	if d.poller.watchOver(d) != nil {
		d.c.finish(websocket.CloseAbnormalClosure, "")
		d.stopReading()
	}
}

func (d *dense) aside(f func()) { d.pause = f }

func (d *dense) flush() {
	if d.writing.CompareAndSwap(stateResting, stateActive) {
		d.poller.writers.add(d)
	}
}

// sweep gives up on clients that do not take what is written, or do not close their side.
func (d *dense) sweep(now time.Time) (stalled bool) {
	if d.c.ended() {
		if d.graceEnds.IsZero() {
			d.graceEnds = now.Add(closeGrace)
		} else if now.After(d.graceEnds) {
			d.cut()
		}
		return false
	}
	if until := d.blockedUntil.Load(); until != 0 && now.UnixNano() > until {
		d.c.finish(websocket.CloseAbnormalClosure, "")
		d.cut()
		return false
	}
	return d.arrival.late(now)
}

// cut ends both directions; whoever is at work on one learns of it.
func (d *dense) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		_ = unix.Shutdown(d.fd, unix.SHUT_RDWR)
	}
}

// end counts a direction out. After both nobody uses the descriptor any more.
func (d *dense) end() {
	d.mu.Lock()
	d.ends++
	d.closed = d.ends == 2
	closed := d.closed
	if closed {
		d.poller.forget(d)
		_ = unix.Close(d.fd)
	}
	d.mu.Unlock()
	if closed {
		d.c.left()
	}
}

// canRead notes an edge; true: the caller hands d to the readers.
func (d *dense) canRead(events uint32) bool {
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		d.hangup.Store(true)
	}
	for {
		switch d.reading.Load() {
		case stateResting:
			if d.reading.CompareAndSwap(stateResting, stateActive) {
				return true
			}
		case stateActive:
			if d.reading.CompareAndSwap(stateActive, stateAgain) {
				return false
			}
		default:
			return false
		}
	}
}

// read is a worker's turn: it reads what there is, up to readTurns, and never waits.
func (d *dense) read() {
	if !d.resume() {
		return
	}
	b := d.c.edge.buffers.chunk()
	defer d.c.edge.buffers.putChunk(b)
	for range readTurns {
		d.reading.Store(stateActive)
		n, err := unix.Read(d.fd, b[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			if d.restReading() {
				return
			}
			continue
		case err != nil:
			d.hangUp(fmt.Errorf("read: %w", err))
			return
		case n == 0: // as gorilla calls it
			d.hangUp(&websocket.CloseError{Code: websocket.CloseAbnormalClosure})
			return
		}
		if !d.take(b[:n]) {
			return
		}
		if n < len(b) && !d.hangup.Load() && d.restReading() { // short: there was no more
			return
		}
	}
	d.poller.readers.add(d)
}

// hangUp is called when nothing more can be read.
func (d *dense) hangUp(err error) {
	d.c.readFailed(err)
	d.stopReading()
}

// restReading is false when an edge has come since the last read began.
func (d *dense) restReading() bool { return d.reading.CompareAndSwap(stateActive, stateResting) }

func (d *dense) stopReading() {
	d.deafen()
	d.reading.Store(stateOver)
	d.end()
}

// deafen forgets what has come; what is still to come is thrown away.
func (d *dense) deafen() {
	d.deaf = true
	d.in = assembly{}
	d.account()
	d.arrival.excuse()
	if d.release != nil {
		d.release()
		d.release = nil
	}
}

// account keeps count of what is kept of unfinished messages; false: there is too much.
func (d *dense) account() bool {
	now := min(len(d.in.message), smallFrame)
	change := now - d.kept
	d.kept = now
	return change == 0 || d.poller.cutBytes.Add(int64(change)) <= cutBytes || change < 0
}

// take hands on what b completes; false: reading waits, or is over.
func (d *dense) take(b []byte) bool {
	for at := 0; ; {
		if d.pause != nil {
			d.rest = bytes.Clone(b[at:])
			d.wait()
			return false
		}
		if at == len(b) || d.deaf {
			break
		}
		what, data, n, err := d.in.next(b[at:])
		at += n
		if err == nil && !d.account() {
			err = errBusy
		}
		if err != nil {
			return d.fail(err)
		}
		switch what {
		case foundMessage:
			d.hand(data)
		case foundPing:
			d.c.pingedBy(data)
		case foundPong:
			d.c.alive()
		case foundLarge:
			d.askShare()
		case foundNothing:
		}
	}
	if !d.deaf {
		d.arrival.note(&d.in.scan, len(b))
	}
	return true
}

// fail ends the connection. Unless the client closed it, what is on its way is read off, so that the close frame
// is not lost to a reset of the transport.
func (d *dense) fail(err error) (goOn bool) {
	d.c.readFailed(err)
	if _, closed := errors.AsType[*websocket.CloseError](err); closed {
		d.stopReading()
		return false
	}
	d.deafen()
	return true
}

func (d *dense) hand(message []byte) {
	in := inbound{data: message, release: d.release}
	d.release = nil
	d.c.received(in)
}

// askShare takes a large message's share of the budget, or has reading wait for it.
func (d *dense) askShare() {
	release, ok := d.c.edge.large.try()
	if ok {
		d.granted(release)
		return
	}
	if d.poller.shareWaits.Add(1) > shareWaits {
		d.poller.shareWaits.Add(-1)
		d.fail(errBusy)
		return
	}
	d.asked = true
	d.pause = func() {
		defer d.poller.shareWaits.Add(-1)
		d.release, _ = d.c.edge.large.wait() // nil is seen by resume
	}
}

func (d *dense) granted(release func()) {
	d.release = release
	if message, whole := d.in.grant(); whole {
		d.hand(message)
	}
}

// wait runs what reading waits for in a goroutine, then goes on. The connection stands for it in Run's count.
func (d *dense) wait() {
	pause := d.pause
	d.pause = nil
	d.arrival.excuse()
	d.c.edge.running.Go(func() {
		pause()
		d.poller.readers.add(d)
	})
}

// resume looks at what was read before reading waited; false: it waits again, or is over.
func (d *dense) resume() bool {
	rest := d.rest
	d.rest = nil
	if d.asked {
		d.asked = false
		if d.release == nil {
			return d.fail(errBusy)
		}
		d.granted(d.release)
	}
	return d.take(rest)
}

// canWrite notes that the socket has room; true: the caller hands d to the writers.
func (d *dense) canWrite() bool {
	for {
		switch d.writing.Load() {
		case stateBlocked:
			if d.writing.CompareAndSwap(stateBlocked, stateActive) {
				return true
			}
		case stateActive:
			if d.writing.CompareAndSwap(stateActive, stateAgain) {
				return false
			}
		default:
			return false
		}
	}
}

// write is a writer's turn: all that waits leaves in one write, again until nothing waits or the socket is full.
func (d *dense) write() {
	for d.load() {
		d.writing.Store(stateActive) // room that was noted before is known
		count, gathered := gather(d.unsent, &d.c.edge.buffers.write)
		data := d.unsent[0]
		if gathered != nil {
			data = gathered.Bytes()
		}
		n, err := unix.Write(d.fd, data)
		put(&d.c.edge.buffers.write, gathered)
		switch {
		case err == nil:
			d.sent(n, count)
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if d.restBlocked() {
				return
			}
		default:
			d.unsent = nil
			d.c.finish(websocket.CloseAbnormalClosure, "")
			d.cut() // the reader has nothing to wait for
			d.stopWriting()
			return
		}
	}
}

// load makes sure that there is something to write. When there is nothing the direction rests, or is over.
func (d *dense) load() bool {
	for len(d.unsent) == 0 {
		if d.last {
			d.stopWriting()
			return false
		}
		d.unsent, d.last = d.c.out.take()
		if d.last && d.c.code != websocket.CloseAbnormalClosure {
			d.unsent = append(d.unsent, closeOnWire(d.c.code, d.c.reason))
		}
		if len(d.unsent) > 0 || d.last {
			continue
		}
		d.writing.Store(stateResting)
		if !d.c.out.waiting() || !d.writing.CompareAndSwap(stateResting, stateActive) {
			return false
		}
	}
	return true
}

// sent takes n bytes, which began with count frames, off what is unsent.
func (d *dense) sent(n, count int) {
	whole := 0
	for n > 0 {
		if n < len(d.unsent[0]) {
			d.unsent[0] = d.unsent[0][n:]
			break
		}
		n -= len(d.unsent[0])
		d.unsent[0] = nil
		d.unsent = d.unsent[1:]
		whole++
	}
	d.c.edge.metrics.wrote(min(whole, count))
	if len(d.unsent) == 0 {
		d.unsent = nil
		if d.blockedUntil.Load() != 0 {
			d.blockedUntil.Store(0)
		}
	}
}

// restBlocked waits for room; false when room was noted since the write began.
func (d *dense) restBlocked() bool {
	if d.blockedUntil.Load() == 0 {
		d.c.edge.metrics.blocked.Inc()
		d.blockedUntil.Store(time.Now().Add(writeTimeout).UnixNano())
	}
	return d.writing.CompareAndSwap(stateActive, stateBlocked)
}

func (d *dense) stopWriting() {
	d.writing.Store(stateOver)
	d.end()
}
