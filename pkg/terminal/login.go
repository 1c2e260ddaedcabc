package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
)

// Prompt asks the person before the screen is taken.
type Prompt struct {
	In     *bufio.Reader
	Out    io.Writer
	Secret func() (string, error) // reads a line that is not shown
}

func (p Prompt) ask(question string) (string, error) {
	if _, err := fmt.Fprint(p.Out, question); err != nil {
		return "", err
	}
	line, err := p.In.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return strings.TrimSpace(line), nil
}

func (p Prompt) secret(question string) (string, error) {
	if _, err := fmt.Fprint(p.Out, question); err != nil {
		return "", err
	}
	secret, err := p.Secret()
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	_, err = fmt.Fprintln(p.Out)
	return secret, err
}

// resumeWithin bounds how long a start waits for the server; beyond, the screen opens and goes on trying.
const resumeWithin = 5 * time.Second

// errEnded says that a kept login is worth nothing any more.
var errEnded = errors.New("the kept login has ended")

// staleToken stands for the access token that was not kept: the first use renews it.
const staleToken = "kept"

// resume takes up a kept login. Without a server it is taken up all the same: the connection tries again.
func resume(ctx context.Context, api *client.API, l Kept) error {
	api.Adopt(client.Account{User: l.User, AccessToken: staleToken, RefreshToken: l.RefreshToken})
	ctx, cancel := context.WithTimeout(ctx, resumeWithin)
	defer cancel()
	_, _, err := api.Token(ctx)
	if kind := chat.KindOf(err); kind == chat.Unauthorized || kind == chat.Forbidden {
		return errEnded
	}
	return nil
}

// login asks until somebody is logged in. An empty name makes a new account.
func login(ctx context.Context, api *client.API, p Prompt, name string) error {
	for {
		given := name
		if given == "" {
			answer, err := p.ask("Username or e-mail (empty: a new account): ")
			if err != nil {
				return err
			}
			given = answer
		}
		err := enter(ctx, api, p, given)
		refusal, refused := errors.AsType[*chat.Error](err)
		if !refused || name != "" {
			return err
		}
		if _, err := fmt.Fprintln(p.Out, cleanLine(refusal.Message)); err != nil {
			return err
		}
	}
}

func enter(ctx context.Context, api *client.API, p Prompt, name string) error {
	if name == "" {
		return register(ctx, api, p)
	}
	password, err := p.secret("Password: ")
	if err != nil {
		return err
	}
	_, err = api.Login(ctx, name, password)
	return err
}

func register(ctx context.Context, api *client.API, p Prompt) error {
	username, err := p.ask("New username: ")
	if err != nil {
		return err
	}
	email, err := p.ask("E-mail: ")
	if err != nil {
		return err
	}
	password, err := p.secret("Password (8 characters or more): ")
	if err != nil {
		return err
	}
	again, err := p.secret("The same again: ")
	if err != nil {
		return err
	}
	if password != again {
		return chat.Errorf(chat.Invalid, "the passwords differ")
	}
	_, err = api.Register(ctx, username, email, password)
	return err
}
