package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// faultTime is how long each faulty run lasts: PARLEY_FAULT_TIME, such as 3m; 5 s by default.
func faultTime(t testing.TB) time.Duration {
	t.Helper()
	text := os.Getenv("PARLEY_FAULT_TIME")
	if text == "" {
		return 5 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("PARLEY_FAULT_TIME: %v", err)
	}
	return d
}

// load is parleyload writing a history.
type load struct {
	t       testing.TB
	cmd     *exec.Cmd
	out     bytes.Buffer
	history string
	done    chan error
}

func startLoad(t testing.TB, p *process, d time.Duration, args ...string) *load {
	t.Helper()
	l := &load{t: t, history: filepath.Join(t.TempDir(), "history.jsonl"), done: make(chan error, 1)}
	args = append([]string{"run", "--url", p.api, "--duration", d.String(), "--history", l.history}, args...)
	l.cmd = exec.Command(program(t, programs.load), args...)
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.out
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		l.done <- l.cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = l.cmd.Process.Kill()
		<-ended
	})
	return l
}

// verdict waits for the load's end and has its history checked.
func (l *load) verdict(p *process) {
	l.t.Helper()
	select {
	case err := <-l.done:
		if err != nil {
			l.t.Fatalf("load: %v\n%s\nserver:\n%s", err, tailOf(l.out.String()), p.out)
		}
	case <-time.After(5 * time.Minute):
		l.t.Fatalf("load does not end\n%s\nserver:\n%s", tailOf(l.out.String()), p.out)
	}
	report, err := exec.Command(program(l.t, programs.load), "check", l.history).CombinedOutput()
	if err != nil {
		keep := filepath.Join(os.TempDir(), fmt.Sprintf("parley-history-%d.jsonl", os.Getpid()))
		_ = os.Rename(l.history, keep)
		l.t.Fatalf("checker (history kept in %s): %v\n%s", keep, err, report)
	}
	l.t.Logf("%s", report)
}

func tailOf(s string) string { return s[max(0, len(s)-4000):] }

// during runs f again and again, with a pause between least and most, until d has passed.
func during(t testing.TB, d, least, most time.Duration, f func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	for {
		pause(ctx, least+rand.N(most-least))
		if ctx.Err() != nil {
			return
		}
		f()
	}
}

func mixed() []string { return []string{"--pairs", "8", "--groups", "2", "--members", "6"} }

func TestFaultNone(t *testing.T) {
	p := serve(t)
	startLoad(t, p, faultTime(t), mixed()...).verdict(p)
}

// TestFaultLaggards has further devices read slowly or not at all: nobody else misses anything.
func TestFaultLaggards(t *testing.T) {
	p := serve(t)
	startLoad(t, p, faultTime(t), append(mixed(), "--size", "2000", "--slow", "40", "--stalled", "40")...).verdict(p)
}

func TestFaultKill(t *testing.T) {
	p := serve(t)
	d := faultTime(t)
	l := startLoad(t, p, d, mixed()...)
	least, most := min(5*time.Second, d/5), min(20*time.Second, d/2)
	kills := 0
	during(t, d*9/10, least, most, func() {
		p.kill()
		kills++
		p.start()
	})
	t.Logf("%d kills", kills)
	l.verdict(p)
}

// TestFaultPowerCut cuts the power under load, with small blocks of log and the trimmer at work.
func TestFaultPowerCut(t *testing.T) {
	d := newDisk(t, "1G")
	p := serveOn(t, filepath.Join(d.mount, "data"), "--log-keep", "2s", "--trim-every", "1s", "--log-max-bytes", strconv.Itoa(256<<20))
	rounds := 2
	if faultTime(t) >= time.Minute {
		rounds = 10
	}
	l := startLoad(t, p, time.Duration(rounds+1)*4*time.Second, append(mixed(), "--size", "2000")...)
	for range rounds {
		pause(t.Context(), 2*time.Second+rand.N(2*time.Second))
		_ = p.cmd.Process.Signal(syscall.SIGSTOP)
		d.cut()
		p.kill()
		d.back()
		p.start()
	}
	t.Logf("%d power cuts", rounds)
	l.verdict(p)
}

// TestFaultStoreBehind puts an older copy of the message store back: persist reads on from there.
func TestFaultStoreBehind(t *testing.T) {
	p := serve(t)
	older := filepath.Join(t.TempDir(), "older")
	d := max(faultTime(t), 6*time.Second)
	l := startLoad(t, p, d, mixed()...)
	pause(t.Context(), d/3)
	p.kill()
	copyFiles(t, filepath.Join(p.data, "messages.db*"), older)
	p.start()
	pause(t.Context(), d/3)
	p.kill()
	restoreFiles(t, filepath.Join(p.data, "messages.db*"), older, p.data)
	p.start()
	l.verdict(p)
}

// TestFaultLogBehind puts an older log back between two runs: a new generation opens from the store's heads,
// and what the older log lacks is still in the history.
func TestFaultLogBehind(t *testing.T) {
	p := serve(t)
	half := max(faultTime(t)/2, 2*time.Second)
	startLoad(t, p, half, mixed()...).verdict(p)
	if err := p.stop(); err != nil {
		t.Fatalf("stop: %v\n%s", err, p.out)
	}
	older := filepath.Join(t.TempDir(), "older")
	if out, err := exec.Command("cp", "-a", filepath.Join(p.data, "nats"), older).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	p.start()
	alice, bob := register(t, p, "alice"), register(t, p, "bob")
	talk, err := alice.CreateDirect(t.Context(), bob.Account().User.ID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if _, err := alice.Send(t.Context(), talk.ID, newClientID(), fmt.Sprint("before ", i), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.stop(); err != nil {
		t.Fatalf("stop: %v\n%s", err, p.out)
	}
	if err := os.RemoveAll(filepath.Join(p.data, "nats")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(older, filepath.Join(p.data, "nats")); err != nil {
		t.Fatal(err)
	}
	p.start()
	sent, err := alice.Send(t.Context(), talk.ID, newClientID(), "after", 0)
	if err != nil {
		t.Fatal(err)
	}
	records := history(t, bob, talk.ID)
	if got := texts(records); len(got) != 51 || got[49] != "before 49" || got[50] != "after" {
		t.Errorf("history has %d messages", len(got))
	}
	if int(sent.Seq) != 52 || records[len(records)-2].ID >= sent.ID {
		t.Errorf("seq %d, want 52; ids must rise over the generations", sent.Seq)
	}
	if list, _, err := bob.Conversations(t.Context(), 10, ""); err != nil || len(list) != 1 || list[0].Unread != 51 {
		t.Errorf("bob's list: %+v, %v", list, err)
	}
	startLoad(t, p, half, mixed()...).verdict(p)
}

func copyFiles(t testing.TB, pattern, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing matches %s: %v", pattern, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// restoreFiles replaces what matches pattern by the files of a folder.
func restoreFiles(t testing.TB, pattern, from, to string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	copyFiles(t, filepath.Join(from, "*"), to)
}
