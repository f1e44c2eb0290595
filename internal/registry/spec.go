package registry

import (
	"encoding/json"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Spec is a declared spec that a kind has checked.
type Spec struct {
	Declared   json.RawMessage
	Normalized json.RawMessage
	// Definition is what the spec itself says. Of a kind that discovers, what the
	// upstream offers is not in it: see Revision. Of one that composes, what the
	// other servers offer is in it after Compose.
	Definition Definition
	kind       string
	kinds      Kinds
}

// CheckSpec reads a spec. A node of ReadYAML or ReadJSON is what it takes; nil
// stands for a spec that says nothing. A kind may cut down what it has no use for,
// such as the rest of a large document: what is declared is what is left.
func CheckSpec(kinds Kinds, kind string, n *yaml.Node) (s Spec, problems []Problem) {
	s.kind, s.kinds = kind, kinds
	s.Normalized, s.Definition, problems = kinds.CheckSpec(kind, n)
	s.Declared = JSONOf(n)
	return s, atMostProblems(problems)
}

func atMostProblems(problems []Problem) []Problem {
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems], Problem{Reason: fmt.Sprintf("and %d more", more)})
	}
	return problems
}

// Discovers reports whether what the server offers is its upstream's to say.
func (s Spec) Discovers() bool { return s.kinds != nil && s.kinds.Discovers(s.kind) }

// Discovering reports whether it is not known yet what the server offers.
func (s Spec) Discovering(pinned *Offer) bool { return pinned == nil && s.Discovers() }

// Revision makes the revision of a server that says what the spec does, over
// what is pinned of its upstream's offer; nil: nothing is yet. Every revision is
// made here. The error is *Problems where the spec does not fit the offer.
func (s Spec) Revision(of Server, pinned *Offer, actor string) (Revision, error) {
	spec, def := s.Normalized, s.Definition
	if pinned != nil && s.Discovers() {
		var problems []Problem
		if spec, def, problems = s.kinds.Define(s.kind, s.Normalized, *pinned); len(problems) > 0 {
			return Revision{}, &Problems{List: atMostProblems(problems)}
		}
	}
	r, err := NewRevision(of, spec, def, actor)
	r.Declared = s.Declared
	return r, err
}

// Redefine makes of a stored revision the one that says the same over another
// pinned offer.
func Redefine(kinds Kinds, s Server, r Revision, pinned *Offer, actor string) (Revision, error) {
	n, problems := ReadJSON(r.Declared)
	if len(problems) > 0 {
		return Revision{}, &Problems{List: problems}
	}
	spec, problems := CheckSpec(kinds, s.Kind, n)
	if len(problems) > 0 {
		return Revision{}, &Problems{List: problems}
	}
	return spec.Revision(s, pinned, actor)
}

// documents replaces what refers to a file with a description of an upstream:
// `document: {file: PATH}`, at the top of a spec or in a mapping there. Secrets have
// no place in a spec.
func (r *Reader) documents(spec *yaml.Node, path string, depth int, resolve Resolve) {
	if spec == nil || spec.Kind != yaml.MappingNode || resolve == nil {
		return
	}
	for i := 0; i+1 < len(spec.Content); i += 2 {
		key, n := spec.Content[i].Value, spec.Content[i+1]
		switch at := joined(path, key); {
		case key == "document" && n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "file" && n.Content[1].Kind == yaml.ScalarNode:
			text, err := resolve("file", n.Content[1].Value)
			if err != nil {
				r.Problem(n, at, err.Error(), "name a file beside this one")
				continue
			}
			*n = yaml.Node{Kind: yaml.ScalarNode, Tag: textTag, Value: text, Line: n.Line, Column: n.Column}
		case depth == 0:
			r.documents(n, at, 1, resolve)
		}
	}
}
