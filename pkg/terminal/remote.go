package terminal

import (
	"context"
	"net/url"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
	"github.com/parley-chat/parley/pkg/wire"
)

// Remote is the Backend that speaks to a server by the Go SDK.
type Remote struct {
	*client.API // Search, profiles and conversations, by REST
	live        *client.Client
}

// NewRemote makes the Backend of a login. deliver is given the SDK's events as messages, one at a time and in
// order; while it waits, the connection does.
func NewRemote(server string, api *client.API, deliver func(tea.Msg)) (*Remote, error) {
	live, err := client.New(client.Config{
		URL: server, Tokens: api, SkipGaps: true, AutoDelivered: true,
		OnEvent: func(e client.Event) { deliver(Event(e)) },
	})
	if err != nil {
		return nil, err
	}
	return &Remote{API: api, live: live}, nil
}

// Run connects until ctx ends or the login does.
func (r *Remote) Run(ctx context.Context) error { return r.live.Run(ctx) }

// Send puts a message into the outbox.
func (r *Remote) Send(m client.Message) (client.Message, error) {
	p, err := r.live.Do(m)
	if err != nil {
		return m, err
	}
	return p.Message, nil
}

// Read moves the read cursor.
func (r *Remote) Read(id chat.ConversationID, seq chat.Seq) { r.live.Read(id, seq) }

// Typing tells that the person writes.
func (r *Remote) Typing(id chat.ConversationID, writing bool) { r.live.Typing(id, writing) }

// Look follows the people of these conversations.
func (r *Remote) Look(ids []chat.ConversationID) {
	_ = r.live.SubscribePresence(ids...) // the model holds the bound
}

// Away tells that the person has left.
func (r *Remote) Away(away bool) { r.live.SetAway(away) }

// Unsent counts what waits for its answer.
func (r *Remote) Unsent() int { return len(r.live.Unsent()) }

// Names reads profiles.
func (r *Remote) Names(ctx context.Context, ids []chat.UserID) ([]client.User, error) {
	return r.Users(ctx, ids)
}

// Search finds people.
func (r *Remote) Search(ctx context.Context, query string) ([]client.User, error) {
	return r.SearchUsers(ctx, query)
}

// Direct opens the conversation with one person.
func (r *Remote) Direct(ctx context.Context, user chat.UserID) (wire.Conversation, error) {
	return r.CreateDirect(ctx, user)
}

// Group makes a group.
func (r *Remote) Group(ctx context.Context, id chat.ClientID, name string, members []chat.UserID) (wire.Conversation, error) {
	return r.CreateGroup(ctx, id, name, members)
}

// olderLimit is the number of items of one page of history.
const olderLimit = 50

// Older reads a page of history.
func (r *Remote) Older(ctx context.Context, id chat.ConversationID, before chat.Seq) (chat.Seq, []chat.Record, bool, error) {
	page, err := r.Page(ctx, id, client.PageQuery{Limit: olderLimit, Before: chat.Position(before)})
	if err != nil {
		return 0, nil, false, err
	}
	records, err := page.Records()
	return page.FromSeq, records, page.MoreBefore, err
}

// host is the part of an address that the header shows.
func host(server string) string {
	if u, err := url.Parse(server); err == nil && u.Host != "" {
		return u.Host
	}
	return server
}
