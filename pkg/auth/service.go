package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

const (
	defaultAccessLife  = 10 * time.Minute
	defaultRefreshLife = 60 * 24 * time.Hour
	defaultHashWait    = 2 * time.Second
	afterRotation      = 3 * time.Second // for reading who it was, whatever becomes of the request
	unnamedDevice      = "unknown device"
)

// Config is what a Service needs; only Directory, Revocations and Keys have no default.
type Config struct {
	Directory   directory.Store
	Revocations Revocations
	Keys        []SigningKey          // the first signs, all verify
	AccessLife  time.Duration         // of an access token; 0: 10 minutes
	RefreshLife time.Duration         // of a session that is not used; 0: 60 days
	Hashers     int                   // passwords hashed at a time; 0, and at most: one per core
	HashWait    time.Duration         // longest wait for a hasher; 0: 2 s
	Hash        HashParams            // zero: DefaultHashParams
	Now         func() time.Time      // nil: time.Now
	Reg         prometheus.Registerer // nil: the metrics stay unregistered
	Log         *slog.Logger          // nil: nothing is logged
}

func (c Config) withDefaults() Config {
	if c.AccessLife <= 0 {
		c.AccessLife = defaultAccessLife
	}
	if c.RefreshLife <= 0 {
		c.RefreshLife = defaultRefreshLife
	}
	if cores := runtime.GOMAXPROCS(0); c.Hashers <= 0 || c.Hashers > cores {
		c.Hashers = cores
	}
	if c.HashWait <= 0 {
		c.HashWait = defaultHashWait
	}
	if c.Hash == (HashParams{}) {
		c.Hash = DefaultHashParams()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Grant is what a login gives: who, in which session, and the tokens that prove it.
type Grant struct {
	User         directory.User
	Session      directory.Session
	AccessToken  directory.Secret
	ExpiresIn    time.Duration // of the access token
	RefreshToken directory.Secret
}

// Service registers people and judges who somebody is. It runs nothing; it is safe for concurrent use.
type Service struct {
	config  Config
	signer  *signer
	hasher  *hasher
	tickets *tickets
	metrics *metrics
}

// NewService makes a Service.
func NewService(c Config) (*Service, error) {
	if c.Directory == nil || c.Revocations == nil {
		return nil, errors.New("auth: a directory and revocations are needed")
	}
	c = c.withDefaults()
	signer, err := newSigner(c.Keys, c.Now)
	if err != nil {
		return nil, err
	}
	m := newMetrics(c.Reg)
	s := &Service{config: c, signer: signer, hasher: newHasher(c.Hash, c.Hashers, c.HashWait, m), tickets: newTickets(maxTickets, m), metrics: m}
	s.gauges(c.Reg)
	return s, nil
}

// Register makes an account and logs it in. chat.Conflict tells which of username and e-mail is taken.
func (s *Service) Register(ctx context.Context, username, email, password, device string) (g Grant, err error) {
	defer func() { s.count("register", err) }()
	folded, err := directory.ParseUsername(username)
	if err != nil {
		return Grant{}, err
	}
	if err := directory.CheckEmail(email); err != nil {
		return Grant{}, err
	}
	if err := checkPassword(password); err != nil {
		return Grant{}, err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return Grant{}, err
	}
	account := directory.Account{
		User:  directory.User{ID: chat.NewUserID(), Username: folded, DisplayName: username, CreatedAt: s.now()},
		Email: email, PasswordHash: hash,
	}
	if err := s.config.Directory.CreateUser(ctx, account); err != nil {
		return Grant{}, err
	}
	return s.begin(ctx, account.User, device)
}

// Login opens a session. Whether the login or the password was wrong, neither the answer nor its time tells.
func (s *Service) Login(ctx context.Context, login, password, device string) (g Grant, err error) {
	defer func() { s.count("login", err) }()
	wrong := chat.Errorf(chat.Unauthorized, "login or password is wrong")
	if len(login) > directory.MaxEmail || checkPassword(password) != nil {
		return Grant{}, wrong // nobody has such a one; who sends it knows what it sent
	}
	account, err := s.config.Directory.AccountByLogin(ctx, login)
	if err != nil && chat.KindOf(err) != chat.NotFound {
		return Grant{}, err
	}
	ok, err := s.hasher.matches(ctx, password, account.PasswordHash)
	if err != nil {
		return Grant{}, err
	}
	if !ok {
		return Grant{}, wrong
	}
	return s.begin(ctx, account.User, device)
}

// begin opens a session of somebody who has proved who they are.
func (s *Service) begin(ctx context.Context, user directory.User, device string) (Grant, error) {
	now := s.now()
	session := directory.Session{
		ID: chat.NewSessionID(), UserID: user.ID, Name: deviceName(device),
		CreatedAt: now, LastUsedAt: now, ExpiresAt: now.Add(s.config.RefreshLife),
	}
	token := newRefreshToken()
	if err := s.config.Directory.CreateSession(ctx, session, token.key()); err != nil {
		return Grant{}, err
	}
	return s.grant(user, session, token, now)
}

func (s *Service) grant(user directory.User, session directory.Session, token refreshToken, now time.Time) (Grant, error) {
	claims := Claims{UserID: user.ID, SessionID: session.ID, ExpiresAt: now.Add(s.config.AccessLife)}
	access, err := s.signer.sign(claims, now)
	if err != nil {
		return Grant{}, err
	}
	return Grant{User: user, Session: session, AccessToken: access, ExpiresIn: s.config.AccessLife, RefreshToken: token.text()}, nil
}

// Refresh exchanges a refresh token for new tokens of the same session, once. A token that comes a second
// time ends the session everywhere: somebody else has it. Within the leeway it gives the same refresh token
// again instead: a page that is reloaded while it refreshes never sees the first answer.
func (s *Service) Refresh(ctx context.Context, token string, leeway time.Duration) (g Grant, err error) {
	defer func() { s.count("refresh", err) }()
	old, err := parseRefreshToken(token)
	if err != nil {
		return Grant{}, err
	}
	now, next := s.now(), old.next(s.signer.current)
	session, reused, err := s.config.Directory.RotateRefresh(ctx, directory.Rotation{
		Old: old.key(), Next: next.key().Token, Now: now, ExpiresAt: now.Add(s.config.RefreshLife), Leeway: leeway,
	})
	if err != nil {
		return Grant{}, err
	}
	if reused {
		return Grant{}, s.reused(ctx, session)
	}
	return s.grant(s.userOf(ctx, session.UserID), session, next, now)
}

func (s *Service) reused(ctx context.Context, session directory.Session) error {
	s.metrics.reused.Inc()
	if err := s.config.Revocations.Revoke(ctx, session.ID); err != nil {
		return fmt.Errorf("revoke session %s, whose refresh token was reused: %w", session.ID, err)
	}
	s.config.Log.WarnContext(ctx, "refresh token used twice, session revoked",
		slog.String("user", string(session.UserID)), slog.String("session", string(session.ID)))
	return chat.Errorf(chat.Unauthorized, "refresh token was used before; the session has ended")
}

// userOf reads who it is after the old token is gone already: the new one must reach its owner, so a
// directory that fails now costs only the name in the answer.
func (s *Service) userOf(ctx context.Context, id chat.UserID) directory.User {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterRotation)
	defer cancel()
	account, err := s.config.Directory.Account(ctx, id)
	if err != nil {
		s.config.Log.WarnContext(ctx, "refreshed without the user's names", slog.String("user", string(id)), slog.Any("error", err))
		return directory.User{ID: id}
	}
	return account.User
}

// Verify judges an access token, from memory alone.
func (s *Service) Verify(token string) (Claims, error) {
	c, err := s.signer.verify(token)
	if err != nil {
		return Claims{}, err
	}
	return c, s.alive(c)
}

// alive refuses claims whose session was revoked or that ran out.
func (s *Service) alive(c Claims) error {
	if s.config.Revocations.Revoked(c.SessionID) {
		return chat.Errorf(chat.Unauthorized, "session has ended")
	}
	if !s.now().Before(c.ExpiresAt) {
		return chat.Errorf(chat.Unauthorized, "access token has expired")
	}
	return nil
}

// Ticket makes a single-use token for claims just verified; it is good in this process for TicketLife.
func (s *Service) Ticket(_ context.Context, c Claims) (string, error) {
	if err := s.alive(c); err != nil {
		return "", err
	}
	return s.tickets.issue(c, s.now())
}

// Redeem gives a ticket's claims, once.
func (s *Service) Redeem(ticket string) (Claims, error) {
	c, ok := s.tickets.redeem(ticket, s.now())
	if !ok {
		return Claims{}, chat.Errorf(chat.Unauthorized, "ticket is not valid")
	}
	if err := s.alive(c); err != nil {
		return Claims{}, err
	}
	return c, nil
}

// Sessions lists the user's living sessions, newest first.
func (s *Service) Sessions(ctx context.Context, c Claims) ([]directory.Session, error) {
	return s.config.Directory.Sessions(ctx, c.UserID, s.now())
}

// Logout ends the session that the claims are of.
func (s *Service) Logout(ctx context.Context, c Claims) error { return s.Revoke(ctx, c, c.SessionID) }

// Revoke ends one of the user's sessions everywhere; chat.NotFound when it is not theirs. When the news
// can not be spread the error says so, and a repeat spreads it.
func (s *Service) Revoke(ctx context.Context, c Claims, id chat.SessionID) (err error) {
	defer func() { s.count("revoke", err) }()
	if err := s.config.Directory.RevokeSession(ctx, c.UserID, id, s.now()); err != nil {
		return err
	}
	if err := s.config.Revocations.Revoke(ctx, id); err != nil {
		return fmt.Errorf("spread revocation of session %s: %w", id, err)
	}
	return nil
}

// LoadRevocations spreads the revocations of the last AccessLife that are not known yet: those whose
// process ended between the directory and the news. It is called once, before tokens are accepted.
func (s *Service) LoadRevocations(ctx context.Context) error {
	sessions, err := s.config.Directory.RevokedSince(ctx, s.now().Add(-s.config.AccessLife))
	if err != nil {
		return fmt.Errorf("load revocations: %w", err)
	}
	for _, session := range sessions {
		if s.config.Revocations.Revoked(session.ID) {
			continue
		}
		if err := s.config.Revocations.Revoke(ctx, session.ID); err != nil {
			return fmt.Errorf("load revocations: session %s: %w", session.ID, err)
		}
	}
	return nil
}

func (s *Service) now() time.Time { return s.config.Now().UTC().Truncate(time.Millisecond) }

func (s *Service) count(operation string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = string(chat.KindOf(err))
	}
	s.metrics.calls.WithLabelValues(operation, outcome).Inc()
}

// deviceName makes a name that can be shown of whatever a client called itself.
func deviceName(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	runes := []rune(strings.TrimSpace(s))
	if len(runes) > directory.MaxDevice {
		runes = runes[:directory.MaxDevice]
	}
	if len(runes) == 0 {
		return unnamedDevice
	}
	return string(runes)
}
