package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/sandbox"
)

// sandboxReport is what `worker doctor --json` prints.
type sandboxReport struct {
	Driver   string   `json:"driver"` // empty: this worker would host nothing
	Held     []string `json:"held"`
	Missing  []string `json:"missing"`
	Accepted []string `json:"accepted"` // of those that are missing
	Notes    []string `json:"notes"`
	Problem  string   `json:"problem,omitempty"`
	Off      bool     `json:"off,omitempty"` // as the operator wants it
}

func doctorCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use: "doctor", Short: "Try out what keeps tenants' processes in on this machine",
		Long: "Runs something in the sandbox that tries to break each rule, and says what held. It fails when a worker would\n" +
			"host no processes here. It reads LATCHKEY_SANDBOX and the settings that begin with it.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := sandbox.ReadOptions(os.Getenv, os.Geteuid())
			if err != nil {
				return err
			}
			r := reportSandbox(cmd.Context(), o)
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			} else {
				err = r.print(cmd.OutOrStdout())
			}
			if err == nil && r.Problem != "" {
				err = errors.New("a worker hosts no processes of tenants here")
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func reportSandbox(ctx context.Context, o sandbox.Options) (r sandboxReport) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	driver, held, err := sandbox.Ready(ctx, o)
	r.Missing, r.Notes = held.Missing(), held.Notes
	for _, name := range (sandbox.Guarantees{}).Missing() {
		if !slices.Contains(r.Missing, name) {
			r.Held = append(r.Held, name)
		}
	}
	for name, has := range map[string]bool{"cpu": held.CPU, "kernel": held.Kernel} {
		if has {
			r.Held = append(r.Held, name)
		}
	}
	slices.Sort(r.Held)
	for _, name := range o.Accept {
		if slices.Contains(r.Missing, name) {
			r.Accepted = append(r.Accepted, name)
		}
	}
	if err != nil {
		r.Problem, r.Off = err.Error(), errors.Is(err, sandbox.ErrOff)
		return r
	}
	r.Driver = driver.Name()
	return r
}

func (r sandboxReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(name string, values []string) {
		if len(values) > 0 {
			fmt.Fprintf(t, "%s\t%s\n", name, strings.Join(values, ", "))
		}
	}
	row("driver", []string{or(r.Driver, "none")})
	row("held", r.Held)
	row("not held", r.Missing)
	row("accepted to be without", r.Accepted)
	for _, note := range r.Notes {
		row("note", []string{note})
	}
	if r.Problem != "" {
		row("problem", []string{strings.ReplaceAll(r.Problem, "\n", "; ")})
	}
	return t.Flush()
}
