package edge

import (
	"context"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

// selfID is a person's conversation with themself, made or not.
func (e *Edge) selfID(user chat.UserID) chat.ConversationID {
	return chat.SelfID(e.config.KeyConversations, user)
}

// createSelf makes a person's self conversation unless it stands.
func (e *Edge) createSelf(ctx context.Context, user chat.UserID) error {
	cmd, err := e.seal(conversation.Command{Op: conversation.OpCreate, ConversationID: e.selfID(user), Actor: user, Type: string(chat.Self)})
	if err != nil {
		return err
	}
	_, err = e.try(ctx, cmd)
	return err
}

// writesToSelf reports whether a command makes the self conversation of who gives it, if need be.
func (e *Edge) writesToSelf(cmd conversation.Command) bool {
	writes := cmd.Op == conversation.OpSend || cmd.Op == conversation.OpPreference
	return writes && cmd.ConversationID.Type() == chat.Self && cmd.ConversationID == e.selfID(cmd.Actor)
}

// preferencesOf asks what a person wants of their conversations: nothing before they have said anything.
func (e *Edge) preferencesOf(ctx context.Context, user chat.UserID) (conversation.Preferences, error) {
	a, err := e.ask(ctx, e.selfID(user), user)
	if chat.KindOf(err) == chat.NotFound {
		return nil, nil
	}
	return a.State.Preferences, err
}

// preferencesIn finds what a person wants among the answers for all their conversations.
func preferencesIn(answers []conversation.Answer) conversation.Preferences {
	for i := range answers {
		if answers[i].State.Type == chat.Self {
			return answers[i].State.Preferences
		}
	}
	return nil
}

// prefer shows in a shape what its person wants of the conversation. A mute that is over is none.
func (e *Edge) prefer(shape *wire.Conversation, all conversation.Preferences) {
	p := all.Of(shape.ID)
	if p.MutedUntil.At(e.config.Now()) {
		shape.MutedUntil = p.MutedUntil
	}
	shape.Archived, shape.Pinned = p.Archived, p.Pinned
}
