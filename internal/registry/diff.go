package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Diff says how one revision differs from another.
type Diff struct {
	// Same is whether nothing differs, also of what a client does not see.
	Same    bool
	Changes []Change
}

// Change is one thing that was added, removed or changed.
type Change struct {
	Verb   string // added, removed, changed
	What   string // tool, resource, prompt, instructions, spec
	Name   string
	Fields []FieldChange
}

// FieldChange is one value that differs; before or after is empty where there
// was none. They are to be read: long texts are cut around what differs.
type FieldChange struct {
	Field         string // such as risk, or input_schema/properties/limit/maximum
	Before, After string
}

const (
	maxFields   = 60   // of one change
	maxShown    = 1200 // bytes of one value
	shownBefore = 200  // of them before the first difference
)

// DiffOf compares two revisions. What a client sees comes first, in the order
// of the new one; then the rest of the spec, such as statements.
func DiffOf(before, after Revision) Diff {
	d := Diff{Changes: DiffDefinitions(before.Definition, after.Definition)}
	d.Changes = append(d.Changes, diffSpecs(before, after)...)
	if len(d.Changes) == 0 && before.Hash != after.Hash && before.Hash != "" && after.Hash != "" {
		d.Changes = []Change{{Verb: "changed", What: "spec", Fields: []FieldChange{{Field: "order"}}}}
	}
	d.Same = len(d.Changes) == 0
	return d
}

// DiffDefinitions compares what two revisions offer.
func DiffDefinitions(before, after Definition) []Change {
	var out []Change
	if before.Instructions != after.Instructions {
		c := changeOf("instructions", "", []field{{"instructions", before.Instructions}}, []field{{"instructions", after.Instructions}})
		c.Verb = "changed"
		out = append(out, c)
	}
	out = append(out, diffNamed("tool", before.Tools, after.Tools, func(t Tool) (string, string, []field) {
		return t.Name, t.Hash, append([]field{
			{"title", t.Title}, {"description", t.Description}, {"scope", t.Scope}, {"risk", string(t.Risk)},
			{"origin", t.Origin.String()}, {"idempotent", flag(t.Idempotent)}, {"open_world", flag(t.OpenWorld)}, {"timeout", duration(t.Timeout)},
		}, append(leaves("input_schema", t.InputSchema), leaves("output_schema", t.OutputSchema)...)...)
	})...)
	out = append(out, diffNamed("resource", before.Resources, after.Resources, func(r Resource) (string, string, []field) {
		return r.Name, r.Hash, []field{
			{"title", r.Title}, {"description", r.Description}, {"uri", r.URI}, {"uri_template", r.URITemplate}, {"mime_type", r.MIMEType},
			{"scope", r.Scope}, {"timeout", duration(r.Timeout)},
		}
	})...)
	return append(out, diffNamed("prompt", before.Prompts, after.Prompts, func(p Prompt) (string, string, []field) {
		fields := []field{{"title", p.Title}, {"description", p.Description}, {"text", p.Text}, {"scope", p.Scope}}
		for _, a := range p.Arguments {
			fields = append(fields, field{"arguments/" + a.Name + "/description", a.Description}, field{"arguments/" + a.Name + "/required", strconv.FormatBool(a.Required)})
		}
		return p.Name, p.Hash, fields
	})...)
}

func flag(b bool) string {
	if b {
		return "true"
	}
	return ""
}

func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// field is a value by its path, empty where there is none.
type field struct{ path, value string }

// diffNamed compares lists of named things: those of the new list in its order,
// then those that are gone in theirs.
func diffNamed[T any](what string, before, after []T, describe func(T) (name, hash string, fields []field)) (out []Change) {
	type described struct {
		hash   string
		fields []field
	}
	old := map[string]described{}
	var names []string
	for _, x := range before {
		name, hash, fields := describe(x)
		if _, twice := old[name]; !twice {
			names = append(names, name)
			old[name] = described{hash, fields}
		}
	}
	seen := map[string]bool{}
	for _, x := range after {
		name, hash, fields := describe(x)
		if seen[name] {
			continue
		}
		seen[name] = true
		was, known := old[name]
		c := changeOf(what, name, was.fields, fields)
		switch {
		case !known:
			c.Verb, c.Fields = "added", withoutSchemas(c.Fields)
		case len(c.Fields) > 0:
			c.Verb = "changed"
		case was.hash != hash && was.hash != "" && hash != "": // a model reads keys in their order
			c.Verb, c.Fields = "changed", []FieldChange{{Field: "order of keys"}}
		default:
			continue
		}
		out = append(out, c)
	}
	for _, name := range names {
		if !seen[name] {
			c := changeOf(what, name, old[name].fields, nil)
			c.Verb, c.Fields = "removed", withoutSchemas(c.Fields)
			out = append(out, c)
		}
	}
	return out
}

// withoutSchemas leaves of what is all new or all gone what tells most.
func withoutSchemas(fields []FieldChange) []FieldChange {
	return slices.DeleteFunc(fields, func(f FieldChange) bool {
		return strings.HasPrefix(f.Field, "input_schema") || strings.HasPrefix(f.Field, "output_schema")
	})
}

func changeOf(what, name string, before, after []field) Change {
	c := Change{What: what, Name: name}
	was, is := map[string]string{}, map[string]string{}
	for _, f := range before {
		was[f.path] = f.value
	}
	for _, f := range after {
		is[f.path] = f.value
	}
	more := 0
	add := func(path string) {
		if was[path] == is[path] {
			return
		}
		if len(c.Fields) == maxFields {
			more++
			return
		}
		b, a := shown(was[path], is[path])
		c.Fields = append(c.Fields, FieldChange{path, b, a})
	}
	// In the same order whichever way it is looked at.
	paths := map[string]bool{}
	for _, f := range slices.Concat(before, after) {
		paths[f.path] = true
	}
	for _, path := range inOrder(paths) {
		add(path)
	}
	if more > 0 {
		c.Fields = append(c.Fields, FieldChange{Field: fmt.Sprintf("and %d more", more)})
	}
	return c
}

