package params

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/yosida95/uritemplate/v3"
	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
)

var (
	namePattern  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	scopePattern = regexp.MustCompile(`^[a-z][a-z0-9_:.-]{0,63}$`)
	placePattern = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)
)

// Names are those that a spec has declared, by sort.
type Names map[string]bool

// Read reads the name of a thing and refuses a second of that name.
func (names Names) Read(o registry.Object, kind string) string {
	name := o.Needed("name", "give the "+kind+" a name")
	switch {
	case name == "":
	case !namePattern.MatchString(name):
		o.Bad("name", fmt.Sprintf("%.80q is no name", name), "use letters, digits, _ and -, 64 at most")
	case names[kind+name]:
		o.Bad("name", fmt.Sprintf("a %s %q is declared already", kind, name), "give each a name of its own")
	}
	names[kind+name] = true
	return name
}

// Scope reads the scope that opens a thing.
func Scope(o registry.Object, def string) string {
	s := o.Text("scope")
	if s == "" {
		return strings.ToLower(def)
	}
	if !scopePattern.MatchString(s) {
		o.Bad("scope", fmt.Sprintf("%.80q is no scope", s), "use a-z, 0-9, _, :, . and -, beginning with a letter, such as orders:read")
	}
	return s
}

// Risk reads what a wrong call costs; def is that of a tool that does not say.
func Risk(o registry.Object, def registry.Risk) registry.Risk {
	switch r := registry.Risk(o.Text("risk")); r {
	case "":
		return def
	case registry.Reads, registry.Writes, registry.Destructive:
		return r
	}
	o.Bad("risk", "is not known", "write read, write or destructive")
	return registry.Destructive
}

// Variables reads those of a URI template. Only {name} is allowed, so that
// what a URI is matched against cannot be read in two ways.
func Variables(o registry.Object, uri string) []string {
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
		if !Name.MatchString(v) || !strings.Contains(uri, "{"+v+"}") {
			o.Bad("uri", fmt.Sprintf("has the variable %q", v), "use only plain variables such as {id}, of a-z, 0-9 and _")
		}
	}
	return names
}

// Prompt reads a prompt: a text with {{argument}} places.
func (names Names) Prompt(c *registry.Reader, n *yaml.Node, path string) registry.Prompt {
	o := c.Object(n, path, "name", "title", "description", "scope", "arguments", "text")
	p := registry.Prompt{Name: names.Read(o, "prompt"), Title: o.Text("title"), Description: o.Text("description"),
		Text: o.Needed("text", "write what the prompt says, with {{argument}} places")}
	p.Scope = Scope(o, "prompt:"+p.Name)
	declared := map[string]bool{}
	o.List("arguments", func(n *yaml.Node, path string) {
		a := c.Object(n, path, "name", "description", "required")
		arg := registry.PromptArgument{Name: a.Text("name"), Description: a.Text("description"), Required: a.Flag("required")}
		if !Name.MatchString(arg.Name) {
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
