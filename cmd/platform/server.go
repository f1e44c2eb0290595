package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/api"
)

func serverCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "server",
		Short: "Servers: whether they answer, and what their upstreams changed",
		Long: "A server whose upstream says what it offers (kinds remote and stdio) serves what somebody agreed to. What the upstream\n" +
			"changes later is held back until it is approved.\n\n" + apiHelp,
	}
	c.AddCommand(serverHealthCommand(), serverOfferCommand(), serverDiscoverCommand(), serverDecisionCommand("approve"), serverDecisionCommand("refuse"))
	return c
}

// oneServer takes exactly one argument.
func oneServer(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("name one server, such as: %s orders", c.CommandPath())}
	}
	return nil
}

// ofServer finds the platform and a server's path there.
func ofServer(ctx context.Context, o *switchOptions, slug string) (*apiClient, string, error) {
	client, tenant, err := o.ofTenant(ctx)
	return client, "/tenants/" + tenant + "/servers/" + url.PathEscape(slug), err
}

func serverHealthCommand() *cobra.Command {
	o := switchOptions{}
	c := &cobra.Command{
		Use:   "health [SERVER]",
		Short: "How servers are: all of them, or one with what its last failure said",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				client, path, err := ofServer(cmd.Context(), &o, args[0])
				if err != nil {
					return err
				}
				var h api.ServerHealth
				if err := client.do(cmd.Context(), http.MethodGet, path+"/health", nil, nil, &h); err != nil {
					return err
				}
				return o.format.print(cmd.OutOrStdout(), h, func(w io.Writer) { printHealth(w, args[0], h) })
			}
			list, err := o.servers(cmd.Context())
			if err != nil {
				return err
			}
			return o.format.print(cmd.OutOrStdout(), list, func(w io.Writer) {
				var rows [][]string
				for _, s := range list {
					state := "-"
					if s.Health != nil {
						state = string(*s.Health)
					}
					rows = append(rows, []string{s.Slug, s.Kind, string(s.Status), state})
				}
				table(w, []string{"SERVER", "KIND", "STATUS", "HEALTH"}, rows)
			})
		},
	}
	o.addTo(c)
	return c
}

func printHealth(w io.Writer, slug string, h api.ServerHealth) {
	fmt.Fprintf(w, "%s is %s", slug, h.Status)
	if h.Since != nil {
		fmt.Fprintf(w, " since %s", h.Since.Format(time.RFC3339))
	}
	fmt.Fprintln(w)
	if f := h.LastFailure; f != nil {
		at := ""
		if f.At != nil {
			at = " at " + f.At.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "last failure%s: %s (%s)\n", at, f.Message, f.Code)
	}
	if h.NextCheckAt != nil {
		fmt.Fprintf(w, "looked at again at %s\n", h.NextCheckAt.Format(time.RFC3339))
	}
}

func (o *switchOptions) servers(ctx context.Context) ([]api.Server, error) {
	client, tenant, err := o.ofTenant(ctx)
	if err != nil {
		return nil, err
	}
	list, q := []api.Server{}, url.Values{"limit": {"200"}}
	for {
		var page api.ServerPage
		if err := client.do(ctx, http.MethodGet, "/tenants/"+tenant+"/servers", q, nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Data...)
		if !page.HasMore || page.NextCursor == nil {
			return list, nil
		}
		q.Set("cursor", *page.NextCursor)
	}
}

func serverOfferCommand() *cobra.Command {
	o := switchOptions{}
	c := &cobra.Command{
		Use:   "offer SERVER",
		Short: "What a server's upstream offers: what is agreed to, and what changed since",
		Args:  oneServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, path, err := ofServer(cmd.Context(), &o, args[0])
			if err != nil {
				return err
			}
			var of api.ServerOffer
			if err := client.do(cmd.Context(), http.MethodGet, path+"/offer", nil, nil, &of); err != nil {
				return err
			}
			return o.format.print(cmd.OutOrStdout(), of, func(w io.Writer) { printOffer(w, args[0], of) })
		},
	}
	o.addTo(c)
	return c
}

func printOffer(w io.Writer, slug string, of api.ServerOffer) {
	switch {
	case !of.Discovers:
		fmt.Fprintf(w, "What %s offers stands in its spec.\n", slug)
		return
	case of.Pinned == nil:
		fmt.Fprintf(w, "It is not known yet what %s offers: `platform server discover %s` asks now.\n", slug, slug)
	default:
		by := "by itself, as the first offer of a new server"
		if of.Pinned.By != nil {
			by = "by " + *of.Pinned.By
		}
		fmt.Fprintf(w, "Agreed to at %s %s: %d tools, %d resources, %d prompts.\n", of.Pinned.At.Format(time.RFC3339), by, of.Pinned.Tools, of.Pinned.Resources, of.Pinned.Prompts)
	}
	if of.Problem != nil {
		fmt.Fprintf(w, "It was not published: %s\n", *of.Problem)
	}
	p := of.Pending
	if p == nil {
		return
	}
	fmt.Fprintf(w, "\nThe upstream offers something else since %s. It is held back:\n", p.Since.Format(time.RFC3339))
	for _, c := range p.Changes {
		fmt.Fprintf(w, "  %s %s %s\n", c.Verb, c.What, c.Name)
		if c.Fields == nil {
			continue
		}
		for _, f := range *c.Fields {
			fmt.Fprintf(w, "    %s: %q → %q\n", f.Field, worth(f.Before), worth(f.After))
		}
	}
	if p.Breaking != nil {
		for _, b := range *p.Breaking {
			fmt.Fprintf(w, "  breaks who uses %s: %s\n", b.Tool, b.Detail)
		}
	}
	if p.Findings != nil {
		for _, f := range *p.Findings {
			fmt.Fprintf(w, "  %s: %s: %s\n", f.Level, f.Tool, f.Detail)
		}
	}
	if p.Problem != nil {
		fmt.Fprintf(w, "  It cannot be approved: %s\n", *p.Problem)
	}
	fmt.Fprintf(w, "\nplatform server approve %s --hash %s\nplatform server refuse %s --hash %s\n", slug, p.Hash, slug, p.Hash)
}

