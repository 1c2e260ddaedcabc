package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
	"github.com/parley-chat/parley/pkg/client/socket"
	"github.com/parley-chat/parley/pkg/wire"
)

// stormConfig is what `parleyload storm` is asked for.
type stormConfig struct {
	idleConfig

	rounds int
	calm   time.Duration
}

func newStorm() *cobra.Command {
	var c stormConfig
	storm := &cobra.Command{
		Use:   "storm",
		Short: "Drop all connections at once and measure how they come back",
		Long: `Opens connections as idle does, then aborts all of them at once, --rounds times. Every client comes back by
itself with the SDKs' jittered backoff and the server's hints, and syncs from the positions that it had. Printed
are the times from the drop until a client had caught up, the tries, and the server's CPU.

The server must run with --limits off; both sides need a descriptor per connection (ulimit -n).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.validate(); err != nil {
				return err
			}
			if c.rounds < 1 || c.calm < 0 {
				return errors.New("storm: --rounds or --calm makes no sense")
			}
			return c.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := storm.Flags()
	c.crowdFlags(f)
	f.IntVar(&c.rounds, "rounds", 3, "times that all are dropped")
	f.DurationVar(&c.calm, "calm", 5*time.Second, "rest before each drop")
	return storm
}

// gust is one round.
type gust struct {
	back  *latencies // from the drop until caught up
	tries atomic.Int64
	used  usage
	took  time.Duration
}

func (c *stormConfig) run(ctx context.Context, out, errOut io.Writer) error {
	bars := newProgress(ctx, errOut)
	defer bars.close()
	people, err := c.populate(ctx, newWorld(c.url, time.Minute, nil), bars)
	if err != nil {
		return err
	}
	tokens, err := c.tokens(ctx, people)
	if err != nil {
		return err
	}
	now := &crowd{}
	defer func() { now.end() }()
	if err := c.fill(ctx, now, tokens, bars); err != nil {
		return err
	}
	positions, err := c.positions(ctx, tokens)
	if err != nil {
		return err
	}
	gusts := make([]*gust, c.rounds)
	bar := bars.bar("rounds", int64(c.rounds))
	for i := range gusts {
		if err := rest(ctx, c.calm); err != nil {
			return err
		}
		now.end()
		now = &crowd{}
		if gusts[i], err = c.blow(ctx, now, tokens, positions); err != nil {
			return err
		}
		bar.Increment()
	}
	bars.close()
	return c.print(out, gusts)
}

// positions are each user's sync frames from now on.
func (c *stormConfig) positions(ctx context.Context, tokens []string) ([][]byte, error) {
	frames := make([][]byte, len(tokens))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.parallel)
	for i, token := range tokens {
		group.Go(func() error {
			has, err := c.heads(ctx, token)
			if err != nil {
				return fmt.Errorf("positions: %w", err)
			}
			frames[i], err = wire.EncodeFrame(2, wire.TypeSync, wire.Sync{Conversations: has})
			return err
		})
	}
	return frames, group.Wait()
}

func (c *stormConfig) heads(ctx context.Context, token string) (map[string]chat.Seq, error) {
	conn, err := socket.Dial(ctx, socket.Config{URL: c.url, Token: token})
	if err != nil {
		return nil, err
	}
	defer conn.Abort() //nolint:errcheck // it has told everything
	ask, err := wire.EncodeFrame(2, wire.TypeSync, wire.Sync{})
	if err != nil {
		return nil, err
	}
	if err := conn.Write(ask); err != nil {
		return nil, err
	}
	has := map[string]chat.Seq{}
	return has, awaitCaughtUp(conn, func(f wire.Frame) error {
		if f.Type != wire.TypeSyncRecords {
			return nil
		}
		s, err := wire.DecodeData[wire.SyncRecords](f)
		has[string(s.ConversationID)] = s.Head.Seq
		return err
	})
}

// blow has everybody come back after a drop that has just happened.
func (c *stormConfig) blow(ctx context.Context, crowd *crowd, tokens []string, positions [][]byte) (*gust, error) {
	g := &gust{back: newLatencies()}
	used, dropped := usageOf(c.serverPID), time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range c.connections {
		group.Go(func() error {
			conn, err := c.comeBack(ctx, g, i, tokens[i%len(tokens)], positions[i%len(tokens)])
			if err != nil {
				return err
			}
			g.back.add(i, time.Since(dropped))
			crowd.add(conn)
			return nil
		})
	}
	err := group.Wait()
	g.took, g.used = time.Since(dropped), used.until(c.serverPID)
	return g, err
}

// comeBack tries until it is back, as the SDKs do.
func (c *stormConfig) comeBack(ctx context.Context, g *gust, i int, token string, sync []byte) (*socket.Conn, error) {
	var hint time.Duration
	for attempt := 0; ; attempt++ {
		if err := rest(ctx, client.DefaultReconnect().Wait(attempt, hint)); err != nil {
			return nil, err
		}
		g.tries.Add(1)
		conn, err := c.login(ctx, i, token, sync)
		if err == nil {
			return conn, nil
		}
		hint = 0
		if refused, ok := errors.AsType[*chat.Error](err); ok {
			if !refused.Kind.Rule().Retryable {
				return nil, fmt.Errorf("connection %d: %w", i, err)
			}
			hint = refused.RetryAfter
		}
	}
}

func (c *stormConfig) print(out io.Writer, gusts []*gust) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "%d connections of %d users in %d conversations each dropped at once\n\n", c.connections, c.users, c.conversations) // Flush tells
	_, _ = fmt.Fprintf(t, "round\tp50 s\tp90\tp99\tlast\ttries\tserver CPU s\n")
	for i, g := range gusts {
		s := summarize(g.back.merged())
		_, _ = fmt.Fprintf(t, "%d\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t%.2f\n", i+1, s.P50/1000, s.P90/1000, s.P99/1000, g.took.Seconds(), g.tries.Load(), g.used.server.Seconds())
	}
	return t.Flush()
}
