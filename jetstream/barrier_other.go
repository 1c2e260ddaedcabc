//go:build !linux

package jetstream

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// NewSyncfs exists on Linux alone: elsewhere every Sync fails, and the embedded server must sync each
// message itself (ServerConfig.SyncAlways with NopBarrier).
func NewSyncfs(folder string, reg prometheus.Registerer) *Syncfs {
	err := fmt.Errorf("syncfs %s: %w", folder, errors.ErrUnsupported)
	return newSyncfs(func() error { return err }, nil, reg)
}
