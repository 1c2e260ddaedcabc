package edge

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// eventReader is an open event stream as a client sees it.
type eventReader struct {
	t       testing.TB
	session chat.SessionID
	resp    *http.Response
	lines   *bufio.Scanner
	cancel  context.CancelFunc
}

func (w *world) events(tb testing.TB, u chat.UserID, body string) *eventReader {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	method := "GET"
	if body != "" {
		method = "POST"
	}
	req, err := http.NewRequestWithContext(ctx, method, w.http.URL+"/api/v1/events", strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	token := w.token(u)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.http.Client().Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		tb.Fatalf("events: %s %v", resp.Status, resp.Header)
	}
	who, err := w.Verify(token)
	if err != nil {
		tb.Fatal(err)
	}
	s := &eventReader{t: tb, session: who.SessionID, resp: resp, lines: bufio.NewScanner(resp.Body), cancel: cancel}
	s.lines.Buffer(nil, 4<<20)
	tb.Cleanup(s.close)
	return s
}

func (s *eventReader) close() {
	s.cancel()
	_ = s.resp.Body.Close()
}

// next is the next event: its name, "" for the usual one, and its data.
func (s *eventReader) next() (name, data string) {
	s.t.Helper()
	for s.lines.Scan() {
		switch line := s.lines.Text(); {
		case line == "" && data != "":
			return name, data
		case strings.HasPrefix(line, "event: "):
			name = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			data = line[len("data: "):]
		}
	}
	s.t.Fatalf("the stream ended: %v", s.lines.Err())
	return "", ""
}

func (s *eventReader) want(typ string) wire.Frame {
	s.t.Helper()
	name, data := s.next()
	f, err := wire.DecodeFrame([]byte(data))
	if err != nil || name != "" || f.Type != typ {
		s.t.Fatalf("event %q %s, want %s", name, data, typ)
	}
	return f
}

func TestAnEventStreamCarriesWhatAWebSocketWould(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	w.say(g, bob, "one")
	w.say(g, bob, "two")
	s := w.events(t, alice, fmt.Sprintf(`{"sync":{"conversations":{"%s":2}}}`, g))
	s.want(wire.TypeAuthOK)
	if part := into[wire.SyncRecords](t, s.want(wire.TypeSyncRecords)); seqs(t, part) != "3" {
		t.Errorf("synced %s", seqs(t, part))
	}
	s.want(wire.TypeCaughtUp)
	w.say(g, bob, "three")
	w.flush()
	if f := s.want(wire.TypeMessageReceived); !strings.Contains(string(f.Data), `"three"`) {
		t.Errorf("live: %s", f.Data)
	}
	var sent struct {
		Message Record `json:"message"`
	}
	w.call(t, w.token(alice), "POST", "conversations/"+string(g)+"/messages", `{"type":"text","text":"by REST"}`, 200, &sent)
	w.flush()
	if f := s.want(wire.TypeMessageReceived); !strings.Contains(string(f.Data), `"by REST"`) {
		t.Errorf("own message by REST: %s", f.Data)
	}
	s.close()
	eventually(t, "the stream to be forgotten", func() bool { return w.edge.seats.Load() == 0 })
}

func TestAnEventStreamSyncsEverythingByGet(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	w.group(bob, alice)
	w.direct(alice, bob)
	s := w.events(t, alice, "")
	s.want(wire.TypeAuthOK)
	s.want(wire.TypeSyncRecords)
	s.want(wire.TypeSyncRecords)
	s.want(wire.TypeCaughtUp)
}

func TestAnEventStreamSaysWhyItEnds(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice")
	s := w.events(t, alice, "")
	s.want(wire.TypeAuthOK)
	s.want(wire.TypeCaughtUp)
	w.edge.CloseSession(s.session)
	name, data := s.next()
	if want := fmt.Sprintf(`{"code":%d,"reason":"session revoked"}`, wire.CloseUnauthorized); name != "close" || data != want {
		t.Errorf("event %q %s, want close %s", name, data, want)
	}
}

// eventually polls a condition that no channel announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// poll gives the types of the frames that a poll answered, and their text.
func (w *world) poll(tb testing.TB, u chat.UserID, wait int, body string) (types []string, text string) {
	tb.Helper()
	var answer struct {
		Frames []jsontext.Value `json:"frames"`
	}
	w.call(tb, w.token(u), "POST", fmt.Sprintf("events?wait=%d", wait), body, 200, &answer)
	for _, raw := range answer.Frames {
		text += string(raw)
		var f wire.Frame
		if err := json.Unmarshal(raw, &f); err != nil {
			tb.Fatal(err)
		}
		types = append(types, f.Type)
	}
	return types, text
}

func TestALongPollAnswersOnceThereIsNews(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	g := w.group(bob, alice)
	w.say(g, bob, "one")
	synced := []string{wire.TypeAuthOK, wire.TypeSyncRecords, wire.TypeCaughtUp}
	if got, _ := w.poll(t, alice, 30, `{}`); fmt.Sprint(got) != fmt.Sprint(synced) {
		t.Errorf("behind: %v", got)
	}
	atHead := fmt.Sprintf(`{"sync":{"conversations":{"%s":2}}}`, g)
	if got, _ := w.poll(t, alice, 0, atHead); fmt.Sprint(got) != fmt.Sprint(synced) {
		t.Errorf("without a wait: %v", got)
	}
	if got, _ := w.poll(t, alice, 1, atHead); fmt.Sprint(got) != fmt.Sprint(synced) {
		t.Errorf("no news: %v", got)
	}
	answered := make(chan string, 1)
	go func() {
		_, text := w.poll(t, alice, 30, atHead)
		answered <- text
	}()
	eventually(t, "the poll to wait", func() bool { return w.edge.seats.Load() == 1 })
	w.say(g, bob, "two")
	w.flush()
	if got := <-answered; !strings.Contains(got, `"two"`) {
		t.Errorf("with news: %s", got)
	}
	eventually(t, "the poll to be forgotten", func() bool { return w.edge.seats.Load() == 0 })
}

func TestEventsAreRefusedWithAReason(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice")
	token := w.token(alice)
	w.problem(t, "", "GET", "events", "", chat.Unauthorized)
	w.problem(t, token, "POST", "events", `{"sync":{"limit":101}}`, chat.Invalid)
	w.problem(t, token, "POST", "events", `{"sync":[]}`, chat.Invalid)
	w.problem(t, token, "POST", "events", `{"sync":`, chat.Invalid)
	for _, wait := range []string{"31", "-1", "soon"} {
		w.problem(t, token, "POST", "events?wait="+wait, `{}`, chat.Invalid)
	}
	w.edge.draining.Store(true)
	w.problem(t, token, "GET", "events", "", chat.Unavailable)
}
