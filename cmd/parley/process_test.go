package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// builder builds the programs under test, each once for the package.
type builder struct {
	dir    func() (string, error)
	server func() (string, error)
	load   func() (string, error)
}

var programs = newBuilder()

func newBuilder() *builder {
	b := &builder{dir: sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "parley-test-") })}
	b.server = sync.OnceValues(func() (string, error) { return b.build("parley", ".") })
	b.load = sync.OnceValues(func() (string, error) { return b.build("parleyload", "../parleyload") })
	return b
}

func (b *builder) build(name, pkg string) (string, error) {
	dir, err := b.dir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	if out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := programs.dir(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

func program(t testing.TB, build func() (string, error)) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// process is one parley server on ports of its own; Kill and Start again use the same ones.
type process struct {
	t     testing.TB
	data  string
	extra []string
	api   string // http://host:port
	admin string

	cmd  *exec.Cmd
	out  *tail
	done chan struct{} // closed when cmd has ended
	err  error
}

// serve starts a server on a fresh data folder and waits until it says that it runs.
func serve(t testing.TB) *process {
	t.Helper()
	return serveOn(t, filepath.Join(t.TempDir(), "data"))
}

func serveOn(t testing.TB, data string, extra ...string) *process {
	t.Helper()
	p := &process{t: t, data: data, extra: extra, api: "http://" + freeAddress(t), admin: "http://" + freeAddress(t)}
	t.Cleanup(func() { p.kill() })
	p.start()
	return p
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func (p *process) start() {
	p.t.Helper()
	if err := p.tryStart(); err != nil {
		p.t.Fatal(err)
	}
}

const startWithin = 60 * time.Second

func (p *process) tryStart() error {
	args := append([]string{
		"serve", "--data", p.data, "--limits", "off",
		"--listen", strings.TrimPrefix(p.api, "http://"), "--admin-listen", strings.TrimPrefix(p.admin, "http://"),
	}, p.extra...)
	p.cmd = exec.Command(program(p.t, programs.server), args...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a server never outlives its test
	ready := make(chan struct{})
	p.out = &tail{wanted: "parley is running at", seen: ready}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.cmd.Stderr = p.out
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		defer close(done)
		_, _ = io.Copy(p.out, bufio.NewReader(stdout))
		p.err = cmd.Wait()
	}(p.cmd, p.done)
	select {
	case <-ready:
		return nil
	case <-p.done:
		return fmt.Errorf("server ended: %w\n%s", p.err, p.out)
	case <-time.After(startWithin):
		p.kill()
		return fmt.Errorf("server not ready after %s\n%s", startWithin, p.out)
	}
}

// kill is kill -9, and waits for the end.
func (p *process) kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop is SIGTERM, and what became of it.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
	return p.err
}

// pause waits for d or the context, whichever ends first.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// tail keeps the last part of a program's output and notices a line.
type tail struct {
	mu     sync.Mutex
	text   []byte
	wanted string
	seen   chan struct{}
	once   sync.Once
}

const tailKeeps = 16 << 10

func (w *tail) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, b...)
	if w.seen != nil && strings.Contains(string(w.text), w.wanted) {
		w.once.Do(func() { close(w.seen) })
	}
	if len(w.text) > 2*tailKeeps {
		w.text = append(w.text[:0], w.text[len(w.text)-tailKeeps:]...)
	}
	return len(b), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}

// need skips a test on a machine that lacks something, unless everything is required (CI).
func need(t testing.TB, have bool, what string) {
	t.Helper()
	if have {
		return
	}
	if os.Getenv("PARLEY_REQUIRE_ALL") != "" {
		t.Fatalf("PARLEY_REQUIRE_ALL is set and this is missing: %s", what)
	}
	t.Skipf("left out: needs %s", what)
}
