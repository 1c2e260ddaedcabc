package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	cachedConversations = 32_768
	cachedUsers         = 65_536
)

// writer owns the one connection that writes. Whoever holds turn owns everything below it.
type writer struct {
	db      *sql.DB
	log     *slog.Logger
	metrics *metrics
	turn    chan struct{} // holds one token while a transaction runs

	sql           writes
	conversations *cache[chat.ConversationID, *conversationRow]
	users         *cache[chat.UserID, int64]
}

// writes are the writer's statements, prepared once.
type writes struct {
	findConversation, addConversation, saveConversation *sql.Stmt
	findUser, addUser                                   *sql.Stmt
	findRecord, readRecord, emptyRecord                 *sql.Stmt
	findTarget, setEdited, setPrev, findChain           *sql.Stmt
	findMember, saveMember                              *sql.Stmt
	findPreference, savePreference                      *sql.Stmt
	setApplied, setSealed                               *sql.Stmt

	addRecords, saveHeads, savePeople wide
}

func (w *writer) prepare(ctx context.Context) error {
	w.conversations = newCache[chat.ConversationID, *conversationRow](cachedConversations)
	w.users = newCache[chat.UserID, int64](cachedUsers)
	s := &w.sql
	if err := w.prepareWide(ctx); err != nil {
		return err
	}
	return prepareAll(ctx, w.db, []prepared{
		{&s.findConversation, `SELECT ` + conversationColumns + conversationFrom + `WHERE c.id = ?`},
		{&s.addConversation, `INSERT INTO conversations (id) VALUES (?)`},
		{&s.saveConversation, `UPDATE conversations SET partition = ?, type = ?, name = ?, history = ?, settings_seq = ?, created_id = ?
			WHERE key = ?`},
		{&s.findUser, `SELECT key FROM users WHERE id = ?`},
		{&s.addUser, `INSERT INTO users (id) VALUES (?)`},
		{&s.findRecord, `SELECT id, kind FROM records WHERE key = ?`},
		{&s.readRecord, `SELECT r.id, r.n, r.kind, u.id, r.client, r.raw FROM records r JOIN users u ON u.key = r.sender WHERE r.key = ?`},
		{&s.emptyRecord, `UPDATE records SET raw = ?, deleted = 1 WHERE key = ?`},
		{&s.findTarget, `SELECT kind, edited, deleted FROM records WHERE key = ?`},
		{&s.setEdited, `UPDATE records SET edited = ? WHERE key = ?`},
		{&s.setPrev, `UPDATE records SET prev = ? WHERE key = ?`},
		{&s.findChain, `WITH RECURSIVE chain (seq) AS (
				SELECT edited FROM records WHERE key = ?1 + ?2
				UNION ALL
				SELECT r.prev FROM chain JOIN records r ON r.key = ?1 + chain.seq WHERE chain.seq > 0)
			SELECT seq FROM chain WHERE seq > 0`},
		{&s.findMember, `SELECT role, intervals, seq FROM members WHERE key = ?`},
		{&s.saveMember, `INSERT INTO members (key, role, intervals, seq) VALUES (?, ?, ?, ?)
			ON CONFLICT (key) DO UPDATE SET role = excluded.role, intervals = excluded.intervals, seq = excluded.seq`},
		{&s.findPreference, `SELECT about, muted_until, archived, pinned, seq FROM preferences WHERE conversation = ? AND about = ?`},
		{&s.savePreference, `INSERT INTO preferences (conversation, about, muted_until, archived, pinned, seq) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (conversation, about) DO UPDATE SET muted_until = excluded.muted_until, archived = excluded.archived,
				pinned = excluded.pinned, seq = excluded.seq`},
		{&s.setApplied, `INSERT INTO positions (partition, applied_generation, applied_stream_seq, applied_id) VALUES (?, ?, ?, ?)
			ON CONFLICT (partition) DO UPDATE SET applied_generation = excluded.applied_generation,
				applied_stream_seq = excluded.applied_stream_seq, applied_id = excluded.applied_id
			WHERE (excluded.applied_generation, excluded.applied_stream_seq) > (applied_generation, applied_stream_seq)`},
		{&s.setSealed, `UPDATE positions SET sealed_generation = ?2, sealed_stream_seq = ?3, sealed_id = ?4
			WHERE partition = ?1 AND (?2, ?3) > (sealed_generation, sealed_stream_seq)`},
	})
}

