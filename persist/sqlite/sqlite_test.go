package sqlite

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/persist/persisttest"
	"github.com/parley-chat/parley/pkg/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func subject(t testing.TB) persisttest.Subject {
	t.Helper()
	path := filepath.Join(t.TempDir(), "messages.db")
	current := open(t, path)
	t.Cleanup(func() {
		if err := current.Close(); err != nil {
			t.Error(err)
		}
	})
	return persisttest.Subject{Store: current, Reopen: func() persist.Store {
		if err := current.Close(); err != nil {
			t.Fatal(err)
		}
		current = open(t, path)
		return current
	}}
}

func TestConformance(t *testing.T) { persisttest.Run(t, subject) }

func TestOpenRefusesWhatIsNotItsOwn(t *testing.T) {
	tests := map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"no folder":  {func(*testing.T, string) {}, "folder"},
		"a folder":   {func(t *testing.T, path string) { mkdir(t, path) }, "regular file"},
		"some text":  {func(t *testing.T, path string) { write(t, path, strings.Repeat("not a database ", 100)) }, "not a database"},
		"a stranger": {stranger, "another program"},
		"the future": {future, "newer"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "messages.db")
			if name == "no folder" {
				path = filepath.Join(t.TempDir(), "absent", "messages.db")
			}
			test.make(t, path)
			s, err := Open(t.Context(), Config{Path: path})
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q says neither %q nor the path", err, test.want)
			}
		})
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
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

func stranger(t *testing.T, path string) {
	t.Helper()
	execute(t, path, "CREATE TABLE recipes (name TEXT)")
}

func future(t *testing.T, path string) {
	t.Helper()
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	execute(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
}

func TestAPathWithSpecialCharactersIsUsedAsItIs(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "what? 100% #1 ümlaut")
	mkdir(t, folder)
	path := filepath.Join(folder, "messages.db")
	s := open(t, path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestAFullDiskIsNoFaultOfTheDataAndPasses(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "messages.db"))
	defer func() { _ = s.Close() }()
	pages := func(limit string) {
		t.Helper()
		if _, err := s.writer.db.ExecContext(t.Context(), "PRAGMA max_page_count = "+limit); err != nil {
			t.Fatal(err)
		}
	}
	l := persisttest.NewLog()
	l.Create(persisttest.Group(0), persisttest.User(1))
	for range 200 {
		l.Send(persisttest.Group(0), persisttest.User(1), strings.Repeat("x", 1000))
	}
	pages("20")
	if err := s.Write(t.Context(), 0, l.Batch(0, len(l.Entries))); chat.KindOf(err) != chat.Unavailable {
		t.Fatalf("write to a full file: %v, want unavailable", err)
	}
	if applied, _, err := s.Position(t.Context(), 0); err != nil || applied != (chat.Mark{}) {
		t.Fatalf("applied %v, %v", applied, err)
	}
	pages("1000000")
	if err := s.Write(t.Context(), 0, l.Batch(0, len(l.Entries))); err != nil {
		t.Fatal(err)
	}
	m := persisttest.NewModel()
	for _, e := range l.Entries {
		m.Apply(e)
	}
	persisttest.Compare(t.Context(), t, s, m)
}

func TestAClosedStoreIsUnavailable(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "messages.db"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), 0, persist.Batch{}); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("write: %v", err)
	}
	if _, err := s.Load(t.Context(), persisttest.Group(0)); chat.KindOf(err) != chat.Unavailable {
		t.Errorf("load: %v", err)
	}
}

func TestDeletedTextIsGoneFromTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "messages.db")
	s := open(t, path)
	const secret = "the-secret-that-must-go"
	l := persisttest.NewLog()
	l.Create(persisttest.Group(0), persisttest.User(1))
	for range 50 {
		l.Send(persisttest.Group(0), persisttest.User(1), secret)
	}
	l.Edit(persisttest.Group(0), persisttest.User(1), 2, strings.Repeat(secret, 500)) // with overflow pages
	for seq := range 50 {
		l.Delete(persisttest.Group(0), persisttest.User(1), chat.Seq(seq+2))
	}
	for i := range l.Entries {
		if err := s.Write(t.Context(), 0, l.Batch(i, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil { // copies the write-ahead log into the file and removes it
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(path + suffix)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if strings.Contains(string(content), secret) {
			t.Errorf("the text is still in messages.db%s", suffix)
		}
	}
}

func TestCachesStayBounded(t *testing.T) {
	c := newCache[int, int](100)
	for i := range 10_000 {
		c.put(i, i)
		if _, ok := c.get(0); i < 49 && !ok {
			t.Fatal("a young entry is gone")
		}
		if v, ok := c.get(i); !ok || v != i {
			t.Fatalf("entry %d: %d, %v", i, v, ok)
		}
		if n := len(c.young) + len(c.old); n > 100 {
			t.Fatalf("%d entries held", n)
		}
	}
}

func TestAFileBelongsToOneInstallationKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "messages.db")
	for i, test := range []struct {
		fingerprint string
		fits        bool
	}{{"first", true}, {"first", true}, {"second", false}, {"first", true}} {
		s := open(t, path)
		if err := s.Claim(t.Context(), test.fingerprint); (err == nil) != test.fits {
			t.Errorf("claim %d by %q: %v", i, test.fingerprint, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
