package roster

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/directory"
	"github.com/parley-chat/parley/pkg/directory/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// watched is a directory that counts its writes and fails when told to.
type watched struct {
	directory.Store
	writes int
	fail   func(directory.Projection) error
}

func (w *watched) Project(ctx context.Context, partition int, p directory.Projection) error {
	if w.fail != nil {
		if err := w.fail(p); err != nil {
			return err
		}
	}
	w.writes++
	return w.Store.Project(ctx, partition, p)
}

func newDirectory(t *testing.T) *watched {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "directory.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &watched{Store: s}
}

// partition writes a log as a sequencer does, with the real rules.
type partition struct {
	states  map[chat.ConversationID]conversation.State
	entries []chat.Entry
	id      chat.ID
}

func newPartition() *partition {
	return &partition{states: map[chat.ConversationID]conversation.State{}}
}

// do decides a command and commits its record; a refusal and a command that changes nothing commit nothing.
func (p *partition) do(c conversation.Command) {
	s := p.states[c.ConversationID]
	v, err := conversation.Decide(s, c, conversation.Facts{PriorKnown: true, TargetKnown: true}, conversation.Limits{})
	if err != nil || v.Record == nil {
		return
	}
	p.id = chat.NextID(p.id, begin, 0)
	bucket := conversation.Stamp(s, v.Record, p.id)
	p.states[c.ConversationID] = conversation.Apply(s, *v.Record, bucket)
	p.entries = append(p.entries, chat.Entry{Record: *v.Record, Bucket: bucket, Generation: 1, StreamSeq: uint64(len(p.entries) + 1)})
}

func (p *partition) fence() {
	p.entries = append(p.entries, chat.Entry{Record: chat.Record{Kind: chat.KindFence}, Generation: 1, StreamSeq: uint64(len(p.entries) + 1)})
}

func (p *partition) last() chat.Mark { return markOf(&p.entries[len(p.entries)-1]) }

