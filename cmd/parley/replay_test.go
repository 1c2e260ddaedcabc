package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// transcripts are the first lines of each transcript in testdata: enough for a few dozen people a file.
func transcripts(t *testing.T, lines int) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/irc/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	var short []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		parts := bytes.SplitAfterN(text, []byte("\n"), lines+1)
		path := filepath.Join(t.TempDir(), filepath.Base(f))
		if err := os.WriteFile(path, bytes.Join(parts[:min(lines, len(parts))], nil), 0o600); err != nil {
			t.Fatal(err)
		}
		short = append(short, path)
	}
	return short
}

// TestTranscriptsComeBackWhole replays real talk, a connection for each nick, several files at once, and kills
// the server meanwhile: live stream, late device and history equal the files byte for byte.
func TestTranscriptsComeBackWhole(t *testing.T) {
	p := serve(t)
	var out bytes.Buffer
	replay := exec.Command(program(t, programs.load), append([]string{"replay", "--url", p.api, "--verify"}, transcripts(t, 700)...)...)
	replay.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	replay.Stdout, replay.Stderr = &out, &out
	if err := replay.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- replay.Wait() }()
	deadline := time.After(3 * time.Minute)
	for kills := 0; ; kills++ {
		var kill <-chan time.Time
		if kills < 5 {
			kill = time.After(2500 * time.Millisecond)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("%v\n%s\nserver:\n%s", err, tailOf(out.String()), p.out)
			}
			t.Logf("%d kills\n%s", kills, tailOf(out.String()))
			return
		case <-kill:
			p.kill()
			p.start()
		case <-deadline:
			_ = replay.Process.Kill()
			<-done
			t.Fatalf("replay does not end\n%s\nserver:\n%s", tailOf(out.String()), p.out)
		}
	}
}
