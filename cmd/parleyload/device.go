package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/checker"
	"github.com/parley-chat/parley/pkg/client"
)

// device is one full client, everything it shows written into the history.
type device struct {
	name    string // "<user id>/<device>"
	person  *person
	api     *client.API
	live    *client.Client
	history *checker.Writer
	// onRecord hears of what is shown, in order, on the client's event goroutine; nil: nobody.
	onRecord func(r chat.Record, source client.Source)

	connected atomic.Bool // an end of the connection is to be noted

	sending sync.Mutex // the history's order of sends is the outbox's

	mu      sync.Mutex // guards what follows
	shown   map[chat.ConversationID]chat.Seq
	mine    []own // acknowledged messages of this device, the newest ones
	caught  bool  // since the last connection
	changed chan struct{}
	began   time.Time // of the present connection: before its sync
	conn    uint64
}

// own is an acknowledged message that may be edited, deleted or sent again.
type own struct {
	message client.Message
	seq     chat.Seq
}

const mostOwn = 64

func newDevice(w *world, p *person, name string, api *client.API) (*device, error) {
	d := &device{
		name: p.device(name), person: p, api: api, history: w.history,
		shown: map[chat.ConversationID]chat.Seq{}, changed: make(chan struct{}),
	}
	live, err := client.New(client.Config{
		URL: w.url, Tokens: api, History: api, OnEvent: d.on, Outbox: 10_000, AutoDelivered: true,
		Reconnect: client.Backoff{Base: 100 * time.Millisecond, Cap: 2 * time.Second},
		Log:       slog.New(slog.DiscardHandler),
	})
	d.live = live
	return d, err
}

// on is called by the client's event goroutine alone.
func (d *device) on(event client.Event) {
	switch e := event.(type) {
	case client.MessageReceived:
		d.record(e.Record, e.Source)
	case client.RecordReceived:
		d.record(e.Record, e.Source)
	case client.Filled:
		d.write(checker.Event{Op: checker.OpFilledRange, Conversation: e.ConversationID, From: e.After + 1, To: e.Before - 1})
		d.reached(e.ConversationID, e.Before-1)
	case client.Answered:
		d.answered(e)
	case client.Receipt:
		if e.Source == client.SourceLive {
			d.write(checker.Event{
				Op: checker.OpCursor, Conn: d.conn, Conversation: e.ConversationID, User: e.UserID,
				Which: string(e.Kind), Seq: e.Cursor.Seq, N: e.Cursor.N,
			})
		}
	case client.Repeated:
		d.write(checker.Event{Op: checker.OpRepeat, Conn: d.conn, Conversation: e.ConversationID, Seq: e.Seq})
	case client.Missed:
		d.write(checker.Event{Op: checker.OpMissed, Conn: d.conn, Conversation: e.ConversationID, Seq: e.After + 1})
	case client.Gone:
		d.write(checker.Event{Op: checker.OpGone, Conversation: e.ConversationID})
	case client.Presence:
		d.write(checker.Event{Op: checker.OpPresence, User: e.UserID, Which: e.Status.String()})
	case client.State:
		d.state(e)
	case client.CaughtUp:
		d.set(func() { d.caught = true })
	}
}

func (d *device) write(e checker.Event) {
	e.Client = d.name
	d.history.Write(e)
}

func (d *device) record(r chat.Record, source client.Source) {
	e := checker.Event{Op: checker.OpReceived, Conn: d.conn, Conversation: r.ConversationID}
	switch source {
	case client.SourceSync:
		e.Op, e.T0 = checker.OpSynced, d.began.UnixNano()
	case client.SourceFill:
		e.Op = checker.OpFilled
	case client.SourceLive, client.SourceSent: // received
	}
	if d.history != nil {
		e.Records = []checker.Record{checker.RecordOf(r)}
		d.write(e)
	}
	if d.onRecord != nil {
		d.onRecord(r, source)
	}
	d.reached(r.ConversationID, r.Seq)
}

