package edge

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second // longest wait for something that must come

// phone is a test client.
type phone struct {
	t  testing.TB
	w  *world
	ws *websocket.Conn
	id uint64
}

func (w *world) wsURL() string { return "ws" + strings.TrimPrefix(w.http.URL, "http") + "/api/v1/ws" }

// open connects without authenticating.
func (w *world) open(tb testing.TB) *phone {
	tb.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{wire.Subprotocol}, HandshakeTimeout: patience}
	ws, resp, err := dialer.Dial(w.wsURL(), nil)
	if err != nil {
		tb.Fatalf("dial: %v %v", err, resp)
	}
	tb.Cleanup(func() { _ = ws.Close() })
	return &phone{t: tb, w: w, ws: ws}
}

// login connects a user with a new session.
func (w *world) login(tb testing.TB, u chat.UserID) *phone {
	tb.Helper()
	d := w.open(tb)
	d.send(wire.TypeAuth, wire.Auth{Token: w.token(u)})
	d.want(wire.TypeAuthOK)
	return d
}

// send writes a frame with the next id and returns the id.
func (d *phone) send(typ string, data any) uint64 {
	d.t.Helper()
	d.id++
	b, err := wire.EncodeFrame(d.id, typ, data)
	if err != nil {
		d.t.Fatal(err)
	}
	d.raw(string(b))
	return d.id
}

func (d *phone) raw(text string) {
	d.t.Helper()
	if err := d.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		d.t.Fatalf("write: %v", err)
	}
}

// next reads one frame.
func (d *phone) next() (wire.Frame, error) {
	_ = d.ws.SetReadDeadline(time.Now().Add(patience))
	_, b, err := d.ws.ReadMessage()
	d.w.with(func() {}) // what the model did before is seen from here on: bare system calls are no order to Go
	if err != nil {
		return wire.Frame{}, err
	}
	var f wire.Frame
	return f, json.Unmarshal(b, &f)
}

// want reads the next frame, which must be of a type.
func (d *phone) want(typ string) wire.Frame {
	d.t.Helper()
	f, err := d.next()
	if err != nil {
		d.t.Fatalf("waiting for %s: %v", typ, err)
	}
	if f.Type != typ {
		d.t.Fatalf("got %s %s, want %s", f.Type, f.Data, typ)
	}
	return f
}

// refused reads the next frame, which must be an error of a kind.
func (d *phone) refused(kind chat.Kind) wire.Error {
	d.t.Helper()
	e := into[wire.Error](d.t, d.want(wire.TypeError))
	if e.Code != kind {
		d.t.Fatalf("refused with %s (%s), want %s", e.Code, e.Message, kind)
	}
	if e.Retryable != kind.Rule().Retryable {
		d.t.Errorf("%s: retryable is %v", kind, e.Retryable)
	}
	return e
}

// closed reads until the connection is over, which must be with a code.
func (d *phone) closed(code int) {
	d.t.Helper()
	for {
		_, err := d.next()
		if err == nil {
			continue
		}
		closed, ok := errors.AsType[*websocket.CloseError](err)
		if !ok || closed.Code != code {
			d.t.Fatalf("closed with %v, want %d", err, code)
		}
		return
	}
}

// quiet proves that nothing is on its way to the client: the answer to a ping comes first.
func (d *phone) quiet() {
	d.t.Helper()
	d.send(wire.TypePing, nil)
	d.want(wire.TypePong)
}

func into[T any](tb testing.TB, f wire.Frame) T {
	tb.Helper()
	var v T
	if err := json.Unmarshal(f.Data, &v); err != nil {
		tb.Fatalf("%s: %v in %s", f.Type, err, f.Data)
	}
	return v
}

func message(id chat.ConversationID, text string) wire.MessageSend {
	return wire.MessageSend{ConversationID: string(id), ClientID: chat.NewClientID(time.Now()).String(), Type: "text", Text: text}
}

// turnedAway tries an upgrade that is turned away and returns the answer.
func (w *world) turnedAway(t *testing.T, header http.Header, protocols ...string) *http.Response {
	t.Helper()
	dialer := websocket.Dialer{Subprotocols: protocols, HandshakeTimeout: patience}
	ws, resp, err := dialer.Dial(w.wsURL(), header)
	if err == nil {
		_ = ws.Close()
		t.Fatal("the upgrade was accepted")
	}
	if resp == nil {
		t.Fatalf("dial: %v", err)
	}
	return resp
}

var claimsForFuzz = auth.Claims{UserID: "uaaaaaaaaaaaaaaaaaaaaaaaaaa"}
