package client

import (
	"context"
	"net/http"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// PreferenceChange says what to change of what one wants of a conversation; nil leaves as it is. A client id
// makes a repeated call the same change.
type PreferenceChange struct {
	ClientID   chat.ClientID    `json:"client_id,omitzero"`
	MutedUntil *chat.MutedUntil `json:"muted_until,omitzero"` // "" ends it
	Archived   *bool            `json:"archived,omitzero"`
	Pinned     *bool            `json:"pinned,omitzero"`
}

// SelfConversation is one's conversation with oneself, which is made if need be.
func (a *API) SelfConversation(ctx context.Context) (wire.Conversation, error) {
	in := map[string]any{"type": chat.Self}
	return enveloped[wire.Conversation](ctx, a, http.MethodPost, "conversations", "conversation", in)
}

// SetPreferences mutes, archives or pins a conversation for oneself, or ends that. The answer is where the record
// stands in the self conversation; other devices are shown it as RecordReceived.
func (a *API) SetPreferences(ctx context.Context, id chat.ConversationID, change PreferenceChange) (wire.Sent, error) {
	var sent wire.Sent
	err := a.do(ctx, http.MethodPut, conversation(id, "preferences"), change, &sent)
	return sent, err
}

// ConversationsArchived is Conversations of those alone that are archived, or are not.
func (a *API) ConversationsArchived(ctx context.Context, archived bool, limit int, cursor string) (page []wire.Conversation, next string, err error) {
	return a.conversations(ctx, limit, cursor, &archived)
}
