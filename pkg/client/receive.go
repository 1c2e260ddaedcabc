package client

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client/socket"
	"github.com/parley-chat/parley/pkg/wire"
)

// receive acts on one frame. An error ends the connection: the server speaks another protocol.
func (l *link) receive(ctx context.Context, raw []byte) error {
	f, err := socket.Decode(raw)
	if err != nil {
		return err
	}
	c := l.c
	switch f.Type {
	case wire.TypeMessageReceived, wire.TypeRecordReceived:
		r, err := wire.DecodeRecord(f.Data)
		if err != nil {
			return err
		}
		c.pushed(ctx, l.number, r)
	case wire.TypeMessageSent, wire.TypeRecordSent:
		return handle(f, func(s wire.Sent) { c.answered(ctx, f.ID, s) })
	case wire.TypeError:
		c.failed(ctx, f.ID, socket.ErrorOf(f))
	case wire.TypeSyncRecords:
		var s wire.SyncRecords
		if err := unmarshal(f.Data, &s); err != nil {
			return fmt.Errorf("decode %s: %w", f.Type, err)
		}
		return c.synced(ctx, l.number, s)
	case wire.TypeSyncGone:
		return handle(f, func(g wire.SyncGone) { c.gone(ctx, chat.ConversationID(g.ConversationID)) })
	case wire.TypeCaughtUp:
		c.caughtUp(ctx, l.number)
	case wire.TypeMessageDelivered, wire.TypeMessageRead:
		return handle(f, func(d wire.CursorDown) { c.receipt(ctx, f.Type, d) })
	case wire.TypePresenceState:
		return handle(f, func(s wire.PresenceState) { c.presenceState(ctx, s) })
	case wire.TypePresenceUpdate:
		return handle(f, func(u wire.PresenceUpdate) { c.presenceUpdate(ctx, u) })
	case wire.TypeTypingStart, wire.TypeTypingStop:
		return handle(f, func(d wire.TypingDown) { c.typingDown(ctx, d, f.Type == wire.TypeTypingStart) })
	case wire.TypeGoAway:
		return handle(f, func(g wire.GoAway) { c.goAway(g) })
	case wire.TypeResync:
		c.resync(ctx, l.number)
	case wire.TypeAuthOK: // of a replaced token
		return handle(f, func(ok wire.AuthOK) { c.correct(ok) })
	default: // pong, and what later versions push
	}
	return nil
}

func handle[T any](f wire.Frame, do func(T)) error {
	var v T
	if err := unmarshal(f.Data, &v); err != nil {
		return fmt.Errorf("decode %s: %w", f.Type, err)
	}
	do(v)
	return nil
}

func (c *Client) timeline(id chat.ConversationID) *timeline {
	t := c.timelines[id]
	if t == nil {
		t = &timeline{}
		c.timelines[id] = t
	}
	return t
}

// pushed takes a live record.
func (c *Client) pushed(ctx context.Context, connection uint64, r chat.Record) {
	c.wrote(ctx, &r)
	c.mu.Lock()
	t := c.timeline(r.ConversationID)
	repeated := t.repeated(connection, r.Seq)
	show := t.live(incoming{r, SourceLive}, c.user, c.config.Now())
	confirmed, epoch := c.confirm(r), c.epoch
	c.mu.Unlock()
	if repeated {
		c.emit(ctx, Repeated{r.ConversationID, r.Seq})
	}
	c.show(ctx, epoch, show)
	c.report(ctx, confirmed)
}

// confirm settles an own message whose record arrived before, or instead of, its answer: after a reconnect.
func (c *Client) confirm(r chat.Record) *Pending {
	if r.SenderID != c.user || r.ClientID.IsZero() {
		return nil
	}
	return c.outbox.confirm(r.ConversationID, r.ClientID, sentOf(r))
}

func sentOf(r chat.Record) wire.Sent {
	return wire.Sent{
		ConversationID: r.ConversationID, ClientID: r.ClientID, ID: r.ID, Seq: r.Seq, N: r.N,
		SentAt: r.ID.Time().Format(chat.TimeLayout),
	}
}

func (c *Client) report(ctx context.Context, settled ...*Pending) {
	for _, p := range settled {
		if p != nil {
			c.emit(ctx, Answered{Message: p.Message, Sent: p.sent, Err: p.err})
			c.wakeWriter()
		}
	}
}

