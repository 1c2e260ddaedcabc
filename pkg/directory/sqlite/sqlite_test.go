package sqlite

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
	"github.com/parley-chat/parley/pkg/directory/directorytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	directorytest.Run(t, func(t *testing.T) directory.Store {
		t.Helper()
		return open(t, filepath.Join(t.TempDir(), "directory.db"))
	})
}

func user(name string) directory.Account {
	return directory.Account{
		User:  directory.User{ID: chat.NewUserID(), Username: name, DisplayName: name, CreatedAt: time.UnixMilli(1_780_000_000_000).UTC()},
		Email: name + "@example.org", PasswordHash: "hash",
	}
}

func TestWhatWasWrittenIsThereAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a folder? with #odd% name", "directory.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	want, mark := user("alice"), chat.Mark{Generation: 3, StreamSeq: 9, ID: 77}
	if err := s.CreateUser(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if err := s.Project(t.Context(), 5, directory.Projection{Position: mark}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	if got, err := s.Account(t.Context(), want.ID); err != nil || got != want {
		t.Errorf("account is %+v, %v", got, err)
	}
	if got, err := s.Projected(t.Context(), 5); err != nil || got != mark {
		t.Errorf("position is %+v, %v", got, err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
}

func TestTheSettingsThatDurabilityAndDeletionRestOn(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "directory.db"))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "secure_delete": "1", "foreign_keys": "1"} {
		var got string
		if err := s.write.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", pragma, got, err, want)
		}
	}
	if _, err := s.read.ExecContext(t.Context(), `DELETE FROM users`); err == nil {
		t.Error("a reading connection can write")
	}
}

func TestTheFilesAreTheOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directory.db")
	s := open(t, path)
	if err := s.CreateUser(t.Context(), user("alice")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", filepath.Base(name), info.Mode())
		}
	}
}

func TestOpenRefusesWhatIsNoDirectoryOfItsOwn(t *testing.T) {
	folder := t.TempDir()
	text := filepath.Join(folder, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(folder, "foreign")
	execute(t, foreign, `CREATE TABLE things (x)`)
	newer := filepath.Join(folder, "newer")
	if s, err := Open(t.Context(), Config{Path: newer}); err != nil {
		t.Fatal(err)
	} else if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	execute(t, newer, `INSERT INTO schema_versions (version_id, is_applied) VALUES (99, 1)`)
	for _, c := range []struct{ path, says string }{
		{text, "not a readable SQLite file"},
		{foreign, "another program"},
		{newer, "newer"},
		{filepath.Join(folder, "absent", "directory.db"), "no such file"},
		{folder, "is a directory"},
	} {
		s, err := Open(t.Context(), Config{Path: c.path})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s was opened", filepath.Base(c.path))
			continue
		}
		if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("the error names not both %q and the path: %v", c.says, err)
		}
	}
}

func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestAFullDiskIsUnavailableAndLosesNothing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "directory.db"))
	want := user("alice")
	if err := s.CreateUser(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	var pages int
	if err := s.write.QueryRowContext(t.Context(), `PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	// The limit makes SQLite report exactly what a full disk does.
	if err := s.write.QueryRowContext(t.Context(), `PRAGMA max_page_count = 1`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	big := user("bob")
	big.DisplayName = strings.Repeat("x", 100_000)
	err := s.CreateUser(t.Context(), big)
	if chat.KindOf(err) != chat.Unavailable || !strings.Contains(err.Error(), "full") {
		t.Errorf("got %v, want unavailable with the cause", err)
	}
	if public := chat.Public(err); public.RetryAfter <= 0 || strings.Contains(public.Message, "SQL") {
		t.Errorf("what is shown is %+v", public)
	}
	if got, err := s.Account(t.Context(), want.ID); err != nil || got != want {
		t.Errorf("account is %+v, %v", got, err)
	}
	if _, err := s.Account(t.Context(), big.ID); chat.KindOf(err) != chat.NotFound {
		t.Errorf("the account that did not fit: %v", err)
	}
}

func TestALockedFileIsUnavailable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directory.db")
	s := open(t, path)
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	other.SetMaxOpenConns(1)
	if _, err := other.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.write.ExecContext(t.Context(), `PRAGMA busy_timeout = 20`); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateUser(t.Context(), user("alice")); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
	if _, err := other.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateUser(t.Context(), user("alice")); err != nil {
		t.Errorf("after the lock was given back: %v", err)
	}
}

func TestAClosedOrCancelledStoreIsUnavailable(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "directory.db")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Users(ctx, []chat.UserID{chat.NewUserID()}); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("cancelled read: %v", err)
	}
	if err := s.CreateUser(ctx, user("alice")); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("cancelled write: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Account(t.Context(), chat.NewUserID()); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("read after close: %v", err)
	}
	if err := s.CreateUser(t.Context(), user("alice")); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("write after close: %v", err)
	}
}

func BenchmarkCreateUser(b *testing.B) {
	s, err := Open(b.Context(), Config{Path: filepath.Join(b.TempDir(), "directory.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for b.Loop() {
		if err := s.CreateUser(b.Context(), user(strings.ToLower(string(chat.NewUserID()[1:])))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProject(b *testing.B) {
	s, err := Open(b.Context(), Config{Path: filepath.Join(b.TempDir(), "directory.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	key := []byte("key")
	for i := 0; b.Loop(); i++ {
		var p directory.Projection
		for range 500 {
			one, other := chat.NewUserID(), chat.NewUserID()
			id := chat.DirectID(key, one, other)
			p.Conversations = append(p.Conversations, directory.Conversation{ID: id, Type: chat.Direct, Seq: 1})
			p.Participants = append(p.Participants, directory.Participant{ConversationID: id, UserID: one, Role: chat.RoleMember, JoinedSeq: 1, Seq: 1},
				directory.Participant{ConversationID: id, UserID: other, Role: chat.RoleMember, JoinedSeq: 1, Seq: 1})
		}
		p.Position = chat.Mark{Generation: 1, StreamSeq: uint64(i + 1)}
		if err := s.Project(b.Context(), 0, p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(500*float64(b.N)/b.Elapsed().Seconds(), "conversations/s")
}
