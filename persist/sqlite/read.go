package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// reader owns the connections that read. Each statement sees one snapshot.
type reader struct {
	db  *sql.DB
	sql reads
}

type reads struct {
	conversation, members, key, heads, list *sql.Stmt
	preferences                             *sql.Stmt
	prior, target, next                     *sql.Stmt
	oldest, newest, versions                *sql.Stmt
	cursors, cursorsIn, cursorsOf, position *sql.Stmt
}

const (
	lowMask       = `68719476735` // the low part of a key of records or members: 1<<seqBits - 1
	storedColumns = `r.key & ` + lowMask + `, r.id, r.n, r.kind, u.id, r.edited, r.deleted, r.client, r.raw`
	storedFrom    = ` FROM records r JOIN users u ON u.key = r.sender `
	keyOf         = `(SELECT key FROM conversations WHERE id = ?1)`

	// of a conversation with or without a head
	conversationColumns = `c.key, c.partition, c.type, c.name, c.history, c.settings_seq, c.created_id,
		coalesce(h.seq, 0), coalesce(h.n, 0), coalesce(h.id, 0), coalesce(h.bucket, 0), coalesce(h.bucket_count, 0)`
	conversationFrom = ` FROM conversations c LEFT JOIN heads h ON h.conversation = c.key `
	cursorColumns    = `m.read_seq, m.read_n, m.delivered_seq, m.delivered_n`
)

func (r *reader) prepare(ctx context.Context) error {
	s := &r.sql
	between := storedFrom + `WHERE r.key BETWEEN (` + keyOf + ` << 36) + ?2 AND (` + keyOf + ` << 36) + ?3 ORDER BY r.key `
	return prepareAll(ctx, r.db, []prepared{
		{&s.conversation, `SELECT ` + conversationColumns + conversationFrom + `WHERE c.id = ?`},
		{&s.members, `SELECT u.id, m.client_time, m.role, m.intervals, m.seq FROM members m JOIN users u ON u.key = m.key & ` + lowMask + `
			WHERE m.key BETWEEN ?1 << 36 AND (?1 << 36) + ` + lowMask},
		{&s.preferences, `SELECT about, muted_until, archived, pinned, seq FROM preferences
			WHERE conversation = ? AND (muted_until <> '' OR archived OR pinned) ORDER BY about`},
		{&s.key, `SELECT h.conversation, h.seq FROM heads h WHERE h.conversation = ` + keyOf},
		{&s.heads, `SELECT c.id, h.seq, h.n, h.id FROM json_each(?) j JOIN conversations c ON c.id = j.value
			JOIN heads h ON h.conversation = c.key`},
		{&s.list, `SELECT c.id FROM conversations c JOIN heads h ON h.conversation = c.key WHERE c.id > ? ORDER BY c.id LIMIT ?`},
		{&s.prior, `SELECT key & ` + lowMask + `, hash, id, n FROM records
			WHERE client = ?3 AND sender = (SELECT key FROM users WHERE id = ?2)
			AND key BETWEEN (` + keyOf + ` << 36) AND (` + keyOf + ` << 36) + ` + lowMask + ` ORDER BY key LIMIT 1`},
		{&s.target, `SELECT r.kind, u.id, r.deleted` + storedFrom + `WHERE r.key = (` + keyOf + ` << 36) + ?2`},
		{&s.next, `SELECT key & ` + lowMask + `, id FROM records WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT 1`},
		{&s.oldest, `SELECT ` + storedColumns + between + `LIMIT ?4`},
		{&s.newest, `SELECT ` + storedColumns + between + `DESC LIMIT ?4`},
		{&s.versions, `WITH RECURSIVE chain (seq) AS (
				SELECT edited FROM records WHERE key = (` + keyOf + ` << 36) + ?2
				UNION ALL
				SELECT r.prev FROM chain JOIN records r ON r.key = (` + keyOf + ` << 36) + chain.seq WHERE chain.seq > 0)
			SELECT ` + storedColumns + ` FROM chain JOIN records r ON r.key = (` + keyOf + ` << 36) + chain.seq
			JOIN users u ON u.key = r.sender WHERE chain.seq > 0 ORDER BY r.key`},
		{&s.cursors, `SELECT u.id, ` + cursorColumns + ` FROM members m JOIN users u ON u.key = m.key & ` + lowMask + `
			WHERE m.key BETWEEN ` + keyOf + ` << 36 AND (` + keyOf + ` << 36) + ` + lowMask},
		{&s.cursorsIn, `SELECT u.id, ` + cursorColumns + ` FROM json_each(?2) j JOIN users u ON u.id = j.value
			JOIN members m ON m.key = (` + keyOf + ` << 36) + u.key`},
		{&s.cursorsOf, `SELECT c.id, ` + cursorColumns + ` FROM json_each(?2) j JOIN conversations c ON c.id = j.value
			JOIN members m ON m.key = (c.key << 36) + (SELECT key FROM users WHERE id = ?1)`},
		{&s.position, `SELECT applied_generation, applied_stream_seq, applied_id, sealed_generation, sealed_stream_seq, sealed_id
			FROM positions WHERE partition = ?`},
	})
}

