package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/pkg/client/socket"
	"github.com/parley-chat/parley/pkg/wire"
)

// idleConfig is what `parleyload idle` is asked for.
type idleConfig struct {
	url           string
	connections   int
	users         int
	conversations int
	members       int
	addresses     int
	parallel      int
	settle        time.Duration
	watch         time.Duration
	serverPID     int
	admin         string
}

func newIdle() *cobra.Command {
	var c idleConfig
	idle := &cobra.Command{
		Use:   "idle",
		Short: "Open connections that log in, sync and then do nothing; measure what they cost the server",
		Long: `Registers users (a password hash each: bound them with --users), puts each into --conversations groups, opens
connections (by token: connect, upgrade, auth, sync) and lets them rest. It prints logins per second, the server's
memory per connection (VmRSS before and after, over the connections) and its CPU while all are idle.

The server must run with --limits off; both sides need a descriptor per connection (ulimit -n).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.validate(); err != nil {
				return err
			}
			return c.measure(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := idle.Flags()
	c.crowdFlags(f)
	f.DurationVar(&c.settle, "settle", 40*time.Second, "rest before the memory is read")
	f.DurationVar(&c.watch, "watch", 20*time.Second, "time over which the idle CPU is measured")
	f.StringVar(&c.admin, "admin", "", "admin address of the server, such as http://127.0.0.1:8081: the memory is read after a garbage collection too")
	return idle
}

// crowdFlags are those of every command that holds connections.
func (c *idleConfig) crowdFlags(f *pflag.FlagSet) {
	f.StringVar(&c.url, "url", "http://127.0.0.1:8080", "address of the server")
	f.IntVar(&c.connections, "connections", 1000, "connections to hold")
	f.IntVar(&c.users, "users", 0, "users to register; 0: one for each connection")
	f.IntVar(&c.conversations, "conversations", 10, "conversations of each user")
	f.IntVar(&c.members, "members", 20, "members of each conversation")
	f.IntVar(&c.addresses, "addresses", 1, "source addresses to connect from, 127.0.0.1 and up; each has some 28,000 ports")
	f.IntVar(&c.parallel, "parallel", 32, "logins at once, at first")
	f.IntVar(&c.serverPID, "server-pid", 0, "process of the server, which is measured (Linux)")
}

func (c *idleConfig) validate() error {
	if c.users == 0 {
		c.users = c.connections
	}
	if c.connections < 1 || c.users < 1 || c.conversations < 0 || c.members < 2 || c.parallel < 1 || c.addresses < 1 || c.addresses > 250 {
		return errors.New("idle: --connections, --users, --conversations, --members, --parallel or --addresses makes no sense")
	}
	return nil
}

// idleResult is what was measured.
type idleResult struct {
	logins        float64 // a second
	loginCPU      usage
	before, after memory
	rest          usage
	lost          int // connections that ended meanwhile
}

// memory is what the server has in RAM, in bytes, as it is and after a garbage collection.
type memory struct{ asIs, collected int64 }

const collecting = 10 * time.Second // for freed memory to go back to the system

func (c *idleConfig) memory(ctx context.Context) (memory, error) {
	m := memory{asIs: residentOf(c.serverPID)}
	if c.admin == "" {
		return m, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.admin+"/debug/pprof/heap?gc=1", http.NoBody)
	if err != nil {
		return m, fmt.Errorf("collect: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return m, fmt.Errorf("collect: %w", err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if err := rest(ctx, collecting); err != nil {
		return m, err
	}
	m.collected = residentOf(c.serverPID)
	return m, nil
}

func (c *idleConfig) measure(ctx context.Context, out, errOut io.Writer) error {
	bars := newProgress(ctx, errOut)
	defer bars.close()
	w := newWorld(c.url, time.Minute, nil)
	people, err := c.populate(ctx, w, bars)
	if err != nil {
		return err
	}
	tokens, err := c.tokens(ctx, people)
	if err != nil {
		return err
	}
	if err := rest(ctx, c.settle); err != nil { // what registering left is cleaned up
		return err
	}
	var r idleResult
	crowd := &crowd{}
	defer crowd.end()
	if r.before, err = c.memory(ctx); err != nil {
		return err
	}
	used, began := usageOf(c.serverPID), time.Now()
	if err := c.fill(ctx, crowd, tokens, bars); err != nil {
		return err
	}
	r.logins = float64(c.connections) / time.Since(began).Seconds()
	r.loginCPU = used.until(c.serverPID)
	if err := rest(ctx, c.settle); err != nil {
		return err
	}
	if r.after, err = c.memory(ctx); err != nil {
		return err
	}
	used = usageOf(c.serverPID)
	if err := rest(ctx, c.watch); err != nil {
		return err
	}
	r.rest = used.until(c.serverPID)
	r.lost = crowd.lost()
	bars.close()
	return c.tell(&r, out)
}

// populate registers everybody and makes the conversations: in each round all people stand in another order and
// are cut into groups.
func (c *idleConfig) populate(ctx context.Context, w *world, bars *progress) ([]*person, error) {
	bar := bars.bar("people", int64(c.users))
	name := runName()
	people, err := w.register(ctx, c.users, func(i int) string { return fmt.Sprintf("i%s-%d", name, i) }, bar.Increment)
	if err != nil {
		return nil, err
	}
	size := min(c.members, c.users)
	groups := (c.users + size - 1) / size
	bar = bars.bar("conversations", int64(c.conversations*groups))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(registering)
	for round := range c.conversations {
		order := rand.Perm(c.users) //nolint:gosec // any order does
		for g := range groups {
			group.Go(func() error {
				defer bar.Increment()
				t := talk{}
				for _, i := range order[g*size : min((g+1)*size, c.users)] {
					t.people = append(t.people, people[i])
				}
				return w.group(ctx, &t, fmt.Sprintf("idle %d-%d", round, g))
			})
		}
	}
	return people, group.Wait()
}

// tokens are living access tokens, so that a login costs no password hash.
func (c *idleConfig) tokens(ctx context.Context, people []*person) ([]string, error) {
	tokens := make([]string, len(people))
	for i, p := range people {
		var err error
		if tokens[i], _, err = p.api.Token(ctx); err != nil {
			return nil, fmt.Errorf("token of %s: %w", p.username, err)
		}
	}
	return tokens, nil
}

// crowd is the connections of a run, each with a goroutine that answers pings.
type crowd struct {
	readers sync.WaitGroup

	mu    sync.Mutex // guards what follows
	conns []*socket.Conn
	gone  int
}

func (c *crowd) add(conn *socket.Conn) {
	c.mu.Lock()
	c.conns = append(c.conns, conn)
	c.mu.Unlock()
	c.readers.Go(func() {
		for {
			if _, err := conn.Read(); err != nil {
				c.mu.Lock()
				c.gone++
				c.mu.Unlock()
				return
			}
		}
	})
}

func (c *crowd) lost() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

func (c *crowd) end() {
	c.mu.Lock()
	for _, conn := range c.conns {
		_ = conn.Abort()
	}
	c.mu.Unlock()
	c.readers.Wait()
}

// fill opens all connections.
func (c *idleConfig) fill(ctx context.Context, crowd *crowd, tokens []string, bars *progress) error {
	sync, err := wire.EncodeFrame(2, wire.TypeSync, wire.Sync{})
	if err != nil {
		return err
	}
	bar := bars.bar("connections", int64(c.connections))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.parallel)
	for i := range c.connections {
		group.Go(func() error {
			conn, err := c.login(ctx, i, tokens[i%len(tokens)], sync)
			if err != nil {
				return fmt.Errorf("connection %d: %w", i, err)
			}
			crowd.add(conn)
			bar.Increment()
			return nil
		})
	}
	return group.Wait()
}

// login connects, authenticates and syncs.
func (c *idleConfig) login(ctx context.Context, i int, token string, sync []byte) (*socket.Conn, error) {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%c.addresses))}
	dialer := net.Dialer{}
	if c.addresses > 1 {
		dialer.LocalAddr = from
	}
	conn, err := socket.Dial(ctx, socket.Config{URL: c.url, Token: token, ReadBuffer: 512, Dial: dialer.DialContext})
	if err != nil {
		return nil, err
	}
	if err = conn.Write(sync); err == nil {
		err = awaitCaughtUp(conn, func(wire.Frame) error { return nil })
	}
	if err != nil {
		_ = conn.Abort()
		return nil, err
	}
	return conn, nil
}

// awaitCaughtUp reads a sync's answer to its end; each gets every frame before.
func awaitCaughtUp(conn *socket.Conn, each func(wire.Frame) error) error {
	for {
		b, err := conn.Read()
		if err != nil {
			return err
		}
		f, err := socket.Decode(b)
		switch {
		case err != nil:
			return err
		case f.Type == wire.TypeCaughtUp:
			return nil
		case f.Type == wire.TypeError:
			return fmt.Errorf("sync: %w", socket.ErrorOf(f))
		}
		if err := each(f); err != nil {
			return err
		}
	}
}

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (c *idleConfig) tell(r *idleResult, out io.Writer) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%d connections of %d users, each in %d conversations of %d; %d logins at once from %d addresses; %d CPUs shared with the client, %s",
		c.connections, c.users, c.conversations, min(c.members, c.users), c.parallel, c.addresses, runtime.NumCPU(), runtime.Version())
	line("logins       %8.0f /s   server CPU %.0f µs each, client %.0f µs", r.logins,
		float64(r.loginCPU.server.Microseconds())/float64(c.connections), float64(r.loginCPU.client.Microseconds())/float64(c.connections))
	of := func(what string, before, after int64) {
		line("memory       %8.0f bytes per connection %s (VmRSS %.1f MB before, %.1f MB after)",
			float64(after-before)/float64(c.connections), what, float64(before)/1e6, float64(after)/1e6)
	}
	of(fmt.Sprintf("%s later", c.settle), r.before.asIs, r.after.asIs)
	if c.admin != "" {
		of("collected", r.before.collected, r.after.collected)
	}
	line("idle         %8.2f %% of one CPU over %s (pings included)", 100*r.rest.server.Seconds()/c.watch.Seconds(), c.watch)
	line("lost         %8d connections", r.lost)
	_, err := io.WriteString(out, b.String())
	return err
}
