package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	maxPayload    = 2 << 20          // bytes of one message; also of one record with its headers
	startWithin   = 5 * time.Minute  // recovery of a log without its index scans every block
	readWithin    = 10 * time.Second // a stream that was recovered answers a read within it
	mostConsumers = 10_000           // per stream; watchers count

	// noStoreLimit leaves the bound to the streams' own MaxBytes: the server's default, a share of what
	// is free at its start, would shrink as the log grows.
	noStoreLimit = 1 << 60
)

// ServerConfig is the embedded server. Folder is the data folder; the store lives in its nats folder.
type ServerConfig struct {
	Folder     string
	SyncAlways bool   // sync each message; otherwise a Barrier makes commits durable
	Listen     string // host:port for services outside the process, "" for no port
	MaxStore   int64  // bytes of all streams together, 0: the streams' own limits decide
	Log        *slog.Logger
}

// Server is a running embedded server. Whoever started it stops it, after every connection was closed.
type Server struct {
	ns     *server.Server
	secret string // password of the process's own connections, made at each start
}

// StartServer starts the server, waits until it has recovered its store and reads every stream that is
// on disk. A stream that can not be read is an error: the server by itself would go on without it.
func StartServer(ctx context.Context, c ServerConfig) (*Server, error) {
	store := filepath.Join(c.Folder, "nats")
	if err := os.MkdirAll(store, 0o700); err != nil {
		return nil, fmt.Errorf("start nats: folder %s: %w", store, err)
	}
	onDisk, err := streamsOnDisk(store)
	if err != nil {
		return nil, fmt.Errorf("start nats: %w", err)
	}
	s := &Server{secret: rand.Text()}
	options, err := serverOptions(c, store, s.secret)
	if err != nil {
		return nil, fmt.Errorf("start nats: %w", err)
	}
	s.ns, err = server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("start nats: %w", err)
	}
	bridge := &logBridge{log: c.Log, fatal: make(chan string, 1)}
	s.ns.SetLoggerV2(bridge, false, false, false)
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := s.start(ctx, bridge); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start nats in %s: %w", store, err)
	}
	if err := s.readAll(ctx, onDisk); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start nats in %s: %w", store, err)
	}
	return s, nil
}

func serverOptions(c ServerConfig, store, secret string) (*server.Options, error) {
	o := &server.Options{
		ServerName:         "parley",
		DontListen:         c.Listen == "",
		NoSigs:             true,
		MaxPayload:         maxPayload,
		JetStream:          true,
		StoreDir:           store,
		JetStreamMaxStore:  c.MaxStore,
		JetStreamMaxMemory: memoryBytes,
		SyncAlways:         c.SyncAlways,
		JetStreamLimits:    server.JSLimitOpts{DefaultMaxConsumers: mostConsumers},

		DisableJetStreamBanner: true,
	}
	if c.MaxStore == 0 {
		o.JetStreamMaxStore = noStoreLimit
	}
	if c.Listen == "" {
		return o, nil
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: %w", c.Listen, err)
	}
	if o.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("listen address %q: port: %w", c.Listen, err)
	}
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	o.Host = host
	o.Users = []*server.User{
		{Username: userSelf, Password: secret},
		{Username: userService, Permissions: servicePermissions()},
	}
	o.NoAuthUser = userService
	return o, nil
}

// start runs the server's Start to its end, a fatal line of its log, or ctx.
func (s *Server) start(ctx context.Context, bridge *logBridge) error {
	started := make(chan struct{})
	go func() {
		defer close(started)
		s.ns.Start()
	}()
	select {
	case <-started:
	case <-ctx.Done():
		return fmt.Errorf("the store was not recovered: %w", ctx.Err())
	}
	select {
	case line := <-bridge.fatal:
		return errors.New(line)
	default:
	}
	// Everything has been done by Start; this names a listener that could not be opened.
	if !s.ns.ReadyForConnections(readWithin) {
		select {
		case line := <-bridge.fatal:
			return errors.New(line)
		default:
			return errors.New("the server does not accept connections")
		}
	}
	return nil
}

// streamsOnDisk lists the streams that a restart must bring back. The folder of a stream whose
// deletion was interrupted begins with a point.
func streamsOnDisk(store string) ([]string, error) {
	folder := filepath.Join(store, server.JetStreamStoreDir, "$G", "streams")
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name()[0] != '.' {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// readAll reads the first and the last message of each stream.
func (s *Server) readAll(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	nc, err := s.Connect("start")
	if err != nil {
		return err
	}
	defer nc.Close()
	for _, name := range names {
		if err := probeStream(ctx, nc, name); err != nil {
			return fmt.Errorf("stream %s is on disk but can not be read (restore it from a backup, or move its folder away to go on without it): %w", name, err)
		}
	}
	return nil
}

// probeStream is a real read: the first and the last message, if there are any.
func probeStream(ctx context.Context, nc *nats.Conn, name string) error {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	state, err := streamState(ctx, nc, name)
	if err != nil {
		return err
	}
	if state.Messages == 0 {
		return nil
	}
	for _, seq := range []uint64{state.First, state.Last} {
		// The last sequence itself may have been deleted (buckets): then there is nothing to read there.
		if _, err := leaderGet(ctx, nc, name, getRequest{Seq: seq}); err != nil && !errors.Is(err, errNoMessage) {
			return err
		}
	}
	return nil
}

// Connect opens a connection inside the process. The caller closes it. Reads are served on the
// connection's own loop: a writer that must not wait for them has a connection of its own.
func (s *Server) Connect(name string) (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.InProcessServer(s.ns), nats.Name(name),
		nats.UserInfo(userSelf, s.secret), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // the default prints to standard error; readers see a gap
	if err != nil {
		return nil, fmt.Errorf("connect %s to the embedded nats: %w", name, err)
	}
	return nc, nil
}

// Address is where services connect; empty without a port.
func (s *Server) Address() string {
	if a := s.ns.Addr(); a != nil {
		return a.String()
	}
	return ""
}

// Stop ends the server after it has written its state.
func (s *Server) Stop() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
}

// logBridge passes the server's lines on: warnings and errors as such, the rest as debug lines.
type logBridge struct {
	log   *slog.Logger
	fatal chan string // holds the first fatal line
}

func (b *logBridge) Noticef(format string, v ...any) {
	b.log.Debug("nats server", slog.String("line", fmt.Sprintf(format, v...)))
}

func (b *logBridge) Warnf(format string, v ...any) {
	b.log.Warn("nats server", slog.String("line", fmt.Sprintf(format, v...)))
}

func (b *logBridge) Errorf(format string, v ...any) {
	b.log.Error("nats server", slog.String("line", fmt.Sprintf(format, v...)))
}

// Fatalf does not end the process: StartServer returns the line as its error.
func (b *logBridge) Fatalf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	select {
	case b.fatal <- line:
	default:
		b.log.Error("nats server", slog.String("line", line))
	}
}

func (b *logBridge) Debugf(string, ...any) {}
func (b *logBridge) Tracef(string, ...any) {}
