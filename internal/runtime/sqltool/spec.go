package sqltool

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/yosida95/uritemplate/v3"
	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
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
	Binds      []string    `json:"binds,omitempty"`
	Parameters []parameter `json:"parameters,omitempty"`
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
	namePattern  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	paramPattern = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)
	scopePattern = regexp.MustCompile(`^[a-z][a-z0-9_:.-]{0,63}$`)
	placePattern = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

	// reading and writing are the statements of a tool; the rest ends a
	// transaction, changes the session or manages the database.
	reading = []string{"select", "with", "values", "table", "(", "show", "explain"}
	writing = []string{"insert", "update", "delete", "merge", "call"}
)

// check reads a declared spec (runtime.Kind).
func check(n *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	c := &checker{Reader: &registry.Reader{}, names: map[string]bool{}}
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
	names map[string]bool
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
	o.List("prompts", func(n *yaml.Node, path string) { d.Prompts = append(d.Prompts, c.prompt(n, path)) })
	if len(d.Tools)+len(d.Resources)+len(d.Prompts) == 0 && len(c.Problems) == 0 {
		c.Problem(o.Node, "spec", "offers nothing", "declare at least one tool under tools")
	}
	return s, d
}

func (c *checker) tool(n *yaml.Node, path string) (t tool, def registry.Tool) {
	o := c.Object(n, path, registry.SafetyKeys("name", "title", "description", "risk", "idempotent", "scope", "timeout", "parameters", "statement", "max_rows", "max_bytes", "output")...)
	t.Name = c.name(o, "tool")
	t.Risk = c.risk(o)
	var columns []column
	t.statement, columns = c.statement(o, nil)
	if t.Risk == registry.Reads && slices.Contains(writing, firstWord(o.Text("statement"))) {
		o.Bad("statement", "writes, in a tool whose risk is read", "declare risk: write, or risk: destructive")
	}
	def = registry.Tool{
		Name: t.Name, Title: o.Text("title"), Description: o.Needed("description", "say what the tool does and when to use it: the model sees nothing else of it"),
		InputSchema: inputSchema(t.Parameters), OutputSchema: outputSchema(&t.statement, columns, t.Risk.Access()),
		Scope: c.scope(o, "tool:"+t.Name), Risk: t.Risk, Idempotent: o.Flag("idempotent") || t.Risk == registry.Reads, Timeout: t.Timeout,
		Safety: registry.ReadSafety(o, modelParameters(t.Parameters)),
	}
	return t, def
}

// modelParameters are those that the model gives.
func modelParameters(all []parameter) []string {
	names := []string{}
	for _, p := range all {
		if p.From == "" {
			names = append(names, p.Name)
		}
	}
	return names
}

func (c *checker) risk(o registry.Object) registry.Risk {
	switch r := registry.Risk(o.Text("risk")); r {
	case "":
		return registry.Destructive
	case registry.Reads, registry.Writes, registry.Destructive:
		return r
	}
	o.Bad("risk", "is not known", "write read, write or destructive; without one a tool counts as destructive")
	return registry.Destructive
}

func (c *checker) resource(n *yaml.Node, path string) (r resource, def registry.Resource) {
	o := c.Object(n, path, "name", "uri", "title", "description", "mime_type", "scope", "timeout", "parameters", "statement", "max_rows", "max_bytes", "output", "guard")
	r.Name = c.name(o, "resource")
	r.URI = o.Needed("uri", "write one such as orders://order/{id}")
	if r.MIMEType = o.Text("mime_type"); r.MIMEType == "" {
		r.MIMEType = "application/json"
	}
	r.Variables = c.variables(o, r.URI)
	r.statement, _ = c.statement(o, r.Variables)
	if slices.Contains(writing, firstWord(o.Text("statement"))) {
		o.Bad("statement", "writes, and a resource is only read", "make it a tool")
	}
	if !o.Has("output") {
		r.Single = len(r.Variables) > 0
	}
	def = registry.Resource{Name: r.Name, Title: o.Text("title"), Description: o.Text("description"), MIMEType: r.MIMEType,
		Scope: c.scope(o, "resource:"+r.Name), Timeout: r.Timeout}
	if v := o.Value("guard"); v != nil {
		def.Guard = registry.ReadGuard(c.Reader, v, o.At("guard"))
	}
	if len(r.Variables) > 0 {
		def.URITemplate = r.URI
	} else {
		def.URI = r.URI
	}
	return r, def
}

