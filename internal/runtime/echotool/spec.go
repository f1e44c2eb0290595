package echotool

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
)

// spec is the normalized form: every offered tool with its scope.
type spec struct {
	Tools []offered `json:"tools"`
	// The scopes of the prompt and of the resources; empty: they are not offered.
	Prompts   string `json:"prompts,omitempty"`
	Resources string `json:"resources,omitempty"`
}

type offered struct {
	Name   string          `json:"name"`
	Scope  string          `json:"scope"`
	safety registry.Safety // the definition has it
}

const scopeFix = "use a-z, 0-9, _, :, . and -, starting with a letter, up to 64 characters"

// RFC 6749 allows more; this is what the platform's own scopes look like.
var scopePattern = regexp.MustCompile(`^[a-z][a-z0-9_:.-]{0,63}$`)

// check reads a spec, of which nothing is required.
func check(n *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	c := &checker{}
	s := c.spec(n)
	if len(c.problems) > 0 {
		return nil, registry.Definition{}, c.problems
	}
	normalized, err := json.Marshal(s)
	if err != nil { // strings only
		panic(err)
	}
	return normalized, definition(s), nil
}

func definition(s spec) registry.Definition {
	d := registry.Definition{Instructions: "A diagnostics server: its tools check the connection itself and touch nothing."}
	for _, o := range s.Tools {
		t := byName(o.Name)
		d.Tools = append(d.Tools, registry.Tool{
			Name: t.name, Title: t.title, Description: t.description, InputSchema: json.RawMessage(t.input),
			Scope: o.Scope, Risk: registry.Reads, Idempotent: true, Timeout: t.timeout, Safety: o.safety,
		})
	}
	s.talk(&d)
	return d
}

type checker struct{ problems []registry.Problem }

func (c *checker) problem(n *yaml.Node, path, reason, fix string) {
	c.problems = append(c.problems, registry.ProblemAt(n, path, reason, fix))
}

func (c *checker) spec(n *yaml.Node) spec {
	if n != nil && n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	if n == nil || n.Kind == 0 || n.Tag == "!!null" {
		return everything()
	}
	if n.Kind != yaml.MappingNode {
		c.problem(n, "spec", "must be a mapping", "write tools: [echo, whoami], or leave the spec out for all tools")
		return spec{}
	}
	list, prompts, resources := (*yaml.Node)(nil), "", ""
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key, value := n.Content[i], n.Content[i+1]; key.Value {
		case "tools":
			list = value
		case "prompts":
			prompts = c.scope(value, "spec.prompts")
		case "resources":
			resources = c.scope(value, "spec.resources")
		default:
			c.problem(key, "spec."+key.Value, "is not known", "the keys are tools, prompts and resources")
		}
	}
	s := everything()
	if list != nil {
		s = c.tools(list)
	}
	s.Prompts, s.Resources = prompts, resources
	return s
}

func (c *checker) scope(n *yaml.Node, path string) string {
	if n.Kind != yaml.ScalarNode || !scopePattern.MatchString(n.Value) {
		c.problem(n, path, fmt.Sprintf("%q is no scope", n.Value), scopeFix)
	}
	return n.Value
}

func everything() spec {
	var s spec
	for _, t := range tools {
		s.Tools = append(s.Tools, offered{Name: t.name, Scope: "tool:" + t.name})
	}
	return s
}

func (c *checker) tools(list *yaml.Node) spec {
	var s spec
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		c.problem(list, "spec.tools", "must be a list with at least one tool", "write tools: [echo, whoami], or leave tools out for all")
		return s
	}
	seen := map[string]bool{}
	for i, n := range list.Content {
		path := fmt.Sprintf("spec.tools[%d]", i)
		o := c.tool(n, path)
		switch {
		case byName(o.Name) == nil:
			c.problem(n, path, fmt.Sprintf("%q is no tool of this kind", o.Name), "choose from "+names())
		case seen[o.Name]:
			c.problem(n, path, fmt.Sprintf("%q is listed twice", o.Name), "remove one of them")
		}
		seen[o.Name] = true
		s.Tools = append(s.Tools, o)
	}
	return s
}

// tool reads a name, or a mapping of name and scope.
func (c *checker) tool(n *yaml.Node, path string) offered {
	o := offered{Name: n.Value}
	if n.Kind == yaml.MappingNode {
		r := &registry.Reader{}
		m := r.Object(n, path, registry.SafetyKeys("name", "scope")...)
		o.Name = m.Text("name")
		if o.Scope = m.Text("scope"); o.Scope != "" && !scopePattern.MatchString(o.Scope) {
			m.Bad("scope", fmt.Sprintf("%q is no scope", o.Scope), scopeFix)
		}
		o.safety = registry.ReadSafety(m, nil)
		c.problems = append(c.problems, r.Problems...)
	}
	if o.Scope == "" {
		o.Scope = "tool:" + o.Name
	}
	return o
}

func names() string {
	var all []string
	for _, t := range tools {
		all = append(all, t.name)
	}
	return strings.Join(all, ", ")
}
