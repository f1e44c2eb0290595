package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/postgres"
	"latchkey/internal/secret"
	"latchkey/internal/signin"
)

// operatorsCommand works on the database itself: it makes the first operator,
// when nobody can call the API yet, and lets one back in.
func operatorsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "operators",
		Short: "Who runs the platform: list, add, set a password",
		Long:  "Reads DATABASE_URL (as latchkey_app); after `platform dev` on this machine it uses that one's, where none is set.",
	}
	var output, name string
	var generate bool
	list := &cobra.Command{
		Use: "list", Short: "List them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return usageError{fmt.Errorf("--output is table or json, not %q", output)}
			}
			return withOperators(cmd.Context(), func(ctx context.Context, db *postgres.DB) error {
				return listOperators(ctx, db, output, cmd.OutOrStdout())
			})
		},
	}
	list.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	add := &cobra.Command{
		Use: "add <address>", Short: "Add one, or change their name and let them in again", Args: oneAddress,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withOperators(cmd.Context(), func(ctx context.Context, db *postgres.DB) error {
				o, err := db.PutOperator(ctx, callers.Operator{Email: args[0], Name: or(name, args[0]), CreatedAt: time.Now()})
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is an operator.\n", o.Email)
				if !o.HasPassword {
					fmt.Fprintf(cmd.OutOrStdout(), "They have no password yet: platform operators password %s\n", o.Email)
				}
				return nil
			})
		},
	}
	add.Flags().StringVar(&name, "name", "", "their name (default: the address)")
	pw := &cobra.Command{
		Use: "password <address>", Short: "Set a password: from standard input, or a random one that is printed once", Args: oneAddress,
		Long: "Sets the password that stands on standard input, one line. With --random, or where standard input is a terminal, makes a\n" +
			"random one and prints it, once. All sessions of the operator end.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withOperators(cmd.Context(), func(ctx context.Context, db *postgres.DB) error {
				p, made, err := operatorPassword(generate, cmd.InOrStdin())
				if err != nil {
					return err
				}
				if err := setOperatorPassword(ctx, db, args[0], p); err != nil {
					return err
				}
				if made {
					fmt.Fprintln(cmd.OutOrStdout(), p.Reveal())
				}
				fmt.Fprintln(cmd.ErrOrStderr(), "The password is set, and all sessions were ended.")
				return nil
			})
		},
	}
	pw.Flags().BoolVar(&generate, "random", false, "make one and print it")
	c.AddCommand(list, add, pw)
	return c
}

func oneAddress(_ *cobra.Command, args []string) error {
	if len(args) != 1 || !strings.Contains(args[0], "@") {
		return usageError{errors.New("name one operator by address: ops@example.com")}
	}
	return nil
}

func withOperators(ctx context.Context, do func(ctx context.Context, db *postgres.DB) error) error {
	cfg, err := readConfig()
	if err != nil {
		return err
	}
	if cfg.DatabaseURL == "" {
		if err := useDevState(&cfg); err != nil {
			return err
		}
	}
	if err := need([2]string{"DATABASE_URL", cfg.DatabaseURL.Reveal()}); err != nil {
		return err
	}
	db, err := postgres.Open(ctx, postgres.Options{URL: cfg.DatabaseURL.Reveal(), MaxConns: 2})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.CheckSchema(ctx); err != nil {
		return err
	}
	return do(ctx, db)
}

func listOperators(ctx context.Context, db *postgres.DB, output string, w io.Writer) error {
	all, err := db.Operators(ctx)
	if err != nil {
		return err
	}
	type line struct {
		Email    string     `json:"email"`
		Name     string     `json:"name"`
		State    string     `json:"state"`
		LastSeen *time.Time `json:"last_seen_at,omitempty"`
	}
	lines := []line{}
	for _, o := range all {
		l := line{Email: o.Email, Name: o.Name, State: "active"}
		switch {
		case o.Disabled:
			l.State = "disabled"
		case !o.HasPassword:
			l.State = "no password"
		}
		if !o.LastSeenAt.IsZero() {
			seen := o.LastSeenAt.UTC()
			l.LastSeen = &seen
		}
		lines = append(lines, l)
	}
	if output == "json" {
		return json.NewEncoder(w).Encode(map[string]any{"data": lines})
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "ADDRESS\tNAME\tSTATE\tLAST SEEN")
	for _, l := range lines {
		seen := "-"
		if l.LastSeen != nil {
			seen = l.LastSeen.Format(time.RFC3339)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", l.Email, l.Name, l.State, seen)
	}
	return t.Flush()
}

// operatorPassword reads one line, or makes one.
func operatorPassword(generate bool, in io.Reader) (p secret.Text, made bool, err error) {
	if f, ok := in.(*os.File); ok && !generate {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			generate = true
		}
	}
	if generate {
		return randomPassword(), true, nil
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, err
	}
	if p = secret.Text(strings.TrimRight(line, "\r\n")); p == "" {
		return "", false, usageError{errors.New("there is no password on standard input; use --random to have one made")}
	}
	return p, false, nil
}

func setOperatorPassword(ctx context.Context, db *postgres.DB, email string, p secret.Text) error {
	hash, err := signin.HashPassword(ctx, p, email)
	if err != nil {
		return err
	}
	err = db.SetOperatorPassword(ctx, email, hash)
	if fault.HasCode(err, fault.NotFound) {
		return fault.New(fault.NotFound, "There is no operator %s. Add them first: platform operators add %s", email, email)
	}
	return err
}
