package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestAnotherLibraryTalksToTheServer has PyPI's websockets, which is not ours, send, receive, ping and close. (npm's ws
// is what the TypeScript SDK's tests run on.)
func TestAnotherLibraryTalksToTheServer(t *testing.T) {
	python := ""
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import websockets").Run() == nil {
			python = name
			break
		}
	}
	need(t, python != "", "Python with websockets (apt install python3-websockets)")
	p := serve(t)
	out, err := exec.Command(python, "testdata/other_client.py", p.api).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "closed with 4002") {
		t.Fatalf("%v\n%s\nserver:\n%s", err, out, p.out)
	}
}
