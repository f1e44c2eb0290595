package registry

import (
	"errors"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Origin is where a tool of a toolset is: at another server of the tenant, under
// whose rules it runs. What the toolset's definition says of it besides its name,
// title, description and scope is a copy for lists and reviews; a call is held
// against what the origin says then.
type Origin struct {
	Server string `json:"server"` // slug
	Tool   string `json:"tool"`
	Hash   string `json:"hash"` // of its definition there, when the copy was made
}

// String is server/tool; empty of nil.
func (o *Origin) String() string {
	if o == nil {
		return ""
	}
	return o.Server + "/" + o.Tool
}

// Origins lists the servers that a toolset's tools are of, each once.
func (d *Definition) Origins() (slugs []string) {
	seen := map[string]bool{}
	for i := range d.Tools {
		if o := d.Tools[i].Origin; o != nil && !seen[o.Server] {
			seen[o.Server] = true
			slugs = append(slugs, o.Server)
		}
	}
	return slugs
}

// Composing is what a toolset is made over.
type Composing struct {
	// Servers are the tenant's, as Store.Current lists them. Of one that is not
	// published, nothing is offered yet.
	Servers []Hosted
	// LeaveOut leaves out what is not there, as after a member was deleted; else
	// that is a problem.
	LeaveOut bool
}

// Composes reports whether the server offers tools of the tenant's other servers.
func (s Spec) Composes() bool { return s.kinds != nil && s.kinds.Composes(s.kind) }

// Compose makes the spec say what it comes to over the tenant's servers. Of a
// kind that does not compose it is what it was. The error is *Problems.
func (s Spec) Compose(over Composing) (Spec, error) {
	if !s.Composes() {
		return s, nil
	}
	normalized, def, problems := s.kinds.Compose(s.kind, s.Normalized, over)
	if len(problems) > 0 {
		return s, &Problems{List: atMostProblems(problems)}
	}
	s.Normalized, s.Definition = normalized, def
	return s, nil
}

// nodeAt is the node of a path such as tools[2].name, or of as much of it as is
// there.
func nodeAt(n *yaml.Node, path string) *yaml.Node {
	for n = Deref(n); path != ""; {
		path = strings.TrimPrefix(path, ".")
		if rest, ok := strings.CutPrefix(path, "["); ok {
			number, after, _ := strings.Cut(rest, "]")
			i, err := strconv.Atoi(number)
			if err != nil || n == nil || n.Kind != yaml.SequenceNode || i < 0 || i >= len(n.Content) {
				return n
			}
			n, path = Deref(n.Content[i]), after
			continue
		}
		key := path
		if i := strings.IndexAny(path, ".["); i >= 0 {
			key = path[:i]
		}
		next := (*yaml.Node)(nil)
		for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				next = Deref(n.Content[i+1])
			}
		}
		if next == nil {
			return n
		}
		n, path = next, path[len(key):]
	}
	return n
}

// Recompose makes of a toolset's stored revision the one that says the same over
// the servers as they are now; what is gone of them is left out. unchanged: that
// is the stored one.
func Recompose(kinds Kinds, s Server, r Revision, servers []Hosted) (rev Revision, unchanged bool, err error) {
	n, problems := ReadJSON(r.Declared)
	if len(problems) > 0 {
		return rev, false, &Problems{List: problems}
	}
	spec, problems := CheckSpec(kinds, s.Kind, n)
	if len(problems) > 0 {
		return rev, false, &Problems{List: problems}
	}
	if spec, err = spec.Compose(Composing{Servers: servers, LeaveOut: true}); err != nil {
		return rev, false, err
	}
	rev, err = spec.Revision(s, nil, r.CreatedBy)
	return rev, err == nil && rev.Hash == r.Hash, err
}

// Said are the words of a refusal for whoever has to correct something, with its
// places; empty for what is no refusal, and may be tried again.
func Said(err error) string {
	var ps *Problems
	if errors.As(err, &ps) {
		return ps.Error()
	}
	return said(err)
}
