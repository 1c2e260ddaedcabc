package edge

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

// synced reads a sync's whole answer: its parts by conversation, and what is gone.
func (d *phone) synced(id uint64) (map[chat.ConversationID]wire.SyncRecords, []string) {
	d.t.Helper()
	parts, gone := map[chat.ConversationID]wire.SyncRecords{}, []string(nil)
	for {
		f, err := d.next()
		if err != nil {
			d.t.Fatal(err)
		}
		if f.ID != id {
			d.t.Fatalf("%s %d within the answer to %d", f.Type, f.ID, id)
		}
		switch f.Type {
		case wire.TypeSyncRecords:
			part := into[wire.SyncRecords](d.t, f)
			parts[part.ConversationID] = part
		case wire.TypeSyncGone:
			gone = append(gone, into[wire.SyncGone](d.t, f).ConversationID)
		case wire.TypeCaughtUp:
			return parts, gone
		default:
			d.t.Fatalf("%s %s within a sync", f.Type, f.Data)
		}
	}
}

func seqs(tb testing.TB, part wire.SyncRecords) string {
	tb.Helper()
	var out []string
	for _, raw := range part.Records {
		r, err := wire.DecodeRecord(raw)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, fmt.Sprint(r.Seq))
	}
	return strings.Join(out, " ")
}

func TestSyncAnswersForEveryConversation(t *testing.T) {
	onEachForm(t, syncAnswersForEveryConversation)
}

func syncAnswersForEveryConversation(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g, direct, left := w.group(bob, alice), w.direct(alice, bob), w.group(bob, alice)
	w.say(g, bob, "one")
	w.say(g, alice, "two")
	w.say(g, bob, "three")
	w.say(direct, bob, "hi")
	w.do(conversation.Command{Op: conversation.OpRemove, ConversationID: left, Actor: alice, Members: []chat.UserID{alice}})
	w.stored[direct] = map[chat.UserID]chat.Cursors{bob: {Delivered: chat.Cursor{Seq: 2, N: 1}}}
	d := w.login(t, alice)
	id := d.send(wire.TypeSync, wire.Sync{Conversations: map[string]chat.Seq{string(g): 2, string(left): 1, "nonsense": 4}})
	parts, gone := d.synced(id)
	if fmt.Sprint(gone) != fmt.Sprint([]string{"nonsense", string(left)}) {
		t.Errorf("gone: %v", gone)
	}
	part := parts[g]
	if len(parts) != 2 || seqs(t, part) != "3 4" || part.Gap != nil {
		t.Errorf("%d parts, records %s, gap %v", len(parts), seqs(t, part), part.Gap)
	}
	if part.Head.Seq != 4 || part.Read != (chat.Cursor{Seq: 3, N: 2}) || part.Unread != 1 || part.JoinedSeq != 1 {
		t.Errorf("head %+v, read %+v (own send), unread %d, joined %d", part.Head, part.Read, part.Unread, part.JoinedSeq)
	}
	if c := part.Conversation; c.ID != g || c.MemberCount != 2 || c.Role != chat.RoleMember || c.Unread != 1 {
		t.Errorf("conversation %+v", c)
	}
	peer := parts[direct].Peer
	if peer == nil || peer.UserID != bob || peer.Delivered.Seq != 2 || parts[direct].Conversation.PeerID != bob {
		t.Errorf("peer %+v", peer)
	}
}

func TestSyncStopsWithAGap(t *testing.T) { onEachForm(t, syncStopsWithAGap) }

func syncStopsWithAGap(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	g := w.group(alice)
	for i := range 10 {
		w.say(g, alice, fmt.Sprint(i))
	}
	d := w.login(t, alice)
	sync := func(has chat.Seq, limit int) wire.SyncRecords {
		id := d.send(wire.TypeSync, wire.Sync{Conversations: map[string]chat.Seq{string(g): has}, Limit: &limit})
		parts, _ := d.synced(id)
		return parts[g]
	}
	if part := sync(2, 3); seqs(t, part) != "9 10 11" || *part.Gap != (wire.Gap{After: 2, Before: 9}) {
		t.Errorf("records %s, gap %+v", seqs(t, part), part.Gap)
	}
	if part := sync(0, 0); len(part.Records) != 0 || part.Head.Seq != 11 || *part.Gap != (wire.Gap{After: 0, Before: 12}) {
		t.Errorf("heads only: %s, gap %+v", seqs(t, part), part.Gap)
	}
	if part := sync(11, 3); len(part.Records) != 0 || part.Gap != nil {
		t.Errorf("nothing new: %s, gap %+v", seqs(t, part), part.Gap)
	}
	if part := sync(4000, 100); seqs(t, part) != "1 2 3 4 5 6 7 8 9 10 11" {
		t.Errorf("a client ahead of the head: %s", seqs(t, part))
	}
}

func TestSyncFindsWhatTheDirectoryDoesNotHoldYet(t *testing.T) {
	onEachForm(t, syncFindsWhatTheDirectoryDoesNotHoldYet)
}

func syncFindsWhatTheDirectoryDoesNotHoldYet(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	d := w.login(t, alice)
	w.with(func() { w.lagging = true })
	g := w.group(bob, alice)
	d.want(wire.TypeRecordReceived)
	parts, _ := d.synced(d.send(wire.TypeSync, wire.Sync{}))
	if _, ok := parts[g]; !ok {
		t.Error("the new group is missing")
	}
}

