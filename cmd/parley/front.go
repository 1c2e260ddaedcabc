package main

import (
	"context"
	"net/http"

	"github.com/parley-chat/parley/edge"
	"github.com/parley-chat/parley/fanout"
	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/telemetry"
	"github.com/parley-chat/parley/pkg/wire"
	"github.com/parley-chat/parley/presence"
)

// front is what clients and operators reach.
type front struct {
	edge  *edge.Edge
	here  *attendance
	api   *listener
	admin *listener // nil: turned off
}

const edgeID = "e1" // one edge per process, one process

func newFront(ctx context.Context, n *node) (*front, error) {
	service, err := auth.NewService(auth.Config{
		Directory: n.people, Revocations: n.broker.revocations, Keys: n.key.SigningKeys(1),
		AccessLife: n.config.AccessLife, RefreshLife: n.config.RefreshLife, Now: n.now, Reg: n.reg, Log: n.log,
	})
	if err != nil {
		return nil, err
	}
	if err := service.LoadRevocations(ctx); err != nil {
		return nil, err
	}
	proxies, err := auth.ParseProxies(n.config.TrustedProxies)
	if err != nil {
		return nil, err
	}
	off := n.config.Limits == "off"
	f := &front{}
	if f.here, err = newAttendance(ctx, n, func() *edge.Edge { return f.edge }); err != nil {
		return nil, err
	}
	deps := edge.Deps{
		Partitions: owners{n.partitions},
		History:    persist.NewHistory(persist.HistoryConfig{Store: n.messages, Log: tailReader{n.broker}, Reg: n.reg}),
		Cursors: presence.NewCursors(presence.Config{
			KV:    jetstream.NewCursorKV(jetstream.CursorKVConfig{NC: n.broker.main, Partitions: n.broker.meta.Partitions, Reg: n.reg}),
			Store: n.messages, Barrier: n.broker.barrier, Reg: n.reg,
		}),
		Presence: f.here.registrar,
		People:   service, Directory: n.people, Revocations: n.broker.revocations,
		Limiter: auth.NewLimiter(auth.LimiterConfig{Off: off, TrustedProxies: proxies, Now: n.now, Reg: n.reg}),
	}
	for _, p := range n.partitions {
		deps.Fanout = append(deps.Fanout, delivery{p.fanout})
	}
	f.edge, err = edge.New(edge.Config{
		ID: edgeID, Origins: n.config.Origins, Handshakes: n.config.Handshakes, DrainTime: n.config.DrainTime, NoLimits: off, Sockets: n.config.Sockets,
		KeyConversations: n.key.Conversations(), KeyBodies: n.key.Bodies(), Now: n.now, Reg: n.reg, Log: n.log,
	}, deps)
	if err != nil {
		return nil, err
	}
	return bind(ctx, n, f)
}

// bind takes the addresses: one that is taken ends the start before anything runs.
func bind(ctx context.Context, n *node, f *front) (_ *front, err error) {
	if f.api, err = listen(ctx, "client", n.config.Listen, f.edge.Handler(), n.log); err != nil {
		return nil, err
	}
	f.api.server.ConnState = newHalfOpen(n.config.Handshakes, n.reg).observe
	if n.config.AdminListen == "" {
		return f, nil
	}
	admin := http.NewServeMux()
	admin.Handle("/", telemetry.AdminHandler(n.reg, n.checks()))
	f.admin, err = listen(ctx, "admin", n.config.AdminListen, admin, n.log)
	if err != nil {
		_ = f.api.socket.Close()
		return nil, err
	}
	f.admin.server.WriteTimeout = 0 // profiles take as long as they are asked to
	return f, nil
}

func (f *front) start(n *node) {
	f.here.start(n.group)
	n.group.Start("edge", f.edge.Run)
	if f.admin != nil {
		n.group.Start("admin listener", f.admin.run)
	}
	n.group.Start("client listener", f.api.run)
}

// owners routes each conversation to its partition's owner.
type owners struct{ partitions []*partition }

func (o owners) of(id chat.ConversationID) *partition {
	return o.partitions[id.Partition(len(o.partitions))]
}

// Submit hands a command to the owner of its conversation.
func (o owners) Submit(ctx context.Context, c conversation.Command) (conversation.Outcome, error) {
	return o.of(c.ConversationID).owner.Submit(ctx, c)
}

// Ask asks the owner of a conversation.
func (o owners) Ask(ctx context.Context, id chat.ConversationID) (conversation.Answer, error) {
	return o.of(id).owner.Ask(ctx, id)
}

// tailReader reads what the store does not have yet.
type tailReader struct{ b *broker }

// Get reads a conversation's records at places of the log.
func (t tailReader) Get(ctx context.Context, generation uint32, id chat.ConversationID, places []chat.Place) ([]chat.Entry, error) {
	return t.b.reader.Get(ctx, generation, id, id.Partition(t.b.meta.Partitions), places)
}

// delivery is one partition's fan-out as the edge knows it.
type delivery struct{ worker *fanout.Worker }

func (d delivery) Register(ctx context.Context, edgeID string, users []chat.UserID) (edge.Registered, error) {
	r, err := d.worker.Register(ctx, edgeID, users)
	return edge.Registered(r), err
}

func (d delivery) Unregister(edgeID string, users []chat.UserID) { d.worker.Unregister(edgeID, users) }

func (d delivery) Typing(id chat.ConversationID, user chat.UserID, stop bool) {
	d.worker.Typing(id, user, stop)
}

func (d delivery) Replay(ctx context.Context, edgeID string, lane wire.Lane, generation uint32, from uint64) error {
	return d.worker.Replay(ctx, edgeID, lane, generation, from)
}
