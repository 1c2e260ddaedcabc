package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/checker"
	"github.com/parley-chat/parley/pkg/client"
)

const (
	registering = 8                     // requests at once: each costs the server a password hash
	password    = "parleyload-Passw0rd" //nolint:gosec // of users made for a load test
)

// person is one user of a run and the login of their first device.
type person struct {
	user     client.User
	username string
	api      *client.API
}

// world is where a run happens.
type world struct {
	url      string
	http     *http.Client
	patience time.Duration // how long the server may be away
	history  *checker.Writer
}

func newWorld(url string, patience time.Duration, history *checker.Writer) *world {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     30 * time.Second,
	}
	return &world{url: url, http: &http.Client{Transport: transport}, patience: patience, history: history}
}

func (w *world) api() *client.API { return client.NewAPI(client.APIConfig{URL: w.url, HTTP: w.http}) }

// runName keeps the usernames of runs apart.
func runName() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// again calls f until it succeeds, the server says no for good, or patience is over.
func (w *world) again(ctx context.Context, f func(ctx context.Context) error) error {
	deadline := time.Now().Add(w.patience)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := f(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if kind, said := said(err); said && !kind.Rule().Retryable || time.Now().After(deadline) {
			return err
		}
		pause := time.NewTimer(wait + jitter(wait))
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

func jitter(most time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(most)+1))
	if err != nil {
		return most / 2
	}
	return time.Duration(n.Int64())
}

// register makes count people called by name(i); with the name taken the login is used, so that a run can go on
// where an answer was lost.
func (w *world) register(ctx context.Context, count int, name func(i int) string, tick func()) ([]*person, error) {
	people := make([]*person, count)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(registering)
	for i := range people {
		group.Go(func() error {
			p, err := w.enter(ctx, name(i))
			if err != nil {
				return fmt.Errorf("register %s: %w", name(i), err)
			}
			people[i] = p
			tick()
			return nil
		})
	}
	return people, group.Wait()
}

func (w *world) enter(ctx context.Context, username string) (*person, error) {
	p := &person{username: username, api: w.api()}
	asked := false // an attempt without an answer may have made the account
	err := w.again(ctx, func(ctx context.Context) error {
		account, err := p.api.Register(ctx, username, username+"@load.example", password)
		if asked && chat.KindOf(err) == chat.Conflict {
			account, err = p.api.Login(ctx, username, password)
		}
		if err != nil {
			asked = true
			return err
		}
		p.user = account.User
		return nil
	})
	if err != nil {
		return nil, err
	}
	w.history.Write(checker.Event{Op: checker.OpRegister, Client: p.device("1"), Username: p.user.Username, Code: checker.OK})
	return p, nil
}

// login is another device of the same person.
func (w *world) login(ctx context.Context, p *person) (*client.API, error) {
	api := w.api()
	return api, w.again(ctx, func(ctx context.Context) error {
		_, err := api.Login(ctx, p.username, password)
		return err
	})
}

// device is how the history calls a device of p.
func (p *person) device(name string) string { return string(p.user.ID) + "/" + name }
