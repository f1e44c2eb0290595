package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/api"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

// switchOptions are the flags of all commands about kill switches.
type switchOptions struct {
	apiOptions
	format output
	tenant string
}

func switchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "switch",
		Short: "Kill switches: stop calls of a tool, a server, an app, a person, a tenant, or all of them",
		Long: "A target is tool:SERVER/TOOL, server:SERVER, client:ID, member:ADDRESS, tenant, or, with an operator's key, platform.\n" +
			"The next call on every edge is refused within a second.\n\n" + apiHelp,
	}
	c.AddCommand(switchOnCommand(), switchOffCommand(), switchListCommand())
	return c
}

func (o *switchOptions) addTo(c *cobra.Command) {
	o.apiOptions.addTo(c)
	o.format.addTo(c)
	c.Flags().StringVar(&o.tenant, "tenant", "", "the tenant's slug (default: the key's own)")
}

// at finds the platform and the path of a target there.
func (o *switchOptions) at(ctx context.Context, target string) (*apiClient, string, error) {
	t, err := switches.ParseTarget(target)
	if err != nil {
		return nil, "", usageError{fmt.Errorf("the target %.100q %w", target, err)}
	}
	if t.Kind == switches.Platform {
		o.operator = true
		client, err := o.client()
		return client, "/switch", err
	}
	client, tenant, err := o.ofTenant(ctx)
	return client, "/tenants/" + tenant + "/switches/" + url.PathEscape(target), err
}

// ofTenant finds the platform and the tenant: the one that is named, or the key's.
func (o *switchOptions) ofTenant(ctx context.Context) (*apiClient, string, error) {
	if o.tenant != "" {
		if err := tenants.ValidSlug(o.tenant); err != nil {
			return nil, "", usageError{err}
		}
		o.operator = true // where both keys are known, it sees every tenant
		client, err := o.client()
		return client, o.tenant, err
	}
	client, err := o.client()
	if err != nil {
		return nil, "", err
	}
	var me api.Me
	if err := client.do(ctx, http.MethodGet, "/me", nil, nil, &me); err != nil {
		return nil, "", err
	}
	if me.Tenant == nil {
		return nil, "", usageError{errors.New("an operator's key is of no tenant: name one with --tenant, or the target platform")}
	}
	return client, me.Tenant.Slug, nil
}

// oneTarget takes exactly one argument.
func oneTarget(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("name one target, such as: %s tool:incidents/create_incident_ticket", c.CommandPath())}
	}
	return nil
}

func switchOnCommand() *cobra.Command {
	o := switchOptions{}
	var reason string
	var lasts time.Duration
	var cancel bool
	c := &cobra.Command{
		Use:   "on TARGET --reason TEXT",
		Short: "Turn a kill switch on: calls of the target are refused",
		Long: "Turns it on, or changes the reason and the end of one that is on. Callers are told that it is off and by which role,\n" +
			"never the reason.\n\n" + apiHelp,
		Example: "  platform switch on tool:incidents/create_incident_ticket --reason 'tickets in a loop' --for 1h --cancel-running",
		Args:    oneTarget,
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usageError{errors.New("say why, for the next one who looks: --reason 'tickets in a loop'")}
			}
			if lasts < 0 || cmd.Flags().Changed("for") && lasts < time.Second {
				return usageError{errors.New("--for is how long it lasts, such as 1h; leave it out to lift it by hand")}
			}
			body := api.SwitchPut{Reason: reason, CancelRunning: &cancel}
			if lasts > 0 {
				end := time.Now().Add(lasts).UTC().Truncate(time.Second)
				body.ExpiresAt = &end
			}
			client, path, err := o.at(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			s, err := putSwitch(cmd.Context(), client, path, body)
			if err != nil {
				return err
			}
			return o.format.print(cmd.OutOrStdout(), s, func(w io.Writer) {
				until := "until it is lifted: platform switch off " + s.Target
				if s.ExpiresAt != nil {
					until = "until " + s.ExpiresAt.Format(time.RFC3339)
				}
				fmt.Fprintf(w, "%s is switched off, %s\n", s.Target, until)
			})
		},
	}
	o.addTo(c)
	c.Flags().StringVar(&reason, "reason", "", "why; it stands in the audit, and callers are not told")
	c.Flags().DurationVar(&lasts, "for", 0, "how long, such as 1h (default: until somebody lifts it)")
	c.Flags().BoolVar(&cancel, "cancel-running", false, "cancel the calls that run now, too")
	return c
}

