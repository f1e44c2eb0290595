// Package sqltool is the kind `sql`: tools, resources and prompts over a
// tenant's own Postgres, each one declared statement with named parameters.
//
// It owns the spec language, how arguments are bound and how rows become JSON.
// It leaves to vault how the database user of a call comes to be, and to the
// tenant's database what that user may see: a statement runs as a member of
// the groups that the connection names, with the caller's identity in
// `latchkey.*` settings for row-level security.
//
// A value never becomes part of a statement's text. Tools that read run in a
// READ ONLY transaction on a credential for reading, whatever they say.
package sqltool

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/params"
)

// Kind is the kind `sql`.
var Kind = runtime.Kind{
	Name: "sql", Title: "SQL", Description: "Tools over your own Postgres: each is one statement with named parameters, run as a database user that lives for minutes.",
	Template: template, Check: check, CheckConnection: checkConnection, Source: source, Provision: provision, Open: open,
}

//go:embed template.yaml
var template string

// instance is an open server: its statements, and pools for the credentials
// that are in use.
type instance struct {
	tools     map[string]*tool
	resources []*resource
	uris      params.URIs
	pools     *pools
}

func open(_ context.Context, o runtime.Opening, _ runtime.Host) (_ runtime.Instance, err error) {
	defer fault.Wrap(&err, "sqltool.open(%s)", o.Server)
	var s spec
	if err := json.Unmarshal(o.Spec, &s); err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	var c connection
	if err := json.Unmarshal(o.Connection, &c); err != nil {
		return nil, fmt.Errorf("read connection: %w", err)
	}
	p, err := newPools(c, string(o.Server))
	if err != nil {
		return nil, err
	}
	in := &instance{tools: map[string]*tool{}, pools: p}
	for i := range s.Tools {
		in.tools[s.Tools[i].Name] = &s.Tools[i]
	}
	for i := range s.Resources {
		r := &s.Resources[i]
		if err := in.uris.Add(r.URI, r.Variables); err != nil {
			return nil, fmt.Errorf("resource %s: %w", r.Name, err)
		}
		in.resources = append(in.resources, r)
	}
	return in, nil
}

// CallTool runs the tool's statement.
func (in *instance) CallTool(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	t := in.tools[c.Name]
	if t == nil {
		return nil, fault.New(fault.NotFound, "This server has no tool %q.", c.Name)
	}
	if got := t.Risk.Access(); c.Access != got {
		// The edge derives the one from the other; a call that differs was not
		// made for this revision.
		return nil, fault.New(fault.InvalidRequest, "The call is for %s access, the tool needs %s.", c.Access, got)
	}
	args, err := t.bind(c)
	if err != nil {
		return nil, err
	}
	rows, err := in.run(ctx, c, env, &t.statement, args, c.Access)
	if err != nil {
		return failure(err)
	}
	return t.result(rows, c.Access)
}

// ReadResource runs the statement of the resource whose URI matches.
func (in *instance) ReadResource(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	r, variables := in.match(c.Name)
	if r == nil {
		return nil, fault.New(fault.NotFound, "This server has no resource %q.", c.Name)
	}
	if c.Access != registry.ReadAccess {
		return nil, fault.New(fault.InvalidRequest, "Resources are read with read access.")
	}
	args, err := r.bind(c, variables)
	if err != nil {
		return nil, err
	}
	rows, err := in.run(ctx, c, env, &r.statement, args, registry.ReadAccess)
	if err != nil {
		return nil, resourceFailure(err)
	}
	return r.result(c.Name, rows)
}

func (in *instance) match(uri string) (*resource, map[string]string) {
	i, variables := in.uris.Match(uri)
	if i < 0 {
		return nil, nil
	}
	return in.resources[i], variables
}

// Close closes every connection. No call runs any more.
func (in *instance) Close() error { return in.pools.close() }
