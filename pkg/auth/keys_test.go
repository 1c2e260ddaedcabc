package auth

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestTheInstallationKeyIsMadeOnceAndStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "installation.key")
	const rivals = 8
	keys, made := make([]InstallationKey, rivals), make([]bool, rivals)
	var all sync.WaitGroup
	for i := range rivals {
		all.Go(func() {
			var err error
			if keys[i], made[i], err = OpenInstallationKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if keys[0] == (InstallationKey{}) {
		t.Fatal("the key is empty")
	}
	for _, key := range keys {
		if key != keys[0] {
			t.Fatal("two who started at once have different keys")
		}
	}
	again, created, err := OpenInstallationKey(path)
	if err != nil || created || again != keys[0] {
		t.Errorf("opened again: created %v, same %v, %v", created, again == keys[0], err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestTheKeyFileIsRawOrHexadecimal(t *testing.T) {
	want := InstallationKey(bytes.Repeat([]byte{0xab}, 32))
	path := filepath.Join(t.TempDir(), "key")
	for what, text := range map[string]string{
		"raw": string(want[:]), "hex": hex.EncodeToString(want[:]), "hex line": strings.ToUpper(hex.EncodeToString(want[:])) + "\r\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, created, err := OpenInstallationKey(path); err != nil || created || got != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, text := range map[string]string{"empty": "", "cut short": hex.EncodeToString(want[:20]), "no hex": strings.Repeat("z", 64), "too long": strings.Repeat("a", 66)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := OpenInstallationKey(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", what, err)
		}
		if kept, err := os.ReadFile(path); err != nil || string(kept) != text {
			t.Errorf("%s: the file was changed", what)
		}
	}
	if _, _, err := OpenInstallationKey(filepath.Join(path, "below", "key")); err == nil {
		t.Error("a key was made where there is no folder")
	}
}

// These values are in everybody's data: they must never change.
func TestDerivedKeysStayWhatTheyAre(t *testing.T) {
	key := InstallationKey(bytes.Repeat([]byte{7}, 32))
	seen := map[string]bool{}
	for purpose, got := range map[string][]byte{
		"conversations": key.Conversations(), "bodies": key.Bodies(), "signing 0": key.Signing(0).Private.Seed(), "signing 1": key.Signing(1).Private.Seed(),
		"fingerprint": []byte(key.Fingerprint()),
	} {
		if seen[string(got)] || len(got) != 32 {
			t.Errorf("%s: %d bytes, or another purpose's", purpose, len(got))
		}
		seen[string(got)] = true
	}
	for what, c := range map[string]struct{ got, want string }{
		"conversations": {hex.EncodeToString(key.Conversations()), goldenConversations},
		"bodies":        {hex.EncodeToString(key.Bodies()), goldenBodies},
		"signing":       {hex.EncodeToString(key.Signing(1).Private.Seed()), goldenSigning},
		"fingerprint":   {key.Fingerprint(), goldenFingerprint},
	} {
		if c.got != c.want {
			t.Errorf("%s is %s, was %s", what, c.got, c.want)
		}
	}
	if (InstallationKey{8}).Fingerprint() == key.Fingerprint() {
		t.Error("two installations have one fingerprint")
	}
}

const (
	goldenConversations = "79a11def12b29eb114aa7670f8485f74df28d2dfa076643651663782028ca4c7"
	goldenBodies        = "14c628509fb43a181e1207e14f489f2846a266670a28e13badf346a920ec3045"
	goldenSigning       = "3cd5ad41ca01274ed9f565816f6bf9c7051ff4a7edd6283154f7b8c41af38aa1"
	goldenFingerprint   = "e162d6fb7503d35747bf1d11833e036b"
)
