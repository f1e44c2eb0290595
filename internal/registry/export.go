package registry

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Export writes a tenant as the file that changes nothing when it is applied.
// Secrets stand as references to the variables in env. What a file cannot say
// is left out: passwords, grants, keys, older revisions, what upstreams offer.
func Export(s State) (file string, env []string, err error) {
	x := exporter{taken: map[string]bool{}, offered: s.Offered}
	root := object()
	add(root, "tenant", text(s.Tenant.Slug))
	add(root, "name", text(s.Tenant.Name))
	slugs := map[ServerID]string{}
	for _, h := range s.Servers {
		slugs[h.Server.ID] = h.Server.Slug
	}
	if roles := x.roles(s.Roles, slugs); len(roles.Content) > 0 {
		add(root, "roles", roles)
	}
	if members := x.members(s.Members); len(members.Content) > 0 {
		add(root, "members", members)
	}
	if s.Limits != (tenants.Limits{}) {
		add(root, "limits", limitsNode(s.Limits))
	}
	servers := list()
	for _, h := range s.Servers {
		n, err := x.server(h)
		if err != nil {
			return "", nil, err
		}
		servers.Content = append(servers.Content, n)
	}
	if len(servers.Content) > 0 {
		add(root, "servers", servers)
	}
	if on := exportSwitches(s); len(on.Content) > 0 {
		add(root, "switches", on)
	}
	body, err := encodeYAML(root)
	if err != nil {
		return "", nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# The tenant %s as it is: `platform apply -f` of this file changes nothing.\n", s.Tenant.Slug)
	if len(x.env) > 0 {
		b.WriteString("# Secrets never leave Vault. Set these variables before you apply it:\n")
		for _, name := range x.env {
			b.WriteString("#   " + name + "\n")
		}
	}
	return b.String() + body, x.env, nil
}

type exporter struct {
	env     []string
	taken   map[string]bool
	offered map[ServerID]Offered
}

func object() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Tag: mapTag} }

func list(entries ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Tag: listTag, Content: entries}
}

func text(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: textTag, Value: s} }

func truth(b bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: boolTag, Value: fmt.Sprint(b)}
}

func add(o *yaml.Node, key string, value *yaml.Node) { o.Content = append(o.Content, text(key), value) }

func texts[T ~string](all []T) *yaml.Node {
	n := list()
	n.Style = yaml.FlowStyle
	for _, s := range all {
		n.Content = append(n.Content, text(string(s)))
	}
	return n
}

func (x *exporter) roles(roles []tenants.Role, slugs map[ServerID]string) *yaml.Node {
	all := object()
	for _, r := range roles {
		o := object()
		if r.Description != "" {
			add(o, "description", text(r.Description))
		}
		if len(r.Permissions) > 0 {
			add(o, "permissions", texts(r.Permissions))
		}
		opens := map[string][]string{}
		var servers []string
		for _, s := range r.Scopes {
			slug, known := slugs[s.Server]
			if !known { // it is being deleted
				continue
			}
			if opens[slug] == nil {
				servers = append(servers, slug)
			}
			opens[slug] = append(opens[slug], s.Name)
		}
		slices.Sort(servers)
		if len(servers) > 0 || len(o.Content) == 0 {
			scopes := object()
			for _, slug := range servers {
				slices.Sort(opens[slug])
				add(scopes, slug, texts(opens[slug]))
			}
			if len(servers) == 0 {
				scopes.Style = yaml.FlowStyle
			}
			add(o, "scopes", scopes)
		}
		add(all, r.Name, o)
	}
	return all
}

func (x *exporter) members(users []tenants.User) *yaml.Node {
	all := list()
	for _, u := range users {
		o := object()
		o.Style = yaml.FlowStyle
		add(o, "email", text(u.Email))
		add(o, "name", text(u.Name))
		if len(u.Roles) > 0 {
			add(o, "roles", texts(u.Roles))
		}
		if u.Disabled {
			add(o, "disabled", truth(true))
		}
		all.Content = append(all.Content, o)
	}
	return all
}

func (x *exporter) server(h Hosted) (*yaml.Node, error) {
	s := h.Server
	o := object()
	add(o, "slug", text(s.Slug))
	add(o, "kind", text(s.Kind))
	if s.Title != s.Slug {
		add(o, "title", text(s.Title))
	}
	if s.Description != "" {
		add(o, "description", text(s.Description))
	}
	if s.Pool != "default" {
		add(o, "pool", text(s.Pool))
	}
	if s.Active == "" && x.offered[s.ID].Awaited.Revision == "" {
		add(o, "publish", truth(false))
	}
	if s.HasConnection() {
		n, problems := ReadJSON(s.Declared)
		if len(problems) > 0 {
			return nil, &Problems{List: problems}
		}
		if len(n.Content) == 0 {
			return nil, fault.New(fault.Conflict, "The connection of %s is from before connections were kept as they were declared. Set it once more, then export.", s.Slug)
		}
		x.refer(n, s.Slug, "", s.SecretsSet)
		add(o, "connection", n)
	}
	if h.Revision.ID != "" {
		if len(h.Revision.Declared) == 0 {
			return nil, fault.New(fault.Conflict, "The revision of %s is from before specs were kept as they were declared. Publish its spec once more, then export.", s.Slug)
		}
		n, problems := ReadJSON(h.Revision.Declared)
		if len(problems) > 0 {
			return nil, &Problems{List: problems}
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		add(o, "spec", n)
	}
	return o, nil
}

// refer puts references in the places of secrets.
func (x *exporter) refer(n *yaml.Node, slug, path string, secrets []string) {
	if path != "" && slices.Contains(secrets, path) {
		*n = *object()
		n.Style = yaml.FlowStyle
		add(n, "env", text(x.variable(slug, path)))
		return
	}
	for i, c := range n.Content {
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
		case n.Kind == yaml.MappingNode:
			x.refer(c, slug, joined(path, n.Content[i-1].Value), secrets)
		default:
			x.refer(c, slug, entry(path, i), secrets)
		}
	}
}

// variable names one for a secret, such as ORDERS_ADMIN_PASSWORD.
func (x *exporter) variable(slug, path string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(slug+"_"+path))
	for n := 2; x.taken[name]; n++ {
		name = fmt.Sprintf("%s_%d", strings.TrimSuffix(name, fmt.Sprintf("_%d", n-1)), n)
	}
	x.taken[name] = true
	x.env = append(x.env, name)
	return name
}
