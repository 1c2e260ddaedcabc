package edge

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

const ticketSeconds = 30

// Person is a user as REST tells of them.
type Person struct {
	ID          chat.UserID `json:"id"`
	Username    string      `json:"username"`
	DisplayName string      `json:"display_name"`
	CreatedAt   string      `json:"created_at" format:"date-time"`
	Email       string      `json:"email,omitzero" doc:"One's own only."`

	SelfConversationID chat.ConversationID `json:"self_conversation_id,omitzero" doc:"In users/me: one's conversation with oneself, made or not."`

	Presence *PersonPresence `json:"presence,omitzero" doc:"Of one person with whom one has a direct conversation, when it is known."`
}

// PersonPresence is how present a person is.
type PersonPresence struct {
	Status   string `json:"status" enum:"online,away,offline"`
	LastSeen string `json:"last_seen,omitzero" format:"date-time" doc:"With offline, when it is known."`
}

func personOf(u directory.User) Person {
	return Person{ID: u.ID, Username: u.Username, DisplayName: u.DisplayName, CreatedAt: timeText(u.CreatedAt)}
}

func timeText(t time.Time) string { return t.UTC().Format(chat.TimeLayout) }

// Login is one session as its owner sees it.
type Login struct {
	ID         chat.SessionID `json:"id"`
	Name       string         `json:"name"`
	CreatedAt  string         `json:"created_at" format:"date-time"`
	LastUsedAt string         `json:"last_used_at" format:"date-time"`
	ExpiresAt  string         `json:"expires_at" format:"date-time"`
	Current    bool           `json:"current" doc:"Whether this request was made in it."`
}

func loginOf(s directory.Session, current chat.SessionID) Login {
	return Login{
		ID: s.ID, Name: s.Name, CreatedAt: timeText(s.CreatedAt), LastUsedAt: timeText(s.LastUsedAt),
		ExpiresAt: timeText(s.ExpiresAt), Current: s.ID == current,
	}
}

// Tokens answers register, login and refresh.
type Tokens struct {
	User         Person `json:"user"`
	Session      Login  `json:"session"`
	AccessToken  string `json:"access_token"`
	ExpiresIn    int64  `json:"expires_in" doc:"Seconds that the access token lives."`
	RefreshToken string `json:"refresh_token,omitzero" doc:"Works once; the next answer holds another. Absent when it is in the cookie."`
}

func tokensOf(g auth.Grant) Tokens {
	return Tokens{
		User: personOf(g.User), Session: loginOf(g.Session, g.Session.ID), AccessToken: string(g.AccessToken),
		ExpiresIn: int64(g.ExpiresIn / time.Second), RefreshToken: string(g.RefreshToken),
	}
}

type registration struct {
	Username string `json:"username" minLength:"2" maxLength:"32" doc:"a-z, 0-9, _, . and -; folded to lower case."`
	Email    string `json:"email"`
	Password string `json:"password" minLength:"8" maxLength:"1024"`
	Device   string `json:"device,omitzero" doc:"Name of the session; the user agent when absent."`
}

type credentials struct {
	Login    string `json:"login" doc:"Username or e-mail address."`
	Password string `json:"password"`
	Device   string `json:"device,omitzero" doc:"Name of the session; the user agent when absent."`
}

type refreshing struct {
	RefreshToken string `json:"refresh_token,omitzero" doc:"Absent when it is in the cookie."`
}

type refreshRequest struct {
	PageSession
	Body body[refreshing]
}

// token is the refresh token that a request brings, and how long it may come again.
func (in *refreshRequest) token(ctx context.Context) (token string, leeway time.Duration, err error) {
	if err := in.allowed(ctx); err != nil {
		return "", 0, err
	}
	if in.inCookie() {
		return in.Cookie, cookieLeeway, nil
	}
	return in.Body.value.RefreshToken, 0, in.Body.err
}

type nothing struct{}

type ticketAnswer struct {
	Ticket    string `json:"ticket" doc:"Opens one WebSocket in place of the access token."`
	ExpiresIn int    `json:"expires_in" doc:"Seconds."`
}

