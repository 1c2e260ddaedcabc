package sequencer

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

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
)

// committer brings groups into the log. It is used by one goroutine at a time: the owner's while it
// starts, then its own; the owner reads its results only while no group is in flight.
type committer struct {
	s    *Sequencer
	term uint64
	last uint64    // the log's last stream sequence, as far as this owner has written or read it
	mark chat.Mark // of last, durable

	inbox   string // of this term
	answers chan *nats.Msg
	sub     *nats.Subscription
	rounds  uint64          // publishes so far: part of each reply subject
	terms   map[uint64]bool // taken since last: whose fences may stand above it

	written int64 // bytes given to the log since the owner last looked
}

const answerBuffer = 4 * groupMost

func newCommitter(s *Sequencer) *committer {
	return &committer{s: s, answers: make(chan *nats.Msg, answerBuffer), terms: make(map[uint64]bool)}
}

// commitGroups commits what the owner hands over until it closes the channel.
func (o *owner) commitGroups(ctx context.Context) {
	for g := range o.groups {
		o.results <- o.committer.commit(ctx, g)
	}
}

// commit returns nil once all records of the group stand in the log, durable, with their stream sequences
// filled in. An error is final: what of the group stands is not known.
func (k *committer) commit(ctx context.Context, g *group) error {
	reason := g.reason
	if reason == "" {
		reason = k.publish(ctx, g.records)
	}
	if reason != "" {
		return k.resolve(ctx, reason, g.records)
	}
	return k.barrier(ctx)
}

// publish sends records, each expecting the sequence before it, and waits for their answers. Only when
// each answer names exactly the expected sequence is the group in the log; anything else is a reason to
// take over: the whole group is unknown then.
func (k *committer) publish(ctx context.Context, records []record) (reason string) {
	began := time.Now()
	prefix := k.round()
	for i := range records {
		e := &records[i].entry
		e.Term = k.term
		m := jetstream.EncodeEntry(k.s.c.Token, e)
		m.Header[nats.ExpectedLastSeqHdr] = []string{strconv.FormatUint(k.last+uint64(i), 10)}
		m.Reply = prefix + strconv.Itoa(i)
		if err := k.s.c.publish(m); err != nil {
			k.doubt("publish", err)
			return "publish"
		}
		k.written += int64(len(m.Subject) + headerBytes(m.Header) + len(m.Data) + messageOverhead)
	}
	if reason := k.collect(ctx, prefix, len(records)); reason != "" {
		return reason
	}
	for i := range records {
		records[i].entry.StreamSeq = k.last + 1 + uint64(i)
	}
	k.last += uint64(len(records))
	k.mark = chat.Mark{Generation: k.s.c.Token.Generation, StreamSeq: k.last, ID: records[len(records)-1].entry.ID}
	k.s.m.publish.Observe(time.Since(began).Seconds())
	return ""
}

func headerBytes(h nats.Header) int {
	size := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		size += len(name) + len(values[0]) + len(": \r\n")
	}
	return size
}

// round is the reply subject of a publish, but for the number of the message.
func (k *committer) round() string {
	k.rounds++
	return k.inbox + "." + strconv.FormatUint(k.rounds, 10) + "."
}

// collect waits for the answers to count messages. Answers of earlier rounds are not ours.
func (k *committer) collect(ctx context.Context, prefix string, count int) (reason string) {
	seen := make([]bool, count)
	quiet := time.NewTimer(k.s.b.silence)
	defer quiet.Stop()
	heard := false
	for left := count; left > 0; {
		select {
		case m := <-k.answers:
			number, ours := strings.CutPrefix(m.Subject, prefix)
			if !ours {
				continue
			}
			heard = true
			seq, err := answered(m)
			if err != nil {
				k.doubt("refused", err)
				return "refused"
			}
			i, err := strconv.Atoi(number)
			if err != nil || i < 0 || i >= count || seen[i] || seq != k.last+1+uint64(i) {
				k.doubt("gap", fmt.Errorf("answer %s says %d after %d", number, seq, k.last))
				return "gap"
			}
			seen[i] = true
			left--
		case <-quiet.C:
			if !heard {
				k.doubt("silence", fmt.Errorf("%d of %d answers are missing", left, count))
				return "silence"
			}
			heard = false
			quiet.Reset(k.s.b.silence)
		case <-ctx.Done():
			return "stop"
		}
	}
	return ""
}

func (k *committer) doubt(reason string, err error) {
	k.s.c.Log.Warn("outcome unknown: taking over", slog.String("partition", k.s.c.Token.String()),
		slog.String("reason", reason), slog.Uint64("term", k.term), slog.Any("error", err))
}

// answered reads the broker's answer to one message.
func answered(m *nats.Msg) (seq uint64, err error) {
	if len(m.Data) == 0 {
		if status := m.Header.Get("Status"); status != "" {
			return 0, fmt.Errorf("status %s", status)
		}
		return 0, errAccepted
	}
	var a struct {
		Seq       uint64 `json:"seq"`
		Duplicate bool   `json:"duplicate"`
		Error     *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return 0, fmt.Errorf("answer: %w", err)
	}
	if a.Error != nil {
		return 0, fmt.Errorf("%s (%d)", a.Error.Description, a.Error.Code)
	}
	if a.Duplicate {
		return 0, errors.New("taken for a repeat")
	}
	return a.Seq, nil
}

// errAccepted is the empty answer to a message of a batch that is not committed yet.
var errAccepted = errors.New("accepted into a batch")

// barrier makes what was written durable. Its failure is final.
func (k *committer) barrier(ctx context.Context) error {
	began := time.Now()
	err := k.s.c.Barrier.Sync(ctx)
	k.s.m.barrier.Observe(time.Since(began).Seconds())
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrBarrier, err)
}

// newInbox makes answers of former terms land nowhere.
func (k *committer) newInbox() error {
	k.close()
	k.inbox = k.s.c.NC.NewInbox()
	sub, err := k.s.c.NC.ChanSubscribe(k.inbox+".*.*", k.answers)
	if err != nil {
		return fmt.Errorf("subscribe to answers: %w", err)
	}
	k.sub = sub
	return nil
}

func (k *committer) close() {
	if k.sub != nil {
		_ = k.sub.Unsubscribe() // fails only on a closed connection
		k.sub = nil
	}
}