func (r *reader) close() error { return r.db.Close() }

// Load reads a conversation's state rows.
func (s *Store) Load(ctx context.Context, id chat.ConversationID) (conversation.Loaded, error) {
	l, err := s.reader.load(ctx, id)
	return l, failed("load conversation "+string(id), err)
}

func (r *reader) load(ctx context.Context, id chat.ConversationID) (conversation.Loaded, error) {
	c := conversationRow{id: id}
	err := scanConversation(r.sql.conversation.QueryRowContext(ctx, string(id)), &c)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && !c.state.Exists()) {
		return conversation.Loaded{}, nil
	}
	if err != nil {
		return conversation.Loaded{}, err
	}
	l := conversation.Loaded{State: c.state, ClientTimes: map[chat.UserID]int64{}}
	l.State.Members = conversation.Members{}
	rows, err := r.sql.members.QueryContext(ctx, c.key)
	err = each(rows, err, func() error {
		var user string
		var clientTime int64
		m, err := scanMember(scanner(func(dest ...any) error {
			return rows.Scan(append([]any{&user, &clientTime}, dest...)...)
		}))
		if err != nil {
			return fmt.Errorf("member: %w", err)
		}
		if m.Seq > 0 {
			l.State.Members[chat.UserID(user)] = m
		}
		if clientTime > 0 {
			l.ClientTimes[chat.UserID(user)] = clientTime
		}
		return nil
	})
	if err != nil {
		return conversation.Loaded{}, err
	}
	l.State.MemberCount = l.State.Members.Open()
	if l.State.Preferences, err = r.preferences(ctx, &c); err != nil {
		return conversation.Loaded{}, err
	}
	return l, nil
}

type scanner func(...any) error

func (f scanner) Scan(dest ...any) error { return f(dest...) }

// each calls f for every row and closes rows. err is the query's.
func each(rows *sql.Rows, err error, f func() error) error {
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := f(); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// jsonList is a JSON array of ids, which hold no character that JSON escapes.
func jsonList[T ~string](ids []T) string {
	b := make([]byte, 0, 2+30*len(ids))
	b = append(b, '[')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = chat.AppendQuoted(b, string(id))
	}
	return string(append(b, ']'))
}

// Heads reads several heads in one statement.
func (s *Store) Heads(ctx context.Context, ids []chat.ConversationID) (map[chat.ConversationID]chat.Head, error) {
	heads := make(map[chat.ConversationID]chat.Head, len(ids))
	rows, err := s.reader.sql.heads.QueryContext(ctx, jsonList(ids))
	err = each(rows, err, func() error {
		var id string
		var seq, n, record int64
		if err := rows.Scan(&id, &seq, &n, &record); err != nil {
			return err
		}
		heads[chat.ConversationID(id)] = chat.Head{Seq: chat.Seq(seq), N: uint64(n), ID: chat.ID(record)}
		return nil
	})
	if err != nil {
		return nil, failed("read heads", err)
	}
	return heads, nil
}

// Conversations lists the ids of the file, whatever their partition.
func (s *Store) Conversations(ctx context.Context, after chat.ConversationID, limit int) ([]chat.ConversationID, error) {
	var ids []chat.ConversationID
	rows, err := s.reader.sql.list.QueryContext(ctx, string(after), limit)
	err = each(rows, err, func() error {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		ids = append(ids, chat.ConversationID(id))
		return nil
	})
	if err != nil {
		return nil, failed("list conversations", err)
	}
	return ids, nil
}

