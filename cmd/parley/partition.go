package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/fanout"
	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/jetstream/sequencer"
	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/persist/roster"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/lifecycle"
	"github.com/parley-chat/parley/presence"
)

// gatherWrites is how long the stores' consumers let records gather: a transaction costs by its number, and
// readers complete what the store lacks from the log.
const gatherWrites = 20 * time.Millisecond

// partition is one partition's owner and its consumers.
type partition struct {
	token     jetstream.Token
	lease     *jetstream.KVLease
	owner     *sequencer.Sequencer
	feed      *jetstream.Feed // from the owner to the consumers
	store     *persist.Worker
	roster    *roster.Worker
	fanout    *fanout.Worker
	consumers []runner
}

// runner is a part with a name.
type runner struct {
	name string
	run  func(context.Context) error
}

func newPartition(ctx context.Context, n *node, number int) (*partition, error) {
	p := &partition{token: jetstream.Token{Generation: n.broker.meta.Generation, Partition: number}, feed: jetstream.NewFeed()}
	leases, err := jetstream.Bucket(ctx, n.broker.main, jetstream.BucketLeases)
	if err != nil {
		return nil, err
	}
	p.lease = jetstream.NewLease(jetstream.LeaseConfig{
		KV: leases, Key: "sequencer." + p.token.String(), Exclusive: true, Reg: n.reg, Log: n.log,
		Holder: fmt.Sprintf("%d.%d", os.Getpid(), n.now().UnixNano()),
	})
	commits, err := n.broker.connect("sequencer " + p.token.String())
	if err != nil {
		return nil, err
	}
	p.owner = sequencer.New(sequencer.Config{
		NC: commits, Token: p.token, Partitions: n.broker.meta.Partitions, Lease: p.lease, Exclusive: true,
		Barrier: n.broker.barrier, Feed: p.feed, Store: n.messages, Reader: n.broker.reader,
		Limits: conversation.Limits{GroupMembers: n.config.GroupMembers}, Rates: sequencer.Rates{Off: n.config.Limits == "off"},
		LogMaxBytes: n.broker.topology.LogMaxBytes, Now: n.now, Reg: n.reg, Log: n.log,
	})
	return p, p.addConsumers(n)
}

func (p *partition) addConsumers(n *node) error {
	p.store = persist.NewWorker(persist.Config{
		Store: n.messages, Partition: p.token.Partition, Synced: n.broker.synced(), Reg: n.reg, Log: n.log,
		OnStored: func(_ int, applied, sealed chat.Mark) { p.owner.Stored(applied, sealed) },
	})
	p.roster = roster.NewWorker(roster.Config{Directory: n.people, Partition: p.token.Partition, Now: n.now, Reg: n.reg, Log: n.log})
	var hop fanout.Transport = localHop{n}
	if n.faults.hop != nil {
		hop = n.faults.hop(hop)
	}
	p.fanout = fanout.New(fanout.Config{
		Partition: p.token.Partition, Owner: p.owner, Transport: hop, RosterPosition: p.roster.Position,
		Scan: func(ctx context.Context, from, to uint64, f func([]chat.Entry) error) error {
			return n.broker.reader.Scan(ctx, p.token, from, to, f)
		},
		Now: n.now, Reg: n.reg, Log: n.log,
	})
	sealed := func(ctx context.Context) (chat.Mark, error) {
		_, sealed, err := n.messages.Position(ctx, p.token.Partition)
		return sealed, err
	}
	labelled := prometheus.WrapRegistererWith(prometheus.Labels{"partition": strconv.Itoa(p.token.Partition)}, n.reg)
	drainer := presence.NewDrainer(presence.DrainerConfig{Barrier: n.broker.barrier, Sink: cursorSink{n.messages}, Reg: labelled})
	trimmer := jetstream.NewTrimmer(jetstream.TrimmerConfig{
		NC: n.broker.main, Token: p.token, Keep: n.config.LogKeep, Every: n.config.TrimEvery,
		Floors: []func(context.Context) (chat.Mark, error){sealed, p.roster.Position}, Now: n.now, Reg: n.reg, Log: n.log,
	})
	cursorTrimmer := jetstream.NewCursorTrimmer(jetstream.CursorTrimmerConfig{
		NC: n.broker.main, Partition: p.token.Partition, Keep: n.config.LogKeep, Every: n.config.TrimEvery, Now: n.now, Reg: n.reg, Log: n.log,
	})
	p.consumers = []runner{
		{"persist sealer", p.store.Run},
		{"fanout", p.fanout.Run},
		{"trimmer", trimmer.Run},
		{"cursor trimmer", cursorTrimmer.Run},
	}
	for _, c := range []struct {
		name    string
		handler jetstream.Handler
		start   func(context.Context) (uint64, error)
		gather  time.Duration
	}{
		{jetstream.ConsumerPersist, p.store, p.after(sealed), gatherWrites},
		{jetstream.ConsumerRoster, p.roster, p.after(p.roster.Position), gatherWrites},
		{jetstream.ConsumerFanout, p.fanout, p.fanout.Start, 0},
	} {
		conn, err := n.broker.connect(c.name + " " + p.token.String())
		if err != nil {
			return err
		}
		if n.faults.handler != nil {
			c.handler = n.faults.handler(c.name, c.handler)
		}
		loop := jetstream.NewLoop(jetstream.LoopConfig{
			NC: conn, Token: p.token, Consumer: c.name, Handler: c.handler, Start: c.start,
			Gate: p.owner, Feed: p.feed, Barrier: n.broker.barrier, Gather: c.gather, Reg: n.reg, Log: n.log,
		})
		p.consumers = append(p.consumers, runner{c.name + " consumer", loop.Run})
	}
	for _, c := range []struct {
		name    string
		handler jetstream.CursorHandler
		barrier jetstream.Barrier
	}{
		{jetstream.ConsumerPresence, drainCursors{drainer}, nil}, // the drainer passes the barrier itself
		{jetstream.ConsumerFanout, fanCursors{p.fanout}, n.broker.barrier},
	} {
		loop := jetstream.NewCursorLoop(jetstream.CursorLoopConfig{
			NC: n.broker.main, Partition: p.token.Partition, Consumer: c.name, Handler: c.handler,
			Barrier: c.barrier, Reg: n.reg, Log: n.log,
		})
		p.consumers = append(p.consumers, runner{c.name + " cursors", loop.Run})
	}
	return nil
}

