package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentsNamePathsThatExist reads every path in backquotes that begins with a folder of the layout.
func TestDocumentsNamePathsThatExist(t *testing.T) {
	quoted := regexp.MustCompile("`((?:\\./)?(?:cmd|edge|fanout|persist|presence|pkg|jetstream|deploy|docs|sdk|\\.ci)/[A-Za-z0-9_./-]*)`")
	base := root(t)
	documents, err := filepath.Glob(filepath.Join(base, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob(filepath.Join(base, "docs", "adr", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	tops, err := filepath.Glob(filepath.Join(base, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range append(append(documents, records...), tops...) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
			path := strings.TrimSuffix(strings.TrimPrefix(m[1], "./"), "/")
			if _, err := os.Stat(filepath.Join(base, filepath.FromSlash(path))); err != nil {
				t.Errorf("%s names %s, which does not exist", filepath.Base(doc), m[1])
			}
		}
	}
}

// TestEveryPackageSaysWhatItIsFor wants a package comment in one file of each package.
func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range goFiles(t) {
		if !f.test {
			seen[f.folder] = seen[f.folder] || documented(t, f.path)
		}
	}
	for folder, ok := range seen {
		if !ok {
			t.Errorf("%s has no package comment", folder)
		}
	}
}

func documented(t *testing.T, path string) bool {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(source), "\npackage ")
	return strings.Contains("\n"+before, "\n// Package ") || strings.Contains("\n"+before, "\n// Command ")
}