// order of the fields that people look for first; others follow by their path.
var order = []string{"title", "description", "risk", "scope", "timeout", "idempotent", "open_world", "uri", "uri_template", "mime_type", "text", "instructions"}

func inOrder(paths map[string]bool) []string {
	out := make([]string, 0, len(paths))
	for p := range paths {
		out = append(out, p)
	}
	rank := func(p string) int {
		if i := slices.Index(order, p); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(out, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return out
}

// leaves lists the values in a JSON document by pointer, without the first
// slash. Lists of plain values count as one value: they are read as a whole.
func leaves(path string, raw json.RawMessage) []field {
	if len(raw) == 0 {
		return nil
	}
	n, problems := ReadJSON(raw)
	if len(problems) > 0 {
		return []field{{path, string(raw)}}
	}
	if isNull(n) {
		return nil
	}
	return leavesOf(path, n, nil)
}

// leavesOf walks plain nodes. A text is written as it is, unless it could be
// taken for another value.
func leavesOf(path string, n *yaml.Node, into []field) []field {
	if len(into) >= maxLeaves {
		return into
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == textTag:
		if n.Value == "" || json.Valid([]byte(n.Value)) {
			return append(into, field{path, string(quoted(n.Value))})
		}
		return append(into, field{path, n.Value})
	case n.Kind == yaml.ScalarNode, len(n.Content) == 0, n.Kind == yaml.SequenceNode && !slices.ContainsFunc(n.Content, isCompound):
		return append(into, field{path, string(JSONOf(n))})
	}
	names := namesOf(n)
	for i, c := range partsOf(n) {
		into = leavesOf(path+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(names[i]), c, into)
	}
	return into
}

const maxLeaves = 50_000

func isCompound(n *yaml.Node) bool { return n.Kind != yaml.ScalarNode }

func partsOf(n *yaml.Node) []*yaml.Node {
	if n.Kind == yaml.SequenceNode {
		return n.Content
	}
	var out []*yaml.Node
	for i := 1; i < len(n.Content); i += 2 {
		out = append(out, n.Content[i])
	}
	return out
}

// namesOf gives the keys of a mapping, and the names of a list's entries where
// each has one of its own, else their numbers.
func namesOf(n *yaml.Node) []string {
	var names []string
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			names = append(names, n.Content[i].Value)
		}
		return names
	}
	seen := map[string]bool{}
	for _, c := range n.Content {
		name := nameOf(c)
		if name == "" || seen[name] {
			names = nil
			break
		}
		seen[name] = true
		names = append(names, name)
	}
	if names == nil {
		for i := range n.Content {
			names = append(names, strconv.Itoa(i))
		}
	}
	return names
}

// nameOf a list's entry: a text is its own.
func nameOf(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.Tag == textTag {
		return n.Value
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if v := n.Content[i+1]; n.Content[i].Value == "name" && v.Kind == yaml.ScalarNode {
				return v.Value
			}
		}
	}
	return ""
}

// shown cuts two texts to what a person can read, around their first difference.
func shown(a, b string) (string, string) {
	if len(a) <= maxShown && len(b) <= maxShown {
		return clean(a), clean(b)
	}
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	from := max(0, at-shownBefore)
	cut := func(s string) string {
		if s == "" {
			return ""
		}
		start, end := min(from, len(s)), min(from+maxShown, len(s))
		for start > 0 && start < len(s) && !utf8.RuneStart(s[start]) {
			start--
		}
		for end < len(s) && !utf8.RuneStart(s[end]) {
			end--
		}
		out := s[start:end]
		if start > 0 {
			out = "…" + out
		}
		if end < len(s) {
			out += "…"
		}
		return out
	}
	return clean(cut(a)), clean(cut(b))
}

func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// diffSpecs compares what was declared, as far as the definitions do not say it
// already. Entries of lists are found by their name.
func diffSpecs(before, after Revision) []Change {
	if before.ID == "" && before.Hash == "" { // there was none
		return nil
	}
	if sameBytes(before.Spec, after.Spec) && before.Kind == after.Kind {
		return nil
	}
	c := Change{Verb: "changed", What: "spec"}
	if len(before.Declared) > 0 && len(after.Declared) > 0 {
		fields := func(r Revision) []field {
			return slices.DeleteFunc(leaves("", r.Declared), func(f field) bool { return told(f.path) })
		}
		was, is := fields(before), fields(after)
		for _, l := range [][]field{was, is} {
			for i := range l {
				l[i].path = strings.TrimPrefix(l[i].path, "/")
			}
		}
		c.Fields = changeOf("spec", "", was, is).Fields
	}
	if len(c.Fields) == 0 && len(DiffDefinitions(before.Definition, after.Definition)) > 0 {
		return nil // all of it is said
	}
	return []Change{c}
}

// told are the fields of a tool, resource or prompt that its definition has too.
func told(path string) bool {
	parts := strings.SplitN(path, "/", 5)
	switch {
	case len(parts) == 2:
		return parts[1] == "instructions"
	case len(parts) == 4:
		return slices.Contains([]string{"name", "title", "description", "scope", "risk", "timeout", "idempotent", "uri", "mime_type", "text"}, parts[3])
	}
	return false
}

func sameBytes(a, b json.RawMessage) bool { return bytes.Equal(a, b) || sameJSON(a, b) }
