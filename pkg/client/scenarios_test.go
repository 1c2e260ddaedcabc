package client

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// TestScenariosAreThoseOfAllSDKs holds the list that every SDK is tested by: each scenario has a test in Go and
// one in TypeScript.
func TestScenariosAreThoseOfAllSDKs(t *testing.T) {
	raw, err := os.ReadFile("../../sdk/scenarios/scenarios.json")
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Scenarios []struct {
			Name string `json:"name"`
			Go   string `json:"go"`
		} `json:"scenarios"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Scenarios) == 0 {
		t.Fatal("the list is empty")
	}
	inGo := named(t, "*_test.go", `(?m)^func (Test\w+)\(`)
	inTypeScript := named(t, "../../sdk/ts/test/*.test.ts", `(?m)^scenario\((?:'([^'\n]+)'|"([^"\n]+)")`)
	for _, s := range list.Scenarios {
		if !inGo[s.Go] {
			t.Errorf("%q has no test %q in pkg/client", s.Name, s.Go)
		}
		if !inTypeScript[s.Name] {
			t.Errorf("%q has no test in sdk/ts/test", s.Name)
		}
		delete(inTypeScript, s.Name)
	}
	for name := range inTypeScript {
		t.Errorf("%q is not in the list", name)
	}
}

// named finds what a pattern's groups match in some files.
func named(t *testing.T, files, pattern string) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob(files)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			names[strings.Join(m[1:], "")] = true
		}
	}
	return names
}
