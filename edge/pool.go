package edge

import "sync"

// pool runs do over a queue with a bounded number of goroutines, none while the queue is empty. Who adds makes
// sure that nothing stands in the queue twice, so the queue is bounded by what there is. do must not wait.
type pool[T any] struct {
	// Fixed at construction.
	most int
	do   func(T)
	full func() // everybody was busy
	busy func(change float64)

	running sync.WaitGroup

	mu      sync.Mutex // guards what follows
	queue   []T
	next    int // of queue: what lies before it was taken
	workers int
}

const keptQueue = 1024 // places of an empty queue

// add queues items and sees to it that somebody takes them. It does not block.
func (p *pool[T]) add(items ...T) {
	if len(items) == 0 {
		return
	}
	p.mu.Lock()
	p.queue = append(p.queue, items...)
	start := min(p.most-p.workers, len(items))
	p.workers += start
	p.mu.Unlock()
	if start < len(items) {
		p.full()
	}
	for range start {
		p.running.Go(p.work)
	}
}

// work takes items until there are none.
func (p *pool[T]) work() {
	p.busy(1)
	defer p.busy(-1)
	for {
		item, ok := p.take()
		if !ok {
			return
		}
		p.do(item)
	}
}

// take gives one item, or counts the worker out.
func (p *pool[T]) take() (item T, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var none T
	if p.next == len(p.queue) {
		p.workers--
		p.queue, p.next = p.queue[:0], 0
		if cap(p.queue) > keptQueue {
			p.queue = nil
		}
		return none, false
	}
	item = p.queue[p.next]
	p.queue[p.next] = none
	p.next++
	if p.next == len(p.queue) {
		p.queue, p.next = p.queue[:0], 0
	}
	return item, true
}
