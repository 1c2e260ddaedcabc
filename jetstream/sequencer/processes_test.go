package sequencer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

const ownerEnvironment = "PARLEY_TEST_OWNER" // in it a test binary is an owner: address of the brokers

// runOwner is a process that wants to own the partition, for ever: each time it is overtaken it begins anew.
func runOwner(addresses string) error {
	nc, err := nats.Connect(addresses, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	reads, err := nats.Connect(addresses, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	for start := 0; ; start++ {
		if err := ownOnce(nc, reads, fmt.Sprintf("%d.%d", os.Getpid(), start)); err != nil {
			return err
		}
	}
}

func ownOnce(nc, reads *nats.Conn, holder string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	kv, err := jetstream.Bucket(ctx, nc, jetstream.BucketLeases)
	if err != nil {
		return err
	}
	lease := jetstream.NewLease(jetstream.LeaseConfig{KV: kv, Key: "sequencer.g1p0", Holder: holder, Log: quiet()})
	var running sync.WaitGroup
	running.Go(func() { _ = lease.Run(ctx) })
	defer running.Wait()
	s := New(Config{
		NC: nc, Token: jetstream.Token{Generation: 1}, Partitions: 1, Lease: lease, Barrier: jetstream.NopBarrier{},
		Store: newMemory(), Reader: jetstream.NewLogReader(reads), Rates: Rates{Off: true}, Log: quiet(),
	})
	fmt.Println("begins as", holder) // the parent reads it
	err = s.Run(ctx)
	cancel()
	fmt.Println("ended:", err) // the parent reads it
	if errors.Is(err, ErrLog) || errors.Is(err, ErrBarrier) {
		return err
	}
	return nil
}

// startBrokers runs as many servers as replicas, each with a store of its own, syncing always.
func startBrokers(t *testing.T, replicas int) string {
	t.Helper()
	var ports, routes []string
	var listeners []net.Listener // all at once, so that no port comes twice
	for range 2 * replicas {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		ports = append(ports, l.Addr().String())
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	for i := range replicas {
		routes = append(routes, "nats://"+ports[replicas+i])
	}
	var urls []string
	for i := range replicas {
		o := &server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: portOf(ports[i]), NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, MaxPayload: 2 << 20,
		}
		if replicas > 1 {
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: portOf(ports[replicas+i])}
			o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		}
		ns, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		urls = append(urls, "nats://"+ports[i])
		t.Cleanup(func() {
			ns.Shutdown()
			ns.WaitForShutdown()
		})
		go ns.Start()
	}
	return strings.Join(urls, ",")
}

func portOf(address string) int {
	var port int
	_, text, _ := net.SplitHostPort(address)
	_, _ = fmt.Sscan(text, &port)
	return port
}

// ownerProcess is this test binary as an owner.
type ownerProcess struct {
	cmd    *exec.Cmd
	mu     sync.Mutex
	begins int // terms of office, asked for
	lines  []string
}

func startOwner(t *testing.T, addresses string) *ownerProcess {
	t.Helper()
	p := &ownerProcess{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), ownerEnvironment+"="+addresses)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, lines.Text())
			p.begins += strings.Count(lines.Text(), "begins")
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-done
		_ = p.cmd.Wait()
	})
	return p
}

func (p *ownerProcess) terms() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begins
}

func (p *ownerProcess) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

func (p *ownerProcess) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("owner process is gone: %v\n%s", err, p.said())
	}
}

// TestFaultTwoOwners stops each of two owner processes in turn for longer than the lease lasts, under load, and
// lets it go on: it believes to own the partition still. Every acknowledged command must stand once.
func TestFaultTwoOwners(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprintf("R%d", replicas), func(t *testing.T) { twoOwners(t, replicas) })
	}
}

func faultTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("PARLEY_FAULT_TIME")
	if text == "" {
		return 9 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("PARLEY_FAULT_TIME: %v", err)
	}
	return max(d, 9*time.Second)
}

