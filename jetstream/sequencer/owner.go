package sequencer

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// owner is the goroutine that holds a partition's state. Everything here is touched by it alone, but for
// what view guards.
type owner struct {
	s         *Sequencer
	committer *committer

	lru     *list.List // of *conv, most recently added or spared first
	entries map[chat.ConversationID]*list.Element
	ready   ring[*conv]

	inflight *group
	groups   chan *group // to the committer's goroutine
	results  chan error  // from it, one per group

	lookups  int // in flight
	backlog  ring[*lookup]
	found    chan *lookup
	looking  sync.WaitGroup
	rates    *limiter
	lastID   chat.ID
	logBytes int64
	usage    chan int64
	full     bool // the log has reached its mark
}

func newOwner(s *Sequencer) *owner {
	return &owner{
		s: s, committer: newCommitter(s),
		lru: list.New(), entries: make(map[chat.ConversationID]*list.Element),
		groups: make(chan *group, 1), results: make(chan error, 1),
		found: make(chan *lookup, s.b.lookups), usage: make(chan int64, 1),
		rates: newLimiter(s.c.Rates, s.m.forgotten.Inc),
	}
}

// run owns the partition from the lease's taking to its giving back.
func (o *owner) run(ctx context.Context) (err error) {
	defer o.giveBack(ctx)
	if err := o.start(ctx); err != nil {
		return ended(ctx, fmt.Errorf("start sequencer %s: %w", o.s.c.Token, err))
	}
	// What is in flight outlives ctx: it is finished or its deadline passes.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	defer parts.Wait()
	defer o.looking.Wait()
	defer close(o.groups)
	defer stop()
	parts.Go(func() { o.commitGroups(work) })
	parts.Go(func() { o.s.housekeep(work, o.usage) })
	remote, err := o.s.serveRemote()
	if err != nil {
		return fmt.Errorf("start sequencer %s: %w", o.s.c.Token, err)
	}
	parts.Go(func() { remote.run(work) })
	o.s.ready.Store(true)
	o.s.m.isReady.Set(1)
	defer func() {
		o.s.ready.Store(false)
		o.s.m.isReady.Set(0)
	}()
	if err := o.serve(ctx, work); err != nil {
		return ended(ctx, fmt.Errorf("sequencer %s: %w", o.s.c.Token, err))
	}
	return ctx.Err()
}

// ended prefers ctx's error to one that ctx's end has caused.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return ctx.Err()
	}
	return err
}

