package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/api"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/kinds"
)

type applyOptions struct {
	apiOptions
	file, output  string
	dryRun, prune bool
	allowBreaking bool
}

func applyCommand() *cobra.Command {
	o := applyOptions{}
	o.operator = true // who may make tenants too
	c := &cobra.Command{
		Use:   "apply -f tenant.yaml",
		Short: "Create or update a tenant's servers, roles and people from a file",
		Long: apiHelp + "\n\n" +
			"Checks the file here first, then prints what changes. Secrets are written as {env: NAME} or {file: PATH}, and looked\n" +
			"up here. What the file does not mention stays; with --prune it is deleted. Applying a file twice changes nothing the\n" +
			"second time. A tenant that does not exist is created where the key is an operator's.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.file == "" {
				return usageError{errors.New("name the file: platform apply -f tenant.yaml (or - for standard input)")}
			}
			if o.output != "table" && o.output != "json" {
				return usageError{fmt.Errorf("--output is table or json, not %q", o.output)}
			}
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.Flags().StringVarP(&o.file, "file", "f", "", "the tenant file, - for standard input")
	c.Flags().StringVarP(&o.output, "output", "o", "table", "table or json")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "check everything, print what would change, and change nothing")
	c.Flags().BoolVar(&o.prune, "prune", false, "delete servers, roles and members that the file does not mention")
	c.Flags().BoolVar(&o.allowBreaking, "allow-breaking", false, "publish revisions although they break who uses their tools; it is on record")
	o.addTo(c)
	return c
}

func (o *applyOptions) run(ctx context.Context, out, progress io.Writer) error {
	var data []byte
	var err error
	if o.file == "-" {
		data, err = io.ReadAll(io.LimitReader(os.Stdin, 8<<20))
	} else {
		data, err = os.ReadFile(o.file)
	}
	if err != nil {
		return err
	}
	f, err := registry.ParseFile(o.file, data, kinds.Checker(), resolveFrom(os.LookupEnv, filepath.Dir(o.file)))
	if err != nil {
		return cannotApply(err)
	}
	sent, err := f.Send()
	if err != nil {
		return err
	}
	client, err := o.client()
	if err != nil {
		return err
	}
	result, err := o.apply(ctx, client, f, sent.Text, o.dryRun)
	if fault.HasCode(err, fault.NotFound) {
		result, err = o.applyNew(ctx, client, f, sent.Text, progress)
	}
	if err != nil {
		return inFile(err, o.file, sent)
	}
	if o.output == "json" {
		return json.NewEncoder(out).Encode(result)
	}
	printChanges(out, result, painted(out, os.Getenv))
	if o.dryRun {
		fmt.Fprintln(progress, "This was a dry run: nothing was changed.")
		if result.Refused != nil {
			return inFile(faultOf(*result.Refused), o.file, sent)
		}
	}
	if names := unmentioned(result); len(names) > 0 && !o.prune {
		fmt.Fprintf(progress, "Not in the file, and left alone: %s. --prune deletes what the file does not mention.\n", strings.Join(names, ", "))
	}
	return nil
}

func (o *applyOptions) apply(ctx context.Context, c *apiClient, f *registry.File, text string, dryRun bool) (r api.ApplyResult, err error) {
	q := url.Values{}
	if dryRun {
		q.Set("dry_run", "true")
	}
	err = c.do(ctx, "POST", "/tenants/"+f.Tenant+"/apply", q, api.ApplyRequest{File: text, Name: shortened(f.Name), Prune: &o.prune, AllowBreaking: &o.allowBreaking}, &r)
	return r, err
}

func shortened(name string) *string {
	if len(name) > 200 {
		name = filepath.Base(name)
		name = name[max(0, len(name)-200):]
	}
	return &name
}

// applyNew applies to a tenant that the key does not see. An operator sees all
// that there are.
func (o *applyOptions) applyNew(ctx context.Context, client *apiClient, f *registry.File, text string, progress io.Writer) (r api.ApplyResult, err error) {
	var me api.Me
	if err := client.do(ctx, "GET", "/me", nil, nil, &me); err != nil {
		return r, err
	}
	if me.Kind != api.MeKindOperator && me.Kind != api.MeKindOperatorKey {
		return r, fault.New(fault.NotFound, "There is no tenant %q that this key may change. Check `tenant:` in %s, or ask the platform's operator to create it.", f.Tenant, f.Name)
	}
	plan, err := registry.MakePlan(f, registry.State{At: time.Now()}, registry.PlanOptions{Prune: o.prune, AllowBreaking: o.allowBreaking})
	if err != nil {
		return r, cannotApply(err)
	}
	if o.dryRun {
		r.DryRun, r.Unmentioned = true, []api.Unmentioned{}
		for _, s := range plan.Steps {
			r.Changes = append(r.Changes, api.ShowApplied(s.Applied))
		}
		return r, nil
	}
	err = client.do(ctx, "POST", "/tenants", nil, api.TenantCreate{Slug: f.Tenant, Name: f.Title}, nil)
	switch {
	case fault.HasCode(err, fault.Conflict): // somebody else was first
	case err != nil:
		return r, err
	default:
		fmt.Fprintf(progress, "The tenant %s was created.\n", f.Tenant)
	}
	return o.apply(ctx, client, f, text, false)
}

