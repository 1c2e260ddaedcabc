package sequencer

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// Sequencer is the writer of one partition. Its methods are safe for concurrent use; Run runs once.
type Sequencer struct {
	c    Config
	b    bounds
	m    *metrics
	view view
	mark watermark

	intake chan *job
	asks   chan *question
	nudge  chan struct{} // the store's position has moved

	waiting      atomic.Int64
	waitingBytes atomic.Int64
	questions    atomic.Int64
	storedAt     atomic.Int64 // when Stored was called last, ns of the monotonic clock since began
	began        time.Time

	started atomic.Bool
	ready   atomic.Bool
	ended   chan struct{} // closed when Run has ended
}

// New makes a sequencer that does nothing until Run.
func New(c Config) *Sequencer {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.publish == nil {
		c.publish = c.NC.PublishMsg
	}
	s := &Sequencer{
		c: c, b: c.bounds.orDefaults(), m: newMetrics(c.Reg, c.Token),
		intake: make(chan *job, intakeSize), asks: make(chan *question, intakeSize),
		nudge: make(chan struct{}, 1), began: time.Now(), ended: make(chan struct{}),
	}
	s.view.generation = c.Token.Generation
	s.view.convs = make(map[chat.ConversationID]*conv)
	s.view.tail = newTailIndex()
	return s
}

// job is one command on its way. It is answered once, on done.
type job struct {
	cmd   conversation.Command
	facts conversation.Facts
	bytes int64
	state atomic.Uint32
	done  chan reply
}

// The states of a job: the owner takes what waits into a group, the sender withdraws what waits.
const (
	jobWaiting uint32 = iota
	jobTaken
	jobWithdrawn
)

type reply struct {
	outcome conversation.Outcome
	err     error
}

func (j *job) take() bool      { return j.state.CompareAndSwap(jobWaiting, jobTaken) }
func (j *job) withdraw() bool  { return j.state.CompareAndSwap(jobWaiting, jobWithdrawn) }
func (j *job) withdrawn() bool { return j.state.Load() == jobWithdrawn }

// Submit commits a command, correct in form (conversation.Check), and returns what it gave: durable, and
// the same for every repeat of the client id. Refusals and failures are *chat.Error; unknown_outcome means
// that the command may or may not be committed, unavailable and every other kind that it is not.
// A context without an end gets 10 seconds.
func (s *Sequencer) Submit(ctx context.Context, c conversation.Command) (conversation.Outcome, error) {
	outcome, err := s.submit(ctx, c)
	s.m.command(c.Op, err)
	return outcome, err
}

func (s *Sequencer) submit(ctx context.Context, c conversation.Command) (conversation.Outcome, error) {
	if err := s.checkCommand(c); err != nil {
		return conversation.Outcome{}, err
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.b.sendWithin)
		defer cancel()
	}
	j := &job{cmd: c, bytes: commandBytes(&c), done: make(chan reply, 1)}
	if !s.enter(j) {
		return conversation.Outcome{}, unavailable("too many commands wait")
	}
	select {
	case s.intake <- j:
	case <-ctx.Done():
		s.leave(j)
		return conversation.Outcome{}, unavailable("the partition's writer does not take commands in time")
	case <-s.ended:
		s.leave(j)
		return conversation.Outcome{}, errEnded()
	}
	select {
	case r := <-j.done:
		return r.outcome, r.err
	case <-ctx.Done():
	case <-s.ended:
	}
	return s.giveUp(j)
}

// giveUp ends the wait for a command: withdrawn if it was in no group, else its outcome is unknown.
func (s *Sequencer) giveUp(j *job) (conversation.Outcome, error) {
	if j.withdraw() {
		select {
		case r := <-j.done: // refused at the last moment
			return r.outcome, r.err
		default:
			return conversation.Outcome{}, unavailable("the command waited too long and was not sent")
		}
	}
	select {
	case r := <-j.done:
		return r.outcome, r.err
	default:
		return conversation.Outcome{}, unknownOutcome()
	}
}

func (s *Sequencer) checkCommand(c conversation.Command) error {
	if p := s.c.Partitions; p > 0 && c.ConversationID.Partition(p) != s.c.Token.Partition {
		return chat.Errorf(chat.Internal, "conversation %s is not of partition %d", c.ConversationID, s.c.Token.Partition)
	}
	return conversation.CheckClientTime(c, s.c.Now())
}

