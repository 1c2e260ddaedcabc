//go:build unix

package terminal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// holdFile locks a file; the lock ends with the process at the latest.
func holdFile(path string) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("hold the login: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("hold the login: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, fmt.Errorf("hold the login: %w", err)
	}
	return func() { _ = file.Close() }, nil
}
