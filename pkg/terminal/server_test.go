package terminal

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/parley-chat/parley/pkg/client"
)

// server is a real parley on ports of its own; start after kill uses the same ones and the same data.
type server struct {
	t                *testing.T
	binary, data     string
	address, metrics string
	cmd              *exec.Cmd
	drained          chan struct{}
}

func serve(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{t: t, binary: filepath.Join(dir, "parley"), data: filepath.Join(dir, "data"), address: free(t), metrics: free(t)}
	if out, err := exec.Command("go", "build", "-o", s.binary, "../../cmd/parley").CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	t.Cleanup(s.kill)
	s.start()
	return s
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *server) url() string { return "http://" + s.address }

// start waits until the server says that it runs, or has ended.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.binary, "serve", "--data", s.data, "--limits", "off", "--listen", s.address, "--admin-listen", s.metrics)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Stderr = s.cmd.Stdout
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ready, drained := make(chan struct{}), make(chan struct{})
	s.drained = drained
	go func() {
		defer close(drained)
		told := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if !told && strings.Contains(lines.Text(), "parley is running at") {
				told = true
				close(ready)
			}
		}
	}()
	select {
	case <-ready:
	case <-drained:
		s.t.Fatal("the server ended")
	}
}

// kill is kill -9.
func (s *server) kill() {
	if s.cmd.ProcessState != nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.drained
	_ = s.cmd.Wait()
}

// seat is a person before a model that a real server stands behind.
type seat struct {
	t     *testing.T
	model *Model
	inbox chan tea.Msg
	done  context.Context
}

func take(t *testing.T, url, username string) *seat {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	transport := &http.Transport{}
	api := client.NewAPI(client.APIConfig{URL: url, HTTP: &http.Client{Transport: transport}})
	if _, err := api.Register(ctx, username, username+"@example.org", "a long password"); err != nil {
		t.Fatal(err)
	}
	s := &seat{t: t, inbox: make(chan tea.Msg, 64), done: ctx}
	remote, err := NewRemote(url, api, s.post)
	if err != nil {
		t.Fatal(err)
	}
	s.model = New(remote, Options{Me: api.Account().User, Zone: time.UTC})
	s.model.Update(tea.WindowSizeMsg{Width: 100, Height: 24})
	ended := make(chan error, 1)
	go func() { ended <- remote.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", username, err)
		}
		transport.CloseIdleConnections()
	})
	return s
}

func (s *seat) post(msg tea.Msg) {
	select {
	case s.inbox <- msg:
	case <-s.done.Done():
	}
}

func (s *seat) give(msg tea.Msg) {
	_, cmd := s.model.Update(msg)
	s.run(cmd)
}

// run lets commands work as they would in a program: each by itself, its answer a message.
func (s *seat) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	go func() {
		msg := cmd()
		if batch, ok := msg.(tea.BatchMsg); ok {
			for _, c := range batch {
				s.run(c)
			}
			return
		}
		if msg != nil {
			s.post(msg)
		}
	}()
}

func (s *seat) press(keys ...tea.KeyPressMsg) {
	for _, k := range keys {
		s.give(k)
	}
}

func (s *seat) write(text string) {
	for _, r := range text {
		s.give(tea.KeyPressMsg{Code: r, Text: string(r)})
	}
}

const seenWithin = 30 * time.Second

// see goes on until a text is on the screen.
func (s *seat) see(text string) {
	s.t.Helper()
	late := time.NewTimer(seenWithin)
	defer late.Stop()
	for !strings.Contains(ansi.Strip(s.model.View().Content), text) {
		select {
		case msg := <-s.inbox:
			s.give(msg)
		case <-late.C:
			s.t.Fatalf("%q did not come:\n%s", text, ansi.Strip(s.model.View().Content))
		}
	}
}

// Two people find each other, write, see how far their messages are, and go on after kill -9 of the server.
func TestTwoPeopleTalkThroughARealServer(t *testing.T) {
	server := serve(t)
	enter := tea.KeyPressMsg{Code: tea.KeyEnter}
	ann, ben := take(t, server.url(), "ann"), take(t, server.url(), "ben")
	ann.see("No conversations yet.")
	ben.see("No conversations yet.")

	ann.press(tea.KeyPressMsg{Code: 'n', Mod: tea.ModCtrl})
	ann.write("be")
	ann.see("ben  @ben")
	ann.press(enter)
	ann.see("Nothing has been said yet.")
	ann.write("hello ben")
	ann.press(enter)
	ann.see("hello ben ✓")
	ben.see("ann")
	ben.see("hello ben")
	ann.see("✓✓ delivered")
	ben.press(enter)
	ben.see("ann  hello ben")
	ann.see("hello ben ✓✓ read")
	ann.see("ben  online")
	ben.write("h")
	ann.see("ben is writing…")
	ben.write("i ann")
	ben.press(enter)
	ann.see("ben  hi ann")

	server.kill()
	ann.see("offline, trying again…")
	ann.write("are you still there?")
	ann.press(enter)
	ann.see("are you still there? … sending")
	server.start()
	ben.see("ann  are you still there?")
	ann.see("are you still there? ✓✓ read")
	if n := strings.Count(ansi.Strip(ann.model.View().Content), "are you still there?"); n > 2 { // list and conversation
		t.Errorf("shown %d times", n)
	}
}
