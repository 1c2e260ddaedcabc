package jetstream

import "github.com/nats-io/nats.go"

// Conn is a connection to the broker, named here so that those who wire parts together need not know NATS.
type Conn = nats.Conn
