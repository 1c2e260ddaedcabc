package edge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	longestPoll = 30               // seconds
	leastPoll   = 10 * time.Second // for the sync of a poll
	pollBytes   = 1 << 20          // an answer with more than this ends: the next call goes on from there
)

// eventsBody is what a stream or a poll begins with.
type eventsBody struct {
	Sync     wire.Sync `json:"sync,omitzero" doc:"A sync frame's data; absent: everything."`
	Presence []string  `json:"presence,omitzero" doc:"Conversations to look at, as in presence:subscribe."`
}

// eventsAnswer is a poll's answer: frames as a WebSocket would have carried them.
type eventsAnswer struct {
	Frames []eventFrame `json:"frames"`
}

// eventFrame is a frame's JSON.
type eventFrame jsontext.Value

// MarshalJSONTo writes it as it is.
func (f eventFrame) MarshalJSONTo(to *jsontext.Encoder) error {
	return to.WriteValue(jsontext.Value(f))
}

// Schema describes every frame.
func (eventFrame) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[Frame](), true, "")
}

// Frame documents a frame.
type Frame struct {
	ID   uint64         `json:"id,omitzero" doc:"Of the frame that this answers."`
	Type string         `json:"type"`
	Data map[string]any `json:"data,omitzero"`
}

// EventsInput is a request for events; wait makes it a poll.
type EventsInput struct {
	Wait string `query:"wait" doc:"Answer as JSON once there is news, at most this many seconds (0 to 30) from now. Absent: a stream of server-sent events."`
}

// polls tells how long a poll waits; ok is false for a stream.
func (in *EventsInput) polls() (wait time.Duration, ok bool, err error) {
	if in.Wait == "" {
		return 0, false, nil
	}
	seconds, err := strconv.Atoi(in.Wait)
	if err != nil || seconds < 0 || seconds > longestPoll {
		return 0, false, chat.Errorf(chat.Invalid, "wait is 0 to %d seconds", longestPoll)
	}
	return time.Duration(seconds) * time.Second, true, nil
}

func (r *rest) eventOperations() {
	post := spec{method: http.MethodPost, path: "events", id: "events", tag: "events", summary: "The frames of a WebSocket as server-sent events, or by long poll"}
	get := post
	get.method, get.id, get.summary = http.MethodGet, "events-of-all", "The same, with a sync of everything"
	huma.Register(r.api, eventsResponses(post.operation(r.api), r.api), func(ctx context.Context, in *struct {
		EventsInput
		Body body[eventsBody]
	},
	) (*huma.StreamResponse, error) {
		if in.Body.err != nil {
			return nil, r.failed(post.id, in.Body.err)
		}
		return r.events(ctx, post.id, &in.EventsInput, in.Body.value)
	})
	huma.Register(r.api, eventsResponses(get.operation(r.api), r.api), func(ctx context.Context, in *EventsInput) (*huma.StreamResponse, error) {
		return r.events(ctx, get.id, in, eventsBody{})
	})
}

func eventsResponses(op huma.Operation, api huma.API) huma.Operation {
	op.Responses["200"] = &huma.Response{
		Description: "Frames, as PROTOCOL.md describes them.",
		Content: map[string]*huma.MediaType{
			"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}},
			"application/json":  {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[eventsAnswer](), true, "")},
		},
	}
	return op
}

// events begins a connection and answers with what it carries.
func (r *rest) events(ctx context.Context, operation string, in *EventsInput, body eventsBody) (*huma.StreamResponse, error) {
	wait, polls, err := in.polls()
	if err == nil {
		err = r.limited(ctx, auth.LimitHandshake)
	}
	if err != nil {
		return nil, r.failed(operation, err)
	}
	c, s, err := r.edge.openStream(claimsOf(ctx), body)
	if err != nil {
		return nil, r.failed(operation, err)
	}
	if !polls {
		return &huma.StreamResponse{Body: func(ctx huma.Context) { s.stream(ctx, c) }}, nil
	}
	p := &poll{answer: eventsAnswer{Frames: []eventFrame{}}}
	over := time.AfterFunc(wait, func() { p.waited.Store(true); s.flush() })
	defer over.Stop()
	within, cancel := context.WithTimeout(ctx, max(wait, leastPoll))
	defer cancel()
	s.carry(within, c, p.write)
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", "application/json")
		_ = marshalStrict(ctx.BodyWriter(), p.answer) // the client is gone: nobody is left to tell
	}}, nil
}

// stream answers with server-sent events until the connection is over.
func (s *streamed) stream(ctx huma.Context, c *connection) {
	request, writer := humago.Unwrap(ctx)
	ctx.SetHeader("Content-Type", "text/event-stream")
	ctx.SetHeader("X-Accel-Buffering", "no") // proxies pass it on as it comes
	out := &eventStream{out: ctx.BodyWriter(), control: http.NewResponseController(writer)}
	_ = out.control.SetReadDeadline(time.Time{}) // the request has come; its deadline would end the stream
	s.carry(request.Context(), c, out.write)
	out.over(c)
}

// streamed is conn on an HTTP response, which its handler writes: nothing is read from it. Sends, cursors and the
// rest go by REST.
type streamed struct{ wake chan struct{} }

func (s *streamed) begin() {}

