package sqltool

import (
	"encoding/json"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/params"
)

// bind gives the statement's arguments for a tool call.
func (t *tool) bind(c *runtime.Call) ([]any, error) {
	given, err := params.Given(c.Input)
	if err != nil {
		return nil, err
	}
	return t.arguments(c, given)
}

// bind gives the statement's arguments for a URI.
func (r *resource) bind(c *runtime.Call, variables map[string]string) ([]any, error) {
	given, ok := params.GivenIn(r.Parameters, variables)
	if !ok {
		return nil, fault.New(fault.NotFound, "This server has no resource %q.", c.Name)
	}
	return r.arguments(c, given)
}

// arguments checks what was given and puts it, with what comes from the call,
// in the order of the statement's numbers. What has no value is null.
func (s *statement) arguments(c *runtime.Call, given map[string]json.RawMessage) ([]any, error) {
	values, err := params.Values(s.Parameters, given, c.Value)
	if err != nil {
		return nil, err
	}
	bound := map[string]any{}
	for i := range s.Parameters {
		p := &s.Parameters[i]
		raw, has := values[p.Name]
		switch {
		case !has:
		case p.From != "":
			bound[p.Name] = c.Value(p.From)
		default:
			if bound[p.Name], err = p.Convert(raw); err != nil {
				return nil, err // Values has converted it
			}
		}
	}
	args := make([]any, len(s.Binds))
	for i, name := range s.Binds {
		args[i] = bound[name]
	}
	return args, nil
}
