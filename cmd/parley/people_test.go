package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
)

const password = "a password of some length"

// register makes a person on a server.
func register(t testing.TB, p *process, name string) *client.API {
	t.Helper()
	api := client.NewAPI(client.APIConfig{URL: p.api})
	if _, err := api.Register(t.Context(), name, name+"@example.org", password); err != nil {
		t.Fatalf("register %s: %v", name, err)
	}
	return api
}

// login is another session of a person who is registered.
func login(t testing.TB, p *process, name string) *client.API {
	t.Helper()
	api := client.NewAPI(client.APIConfig{URL: p.api})
	if _, err := api.Login(t.Context(), name, password); err != nil {
		t.Fatalf("log in %s: %v", name, err)
	}
	return api
}

// device is a live client that remembers what it was shown.
type device struct {
	*client.Client
	name string
	slow time.Duration // spent on each message

	mu      sync.Mutex
	shown   []chat.Record
	marks   map[chat.ConversationID]mark
	changed chan struct{} // closed and replaced at each event
	caught  int
}

// connect runs a device until the test ends.
func connect(t testing.TB, p *process, api *client.API, name string, slow time.Duration) *device {
	t.Helper()
	d := &device{name: name, slow: slow, marks: map[chat.ConversationID]mark{}, changed: make(chan struct{})}
	c, err := client.New(client.Config{
		URL: p.api, Tokens: api, History: api, OnEvent: d.event,
		Reconnect: client.Backoff{Base: 50 * time.Millisecond, Cap: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Client = c
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return d
}

func (d *device) event(e client.Event) {
	if m, ok := e.(client.MessageReceived); ok && d.slow > 0 && len(m.Record.Text) > 0 {
		pause(context.Background(), d.slow)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch e := e.(type) {
	case client.MessageReceived:
		d.shown = append(d.shown, e.Record)
	case client.RecordReceived:
		d.mark(e.Record)
	case client.Synced:
		d.marks[e.Conversation.ID] = markOf(e.Conversation)
	case client.CaughtUp:
		d.caught++
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// waitFor blocks until the condition holds for what the device was shown.
func (d *device) waitFor(t testing.TB, what string, within time.Duration, ok func(shown []chat.Record) bool) []chat.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		d.mu.Lock()
		shown, changed := d.shown, d.changed
		d.mu.Unlock()
		if ok(shown) {
			return shown
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s: %s not seen after %s: %d messages shown", d.name, what, within, len(shown))
		}
	}
}

// history reads a conversation from its beginning, page by page.
func history(t testing.TB, api *client.API, id chat.ConversationID) []chat.Record {
	t.Helper()
	var all []chat.Record
	after := chat.Position(0)
	for {
		page, err := api.Page(t.Context(), id, client.PageQuery{Limit: 100, After: &after})
		if err != nil {
			t.Fatal(err)
		}
		records, err := page.Records()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, records...)
		if !page.MoreAfter {
			return all
		}
		if page.FromSeq != chat.Seq(after)+1 {
			t.Fatalf("page after %d begins at %d", after, page.FromSeq)
		}
		after = chat.Position(page.ToSeq)
	}
}

// texts are the messages among records.
func texts(records []chat.Record) []string {
	var all []string
	for _, r := range records {
		if r.Kind == chat.KindMessage {
			all = append(all, r.Text)
		}
	}
	return all
}

// post sends a raw body, so that a test decides every byte of it.
func post(t testing.TB, api *client.API, url string, body []byte) (int, []byte) {
	t.Helper()
	return do(t, api, http.MethodPost, url, body)
}

func do(t testing.TB, api *client.API, method, url string, body []byte) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := api.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

func newClientID() chat.ClientID { return chat.NewClientID(time.Now()) }

func messagesURL(p *process, id chat.ConversationID) string {
	return fmt.Sprintf("%s/api/v1/conversations/%s/messages", p.api, id)
}
