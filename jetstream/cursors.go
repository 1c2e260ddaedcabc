package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	cursorTries = 32  // of one compare-and-set; then the caller hears unavailable
	cursorChunk = 500 // keys of one read; the broker takes at most 1,024

	overtakenGap = 2 * time.Millisecond // times the try: spreads the writers of one key
)

// CursorKVConfig is the hot cursors of an installation.
type CursorKVConfig struct {
	NC         *nats.Conn
	Partitions int
	Reg        prometheus.Registerer
}

// CursorKV keeps hot cursors, a bucket per partition. It is safe for concurrent use. A write is durable
// after the next barrier.
type CursorKV struct {
	c       CursorKVConfig
	metrics cursorMetrics
}

// NewCursorKV makes it; the buckets are Ensure's.
func NewCursorKV(c CursorKVConfig) *CursorKV { return &CursorKV{c, newCursorMetrics(c.Reg)} }

func (k *CursorKV) bucket(id chat.ConversationID) string {
	return CursorBucket(id.Partition(k.c.Partitions))
}

// Update replaces a user's cursors in a conversation by what merge makes of them, by compare-and-set:
// merge may be called several times. When it says not to write, nothing is written. The cursors that
// stand afterwards are returned.
func (k *CursorKV) Update(ctx context.Context, id chat.ConversationID, user chat.UserID, merge func(old chat.Cursors) (merged chat.Cursors, write bool)) (chat.Cursors, error) {
	js, err := natsjs.New(k.c.NC)
	if err != nil {
		return chat.Cursors{}, fmt.Errorf("update cursors of %s in %s: %w", user, id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	for try := range cursorTries {
		merged, err := k.tryUpdate(ctx, js, cursorPlace{k.bucket(id), cursorKey(user, id)}, try > 0, merge)
		if err == nil {
			return merged, nil
		}
		if !overtaken(err) {
			return chat.Cursors{}, fmt.Errorf("update cursors of %s in %s: %w", user, id, err)
		}
		k.metrics.conflicts.Inc()
		if err := sleep(ctx, time.Duration(try)*overtakenGap); err != nil {
			return chat.Cursors{}, fmt.Errorf("update cursors of %s in %s: %w", user, id, unavailable(err))
		}
	}
	return chat.Cursors{}, fmt.Errorf("update cursors of %s in %s: %w", user, id, chat.Errorf(chat.Unavailable, "too many at once"))
}

type cursorPlace struct{ bucket, key string }

func (k *CursorKV) tryUpdate(ctx context.Context, js natsjs.JetStream, at cursorPlace, fromLeader bool, merge func(chat.Cursors) (chat.Cursors, bool)) (chat.Cursors, error) {
	subject := bucketSubject(at.bucket, at.key)
	var old chat.Cursors
	var revision uint64
	read := directLast
	if fromLeader { // a replica that is behind would fail every try
		read = leaderLast
	}
	s, err := read(ctx, k.c.NC, bucketStreamName(at.bucket), subject)
	if err != nil && !errors.Is(err, errNoMessage) {
		return chat.Cursors{}, err
	}
	if err == nil {
		revision = s.Seq
		if len(s.Data) > 0 {
			if err := json.Unmarshal(s.Data, &old); err != nil {
				return chat.Cursors{}, fmt.Errorf("value: %w", err)
			}
		}
	}
	merged, write := merge(old)
	if !write {
		return merged, nil
	}
	body, err := json.Marshal(merged)
	if err != nil {
		return chat.Cursors{}, fmt.Errorf("value: %w", err)
	}
	_, err = js.Publish(ctx, subject, body, natsjs.WithExpectLastSequencePerSubject(revision))
	if err != nil && !overtaken(err) {
		return chat.Cursors{}, unavailable(err)
	}
	if err != nil {
		return chat.Cursors{}, err
	}
	k.metrics.updates.Inc()
	return merged, nil
}

// Get reads a user's cursors in several conversations; those that are not hot are left out.
func (k *CursorKV) Get(ctx context.Context, user chat.UserID, ids []chat.ConversationID) (map[chat.ConversationID]chat.Cursors, error) {
	found := make(map[chat.ConversationID]chat.Cursors, len(ids))
	byBucket := map[string][]string{}
	for _, id := range ids {
		byBucket[k.bucket(id)] = append(byBucket[k.bucket(id)], cursorKey(user, id))
	}
	for bucket, keys := range byBucket {
		err := k.read(ctx, bucket, keys, func(c CursorChange) { found[c.ConversationID] = c.Cursors })
		if err != nil {
			return nil, fmt.Errorf("read cursors of %s: %w", user, err)
		}
	}
	return found, nil
}

// In reads several users' cursors in a conversation; those that are not hot are left out.
func (k *CursorKV) In(ctx context.Context, id chat.ConversationID, users []chat.UserID) (map[chat.UserID]chat.Cursors, error) {
	found := make(map[chat.UserID]chat.Cursors, len(users))
	keys := make([]string, 0, len(users))
	for _, u := range users {
		keys = append(keys, cursorKey(u, id))
	}
	err := k.read(ctx, k.bucket(id), keys, func(c CursorChange) { found[c.UserID] = c.Cursors })
	if err != nil {
		return nil, fmt.Errorf("read cursors in %s: %w", id, err)
	}
	return found, nil
}

func (k *CursorKV) read(ctx context.Context, bucket string, keys []string, f func(CursorChange)) error {
	for len(keys) > 0 {
		n := min(len(keys), cursorChunk)
		subjects := make([]string, 0, n)
		for _, key := range keys[:n] {
			subjects = append(subjects, bucketSubject(bucket, key))
		}
		keys = keys[n:]
		var bad error
		err := directGet(ctx, k.c.NC, bucketStreamName(bucket), getRequest{MultiLast: subjects}, func(s stored) error {
			c, ok, err := decodeCursor(s.Subject, s.Data, s.Seq)
			if ok {
				f(c)
			}
			bad = errors.Join(bad, err)
			return nil
		})
		if err = errors.Join(err, bad); err != nil {
			return err
		}
	}
	return nil
}

// CursorChange is one write of the bucket: a person's cursors in one conversation after it.
type CursorChange struct {
	StreamSeq      uint64
	ConversationID chat.ConversationID
	UserID         chat.UserID
	Cursors        chat.Cursors
}

// decodeCursor reads a message of a cursor bucket; ok is false for a marker of a deletion.
func decodeCursor(subject string, data []byte, seq uint64) (c CursorChange, ok bool, err error) {
	if len(data) == 0 {
		return CursorChange{}, false, nil
	}
	head, conversation := cutLast(subject)
	_, person := cutLast(head)
	user, err := chat.ParseUserID(person)
	if err != nil {
		return CursorChange{}, false, fmt.Errorf("cursor at %d: %w", seq, err)
	}
	id, err := chat.ParseConversationID(conversation)
	if err != nil {
		return CursorChange{}, false, fmt.Errorf("cursor at %d: %w", seq, err)
	}
	c = CursorChange{StreamSeq: seq, ConversationID: id, UserID: user}
	if err := json.Unmarshal(data, &c.Cursors); err != nil {
		return CursorChange{}, false, fmt.Errorf("cursor at %d: %w", seq, err)
	}
	return c, true, nil
}

// cutLast splits the last token off a subject.
func cutLast(subject string) (before, last string) {
	i := strings.LastIndexByte(subject, '.')
	return subject[:max(i, 0)], subject[i+1:]
}
