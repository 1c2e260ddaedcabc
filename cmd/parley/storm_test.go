package main

import (
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// cutter passes TCP connections on to a server and cuts all of them at once when told to.
type cutter struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	conns map[net.Conn]struct{}
	want  int           // connections at which full closes
	full  chan struct{} // nil: nobody waits
}

func newCutter(t testing.TB, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, to: strings.TrimPrefix(to, "http://"), conns: make(map[net.Conn]struct{})}
	c.running.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close()
		c.cut()
		c.running.Wait()
	})
	return c
}

func (c *cutter) url() string { return "http://" + c.listener.Addr().String() }

func (c *cutter) accept() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		c.mu.Lock()
		c.conns[in], c.conns[out] = struct{}{}, struct{}{}
		if c.full != nil && len(c.conns)/2 >= c.want {
			close(c.full)
			c.full = nil
		}
		c.mu.Unlock()
		c.running.Go(func() { c.pass(in, out) })
		c.running.Go(func() { c.pass(out, in) })
	}
}

func (c *cutter) pass(from, to net.Conn) {
	_, _ = io.Copy(to, from)
	_ = from.Close()
	_ = to.Close()
	c.mu.Lock()
	delete(c.conns, from)
	c.mu.Unlock()
}

// await waits until there are n connections.
func (c *cutter) await(t testing.TB, n int) {
	t.Helper()
	full := make(chan struct{})
	c.mu.Lock()
	c.want, c.full = n, full
	c.mu.Unlock()
	select {
	case <-full:
	case <-time.After(3 * time.Minute):
		t.Fatalf("%d connections do not come", n)
	}
}

// cut resets every connection and returns how many there were.
func (c *cutter) cut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	return len(c.conns) / 2
}

// TestFaultStorm cuts every client's connection at once, again and again: all come back and nothing is missing.
func TestFaultStorm(t *testing.T) {
	p := serve(t)
	c := newCutter(t, p.api)
	d, members := faultTime(t), 12
	if d >= time.Minute {
		members = 200
	}
	through := *p
	through.api = c.url()
	l := startLoad(t, &through, d, "--pairs", "8", "--groups", "2", "--members", strconv.Itoa(members), "--devices", "3")
	c.await(t, 3*(16+2*members)*9/10)
	cuts, most := 0, 0
	during(t, d*9/10, min(3*time.Second, d/5), min(10*time.Second, d/2), func() {
		most = max(most, c.cut())
		cuts++
	})
	t.Logf("%d cuts, at most %d connections at once", cuts, most)
	l.verdict(p)
}
