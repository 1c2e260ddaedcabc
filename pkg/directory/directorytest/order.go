package directorytest

import (
	"cmp"
	"slices"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

// anyOrder projects a random history of one conversation in a random order, with repeats and in random
// batches, and compares with the plain fold of the same history in its own order.
func anyOrder(c subject) {
	t, s := c.t, c.s
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		id := groupID(runs)
		users := []chat.UserID{chat.NewUserID(), chat.NewUserID(), chat.NewUserID()}
		rows, want, name := history(r, id, users)
		order := rapid.Permutation(append(slices.Clone(rows), rows[:rapid.IntRange(0, len(rows)).Draw(r, "repeated")]...)).Draw(r, "order")
		for len(order) > 0 {
			n := rapid.IntRange(1, len(order)).Draw(r, "batch")
			var batch directory.Projection
			for _, row := range order[:n] {
				batch.Conversations = append(batch.Conversations, row.Conversations...)
				batch.Participants = append(batch.Participants, row.Participants...)
			}
			if err := s.Project(t.Context(), 0, batch); err != nil {
				r.Fatal(err)
			}
			order = order[n:]
		}
		var got []directory.Participant
		for _, u := range users {
			list, err := s.Participations(t.Context(), u, "", 10)
			if err != nil {
				r.Fatal(err)
			}
			got = append(got, list...)
		}
		compareRows(r, got, want)
		found, err := s.Conversations(t.Context(), []chat.ConversationID{id})
		if err != nil || len(found) != 1 || found[0].Name != name || !found[0].CreatedAt.Equal(begin) {
			r.Fatalf("conversation is %+v, %v, want the name %q", found, err, name)
		}
	})
}

func compareRows(r *rapid.T, got []directory.Participant, want map[chat.UserID]directory.Participant) {
	var expected []directory.Participant
	for _, row := range want {
		if row.JoinedSeq > row.RemovedSeq {
			row.RemovedSeq = 0
			expected = append(expected, row)
		}
	}
	byUser := func(a, b directory.Participant) int { return cmp.Compare(a.UserID, b.UserID) }
	slices.SortFunc(expected, byUser)
	slices.SortFunc(got, byUser)
	if !slices.Equal(got, expected) {
		r.Fatalf("got  %+v\nwant %+v", got, expected)
	}
}

// history is a valid one: who is in is removed or given a role, who is out is added.
func history(r *rapid.T, id chat.ConversationID, users []chat.UserID) (rows []directory.Projection, state map[chat.UserID]directory.Participant, name string) {
	state = map[chat.UserID]directory.Participant{}
	name = "created"
	create := directory.Projection{Conversations: []directory.Conversation{{ID: id, Type: chat.Group, Name: name, CreatedAt: begin, Seq: 1}}}
	first := directory.Participant{ConversationID: id, UserID: users[0], Role: chat.RoleOwner, JoinedSeq: 1, Seq: 1}
	create.Participants = append(create.Participants, first)
	state[users[0]] = first
	rows = append(rows, create)
	roles := []chat.Role{chat.RoleOwner, chat.RoleAdmin, chat.RoleMember}
	for seq := chat.Seq(2); seq < chat.Seq(rapid.IntRange(2, 20).Draw(r, "records")); seq++ {
		u := rapid.SampledFrom(users).Draw(r, "user")
		row := state[u]
		row.ConversationID, row.UserID, row.Seq = id, u, seq
		change := directory.Participant{ConversationID: id, UserID: u, Seq: seq}
		switch open := row.JoinedSeq > row.RemovedSeq; {
		case rapid.IntRange(0, 4).Draw(r, "rename") == 0:
			name = rapid.StringMatching(`[a-z]{1,8}`).Draw(r, "name")
			rows = append(rows, directory.Projection{Conversations: []directory.Conversation{{ID: id, Type: chat.Group, Name: name, Seq: seq}}})
			continue
		case !open:
			change.Role, change.JoinedSeq = chat.RoleMember, seq
			row.Role, row.JoinedSeq = chat.RoleMember, seq
		case rapid.Bool().Draw(r, "remove"):
			change.RemovedSeq, row.RemovedSeq = seq, seq
		default:
			change.Role = rapid.SampledFrom(roles).Draw(r, "role")
			row.Role = change.Role
		}
		state[u] = row
		rows = append(rows, directory.Projection{Participants: []directory.Participant{change}})
	}
	return rows, state, name
}
