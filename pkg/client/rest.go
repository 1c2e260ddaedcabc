package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// Member is one person of a conversation.
type Member struct {
	UserID    chat.UserID `json:"user_id"`
	Role      chat.Role   `json:"role"`
	JoinedSeq chat.Seq    `json:"joined_seq"`
}

// Page is a page of history: ascending, edits and deletes folded into their targets. From..To is the range
// covered, 0..0 when it is empty.
type Page struct {
	Messages   []jsontext.Value `json:"messages"`
	FromSeq    chat.Seq         `json:"from_seq"`
	ToSeq      chat.Seq         `json:"to_seq"`
	Head       chat.Head        `json:"head"`
	MoreBefore bool             `json:"more_before"`
	MoreAfter  bool             `json:"more_after"`
}

// Records decodes the page's messages.
func (p Page) Records() ([]chat.Record, error) { return decodeAll(p.Messages) }

func decodeAll(raw []jsontext.Value) ([]chat.Record, error) {
	records := make([]chat.Record, len(raw))
	for i, b := range raw {
		r, err := wire.DecodeRecord(b)
		if err != nil {
			return nil, err
		}
		records[i] = r
	}
	return records, nil
}

// PageQuery asks for a page. At most one of Before and After (exclusive) and Around (inclusive) is set, each a
// seq or an id; none is the newest page. Limit 0 is the server's default of 50, at most 100.
type PageQuery struct {
	Limit  int
	Before chat.Position
	After  *chat.Position // a pointer: after 0 is the beginning
	Around chat.Position
}