type sessionsAnswer struct {
	Sessions []Login `json:"sessions"`
}

func (r *rest) authOperations() {
	people, now := r.edge.deps.People, r.edge.config.Now
	handleTokens(r, spec{method: http.MethodPost, path: "auth/register", id: "register", tag: "auth", open: true, summary: "Create an account and log in"},
		func(ctx context.Context, in *struct {
			PageSession
			Body body[registration]
		},
		) (*tokensAnswer, error) {
			if err := r.admitted(ctx, auth.LimitRegister, in.allowed(ctx), in.Body.err); err != nil {
				return nil, err
			}
			v := in.Body.value
			g, err := people.Register(ctx, v.Username, v.Email, v.Password, device(ctx, v.Device))
			return in.answer(g, now()), err
		})
	handleTokens(r, spec{method: http.MethodPost, path: "auth/login", id: "login", tag: "auth", open: true, summary: "Log in by username or e-mail"},
		func(ctx context.Context, in *struct {
			PageSession
			Body body[credentials]
		},
		) (*tokensAnswer, error) {
			if err := r.admitted(ctx, auth.LimitLogin, in.allowed(ctx), in.Body.err); err != nil {
				return nil, err
			}
			v := in.Body.value
			g, err := people.Login(ctx, v.Login, v.Password, device(ctx, v.Device))
			return in.answer(g, now()), err
		})
	handleTokens(r, spec{method: http.MethodPost, path: "auth/refresh", id: "refresh", tag: "auth", open: true, bare: true, summary: "Exchange a refresh token for new tokens"},
		func(ctx context.Context, in *refreshRequest) (*tokensAnswer, error) {
			token, leeway, err := in.token(ctx)
			if err != nil {
				return nil, err
			}
			g, err := people.Refresh(ctx, token, leeway)
			return in.answer(g, now()), err
		})
	r.logoutOperation()
	handle(r, spec{method: http.MethodPost, path: "auth/ticket", id: "ticket", tag: "auth", summary: "Get a single-use ticket for a WebSocket"},
		func(ctx context.Context, _ *nothing) (ticketAnswer, error) {
			ticket, err := people.Ticket(ctx, claimsOf(ctx))
			return ticketAnswer{Ticket: ticket, ExpiresIn: ticketSeconds}, err
		})
	r.sessionOperations()
}

func (r *rest) sessionOperations() {
	people := r.edge.deps.People
	handle(r, spec{method: http.MethodGet, path: "sessions", id: "list-sessions", tag: "sessions", summary: "List one's own sessions"},
		func(ctx context.Context, _ *nothing) (sessionsAnswer, error) {
			who := claimsOf(ctx)
			list, err := people.Sessions(ctx, who)
			out := sessionsAnswer{Sessions: make([]Login, 0, len(list))}
			for _, s := range list {
				out.Sessions = append(out.Sessions, loginOf(s, who.SessionID))
			}
			return out, err
		})
	handleEmpty(r, spec{method: http.MethodDelete, path: "sessions/{id}", id: "revoke-session", tag: "sessions", summary: "Revoke a session; its sockets close within 5 s"},
		func(ctx context.Context, in *struct {
			ID string `path:"id"`
		},
		) error {
			id, err := chat.ParseSessionID(in.ID)
			if err != nil {
				return chat.Errorf(chat.NotFound, "no such session")
			}
			return people.Revoke(ctx, claimsOf(ctx), id)
		})
}

// admitted judges a request of somebody unknown: the limit first, so that one that is refused anyway counts as well.
func (r *rest) admitted(ctx context.Context, kind string, refusals ...error) error {
	return cmp.Or(append([]error{r.limited(ctx, kind), r.edge.giveWay(shedConnections, "logins")}, refusals...)...)
}

// device is the name of a session: as wished, or what the program calls itself.
func device(ctx context.Context, wished string) string {
	if wished == "" {
		wished = callerOf(ctx).agent
	}
	runes := []rune(strings.ToValidUTF8(wished, ""))
	return string(runes[:min(len(runes), directory.MaxDevice)])
}
