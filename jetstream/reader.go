package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	readBatch = 500     // messages of one request
	readBytes = 4 << 20 // bytes after which the broker ends a batch; bounds what one request buffers
)

// ErrNotInLog means that the leader itself does not hold a record that should be there.
var ErrNotInLog = errors.New("not in the log")

// LogReader reads records by their place. It is safe for concurrent use and keeps nothing between calls.
// Batches are served in the loop of the connection it is given: a partition's writer uses another one.
type LogReader struct{ nc *nats.Conn }

// NewLogReader makes a reader on nc.
func NewLogReader(nc *nats.Conn) *LogReader { return &LogReader{nc} }

// Get reads a conversation's records at places, which ascend. What the answering replica does not hold is
// asked at the leader; what that does not hold either is ErrNotInLog. Other errors pass: chat.Unavailable.
func (r *LogReader) Get(ctx context.Context, generation uint32, id chat.ConversationID, partition int, places []chat.Place) ([]chat.Entry, error) {
	t := Token{generation, partition}
	entries := make([]chat.Entry, 0, len(places))
	for rest := places; len(rest) > 0; {
		got, err := r.getBatch(ctx, t, id, rest[:min(len(rest), readBatch)])
		if err != nil {
			return nil, fmt.Errorf("read %s in %s: %w", id, t, err)
		}
		if len(got) == 0 {
			one, err := r.getFromLeader(ctx, t, id, rest[0])
			if err != nil {
				return nil, fmt.Errorf("read %s in %s: %w", id, t, err)
			}
			got = append(got, one)
		}
		entries = append(entries, got...)
		rest = rest[len(got):]
	}
	return entries, nil
}

// getBatch gives the records of a prefix of places: one walk along the conversation's subject. The walk
// may step on records between two places; those are dropped.
func (r *LogReader) getBatch(ctx context.Context, t Token, id chat.ConversationID, places []chat.Place) ([]chat.Entry, error) {
	subject := RecordSubject(t, id)
	entries := make([]chat.Entry, 0, len(places))
	ended := false
	request := getRequest{Seq: places[0].StreamSeq, NextFor: subject, Batch: len(places), MaxBytes: readBytes}
	err := directGet(ctx, r.nc, LogStream(t), request, func(m stored) error {
		if ended || len(entries) == len(places) {
			return nil
		}
		want := places[len(entries)]
		if m.Seq < want.StreamSeq {
			return nil
		}
		if m.Seq > want.StreamSeq {
			ended = true // the replica has no message there: the caller asks the leader
			return nil
		}
		e, err := placedEntry(t, m, want)
		if err != nil {
			return err
		}
		entries = append(entries, e)
		return nil
	})
	return entries, err
}

func (r *LogReader) getFromLeader(ctx context.Context, t Token, id chat.ConversationID, want chat.Place) (chat.Entry, error) {
	m, err := leaderGet(ctx, r.nc, LogStream(t), getRequest{Seq: want.StreamSeq})
	if errors.Is(err, errNoMessage) || errors.Is(err, errNoStream) {
		return chat.Entry{}, fmt.Errorf("record %d at %d: %w: %w", want.Seq, want.StreamSeq, ErrNotInLog, err)
	}
	if err != nil {
		return chat.Entry{}, err
	}
	if m.Subject != RecordSubject(t, id) {
		return chat.Entry{}, fmt.Errorf("record %d at %d: another conversation's record stands there: %w", want.Seq, want.StreamSeq, ErrNotInLog)
	}
	return placedEntry(t, m, want)
}

// placedEntry decodes a message and checks that it is the record that the place names.
func placedEntry(t Token, m stored, want chat.Place) (chat.Entry, error) {
	e, err := DecodeEntry(m.Subject, m.Header, m.Data, t.Generation, m.Seq)
	if err != nil {
		return chat.Entry{}, err
	}
	if e.Seq != want.Seq {
		return chat.Entry{}, fmt.Errorf("record %d at %d: seq %d stands there: %w", want.Seq, want.StreamSeq, e.Seq, ErrNotInLog)
	}
	return e, nil
}