// answered settles a message. Its record is shown from here: the sending connection gets no other.
func (c *Client) answered(ctx context.Context, frame uint64, s wire.Sent) {
	c.mu.Lock()
	l := c.outbox.land(frame)
	if l == nil {
		c.mu.Unlock()
		return
	}
	p := c.outbox.settle(l, s, nil)
	r := p.Message.record(c.user, s)
	var show []incoming
	if t := c.timeline(r.ConversationID); !t.known || s.Seq > t.shown {
		show = t.live(incoming{r, SourceSent}, c.user, c.config.Now())
	}
	epoch := c.epoch
	c.mu.Unlock()
	c.report(ctx, p)
	c.show(ctx, epoch, show)
}

// failed retries or reports a message that the server refused.
func (c *Client) failed(ctx context.Context, frame uint64, err error) {
	refusal, retry := refused(err)
	c.mu.Lock()
	if c.company.refused(frame, err, c.config.Now()) {
		c.mu.Unlock()
		c.config.Log.Warn("subscription to presence refused", slog.Any("error", err))
		return
	}
	l := c.outbox.land(frame)
	if l == nil {
		c.syncRefused(frame, hintOf(err))
		c.mu.Unlock()
		c.config.Log.Warn("frame refused", slog.Uint64("frame", frame), slog.Any("error", err))
		return
	}
	var settled *Pending
	if retry {
		hint := time.Duration(0)
		if refusal != nil {
			hint = refusal.RetryAfter
		}
		c.outbox.retry(l, c.config.Now().Add(c.config.Retry.Wait(l.attempts, hint)))
	} else {
		settled = c.outbox.settle(l, wire.Sent{}, err)
	}
	c.mu.Unlock()
	c.report(ctx, settled)
	c.wakeWriter()
}

// syncRefused asks again for a sync that the server refused; other frames need no answer.
func (c *Client) syncRefused(frame uint64, hint time.Duration) {
	if frame == 0 || frame != c.syncing {
		return
	}
	c.wantSync, c.syncing = true, 0
	c.syncAfter = c.config.Now().Add(c.config.Reconnect.Wait(c.refusals, hint))
	c.refusals++
}

// synced takes one conversation's part of a sync.
func (c *Client) synced(ctx context.Context, connection uint64, s wire.SyncRecords) error {
	records, err := decodeAll(s.Records)
	if err != nil {
		return err
	}
	c.mu.Lock()
	t := c.timeline(s.ConversationID)
	gap, isGap := t.gap(s.Gap)
	if isGap {
		t.skip(gap.Before)
	}
	show := t.synced(records)
	t.cover(connection, s.Head.Seq)
	var settled []*Pending
	for _, r := range records {
		settled = append(settled, c.confirm(r))
	}
	receipts, epoch := c.peerReceipts(s), c.epoch
	c.mu.Unlock()
	if isGap {
		gap.ConversationID = s.ConversationID
		c.gap(ctx, gap, epoch, t)
	}
	c.show(ctx, epoch, show)
	c.report(ctx, settled...)
	c.emit(ctx, Synced{Conversation: s.Conversation, Head: s.Head, Read: s.Read, Unread: s.Unread, JoinedSeq: s.JoinedSeq})
	for _, r := range receipts {
		c.emit(ctx, r)
	}
	return nil
}

func (c *Client) gap(ctx context.Context, g Gap, epoch uint64, t *timeline) {
	q := queued{event: g, epoch: epoch}
	if !c.config.SkipGaps {
		q.fill = t
	}
	c.enqueue(ctx, q)
}

// gap is the part of a sync's gap that is not shown yet.
func (t *timeline) gap(g *wire.Gap) (Gap, bool) {
	if g == nil {
		return Gap{}, false
	}
	after := max(g.After, t.shown)
	return Gap{After: after, Before: g.Before}, g.Before > after+1
}

func (c *Client) peerReceipts(s wire.SyncRecords) []Receipt {
	if s.Peer == nil {
		return nil
	}
	make1 := func(kind ReceiptKind, cursor chat.Cursor) Receipt {
		return Receipt{
			ConversationID: s.ConversationID, UserID: s.Peer.UserID, Kind: kind, Cursor: cursor, Source: SourceSync,
			Forward: c.further(s.ConversationID, s.Peer.UserID, kind, cursor.Seq),
		}
	}
	return []Receipt{make1(ReceiptDelivered, s.Peer.Delivered), make1(ReceiptRead, s.Peer.Read)}
}

