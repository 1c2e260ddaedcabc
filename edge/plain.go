package edge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/wire"
)

// plain is conn on gorilla and two goroutines. It reads through gorilla and writes frames itself: all writes,
// control frames included, come from the one writer, so that they can share a system call and never interleave.
type plain struct {
	c    *connection
	ws   *websocket.Conn
	net  *watched
	wake chan struct{} // holds one: there may be something to write
}

// newPlain makes the conn of c.
func newPlain(c *connection, ws *websocket.Conn, w *watched) *plain {
	ws.SetPingHandler(func(data string) error { c.pingedBy([]byte(data)); return nil })
	ws.SetPongHandler(func(string) error { c.alive(); return nil })
	ws.SetCloseHandler(func(int, string) error { return nil }) // the writer answers
	return &plain{c: c, ws: ws, net: w, wake: make(chan struct{}, 1)}
}

func (s *plain) begin() { s.c.edge.running.Go(s.serve) }

func (s *plain) aside(f func()) { f() }

func (s *plain) flush() { signal(s.wake) }

func (s *plain) sweep(now time.Time) (stalled bool) { return s.net.arrival.late(now) }

// serve reads until the connection is over and everything it started has ended.
func (s *plain) serve() {
	var writer sync.WaitGroup
	writer.Go(s.write)
	err := s.read()
	s.linger(err)
	writer.Wait()
	_ = s.net.Close()
	s.c.left()
}

// read handles messages until the connection is over.
func (s *plain) read() error {
	for !s.c.ended() {
		in, err := s.ReadFrame()
		if err != nil {
			s.c.readFailed(err)
			return err
		}
		s.c.received(in)
	}
	return nil
}

// linger reads on until the client closed its side or the grace is over, so that the close frame is not lost
// to a reset of the transport. What can not be read as frames any more is read as bytes.
func (s *plain) linger(err error) {
	_ = s.net.SetReadDeadline(time.Now().Add(closeGrace))
	if _, broken := errors.AsType[protocolError](err); broken || errors.Is(err, errTooLarge) {
		_, _ = io.Copy(io.Discard, s.net.Conn)
		return
	}
	for {
		in, err := s.ReadFrame()
		if err != nil {
			return
		}
		s.c.edge.recycle(in)
	}
}

// ReadFrame counts the bytes itself: gorilla's own limit would answer with another close code.
func (s *plain) ReadFrame() (inbound, error) {
	kind, r, err := s.ws.NextReader()
	if err != nil {
		return inbound{}, err
	}
	if kind != websocket.TextMessage {
		return inbound{}, errBinary
	}
	b, _ := s.c.edge.buffers.read.Get().(*bytes.Buffer)
	in := inbound{buffer: b}
	_, err = b.ReadFrom(io.LimitReader(r, smallFrame+1))
	if err == nil && b.Len() > smallFrame {
		if in.release, err = s.share(); err == nil {
			_, err = b.ReadFrom(io.LimitReader(r, wire.MaxFrame+1-smallFrame))
		}
	}
	if err == nil && b.Len() > wire.MaxFrame {
		err = errTooLarge
	}
	if err != nil {
		s.c.edge.recycle(in)
		return inbound{}, err
	}
	in.data = b.Bytes()
	return in, nil
}

// share takes a large frame's part of the budget.
func (s *plain) share() (release func(), err error) {
	if release, ok := s.c.edge.large.try(); ok {
		return release, nil
	}
	s.net.arrival.excuse()
	return s.c.edge.large.wait()
}

// write is the only writer of the socket.
func (s *plain) write() {
	c := s.c
	for over := false; !over; {
		select {
		case <-s.wake:
		case <-c.done:
			over = true
		}
		batch, _ := c.out.take()
		if len(batch) == 0 {
			continue
		}
		grace := writeTimeout
		if over {
			grace = closeGrace
		}
		_ = s.net.SetWriteDeadline(time.Now().Add(grace))
		if c.ended() { // finish may have come since
			_ = s.net.SetWriteDeadline(time.Now().Add(closeGrace))
		}
		if err := s.writeFrames(batch); err != nil {
			c.finish(websocket.CloseAbnormalClosure, "")
			_ = s.net.SetReadDeadline(time.Now()) // the reader has nothing to wait for
			return
		}
	}
	_ = s.net.SetWriteDeadline(time.Now().Add(closeGrace))
	if c.code != websocket.CloseAbnormalClosure {
		_ = s.writeFrames([][]byte{closeOnWire(c.code, c.reason)})
	}
	_ = s.net.SetReadDeadline(time.Now().Add(closeGrace)) // a reader that waits for frames learns of the end
}

func (s *plain) writeFrames(frames [][]byte) error {
	for len(frames) > 0 {
		count, b := gather(frames, &s.c.edge.buffers.write)
		data := frames[0]
		if b != nil {
			data = b.Bytes()
		}
		_, err := s.net.Write(data)
		put(&s.c.edge.buffers.write, b)
		if err != nil {
			return fmt.Errorf("write frames: %w", err)
		}
		s.c.edge.metrics.wrote(count)
		frames = frames[count:]
	}
	return nil
}

// gather puts the first frames into one buffer, as many as gatherBytes take; nil: the first goes alone.
func gather(frames [][]byte, pool *sync.Pool) (count int, b *bytes.Buffer) {
	total := len(frames[0])
	for count = 1; count < len(frames) && total+len(frames[count]) <= gatherBytes; count++ {
		total += len(frames[count])
	}
	if count == 1 {
		return 1, nil
	}
	b, _ = pool.Get().(*bytes.Buffer)
	for _, f := range frames[:count] {
		b.Write(f)
	}
	return count, b
}

// watched is a connection whose inbound frames are scanned on their way to gorilla, which alone would neither
// notice that a frame does not go on nor leave the close frame to our writer. Reads come from one goroutine.
type watched struct {
	net.Conn

	scan    scanner
	arrival arrival
	err     error // what the scanner refused
}

// Read hands on what the scanner accepts; after that, its verdict.
func (w *watched) Read(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.Conn.Read(b)
	for at := 0; at < n; {
		_, used, _, bad := w.scan.next(b[at:n])
		at += used
		if bad != nil {
			w.err = bad
			w.arrival.excuse()
			return w.before(at), bad
		}
	}
	w.arrival.note(&w.scan, n)
	return n, err
}

// before is where in the bytes just read the frame begins that was refused when at bytes were scanned.
func (w *watched) before(at int) int { return max(0, at-int(w.scan.have)) }

// upgrading has gorilla read from a watched connection.
type upgrading struct {
	http.ResponseWriter

	conn *watched
}

// Hijack is called by gorilla.
func (u *upgrading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("upgrade: %w", err)
	}
	u.conn = &watched{Conn: c}
	return u.conn, rw, nil
}
