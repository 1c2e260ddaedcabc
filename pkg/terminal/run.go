package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	tea "charm.land/bubbletea/v2"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
)

// Config configures Run.
type Config struct {
	Server  string // http or https
	Login   string // username or e-mail; empty: the one last used
	Fresh   bool   // do not take up a kept login
	Keep    Keep
	Prompt  Prompt
	Colours bool
	Program []tea.ProgramOption
}

// Address completes what a person typed as a server.
func Address(server string) string {
	server = strings.TrimRight(strings.TrimSpace(server), "/")
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	return server
}

// Run logs in and shows the client until the person leaves.
func Run(ctx context.Context, c Config) error {
	tokens := &tokenKeeper{keep: c.Keep, server: c.Server}
	api := client.NewAPI(client.APIConfig{URL: c.Server, OnTokens: tokens.put})
	release, err := c.begin(ctx, api, tokens)
	if err != nil {
		return err
	}
	defer release()
	if err := tokens.failed(); err != nil {
		return err
	}
	return c.show(ctx, api)
}

// begin ends with somebody logged in. Their login is kept unless another process holds it.
func (c Config) begin(ctx context.Context, api *client.API, tokens *tokenKeeper) (release func(), err error) {
	if !c.Fresh {
		release, err := c.again(ctx, api, tokens)
		if release != nil || err != nil {
			return release, err
		}
	}
	if err := login(ctx, api, c.Prompt, c.Login); err != nil {
		return nil, err
	}
	release, err = c.Keep.Hold(Kept{Server: c.Server, User: api.Account().User})
	if errors.Is(err, ErrInUse) {
		return func() {}, nil // a second window of the same person: this login lasts as long as the window
	}
	if err != nil {
		return nil, err
	}
	tokens.start(api.Account())
	return release, nil
}

// again takes up the kept login; release is nil when there is none that is still good.
func (c Config) again(ctx context.Context, api *client.API, tokens *tokenKeeper) (release func(), err error) {
	kept, found, err := c.Keep.Get(c.Server, c.Login)
	if err != nil || !found {
		return nil, err
	}
	release, err = c.Keep.Hold(kept)
	if err != nil {
		return nil, err
	}
	kept, found, err = c.Keep.Get(c.Server, kept.User.Username) // it may have been renewed before it was held
	if err == nil && found {
		tokens.start(client.Account{})
		err = resume(ctx, api, kept)
	}
	if err == nil && found {
		return release, nil
	}
	release()
	if errors.Is(err, errEnded) {
		tokens.stop()
		err = c.Keep.Delete(kept)
	}
	return nil, err
}

func (c Config) show(ctx context.Context, api *client.API) error {
	var program *tea.Program
	remote, err := NewRemote(c.Server, api, func(msg tea.Msg) { program.Send(msg) })
	if err != nil {
		return err
	}
	model := New(remote, Options{Me: api.Account().User, Server: host(c.Server), Colours: c.Colours})
	ctx, cancel := context.WithCancel(ctx)
	program = tea.NewProgram(model, append([]tea.ProgramOption{tea.WithContext(ctx)}, c.Program...)...)
	var live sync.WaitGroup
	live.Go(func() {
		if err := remote.Run(ctx); err != nil {
			program.Send(Ended(err))
		}
	})
	_, err = program.Run()
	cancel()
	live.Wait()
	if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// tokenKeeper writes every new refresh token down, while this process holds the login: the older one is worth
// nothing from then on.
type tokenKeeper struct {
	keep   Keep
	server string

	mu   sync.Mutex // guards what follows, and the order of writes
	held bool
	err  error // of the last write
}

func (t *tokenKeeper) put(a client.Account) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.held || a.AccessToken == staleToken || a.RefreshToken == "" {
		return
	}
	t.err = t.keep.Put(Kept{Server: t.server, User: a.User, RefreshToken: a.RefreshToken})
}

// start begins to write; what was got before it is written now.
func (t *tokenKeeper) start(a client.Account) {
	t.mu.Lock()
	t.held = true
	t.mu.Unlock()
	t.put(a)
}

func (t *tokenKeeper) stop() {
	t.mu.Lock()
	t.held = false
	t.mu.Unlock()
}

func (t *tokenKeeper) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Logout revokes a kept login and forgets it. A login that has ended already, or whose server does not know it
// any more, is forgotten too.
func Logout(ctx context.Context, c Config, out io.Writer) error {
	kept, found, err := c.Keep.Get(c.Server, c.Login)
	if err != nil {
		return err
	}
	if !found {
		_, err := fmt.Fprintln(out, "Nobody is logged in at", c.Server)
		return err
	}
	release, err := c.Keep.Hold(kept)
	if err != nil {
		return err
	}
	defer release()
	tokens := &tokenKeeper{keep: c.Keep, server: c.Server, held: true}
	api := client.NewAPI(client.APIConfig{URL: c.Server, OnTokens: tokens.put})
	api.Adopt(client.Account{User: kept.User, AccessToken: staleToken, RefreshToken: kept.RefreshToken})
	if err := api.Logout(ctx); err != nil && chat.KindOf(err) != chat.Unauthorized {
		return fmt.Errorf("log out: %w", err)
	}
	if err := c.Keep.Delete(kept); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "Logged out", cleanLine(kept.User.Username), "at", c.Server)
	return err
}
