package edge

import (
	"context"
	"net/http"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

type creation struct {
	Type      chat.Type          `json:"type" enum:"direct,group,self"`
	UserID    string             `json:"user_id,omitzero" doc:"direct: the other person."`
	Name      *string            `json:"name,omitzero" maxLength:"64" doc:"group: its name."`
	MemberIDs []string           `json:"member_ids,omitzero" doc:"group: the members beside oneself."`
	History   chat.HistoryAccess `json:"history,omitzero" enum:"all,joined" doc:"group: whether newcomers see what came before."`
	ClientID  string             `json:"client_id,omitzero" format:"uuid" doc:"group: UUIDv7; a repeated create with it is the same group."`
}

type settings struct {
	Name    *string            `json:"name,omitzero" maxLength:"64"`
	History chat.HistoryAccess `json:"history,omitzero" enum:"all,joined"`
}

type conversationAnswer struct {
	Conversation wire.Conversation `json:"conversation"`
}

type conversationsAnswer struct {
	Conversations []wire.Conversation `json:"conversations"`
	Next          string              `json:"next,omitzero" doc:"Cursor of the following page; absent at the end."`
}

func (r *rest) conversationOperations() {
	handle(r, spec{method: http.MethodPost, path: "conversations", id: "create-conversation", tag: "conversations", summary: "Create a conversation; a repeat gives the same one"},
		func(ctx context.Context, in *struct{ Body body[creation] }) (conversationAnswer, error) {
			if in.Body.err != nil {
				return conversationAnswer{}, in.Body.err
			}
			cmd, err := r.edge.creationOf(ctx, claimsOf(ctx).UserID, in.Body.value)
			if err != nil {
				return conversationAnswer{}, err
			}
			return r.edge.commitAndShow(ctx, cmd)
		})
	handle(r, spec{method: http.MethodGet, path: "conversations", id: "list-conversations", tag: "conversations", summary: "One's conversations by last activity"},
		func(ctx context.Context, in *struct {
			Limit    int    `query:"limit" default:"50" minimum:"1" maximum:"100"`
			Cursor   string `query:"cursor" doc:"next of the page before."`
			Archived string `query:"archived" enum:"true,false" doc:"Only those that are, or are not; absent: all."`
		},
		) (conversationsAnswer, error) {
			return r.edge.listConversations(ctx, claimsOf(ctx).UserID, in.Limit, in.Cursor, in.Archived)
		})
	handle(r, spec{method: http.MethodGet, path: "conversations/{id}", id: "get-conversation", tag: "conversations", summary: "One conversation"},
		func(ctx context.Context, in *ConversationPath) (conversationAnswer, error) {
			id, err := in.id()
			if err != nil {
				return conversationAnswer{}, err
			}
			return r.edge.show(ctx, id, claimsOf(ctx).UserID)
		})
	handle(r, spec{method: http.MethodPatch, path: "conversations/{id}", id: "change-conversation", tag: "conversations", summary: "Change a group's settings"},
		func(ctx context.Context, in *struct {
			ConversationPath
			Body body[settings]
		},
		) (conversationAnswer, error) {
			id, err := in.id()
			if err == nil {
				err = in.Body.err
			}
			if err != nil {
				return conversationAnswer{}, err
			}
			cmd, err := r.edge.seal(conversation.Command{
				Op: conversation.OpSettings, ConversationID: id, Actor: claimsOf(ctx).UserID,
				Name: in.Body.value.Name, History: in.Body.value.History,
			})
			if err != nil {
				return conversationAnswer{}, err
			}
			return r.edge.commitAndShow(ctx, cmd)
		})
}

// ConversationPath is the part of a path that names a conversation. (Exported as the others: the library looks
// into exported fields only.)
type ConversationPath struct {
	ID string `path:"id" doc:"Conversation id."`
}

// id reads the name: one that is no id names nothing.
func (p *ConversationPath) id() (chat.ConversationID, error) {
	id, err := chat.ParseConversationID(p.ID)
	if err != nil {
		return "", chat.Errorf(chat.NotFound, "no such conversation")
	}
	return id, nil
}

// creationOf makes the command of a create: its id follows from who asks, for whom and under which client id.
func (e *Edge) creationOf(ctx context.Context, actor chat.UserID, in creation) (conversation.Command, error) {
	cmd := conversation.Command{Op: conversation.OpCreate, Actor: actor, Type: string(in.Type), History: in.History, Name: in.Name}
	var err error
	switch in.Type {
	case chat.Direct:
		if cmd.Members, err = parseUsers([]string{in.UserID}); err != nil {
			return cmd, err
		}
		cmd.ConversationID = chat.DirectID(e.config.KeyConversations, actor, cmd.Members[0])
	case chat.Group:
		if cmd.Members, err = parseUsers(in.MemberIDs); err != nil {
			return cmd, err
		}
		if cmd.ClientID, err = e.clientID(in.ClientID); err != nil {
			return cmd, err
		}
		cmd.ConversationID = chat.GroupID(e.config.KeyConversations, actor, cmd.ClientID)
	case chat.Self:
		cmd.ConversationID = e.selfID(actor)
	default:
		return cmd, chat.Errorf(chat.UnknownType, "conversation type %q is unknown", chat.Clip(string(in.Type)))
	}
	if cmd, err = e.seal(cmd); err != nil {
		return cmd, err
	}
	return cmd, e.mustExist(ctx, cmd.Members)
}

// clientID reads a client id, or makes one for a caller that will not repeat.
func (e *Edge) clientID(text string) (chat.ClientID, error) {
	if text == "" {
		return chat.NewClientID(e.config.Now()), nil
	}
	return chat.ParseClientID(text)
}

// commit does a command for a REST caller. Going away does not cancel it.
func (e *Edge) commit(ctx context.Context, cmd conversation.Command) (conversation.Outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTime)
	defer cancel()
	return e.submit(ctx, cmd)
}

func (e *Edge) commitAndShow(ctx context.Context, cmd conversation.Command) (conversationAnswer, error) {
	if _, err := e.commit(ctx, cmd); err != nil {
		return conversationAnswer{}, err
	}
	return e.show(ctx, cmd.ConversationID, cmd.Actor)
}

func (e *Edge) show(ctx context.Context, id chat.ConversationID, user chat.UserID) (conversationAnswer, error) {
	a, err := e.ask(ctx, id, user)
	if err != nil {
		return conversationAnswer{}, err
	}
	stored, err := e.deps.Cursors.Of(ctx, user, []chat.ConversationID{id})
	if err != nil {
		return conversationAnswer{}, unavailable(err, "cursors in", id)
	}
	wanted := a.State.Preferences
	if a.State.Type != chat.Self {
		if wanted, err = e.preferencesOf(ctx, user); err != nil {
			return conversationAnswer{}, err
		}
	}
	shape, err := e.shapeWithLast(ctx, a, user, stored[id], wanted)
	return conversationAnswer{shape}, err
}

func (e *Edge) shapeWithLast(ctx context.Context, a conversation.Answer, user chat.UserID, stored chat.Cursors, wanted conversation.Preferences) (wire.Conversation, error) {
	shape := shapeOf(a, user, a.CursorsOf(user, stored))
	e.prefer(&shape, wanted)
	last, err := e.deps.History.LastMessage(ctx, a, a.State.Visible(user))
	if err != nil {
		return shape, unavailable(err, "last message of", a.State.ID)
	}
	shape.LastMessage = last
	return shape, nil
}
