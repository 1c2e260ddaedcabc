package socket

import (
	"net"
	"sync"
)

// corked is the connection beneath the WebSocket: between cork and uncork what is written gathers, so that
// many frames leave in one system call. Control frames of the reader may come in between: they gather too.
type corked struct {
	net.Conn

	mu      sync.Mutex // guards what follows
	holding bool
	pending []byte
}

const mostHeld = 256 << 10 // bytes; what lies above leaves at once

func (c *corked) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.holding {
		return c.Conn.Write(b)
	}
	c.pending = append(c.pending, b...)
	if len(c.pending) < mostHeld {
		return len(b), nil
	}
	return len(b), c.flush()
}

func (c *corked) cork() {
	c.mu.Lock()
	c.holding = true
	c.mu.Unlock()
}

func (c *corked) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	return c.flush()
}

func (c *corked) flush() error {
	if len(c.pending) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.pending)
	c.pending = c.pending[:0]
	if cap(c.pending) > mostHeld {
		c.pending = nil
	}
	return err
}