func (s *streamed) aside(f func()) { f() }

func (s *streamed) flush() { signal(s.wake) }

func (s *streamed) sweep(time.Time) (stalled bool) { return false }

// openStream begins a connection without a socket: authenticated, registered, its sync under way.
func (e *Edge) openStream(who auth.Claims, body eventsBody) (*connection, *streamed, error) {
	if err := e.Ready(); err != nil {
		return nil, nil, err
	}
	if err := e.giveWay(shedConnections, "connections"); err != nil {
		return nil, nil, err
	}
	c, s := newConnection(e), &streamed{wake: make(chan struct{}, 1)}
	c.conn = s
	c.claims.Store(&who)
	run, err := c.newSync(0, body.Sync)
	var watched []chat.ConversationID
	if err == nil {
		watched, err = parseWatched(body.Presence)
	}
	if err != nil { // said by HTTP, while that is possible
		return nil, nil, err
	}
	if !e.admit() {
		return nil, nil, chat.Errorf(chat.Unavailable, "this node is stopping")
	}
	e.enter(c)
	c.welcome(0, who)
	select {
	case <-e.stopping: // the stop may not have seen this one
		c.finish(wire.CloseDrain, "stopping")
	default:
	}
	if c.ended() {
		c.left()
		return nil, nil, endedAs(c)
	}
	e.metrics.streams.Inc()
	c.runSync(run)
	if len(watched) > 0 {
		c.startLook(0, watched)
	}
	return c, s, nil
}

// endedAs is a close code as an error.
func endedAs(c *connection) error {
	<-c.done
	if c.code == wire.CloseUnauthorized {
		return chat.Errorf(chat.Unauthorized, "%s", c.reason)
	}
	return chat.Errorf(chat.Unavailable, "%s", c.reason)
}

// carry hands what is queued to write until the connection is over, ctx ends or write has had enough.
func (s *streamed) carry(ctx context.Context, c *connection, write func(frames [][]byte) (more bool, err error)) {
	defer c.left()
	defer c.edge.metrics.streams.Dec()
	stop := context.AfterFunc(ctx, func() { c.finish(websocket.CloseNormalClosure, "") })
	defer stop()
	for over := false; !over; {
		select {
		case <-s.wake:
		case <-c.done:
			over = true
		}
		frames, _ := c.out.take()
		more, err := write(frames)
		if err != nil {
			c.finish(websocket.CloseAbnormalClosure, "")
			return
		}
		if !more {
			c.finish(websocket.CloseNormalClosure, "")
			return
		}
		c.alive() // that the transport takes what is written is the only sign of life there is
	}
}

// payload takes a frame's head off, as onWire put it there.
func payload(frame []byte) (op byte, data []byte) {
	switch frame[1] {
	case length16:
		return frame[0], frame[4:]
	case length64:
		return frame[0], frame[10:]
	default:
		return frame[0], frame[2:]
	}
}

// eventStream writes frames as server-sent events.
type eventStream struct {
	out     io.Writer
	control *http.ResponseController
}

func (s *eventStream) write(frames [][]byte) (more bool, err error) {
	var b bytes.Buffer
	for _, frame := range frames {
		switch op, data := payload(frame); op {
		case opText: // JSON on one line
			b.WriteString("data: ")
			b.Write(data)
			b.WriteString("\n\n")
		case opPing:
			b.WriteString(": alive\n\n")
		}
	}
	return true, s.send(b.Bytes())
}

func (s *eventStream) send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // where it can not be set, the sweep ends what is silent
	if _, err := s.out.Write(b); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	return s.control.Flush()
}

// over says why the stream ends, as a close frame would.
func (s *eventStream) over(c *connection) {
	if c.code == websocket.CloseAbnormalClosure {
		return
	}
	_ = s.send(fmt.Appendf(nil, "event: close\ndata: {\"code\":%d,\"reason\":%q}\n\n", c.code, c.reason)) // the last there is
}

// poll gathers frames until there is news.
type poll struct {
	answer eventsAnswer
	bytes  int
	caught bool // the sync is over
	news   bool
	waited atomic.Bool // long enough for news
}

func (p *poll) write(frames [][]byte) (more bool, err error) {
	for _, frame := range frames {
		op, data := payload(frame)
		if op != opText {
			continue
		}
		var f wire.Frame
		if err := wire.Decode(data, &f); err != nil {
			return false, fmt.Errorf("poll: %w", err)
		}
		p.take(f, data)
		if p.bytes > pollBytes {
			return false, nil
		}
	}
	return !p.caught || !p.news && !p.waited.Load(), nil
}

func (p *poll) take(f wire.Frame, data []byte) {
	p.answer.Frames = append(p.answer.Frames, data)
	p.bytes += len(data)
	switch f.Type {
	case wire.TypeAuthOK, wire.TypePresenceState:
	case wire.TypeCaughtUp:
		p.caught = true
	case wire.TypeSyncRecords:
		s, err := wire.DecodeData[wire.SyncRecords](f)
		p.news = p.news || err != nil || len(s.Records) > 0 || s.Gap != nil
	case wire.TypeError: // of the sync: nothing more comes of it
		p.caught, p.news = true, true
	default:
		p.news = true
	}
}
