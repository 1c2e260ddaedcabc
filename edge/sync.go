package edge

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	syncBytes = 1 << 20 // of records per conversation: the rest is a gap
	syncBatch = 100     // conversations that are asked for, and whose stored cursors are read, together
)

// syncRun is one sync on its way.
type syncRun struct {
	c       *connection
	id      uint64 // the frame's
	user    chat.UserID
	has     map[string]chat.Seq // what the client said it has
	limit   int
	covered map[chat.ConversationID]chat.Seq
	wanted  conversation.Preferences // as of the self conversation's part of the answer

	after <-chan struct{} // the sync before, answered but not over; may be nil
	over  chan struct{}   // closed by do
	told  bool            // its last frame was queued; guarded by the connection's lock
}

// startSync begins the sync that a frame asks for.
func (c *connection) startSync(f wire.Frame) {
	data, err := wire.DecodeData[wire.Sync](f)
	if err != nil {
		c.refuse(f.ID, err)
		return
	}
	run, err := c.newSync(f.ID, data)
	if err != nil {
		c.refuse(f.ID, err)
		return
	}
	c.runSync(run)
}

// runSync lets a sync go; one at a time per connection.
func (c *connection) runSync(run *syncRun) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before := c.syncing; before != nil && before.told {
		run.after = before.over
	} else if before != nil {
		c.refuse(run.id, limitedFor(time.Second, "a sync is under way"))
		return
	}
	if !c.work(run.do) {
		c.refuse(run.id, chat.Errorf(chat.Unavailable, "this node is stopping"))
		return
	}
	c.syncing = run
	if c.early {
		c.opened()
	}
}

func (c *connection) newSync(id uint64, data wire.Sync) (*syncRun, error) {
	if len(data.Conversations) > wire.MaxConversations {
		return nil, chat.Errorf(chat.Invalid, "%d conversations named, at most %d are allowed", len(data.Conversations), wire.MaxConversations)
	}
	limit := wire.MaxMessages
	if data.Limit != nil {
		limit = *data.Limit
	}
	if limit < 0 || limit > wire.MaxMessages {
		return nil, chat.Errorf(chat.Invalid, "limit is 0 to %d", wire.MaxMessages)
	}
	return &syncRun{
		c: c, id: id, user: c.who().UserID, has: data.Conversations, limit: limit,
		covered: make(map[chat.ConversationID]chat.Seq), over: make(chan struct{}),
	}, nil
}

// do answers the sync. Live frames are held meanwhile; afterwards those go out that it did not cover.
func (r *syncRun) do() {
	defer close(r.over)
	began := time.Now()
	r.c.await(r.after)
	r.c.awaitOpening()
	r.c.holdBack()
	err := r.answer(r.c.edge.live)
	r.c.mu.Lock()
	r.told = true // whoever has read the end may sync again
	r.c.mu.Unlock()
	switch {
	case r.c.ended():
	case err != nil:
		r.c.refuse(r.id, err)
	default:
		_ = r.emit(r.c.edge.live, wire.TypeCaughtUp, struct{}{}) // fails only when the connection is over
		r.c.edge.metrics.syncs.Observe(time.Since(began).Seconds())
	}
	r.c.letGo(r.covered)
	r.c.mu.Lock()
	if r.c.syncing == r {
		r.c.syncing = nil
	}
	r.c.mu.Unlock()
}

// awaitOpening waits while those who did not sync in time are sent what was held.
func (c *connection) awaitOpening() {
	c.mu.Lock()
	opening := c.opening
	c.mu.Unlock()
	c.await(opening)
}

// await waits until something is over or the connection is.
func (c *connection) await(something <-chan struct{}) {
	if something == nil {
		return
	}
	select {
	case <-something:
	case <-c.done:
	}
}

func (r *syncRun) answer(ctx context.Context) error {
	e := r.c.edge
	ids, err := e.conversationsOf(ctx, r.user)
	if err != nil {
		return err
	}
	ids, err = r.withNamed(ctx, ids)
	if err != nil {
		return err
	}
	ids = r.selfFirst(ids)
	for batch := range slices.Chunk(ids, syncBatch) {
		stored, err := e.deps.Cursors.Of(ctx, r.user, batch)
		if err != nil {
			return unavailable(err, "cursors of", r.user)
		}
		answers, err := e.askAll(ctx, r.user, batch)
		if err != nil {
			return err
		}
		if first := answers[0].State; first.Type == chat.Self {
			r.wanted = first.Preferences
		}
		for i, id := range batch {
			if err := r.one(ctx, id, answers[i], stored[id]); err != nil {
				return err
			}
			if r.c.ended() {
				return context.Canceled
			}
		}
	}
	return nil
}

