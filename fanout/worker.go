package fanout

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	beatEvery    = time.Second     // a lane idle for this long is repeated to every edge
	rosterEvery  = time.Second     // how often the roster's position is read while changes are held
	rosterTime   = 5 * time.Second // of one such read
	registerTime = 2 * time.Second // longest wait of Register
	edgeKept     = time.Minute     // an edge without users is remembered this long
	askWidth     = 16              // questions to the owner in flight
)

// Owner is the partition's owner: it answers from committed state and knows what is durable.
type Owner interface {
	Ask(ctx context.Context, id chat.ConversationID) (conversation.Answer, error)
	// Durable names the newest durable record. A zero generation means that the owner is not ready.
	Durable() chat.Mark
}

// Transport carries a hop to an edge. It may lose hops but not reorder them, and it must not call Replay or
// Register before it returns. The hop is the receiver's.
type Transport interface {
	Send(edge string, hop []byte) error
}

// Config is what a worker needs. Scan and RosterPosition are used by Start and Run.
type Config struct {
	Partition int
	// Term must lie above that of every former worker of the partition; 0 takes the time in nanoseconds.
	Term      uint64
	Owner     Owner
	Transport Transport
	// RosterPosition is how far the projection that lists conversations has come.
	RosterPosition func(context.Context) (chat.Mark, error)
	// Scan reads the present generation's log, from and to included, in order and without a hole.
	Scan   func(ctx context.Context, from, to uint64, f func([]chat.Entry) error) error
	Limits Limits
	Now    func() time.Time // nil: time.Now
	Reg    prometheus.Registerer
	Log    *slog.Logger // nil: discards
}

// Limits bound what a worker holds. Zero fields take the defaults.
type Limits struct {
	Audience      int // weight of kept audiences, a member row each and 8 per conversation; default 1 Mi. Beyond: the oldest is asked for again
	Receipts      int // cursors kept to tell what moved; default 65,536. Beyond: the oldest may be repeated
	RingRecords   int // deliveries kept for replay, per lane; default 20,000. Beyond: resync
	RingBytes     int // of them; default 32 MiB. Beyond: resync
	Outbox        int // bytes of hops waiting for the transport; default 4 MiB. Beyond: Handle waits
	ReplayOutbox  int // the same with replays; default 64 MiB. Beyond: resync
	Changes       int // membership changes above the roster's position; default 262,144. Beyond: the oldest is forgotten
	Edges         int // default 4,096. Beyond: Register is refused
	Registrations int // (user, edge) pairs; default 2,000,000. Beyond: Register is refused
}

func (l Limits) withDefaults() Limits {
	fill := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	fill(&l.Audience, 1<<20)
	fill(&l.Receipts, 65_536)
	fill(&l.RingRecords, 20_000)
	fill(&l.RingBytes, 32<<20)
	fill(&l.Outbox, 4<<20)
	fill(&l.ReplayOutbox, 64<<20)
	fill(&l.Changes, 262_144)
	fill(&l.Edges, 4096)
	fill(&l.Registrations, 2_000_000)
	return l
}

// Worker delivers one partition. Handle and HandleCursors are each called by one goroutine at a time;
// everything else may be called at any time.
type Worker struct {
	config    Config
	metrics   *metrics
	audiences *audiences
	receipts  *lru[receiptKey, chat.Cursors] // owned by HandleCursors' caller
	signals   chan typingSignal
	typists   typists
	grouped   groupReceipts

	// mu makes Handle and Register linear: a record is either up to a registration's position or delivered
	// to it. It is never held while the owner is asked or the transport is used.
	mu       sync.Mutex
	position chat.Mark
	cursors  uint64             // stream sequence in the cursor bucket
	aside    map[chat.Mark]bool // quarantined entries above the position: passed when they are handed again
	registry registry
	rings    [lanes]ring
	changes  changes
	outbox   outbox
	moved    signal // position
}

const lanes = 2

// New makes a worker. It delivers nothing before Start.
func New(c Config) *Worker {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Term == 0 {
		c.Term = uint64(c.Now().UnixNano()) // after 1970
	}
	c.Limits = c.Limits.withDefaults()
	w := &Worker{config: c, aside: make(map[chat.Mark]bool), signals: make(chan typingSignal, signalQueue)}
	w.audiences = newAudiences(c.Limits.Audience)
	w.receipts = newLRU[receiptKey, chat.Cursors](c.Limits.Receipts, nil)
	w.grouped = newGroupReceipts()
	w.registry = newRegistry(c.Limits)
	w.changes = newChanges(c.Limits.Changes)
	for lane := range w.rings {
		w.rings[lane].limit(c.Limits)
	}
	w.metrics = newMetrics(c.Reg, w)
	return w
}

// Position is the last entry handled.
func (w *Worker) Position() chat.Mark {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.position
}

// Run sends heartbeats and signals, and forgets membership changes that the roster holds. It returns the context's error once all of that has ended.
func (w *Worker) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { w.followRoster(ctx) })
	parts.Go(func() { w.signalling(ctx) })
	defer parts.Wait()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
			w.beat()
			w.pump()
		}
	}
}

// beat repeats idle lanes, and forgets edges that have had no users for a while.
func (w *Worker) beat() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.config.Now()
	for name, e := range w.registry.edges {
		if e.users == 0 && now.Sub(e.emptied) >= edgeKept {
			delete(w.registry.edges, name)
			continue
		}
		for lane := range wire.Lane(lanes) {
			if now.Sub(e.sent[lane]) < beatEvery/2 {
				continue
			}
			e.sent[lane] = now
			w.outbox.add(parcel{edge: name, hop: w.hopHead(e, lane), size: hopHeadBytes})
			w.metrics.heartbeats.Inc()
		}
	}
}

// signal wakes everybody who waits for a change. Guarded by the worker's lock.
type signal struct{ ch chan struct{} }

func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) wake() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// await returns once reached, which is called with the lock held, says so.
func (w *Worker) await(ctx context.Context, s *signal, reached func() bool) error {
	for {
		w.mu.Lock()
		if reached() {
			w.mu.Unlock()
			return nil
		}
		changed := s.wait()
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
