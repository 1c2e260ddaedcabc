package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// ownConsumers are the durable consumers that only parley's own loops may use.
func ownConsumers() []string {
	return []string{ConsumerPersist, ConsumerRoster, ConsumerFanout, ConsumerPresence}
}

const (
	leastRevocationLife = 15 * time.Minute
	revocationBytes     = 256 << 20 // bounds every edge's memory of revoked sessions, about 1.5 million
	deadBytes           = 1 << 30   // full: the consumer that has a dead letter waits and says so
	mostAckPending      = 16_384    // above two batches of any loop
	presenceBytes       = 256 << 20 // of memory, per shard; some 700,000 connections. Full: who comes then stays offline
	edgesBytes          = 16 << 20
	memoryBytes         = (PresenceShards+1)*presenceBytes + 2*edgesBytes // what all streams in memory may reserve, and one that is asked for again
	redeliverAfter      = time.Minute
)

// Topology is what an installation's broker holds for one generation.
type Topology struct {
	Generation     uint32
	Partitions     int
	LogMaxBytes    int64         // of each partition's log; a full log refuses, it never drops
	Replicas       int           // 0 means 1
	RevocationLife time.Duration // at least the life of an access token; below 15 minutes means 15 minutes
}

func (t Topology) replicas() int { return max(t.Replicas, 1) }

// Ensure creates every stream, bucket and consumer that is absent and reports where those that exist
// differ. It alters nothing: a difference is the operator's to judge. What it made is durable only
// after the next barrier.
func Ensure(ctx context.Context, nc *nats.Conn, t Topology) (drift []string, err error) {
	if t.Partitions < 1 || t.Generation < 1 || t.LogMaxBytes < 1 {
		return nil, fmt.Errorf("ensure topology: generation %d, partitions %d, log bytes %d: each must be positive", t.Generation, t.Partitions, t.LogMaxBytes)
	}
	js, err := natsjs.New(nc)
	if err != nil {
		return nil, fmt.Errorf("ensure topology: %w", err)
	}
	for _, want := range t.streams() {
		d, err := ensureStream(ctx, js, want)
		if err != nil {
			return nil, err
		}
		drift = append(drift, d...)
	}
	for _, want := range t.consumers() {
		d, err := ensureConsumer(ctx, js, want.stream, want.config)
		if err != nil {
			return nil, err
		}
		drift = append(drift, d...)
	}
	return drift, nil
}

// streams lists the logs, the buckets and the dead letters.
func (t Topology) streams() []natsjs.StreamConfig {
	all := []natsjs.StreamConfig{
		metaStream(t.replicas()),
		bucketStream(BucketLeases, t.replicas(), 0, 64<<20),
		bucketStream(BucketRevocations, t.replicas(), max(t.RevocationLife, leastRevocationLife), revocationBytes),
		memoryBucket(BucketEdges, t.replicas(), edgesBytes),
		t.deadStream(),
	}
	for shard := range PresenceShards {
		all = append(all, memoryBucket(PresenceBucket(shard), t.replicas(), presenceBytes))
	}
	for p := range t.Partitions {
		all = append(all, t.logStream(p), bucketStream(CursorBucket(p), t.replicas(), 0, -1))
	}
	return all
}

func (t Topology) logStream(partition int) natsjs.StreamConfig {
	token := Token{t.Generation, partition}
	return natsjs.StreamConfig{
		Name:               LogStream(token),
		Description:        "records of partition " + token.String(),
		Subjects:           []string{RecordSubjects(token)},
		Retention:          natsjs.LimitsPolicy,
		Storage:            natsjs.FileStorage,
		Replicas:           t.replicas(),
		Discard:            natsjs.DiscardNew,
		MaxBytes:           t.LogMaxBytes,
		MaxMsgs:            -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         maxPayload,
		MaxConsumers:       mostConsumers,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		DenyDelete:         true,
	}
}

func (t Topology) deadStream() natsjs.StreamConfig {
	return natsjs.StreamConfig{
		Name:              StreamDead,
		Description:       "records that a consumer could not take, with its reason; nothing expires",
		Subjects:          []string{subjectDead + ">"},
		Retention:         natsjs.LimitsPolicy,
		Storage:           natsjs.FileStorage,
		Replicas:          t.replicas(),
		Discard:           natsjs.DiscardNew,
		MaxBytes:          deadBytes,
		MaxMsgs:           -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		AllowDirect:       true,
	}
}

func metaStream(replicas int) natsjs.StreamConfig {
	return bucketStream(BucketMeta, replicas, 0, 1<<20)
}

// bucketStream is a key-value bucket, spelled as the stream that it is: one value per key, in a file.
func bucketStream(bucket string, replicas int, life time.Duration, bytes int64) natsjs.StreamConfig {
	return natsjs.StreamConfig{
		Name:              bucketStreamName(bucket),
		Subjects:          []string{bucketSubject(bucket, ">")},
		Retention:         natsjs.LimitsPolicy,
		Storage:           natsjs.FileStorage,
		Replicas:          replicas,
		Discard:           natsjs.DiscardNew,
		MaxBytes:          bytes,
		MaxAge:            life,
		MaxMsgs:           -1,
		MaxMsgsPerSubject: 1,
		MaxMsgSize:        4096,
		MaxConsumers:      mostConsumers,
		AllowRollup:       true,
		AllowDirect:       true,
		DenyDelete:        true,
	}
}

// memoryBucket is a bucket whose content ends with the brokers: who is online is told again. Removals expire.
func memoryBucket(bucket string, replicas int, bytes int64) natsjs.StreamConfig {
	config := bucketStream(bucket, replicas, 0, bytes)
	config.Storage = natsjs.MemoryStorage
	config.AllowMsgTTL = true
	return config
}

