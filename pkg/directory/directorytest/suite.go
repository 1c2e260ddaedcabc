package directorytest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

// Run runs the suite; open makes an empty store that it closes with the test.
func Run(t *testing.T, open func(t *testing.T) directory.Store) {
	t.Helper()
	for _, part := range []struct {
		name string
		test func(subject)
	}{
		{"an account is found by name, address and id", accounts},
		{"names are unique after folding", uniqueNames},
		{"concurrent registrations have one winner", oneWinner},
		{"people are read and searched", people},
		{"a profile is changed", profiles},
		{"last seen moves forward", lastSeen},
		{"sessions live until they end", sessions},
		{"revocation is idempotent and listed", revocations},
		{"a refresh token is good once", rotation},
		{"a rotation may be repeated within its leeway", leeway},
		{"a reused token revokes its session, however old it is", reuse},
		{"an ended session refreshes nothing", endedSessions},
		{"concurrent rotations have one winner", oneRotation},
		{"long ended sessions are forgotten", forgotten},
		{"a conversation is projected", projection},
		{"participations are paged", participations},
		{"the projection bears any order and repetition", anyOrder},
		{"positions never go back", positions},
		{"a projection is written whole or not at all", cancelled},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(subject{t, open(t)}) })
	}
}

// subject is an empty store and the test that it is for.
type subject struct {
	t *testing.T
	s directory.Store
}

// begin is the time at which the suite's world starts.
var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func account(name string) directory.Account {
	return directory.Account{
		User:  directory.User{ID: chat.NewUserID(), Username: name, DisplayName: "The " + name, CreatedAt: begin},
		Email: name + "@Example.org", PasswordHash: directory.Secret("hash of " + name),
	}
}

func create(t *testing.T, s directory.Store, name string) directory.Account {
	t.Helper()
	a := account(name)
	if err := s.CreateUser(t.Context(), a); err != nil {
		t.Fatalf("create user %s: %v", name, err)
	}
	return a
}

func wantKind(t *testing.T, what string, err error, kind chat.Kind) {
	t.Helper()
	if chat.KindOf(err) != kind {
		t.Errorf("%s: got %v, want %s", what, err, kind)
	}
}

func wantSame(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func accounts(c subject) {
	t, s := c.t, c.s
	ctx, want := t.Context(), create(t, s, "alice")
	create(t, s, "bob")
	for _, login := range []string{"alice", "ALICE", "alice@example.org", "Alice@EXAMPLE.org"} {
		got, err := s.AccountByLogin(ctx, login)
		if err != nil {
			t.Errorf("login %q: %v", login, err)
		}
		wantSame(t, "account of "+login, got, want)
	}
	got, err := s.Account(ctx, want.ID)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "account by id", got, want)
	for _, login := range []string{"", "carol", "alice@", "%", "alice%", string(want.ID)} {
		_, err := s.AccountByLogin(ctx, login)
		wantKind(t, fmt.Sprintf("login %q", login), err, chat.NotFound)
	}
	_, err = s.Account(ctx, chat.NewUserID())
	wantKind(t, "unknown id", err, chat.NotFound)
}

func uniqueNames(c subject) {
	t, s := c.t, c.s
	create(t, s, "alice")
	sameName := account("Alice")
	sameName.Email = "other@example.org"
	err := s.CreateUser(t.Context(), sameName)
	wantKind(t, "the same username", err, chat.Conflict)
	if text := chat.Public(err).Message; !strings.Contains(text, "username") {
		t.Errorf("the refusal does not say that the username is taken: %q", text)
	}
	sameEmail := account("carol")
	sameEmail.Email = "ALICE@example.org"
	err = s.CreateUser(t.Context(), sameEmail)
	wantKind(t, "the same address", err, chat.Conflict)
	if text := chat.Public(err).Message; !strings.Contains(text, "e-mail") {
		t.Errorf("the refusal does not say that the address is taken: %q", text)
	}
	if _, err := s.AccountByLogin(t.Context(), "carol"); chat.KindOf(err) != chat.NotFound {
		t.Errorf("a refused account is there: %v", err)
	}
}

func oneWinner(c subject) {
	t, s := c.t, c.s
	const rivals = 16
	results := together(rivals, func(i int) error {
		a := account("alice")
		a.Email = fmt.Sprintf("alice%d@example.org", i)
		return s.CreateUser(t.Context(), a)
	})
	won := 0
	for _, err := range results {
		if err == nil {
			won++
			continue
		}
		wantKind(t, "a loser", err, chat.Conflict)
	}
	if won != 1 {
		t.Errorf("%d of %d got the username, want exactly 1", won, rivals)
	}
}

