package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// dataFolder is the data folder with its lock held: proof that no other process owns what is in it.
type dataFolder struct {
	path string
	lock *os.File
}

// openDataFolder makes the folder if it is absent and locks it until close.
func openDataFolder(path string) (*dataFolder, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", path, err)
	}
	if err := os.MkdirAll(full, 0o700); err != nil {
		return nil, fmt.Errorf("data folder %s can not be made: %w", full, err)
	}
	lock, err := os.OpenFile(filepath.Join(full, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder %s can not be written: %w", full, err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		_ = lock.Close()
		return nil, fmt.Errorf("data folder %s is in use by another parley process", full)
	}
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("data folder %s can not be locked: %w", full, err)
	}
	return &dataFolder{path: full, lock: lock}, nil
}

func (d *dataFolder) file(name string) string { return filepath.Join(d.path, name) }

func (d *dataFolder) close() { _ = d.lock.Close() } // closing gives the lock back
