package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/internal/api"
	"latchkey/internal/tenants"
)

func exportCommand() *cobra.Command {
	o := apiOptions{operator: true}
	var tenant, file string
	c := &cobra.Command{
		Use:   "export --tenant SLUG",
		Short: "Write a tenant as the file that `platform apply` takes",
		Long: apiHelp + "\n\n" +
			"Secrets stand as {env: NAME}; the variables are listed on standard error. Passwords of people, keys and grants are not\n" +
			"in the file.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tenant == "" {
				return usageError{errors.New("name the tenant: platform export --tenant acme")}
			}
			if err := tenants.ValidSlug(tenant); err != nil {
				return usageError{err}
			}
			client, err := o.client()
			if err != nil {
				return err
			}
			var out api.Export
			if err := client.do(cmd.Context(), "GET", "/tenants/"+tenant+"/export", nil, nil, &out); err != nil {
				return err
			}
			if file == "" || file == "-" {
				_, err = io.WriteString(cmd.OutOrStdout(), out.File)
			} else {
				err = os.WriteFile(file, []byte(out.File), 0o644)
			}
			if err == nil && len(out.Env) > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "Before you apply it, set %s.\n", strings.Join(out.Env, ", "))
			}
			return err
		},
	}
	c.Flags().StringVar(&tenant, "tenant", "", "the tenant's slug")
	c.Flags().StringVarP(&file, "output", "o", "", "the file to write; without it, standard output")
	o.addTo(c)
	return c
}
