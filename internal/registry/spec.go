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
	Definition Definition
}

// CheckSpec reads a spec. A node of ReadYAML or ReadJSON is what it takes; nil
// stands for a spec that says nothing.
func CheckSpec(kinds Kinds, kind string, n *yaml.Node) (s Spec, problems []Problem) {
	s.Declared = JSONOf(n)
	s.Normalized, s.Definition, problems = kinds.CheckSpec(kind, n)
	if len(problems) > maxProblems {
		problems = append(problems[:maxProblems], Problem{Reason: fmt.Sprintf("and %d more", len(problems)-maxProblems)})
	}
	return s, problems
}

// Revision makes the revision of a server that says what the spec does.
func (s Spec) Revision(of Server, actor string) (Revision, error) {
	r, err := NewRevision(of, s.Normalized, s.Definition, actor)
	r.Declared = s.Declared
	return r, err
}
