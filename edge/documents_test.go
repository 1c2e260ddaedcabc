package edge

import (
	"bytes"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/yaml"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

var update = flag.Bool("update", false, "rewrite the generated documents")

// compared holds a document to what the code says.
func compared(t *testing.T, name string, want []byte) {
	t.Helper()
	path := filepath.Join("..", "docs", name)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/%s is not what the code says: go test ./edge -run TestDocument -update", name)
	}
}

func newDocument(e *Edge) *huma.OpenAPI { return e.newREST(http.NewServeMux()).api.OpenAPI() }

func operationsOf(item *huma.PathItem) map[string]*huma.Operation {
	all := map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete}
	for method, op := range all {
		if op == nil {
			delete(all, method)
		}
	}
	return all
}

func silentEdge(t *testing.T) *Edge {
	t.Helper()
	w := &world{crowd: newCrowd()}
	e, err := New(Config{ID: "e", KeyConversations: []byte("k"), KeyBodies: []byte("k"), Log: slog.New(slog.DiscardHandler)}, Deps{
		Partitions: w, History: w, Cursors: w, Fanout: []Fanout{w.worker()}, Presence: w.crowd, People: w, Directory: people{w}, Revocations: w, Limiter: w,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.end)
	return e
}

func TestDocumentOpenAPI(t *testing.T) {
	b, err := newDocument(silentEdge(t)).YAML()
	if err != nil {
		t.Fatal(err)
	}
	compared(t, "openapi.yaml", b)
}

// frame is one frame type as the AsyncAPI document tells of it.
type frame struct {
	typ     string
	data    reflect.Type
	up      bool
	down    bool
	summary string
	answer  reflect.Type // down, where that differs from up
}

func frames() []frame {
	empty := reflect.TypeFor[struct{}]()
	return []frame{
		{wire.TypeAuth, reflect.TypeFor[wire.Auth](), true, false, "Opens the connection; later: a newer token of the same session.", nil},
		{wire.TypeAuthOK, reflect.TypeFor[wire.AuthOK](), false, true, "Answers auth.", nil},
		{wire.TypeError, reflect.TypeFor[wire.Error](), false, true, "Answers a frame that failed.", nil},
		{wire.TypeMessageSend, reflect.TypeFor[wire.MessageSend](), true, false, "Sends a message.", nil},
		{wire.TypeMessageSent, reflect.TypeFor[wire.Sent](), false, true, "Answers message:send once it is durable.", nil},
		{wire.TypeMessageEdit, reflect.TypeFor[wire.MessageEdit](), true, false, "Replaces the text of a message of one's own.", nil},
		{wire.TypeMessageDelete, reflect.TypeFor[wire.MessageDelete](), true, false, "Deletes a message for everyone.", nil},
		{wire.TypeRecordSent, reflect.TypeFor[wire.Sent](), false, true, "Answers message:edit and message:delete.", nil},
		{wire.TypeMessageReceived, reflect.TypeFor[Record](), false, true, "A message, live.", nil},
		{wire.TypeRecordReceived, reflect.TypeFor[Record](), false, true, "A record of any other kind, live.", nil},
		{wire.TypeMessageDelivered, reflect.TypeFor[wire.CursorUp](), true, true, "Moves one's own cursor (up); somebody's moved (down).", reflect.TypeFor[wire.CursorDown]()},
		{wire.TypeMessageRead, reflect.TypeFor[wire.CursorUp](), true, true, "Moves one's own cursor (up); somebody's moved (down).", reflect.TypeFor[wire.CursorDown]()},
		{wire.TypeTypingStart, reflect.TypeFor[wire.TypingUp](), true, true, "One writes (up); somebody else does (down). Never stored, may be lost.", reflect.TypeFor[wire.TypingDown]()},
		{wire.TypeTypingStop, reflect.TypeFor[wire.TypingUp](), true, true, "One has stopped to write (up); somebody else has (down).", reflect.TypeFor[wire.TypingDown]()},
		{wire.TypePresenceSub, reflect.TypeFor[wire.PresenceSubscribe](), true, false, "Names the conversations whose people are looked at; replaces the former ones.", nil},
		{wire.TypePresenceState, reflect.TypeFor[wire.PresenceState](), false, true, "Answers presence:subscribe.", nil},
		{wire.TypePresenceUpdate, reflect.TypeFor[wire.PresenceSet](), true, true, "The person is at this device, or away from it (up); somebody's status changed (down).", reflect.TypeFor[wire.PresenceUpdate]()},
		{wire.TypeSync, reflect.TypeFor[wire.Sync](), true, false, "Says what the client has and asks for the rest.", nil},
		{wire.TypeSyncRecords, reflect.TypeFor[wire.SyncRecords](), false, true, "One conversation's part of the answer to sync.", nil},
		{wire.TypeSyncGone, reflect.TypeFor[wire.SyncGone](), false, true, "A conversation named in sync that may not be seen.", nil},
		{wire.TypeCaughtUp, empty, false, true, "The answer to sync is complete.", nil},
		{wire.TypeGoAway, reflect.TypeFor[wire.GoAway](), false, true, "This node stops; reconnect after that time.", nil},
		{wire.TypeResync, empty, false, true, "This connection missed too much: sync again.", nil},
		{wire.TypePing, empty, true, false, "Asks for pong.", nil},
		{wire.TypePong, empty, true, true, "Answers ping.", nil},
	}
}

func TestDocumentAsyncAPI(t *testing.T) {
	compared(t, "asyncapi.yaml", asyncAPI(t))
}

// asyncAPI builds the document from the frames' Go types.
func asyncAPI(t *testing.T) []byte {
	t.Helper()
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registry.RegisterTypeAlias(reflect.TypeFor[jsontext.Value](), reflect.TypeFor[Record]())
	messages, channel := map[string]any{}, map[string]any{}
	var up, down []any
	for _, f := range frames() {
		name := f.typ
		var data any
		switch {
		case f.answer != nil:
			data = map[string]any{"oneOf": []any{registry.Schema(f.data, true, ""), registry.Schema(f.answer, true, "")}}
		case f.data.NumField() == 0:
			data = map[string]any{"type": "object"}
		default:
			data = registry.Schema(f.data, true, "")
		}
		key := strings.ReplaceAll(name, ":", ".") // the specification's alphabet for keys
		messages[key] = map[string]any{"name": name, "summary": f.summary, "payload": envelope(name, data)}
		channel[key] = map[string]any{"$ref": "#/components/messages/" + key}
		ref := map[string]any{"$ref": "#/channels/socket/messages/" + key}
		if f.up {
			up = append(up, ref)
		}
		if f.down {
			down = append(down, ref)
		}
	}
	tidySchemas(registry.Map())
	doc := map[string]any{
		"asyncapi": "3.0.0",
		"info": map[string]any{
			"title": "parley", "version": "1",
			"description": "The WebSocket at GET /api/v1/ws, subprotocol " + wire.Subprotocol + ". docs/PROTOCOL.md says what the fields mean.",
		},
		"channels": map[string]any{"socket": map[string]any{"address": apiPrefix + "ws", "messages": channel}},
		"operations": map[string]any{
			"receive": map[string]any{"action": "receive", "summary": "What clients send.", "channel": map[string]any{"$ref": "#/channels/socket"}, "messages": up},
			"send":    map[string]any{"action": "send", "summary": "What clients receive.", "channel": map[string]any{"$ref": "#/channels/socket"}, "messages": down},
		},
		"components": map[string]any{"messages": messages, "schemas": registry.Map()},
	}
	return plainYAML(t, doc)
}

func envelope(typ string, data any) map[string]any {
	return map[string]any{
		"type": "object", "required": []string{"type"},
		"properties": map[string]any{
			"id":   map[string]any{"type": "integer", "minimum": 1, "description": "The client's; a reply carries it, a push has none."},
			"type": map[string]any{"const": typ},
			"data": data,
		},
	}
}

// plainYAML goes through JSON, so that the schemas are written by their own rules.
func plainYAML(t *testing.T, doc any) []byte {
	t.Helper()
	raw, err := jsonOf(doc)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := yaml.Convert(&b, bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestDocumentsNameEveryFrameAndCode holds docs/PROTOCOL.md to the code.
func TestDocumentsNameEveryFrameAndCode(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "PROTOCOL.md"))
	if err != nil {
		t.Fatal(err)
	}
	words := bytes.FieldsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != ':'
	})
	has := func(word string) bool {
		return slices.ContainsFunc(words, func(w []byte) bool { return string(bytes.Trim(w, ":")) == word })
	}
	for _, f := range frames() {
		if !has(f.typ) {
			t.Errorf("docs/PROTOCOL.md does not name frame %s", f.typ)
		}
	}
	for _, k := range chat.Kinds() {
		if !has(string(k)) {
			t.Errorf("docs/PROTOCOL.md does not name code %s", k)
		}
	}
	for _, code := range []string{"4001", "4002", "4003", "4500", "4501", "4502", "4503", "4504", "4505"} {
		if !has(code) {
			t.Errorf("docs/PROTOCOL.md does not name close code %s", code)
		}
	}
}
