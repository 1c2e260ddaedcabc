// Package web is the web client as it is served: dist, built from src by deploy/dev/web and committed, so that
// building the server needs Go alone.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed dist
var dist embed.FS

// policy lets the page load its own files and talk to its own server, and nothing else: no inline script or
// style, no frame, no form that leaves.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// asset is one file, ready to be sent either way.
type asset struct {
	kind   string
	tag    string // strong, of the plain bytes
	plain  []byte
	packed []byte // gzip; nil: not worth it
}

type handler struct {
	assets map[string]*asset
	page   *asset
}

// Handler serves the web client. Every path that names no file is the page: its routes are paths.
func Handler() (http.Handler, error) {
	h := &handler{assets: map[string]*asset{}}
	err := fs.WalkDir(dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := dist.ReadFile(name)
		if err != nil {
			return err
		}
		a, err := newAsset(name, content)
		h.assets["/"+strings.TrimPrefix(name, "dist/")] = a
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("web client: %w", err)
	}
	h.page = h.assets["/index.html"]
	if h.page == nil {
		return nil, fmt.Errorf("web client: %w", fs.ErrNotExist)
	}
	return h, nil
}

func newAsset(name string, content []byte) (*asset, error) {
	sum := sha256.Sum256(content)
	a := &asset{kind: kindOf(name), tag: hex.EncodeToString(sum[:12]), plain: content}
	if path.Ext(name) == ".png" {
		return a, nil
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if packed.Len() < len(content) {
		a.packed = packed.Bytes()
	}
	return a, nil
}

// kindOf does not ask the machine, whose table of types may say anything.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	case ".webmanifest":
		return "application/manifest+json"
	default:
		return "application/octet-stream"
	}
}

// ServeHTTP answers GET and HEAD. Names carry no version, so every use is revalidated by its tag.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	a := h.assets[r.URL.Path]
	if a == nil {
		a = h.page
	}
	a.serve(w, r)
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	body, tag := a.plain, a.tag
	head := w.Header()
	head.Set("Content-Type", a.kind)
	head.Set("Cache-Control", "no-cache")
	head.Set("Content-Security-Policy", policy)
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Vary", "Accept-Encoding")
	if a.packed != nil && acceptsGzip(r.Header.Get("Accept-Encoding")) {
		body, tag = a.packed, tag+"-gz"
		head.Set("Content-Encoding", "gzip")
	}
	tag = `"` + tag + `"`
	head.Set("ETag", tag)
	if matches(r.Header.Get("If-None-Match"), tag) {
		head.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	head.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // the client is gone: nobody is left to tell
	}
}

func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, quality, _ := strings.Cut(strings.TrimSpace(part), ";")
		refused := strings.TrimRight(strings.TrimSpace(quality), "0") == "q=" || strings.TrimRight(strings.TrimSpace(quality), "0") == "q=0."
		if strings.EqualFold(strings.TrimSpace(name), "gzip") && !refused {
			return true
		}
	}
	return false
}

func matches(header, tag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == tag || part == "*" {
			return true
		}
	}
	return false
}
