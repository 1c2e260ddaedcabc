package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

// Each column of the projection moves by a seq of its own, always upwards, so that rows may come in any
// order and more than once: the result is the same.
const (
	projectConversation = `INSERT INTO conversations (id, type, name, created_at, seq) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET
			name = CASE WHEN excluded.seq > conversations.seq THEN excluded.name ELSE conversations.name END,
			created_at = CASE WHEN conversations.created_at = 0 THEN excluded.created_at ELSE conversations.created_at END,
			seq = CASE WHEN excluded.seq > conversations.seq THEN excluded.seq ELSE conversations.seq END`

	projectParticipant = `INSERT INTO participants (user_id, conversation_id, role, role_seq, joined_seq, removed_seq, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (user_id, conversation_id) DO UPDATE SET
			role = CASE WHEN excluded.role_seq > participants.role_seq THEN excluded.role ELSE participants.role END,
			role_seq = CASE WHEN excluded.role_seq > participants.role_seq THEN excluded.role_seq ELSE participants.role_seq END,
			joined_seq = CASE WHEN excluded.joined_seq > participants.joined_seq THEN excluded.joined_seq ELSE participants.joined_seq END,
			removed_seq = CASE WHEN excluded.removed_seq > participants.removed_seq THEN excluded.removed_seq ELSE participants.removed_seq END,
			seq = CASE WHEN excluded.seq > participants.seq THEN excluded.seq ELSE participants.seq END`

	projectPosition = `INSERT INTO positions (partition_number, generation, stream_seq, record_id) VALUES ($1, $2, $3, $4)
		ON CONFLICT (partition_number) DO UPDATE SET
			generation = excluded.generation, stream_seq = excluded.stream_seq, record_id = excluded.record_id
		WHERE excluded.generation > positions.generation
			OR (excluded.generation = positions.generation AND excluded.stream_seq > positions.stream_seq)`
)

// Project writes a batch of the projection and the position after it, in one transaction.
func (s *Store) Project(ctx context.Context, partition int, p directory.Projection) error {
	return s.change(ctx, "project", func(tx *sql.Tx) error {
		if err := putConversations(ctx, tx, p.Conversations); err != nil {
			return err
		}
		if err := putParticipants(ctx, tx, p.Participants); err != nil {
			return err
		}
		if p.Position == (chat.Mark{}) {
			return nil
		}
		_, err := tx.ExecContext(ctx, projectPosition, partition, int64(p.Position.Generation), int64(p.Position.StreamSeq), int64(p.Position.ID))
		return err
	})
}

func putConversations(ctx context.Context, tx *sql.Tx, rows []directory.Conversation) (err error) {
	if len(rows) == 0 {
		return nil
	}
	put, err := tx.PrepareContext(ctx, projectConversation)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, put.Close()) }()
	for _, c := range rows {
		if _, err := put.ExecContext(ctx, string(c.ID), string(c.Type), c.Name, millis(c.CreatedAt), int64(c.Seq)); err != nil {
			return err
		}
	}
	return nil
}

func putParticipants(ctx context.Context, tx *sql.Tx, rows []directory.Participant) (err error) {
	if len(rows) == 0 {
		return nil
	}
	put, err := tx.PrepareContext(ctx, projectParticipant)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, put.Close()) }()
	for _, p := range rows {
		roleSeq := p.Seq
		if p.Role == "" {
			roleSeq = 0
		}
		_, err := put.ExecContext(ctx, string(p.UserID), string(p.ConversationID), string(p.Role), int64(roleSeq),
			int64(p.JoinedSeq), int64(p.RemovedSeq), int64(p.Seq))
		if err != nil {
			return err
		}
	}
	return nil
}

// Projected is the position after the last Project of a partition; zero when there was none.
func (s *Store) Projected(ctx context.Context, partition int) (chat.Mark, error) {
	var generation, streamSeq, id int64
	err := s.read.QueryRowContext(ctx, `SELECT generation, stream_seq, record_id FROM positions WHERE partition_number = $1`, partition).
		Scan(&generation, &streamSeq, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return chat.Mark{}, nil
	}
	if err != nil {
		return chat.Mark{}, s.fault("read projected position", err)
	}
	return chat.Mark{Generation: uint32(generation), StreamSeq: uint64(streamSeq), ID: chat.ID(id)}, nil
}

// Participations lists the conversations a user is a member of now, ascending by id.
func (s *Store) Participations(ctx context.Context, user chat.UserID, after chat.ConversationID, limit int) ([]directory.Participant, error) {
	if limit <= 0 {
		return nil, nil
	}
	rows, err := s.read.QueryContext(ctx, `SELECT conversation_id, role, joined_seq, seq FROM participants
		WHERE user_id = $1 AND conversation_id > $2 AND joined_seq > removed_seq ORDER BY conversation_id LIMIT $3`, string(user), string(after), limit)
	list, err := collect(rows, err, func(rows *sql.Rows) (directory.Participant, error) {
		p := directory.Participant{UserID: user}
		err := rows.Scan(&p.ConversationID, &p.Role, &p.JoinedSeq, &p.Seq)
		return p, err
	})
	return list, s.fault("list participations", err)
}

// Conversations reads several conversations, in no order.
func (s *Store) Conversations(ctx context.Context, ids []chat.ConversationID) ([]directory.Conversation, error) {
	var list []directory.Conversation
	for some := range slices.Chunk(ids, idsAtOnce) {
		rows, err := s.read.QueryContext(ctx, `SELECT id, type, name, created_at, seq FROM conversations WHERE id IN (`+idList+`)`, padded(some)...)
		found, err := collect(rows, err, scanConversation)
		if err != nil {
			return nil, s.fault("read conversations", err)
		}
		list = append(list, found...)
	}
	return list, nil
}

func scanConversation(rows *sql.Rows) (directory.Conversation, error) {
	var c directory.Conversation
	var created int64
	err := rows.Scan(&c.ID, &c.Type, &c.Name, &created, &c.Seq)
	c.CreatedAt = fromMillis(created)
	return c, err
}

// ShareConversation reports whether two people are members of one conversation now.
func (s *Store) ShareConversation(ctx context.Context, a, b chat.UserID) (bool, error) {
	var shared bool
	err := s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM participants one JOIN participants other
		ON other.conversation_id = one.conversation_id AND other.user_id = $2 AND other.joined_seq > other.removed_seq
		WHERE one.user_id = $1 AND one.joined_seq > one.removed_seq)`, string(a), string(b)).Scan(&shared)
	return shared, s.fault("look for a shared conversation", err)
}
