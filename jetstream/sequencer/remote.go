package sequencer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// The remote face: requests of other processes, answered as Submit, Ask and WaitDurable are.
//
//	parley.cmd.<p>.<conversation>  conversation.Command  -> {"outcome":{...}} | {"error":{...}}
//	parley.ask.<p>.<conversation>  (empty)               -> {"answer":{...}}  | {"error":{...}}
//	parley.durable.<p>             {"sequence":n}        -> {"generation","sequence","id"} | {"error":{...}}
//
// The last is answered once everything up to n is durable, with the highest durable sequence.

const (
	remoteAtOnce  = 4096             // requests in the works; beyond: unavailable
	remoteBuffer  = 8192             // requests that wait to be read
	remoteWithin  = 10 * time.Second // for one request; the client waits a little longer
	flushWithin   = 2 * time.Second
	remoteLargest = 2<<20 - 64<<10 // bytes of an answer
)

type remoteError struct {
	Code         chat.Kind `json:"code"`
	Message      string    `json:"message"`
	RetryAfterMS int64     `json:"retry_after_ms,omitzero"`
}

func toRemote(err error) *remoteError {
	e := chat.Public(err)
	return &remoteError{Code: e.Kind, Message: e.Message, RetryAfterMS: e.RetryAfter.Milliseconds()}
}

func (e *remoteError) err() error {
	return &chat.Error{Kind: e.Code, Message: e.Message, RetryAfter: time.Duration(e.RetryAfterMS) * time.Millisecond}
}

type remoteOutcome struct {
	Outcome *conversation.Outcome `json:"outcome,omitzero"`
	Error   *remoteError          `json:"error,omitzero"`
}

type remoteAnswer struct {
	State      *conversation.State         `json:"state,omitzero"`
	Generation uint32                      `json:"generation,omitzero"`
	Tail       []byte                      `json:"tail,omitzero"` // packTail
	Sends      map[chat.UserID]chat.Cursor `json:"sends,omitzero"`
	Error      *remoteError                `json:"error,omitzero"`
}

type remoteDurable struct {
	Generation uint32       `json:"generation,omitzero"`
	Sequence   uint64       `json:"sequence,omitzero"`
	ID         chat.ID      `json:"id,omitzero"`
	Error      *remoteError `json:"error,omitzero"`
}

// packTail writes places as differences: 2 to 4 bytes each.
func packTail(places []chat.Place) []byte {
	var b []byte
	var last chat.Place
	for _, p := range places {
		b = binary.AppendUvarint(b, uint64(p.Seq-last.Seq))
		b = binary.AppendUvarint(b, p.StreamSeq-last.StreamSeq)
		last = p
	}
	return b
}

func unpackTail(b []byte) ([]chat.Place, error) {
	var places []chat.Place
	var last chat.Place
	for len(b) > 0 {
		seq, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errors.New("tail is cut")
		}
		stream, m := binary.Uvarint(b[n:])
		if m <= 0 {
			return nil, errors.New("tail is cut")
		}
		b = b[n+m:]
		last = chat.Place{Seq: last.Seq + chat.Seq(seq), StreamSeq: last.StreamSeq + stream}
		places = append(places, last)
	}
	return places, nil
}

// face serves the remote face while its partition is owned.
type face struct {
	s        *Sequencer
	requests chan *nats.Msg
	subs     []*nats.Subscription
	slots    chan struct{}
	working  sync.WaitGroup
}

func (s *Sequencer) serveRemote() (*face, error) {
	f := &face{s: s, requests: make(chan *nats.Msg, remoteBuffer), slots: make(chan struct{}, remoteAtOnce)}
	p := s.c.Token.Partition
	for _, subject := range []string{jetstream.CommandSubjects(p), jetstream.AskSubjects(p), jetstream.DurableSubject(p)} {
		sub, err := s.c.NC.ChanSubscribe(subject, f.requests)
		if err != nil {
			f.unsubscribe()
			return nil, fmt.Errorf("serve %s: %w", subject, err)
		}
		f.subs = append(f.subs, sub)
	}
	// So that who is told of the readiness finds somebody listening. While the broker is away they wait.
	_ = s.c.NC.FlushTimeout(flushWithin)
	return f, nil
}

