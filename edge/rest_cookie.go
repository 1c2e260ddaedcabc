package edge

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
)

const (
	refreshCookie = "parley_refresh"
	cookieSession = "cookie"         // the value of Parley-Session that asks for the cookie
	cookieLeeway  = 30 * time.Second // tabs and reloads lose answers to a refresh
)

// PageSession is how a page logs in: its refresh token stands in a cookie that no script reads.
type PageSession struct {
	Mode   string `header:"Parley-Session" enum:"cookie" doc:"cookie: the refresh token is kept in a cookie; for pages of this server's own origin."`
	Origin string `header:"Origin" hidden:"true"`
	Cookie string `cookie:"parley_refresh" hidden:"true"`
}

// allowed refuses the cookie to whoever is no page of this server or of an origin that the operator named. A
// program that sends no Origin has no use for a cookie.
func (p *PageSession) allowed(ctx context.Context) error {
	if p.Mode != "" && !callerOf(ctx).page {
		return chat.Errorf(chat.Forbidden, "this origin may not use the cookie")
	}
	return nil
}

func (p *PageSession) inCookie() bool { return p.Mode == cookieSession }

// tokensAnswer is Tokens, with the refresh token in the body or in a cookie.
type tokensAnswer struct {
	SetCookie string `header:"Set-Cookie"`
	Body      Tokens
}

func (p *PageSession) answer(g auth.Grant, now time.Time) *tokensAnswer {
	out := &tokensAnswer{Body: tokensOf(g)}
	if p.inCookie() {
		out.Body.RefreshToken = ""
		out.SetCookie = p.cookie(string(g.RefreshToken), g.Session.ExpiresAt.Sub(now))
	}
	return out
}

// cookie is the Set-Cookie line; an empty value takes the cookie away.
func (p *PageSession) cookie(value string, life time.Duration) string {
	c := http.Cookie{ //nolint:gosec // Secure follows the page: a server without TLS has pages too
		Name: refreshCookie, Value: value, Path: apiPrefix + "auth", MaxAge: max(1, int(life/time.Second)),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: strings.HasPrefix(p.Origin, "https://"),
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c.String()
}

// handleTokens registers an operation that answers tokens in either way.
func handleTokens[I any](r *rest, s spec, do func(ctx context.Context, in *I) (*tokensAnswer, error)) {
	op := s.operation(r.api)
	op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{}}
	huma.Register(r.api, op, func(ctx context.Context, in *I) (*tokensAnswer, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, r.failed(s.id, err)
		}
		return out, nil
	})
	op.RequestBody.Required = !s.bare // the library looks at it with each request
}

type logoutAnswer struct {
	SetCookie string `header:"Set-Cookie"`
}

func (r *rest) logoutOperation() {
	s := spec{method: http.MethodPost, path: "auth/logout", id: "logout", tag: "auth", summary: "End this session"}
	op := s.operation(r.api)
	op.DefaultStatus = http.StatusNoContent
	huma.Register(r.api, op, func(ctx context.Context, in *PageSession) (*logoutAnswer, error) {
		err := in.allowed(ctx)
		if err == nil {
			err = r.edge.deps.People.Logout(ctx, claimsOf(ctx))
		}
		if err != nil {
			return nil, r.failed(s.id, err)
		}
		if !in.inCookie() {
			return &logoutAnswer{}, nil
		}
		return &logoutAnswer{SetCookie: in.cookie("", 0)}, nil
	})
}
