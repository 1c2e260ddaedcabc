package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// Defaults of Config.
const (
	DefaultHandshakes = 2000
	DefaultDrainTime  = 5 * time.Second
	DefaultWorkers    = 256
)

const (
	largeFrames   = 64 << 20        // bytes of inbound frames above 64 KiB, in the whole process
	outageAllowed = 5 * time.Second // without news of revocations
	registerTime  = 3 * time.Second
	commandTime   = wire.AnswerWithin
	stopGrace     = 2 * closeGrace
)

// Config is what an operator decides about an edge.
type Config struct {
	ID      string   // names this edge among all of the installation
	Origins []string // further web origins whose pages may connect, such as https://chat.example.org
	Version string   // told in the OpenAPI document

	Handshakes int           // most connections that have not authenticated yet; 0: DefaultHandshakes
	DrainTime  time.Duration // clients are asked to return spread over it; 0: DefaultDrainTime
	Heartbeat  time.Duration // 0: wire.HeartbeatInterval
	NoLimits   bool          // no limit on frames per connection (load tests)
	Sockets    string        // form of connections: SocketsAuto (""), SocketsDense or SocketsPlain
	Workers    int           // most goroutines that read dense connections at once; 0: DefaultWorkers

	KeyConversations []byte // for the ids of direct conversations and groups
	KeyBodies        []byte // for the hashes that tell a repeat from a conflict

	Now func() time.Time // nil: time.Now
	Reg prometheus.Registerer
	Log *slog.Logger
}

func (c *Config) complete(d Deps) error {
	switch c.Sockets {
	case "", SocketsAuto, SocketsDense, SocketsPlain:
	default:
		return fmt.Errorf("edge: sockets %q", c.Sockets)
	}
	if c.ID == "" || c.Log == nil || len(c.KeyConversations) == 0 || len(c.KeyBodies) == 0 {
		return errors.New("edge: ID, Log and both keys are required")
	}
	if d.Partitions == nil || d.History == nil || d.Cursors == nil || len(d.Fanout) == 0 || d.Presence == nil || d.People == nil ||
		d.Directory == nil || d.Revocations == nil || d.Limiter == nil {
		return errors.New("edge: a dependency is missing")
	}
	if c.Handshakes == 0 {
		c.Handshakes = DefaultHandshakes
	}
	if c.DrainTime == 0 {
		c.DrainTime = DefaultDrainTime
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = wire.HeartbeatInterval
	}
	if c.Sockets == "" {
		c.Sockets = SocketsAuto
	}
	if c.Workers == 0 {
		c.Workers = DefaultWorkers
	}
	if c.Version == "" {
		c.Version = "1"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Edge serves clients. See New.
type Edge struct {
	// Fixed at construction.
	config  Config
	deps    Deps
	log     *slog.Logger
	metrics *metrics
	handler http.Handler
	buffers *buffers
	large   *budget
	poller  *poller // nil: every connection is plain
	graces  graces
	pacer   pacer

	pressure pressure
	lanes    []*hopLane // two per partition, by lane
	seen     *recentHeads
	lookout  *lookout
	typings  chan struct{} // holds one for each question because of typing

	// live is the life of every connection and of everything done for one: Run ends it, after Drain or at once.
	live context.Context //nolint:containedctx // a connection outlives the request that opened it
	end  context.CancelFunc

	seats      atomic.Int64 // registrations in force
	handshakes atomic.Int64
	draining   atomic.Bool
	blind      atomic.Bool // no news of revocations for too long

	mu          sync.RWMutex // guards what follows
	all         map[*connection]struct{}
	users       map[chat.UserID][]*connection // authenticated ones
	sessions    map[chat.SessionID][]*connection
	emptied     chan struct{}
	emptyWanted bool

	starting sync.Mutex // guards stopped; nothing else is locked while it is held
	stopped  bool       // no goroutine starts any more
	running  sync.WaitGroup
	stopping chan struct{} // closed with stopped

	blindSince time.Time // owned by Run
}

// New builds an edge; nothing runs and nothing listens yet.
func New(c Config, d Deps) (*Edge, error) {
	if err := c.complete(d); err != nil {
		return nil, err
	}
	e := &Edge{
		config: c, deps: d, log: c.Log, metrics: newMetrics(c.Reg), buffers: newBuffers(),
		seen: newRecentHeads(), lookout: newLookout(), typings: make(chan struct{}, typingInFlight),
		all: make(map[*connection]struct{}), users: make(map[chat.UserID][]*connection),
		sessions: make(map[chat.SessionID][]*connection), emptied: make(chan struct{}),
		stopping: make(chan struct{}),
	}
	e.graces.edge, e.pacer.edge = e, e
	e.large = &budget{shares: semaphore.NewWeighted(largeFrames), waited: e.metrics.largeWaits.Inc}
	for p := range d.Fanout {
		e.lanes = append(e.lanes, newHopLane(p, wire.LaneLog), newHopLane(p, wire.LaneCursors))
	}
	e.live, e.end = context.WithCancel(context.Background())
	handler, err := e.routes()
	if err != nil {
		return nil, fmt.Errorf("edge routes: %w", err)
	}
	e.handler = handler
	if e.poller, err = e.newPoller(); err != nil {
		return nil, err
	}
	d.Revocations.On(e.CloseSession)
	return e, nil
}

// newPoller is nil where connections are to be plain.
func (e *Edge) newPoller() (*poller, error) {
	if e.config.Sockets == SocketsPlain {
		return nil, nil //nolint:nilnil // no poller is an answer
	}
	p, err := openPoller(e)
	if err != nil && e.config.Sockets == SocketsDense {
		return nil, fmt.Errorf("edge: dense sockets: %w", err)
	}
	if err != nil {
		e.log.Info("connections have goroutines of their own", slog.Any("reason", err))
		return nil, nil //nolint:nilnil // no poller is an answer
	}
	return p, nil
}

// Handler serves REST, the WebSocket and a page that says what this is.
func (e *Edge) Handler() http.Handler { return e.handler }

// Run watches over the connections: liveness, tokens that expire, sessions revoked. When ctx ends it closes
// what is still open and returns after every goroutine of the edge has ended.
func (e *Edge) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	if e.poller != nil {
		e.poller.start()
	}
	for {
		select {
		case <-ctx.Done():
			e.stop()
			return nil
		case <-tick.C:
			e.sweep()
		}
	}
}

func (e *Edge) stop() {
	e.draining.Store(true)
	e.starting.Lock()
	e.stopped = true
	close(e.stopping)
	e.starting.Unlock()
	for _, c := range e.connections() {
		c.finish(wire.CloseDrain, "stopping")
	}
	ended := make(chan struct{})
	go func() { e.running.Wait(); close(ended) }()
	grace := time.After(stopGrace) // what is under way for connections (cursors, last answers) has its chance
	tick := time.NewTicker(stopGrace / 20)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-ended:
			waiting = false
		case <-grace:
			e.end()
		case now := <-tick.C:
			for _, c := range e.connections() {
				c.conn.sweep(now)
			}
		}
	}
	e.end()
	e.pacer.end()
	if e.poller != nil {
		e.poller.close()
	}
}

