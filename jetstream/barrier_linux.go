package jetstream

import (
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// NewSyncfs makes the barrier of the file system that holds folder. The folder is opened here, not at
// the first sync: the kernel reports write-back errors since the opening. A folder that can not be
// opened fails every Sync. reg may be nil.
func NewSyncfs(folder string, reg prometheus.Registerer) *Syncfs {
	f, err := os.Open(folder)
	if err != nil {
		return newSyncfs(func() error { return err }, nil, reg)
	}
	sync := func() error {
		if err := unix.Syncfs(int(f.Fd())); err != nil {
			return fmt.Errorf("syncfs %s: %w", folder, err)
		}
		return nil
	}
	return newSyncfs(sync, f.Close, reg)
}
