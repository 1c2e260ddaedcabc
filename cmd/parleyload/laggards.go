package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/pkg/client/socket"
	"github.com/parley-chat/parley/pkg/wire"
)

// slowEvery is how often a slow reader takes a frame.
const slowEvery = 100 * time.Millisecond

// laggards are further connections of people in a run that read slowly, or log in and then nothing at all. What they
// miss is not measured; what they cost the others is.
type laggards struct {
	readers sync.WaitGroup
	stop    context.CancelFunc
	closed  atomic.Int64 // slow ones that the server gave up

	mu    sync.Mutex // guards what follows
	conns []*socket.Conn
}

// lag opens them, the slow ones first, for the people given in turn.
func (w *world) lag(ctx context.Context, people []*person, slow, stalled int) (*laggards, error) {
	l := &laggards{}
	ctx, l.stop = context.WithCancel(ctx)
	group, inside := errgroup.WithContext(ctx)
	group.SetLimit(registering)
	sync, err := wire.EncodeFrame(2, wire.TypeSync, wire.Sync{})
	if err != nil {
		return l, err
	}
	for i := range slow + stalled {
		p := people[i%len(people)]
		group.Go(func() error {
			token, _, err := p.api.Token(inside)
			if err != nil {
				return fmt.Errorf("laggard: %w", err)
			}
			conn, err := socket.Dial(inside, socket.Config{URL: w.url, Token: token, ReadBuffer: 512})
			if err != nil {
				return fmt.Errorf("laggard: %w", err)
			}
			l.mu.Lock()
			l.conns = append(l.conns, conn)
			l.mu.Unlock()
			if err := conn.Write(sync); err != nil {
				return fmt.Errorf("laggard: %w", err)
			}
			if i < slow {
				l.readers.Go(func() { l.read(ctx, conn) })
			}
			return nil
		})
	}
	return l, group.Wait()
}

func (l *laggards) read(ctx context.Context, conn *socket.Conn) {
	for rest(ctx, slowEvery) == nil {
		if _, err := conn.Read(); err != nil {
			l.closed.Add(1)
			return
		}
	}
}

// end closes them all.
func (l *laggards) end() {
	l.stop()
	l.mu.Lock()
	for _, conn := range l.conns {
		_ = conn.Abort()
	}
	l.mu.Unlock()
	l.readers.Wait()
}
