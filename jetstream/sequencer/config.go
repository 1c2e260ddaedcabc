package sequencer

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// Faults that end Run.
var (
	// ErrOvertaken means that another owner has written, or holds the lease.
	ErrOvertaken = errors.New("the partition has another owner")
	// ErrBarrier means that what was written may not survive a power cut: the process must end.
	ErrBarrier = errors.New("the durability barrier failed")
	// ErrLog means that the log does not fit the store: a hole, or an end below the store's position.
	ErrLog = errors.New("the log does not fit the store")
)

// Store is what the sequencer reads of the message store. persist.Store satisfies it.
type Store interface {
	Load(ctx context.Context, id chat.ConversationID) (conversation.Loaded, error)
	Prior(ctx context.Context, id chat.ConversationID, sender chat.UserID, client chat.ClientID) (conversation.Outcome, bool, error)
	Target(ctx context.Context, id chat.ConversationID, seq chat.Seq) (t conversation.Target, ok bool, err error)
	Position(ctx context.Context, partition int) (applied, sealed chat.Mark, err error)
}

// Reader is what the sequencer reads of the log. jetstream.LogReader satisfies it; it has a connection of
// its own, since the answers to a group must not queue behind a scan.
type Reader interface {
	Get(ctx context.Context, generation uint32, id chat.ConversationID, partition int, places []chat.Place) ([]chat.Entry, error)
	Scan(ctx context.Context, t jetstream.Token, from, to uint64, f func([]chat.Entry) error) error
	First(ctx context.Context, t jetstream.Token) (uint64, error)
	Size(ctx context.Context, t jetstream.Token) (int64, error)
	LastFromLeader(ctx context.Context, t jetstream.Token) (uint64, error)
	FenceFromLeader(ctx context.Context, t jetstream.Token) (uint64, error)
}

// Rates bound what one sender and one conversation may ask for; zero fields mean the defaults
// (100/s burst 1,000 and 1,000/s burst 5,000).
type Rates struct {
	Off                                      bool
	SenderPerSecond, SenderBurst             float64
	ConversationPerSecond, ConversationBurst float64
}

// Config is one partition's writer.
type Config struct {
	NC    *nats.Conn // publishes and serves other processes; nobody else reads batches on it
	Token jetstream.Token
	// Partitions is how many the installation has; a command of a conversation that belongs to another
	// partition is refused. 0: not checked.
	Partitions int
	Lease      jetstream.Lease
	// Exclusive says that no other process can have an owner of this partition (embedded, the data folder's
	// lock is held): then a start needs no fence.
	Exclusive bool
	Barrier   jetstream.Barrier
	Feed      *jetstream.Feed // hears of what was committed; nil: nobody follows
	Store     Store
	Reader    Reader
	Limits    conversation.Limits
	Rates     Rates
	// LogMaxBytes is the log's cap; new content is refused from 95 % of it on. 0: no such bound.
	LogMaxBytes int64
	Now         func() time.Time // nil: time.Now
	Reg         prometheus.Registerer
	Log         *slog.Logger

	bounds  bounds                // zero fields: the defaults
	publish func(*nats.Msg) error // nil: NC.PublishMsg; tests lose messages and answers here
}

// bounds are what limits memory and work.
type bounds struct {
	queue        int   // commands that wait in one conversation
	waiting      int64 // commands that wait in all of them
	waitingBytes int64 // and their size
	lookups      int   // loads and look-ups in flight
	questions    int   // questions that wait for a load
	cached       int   // conversations in memory
	recent       int   // client ids held per conversation
	tailPlaces   int   // records in the log that the store has not sealed
	groupRecords int
	groupBytes   int
	silence      time.Duration // without an answer of the broker: the group's outcome is unknown
	sendWithin   time.Duration // for senders whose context has no end
	stopWithin   time.Duration // for the group in flight when Run is told to stop
}

// groupMost is G of the protocol: a fence is one record longer.
const groupMost = 500

func (b bounds) orDefaults() bounds {
	orInt(&b.queue, 256)
	orInt(&b.waiting, 65_536)
	orInt(&b.waitingBytes, 64<<20)
	orInt(&b.lookups, 512)
	orInt(&b.questions, 16_384)
	orInt(&b.cached, 65_536)
	orInt(&b.recent, 64)
	orInt(&b.tailPlaces, 4<<20)
	orInt(&b.groupRecords, groupMost)
	orInt(&b.groupBytes, 1<<20)
	orInt(&b.silence, 2*time.Second)
	orInt(&b.sendWithin, 10*time.Second)
	orInt(&b.stopWithin, 5*time.Second)
	return b
}

func orInt[T int | int64 | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}

const (
	maxRecord       = 3 << 19 // bytes of a record's JSON: 1.5 MiB
	storeWithin     = 5 * time.Second
	askWithin       = 5 * time.Second
	housekeepEvery  = 2 * time.Second
	fullPercent     = 95
	intakeSize      = 1024
	messageOverhead = 40 // bytes that the broker's file adds to subject, headers and data
)