func unavailable(message string) error { return chat.Errorf(chat.Unavailable, "%s", message) }
func errEnded() error                  { return unavailable("the partition's writer has ended") }
func unknownOutcome() error {
	return chat.Errorf(chat.UnknownOutcome, "the command may or may not be committed: send it again with the same client_id")
}

// commandBytes is about what a waiting command holds.
func commandBytes(c *conversation.Command) int64 {
	return int64(512 + len(c.Text) + 48*len(c.Members))
}

func (s *Sequencer) enter(j *job) bool {
	count, size := s.waiting.Add(1), s.waitingBytes.Add(j.bytes)
	if count > s.b.waiting || size > s.b.waitingBytes {
		s.leave(j)
		s.m.refused("waiting")
		return false
	}
	return true
}

func (s *Sequencer) leave(j *job) {
	s.waiting.Add(-1)
	s.waitingBytes.Add(-j.bytes)
}

// question is an Ask that needs the owner: the conversation is not in memory.
type question struct {
	id   chat.ConversationID
	done chan error // nil: it is in memory now
}

// Ask tells what is committed of a conversation: never less than the watermark's records. The State of a
// conversation that was never created does not exist. A context without an end gets 5 seconds.
func (s *Sequencer) Ask(ctx context.Context, id chat.ConversationID) (conversation.Answer, error) {
	if p := s.c.Partitions; p > 0 && id.Partition(p) != s.c.Token.Partition {
		return conversation.Answer{}, chat.Errorf(chat.Internal, "conversation %s is not of partition %d", id, s.c.Token.Partition)
	}
	if a, ok := s.view.answer(id); ok && s.ready.Load() {
		return a, nil
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askWithin)
		defer cancel()
	}
	for {
		if err := s.askOwner(ctx, id); err != nil {
			return conversation.Answer{}, err
		}
		if a, ok := s.view.answer(id); ok {
			return a, nil
		} // let go of in between: a cache far too small for its load
	}
}

func (s *Sequencer) askOwner(ctx context.Context, id chat.ConversationID) error {
	if s.questions.Add(1) > int64(s.b.questions) {
		s.questions.Add(-1)
		s.m.refused("questions")
		return unavailable("too many questions wait")
	}
	defer s.questions.Add(-1)
	q := &question{id: id, done: make(chan error, 1)}
	select {
	case s.asks <- q:
	case <-ctx.Done():
		return unavailable("the partition's writer does not answer in time")
	case <-s.ended:
		return errEnded()
	}
	select {
	case err := <-q.done:
		return err
	case <-ctx.Done():
		return unavailable("the partition's writer does not answer in time")
	case <-s.ended:
		return errEnded()
	}
}

// Durable is the watermark: everything up to it survives a power cut and is in Ask's answers. Its ID is 0
// at a fence, all of it is zero before the first start has finished.
func (s *Sequencer) Durable() chat.Mark { return s.mark.get() }

// WaitDurable returns once the watermark has reached a stream sequence of the present generation.
func (s *Sequencer) WaitDurable(ctx context.Context, streamSeq uint64) error {
	return s.mark.wait(ctx, streamSeq, s.ended)
}

// Ready reads the log for real; an error says why commands are not taken now.
func (s *Sequencer) Ready(ctx context.Context) error {
	if !s.ready.Load() {
		return unavailable("the partition's writer is not ready")
	}
	_, err := s.c.Reader.LastFromLeader(ctx, s.c.Token)
	return err
}

// Stored tells how far the store has come: persist calls it after each write and each seal. When nobody
// does (persist runs elsewhere) the store is asked every two seconds.
func (s *Sequencer) Stored(applied, sealed chat.Mark) {
	s.view.stored(applied, sealed)
	s.storedAt.Store(int64(time.Since(s.began)))
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

// Run takes the lease, starts, and serves until ctx ends: then it takes no more commands, finishes the
// group in flight and gives the lease back. Any other return is ErrOvertaken, ErrBarrier, ErrLog or a
// fault of the store, wrapped.
func (s *Sequencer) Run(ctx context.Context) error {
	if !s.started.CompareAndSwap(false, true) {
		return errors.New("sequencer: Run runs once")
	}
	defer close(s.ended)
	o := newOwner(s)
	return o.run(ctx)
}
