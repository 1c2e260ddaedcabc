package edge

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

// rest does a request as a person and returns the body of the answer.
func (w *world) rest(t *testing.T, u chat.UserID, method, path, body string, status int) string {
	t.Helper()
	if status == http.StatusNoContent {
		w.call(t, w.token(u), method, path, body, status, nil)
		return ""
	}
	var raw jsontext.Value
	w.call(t, w.token(u), method, path, body, status, &raw)
	return string(raw)
}

// looksAt subscribes and returns the answer.
func (d *phone) looksAt(ids ...chat.ConversationID) wire.PresenceState {
	d.t.Helper()
	data := wire.PresenceSubscribe{ConversationIDs: []string{}}
	for _, id := range ids {
		data.ConversationIDs = append(data.ConversationIDs, string(id))
	}
	id := d.send(wire.TypePresenceSub, data)
	f := d.want(wire.TypePresenceState)
	if f.ID != id {
		d.t.Fatalf("answer to frame %d, want %d", f.ID, id)
	}
	return into[wire.PresenceState](d.t, f)
}

// sees reads the next frame, which must tell that a person has a status.
func (d *phone) sees(u chat.UserID, s wire.Status) wire.PresenceUpdate {
	d.t.Helper()
	got := into[wire.PresenceUpdate](d.t, d.want(wire.TypePresenceUpdate))
	if got.UserID != u || got.Status != s.String() {
		d.t.Fatalf("told %+v, want %s of %s", got, s, u)
	}
	return got
}

func TestPresenceIsToldToWhoLooks(t *testing.T) {
	w := newWorld(t)
	alice, bob, eve := w.person("alice"), w.person("bob"), w.person("eve")
	g, direct := w.group(alice, bob), w.direct(alice, bob)
	w.becomes(bob, wire.StatusOnline)
	d, idle, stranger := w.login(t, alice), w.login(t, alice), w.login(t, eve)
	state := d.looksAt(g, direct, g)
	if !slices.Equal(state.ConversationIDs, []chat.ConversationID{g, direct}) || len(state.People) != 1 ||
		state.People[0] != (wire.PresenceUpdate{UserID: bob, Status: "online"}) {
		t.Fatalf("state %+v", state)
	}
	if got := stranger.looksAt(g, direct); len(got.ConversationIDs)+len(got.People) != 0 {
		t.Errorf("a stranger sees %+v", got)
	}
	w.becomes(bob, wire.StatusAway)
	d.sees(bob, wire.StatusAway)
	seen := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w.crowd.seen[bob] = seen
	w.becomes(bob, wire.StatusOffline)
	if got := d.sees(bob, wire.StatusOffline); got.LastSeen != "2026-03-01T12:00:00.000Z" {
		t.Errorf("last seen %q", got.LastSeen)
	}
	w.becomes(alice, wire.StatusAway)
	for _, other := range []*phone{d, idle, stranger} {
		other.quiet() // one's own status, or nothing looked at
	}
	if got := d.looksAt(); len(got.ConversationIDs)+len(got.People) != 0 {
		t.Errorf("nothing looked at, told %+v", got)
	}
	w.becomes(bob, wire.StatusOnline)
	d.quiet()
	if left := w.crowd.watched(); len(left) != 0 {
		t.Errorf("still watched: %v", left)
	}
}

func TestASubscriptionEndsWithTheConnection(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	direct := w.direct(alice, bob)
	one, two := w.login(t, alice), w.login(t, bob)
	one.looksAt(direct)
	two.looksAt(direct)
	if got := w.crowd.watched(); len(got) != 2 {
		t.Errorf("watched: %v", got)
	}
	_ = one.ws.Close()
	_ = two.ws.Close()
	w.over()
	if got := w.crowd.watched(); len(got) != 0 {
		t.Errorf("still watched: %v", got)
	}
	if n := w.crowd.registered(); n != 0 {
		t.Errorf("%d are still registered", n)
	}
	if len(w.edge.lookout.scenes)+len(w.edge.lookout.people) != 0 {
		t.Errorf("%d conversations and %d people are kept", len(w.edge.lookout.scenes), len(w.edge.lookout.people))
	}
}

