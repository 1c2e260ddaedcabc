package client

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// User is what others may see of a person.
type User struct {
	ID          chat.UserID `json:"id"`
	Username    string      `json:"username"`
	DisplayName string      `json:"display_name,omitzero"`
	Email       string      `json:"email,omitzero"` // one's own only
	CreatedAt   time.Time   `json:"created_at,omitzero"`

	SelfConversationID chat.ConversationID `json:"self_conversation_id,omitzero"` // one's own only, by Me
}

// Session is one login on one device.
type Session struct {
	ID         chat.SessionID `json:"id"`
	Name       string         `json:"name,omitzero"`
	Current    bool           `json:"current,omitzero"`
	CreatedAt  time.Time      `json:"created_at,omitzero"`
	LastUsedAt time.Time      `json:"last_used_at,omitzero"`
	ExpiresAt  time.Time      `json:"expires_at,omitzero"`
}

// Account is what register, login and refresh answer: who one is, and the tokens.
type Account struct {
	User         User    `json:"user"`
	Session      Session `json:"session"`
	AccessToken  string  `json:"access_token"`
	ExpiresIn    int64   `json:"expires_in"` // seconds
	RefreshToken string  `json:"refresh_token"`
}

// ErrNoLogin is returned where a token is needed and nobody has logged in.
var ErrNoLogin = errors.New("not logged in")

// APIConfig configures an API.
type APIConfig struct {
	URL  string           // base of the server: http or https
	HTTP *http.Client     // nil: a client of its own with the default transport
	Now  func() time.Time // nil: time.Now
	// OnTokens hears of every change of the tokens: refresh tokens rotate, so a program that keeps them must
	// store the newest before the older is used again. nil: nobody.
	OnTokens func(Account)
}

// API is one user's REST interface. It refreshes its token by itself. Safe for concurrent use.
type API struct {
	base     string
	http     *http.Client
	now      func() time.Time
	onTokens func(Account)

	refreshing chan struct{} // a token of one: whoever holds it refreshes

	mu      sync.Mutex // guards what follows
	account Account
	expires time.Time
	life    time.Duration
}

// NewAPI makes an API that nobody has logged in with yet.
func NewAPI(c APIConfig) *API {
	a := &API{base: trimBase(c.URL), http: c.HTTP, now: c.Now, onTokens: c.OnTokens, refreshing: make(chan struct{}, 1)}
	if a.http == nil {
		a.http = &http.Client{}
	}
	if a.now == nil {
		a.now = time.Now
	}
	return a
}

// Register creates a user and logs in.
func (a *API) Register(ctx context.Context, username, email, password string) (Account, error) {
	return a.enter(ctx, "auth/register", map[string]string{"username": username, "email": email, "password": password})
}

// Login logs in by username or e-mail.
func (a *API) Login(ctx context.Context, login, password string) (Account, error) {
	return a.enter(ctx, "auth/login", map[string]string{"login": login, "password": password})
}

func (a *API) enter(ctx context.Context, path string, in any) (Account, error) {
	var account Account
	if err := a.call(ctx, http.MethodPost, path, "", in, &account); err != nil {
		return Account{}, err
	}
	a.Adopt(account)
	return account, nil
}

// Adopt takes up a login made elsewhere, for instance tokens kept from an earlier run.
func (a *API) Adopt(account Account) {
	a.mu.Lock()
	if account.User.ID == "" {
		account.User, account.Session = a.account.User, a.account.Session
	}
	a.account = account
	a.life = time.Duration(account.ExpiresIn) * time.Second
	a.expires = a.now().Add(a.life)
	notify := a.onTokens
	a.mu.Unlock()
	if notify != nil {
		notify(account)
	}
}

// Account is the present login; zero when there is none.
func (a *API) Account() Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.account
}

// Token is an access token that is not about to expire, and the time at which it should be replaced. It is
// refreshed when four fifths of its life are over.
func (a *API) Token(ctx context.Context) (token string, replace time.Time, err error) {
	a.mu.Lock()
	token, replace = a.account.AccessToken, a.expires.Add(-a.life/5)
	a.mu.Unlock()
	if token == "" {
		return "", time.Time{}, ErrNoLogin
	}
	if a.now().Before(replace) {
		return token, replace, nil
	}
	return a.Renew(ctx, token)
}

// Renew replaces a token that the server refused or that grows old. Callers that hold the same old token share
// one refresh: a refresh token may be used once.
func (a *API) Renew(ctx context.Context, old string) (token string, replace time.Time, err error) {
	select {
	case a.refreshing <- struct{}{}:
		defer func() { <-a.refreshing }()
	case <-ctx.Done():
		return "", time.Time{}, ctx.Err()
	}
	present := a.Account()
	if present.AccessToken == old {
		if present.RefreshToken == "" {
			return "", time.Time{}, chat.Errorf(chat.Unauthorized, "the access token is refused and there is no refresh token")
		}
		var next Account
		in := map[string]string{"refresh_token": present.RefreshToken}
		if err := a.call(ctx, http.MethodPost, "auth/refresh", "", in, &next); err != nil {
			return "", time.Time{}, err
		}
		if next.RefreshToken == "" {
			next.RefreshToken = present.RefreshToken
		}
		a.Adopt(next)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.account.AccessToken, a.expires.Add(-a.life / 5), nil
}

// Logout revokes the present session. The tokens are worthless afterwards.
func (a *API) Logout(ctx context.Context) error {
	if err := a.do(ctx, http.MethodPost, "auth/logout", nil, nil); err != nil {
		return err
	}
	a.mu.Lock()
	a.account = Account{User: a.account.User}
	a.mu.Unlock()
	return nil
}

// do is call with the user's token; a token that is refused is replaced once.
func (a *API) do(ctx context.Context, method, path string, in, out any) error {
	token, _, err := a.Token(ctx)
	if err != nil {
		return err
	}
	err = a.call(ctx, method, path, token, in, out)
	if chat.KindOf(err) != chat.Unauthorized {
		return err
	}
	token, _, renewal := a.Renew(ctx, token)
	if renewal != nil {
		return errors.Join(err, renewal)
	}
	return a.call(ctx, method, path, token, in, out)
}
