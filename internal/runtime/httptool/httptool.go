// Package httptool is the kind `http`: tools and resources over an HTTP API of a
// tenant's, written by hand or chosen from its OpenAPI document.
//
// It owns the spec language, how arguments become a request and how the answer
// becomes a result, the ways to log in, and what is done about an upstream that is
// slow, away or tired of us. It leaves to openapi what a document says, to egress
// where may be connected to, and to vault the secrets, which are put into a request
// on the worker and nowhere else.
//
// A value of an argument never becomes part of the request's form: it cannot add a
// path segment, a header or a field. Nothing is sent twice that is not safe to.
package httptool

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"

	"latchkey/internal/egress"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/params"
)

// Kind is the kind `http`.
var Kind = runtime.Kind{
	Name: "http", Title: "HTTP API", Description: "Tools over an HTTP API of yours: written by hand, or chosen from its OpenAPI document.",
	Template: template, Check: check, CheckConnection: checkConnection, Source: source, Provision: provision, Static: true, Open: open,
}

//go:embed template.yaml
var template string

// instance is an open server.
type instance struct {
	tools     map[string]*tool
	resources []*resource
	uris      params.URIs
	client    *client
}

func open(_ context.Context, o runtime.Opening, h runtime.Host) (_ runtime.Instance, err error) {
	defer fault.Wrap(&err, "httptool.open(%s)", o.Server)
	var s spec
	if err := json.Unmarshal(o.Spec, &s); err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	var c connection
	if err := json.Unmarshal(o.Connection, &c); err != nil {
		return nil, fmt.Errorf("read connection: %w", err)
	}
	policy := h.Egress
	if policy == nil {
		policy = &egress.Policy{}
	}
	in := &instance{tools: map[string]*tool{}}
	if in.client, err = newClient(c, policy, o.Tenant); err != nil {
		return nil, err
	}
	for i := range s.Tools {
		t := &s.Tools[i]
		if err := t.compile(); err != nil {
			return nil, fmt.Errorf("tool %s: %w", t.Name, err)
		}
		in.tools[t.Name] = t
	}
	for i := range s.Resources {
		r := &s.Resources[i]
		if err := r.compile(); err != nil {
			return nil, fmt.Errorf("resource %s: %w", r.Name, err)
		}
		if err := in.uris.Add(r.URI, r.Variables); err != nil {
			return nil, fmt.Errorf("resource %s: %w", r.Name, err)
		}
		in.resources = append(in.resources, r)
	}
	return in, nil
}

// CallTool sends the tool's request.
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
	given, err := params.Given(c.Input)
	if err != nil {
		return nil, err
	}
	values, err := t.values(c, given)
	if err != nil {
		return nil, err
	}
	out, err := t.build(values)
	if err != nil {
		return nil, err
	}
	a, err := in.client.send(ctx, c, env, &t.request, out, t.Repeat)
	if err != nil {
		return nil, err
	}
	return t.result(a, c)
}

// ReadResource sends the request of the resource whose URI matches.
func (in *instance) ReadResource(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	r, variables := in.match(c.Name)
	if r == nil {
		return nil, noResource(c.Name)
	}
	if c.Access != registry.ReadAccess {
		return nil, fault.New(fault.InvalidRequest, "Resources are read with read access.")
	}
	given, ok := params.GivenIn(r.Parameters, variables)
	if !ok {
		return nil, noResource(c.Name)
	}
	values, err := r.values(c, given)
	if err != nil {
		return nil, err
	}
	out, err := r.build(values)
	if err != nil {
		return nil, err
	}
	a, err := in.client.send(ctx, c, env, &r.request, out, true)
	if err != nil {
		return nil, err
	}
	return r.result(a, c.Name)
}

func noResource(uri string) error {
	return fault.New(fault.NotFound, "This server has no resource %q.", uri)
}

func (in *instance) match(uri string) (*resource, map[string]string) {
	i, variables := in.uris.Match(uri)
	if i < 0 {
		return nil, nil
	}
	return in.resources[i], variables
}

// Close drops connections and tokens. No call runs any more.
func (in *instance) Close() error {
	in.client.close()
	return nil
}
