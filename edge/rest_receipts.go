package edge

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

// Reader is one person in a list of receipts.
type Reader struct {
	UserID chat.UserID `json:"user_id"`
}

type receiptsAnswer struct {
	Delivered []Reader `json:"delivered" doc:"Members to whom the message was delivered, by user id."`
	Read      []Reader `json:"read" doc:"Members who have read it, by user id."`
}

// Place is a seq (a JSON number) or an id (a string); 0 when it is absent.
type Place chat.Position

// UnmarshalJSON reads either form; json v2 calls it for any value.
func (p *Place) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return fmt.Errorf("position: %w", err)
		}
	}
	v, err := chat.ParsePosition(text)
	if err != nil {
		return err
	}
	*p = Place(v)
	return nil
}

// Schema documents both forms.
func (Place) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		OneOf:       []*huma.Schema{{Type: huma.TypeInteger, Format: "int64"}, {Type: huma.TypeString}},
		Description: "A seq (number) or an id (string).",
	}
}

type cursorsBody struct {
	Read      Place `json:"read,omitzero"`
	Delivered Place `json:"delivered,omitzero"`
}

type cursorsAnswer struct {
	Read      chat.Cursor `json:"read"`
	Delivered chat.Cursor `json:"delivered"`
	Unread    uint64      `json:"unread"`
}

func (r *rest) receiptOperations() {
	handle(r, spec{method: http.MethodGet, path: "conversations/{id}/messages/{position}/receipts", id: "list-receipts", tag: "messages", summary: "Who has a message, who has read it"},
		func(ctx context.Context, in *MessagePath) (receiptsAnswer, error) { return r.edge.receipts(ctx, in) })
	handle(r, spec{method: http.MethodPut, path: "conversations/{id}/cursor", id: "move-cursor", tag: "conversations", summary: "Move one's own cursors forward"},
		func(ctx context.Context, in *struct {
			ConversationPath
			Body body[cursorsBody]
		},
		) (cursorsAnswer, error) {
			id, err := in.id()
			if err == nil {
				err = in.Body.err
			}
			if err != nil {
				return cursorsAnswer{}, err
			}
			return r.edge.putCursors(ctx, id, claimsOf(ctx).UserID, in.Body.value)
		})
}

func (e *Edge) putCursors(ctx context.Context, id chat.ConversationID, user chat.UserID, in cursorsBody) (cursorsAnswer, error) {
	if in.Read == 0 && in.Delivered == 0 {
		return cursorsAnswer{}, chat.Errorf(chat.Invalid, "name read, delivered or both")
	}
	a, err := e.ask(ctx, id, user)
	if err != nil {
		return cursorsAnswer{}, err
	}
	var want chat.Cursors
	for _, move := range []struct {
		to   Place
		into *chat.Cursor
	}{{in.Read, &want.Read}, {in.Delivered, &want.Delivered}} {
		if move.to == 0 {
			continue
		}
		if *move.into, err = e.placeOf(ctx, a, user, chat.Position(move.to)); err != nil {
			return cursorsAnswer{}, err
		}
	}
	merged, _, err := e.deps.Cursors.Advance(ctx, id, user, want.Max(chat.Cursors{}))
	if err != nil {
		return cursorsAnswer{}, unavailable(err, "advance cursor in", id)
	}
	all := a.CursorsOf(user, merged)
	return cursorsAnswer{all.Read, all.Delivered, conversation.Unread(a.State.Head, all.Read)}, nil
}

// receipts compares every other member's cursors with one message.
func (e *Edge) receipts(ctx context.Context, path *MessagePath) (receiptsAnswer, error) {
	if err := e.giveWay(shedReceipts, "receipts"); err != nil {
		return receiptsAnswer{}, err
	}
	user := claimsOf(ctx).UserID
	a, at, err := e.positionOf(ctx, path, user)
	if err != nil {
		return receiptsAnswer{}, err
	}
	sender, err := e.senderOf(ctx, a, user, at)
	if err != nil {
		return receiptsAnswer{}, err
	}
	members := a.State.OpenMembers()
	stored, err := e.deps.Cursors.In(ctx, a.State.ID, members)
	if err != nil {
		return receiptsAnswer{}, unavailable(err, "cursors in", a.State.ID)
	}
	out := receiptsAnswer{Delivered: []Reader{}, Read: []Reader{}}
	for _, u := range members {
		if u == sender || !a.State.CanSee(u, at) {
			continue
		}
		all := a.CursorsOf(u, stored[u])
		if all.Delivered.Seq >= at && at >= a.State.JoinedSeq(u) {
			out.Delivered = append(out.Delivered, Reader{u})
		}
		if all.Read.Seq >= at && at >= a.State.JoinedSeq(u) {
			out.Read = append(out.Read, Reader{u})
		}
	}
	return out, nil
}

// senderOf reads who sent the message at a seq; not_found when no message stands there.
func (e *Edge) senderOf(ctx context.Context, a conversation.Answer, user chat.UserID, at chat.Seq) (chat.UserID, error) {
	place := chat.Position(at)
	p, err := e.deps.History.Page(ctx, conversation.PageQuery{Answer: a, Visible: a.State.Visible(user), Limit: 1, Around: &place})
	if err != nil {
		return "", unavailable(err, "page of", a.State.ID)
	}
	for _, raw := range p.Messages {
		record, err := wire.DecodeRecord(raw)
		if err != nil {
			return "", err
		}
		if record.Seq == at && record.Kind == chat.KindMessage {
			return record.SenderID, nil
		}
	}
	return "", chat.Errorf(chat.NotFound, "no such message")
}
