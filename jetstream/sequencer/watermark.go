package sequencer

import (
	"context"
	"fmt"
	"sync"

	"github.com/parley-chat/parley/pkg/chat"
)

// watermark is how far the log is durable. It never goes back.
type watermark struct {
	mu    sync.Mutex
	mark  chat.Mark
	moved chan struct{} // closed and replaced when mark moves; nil while nobody waits
}

func (w *watermark) get() chat.Mark {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mark
}

func (w *watermark) set(m chat.Mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.mark.Before(m) {
		return
	}
	w.mark = m
	if w.moved != nil {
		close(w.moved)
		w.moved = nil
	}
}

// wait returns once the watermark has reached streamSeq.
func (w *watermark) wait(ctx context.Context, streamSeq uint64, ended <-chan struct{}) error {
	for {
		w.mu.Lock()
		if w.mark.StreamSeq >= streamSeq && w.mark.Generation > 0 {
			w.mu.Unlock()
			return nil
		}
		if w.moved == nil {
			w.moved = make(chan struct{})
		}
		moved := w.moved
		w.mu.Unlock()
		select {
		case <-moved:
		case <-ended:
			return chat.Errorf(chat.Unavailable, "the partition's writer has ended")
		case <-ctx.Done():
			return fmt.Errorf("wait until stream sequence %d is durable: %w", streamSeq, ctx.Err())
		}
	}
}
