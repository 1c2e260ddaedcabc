package edge

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// stream is a net.Conn whose client sent some bytes and closed; what is written to it goes nowhere.
type stream struct {
	net.Conn

	in io.Reader
}

func (s *stream) Read(b []byte) (int, error)     { return s.in.Read(b) }
func (*stream) Write(b []byte) (int, error)      { return len(b), nil }
func (*stream) Close() error                     { return nil }
func (*stream) SetDeadline(time.Time) error      { return nil }
func (*stream) SetWriteDeadline(time.Time) error { return nil }
func (*stream) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*stream) LocalAddr() net.Addr              { return &net.TCPAddr{} }

// seen is what a reader of a stream made of it.
type seen struct {
	messages []string
	pings    []string
	end      string
}

func (s *seen) over(err error) {
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok && closed.Code != websocket.CloseAbnormalClosure {
		s.end = closed.Error()
		return
	}
	switch {
	case errors.Is(err, errBinary), errors.Is(err, errTooLarge):
		s.end = err.Error()
	case err == nil, websocket.IsCloseError(err, websocket.CloseAbnormalClosure):
		s.end = "stream"
	default:
		s.end = "protocol" // gorilla says it in text
	}
}

// byAssembly reads b cut into pieces of the given size.
func byAssembly(b []byte, size int) (s seen) {
	var a assembly
	for len(b) > 0 {
		chunk := bytes.Clone(b[:min(size, len(b))])
		b = b[len(chunk):]
		for len(chunk) > 0 {
			what, data, n, err := a.next(chunk)
			if err != nil {
				s.over(err)
				return s
			}
			chunk = chunk[n:]
			if what == foundLarge {
				if data, whole := a.grant(); whole {
					s.messages = append(s.messages, string(data))
				}
			}
			switch what {
			case foundMessage:
				s.messages = append(s.messages, string(data))
			case foundPing:
				s.pings = append(s.pings, string(data))
			case foundNothing, foundPong, foundLarge:
			}
		}
	}
	s.over(nil)
	return s
}

// byGorilla reads b as a plain connection does.
func byGorilla(t *testing.T, b []byte) (s seen) {
	t.Helper()
	w := &watched{Conn: &stream{in: bytes.NewReader(b)}}
	ws := server(t, w)
	ws.SetPingHandler(func(data string) error { s.pings = append(s.pings, data); return nil })
	ws.SetCloseHandler(func(int, string) error { return nil })
	for {
		kind, r, err := ws.NextReader()
		if err == nil && kind != websocket.TextMessage {
			err = errBinary
		}
		var data []byte
		if err == nil {
			data, err = io.ReadAll(r)
		}
		if err != nil {
			s.over(err)
			return s
		}
		s.messages = append(s.messages, string(data))
	}
}

// server upgrades c by the only door gorilla has.
func server(t *testing.T, c net.Conn) *websocket.Conn {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for k, v := range map[string]string{"Connection": "upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		r.Header.Set(k, v)
	}
	u := websocket.Upgrader{ReadBufferSize: upgradeBuffer, WriteBufferSize: upgradeBuffer}
	ws, err := u.Upgrade(hijacked{httptest.NewRecorder(), c}, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

type hijacked struct {
	http.ResponseWriter

	c net.Conn
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.c, bufio.NewReadWriter(bufio.NewReader(h.c), bufio.NewWriter(h.c)), nil
}

// FuzzFrames: dense and plain connections make the same of any bytes, however the bytes are cut.
func FuzzFrames(f *testing.F) {
	for _, c := range rfcCases() {
		if len(c.bytes) < 4096 {
			f.Add(c.bytes, uint16(7))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, size uint16) {
		want := byGorilla(t, b)
		for _, n := range []int{int(size) + 1, 1, len(b) + 1} {
			if got := byAssembly(b, n); !reflect.DeepEqual(got, want) {
				t.Errorf("in pieces of %d:\ndense %+v\nplain %+v", n, got, want)
			}
		}
	})
}
