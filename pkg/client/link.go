package client

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client/socket"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	tick          = 250 * time.Millisecond // how often the writer looks at what no signal tells
	cursorEvery   = 250 * time.Millisecond // cursors are coalesced for so long: only the last one counts
	answerTimeout = wire.AnswerWithin + 5*time.Second
)

// link is one connection. Its reader runs serve's goroutine, its writer another; a third exists only while a
// token is replaced.
type link struct {
	c      *Client
	conn   *socket.Conn
	number uint64
	fresh  chan string   // a new token, for the writer to send
	quiet  time.Duration // silence after which the writer pings

	cursors time.Time // owned by the writer: when cursors were last looked at

	mu    sync.Mutex // guards what follows
	heard time.Time
	ends  error // why the writer ended the connection
}

// serve lives as long as the connection, and returns why it ended once everything it started has ended.
func (c *Client) serve(ctx context.Context, conn *socket.Conn, token string, replace time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &link{c: c, conn: conn, fresh: make(chan string, 1), quiet: conn.Heartbeat(), heard: c.config.Now()}
	l.number = c.opened(conn)
	c.state(ctx, State{Phase: Connected, Connection: l.number})
	stop := context.AfterFunc(ctx, func() { _ = conn.Close(websocket.CloseNormalClosure, "") })
	var others sync.WaitGroup
	others.Go(func() { l.end(l.write(ctx)) })
	if !replace.IsZero() {
		others.Go(func() { l.end(l.renew(ctx, token, replace)) })
	}
	err := l.read(ctx)
	cancel()
	if stop() {
		_ = conn.Abort()
	}
	others.Wait()
	c.closed()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ends != nil {
		return l.ends
	}
	return err
}

// end notes why the connection must end, and ends it.
func (l *link) end(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	if l.ends == nil {
		l.ends = err
	}
	l.mu.Unlock()
	_ = l.conn.Close(websocket.CloseNormalClosure, "")
}

// opened begins a connection's bookkeeping.
func (c *Client) opened(conn *socket.Conn) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connection++
	c.user, c.offset = conn.Hello().UserID, conn.Offset()
	c.wantSync, c.syncing, c.syncAfter, c.refusals = true, 0, time.Time{}, 0
	c.leaving = time.Time{}
	c.company.begin()
	return c.connection
}

// closed puts back what the connection left unanswered.
func (c *Client) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outbox.ground()
	for _, own := range c.cursors { // cursors have no answer: what was sent may not have arrived
		own.readDirty, own.deliveredDirty = own.read > 0, own.delivered > 0
	}
}

func (l *link) read(ctx context.Context) error {
	for {
		raw, err := l.conn.Read()
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.heard = l.c.config.Now()
		l.mu.Unlock()
		if err := l.receive(ctx, raw); err != nil {
			return err
		}
	}
}

