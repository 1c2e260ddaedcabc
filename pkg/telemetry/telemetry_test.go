package telemetry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestReadinessNamesWhatIsBroken(t *testing.T) {
	broken := true
	h := AdminHandler(NewRegistry(), []Check{
		{"log", func(context.Context) error { return nil }},
		{"store", func(context.Context) error {
			if broken {
				return errors.New("disk full")
			}
			return nil
		}},
	})
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	if w := get("/readyz"); w.Code != 503 || !strings.Contains(w.Body.String(), "store: disk full") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := get("/livez"); w.Code != 200 {
		t.Errorf("liveness must not depend on the store: %d", w.Code)
	}
	broken = false
	if w := get("/readyz"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := get("/metrics"); !strings.Contains(w.Body.String(), "go_goroutines") {
		t.Error("no runtime metrics")
	}
}

func TestTraces(t *testing.T) {
	made := NewTrace()
	for text, want := range map[string]bool{
		made: true, "": false, "00-x-y-01": false, strings.ToUpper(made): false, made + "-00": false, "01" + made[2:]: false,
	} {
		if ValidTrace(text) != want {
			t.Errorf("ValidTrace(%q) = %v", text, !want)
		}
	}
}
