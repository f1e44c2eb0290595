package runtime

import (
	"encoding/json"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/guard"
)

// inspect is the last look at a result on the worker: nothing of what the guard
// keeps back leaves it. After it structured content is JSON, whatever the kind
// made it of.
func (w *Worker) inspect(res *Result, policy *guard.Policy) (*Result, error) {
	n, err := measure(res)
	if err != nil {
		return nil, err
	}
	if n > w.MaxResult {
		return nil, TooLarge(n, w.MaxResult)
	}
	switch {
	case res.Tool != nil:
		res.Guard = policy.Tool(res.Tool)
	case res.Resource != nil:
		res.Guard = policy.Resource(res.Resource)
	case res.Prompt != nil:
		res.Guard = policy.Prompt(res.Prompt)
	case res.Completion != nil:
		return res, inspectValues(res, policy)
	}
	return res, nil
}

// inspectValues guards what an upstream suggests to type.
func inspectValues(res *Result, policy *guard.Policy) error {
	raw, err := json.Marshal(res.Completion.Completion.Values)
	if err != nil {
		return fmt.Errorf("encode completions: %w", err)
	}
	if raw, res.Guard = policy.Message(raw); res.Guard == nil {
		return nil
	}
	res.Completion.Completion.Values = nil
	return json.Unmarshal(raw, &res.Completion.Completion.Values)
}

// policy is the guard of a call. What is not in the definition that the edge
// signed has none, and does not run.
func (e *opened) policy(c *Call) (*guard.Policy, error) {
	if p, known := e.policies[c.rule()]; known || c.own() {
		return p, nil
	}
	if c.Op == GetPrompt || c.Op == Complete {
		return nil, fault.New(fault.NotFound, "This server has no prompt or resource %q.", c.Name)
	}
	if c.Op == ReadResource {
		return nil, fault.New(fault.NotFound, "This server has no resource %q.", c.Name)
	}
	return nil, fault.New(fault.NotFound, "This server has no tool %q.", c.Name)
}

// policies are made once for an open server.
func policies(o Opening) (map[string]*guard.Policy, error) {
	all := make(map[string]*guard.Policy, len(o.Guard))
	for rule, g := range o.Guard {
		p, err := guard.Compile(g, string(o.Tenant)+"/"+string(o.Server))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rule, err)
		}
		all[rule] = p
	}
	return all, nil
}

// measure counts the bytes of what the caller will read. Text counts as it is,
// without what JSON adds to it: that differs with the protocol.
func measure(res *Result) (n int, err error) {
	if res.Tool == nil {
		raw, err := json.Marshal(res)
		if err != nil {
			return 0, fmt.Errorf("encode result: %w", err)
		}
		return len(raw), nil
	}
	if v := res.Tool.StructuredContent; v != nil {
		raw, ok := v.(json.RawMessage)
		if !ok {
			if raw, err = json.Marshal(v); err != nil {
				return 0, fmt.Errorf("encode structured content: %w", err)
			}
			res.Tool.StructuredContent = raw
		}
		n += len(raw)
	}
	for _, c := range res.Tool.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			n += len(t.Text)
			continue
		}
		raw, err := json.Marshal(c)
		if err != nil {
			return 0, fmt.Errorf("encode content: %w", err)
		}
		n += len(raw)
	}
	return n, nil
}

// TooLarge is the error for a result of n bytes where max are allowed.
func TooLarge(n, max int) *fault.Error {
	return fault.New(fault.ResultTooLarge, "The answer has %s, more than the %s that are allowed. Ask for less: fewer rows, fewer fields, or a narrower range.", bytesText(n), bytesText(max))
}

func bytesText(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f kB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
