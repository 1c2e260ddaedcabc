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
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/prometheus/client_golang/prometheus"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/parley-chat/parley/persist"
)

const (
	applicationID   = 0x7061726c // "parl"
	defaultReaders  = 4
	openWithin      = 30 * time.Second // recovery of a long write-ahead log included
	checkpointPages = 8192             // 32 MiB of write-ahead log before it is copied into the file
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config says where the store is. Log and Reg may be nil.
type Config struct {
	Path      string // of the file; its folder must exist
	ReadConns int    // connections that read at once; 0 means 4
	Log       *slog.Logger
	Reg       prometheus.Registerer
}

// Store is persist.Store in one SQLite file. Only one process may have the file open.
type Store struct {
	path    string
	log     *slog.Logger
	metrics *metrics
	writer  *writer
	reader  *reader
}

var _ persist.Store = (*Store)(nil)

// Open opens the file, makes it when absent and brings its tables up to date.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Path == "" {
		return nil, errors.New("open message store: no path given")
	}
	if c.ReadConns <= 0 {
		c.ReadConns = defaultReaders
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := checkPlace(c.Path); err != nil {
		return nil, fmt.Errorf("open message store %s: %w", c.Path, err)
	}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	s := &Store{path: c.Path, log: c.Log, metrics: newMetrics(c.Reg)}
	if err := s.open(ctx, c.ReadConns); err != nil {
		return nil, fmt.Errorf("open message store %s: %w", c.Path, errors.Join(err, s.Close()))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, readers int) error {
	db, err := connect(s.path, "_txlock=immediate", "_pragma=mmap_size(0)", "_pragma=cache_size(-65536)", "_pragma=temp_store(MEMORY)",
		fmt.Sprintf("_pragma=wal_autocheckpoint(%d)", checkpointPages))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	s.writer = &writer{db: db, turn: make(chan struct{}, 1), metrics: s.metrics, log: s.log}
	if err := checkOwner(ctx, db); err != nil {
		return err
	}
	if err := migrate(ctx, db); err != nil {
		return err
	}
	if err := s.writer.prepare(ctx); err != nil {
		return err
	}
	if db, err = connect(s.path, "_pragma=query_only(1)", "_pragma=mmap_size(268435456)", "_pragma=cache_size(-8192)"); err != nil {
		return err
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	s.reader = &reader{db: db}
	return s.reader.prepare(ctx)
}

// Close ends the connections. Calls in flight fail.
func (s *Store) Close() error {
	var problems []error
	if s.reader != nil {
		problems = append(problems, s.reader.close())
	}
	if s.writer != nil {
		problems = append(problems, s.writer.close())
	}
	return errors.Join(problems...)
}

func connect(path string, params ...string) (*sql.DB, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	dsn := "file:" + (&url.URL{Path: filepath.ToSlash(full)}).EscapedPath() +
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=secure_delete(ON)"
	return sql.Open("sqlite", strings.Join(append([]string{dsn}, params...), "&"))
}

// checkPlace finds the common mistakes before SQLite reports them in its own words.
func checkPlace(path string) error {
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("its folder can not be read: %w", err)
	}
	if !folder.IsDir() {
		return fmt.Errorf("%s is not a folder", filepath.Dir(path))
	}
	file, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !file.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	return nil
}

// checkOwner refuses a file that another program made, and signs a new one.
func checkOwner(ctx context.Context, db *sql.DB) error {
	var application, tables int64
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&application); err != nil {
		if notDatabase(err) {
			return fmt.Errorf("the file is not a database: %w", err)
		}
		return fmt.Errorf("the file can not be opened: %w", err)
	}
	if application == applicationID {
		return nil
	}
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return fmt.Errorf("the file can not be read: %w", err)
	}
	if application != 0 || tables > 0 {
		return errors.New("the file is a database of another program")
	}
	// Before the first table, so that a start that is cut short leaves a file that is known as ours.
	if _, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return fmt.Errorf("the file can not be written: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	folder, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, folder,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("tables: %w", err)
	}
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("tables: read version: %w", err)
	}
	if current > target {
		return fmt.Errorf("the file has tables of version %d, this program knows version %d: it was written by a newer one", current, target)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("tables: bring to version %d: %w", target, err)
	}
	return nil
}
