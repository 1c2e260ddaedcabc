package edge

import (
	"bytes"
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

type preference struct {
	MutedUntil muting `json:"muted_until,omitzero"`
	Archived   *bool  `json:"archived,omitzero"`
	Pinned     *bool  `json:"pinned,omitzero"`
	ClientID   string `json:"client_id,omitzero" format:"uuid" doc:"UUIDv7 made by the device."`
}

// muting is a muted_until that may be absent (nil), or null, which is "".
type muting struct{ until *chat.MutedUntil }

// UnmarshalJSON reads a text or null.
func (m *muting) UnmarshalJSON(b []byte) error {
	var text string
	if !bytes.Equal(b, []byte("null")) {
		if err := wire.Decode(b, &text); err != nil {
			return err
		}
	}
	until, err := chat.ParseMutedUntil(text)
	m.until = &until
	return err
}

// Schema documents what UnmarshalJSON takes.
func (*muting) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: `A time, "forever", or null or "" to end it.`,
		OneOf: []*huma.Schema{
			{Type: huma.TypeString, Format: "date-time"},
			{Type: huma.TypeString, Enum: []any{string(chat.MutedForever), ""}},
			{Type: "null"},
		},
	}
}

func (r *rest) preferenceOperations() {
	handle(r, spec{method: http.MethodPut, path: "conversations/{id}/preferences", id: "set-preferences", tag: "conversations", summary: "Mute, archive or pin a conversation for oneself"},
		func(ctx context.Context, in *struct {
			ConversationPath
			Body body[preference]
		},
		) (Committed, error) {
			about, err := in.id()
			if err == nil {
				err = in.Body.err
			}
			if err != nil {
				return Committed{}, err
			}
			return r.edge.setPreference(ctx, about, claimsOf(ctx).UserID, in.Body.value)
		})
}

// setPreference commits a change of what a member wants of a conversation, in their self conversation.
func (e *Edge) setPreference(ctx context.Context, about chat.ConversationID, user chat.UserID, in preference) (Committed, error) {
	cmd := conversation.Command{
		Op: conversation.OpPreference, ConversationID: e.selfID(user), Actor: user, About: about,
		MutedUntil: in.MutedUntil.until, Archived: in.Archived, Pinned: in.Pinned,
	}
	var err error
	if in.ClientID != "" {
		if cmd.ClientID, err = chat.ParseClientID(in.ClientID); err != nil {
			return Committed{}, err
		}
	}
	if cmd, err = e.seal(cmd); err != nil {
		return Committed{}, err
	}
	if about != cmd.ConversationID { // that one is made by the command
		if _, err := e.ask(ctx, about, user); err != nil {
			return Committed{}, err
		}
	}
	outcome, err := e.commit(ctx, cmd)
	if err != nil {
		return Committed{}, err
	}
	return committed(cmd, outcome), nil
}