func TestLargeRecordsAreCutToAGap(t *testing.T) {
	raw := func(seq chat.Seq) []byte {
		r := chat.Record{Seq: seq, Kind: chat.KindMessage, Text: strings.Repeat("x", 1000)}
		return r.AppendJSON(nil)
	}
	in := conversation.Records{Records: [][]byte{raw(4), raw(5), raw(6)}, After: 3}
	out, err := cutToBytes(in, 3000)
	if err != nil || len(out.Records) != 2 || out.Before != 5 || out.After != 3 {
		t.Errorf("%d records, gap %d..%d, %v", len(out.Records), out.After, out.Before, err)
	}
	if out, _ = cutToBytes(in, 1); len(out.Records) != 1 || out.Before != 6 {
		t.Errorf("the newest must stay: %d records before %d", len(out.Records), out.Before)
	}
	if out, _ = cutToBytes(in, 1<<20); len(out.Records) != 3 || out.Before != 0 {
		t.Errorf("nothing to cut: %d records before %d", len(out.Records), out.Before)
	}
}

// TestSyncAndLiveJoin has a device connect and sync while others write: it sees every seq once, in order.
func TestSyncAndLiveJoin(t *testing.T) { onEachForm(t, syncAndLiveJoin) }

func syncAndLiveJoin(t *testing.T, newWorld maker) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		defer w.over()
		alice, bob := w.person("alice"), w.person("bob")
		groups := []chat.ConversationID{w.group(bob, alice), w.group(bob, alice), w.group(bob, alice)}
		before, during := rapid.IntRange(0, 40).Draw(rt, "before"), rapid.IntRange(1, 120).Draw(rt, "during")
		for i := range before {
			w.say(groups[i%3], bob, fmt.Sprint(i))
		}
		d := w.login(t, alice)
		var writing sync.Mutex // guards written
		written := 0
		write := func() { // in between everything that the sync reads
			writing.Lock()
			defer writing.Unlock()
			for range min(during-written, 1+during/12) {
				w.say(groups[(written*written)%3], bob, fmt.Sprint(written))
				written++
			}
		}
		w.with(func() { w.onAsk, w.onRegister = write, write })
		defer w.with(func() { w.onAsk, w.onRegister = nil, nil })
		seen := map[chat.ConversationID]chat.Seq{}
		early := map[chat.ConversationID]map[chat.Seq]bool{} // live before the sync: a client keeps what is ahead
		d.send(wire.TypeSync, wire.Sync{})
		caughtUp := false
		total := func() int {
			writing.Lock()
			defer writing.Unlock()
			return len(groups) + before + written
		}
		for got := 0; !caughtUp || got < total(); {
			f, err := d.next()
			if err != nil {
				rt.Fatalf("after %d of %d: %v", got, total(), err)
			}
			take := func(r chat.Record, live bool) {
				if live && !caughtUp {
					if early[r.ConversationID] == nil {
						early[r.ConversationID] = map[chat.Seq]bool{}
					}
					early[r.ConversationID][r.Seq] = true
					return
				}
				if r.Seq != seen[r.ConversationID]+1 {
					rt.Fatalf("%s after seq %d: %d", f.Type, seen[r.ConversationID], r.Seq)
				}
				seen[r.ConversationID] = r.Seq
				got++
			}
			switch f.Type {
			case wire.TypeSyncRecords:
				for _, raw := range into[wire.SyncRecords](t, f).Records {
					r, _ := wire.DecodeRecord(raw)
					take(r, false)
				}
			case wire.TypeCaughtUp:
				caughtUp = true
			default:
				take(into[chat.Record](t, f), true)
			}
		}
		for id, list := range early {
			for seq := range list {
				if seq > seen[id] {
					rt.Fatalf("seq %d came before the sync, which did not cover it", seq)
				}
			}
		}
		_ = d.ws.Close()
	})
}

func TestWhatComesDuringASyncIsHeldAndBounded(t *testing.T) {
	onEachForm(t, whatComesDuringASyncIsHeldAndBounded)
}

func whatComesDuringASyncIsHeldAndBounded(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	d := w.login(t, alice)
	var c *connection
	for _, c = range w.edge.connections() {
	}
	c.awaitOpening()
	c.holdBack()
	w.say(g, bob, "a")
	w.say(g, bob, "b")
	c.letGo(map[chat.ConversationID]chat.Seq{g: 2})
	if r := into[chat.Record](t, d.want(wire.TypeMessageReceived)); r.Text != "b" {
		t.Errorf("got %q: what the sync covered came again", r.Text)
	}
	c.holdBack()
	for range holdBytes / wire.MaxTextRunes * 2 {
		w.say(g, bob, strings.Repeat("x", wire.MaxTextRunes))
	}
	c.letGo(nil)
	d.want(wire.TypeResync)
	d.quiet()
}

func TestWhatComesLiveBeforeTheFirstSyncDoesNotComeTwice(t *testing.T) {
	onEachForm(t, whatComesLiveBeforeTheFirstSyncDoesNotComeTwice)
}

func whatComesLiveBeforeTheFirstSyncDoesNotComeTwice(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	d := w.login(t, alice)
	w.say(g, bob, "before the sync")
	d.send(wire.TypeSync, wire.Sync{})
	d.want(wire.TypeSyncRecords)
	d.want(wire.TypeCaughtUp)
	d.quiet()
}

func TestOneSyncAtATime(t *testing.T) { onEachForm(t, oneSyncAtATime) }

func oneSyncAtATime(t *testing.T, newWorld maker) {
	w := newWorld(t)
	d := w.login(t, w.person("alice"))
	var c *connection
	for _, c = range w.edge.connections() {
	}
	c.mu.Lock()
	c.syncing = &syncRun{}
	c.mu.Unlock()
	d.send(wire.TypeSync, wire.Sync{})
	d.refused(chat.RateLimited)
	c.mu.Lock()
	c.syncing = nil
	c.mu.Unlock()
	d.synced(d.send(wire.TypeSync, wire.Sync{}))
}
