package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client/socket"
	"github.com/parley-chat/parley/pkg/wire"
)

// Defaults of Config.
const (
	DefaultOutbox = 1000
	DefaultQueue  = 1024
	DefaultHold   = 3 * time.Second
)

// Tokens give access tokens; *API is one, StaticToken another.
type Tokens interface {
	// Token is a token that is not about to expire, and when to replace it (zero: never).
	Token(ctx context.Context) (token string, replace time.Time, err error)
	// Renew gives another token than old, which was refused; chat.Unauthorized when there is none.
	Renew(ctx context.Context, old string) (token string, replace time.Time, err error)
}

// History reads pages below a sync's gap; *API is one.
type History interface {
	Page(ctx context.Context, id chat.ConversationID, q PageQuery) (Page, error)
}

// StaticToken is a token that can not be renewed.
type StaticToken string

// Token is the token.
func (s StaticToken) Token(context.Context) (string, time.Time, error) {
	return string(s), time.Time{}, nil
}

// Renew always fails.
func (s StaticToken) Renew(context.Context, string) (string, time.Time, error) {
	return "", time.Time{}, chat.Errorf(chat.Unauthorized, "the access token is refused and can not be renewed")
}

// Config configures a Client. URL, Tokens and OnEvent are required.
type Config struct {
	URL     string
	Tokens  Tokens
	History History // nil with SkipGaps only
	Store   Store   // nil: a MemoryStore
	// OnEvent is called from one goroutine. While it works the connection fills up, and in the end the server
	// closes it as too slow: nothing is lost by that. It must not wait for a message of its own.
	OnEvent func(Event)

	Outbox        int           // messages that may wait for their answer; 0: DefaultOutbox
	Queue         int           // events that may wait for OnEvent; 0: DefaultQueue
	Hold          time.Duration // how long a record waits for the one before it; 0: DefaultHold
	SkipGaps      bool          // do not fetch what lies below a sync's gap
	AutoDelivered bool          // tell the server that records were delivered once OnEvent returned
	Reconnect     Backoff       // zero: 500 ms to 30 s
	Retry         Backoff       // of a message; zero: 100 ms to 5 s
	Socket        socket.Config // dialling; URL and Token are filled in
	Now           func() time.Time
	Log           *slog.Logger // nil: none
}

// StoppedError ends Run: the server wants no further connection.
type StoppedError struct{ Err error }

// Error gives the reason.
func (e *StoppedError) Error() string { return fmt.Sprintf("client stopped: %v", e.Err) }

// Unwrap is the reason.
func (e *StoppedError) Unwrap() error { return e.Err }

// Client is one device's live connection. New starts nothing; Run does everything. The methods are safe for
// concurrent use, before, while and after Run runs.
type Client struct {
	config Config
	queue  chan queued
	wake   chan struct{} // holds one: the writer has something to look at
	poke   chan struct{} // holds one: a waiting Run tries again at once

	refused map[chat.ConversationID]refusedFill // owned by dispatch

	mu         sync.Mutex // guards what follows
	user       chat.UserID
	offset     time.Duration // server's clock - ours
	connection uint64
	frames     uint64 // id of the last frame
	outbox     *outbox
	timelines  map[chat.ConversationID]*timeline
	epoch      uint64 // counts refused fills
	cursors    map[chat.ConversationID]*ownCursor
	receipts   map[receiptKey]chat.Seq
	syncing    uint64 // frame of the sync under way, 0: none
	wantSync   bool
	syncAfter  time.Time // no sync before it
	refusals   int       // refused syncs in a row
	leaving    time.Time // goaway: no new work, reconnect then
	company    company
}

type receiptKey struct {
	conversation chat.ConversationID
	user         chat.UserID
	kind         ReceiptKind
}

// ownCursor is how far the user is; dirty parts are not on the server yet as far as is known.
type ownCursor struct {
	read, delivered           chat.Seq
	readDirty, deliveredDirty bool
}

