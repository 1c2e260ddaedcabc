package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// Defaults of Config.
const (
	DefaultTimeout  = 10 * time.Second
	DefaultMaxFrame = 160 << 20 // bytes: a sync of 100 messages of 100,000 characters
	grace           = 5 * time.Second
	controlTimeout  = 2 * time.Second
)

// Config says where to connect and as whom.
type Config struct {
	URL        string        // base of the server: http, https, ws or wss
	Token      string        // access token or ticket; goes into the first frame, never into the URL
	Header     http.Header   // further headers of the handshake, may be nil
	Timeout    time.Duration // of the handshake and the answer to auth together; 0: DefaultTimeout
	ReadBuffer int           // bytes; 0: 4 KiB
	MaxFrame   int64         // bytes of the largest frame read; 0: DefaultMaxFrame
	// Dial opens the TCP connection; nil: the system's way.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// CloseError says that the server ended the connection, and why.
type CloseError struct {
	Code   int
	Reason string
}

// Error names the code.
func (e *CloseError) Error() string { return fmt.Sprintf("connection closed: %d %s", e.Code, e.Reason) }

// Reconnect reports whether the same token may connect again: 4000 to 4499 say no.
func (e *CloseError) Reconnect() bool { return e.Code < 4000 || e.Code >= 4500 }

// HandshakeError says that the server answered the upgrade with something else.
type HandshakeError struct {
	Status     int
	RetryAfter time.Duration // the server's hint, 0: none
}

// Error names the status.
func (e *HandshakeError) Error() string { return fmt.Sprintf("handshake refused: HTTP %d", e.Status) }

// Conn is an authenticated connection.
type Conn struct {
	hello     wire.AuthOK
	offset    time.Duration
	heartbeat time.Duration

	ws  *websocket.Conn
	out *corked

	// Owned by the reader.
	message  []byte
	deadline time.Time
}

// Dial connects, authenticates and returns the connection ready for use. ctx bounds it together with
// Config.Timeout; afterwards ctx has no hold on the connection.
func Dial(ctx context.Context, c Config) (*Conn, error) {
	address, err := endpoint(c.URL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, orDefault(c.Timeout, DefaultTimeout))
	defer cancel()
	conn := &Conn{}
	ws, response, err := conn.dialer(c).DialContext(ctx, address, c.Header)
	if response != nil && response.Body != nil {
		defer response.Body.Close() //nolint:errcheck // nothing is left to read
	}
	if err != nil {
		return nil, handshakeError(address, response, err)
	}
	conn.ws = ws
	ws.SetReadLimit(orDefault(c.MaxFrame, DefaultMaxFrame))
	stop := context.AfterFunc(ctx, func() { _ = ws.NetConn().SetDeadline(time.Unix(1, 0)) })
	err = conn.authenticate(c.Token)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = ws.Close()
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	conn.watch()
	return conn, nil
}

func (c *Conn) dialer(config Config) *websocket.Dialer {
	dial := config.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &websocket.Dialer{
		Subprotocols:    []string{wire.Subprotocol},
		ReadBufferSize:  orDefault(config.ReadBuffer, 4096),
		WriteBufferSize: 4096,
		Proxy:           http.ProxyFromEnvironment,
		NetDialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			raw, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			c.out = &corked{Conn: raw}
			return c.out, nil
		},
	}
}

func endpoint(base string) (string, error) {
	scheme, rest, ok := strings.Cut(strings.TrimRight(base, "/"), "://")
	if !ok {
		return "", fmt.Errorf("server address %q: want http://host:port", base)
	}
	switch scheme {
	case "http", "ws":
		return "ws://" + rest + "/api/v1/ws", nil
	case "https", "wss":
		return "wss://" + rest + "/api/v1/ws", nil
	default:
		return "", fmt.Errorf("server address %q: want http, https, ws or wss", base)
	}
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func handshakeError(address string, response *http.Response, err error) error {
	if response == nil || response.StatusCode == http.StatusSwitchingProtocols {
		return fmt.Errorf("connect %s: %w", address, err)
	}
	refused := &HandshakeError{Status: response.StatusCode}
	if seconds, err := time.ParseDuration(response.Header.Get("Retry-After") + "s"); err == nil {
		refused.RetryAfter = seconds
	}
	return fmt.Errorf("connect %s: %w", address, refused)
}

func (c *Conn) authenticate(token string) error {
	frame, err := wire.EncodeFrame(1, wire.TypeAuth, wire.Auth{Token: token})
	if err != nil {
		return err
	}
	if err := c.ws.WriteMessage(websocket.TextMessage, frame); err != nil {
		return translate(err)
	}
	raw, err := c.Read()
	if err != nil {
		return err
	}
	answer, err := Decode(raw)
	if err != nil {
		return err
	}
	switch answer.Type {
	case wire.TypeAuthOK:
	case wire.TypeError:
		return ErrorOf(answer)
	default:
		return fmt.Errorf("the answer to auth is %q", chat.Clip(answer.Type))
	}
	if err := json.Unmarshal(answer.Data, &c.hello); err != nil {
		return fmt.Errorf("decode auth:ok: %w", err)
	}
	server, err := time.Parse(time.RFC3339, c.hello.ServerTime)
	if err != nil {
		return fmt.Errorf("server time: %w", err)
	}
	c.offset = time.Until(server)
	c.heartbeat = time.Duration(c.hello.HeartbeatMS) * time.Millisecond
	if c.heartbeat <= 0 {
		c.heartbeat = wire.HeartbeatInterval
	}
	return nil
}

// watch arms the read deadline and moves it on with every sign of life.
func (c *Conn) watch() {
	c.ws.SetPingHandler(func(data string) error {
		c.alive()
		err := c.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(controlTimeout))
		if errors.Is(err, websocket.ErrCloseSent) {
			return nil
		}
		return err
	})
	c.ws.SetPongHandler(func(string) error { c.alive(); return nil })
	c.deadline = time.Time{}
	c.alive()
}

