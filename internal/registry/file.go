package registry

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/mail"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// File is a tenant as declared in YAML: its servers, roles, people and kill
// switches. What a
// file does not mention stays as it is.
type File struct {
	Name    string // of the file, for messages
	Tenant  string // slug
	Title   string
	Servers []FileServer
	Roles   []FileRole
	Members []FileMember
	// Switches are kill switches that are to be on.
	Switches []FileSwitch
	// Limits are all that the tenant sets itself; nil: the file says nothing of
	// them.
	Limits *tenants.Limits
	root   *yaml.Node // with references resolved
}

// FileServer is a declared server, checked by its kind.
type FileServer struct {
	Server  Server
	Spec    Spec
	HasSpec bool // a draft may have none
	// Connection is what the file says of it; HasConnection is false where it
	// says nothing and all stays as it is.
	Connection    Connection
	HasConnection bool
	// Draft: its revision is not published.
	Draft bool
	node  *yaml.Node
	conn  *yaml.Node
}

// FileRole opens scopes, by server slug, and permissions on the platform API.
type FileRole struct {
	Name, Description string
	Scopes            []FileScope
	Permissions       []tenants.Permission // sorted, each once
}

// FileScope is one scope of one server, with where it stands in the file.
type FileScope struct {
	Server, Scope string
	node          *yaml.Node
	path          string
}

// FileMember is a person with their roles.
type FileMember struct {
	Email, Name string
	Roles       []string
	Disabled    *bool      // nil: as it is
	node        *yaml.Node // of the roles
	path        string
}

// Kinds checks what belongs to a server's kind. An unknown kind is a problem.
type Kinds interface {
	CheckSpec(kind string, spec *yaml.Node) (json.RawMessage, Definition, []Problem)
	CheckConnection(kind string, connection *yaml.Node) (json.RawMessage, map[string]secret.Text, []Problem)
	// Discovers reports whether what servers of the kind offer is their
	// upstream's to say. Define then makes a definition of a checked spec and
	// what is pinned of the upstream's offer, and the spec that workers open.
	Discovers(kind string) bool
	Define(kind string, spec json.RawMessage, pinned Offer) (json.RawMessage, Definition, []Problem)
	// Composes reports whether servers of the kind offer tools of the tenant's
	// other servers. Compose then makes a definition of a checked spec and those.
	Composes(kind string) bool
	Compose(kind string, spec json.RawMessage, over Composing) (json.RawMessage, Definition, []Problem)
	Names() []string
}

// Resolve gives the value of a reference in a connection: `{env: NAME}` or
// `{file: PATH}`. In a file on disk, secrets are written only so.
type Resolve func(from, name string) (string, error)

const (
	maxFile     = 4 << 20
	maxProblems = 100 // that are told at once
)

// ParseFile reads a tenant file and checks all of it that does not depend on
// what the tenant has. The error is *Problems, with every wrong place by line and
// what to write instead. Without resolve it is a file that came over the API:
// there, secrets are written as `{secret: value}`.
func ParseFile(name string, data []byte, kinds Kinds, resolve Resolve) (*File, error) {
	fail := func(p ...Problem) (*File, error) { return nil, &Problems{File: name, List: p} }
	if len(data) > maxFile {
		return fail(Problem{Reason: fmt.Sprintf("the file is larger than %d MB", maxFile>>20), Fix: "split it: one file may declare part of a tenant's servers; a large document belongs into a file of its own, see document: {file: PATH}"})
	}
	plain, problems := ReadYAML(string(data))
	if len(problems) > 0 {
		return fail(problems...)
	}
	if plain == nil {
		return fail(Problem{Line: 1, Column: 1, Reason: "the file is empty", Fix: "begin with `tenant: <slug>`"})
	}
	p := &parser{kinds: kinds, resolve: resolve}
	f := p.file(plain)
	f.Name, f.root = name, plain
	if len(p.Problems) > 0 {
		slices.SortStableFunc(p.Problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		if more := len(p.Problems) - maxProblems; more > 0 {
			p.Problems = append(p.Problems[:maxProblems], Problem{Reason: fmt.Sprintf("and %d more", more)})
		}
		return fail(p.Problems...)
	}
	return f, nil
}

// yamlProblem takes the line out of the YAML reader's own message.
func yamlProblem(err error) Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{Reason: "this is not YAML: " + text, Fix: "check the indentation and quotes there"}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if n, what, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(n); err == nil {
				p.Line, p.Column, p.Reason = line, 1, "this is not YAML: "+what
			}
		}
	}
	return p
}

