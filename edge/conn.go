package edge

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/parley-chat/parley/pkg/wire"
)

// conn is one client's socket, in one of two forms: dense (one poller for all, nothing of its own while idle)
// or plain (two goroutines and gorilla). It hands each message to connection.received, one at a time and in
// order, the end of reading to connection.readFailed, and calls connection.left when it is over.
type conn interface {
	// begin starts reading; called once.
	begin()
	// aside runs f, which may wait; nothing more is read before it has returned. Called within received.
	aside(f func())
	// flush has what the outbox holds written, and after connection.finish the close frame. Any goroutine may
	// call it; it does not block.
	flush()
	// sweep is called about once a second: it enforces what has a deadline. stalled says that something has
	// begun to come and does not go on.
	sweep(now time.Time) (stalled bool)
}

// Forms of connections, as Config.Sockets names them.
const (
	SocketsAuto  = "auto"  // dense where the system has what it needs, else plain
	SocketsDense = "dense" // an error where the system has not
	SocketsPlain = "plain"
)

// inbound is a message that was read.
type inbound struct {
	data    []byte
	buffer  *bytes.Buffer // of the pool, that data lies in; may be nil
	release func()        // gives the share of the budget for large frames back; nil: it took none
}

var (
	errBinary   = errors.New("binary frame")
	errTooLarge = errors.New("frame above the limit")
	errBusy     = errors.New("no room for a large frame")
)

const (
	smallFrame  = 64 << 10 // bytes that a frame may have without a share of the budget
	budgetWait  = 5 * time.Second
	gatherBytes = 128 << 10 // frames that wait together leave in one write up to here
)

// Opcodes of RFC 6455, with the final bit.
const (
	opText  = 0x81
	opClose = 0x88
	opPing  = 0x89
	opPong  = 0x8a
)

// onWire puts a server frame's header before its payload. A frame for many connections is made once.
func onWire(op byte, payload []byte) []byte {
	b := make([]byte, 0, 10+len(payload))
	b = append(b, op)
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = append(b, 126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, 127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, payload...)
}

// closeOnWire is a close frame; the reason is short ASCII.
func closeOnWire(code int, reason string) []byte {
	payload := binary.BigEndian.AppendUint16(nil, uint16(code))
	return onWire(opClose, append(payload, reason[:min(len(reason), 123)]...))
}

// buffers are shared by all connections of a process: an idle one holds none.
type buffers struct {
	read   sync.Pool // *bytes.Buffer
	write  sync.Pool // *bytes.Buffer
	chunks sync.Pool // *[readBuffer]byte
}

const readBuffer = 16 << 10 // bytes of one read

func (b *buffers) chunk() *[readBuffer]byte {
	c, _ := b.chunks.Get().(*[readBuffer]byte)
	if c == nil {
		c = new([readBuffer]byte)
	}
	return c
}

func (b *buffers) putChunk(c *[readBuffer]byte) { b.chunks.Put(c) }

func newBuffers() *buffers {
	fresh := func() any { return new(bytes.Buffer) }
	return &buffers{read: sync.Pool{New: fresh}, write: sync.Pool{New: fresh}}
}

func put(p *sync.Pool, b *bytes.Buffer) {
	if b != nil && b.Cap() <= smallFrame*2 {
		b.Reset()
		p.Put(b)
	}
}

// budget is what inbound frames above smallFrame share in the whole process.
type budget struct {
	shares *semaphore.Weighted
	waited func() // a frame had to wait
}

// try takes one large frame's share if there is one.
func (b *budget) try() (release func(), ok bool) {
	if !b.shares.TryAcquire(wire.MaxFrame) {
		b.waited()
		return nil, false
	}
	return b.taken(), true
}

// wait takes a share, waiting a little.
func (b *budget) wait() (release func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), budgetWait)
	defer cancel()
	if err := b.shares.Acquire(ctx, wire.MaxFrame); err != nil {
		return nil, errBusy
	}
	return b.taken(), nil
}

func (b *budget) taken() func() { return sync.OnceFunc(func() { b.shares.Release(wire.MaxFrame) }) }
