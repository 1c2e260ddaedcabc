package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/checker"
	"github.com/parley-chat/parley/pkg/client/socket"
)

// runConfig is what `parleyload run` is asked for.
type runConfig struct {
	url       string
	pairs     int
	groups    int
	members   int
	rate      int
	duration  time.Duration
	warmup    time.Duration
	size      int
	receipts  bool
	devices   int
	slow      int
	stalled   int
	patience  time.Duration
	history   string
	json      string
	plot      string
	serverPID int
}

func newRun() *cobra.Command {
	var c runConfig
	run := &cobra.Command{
		Use:   "run",
		Short: "Send messages between pairs or in groups and measure; with --history, write down what every client saw",
		Long: `Registers users, makes conversations and sends. Without --history it takes the light path: raw frames, one
reader per connection, latencies from each message's intended start. With --history every device is a full
client that survives kills of the server; messages are edited, deleted, repeated and read meanwhile, members of
groups come and go, and at the end everything is read again. Judge the file with "parleyload check".

The server must run with --limits off.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.validate(); err != nil {
				return err
			}
			if c.history != "" {
				return c.record(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return c.measure(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := run.Flags()
	f.StringVar(&c.url, "url", "http://127.0.0.1:8080", "address of the server")
	f.IntVar(&c.pairs, "pairs", 0, "direct conversations, one sender each")
	f.IntVar(&c.groups, "groups", 0, "groups, one sender each")
	f.IntVar(&c.members, "members", 100, "members of each group")
	f.IntVar(&c.rate, "rate", 0, "messages per second over all senders (open loop); 0: each sender waits for its answer (closed loop)")
	f.DurationVar(&c.duration, "duration", 30*time.Second, "measured time")
	f.DurationVar(&c.warmup, "warmup", 3*time.Second, "time before the measured time")
	f.IntVar(&c.size, "size", 300, "bytes of a text")
	f.BoolVar(&c.receipts, "receipts", false, "receivers tell delivered and read for every message")
	f.IntVar(&c.devices, "devices", 2, "devices of each user, with --history")
	f.IntVar(&c.slow, "slow", 0, "further connections, of receivers, that read a frame every 100 ms")
	f.IntVar(&c.stalled, "stalled", 0, "further connections, of receivers, that read nothing")
	f.DurationVar(&c.patience, "patience", 60*time.Second, "how long the server may be away, with --history")
	f.StringVar(&c.history, "history", "", "file for what every client saw")
	f.StringVar(&c.json, "json", "", "file for the figures")
	f.StringVar(&c.plot, "plot", "", "file for the plot (SVG)")
	f.IntVar(&c.serverPID, "server-pid", 0, "process whose CPU time is measured beside (Linux)")
	return run
}

func (c *runConfig) validate() error {
	switch {
	case c.pairs < 0 || c.groups < 0 || c.pairs+c.groups == 0:
		return errors.New("run: ask for --pairs or --groups")
	case c.groups > 0 && c.members < 2:
		return errors.New("run: a group has at least 2 members")
	case c.rate < 0 || c.duration < time.Second || c.warmup < 0 || c.size < 1 || c.size > 90_000 || c.devices < 1 || c.slow < 0 || c.stalled < 0:
		return errors.New("run: --rate, --duration, --warmup, --size or --devices makes no sense")
	}
	return nil
}

func (c *runConfig) shape() string {
	switch {
	case c.groups == 0:
		return fmt.Sprintf("%d pairs", c.pairs)
	case c.pairs == 0:
		return fmt.Sprintf("%d groups of %d", c.groups, c.members)
	default:
		return fmt.Sprintf("%d pairs and %d groups of %d", c.pairs, c.groups, c.members)
	}
}

func (c *runConfig) loop() string {
	if c.rate == 0 {
		return "closed"
	}
	return fmt.Sprintf("open %d/s", c.rate)
}

// talk is one conversation of a run; the first person is its sender and, of a group, its owner.
type talk struct {
	id     chat.ConversationID
	people []*person
}

// gather registers everybody and makes the conversations.
func (c *runConfig) gather(ctx context.Context, w *world, bars *progress) ([]talk, error) {
	count := 2*c.pairs + c.groups*c.members
	bar := bars.bar("people", int64(count))
	name := runName()
	people, err := w.register(ctx, count, func(i int) string { return fmt.Sprintf("l%s-%d", name, i) }, bar.Increment)
	if err != nil {
		return nil, err
	}
	talks := make([]talk, c.pairs+c.groups)
	bar = bars.bar("conversations", int64(len(talks)))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(registering)
	for i := range talks {
		group.Go(func() error {
			defer bar.Increment()
			if i < c.pairs {
				talks[i].people = people[2*i : 2*i+2]
				return w.direct(ctx, &talks[i])
			}
			from := 2*c.pairs + (i-c.pairs)*c.members
			talks[i].people = people[from : from+c.members]
			return w.group(ctx, &talks[i], fmt.Sprintf("load %d", i-c.pairs))
		})
	}
	return talks, group.Wait()
}

func (w *world) direct(ctx context.Context, t *talk) error {
	return w.again(ctx, func(ctx context.Context) error {
		made, err := t.people[0].api.CreateDirect(ctx, t.people[1].user.ID)
		t.id = made.ID
		return err
	})
}

func (w *world) group(ctx context.Context, t *talk, name string) error {
	members := make([]chat.UserID, 0, len(t.people)-1)
	for _, p := range t.people[1:] {
		members = append(members, p.user.ID)
	}
	id := chat.NewClientID(time.Now())
	return w.again(ctx, func(ctx context.Context) error {
		made, err := t.people[0].api.CreateGroup(ctx, id, name, members)
		t.id = made.ID
		return err
	})
}

// measure is the light path.
func (c *runConfig) measure(ctx context.Context, out, errOut io.Writer) error {
	bars := newProgress(ctx, errOut)
	defer bars.close()
	w := newWorld(c.url, c.patience, nil)
	talks, err := c.gather(ctx, w, bars)
	if err != nil {
		return err
	}
	f := &fast{size: c.size, receipts: c.receipts, closed: c.rate == 0, acks: newLatencies(), receives: newLatencies()}
	posts, err := f.connect(ctx, w, talks, bars)
	defer func() {
		for _, p := range posts {
			if p != nil {
				_ = p.conn.Abort()
			}
		}
	}()
	if err != nil {
		return err
	}
	late, err := c.lag(ctx, w, talks)
	defer late.end()
	if err != nil {
		return err
	}
	result, err := c.drive(ctx, f, posts, bars)
	if err != nil {
		return err
	}
	result.Slow, result.Stalled, result.SlowClosed = c.slow, c.stalled, late.closed.Load()
	bars.close()
	return c.tell(result, out)
}

// lag opens the connections of those who do not keep up: everybody but the senders has one in turn.
func (c *runConfig) lag(ctx context.Context, w *world, talks []talk) (*laggards, error) {
	var people []*person
	for _, t := range talks {
		people = append(people, t.people[1:]...)
	}
	return w.lag(ctx, people, c.slow, c.stalled)
}

// connect opens every connection of the run.
func (f *fast) connect(ctx context.Context, w *world, talks []talk, bars *progress) ([]*post, error) {
	var posts []*post
	var tokens []string
	for _, t := range talks {
		for i, p := range t.people {
			posts = append(posts, &post{f: f, index: len(posts), conversation: t.id, sends: i == 0, audience: int64(len(t.people) - 1)})
			tokens = append(tokens, p.api.Account().AccessToken)
		}
	}
	bar := bars.bar("connections", int64(len(posts)))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i, p := range posts {
		group.Go(func() error {
			conn, err := socket.Dial(ctx, socket.Config{URL: w.url, Token: tokens[i]})
			if err != nil {
				return err
			}
			p.conn = conn
			p.prepare()
			bar.Increment()
			return nil
		})
	}
	err := group.Wait()
	opened := posts[:0:0]
	for _, p := range posts {
		if p.conn != nil {
			opened = append(opened, p)
		}
	}
	return opened, err
}

// drive runs warm-up and measured time.
func (c *runConfig) drive(ctx context.Context, f *fast, posts []*post, bars *progress) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	f.origin, f.begin, f.end = start, start.Add(c.warmup), start.Add(c.warmup+c.duration)
	f.acked, f.delivered = newMeter(f.begin, c.duration), newMeter(f.begin, c.duration)
	failure := make(chan error, len(posts)+1)
	var readers sync.WaitGroup
	for _, p := range posts {
		readers.Go(func() {
			if err := p.run(); ctx.Err() == nil {
				failure <- err
				cancel()
			}
		})
	}
	stop := context.AfterFunc(ctx, func() {
		for _, p := range posts {
			_ = p.conn.Abort()
		}
	})
	defer stop()
	usage := c.usageAt(ctx, f, bars)
	err := f.start(ctx, posts, c.rate)
	used := <-usage
	if err == nil {
		f.settle(ctx, posts)
	}
	cancel()
	readers.Wait()
	select {
	case err := <-failure:
		return nil, err
	default:
	}
	if err != nil {
		return nil, err
	}
	return c.result(f, used), nil
}

// start lets the senders go and returns when the measured time is over.
func (f *fast) start(ctx context.Context, posts []*post, rate int) error {
	var senders []*post
	for _, p := range posts {
		if p.sends {
			senders = append(senders, p)
		}
	}
	if !f.closed {
		return f.pace(ctx, senders, rate)
	}
	for _, p := range senders {
		if err := p.send(time.Now()); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	timer := time.NewTimer(time.Until(f.end))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// usageAt measures CPU time over the measured time, and moves the bar meanwhile.
func (c *runConfig) usageAt(ctx context.Context, f *fast, bars *progress) <-chan usage {
	result := make(chan usage, 1)
	total := int64((c.warmup + c.duration) / time.Second)
	bar := bars.live("seconds", total, f.now)
	go func() {
		var before usage
		began := false
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				result <- usage{}
				return
			case now := <-tick.C:
				bar.SetCurrent(min(int64(now.Sub(f.begin.Add(-c.warmup))/time.Second), total))
				if !began && !now.Before(f.begin) {
					before, began = usageOf(c.serverPID), true
				}
				if !now.Before(f.end) {
					after := usageOf(c.serverPID)
					finish(bar)
					result <- usage{after.client - before.client, after.server - before.server}
					return
				}
			}
		}
	}()
	return result
}

func (c *runConfig) result(f *fast, used usage) *Result {
	seconds := c.duration.Seconds()
	r := &Result{
		Started: f.begin, URL: c.url, Shape: c.shape(), Loop: c.loop(), Size: c.size, Receipts: c.receipts, Seconds: seconds,
		Sent: f.sent.Load(), Acked: f.acked.total.Load(), Expected: f.expected.Load(),
		Refused: f.refused.Load(), Skipped: f.skipped.Load(),
		ClientCPU: used.client.Seconds(), ServerCPU: used.server.Seconds(),
		Ack: summarize(f.acks.merged()), Receive: summarize(f.receives.merged()),
		AckedSeries: f.acked.series(), Received: f.delivered.series(),
	}
	r.Delivered = r.Receive.Count
	r.AckedRate, r.DeliveredRate = float64(r.Acked)/seconds, float64(f.delivered.total.Load())/seconds
	if r.Acked > 0 {
		r.PerMillion = r.ServerCPU / float64(r.Acked) * 1e6
	}
	return r
}

// tell prints the result and writes the files asked for.
func (c *runConfig) tell(r *Result, out io.Writer) error {
	if err := r.print(out); err != nil {
		return err
	}
	if c.json != "" {
		b, err := json.Marshal(r, jsontext.WithIndent("  "))
		if err != nil {
			return fmt.Errorf("figures: %w", err)
		}
		if err := os.WriteFile(c.json, append(b, '\n'), 0o600); err != nil {
			return fmt.Errorf("figures: %w", err)
		}
	}
	if c.plot != "" {
		return writePlot(c.plot, r)
	}
	return nil
}

// openHistory begins the history file of a run.
func openHistory(path string) (*checker.Writer, error) {
	if path == "" {
		return nil, nil
	}
	return checker.Create(path)
}