func twoOwners(t *testing.T, replicas int) {
	d := faultTime(t)
	ctx, cancel := context.WithTimeout(t.Context(), d+40*time.Second)
	defer cancel()
	addresses := startBrokers(t, replicas)
	nc, err := nats.Connect(addresses, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	w := &world{t: t, ctx: ctx, nc: nc, token: jetstream.Token{Generation: 1}, reader: jetstream.NewLogReader(nc)}
	w.eventually("the brokers to take streams", func() bool {
		// A request before there is a leader gets no answer at all.
		try, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = jetstream.Ensure(try, nc, jetstream.Topology{Generation: 1, Partitions: 1, LogMaxBytes: 1 << 30, Replicas: replicas})
		return err == nil
	})
	owners := []*ownerProcess{startOwner(t, addresses), startOwner(t, addresses)}

	load, stop := context.WithCancel(ctx)
	var senders sync.WaitGroup
	s := &crowd{w: w, remote: NewRemote(nc, 0), acked: map[string]conversation.Outcome{}}
	for i := range 8 {
		senders.Go(func() { s.send(ctx, load, i) })
	}
	end := time.After(d)
	pauses := 0
	for done := false; !done; pauses++ {
		p := owners[pauses%2]
		p.signal(t, syscall.SIGSTOP)
		done = waited(end, 3500*time.Millisecond)
		p.signal(t, syscall.SIGCONT)
		done = done || waited(end, 1500*time.Millisecond)
	}
	stop()
	senders.Wait()
	if ctx.Err() != nil {
		t.Fatalf("no owner answers any more\n%s\n--\n%s", owners[0].said(), owners[1].said())
	}
	s.judge(t)
	t.Logf("R%d: %d pauses beyond the lease, %d acknowledged, %d unknown on the way, %d and %d starts of an owner",
		replicas, pauses, len(s.acked), s.unknown.Load(), owners[0].terms(), owners[1].terms())
}

// waited waits for d, or reports that the end came first.
func waited(end <-chan time.Time, d time.Duration) bool {
	select {
	case <-end:
		return true
	case <-time.After(d):
		return false
	}
}

// crowd is senders that repeat each command under its client id until it is answered for good.
type crowd struct {
	w       *world
	remote  *Remote
	unknown atomic.Int64

	mu    sync.Mutex
	acked map[string]conversation.Outcome // by conversation and client id
}

func (s *crowd) send(ctx, load context.Context, i int) {
	id := groupID(i)
	s.until(ctx, s.w.create(id, user(0)))
	for n := 0; load.Err() == nil; n++ {
		s.until(ctx, s.w.send(id, user(0), fmt.Sprintf("%d of sender %d", n, i)))
	}
}

func (s *crowd) until(ctx context.Context, c conversation.Command) {
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		o, err := s.remote.Submit(try, c)
		cancel()
		if err == nil {
			s.mu.Lock()
			s.acked[string(c.ConversationID)+c.ClientID.String()] = o
			s.mu.Unlock()
			return
		}
		s.unknown.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// judge reads the whole log: what was acknowledged stands there, once, at the place that was told.
func (s *crowd) judge(t *testing.T) {
	t.Helper()
	found := map[string]chat.Entry{}
	for _, e := range s.w.check() {
		found[string(e.ConversationID)+e.ClientID.String()] = e
	}
	for name, o := range s.acked {
		e, ok := found[name]
		if !ok {
			t.Fatalf("%s was acknowledged at seq %d and is not in the log", name, o.Seq)
		}
		if e.Seq != o.Seq || e.ID != o.ID || e.N != o.N {
			t.Fatalf("%s was acknowledged at seq %d id %d and stands at seq %d id %d", name, o.Seq, o.ID, e.Seq, e.ID)
		}
	}
	if len(s.acked) < 100 {
		t.Fatalf("%d commands acknowledged: hardly a load", len(s.acked))
	}
}
