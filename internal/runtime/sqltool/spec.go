package sqltool

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
	"latchkey/internal/runtime/params"
)

// spec is the normalized form, what a worker opens. Prompts are not in it: the
// definition has all of them.
type spec struct {
	Tools     []tool     `json:"tools,omitempty"`
	Resources []resource `json:"resources,omitempty"`
}

type tool struct {
	Name string        `json:"name"`
	Risk registry.Risk `json:"risk"`
	statement
}

type resource struct {
	Name      string   `json:"name"`
	URI       string   `json:"uri"`
	Variables []string `json:"variables,omitempty"` // of the URI template
	MIMEType  string   `json:"mime_type"`
	statement
}

// statement is SQL with numbered parameters and how its rows are bounded.
type statement struct {
	SQL string `json:"sql"`
	// Binds are the parameters in the order of their numbers.
	Binds      []string           `json:"binds,omitempty"`
	Parameters []params.Parameter `json:"parameters,omitempty"`
	// Cursor is set where Postgres can give the rows a few at a time.
	Cursor   bool          `json:"cursor,omitempty"`
	Single   bool          `json:"single,omitempty"`
	Timeout  time.Duration `json:"timeout"`
	MaxRows  int           `json:"max_rows"`
	MaxBytes int           `json:"max_bytes"`
}

const (
	defaultTimeout  = 10 * time.Second
	maxTimeout      = 5 * time.Minute
	defaultMaxRows  = 100
	maxMaxRows      = 1000
	defaultMaxBytes = 64 << 10
	maxMaxBytes     = 1 << 20
)

var (
	// reading and writing are the statements of a tool; the rest ends a
	// transaction, changes the session or manages the database.
	reading = []string{"select", "with", "values", "table", "(", "show", "explain"}
	writing = []string{"insert", "update", "delete", "merge", "call"}
)

// check reads a declared spec (runtime.Kind).
func check(n *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	c := &checker{Reader: &registry.Reader{}, names: params.Names{}}
	s, d := c.spec(n)
	if len(c.Problems) > 0 {
		slices.SortStableFunc(c.Problems, func(a, b registry.Problem) int { return a.Line - b.Line })
		return nil, registry.Definition{}, c.Problems
	}
	normalized, err := json.Marshal(s)
	if err != nil { // texts and numbers only
		panic(err)
	}
	return normalized, d, nil
}

type checker struct {
	*registry.Reader
	names params.Names
}

func (c *checker) spec(n *yaml.Node) (s spec, d registry.Definition) {
	o := c.Object(n, "spec", "tools", "resources", "prompts", "instructions")
	d.Instructions = o.Text("instructions")
	o.List("tools", func(n *yaml.Node, path string) {
		t, def := c.tool(n, path)
		s.Tools, d.Tools = append(s.Tools, t), append(d.Tools, def)
	})
	o.List("resources", func(n *yaml.Node, path string) {
		r, def := c.resource(n, path)
		s.Resources, d.Resources = append(s.Resources, r), append(d.Resources, def)
	})
	o.List("prompts", func(n *yaml.Node, path string) { d.Prompts = append(d.Prompts, c.names.Prompt(c.Reader, n, path)) })
	if len(d.Tools)+len(d.Resources)+len(d.Prompts) == 0 && len(c.Problems) == 0 {
		c.Problem(o.Node, "spec", "offers nothing", "declare at least one tool under tools")
	}
	return s, d
}

func (c *checker) tool(n *yaml.Node, path string) (t tool, def registry.Tool) {
	o := c.Object(n, path, registry.SafetyKeys("name", "title", "description", "risk", "idempotent", "scope", "timeout", "parameters", "statement", "max_rows", "max_bytes", "output")...)
	t.Name = c.names.Read(o, "tool")
	t.Risk = params.Risk(o, registry.Destructive)
	var columns []column
	t.statement, columns = c.statement(o, nil)
	if t.Risk == registry.Reads && slices.Contains(writing, firstWord(o.Text("statement"))) {
		o.Bad("statement", "writes, in a tool whose risk is read", "declare risk: write, or risk: destructive")
	}
	def = registry.Tool{
		Name: t.Name, Title: o.Text("title"), Description: o.Needed("description", "say what the tool does and when to use it: the model sees nothing else of it"),
		InputSchema: params.InputSchema(t.Parameters), OutputSchema: outputSchema(&t.statement, columns, t.Risk.Access()),
		Scope: params.Scope(o, "tool:"+t.Name), Risk: t.Risk, Idempotent: o.Flag("idempotent") || t.Risk == registry.Reads, Timeout: t.Timeout,
		Safety: registry.ReadSafety(o, params.Offered(t.Parameters)),
	}
	return t, def
}

