package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func get(t *testing.T, h http.Handler, method, target string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func serving(t *testing.T) http.Handler {
	t.Helper()
	h, err := Handler()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestFilesHaveTheirTypesAndThePolicy(t *testing.T) {
	h := serving(t)
	for target, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/index.html": "text/html; charset=utf-8", "/c/gabc": "text/html; charset=utf-8",
		"/app.js": "text/javascript; charset=utf-8", "/app.css": "text/css; charset=utf-8", "/sw.js": "text/javascript; charset=utf-8",
		"/icon.svg": "image/svg+xml", "/icon-192.png": "image/png", "/manifest.webmanifest": "application/manifest+json",
	} {
		r := get(t, h, http.MethodGet, target)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != kind {
			t.Errorf("%s: %d %s, want %s", target, r.StatusCode, r.Header.Get("Content-Type"), kind)
		}
		if p := r.Header.Get("Content-Security-Policy"); strings.Contains(p, "unsafe") || !strings.Contains(p, "default-src 'none'") {
			t.Errorf("%s: policy %q", target, p)
		}
	}
}

func TestThePageHoldsNothingInline(t *testing.T) {
	page := body(t, get(t, serving(t), http.MethodGet, "/").Body)
	for _, inline := range []string{"<style", "style=", "onload=", "<script>"} {
		if strings.Contains(page, inline) {
			t.Errorf("the page has %s", inline)
		}
	}
}

func TestATagSavesTheBody(t *testing.T) {
	h := serving(t)
	plain := get(t, h, http.MethodGet, "/app.js")
	packed := get(t, h, http.MethodGet, "/app.js", "Accept-Encoding", "br, gzip")
	unpacked, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	if body(t, unpacked) != body(t, plain.Body) || packed.Header.Get("Content-Encoding") != "gzip" {
		t.Error("the packed file is another one")
	}
	if plain.Header.Get("ETag") == packed.Header.Get("ETag") {
		t.Error("two encodings share a tag")
	}
	again := get(t, h, http.MethodGet, "/app.js", "If-None-Match", `"x", W/`+plain.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified || body(t, again.Body) != "" {
		t.Errorf("again: %d", again.StatusCode)
	}
	if r := get(t, h, http.MethodGet, "/app.js", "Accept-Encoding", "gzip;q=0"); r.Header.Get("Content-Encoding") != "" {
		t.Error("gzip was refused and came")
	}
	if r := get(t, h, http.MethodPost, "/"); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
}