// after is the first sequence beyond a role's own position.
func (p *partition) after(position func(context.Context) (chat.Mark, error)) func(context.Context) (uint64, error) {
	return func(ctx context.Context) (uint64, error) {
		at, err := position(ctx)
		if err != nil {
			return 0, err
		}
		return nextOf(p.token, at)
	}
}

func (p *partition) startOwner(g *lifecycle.Group) {
	g.Start("lease "+p.token.String(), p.lease.Run)
	g.Start("sequencer "+p.token.String(), p.owner.Run)
}

func (p *partition) startConsumers(g *lifecycle.Group) {
	for _, c := range p.consumers {
		g.Start(c.name+" "+p.token.String(), c.run)
	}
}

// synced is how persist makes its store's writes survive a power cut: by the shared barrier, or by itself.
func (b *broker) synced() func(context.Context) error {
	if b.syncfs == nil {
		return nil
	}
	return b.syncfs.Sync
}

// localHop hands hops to the edge in the same process.
type localHop struct{ n *node }

// Send delivers a hop; there is one edge.
func (l localHop) Send(_ string, hop []byte) error {
	l.n.front.edge.Deliver(hop)
	return nil
}

type cursorSink struct{ store persist.Store }

// PutCursors merges cursors into the store.
func (s cursorSink) PutCursors(ctx context.Context, rows []presence.Row) error {
	stored := make([]persist.CursorRow, 0, len(rows))
	for _, r := range rows {
		stored = append(stored, persist.CursorRow(r))
	}
	return s.store.PutCursors(ctx, stored)
}

type drainCursors struct{ to *presence.Drainer }

// HandleCursors drains changes into the store.
func (d drainCursors) HandleCursors(ctx context.Context, batch []jetstream.CursorChange) error {
	changes := make([]presence.CursorChange, 0, len(batch))
	for _, c := range batch {
		changes = append(changes, presence.CursorChange(c))
	}
	return d.to.Handle(ctx, changes)
}

type fanCursors struct{ to *fanout.Worker }

// HandleCursors delivers changes as receipts.
func (f fanCursors) HandleCursors(ctx context.Context, batch []jetstream.CursorChange) error {
	changes := make([]fanout.CursorChange, 0, len(batch))
	for _, c := range batch {
		changes = append(changes, fanout.CursorChange(c))
	}
	return f.to.HandleCursors(ctx, changes)
}
