package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-chat/parley/pkg/chat"
)

// refusedStart runs the server where it must not start and returns what it says.
func refusedStart(t *testing.T, data string, extra ...string) string {
	t.Helper()
	args := append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", ""}, extra...)
	out, err := exec.Command(program(t, programs.server), args...).CombinedOutput()
	if err == nil {
		t.Fatalf("it started and ended:\n%s", out)
	}
	return string(out)
}

func TestStartIsRefusedWithAReason(t *testing.T) {
	p := serve(t)
	if out := refusedStart(t, p.data); !strings.Contains(out, "in use by another parley process") {
		t.Errorf("second process on the data folder: %s", out)
	}
	address := strings.TrimPrefix(p.api, "http://")
	if out := refusedStart(t, filepath.Join(t.TempDir(), "data"), "--listen", address); !strings.Contains(out, "client address") {
		t.Errorf("address that is taken: %s", out)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(p.data, "installation.key")
	kept, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if out := refusedStart(t, p.data); !strings.Contains(out, "another installation key") {
		t.Errorf("data of another key: %s", out)
	}
	if err := os.WriteFile(key, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := refusedStart(t, filepath.Join(file, "data")); !strings.Contains(out, "can not be made") {
		t.Errorf("folder that can not be: %s", out)
	}
}

// TestFullDisk fills the disk under a server: what it acknowledged before is there when there is room again.
func TestFullDisk(t *testing.T) {
	d := newDisk(t, "200M")
	p := serveOn(t, filepath.Join(d.mount, "data"), "--log-max-bytes", "1000000000")
	alice, bob := register(t, p, "alice"), register(t, p, "bob")
	talk, err := alice.CreateDirect(t.Context(), bob.Account().User.ID)
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(d.mount, "ballast")
	out, err := exec.Command("fallocate", "-l", "110M", ballast).CombinedOutput()
	need(t, err == nil, "fallocate: "+string(out))
	var acknowledged []string
	for i := range 10_000 {
		text := strings.Repeat(string(rune('a'+i%26)), 50_000)
		if _, err := alice.Send(t.Context(), talk.ID, newClientID(), text, 0); err != nil {
			t.Logf("after %d messages: %v", i, err)
			break
		}
		acknowledged = append(acknowledged, text)
	}
	if len(acknowledged) == 10_000 {
		t.Fatal("the disk did not fill")
	}
	p.kill()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	p.start()
	records := history(t, login(t, p, "bob"), talk.ID)
	got := texts(records)
	if len(got) < len(acknowledged) {
		t.Fatalf("%d acknowledged, %d there", len(acknowledged), len(got))
	}
	same(t, "history after a full disk", acknowledged, got[:len(acknowledged)])
	if _, err := login(t, p, "alice").Send(t.Context(), talk.ID, newClientID(), "room again", 0); err != nil {
		t.Errorf("send with room again: %v", err)
	}
}

// TestRefusalsOverREST sends what must be refused and loses nothing by it.
func TestRefusalsOverREST(t *testing.T) {
	p := serve(t)
	alice, bob, eve := register(t, p, "alice"), register(t, p, "bob"), register(t, p, "eve")
	talk, err := alice.CreateDirect(t.Context(), bob.Account().User.ID)
	if err != nil {
		t.Fatal(err)
	}
	id := newClientID().String()
	url := messagesURL(p, talk.ID)
	for name, c := range map[string]struct {
		body   string
		status int
		code   chat.Kind
	}{
		"wrong JSON":           {`{"text":`, 422, chat.Invalid},
		"nested too deeply":    {`{"text":"x","more":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, 422, chat.Invalid},
		"invalid UTF-8":        {`{"client_id":"` + id + `","type":"text","text":"` + "\xff" + `"}`, 422, chat.InvalidText},
		"lone surrogate":       {`{"client_id":"` + id + `","type":"text","text":"\ud800"}`, 422, chat.InvalidText},
		"empty text":           {`{"client_id":"` + id + `","type":"text","text":""}`, 422, chat.InvalidText},
		"too long":             {`{"client_id":"` + id + `","type":"text","text":"` + strings.Repeat("y", 100_001) + `"}`, 422, chat.InvalidText},
		"unknown message type": {`{"client_id":"` + id + `","type":"song","text":"x"}`, 400, chat.UnknownType},
		"bad client id":        {`{"client_id":"42","type":"text","text":"x"}`, 422, chat.InvalidClientID},
		"future client id":     {`{"client_id":"ffffffff-ffff-7fff-bfff-ffffffffffff","type":"text","text":"x"}`, 422, chat.InvalidClientID},
		"too large":            {`{"text":"` + strings.Repeat("z", 1_400_000) + `"}`, 413, chat.TooLarge},
	} {
		status, answer := post(t, alice, url, []byte(c.body))
		if status != c.status || !strings.Contains(string(answer), `"code":"`+string(c.code)+`"`) {
			t.Errorf("%s: %d %.200s, want %d %s", name, status, answer, c.status, c.code)
		}
	}
	if status, answer := post(t, eve, url, []byte(`{"type":"text","text":"x"}`)); status != http.StatusNotFound {
		t.Errorf("stranger: %d %s", status, answer)
	}
	if got := history(t, bob, talk.ID); len(got) != 1 {
		t.Errorf("history has %d records, want the create alone", len(got))
	}
}