func TestARemovedMemberNeitherSeesNorIsSeen(t *testing.T) {
	w := newWorld(t)
	alice, bob, eve := w.person("alice"), w.person("bob"), w.person("eve")
	g := w.group(alice, bob, eve)
	a, e := w.login(t, alice), w.login(t, eve)
	a.looksAt(g)
	e.looksAt(g)
	w.becomes(bob, wire.StatusOnline)
	a.sees(bob, wire.StatusOnline)
	e.sees(bob, wire.StatusOnline)
	w.do(conversation.Command{Op: conversation.OpRemove, ConversationID: g, Actor: alice, Members: []chat.UserID{eve}})
	a.want(wire.TypeRecordReceived)
	e.want(wire.TypeRecordReceived)
	w.becomes(bob, wire.StatusAway)
	a.sees(bob, wire.StatusAway)
	w.becomes(eve, wire.StatusAway)
	a.quiet()
	e.quiet()
	if got := e.looksAt(g); len(got.ConversationIDs) != 0 {
		t.Errorf("a removed member looks at %v", got.ConversationIDs)
	}
}

// A removal is lost on the hop, and the owner does not answer when the edge asks for the members again.
func TestALostRemovalIsFoundOutHoweverLongItTakes(t *testing.T) {
	w := newWorld(t)
	alice, eve := w.person("alice"), w.person("eve")
	g := w.group(alice, eve)
	a, e := w.login(t, alice), w.login(t, eve)
	a.looksAt(g)
	e.looksAt(g)
	w.with(func() {
		w.lose, w.noReplay, w.askFails = func(uint64) bool { return true }, true, 1
	})
	w.do(conversation.Command{Op: conversation.OpRemove, ConversationID: g, Actor: alice, Members: []chat.UserID{eve}})
	w.with(func() { w.lose = nil })
	w.say(g, alice, "the next one")
	e.want(wire.TypeResync)
	eventually(t, "eve to look no more", func() bool {
		w.edge.lookout.mu.Lock()
		defer w.edge.lookout.mu.Unlock()
		return len(w.edge.lookout.scenes[g].lookers) == 1
	})
}

func TestARemovalWhileOneSubscribesWins(t *testing.T) {
	w := newWorld(t)
	alice, eve := w.person("alice"), w.person("eve")
	g := w.group(alice, eve)
	d := w.login(t, eve)
	asked := 0
	w.with(func() {
		w.onAsk = func() {
			if asked++; asked == 2 { // read, and not yet taken
				w.do(conversation.Command{Op: conversation.OpRemove, ConversationID: g, Actor: alice, Members: []chat.UserID{eve}})
			}
		}
	})
	d.send(wire.TypePresenceSub, wire.PresenceSubscribe{ConversationIDs: []string{string(g)}})
	if got := into[wire.PresenceState](t, d.want(wire.TypePresenceState)); len(got.ConversationIDs) != 0 {
		t.Errorf("a removed member looks at %v", got.ConversationIDs)
	}
}

func TestANewMemberIsSeen(t *testing.T) {
	w := newWorld(t)
	alice, bob, eve := w.person("alice"), w.person("bob"), w.person("eve")
	g := w.group(alice, bob)
	w.becomes(eve, wire.StatusOnline)
	d := w.login(t, alice)
	d.looksAt(g)
	w.do(conversation.Command{Op: conversation.OpAdd, ConversationID: g, Actor: alice, Members: []chat.UserID{eve}})
	first, second := d.mustRead(), d.mustRead()
	if first.Type == wire.TypePresenceUpdate { // the two come on ways of their own
		first, second = second, first
	}
	if got := into[wire.PresenceUpdate](t, second); first.Type != wire.TypeRecordReceived || got.UserID != eve || got.Status != "online" {
		t.Errorf("told %s and %s %s", first.Type, second.Type, second.Data)
	}
}

func (d *phone) mustRead() wire.Frame {
	d.t.Helper()
	f, err := d.next()
	if err != nil {
		d.t.Fatal(err)
	}
	return f
}

func TestALargeGroupTellsNoPresence(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice")
	members := []chat.UserID{alice}
	for range wire.MaxLively {
		members = append(members, w.person("member"))
	}
	large, small := w.group(members...), w.group(members[:wire.MaxLively]...)
	d := w.login(t, alice)
	if got := d.looksAt(large, small).ConversationIDs; !slices.Equal(got, []chat.ConversationID{small}) {
		t.Errorf("looks at %v, want %v alone", got, small)
	}
	w.do(conversation.Command{Op: conversation.OpAdd, ConversationID: small, Actor: alice, Members: members[wire.MaxLively:]})
	d.want(wire.TypeRecordReceived)
	d.eventually("nobody is watched any more", func() bool { return len(w.crowd.watched()) == 0 })
	w.becomes(members[1], wire.StatusOnline)
	d.quiet()
}

// eventually asks the server until something holds: each answer is an event.
func (d *phone) eventually(what string, ok func() bool) {
	d.t.Helper()
	for limit := time.Now().Add(patience); !ok(); d.quiet() {
		if time.Now().After(limit) {
			d.t.Fatalf("not seen: %s", what)
		}
	}
}

