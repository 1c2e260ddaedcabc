package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestSilentSocketsPushEachOtherOut(t *testing.T) {
	guard := newHalfOpen(3, nil)
	l, err := listen(t.Context(), "test", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	}), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.server.ConnState = guard.observe
	go func() { _ = l.server.Serve(l.socket) }()
	defer func() { _ = l.server.Close() }()

	var silent []net.Conn
	for range 10 {
		c, err := net.Dial("tcp", l.socket.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		silent = append(silent, c)
	}
	for _, c := range silent[:7] { // closed by the guard, long before the header's deadline
		_ = c.SetReadDeadline(time.Now().Add(headerTimeout / 2))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("old silent socket: %v", err)
		}
	}
	response, err := http.Get(l.url())
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("a person gets %d", response.StatusCode)
	}
}