// Of checks that the file is about a tenant.
func (f *File) Of(slug string) error {
	if f.Tenant == slug {
		return nil
	}
	o := (&Reader{}).Object(f.root, "", fileKeys...)
	return &Problems{File: f.Name, List: []Problem{ProblemAt(o.Value("tenant"), "tenant", fmt.Sprintf("the file is about %s, and was sent to %s", f.Tenant, slug), "write tenant: "+slug+", or send it to the other")}}
}

type parser struct {
	Reader
	kinds   Kinds
	resolve Resolve
}

// fileKeys are what a tenant file may have.
var fileKeys = []string{"tenant", "name", "servers", "roles", "members", "switches", "limits"}

func (p *parser) file(doc *yaml.Node) *File {
	o := p.Object(doc, "", fileKeys...)
	f := &File{Tenant: o.Needed("tenant", "write `tenant: <slug>`"), Title: o.Needed("name", "write the company's name")}
	if err := tenants.ValidTenantSlug(f.Tenant); err != nil && f.Tenant != "" {
		o.Bad("tenant", err.Error(), "")
	}
	o.atMost("name", 200)
	o.List("servers", func(n *yaml.Node, path string) {
		if s, ok := p.server(n, path); ok {
			f.Servers = append(f.Servers, s)
		}
	})
	seen := map[string]bool{}
	for _, s := range f.Servers {
		if seen[s.Server.Slug] {
			p.Problem(s.node, "servers", fmt.Sprintf("the slug %q is declared twice", s.Server.Slug), "choose another one")
		}
		seen[s.Server.Slug] = true
	}
	p.Entries(o.Value("roles"), "roles", func(key, value *yaml.Node, path string) {
		f.Roles = append(f.Roles, p.role(key, value, path))
	})
	seen = map[string]bool{}
	o.List("members", func(n *yaml.Node, path string) {
		m := p.member(n, path)
		if seen[strings.ToLower(m.Email)] && m.Email != "" {
			p.Problem(n, path, fmt.Sprintf("%s is declared twice", m.Email), "remove one of them")
		}
		seen[strings.ToLower(m.Email)] = true
		f.Members = append(f.Members, m)
	})
	f.Switches = p.switches(o)
	if v := o.Value("limits"); v != nil {
		f.Limits = new(ReadLimits(&p.Reader, v, "limits"))
	}
	return f
}

func (p *parser) slug(o Object, key, value string) {
	if err := tenants.ValidSlug(value); err != nil && value != "" {
		o.Bad(key, err.Error(), "")
	}
}

func (p *parser) server(n *yaml.Node, path string) (s FileServer, ok bool) {
	before := len(p.Problems)
	o := p.Object(n, path, "slug", "kind", "title", "description", "pool", "publish", "connection", "spec")
	s.node = o.Node
	s.Server = Server{
		Slug: o.Needed("slug", "write `slug: <name>`; it stands in the URL"), Kind: o.Needed("kind", "write one of "+strings.Join(p.kinds.Names(), ", ")),
		Title: o.Text("title"), Description: o.Text("description"), Pool: o.Text("pool"),
	}
	s.Server.fill()
	p.slug(o, "slug", s.Server.Slug)
	p.slug(o, "pool", s.Server.Pool)
	o.atMost("title", 200)
	o.atMost("description", 4000)
	s.Draft = o.Has("publish") && !o.Flag("publish")
	if !slices.Contains(p.kinds.Names(), s.Server.Kind) {
		if s.Server.Kind != "" {
			o.Bad("kind", fmt.Sprintf("%q is not a kind of server", s.Server.Kind), "write one of "+strings.Join(p.kinds.Names(), ", "))
		}
		return s, false
	}
	var problems []Problem
	if s.HasSpec = o.Has("spec") || !s.Draft; s.HasSpec {
		p.documents(o.Value("spec"), o.At("spec"), 0, p.resolve)
		s.Spec, problems = CheckSpec(p.kinds, s.Server.Kind, o.Value("spec"))
		p.adopt(o, "spec", problems)
	}
	s.conn = o.Value("connection")
	if s.HasConnection = s.conn != nil; s.HasConnection || !s.Draft {
		s.Connection, problems = CheckConnection(p.kinds, s.Server.Kind, s.conn, p.resolve)
		p.adopt(o, "connection", problems)
		s.Server.connect(s.Connection)
	}
	return s, len(p.Problems) == before
}

