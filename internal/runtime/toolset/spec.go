package toolset

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// spec is the normalized form.
type spec struct {
	Instructions string  `json:"instructions,omitempty"`
	Search       bool    `json:"search,omitempty"`
	Scope        string  `json:"scope,omitempty"`
	Tools        []entry `json:"tools,omitempty"`
}

// entry is one tool, or those of a server that its patterns take.
type entry struct {
	Server string `json:"server"`
	Tool   string `json:"tool,omitempty"` // empty: by patterns

	Name        string `json:"name,omitempty"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Scope       string `json:"scope,omitempty"`

	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	Prefix  string   `json:"prefix,omitempty"`
}

const (
	maxEntries  = 1000 // of a spec
	maxTools    = 2000 // that they come to
	maxPatterns = 100
	nameFix     = "use letters, digits, _, - and ., up to 64 of them"
	scopeFix    = "use a-z, 0-9, _, :, . and -, starting with a letter, up to 64 characters"
)

var (
	scopePattern  = regexp.MustCompile(`^[a-z][a-z0-9_:.-]{0,63}$`)
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	prefixPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$`)
)

// check reads a spec, of which nothing is required: a toolset may be empty.
func check(n *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	c := &checker{}
	s := c.spec(n)
	if len(c.Problems) > 0 {
		return nil, registry.Definition{}, c.Problems
	}
	return s.json(), s.definition(), nil
}

func (s spec) json() json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil { // strings only
		panic(err)
	}
	return b
}

// searchWords tell a model how such a server is used, after the administrator's.
const searchWords = "The tools of this server are not listed. Find one with search_tools, read its arguments with describe_tool, and call it with execute_tool."

func (s spec) definition() registry.Definition {
	d := registry.Definition{Instructions: s.Instructions, Search: s.Search}
	if s.Search {
		d.Instructions = strings.TrimSpace(s.Instructions + "\n\n" + searchWords)
	}
	return d
}

type checker struct{ registry.Reader }

func (c *checker) spec(n *yaml.Node) (s spec) {
	if n = registry.Deref(n); n == nil || n.Kind == 0 || n.Tag == "!!null" {
		return s
	}
	o := c.Object(n, "spec", "instructions", "mode", "scope", "tools")
	s.Instructions = o.Text("instructions")
	switch mode := o.Text("mode"); mode {
	case "", "direct":
	case "search":
		s.Search = true
	default:
		o.Bad("mode", fmt.Sprintf("%.40q is no mode", mode), "write direct, which lists the tools, or search, which finds them")
	}
	s.Scope = c.scope(o)
	o.List("tools", func(n *yaml.Node, path string) {
		switch {
		case len(s.Tools) == maxEntries:
			c.Problem(n, path, fmt.Sprintf("there are more than %d entries", maxEntries), "take tools by pattern: {server: …, include: [\"*\"]}")
		case len(s.Tools) < maxEntries:
			s.Tools = append(s.Tools, c.entry(n, path))
		}
	})
	return s
}

func (c *checker) scope(o registry.Object) string {
	scope := o.Text("scope")
	if o.Has("scope") && !scopePattern.MatchString(scope) {
		o.Bad("scope", fmt.Sprintf("%.80q is no scope", scope), scopeFix)
	}
	return scope
}

// entry reads server/tool, or a mapping of it, or one of a server and patterns.
func (c *checker) entry(n *yaml.Node, at string) (e entry) {
	if n.Kind == yaml.ScalarNode {
		c.member(&e, n, at, n.Value)
		return e
	}
	single := false
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		single = single || n.Content[i].Value == "tool"
	}
	if single {
		o := c.Object(n, at, "tool", "name", "title", "description", "scope")
		c.member(&e, o.Value("tool"), o.At("tool"), o.Text("tool"))
		e.Name, e.Title, e.Description, e.Scope = o.Text("name"), o.Text("title"), o.Text("description"), c.scope(o)
		if o.Has("name") && !namePattern.MatchString(e.Name) {
			o.Bad("name", fmt.Sprintf("%.80q is no name of a tool", e.Name), nameFix)
		}
		return e
	}
	o := c.Object(n, at, "server", "include", "exclude", "prefix", "scope")
	e.Server = o.Needed("server", "write the slug of a server, or tool: server/tool")
	if err := tenants.ValidSlug(e.Server); err != nil && e.Server != "" {
		o.Bad("server", err.Error(), "")
	}
	e.Include, e.Exclude, e.Prefix, e.Scope = c.patterns(o, "include"), c.patterns(o, "exclude"), o.Text("prefix"), c.scope(o)
	if o.Has("prefix") && !prefixPattern.MatchString(e.Prefix) {
		o.Bad("prefix", fmt.Sprintf("%.80q is no beginning of a name", e.Prefix), "use letters, digits, _, - and ., up to 32 of them")
	}
	if len(e.Include) == 0 {
		e.Include = []string{"*"}
	}
	return e
}

func (c *checker) member(e *entry, n *yaml.Node, at, written string) {
	server, tool, both := strings.Cut(written, "/")
	if !both || tool == "" || len(tool) > 128 || tenants.ValidSlug(server) != nil {
		c.Problem(n, at, fmt.Sprintf("%.100q names no tool of a server", written), "write server/tool, such as crm/find_customer")
		return
	}
	e.Server, e.Tool = server, tool
}

func (c *checker) patterns(o registry.Object, key string) (all []string) {
	o.List(key, func(n *yaml.Node, at string) {
		_, err := path.Match(n.Value, "")
		switch {
		case n.Kind != yaml.ScalarNode || n.Value == "" || len(n.Value) > 128 || err != nil:
			c.Problem(n, at, "is no pattern of names", "write one such as find_* or \"*\"")
		case len(all) == maxPatterns:
			c.Problem(n, at, fmt.Sprintf("there are more than %d patterns", maxPatterns), "use wider ones")
		case len(all) < maxPatterns:
			all = append(all, n.Value)
		}
	})
	return all
}

func (e *entry) takes(tool string) bool { return matches(e.Include, tool) && !matches(e.Exclude, tool) }

func matches(patterns []string, tool string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, tool); ok {
			return true
		}
	}
	return false
}
