package edge

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// pageCall is a request as a page of an origin makes it.
func (w *world) pageCall(t *testing.T, origin, token, path, body string, cookie *http.Cookie) (*http.Response, Tokens) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, w.http.URL+apiPrefix+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Parley-Session", "cookie")
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if cookie != nil {
		r.AddCookie(cookie)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var tokens Tokens
	if res.StatusCode == http.StatusOK {
		if err := json.UnmarshalRead(res.Body, &tokens); err != nil {
			t.Fatal(err)
		}
	}
	return res, tokens
}

func TestAPageKeepsItsRefreshTokenInACookie(t *testing.T) {
	w := newWorld(t)
	own := w.http.URL
	registration := `{"username":"alice","email":"a@example.org","password":"right password"}`
	res, tokens := w.pageCall(t, own, "", "auth/register", registration, nil)
	if len(res.Cookies()) != 1 || tokens.RefreshToken != "" || tokens.AccessToken == "" {
		t.Fatalf("register: %d, cookies %v, %+v", res.StatusCode, res.Cookies(), tokens)
	}
	cookie := res.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Secure || cookie.Path != "/api/v1/auth" || cookie.MaxAge < 1 {
		t.Errorf("cookie %s", cookie.Raw)
	}
	res, tokens = w.pageCall(t, own, "", "auth/refresh", "", cookie)
	if res.StatusCode != http.StatusOK || len(res.Cookies()) != 1 || res.Cookies()[0].Value == cookie.Value || tokens.RefreshToken != "" {
		t.Fatalf("refresh without a body: %d, cookies %v", res.StatusCode, res.Cookies())
	}
	if res, _ := w.pageCall(t, own, "", "auth/refresh", "", nil); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("refresh without the cookie: %d", res.StatusCode)
	}
	res, _ = w.pageCall(t, own, tokens.AccessToken, "auth/logout", "", nil)
	if res.StatusCode != http.StatusNoContent || len(res.Cookies()) != 1 || res.Cookies()[0].MaxAge >= 0 {
		t.Errorf("logout: %d, cookies %v", res.StatusCode, res.Cookies())
	}
}

func TestTheCookieIsForPagesOfThisServerAlone(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Origins = []string{"https://chat.example.org"} })
	registration := `{"username":"alice","email":"a@example.org","password":"right password"}`
	for _, origin := range []string{"", "null", "https://elsewhere.example.org", w.http.URL + ".example.org"} {
		res, _ := w.pageCall(t, origin, "", "auth/register", registration, nil)
		if res.StatusCode != http.StatusForbidden || len(res.Cookies()) != 0 {
			t.Errorf("origin %q: %d, cookies %v", origin, res.StatusCode, res.Cookies())
		}
	}
	res, _ := w.pageCall(t, "https://chat.example.org", "", "auth/register", registration, nil)
	if res.StatusCode != http.StatusOK || len(res.Cookies()) != 1 || !res.Cookies()[0].Secure {
		t.Errorf("behind TLS: %d, cookies %v", res.StatusCode, res.Cookies())
	}
}
