package edge

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	upgradeBuffer  = 1024
	upgradeTimeout = 5 * time.Second
	comeBackLater  = time.Second
)

// upgrade makes a request into a connection, or says by HTTP why not.
func (e *Edge) upgrade(w http.ResponseWriter, r *http.Request) {
	if reason, err := e.turnAway(r); err != nil {
		e.metrics.turnedAway.WithLabelValues(reason).Inc()
		writeProblem(w, err)
		return
	}
	if !e.takeHandshake() {
		e.metrics.turnedAway.WithLabelValues("handshakes").Inc()
		busy := chat.Errorf(chat.Unavailable, "too many connections are opening")
		busy.RetryAfter = comeBackLater
		writeProblem(w, busy)
		return
	}
	u := websocket.Upgrader{
		HandshakeTimeout: upgradeTimeout,
		ReadBufferSize:   upgradeBuffer,
		WriteBufferSize:  upgradeBuffer,
		Subprotocols:     []string{wire.Subprotocol},
		CheckOrigin:      e.originAllowed,
		Error: func(w http.ResponseWriter, _ *http.Request, _ int, reason error) {
			writeProblem(w, chat.Errorf(chat.Invalid, "%v", reason))
		},
	}
	up := &upgrading{ResponseWriter: w}
	ws, err := u.Upgrade(up, r, nil)
	if err != nil { // answered by Upgrade
		e.handshakeOver()
		e.metrics.turnedAway.WithLabelValues("upgrade").Inc()
		return
	}
	e.open(ws, up.conn)
}

// open makes a connection of what was upgraded.
func (e *Edge) open(ws *websocket.Conn, socket *watched) {
	c := newConnection(e)
	c.opens.Store(true)
	if !e.admit() {
		c.handshakeOver()
		_ = socket.Close()
		return
	}
	if e.poller == nil || !e.poller.adopt(c, socket.Conn) {
		c.conn = newPlain(c, ws, socket)
	}
	e.enter(c)
	c.conn.begin()
	select {
	case <-e.stopping: // the stop may not have seen this one
		c.finish(wire.CloseDrain, "stopping")
	default:
	}
}

// turnAway says why a request does not become a connection; the reason is for the metric.
func (e *Edge) turnAway(r *http.Request) (reason string, err error) {
	if err := e.Ready(); err != nil {
		return "not_ready", err
	}
	if err := e.giveWay(shedConnections, "connections"); err != nil {
		return "pressure", err
	}
	if !slices.Contains(websocket.Subprotocols(r), wire.Subprotocol) {
		return "subprotocol", chat.Errorf(chat.Invalid, "a WebSocket with subprotocol %s is wanted", wire.Subprotocol)
	}
	if !e.originAllowed(r) {
		return "origin", chat.Errorf(chat.Forbidden, "this origin may not connect")
	}
	if ok, wait := e.deps.Limiter.Allow(auth.LimitHandshake, e.deps.Limiter.ClientAddr(r)); !ok {
		return "rate", limitedFor(wait, "too many connections from this address")
	}
	return "", nil
}

// originAllowed accepts this server's own pages, those the operator named, and programs that are no browser.
func (e *Edge) originAllowed(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	if len(origins) > 1 {
		return false
	}
	if slices.ContainsFunc(e.config.Origins, func(o string) bool { return strings.EqualFold(strings.TrimRight(o, "/"), origins[0]) }) {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func (e *Edge) takeHandshake() bool {
	if e.handshakes.Add(1) > int64(e.config.Handshakes) {
		e.handshakes.Add(-1)
		return false
	}
	e.metrics.handshakes.Inc()
	return true
}

// handshakeOver gives back what takeHandshake took.
func (e *Edge) handshakeOver() {
	e.handshakes.Add(-1)
	e.metrics.handshakes.Dec()
}
