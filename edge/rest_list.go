package edge

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

const asksAtOnce = 16 // of one list

// listConversations orders by the heads' ids, newest first. The cursor is the last head shown, so a
// conversation that moves up between two pages is not missed but seen again at the next look at the first.
// archived is "true", "false" or "" for all.
func (e *Edge) listConversations(ctx context.Context, user chat.UserID, limit int, cursor, archived string) (conversationsAnswer, error) {
	if err := e.giveWay(shedHistory, "history"); err != nil {
		return conversationsAnswer{}, err
	}
	below, err := parseListCursor(cursor)
	if err != nil {
		return conversationsAnswer{}, err
	}
	ids, err := e.conversationsOf(ctx, user)
	if err != nil {
		return conversationsAnswer{}, err
	}
	answers, err := e.askAll(ctx, user, ids)
	if err != nil {
		return conversationsAnswer{}, err
	}
	wanted := preferencesIn(answers)
	answers = newestBelow(answers, user, below)
	if archived != "" {
		answers = slices.DeleteFunc(answers, func(a conversation.Answer) bool { return wanted.Of(a.State.ID).Archived != (archived == "true") })
	}
	out := conversationsAnswer{}
	if len(answers) > limit {
		answers = answers[:limit]
		out.Next = listCursor(answers[limit-1].State.Head.ID)
	}
	out.Conversations, err = e.shapes(ctx, user, answers, wanted)
	return out, err
}

// newestBelow keeps the conversations that the user is in, newest head first.
func newestBelow(answers []conversation.Answer, user chat.UserID, below chat.ID) []conversation.Answer {
	answers = slices.DeleteFunc(answers, func(a conversation.Answer) bool {
		return !a.State.IsMember(user) || below != 0 && a.State.Head.ID >= below
	})
	slices.SortFunc(answers, func(a, b conversation.Answer) int { return cmp.Compare(b.State.Head.ID, a.State.Head.ID) })
	return answers
}

// askAll asks for conversations, some at once. What the user may not see has the zero answer: the projection
// that named it is behind.
func (e *Edge) askAll(ctx context.Context, user chat.UserID, ids []chat.ConversationID) ([]conversation.Answer, error) {
	answers := make([]conversation.Answer, len(ids))
	g, inside := errgroup.WithContext(ctx)
	g.SetLimit(asksAtOnce)
	for i, id := range ids {
		g.Go(func() error {
			a, err := e.ask(inside, id, user)
			if chat.KindOf(err) == chat.NotFound {
				return nil
			}
			answers[i] = a
			return err
		})
	}
	return answers, g.Wait()
}

func (e *Edge) shapes(ctx context.Context, user chat.UserID, answers []conversation.Answer, wanted conversation.Preferences) ([]wire.Conversation, error) {
	ids := make([]chat.ConversationID, len(answers))
	for i := range answers {
		ids[i] = answers[i].State.ID
	}
	stored, err := e.deps.Cursors.Of(ctx, user, ids)
	if err != nil {
		return nil, unavailable(err, "cursors of", user)
	}
	shapes := make([]wire.Conversation, len(answers))
	g, inside := errgroup.WithContext(ctx)
	g.SetLimit(asksAtOnce)
	for i := range answers {
		g.Go(func() (err error) {
			shapes[i], err = e.shapeWithLast(inside, answers[i], user, stored[ids[i]], wanted)
			return err
		})
	}
	return shapes, g.Wait()
}

func listCursor(id chat.ID) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(id)))
}

func parseListCursor(text string) (chat.ID, error) {
	if text == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 8 {
		return 0, chat.Errorf(chat.Invalid, "cursor is not one of ours")
	}
	return chat.ID(binary.BigEndian.Uint64(b)), nil
}
