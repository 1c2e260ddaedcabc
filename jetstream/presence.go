package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	removalKept   = 2 * time.Minute        // a removed connection's marker; a watch that misses more begins anew
	edgeKept      = 10 * time.Minute       // an edge's last sign of life; far above the life of its lease
	watchProof    = time.Second            // between two looks at whether a watch keeps up
	watchStale    = 5 * time.Second        // behind for so long: it begins anew
	watchBlind    = removalKept / 2        // without the broker for so long: markers may be missed
	writesWaiting = 4096                   // unanswered writes of one batch
	writeStall    = 500 * time.Millisecond // longest wait for room among them
)

// PresenceEntry is one connection as the registry holds it. Run tells the lives of an edge apart.
type PresenceEntry struct {
	User    chat.UserID
	Edge    string
	Run     uint64
	Number  uint64
	Session chat.SessionID
	Away    bool
	Gone    bool // removed
}

type presenceValue struct {
	Edge    string         `json:"edge"`
	Session chat.SessionID `json:"session"`
	Away    bool           `json:"away,omitzero"`
}

type edgeValue struct {
	Run  uint64 `json:"run"`
	Over bool   `json:"over,omitzero"`
}

// PresenceReader hears what a shard's bucket holds, in order, from one goroutine.
type PresenceReader interface {
	Entry(e PresenceEntry)
	Beat(edge string, run uint64)
	Bye(edge string, run uint64)
	Loaded()
}

// PresenceKVConfig is the registry of connections.
type PresenceKVConfig struct {
	NC *nats.Conn
	// Shard says in which shard's bucket, below PresenceShards, a person's connections stand.
	Shard func(chat.UserID) int
	Log   *slog.Logger
}

// PresenceKV is the registry of connections: a bucket in memory per shard of people, and one for the edges'
// signs of life. It is safe for concurrent use. No write waits for a disk.
type PresenceKV struct {
	c  PresenceKVConfig
	js natsjs.JetStream
}

// NewPresenceKV makes it; the buckets are Ensure's.
func NewPresenceKV(c PresenceKVConfig) (*PresenceKV, error) {
	js, err := natsjs.New(c.NC, natsjs.WithPublishAsyncMaxPending(writesWaiting))
	if err != nil {
		return nil, fmt.Errorf("presence registry: %w", err)
	}
	return &PresenceKV{c, js}, nil
}

// presenceKey ends with what is made here alone, so that an edge's name may hold the separator.
func presenceKey(e *PresenceEntry) string {
	return string(e.User) + "." + e.Edge + "-" + strconv.FormatUint(e.Run, 36) + "-" + strconv.FormatUint(e.Number, 36)
}

func parsePresenceKey(key string) (PresenceEntry, error) {
	user, rest, _ := strings.Cut(key, ".")
	var e PresenceEntry
	var err error
	if e.User, err = chat.ParseUserID(user); err != nil {
		return e, err
	}
	last := strings.LastIndexByte(rest, '-')
	first := strings.LastIndexByte(rest[:max(last, 0)], '-')
	if first < 1 {
		return e, errors.New("connection without edge, run and number")
	}
	e.Edge = rest[:first]
	if e.Run, err = strconv.ParseUint(rest[first+1:last], 36, 64); err != nil {
		return e, fmt.Errorf("run: %w", err)
	}
	if e.Number, err = strconv.ParseUint(rest[last+1:], 36, 64); err != nil {
		return e, fmt.Errorf("number: %w", err)
	}
	return e, nil
}

// Write writes entries without waiting for one another, and answers once all are known to stand. After an
// error any of them may; writing one again changes nothing.
func (k *PresenceKV) Write(ctx context.Context, entries []PresenceEntry) error {
	futures := make([]natsjs.PubAckFuture, 0, len(entries))
	for i := range entries {
		m, err := presenceMessage(&entries[i], k.c.Shard(entries[i].User))
		if err != nil {
			return fmt.Errorf("register connections: %w", err)
		}
		future, err := k.js.PublishMsgAsync(m, natsjs.WithStallWait(writeStall))
		if err != nil {
			return fmt.Errorf("register connections: %w", unavailable(err))
		}
		futures = append(futures, future)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return fmt.Errorf("register connections: %w", unavailable(err))
		case <-ctx.Done():
			return fmt.Errorf("register connections: %w", unavailable(ctx.Err()))
		}
	}
	return nil
}

func presenceMessage(e *PresenceEntry, shard int) (*nats.Msg, error) {
	m := nats.NewMsg(bucketSubject(PresenceBucket(shard), presenceKey(e)))
	if e.Gone {
		m.Header.Set("KV-Operation", "PURGE")
		m.Header.Set("Nats-Rollup", "sub")
		m.Header.Set("Nats-TTL", removalKept.String())
		return m, nil
	}
	var err error
	m.Data, err = json.Marshal(presenceValue{e.Edge, e.Session, e.Away})
	return m, err
}

// Beat is an edge's sign of life.
func (k *PresenceKV) Beat(ctx context.Context, edge string, run uint64) error {
	return k.putEdge(ctx, edge, edgeValue{Run: run})
}

// Bye says that an edge's run has ended.
func (k *PresenceKV) Bye(ctx context.Context, edge string, run uint64) error {
	return k.putEdge(ctx, edge, edgeValue{Run: run, Over: true})
}