func (c *checker) resource(n *yaml.Node, path string) (r resource, def registry.Resource) {
	o := c.Object(n, path, "name", "uri", "title", "description", "mime_type", "scope", "timeout", "parameters", "statement", "max_rows", "max_bytes", "output", "guard")
	def, r.URI, r.Variables = c.names.Resource(c.Reader, o, "orders://order/{id}", "application/json")
	r.Name, r.MIMEType = def.Name, def.MIMEType
	r.statement, _ = c.statement(o, r.Variables)
	if slices.Contains(writing, firstWord(o.Text("statement"))) {
		o.Bad("statement", "writes, and a resource is only read", "make it a tool")
	}
	if !o.Has("output") {
		r.Single = len(r.Variables) > 0
	}
	def.Timeout = r.Timeout
	return r, def
}

// column is what is said about a column of the answer.
type column struct{ name, description string }

// statement reads what tools and resources have in common. variables are
// parameters that come out of a URI.
func (c *checker) statement(o registry.Object, variables []string) (s statement, columns []column) {
	s.Timeout = o.Duration("timeout", defaultTimeout, 10*time.Millisecond, maxTimeout)
	s.MaxRows = o.Whole("max_rows", defaultMaxRows, 1, maxMaxRows)
	s.MaxBytes = o.Whole("max_bytes", defaultMaxBytes, 1024, maxMaxBytes)
	if o.Has("output") {
		out := c.Object(o.Value("output"), o.At("output"), "single", "columns")
		s.Single = out.Flag("single")
		if m := out.Value("columns"); m != nil {
			columns = c.columns(m, out.At("columns"))
		}
	}
	if s.Single {
		s.MaxRows = 1
	}
	s.Parameters = params.ReadAll(c.Reader, o, variables, false)
	c.sql(o, &s)
	return s, columns
}

func (c *checker) columns(n *yaml.Node, path string) (out []column) {
	if n.Kind != yaml.MappingNode {
		c.Problem(n, path, "must be a mapping", "write column: what it holds")
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		out = append(out, column{n.Content[i].Value, registry.Deref(n.Content[i+1]).Value})
	}
	return out
}

// sql numbers the parameters of the statement and gives each its type there,
// so that Postgres never has to guess one.
func (c *checker) sql(o registry.Object, s *statement) {
	text := o.Needed("statement", "write the SQL statement, with :name for each parameter")
	n := o.Value("statement")
	if strings.TrimSpace(text) == "" || n.Kind != yaml.ScalarNode {
		return
	}
	p, err := parse(text)
	if err != nil {
		var se *syntaxError
		errors.As(err, &se)
		c.Problem(lineOf(n, se.offset), o.At("statement"), se.reason, se.fix)
		return
	}
	if !slices.Contains(reading, p.first) && !slices.Contains(writing, p.first) {
		o.Bad("statement", fmt.Sprintf("begins with %.40q", p.first), "begin with SELECT, WITH, VALUES, TABLE, INSERT, UPDATE, DELETE, MERGE or CALL; transactions and settings are the platform's")
		return
	}
	var b strings.Builder
	offset := 0
	unknown := map[string]bool{}
	for i, piece := range p.pieces {
		b.WriteString(piece)
		offset += len(piece)
		if i == len(p.names) {
			break
		}
		name := p.names[i]
		at := slices.IndexFunc(s.Parameters, func(q params.Parameter) bool { return q.Name == name })
		if at < 0 {
			if !unknown[name] {
				c.Problem(lineOf(n, offset), o.At("statement"), fmt.Sprintf("uses :%s, which is no parameter", name), "declare it under parameters")
			}
			unknown[name] = true
			offset += 1 + len(name)
			continue
		}
		number := slices.Index(s.Binds, name)
		if number < 0 {
			s.Binds = append(s.Binds, name)
			number = len(s.Binds) - 1
		}
		fmt.Fprintf(&b, "($%d::%s)", number+1, sqlType(&s.Parameters[at]))
		offset += 1 + len(name)
	}
	s.SQL = strings.TrimSpace(b.String())
	s.Cursor = slices.Contains([]string{"select", "with", "values", "table", "("}, p.first)
	for _, q := range s.Parameters {
		if q.Name != "" && !slices.Contains(s.Binds, q.Name) {
			c.Problem(q.Node, q.Path, fmt.Sprintf("the parameter %q is not used in the statement", q.Name), "write :"+q.Name+" in the statement, or remove it")
		}
	}
}

func firstWord(sql string) string {
	p, err := parse(sql)
	if err != nil {
		return ""
	}
	return p.first
}

// sqlTypes are what parameters have in the statement. Numbers are numeric: money
// stays exact.
var sqlTypes = map[string]string{
	"string": "text", "integer": "int8", "number": "numeric", "boolean": "bool",
	"date": "date", "timestamp": "timestamptz", "uuid": "uuid", "object": "jsonb",
}

func sqlType(p *params.Parameter) string {
	if p.Type == "array" {
		return sqlTypes[p.Items] + "[]"
	}
	return sqlTypes[p.Type]
}

// lineOf finds the line of a byte offset in a text node, as well as YAML lets
// one: a block keeps its lines, a folded or quoted text does not.
func lineOf(n *yaml.Node, offset int) *yaml.Node {
	at := *n
	if n.Style&yaml.LiteralStyle != 0 {
		before := n.Value[:min(offset, len(n.Value))]
		at.Line += 1 + strings.Count(before, "\n")
		at.Column = 1
	}
	return &at
}
