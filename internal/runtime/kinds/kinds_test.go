package kinds

import (
	"testing"

	"latchkey/internal/registry"
)

func TestEveryKindIsWholeAndFound(t *testing.T) {
	for _, k := range All() {
		if k.Name == "" || k.Title == "" || k.Description == "" || k.Check == nil || k.Open == nil {
			t.Errorf("kind %q lacks a name, a word about it, Check or Open", k.Name)
		}
		if (k.CheckConnection == nil) != (k.Provision == nil) || (k.CheckConnection == nil) != (k.Source == nil) {
			t.Errorf("kind %q has a connection in part", k.Name)
		}
		n, problems := registry.ReadYAML(k.Template)
		if len(problems) == 0 {
			_, _, problems = k.Check(n)
		}
		if len(problems) > 0 {
			t.Errorf("kind %q: its own template cannot be used: %v", k.Name, &registry.Problems{List: problems})
		}
		if found, ok := ByName(k.Name); !ok || found.Name != k.Name {
			t.Errorf("kind %q is not found, or listed twice", k.Name)
		}
	}
	if _, ok := ByName("none"); ok {
		t.Error("found a kind that is not there")
	}
}