// spawn runs f in a goroutine that Run waits for; false once the edge has stopped.
func (e *Edge) spawn(f func()) bool {
	e.starting.Lock()
	defer e.starting.Unlock()
	if e.stopped {
		return false
	}
	e.running.Go(f)
	return true
}

// sweep looks at every connection once a second.
func (e *Edge) sweep() {
	e.watchRevocations()
	e.relieve(time.Now())
	now := e.config.Now()
	for _, c := range e.connections() {
		c.sweep(now)
	}
}

func (e *Edge) watchRevocations() {
	now := time.Now()
	if e.deps.Revocations.Connected() {
		e.blindSince = time.Time{}
		e.blind.Store(false)
		return
	}
	if e.blindSince.IsZero() {
		e.blindSince = now
	}
	if now.Sub(e.blindSince) < outageAllowed || e.blind.Swap(true) {
		return
	}
	e.log.Error("no news of revoked sessions, closing all connections")
	for _, c := range e.connections() {
		c.finish(wire.CloseUnavailable, "revocations are out of reach")
	}
}

func (e *Edge) connections() []*connection {
	e.mu.RLock()
	defer e.mu.RUnlock()
	list := make([]*connection, 0, len(e.all))
	for c := range e.all {
		list = append(list, c)
	}
	return list
}

// CloseSession closes the connections of a revoked session.
func (e *Edge) CloseSession(id chat.SessionID) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, c := range e.sessions[id] {
		c.finish(wire.CloseUnauthorized, "session revoked")
	}
}

// Drain turns new connections away and asks the present ones to return later, spread over Config.DrainTime.
// What is under way is answered first. It returns when all are gone or ctx ends.
func (e *Edge) Drain(ctx context.Context) {
	e.draining.Store(true)
	list := e.connections()
	e.log.Info("draining", slog.Int("connections", len(list)))
	for _, c := range list {
		c.goAway()
	}
	e.mu.Lock()
	e.emptyWanted = true
	if len(e.all) == 0 {
		e.tellEmpty()
	}
	e.mu.Unlock()
	select {
	case <-e.emptied:
	case <-ctx.Done():
	}
}

// tellEmpty is called with mu held.
func (e *Edge) tellEmpty() {
	if e.emptyWanted {
		e.emptyWanted = false
		close(e.emptied)
	}
}

// Ready reports whether clients may come.
func (e *Edge) Ready() error {
	switch {
	case e.draining.Load():
		return chat.Errorf(chat.Unavailable, "this node is stopping")
	case e.blind.Load():
		return chat.Errorf(chat.Unavailable, "the news of revoked sessions is out of reach")
	default:
		return nil
	}
}
