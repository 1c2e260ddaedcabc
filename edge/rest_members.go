package edge

import (
	"context"
	"net/http"
	"slices"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// Member is one person of a conversation.
type Member struct {
	UserID    chat.UserID `json:"user_id"`
	Role      chat.Role   `json:"role"`
	JoinedSeq chat.Seq    `json:"joined_seq"`
}

// Committed is where a command's record stands; of one that changed nothing, the present head.
type Committed struct {
	ConversationID chat.ConversationID `json:"conversation_id"`
	ClientID       chat.ClientID       `json:"client_id,omitzero"`
	ID             chat.ID             `json:"id"`
	Seq            chat.Seq            `json:"seq"`
	N              uint64              `json:"n"`
	SentAt         string              `json:"sent_at" format:"date-time"`
}

func committed(cmd conversation.Command, o conversation.Outcome) Committed {
	return Committed(sentOf(cmd, o))
}

type membersAnswer struct {
	Members []Member `json:"members"`
	Next    string   `json:"next,omitzero" doc:"Cursor of the following page; absent at the end."`
}

type addition struct {
	UserIDs []string `json:"user_ids" doc:"Who joins; those who are in already stay as they are."`
}

type promotion struct {
	Role chat.Role `json:"role" enum:"owner,admin,member"`
}

// MemberPath is the part of a path that names a member.
type MemberPath struct {
	ConversationPath
	User string `path:"user" doc:"User id."`
}

func (r *rest) memberOperations() {
	handle(r, spec{method: http.MethodGet, path: "conversations/{id}/members", id: "list-members", tag: "members", summary: "The members, by user id"},
		func(ctx context.Context, in *struct {
			ConversationPath
			Limit  int    `query:"limit" default:"100" minimum:"1" maximum:"500"`
			Cursor string `query:"cursor" doc:"next of the page before."`
		},
		) (membersAnswer, error) {
			id, err := in.id()
			if err != nil {
				return membersAnswer{}, err
			}
			return r.edge.listMembers(ctx, id, claimsOf(ctx).UserID, in.Limit, chat.UserID(in.Cursor))
		})
	handle(r, spec{method: http.MethodPost, path: "conversations/{id}/members", id: "add-members", tag: "members", summary: "Add people to a group"},
		func(ctx context.Context, in *struct {
			ConversationPath
			Body body[addition]
		},
		) (Committed, error) {
			if in.Body.err != nil {
				return Committed{}, in.Body.err
			}
			users, err := parseUsers(in.Body.value.UserIDs)
			if err != nil {
				return Committed{}, err
			}
			return r.memberCommand(ctx, &in.ConversationPath, conversation.Command{Op: conversation.OpAdd, Members: users})
		})
	handle(r, spec{method: http.MethodPatch, path: "conversations/{id}/members/{user}", id: "change-member", tag: "members", summary: "Give a member another role"},
		func(ctx context.Context, in *struct {
			MemberPath
			Body body[promotion]
		},
		) (Committed, error) {
			if in.Body.err != nil {
				return Committed{}, in.Body.err
			}
			cmd := conversation.Command{Op: conversation.OpRole, Members: []chat.UserID{chat.UserID(in.User)}, Role: in.Body.value.Role}
			return r.memberCommand(ctx, &in.ConversationPath, cmd)
		})
	handle(r, spec{method: http.MethodDelete, path: "conversations/{id}/members/{user}", id: "remove-member", tag: "members", summary: "Remove a member; oneself: leave"},
		func(ctx context.Context, in *MemberPath) (Committed, error) {
			cmd := conversation.Command{Op: conversation.OpRemove, Members: []chat.UserID{chat.UserID(in.User)}}
			return r.memberCommand(ctx, &in.ConversationPath, cmd)
		})
}

// memberCommand commits a change of members. Check judges the names in it.
func (r *rest) memberCommand(ctx context.Context, path *ConversationPath, cmd conversation.Command) (Committed, error) {
	id, err := path.id()
	if err != nil {
		return Committed{}, err
	}
	cmd.ConversationID, cmd.Actor = id, claimsOf(ctx).UserID
	if cmd, err = r.edge.seal(cmd); err != nil {
		return Committed{}, err
	}
	if cmd.Op == conversation.OpAdd {
		if err := r.edge.mustExist(ctx, cmd.Members); err != nil {
			return Committed{}, err
		}
	}
	outcome, err := r.edge.commit(ctx, cmd)
	if err != nil {
		return Committed{}, err
	}
	return committed(cmd, outcome), nil
}

func (e *Edge) listMembers(ctx context.Context, id chat.ConversationID, user chat.UserID, limit int, after chat.UserID) (membersAnswer, error) {
	a, err := e.ask(ctx, id, user)
	if err != nil {
		return membersAnswer{}, err
	}
	users := a.State.OpenMembers()
	from, exact := slices.BinarySearch(users, after)
	if exact {
		from++
	}
	users = users[from:]
	out := membersAnswer{Members: make([]Member, 0, min(limit, len(users)))}
	if len(users) > limit {
		users = users[:limit]
		out.Next = string(users[limit-1])
	}
	for _, u := range users {
		out.Members = append(out.Members, Member{UserID: u, Role: a.State.RoleOf(u), JoinedSeq: a.State.JoinedSeq(u)})
	}
	return out, nil
}
