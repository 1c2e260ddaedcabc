package chat_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// declaredKinds reads the constants of type Kind from the source: the list and the table must have them all.
func declaredKinds(t *testing.T) []chat.Kind {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []chat.Kind
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Kind" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, chat.Kind(text))
		}
		return true
	})
	return kinds
}

func TestTheErrorTableIsComplete(t *testing.T) {
	declared := declaredKinds(t)
	listed := map[chat.Kind]bool{}
	for _, k := range chat.Kinds() {
		listed[k] = true
	}
	if len(declared) == 0 || len(declared) != len(chat.Kinds()) || len(listed) != len(declared) {
		t.Errorf("%d kinds declared, %d listed, %d distinct", len(declared), len(chat.Kinds()), len(listed))
	}
	for _, k := range declared {
		if !listed[k] {
			t.Errorf("%s is not in Kinds", k)
		}
		r := k.Rule()
		if r.HTTPStatus < 400 || r.HTTPStatus > 599 || r.HTTPStatus == 500 && k != chat.Internal {
			t.Errorf("%s has status %d", k, r.HTTPStatus)
		}
		if r.Retryable && r.HTTPStatus < 500 && k != chat.RateLimited && k != chat.PriorFailed {
			t.Errorf("%s is retryable and the caller's fault", k)
		}
	}
	if chat.Kind("nonsense").Rule() != chat.Internal.Rule() {
		t.Error("an unknown kind is not treated as internal")
	}
}

func TestOnlyWhatIsMeantForCallersIsShown(t *testing.T) {
	secret := errors.New("password=hunter2")
	if e := chat.Public(fmt.Errorf("read: %w", secret)); e.Kind != chat.Internal || e.Message != "internal error" {
		t.Errorf("shown: %v", e)
	}
	limited := &chat.Error{Kind: chat.RateLimited, Message: "slower", RetryAfter: time.Second}
	wrapped := fmt.Errorf("send x: %w", limited)
	if chat.Public(wrapped) != limited || chat.KindOf(wrapped) != chat.RateLimited {
		t.Errorf("shown: %v", chat.Public(wrapped))
	}
	if chat.KindOf(nil) != "" || chat.KindOf(secret) != chat.Internal {
		t.Errorf("kinds: %q %q", chat.KindOf(nil), chat.KindOf(secret))
	}
}