// New makes a client.
func New(c Config) (*Client, error) {
	if c.URL == "" || c.Tokens == nil || c.OnEvent == nil {
		return nil, errors.New("client: URL, Tokens and OnEvent are required")
	}
	if c.History == nil && !c.SkipGaps {
		return nil, errors.New("client: History is required unless gaps are skipped")
	}
	c.Outbox, c.Queue = orDefault(c.Outbox, DefaultOutbox), orDefault(c.Queue, DefaultQueue)
	c.Hold = orDefault(c.Hold, DefaultHold)
	c.Reconnect = orDefault(c.Reconnect, DefaultReconnect())
	c.Retry = orDefault(c.Retry, Backoff{100 * time.Millisecond, 5 * time.Second})
	if c.Store == nil {
		c.Store = NewMemoryStore()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{
		config: c, queue: make(chan queued, c.Queue), wake: make(chan struct{}, 1), poke: make(chan struct{}, 1),
		refused: map[chat.ConversationID]refusedFill{},
		outbox:  newOutbox(c.Outbox), timelines: map[chat.ConversationID]*timeline{},
		cursors: map[chat.ConversationID]*ownCursor{}, receipts: map[receiptKey]chat.Seq{},
	}, nil
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// Send sends a text message. It returns at once; the answer comes as Answered and through Pending.
func (c *Client) Send(id chat.ConversationID, text string, replyTo chat.Seq) (*Pending, error) {
	return c.Do(Message{ConversationID: id, Kind: chat.KindMessage, Text: text, ReplyTo: replyTo})
}

// Edit replaces the text of a message of one's own.
func (c *Client) Edit(id chat.ConversationID, target chat.Seq, text string) (*Pending, error) {
	return c.Do(Message{ConversationID: id, Kind: chat.KindEdit, TargetSeq: target, Text: text})
}

// Delete deletes a message for everyone.
func (c *Client) Delete(id chat.ConversationID, target chat.Seq) (*Pending, error) {
	return c.Do(Message{ConversationID: id, Kind: chat.KindDelete, TargetSeq: target})
}

// Do sends a message that may have a client id already: one that was kept from an earlier run, for instance.
// ErrOutboxFull when too many wait.
func (c *Client) Do(m Message) (*Pending, error) {
	if m.ClientID.IsZero() {
		m.ClientID = c.NewClientID()
	}
	c.mu.Lock()
	p, err := c.outbox.add(m)
	if m.Kind == chat.KindMessage {
		delete(c.company.started, m.ConversationID) // it ends the typing
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	c.wakeWriter()
	return p, nil
}

// NewClientID makes a client id by the server's clock, as far as it is known.
func (c *Client) NewClientID() chat.ClientID {
	c.mu.Lock()
	offset := c.offset
	c.mu.Unlock()
	return chat.NewClientID(c.config.Now().Add(offset))
}

// Unsent lists the messages that are not answered, in order within each conversation.
func (c *Client) Unsent() []Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outbox.all()
}

// Read says that the user has read up to seq.
func (c *Client) Read(id chat.ConversationID, seq chat.Seq) { c.advance(id, seq, 0) }

// Delivered says that this device has everything up to seq. Config.AutoDelivered does it by itself.
func (c *Client) Delivered(id chat.ConversationID, seq chat.Seq) { c.advance(id, 0, seq) }

func (c *Client) advance(id chat.ConversationID, read, delivered chat.Seq) {
	c.mu.Lock()
	own := c.cursors[id]
	if own == nil {
		own = &ownCursor{}
		c.cursors[id] = own
	}
	if read > own.read {
		own.read, own.readDirty = read, true
	}
	if delivered > own.delivered {
		own.delivered, own.deliveredDirty = delivered, true
	}
	c.mu.Unlock() // the writer looks by itself, soon enough
}

// Shown is the seq up to which a conversation has been shown, or is on its way to OnEvent.
func (c *Client) Shown(id chat.ConversationID) chat.Seq {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.timelines[id]; t != nil {
		return t.shown
	}
	return 0
}

// Sync asks for everything missed, without waiting for a reason to.
func (c *Client) Sync() {
	c.mu.Lock()
	c.wantSync = true
	c.mu.Unlock()
	c.wakeWriter()
}

// Retry ends a wait before the next connection: for instance when the network has returned.
func (c *Client) Retry() { signal(c.poke) }

func (c *Client) wakeWriter() { signal(c.wake) }

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // one is enough
	}
}

// settled is how long a connection must have lived for the next failure to count as the first.
const settled = time.Second

// errRenewal ends a connection whose token could not be replaced in place.
var errRenewal = errors.New("the token needs a new connection")

