// Command parleychat is the chat client for terminals: flags, and pkg/terminal behind them.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"github.com/parley-chat/parley/pkg/terminal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "parleychat:", err)
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	var server, login string
	var fresh, logout bool
	root := &cobra.Command{
		Use:           "parleychat",
		Short:         "Chat at a parley server, in a terminal",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keep, err := terminal.DefaultKeep()
			if err != nil {
				return err
			}
			config := terminal.Config{
				Server: terminal.Address(server), Login: login, Fresh: fresh, Keep: keep,
				Colours: os.Getenv("NO_COLOR") == "",
				Prompt:  terminal.Prompt{In: bufio.NewReader(cmd.InOrStdin()), Out: cmd.OutOrStdout(), Secret: secret},
			}
			if logout {
				return terminal.Logout(cmd.Context(), config, cmd.OutOrStdout())
			}
			if !term.IsTerminal(os.Stdin.Fd()) || !term.IsTerminal(os.Stdout.Fd()) {
				return errors.New("this needs a terminal; scripts talk to the server by REST (docs/PROTOCOL.md)")
			}
			return terminal.Run(cmd.Context(), config)
		},
	}
	root.Flags().StringVar(&server, "server", "http://127.0.0.1:8080", "address of the server")
	root.Flags().StringVar(&login, "login", "", "username or e-mail (default: the one used last)")
	root.Flags().BoolVar(&fresh, "fresh", false, "log in again even if a login is kept")
	root.Flags().BoolVar(&logout, "logout", false, "end the kept login and leave")
	return root
}

// secret reads a line without showing it. Ctrl-C puts the terminal back before it ends the program.
func secret() (string, error) {
	before, err := term.GetState(os.Stdin.Fd())
	if err != nil {
		return "", err
	}
	interrupted, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(interrupted, os.Interrupt)
	defer func() { signal.Stop(interrupted); close(done) }()
	go func() {
		select {
		case <-interrupted:
			_ = term.Restore(os.Stdin.Fd(), before)
			os.Exit(130)
		case <-done:
		}
	}()
	raw, err := term.ReadPassword(os.Stdin.Fd())
	return string(raw), err
}
