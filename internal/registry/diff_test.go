package registry_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"latchkey/internal/registry"
	"latchkey/internal/runtime/kinds"
)

// revisionOf makes a revision of a spec, as the kind reads it.
func revisionOf(t testing.TB, kind, spec string) registry.Revision {
	t.Helper()
	n, problems := registry.ReadYAML(spec)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s, problems := registry.CheckSpec(kinds.Checker(), kind, n)
	if len(problems) > 0 {
		t.Fatal(&registry.Problems{List: problems})
	}
	r, err := s.Revision(registry.Server{ID: "sv", Kind: kind}, nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const twoTools = `instructions: Be careful.
tools:
- name: find
  title: Find
  description: Finds things.
  risk: read
  max_rows: 50
  parameters:
  - {name: q, type: string, max_length: 100, required: true}
  - {name: n, type: integer, minimum: 1, maximum: 50, default: 20}
  statement: SELECT * FROM things WHERE name = :q LIMIT :n
- name: drop
  description: Drops a thing.
  scope: things:write
  statement: DELETE FROM things
`

func said(d registry.Diff) string {
	var b strings.Builder
	for _, c := range d.Changes {
		fmt.Fprintf(&b, "%s %s %s\n", c.Verb, c.What, c.Name)
		for _, f := range c.Fields {
			fmt.Fprintf(&b, "  %s: %s → %s\n", f.Field, f.Before, f.After)
		}
	}
	return b.String()
}

func TestDiffSaysWhatChanged(t *testing.T) {
	before := revisionOf(t, "sql", twoTools)
	for _, c := range []struct{ name, spec, want string }{
		{"nothing", twoTools, ""},
		{"words that mean nothing", strings.Replace(twoTools, "  title: Find\n", "  title: \"Find\" # a comment\n", 1), ""},
		{"how it is described", strings.NewReplacer("Finds things.", "Finds all things.", "Be careful.", "Be bold.").Replace(twoTools),
			"changed instructions \n  instructions: Be careful. → Be bold.\nchanged tool find\n  description: Finds things. → Finds all things.\n"},
		{"how it is guarded", strings.Replace(twoTools, "  scope: things:write\n", "  scope: things:drop\n  timeout: 1m\n  risk: write\n", 1),
			"changed tool drop\n  risk: destructive → write\n  scope: things:write → things:drop\n  timeout: 10s → 1m0s\n"},
		{"its schema", strings.Replace(twoTools, "maximum: 50", "maximum: 20", 1),
			"changed tool find\n  input_schema/properties/n/maximum: 50 → 20\nchanged spec \n  tools/find/parameters/n/maximum: 50 → 20\n"},
		{"only its statement", strings.Replace(twoTools, "FROM things WHERE", "FROM all_things WHERE", 1),
			"changed spec \n  tools/find/statement: SELECT * FROM things WHERE name = :q LIMIT :n → SELECT * FROM all_things WHERE name = :q LIMIT :n\n"},
		{"only its bounds", strings.Replace(twoTools, "max_rows: 50", "max_rows: 51", 1), "changed spec \n  tools/find/max_rows: 50 → 51\n"},
		{"one less", twoTools[:strings.Index(twoTools, "- name: drop")],
			"removed tool drop\n  description: Drops a thing. → \n  risk: destructive → \n  scope: things:write → \n  timeout: 10s → \nchanged spec \n  tools/drop/statement: DELETE FROM things → \n"},
		{"one more", twoTools + "prompts:\n- {name: ask, text: Hello}\n",
			"added prompt ask\n  scope:  → prompt:ask\n  text:  → Hello\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			after := revisionOf(t, "sql", c.spec)
			d := registry.DiffOf(before, after)
			if got := said(d); got != c.want || d.Same != (c.want == "") {
				t.Errorf("same: %v\n%s\nwant\n%s", d.Same, got, c.want)
			}
			mirrored(t, before, after)
		})
	}
	if d := registry.DiffOf(registry.Revision{}, before); d.Same || len(d.Changes) != 3 {
		t.Errorf("from nothing: %s", said(d))
	}
	long := strings.Repeat("x", 5000)
	d := registry.DiffOf(revisionOf(t, "sql", strings.Replace(twoTools, "Be careful.", long+"a"+long, 1)), revisionOf(t, "sql", strings.Replace(twoTools, "Be careful.", long+"b"+long, 1)))
	if f := d.Changes[0].Fields[0]; len(f.Before) > 2000 || !strings.Contains(f.Before, "xax") || !strings.Contains(f.After, "xbx") {
		t.Errorf("a long text is shown as %d bytes: %.100s", len(f.Before), f.Before)
	}
}

// mirrored: what is added one way is removed the other, and before is after.
func mirrored(t *testing.T, a, b registry.Revision) {
	t.Helper()
	there, back := registry.DiffOf(a, b), registry.DiffOf(b, a)
	if there.Same != back.Same || len(there.Changes) != len(back.Changes) {
		t.Fatalf("\n%s\nback\n%s", said(there), said(back))
	}
	if d := registry.DiffOf(a, a); !d.Same || len(d.Changes) != 0 {
		t.Fatalf("a revision differs from itself:\n%s", said(d))
	}
	turned := map[string]string{"added": "removed", "removed": "added", "changed": "changed"}
	find := map[string]registry.Change{}
	for _, c := range back.Changes {
		find[turned[c.Verb]+" "+c.What+" "+c.Name] = c
	}
	for _, c := range there.Changes {
		other, ok := find[c.Verb+" "+c.What+" "+c.Name]
		if !ok || len(other.Fields) != len(c.Fields) {
			t.Fatalf("%+v is not in\n%s", c, said(back))
		}
		for i, f := range c.Fields {
			if o := other.Fields[i]; f.Field != o.Field || f.Before != o.After || f.After != o.Before {
				t.Fatalf("%+v and back %+v", f, o)
			}
		}
	}
	if a.Hash != b.Hash && there.Same {
		t.Fatalf("%s and %s differ, and nothing is said", a.Hash, b.Hash)
	}
	if !reflect.DeepEqual(registry.DiffOf(a, b), there) {
		t.Fatal("the order is not stable")
	}
}

// randomRevision makes one of a few tools whose parts differ now and then.
func randomRevision(r *rand.Rand) registry.Revision {
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	schema := func() json.RawMessage {
		return json.RawMessage(pick(`{"type":"object"}`, `{"properties":{"a":{"type":"string"},"b":{"enum":[1,2]}},"type":"object"}`, `{"type":"object","properties":{"b":{"enum":[1,"2"]},"a":{"type":"string"}}}`,
			`{"properties":{"a/b~c":{"default":""},"x":{"allOf":[{"name":"p","v":1},{"name":"q"}]}}}`, `{"x":{"allOf":[{"name":"q"},{"name":"p","v":"1"}]}}`, `null`, `[]`, `"text"`, `{`, ``))
	}
	var d registry.Definition
	d.Instructions = pick("", "a", strings.Repeat("long ", 500)+pick("x", "y"))
	for _, name := range []string{"a", "b", "a", "c"}[:r.IntN(5)] {
		d.Tools = append(d.Tools, registry.Tool{Name: name, Title: pick("", "T"), Description: pick("d", "e\n\xff"), Scope: pick("s", ""), Risk: registry.Risk(pick("read", "write")),
			InputSchema: schema(), OutputSchema: schema(), Timeout: time.Duration(r.IntN(2)) * time.Second, Idempotent: r.IntN(2) == 0})
	}
	r.Shuffle(len(d.Tools), func(i, j int) { d.Tools[i], d.Tools[j] = d.Tools[j], d.Tools[i] })
	if r.IntN(2) == 0 {
		d.Resources = []registry.Resource{{Name: "r", URI: pick("x://a", "x://b")}}
		d.Prompts = []registry.Prompt{{Name: pick("p", "q"), Text: pick("t", "u"), Arguments: []registry.PromptArgument{{Name: pick("m", "n"), Required: r.IntN(2) == 0}}}}
	}
	for i := range d.Tools { // schemas that are no JSON cannot be hashed
		for _, s := range []*json.RawMessage{&d.Tools[i].InputSchema, &d.Tools[i].OutputSchema} {
			if !json.Valid(*s) {
				*s = json.RawMessage(`{}`)
			}
		}
	}
	rev, err := registry.NewRevision(registry.Server{Kind: "k"}, json.RawMessage(pick(`{"x":1}`, `{"x":2}`)), d, "t")
	if err != nil {
		panic(err)
	}
	rev.ID = "rv"
	rev.Declared = json.RawMessage(pick(``, `{"tools":["a","b"]}`, `{"tools":[{"name":"a","limit":1},"b"]}`, `{"tools":[{"name":"a","limit":2}],"x":[]}`))
	return rev
}

func FuzzDiff(f *testing.F) {
	for i := range uint64(20) {
		f.Add(i, i*7)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		x, y := randomRevision(rand.New(rand.NewPCG(a, 1))), randomRevision(rand.New(rand.NewPCG(b, 1)))
		mirrored(t, x, y)
		for _, c := range registry.DiffOf(x, y).Changes {
			for _, f := range c.Fields {
				if len(f.Before) > 4000 || len(f.After) > 4000 || f.Field == "" {
					t.Fatalf("%+v", f)
				}
			}
		}
	})
}