func (f *face) unsubscribe() {
	for _, sub := range f.subs {
		_ = sub.Unsubscribe() // fails only on a closed connection
	}
}

func (f *face) run(ctx context.Context) {
	defer f.working.Wait()
	defer f.unsubscribe()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-f.requests:
			if m.Reply == "" {
				continue
			}
			select {
			case f.slots <- struct{}{}:
				f.working.Go(func() {
					f.serve(ctx, m)
					<-f.slots
				})
			default:
				f.s.m.refused("remote")
				f.respond(m, remoteOutcome{Error: toRemote(unavailable("too many requests"))})
			}
		}
	}
}

func (f *face) serve(ctx context.Context, m *nats.Msg) {
	ctx, cancel := context.WithTimeout(ctx, remoteWithin)
	defer cancel()
	id, named := jetstream.ConversationOf(m.Subject)
	p := f.s.c.Token.Partition
	switch {
	case m.Subject == jetstream.DurableSubject(p):
		f.respond(m, f.durable(ctx, m.Data))
	case named && m.Subject == jetstream.CommandSubject(p, id):
		f.respond(m, f.command(ctx, id, m.Data))
	case named:
		f.respond(m, f.ask(ctx, id))
	default:
		f.respond(m, remoteOutcome{Error: toRemote(chat.Errorf(chat.Invalid, "subject names no conversation"))})
	}
}

func (f *face) command(ctx context.Context, id chat.ConversationID, data []byte) remoteOutcome {
	var c conversation.Command
	if err := json.Unmarshal(data, &c); err != nil {
		return remoteOutcome{Error: toRemote(chat.Errorf(chat.Invalid, "command is malformed"))}
	}
	if c.ConversationID != id {
		return remoteOutcome{Error: toRemote(chat.Errorf(chat.Invalid, "command and subject name different conversations"))}
	}
	if err := conversation.Check(c); err != nil {
		return remoteOutcome{Error: toRemote(err)}
	}
	outcome, err := f.s.Submit(ctx, c)
	if err != nil {
		return remoteOutcome{Error: toRemote(err)}
	}
	return remoteOutcome{Outcome: &outcome}
}

func (f *face) ask(ctx context.Context, id chat.ConversationID) remoteAnswer {
	a, err := f.s.Ask(ctx, id)
	if err != nil {
		return remoteAnswer{Error: toRemote(err)}
	}
	return remoteAnswer{State: &a.State, Generation: a.Generation, Tail: packTail(a.Tail), Sends: a.Sends}
}

func (f *face) durable(ctx context.Context, data []byte) remoteDurable {
	var wanted struct {
		Sequence uint64 `json:"sequence"`
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &wanted); err != nil {
			return remoteDurable{Error: toRemote(chat.Errorf(chat.Invalid, "request is malformed"))}
		}
	}
	if err := f.s.WaitDurable(ctx, wanted.Sequence); err != nil {
		return remoteDurable{Error: toRemote(unavailable("not durable yet"))}
	}
	mark := f.s.Durable()
	return remoteDurable{Generation: mark.Generation, Sequence: mark.StreamSeq, ID: mark.ID}
}

func (f *face) respond(m *nats.Msg, answer any) {
	body, err := json.Marshal(answer)
	if err == nil && len(body) > remoteLargest {
		body, err = json.Marshal(remoteOutcome{Error: toRemote(unavailable("the store is too far behind the log"))})
	}
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		f.s.c.Log.Warn("request not answered", slog.String("subject", m.Subject), slog.Any("error", err))
	}
}
