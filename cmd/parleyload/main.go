package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/parley-chat/parley/pkg/checker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "parleyload:", err)
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "parleyload",
		Short:         "Load, replay and judgement of a parley server",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newRun(), newReplay(), newPages(), newStorm(), newIdle(), newCheck())
	return root
}

// errBroken makes the exit code 1 where the report has said everything.
var errBroken = errors.New("a promise is broken")

func newCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check HISTORY",
		Short: "Judge a history by the promises I1 to I14; exit code 1 on a violation",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("check: %w", err)
			}
			defer file.Close() //nolint:errcheck // only read
			report, err := checker.Check(file)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprint(cmd.OutOrStdout(), report.String()); err != nil {
				return err
			}
			if !report.OK() {
				return errBroken
			}
			return nil
		},
	}
}