// Prior finds what a client id gave.
func (s *Store) Prior(ctx context.Context, id chat.ConversationID, sender chat.UserID, client chat.ClientID) (conversation.Outcome, bool, error) {
	var seq, record, n int64
	var hash []byte
	err := s.reader.sql.prior.QueryRowContext(ctx, string(id), string(sender), client[:]).Scan(&seq, &hash, &record, &n)
	if errors.Is(err, sql.ErrNoRows) {
		return conversation.Outcome{}, false, nil
	}
	if err != nil {
		return conversation.Outcome{}, false, failed("look up client id in "+string(id), err)
	}
	o := conversation.Outcome{ID: chat.ID(record), Seq: chat.Seq(seq), N: uint64(n)}
	copy(o.Hash[:], hash)
	return o, true, nil
}

// Target is the record at seq as edit and delete need it.
func (s *Store) Target(ctx context.Context, id chat.ConversationID, seq chat.Seq) (t conversation.Target, ok bool, err error) {
	if seq == 0 || seq >= maxSeq {
		return t, false, nil
	}
	err = s.reader.sql.target.QueryRowContext(ctx, string(id), int64(seq)).Scan((*string)(&t.Kind), (*string)(&t.Sender), &t.Deleted)
	if errors.Is(err, sql.ErrNoRows) {
		return conversation.Target{}, false, nil
	}
	if err != nil {
		return conversation.Target{}, false, failed(fmt.Sprintf("read target %s %d", id, seq), err)
	}
	return t, true, nil
}

// Range reads rows in one statement.
func (s *Store) Range(ctx context.Context, id chat.ConversationID, from, to chat.Seq, limit int, newest bool) ([]persist.Stored, error) {
	to = min(to, maxSeq-1)
	if from > to || limit <= 0 {
		return nil, nil
	}
	stmt := s.reader.sql.oldest
	if newest {
		stmt = s.reader.sql.newest
	}
	stored, err := readStored(ctx, stmt, min(limit, int(to-from)+1), id, int64(from), int64(to), limit)
	if err != nil {
		return nil, failed(fmt.Sprintf("read records %s %d to %d", id, from, to), err)
	}
	if newest {
		for i, j := 0, len(stored)-1; i < j; i, j = i+1, j-1 {
			stored[i], stored[j] = stored[j], stored[i]
		}
	}
	return stored, nil
}

// Versions lists the edits of a message in one statement.
func (s *Store) Versions(ctx context.Context, id chat.ConversationID, target chat.Seq) ([]persist.Stored, error) {
	if target == 0 || target >= maxSeq {
		return nil, nil
	}
	stored, err := readStored(ctx, s.reader.sql.versions, 0, id, int64(target))
	if err != nil {
		return nil, failed(fmt.Sprintf("read versions of %s %d", id, target), err)
	}
	return stored, nil
}

// readStored reads rows of one conversation, which is the first argument of stmt.
func readStored(ctx context.Context, stmt *sql.Stmt, expect int, conversation chat.ConversationID, args ...any) ([]persist.Stored, error) {
	stored := make([]persist.Stored, 0, min(expect, 256))
	rows, err := stmt.QueryContext(ctx, append([]any{string(conversation)}, args...)...)
	var seq, id, n, edited int64 // these outlive a row, for Scan puts them on the heap
	var deleted bool
	var client, kept sql.RawBytes
	r := chat.Record{ConversationID: conversation}
	err = each(rows, err, func() error {
		if err := rows.Scan(&seq, &id, &n, (*string)(&r.Kind), (*string)(&r.SenderID), &edited, &deleted, &client, &kept); err != nil {
			return err
		}
		r.Seq, r.ID, r.N, r.ClientID = chat.Seq(seq), chat.ID(id), uint64(n), chat.ClientID{}
		copy(r.ClientID[:], client)
		stored = append(stored, persist.Stored{
			Seq: r.Seq, ID: r.ID, N: r.N, Kind: r.Kind, Sender: r.SenderID, Raw: unpack(&r, kept), Edited: chat.Seq(edited), Deleted: deleted,
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return stored, nil
}
