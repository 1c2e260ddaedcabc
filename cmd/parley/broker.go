package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/persist/roster"
	"github.com/parley-chat/parley/pkg/chat"
)

// broker is the embedded NATS with everything in it made or verified, and the ways to it.
type broker struct {
	server      *jetstream.Server
	barrier     jetstream.Barrier
	syncfs      *jetstream.Syncfs // nil: the broker syncs each message
	main        *jetstream.Conn   // requests and buckets
	reads       *jetstream.Conn   // batches of records: never in the way of a writer
	presence    *jetstream.Conn   // who is online: never in the way of anybody
	reader      *jetstream.LogReader
	meta        jetstream.Meta
	topology    jetstream.Topology
	revocations *jetstream.Revocations
	conns       []*jetstream.Conn
}

// openBroker starts NATS and brings its streams to where the stores are: a log that has lost what a store
// holds is followed by a new generation.
func openBroker(ctx context.Context, n *node) (_ *broker, err error) {
	b := &broker{barrier: jetstream.NopBarrier{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	byBarrier := n.config.durableByBarrier(runtime.GOOS == "linux")
	b.server, err = jetstream.StartServer(ctx, jetstream.ServerConfig{
		Folder: n.folder.path, SyncAlways: !byBarrier, Listen: n.config.NATSListen, Log: n.log,
	})
	if err != nil {
		return nil, err
	}
	if byBarrier {
		b.syncfs = jetstream.NewSyncfs(n.folder.path, n.reg)
		b.barrier = b.syncfs
	}
	if b.main, err = b.connect("main"); err != nil {
		return nil, err
	}
	if b.reads, err = b.connect("reads"); err != nil {
		return nil, err
	}
	if b.presence, err = b.connect("presence"); err != nil {
		return nil, err
	}
	b.reader = jetstream.NewLogReader(b.reads)
	if err := b.settle(ctx, n); err != nil {
		return nil, err
	}
	b.revocations = jetstream.NewRevocations(jetstream.RevocationsConfig{
		NC: b.main, Barrier: b.barrier, Life: b.topology.RevocationLife, Now: n.now, Reg: n.reg, Log: n.log,
	})
	return b, nil
}

func (b *broker) connect(name string) (*jetstream.Conn, error) {
	c, err := b.server.Connect(name)
	if err != nil {
		return nil, err
	}
	b.conns = append(b.conns, c)
	return c, nil
}

// settle makes or verifies streams and buckets, and opens a new generation where one is due.
func (b *broker) settle(ctx context.Context, n *node) error {
	logBytes, err := n.logBytes()
	if err != nil {
		return err
	}
	b.meta, err = jetstream.InitMeta(ctx, b.main, jetstream.Meta{
		Partitions: n.config.Partitions, Fingerprint: n.key.Fingerprint(), LogMaxBytes: logBytes,
	}, 1)
	if err != nil {
		return err
	}
	if b.meta.Partitions != n.config.Partitions {
		n.log.Warn("partitions are kept with the data", slog.Int("data", b.meta.Partitions), slog.Int("setting", n.config.Partitions))
	}
	if n.config.LogMaxBytes == 0 && b.meta.LogMaxBytes > 0 {
		logBytes = b.meta.LogMaxBytes
	}
	b.topology = jetstream.Topology{
		Generation: b.meta.Generation, Partitions: b.meta.Partitions, LogMaxBytes: logBytes,
		RevocationLife: n.config.AccessLife + revocationSlack,
	}
	if err := b.ensure(ctx, n); err != nil {
		return err
	}
	if err := b.barrier.Sync(ctx); err != nil {
		return fmt.Errorf("sync after the streams were made: %w", err)
	}
	if err := b.follow(ctx, n); err != nil {
		return err
	}
	return b.checkRoster(ctx, n)
}

func (b *broker) ensure(ctx context.Context, n *node) error {
	drift, err := jetstream.Ensure(ctx, b.main, b.topology)
	for _, d := range drift {
		n.log.Warn("stream differs from what it should be, nothing was altered", slog.String("difference", d))
	}
	return err
}

// follow opens a new generation when a log lies behind the store: its records are in the store alone.
func (b *broker) follow(ctx context.Context, n *node) error {
	var behind []int
	for p := range b.meta.Partitions {
		applied, _, err := n.messages.Position(ctx, p)
		if err != nil {
			return err
		}
		is, err := jetstream.CheckPosition(ctx, b.reader, jetstream.Token{Generation: b.meta.Generation, Partition: p}, applied)
		if err != nil {
			return err
		}
		if is {
			behind = append(behind, p)
		}
	}
	if len(behind) == 0 {
		return nil
	}
	for p := range b.meta.Partitions {
		if err := b.finish(ctx, n, p, behind); err != nil {
			return err
		}
	}
	next, _, err := jetstream.OpenGeneration(ctx, b.main, b.meta, b.topology)
	if err != nil {
		return err
	}
	n.log.Warn("the log lies behind the store: a new generation of streams goes on from the store's heads",
		slog.Any("partitions", behind), slog.Uint64("generation", uint64(next.Generation)))
	b.meta, b.topology.Generation = next, next.Generation
	if err := b.barrier.Sync(ctx); err != nil {
		return fmt.Errorf("sync after the new generation: %w", err)
	}
	return nil
}

// finish has persist read the old generation to its end, where the log is whole.
func (b *broker) finish(ctx context.Context, n *node, p int, behind []int) error {
	if slices.Contains(behind, p) {
		return nil
	}
	token := jetstream.Token{Generation: b.meta.Generation, Partition: p}
	_, sealed, err := n.messages.Position(ctx, p)
	if err != nil {
		return err
	}
	from, err := nextOf(token, sealed)
	if err != nil {
		return err
	}
	last, err := b.reader.LastFromLeader(ctx, token)
	if err != nil || last < from {
		return err
	}
	worker := persist.NewWorker(persist.Config{Store: n.messages, Partition: p, Log: n.log})
	return b.reader.Scan(ctx, token, from, last, func(batch []chat.Entry) error { return worker.Handle(ctx, batch) })
}

// nextOf is the first stream sequence of a log that lies after a position.
func nextOf(token jetstream.Token, at chat.Mark) (uint64, error) {
	switch {
	case at.Generation < token.Generation:
		return 1, nil
	case at.Generation > token.Generation:
		return 0, fmt.Errorf("partition %s: a position names generation %d, which the log does not have", token, at.Generation)
	default:
		return at.StreamSeq + 1, nil
	}
}

// checkRoster projects the conversations again where the log can not bring the projection up to date.
func (b *broker) checkRoster(ctx context.Context, n *node) error {
	for p := range b.meta.Partitions {
		token := jetstream.Token{Generation: b.meta.Generation, Partition: p}
		at, err := n.people.Projected(ctx, p)
		if err != nil {
			return err
		}
		first, err := b.reader.First(ctx, token)
		if err != nil {
			return err
		}
		ahead, err := jetstream.CheckPosition(ctx, b.reader, token, at)
		if err != nil {
			return err
		}
		fresh := at == (chat.Mark{}) && first <= 1 && token.Generation == 1
		reaches := at.Generation == token.Generation && at.StreamSeq+1 >= first && !ahead
		if fresh || reaches {
			continue
		}
		applied, _, err := n.messages.Position(ctx, p)
		if err != nil {
			return err
		}
		if applied.Generation < token.Generation {
			applied = chat.Mark{Generation: token.Generation}
		}
		count, err := roster.Rebuild(ctx, n.messages, n.people, p, b.meta.Partitions, applied)
		if err != nil {
			return err
		}
		n.log.Warn("conversation lists were projected again from the message store",
			slog.Int("partition", p), slog.Int("conversations", count))
	}
	return nil
}

func (b *broker) close() error {
	for _, conn := range slices.Backward(b.conns) {
		conn.Close()
	}
	if b.server != nil {
		b.server.Stop()
	}
	if b.syncfs != nil {
		return b.syncfs.Close()
	}
	return nil
}
