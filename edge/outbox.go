package edge

import (
	"context"
	"sync"
	"time"
)

const (
	outboxBytes  = 64 << 10 // behind the frame being written
	flushBytes   = 32 << 10 // a producer that waits leaves the rest to live frames
	writeTimeout = 30 * time.Second
)

// outbox is a connection's queue of frames, ready for the wire. Bounded in bytes, not in frames: one frame
// always fits into an empty queue. Any goroutine pushes; the writer alone takes.
type outbox struct {
	wake chan struct{} // holds one: there may be something to take
	room chan struct{} // holds one: the writer took what there was

	mu     sync.Mutex // guards what follows
	frames [][]byte
	bytes  int
	shut   bool // nothing is taken in any more
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// push queues a frame; false means that the reader at the other end is too slow.
func (o *outbox) push(frame []byte) bool { return o.pushBelow(frame, outboxBytes) }

func (o *outbox) pushBelow(frame []byte, limit int) bool {
	o.mu.Lock()
	if o.shut {
		o.mu.Unlock()
		return true
	}
	if len(o.frames) > 0 && o.bytes+len(frame) > limit {
		o.mu.Unlock()
		return false
	}
	o.frames = append(o.frames, frame)
	o.bytes += len(frame)
	o.mu.Unlock()
	signal(o.wake)
	return true
}

// pushWait queues a frame once there is room. One goroutine at a time may wait.
func (o *outbox) pushWait(ctx context.Context, done <-chan struct{}, frame []byte) error {
	for !o.pushBelow(frame, flushBytes) {
		select {
		case <-o.room:
		case <-done:
			return context.Canceled
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// take empties the queue into batch.
func (o *outbox) take(batch [][]byte) [][]byte {
	o.mu.Lock()
	batch = append(batch, o.frames...)
	if cap(o.frames) > 64 { // idle connections keep little
		o.frames = nil
	}
	clear(o.frames)
	o.frames = o.frames[:0]
	o.bytes = 0
	o.mu.Unlock()
	signal(o.room)
	return batch
}

// close makes every later push a no-op; drop forgets what is queued as well.
func (o *outbox) close(drop bool) {
	o.mu.Lock()
	o.shut = true
	if drop {
		o.frames, o.bytes = nil, 0
	}
	o.mu.Unlock()
	signal(o.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
