package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/pkg/chat"
)

// putRows is the most cursors that one transaction writes, so that records wait for no more than that.
const putRows = 1000

// Cursors reads the cursors of users in a conversation; nil users: of everybody.
func (s *Store) Cursors(ctx context.Context, id chat.ConversationID, users []chat.UserID) (map[chat.UserID]chat.Cursors, error) {
	var found map[chat.UserID]chat.Cursors
	var err error
	if users == nil {
		found, err = readCursors[chat.UserID](ctx, s.reader.sql.cursors, string(id))
	} else {
		found, err = readCursors[chat.UserID](ctx, s.reader.sql.cursorsIn, string(id), jsonList(users))
	}
	return found, failed("read cursors in "+string(id), err)
}

// CursorsOf reads one user's cursors in several conversations.
func (s *Store) CursorsOf(ctx context.Context, user chat.UserID, ids []chat.ConversationID) (map[chat.ConversationID]chat.Cursors, error) {
	found, err := readCursors[chat.ConversationID](ctx, s.reader.sql.cursorsOf, string(user), jsonList(ids))
	return found, failed("read cursors of "+string(user), err)
}

func readCursors[K ~string](ctx context.Context, stmt *sql.Stmt, args ...any) (map[K]chat.Cursors, error) {
	found := make(map[K]chat.Cursors)
	rows, err := stmt.QueryContext(ctx, args...)
	err = each(rows, err, func() error {
		var key string
		var readSeq, readN, deliveredSeq, deliveredN int64
		if err := rows.Scan(&key, &readSeq, &readN, &deliveredSeq, &deliveredN); err != nil {
			return err
		}
		if deliveredSeq == 0 { // a read cursor never lies above it
			return nil
		}
		found[K(key)] = chat.Cursors{
			Read:      chat.Cursor{Seq: chat.Seq(readSeq), N: uint64(readN)},
			Delivered: chat.Cursor{Seq: chat.Seq(deliveredSeq), N: uint64(deliveredN)},
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// PutCursors merges cursors by maximum, in one transaction for each thousand rows.
func (s *Store) PutCursors(ctx context.Context, rows []persist.CursorRow) error {
	for from := 0; from < len(rows); from += putRows {
		part := rows[from:min(from+putRows, len(rows))]
		err := s.writer.transact(ctx, func(ctx context.Context, t *transaction) error {
			people := make(map[int64]*personRow, len(part))
			for _, row := range part {
				if err := t.gather(ctx, people, row); err != nil {
					return err
				}
			}
			return t.savePeople(ctx, people)
		})
		if err != nil {
			return failed("put cursors", err)
		}
	}
	return nil
}

// gather merges row into people.
func (t *transaction) gather(ctx context.Context, people map[int64]*personRow, row persist.CursorRow) error {
	if _, err := chat.ParseConversationID(string(row.ConversationID)); err != nil {
		return faultf("cursor of a malformed conversation id")
	}
	if _, err := chat.ParseUserID(string(row.UserID)); err != nil {
		return faultf("cursor of a malformed user id")
	}
	c, err := t.conversation(ctx, row.ConversationID)
	if err != nil {
		return fmt.Errorf("conversation %s: %w", row.ConversationID, err)
	}
	user, err := t.userKey(ctx, row.UserID)
	if err != nil {
		return err
	}
	p := people[c.memberKey(user)]
	if p == nil {
		p = &personRow{}
		people[c.memberKey(user)] = p
	}
	p.cursors = p.cursors.Max(row.Cursors) // what is read counts as delivered
	return nil
}