func cannotApply(err error) error {
	var ps *registry.Problems
	if errors.As(err, &ps) {
		return usageError{fmt.Errorf("the file cannot be applied:\n%w", err)}
	}
	return err
}

// inFile gives places in what was sent as places in the file.
func inFile(err error, name string, sent registry.Sent) error {
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != fault.InvalidSpec && f.Code != fault.BreakingChange && f.Code != fault.UnsafeDescription {
		return err
	}
	ps := &registry.Problems{File: name}
	for _, d := range f.Details {
		if d.Pointer != "/file" {
			return err
		}
		p := registry.Problem{Reason: d.Reason, Fix: d.Fix}
		if d.Line > 0 {
			p.Line, p.Column = sent.Line(d.Line, d.Column)
		}
		ps.List = append(ps.List, p)
	}
	if len(ps.List) == 0 {
		return err
	}
	if f.Code == fault.InvalidSpec {
		return cannotApply(ps)
	}
	return usageError{fmt.Errorf("%s (%s)\n%w", strings.ReplaceAll(f.Message, "with allow_breaking", "with --allow-breaking"), f.Code, ps)}
}

func unmentioned(r api.ApplyResult) (names []string) {
	for _, u := range r.Unmentioned {
		names = append(names, u.What+" "+u.Name)
	}
	return names
}

// paint wraps a text in a colour of the terminal.
type paint func(colour, text string) string

const (
	green  = "32"
	yellow = "33"
	red    = "31"
	faint  = "2"
)

// painted colours only what a person sees (https://no-color.org).
func painted(w io.Writer, env func(string) string) paint {
	f, ok := w.(*os.File)
	if ok && env("NO_COLOR") == "" && env("TERM") != "dumb" {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return func(colour, text string) string { return "\x1b[" + colour + "m" + text + "\x1b[0m" }
		}
	}
	return func(_, text string) string { return text }
}

var marks = map[api.ApplyChangeVerb]struct{ mark, colour string }{
	"created": {"+", green}, "published": {"~", yellow}, "updated": {"~", yellow}, "deleted": {"-", red}, "unchanged": {"=", faint},
}

func printChanges(w io.Writer, r api.ApplyResult, p paint) {
	for _, c := range r.Changes {
		m := marks[c.Verb]
		note := ""
		if c.Note != nil {
			note = *c.Note
		}
		line := fmt.Sprintf("%s %-10s %-36s %s", m.mark, c.Verb, string(c.What)+" "+c.Name, note)
		if c.Class != nil && c.Verb != "created" && c.Verb != "unchanged" {
			line = strings.TrimRight(line, " ") + ", " + string(*c.Class)
		}
		fmt.Fprintln(w, p(m.colour, strings.TrimRight(line, " ")))
		if c.Fields != nil && c.Verb != "created" {
			for _, f := range *c.Fields {
				fmt.Fprintln(w, "    "+fieldLine(f, p))
			}
		}
		printReview(w, c, p)
	}
}

const maxPrinted = 20 // lines of one server

// printReview says what a change breaks. Hints are counted: they are for whoever
// writes descriptions.
func printReview(w io.Writer, c api.ApplyChange, p paint) {
	if c.Breaking != nil {
		for i, b := range *c.Breaking {
			if i == maxPrinted {
				fmt.Fprintf(w, "    and %d more\n", len(*c.Breaking)-i)
				break
			}
			at := b.Tool
			if b.Field != nil {
				at += ", " + *b.Field
			}
			fmt.Fprintln(w, "    "+p(red, "breaking: "+at+": "+b.Detail))
		}
	}
	if c.Findings != nil && c.Verb != "unchanged" {
		fmt.Fprintln(w, "    "+p(faint, fmt.Sprintf("%d hints on descriptions (-o json lists them)", len(*c.Findings))))
	}
}

func fieldLine(f api.FieldChange, p paint) string {
	before, after := oneLine(f.Before), oneLine(f.After)
	switch {
	case before == "" && after == "":
		return f.Field
	case before == "":
		return f.Field + " " + p(green, "+ "+after)
	case after == "":
		return f.Field + " " + p(red, "- "+before)
	}
	return f.Field + ": " + before + " → " + after
}

// oneLine shows the beginning of a text in a line.
func oneLine(s *string) string {
	if s == nil {
		return ""
	}
	line := strings.Join(strings.Fields(*s), " ")
	if r := []rune(line); len(r) > 100 {
		line = string(r[:100]) + "…"
	}
	return line
}
