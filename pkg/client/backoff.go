package client

import (
	"math/rand/v2"
	"time"
)

// Backoff is full jitter: the wait before try n is uniform between 0 and Base * 2^n, at most Cap.
type Backoff struct{ Base, Cap time.Duration }

// DefaultReconnect is the backoff between connections.
func DefaultReconnect() Backoff { return Backoff{500 * time.Millisecond, 30 * time.Second} }

// Wait is the time before another try after attempt failures, never below the server's hint.
func (b Backoff) Wait(attempt int, hint time.Duration) time.Duration {
	most := b.Cap
	if attempt < 20 {
		most = min(b.Cap, b.Base<<attempt)
	}
	jittered := rand.N(most + 1) //nolint:gosec // jitter, nothing secret
	if hint > 0 {
		return hint + jittered/4 // the hint is a promise, the rest keeps clients apart
	}
	return jittered
}
