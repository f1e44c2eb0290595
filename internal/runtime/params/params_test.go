package params

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

func read(t *testing.T, text string) (all []Parameter) {
	t.Helper()
	n, problems := registry.ReadYAML(text)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r := &registry.Reader{}
	for i, one := range n.Content {
		all = append(all, Read(r, one, fmt.Sprintf("p[%d]", i), nil))
	}
	if len(r.Problems) > 0 {
		t.Fatal(r.Problems)
	}
	return all
}

func TestValuesAreCheckedAndFilledIn(t *testing.T) {
	all := read(t, `
- {name: id, type: integer, minimum: 1, required: true}
- {name: state, type: string, enum: [open, done], default: open}
- {name: tags, type: array, items: string, max_items: 2}
- {name: me, from: caller.email}
`)
	call := func(from string) string { return map[string]string{"caller.email": "sam@acme.test"}[from] }
	for given, want := range map[string]string{
		`{"id":7}`:                             `{"id":7,"me":"sam@acme.test","state":"open"}`,
		`{"id":7,"state":"done","tags":["a"]}`: `{"id":7,"me":"sam@acme.test","state":"done","tags":["a"]}`,
		`{"id":7,"tags":null}`:                 `{"id":7,"me":"sam@acme.test","state":"open"}`,
		`{}`:                                   "/id",
		`{"id":0}`:                             "/id",
		`{"id":1,"me":"mallory@acme.test"}`:    "/me",
		`{"id":1,"tags":["a","b","c"]}`:        "/tags",
		`{"id":1,"state":"x","more":1}`:        "/more /state",
	} {
		in := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(given), &in); err != nil {
			t.Fatal(err)
		}
		values, err := Values(all, in, call)
		raw, _ := json.Marshal(values)
		got := string(raw)
		if f := (*fault.Error)(nil); errors.As(err, &f) {
			got = ""
			for i, d := range f.Details {
				if i > 0 {
					got += " "
				}
				got += d.Pointer
			}
		}
		if got != want {
			t.Errorf("%s gives %s, want %s", given, got, want)
		}
	}
	if names := fmt.Sprint(Offered(all)); names != "[id state tags]" {
		t.Errorf("the model is offered %s", names)
	}
}