// LastFromLeader is the last stream sequence that the leader has given.
func (r *LogReader) LastFromLeader(ctx context.Context, t Token) (last uint64, err error) {
	s, err := streamState(ctx, r.nc, LogStream(t))
	if err != nil {
		return 0, fmt.Errorf("last sequence of %s: %w", t, err)
	}
	return s.Last, nil
}

// First is the first stream sequence that the log still holds; one past the last when it holds none.
func (r *LogReader) First(ctx context.Context, t Token) (first uint64, err error) {
	s, err := streamState(ctx, r.nc, LogStream(t))
	if err != nil {
		return 0, fmt.Errorf("first sequence of %s: %w", t, err)
	}
	if s.Messages == 0 {
		return s.Last + 1, nil
	}
	return s.First, nil
}

// Size is the number of bytes that the log takes now.
func (r *LogReader) Size(ctx context.Context, t Token) (int64, error) {
	s, err := streamState(ctx, r.nc, LogStream(t))
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", t, err)
	}
	return int64(s.Bytes), nil
}

// FenceFromLeader is the highest term that the leader knows of: of the newest fence, and, as fences are
// trimmed with the rest, of the newest message. 0 when there is neither.
func (r *LogReader) FenceFromLeader(ctx context.Context, t Token) (term uint64, err error) {
	for _, subject := range []string{FenceSubject(t), RecordSubjects(t)} {
		m, err := leaderGet(ctx, r.nc, LogStream(t), getRequest{LastFor: subject})
		if errors.Is(err, errNoMessage) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("newest term of %s: %w", t, err)
		}
		term = max(term, TermOf(m.Header))
	}
	return term, nil
}

// Scan hands every record and fence with from <= stream sequence <= to to f, in order and in batches,
// or returns an error: a sequence that is missing is one, and so is a record of a kind that changes a
// conversation's state and can not be read. Of messages, edits and deletes that can not be read, f sees
// what their headers tell.
func (r *LogReader) Scan(ctx context.Context, t Token, from, to uint64, f func([]chat.Entry) error) error {
	for next := from; next <= to; {
		batch, err := r.scanBatch(ctx, t, next, to)
		if err != nil {
			return fmt.Errorf("scan %s from %d to %d: %w", t, from, to, err)
		}
		if err := f(batch); err != nil {
			return fmt.Errorf("scan %s from %d to %d: %w", t, from, to, err)
		}
		next += uint64(len(batch))
	}
	return nil
}

// scanBatch reads at least the message at from: a replica that is behind gives nothing, then the leader is asked.
func (r *LogReader) scanBatch(ctx context.Context, t Token, from, to uint64) ([]chat.Entry, error) {
	size := int(min(to-from+1, readBatch))
	messages := make([]stored, 0, size)
	request := getRequest{Seq: from, Batch: size, MaxBytes: readBytes}
	err := directGet(ctx, r.nc, LogStream(t), request, func(m stored) error {
		messages = append(messages, m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(messages) == 0 {
		m, err := leaderGet(ctx, r.nc, LogStream(t), getRequest{Seq: from})
		if errors.Is(err, errNoMessage) {
			return nil, fmt.Errorf("sequence %d: %w", from, ErrNotInLog)
		}
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	entries := make([]chat.Entry, 0, len(messages))
	for i, m := range messages {
		if m.Seq != from+uint64(i) {
			return nil, fmt.Errorf("sequence %d is missing, %d follows: %w", from+uint64(i), m.Seq, ErrNotInLog)
		}
		e, err := DecodeEntry(m.Subject, m.Header, m.Data, t.Generation, m.Seq)
		if err != nil && !stateless(e.Kind) {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// stateless kinds change nothing in a conversation but its head, which the headers hold.
func stateless(k chat.RecordKind) bool {
	return slices.Contains([]chat.RecordKind{chat.KindMessage, chat.KindEdit, chat.KindDelete}, k)
}