type wantedConsumer struct {
	stream string
	config natsjs.ConsumerConfig
}

func (t Topology) consumers() []wantedConsumer {
	var all []wantedConsumer
	for p := range t.Partitions {
		log := LogStream(Token{t.Generation, p})
		for _, name := range []string{ConsumerPersist, ConsumerRoster, ConsumerFanout} {
			all = append(all, wantedConsumer{log, durable(name)})
		}
		for _, name := range []string{ConsumerPresence, ConsumerFanout} {
			all = append(all, wantedConsumer{bucketStreamName(CursorBucket(p)), durable(name)})
		}
	}
	return all
}

// durable has no MaxDeliver: in an outage the server would skip what was tried too often.
func durable(name string) natsjs.ConsumerConfig {
	return natsjs.ConsumerConfig{
		Durable:       name,
		DeliverPolicy: natsjs.DeliverAllPolicy,
		AckPolicy:     natsjs.AckAllPolicy,
		AckWait:       redeliverAfter,
		MaxDeliver:    -1,
		MaxAckPending: mostAckPending,
		ReplayPolicy:  natsjs.ReplayInstantPolicy,
	}
}

func ensureStream(ctx context.Context, js natsjs.JetStream, want natsjs.StreamConfig) (drift []string, err error) {
	_, err = js.CreateStream(ctx, want)
	if err == nil {
		return nil, nil
	}
	if !errors.Is(err, natsjs.ErrStreamNameAlreadyInUse) {
		return nil, fmt.Errorf("ensure stream %s: %w", want.Name, err)
	}
	s, err := js.Stream(ctx, want.Name)
	if err != nil {
		return nil, fmt.Errorf("ensure stream %s: %w", want.Name, err)
	}
	return streamDrift(s.CachedInfo().Config, want), nil
}

// streamDrift names every setting of ours that differs.
func streamDrift(have, want natsjs.StreamConfig) []string {
	return differences("stream "+want.Name, []setting{
		{"subjects", fmt.Sprint(have.Subjects), fmt.Sprint(want.Subjects)},
		{"retention", have.Retention, want.Retention},
		{"storage", have.Storage, want.Storage},
		{"num_replicas", have.Replicas, want.Replicas},
		{"discard", have.Discard, want.Discard},
		{"max_bytes", have.MaxBytes, want.MaxBytes},
		{"max_age", have.MaxAge, want.MaxAge},
		{"max_msgs", have.MaxMsgs, want.MaxMsgs},
		{"max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject},
		{"max_msg_size", have.MaxMsgSize, want.MaxMsgSize},
		{"max_consumers", have.MaxConsumers, want.MaxConsumers},
		{"allow_direct", have.AllowDirect, want.AllowDirect},
		{"allow_atomic", have.AllowAtomicPublish, want.AllowAtomicPublish},
		{"allow_rollup_hdrs", have.AllowRollup, want.AllowRollup},
		{"deny_delete", have.DenyDelete, want.DenyDelete},
		{"deny_purge", have.DenyPurge, want.DenyPurge},
		{"sealed", have.Sealed, want.Sealed},
		{"allow_msg_ttl", have.AllowMsgTTL, want.AllowMsgTTL},
	})
}

func ensureConsumer(ctx context.Context, js natsjs.JetStream, stream string, want natsjs.ConsumerConfig) (drift []string, err error) {
	c, err := js.Consumer(ctx, stream, want.Durable)
	if errors.Is(err, natsjs.ErrConsumerNotFound) {
		c, err = js.CreateConsumer(ctx, stream, want)
	}
	if err != nil {
		return nil, fmt.Errorf("ensure consumer %s of %s: %w", want.Durable, stream, err)
	}
	have := c.CachedInfo().Config
	return differences("consumer "+want.Durable+" of "+stream, []setting{
		{"deliver_policy", have.DeliverPolicy, want.DeliverPolicy},
		{"ack_policy", have.AckPolicy, want.AckPolicy},
		{"ack_wait", have.AckWait, want.AckWait},
		{"max_deliver", have.MaxDeliver, want.MaxDeliver},
		{"max_ack_pending", have.MaxAckPending, want.MaxAckPending},
		{"filter_subject", have.FilterSubject, want.FilterSubject},
	}), nil
}

type setting struct {
	name       string
	have, want any
}

func differences(subject string, settings []setting) []string {
	var found []string
	for _, s := range settings {
		if s.have != s.want {
			found = append(found, fmt.Sprintf("%s: %s is %v, want %v", subject, s.name, s.have, s.want))
		}
	}
	return found
}

// Bucket opens a bucket that Ensure made.
func Bucket(ctx context.Context, nc *nats.Conn, name string) (natsjs.KeyValue, error) {
	js, err := natsjs.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	kv, err := js.KeyValue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	return kv, nil
}

// CheckReady reads every stream and consumer of the topology for real: the broker's own health report
// comes up to 11 s too early after a full restart.
func CheckReady(ctx context.Context, nc *nats.Conn, t Topology) error {
	for _, s := range t.streams() {
		if err := probeStream(ctx, nc, s.Name); err != nil {
			return fmt.Errorf("read stream %s: %w", s.Name, err)
		}
	}
	js, err := natsjs.New(nc)
	if err != nil {
		return fmt.Errorf("read consumers: %w", err)
	}
	for _, c := range t.consumers() {
		if _, err := js.Consumer(ctx, c.stream, c.config.Durable); err != nil {
			return fmt.Errorf("read consumer %s of %s: %w", c.config.Durable, c.stream, err)
		}
	}
	return nil
}
