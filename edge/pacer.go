package edge

import (
	"sync"
	"time"
)

const (
	crowdSize  = 32                    // connections that one delivery goes to, from which on it is paced
	paceEvery  = 10 * time.Millisecond // connections of crowds are written to no more often, unless something else is due
	pacedBytes = 16 << 10              // that wait at most for the pace
)

// flushes are the connections that got something queued and are not written to yet. Owned by a hop lane.
type flushes struct {
	now   []*connection
	paced []*connection
}

// pacer has what comes for crowds written in steps, so that several frames leave in one write while a large group is
// busy. After a silence the first frames leave at once.
type pacer struct {
	edge *Edge

	stepping sync.Mutex // held by a step

	mu      sync.Mutex // guards what follows
	waiting []*connection
	last    time.Time   // when connections were flushed
	armed   bool        // step will be called
	timer   *time.Timer // of the next step; nil before the first
	over    bool        // the edge has ended: no step any more
}

// settle flushes what a hop has queued.
func (e *Edge) settle(f *flushes) {
	e.flushAll(f.now)
	clear(f.now)
	f.now = f.now[:0]
	if len(f.paced) == 0 {
		return
	}
	e.pacer.add(f.paced)
	clear(f.paced)
	f.paced = f.paced[:0]
}

// add has connections flushed with the next step, or now.
func (p *pacer) add(conns []*connection) {
	now := time.Now()
	p.mu.Lock()
	if due := p.last.Add(paceEvery); !p.armed && !p.over && now.Before(due) {
		p.arm(due.Sub(now))
	}
	if !p.armed {
		p.last = now
		p.mu.Unlock()
		p.edge.flushAll(conns)
		return
	}
	for _, c := range conns {
		if !c.paced.Swap(true) {
			p.waiting = append(p.waiting, c)
		}
	}
	p.mu.Unlock()
}

// arm has step called after d. Called with mu held.
func (p *pacer) arm(d time.Duration) {
	p.armed = true
	if p.timer == nil {
		p.timer = time.AfterFunc(d, p.step)
		return
	}
	p.timer.Reset(d)
}

// end lets no step begin any more, and none be under way when it returns. What waits was written when its
// connection ended.
func (p *pacer) end() {
	p.stepping.Lock()
	defer p.stepping.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

func (p *pacer) step() {
	p.stepping.Lock()
	defer p.stepping.Unlock()
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return
	}
	conns := p.waiting
	p.waiting, p.armed, p.last = nil, false, time.Now()
	for _, c := range conns {
		c.paced.Store(false) // what is queued from here on asks for another step
	}
	p.mu.Unlock()
	p.edge.flushAll(conns)
}

// flushAll has connections written to; those of the poller are handed over together.
func (e *Edge) flushAll(conns []*connection) {
	if e.poller != nil {
		conns = e.poller.flushAll(conns)
	}
	for _, c := range conns {
		c.conn.flush()
	}
}