// withNamed adds the conversations that the client named. A name that is no id is gone at once.
func (r *syncRun) withNamed(ctx context.Context, ids []chat.ConversationID) ([]chat.ConversationID, error) {
	for _, name := range slices.Sorted(maps.Keys(r.has)) {
		id, err := chat.ParseConversationID(name)
		if err == nil {
			ids = append(ids, id)
			continue
		}
		if err := r.emit(ctx, wire.TypeSyncGone, wire.SyncGone{ConversationID: name}); err != nil {
			return nil, err
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// selfFirst puts one's own conversation, if there is one, before the others (ids ascend). What it says of them up
// to its head is in their shapes; later changes come live, as records.
func (r *syncRun) selfFirst(ids []chat.ConversationID) []chat.ConversationID {
	self := r.c.edge.selfID(r.user)
	i, found := slices.BinarySearch(ids, self)
	if !found {
		return ids
	}
	return slices.Insert(slices.Delete(ids, i, i+1), 0, self)
}

// one answers for one conversation: its records, or that it is gone, or nothing when the client never had it.
func (r *syncRun) one(ctx context.Context, id chat.ConversationID, a conversation.Answer, stored chat.Cursors) error {
	if a.State.ID == "" {
		if _, named := r.has[string(id)]; named {
			return r.emit(ctx, wire.TypeSyncGone, wire.SyncGone{ConversationID: string(id)})
		}
		return nil
	}
	answer, err := r.records(ctx, a, stored)
	if err != nil {
		return err
	}
	if err := r.emit(ctx, wire.TypeSyncRecords, answer); err != nil {
		return err
	}
	r.covered[id] = a.State.Head.Seq
	return nil
}

func (r *syncRun) records(ctx context.Context, a conversation.Answer, stored chat.Cursors) (wire.SyncRecords, error) {
	e := r.c.edge
	after := r.has[string(a.State.ID)]
	if after > a.State.Head.Seq { // of another history: what the client has is worth nothing
		after = 0
	}
	read, err := e.deps.History.Records(ctx, conversation.RecordsQuery{
		Answer: a, Visible: a.State.Visible(r.user), After: after, Messages: r.limit, Records: wire.MaxSyncRecords,
	})
	if err != nil {
		return wire.SyncRecords{}, unavailable(err, "records of", a.State.ID)
	}
	read, err = cutToBytes(read, syncBytes)
	if err != nil {
		return wire.SyncRecords{}, err
	}
	shape := shapeOf(a, r.user, a.CursorsOf(r.user, stored))
	e.prefer(&shape, r.wanted)
	out := wire.SyncRecords{
		ConversationID: a.State.ID, Records: make([]jsontext.Value, len(read.Records)), Head: shape.Head, Read: shape.Read,
		Unread: shape.Unread, JoinedSeq: shape.JoinedSeq, Conversation: shape,
	}
	for i, raw := range read.Records {
		out.Records[i] = raw
	}
	if read.Before != 0 {
		out.Gap = &wire.Gap{After: read.After, Before: read.Before}
	}
	if out.Peer, err = e.peerOf(ctx, a, r.user); err != nil {
		return wire.SyncRecords{}, err
	}
	return out, nil
}

// cutToBytes leaves out the oldest records beyond a size, as a gap. The newest one always stays.
func cutToBytes(r conversation.Records, most int) (conversation.Records, error) {
	size, from := 0, len(r.Records)
	for from > 0 && (from == len(r.Records) || size+len(r.Records[from-1]) <= most) {
		from--
		size += len(r.Records[from])
	}
	if from == 0 {
		return r, nil
	}
	first, err := wire.DecodeRecord(r.Records[from])
	if err != nil {
		return r, err
	}
	r.Records, r.Before = r.Records[from:], first.Seq
	return r, nil
}

// peerOf is the other person of a direct conversation; nil in any other.
func (e *Edge) peerOf(ctx context.Context, a conversation.Answer, user chat.UserID) (*wire.Peer, error) {
	peer := a.State.Peer(user)
	if peer == "" {
		return nil, nil //nolint:nilnil // no peer is an answer
	}
	stored, err := e.deps.Cursors.In(ctx, a.State.ID, []chat.UserID{peer})
	if err != nil {
		return nil, unavailable(err, "cursors in", a.State.ID)
	}
	all := a.CursorsOf(peer, stored[peer])
	return &wire.Peer{UserID: peer, Delivered: all.Delivered, Read: all.Read}, nil
}

// emit queues a frame of the answer, waiting for room.
func (r *syncRun) emit(ctx context.Context, typ string, data any) error {
	b, err := wire.EncodeFrame(r.id, typ, data)
	if err != nil {
		return err
	}
	return r.c.pushWait(ctx, onWire(opText, b))
}

// shapeOf is a conversation as one member sees it; all are that member's cursors at the answer's head.
func shapeOf(a conversation.Answer, user chat.UserID, all chat.Cursors) wire.Conversation {
	s := a.State
	shape := wire.Conversation{
		ID: s.ID, Type: s.Type, Name: s.Name, PeerID: s.Peer(user), MemberCount: s.MemberCount, Role: s.RoleOf(user),
		JoinedSeq: s.JoinedSeq(user), CreatedAt: s.CreatedID.Time().Format(chat.TimeLayout), Head: s.Head,
		Read: all.Read, Delivered: all.Delivered, Unread: conversation.Unread(s.Head, all.Read),
	}
	if s.Type == chat.Group {
		shape.History = s.History
	}
	return shape
}
