package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/parley-chat/parley/"

// layer is one rule: packages under Folder may import, of this module, only what stands in May
// ("..." at the end takes the whole subtree). The first rule that matches decides.
type layer struct {
	Folder string
	May    []string
	Why    string
}

func layers() []layer {
	shared := []string{"pkg/chat", "pkg/conversation", "pkg/wire"}
	return []layer{
		{"cmd/parley", []string{"edge/...", "fanout/...", "persist/...", "presence/...", "pkg/...", "jetstream/..."}, "wiring: the only place where roles meet"},
		{"cmd/parleyload", []string{"pkg/..."}, "a client like any other: it knows no server package"},
		{"cmd/parleychat", []string{"pkg/terminal"}, "flags alone: the client is pkg/terminal"},
		{"edge", append([]string{"edge/...", "pkg/directory", "pkg/auth", "pkg/telemetry"}, shared...), "a role: meets the others on interfaces bound in cmd"},
		{"fanout", append([]string{"fanout/...", "pkg/telemetry"}, shared...), "a role: meets the others on interfaces bound in cmd"},
		{"persist/roster", append([]string{"persist", "pkg/directory", "pkg/telemetry"}, shared...), "projects into the directory"},
		{"persist", append([]string{"persist/...", "pkg/telemetry"}, shared...), "a role: meets the others on interfaces bound in cmd"},
		{"presence", append([]string{"presence/...", "pkg/telemetry"}, shared...), "a role: meets the others on interfaces bound in cmd"},
		{"jetstream/sequencer", append([]string{"jetstream", "pkg/telemetry"}, shared...), "the I/O shell of pkg/conversation"},
		{"jetstream", append([]string{"pkg/telemetry"}, shared...), "names and moves records; knows no role"},
		{"pkg/chat", nil, "the vocabulary: standard library alone"},
		{"pkg/conversation", []string{"pkg/chat"}, "pure: standard library and the vocabulary"},
		{"pkg/wire", []string{"pkg/chat"}, "frames are spelled with the vocabulary"},
		{"pkg/directory/directorytest", []string{"pkg/chat", "pkg/directory"}, "a suite for every implementation"},
		{"pkg/directory/sqlite", []string{"pkg/chat", "pkg/directory"}, "an implementation of the contract"},
		{"pkg/directory", []string{"pkg/chat"}, "a contract in the vocabulary"},
		{"pkg/auth", []string{"pkg/chat", "pkg/directory"}, "people and tokens; no transport"},
		{"pkg/client", []string{"pkg/chat", "pkg/wire", "pkg/client/..."}, "an SDK must not drag the server along"},
		{"pkg/terminal", []string{"pkg/chat", "pkg/client", "pkg/wire"}, "a client like any other: everything goes through the Go SDK"},
		{"pkg/checker", []string{"pkg/chat", "pkg/wire"}, "judges histories, whoever wrote them"},
		{"pkg/lifecycle", nil, "starts and stops things it knows nothing of"},
		{"pkg/telemetry", []string{"pkg/chat"}, "metrics, logs and traces for everybody"},
		{"pkg/archtest", nil, "reads the tree as text"},
	}
}

// confined lists third-party modules that only some folders may import.
func confined() []layer {
	return []layer{
		{"github.com/nats-io/", []string{"jetstream/..."}, "one place knows NATS"},
		{"github.com/gorilla/websocket", []string{"edge/...", "pkg/client/..."}, "one server and one client side of the socket"},
		{"github.com/gocql/", []string{"persist/scylla"}, "one store speaks CQL"},
		{"modernc.org/sqlite", []string{"persist/sqlite", "pkg/directory/sqlite"}, "stores alone know their database"},
		{"github.com/knadh/koanf", []string{"cmd/..."}, "configuration is read only in cmd"},
		{"github.com/spf13/cobra", []string{"cmd/..."}, "flags are read only in cmd"},
		{"charm.land/", []string{"pkg/terminal"}, "one place draws on terminals, and the server's first build stays short"},
		{"github.com/charmbracelet/", []string{"pkg/terminal", "cmd/parleychat"}, "one place draws on terminals, and the server's first build stays short"},
		{"gonum.org/", []string{"cmd/parleyload/..."}, "plots stay in the load tool"},
	}
}

type file struct {
	path    string // slash-separated, from the repository's root
	folder  string
	test    bool
	imports []string
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func goFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	base := root(t)
	err := filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "testdata" || name == "node_modules" || (strings.HasPrefix(name, ".") && path != base) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(base, path)
		if err != nil {
			return err
		}
		f := file{path: filepath.ToSlash(relative), test: strings.HasSuffix(path, "_test.go")}
		f.folder = filepath.ToSlash(filepath.Dir(relative))
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, name)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func under(folder, rule string) bool {
	return folder == rule || strings.HasPrefix(folder, rule+"/")
}

func allowed(folder string, may []string) bool {
	for _, m := range may {
		if tree, ok := strings.CutSuffix(m, "/..."); ok && under(folder, tree) || m == folder {
			return true
		}
	}
	return false
}

func TestImportsFollowTheLayers(t *testing.T) {
	rules, used := layers(), map[string]bool{}
	for _, f := range goFiles(t) {
		rule := findLayer(rules, f.folder)
		if rule == nil {
			t.Errorf("%s: package %s has no rule in layers()", f.path, f.folder)
			continue
		}
		used[rule.Folder] = true
		if f.test {
			continue // tests may bring fakes and suites; the confinement below still holds
		}
		for _, name := range f.imports {
			target, ours := strings.CutPrefix(name, module)
			if ours && target != f.folder && !allowed(target, rule.May) {
				t.Errorf("%s imports %s: %s (%s)", f.path, target, rule.Folder, rule.Why)
			}
			if ours && under(target, "cmd") && !under(f.folder, "cmd") {
				t.Errorf("%s imports %s: nothing imports cmd", f.path, target)
			}
		}
	}
	for _, r := range rules {
		if !used[r.Folder] {
			t.Errorf("rule %q matches no package", r.Folder)
		}
	}
}

func findLayer(rules []layer, folder string) *layer {
	for i := range rules {
		if under(folder, rules[i].Folder) {
			return &rules[i]
		}
	}
	return nil
}

func TestTheCoreUsesTheStandardLibraryAlone(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || (f.folder != "pkg/chat" && f.folder != "pkg/conversation") {
			continue
		}
		for _, name := range f.imports {
			if strings.Contains(strings.Split(name, "/")[0], ".") && !strings.HasPrefix(name, module) {
				t.Errorf("%s imports %s", f.path, name)
			}
		}
	}
}

func TestLibrariesStayWhereTheyBelong(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, name := range f.imports {
			for _, rule := range confined() {
				if strings.HasPrefix(name, rule.Folder) && !allowed(f.folder, rule.May) {
					t.Errorf("%s imports %s: %s", f.path, name, rule.Why)
				}
			}
		}
	}
}

func TestTheTopLevelIsFixed(t *testing.T) {
	fixed := map[string]bool{"cmd": true, "edge": true, "fanout": true, "persist": true, "presence": true, "pkg": true, "jetstream": true, "deploy": true, "docs": true, "sdk": true}
	for _, f := range goFiles(t) {
		if top, _, _ := strings.Cut(f.path, "/"); !fixed[top] {
			t.Errorf("%s: %s is not a folder of the layout", f.path, top)
		}
	}
}
