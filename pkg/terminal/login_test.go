package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parley-chat/parley/pkg/client"
)

// gate is a server that knows one person with the password "long enough" and one refresh token at a time.
type gate struct {
	*httptest.Server
	tokens  atomic.Int64
	revoked atomic.Bool
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{}
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, 1024)
	n, _ := r.Body.Read(body)
	in := string(body[:n])
	refuse := func() {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"code":"unauthorized","detail":"wrong login"}`)
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/auth/logout"):
		g.revoked.Store(true)
		return
	case strings.HasSuffix(r.URL.Path, "/auth/login") && !strings.Contains(in, "long enough"):
		refuse()
		return
	case strings.HasSuffix(r.URL.Path, "/auth/refresh") && (g.revoked.Load() || !strings.Contains(in, fmt.Sprintf("refresh-%d\"", g.tokens.Load()))):
		refuse()
		return
	}
	next := g.tokens.Add(1)
	_, _ = fmt.Fprintf(w, `{"user":{"id":"ualice","username":"alice"},"access_token":"access-%d","expires_in":600,"refresh_token":"refresh-%d"}`, next, next)
}

// start is what Run does before the screen is taken, with these answers to the questions.
func start(t *testing.T, c Config, lines string, secrets ...string) (*client.API, string, func(), error) {
	t.Helper()
	var out strings.Builder
	c.Prompt = Prompt{In: bufio.NewReader(strings.NewReader(lines)), Out: &out, Secret: func() (string, error) {
		if len(secrets) == 0 {
			return "", errors.New("no more passwords")
		}
		first := secrets[0]
		secrets = secrets[1:]
		return first, nil
	}}
	tokens := &tokenKeeper{keep: c.Keep, server: c.Server}
	api := client.NewAPI(client.APIConfig{URL: c.Server, OnTokens: tokens.put, HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	release, err := c.begin(context.Background(), api, tokens)
	return api, out.String(), release, err
}

func TestALoginIsKeptForTheNextStart(t *testing.T) {
	g := newGate(t)
	c := Config{Server: g.URL, Keep: Keep{filepath.Join(t.TempDir(), "logins")}}
	_, out, release, err := start(t, c, "alice\nalice\n", "wrong", "long enough")
	if err != nil || !strings.Contains(out, "wrong login") {
		t.Fatalf("first start: %v, said %q", err, out)
	}
	if _, _, _, err := start(t, c, ""); !errors.Is(err, ErrInUse) {
		t.Errorf("a second window: %v", err)
	}
	release()
	files, err := filepath.Glob(filepath.Join(c.Keep.Folder, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v: %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v: %v", info.Mode(), err)
	}
	api, out, release, err := start(t, c, "")
	if err != nil || out != "" || api.Account().User.Username != "alice" {
		t.Fatalf("second start: %v, asked %q, is %+v", err, out, api.Account().User)
	}
	release()
	if kept, found, err := c.Keep.Get(g.URL, "ALICE"); err != nil || !found || kept.RefreshToken != "refresh-2" {
		t.Errorf("kept %+v %t: %v", kept, found, err)
	}
	if _, found, _ := c.Keep.Get("http://other", ""); found {
		t.Error("a login of another server was taken")
	}
}

func TestALoginThatHasEndedIsAskedForAgain(t *testing.T) {
	g := newGate(t)
	c := Config{Server: g.URL, Keep: Keep{t.TempDir()}}
	if err := c.Keep.Put(Kept{Server: g.URL, User: client.User{ID: "ualice", Username: "alice"}, RefreshToken: "old"}); err != nil {
		t.Fatal(err)
	}
	_, out, release, err := start(t, c, "\nalice\na@example.org\n", "long enough", "long enough")
	if err != nil || !strings.Contains(out, "New username") {
		t.Fatalf("%v, said %q", err, out)
	}
	release()
}

func TestWithoutAServerAKeptLoginOpensAllTheSame(t *testing.T) {
	g := newGate(t)
	c := Config{Server: g.URL, Keep: Keep{t.TempDir()}}
	if err := c.Keep.Put(Kept{Server: g.URL, User: client.User{ID: "ualice", Username: "alice"}, RefreshToken: "old"}); err != nil {
		t.Fatal(err)
	}
	g.Close()
	api, _, release, err := start(t, c, "")
	if err != nil || api.Account().RefreshToken != "old" {
		t.Fatalf("%v", err)
	}
	release()
}

func TestLogoutRevokesAndForgets(t *testing.T) {
	g := newGate(t)
	c := Config{Server: g.URL, Keep: Keep{t.TempDir()}}
	_, _, release, err := start(t, c, "alice\n", "long enough")
	if err != nil {
		t.Fatal(err)
	}
	release()
	var out strings.Builder
	if err := Logout(context.Background(), c, &out); err != nil || !g.revoked.Load() {
		t.Errorf("logout: %v, revoked %t", err, g.revoked.Load())
	}
	if _, found, _ := c.Keep.Get(g.URL, ""); found {
		t.Error("the login is still kept")
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections() // Logout's own client shares it
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"localhost:8080": "http://localhost:8080", "https://chat.example.org/": "https://chat.example.org", " http://a ": "http://a",
	} {
		if got := Address(in); got != want {
			t.Errorf("%q is %q", in, got)
		}
	}
}
