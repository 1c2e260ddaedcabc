package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// renewing gives one more token after the first.
type renewing struct{ next string }

func (r *renewing) Token(context.Context) (string, time.Time, error) {
	return r.next, time.Time{}, nil
}

func (r *renewing) Renew(_ context.Context, old string) (string, time.Time, error) {
	if old == "second" {
		return "", time.Time{}, chat.Errorf(chat.Unauthorized, "no more")
	}
	r.next = "second"
	return r.next, time.Time{}, nil
}

func TestExpiredTokenIsRenewedOnceAndTheConnectionResumes(t *testing.T) {
	s := newFake(t)
	s.tokens = []string{"second"}
	tokens := &renewing{next: "expired"}
	_, l, stop := connected(t, s, func(c *Config) { c.Tokens = tokens })
	s.says("seen", false)
	l.shows(t, 2)
	s.mu.Lock()
	s.tokens = nil // revoked
	s.mu.Unlock()
	s.closeWith(wire.CloseUnauthorized)
	l.until(t, "the stop", func(events []Event) bool {
		last, ok := events[len(events)-1].(State)
		return ok && last.Phase == Stopped
	})
	if err := stop(); chat.KindOf(err) != chat.Unauthorized {
		t.Errorf("Run ended with %v, want unauthorized", err)
	}
}

// unreachable can not renew at first: nobody answers.
type unreachable struct{ tried bool }

func (*unreachable) Token(context.Context) (string, time.Time, error) {
	return goodToken, time.Time{}, nil
}

func (u *unreachable) Renew(context.Context, string) (string, time.Time, error) {
	if !u.tried {
		u.tried = true
		return "", time.Time{}, errors.New("connection refused")
	}
	return goodToken, time.Time{}, nil
}

func TestATokenThatCanNotBeRenewedNowIsNoReasonToStop(t *testing.T) {
	s := newFake(t)
	_, l, _ := connected(t, s, func(c *Config) { c.Tokens = &unreachable{} })
	s.closeWith(wire.CloseUnauthorized)
	has[CaughtUp](t, l, "the next connection", 2)
}

// aging gives a token that wants to be replaced at once, then one that lasts.
type aging struct{}

func (aging) Token(context.Context) (string, time.Time, error) {
	return goodToken, time.Now(), nil
}

func (aging) Renew(context.Context, string) (string, time.Time, error) {
	return "younger", time.Time{}, nil
}

func TestTokenIsReplacedOnTheLivingConnection(t *testing.T) {
	s := newFake(t)
	_, l, _ := connected(t, s, func(c *Config) { c.Tokens = aging{} })
	s.until(t, "the new token", func() bool { return len(s.renewed) > 0 })
	s.says("still here", false)
	l.shows(t, 2)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dials != 1 || s.renewed[0] != "younger" {
		t.Errorf("%d connections, tokens given in place %v", s.dials, s.renewed)
	}
}
