//go:build !linux

package edge

import (
	"errors"
	"net"
)

// poller is not available on this system: every connection is plain.
type poller struct{}

func openPoller(*Edge) (*poller, error) {
	return nil, errors.New("dense connections need Linux")
}

func (*poller) start() {}

func (*poller) close() {}

func (*poller) flushAll(conns []*connection) []*connection { return conns }

func (*poller) adopt(*connection, net.Conn) bool { return false }
