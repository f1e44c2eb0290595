// Package kinds lists the kinds of server that workers run. A new kind is one
// line here; everything else of it is in its own package.
package kinds

import (
	"encoding/json"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/echotool"
	"latchkey/internal/runtime/httptool"
	"latchkey/internal/runtime/remotetool"
	"latchkey/internal/runtime/sqltool"
	"latchkey/internal/runtime/stdiotool"
	"latchkey/internal/runtime/toolset"
	"latchkey/internal/secret"
)

// All lists every kind.
func All() []runtime.Kind {
	return []runtime.Kind{
		sqltool.Kind,
		httptool.Kind,
		echotool.Kind,
		remotetool.Kind,
		stdiotool.New(),
		toolset.Kind,
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

func (checker) Discovers(kind string) bool {
	k, _ := ByName(kind)
	return k.Define != nil
}

func (checker) Define(kind string, spec json.RawMessage, pinned registry.Offer) (json.RawMessage, registry.Definition, []registry.Problem) {
	k, _ := ByName(kind)
	return k.Define(spec, pinned)
}

func (checker) Composes(kind string) bool {
	k, _ := ByName(kind)
	return k.Compose != nil
}

func (checker) Compose(kind string, spec json.RawMessage, over registry.Composing) (json.RawMessage, registry.Definition, []registry.Problem) {
	k, _ := ByName(kind)
	return k.Compose(spec, over)
}

// Account says which account a server's calls run with, where somebody has to
// connect one.
func Account(s *registry.Server) (registry.Account, bool) {
	k, _ := ByName(s.Kind)
	if k.Account == nil || len(s.Connection) == 0 {
		return registry.Account{}, false
	}
	return k.Account(s.Connection)
}
