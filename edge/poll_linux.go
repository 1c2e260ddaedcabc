package edge

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	readable  = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	writable  = unix.EPOLLOUT | unix.EPOLLHUP | unix.EPOLLERR
	watchFor  = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	eventsMax = 256 // taken at once
)

// poller watches all dense connections with one epoll set and one goroutine, which waits in Go's own poller (the
// set is a descriptor like any other) and so holds no thread. Descriptors are watched edge-triggered and once for
// all: an edge that comes while somebody is at work on the connection is noted in its state (see dense), never lost.
type poller struct {
	edge    *Edge
	set     *os.File // the epoll set
	readers pool[*dense]
	writers pool[*dense]
	running sync.WaitGroup

	shareWaits atomic.Int64 // connections that wait for a share of the budget for large frames
	cutBytes   atomic.Int64 // kept of unfinished messages

	mu    sync.RWMutex // guards what follows
	conns []*dense     // by descriptor
	last  uint32       // generation of the newest dense
}

func openPoller(e *Edge) (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // only then does os.File wait in Go's poller
		_ = unix.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p := &poller{edge: e, set: os.NewFile(uintptr(fd), "epoll")}
	m := e.metrics
	p.readers = pool[*dense]{most: e.config.Workers, do: (*dense).read, full: m.poolFull.Inc, busy: m.workers.Add}
	p.writers = pool[*dense]{most: runtime.GOMAXPROCS(0), do: (*dense).write, full: func() {}, busy: func(float64) {}}
	return p, nil
}

// start begins to watch; what was adopted before is seen then.
func (p *poller) start() { p.running.Go(p.watch) }

// close ends watching. Nothing may be adopted any more, and all connections have been left.
func (p *poller) close() {
	_ = p.set.Close()
	p.running.Wait()
	p.readers.running.Wait()
	p.writers.running.Wait()
}

// adopt makes c dense: it takes the socket out of net's hands. false leaves everything as it was.
func (p *poller) adopt(c *connection, n net.Conn) bool {
	tcp, ok := n.(*net.TCPConn)
	if !ok {
		return false
	}
	fd, err := duplicate(tcp)
	if err != nil {
		return false
	}
	c.conn = p.enlist(c, fd)
	_ = tcp.Close() // the duplicate keeps the connection open
	return true
}

func duplicate(tcp *net.TCPConn) (fd int, err error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	fd = -1
	if outer := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); outer != nil {
		return 0, outer
	}
	return fd, err
}

// enlist makes the conn of descriptor fd known to watch.
func (p *poller) enlist(c *connection, fd int) *dense {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	d := &dense{c: c, poller: p, fd: fd, generation: p.last}
	for len(p.conns) <= fd {
		p.conns = append(p.conns, nil)
	}
	p.conns[fd] = d
	return d
}

// watchOver begins to watch d; what has come already is seen at once.
func (p *poller) watchOver(d *dense) error {
	return p.control(func(set int) error {
		event := unix.EpollEvent{Events: watchFor, Fd: int32(d.fd), Pad: int32(d.generation)}
		return unix.EpollCtl(set, unix.EPOLL_CTL_ADD, d.fd, &event)
	})
}

func (p *poller) control(f func(set int) error) (err error) {
	raw, err := p.set.SyscallConn()
	if err != nil {
		return err
	}
	if outer := raw.Control(func(set uintptr) { err = f(int(set)) }); outer != nil {
		return outer
	}
	return err
}

// flushAll hands what can be written to the writers, together, and returns the connections of another form.
func (p *poller) flushAll(conns []*connection) (others []*connection) {
	var own []*dense
	for _, c := range conns {
		d, ok := c.conn.(*dense)
		switch {
		case !ok:
			others = append(others, c)
		case d.writing.CompareAndSwap(stateResting, stateActive):
			own = append(own, d)
		}
	}
	p.writers.add(own...)
	return others
}

// forget is called before d's descriptor is closed.
func (p *poller) forget(d *dense) {
	p.mu.Lock()
	p.conns[d.fd] = nil
	p.mu.Unlock()
}

// watch hands connections that can be read or written to the pools, in batches, until the set is closed.
func (p *poller) watch() {
	raw, err := p.set.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, eventsMax)
	var reads, writes []*dense
	for {
		n := 0
		err := raw.Read(func(set uintptr) bool {
			n, err = unix.EpollWait(int(set), events, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		if err != nil { // closed
			return
		}
		reads, writes = p.sort(events[:max(n, 0)], reads[:0], writes[:0])
		p.readers.add(reads...)
		p.writers.add(writes...)
		clear(reads)
		clear(writes)
	}
}

func (p *poller) sort(events []unix.EpollEvent, reads, writes []*dense) (toRead, toWrite []*dense) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for i := range events {
		e := &events[i]
		d := p.conns[e.Fd]
		if d == nil || d.generation != uint32(e.Pad) { // closed since
			continue
		}
		if e.Events&readable != 0 && d.canRead(e.Events) {
			reads = append(reads, d)
		}
		if e.Events&writable != 0 && d.canWrite() {
			writes = append(writes, d)
		}
	}
	return reads, writes
}
