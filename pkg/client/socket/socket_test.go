package socket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake answers auth with the frame given, then does what then says.
func fake(t *testing.T, answer string, then func(*websocket.Conn)) string {
	t.Helper()
	up := websocket.Upgrader{Subprotocols: []string{wire.Subprotocol}}
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		if r.URL.RawQuery != "" || r.Header.Get("Authorization") != "" {
			t.Errorf("the token stands in %s or a header", r.URL)
		}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.Close()
		if _, _, err := ws.ReadMessage(); err != nil {
			return
		}
		if answer != "" {
			_ = ws.WriteMessage(websocket.TextMessage, []byte(answer))
		}
		if then != nil {
			then(ws)
		}
		for {
			if _, _, err := ws.NextReader(); err != nil {
				return
			}
		}
	}))
	t.Cleanup(func() { <-done; server.Close() })
	return server.URL
}

const welcome = `{"id":1,"type":"auth:ok","data":{"user_id":"u","session_id":"w","server_time":"2030-01-01T00:00:00.000Z","heartbeat_ms":25000}}`

func TestDialAuthenticatesAndLearnsTheServersTime(t *testing.T) {
	conn, err := Dial(t.Context(), Config{URL: fake(t, welcome, nil), Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Abort()
	want := time.Until(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	if off := conn.Offset() - want; off < -time.Minute || off > time.Minute {
		t.Errorf("offset %s, want about %s", conn.Offset(), want)
	}
	if conn.Hello().UserID != "u" || conn.Heartbeat() != 25*time.Second {
		t.Errorf("hello %+v", conn.Hello())
	}
}

func TestDialTellsWhyItWasRefused(t *testing.T) {
	refused := fake(t, `{"id":1,"type":"error","data":{"code":"unauthorized","message":"expired","retryable":false}}`, nil)
	if _, err := Dial(t.Context(), Config{URL: refused}); chat.KindOf(err) != chat.Unauthorized {
		t.Errorf("a refused token: %v", err)
	}
	closed := fake(t, "", func(ws *websocket.Conn) {
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(wire.CloseOverloaded, "full"), time.Now().Add(time.Second))
	})
	_, err := Dial(t.Context(), Config{URL: closed})
	if code, ok := errors.AsType[*CloseError](err); !ok || code.Code != wire.CloseOverloaded || !code.Reconnect() {
		t.Errorf("closed as overloaded: %v", err)
	}
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer busy.Close()
	_, err = Dial(t.Context(), Config{URL: busy.URL})
	if h, ok := errors.AsType[*HandshakeError](err); !ok || h.Status != 503 || h.RetryAfter != 7*time.Second {
		t.Errorf("refused handshake: %v", err)
	}
	if _, err := Dial(t.Context(), Config{URL: "localhost:80"}); err == nil {
		t.Error("an address without a scheme was accepted")
	}
}

func TestDialGivesUpOnASilentServer(t *testing.T) {
	began := time.Now()
	if _, err := Dial(t.Context(), Config{URL: fake(t, "", nil), Timeout: 50 * time.Millisecond}); err == nil {
		t.Error("a server that does not answer auth was accepted")
	}
	if time.Since(began) > 5*time.Second {
		t.Error("gave up too late")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := Dial(ctx, Config{URL: "http://" + listener.Addr().String()}); err == nil {
		t.Error("dialled with a cancelled context")
	}
}

// counting counts the writes of the TCP connection.
type counting struct {
	net.Conn
	writes int
}

func (c *counting) Write(b []byte) (int, error) { c.writes++; return c.Conn.Write(b) }

func TestManyFramesLeaveInOneWriteAndArriveWhole(t *testing.T) {
	got := make(chan []byte, 100)
	url := fake(t, welcome, func(ws *websocket.Conn) {
		for range 100 {
			_, b, err := ws.ReadMessage()
			if err != nil {
				return
			}
			got <- b
		}
	})
	var tcp *counting
	conn, err := Dial(t.Context(), Config{URL: url, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
		tcp = &counting{Conn: raw}
		return tcp, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Abort()
	frames := make([][]byte, 100)
	for i := range frames {
		frames[i] = fmt.Appendf(nil, `{"type":"ping","n":%d,"fill":"%s"}`, i, bytes.Repeat([]byte("x"), 50*i))
	}
	before := tcp.writes
	if err := conn.Write(frames...); err != nil {
		t.Fatal(err)
	}
	if n := tcp.writes - before; n > 2 {
		t.Errorf("%d writes for 100 frames of 250 KB", n)
	}
	for i := range frames {
		if b := <-got; !bytes.Equal(b, frames[i]) {
			t.Fatalf("frame %d arrived as %.60q", i, b)
		}
	}
}

func TestReadTellsCloseCodesAndRefusesBinary(t *testing.T) {
	for code, again := range map[int]bool{4001: false, 4002: false, 4499: false, 4500: true, 4501: true, 1001: true} {
		conn, err := Dial(t.Context(), Config{URL: fake(t, welcome, func(ws *websocket.Conn) {
			_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "why"), time.Now().Add(time.Second))
		})})
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Read()
		closed, ok := errors.AsType[*CloseError](err)
		if !ok || closed.Code != code || closed.Reason != "why" || closed.Reconnect() != again {
			t.Errorf("code %d is told as %v, reconnect %t", code, err, ok && closed.Reconnect())
		}
		_ = conn.Abort()
	}
	conn, err := Dial(t.Context(), Config{URL: fake(t, welcome, func(ws *websocket.Conn) {
		_ = ws.WriteMessage(websocket.BinaryMessage, []byte("x"))
	})})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Abort()
	if _, err := conn.Read(); err == nil {
		t.Error("a binary frame was accepted")
	}
}

func TestLargeFramesAreReadAndNotKept(t *testing.T) {
	large := bytes.Repeat([]byte("y"), 3<<20)
	conn, err := Dial(t.Context(), Config{URL: fake(t, welcome, func(ws *websocket.Conn) {
		_ = ws.WriteMessage(websocket.TextMessage, large)
	})})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Abort()
	b, err := conn.Read()
	if err != nil || !bytes.Equal(b, large) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if conn.message != nil {
		t.Error("a large frame's memory stays with the connection")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(welcome))
	f.Add([]byte(`{"id":7,"type":"error","data":{"code":"rate_limited","retry_after_ms":5}}`))
	f.Add([]byte(`{"type":"x","data":[[]]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Decode(b)
		if err != nil {
			return
		}
		back, err := wire.EncodeFrame(frame.ID, frame.Type, frame.Data)
		if len(frame.Data) == 0 || err != nil {
			return
		}
		again, err := Decode(back)
		if err != nil || again.ID != frame.ID || again.Type != frame.Type {
			t.Errorf("%q comes back as %+v, %v", b, again, err)
		}
		_ = ErrorOf(frame)
	})
}