// putSwitch gives the platform's own switch the form of a tenant's.
func putSwitch(ctx context.Context, client *apiClient, path string, body api.SwitchPut) (s api.Switch, err error) {
	if path != "/switch" {
		return s, client.do(ctx, http.MethodPut, path, nil, body, &s)
	}
	var p api.PlatformSwitch
	err = client.do(ctx, http.MethodPut, path, nil, body, &p)
	return ofPlatform(p), err
}

func ofPlatform(p api.PlatformSwitch) api.Switch {
	s := api.Switch{Target: string(switches.Platform), Kind: api.SwitchKind(switches.Platform), On: p.On, ByRole: switches.OperatorRole, ExpiresAt: p.ExpiresAt}
	if p.On && p.Reason != nil && p.By != nil && p.CreatedAt != nil && p.CancelRunning != nil {
		s.Reason, s.By, s.CreatedAt, s.CancelRunning = *p.Reason, *p.By, *p.CreatedAt, *p.CancelRunning
	}
	return s
}

func switchOffCommand() *cobra.Command {
	o := switchOptions{}
	c := &cobra.Command{
		Use:   "off TARGET",
		Short: "Lift a kill switch: calls of the target go through again",
		Long:  apiHelp,
		Args:  oneTarget,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, path, err := o.at(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := client.do(cmd.Context(), http.MethodDelete, path, nil, nil, nil); err != nil {
				return err
			}
			return o.format.print(cmd.OutOrStdout(), map[string]any{"target": args[0], "on": false}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is on again.\n", args[0])
			})
		},
	}
	o.addTo(c)
	return c
}

func switchListCommand() *cobra.Command {
	o := switchOptions{}
	var all bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the kill switches that are on, and with --all those that were",
		Long:  "An operator who names no tenant sees the platform's own.\n\n" + apiHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := o.list(cmd.Context(), all)
			if err != nil {
				return err
			}
			return o.format.print(cmd.OutOrStdout(), map[string]any{"data": list}, func(w io.Writer) { printSwitches(w, list) })
		},
	}
	o.addTo(c)
	c.Flags().BoolVar(&all, "all", false, "those that were lifted or have run out, too")
	return c
}

func (o *switchOptions) list(ctx context.Context, all bool) ([]api.Switch, error) {
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	list := []api.Switch{}
	var me api.Me
	if err := client.do(ctx, http.MethodGet, "/me", nil, nil, &me); err != nil {
		return nil, err
	}
	if o.tenant == "" && me.Tenant == nil {
		var p api.PlatformSwitch
		if err := client.do(ctx, http.MethodGet, "/switch", nil, nil, &p); err != nil {
			return nil, err
		}
		if p.On {
			list = append(list, ofPlatform(p))
		}
		return list, nil
	}
	client, tenant, err := o.ofTenant(ctx)
	if err != nil {
		return nil, err
	}
	q := url.Values{"limit": {"200"}}
	if !all {
		q.Set("on", "true")
	}
	for {
		var page api.SwitchPage
		if err := client.do(ctx, http.MethodGet, "/tenants/"+tenant+"/switches", q, nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Data...)
		if !page.HasMore || page.NextCursor == nil {
			return list, nil
		}
		q.Set("cursor", *page.NextCursor)
	}
}

func printSwitches(w io.Writer, list []api.Switch) {
	if len(list) == 0 {
		fmt.Fprintln(w, "Nothing is switched off.")
		return
	}
	var rows [][]string
	for _, s := range list {
		target, state, until := s.Target, "off", "lifted by hand"
		if s.Kind == api.SwitchKind(switches.Member) && s.Name != nil {
			target = "member:" + *s.Name
		}
		if s.ExpiresAt != nil {
			until = s.ExpiresAt.Format(time.RFC3339)
		}
		if !s.On {
			state = "on again"
			if s.LiftedAt != nil {
				until = s.LiftedAt.Format(time.RFC3339)
			}
		}
		rows = append(rows, []string{target, state, s.CreatedAt.Format(time.RFC3339), until, s.By + " (" + s.ByRole + ")", strings.Join(strings.Fields(s.Reason), " ")})
	}
	table(w, []string{"TARGET", "CALLS", "SINCE", "UNTIL", "BY", "REASON"}, rows)
}
