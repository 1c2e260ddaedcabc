package edge

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sync/semaphore"

	"github.com/parley-chat/parley/pkg/wire"
)

// conn is one client's socket. One goroutine reads, another writes; Shut and the deadlines may be called by any.
type conn interface {
	// ReadFrame reads one whole text frame. Its data is valid until recycle.
	ReadFrame() (inbound, error)
	recycle(in inbound)
	// WriteFrames writes frames that are ready for the wire, in one write where it pays.
	WriteFrames(frames [][]byte) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	// Shut closes the transport; what was written may still be on its way.
	Shut() error
}

// inbound is a frame that was read.
type inbound struct {
	data    []byte
	buffer  *bytes.Buffer
	release func() // gives the share of the budget for large frames back; nil: it took none
}

var (
	errBinary   = errors.New("binary frame")
	errTooLarge = errors.New("frame above the limit")
	errBusy     = errors.New("no room for a large frame")
)

const (
	smallFrame = 64 << 10 // bytes that a frame may have without a share of the budget
	budgetWait = 5 * time.Second
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
	read  sync.Pool // *bytes.Buffer
	write sync.Pool // *bytes.Buffer
}

func newBuffers() *buffers {
	fresh := func() any { return new(bytes.Buffer) }
	return &buffers{read: sync.Pool{New: fresh}, write: sync.Pool{New: fresh}}
}

func put(p *sync.Pool, b *bytes.Buffer) {
	if b.Cap() <= smallFrame*2 {
		b.Reset()
		p.Put(b)
	}
}

// socket is conn on gorilla. It reads through gorilla and writes frames itself: all writes, control frames
// included, come from the one writer, so that they can share a system call and never interleave.
type socket struct {
	ws      *websocket.Conn
	net     net.Conn
	buffers *buffers
	budget  *semaphore.Weighted
	waited  func() // a large frame had to wait
}

// newSocket hands control frames to the functions given; both are called by the reader.
func newSocket(ws *websocket.Conn, e *Edge, pinged func(data string), ponged func()) *socket {
	ws.SetPingHandler(func(data string) error { pinged(data); return nil })
	ws.SetPongHandler(func(string) error { ponged(); return nil })
	ws.SetCloseHandler(func(int, string) error { return nil }) // the writer answers
	return &socket{ws: ws, net: ws.NetConn(), buffers: e.buffers, budget: e.large, waited: e.metrics.largeWaits.Inc}
}

// ReadFrame counts the bytes itself: gorilla's own limit would answer with another close code.
func (s *socket) ReadFrame() (inbound, error) {
	kind, r, err := s.ws.NextReader()
	if err != nil {
		return inbound{}, err
	}
	if kind != websocket.TextMessage {
		return inbound{}, errBinary
	}
	b, _ := s.buffers.read.Get().(*bytes.Buffer)
	in := inbound{buffer: b}
	if _, err := b.ReadFrom(io.LimitReader(r, smallFrame)); err != nil {
		s.recycle(in)
		return inbound{}, err
	}
	if b.Len() == smallFrame {
		if in.release, err = s.share(); err != nil {
			s.recycle(in)
			return inbound{}, err
		}
		if _, err := b.ReadFrom(io.LimitReader(r, wire.MaxFrame+1-smallFrame)); err != nil {
			s.giveUp(in)
			return inbound{}, err
		}
	}
	if b.Len() > wire.MaxFrame {
		s.giveUp(in)
		return inbound{}, errTooLarge
	}
	in.data = b.Bytes()
	return in, nil
}

func (s *socket) giveUp(in inbound) {
	if in.release != nil {
		in.release()
	}
	s.recycle(in)
}

func (s *socket) recycle(in inbound) { put(&s.buffers.read, in.buffer) }

// share takes one large frame's part of the process's budget, waiting a little.
func (s *socket) share() (release func(), err error) {
	if !s.budget.TryAcquire(wire.MaxFrame) {
		s.waited()
		ctx, cancel := context.WithTimeout(context.Background(), budgetWait)
		defer cancel()
		if err := s.budget.Acquire(ctx, wire.MaxFrame); err != nil {
			return nil, errBusy
		}
	}
	return sync.OnceFunc(func() { s.budget.Release(wire.MaxFrame) }), nil
}

const gatherBytes = 128 << 10 // up to here one contiguous buffer is cheaper than a vector

func (s *socket) WriteFrames(frames [][]byte) error {
	if len(frames) == 1 {
		return s.write(frames[0])
	}
	total := 0
	for _, f := range frames {
		total += len(f)
	}
	if total > gatherBytes {
		vector := net.Buffers(frames)
		if _, err := vector.WriteTo(s.net); err != nil {
			return fmt.Errorf("write frames: %w", err)
		}
		return nil
	}
	b, _ := s.buffers.write.Get().(*bytes.Buffer)
	defer put(&s.buffers.write, b)
	for _, f := range frames {
		b.Write(f)
	}
	return s.write(b.Bytes())
}

func (s *socket) write(b []byte) error {
	if _, err := s.net.Write(b); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

func (s *socket) SetReadDeadline(t time.Time) error  { return s.net.SetReadDeadline(t) }
func (s *socket) SetWriteDeadline(t time.Time) error { return s.net.SetWriteDeadline(t) }
func (s *socket) Shut() error                        { return s.net.Close() }
