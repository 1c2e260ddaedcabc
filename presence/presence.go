package presence

import (
	"context"
	"hash/fnv"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// Times of presence. Whoever judges a lease uses its own clock, from the last sign of life that it saw: a
// killed edge's people are offline EdgeLife + Grace after its last sign, 40 s, and a tick.
const (
	BeatEvery = 10 * time.Second // an edge's sign of life, and the renewal of what it looks at
	EdgeLife  = 30 * time.Second // without a sign: its connections are over
	Grace     = 10 * time.Second // after the last connection's end a person is offline
)

// Entry is one connection in the registry. Run tells the lives of an edge apart: a process that starts again,
// or that was taken for dead, begins a higher one, and what stands under a lower one is over.
type Entry struct {
	User    chat.UserID
	Edge    string
	Run     uint64
	Number  uint64 // of the connection within the run
	Session chat.SessionID
	Away    bool
	Gone    bool // the connection is over; Session and Away mean nothing then
}

// ShardOf is the shard that keeps a person's presence.
func ShardOf(user chat.UserID, shards int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(user))
	return int(h.Sum32() % uint32(shards)) // few
}

// Registry is where edges write and owners read.
type Registry interface {
	// Write writes all entries, or says that it may not have. Writing one again changes nothing.
	Write(ctx context.Context, entries []Entry) error
	// Beat is an edge's sign of life; Bye says that its run has ended.
	Beat(ctx context.Context, edge string, run uint64) error
	Bye(ctx context.Context, edge string, run uint64) error
}

// Reader hears what stands in the registry. Its calls come from one goroutine.
type Reader interface {
	Entry(e Entry)
	Beat(edge string, run uint64)
	Bye(edge string, run uint64)
	// Loaded comes once, when all that stood there at the beginning was told.
	Loaded()
}

// Source tells a shard's part of the registry, and every edge's signs of life.
type Source interface {
	// Watch returns when ctx ends, or when something may have been missed: then it is to begin anew.
	Watch(ctx context.Context, shard int, to Reader) error
}

// Owner is a shard as edges speak to it. chat.Unavailable: it has no owner now.
type Owner interface {
	// Watch has every later change announced to the edge, and answers how the people are. Who may just be
	// reconnecting after a start of the owner is not known and left to a later announcement.
	Watch(ctx context.Context, edge string, run uint64, users []chat.UserID) (wire.Announcement, error)
	Unwatch(ctx context.Context, edge string, run uint64, users []chat.UserID) error
	// Renew keeps what Watch asked for; interests is how many people the edge believes are watched for it.
	Renew(ctx context.Context, edge string, run uint64, interests int) (Renewed, error)
	// Look answers how people are, once.
	Look(ctx context.Context, users []chat.UserID) (wire.Announcement, error)
}

// Renewed is the answer to Renew.
type Renewed struct {
	// Over: the run was taken for dead. The edge begins another and writes its connections again.
	Over bool
	// Again: the owner watches nobody for the edge any more (it is new, or announcements were shed).
	Again bool
}