func handle(t *testing.T, w *Worker, entries []chat.Entry) {
	t.Helper()
	if err := w.Handle(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
}

func position(t *testing.T, w *Worker) chat.Mark {
	t.Helper()
	mark, err := w.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return mark
}

var key = []byte("installation")

func people(n int) []chat.UserID {
	users := make([]chat.UserID, n)
	for i := range users {
		users[i] = chat.NewUserID()
	}
	return users
}

// compareWithStates holds what the directory lists to what the conversations' own states say.
func compareWithStates(t interface{ Fatalf(string, ...any) }, d directory.Store, users []chat.UserID, states map[chat.ConversationID]conversation.State) {
	ctx := context.Background()
	for _, u := range users {
		got, err := d.Participations(ctx, u, "", 1000)
		if err != nil {
			t.Fatalf("participations: %v", err)
		}
		var want []directory.Participant
		for id, s := range states {
			if s.IsMember(u) {
				want = append(want, directory.Participant{ConversationID: id, UserID: u, Role: s.RoleOf(u), JoinedSeq: s.JoinedSeq(u), Seq: s.Members[u].Seq})
			}
		}
		slices.SortFunc(want, func(a, b directory.Participant) int { return cmpIDs(a.ConversationID, b.ConversationID) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("participations of %s (-want +got):\n%s", u, diff)
		}
	}
	for id, s := range states {
		if !s.Exists() {
			continue
		}
		got, err := d.Conversations(ctx, []chat.ConversationID{id})
		if err != nil || len(got) != 1 {
			t.Fatalf("conversation %s: %+v, %v", id, got, err)
		}
		if c := got[0]; c.Type != s.Type || c.Name != s.Name || !c.CreatedAt.Equal(s.CreatedID.Time()) {
			t.Fatalf("conversation %+v, want type %s, name %q, created %v", c, s.Type, s.Name, s.CreatedID.Time())
		}
	}
}

func cmpIDs(a, b chat.ConversationID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestListsFollowTheLog(t *testing.T) {
	d, p := newDirectory(t), newPartition()
	w := NewWorker(Config{Directory: d})
	users := people(3)
	alice, bob, carol := users[0], users[1], users[2]
	group := chat.GroupID(key, alice, chat.NewClientID(begin))
	direct, self := chat.DirectID(key, alice, bob), chat.SelfID(key, alice)
	for _, c := range []conversation.Command{
		{Op: conversation.OpCreate, ConversationID: group, Actor: alice, ClientID: chat.NewClientID(begin), Name: new("first"), Members: []chat.UserID{bob}},
		{Op: conversation.OpCreate, ConversationID: direct, Actor: alice, Members: []chat.UserID{bob}},
		{Op: conversation.OpCreate, ConversationID: self, Actor: alice},
		{Op: conversation.OpAdd, ConversationID: group, Actor: alice, Members: []chat.UserID{carol}},
		{Op: conversation.OpRole, ConversationID: group, Actor: alice, Members: []chat.UserID{bob}, Role: chat.RoleAdmin},
		{Op: conversation.OpSettings, ConversationID: group, Actor: alice, History: chat.HistoryJoined},
		{Op: conversation.OpSettings, ConversationID: group, Actor: alice, Name: new("second")},
		{Op: conversation.OpRemove, ConversationID: group, Actor: alice, Members: []chat.UserID{carol}},
		{Op: conversation.OpSend, ConversationID: group, Actor: alice, ClientID: chat.NewClientID(begin), Type: chat.MessageText, Text: "hello"},
		{Op: conversation.OpRemove, ConversationID: group, Actor: bob, Members: []chat.UserID{bob}},
		{Op: conversation.OpAdd, ConversationID: group, Actor: alice, Members: []chat.UserID{carol}},
		{Op: conversation.OpPreference, ConversationID: self, Actor: alice, About: group, Pinned: new(true), MutedUntil: new(chat.MutedForever)},
	} {
		p.do(c)
	}
	p.fence()
	if len(p.entries) != 13 {
		t.Fatalf("the rules refused something: %d entries", len(p.entries))
	}
	for i := range p.entries {
		handle(t, w, p.entries[i:i+1])
	}
	compareWithStates(t, d, users, p.states)
	handle(t, w, p.entries) // a redelivery of everything
	compareWithStates(t, d, users, p.states)
	if got := position(t, w); got != p.last() {
		t.Errorf("position %+v, want %+v", got, p.last())
	}
}

// act draws a command of any kind, valid or not, on one of a few conversations.
func act(r *rapid.T, users []chat.UserID, groups []chat.ConversationID) conversation.Command {
	u := rapid.SampledFrom(users).Draw(r, "actor")
	other := rapid.SampledFrom(users).Draw(r, "other")
	c := conversation.Command{ConversationID: rapid.SampledFrom(groups).Draw(r, "group"), Actor: u, ClientID: chat.NewClientID(begin)}
	c.Op = rapid.SampledFrom([]conversation.Op{
		conversation.OpCreate, conversation.OpSend, conversation.OpAdd, conversation.OpRemove, conversation.OpRole, conversation.OpSettings,
	}).Draw(r, "op")
	switch c.Op {
	case conversation.OpCreate, conversation.OpSettings:
		if c.Op == conversation.OpSettings && rapid.Bool().Draw(r, "history alone") {
			c.History = chat.HistoryJoined
			break
		}
		c.Name = new(rapid.StringMatching(`[a-z]{1,6}`).Draw(r, "name"))
		if c.Op == conversation.OpCreate && other != u {
			c.Members = []chat.UserID{other}
		}
	case conversation.OpSend:
		c.Type, c.Text = chat.MessageText, "x"
	case conversation.OpRole:
		c.Role = rapid.SampledFrom([]chat.Role{chat.RoleOwner, chat.RoleAdmin, chat.RoleMember}).Draw(r, "role")
		c.Members = []chat.UserID{other}
	default:
		c.Members = []chat.UserID{other}
	}
	return c
}

// However the log is cut into batches, and wherever a restart begins again, the lists are those of the states.
func TestAnyCutAndRedeliveryGivesTheSameLists(t *testing.T) {
	d := newDirectory(t)
	rapid.Check(t, func(r *rapid.T) {
		users, p := people(3), newPartition()
		groups := []chat.ConversationID{chat.GroupID(key, users[0], chat.NewClientID(begin)), chat.GroupID(key, users[1], chat.NewClientID(begin))}
		for range rapid.IntRange(1, 40).Draw(r, "commands") {
			p.do(act(r, users, groups))
		}
		w := NewWorker(Config{Directory: d, Now: func() time.Time { return begin }})
		for at := 0; at < len(p.entries); {
			to := rapid.IntRange(at+1, len(p.entries)).Draw(r, "to")
			if err := w.Handle(t.Context(), p.entries[at:to]); err != nil {
				r.Fatal(err)
			}
			at = to
			if rapid.IntRange(0, 3).Draw(r, "restart") == 0 {
				w = NewWorker(Config{Directory: d, Now: func() time.Time { return begin }})
				at = rapid.IntRange(0, at).Draw(r, "again from")
			}
		}
		compareWithStates(r, d, users, p.states)
	})
}

func messages(p *partition, group chat.ConversationID, actor chat.UserID, count int) []chat.Entry {
	from := len(p.entries)
	for range count {
		p.do(conversation.Command{Op: conversation.OpSend, ConversationID: group, Actor: actor, ClientID: chat.NewClientID(begin), Type: chat.MessageText, Text: "x"})
	}
	return p.entries[from:]
}

func newGroup(p *partition, alice, bob chat.UserID) chat.ConversationID {
	group := chat.GroupID(key, alice, chat.NewClientID(begin))
	p.do(conversation.Command{Op: conversation.OpCreate, ConversationID: group, Actor: alice, ClientID: chat.NewClientID(begin), Name: new("g"), Members: []chat.UserID{bob}})
	return group
}

func TestMessagesAloneAreWrittenAsAPositionNowAndThen(t *testing.T) {
	d, p, now := newDirectory(t), newPartition(), begin
	w := NewWorker(Config{Directory: d, Now: func() time.Time { return now }})
	users := people(2)
	group := newGroup(p, users[0], users[1])
	handle(t, w, p.entries)
	created := p.last()
	all := messages(p, group, users[0], idleEntries+300)
	handle(t, w, all[:300])
	handle(t, w, all[300:600])
	if got := position(t, w); got != created || d.writes != 1 {
		t.Errorf("position %+v after %d writes", got, d.writes)
	}
	now = now.Add(idleEvery)
	handle(t, w, all[600:601])
	if got := position(t, w); got != markOf(&all[600]) {
		t.Errorf("after the time: position %+v", got)
	}
	d.writes = 0
	for i := 601; i < len(all); i++ { // the rest is fewer than are due, so one more batch of them
		handle(t, w, all[i:i+1])
	}
	if d.writes != 0 {
		t.Errorf("%d entries were %d writes", len(all)-601, d.writes)
	}
	handle(t, w, messages(p, group, users[0], idleEntries))
	if got := position(t, w); got != p.last() || d.writes != 1 {
		t.Errorf("after enough entries: position %+v, %d writes", got, d.writes)
	}
	handle(t, w, nil)
}

func TestAnOutageIsNobodysFault(t *testing.T) {
	d, p := newDirectory(t), newPartition()
	w := NewWorker(Config{Directory: d})
	users := people(2)
	newGroup(p, users[0], users[1])
	newGroup(p, users[1], users[0])
	for what, failure := range map[string]error{"unavailable": chat.Errorf(chat.Unavailable, "away"), "a directory that takes nothing": errors.New("damaged")} {
		d.fail = func(directory.Projection) error { return failure }
		err := w.Handle(t.Context(), p.entries)
		if _, isPoison := errors.AsType[interface {
			error
			Poison() (uint64, string)
		}](err); err == nil || isPoison || !errors.Is(err, failure) {
			t.Errorf("%s: %v, poison %v", what, err, isPoison)
		}
	}
	d.fail = nil
	handle(t, w, p.entries)
	compareWithStates(t, d, users, p.states)
}

func TestOnePoisonedRecordIsNamedAndPassedOver(t *testing.T) {
	d, p := newDirectory(t), newPartition()
	w := NewWorker(Config{Directory: d, Now: func() time.Time { return begin }})
	users := people(4)
	var groups []chat.ConversationID
	for i := range 3 {
		groups = append(groups, newGroup(p, users[i], users[i+1]))
	}
	guilty := groups[1]
	d.fail = func(rows directory.Projection) error {
		if slices.ContainsFunc(rows.Conversations, func(c directory.Conversation) bool { return c.ID == guilty }) {
			return errors.New("constraint failed")
		}
		return nil
	}
	err := w.Handle(t.Context(), p.entries)
	verdict, ok := errors.AsType[interface {
		error
		Poison() (uint64, string)
	}](err)
	if !ok {
		t.Fatalf("got %v, want poison", err)
	}
	streamSeq, reason := verdict.Poison()
	if streamSeq != 2 || reason != "constraint failed" {
		t.Errorf("blamed %d: %s", streamSeq, reason)
	}
	if got := position(t, w); got != (chat.Mark{}) {
		t.Errorf("the position moved to %+v before the verdict was carried out", got)
	}
	w.Quarantine(p.entries[1], reason)
	handle(t, w, p.entries)
	delete(p.states, guilty)
	compareWithStates(t, d, users, p.states)
	if got := position(t, w); got != p.last() {
		t.Errorf("position %+v, want %+v", got, p.last())
	}
	if len(w.quarantined) != 0 {
		t.Errorf("%d entries behind the position are still remembered", len(w.quarantined))
	}
}

// held is a RebuildSource in memory.
type held map[chat.ConversationID]conversation.State

func (h held) Conversations(_ context.Context, after chat.ConversationID, limit int) ([]chat.ConversationID, error) {
	var ids []chat.ConversationID
	for id := range h {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids[:min(len(ids), limit)], nil
}

func (h held) Load(_ context.Context, id chat.ConversationID) (conversation.Loaded, error) {
	return conversation.Loaded{State: h[id]}, nil
}

func TestRebuildGivesWhatTheLogGave(t *testing.T) {
	d, p := newDirectory(t), newPartition()
	users := people(3)
	alice, bob, carol := users[0], users[1], users[2]
	var group chat.ConversationID
	for range rebuildPage + 20 {
		group = newGroup(p, alice, bob)
	}
	do := func(op conversation.Op, u chat.UserID) {
		p.do(conversation.Command{Op: op, ConversationID: group, Actor: alice, Members: []chat.UserID{u}, Role: chat.RoleAdmin})
	}
	do(conversation.OpAdd, carol)
	do(conversation.OpRemove, bob)
	do(conversation.OpRemove, carol)
	do(conversation.OpAdd, carol)
	do(conversation.OpRole, carol)
	stored := held(maps.Clone(p.states))
	mark := p.last()
	count, err := Rebuild(t.Context(), stored, d, 0, 1, mark)
	if err != nil || count != len(stored) {
		t.Fatalf("rebuilt %d of %d, %v", count, len(stored), err)
	}
	compareWithStates(t, d, users, p.states)
	w := NewWorker(Config{Directory: d})
	if got := position(t, w); got != mark {
		t.Errorf("position %+v, want %+v", got, mark)
	}
	tail := len(p.entries)
	do(conversation.OpRemove, carol) // the log goes on from the mark, some of it again
	handle(t, w, p.entries[tail-3:])
	compareWithStates(t, d, users, p.states)
	if ok, err := d.ShareConversation(t.Context(), alice, carol); err != nil || ok {
		t.Errorf("carol is still in: %v, %v", ok, err)
	}
}

func TestRebuildTakesItsPartitionAlone(t *testing.T) {
	d, p := newDirectory(t), newPartition()
	users := people(2)
	const partitions = 4
	want := [partitions]int{}
	for range 60 {
		want[newGroup(p, users[0], users[1]).Partition(partitions)]++
	}
	for partition := range partitions {
		mark := chat.Mark{Generation: 2, StreamSeq: uint64(partition + 1)}
		count, err := Rebuild(t.Context(), held(p.states), d, partition, partitions, mark)
		if err != nil || count != want[partition] {
			t.Errorf("partition %d: rebuilt %d, want %d, %v", partition, count, want[partition], err)
		}
		if got, err := d.Projected(t.Context(), partition); err != nil || got != mark {
			t.Errorf("partition %d: position %+v, %v", partition, got, err)
		}
	}
	compareWithStates(t, d, users, p.states)
}

func TestAFailedRebuildMovesNoPosition(t *testing.T) {
	d, p := newDirectory(t), newPartition()
	users := people(2)
	newGroup(p, users[0], users[1])
	d.fail = func(directory.Projection) error { return chat.Errorf(chat.Unavailable, "away") }
	if _, err := Rebuild(t.Context(), held(p.states), d, 0, 1, p.last()); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("got %v", err)
	}
	if got, err := d.Projected(t.Context(), 0); err != nil || got != (chat.Mark{}) {
		t.Errorf("position %+v, %v", got, err)
	}
}

func BenchmarkHandleMessages(b *testing.B) {
	s, err := sqlite.Open(b.Context(), sqlite.Config{Path: filepath.Join(b.TempDir(), "directory.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	p, users := newPartition(), people(2)
	group := newGroup(p, users[0], users[1])
	batch := messages(p, group, users[0], 500)
	w := NewWorker(Config{Directory: s})
	for b.Loop() {
		if err := w.Handle(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(500*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