// alive extends the read deadline to two heartbeats; it is not worth a system call each time.
func (c *Conn) alive() {
	if c.heartbeat == 0 {
		return
	}
	next := time.Now().Add(2*c.heartbeat + grace)
	if next.Sub(c.deadline) > c.heartbeat/4 {
		c.deadline = next
		_ = c.ws.SetReadDeadline(next)
	}
}

// Hello is the server's answer to auth.
func (c *Conn) Hello() wire.AuthOK { return c.hello }

// Offset is what must be added to this machine's clock to have the server's.
func (c *Conn) Offset() time.Duration { return c.offset }

// Heartbeat is the longest silence each side allows itself; who has nothing to say pings.
func (c *Conn) Heartbeat() time.Duration { return c.heartbeat }

// Read returns the next frame. It is valid until the next call; only one goroutine may read.
func (c *Conn) Read() ([]byte, error) {
	kind, r, err := c.ws.NextReader()
	if err != nil {
		return nil, translate(err)
	}
	if kind != websocket.TextMessage {
		return nil, errors.New("the server sent a binary frame")
	}
	b := c.message[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, translate(err)
		}
	}
	c.message = b
	if cap(b) > 1<<20 {
		c.message = nil // one huge frame must not pin its memory
	}
	c.alive()
	return b, nil
}

// Write sends frames, all in one write of the socket. Only one goroutine may write.
func (c *Conn) Write(frames ...[]byte) error {
	_ = c.ws.SetWriteDeadline(time.Now().Add(c.heartbeat + grace))
	if len(frames) == 1 {
		return translate(c.ws.WriteMessage(websocket.TextMessage, frames[0]))
	}
	c.out.cork()
	for _, f := range frames {
		if err := c.ws.WriteMessage(websocket.TextMessage, f); err != nil {
			return translate(errors.Join(err, c.out.uncork()))
		}
	}
	return translate(c.out.uncork())
}

// Close says goodbye with a code and ends the connection; safe beside Read and Write, which fail then.
func (c *Conn) Close(code int, reason string) error {
	message := websocket.FormatCloseMessage(code, reason)
	_ = c.ws.WriteControl(websocket.CloseMessage, message, time.Now().Add(controlTimeout))
	return c.ws.Close()
}

// Abort ends the connection without a word, as a dying process does.
func (c *Conn) Abort() error { return c.ws.Close() }

func translate(err error) error {
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		return &CloseError{Code: closed.Code, Reason: closed.Text}
	}
	return err
}

// Decode reads the envelope of a frame from the server; Data is a copy. Unlike the server the client puts no
// bound of the protocol on what it is sent: the connection's own limit holds.
func Decode(b []byte) (wire.Frame, error) {
	var f struct {
		ID   uint64         `json:"id"`
		Type string         `json:"type"`
		Data jsontext.Value `json:"data"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return wire.Frame{}, fmt.Errorf("decode frame: %w", err)
	}
	return wire.Frame(f), nil
}

// ErrorOf reads an error frame; RetryAfter holds the server's hint.
func ErrorOf(f wire.Frame) error {
	var e wire.Error
	if err := json.Unmarshal(f.Data, &e); err != nil {
		return fmt.Errorf("decode error frame: %w", err)
	}
	return &chat.Error{Kind: e.Code, Message: e.Message, RetryAfter: time.Duration(e.RetryAfterMS) * time.Millisecond}
}
