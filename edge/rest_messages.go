package edge

import (
	"context"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

type posting struct {
	ClientID string   `json:"client_id,omitzero" format:"uuid" doc:"UUIDv7 made by the device; only with one can a send be repeated safely."`
	Type     string   `json:"type" enum:"text"`
	Text     string   `json:"text" minLength:"1" maxLength:"100000"`
	ReplyTo  chat.Seq `json:"reply_to,omitzero"`
}

type revision struct {
	ClientID string `json:"client_id,omitzero" format:"uuid"`
	Text     string `json:"text" minLength:"1" maxLength:"100000"`
}

type messageAnswer struct {
	Message jsontext.Value `json:"message"`
}

type versionsAnswer struct {
	Versions []jsontext.Value `json:"versions" doc:"The message and its edits, oldest first."`
}

type pageAnswer struct {
	Messages   []jsontext.Value `json:"messages" doc:"Ascending; edits and deletes are folded into their messages."`
	FromSeq    chat.Seq         `json:"from_seq"`
	ToSeq      chat.Seq         `json:"to_seq"`
	Head       chat.Head        `json:"head"`
	MoreBefore bool             `json:"more_before"`
	MoreAfter  bool             `json:"more_after"`
}

// PageInput asks for a page of history.
type PageInput struct {
	ConversationPath
	Limit  int    `query:"limit" default:"50" minimum:"1" maximum:"100" doc:"Items."`
	Before string `query:"before" doc:"A seq or an id, exclusive."`
	After  string `query:"after" doc:"A seq or an id, exclusive."`
	Around string `query:"around" doc:"A seq or an id, inclusive."`
	At     string `query:"at" format:"date-time" doc:"A time: around the first record at or after it."`
}

// MessagePath is the part of a path that names a record.
type MessagePath struct {
	ConversationPath
	Position string `path:"position" doc:"A seq or an id."`
}

func (r *rest) messageOperations() {
	handle(r, spec{method: http.MethodPost, path: "conversations/{id}/messages", id: "send-message", tag: "messages", most: wire.MaxFrame, summary: "Send a message"},
		func(ctx context.Context, in *struct {
			ConversationPath
			Body body[posting]
		},
		) (messageAnswer, error) {
			if in.Body.err != nil {
				return messageAnswer{}, in.Body.err
			}
			return r.edge.post(ctx, &in.ConversationPath, in.Body.value)
		})
	handle(r, spec{method: http.MethodGet, path: "conversations/{id}/messages", id: "list-messages", tag: "messages", summary: "A page of history"},
		func(ctx context.Context, in *PageInput) (pageAnswer, error) { return r.edge.page(ctx, in) })
	handle(r, spec{method: http.MethodPatch, path: "conversations/{id}/messages/{position}", id: "edit-message", tag: "messages", most: wire.MaxFrame, summary: "Replace the text of a message of one's own"},
		func(ctx context.Context, in *struct {
			MessagePath
			ClientID string `query:"client_id" format:"uuid"`
			Body     body[revision]
		},
		) (Committed, error) {
			if in.Body.err != nil {
				return Committed{}, in.Body.err
			}
			client := in.Body.value.ClientID
			if client == "" {
				client = in.ClientID
			}
			return r.edge.change(ctx, &in.MessagePath, client, conversation.Command{Op: conversation.OpEdit, Text: in.Body.value.Text})
		})
	handle(r, spec{method: http.MethodDelete, path: "conversations/{id}/messages/{position}", id: "delete-message", tag: "messages", summary: "Delete a message for everyone"},
		func(ctx context.Context, in *struct {
			MessagePath
			ClientID string `query:"client_id" format:"uuid"`
		},
		) (Committed, error) {
			return r.edge.change(ctx, &in.MessagePath, in.ClientID, conversation.Command{Op: conversation.OpDelete})
		})
	handle(r, spec{method: http.MethodGet, path: "conversations/{id}/messages/{position}/versions", id: "list-versions", tag: "messages", summary: "A message and its edits"},
		func(ctx context.Context, in *MessagePath) (versionsAnswer, error) { return r.edge.versions(ctx, in) })
	r.receiptOperations()
}

// post sends a message and answers its record, as the log holds it.
func (e *Edge) post(ctx context.Context, path *ConversationPath, in posting) (messageAnswer, error) {
	id, err := path.id()
	if err != nil {
		return messageAnswer{}, err
	}
	client, err := e.clientID(in.ClientID)
	if err != nil {
		return messageAnswer{}, err
	}
	cmd, err := e.seal(conversation.Command{
		Op: conversation.OpSend, ConversationID: id, Actor: claimsOf(ctx).UserID, ClientID: client,
		Type: in.Type, Text: in.Text, ReplyTo: in.ReplyTo,
	})
	if err != nil {
		return messageAnswer{}, err
	}
	o, err := e.commit(ctx, cmd)
	if err != nil {
		return messageAnswer{}, err
	}
	record := chat.Record{
		ConversationID: id, Seq: o.Seq, N: o.N, ID: o.ID, Kind: chat.KindMessage, SenderID: cmd.Actor, ClientID: client,
		Type: cmd.Type, Text: cmd.Text, ReplyTo: cmd.ReplyTo,
	}
	return messageAnswer{record.AppendJSON(nil)}, nil
}

// change edits or deletes the message at a position.
func (e *Edge) change(ctx context.Context, path *MessagePath, client string, cmd conversation.Command) (Committed, error) {
	user := claimsOf(ctx).UserID
	a, at, err := e.positionOf(ctx, path, user)
	if err != nil {
		return Committed{}, err
	}
	cmd.ConversationID, cmd.Actor, cmd.TargetSeq = a.State.ID, user, at
	if cmd.ClientID, err = e.clientID(client); err != nil {
		return Committed{}, err
	}
	if cmd, err = e.seal(cmd); err != nil {
		return Committed{}, err
	}
	o, err := e.commit(ctx, cmd)
	if err != nil {
		return Committed{}, err
	}
	return committed(cmd, o), nil
}

// positionOf finds the record that a path names; not_found when the user can see none there.
func (e *Edge) positionOf(ctx context.Context, path *MessagePath, user chat.UserID) (conversation.Answer, chat.Seq, error) {
	id, err := path.id()
	if err != nil {
		return conversation.Answer{}, 0, err
	}
	p, err := chat.ParsePosition(path.Position)
	if err != nil {
		return conversation.Answer{}, 0, err
	}
	a, err := e.ask(ctx, id, user)
	if err != nil {
		return a, 0, err
	}
	place, err := e.placeOf(ctx, a, user, p)
	if chat.KindOf(err) == chat.Invalid {
		err = chat.Errorf(chat.NotFound, "no such message")
	}
	return a, place.Seq, err
}

func (e *Edge) versions(ctx context.Context, path *MessagePath) (versionsAnswer, error) {
	if err := e.giveWay(shedHistory, "history"); err != nil {
		return versionsAnswer{}, err
	}
	user := claimsOf(ctx).UserID
	a, at, err := e.positionOf(ctx, path, user)
	if err != nil {
		return versionsAnswer{}, err
	}
	list, err := e.deps.History.Versions(ctx, a, a.State.Visible(user), at)
	if err != nil {
		return versionsAnswer{}, unavailable(err, "versions in", a.State.ID)
	}
	return versionsAnswer{rawValues(list)}, nil
}

func rawValues(list [][]byte) []jsontext.Value {
	out := make([]jsontext.Value, len(list))
	for i, raw := range list {
		out[i] = raw
	}
	return out
}

func (e *Edge) page(ctx context.Context, in *PageInput) (pageAnswer, error) {
	if err := e.giveWay(shedHistory, "history"); err != nil {
		return pageAnswer{}, err
	}
	id, err := in.id()
	if err != nil {
		return pageAnswer{}, err
	}
	q, err := in.query()
	if err != nil {
		return pageAnswer{}, err
	}
	user := claimsOf(ctx).UserID
	if q.Answer, err = e.ask(ctx, id, user); err != nil {
		return pageAnswer{}, err
	}
	q.Visible = q.Answer.State.Visible(user)
	p, err := e.deps.History.Page(ctx, q)
	if err != nil {
		return pageAnswer{}, unavailable(err, "page of", id)
	}
	return pageAnswer{rawValues(p.Messages), p.FromSeq, p.ToSeq, p.Head, p.MoreBefore, p.MoreAfter}, nil
}

// query reads the place: at most one of the four.
func (in *PageInput) query() (conversation.PageQuery, error) {
	q := conversation.PageQuery{Limit: in.Limit}
	named := 0
	for _, place := range []struct {
		text string
		into **chat.Position
	}{{in.Before, &q.Before}, {in.After, &q.After}, {in.Around, &q.Around}} {
		if place.text == "" {
			continue
		}
		p, err := chat.ParsePosition(place.text)
		if err != nil {
			return q, err
		}
		*place.into = &p
		named++
	}
	if in.At != "" {
		at, err := time.Parse(time.RFC3339Nano, in.At)
		if err != nil {
			return q, chat.Errorf(chat.Invalid, "at is not a time of RFC 3339")
		}
		q.At = at
		named++
	}
	if named > 1 {
		return q, chat.Errorf(chat.Invalid, "name at most one of before, after, around and at")
	}
	return q, nil
}