// renew replaces the token in place before it expires.
func (l *link) renew(ctx context.Context, token string, replace time.Time) error {
	for {
		timer := time.NewTimer(max(replace.Sub(l.c.config.Now()), time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		next, later, err := l.c.config.Tokens.Renew(ctx, token)
		if err != nil && ctx.Err() == nil {
			if _, retry := refused(err); retry {
				l.c.config.Log.Warn("token not replaced", slog.Any("error", err))
				replace = l.c.config.Now().Add(l.c.config.Reconnect.Wait(2, 0))
				continue // the old one still works for a while
			}
			return err
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the connection is over, and with it what it wanted a token for
		}
		token, replace = next, later
		l.fresh <- token
		l.c.wakeWriter()
		if replace.IsZero() {
			return nil
		}
	}
}

// write is the connection's only writer: whatever is due leaves in one write.
func (l *link) write(ctx context.Context) error {
	beat := time.NewTicker(tick)
	defer beat.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		frames, wait, err := l.due(ctx)
		if err != nil {
			return err
		}
		if len(frames) > 0 {
			if err := l.conn.Write(frames...); err != nil {
				return nil // the reader learns the reason, a close code above all
			}
		}
		if wait == 0 {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-l.c.wake:
		case <-beat.C:
		case <-timer.C:
		}
	}
}

// due collects what is to be written now. wait: the time until something else is due, 0 for unknown.
func (l *link) due(ctx context.Context) (frames [][]byte, wait time.Duration, err error) {
	c, now := l.c, l.c.config.Now()
	select {
	case token := <-l.fresh:
		frame, err := wire.EncodeFrame(c.frameID(), wire.TypeAuth, wire.Auth{Token: token})
		if err != nil {
			return nil, 0, err
		}
		frames = append(frames, frame)
	default:
	}
	c.mu.Lock()
	if err := l.overdue(now); err != nil {
		c.mu.Unlock()
		return nil, 0, err
	}
	missed := c.missing(now)
	if frame := c.syncFrame(now); frame != nil {
		frames = append(frames, frame)
	}
	var failed []*Pending
	if c.leaving.IsZero() {
		var sends [][]byte
		sends, wait, failed = c.outbox.take(now, c.nextFrame)
		frames = append(frames, sends...)
	}
	if now.Sub(l.cursors) >= cursorEvery {
		l.cursors = now
		frames = append(frames, c.cursorFrames()...)
	}
	company, ended := c.company.due(now, c.nextFrame)
	frames = append(frames, company...)
	missed = append(missed, ended...)
	c.mu.Unlock()
	if l.silent(now) {
		frame, err := wire.EncodeFrame(c.frameID(), wire.TypePing, struct{}{})
		if err != nil {
			return nil, 0, err
		}
		frames = append(frames, frame)
	}
	for _, e := range missed {
		c.emit(ctx, e)
	}
	for _, p := range failed {
		c.emit(ctx, Answered{Message: p.Message, Err: p.err})
	}
	return frames, wait, nil
}

// overdue ends a connection that does not answer, or that the server asked to leave.
func (l *link) overdue(now time.Time) error {
	if leaving := l.c.leaving; !leaving.IsZero() && !now.Before(leaving) {
		return errGoAway
	}
	if first := l.c.outbox.oldest(); !first.IsZero() && now.Sub(first) > answerTimeout {
		return errors.New("a frame was not answered in time")
	}
	return nil
}

// silent reports, once per silence, that nothing was heard for a heartbeat.
func (l *link) silent(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.heard) < l.quiet {
		return false
	}
	l.heard = now // the next ping after another silence; the socket's own deadline ends it
	return true
}

func (c *Client) frameID() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nextFrame()
}

func (c *Client) nextFrame() uint64 {
	c.frames++
	return c.frames + 1 // 1 was auth
}

// missing finds records that waited too long for the one before them: a sync fetches it.
func (c *Client) missing(now time.Time) []Event {
	if c.syncing != 0 || c.wantSync {
		return nil
	}
	var missed []Event
	for id, t := range c.timelines {
		if t.since.IsZero() || now.Sub(t.since) < c.config.Hold {
			continue
		}
		t.since = now
		c.wantSync = true
		if t.known {
			missed = append(missed, Missed{ConversationID: id, After: t.shown, Before: t.first()})
		}
	}
	return missed
}

// syncFrame asks for what lies above the positions; nil when a sync is not wanted or one is under way.
func (c *Client) syncFrame(now time.Time) []byte {
	if !c.wantSync || c.syncing != 0 || now.Before(c.syncAfter) {
		return nil
	}
	c.wantSync, c.syncing = false, c.nextFrame()
	request := wire.Sync{Conversations: map[string]chat.Seq{}}
	for id, t := range c.timelines {
		if t.known && len(request.Conversations) < wire.MaxConversations {
			request.Conversations[string(id)] = t.shown
		}
	}
	frame, err := wire.EncodeFrame(c.syncing, wire.TypeSync, request)
	if err != nil {
		c.config.Log.Error("sync not encoded", slog.Any("error", err))
		return nil
	}
	return frame
}

// cursorFrames tells the server what of the own cursors it may not know.
func (c *Client) cursorFrames() [][]byte {
	var frames [][]byte
	add := func(typ string, id chat.ConversationID, seq chat.Seq) {
		frame, err := wire.EncodeFrame(0, typ, wire.CursorUp{ConversationID: string(id), Seq: seq})
		if err == nil {
			frames = append(frames, frame)
		}
	}
	for id, own := range c.cursors {
		if own.deliveredDirty && own.delivered > own.read {
			add(wire.TypeMessageDelivered, id, own.delivered)
		}
		if own.readDirty {
			add(wire.TypeMessageRead, id, own.read)
		}
		own.readDirty, own.deliveredDirty = false, false
	}
	return frames
}
