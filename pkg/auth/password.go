package auth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

// Bounds of a password, in bytes.
const (
	MinPassword = 8
	MaxPassword = 1024
)

// waitersPerHasher bounds those who wait for a hasher: more would wait longer than HashWait anyway.
const waitersPerHasher = 64

// HashParams are the costs of argon2id.
type HashParams struct {
	MemoryKiB  uint32
	Iterations uint32
}

// DefaultHashParams are OWASP's: about 25 ms of one core, 19 MiB.
func DefaultHashParams() HashParams { return HashParams{MemoryKiB: 19 * 1024, Iterations: 2} }

func (p HashParams) argon() *argon2id.Params {
	return &argon2id.Params{Memory: p.MemoryKiB, Iterations: p.Iterations, Parallelism: 1, SaltLength: 16, KeyLength: 32}
}

// hasher hashes passwords, a bounded number at a time.
type hasher struct {
	params  *argon2id.Params
	nobody  string // a hash that no password has
	slots   chan struct{}
	wait    time.Duration
	waiting atomic.Int64
	most    int64 // waiting
	metrics *metrics
}

func newHasher(params HashParams, count int, wait time.Duration, m *metrics) *hasher {
	h := &hasher{params: params.argon(), slots: make(chan struct{}, count), wait: wait, most: int64(count) * waitersPerHasher, metrics: m}
	var salt, key [32]byte
	_, _ = rand.Read(salt[:])
	_, _ = rand.Read(key[:])
	text := base64.RawStdEncoding
	h.nobody = fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", h.params.Memory, h.params.Iterations, h.params.Parallelism,
		text.EncodeToString(salt[:h.params.SaltLength]), text.EncodeToString(key[:h.params.KeyLength]))
	return h
}

// hash makes what is stored of a password.
func (h *hasher) hash(ctx context.Context, password string) (directory.Secret, error) {
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	text, err := argon2id.CreateHash(password, h.params)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return directory.Secret(text), nil
}

// matches compares a password with what is stored. An empty stored hash costs the same and matches nothing.
func (h *hasher) matches(ctx context.Context, password string, stored directory.Secret) (bool, error) {
	if err := h.enter(ctx); err != nil {
		return false, err
	}
	defer h.leave()
	if stored == "" {
		_, err := argon2id.ComparePasswordAndHash(password, h.nobody)
		return false, err
	}
	ok, err := argon2id.ComparePasswordAndHash(password, string(stored))
	if err != nil {
		return false, fmt.Errorf("compare password: %w", err)
	}
	return ok, nil
}

func (h *hasher) enter(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	if h.waiting.Add(1) > h.most {
		h.waiting.Add(-1)
		return h.busy()
	}
	defer h.waiting.Add(-1)
	timer := time.NewTimer(h.wait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return h.busy()
	case <-ctx.Done():
		return fmt.Errorf("wait to hash: %w: %w", h.busy(), ctx.Err())
	}
}

func (h *hasher) leave() { <-h.slots }

func (h *hasher) busy() *chat.Error {
	h.metrics.busy.Inc()
	err := chat.Errorf(chat.Unavailable, "too many logins at once")
	err.RetryAfter = h.wait
	return err
}

func checkPassword(password string) error {
	if len(password) < MinPassword || len(password) > MaxPassword {
		return chat.Errorf(chat.Invalid, "a password has %d to %d bytes", MinPassword, MaxPassword)
	}
	if !utf8.ValidString(password) {
		return chat.Errorf(chat.InvalidText, "password is not valid Unicode")
	}
	return nil
}
