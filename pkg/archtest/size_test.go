package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"
)

const (
	mostFunctionLines = 80
	mostFileLines     = 600
)

// exceptions names what may be longer, with the reason. Keys: "path" for a file, "path:Func" for a function.
func exceptions() map[string]string {
	return map[string]string{}
}

func TestFunctionsAndFilesStaySmall(t *testing.T) {
	excused, used := exceptions(), map[string]bool{}
	check := func(key string, lines, most int) {
		if lines <= most {
			return
		}
		if excused[key] == "" {
			t.Errorf("%s has %d lines, at most %d", key, lines, most)
		}
		used[key] = true
	}
	for _, f := range goFiles(t) {
		full := filepath.Join(root(t), filepath.FromSlash(f.path))
		source, err := os.ReadFile(full)
		if err != nil {
			t.Fatal(err)
		}
		if !f.test {
			check(f.path, bytes.Count(source, []byte("\n")), mostFileLines)
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, full, source, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil && !f.test {
				check(f.path+":"+fn.Name.Name, set.Position(fn.End()).Line-set.Position(fn.Pos()).Line+1, mostFunctionLines)
			}
		}
	}
	for key := range excused {
		if !used[key] {
			t.Errorf("exception %q is not needed any more", key)
		}
	}
}