// together runs f count times at once.
func together(count int, f func(i int) error) []error {
	results, start := make([]error, count), make(chan struct{})
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			<-start
			results[i] = f(i)
		})
	}
	close(start)
	all.Wait()
	return results
}

func people(c subject) {
	t, s := c.t, c.s
	ctx := t.Context()
	var ids []chat.UserID
	var want []directory.User
	for i := range 120 {
		a := create(t, s, fmt.Sprintf("user%03d", i))
		ids, want = append(ids, a.ID), append(want, a.User)
	}
	got, err := s.Users(ctx, append(slices.Clone(ids), chat.NewUserID(), ""))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b directory.User) int { return cmp.Compare(a.Username, b.Username) })
	wantSame(t, "users", got, want)
	if none, err := s.Users(ctx, nil); err != nil || len(none) != 0 {
		t.Errorf("no ids: %v, %v", none, err)
	}
	create(t, s, "user")
	create(t, s, "us_er")
	for _, c := range []struct {
		prefix string
		limit  int
		want   []string
	}{
		{"user", 3, []string{"user", "user000", "user001"}},
		{"USER11", 10, []string{"user110", "user111", "user112", "user113", "user114", "user115", "user116", "user117", "user118", "user119"}},
		{"us_", 10, []string{"us_er"}},
		{"user1", 0, nil},
		{"", 10, nil},
		{"%", 10, nil},
		{"zz", 10, nil},
	} {
		found, err := s.SearchUsers(ctx, c.prefix, c.limit)
		if err != nil {
			t.Errorf("search %q: %v", c.prefix, err)
		}
		var names []string
		for _, u := range found {
			names = append(names, u.Username)
		}
		wantSame(t, "search "+c.prefix, names, c.want)
	}
}

func profiles(c subject) {
	t, s := c.t, c.s
	a := create(t, s, "alice")
	if err := s.SetProfile(t.Context(), a.ID, "Алиса 🦊"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Account(t.Context(), a.ID)
	if err != nil || got.DisplayName != "Алиса 🦊" {
		t.Errorf("display name is %q, %v", got.DisplayName, err)
	}
	wantKind(t, "unknown user", s.SetProfile(t.Context(), chat.NewUserID(), "x"), chat.NotFound)
}

func projection(c subject) {
	t, s := c.t, c.s
	ctx := t.Context()
	alice, bob, carol := chat.NewUserID(), chat.NewUserID(), chat.NewUserID()
	id := groupID(1)
	project(t, s, directory.Projection{
		Conversations: []directory.Conversation{{ID: id, Type: chat.Group, Name: "first", CreatedAt: begin, Seq: 1}},
		Participants: []directory.Participant{
			{ConversationID: id, UserID: alice, Role: chat.RoleOwner, JoinedSeq: 1, Seq: 1},
			{ConversationID: id, UserID: bob, Role: chat.RoleMember, JoinedSeq: 1, Seq: 1},
		},
	})
	wantShared(t, s, alice, bob, true)
	wantShared(t, s, alice, carol, false)
	project(t, s, directory.Projection{
		Conversations: []directory.Conversation{{ID: id, Type: chat.Group, Name: "second", Seq: 4}},
		Participants: []directory.Participant{
			{ConversationID: id, UserID: bob, Role: chat.RoleAdmin, Seq: 5}, // a role alone keeps the rest
			{ConversationID: id, UserID: alice, RemovedSeq: 6, Seq: 6},
		},
	})
	found, err := s.Conversations(ctx, []chat.ConversationID{id, groupID(2)})
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "conversation", found, []directory.Conversation{{ID: id, Type: chat.Group, Name: "second", CreatedAt: begin, Seq: 4}})
	wantSame(t, "bob's", listed(t, s, bob), []directory.Participant{{ConversationID: id, UserID: bob, Role: chat.RoleAdmin, JoinedSeq: 1, Seq: 5}})
	wantSame(t, "removed alice's", listed(t, s, alice), []directory.Participant(nil))
	wantShared(t, s, alice, bob, false)
	wantShared(t, s, bob, alice, false)
	project(t, s, directory.Projection{Participants: []directory.Participant{
		{ConversationID: id, UserID: alice, Role: chat.RoleMember, JoinedSeq: 9, Seq: 9},
	}})
	wantSame(t, "returned alice's", listed(t, s, alice), []directory.Participant{{ConversationID: id, UserID: alice, Role: chat.RoleMember, JoinedSeq: 9, Seq: 9}})
	wantShared(t, s, alice, bob, true)
}

