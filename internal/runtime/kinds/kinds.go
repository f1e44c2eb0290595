// Package kinds lists the kinds of server that workers run. A new kind is one
// line here; everything else of it is in its own package.
package kinds

import (
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/echotool"
)

// All lists every kind.
func All() []runtime.Kind {
	return []runtime.Kind{
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
