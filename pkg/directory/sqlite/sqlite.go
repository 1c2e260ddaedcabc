package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/prometheus/client_golang/prometheus"
	_ "modernc.org/sqlite" // the driver named "sqlite"

	"github.com/parley-chat/parley/pkg/directory"
)

const (
	applicationID   = 0x70617264 // "pard": marks the file as a parley directory
	readConnections = 4
	busyTimeout     = 5000      // milliseconds; another process (a backup) may hold the lock that long
	cacheKiB        = 16 * 1024 // pages held in memory, per connection
	migrateTimeout  = 5 * time.Minute
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config says where the directory is kept.
type Config struct {
	Path string                // of the file; its folder must exist
	Log  *slog.Logger          // nil: nothing is logged
	Reg  prometheus.Registerer // nil: the metrics stay unregistered
}

// Store is the directory in one file.
type Store struct {
	write   *sql.DB // one connection; its transactions take the write lock when they begin
	read    *sql.DB
	metrics *metrics
}

var _ directory.Store = (*Store)(nil)

// Open opens the file, makes it if it is absent, and brings its schema up to date.
func Open(ctx context.Context, c Config) (*Store, error) {
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	created, err := touch(c.Path)
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w", c.Path, err)
	}
	s := &Store{metrics: newMetrics(c.Reg)}
	if s.write, err = sql.Open("sqlite", source(c.Path, false)); err != nil {
		return nil, fmt.Errorf("open directory %s: %w", c.Path, err)
	}
	s.write.SetMaxOpenConns(1)
	if s.read, err = sql.Open("sqlite", source(c.Path, true)); err != nil {
		_ = s.write.Close()
		return nil, fmt.Errorf("open directory %s: %w", c.Path, err)
	}
	s.read.SetMaxOpenConns(readConnections)
	s.read.SetMaxIdleConns(readConnections)
	version, err := migrate(ctx, s.write)
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open directory %s: %w", c.Path, err)
	}
	log.InfoContext(ctx, "directory opened", slog.String("path", c.Path), slog.Bool("created", created), slog.Int64("schema", version))
	return s, nil
}

// Close ends every connection. Calls that run finish first; later ones are chat.Unavailable.
func (s *Store) Close() error {
	if err := errors.Join(s.read.Close(), s.write.Close()); err != nil {
		return fmt.Errorf("close directory: %w", err)
	}
	return nil
}

// Ready reports whether the file can be read now.
func (s *Store) Ready(ctx context.Context) error {
	var one int
	return s.fault("read directory", s.read.QueryRowContext(ctx, `SELECT 1 FROM positions UNION ALL SELECT 1 LIMIT 1`).Scan(&one))
}

// touch makes the file for its owner alone: SQLite would leave it to the umask, and gives the files
// beside it (WAL, index) the same mode. The name is synced, so that a power cut does not lose the file.
func touch(path string) (created bool, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			return false, err
		}
		return false, file.Close()
	}
	if err != nil {
		return false, err
	}
	if err := file.Close(); err != nil {
		return false, err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return false, err
	}
	return true, errors.Join(folder.Sync(), folder.Close())
}

// source is the data source name: every connection of a pool gets the same settings.
func source(path string, readOnly bool) string {
	pragmas := []string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeout), // first: the others may have to wait for a lock
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"secure_delete(ON)",
		"foreign_keys(ON)",
		"trusted_schema(OFF)",
		fmt.Sprintf("cache_size(-%d)", cacheKiB),
	}
	values := url.Values{}
	if readOnly {
		pragmas = append(pragmas, "query_only(ON)")
	} else {
		values.Set("_txlock", "immediate")
	}
	values["_pragma"] = pragmas
	name := url.URL{Scheme: "file", Path: path, RawQuery: values.Encode()}
	if !filepath.IsAbs(path) {
		name.Path, name.Opaque = "", (&url.URL{Path: path}).EscapedPath()
	}
	return name.String()
}

// migrate refuses what is no directory or a newer one before it changes anything.
func migrate(ctx context.Context, db *sql.DB) (version int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	if err := claim(ctx, db); err != nil {
		return 0, err
	}
	folder, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return 0, err
	}
	// The provider is not closed: that would close db.
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, folder, goose.WithDisableGlobalRegistry(true), goose.WithTableName("schema_versions"))
	if err != nil {
		return 0, fmt.Errorf("read migrations: %w", err)
	}
	current, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	if current > newest {
		return 0, fmt.Errorf("its schema has version %d, this program knows %d at most: run the newer program", current, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return 0, fmt.Errorf("migrate from version %d: %w", current, err)
	}
	return newest, nil
}

// claim marks an empty file as ours and refuses a file of another program.
func claim(ctx context.Context, db *sql.DB) error {
	var id, tables int64
	if err := db.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&id); err != nil {
		return fmt.Errorf("not a readable SQLite file: %w", err)
	}
	if err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM sqlite_master`).Scan(&tables); err != nil {
		return fmt.Errorf("not a readable SQLite file: %w", err)
	}
	if id == applicationID {
		return nil
	}
	if id != 0 || tables != 0 {
		return errors.New("the file belongs to another program")
	}
	if _, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return fmt.Errorf("mark file: %w", err)
	}
	return nil
}
