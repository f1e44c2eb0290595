package kinds

import "testing"

func TestEveryKindIsWholeAndFound(t *testing.T) {
	for _, k := range All() {
		if k.Name == "" || k.Check == nil || k.Open == nil {
			t.Errorf("kind %q lacks a name, Check or Open", k.Name)
		}
		if found, ok := ByName(k.Name); !ok || found.Name != k.Name {
			t.Errorf("kind %q is not found, or listed twice", k.Name)
		}
	}
	if _, ok := ByName("none"); ok {
		t.Error("found a kind that is not there")
	}
}