func (c *Client) further(id chat.ConversationID, user chat.UserID, kind ReceiptKind, seq chat.Seq) bool {
	key := receiptKey{id, user, kind}
	if seq <= c.receipts[key] {
		return false
	}
	c.receipts[key] = seq
	return true
}

func (c *Client) receipt(ctx context.Context, typ string, d wire.CursorDown) {
	kind := ReceiptDelivered
	if typ == wire.TypeMessageRead {
		kind = ReceiptRead
	}
	c.mu.Lock()
	forward := c.further(d.ConversationID, d.UserID, kind, d.Seq)
	c.mu.Unlock()
	c.emit(ctx, Receipt{
		ConversationID: d.ConversationID, UserID: d.UserID, Kind: kind,
		Cursor: chat.Cursor{Seq: d.Seq, N: d.N}, Forward: forward, Source: SourceLive,
	})
}

func (c *Client) gone(ctx context.Context, id chat.ConversationID) {
	c.mu.Lock()
	c.forget(id)
	c.mu.Unlock()
	c.emit(ctx, Gone{id})
}

func (c *Client) forget(id chat.ConversationID) {
	delete(c.timelines, id)
	delete(c.cursors, id)
	for key := range c.receipts {
		if key.conversation == id {
			delete(c.receipts, key)
		}
	}
}

func (c *Client) caughtUp(ctx context.Context, connection uint64) {
	c.mu.Lock()
	c.syncing, c.refusals = 0, 0
	for id, t := range c.timelines {
		if t.since.IsZero() {
			continue
		}
		t.since = c.config.Now() // what the sync did not bring gets its time again
		if t.tries++; !t.known && t.tries > 3 {
			delete(c.timelines, id) // it may not be seen: the sync does not know of it
		}
	}
	c.mu.Unlock()
	c.emit(ctx, CaughtUp{connection})
	c.wakeWriter()
}

func (c *Client) resync(ctx context.Context, connection uint64) {
	c.mu.Lock()
	c.wantSync = true
	c.mu.Unlock()
	c.emit(ctx, Resync{connection})
	c.wakeWriter()
}

func (c *Client) goAway(g wire.GoAway) {
	c.mu.Lock()
	c.leaving = c.config.Now().Add(time.Duration(g.ReconnectAfterMS) * time.Millisecond)
	c.mu.Unlock()
	c.wakeWriter()
}

func (c *Client) correct(ok wire.AuthOK) {
	server, err := time.Parse(time.RFC3339, ok.ServerTime)
	if err != nil {
		return // the correction of the handshake stands
	}
	c.mu.Lock()
	c.offset = server.Sub(c.config.Now())
	c.mu.Unlock()
}

// show hands records to OnEvent, and notices that oneself was removed: live only, a sync knows of no
// conversation that one is out of.
func (c *Client) show(ctx context.Context, epoch uint64, records []incoming) {
	for i, in := range records {
		c.enqueue(ctx, queued{event: eventOf(in), epoch: epoch})
		if in.source == SourceLive && c.out(in.record) {
			c.left(ctx, in.record.ConversationID, records[i+1:])
		}
	}
}

// out reports whether the record ends one's own membership.
func (c *Client) out(r chat.Record) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.Kind == chat.KindMember && (r.Action == chat.ActionRemoved || r.Action == chat.ActionLeft) && slices.Contains(r.UserIDs, c.user)
}

// left forgets a conversation, unless the records behind the removal bring one back into it.
func (c *Client) left(ctx context.Context, id chat.ConversationID, rest []incoming) {
	c.mu.Lock()
	back := false
	for i := range rest {
		back = back || begins(&rest[i].record, c.user)
	}
	if !back {
		c.forget(id)
	}
	c.mu.Unlock()
	c.emit(ctx, Gone{id})
}

func eventOf(in incoming) Event {
	if in.record.Kind == chat.KindMessage {
		return MessageReceived{in.record, in.source}
	}
	return RecordReceived{in.record, in.source}
}
