package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/api"
	"latchkey/internal/tasks"
)

func tasksCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "tasks",
		Short: "Calls that outlive their request: list them, and ask one to end",
		Long:  apiHelp,
	}
	c.AddCommand(tasksListCommand(), tasksCancelCommand())
	return c
}

func tasksListCommand() *cobra.Command {
	o := switchOptions{}
	filter := map[string]*string{}
	c := &cobra.Command{
		Use:     "list",
		Short:   "List tasks, newest first",
		Long:    "Arguments and results are sealed for who made the call, and are not shown.\n\n" + apiHelp,
		Example: "  platform tasks list --status running --server orders",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, tenant, err := o.ofTenant(cmd.Context())
			if err != nil {
				return err
			}
			q := url.Values{"limit": {"200"}}
			for name, value := range filter {
				if *value != "" {
					q.Set(name, *value)
				}
			}
			list := []api.Task{}
			for {
				var page api.TaskPage
				if err := client.do(cmd.Context(), http.MethodGet, "/tenants/"+tenant+"/tasks", q, nil, &page); err != nil {
					return err
				}
				if list = append(list, page.Data...); !page.HasMore || page.NextCursor == nil || len(list) >= 2000 {
					break
				}
				q.Set("cursor", *page.NextCursor)
			}
			return o.format.print(cmd.OutOrStdout(), map[string]any{"data": list}, func(w io.Writer) { printTasks(w, list) })
		},
	}
	o.addTo(c)
	for name, use := range map[string]string{
		"status": "queued, running, input_required, completed, failed or cancelled", "server": "slug of a server", "tool": "name of a tool", "member": "address of who made the call",
	} {
		filter[name] = c.Flags().String(name, "", use)
	}
	return c
}

func printTasks(w io.Writer, list []api.Task) {
	if len(list) == 0 {
		fmt.Fprintln(w, "There are no such tasks.")
		return
	}
	var rows [][]string
	for _, t := range list {
		end := "-"
		if t.EndedAt != nil {
			end = t.EndedAt.Format(time.RFC3339)
		}
		status := string(t.Status)
		if t.OutcomeUnknown != nil && *t.OutcomeUnknown {
			status += " (outcome unknown)"
		} else if t.CancelAsked != nil && !tasks.State(t.Status).Ended() {
			status += " (to be cancelled)"
		}
		rows = append(rows, []string{t.Id, status, t.Server + "/" + t.Tool, t.Member, fmt.Sprint(t.Runs), t.CreatedAt.Format(time.RFC3339), end})
	}
	table(w, []string{"TASK", "STATUS", "TOOL", "MEMBER", "RUNS", "CREATED", "ENDED"}, rows)
}

func tasksCancelCommand() *cobra.Command {
	o := switchOptions{}
	c := &cobra.Command{
		Use:     "cancel TASK",
		Short:   "Ask a task to end",
		Long:    "What waits does not run any more. What runs is told to stop, and may end otherwise all the same.\n\n" + apiHelp,
		Example: "  platform tasks cancel tkabcdefghijklmnopqrstuvwxyz",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || !tasks.ValidID(args[0]) {
				return usageError{fmt.Errorf("name one task by its id, as `platform tasks list` has it")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, tenant, err := o.ofTenant(cmd.Context())
			if err != nil {
				return err
			}
			var t api.Task
			if err := client.do(cmd.Context(), http.MethodPut, "/tenants/"+tenant+"/tasks/"+args[0]+"/cancellation", nil, nil, &t); err != nil {
				return err
			}
			return o.format.print(cmd.OutOrStdout(), t, func(w io.Writer) {
				if tasks.State(t.Status).Ended() {
					fmt.Fprintf(w, "%s had ended already: %s.\n", t.Id, t.Status)
					return
				}
				fmt.Fprintf(w, "%s is asked to end. See: platform tasks list --tool %s\n", t.Id, t.Tool)
			})
		},
	}
	o.addTo(c)
	return c
}
