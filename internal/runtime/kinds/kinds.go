// Package kinds lists the kinds of server that workers run. A new kind is one
// line here; everything else of it is in its own package.
package kinds

import (
	"encoding/json"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/echotool"
	"latchkey/internal/runtime/sqltool"
	"latchkey/internal/secret"
)

// All lists every kind.
func All() []runtime.Kind {
	return []runtime.Kind{
		sqltool.Kind,
		echotool.Kind,
	}
}

// ByName finds a kind.
func ByName(name string) (runtime.Kind, bool) {
	for _, k := range All() {
		if k.Name == name {
			return k, true
		}
	}
	return runtime.Kind{}, false
}

// Checker lets the registry check declared servers by their kind.
func Checker() registry.Kinds { return checker{} }

type checker struct{}

func (checker) Names() (names []string) {
	for _, k := range All() {
		names = append(names, k.Name)
	}
	return names
}

func (checker) CheckSpec(kind string, spec *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	k, _ := ByName(kind)
	return k.Check(spec)
}

func (checker) CheckConnection(kind string, connection *yaml.Node) (json.RawMessage, map[string]secret.Text, []registry.Problem) {
	k, _ := ByName(kind)
	switch {
	case k.CheckConnection != nil:
		return k.CheckConnection(connection)
	case connection != nil:
		return nil, nil, []registry.Problem{registry.ProblemAt(connection, "", "servers of kind "+kind+" have no connection", "remove it")}
	}
	return nil, nil, nil
}
