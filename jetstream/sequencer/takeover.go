package sequencer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
)

// fenceLength is one more than any group: after the batch, the log's end lies above every expectation
// that any former owner can have in flight.
const fenceLength = groupMost + 1

const (
	fenceWithin = 5 * time.Second // for the answer to a fence
	backoffMin  = 100 * time.Millisecond
	backoffMax  = 2 * time.Second
)

// resolve finds out what became of an unknown group and brings the rest into the log, with the same seqs,
// ids and bytes. It returns nil when all of it is committed and durable; an error is final.
func (k *committer) resolve(ctx context.Context, reason string, records []record) error {
	for wait := time.Duration(0); reason != ""; wait = min(max(2*wait, backoffMin), backoffMax) {
		// Not at once when it happens again: each fence takes its room in the log.
		if err := pause(ctx, wait); err != nil {
			return err
		}
		from := k.last + 1
		end, err := k.takeOver(ctx, reason)
		if err != nil {
			return err
		}
		stood, err := k.reread(ctx, from, end, records)
		if err != nil {
			return err
		}
		k.last, k.mark = end, chat.Mark{Generation: k.s.c.Token.Generation, StreamSeq: end}
		clear(k.terms)
		if stood > 0 {
			wait = 0
		}
		records, reason = records[stood:], ""
		if len(records) > 0 {
			if reason = k.publish(ctx, records); reason == "" {
				return k.barrier(ctx)
			}
		}
	}
	return nil
}

// takeOver begins a new term and fences, until it has succeeded: then everything up to the end that it
// returns is final and durable, and nothing older can arrive. It gives up only when another owner is found.
func (k *committer) takeOver(ctx context.Context, reason string) (end uint64, err error) {
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		k.s.m.takeovers.WithLabelValues(reason).Inc()
		end, err = k.retakeAndFence(ctx)
		switch {
		case err == nil:
			return end, k.barrier(ctx)
		case errors.Is(err, ErrOvertaken):
			return 0, err
		}
		k.s.c.Log.Warn("takeover failed: trying again", slog.String("partition", k.s.c.Token.String()),
			slog.String("reason", reason), slog.Any("error", err))
		if err := pause(ctx, wait); err != nil {
			return 0, err
		}
	}
}

func (k *committer) retakeAndFence(ctx context.Context) (end uint64, err error) {
	term, err := k.s.c.Lease.Retake(ctx)
	if errors.Is(err, jetstream.ErrLeaseHeld) {
		return 0, fmt.Errorf("%w: %w", ErrOvertaken, err)
	}
	if err != nil {
		return 0, err
	}
	return k.fence(ctx, term)
}

// fence commits one atomic batch of fences behind the leader's last record. The end is read before the
// newest term: whatever is written in between makes the batch fail.
func (k *committer) fence(ctx context.Context, term uint64) (end uint64, err error) {
	k.term = term
	k.terms[term] = true
	if err := k.newInbox(); err != nil {
		return 0, err
	}
	last, err := k.s.c.Reader.LastFromLeader(ctx, k.s.c.Token)
	if err != nil {
		return 0, err
	}
	if err := k.checkTerm(ctx); err != nil {
		return 0, err
	}
	prefix := k.round()
	batch := k.s.c.NC.NewInbox() // unique, and short enough
	for i := 1; i <= fenceLength; i++ {
		m := jetstream.FenceMsg(k.s.c.Token, term)
		m.Header["Nats-Batch-Id"] = []string{batch}
		m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i)}
		switch i {
		case 1:
			m.Header[nats.ExpectedLastSeqHdr] = []string{strconv.FormatUint(last, 10)}
			m.Reply = prefix + "first"
		case fenceLength:
			m.Header["Nats-Batch-Commit"] = []string{"1"}
			m.Reply = prefix + "commit"
		}
		if err := k.s.c.publish(m); err != nil {
			return 0, fmt.Errorf("publish fence: %w", err)
		}
		k.written += int64(len(m.Subject) + headerBytes(m.Header) + messageOverhead)
	}
	end, err = k.fenced(ctx, prefix)
	if err != nil {
		return 0, err
	}
	if end != last+fenceLength {
		return 0, fmt.Errorf("fence after %d ends at %d", last, end)
	}
	return end, nil
}

// checkTerm stops an owner that is none any more. Terms rise for ever: a lower one than the log's means
// that another has taken over, or that the leases were lost and the log was not.
func (k *committer) checkTerm(ctx context.Context) error {
	highest, err := k.s.c.Reader.FenceFromLeader(ctx, k.s.c.Token)
	if err != nil {
		return err
	}
	if highest > k.term {
		return fmt.Errorf("%w: term %d stands in the log, this one has %d", ErrOvertaken, highest, k.term)
	}
	return nil
}

// fenced waits for the answer to a fence's last message; one to its first is an early refusal.
func (k *committer) fenced(ctx context.Context, prefix string) (end uint64, err error) {
	limit := time.NewTimer(fenceWithin)
	defer limit.Stop()
	for {
		select {
		case m := <-k.answers:
			if m.Subject != prefix+"first" && m.Subject != prefix+"commit" {
				continue
			}
			end, err := answered(m)
			if errors.Is(err, errAccepted) {
				continue
			}
			if err != nil {
				return 0, fmt.Errorf("fence refused: %w", err)
			}
			return end, nil
		case <-limit.C:
			return 0, errors.New("no answer to the fence")
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// reread finds which of the records stand in from..end: always a prefix of them. Anything else there but
// this owner's own fences was written by another.
func (k *committer) reread(ctx context.Context, from, end uint64, records []record) (stood int, err error) {
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		stood = 0
		err := k.s.c.Reader.Scan(ctx, k.s.c.Token, from, end, func(entries []chat.Entry) error {
			for i := range entries {
				if err := k.recognise(&entries[i], records, &stood); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			return stood, nil
		}
		if errors.Is(err, ErrOvertaken) || errors.Is(err, jetstream.ErrNotInLog) {
			return 0, err
		}
		if err := pause(ctx, wait); err != nil {
			return 0, err
		}
	}
}

func (k *committer) recognise(e *chat.Entry, records []record, stood *int) error {
	if e.Kind == chat.KindFence {
		if !k.terms[e.Term] {
			return fmt.Errorf("%w: a fence of term %d stands at %d", ErrOvertaken, e.Term, e.StreamSeq)
		}
		return nil
	}
	if *stood < len(records) {
		own := &records[*stood].entry
		if own.ID == e.ID && own.Seq == e.Seq && own.ConversationID == e.ConversationID {
			own.StreamSeq, own.Term = e.StreamSeq, e.Term
			*stood++
			return nil
		}
	}
	return fmt.Errorf("%w: a record of term %d stands at %d", ErrOvertaken, e.Term, e.StreamSeq)
}

func pause(ctx context.Context, wait time.Duration) error {
	if wait == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