func TestPeopleLookedAtAreBounded(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice")
	var groups []chat.ConversationID
	for range 12 {
		members := []chat.UserID{alice}
		for range wire.MaxLively - 1 {
			members = append(members, w.person("member"))
		}
		groups = append(groups, w.group(members...))
		for _, u := range members[1:] {
			w.becomes(u, wire.StatusOnline)
		}
	}
	d := w.login(t, alice)
	state := d.looksAt(groups...)
	if len(state.ConversationIDs) != 10 || len(state.People) != peopleAtOnce {
		t.Errorf("%d conversations and %d people at once, want 10 and %d", len(state.ConversationIDs), len(state.People), peopleAtOnce)
	}
	told := map[chat.UserID]bool{}
	for _, p := range state.People {
		told[p.UserID] = true
	}
	for len(told) < 10*(wire.MaxLively-1) { // the others follow, as there is room
		told[into[wire.PresenceUpdate](t, d.want(wire.TypePresenceUpdate)).UserID] = true
	}
	d.quiet()
}

func TestPresenceFramesAreRefused(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	direct := w.direct(alice, bob)
	d := w.login(t, alice)
	many := wire.PresenceSubscribe{}
	for range wire.MaxWatched + 1 {
		many.ConversationIDs = append(many.ConversationIDs, string(direct))
	}
	d.send(wire.TypePresenceSub, many)
	d.refused(chat.Invalid)
	d.send(wire.TypePresenceSub, wire.PresenceSubscribe{ConversationIDs: []string{"nonsense"}})
	d.refused(chat.Invalid)
	for _, status := range []string{"offline", "busy", ""} {
		d.send(wire.TypePresenceUpdate, wire.PresenceSet{Status: status})
		d.refused(chat.Invalid)
	}
	for _, typ := range []string{wire.TypeTypingStart, wire.TypeTypingStop} {
		d.send(typ, wire.TypingUp{ConversationID: "nonsense"})
		d.refused(chat.Invalid)
	}
	d.raw(`{"id":90,"type":"presence:subscribe","data":{"conversation_ids":[],"conversation_ids":[]}}`)
	d.refused(chat.Invalid)
	for range looksBurst {
		d.looksAt()
	}
	d.send(wire.TypePresenceSub, wire.PresenceSubscribe{})
	if e := d.refused(chat.RateLimited); e.RetryAfterMS == 0 {
		t.Error("no hint when to try again")
	}
}

func TestAwayIsToldByTheClient(t *testing.T) {
	w := newWorld(t)
	d := w.login(t, w.person("alice"))
	d.send(wire.TypePresenceUpdate, wire.PresenceSet{Status: "away"})
	d.quiet()
	if !w.crowd.isAway(1) {
		t.Error("away was not taken")
	}
	d.send(wire.TypePresenceUpdate, wire.PresenceSet{Status: "online"})
	d.quiet()
	if w.crowd.isAway(1) {
		t.Error("online was not taken")
	}
}

