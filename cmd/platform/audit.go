package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/api"
	"latchkey/internal/dashboards"
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Look after the records of all calls"}
	o := apiOptions{operator: true}
	var format output
	var since time.Duration
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Say whether a record is missing, and which calls have no outcome",
		Long: "Each edge numbers its records. A number that is not there is a record that was lost, or a call that failed because\n" +
			"its record could not be written; the edge's log says which. Needs an operator's key.\n\n" + apiHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			q := url.Values{"since": {time.Now().Add(-since).UTC().Format(time.RFC3339)}}
			var v api.AuditVerification
			if err := client.do(cmd.Context(), http.MethodGet, "/audit/verification", q, nil, &v); err != nil {
				return err
			}
			return printVerification(cmd.OutOrStdout(), format, v)
		},
	}
	o.addTo(verify)
	format.addTo(verify)
	verify.Flags().DurationVar(&since, "since", 30*24*time.Hour, "how far back to look")
	c.AddCommand(verify)
	return c
}

func printVerification(w io.Writer, format output, v api.AuditVerification) error {
	err := format.print(w, v, func(w io.Writer) {
		fmt.Fprintf(w, "%d records of %d writers", v.Records, v.Writers)
		if v.Since != nil {
			fmt.Fprintf(w, " since %s", v.Since.Format(time.RFC3339))
		}
		fmt.Fprintln(w)
		if v.OpenIntents != nil && *v.OpenIntents > 0 {
			fmt.Fprintf(w, "%d calls have no outcome: whether they took effect is not known. Find them with the filter outcome=pending.\n", *v.OpenIntents)
		}
		if len(v.Gaps) == 0 {
			fmt.Fprintln(w, "No record is missing.")
			return
		}
		var rows [][]string
		for _, g := range v.Gaps {
			rows = append(rows, []string{g.Writer, fmt.Sprint(g.After), fmt.Sprint(g.Before), fmt.Sprint(g.Missing)})
		}
		table(w, []string{"WRITER", "AFTER", "BEFORE", "MISSING"}, rows)
	})
	if err != nil || v.Ok {
		return err
	}
	return fmt.Errorf("records are missing in %d places; look into the log of the edge at that time for `audit records were not committed`", len(v.Gaps))
}

func dashboardsCommand() *cobra.Command {
	c := &cobra.Command{Use: "dashboards", Short: "Grafana and Prometheus files for the platform's metrics"}
	var dir string
	export := &cobra.Command{
		Use:   "export",
		Short: "Write the Grafana dashboard and the Prometheus alert rules into a folder",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			paths, err := dashboards.Export(dir)
			for _, p := range paths {
				fmt.Fprintln(cmd.OutOrStdout(), p)
			}
			if err != nil {
				return fmt.Errorf("write the dashboards: %w; choose another folder with --dir", err)
			}
			return nil
		},
	}
	export.Flags().StringVar(&dir, "dir", "dashboards", "the folder; files of the same names are replaced")
	_ = export.MarkFlagDirname("dir")
	c.AddCommand(export)
	return c
}
