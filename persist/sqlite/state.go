package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// membersRows are the member rows of one conversation that a batch may change.
type membersRows struct {
	rows    conversation.Members
	changed map[chat.UserID]struct{}
}

// conversation finds a row or makes one without head.
func (t *transaction) conversation(ctx context.Context, id chat.ConversationID) (*conversationRow, error) {
	if c, ok := t.conversations.get(id); ok {
		return c, nil
	}
	c := &conversationRow{id: id}
	err := scanConversation(t.row(ctx, t.sql.findConversation, string(id)), c)
	if errors.Is(err, sql.ErrNoRows) {
		*c = conversationRow{id: id, partition: -1, saved: about{partition: -1}}
		c.key, err = t.insert(ctx, t.sql.addConversation, string(id))
	}
	if err == nil && c.key >= maxKey {
		err = fmt.Errorf("the file holds %d conversations, no more fit", maxKey)
	}
	if err != nil {
		return nil, fmt.Errorf("conversation row: %w", err)
	}
	t.conversations.put(id, c)
	return c, nil
}

func scanConversation(row interface{ Scan(...any) error }, c *conversationRow) error {
	var settings, created, seq, n, head, bucket, count int64
	s := &c.state
	err := row.Scan(&c.key, &c.partition, (*string)(&s.Type), &s.Name, (*string)(&s.History), &settings, &created, &seq, &n, &head, &bucket, &count)
	if err != nil {
		return err
	}
	if seq == 0 { // no record yet: the state stays zero
		*s = conversation.State{}
		c.saved = c.about()
		return nil
	}
	s.ID, s.SettingsSeq, s.CreatedID = c.id, chat.Seq(settings), chat.ID(created)
	s.Head = chat.Head{Seq: chat.Seq(seq), N: uint64(n), ID: chat.ID(head)}
	s.Bucket, s.BucketCount = chat.Bucket(bucket), int(count)
	c.saved = c.about()
	return nil
}

// fold moves the state rows by one record.
func (w *batchWrite) fold(ctx context.Context, c *conversationRow, r *chat.Record, bucket chat.Bucket) error {
	if r.Kind == chat.KindPreference {
		return w.prefer(ctx, c, r, bucket)
	}
	users := membersOf(r)
	if len(users) == 0 {
		c.state = conversation.Apply(c.state, *r, bucket)
		return nil
	}
	m, err := w.loadMembers(ctx, c, users)
	if err != nil {
		return err
	}
	state := c.state
	state.Members = m.rows
	state = conversation.Apply(state, *r, bucket)
	for _, u := range users {
		if state.Members[u].Seq == r.Seq {
			m.changed[u] = struct{}{}
		}
	}
	m.rows = state.Members
	state.Members, state.MemberCount = nil, 0
	c.state = state
	return nil
}

func membersOf(r *chat.Record) []chat.UserID {
	if r.Kind == chat.KindMember {
		return r.UserIDs
	}
	if r.Kind != chat.KindCreate {
		return nil
	}
	users := make([]chat.UserID, 0, len(r.Members))
	for _, m := range r.Members {
		users = append(users, m.UserID)
	}
	return users
}

// loadMembers completes the batch's rows of a conversation with those of users.
func (w *batchWrite) loadMembers(ctx context.Context, c *conversationRow, users []chat.UserID) (*membersRows, error) {
	m := w.members[c]
	if m == nil {
		m = &membersRows{rows: conversation.Members{}, changed: map[chat.UserID]struct{}{}}
		w.members[c] = m
	}
	for _, u := range users {
		if _, ok := m.rows[u]; ok {
			continue
		}
		user, err := w.userKey(ctx, u)
		if err != nil {
			return nil, err
		}
		row, err := scanMember(w.row(ctx, w.sql.findMember, c.memberKey(user)))
		if errors.Is(err, sql.ErrNoRows) || (err == nil && row.Seq == 0) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("member %s: %w", u, err)
		}
		m.rows[u] = row
	}
	return m, nil
}

func scanMember(row interface{ Scan(...any) error }) (conversation.Member, error) {
	var m conversation.Member
	var seq int64
	var intervals []byte
	if err := row.Scan((*string)(&m.Role), &intervals, &seq); err != nil {
		return m, err
	}
	m.Seq = chat.Seq(seq)
	if err := json.Unmarshal(intervals, &m.Intervals); err != nil {
		return m, fmt.Errorf("intervals: %w", err)
	}
	return m, nil
}

// flush writes the rows that the batch gathered.
func (w *batchWrite) flush(ctx context.Context) error {
	if err := w.addGathered(ctx); err != nil {
		return fmt.Errorf("add records: %w", err)
	}
	if err := w.saveConversations(ctx); err != nil {
		return fmt.Errorf("save conversations: %w", err)
	}
	for c, m := range w.members {
		for u := range m.changed {
			if err := w.saveMember(ctx, c, u, m.rows[u]); err != nil {
				return fmt.Errorf("save member %s: %w", u, err)
			}
		}
	}
	if err := w.savePreferences(ctx); err != nil {
		return err
	}
	return w.savePeople(ctx, w.people)
}

func (w *batchWrite) saveConversations(ctx context.Context) error {
	heads := make([]any, 0, w.sql.saveHeads.columns*len(w.touched))
	for c := range w.touched {
		s := &c.state
		heads = append(heads, c.key, int64(s.Head.Seq), int64(s.Head.N), int64(s.Head.ID), int64(s.Bucket), int64(s.BucketCount))
		a := c.about()
		if a == c.saved {
			continue
		}
		err := w.exec(ctx, w.sql.saveConversation, a.partition, string(a.kind), a.name, string(a.history), int64(a.settingsSeq), int64(a.createdID), c.key)
		if err != nil {
			return err
		}
		c.saved = a
	}
	return w.execWide(ctx, &w.sql.saveHeads, heads)
}

func (w *batchWrite) saveMember(ctx context.Context, c *conversationRow, u chat.UserID, m conversation.Member) error {
	user, err := w.userKey(ctx, u)
	if err != nil {
		return err
	}
	intervals, err := json.Marshal(m.Intervals)
	if err != nil {
		return err
	}
	if m.Intervals == nil {
		intervals = []byte("[]")
	}
	return w.exec(ctx, w.sql.saveMember, c.memberKey(user), string(m.Role), string(intervals), int64(m.Seq))
}

// savePeople merges rows of members, by their keys, with what the file says.
func (t *transaction) savePeople(ctx context.Context, people map[int64]*personRow) error {
	rows := make([]any, 0, t.sql.savePeople.columns*len(people))
	for key, p := range people {
		read, delivered := p.cursors.Read, p.cursors.Delivered
		rows = append(rows, key, p.clientTime, int64(read.Seq), int64(read.N), int64(delivered.Seq), int64(delivered.N))
	}
	if err := t.execWide(ctx, &t.sql.savePeople, rows); err != nil {
		return fmt.Errorf("save cursors: %w", err)
	}
	return nil
}
