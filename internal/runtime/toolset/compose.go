package toolset

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/registry"
)

// compose says what a spec comes to over the tenant's servers (runtime.Kind's
// Compose). What a tool may do is its own server's word: nothing here changes its
// risk, its schemas, or how it is kept safe.
func compose(raw json.RawMessage, over registry.Composing) (json.RawMessage, registry.Definition, []registry.Problem) {
	var s spec
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, registry.Definition{}, []registry.Problem{{Path: "spec", Reason: "is not one of this kind", Fix: "declare it again"}}
	}
	c := &composer{spec: s, def: s.definition(), leaveOut: over.LeaveOut, servers: map[string]*registry.Hosted{}, names: map[string]taken{}, singly: map[string]bool{}}
	for i := range over.Servers {
		c.servers[over.Servers[i].Server.Slug] = &over.Servers[i]
	}
	for _, e := range s.Tools {
		if e.Tool != "" {
			c.singly[e.Server+"/"+e.Tool] = true
		}
	}
	for i := range s.Tools {
		c.entry(&s.Tools[i], fmt.Sprintf("spec.tools[%d]", i))
	}
	if len(c.def.Tools) > maxTools {
		c.bad("spec.tools", fmt.Sprintf("comes to more than %d tools", maxTools), "take fewer")
	}
	if len(c.problems) > 0 {
		return nil, registry.Definition{}, c.problems
	}
	c.successors()
	return raw, c.def, nil
}

type composer struct {
	spec     spec
	def      registry.Definition
	leaveOut bool
	servers  map[string]*registry.Hosted
	names    map[string]taken // by the name in lower case
	singly   map[string]bool  // server/tool of entries for one tool
	problems []registry.Problem
}

// taken is who has a name.
type taken struct{ name, origin string }

func (c *composer) bad(path, reason, fix string) {
	c.problems = append(c.problems, registry.Problem{Path: path, Reason: reason, Fix: fix})
}

// server finds a member. One that is not published offers nothing yet.
func (c *composer) server(e *entry, path string) *registry.Hosted {
	h := c.servers[e.Server]
	switch {
	case h == nil && c.leaveOut:
	case h == nil:
		c.bad(path, fmt.Sprintf("there is no server %q", e.Server), "write the slug of a server of this tenant")
	case h.Server.Kind == name:
		if !c.leaveOut {
			c.bad(path, fmt.Sprintf("%s is a toolset, and toolsets hold no toolsets", e.Server), "name the servers that have the tools")
		}
	case h.Server.Active != "":
		return h
	}
	return nil
}

func (c *composer) entry(e *entry, path string) {
	h := c.server(e, path)
	if h == nil {
		return
	}
	if e.Tool != "" {
		t, ok := h.Revision.Definition.Tool(e.Tool)
		if !ok {
			if !c.leaveOut {
				c.bad(path, fmt.Sprintf("the server %s has no tool %.80q", e.Server, e.Tool), "it has "+some(h.Revision.Definition))
			}
			return
		}
		c.add(e, t, orElse(e.Name, t.Name), path)
		return
	}
	found := false
	for i := range h.Revision.Definition.Tools {
		t := &h.Revision.Definition.Tools[i]
		if !e.takes(t.Name) {
			continue
		}
		found = true
		if !c.singly[e.Server+"/"+t.Name] { // an entry of its own says how it is called
			c.add(e, t, e.Prefix+t.Name, path)
		}
	}
	if !found && !c.leaveOut {
		c.bad(path, fmt.Sprintf("takes no tool of the server %s", e.Server), "it has "+some(h.Revision.Definition))
	}
}

func some(d registry.Definition) string {
	var names []string
	for _, t := range d.Tools {
		if len(names) == 20 {
			names = append(names, "…")
			break
		}
		names = append(names, t.Name)
	}
	if len(names) == 0 {
		return "no tools"
	}
	return strings.Join(names, ", ")
}

// reserved are the tools of a toolset that is searched.
var reserved = []string{"search_tools", "describe_tool", "execute_tool"}

func (c *composer) add(e *entry, t *registry.Tool, as, path string) {
	origin, key := e.Server+"/"+t.Name, strings.ToLower(as)
	if who, clash := c.names[key]; clash {
		if who.origin == origin && who.name == as { // two patterns that take it
			return
		}
		what := fmt.Sprintf("%s would be called %s, as %s is", origin, as, who.origin)
		if who.name != as {
			what = fmt.Sprintf("%s would be called %s, which reads as %s, the name of %s", origin, as, who.name, who.origin)
		}
		c.clash(path, what, "give one of them another name, or its server a prefix")
		return
	}
	if c.spec.Search && slices.Contains(reserved, key) {
		c.clash(path, fmt.Sprintf("%s would be called %s, which is a tool of every toolset that is searched", origin, as), "give it another name")
		return
	}
	if len(as) > 128 {
		c.clash(path, fmt.Sprintf("the name of %s would be longer than 128 characters", origin), "give it another name")
		return
	}
	scope := orElse(e.Scope, orElse(c.spec.Scope, e.Server+":"+t.Scope))
	if !scopePattern.MatchString(scope) {
		c.clash(path, fmt.Sprintf("the scope of %s would be %.100q, which is none", origin, scope), "say scope: …; "+scopeFix)
		return
	}
	c.names[key] = taken{as, origin}
	c.def.Logging = c.def.Logging || c.servers[e.Server].Revision.Definition.Logging
	out := *t
	out.Name, out.Scope, out.Hash = as, scope, ""
	out.Title, out.Description = orElse(e.Title, t.Title), orElse(e.Description, t.Description)
	out.Origin = &registry.Origin{Server: e.Server, Tool: t.Name, Hash: t.Hash}
	c.def.Tools = append(c.def.Tools, out)
}

// clash is a problem that whoever declares can put right. Later it comes of what
// a member publishes: then the one that came second is left out.
func (c *composer) clash(path, reason, fix string) {
	if !c.leaveOut {
		c.bad(path, reason, fix)
	}
}

// successors names what takes the place of deprecated tools as it is called here.
func (c *composer) successors() {
	for i := range c.def.Tools {
		t := &c.def.Tools[i]
		if t.Deprecated == nil || t.Deprecated.Successor == "" {
			continue
		}
		d := *t.Deprecated
		server, tool, other := strings.Cut(d.Successor, "/")
		if !other {
			server, tool = t.Origin.Server, d.Successor
		}
		d.Successor = ""
		for _, o := range c.def.Tools {
			if o.Origin.Server == server && o.Origin.Tool == tool {
				d.Successor = o.Name
				break
			}
		}
		t.Deprecated = &d
	}
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}
