package params

import (
	"fmt"
	"testing"

	"latchkey/internal/registry"
)

func TestURIsFindTheirResource(t *testing.T) {
	var u URIs
	for _, one := range []struct {
		uri       string
		variables []string
	}{{"a://all", nil}, {"a://{id}", []string{"id"}}, {"a://{id}/{part}", []string{"id", "part"}}} {
		if err := u.Add(one.uri, one.variables); err != nil {
			t.Fatal(err)
		}
	}
	for uri, want := range map[string]string{
		"a://all": "0 map[]", "a://7": "1 map[id:7]", "a://7/x": "2 map[id:7 part:x]", "a://a%2Fb": "1 map[id:a/b]", "b://7": "-1 map[]", "a://7/x/y": "-1 map[]", "": "-1 map[]",
	} {
		i, values := u.Match(uri)
		if got := fmt.Sprint(i, " ", values); got != want {
			t.Errorf("%q is %s, want %s", uri, got, want)
		}
	}
}

func TestFileIsForKindsThatTakeIt(t *testing.T) {
	n, _ := registry.ReadYAML("parameters: [{name: f, type: file}, {name: g, type: array, items: file}]")
	for files, want := range map[bool]int{true: 0, false: 2} {
		r := &registry.Reader{}
		ReadAll(r, r.Object(n, "tool", "parameters"), nil, files)
		if len(r.Problems) != want {
			t.Errorf("files %v: %v", files, r.Problems)
		}
	}
}