// variables reads those of a URI template. Only {name} is allowed, so that
// what a URI is matched against cannot be read in two ways.
func (c *checker) variables(o registry.Object, uri string) []string {
	if uri == "" {
		return nil
	}
	t, err := uritemplate.New(uri)
	scheme, _, found := strings.Cut(uri, "://")
	if err != nil || !found || strings.ContainsAny(scheme, "{}") {
		o.Bad("uri", "is not a URI or URI template", "write one such as orders://order/{id}")
		return nil
	}
	names := t.Varnames()
	for _, v := range names {
		if !paramPattern.MatchString(v) || !strings.Contains(uri, "{"+v+"}") {
			o.Bad("uri", fmt.Sprintf("has the variable %q", v), "use only plain variables such as {id}, of a-z, 0-9 and _")
		}
	}
	return names
}

func (c *checker) prompt(n *yaml.Node, path string) registry.Prompt {
	o := c.Object(n, path, "name", "title", "description", "scope", "arguments", "text")
	p := registry.Prompt{Name: c.name(o, "prompt"), Title: o.Text("title"), Description: o.Text("description"),
		Text: o.Needed("text", "write what the prompt says, with {{argument}} places")}
	p.Scope = c.scope(o, "prompt:"+p.Name)
	declared := map[string]bool{}
	o.List("arguments", func(n *yaml.Node, path string) {
		a := c.Object(n, path, "name", "description", "required")
		arg := registry.PromptArgument{Name: a.Text("name"), Description: a.Text("description"), Required: a.Flag("required")}
		if !paramPattern.MatchString(arg.Name) {
			a.Bad("name", "is not a name", "use a-z, 0-9 and _, beginning with a letter")
		}
		declared[arg.Name] = true
		p.Arguments = append(p.Arguments, arg)
	})
	for _, m := range placePattern.FindAllStringSubmatch(p.Text, -1) {
		if !declared[m[1]] {
			o.Bad("text", fmt.Sprintf("has the place {{%s}}, which is no argument", m[1]), "declare it under arguments")
		}
	}
	return p
}

// name reads the name of a thing and refuses a second of that name.
func (c *checker) name(o registry.Object, kind string) string {
	name := o.Needed("name", "give the "+kind+" a name")
	switch {
	case name == "":
	case !namePattern.MatchString(name):
		o.Bad("name", fmt.Sprintf("%.80q is no name", name), "use letters, digits, _ and -, 64 at most")
	case c.names[kind+name]:
		o.Bad("name", fmt.Sprintf("a %s %q is declared already", kind, name), "give each a name of its own")
	}
	c.names[kind+name] = true
	return name
}

