package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/pkg/chat"
)

const metaKey = "installation"

// Meta is what belongs to the data as a whole.
type Meta struct {
	Generation  uint32 `json:"generation"`
	Partitions  int    `json:"partitions"`
	Fingerprint string `json:"fingerprint"`            // of the installation key
	LogMaxBytes int64  `json:"log_max_bytes,omitzero"` // of each log, as chosen when there was the first one

	Revision uint64 `json:"-"` // of the bucket: what the next change expects
}

var (
	// ErrOtherKey means that the data was made under another installation key: the process must not start.
	ErrOtherKey = errors.New("the installation key is not the one this data was made with")
	// ErrMetaChanged means that another process changed the meta since it was read.
	ErrMetaChanged = errors.New("the installation's meta has changed")
)

// ReadMeta reads the meta; ok is false when the installation has none.
func ReadMeta(ctx context.Context, nc *nats.Conn) (m Meta, ok bool, err error) {
	s, err := leaderGet(ctx, nc, bucketStreamName(BucketMeta), getRequest{LastFor: bucketSubject(BucketMeta, metaKey)})
	if errors.Is(err, errNoMessage) || errors.Is(err, errNoStream) {
		return Meta{}, false, nil
	}
	if err != nil {
		return Meta{}, false, fmt.Errorf("read meta: %w", err)
	}
	if err := json.Unmarshal(s.Data, &m); err != nil {
		return Meta{}, false, fmt.Errorf("read meta: %w", err)
	}
	if m.Generation < 1 || m.Partitions < 1 || m.Fingerprint == "" {
		return Meta{}, false, fmt.Errorf("read meta: generation %d, partitions %d, fingerprint %q make no sense", m.Generation, m.Partitions, chat.Clip(m.Fingerprint))
	}
	m.Revision = s.Seq
	return m, true, nil
}

// InitMeta gives the installation's meta: what stands there already, or want with generation 1 when
// nothing does. ErrOtherKey when it was made under another key. Whoever comes first decides; the
// partitions of those who come later are not looked at. Durable after the next barrier.
func InitMeta(ctx context.Context, nc *nats.Conn, want Meta, replicas int) (Meta, error) {
	js, err := natsjs.New(nc)
	if err != nil {
		return Meta{}, fmt.Errorf("init meta: %w", err)
	}
	if _, err := ensureStream(ctx, js, metaStream(max(replicas, 1))); err != nil {
		return Meta{}, fmt.Errorf("init meta: %w", err)
	}
	for {
		m, ok, err := ReadMeta(ctx, nc)
		if err != nil {
			return Meta{}, err
		}
		if ok {
			if m.Fingerprint != want.Fingerprint {
				return Meta{}, fmt.Errorf("fingerprint %s, the data has %s: %w", chat.Clip(want.Fingerprint), chat.Clip(m.Fingerprint), ErrOtherKey)
			}
			return m, nil
		}
		want.Generation, want.Revision = max(want.Generation, 1), 0
		m, err = writeMeta(ctx, js, want)
		if err == nil {
			return m, nil
		}
		if !errors.Is(err, ErrMetaChanged) {
			return Meta{}, err
		}
	}
}

// writeMeta is the compare-and-set.
func writeMeta(ctx context.Context, js natsjs.JetStream, m Meta) (Meta, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return Meta{}, fmt.Errorf("write meta: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	ack, err := js.Publish(ctx, bucketSubject(BucketMeta, metaKey), body, natsjs.WithExpectLastSequencePerSubject(m.Revision))
	if overtaken(err) {
		return Meta{}, fmt.Errorf("write meta: %w", ErrMetaChanged)
	}
	if err != nil {
		return Meta{}, fmt.Errorf("write meta: %w", unavailable(err))
	}
	m.Revision = ack.Sequence
	return m, nil
}

// OpenGeneration makes the streams and consumers of the generation after m's and then points the meta
// at it. t tells the new shape; its generation is ignored. Before the meta has changed nobody uses the
// new streams, so a call that was interrupted is simply repeated. The caller has seen to it that the old
// generation is not written any more, and that new ids will be above all old ones.
func OpenGeneration(ctx context.Context, nc *nats.Conn, m Meta, t Topology) (next Meta, drift []string, err error) {
	next = m
	next.Generation, next.Partitions = m.Generation+1, t.Partitions
	t.Generation = next.Generation
	if drift, err = Ensure(ctx, nc, t); err != nil {
		return Meta{}, nil, fmt.Errorf("open generation %d: %w", next.Generation, err)
	}
	for p := range t.Partitions {
		s, err := streamState(ctx, nc, LogStream(Token{next.Generation, p}))
		if err != nil {
			return Meta{}, nil, fmt.Errorf("open generation %d: %w", next.Generation, err)
		}
		if s.Last != 0 {
			return Meta{}, nil, fmt.Errorf("open generation %d: its log %d was written already: %w", next.Generation, p, ErrMetaChanged)
		}
	}
	js, err := natsjs.New(nc)
	if err != nil {
		return Meta{}, nil, fmt.Errorf("open generation %d: %w", next.Generation, err)
	}
	if next, err = writeMeta(ctx, js, next); err != nil {
		return Meta{}, nil, fmt.Errorf("open generation %d: %w", t.Generation, err)
	}
	return next, drift, nil
}

// CheckPosition tells whether a store's position is ahead of what the log holds: the log ends below it,
// or another record stands there. Then the partition has lost records that the store has, and a new
// generation must be opened. A position of an older generation, and one that was trimmed, prove nothing
// against the log.
func CheckPosition(ctx context.Context, r *LogReader, t Token, at chat.Mark) (behind bool, err error) {
	if at.Generation > t.Generation {
		return true, nil
	}
	if at.Generation < t.Generation || at.StreamSeq == 0 {
		return false, nil
	}
	s, err := streamState(ctx, r.nc, LogStream(t))
	if err != nil {
		return false, fmt.Errorf("check position of %s: %w", t, err)
	}
	if s.Last < at.StreamSeq {
		return true, nil
	}
	if s.Messages == 0 || at.StreamSeq < s.First {
		return false, nil
	}
	m, err := leaderGet(ctx, r.nc, LogStream(t), getRequest{Seq: at.StreamSeq})
	if errors.Is(err, errNoMessage) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("check position of %s: %w", t, err)
	}
	if _, isRecord := ConversationOf(m.Subject); !isRecord {
		return at.ID != 0, nil
	}
	return m.Header.Get(HeaderID) != at.ID.String(), nil
}