// prepareWide prepares what every record needs. FAIL spares records the journal that would undo the rows
// before a faulty one: an error rolls the whole transaction back.
func (w *writer) prepareWide(ctx context.Context) error {
	s := &w.sql
	return errors.Join(
		s.addRecords.prepare(ctx, w.db, 8, `INSERT OR FAIL INTO records (key, id, n, kind, sender, client, hash, raw)`, ``),
		s.saveHeads.prepare(ctx, w.db, 6, `REPLACE INTO heads (conversation, seq, n, id, bucket, bucket_count)`, ``),
		s.savePeople.prepare(ctx, w.db, 6, `INSERT INTO members (key, client_time, read_seq, read_n, delivered_seq, delivered_n)`,
			`ON CONFLICT (key) DO UPDATE SET
				client_time   = max(client_time, excluded.client_time),
				read_n        = iif(excluded.read_seq > read_seq, excluded.read_n, read_n),
				read_seq      = max(read_seq, excluded.read_seq),
				delivered_n   = iif(excluded.delivered_seq > delivered_seq, excluded.delivered_n, delivered_n),
				delivered_seq = max(delivered_seq, excluded.delivered_seq)`),
	)
}

type prepared struct {
	into **sql.Stmt
	text string
}

func prepareAll(ctx context.Context, db *sql.DB, list []prepared) error {
	for _, p := range list {
		s, err := db.PrepareContext(ctx, p.text)
		if err != nil {
			return fmt.Errorf("prepare statement: %w", err)
		}
		*p.into = s
	}
	return nil
}

// close waits for nobody: closing the database ends its statements too.
func (w *writer) close() error { return w.db.Close() }

// take gives the caller the writer until release is called.
func (w *writer) take(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case w.turn <- struct{}{}:
		return func() { <-w.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// transact runs f in one transaction. Waiting for the turn ends with ctx; a transaction once begun runs
// to its end, which takes milliseconds. Afterwards nothing is cached that was not committed.
func (w *writer) transact(ctx context.Context, f func(context.Context, *transaction) error) error {
	release, err := w.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	began := time.Now()
	ctx = context.WithoutCancel(ctx)
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err = f(ctx, &transaction{writer: w, tx: tx, bound: make(map[*sql.Stmt]*sql.Stmt, 16)})
	if err != nil {
		if back := tx.Rollback(); back != nil && !errors.Is(back, sql.ErrTxDone) {
			err = fmt.Errorf("%w (roll back: %w)", err, back)
		}
	} else if err = tx.Commit(); err != nil {
		err = fmt.Errorf("commit: %w", err)
	}
	if err != nil {
		w.metrics.rollbacks.Inc()
		w.conversations.clear()
		w.users.clear()
		return err
	}
	w.metrics.write.Observe(time.Since(began).Seconds())
	return nil
}

// transaction is the writer's turn for one batch of rows.
type transaction struct {
	*writer
	tx    *sql.Tx
	bound map[*sql.Stmt]*sql.Stmt // the writer's statements within tx
}

func (t *transaction) stmt(ctx context.Context, s *sql.Stmt) *sql.Stmt {
	bound := t.bound[s]
	if bound == nil {
		bound = t.tx.StmtContext(ctx, s)
		t.bound[s] = bound
	}
	return bound
}

func (t *transaction) exec(ctx context.Context, s *sql.Stmt, args ...any) error {
	_, err := t.stmt(ctx, s).ExecContext(ctx, args...)
	return err
}

// insert runs an insert and returns the row's key.
func (t *transaction) insert(ctx context.Context, s *sql.Stmt, args ...any) (int64, error) {
	r, err := t.stmt(ctx, s).ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

func (t *transaction) row(ctx context.Context, s *sql.Stmt, args ...any) *sql.Row {
	return t.stmt(ctx, s).QueryRowContext(ctx, args...)
}

// userKey is the number of a user, given now if there was none.
func (t *transaction) userKey(ctx context.Context, id chat.UserID) (int64, error) {
	if key, ok := t.users.get(id); ok {
		return key, nil
	}
	var key int64
	err := t.row(ctx, t.sql.findUser, string(id)).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		key, err = t.insert(ctx, t.sql.addUser, string(id))
	}
	if err == nil && key >= maxSeq {
		err = fmt.Errorf("the file holds %d users, no more fit", maxSeq)
	}
	if err != nil {
		return 0, fmt.Errorf("user %s: %w", id, err)
	}
	t.users.put(id, key)
	return key, nil
}