// fill gives what was left out.
func (s *Server) fill() {
	if s.Title == "" {
		s.Title = s.Slug
	}
	if s.Pool == "" {
		s.Pool = "default"
	}
}

// connect takes a connection over.
func (s *Server) connect(c Connection) {
	s.Connection, s.Declared, s.SecretsSet, s.PerUser = c.Normalized, c.Declared, c.SecretNames(), c.PerUser
}

// adopt takes over a kind's problems, whose paths begin at its own node.
func (p *parser) adopt(o Object, key string, problems []Problem) {
	for _, q := range problems {
		switch {
		case q.Path == "" || q.Path == key:
			q.Path = o.At(key)
		case !strings.HasPrefix(q.Path, o.At(key)):
			q.Path = o.At(key) + "." + strings.TrimPrefix(q.Path, key+".")
		}
		if q.Line == 0 && o.Node != nil {
			q.Line, q.Column = o.Node.Line, o.Node.Column
			if v := o.Value(key); v != nil {
				q.Line, q.Column = v.Line, v.Column
			}
		}
		p.Problems = append(p.Problems, q)
	}
}

func (p *parser) role(key, value *yaml.Node, path string) FileRole {
	r := FileRole{Name: key.Value}
	if err := tenants.ValidSlug(r.Name); err != nil {
		p.Problem(key, path, err.Error(), "")
	}
	o := p.Object(value, path, "description", "permissions", "scopes")
	r.Description = o.Text("description")
	o.atMost("description", 1000)
	o.List("permissions", func(n *yaml.Node, path string) {
		one := tenants.Permission(n.Value)
		if n.Kind != yaml.ScalarNode || !tenants.ValidPermission(one) {
			p.Problem(n, path, fmt.Sprintf("%q is not a permission", n.Value), "write one of "+permissionNames())
			return
		}
		r.Permissions = append(r.Permissions, one)
	})
	slices.Sort(r.Permissions)
	r.Permissions = slices.Compact(r.Permissions)
	p.Entries(o.Value("scopes"), path+".scopes", func(server, list *yaml.Node, path string) {
		if list.Kind != yaml.SequenceNode {
			p.Problem(list, path, "must be a list of scopes", "write "+server.Value+": [scope, …]")
			return
		}
		for i, n := range list.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			if n.Kind != yaml.ScalarNode || isNull(n) {
				p.Problem(n, at, "must be a scope", "write one text for each entry")
				continue
			}
			r.Scopes = append(r.Scopes, FileScope{server.Value, n.Value, n, at})
		}
	})
	return r
}

func permissionNames() string {
	var names []string
	for _, p := range tenants.Permissions() {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

func (p *parser) member(n *yaml.Node, path string) FileMember {
	o := p.Object(n, path, "email", "name", "roles", "disabled")
	m := FileMember{Email: o.Needed("email", "write the address they sign in with"), Name: o.Text("name"), Roles: o.Texts("roles"), node: o.Value("roles"), path: o.At("roles")}
	o.atMost("name", 200)
	if a, err := mail.ParseAddress(m.Email); m.Email != "" && (err != nil || a.Address != m.Email || len(m.Email) > 254) {
		o.Bad("email", "is not an e-mail address", "write one such as dana@example.com")
	}
	if m.Name == "" {
		m.Name, _, _ = strings.Cut(m.Email, "@")
	}
	if o.Has("disabled") {
		disabled := o.Flag("disabled")
		m.Disabled = &disabled
	}
	return m
}
