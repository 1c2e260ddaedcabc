package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// Position reads both marks of a partition.
func (s *Store) Position(ctx context.Context, partition int) (applied, sealed chat.Mark, err error) {
	var a, b struct{ generation, seq, id int64 }
	err = s.reader.sql.position.QueryRowContext(ctx, partition).Scan(&a.generation, &a.seq, &a.id, &b.generation, &b.seq, &b.id)
	if errors.Is(err, sql.ErrNoRows) {
		return chat.Mark{}, chat.Mark{}, nil
	}
	if err != nil {
		return chat.Mark{}, chat.Mark{}, failed(fmt.Sprintf("read position of partition %d", partition), err)
	}
	applied = chat.Mark{Generation: uint32(a.generation), StreamSeq: uint64(a.seq), ID: chat.ID(a.id)}
	sealed = chat.Mark{Generation: uint32(b.generation), StreamSeq: uint64(b.seq), ID: chat.ID(b.id)}
	return applied, sealed, nil
}

// Seal syncs, or has synced do it, and then moves the sealed mark to what was applied before. A commit
// stands in the write-ahead log's file when it returns, so syncing the file system is enough. The row
// that holds the mark is not synced itself: a power cut may show an older mark, which is safe.
func (s *Store) Seal(ctx context.Context, partition int, synced func(context.Context) error) error {
	began := time.Now()
	applied, _, err := s.Position(ctx, partition)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if synced == nil {
		synced = s.sync
	}
	if err := synced(ctx); err != nil {
		return failed(fmt.Sprintf("seal partition %d: sync", partition), err)
	}
	err = s.writer.transact(ctx, func(ctx context.Context, t *transaction) error {
		return t.exec(ctx, t.sql.setSealed, partition, int64(applied.Generation), int64(applied.StreamSeq), int64(applied.ID))
	})
	if err != nil {
		return failed(fmt.Sprintf("seal partition %d", partition), err)
	}
	s.metrics.seal.Observe(time.Since(began).Seconds())
	return nil
}

// sync copies the write-ahead log into the file and syncs both. A reader may keep part of the log from
// being copied, so the log is synced by itself as well; nothing holds a lock on that file, which closing
// it would drop. The folder holds the files' names.
func (s *Store) sync(ctx context.Context) error {
	if err := s.writer.checkpoint(ctx); err != nil {
		return err
	}
	for _, path := range []string{s.path + "-wal", filepath.Dir(s.path)} {
		if err := syncFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (w *writer) checkpoint(ctx context.Context) error {
	release, err := w.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	var busy, frames, copied int64
	row := w.db.QueryRowContext(context.WithoutCancel(ctx), "PRAGMA wal_checkpoint(FULL)")
	if err := row.Scan(&busy, &frames, &copied); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