// TestPresenceGivesWay fills a connection's queue: changes wait, and the last one is told once there is room.
func TestPresenceGivesWay(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	direct := w.direct(alice, bob)
	slow := newConnection(w.edge)
	slow.conn = &streamed{wake: make(chan struct{}, 1)}
	slow.claims.Store(&auth.Claims{UserID: alice})
	slow.out.push(make([]byte, sheddableBytes))
	if err := slow.look(7, []chat.ConversationID{direct}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []wire.Status{wire.StatusOnline, wire.StatusAway, wire.StatusOnline, wire.StatusAway} {
		w.becomes(bob, s)
	}
	if frames, _ := slow.out.take(); len(frames) != 2 || !strings.Contains(string(frames[1]), wire.TypePresenceState) {
		t.Fatalf("%d frames in a full queue, want the first and the answer", len(frames))
	}
	if n := w.counted("shed_total", "presence"); n != 4 {
		t.Errorf("%v counted as shed, want 4", n)
	}
	slow.tellLate()
	frames, _ := slow.out.take()
	if len(frames) != 1 || !strings.Contains(string(frames[0]), `"status":"away"`) {
		t.Errorf("told later: %q", frames)
	}
	slow.tellLate()
	if frames, _ := slow.out.take(); len(frames) != 0 {
		t.Errorf("told again: %q", frames)
	}
	w.edge.signalled(&wire.Hop{Deliveries: []wire.Delivery{{Recipients: []chat.UserID{alice}}}})
	w.edge.goes(slow)
	slow.presence.seat = 1
	w.edge.goes(slow)
	if got := w.crowd.watched(); len(got) != 0 {
		t.Errorf("still watched: %v", got)
	}
}

func TestOldNewsOfAPersonIsDropped(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	direct := w.direct(alice, bob)
	d := w.login(t, alice)
	d.looksAt(direct)
	tell := func(term, version uint64, s wire.Status) {
		a := wire.Announcement{Term: term, Version: version, People: []wire.PersonStatus{{UserID: bob, Status: s}}}
		w.edge.Deliver(wire.AppendAnnouncement(nil, &a))
	}
	tell(3, 5, wire.StatusOnline)
	d.sees(bob, wire.StatusOnline)
	tell(3, 4, wire.StatusAway)
	tell(2, 9, wire.StatusAway)
	d.quiet()
	tell(4, 1, wire.StatusAway)
	d.sees(bob, wire.StatusAway)
	w.edge.Deliver([]byte{2, 0})
	if w.counted("bad_hops_total") != 1 {
		t.Error("an unreadable announcement was not counted")
	}
}

func TestTypingGoesToTheWorkerAndComesBack(t *testing.T) {
	w := newWorld(t)
	alice, bob, eve := w.person("alice"), w.person("bob"), w.person("eve")
	direct := w.direct(alice, bob)
	d, stranger := w.login(t, alice), w.login(t, eve)
	d.send(wire.TypeTypingStart, wire.TypingUp{ConversationID: string(direct)})
	d.send(wire.TypeTypingStart, wire.TypingUp{ConversationID: string(direct)}) // within the second: not looked at
	d.eventually("the start", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.typed) == 1 })
	d.send(wire.TypeTypingStop, wire.TypingUp{ConversationID: string(direct)})
	d.eventually("the stop", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.typed) == 2 })
	if want := []string{"start " + string(alice), "stop " + string(alice)}; !slices.Equal(w.typed, want) {
		t.Errorf("the worker heard %q, want %q", w.typed, want)
	}
	stranger.send(wire.TypeTypingStart, wire.TypingUp{ConversationID: string(direct)})
	stranger.refused(chat.NotFound)

	down, err := wire.EncodeFrame(0, wire.TypeTypingStart, wire.TypingDown{ConversationID: direct, UserID: bob})
	if err != nil {
		t.Fatal(err)
	}
	hop := wire.Hop{Lane: wire.LaneSignals, Term: 1, Deliveries: []wire.Delivery{{Recipients: []chat.UserID{alice}, Conversation: direct, Frame: down}}}
	w.edge.Deliver(wire.AppendHop(nil, &hop))
	if got := into[wire.TypingDown](t, d.want(wire.TypeTypingStart)); got.UserID != bob || got.ConversationID != direct {
		t.Errorf("told %+v", got)
	}
	w.say(direct, bob, "the numbers are as before")
	d.receives("the numbers are as before")
	stranger.quiet()
}

func TestTypingOverREST(t *testing.T) {
	w := newWorld(t)
	alice, bob, eve := w.person("alice"), w.person("bob"), w.person("eve")
	direct := w.direct(alice, bob)
	path := "conversations/" + string(direct) + "/typing"
	w.rest(t, alice, http.MethodPost, path, `{}`, http.StatusNoContent)
	w.rest(t, alice, http.MethodPost, path, `{"stop":true}`, http.StatusNoContent)
	w.rest(t, eve, http.MethodPost, path, `{}`, http.StatusNotFound)
	if want := []string{"start " + string(alice), "stop " + string(alice)}; !slices.Equal(w.typed, want) {
		t.Errorf("the worker heard %q, want %q", w.typed, want)
	}
}

func TestAProfileTellsPresenceToPeers(t *testing.T) {
	w := newWorld(t)
	alice, bob, eve := w.person("alice"), w.person("bob"), w.person("eve")
	w.direct(alice, bob)
	w.group(eve, bob)
	path := "users/" + string(bob)
	if got := w.rest(t, alice, http.MethodGet, path, "", http.StatusOK); strings.Contains(got, "presence") {
		t.Errorf("presence that is not known: %s", got)
	}
	w.becomes(bob, wire.StatusOnline)
	if got := w.rest(t, alice, http.MethodGet, path, "", http.StatusOK); !strings.Contains(got, `"presence":{"status":"online"}`) {
		t.Errorf("a peer is told %s", got)
	}
	for _, other := range []chat.UserID{eve, bob} {
		if got := w.rest(t, other, http.MethodGet, path, "", http.StatusOK); strings.Contains(got, "presence") {
			t.Errorf("told to %s: %s", other, got)
		}
	}
}
