// Command platform is the edge and the control plane of Latchkey: the
// authorization server, the MCP endpoints and what operators run by hand.
// `platform dev` runs all of it on one machine.
//
// Here is only wiring: configuration is read once, and handed down as values.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

// Exit codes, for scripts.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitAuth     = 3
	exitNotFound = 4
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := rootCommand()
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "platform:", explain(err))
		os.Exit(exitCode(err))
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "platform",
		Short: "Latchkey: a multi-tenant hosted MCP platform",
		Long: "Latchkey gives each tenant's MCP servers one URL: every tool behind it is scoped,\n" +
			"credentialed for minutes, and on record.\n\n" +
			"On this machine:  platform dev\n" +
			"In production:    platform migrate, platform vault setup, platform serve",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	})
	root.AddCommand(devCommand(), serveCommand(), migrateCommand(), vaultCommand(), applyCommand(), exportCommand(), keysCommand(), operatorsCommand(),
		switchCommand(), serverCommand(), importCommand(), tasksCommand(), doctorCommand(), auditCommand(), dashboardsCommand(), upstreamCommand())
	return root
}

// operation is how fault.Wrap names what was done, such as
// vault.PutDatabase(…): for a log, not for a person.
var operation = regexp.MustCompile(`^[a-zA-Z]+\.[A-Z]\w*(\([^:]*\))?: $`)

// explain says an error to a person: what a fault says to its caller, with the
// words that lead to it, and neither its cause nor the names of functions.
func explain(err error) string {
	var lead strings.Builder
	for {
		if f, ok := err.(*fault.Error); ok {
			text := f.Message
			for _, d := range f.Details {
				text += "\n  " + d.Pointer + ": " + d.Reason
				if d.Fix != "" {
					text += "; " + d.Fix
				}
			}
			return lead.String() + text
		}
		inner := errors.Unwrap(err)
		if inner == nil || !strings.HasSuffix(err.Error(), inner.Error()) {
			return lead.String() + err.Error()
		}
		if words := strings.TrimSuffix(err.Error(), inner.Error()); !operation.MatchString(words) {
			lead.WriteString(words)
		}
		err = inner
	}
}

type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var usage usageError
	var problems *registry.Problems
	switch {
	case errors.As(err, &usage), errors.As(err, &problems):
		return exitUsage
	case fault.HasCode(err, fault.Unauthenticated), fault.HasCode(err, fault.RoleNotAllowed):
		return exitAuth
	case fault.HasCode(err, fault.NotFound):
		return exitNotFound
	}
	return exitFailed
}