func worth(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func serverDiscoverCommand() *cobra.Command {
	o := switchOptions{}
	c := &cobra.Command{
		Use:   "discover SERVER",
		Short: "Ask a server's upstream now what it offers",
		Args:  oneServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, path, err := ofServer(cmd.Context(), &o, args[0])
			if err != nil {
				return err
			}
			var d api.Discovery
			if err := client.do(cmd.Context(), http.MethodPost, path+"/discovery", nil, nil, &d); err != nil {
				return err
			}
			return o.format.print(cmd.OutOrStdout(), d, func(w io.Writer) {
				fmt.Fprintf(w, "%s offers %d tools, %d resources, %d prompts (%.0f ms): %s\n", args[0], d.Offer.Tools, d.Offer.Resources, d.Offer.Prompts, d.LatencyMs, seenAs[d.Seen])
				if d.Published && d.Revision != nil {
					fmt.Fprintf(w, "Revision %d is published.\n", *d.Revision)
				}
				if d.Problem != nil {
					fmt.Fprintf(w, "It was not published: %s\n", *d.Problem)
				}
			})
		},
	}
	o.addTo(c)
	return c
}

var seenAs = map[api.DiscoverySeen]string{
	api.DiscoverySeenFirst: "the first offer, agreed to by itself", api.DiscoverySeenSame: "what is agreed to", api.DiscoverySeenChanged: "something else than what is agreed to; see `platform server offer`",
	api.DiscoverySeenPending: "something else than what is agreed to; see `platform server offer`", api.DiscoverySeenRefused: "what somebody refused",
}

// serverDecisionCommand is approve or refuse. The hash is asked for so that what
// was looked at is what is decided about.
func serverDecisionCommand(verb string) *cobra.Command {
	o := switchOptions{}
	var hash string
	var breaking bool
	short := map[string]string{"approve": "Agree to what the upstream offers now, and publish it", "refuse": "Stay with what is agreed to; exactly this offer is not asked about again"}
	c := &cobra.Command{
		Use:   verb + " SERVER --hash HASH",
		Short: short[verb],
		Args:  oneServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			if hash == "" {
				return usageError{fmt.Errorf("say which offer you have looked at: --hash, as `platform server offer %s` prints it", args[0])}
			}
			client, path, err := ofServer(cmd.Context(), &o, args[0])
			if err != nil {
				return err
			}
			if verb == "refuse" {
				if err := client.do(cmd.Context(), http.MethodPost, path+"/offer/refuse", nil, api.OfferRefusal{Hash: hash}, nil); err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s stays as it is.\n", args[0])
				return nil
			}
			var rev api.Revision
			if err := client.do(cmd.Context(), http.MethodPost, path+"/offer/approve", nil, api.OfferApproval{Hash: hash, AllowBreaking: &breaking}, &rev); err != nil {
				return err
			}
			return o.format.print(cmd.OutOrStdout(), rev, func(w io.Writer) {
				fmt.Fprintf(w, "%s: revision %d, %d tools\n", args[0], rev.Number, len(rev.Tools))
			})
		},
	}
	o.addTo(c)
	c.Flags().StringVar(&hash, "hash", "", "of the offer that you have looked at")
	if verb == "approve" {
		c.Flags().BoolVar(&breaking, "allow-breaking", false, "publish it although it breaks who uses its tools; it is on record")
	}
	return c
}

func importCommand() *cobra.Command {
	o := switchOptions{}
	var slug string
	c := &cobra.Command{
		Use:   "import server.json",
		Short: "Make an entry for a tenant file of a server.json of the MCP registry",
		Long: "Prints the entry for `servers:` of a tenant file, and what has to be filled in first. Nothing is saved. - reads standard input.\n\n" +
			apiHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := io.Reader(os.Stdin)
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			raw, err := io.ReadAll(io.LimitReader(in, 1<<20))
			if err != nil {
				return err
			}
			if !json.Valid(raw) {
				return usageError{errors.New("this is no JSON: name a server.json")}
			}
			client, tenant, err := o.ofTenant(cmd.Context())
			if err != nil {
				return err
			}
			body := api.ServerImport{ServerJson: raw}
			if slug != "" {
				body.Slug = &slug
			}
			var p api.ImportProposal
			if err := client.do(cmd.Context(), http.MethodPost, "/tenants/"+tenant+"/server-imports", nil, body, &p); err != nil {
				return err
			}
			return o.format.print(cmd.OutOrStdout(), p, func(w io.Writer) { printProposal(w, cmd.ErrOrStderr(), p) })
		},
	}
	o.addTo(c)
	c.Flags().StringVar(&slug, "slug", "", "what it is to be called here (default: made of its name)")
	return c
}

func printProposal(w, aside io.Writer, p api.ImportProposal) {
	fmt.Fprint(w, worth(p.ServerYaml))
	for _, m := range p.Missing {
		what := "missing"
		if m.Secret {
			what = "missing secret"
		}
		line := what + ": " + m.Name + " (" + m.Where + ")"
		if m.Description != nil {
			line += ": " + strings.Join(strings.Fields(*m.Description), " ")
		}
		if m.Choices != nil {
			line += " One of " + strings.Join(*m.Choices, ", ") + "."
		}
		fmt.Fprintln(aside, line)
	}
	for _, n := range p.Notes {
		fmt.Fprintln(aside, "note: "+n)
	}
}
