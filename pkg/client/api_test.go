package client

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/chat"
)

func TestConcurrentCallsShareOneRefresh(t *testing.T) {
	var refreshes atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/auth/refresh", func(w http.ResponseWriter, r *http.Request) {
		var in map[string]string
		_ = json.UnmarshalRead(r.Body, &in)
		if refreshes.Add(1) > 1 || in["refresh_token"] != "r1" {
			t.Errorf("refresh with %v, a token works once", in)
		}
		_, _ = fmt.Fprint(w, `{"access_token":"new","expires_in":600,"refresh_token":"r2"}`)
	})
	mux.HandleFunc("GET /api/v1/users/me", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer new" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"code":"unauthorized","detail":"expired"}`)
			return
		}
		_, _ = fmt.Fprint(w, `{"user":{"id":"u1","username":"alice"}}`)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	var kept Account
	api := NewAPI(APIConfig{URL: server.URL, HTTP: &http.Client{Transport: transport}, OnTokens: func(a Account) { kept = a }})
	api.Adopt(Account{User: User{ID: "u1"}, AccessToken: "old", ExpiresIn: 600, RefreshToken: "r1"})
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			if me, err := api.Me(t.Context()); err != nil || me.Username != "alice" {
				t.Errorf("me: %+v, %v", me, err)
			}
		})
	}
	calls.Wait()
	if kept.RefreshToken != "r2" || kept.User.ID != "u1" {
		t.Errorf("kept %+v, want the rotated tokens of the same user", kept)
	}
}

func TestTokenIsReplacedBeforeItExpires(t *testing.T) {
	now := time.Unix(0, 0)
	api := NewAPI(APIConfig{URL: "http://127.0.0.1:1", Now: func() time.Time { return now }})
	if _, _, err := api.Token(t.Context()); err == nil {
		t.Error("a token without a login")
	}
	api.Adopt(Account{AccessToken: "a", ExpiresIn: 100})
	token, replace, err := api.Token(t.Context())
	if token != "a" || err != nil || !replace.Equal(now.Add(80*time.Second)) {
		t.Errorf("token %q, replace at %s, %v", token, replace, err)
	}
	now = now.Add(90 * time.Second)
	if _, _, err := api.Token(t.Context()); chat.KindOf(err) != chat.Unauthorized {
		t.Errorf("an old token without a refresh token: %v", err)
	}
}

func TestRefusalsKeepTheirCodeAndHint(t *testing.T) {
	answers := map[string]struct {
		status int
		body   string
		header string
		kind   chat.Kind
		hint   time.Duration
	}{
		"problem": {429, `{"code":"rate_limited","detail":"slow","retry_after_ms":1500}`, "", chat.RateLimited, 1500 * time.Millisecond},
		"proxy":   {502, `<html>`, "3", chat.Unavailable, 3 * time.Second},
		"bare":    {404, ``, "", chat.NotFound, 0},
	}
	for name, a := range answers {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if a.header != "" {
					w.Header().Set("Retry-After", a.header)
				}
				w.WriteHeader(a.status)
				_, _ = fmt.Fprint(w, a.body)
			}))
			defer server.Close()
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			api := NewAPI(APIConfig{URL: server.URL, HTTP: &http.Client{Transport: transport}})
			_, err := api.Login(t.Context(), "a", "b")
			e := chat.Public(err)
			if e.Kind != a.kind || e.RetryAfter != a.hint {
				t.Errorf("%v with hint %s, want %s with %s", err, e.RetryAfter, a.kind, a.hint)
			}
		})
	}
}
