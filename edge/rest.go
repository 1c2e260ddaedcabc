package edge

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/edge/web"
	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	apiPrefix = "/api/v1/"
	smallBody = 256 << 10 // bytes of a request that carries no message
)

// rest is what the operations share.
type rest struct {
	edge *Edge
	api  huma.API
}

// routes builds the whole handler: REST, the WebSocket, the page.
func (e *Edge) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	r := e.newREST(mux)
	mux.HandleFunc("GET "+apiPrefix+"ws", e.upgrade)
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, chat.Errorf(chat.NotFound, "no such path or method"))
	})
	page, err := web.Handler()
	if err != nil {
		return nil, err
	}
	mux.Handle("/", page)
	if r.api.OpenAPI() == nil {
		return nil, errors.New("no document")
	}
	return e.guarded(mux), nil
}

// guarded answers a handler that panics, and says what browsers must not do with answers.
func (e *Edge) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler { //nolint:errorlint // the very value is what net/http looks for
					panic(v)
				}
				e.log.Error("request panicked", slog.String("path", r.URL.Path), slog.Any("panic", v))
				writeProblem(w, chat.Errorf(chat.Internal, "internal error"))
			}
		}()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if strings.HasPrefix(r.URL.Path, "/api/") {
			w.Header().Set("Cache-Control", "no-store")
		}
		next.ServeHTTP(w, r)
	})
}

func (e *Edge) newREST(mux *http.ServeMux) *rest {
	config := huma.DefaultConfig("parley", e.config.Version)
	config.Info.Description = "REST under /api/v1. docs/PROTOCOL.md says what the fields mean."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = apiPrefix+"openapi", "", ""
	config.CreateHooks = nil // they would put links to schemas into answers
	config.AllowAdditionalPropertiesByDefault = true
	strict := huma.Format{Marshal: marshalStrict, Unmarshal: unmarshalStrict}
	config.Formats = map[string]huma.Format{"application/json": strict, "json": strict}
	config.Transformers = []huma.Transformer{explain}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"},
	}
	config.Components.Schemas.RegisterTypeAlias(reflect.TypeFor[jsontext.Value](), reflect.TypeFor[Record]())
	r := &rest{edge: e, api: humago.New(mux, config)}
	r.api.UseMiddleware(r.recorded, r.authenticated, answering)
	r.authOperations()
	r.peopleOperations()
	r.conversationOperations()
	r.preferenceOperations()
	r.memberOperations()
	r.messageOperations()
	r.eventOperations()
	r.typingOperations()
	tidySchemas(config.Components.Schemas.Map())
	return r
}

// tidySchemas takes out of a document what never happens: the library's own problems, and null for lists and
// texts that are absent. Unknown fields pass everywhere.
func tidySchemas(all map[string]*huma.Schema) {
	delete(all, "ErrorModel")
	delete(all, "ErrorDetail")
	for _, s := range all {
		s.AdditionalProperties = true
		for _, property := range s.Properties {
			property.Nullable = false
		}
	}
}

// Record documents a record: chat.Record and the time that its JSON also tells.
type Record struct {
	chat.Record
	SentAt string `json:"sent_at" format:"date-time" doc:"The time in the id."`
}

func marshalStrict(w io.Writer, v any) error {
	b, err := json.Marshal(v, jsontext.PreserveRawStrings(true))
	if err != nil {
		return err
	}
	_, _ = w.Write(b) // the client is gone: nobody is left to tell
	return nil
}

func unmarshalStrict(data []byte, v any) error {
	if b, ok := v.(interface{ decode(data []byte) }); ok {
		b.decode(data)
		return nil
	}
	return wire.Decode(data, v)
}

// body is a request's JSON, decoded as strictly as a frame. A fault in it keeps its kind, which the library's
// own way would lose.
type body[T any] struct {
	value T
	err   error
}

func (b *body[T]) decode(data []byte) { b.err = wire.Decode(data, &b.value) }

// Schema documents what is inside.
func (*body[T]) Schema(r huma.Registry) *huma.Schema { return r.Schema(reflect.TypeFor[T](), true, "") }

// answerContext lets a problem choose the status, where the library has chosen another.
type answerContext struct {
	humaContext
	status int
}

// humaContext is huma.Context under another name: embedded, its own would hide its method Context.
type humaContext huma.Context

// SetStatus writes the status line.
func (a *answerContext) SetStatus(code int) {
	if a.status != 0 {
		code = a.status
	}
	a.humaContext.SetStatus(code)
}

// Unwrap is the context inside.
func (a *answerContext) Unwrap() huma.Context { return a.humaContext }

func answering(ctx huma.Context, next func(huma.Context)) { next(&answerContext{humaContext: ctx}) }

// explain turns the library's errors into problems.
func explain(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := problemFromHuma(m)
	if a, ok := ctx.(*answerContext); ok {
		a.status = p.Status
	}
	return p, nil
}

type contextKey int

const (
	keyClaims contextKey = iota
	keyCaller
)