func (c *checker) scope(o registry.Object, def string) string {
	s := o.Text("scope")
	if s == "" {
		return strings.ToLower(def)
	}
	if !scopePattern.MatchString(s) {
		o.Bad("scope", fmt.Sprintf("%.80q is no scope", s), "use a-z, 0-9, _, :, . and -, beginning with a letter, such as orders:read")
	}
	return s
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
	o.List("parameters", func(n *yaml.Node, path string) {
		p := c.parameter(n, path, variables)
		if slices.ContainsFunc(s.Parameters, func(q parameter) bool { return q.Name == p.Name }) && p.Name != "" {
			c.Problem(n, path+".name", fmt.Sprintf("a parameter %q is declared already", p.Name), "remove one of them")
		}
		s.Parameters = append(s.Parameters, p)
	})
	for _, v := range variables {
		if !slices.ContainsFunc(s.Parameters, func(p parameter) bool { return p.Name == v && p.From == "" }) {
			o.Bad("uri", fmt.Sprintf("has the variable {%s}, which is no parameter", v), "declare it under parameters with its type")
		}
	}
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
		at := slices.IndexFunc(s.Parameters, func(q parameter) bool { return q.Name == name })
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
		fmt.Fprintf(&b, "($%d::%s)", number+1, s.Parameters[at].sqlType())
		offset += 1 + len(name)
	}
	s.SQL = strings.TrimSpace(b.String())
	s.Cursor = slices.Contains([]string{"select", "with", "values", "table", "("}, p.first)
	for _, q := range s.Parameters {
		if q.Name != "" && !slices.Contains(s.Binds, q.Name) {
			c.Problem(q.node, q.path, fmt.Sprintf("the parameter %q is not used in the statement", q.Name), "write :"+q.Name+" in the statement, or remove it")
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

// parameter is one input of a statement.
type parameter struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Items       string            `json:"items,omitempty"`
	From        string            `json:"from,omitempty"` // of the call, out of the model's sight
	Description string            `json:"description,omitempty"`
	Required    bool              `json:"required,omitempty"`
	Default     json.RawMessage   `json:"default,omitempty"`
	Enum        []json.RawMessage `json:"enum,omitempty"`
	Minimum     json.Number       `json:"minimum,omitempty"`
	Maximum     json.Number       `json:"maximum,omitempty"`
	MinLength   *int              `json:"min_length,omitempty"`
	MaxLength   *int              `json:"max_length,omitempty"`
	Pattern     string            `json:"pattern,omitempty"`
	MaxItems    *int              `json:"max_items,omitempty"`

	node *yaml.Node
	path string
}

// paramTypes are the types of parameters with their form in JSON Schema and
// the type they have in the statement. Numbers are numeric: money stays exact.
var paramTypes = map[string]struct{ json, format, sql string }{
	"string":    {"string", "", "text"},
	"integer":   {"integer", "", "int8"},
	"number":    {"number", "", "numeric"},
	"boolean":   {"boolean", "", "bool"},
	"date":      {"string", "date", "date"},
	"timestamp": {"string", "date-time", "timestamptz"},
	"uuid":      {"string", "uuid", "uuid"},
	"object":    {"object", "", "jsonb"},
	"array":     {"array", "", ""},
}

const typeNames = "string, integer, number, boolean, date, timestamp, uuid, object and array"

// froms are what a parameter may take from the call instead of the model.
var froms = []string{"caller.id", "caller.email", "caller.name", "caller.client", "call.id", "call.idempotency_key"}

func (p *parameter) sqlType() string {
	if p.Type == "array" {
		return paramTypes[p.Items].sql + "[]"
	}
	return paramTypes[p.Type].sql
}

func (c *checker) parameter(n *yaml.Node, path string, variables []string) parameter {
	o := c.Object(n, path, "name", "type", "items", "from", "description", "required", "default", "enum", "minimum", "maximum", "min_length", "max_length", "pattern", "max_items")
	p := parameter{Name: o.Needed("name", "give the parameter a name"), Type: o.Text("type"), Items: o.Text("items"), From: o.Text("from"),
		Description: o.Text("description"), Required: o.Flag("required"), Pattern: o.Text("pattern"), node: n, path: path}
	if p.Name != "" && !paramPattern.MatchString(p.Name) {
		o.Bad("name", fmt.Sprintf("%.80q is no name of a parameter", p.Name), "use a-z, 0-9 and _, beginning with a letter")
	}
	if p.From != "" {
		c.from(o, &p)
		return p
	}
	c.types(o, &p)
	p.Minimum, p.Maximum = c.number(o, "minimum", &p), c.number(o, "maximum", &p)
	p.MinLength, p.MaxLength, p.MaxItems = c.count(o, "min_length", p.Type, "string"), c.count(o, "max_length", p.Type, "string"), c.count(o, "max_items", p.Type, "array")
	if p.Pattern != "" {
		if _, err := regexp.Compile(p.Pattern); err != nil || p.Type != "string" {
			o.Bad("pattern", "is no regular expression for a string", "write one such as ^[A-Z]{3}$")
		}
	}
	o.List("enum", func(n *yaml.Node, path string) {
		if v, ok := c.value(n, path, &p); ok {
			p.Enum = append(p.Enum, v)
		}
	})
	if d := o.Value("default"); d != nil && paramTypes[p.Type].json != "" {
		if p.Required {
			o.Bad("default", "is given for a parameter that is required", "remove one of the two")
		}
		if v, ok := c.value(d, o.At("default"), &p); ok {
			p.Default = v
			if err := p.allows(v); err != nil {
				o.Bad("default", "does not fit the parameter: "+err.Error(), "write a value that the parameter takes")
			}
		}
	}
	if slices.Contains(variables, p.Name) {
		p.Required = true
	} else if variables != nil && p.Required {
		o.Bad("required", "is set for a parameter that is no variable of the URI", "write {"+p.Name+"} in the uri, or give it a default")
	}
	return p
}

func (c *checker) from(o registry.Object, p *parameter) {
	if !slices.Contains(froms, p.From) {
		o.Bad("from", fmt.Sprintf("%.80q is not known", p.From), "write one of "+strings.Join(froms, ", "))
	}
	if p.Type == "" {
		p.Type = "string"
	}
	if p.Type != "string" && p.Type != "uuid" {
		o.Bad("type", "must be string for what comes from the call", "leave it out")
	}
	for _, key := range []string{"items", "required", "default", "enum", "minimum", "maximum", "min_length", "max_length", "pattern", "max_items"} {
		if o.Has(key) {
			o.Bad(key, "means nothing for what comes from the call", "remove it: the model never sees this parameter")
		}
	}
	p.Required = false
}

func (c *checker) types(o registry.Object, p *parameter) {
	switch t, known := paramTypes[p.Type]; {
	case p.Type == "":
		o.Bad("type", "is missing", "write one of "+typeNames)
	case !known:
		o.Bad("type", fmt.Sprintf("%.80q is not known", p.Type), "write one of "+typeNames)
	case t.json == "array":
		if i, known := paramTypes[p.Items]; !known || i.sql == "" || p.Items == "object" {
			o.Bad("items", "must name the type of the entries", "write items: string, or another type but object and array")
			p.Items = "string"
		}
	case p.Items != "":
		o.Bad("items", "means nothing without type: array", "remove it")
	}
}

func (c *checker) number(o registry.Object, key string, p *parameter) json.Number {
	n := o.Value(key)
	if n == nil {
		return ""
	}
	if p.Type != "integer" && p.Type != "number" {
		o.Bad(key, "means nothing for type "+p.Type, "remove it")
		return ""
	}
	v, ok := c.value(n, o.At(key), p)
	if !ok {
		return ""
	}
	return json.Number(v)
}

func (c *checker) count(o registry.Object, key, have, want string) *int {
	if !o.Has(key) {
		return nil
	}
	if have != want {
		o.Bad(key, "means nothing for type "+have, "remove it")
		return nil
	}
	v := o.Whole(key, 0, 0, math.MaxInt32)
	return &v
}

// value reads a YAML value as JSON of the parameter's type.
func (c *checker) value(n *yaml.Node, path string, p *parameter) (json.RawMessage, bool) {
	var v any
	if paramTypes[p.Type].json == "" {
		return nil, false // said already
	}
	raw := json.RawMessage(nil)
	err := n.Decode(&v)
	if err == nil {
		// A date or a text of digits is meant as a text where one is expected.
		if paramTypes[p.Type].json == "string" && n.Kind == yaml.ScalarNode {
			v = n.Value
		}
		raw, err = json.Marshal(v)
	}
	if err == nil {
		_, err = p.convert(raw)
	}
	if err != nil {
		c.Problem(n, path, "is no "+p.Type, "write a value of type "+p.Type)
		return nil, false
	}
	return raw, true
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