// errGoAway ends a connection at the server's wish.
var errGoAway = errors.New("the server goes away")

// Run connects, and connects again, until ctx ends (then it returns nil) or the server wants no further
// connection (*StoppedError). Run it once.
func (c *Client) Run(ctx context.Context) error {
	if err := c.load(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var events sync.WaitGroup
	events.Go(func() { c.dispatch(ctx) })
	defer func() { cancel(); events.Wait() }()
	attempt := 0
	var last error
	for ctx.Err() == nil {
		c.state(ctx, State{Phase: Connecting, Connection: c.number(), Err: last})
		began := c.config.Now()
		worked, err := c.connect(ctx)
		last = err
		c.hush(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if worked && c.config.Now().Sub(began) > settled {
			attempt = 0
		}
		if final(err) {
			err = &StoppedError{Err: err}
			c.state(ctx, State{Phase: Stopped, Connection: c.number(), Err: err})
			c.drainEvents(ctx)
			return err
		}
		wait := c.pause(attempt, err)
		attempt++
		c.state(ctx, State{Phase: Waiting, Connection: c.number(), Err: err, Wait: wait})
		c.rest(ctx, wait)
	}
	return nil
}

func (c *Client) load(ctx context.Context) error {
	positions, err := c.config.Store.Positions(ctx)
	if err != nil {
		return fmt.Errorf("load positions: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, seq := range positions {
		c.timelines[id] = &timeline{known: true, shown: seq}
	}
	return nil
}

func (c *Client) state(ctx context.Context, s State) {
	s.At = c.config.Now()
	c.emit(ctx, s)
}

func (c *Client) number() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connection
}

// final reports whether the server wants no further connection by this session.
func final(err error) bool {
	if errors.Is(err, ErrNoLogin) || chat.KindOf(err) == chat.Unauthorized || chat.KindOf(err) == chat.Forbidden {
		return true
	}
	closed, ok := errors.AsType[*socket.CloseError](err)
	return ok && !closed.Reconnect()
}

// pause is how long to wait before the next connection.
func (c *Client) pause(attempt int, err error) time.Duration {
	c.mu.Lock()
	leaving := c.leaving
	c.leaving = time.Time{}
	c.mu.Unlock()
	if errors.Is(err, errRenewal) && attempt == 0 {
		return 0
	}
	if !leaving.IsZero() {
		return max(leaving.Sub(c.config.Now()), 0) // the server's hint is jittered already
	}
	hint := time.Duration(0)
	if refused, ok := errors.AsType[*chat.Error](err); ok {
		hint = refused.RetryAfter
	}
	if refused, ok := errors.AsType[*socket.HandshakeError](err); ok {
		hint = refused.RetryAfter
	}
	return c.config.Reconnect.Wait(attempt, hint)
}

func (c *Client) rest(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-c.poke:
	}
}

// connect lives through one connection. worked tells that it was authenticated.
func (c *Client) connect(ctx context.Context) (worked bool, err error) {
	token, replace, err := c.config.Tokens.Token(ctx)
	if err != nil {
		return false, err
	}
	conn, err := c.dial(ctx, token)
	if unauthorized(err) {
		if token, replace, err = c.config.Tokens.Renew(ctx, token); err != nil {
			return false, err
		}
		conn, err = c.dial(ctx, token)
	}
	if err != nil {
		return false, err
	}
	err = c.serve(ctx, conn, token, replace)
	if unauthorized(err) { // expired or revoked meanwhile: the refresh tells which
		if _, _, renewal := c.config.Tokens.Renew(ctx, token); renewal != nil {
			if _, retry := refused(renewal); retry {
				return true, fmt.Errorf("renew the token: %w", renewal) // nobody said no
			}
			return true, errors.Join(renewal, err)
		}
		err = errRenewal
	}
	return true, err
}

func unauthorized(err error) bool {
	if closed, ok := errors.AsType[*socket.CloseError](err); ok {
		return closed.Code == wire.CloseUnauthorized
	}
	return chat.KindOf(err) == chat.Unauthorized
}

func (c *Client) dial(ctx context.Context, token string) (*socket.Conn, error) {
	config := c.config.Socket
	config.URL, config.Token = c.config.URL, token
	return socket.Dial(ctx, config)
}
