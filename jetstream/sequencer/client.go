package sequencer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// Remote reaches the sequencer of a partition in another process. Safe for concurrent use.
type Remote struct {
	nc        *nats.Conn
	partition int
}

// remoteGrace is what a request waits beyond the owner's own limit.
const remoteGrace = 500 * time.Millisecond

// NewRemote makes a client on nc.
func NewRemote(nc *nats.Conn, partition int) *Remote { return &Remote{nc, partition} }

// Submit is Sequencer.Submit. Without an owner the command is unavailable and surely not committed; an
// answer that does not come is unknown_outcome.
func (r *Remote) Submit(ctx context.Context, c conversation.Command) (conversation.Outcome, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return conversation.Outcome{}, chat.Errorf(chat.Invalid, "command can not be encoded")
	}
	var out remoteOutcome
	err = r.request(ctx, jetstream.CommandSubject(r.partition, c.ConversationID), body, &out)
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrConnectionClosed):
		return conversation.Outcome{}, unavailable("the partition has no owner now")
	case err != nil:
		return conversation.Outcome{}, unknownOutcome()
	case out.Error != nil:
		return conversation.Outcome{}, out.Error.err()
	case out.Outcome == nil:
		return conversation.Outcome{}, unknownOutcome()
	}
	return *out.Outcome, nil
}

// Ask is Sequencer.Ask.
func (r *Remote) Ask(ctx context.Context, id chat.ConversationID) (conversation.Answer, error) {
	var out remoteAnswer
	if err := r.request(ctx, jetstream.AskSubject(r.partition, id), nil, &out); err != nil {
		return conversation.Answer{}, absent(err)
	}
	if out.Error != nil {
		return conversation.Answer{}, out.Error.err()
	}
	if out.State == nil {
		return conversation.Answer{}, unavailable("the partition's owner gave no answer")
	}
	tail, err := unpackTail(out.Tail)
	if err != nil {
		return conversation.Answer{}, fmt.Errorf("ask %s: %w", id, err)
	}
	return conversation.Answer{State: *out.State, Generation: out.Generation, Tail: tail, Sends: out.Sends}, nil
}

// Durable waits until everything up to streamSeq is durable and returns the watermark; 0 does not wait.
func (r *Remote) Durable(ctx context.Context, streamSeq uint64) (chat.Mark, error) {
	var out remoteDurable
	body := fmt.Appendf(nil, `{"sequence":%d}`, streamSeq)
	if err := r.request(ctx, jetstream.DurableSubject(r.partition), body, &out); err != nil {
		return chat.Mark{}, absent(err)
	}
	if out.Error != nil {
		return chat.Mark{}, out.Error.err()
	}
	return chat.Mark{Generation: out.Generation, StreamSeq: out.Sequence, ID: out.ID}, nil
}

// WaitDurable is Sequencer.WaitDurable; it asks again until ctx ends.
func (r *Remote) WaitDurable(ctx context.Context, streamSeq uint64) error {
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		_, err := r.Durable(ctx, streamSeq)
		if err == nil || chat.KindOf(err) != chat.Unavailable {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("wait until stream sequence %d is durable: %w", streamSeq, err)
		}
	}
}

func absent(err error) error {
	return fmt.Errorf("%w: %w", chat.Errorf(chat.Unavailable, "the partition's owner does not answer"), err)
}

func (r *Remote) request(ctx context.Context, subject string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, remoteWithin+remoteGrace)
	defer cancel()
	m, err := r.nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return fmt.Errorf("request %s: %w", subject, err)
	}
	if err := json.Unmarshal(m.Data, out); err != nil {
		return fmt.Errorf("request %s: answer: %w", subject, err)
	}
	return nil
}
