package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/parley-chat/parley/fanout"
	"github.com/parley-chat/parley/jetstream"
	messages "github.com/parley-chat/parley/persist/sqlite"
	"github.com/parley-chat/parley/pkg/auth"
	people "github.com/parley-chat/parley/pkg/directory/sqlite"
	"github.com/parley-chat/parley/pkg/lifecycle"
	"github.com/parley-chat/parley/pkg/telemetry"
)

const (
	partGrace       = 20 * time.Second // longest wait for one part at a stop
	readyWithin     = 5 * time.Minute  // a sequencer that loads a long tail
	storeWithin     = 5 * time.Second  // for the store to reach the log's end at a stop
	mostLogBytes    = 64 << 30
	leastLogBytes   = 64 << 20
	revocationSlack = 5 * time.Minute // a revocation outlives the last token by this much
)

// node is every role in one process, on one data folder.
type node struct {
	config Config
	now    func() time.Time
	log    *slog.Logger
	reg    *prometheus.Registry

	folder   *dataFolder
	key      auth.InstallationKey
	messages *messages.Store
	people   *people.Store
	broker   *broker

	partitions []*partition
	front      *front
	group      *lifecycle.Group

	faults faults
}

// faults are where tests put faults between parts; zero fields: none.
type faults struct {
	hop     func(fanout.Transport) fanout.Transport
	handler func(consumer string, h jetstream.Handler) jetstream.Handler
}

// serveNode runs a node until ctx ends or a part fails.
func serveNode(ctx context.Context, config Config, out, logTo io.Writer) error {
	log, err := telemetry.NewLogger(logTo, config.LogFormat, config.LogLevel)
	if err != nil {
		return err
	}
	n := &node{config: config, now: time.Now, log: log, reg: telemetry.NewRegistry()}
	return n.run(ctx, out, nil)
}

// run opens, starts, waits and stops. started, if given, closes once clients can come.
func (n *node) run(ctx context.Context, out io.Writer, started chan<- struct{}) (err error) {
	defer func() { err = errors.Join(err, n.close()) }()
	if err := n.open(ctx); err != nil {
		return err
	}
	n.group = lifecycle.New(n.log, partGrace)
	if err := n.start(ctx); err != nil {
		return errors.Join(err, n.group.Stop())
	}
	n.welcome().print(out)
	if started != nil {
		close(started)
	}
	select {
	case err = <-n.group.Failed():
		n.log.Error("a part failed, stopping", slog.Any("error", err))
	case <-ctx.Done():
		n.log.Info("stopping")
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.config.DrainTime+time.Second)
		n.front.edge.Drain(drain)
		cancel()
		n.awaitStore(context.WithoutCancel(ctx))
	}
	return errors.Join(err, n.group.Stop())
}

// open takes the folder and opens everything in it; nothing runs yet but the broker.
func (n *node) open(ctx context.Context) (err error) {
	if n.folder, err = openDataFolder(n.config.Data); err != nil {
		return err
	}
	var made bool
	if n.key, made, err = auth.OpenInstallationKey(n.folder.file("installation.key")); err != nil {
		return err
	}
	if made {
		n.log.Info("installation key made: back it up", slog.String("file", n.folder.file("installation.key")))
	}
	n.messages, err = messages.Open(ctx, messages.Config{Path: n.folder.file("messages.db"), Log: n.log, Reg: n.reg})
	if err != nil {
		return err
	}
	n.people, err = people.Open(ctx, people.Config{Path: n.folder.file("directory.db"), Log: n.log, Reg: n.reg})
	if err != nil {
		return err
	}
	for _, claim := range []func(context.Context, string) error{n.messages.Claim, n.people.Claim} {
		if err := claim(ctx, n.key.Fingerprint()); err != nil {
			return err
		}
	}
	n.broker, err = openBroker(ctx, n)
	return err
}

func (n *node) logBytes() (int64, error) {
	if n.config.LogMaxBytes > 0 {
		return n.config.LogMaxBytes, nil
	}
	var s unix.Statfs_t
	if err := unix.Statfs(n.folder.path, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", n.folder.path, err)
	}
	free := int64(s.Bavail) * s.Bsize / 4 / int64(n.config.Partitions)
	return max(min(free, mostLogBytes), leastLogBytes), nil
}

// start runs every part, each once what it needs is there.
func (n *node) start(ctx context.Context) error {
	n.group.Start("revocations", n.broker.revocations.Run)
	for number := range n.broker.meta.Partitions {
		p, err := newPartition(ctx, n, number)
		if err != nil {
			return err
		}
		n.partitions = append(n.partitions, p)
	}
	front, err := newFront(ctx, n)
	if err != nil {
		return err
	}
	n.front = front
	for _, p := range n.partitions {
		p.startOwner(n.group)
	}
	for _, p := range n.partitions {
		if err := n.waitReady(ctx, p); err != nil {
			return err
		}
		p.startConsumers(n.group)
	}
	n.front.start(n)
	return nil
}

// waitReady waits until a partition takes commands, or a part has failed.
func (n *node) waitReady(ctx context.Context, p *partition) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.owner.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("partition %s: %w", p.token, err)
		case err := <-n.group.Failed():
			return err
		case <-tick.C:
		}
	}
}

// awaitStore lets persist reach the end of the log, for a moment: after an orderly stop the store is whole.
func (n *node) awaitStore(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, p := range n.partitions {
		for {
			applied, _, err := n.messages.Position(ctx, p.token.Partition)
			if err == nil && !applied.Before(p.owner.Durable()) {
				break
			}
			select {
			case <-ctx.Done():
				n.log.Warn("stopping before the message store has everything; the log keeps it", slog.String("partition", p.token.String()))
				return
			case <-tick.C:
			}
		}
	}
}

// close gives back what open took, in reverse order.
func (n *node) close() error {
	var problems []error
	if n.broker != nil {
		problems = append(problems, n.broker.close())
	}
	if n.people != nil {
		problems = append(problems, n.people.Close())
	}
	if n.messages != nil {
		problems = append(problems, n.messages.Close())
	}
	if n.folder != nil {
		n.folder.close()
	}
	return errors.Join(problems...)
}

func (n *node) welcome() welcome {
	w := welcome{
		api: n.front.api.url(), data: n.folder.path,
		durability: "every acknowledged message is synced: NATS syncs each one (sync always)",
		limitsOff:  n.config.Limits == "off",
	}
	if n.front.admin != nil {
		w.admin = n.front.admin.url()
	}
	if n.config.durableByBarrier(runtime.GOOS == "linux") {
		w.durability = "every acknowledged message is synced: one syncfs per group of commits"
	}
	return w
}

func (n *node) checks() []telemetry.Check {
	checks := []telemetry.Check{
		{Name: "log", Do: func(ctx context.Context) error { return jetstream.CheckReady(ctx, n.broker.main, n.broker.topology) }},
		{Name: "message store", Do: func(ctx context.Context) error { _, _, err := n.messages.Position(ctx, 0); return err }},
		{Name: "directory", Do: n.people.Ready},
	}
	for _, p := range n.partitions {
		checks = append(checks, telemetry.Check{Name: "partition " + p.token.String(), Do: p.owner.Ready})
	}
	return checks
}