// caller is what a request tells of who sent it, before any token.
type caller struct {
	addr  netip.Addr
	agent string
	page  bool // a page of an origin that may connect, by the word of its browser
}

func claimsOf(ctx context.Context) auth.Claims {
	who, _ := ctx.Value(keyClaims).(auth.Claims)
	return who
}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(keyCaller).(caller)
	return c
}

// recorded counts a request and notes who called.
func (r *rest) recorded(ctx huma.Context, next func(huma.Context)) {
	began := time.Now()
	request, _ := humago.Unwrap(ctx)
	ctx = huma.WithValue(ctx, keyCaller, caller{
		addr: r.edge.deps.Limiter.ClientAddr(request), agent: request.UserAgent(),
		page: request.Header.Get("Origin") != "" && r.edge.originAllowed(request),
	})
	next(ctx)
	operation := ctx.Operation().OperationID
	r.edge.metrics.requests.WithLabelValues(operation, strconv.Itoa(ctx.Status())).Inc()
	r.edge.metrics.seconds.WithLabelValues(operation).Observe(time.Since(began).Seconds())
}

// authenticated lets only requests with a token pass, where the operation asks for one.
func (r *rest) authenticated(ctx huma.Context, next func(huma.Context)) {
	if len(ctx.Operation().Security) == 0 {
		next(ctx)
		return
	}
	token, ok := bearer(ctx.Header("Authorization"))
	var who auth.Claims
	err := r.edge.mayJudgeTokens()
	switch {
	case err != nil:
	case !ok:
		err = chat.Errorf(chat.Unauthorized, "an access token is required")
	default:
		who, err = r.edge.deps.People.Verify(token)
	}
	if err != nil {
		refuseRequest(ctx, err)
		return
	}
	next(huma.WithValue(ctx, keyClaims, who))
}

func refuseRequest(ctx huma.Context, err error) {
	p := problemOf(chat.Public(err))
	for name := range p.GetHeaders() {
		ctx.SetHeader(name, p.GetHeaders().Get(name))
	}
	ctx.SetHeader("Content-Type", p.ContentType(""))
	ctx.SetStatus(p.Status)
	_ = json.MarshalWrite(ctx.BodyWriter(), p) // the client is gone: nobody is left to tell
}

// mayJudgeTokens fails while a revoked session could pass unnoticed.
func (e *Edge) mayJudgeTokens() error {
	if e.blind.Load() {
		return chat.Errorf(chat.Unavailable, "the news of revoked sessions is out of reach")
	}
	return nil
}

func bearer(header string) (token string, ok bool) {
	scheme, token, found := strings.Cut(header, " ")
	return strings.TrimSpace(token), found && strings.EqualFold(scheme, "Bearer")
}

// spec describes an operation.
type spec struct {
	method  string
	path    string // below apiPrefix
	id      string
	summary string
	tag     string
	open    bool  // needs no token
	bare    bool  // may come without its body
	most    int64 // bytes of the body; 0: smallBody
}

func (s spec) operation(api huma.API) huma.Operation {
	op := huma.Operation{
		OperationID: s.id, Method: s.method, Path: apiPrefix + s.path, Summary: s.summary, Tags: []string{s.tag},
		DefaultStatus: http.StatusOK, SkipValidateBody: true, MaxBodyBytes: smallBody,
		Responses: map[string]*huma.Response{"default": {
			Description: "Problem",
			Content: map[string]*huma.MediaType{"application/problem+json": {
				Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, ""),
			}},
		}},
	}
	if s.most != 0 {
		op.MaxBodyBytes = s.most
	}
	if !s.open {
		op.Security = []map[string][]string{{"token": {}}}
	}
	return op
}

type answer[O any] struct{ Body O }

// handle registers an operation that answers O.
func handle[I, O any](r *rest, s spec, do func(ctx context.Context, in *I) (O, error)) {
	huma.Register(r.api, s.operation(r.api), func(ctx context.Context, in *I) (*answer[O], error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, r.failed(s.id, err)
		}
		return &answer[O]{out}, nil
	})
}

// handleEmpty registers an operation that answers nothing.
func handleEmpty[I any](r *rest, s spec, do func(ctx context.Context, in *I) error) {
	op := s.operation(r.api)
	op.DefaultStatus = http.StatusNoContent
	huma.Register(r.api, op, func(ctx context.Context, in *I) (*struct{}, error) {
		if err := do(ctx, in); err != nil {
			return nil, r.failed(s.id, err)
		}
		return nil, nil //nolint:nilnil // 204
	})
}

// failed makes an error one that may be shown. What is our own fault is logged here.
func (r *rest) failed(operation string, err error) error {
	p := problemOf(chat.Public(err))
	if p.Code == chat.Internal {
		r.edge.log.Error("request failed", slog.String("operation", operation), slog.Any("error", err))
	}
	return p
}

// limited applies a limit per address.
func (r *rest) limited(ctx context.Context, kind string) error {
	if ok, wait := r.edge.deps.Limiter.Allow(kind, callerOf(ctx).addr); !ok {
		return limitedFor(wait, "too many attempts from this address")
	}
	return nil
}
