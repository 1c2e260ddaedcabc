package terminal

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/client"
)

// Kept is a login as it stands in its file: whoever can read it is that person until the session is revoked.
type Kept struct {
	Server       string      `json:"server"`
	User         client.User `json:"user"`
	RefreshToken string      `json:"refresh_token"`
}

// Keep is a folder of logins, one file of mode 0600 for each.
type Keep struct{ Folder string }

// DefaultKeep is the folder in the user's configuration.
func DefaultKeep() (Keep, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return Keep{}, fmt.Errorf("find the configuration folder: %w", err)
	}
	return Keep{filepath.Join(config, "parley", "logins")}, nil
}

func (k Keep) path(server, username string) string {
	sum := sha256.Sum256([]byte(server + "\n" + username))
	return filepath.Join(k.Folder, hex.EncodeToString(sum[:8])+".json")
}

// Put writes a login; the file is the old one or the new one, never half of it.
func (k Keep) Put(l Kept) error {
	if err := os.MkdirAll(k.Folder, 0o700); err != nil {
		return fmt.Errorf("keep the login: %w", err)
	}
	raw, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("keep the login: %w", err)
	}
	file, err := os.CreateTemp(k.Folder, "new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("keep the login: %w", err)
	}
	_, err = file.Write(raw)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), k.path(l.Server, l.User.Username))
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("keep the login: %w", err)
	}
	return nil
}

// Get finds a login: of that name (username or e-mail), or the last one used with that server when login is empty.
func (k Keep) Get(server, login string) (Kept, bool, error) {
	entries, err := os.ReadDir(k.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return Kept{}, false, nil
	}
	if err != nil {
		return Kept{}, false, fmt.Errorf("read the kept logins: %w", err)
	}
	var best Kept
	var used time.Time
	for _, entry := range entries {
		l, at, ok := k.read(entry)
		if !ok || l.Server != server || !l.called(login) || at.Before(used) {
			continue
		}
		best, used = l, at
	}
	return best, best.RefreshToken != "", nil
}

// read is one login; a file that is none is left alone.
func (k Keep) read(entry fs.DirEntry) (l Kept, used time.Time, ok bool) {
	if !strings.HasSuffix(entry.Name(), ".json") {
		return Kept{}, time.Time{}, false
	}
	info, err := entry.Info()
	if err != nil {
		return Kept{}, time.Time{}, false
	}
	raw, err := os.ReadFile(filepath.Join(k.Folder, entry.Name()))
	if err != nil || json.Unmarshal(raw, &l) != nil || l.RefreshToken == "" {
		return Kept{}, time.Time{}, false
	}
	return l, info.ModTime(), true
}

func (l Kept) called(login string) bool {
	return login == "" || strings.EqualFold(login, l.User.Username) || strings.EqualFold(login, l.User.Email)
}

// Delete forgets a login.
func (k Keep) Delete(l Kept) error {
	err := os.Remove(k.path(l.Server, l.User.Username))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the login: %w", err)
	}
	return nil
}

// ErrInUse says that another running client holds the login: a refresh token serves one of them only.
var ErrInUse = errors.New("this login is in use by another window; close it, or log in here once more with --fresh")

// Hold takes a login for this process until release is called.
func (k Keep) Hold(l Kept) (release func(), err error) {
	return holdFile(k.path(l.Server, l.User.Username) + ".lock")
}
