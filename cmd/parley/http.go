package main

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Limits of the listeners. A request's body has bodyTimeout; a WebSocket is on its own clock once upgraded.
const (
	headerTimeout  = 5 * time.Second
	bodyTimeout    = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// listener is a bound address with a server that has not started yet: an address that is taken is an
// error before anything else is.
type listener struct {
	server *http.Server
	socket net.Listener
}

func listen(ctx context.Context, what, address string, h http.Handler, log *slog.Logger) (*listener, error) {
	var config net.ListenConfig
	socket, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s address: %w", what, err)
	}
	return &listener{socket: socket, server: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}, nil
}

func (l *listener) url() string { return "http://" + l.socket.Addr().String() }

// run serves until ctx ends, then lets requests in flight finish for a moment.
func (l *listener) run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- l.server.Serve(l.socket) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.socket.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), headerTimeout)
	defer cancel()
	err := l.server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = l.server.Close()
	}
	<-served //nolint:errcheck // http.ErrServerClosed: it was told to
	return err
}

// halfOpen bounds connections that have not sent a whole request yet: a new one pushes the oldest out, so
// that thousands of silent sockets can not keep people away.
type halfOpen struct {
	most    int
	evicted prometheus.Counter

	mu    sync.Mutex
	order *list.List // of net.Conn, oldest first
	place map[net.Conn]*list.Element
}

func newHalfOpen(most int, reg prometheus.Registerer) *halfOpen {
	return &halfOpen{
		most: most, order: list.New(), place: make(map[net.Conn]*list.Element),
		evicted: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "parley_http_half_open_evicted_total",
			Help: "Connections closed because too many others had not sent a request yet.",
		}),
	}
}

// observe is the server's ConnState hook.
func (h *halfOpen) observe(c net.Conn, state http.ConnState) {
	if oldest := h.note(c, state); oldest != nil {
		h.evicted.Inc()
		_ = oldest.Close()
	}
}

func (h *halfOpen) note(c net.Conn, state http.ConnState) net.Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	if state != http.StateNew {
		h.forget(c)
		return nil
	}
	h.place[c] = h.order.PushBack(c)
	if h.order.Len() <= h.most {
		return nil
	}
	oldest, _ := h.order.Front().Value.(net.Conn)
	h.forget(oldest)
	return oldest
}

func (h *halfOpen) forget(c net.Conn) {
	if e, ok := h.place[c]; ok {
		h.order.Remove(e)
		delete(h.place, c)
	}
}