func text(s string) *string { return &s }

func TestPatchToolLeavesAllElseAlone(t *testing.T) {
	read, minute := registry.Reads, time.Minute
	for _, c := range []struct {
		name, declared, tool string
		patch                registry.ToolPatch
		want                 string // empty: refused
	}{
		{"a value", `{"z":1.50,"tools":[{"risk":"write","name":"a","x":{"name":"a"}},{"name":"b"}],"a":"é<"}`, "a", registry.ToolPatch{Risk: &read},
			`{"z":1.50,"tools":[{"risk":"read","name":"a","x":{"name":"a"}},{"name":"b"}],"a":"é<"}`},
		{"one that was not there", `{"tools":[{"name":"a"},{"name":"b","k":[1,2]}]}`, "b", registry.ToolPatch{Title: text("T \"q\" <b>"), Timeout: &minute},
			`{"tools":[{"name":"a"},{"name":"b","k":[1,2],"title":"T \"q\" <b>","timeout":"1m0s"}]}`},
		{"all", `{ "tools" : [ { "name" : "a", "description":"d","scope":"s" } ] }`, "a", registry.ToolPatch{Title: text("t"), Description: text("e"), Scope: text("u"), Risk: &read, Timeout: &minute},
			`{ "tools" : [ { "name" : "a", "description":"e","scope":"u" ,"title":"t","risk":"read","timeout":"1m0s"} ] }`},
		{"a bare name", `{"tools":["echo","a"]}`, "a", registry.ToolPatch{Scope: text("s")}, `{"tools":["echo",{"name":"a","scope":"s"}]}`},
		{"an escaped name", `{"tools":[{"name":"\u0061"}]}`, "a", registry.ToolPatch{Scope: text("s")}, `{"tools":[{"name":"\u0061","scope":"s"}]}`},
		{"no such tool", `{"tools":[{"name":"a"}]}`, "b", registry.ToolPatch{Scope: text("s")}, ``},
		{"no list", `{"tools":{"a":{}}}`, "a", registry.ToolPatch{Scope: text("s")}, ``},
		{"no tools", `{}`, "a", registry.ToolPatch{Scope: text("s")}, ``},
		{"nothing declared", ``, "a", registry.ToolPatch{Scope: text("s")}, ``},
		{"a name that is none", `{"tools":[{"name":1},{"nome":"a"},7,null]}`, "a", registry.ToolPatch{Scope: text("s")}, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.declared
			got, err := registry.PatchTool(json.RawMessage(c.declared), c.tool, c.patch)
			if string(got) != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%s, %v\nwant %s", got, err, c.want)
			}
			if c.declared != before {
				t.Error("what was declared was changed")
			}
		})
	}
}

func FuzzPatchTool(f *testing.F) {
	f.Add(`{"tools":[{"name":"a","scope":"x"},"b"],"tools":[]}`, "a", "s")
	f.Add(`{"tools":[{"name":"a","name":"b"}]}`, "b", "\"\\")
	f.Fuzz(func(t *testing.T, declared, tool, scope string) {
		out, err := registry.PatchTool(json.RawMessage(declared), tool, registry.ToolPatch{Scope: &scope, Description: &scope})
		if err == nil && json.Valid([]byte(declared)) && !json.Valid(out) {
			t.Fatalf("%s became %s", declared, out)
		}
	})
}
