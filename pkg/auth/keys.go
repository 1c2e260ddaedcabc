package auth

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const keyBytes = 32

// InstallationKey is the secret an installation is founded on. It is never rotated: conversation ids
// follow from it. It shows itself in no log.
type InstallationKey [keyBytes]byte

// OpenInstallationKey reads the key file, 32 raw bytes or 64 hexadecimal digits. If there is none it makes
// one, for its owner alone; the key and its name are synced before they are used.
func OpenInstallationKey(path string) (key InstallationKey, created bool, err error) {
	key, err = readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	if err := makeKey(path); err != nil {
		return key, false, fmt.Errorf("make installation key %s: %w", path, err)
	}
	key, err = readKey(path)
	return key, err == nil, err
}

func readKey(path string) (key InstallationKey, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return key, fmt.Errorf("read installation key %s: %w", path, err)
	}
	if len(text) == keyBytes {
		return InstallationKey(text), nil
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != keyBytes {
		return key, fmt.Errorf("read installation key %s: want %d bytes or %d hexadecimal digits", path, keyBytes, 2*keyBytes)
	}
	return InstallationKey(raw), nil
}

// makeKey gives the name to a file that is complete and synced already, and never to a second one: who
// comes later reads the first one's key.
func makeKey(path string) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // its content has another name by then
	var raw [keyBytes]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	_, err = file.WriteString(hex.EncodeToString(raw[:]) + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// derive gives the key of one purpose; no purpose's key tells anything of another's.
func (k InstallationKey) derive(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, k[:], nil, "parley "+purpose, keyBytes)
	if err != nil {
		panic(err) // only lengths above 255 hashes fail
	}
	return key
}

// Conversations is the key of direct, self and group ids.
func (k InstallationKey) Conversations() []byte { return k.derive("conversations") }

// Bodies is the key of command body hashes.
func (k InstallationKey) Bodies() []byte { return k.derive("bodies") }

// Fingerprint tells installation keys apart without telling anything of them; it is kept beside data.
func (k InstallationKey) Fingerprint() string {
	return hex.EncodeToString(k.derive("fingerprint")[:16])
}

// Signing is the key of access tokens with number n.
func (k InstallationKey) Signing(n int) SigningKey {
	return SigningKey{Number: n, Private: ed25519.NewKeyFromSeed(k.derive("signing " + strconv.Itoa(n)))}
}

// SigningKeys are the key with the number now in use, which signs, and the one before it, whose tokens
// are good until they expire.
func (k InstallationKey) SigningKeys(current int) []SigningKey {
	keys := []SigningKey{k.Signing(current)}
	if current > 0 {
		keys = append(keys, k.Signing(current-1))
	}
	return keys
}

const redacted = "[redacted]"

// String hides the key.
func (InstallationKey) String() string { return redacted }

// Format hides the key from every verb of fmt.
func (InstallationKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the key from slog.
func (InstallationKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// SigningKey signs access tokens; they name it by its number. It shows itself in no log.
type SigningKey struct {
	Number  int
	Private ed25519.PrivateKey
}

// Format hides the key from every verb of fmt.
func (s SigningKey) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "signing key %d", s.Number) }

// LogValue hides the key from slog.
func (s SigningKey) LogValue() slog.Value { return slog.IntValue(s.Number) }