func (q PageQuery) encode() string {
	v := url.Values{}
	set := func(name string, n uint64) { v.Set(name, strconv.FormatUint(n, 10)) }
	if q.Limit > 0 {
		set("limit", uint64(q.Limit))
	}
	if q.Before != 0 {
		set("before", uint64(q.Before))
	}
	if q.After != nil {
		set("after", uint64(*q.After))
	}
	if q.Around != 0 {
		set("around", uint64(q.Around))
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

func path(parts ...string) string {
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

func conversation(id chat.ConversationID, rest ...string) string {
	return path(append([]string{"conversations", string(id)}, rest...)...)
}

// enveloped is an answer that stands in a field of its own name, or by itself.
func enveloped[T any](ctx context.Context, a *API, method, path, field string, in any) (T, error) {
	var out T
	var raw map[string]jsontext.Value
	if err := a.do(ctx, method, path, in, &raw); err != nil {
		return out, err
	}
	value, ok := raw[field]
	if !ok {
		return out, fmt.Errorf("%s %s: the answer has no %q", method, path, field)
	}
	if err := unmarshal(value, &out); err != nil {
		return out, fmt.Errorf("%s %s: decode answer: %w", method, path, err)
	}
	return out, nil
}

// Me is one's own profile.
func (a *API) Me(ctx context.Context) (User, error) {
	return a.user(ctx, http.MethodGet, "users/me", nil)
}

// SetDisplayName changes one's own display name: any text of 1 to 64 characters.
func (a *API) SetDisplayName(ctx context.Context, name string) (User, error) {
	return a.user(ctx, http.MethodPatch, "users/me", map[string]string{"display_name": name})
}

// User is a person's profile.
func (a *API) User(ctx context.Context, id chat.UserID) (User, error) {
	return a.user(ctx, http.MethodGet, path("users", string(id)), nil)
}

// user reads a profile, which may stand in a field "user" or by itself.
func (a *API) user(ctx context.Context, method, path string, in any) (User, error) {
	var out struct {
		User
		Inner *User `json:"user"`
	}
	if err := a.do(ctx, method, path, in, &out); err != nil {
		return User{}, err
	}
	if out.Inner != nil {
		return *out.Inner, nil
	}
	return out.User, nil
}

// Users reads up to 100 profiles at once; unknown ids are left out.
func (a *API) Users(ctx context.Context, ids []chat.UserID) ([]User, error) {
	text := make([]string, len(ids))
	for i, id := range ids {
		text[i] = string(id)
	}
	query := url.Values{"ids": {strings.Join(text, ",")}}
	return enveloped[[]User](ctx, a, http.MethodGet, "users?"+query.Encode(), "users", nil)
}

// SearchUsers finds people by the beginning of their username.
func (a *API) SearchUsers(ctx context.Context, query string) ([]User, error) {
	return enveloped[[]User](ctx, a, http.MethodGet, "users/search?"+url.Values{"query": {query}}.Encode(), "users", nil)
}

// Sessions lists one's own logins.
func (a *API) Sessions(ctx context.Context) ([]Session, error) {
	return enveloped[[]Session](ctx, a, http.MethodGet, "sessions", "sessions", nil)
}

// RevokeSession ends a login; its sockets close within 5 s.
func (a *API) RevokeSession(ctx context.Context, id chat.SessionID) error {
	return a.do(ctx, http.MethodDelete, path("sessions", string(id)), nil, nil)
}

// CreateDirect opens the direct conversation with another user; it exists once, however often it is created.
func (a *API) CreateDirect(ctx context.Context, with chat.UserID) (wire.Conversation, error) {
	in := map[string]any{"type": chat.Direct, "user_id": with}
	return enveloped[wire.Conversation](ctx, a, http.MethodPost, "conversations", "conversation", in)
}

// CreateGroup makes a group with oneself as its owner. The client id makes a repeated call the same group.
func (a *API) CreateGroup(ctx context.Context, client chat.ClientID, name string, members []chat.UserID) (wire.Conversation, error) {
	if members == nil {
		members = []chat.UserID{}
	}
	in := map[string]any{"type": chat.Group, "name": name, "member_ids": members}
	if !client.IsZero() {
		in["client_id"] = client.String()
	}
	return enveloped[wire.Conversation](ctx, a, http.MethodPost, "conversations", "conversation", in)
}

// Conversation is one conversation as the caller sees it.
func (a *API) Conversation(ctx context.Context, id chat.ConversationID) (wire.Conversation, error) {
	return enveloped[wire.Conversation](ctx, a, http.MethodGet, conversation(id), "conversation", nil)
}

// Conversations is a page of one's conversations, by last activity. next is the cursor of the following page,
// empty at the end; limit 0 is the server's default of 50.
func (a *API) Conversations(ctx context.Context, limit int, cursor string) (page []wire.Conversation, next string, err error) {
	return a.conversations(ctx, limit, cursor, nil)
}

func (a *API) conversations(ctx context.Context, limit int, cursor string, archived *bool) (page []wire.Conversation, next string, err error) {
	v := url.Values{}
	if archived != nil {
		v.Set("archived", strconv.FormatBool(*archived))
	}
	if limit > 0 {
		v.Set("limit", strconv.Itoa(limit))
	}
	if cursor != "" {
		v.Set("cursor", cursor)
	}
	var out struct {
		Conversations []wire.Conversation `json:"conversations"`
		Next          string              `json:"next"`
	}
	err = a.do(ctx, http.MethodGet, "conversations?"+v.Encode(), nil, &out)
	return out.Conversations, out.Next, err
}

// Rename changes a group's name.
func (a *API) Rename(ctx context.Context, id chat.ConversationID, name string) error {
	return a.do(ctx, http.MethodPatch, conversation(id), map[string]string{"name": name}, nil)
}

// Members is a page of a conversation's members; next is the cursor of the following page.
func (a *API) Members(ctx context.Context, id chat.ConversationID, cursor string) (page []Member, next string, err error) {
	where := conversation(id, "members")
	if cursor != "" {
		where += "?" + url.Values{"cursor": {cursor}}.Encode()
	}
	var out struct {
		Members []Member `json:"members"`
		Next    string   `json:"next"`
	}
	err = a.do(ctx, http.MethodGet, where, nil, &out)
	return out.Members, out.Next, err
}

// AddMembers adds people to a group; who is a member already stays as they are.
func (a *API) AddMembers(ctx context.Context, id chat.ConversationID, users ...chat.UserID) error {
	return a.do(ctx, http.MethodPost, conversation(id, "members"), map[string]any{"user_ids": users}, nil)
}

// SetRole changes a member's role.
func (a *API) SetRole(ctx context.Context, id chat.ConversationID, user chat.UserID, role chat.Role) error {
	return a.do(ctx, http.MethodPatch, conversation(id, "members", string(user)), map[string]any{"role": role}, nil)
}

// RemoveMember removes a member from a group; oneself: leaves it.
func (a *API) RemoveMember(ctx context.Context, id chat.ConversationID, user chat.UserID) error {
	return a.do(ctx, http.MethodDelete, conversation(id, "members", string(user)), nil, nil)
}

// Send sends a message by REST and answers its record. The same client id may be sent again at any time and
// gives the first result; another body under it is a conflict.
func (a *API) Send(ctx context.Context, id chat.ConversationID, client chat.ClientID, text string, replyTo chat.Seq) (chat.Record, error) {
	in := wire.MessageSend{ConversationID: string(id), ClientID: client.String(), Type: chat.MessageText, Text: text, ReplyTo: replyTo}
	raw, err := enveloped[jsontext.Value](ctx, a, http.MethodPost, conversation(id, "messages"), "message", in)
	if err != nil {
		return chat.Record{}, err
	}
	return wire.DecodeRecord(raw)
}

// Edit replaces the text of a message of one's own.
func (a *API) Edit(ctx context.Context, id chat.ConversationID, target chat.Position, client chat.ClientID, text string) error {
	where := conversation(id, "messages", strconv.FormatUint(uint64(target), 10)) + "?client_id=" + client.String()
	return a.do(ctx, http.MethodPatch, where, map[string]string{"text": text, "client_id": client.String()}, nil)
}

// Delete deletes a message for everyone.
func (a *API) Delete(ctx context.Context, id chat.ConversationID, target chat.Position, client chat.ClientID) error {
	where := conversation(id, "messages", strconv.FormatUint(uint64(target), 10)) + "?client_id=" + client.String()
	return a.do(ctx, http.MethodDelete, where, nil, nil)
}

// Page reads a page of history.
func (a *API) Page(ctx context.Context, id chat.ConversationID, q PageQuery) (Page, error) {
	var out Page
	err := a.do(ctx, http.MethodGet, conversation(id, "messages")+q.encode(), nil, &out)
	return out, err
}

// Versions are a message's texts from the first to the last, as records.
func (a *API) Versions(ctx context.Context, id chat.ConversationID, target chat.Seq) ([]chat.Record, error) {
	where := conversation(id, "messages", strconv.FormatUint(uint64(target), 10), "versions")
	raw, err := enveloped[[]jsontext.Value](ctx, a, http.MethodGet, where, "versions", nil)
	if err != nil {
		return nil, err
	}
	return decodeAll(raw)
}

// SetCursor moves one's own cursors; 0 leaves one as it is. Cursors only move forward.
func (a *API) SetCursor(ctx context.Context, id chat.ConversationID, read, delivered chat.Seq) error {
	in := struct {
		Read      chat.Seq `json:"read,omitzero"`
		Delivered chat.Seq `json:"delivered,omitzero"`
	}{read, delivered}
	return a.do(ctx, http.MethodPut, conversation(id, "cursor"), in, nil)
}
