package main

import (
	"context"
	"fmt"
	"os"

	"github.com/parley-chat/parley/edge"
	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
	"github.com/parley-chat/parley/pkg/lifecycle"
	"github.com/parley-chat/parley/pkg/wire"
	"github.com/parley-chat/parley/presence"
)

// attendance is presence in this process: the shards, which all are its own, and the edge's side.
type attendance struct {
	leases    []*jetstream.KVLease
	shards    []*presence.Shard
	registrar *presence.Registrar
}

func newAttendance(ctx context.Context, n *node, changed func() *edge.Edge) (*attendance, error) {
	kv, err := jetstream.NewPresenceKV(jetstream.PresenceKVConfig{
		NC: n.broker.presence, Log: n.log,
		Shard: func(u chat.UserID) int { return presence.ShardOf(u, jetstream.PresenceShards) },
	})
	if err != nil {
		return nil, err
	}
	leases, err := jetstream.Bucket(ctx, n.broker.main, jetstream.BucketLeases)
	if err != nil {
		return nil, err
	}
	a := &attendance{}
	registry := presenceRegistry{kv}
	var owners []presence.Owner
	for number := range jetstream.PresenceShards {
		lease := jetstream.NewLease(jetstream.LeaseConfig{
			KV: leases, Key: fmt.Sprintf("presence.%d", number), Exclusive: true, Reg: n.reg, Log: n.log,
			Holder: fmt.Sprintf("%d.%d", os.Getpid(), n.now().UnixNano()),
		})
		shard := presence.NewShard(presence.ShardConfig{
			Shard: number, Lease: lease, Source: presenceSource{kv}, Registry: registry, Announcer: localHop{n},
			Store: seenStore{n.people}, Now: n.now, Reg: n.reg, Log: n.log,
		})
		a.leases, a.shards, owners = append(a.leases, lease), append(a.shards, shard), append(owners, shard)
	}
	a.registrar = presence.NewRegistrar(presence.RegistrarConfig{
		Edge: edgeID, Registry: registry, Owners: owners, Now: n.now, Reg: n.reg, Log: n.log,
		OnChange: func(news wire.Announcement) { changed().PresenceChanged(news) },
	})
	return a, nil
}

// start runs the owners, then the edge's side: it stops first, so that the owners hear of the end.
func (a *attendance) start(g *lifecycle.Group) {
	for i := range a.shards {
		g.Start(fmt.Sprintf("lease of presence %d", i), a.leases[i].Run)
		g.Start(fmt.Sprintf("presence %d", i), a.shards[i].Run)
	}
	g.Start("presence registrar", a.registrar.Run)
}

// presenceRegistry writes into the buckets.
type presenceRegistry struct{ kv *jetstream.PresenceKV }

// Write writes all entries at once.
func (r presenceRegistry) Write(ctx context.Context, entries []presence.Entry) error {
	rows := make([]jetstream.PresenceEntry, 0, len(entries))
	for _, e := range entries {
		rows = append(rows, jetstream.PresenceEntry(e))
	}
	return r.kv.Write(ctx, rows)
}

// Beat is an edge's sign of life.
func (r presenceRegistry) Beat(ctx context.Context, edgeName string, run uint64) error {
	return r.kv.Beat(ctx, edgeName, run)
}

// Bye ends an edge's run.
func (r presenceRegistry) Bye(ctx context.Context, edgeName string, run uint64) error {
	return r.kv.Bye(ctx, edgeName, run)
}

// presenceSource reads the buckets.
type presenceSource struct{ kv *jetstream.PresenceKV }

// Watch tells a shard's entries and every edge's signs of life.
func (s presenceSource) Watch(ctx context.Context, shard int, to presence.Reader) error {
	return s.kv.Watch(ctx, shard, presenceReader{to})
}

type presenceReader struct{ presence.Reader }

// Entry hands an entry on in the role's own words.
func (r presenceReader) Entry(e jetstream.PresenceEntry) { r.Reader.Entry(presence.Entry(e)) }

type seenDirectory interface {
	SetLastSeen(ctx context.Context, rows []directory.Seen) error
}

// seenStore keeps last seen in the directory.
type seenStore struct{ directory seenDirectory }

// SetLastSeen writes all rows in one transaction.
func (s seenStore) SetLastSeen(ctx context.Context, rows []presence.Seen) error {
	stored := make([]directory.Seen, 0, len(rows))
	for _, r := range rows {
		stored = append(stored, directory.Seen(r))
	}
	return s.directory.SetLastSeen(ctx, stored)
}
