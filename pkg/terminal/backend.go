package terminal

import (
	"context"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
	"github.com/parley-chat/parley/pkg/wire"
)

// Backend is what the model wants of a server. The first group answers at once and is called by Update; the calls
// with a context wait and are made outside of it.
type Backend interface {
	// Send puts a message into the outbox; one that has a client id is sent under it again.
	Send(m client.Message) (client.Message, error)
	Read(id chat.ConversationID, seq chat.Seq)
	Typing(id chat.ConversationID, writing bool)
	// Look wants presence of the people in these conversations, and of nobody else.
	Look(ids []chat.ConversationID)
	Away(away bool)
	// Unsent counts the messages that wait for their answer.
	Unsent() int

	Names(ctx context.Context, ids []chat.UserID) ([]client.User, error)
	Search(ctx context.Context, query string) ([]client.User, error)
	Direct(ctx context.Context, user chat.UserID) (wire.Conversation, error)
	Group(ctx context.Context, id chat.ClientID, name string, members []chat.UserID) (wire.Conversation, error)
	Conversation(ctx context.Context, id chat.ConversationID) (wire.Conversation, error)
	// Older is the page below a seq; 0: the newest. from is where it begins.
	Older(ctx context.Context, id chat.ConversationID, before chat.Seq) (from chat.Seq, records []chat.Record, more bool, err error)
}