func (d *device) reached(id chat.ConversationID, seq chat.Seq) {
	d.set(func() { d.shown[id] = max(d.shown[id], seq) })
}

// set changes what others wait for.
func (d *device) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *device) state(e client.State) {
	switch e.Phase {
	case client.Connecting:
		d.began = e.At
		d.set(func() { d.caught = false })
	case client.Connected:
		d.conn = e.Connection
		d.connected.Store(true)
		d.write(checker.Event{Op: checker.OpConnected, T: e.At.UnixNano()})
	case client.Waiting, client.Stopped:
		d.disconnected(e.At)
	}
}

// disconnected notes the end of a connection, once: told by the client, or by the end of its Run.
func (d *device) disconnected(at time.Time) {
	if d.connected.Swap(false) {
		d.write(checker.Event{Op: checker.OpDisconnected, T: at.UnixNano()})
	}
}

func (d *device) answered(a client.Answered) {
	e := checker.Event{Op: checker.OpSent, Conversation: a.Message.ConversationID, ClientID: a.Message.ClientID}
	if a.Err != nil {
		e.Op, e.Code = checker.OpFail, codeOf(a.Err)
		if e.Code == checker.Unknown {
			e.Op = checker.OpUnknown
		}
		d.write(e)
		return
	}
	e.ID, e.Seq, e.N = a.Sent.ID, a.Sent.Seq, a.Sent.N
	d.write(e)
	if a.Message.Kind != chat.KindMessage {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.mine) == mostOwn {
		d.mine = append(d.mine[:0], d.mine[mostOwn/2:]...)
	}
	d.mine = append(d.mine, own{a.Message, a.Sent.Seq})
}

// send writes the message into the history and gives it to the outbox, in one order.
func (d *device) send(m client.Message) (*client.Pending, error) {
	d.sending.Lock()
	defer d.sending.Unlock()
	m.ClientID = d.live.NewClientID()
	d.write(checker.Event{
		Op: checker.OpSend, Conversation: m.ConversationID, ClientID: m.ClientID, Kind: m.Kind,
		TextHash: checker.HashText(m.Text), Target: m.TargetSeq, ReplyTo: m.ReplyTo,
	})
	p, err := d.live.Do(m)
	if err != nil {
		d.write(checker.Event{Op: checker.OpFail, Conversation: m.ConversationID, ClientID: m.ClientID, Code: "outbox_full"})
	}
	return p, err
}

// wait waits until ready says so; it is asked whenever something has changed.
func (d *device) wait(ctx context.Context, ready func() bool) error {
	for {
		d.mu.Lock()
		done, changed := ready(), d.changed
		d.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// take removes and returns an acknowledged message of its own that pick chooses by number.
func (d *device) take(pick func(n int) int, keep bool) (own, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.mine) == 0 {
		return own{}, false
	}
	i := pick(len(d.mine))
	o := d.mine[i]
	if !keep {
		d.mine = append(d.mine[:i], d.mine[i+1:]...)
	}
	return o, true
}

// crew is the devices of a run and the goroutines that run them.
type crew struct {
	devices []*device
	cancel  context.CancelFunc
	running sync.WaitGroup
	failed  chan error // holds one per device
}

// start runs every device until stop.
func start(ctx context.Context, devices []*device) *crew {
	ctx, cancel := context.WithCancel(ctx)
	c := &crew{devices: devices, cancel: cancel, failed: make(chan error, len(devices))}
	for _, d := range devices {
		c.running.Go(func() {
			err := d.live.Run(ctx)
			d.disconnected(time.Now())
			if err != nil {
				c.failed <- err
			}
		})
	}
	return c
}

func (c *crew) stop() {
	c.cancel()
	c.running.Wait()
}

// err is the first device's failure so far.
func (c *crew) err() error {
	select {
	case err := <-c.failed:
		return err
	default:
		return nil
	}
}
