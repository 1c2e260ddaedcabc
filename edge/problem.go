package edge

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/chat"
)

// Problem is an error as REST tells it: RFC 9457, with parley's code beside.
type Problem struct {
	Title        string    `json:"title" doc:"The status in words."`
	Status       int       `json:"status" doc:"The HTTP status."`
	Detail       string    `json:"detail" doc:"What went wrong, for people."`
	Code         chat.Kind `json:"code" doc:"What went wrong, for programs: the stable code shared with the WebSocket."`
	Retryable    bool      `json:"retryable" doc:"Whether the same request may succeed later."`
	RetryAfterMS int64     `json:"retry_after_ms,omitzero" doc:"When to try again, in milliseconds."`
}

func problemOf(e *chat.Error) *Problem {
	rule := e.Kind.Rule()
	return &Problem{
		Title: http.StatusText(rule.HTTPStatus), Status: rule.HTTPStatus, Detail: e.Message, Code: e.Kind,
		Retryable: rule.Retryable, RetryAfterMS: e.RetryAfter.Milliseconds(),
	}
}

// problemFromHuma gives the library's own refusals (a parameter that does not parse, a body too large) their kind.
func problemFromHuma(m *huma.ErrorModel) *Problem {
	parts := []string{m.Detail}
	for _, d := range m.Errors {
		part := d.Message
		if d.Location != "" {
			part += " (" + d.Location + ")"
		}
		parts = append(parts, part)
	}
	kind := chat.Invalid
	switch {
	case m.Status == http.StatusRequestEntityTooLarge:
		kind = chat.TooLarge
	case m.Status == http.StatusRequestTimeout:
		kind = chat.Unavailable
	case m.Status >= http.StatusInternalServerError:
		return problemOf(&chat.Error{Kind: chat.Internal, Message: "internal error"})
	}
	return problemOf(&chat.Error{Kind: kind, Message: strings.Join(parts, ": ")})
}

// Error is the problem as text.
func (p *Problem) Error() string { return string(p.Code) + ": " + p.Detail }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is RFC 9457's.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders says again in HTTP's own words when to come back and how to authenticate.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.RetryAfterMS > 0 {
		seconds := (time.Duration(p.RetryAfterMS)*time.Millisecond + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	return h
}

// writeProblem answers a request that never reached the REST handlers.
func writeProblem(w http.ResponseWriter, err error) {
	p := problemOf(chat.Public(err))
	maps.Copy(w.Header(), p.GetHeaders())
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.MarshalWrite(w, p) // the client is gone: nobody is left to tell
}

// limitedFor is the refusal of what would be taken again after a while.
func limitedFor(wait time.Duration, format string, args ...any) *chat.Error {
	limited := chat.Errorf(chat.RateLimited, format, args...)
	limited.RetryAfter = wait
	return limited
}