func wantShared(t *testing.T, s directory.Store, a, b chat.UserID, want bool) {
	t.Helper()
	if got, err := s.ShareConversation(t.Context(), a, b); err != nil || got != want {
		t.Errorf("share a conversation: %v, %v, want %v", got, err, want)
	}
}

func listed(t *testing.T, s directory.Store, u chat.UserID) []directory.Participant {
	t.Helper()
	list, err := s.Participations(t.Context(), u, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func project(t *testing.T, s directory.Store, p directory.Projection) {
	t.Helper()
	if err := s.Project(t.Context(), 0, p); err != nil {
		t.Fatal(err)
	}
}

// groupID is an id that sorts by n.
func groupID(n int) chat.ConversationID {
	return chat.ConversationID(fmt.Sprintf("g%s%c%c%c%s", strings.Repeat("a", 10), 'a'+rune(n/676%26), 'a'+rune(n/26%26), 'a'+rune(n%26), strings.Repeat("a", 13)))
}

func participations(c subject) {
	t, s := c.t, c.s
	alice, bob := chat.NewUserID(), chat.NewUserID()
	var rows directory.Projection
	var want []chat.ConversationID
	for i := range 95 {
		row := directory.Participant{ConversationID: groupID(i), UserID: alice, Role: chat.RoleMember, JoinedSeq: 2, Seq: 2}
		if i%7 == 0 {
			row.RemovedSeq, row.Seq = 3, 3
		} else {
			want = append(want, row.ConversationID)
		}
		rows.Participants = append(rows.Participants, row, directory.Participant{ConversationID: groupID(i), UserID: bob, Role: chat.RoleOwner, JoinedSeq: 1, Seq: 1})
	}
	slices.Reverse(rows.Participants)
	project(t, s, rows)
	var got []chat.ConversationID
	for after := chat.ConversationID(""); ; {
		page, err := s.Participations(t.Context(), alice, after, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		if len(page) > 10 {
			t.Fatalf("a page of %d, at most 10 were wanted", len(page))
		}
		for _, p := range page {
			got = append(got, p.ConversationID)
		}
		after = page[len(page)-1].ConversationID
	}
	wantSame(t, "walk through the pages", got, want)
	if none, err := s.Participations(t.Context(), alice, "", 0); err != nil || len(none) != 0 {
		t.Errorf("limit 0: %v, %v", none, err)
	}
}

func positions(c subject) {
	t, s := c.t, c.s
	at := func(partition int) chat.Mark {
		t.Helper()
		mark, err := s.Projected(t.Context(), partition)
		if err != nil {
			t.Fatal(err)
		}
		return mark
	}
	wantSame(t, "position of nothing", at(0), chat.Mark{})
	for _, step := range []struct{ put, want chat.Mark }{
		{chat.Mark{Generation: 1, StreamSeq: 10, ID: 7}, chat.Mark{Generation: 1, StreamSeq: 10, ID: 7}},
		{chat.Mark{}, chat.Mark{Generation: 1, StreamSeq: 10, ID: 7}},
		{chat.Mark{Generation: 1, StreamSeq: 9, ID: 6}, chat.Mark{Generation: 1, StreamSeq: 10, ID: 7}},
		{chat.Mark{Generation: 1, StreamSeq: 12}, chat.Mark{Generation: 1, StreamSeq: 12}}, // a fence has no id
		{chat.Mark{Generation: 2, StreamSeq: 1, ID: 1 << 62}, chat.Mark{Generation: 2, StreamSeq: 1, ID: 1 << 62}},
		{chat.Mark{Generation: 1, StreamSeq: 99, ID: 9}, chat.Mark{Generation: 2, StreamSeq: 1, ID: 1 << 62}},
	} {
		project(t, s, directory.Projection{Position: step.put})
		wantSame(t, fmt.Sprintf("position after %+v", step.put), at(0), step.want)
	}
	wantSame(t, "another partition's position", at(1), chat.Mark{})
}

func cancelled(c subject) {
	t, s := c.t, c.s
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	u := chat.NewUserID()
	err := s.Project(ctx, 0, directory.Projection{
		Participants: []directory.Participant{{ConversationID: groupID(1), UserID: u, Role: chat.RoleMember, JoinedSeq: 1, Seq: 1}},
		Position:     chat.Mark{Generation: 1, StreamSeq: 1},
	})
	wantKind(t, "a cancelled call", err, chat.Unavailable)
	wantSame(t, "rows", listed(t, s, u), []directory.Participant(nil))
	if mark, err := s.Projected(t.Context(), 0); err != nil || mark != (chat.Mark{}) {
		t.Errorf("position moved to %+v, %v", mark, err)
	}
}

func hashOf(text string) [32]byte { return sha256.Sum256([]byte(text)) }