func (k *PresenceKV) putEdge(ctx context.Context, edge string, v edgeValue) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("sign of life of %s: %w", edge, err)
	}
	if _, err := k.js.Publish(ctx, bucketSubject(BucketEdges, edge), body, natsjs.WithMsgTTL(edgeKept)); err != nil {
		return fmt.Errorf("sign of life of %s: %w", edge, unavailable(err))
	}
	return nil
}

// Watch tells a shard's entries and every edge's signs of life: first what stands there, then what comes. It
// returns when ctx ends, or when something may have been missed.
func (k *PresenceKV) Watch(ctx context.Context, shard int, to PresenceReader) error {
	stream := bucketStreamName(PresenceBucket(shard))
	before, err := streamState(ctx, k.c.NC, stream)
	if err != nil {
		return err
	}
	edges, err := k.openWatch(ctx, BucketEdges)
	if err != nil {
		return err
	}
	defer endWatch(edges)
	entries, err := k.openWatch(ctx, PresenceBucket(shard))
	if err != nil {
		return err
	}
	defer endWatch(entries)
	w := presenceWatch{k: k, to: to, stream: stream, before: before.Last, connected: time.Now()}
	if err := w.edgesFirst(ctx, edges); err != nil {
		return err
	}
	return w.follow(ctx, edges, entries)
}

func (k *PresenceKV) openWatch(ctx context.Context, bucket string) (natsjs.KeyWatcher, error) {
	kv, err := Bucket(ctx, k.c.NC, bucket)
	if err != nil {
		return nil, err
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", bucket, unavailable(err))
	}
	return w, nil
}

// endWatch takes what was on its way: whoever brings it would wait for ever otherwise.
func endWatch(w natsjs.KeyWatcher) {
	if w.Stop() != nil {
		return // the connection is closed, and the watch with it
	}
	for range w.Updates() { // closed by the end of the watch
	}
}

// presenceWatch is one Watch under way. Owned by its goroutine.
type presenceWatch struct {
	k      *PresenceKV
	to     PresenceReader
	stream string

	before    uint64    // the stream's end before the watch began
	seen      uint64    // highest revision that came, once all that stood there came
	equal     time.Time // when seen was the stream's end; zero: not all came yet
	connected time.Time // when the broker answered last
}

var errWatchEnded = errors.New("the watch of connections ended")

// edgesFirst hears every edge, so that no entry of a run that is over counts.
func (w *presenceWatch) edgesFirst(ctx context.Context, edges natsjs.KeyWatcher) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-edges.Updates():
			if !ok {
				return errWatchEnded
			}
			if e == nil {
				return nil
			}
			w.edge(e)
		}
	}
}

func (w *presenceWatch) follow(ctx context.Context, edges, entries natsjs.KeyWatcher) error {
	tick := time.NewTicker(watchProof)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-edges.Updates():
			if !ok {
				return errWatchEnded
			}
			if e != nil && e.Operation() == natsjs.KeyValuePut {
				w.edge(e)
			}
		case e, ok := <-entries.Updates():
			if !ok {
				return errWatchEnded
			}
			w.entry(e)
		case <-tick.C:
			if err := w.prove(ctx); err != nil {
				return err
			}
		}
	}
}

func (w *presenceWatch) edge(e natsjs.KeyValueEntry) {
	var v edgeValue
	if len(e.Value()) == 0 || json.Unmarshal(e.Value(), &v) != nil {
		w.k.c.Log.Error("sign of life can not be read", slog.String("edge", e.Key()))
		return
	}
	if v.Over {
		w.to.Bye(e.Key(), v.Run)
		return
	}
	w.to.Beat(e.Key(), v.Run)
}

// entry takes one change; nil is the end of what stood there at the beginning.
func (w *presenceWatch) entry(e natsjs.KeyValueEntry) {
	if e == nil {
		w.seen, w.equal = max(w.seen, w.before), time.Now()
		w.to.Loaded()
		return
	}
	w.seen = max(w.seen, e.Revision())
	entry, err := parsePresenceKey(e.Key())
	if err == nil && e.Operation() != natsjs.KeyValuePut {
		entry.Gone = true
	} else if err == nil {
		var v presenceValue
		err = json.Unmarshal(e.Value(), &v)
		entry.Session, entry.Away = v.Session, v.Away
	}
	if err != nil {
		w.k.c.Log.Error("registry entry can not be read", slog.String("key", e.Key()), slog.Any("error", err))
		return
	}
	w.to.Entry(entry)
}

// prove compares what came with what the bucket took: markers are gone after a while, so a watch that does
// not keep up must begin anew.
func (w *presenceWatch) prove(ctx context.Context) error {
	now := time.Now()
	s, err := streamState(ctx, w.k.c.NC, w.stream)
	if err != nil {
		if now.Sub(w.connected) > watchBlind {
			return fmt.Errorf("watch %s: no broker for too long: %w", w.stream, err)
		}
		return nil
	}
	w.connected = now
	switch {
	case w.equal.IsZero():
	case w.seen >= s.Last:
		w.equal = now
	case now.Sub(w.equal) > watchStale:
		return fmt.Errorf("watch %s: it does not keep up", w.stream)
	}
	return nil
}
