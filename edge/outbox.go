package edge

import (
	"context"
	"sync"
	"time"
)

const (
	outboxBytes  = 64 << 10 // behind the frames being written
	flushBytes   = 32 << 10 // a producer that waits leaves the rest to live frames
	writeTimeout = 30 * time.Second
)

// outbox is a connection's queue of frames, ready for the wire. Bounded in bytes, not in frames: one frame
// always fits into an empty queue. Any goroutine pushes; one writer at a time takes. Empty it holds no memory.
type outbox struct {
	mu     sync.Mutex // guards what follows
	frames [][]byte
	bytes  int
	shut   bool          // nothing is taken in any more
	room   chan struct{} // holds one: the writer took what there was; nil: nobody waits for it
}

// push queues a frame; false means that the reader at the other end is too slow.
func (o *outbox) push(frame []byte) bool { return o.pushBelow(frame, outboxBytes) }

func (o *outbox) pushBelow(frame []byte, limit int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shut {
		return true
	}
	if len(o.frames) > 0 && o.bytes+len(frame) > limit {
		return false
	}
	o.frames = append(o.frames, frame)
	o.bytes += len(frame)
	return true
}

// pushWait queues a frame once there is room. One goroutine at a time may wait.
func (o *outbox) pushWait(ctx context.Context, done <-chan struct{}, frame []byte) error {
	if o.pushBelow(frame, flushBytes) {
		return nil
	}
	room := make(chan struct{}, 1)
	o.awaitRoom(room)
	defer o.awaitRoom(nil)
	for !o.pushBelow(frame, flushBytes) {
		select {
		case <-room:
		case <-done:
			return context.Canceled
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (o *outbox) awaitRoom(room chan struct{}) {
	o.mu.Lock()
	o.room = room
	o.mu.Unlock()
}

// take empties the queue; last means that nothing comes after it.
func (o *outbox) take() (frames [][]byte, last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	frames = o.frames
	o.frames, o.bytes = nil, 0
	if o.room != nil {
		signal(o.room)
	}
	return frames, o.shut
}

// holds reports whether so many bytes wait.
func (o *outbox) holds(bytes int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes >= bytes
}

// waiting reports whether the writer has something to do.
func (o *outbox) waiting() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shut || len(o.frames) > 0
}

// close makes every later push a no-op; drop forgets what is queued as well.
func (o *outbox) close(drop bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shut = true
	if drop {
		o.frames, o.bytes = nil, 0
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
