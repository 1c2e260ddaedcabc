package jetstream

import (
	"fmt"
	"strings"

	"github.com/parley-chat/parley/pkg/chat"
)

// Token names one partition in one generation: the opaque <p> of streams and subjects, "g1p0".
type Token struct {
	Generation uint32
	Partition  int
}

// String is the token as it stands in names.
func (t Token) String() string { return fmt.Sprintf("g%dp%d", t.Generation, t.Partition) }

// Subjects. Only ids made by chat's parsers reach them.
const (
	subjectCommand = "parley.cmd."
	subjectAsk     = "parley.ask."
	subjectDurable = "parley.durable."
	subjectLog     = "parley.log."
	subjectEdge    = "parley.edge."
	subjectSignal  = "parley.signal."
	subjectPresent = "parley.presence."
	subjectDead    = "parley.dead."

	// FenceToken takes the place of a conversation in the subject of fence records.
	FenceToken = "fence"
)

// LogStream is the stream that holds a partition's records.
func LogStream(t Token) string { return "LOG_" + t.String() }

// RecordSubject is where a conversation's records stand.
func RecordSubject(t Token, id chat.ConversationID) string {
	return subjectLog + t.String() + "." + string(id)
}

// RecordSubjects matches every record and fence of a partition.
func RecordSubjects(t Token) string { return subjectLog + t.String() + ".>" }

// FenceSubject is where a partition's fences stand.
func FenceSubject(t Token) string { return subjectLog + t.String() + "." + FenceToken }

// CommandSubject takes commands for one conversation; p is the partition's number, not a generation.
func CommandSubject(partition int, id chat.ConversationID) string {
	return fmt.Sprintf("%s%d.%s", subjectCommand, partition, id)
}

// AskSubject takes questions about one conversation.
func AskSubject(partition int, id chat.ConversationID) string {
	return fmt.Sprintf("%s%d.%s", subjectAsk, partition, id)
}

// CommandSubjects and AskSubjects match every conversation of a partition.
func CommandSubjects(partition int) string { return fmt.Sprintf("%s%d.*", subjectCommand, partition) }

// AskSubjects matches the questions of a partition.
func AskSubjects(partition int) string { return fmt.Sprintf("%s%d.*", subjectAsk, partition) }

// DurableSubject answers once the watermark of a partition has passed the sequence asked for.
func DurableSubject(partition int) string { return fmt.Sprintf("%s%d", subjectDurable, partition) }

// EdgeSubject is where an edge hears its deliveries.
func EdgeSubject(edge string) string { return subjectEdge + edge }

// SignalSubject takes what is never stored about one conversation (typing): core NATS, no answer.
func SignalSubject(partition int, id chat.ConversationID) string {
	return fmt.Sprintf("%s%d.%s", subjectSignal, partition, id)
}

// SignalSubjects match every conversation of a partition.
func SignalSubjects(partition int) string { return fmt.Sprintf("%s%d.*", subjectSignal, partition) }

// PresenceSubject is where the owner of a shard of people is asked to watch, renew and look.
func PresenceSubject(shard int) string { return fmt.Sprintf("%s%d", subjectPresent, shard) }

// ConversationOf reads the conversation from a record, command or ask subject; ok is false for fences.
func ConversationOf(subject string) (id chat.ConversationID, ok bool) {
	last := subject[strings.LastIndexByte(subject, '.')+1:]
	id, err := chat.ParseConversationID(last)
	return id, err == nil
}

// Buckets and other streams.
const (
	BucketLeases      = "PARLEY_LEASES"
	BucketMeta        = "PARLEY_META"
	BucketRevocations = "PARLEY_REVOKED"
	BucketEdges       = "PARLEY_EDGES" // an edge's sign of life, key <edge>
	StreamDead        = "PARLEY_DEAD"
)

// PresenceShards is into how many parts people are divided for presence. It is fixed: every process must agree.
const PresenceShards = 4

// PresenceBucket holds the connections of a shard's people, key <user>.<edge>-<run>-<number>.
func PresenceBucket(shard int) string { return fmt.Sprintf("PARLEY_PRESENCE_%d", shard) }

// CursorBucket holds the hot cursors of a partition, key <user>.<conversation>.
func CursorBucket(partition int) string { return fmt.Sprintf("PARLEY_CURSORS_%d", partition) }

// A bucket is a stream; its keys are the last tokens of its subjects.
func bucketStreamName(bucket string) string   { return "KV_" + bucket }
func bucketSubject(bucket, key string) string { return "$KV." + bucket + "." + key }
func cursorKey(user chat.UserID, id chat.ConversationID) string {
	return string(user) + "." + string(id)
}

// Durable consumers of a log, by the role that owns them.
const (
	ConsumerPersist = "persist"
	ConsumerRoster  = "roster"
	ConsumerFanout  = "fanout"

	// ConsumerPresence drains a cursor bucket into the store; the bucket has one of fanout as well.
	ConsumerPresence = "presence"
)

// Headers of a record: what consumers route on. Bucket, body hash, term and trace stand nowhere else.
const (
	HeaderKind     = "Parley-Kind"
	HeaderID       = "Parley-Id"
	HeaderSeq      = "Parley-Seq"
	HeaderN        = "Parley-N"
	HeaderSender   = "Parley-Sender"
	HeaderClientID = "Parley-Client-Id"
	HeaderBucket   = "Parley-Bucket"
	HeaderHash     = "Parley-Hash"
	HeaderTerm     = "Parley-Term"
	HeaderTrace    = "Parley-Trace" // a traceparent; under its own name the broker would open every header
)

// Headers that a dead letter has beside those of its record.
const (
	HeaderReason    = "Parley-Reason"
	HeaderSubject   = "Parley-Subject"
	HeaderStreamSeq = "Parley-Stream-Seq"
)

// DeadSubject is where the dead letters of a consumer stand.
func DeadSubject(consumer string, t Token) string {
	return subjectDead + consumer + "." + t.String()
}