// giveBack releases the lease; what was left unknown the next owner's fence decides.
func (o *owner) giveBack(ctx context.Context) {
	o.committer.close()
	if o.s.c.Feed != nil {
		o.s.c.Feed.Break()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := o.s.c.Lease.Release(ctx); err != nil {
		o.s.c.Log.Warn("lease not released", slog.String("partition", o.s.c.Token.String()), slog.Any("error", err))
	}
}

// serve is the owner's loop: whatever comes is taken in at once, a group is built when none is in flight.
func (o *owner) serve(ctx, work context.Context) error {
	lost := o.s.c.Lease.Lost()
	prune := false
	for {
		if o.inflight == nil {
			o.begin(work, lost)
		}
		if prune {
			prune = o.prune()
		}
		nudge, whileIdle := o.s.nudge, lost
		if prune {
			nudge = always()
		}
		if o.inflight != nil {
			whileIdle = nil
		}
		select {
		case j := <-o.s.intake:
			o.accept(work, j)
		case q := <-o.s.asks:
			o.question(work, q)
		case l := <-o.found:
			o.lookedUp(work, l)
		case err := <-o.results:
			g := o.inflight
			o.inflight = nil
			if err != nil {
				return err
			}
			o.settle(g)
			lost = o.s.c.Lease.Lost()
		case <-nudge:
			prune = true
		case used := <-o.usage:
			o.used(used)
		case <-whileIdle:
		case <-ctx.Done():
			return o.finish(work)
		}
	}
}

// always is a channel that can be received from now.
func always() chan struct{} {
	c := make(chan struct{}, 1)
	c <- struct{}{}
	return c
}

// finish waits for the group in flight, at most stopWithin.
func (o *owner) finish(work context.Context) error {
	o.s.ready.Store(false)
	if o.inflight == nil {
		return nil
	}
	limit := time.NewTimer(o.s.b.stopWithin)
	defer limit.Stop()
	select {
	case err := <-o.results:
		if err != nil {
			return err
		}
		o.settle(o.inflight)
		o.inflight = nil
		return nil
	case <-limit.C:
		return errors.New("the group in flight was not committed in time to stop")
	case <-work.Done():
		return work.Err()
	}
}

// takeIn takes what has come in so far, so that a group is as large as it can be.
func (o *owner) takeIn(work context.Context) {
	for range intakeSize {
		select {
		case j := <-o.s.intake:
			o.accept(work, j)
		case l := <-o.found:
			o.lookedUp(work, l)
		default:
			return
		}
	}
}

// begin hands the next group to the committer, or the takeover that a lost lease asks for.
func (o *owner) begin(work context.Context, lost <-chan struct{}) {
	select {
	case <-lost:
		o.inflight = newGroup()
		o.inflight.reason = "lease"
		o.groups <- o.inflight
		return
	default:
	}
	o.takeIn(work)
	for o.ready.len() > 0 {
		g := o.build(work)
		if len(g.records) == 0 {
			continue // everything was refused or waits for a look-up
		}
		o.inflight = g
		o.groups <- g
		return
	}
}

// accept puts a command into its conversation's queue, or refuses it.
func (o *owner) accept(work context.Context, j *job) {
	if j.withdrawn() {
		o.s.leave(j)
		return
	}
	if err := o.rates.take(&j.cmd, o.s.c.Now()); err != nil {
		o.s.m.refused("rate")
		o.reply(j, reply{err: err})
		return
	}
	c := o.conversation(work, j.cmd.ConversationID)
	if c.queue.len() >= o.s.b.queue {
		o.s.m.refused("queue")
		o.reply(j, reply{err: unavailable("too many commands wait in the conversation")})
		return
	}
	c.queue.push(j)
	o.wake(c)
	o.s.m.waiting.Set(float64(o.s.waiting.Load()))
}

// question answers once the conversation is in memory.
func (o *owner) question(work context.Context, q *question) {
	c := o.conversation(work, q.id)
	if c.loaded {
		q.done <- nil
		return
	}
	c.asks = append(c.asks, q)
}

// reply answers a command; nobody may be waiting for it any more.
func (o *owner) reply(j *job, r reply) {
	o.s.leave(j)
	j.done <- r
}

// wake makes a conversation that has something to decide stand in the ring.
func (o *owner) wake(c *conv) {
	if c.ready || c.looking || c.blocked || !c.loaded || c.queue.len() == 0 {
		return
	}
	c.ready = true
	o.ready.push(c)
}

// conversation finds a conversation in memory, or begins to load it.
func (o *owner) conversation(work context.Context, id chat.ConversationID) *conv {
	if c := o.s.view.convs[id]; c != nil {
		c.touched.Store(true)
		return c
	}
	o.makeRoom()
	c := &conv{id: id}
	o.s.view.mu.Lock()
	o.s.view.convs[id] = c
	o.s.view.mu.Unlock()
	o.entries[id] = o.lru.PushFront(c)
	o.s.m.cached.Set(float64(o.lru.Len()))
	o.load(work, c)
	return c
}

// spared is how many conversations in use are passed over in the search for one to let go.
const spared = 64

// makeRoom lets a conversation go that was not used since the search last passed it. Those with waiting
// commands stay, whatever the bound: what waits is bounded itself.
func (o *owner) makeRoom() {
	for tries := 0; o.lru.Len() >= o.s.b.cached && tries < spared; tries++ {
		last := o.lru.Back()
		c := last.Value.(*conv)
		if c.busy() || c.touched.Swap(false) {
			o.lru.MoveToFront(last)
			continue
		}
		o.drop(c)
		o.s.m.evicted.Inc()
	}
}

func (o *owner) drop(c *conv) {
	o.s.view.mu.Lock()
	delete(o.s.view.convs, c.id)
	o.s.view.mu.Unlock()
	o.lru.Remove(o.entries[c.id])
	delete(o.entries, c.id)
	o.s.m.cached.Set(float64(o.lru.Len()))
}

// pruneAtOnce bounds how long the view is locked.
const pruneAtOnce = 4096

func (o *owner) prune() (more bool) {
	v := &o.s.view
	v.mu.Lock()
	more = v.tail.prune(v.sealed.Load(), pruneAtOnce)
	v.mu.Unlock()
	o.s.m.tail.Set(float64(v.tail.len()))
	return more
}

// used takes the broker's word for the log's size; what is written until the next one is added.
func (o *owner) used(bytes int64) {
	o.logBytes = bytes
	o.measure(0)
}

func (o *owner) measure(more int64) {
	o.logBytes += more
	o.s.m.logBytes.Set(float64(o.logBytes))
	most := o.s.c.LogMaxBytes
	full := most > 0 && o.logBytes >= most/100*fullPercent
	if full != o.full {
		o.full = full
		o.s.c.Log.Warn("log full mark passed", slog.String("partition", o.s.c.Token.String()),
			slog.Bool("full", full), slog.Int64("bytes", o.logBytes), slog.Int64("most", most))
	}
}

// housekeep learns the log's size, and the store's position when nobody tells it.
func (s *Sequencer) housekeep(ctx context.Context, usage chan<- int64) {
	tick := time.NewTicker(housekeepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if used, err := s.c.Reader.Size(ctx, s.c.Token); err == nil {
			select {
			case usage <- used:
			default:
			}
		}
		if time.Since(s.began)-time.Duration(s.storedAt.Load()) < housekeepEvery {
			continue
		}
		within, cancel := context.WithTimeout(ctx, storeWithin)
		applied, sealed, err := s.c.Store.Position(within, s.c.Token.Partition)
		cancel()
		if err == nil {
			s.Stored(applied, sealed)
		}
	}
}
