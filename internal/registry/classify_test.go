package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func toolWith(input string) Tool {
	return Tool{Name: "t", Scope: "s", Risk: Reads, InputSchema: json.RawMessage(input)}
}

// argument is a tool with one argument, of a schema without its braces.
func argument(schema string) Tool {
	return toolWith(`{"type":"object","properties":{"a":{` + schema + `}},"additionalProperties":false}`)
}

func answering(output string) Tool {
	t := toolWith(`{"type":"object"}`)
	t.OutputSchema = json.RawMessage(output)
	return t
}

func classOf(before, after Tool) (Class, []Effect) {
	c := Classify(Definition{Tools: []Tool{before}}, Definition{Tools: []Tool{after}})
	return c.Class, c.Effects
}

func TestNarrowedEnumIsBreaking(t *testing.T) {
	class, effects := classOf(argument(`"type":"string","enum":["open","paid","sent"]`), argument(`"type":"string","enum":["open","paid"]`))
	if class != Breaking || len(effects) != 1 || effects[0].Field != "input_schema/properties/a/enum" || !strings.Contains(effects[0].Detail, `"sent" is not allowed any more`) || effects[0].Fix == "" || effects[0].Name != "t" {
		t.Errorf("%s %+v", class, effects)
	}
	if class, _ := classOf(argument(`"enum":["a"]`), argument(`"enum":["b","a"]`)); class != Additive {
		t.Errorf("one more value is %s", class)
	}
}

func TestArgumentsThatChange(t *testing.T) {
	for _, c := range []struct {
		name, before, after string
		there, back         Class
	}{
		{"type", `"type":"number"`, `"type":"integer"`, Breaking, Additive},
		{"one type less", `"type":["string","null"]`, `"type":"string"`, Breaking, Additive},
		{"another type", `"type":"string"`, `"type":"boolean"`, Breaking, Breaking},
		{"minimum", `"type":"integer","minimum":1`, `"type":"integer","minimum":2`, Breaking, Additive},
		{"minimum in other words", `"type":"number","minimum":1`, `"type":"number","minimum":1.0`, Additive, Additive},
		{"exclusive", `"type":"number","minimum":1`, `"type":"number","exclusiveMinimum":1`, Breaking, Additive},
		{"maximum", `"type":"integer"`, `"type":"integer","maximum":10`, Breaking, Additive},
		{"bound of another type", `"type":"string"`, `"type":"string","maximum":10`, Additive, Additive},
		{"steps", `"type":"number","multipleOf":4`, `"type":"number","multipleOf":2`, Additive, Breaking},
		{"length", `"type":"string","maxLength":10`, `"type":"string","maxLength":9`, Breaking, Additive},
		{"least length", `"type":"string"`, `"type":"string","minLength":1`, Breaking, Additive},
		{"no least length", `"type":"string"`, `"type":"string","minLength":0`, Additive, Additive},
		{"pattern", `"type":"string"`, `"type":"string","pattern":"^a"`, Breaking, Additive},
		{"another pattern", `"type":"string","pattern":"^a"`, `"type":"string","pattern":"^b"`, Breaking, Breaking},
		{"format", `"type":"string"`, `"type":"string","format":"date"`, Breaking, Additive},
		{"items", `"type":"array","items":{"type":"string"}`, `"type":"array","items":{"type":"string","enum":["a"]}`, Breaking, Additive},
		{"many items", `"type":"array","maxItems":5`, `"type":"array","maxItems":4`, Breaking, Additive},
		{"unique", `"type":"array"`, `"type":"array","uniqueItems":true`, Breaking, Additive},
		{"default", `"type":"integer","default":20`, `"type":"integer","default":50`, Breaking, Breaking},
		{"no default any more", `"type":"integer","default":20`, `"type":"integer"`, Breaking, Additive},
		{"description", `"type":"integer","description":"x"`, `"type":"integer","description":"y"`, Additive, Additive},
		{"alternatives", `"anyOf":[{"type":"string"}]`, `"anyOf":[{"type":"integer"},{"type":"string"}]`, Additive, Breaking},
		{"oneOf", `"oneOf":[{"type":"string"}]`, `"oneOf":[{"type":"integer"},{"type":"string"}]`, Breaking, Breaking},
		{"allOf", `"allOf":[{"minimum":1}]`, `"allOf":[{"minimum":1},{"maximum":2}]`, Breaking, Additive},
		{"not", `"not":{"const":1}`, `"not":{"const":2}`, Breaking, Breaking},
		{"nested closed", `"type":"object","properties":{"x":{}}`, `"type":"object","properties":{"x":{}},"additionalProperties":false`, Breaking, Additive},
		{"nested required", `"type":"object","properties":{"x":{}}`, `"type":"object","properties":{"x":{}},"required":["x"]`, Breaking, Additive},
		{"unknown keyword", `"x-mcp-header":"A"`, `"x-mcp-header":"B"`, Breaking, Breaking},
		{"of an enum that is data", `"enum":[{"description":"a"}]`, `"enum":[{"description":"b"}]`, Breaking, Breaking},
	} {
		if got, effects := classOf(argument(c.before), argument(c.after)); got != c.there {
			t.Errorf("%s: %s, want %s: %+v", c.name, got, c.there, effects)
		}
		if got, effects := classOf(argument(c.after), argument(c.before)); got != c.back {
			t.Errorf("%s, back: %s, want %s: %+v", c.name, got, c.back, effects)
		}
		if got, _ := classOf(argument(c.before), argument(c.before)); got != SameClass {
			t.Errorf("%s: not the same as itself", c.name)
		}
	}
}

func TestToolsThatChange(t *testing.T) {
	one := `{"type":"object","properties":{"a":{"type":"string"}}}`
	two := `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}}}`
	base := toolWith(one)
	with := func(f func(*Tool)) Tool { x := base; f(&x); return x }
	tools := func(list ...Tool) Definition { return Definition{Tools: list} }
	for name, c := range map[string]struct {
		before, after Definition
		want          Class
		field         string
	}{
		"removed":            {tools(base), tools(), Breaking, ""},
		"renamed":            {tools(base), tools(with(func(t *Tool) { t.Name = "u" })), Breaking, ""},
		"new":                {tools(), tools(base), Additive, ""},
		"scope":              {tools(base), tools(with(func(t *Tool) { t.Scope = "other" })), Breaking, "scope"},
		"risk raised":        {tools(base), tools(with(func(t *Tool) { t.Risk = Writes })), Breaking, "risk"},
		"risk raised more":   {tools(with(func(t *Tool) { t.Risk = Writes })), tools(with(func(t *Tool) { t.Risk = Destructive })), Additive, "risk"},
		"risk lowered":       {tools(with(func(t *Tool) { t.Risk = Writes })), tools(base), Additive, "risk"},
		"argument added":     {tools(base), tools(toolWith(two)), Additive, "input_schema/properties/b"},
		"argument removed":   {tools(toolWith(two)), tools(base), Breaking, "input_schema/properties/b"},
		"argument needed":    {tools(base), tools(toolWith(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`)), Breaking, "input_schema/required/a"},
		"policy":             {tools(base), tools(with(func(t *Tool) { t.Confirmation.Ask = ConfirmAlways })), Additive, "safety"},
		"deprecated":         {tools(base), tools(with(func(t *Tool) { t.Deprecated = &Deprecation{Sunset: "2030-01-01"} })), Additive, "safety"},
		"description":        {tools(base), tools(with(func(t *Tool) { t.Description = "other" })), Additive, "description"},
		"order of keys":      {tools(base), tools(toolWith(`{"properties":{"a":{"type":"string"}},"type":"object"}`)), Additive, "input_schema"},
		"answer said":        {tools(base), tools(with(func(t *Tool) { t.OutputSchema = json.RawMessage(one) })), Additive, "output_schema"},
		"answer not said":    {tools(answering(one)), tools(answering("")), Breaking, "output_schema"},
		"answer has more":    {tools(answering(one)), tools(answering(two)), Additive, "output_schema/properties/b"},
		"answer has less":    {tools(answering(two)), tools(answering(one)), Breaking, "output_schema/properties/b"},
		"answer of a type":   {tools(answering(one)), tools(answering(strings.Replace(one, "string", "integer", 1))), Breaking, "output_schema/properties/a/type"},
		"answer wider":       {tools(answering(one)), tools(answering(strings.Replace(one, `"string"`, `["string","null"]`, 1))), Breaking, "output_schema/properties/a/type"},
		"answer narrower":    {tools(answering(strings.Replace(one, `"string"`, `["string","null"]`, 1))), tools(answering(one)), Additive, "output_schema/properties/a/type"},
		"answer was closed":  {tools(answering(`{"type":"object","properties":{},"additionalProperties":false}`)), tools(answering(`{"type":"object","properties":{"a":{}},"additionalProperties":false}`)), Breaking, "output_schema/properties/a"},
		"answer may miss":    {tools(answering(`{"type":"object","properties":{"a":{}},"required":["a"]}`)), tools(answering(`{"type":"object","properties":{"a":{}}}`)), Breaking, "output_schema/required/a"},
		"instructions":       {Definition{Instructions: "a"}, Definition{Instructions: "b"}, Additive, "instructions"},
		"resource removed":   {Definition{Resources: []Resource{{Name: "r"}}}, Definition{}, Breaking, ""},
		"resource moved":     {Definition{Resources: []Resource{{Name: "r", URI: "a://b"}}}, Definition{Resources: []Resource{{Name: "r", URI: "a://c"}}}, Breaking, "uri"},
		"prompt's text":      {Definition{Prompts: []Prompt{{Name: "p", Text: "a"}}}, Definition{Prompts: []Prompt{{Name: "p", Text: "b"}}}, Additive, ""},
		"prompt needs":       {Definition{Prompts: []Prompt{{Name: "p"}}}, Definition{Prompts: []Prompt{{Name: "p", Arguments: []PromptArgument{{Name: "a", Required: true}}}}}, Breaking, "arguments/a"},
		"schema unreadable":  {tools(base), tools(toolWith(`{`)), Breaking, "input_schema"},
		"reference changed":  {tools(toolWith(`{"$ref":"#/$defs/a","$defs":{"a":{"type":"object"}}}`)), tools(toolWith(`{"$ref":"#/$defs/a","$defs":{"a":{"type":"string"}}}`)), Breaking, "input_schema"},
		"reference the same": {tools(toolWith(`{"properties":{"x":{"$ref":"#/$defs/a"}},"$defs":{"a":{"type":"object"}}}`)), tools(toolWith(`{"properties":{"x":{"$ref":"#/$defs/a"},"y":{}},"$defs":{"a":{"type":"object"}}}`)), Additive, "input_schema/properties/y"},
		"another dialect":    {tools(toolWith(`{"$schema":"http://json-schema.org/draft-07/schema#","properties":{}}`)), tools(toolWith(`{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"a":{}}}`)), Breaking, "input_schema"},
	} {
		got := Classify(c.before, c.after)
		if got.Class != c.want || len(got.Effects) == 0 || !slices.ContainsFunc(got.Effects, func(e Effect) bool { return e.Field == c.field && e.Class == c.want }) {
			t.Errorf("%s: want %s at %q, got %+v", name, c.want, c.field, got)
		}
		for _, e := range got.Breaking() {
			if e.Fix == "" || e.Detail == "" {
				t.Errorf("%s: says not what to do: %+v", name, e)
			}
		}
	}
}

// A schema that is nested, wide or made to be compared forever ends in time.
func TestHostileSchemasEnd(t *testing.T) {
	deep := func(n int, in string) string { return strings.Repeat(`{"items":`, n) + in + strings.Repeat(`}`, n) }
	var wide, other bytes.Buffer
	for i := range 30_000 {
		fmt.Fprintf(&wide, `,{"const":%d}`, i)
		fmt.Fprintf(&other, `,{"const":%d}`, 30_000-i)
	}
	for name, c := range map[string][2]string{
		"deep":     {deep(5000, `{}`), deep(5000, `true`)},
		"any of":   {`{"anyOf":[true` + wide.String() + `]}`, `{"anyOf":[false` + other.String() + `]}`},
		"enum":     {`{"enum":[0` + wide.String() + `]}`, `{"enum":[1` + other.String() + `]}`},
		"exponent": {`{"minimum":1e999999999}`, `{"minimum":1e999999998}`},
		"to itself": {`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}`,
			`{"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"}]}}}`},
	} {
		if class, _ := classOf(toolWith(c[0]), toolWith(c[1])); class != Breaking {
			t.Errorf("%s: %s", name, class)
		}
	}
}

// schemas makes schemas and values out of a fuzzer's seed.
type schemas struct{ *rand.Rand }

func (r schemas) pick(list ...string) string { return list[r.IntN(len(list))] }

func (r schemas) schema(depth int) map[string]any {
	s := map[string]any{}
	kind := r.pick("string", "integer", "number", "boolean", "null", "array", "object", "string", "object", "")
	if depth == 0 {
		kind = "object"
	}
	if depth > 2 && (kind == "array" || kind == "object") {
		kind = "string"
	}
	switch {
	case kind != "" && r.IntN(5) == 0:
		s["type"] = []any{kind, r.pick("null", "integer", "boolean")}
		if s["type"].([]any)[0] == s["type"].([]any)[1] {
			s["type"] = kind
		}
	case kind != "":
		s["type"] = kind
	}
	maybe := func(name string, v any) {
		if r.IntN(3) == 0 {
			s[name] = v
		}
	}
	switch kind {
	case "string", "":
		maybe("minLength", r.IntN(3))
		maybe("maxLength", 1+r.IntN(4))
		maybe("pattern", r.pick("^a", "b", "^[ab]*$"))
		maybe("enum", []any{"a", r.pick("b", "ab", "c")})
	case "integer", "number":
		maybe("minimum", r.IntN(4)-2)
		maybe("maximum", r.IntN(4))
		maybe("exclusiveMinimum", r.IntN(4)-3)
		maybe("multipleOf", 1+r.IntN(3))
		maybe("const", r.IntN(2))
	case "array":
		maybe("items", r.schema(depth+1))
		maybe("minItems", r.IntN(2))
		maybe("maxItems", r.IntN(3))
		maybe("uniqueItems", r.IntN(2) == 0)
	case "object":
		properties := map[string]any{}
		var required []any
		for _, name := range []string{"a", "b", "c"} {
			if r.IntN(2) == 0 {
				properties[name] = r.schema(depth + 1)
				if r.IntN(3) == 0 {
					required = append(required, name)
				}
			}
		}
		s["properties"] = properties
		if required != nil {
			s["required"] = required
		}
		switch r.IntN(4) {
		case 0, 1:
			s["additionalProperties"] = false
		case 2:
			s["additionalProperties"] = r.schema(depth + 2)
		}
		maybe("maxProperties", 1+r.IntN(3))
	}
	switch r.IntN(12) {
	case 0:
		s["anyOf"] = []any{r.leaf(), r.leaf()}
	case 1:
		s["allOf"] = []any{r.leaf()}
	case 2:
		s["not"] = r.leaf()
	case 3:
		s["description"] = r.pick("x", "y")
	}
	return s
}

func (r schemas) leaf() map[string]any {
	return map[string]any{"type": r.pick("string", "integer", "number", "null", "object")}
}

// changed copies a schema with one thing in it that is another.
func (r schemas) changed(s map[string]any, depth int) map[string]any {
	out := map[string]any{}
	for k, v := range s {
		out[k] = v
	}
	keys := make([]string, 0, len(s))
	for k := range s {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if len(keys) > 0 && r.IntN(3) > 0 {
		k := keys[r.IntN(len(keys))]
		if m, ok := s[k].(map[string]any); ok && k == "properties" && len(m) > 0 {
			names := make([]string, 0, len(m))
			properties := map[string]any{}
			for n, v := range m {
				names, properties[n] = append(names, n), v
			}
			slices.Sort(names)
			n := names[r.IntN(len(names))]
			if r.IntN(6) == 0 {
				delete(properties, n)
			} else {
				properties[n] = r.changed(m[n].(map[string]any), depth+1)
			}
			if r.IntN(4) == 0 {
				properties["d"] = r.schema(depth + 1)
			}
			out[k] = properties
			return out
		}
		if m, ok := s[k].(map[string]any); ok && k != "properties" {
			out[k] = r.changed(m, depth+1)
			return out
		}
		delete(out, k)
		if r.IntN(2) == 0 {
			return out
		}
	}
	other := r.schema(depth)
	for k, v := range other {
		if k != "properties" && r.IntN(2) == 0 {
			out[k] = v
		}
	}
	return out
}

// value is one that a schema may take or not, with members that it declares.
func (r schemas) value(s map[string]any, depth int) any {
	kinds := []string{"string", "integer", "null", "boolean", "array", "object", "number"}
	kind, _ := s["type"].(string)
	if l, ok := s["type"].([]any); ok {
		kind, _ = l[r.IntN(len(l))].(string)
	}
	if kind == "" || r.IntN(12) == 0 {
		kind = r.pick(kinds...)
	}
	switch kind {
	case "string":
		return r.pick("", "a", "b", "ab", "ba", "aab", "abab", "c")
	case "integer":
		return r.IntN(7) - 3
	case "number":
		return float64(r.IntN(13)-6) / 2
	case "null":
		return nil
	case "boolean":
		return r.IntN(2) == 0
	case "array":
		items, _ := s["items"].(map[string]any)
		out := []any{}
		for range r.IntN(4) {
			out = append(out, r.value(items, depth+1))
		}
		return out
	}
	out := map[string]any{}
	properties, _ := s["properties"].(map[string]any)
	for _, name := range []string{"a", "b", "c", "d"} {
		if p, ok := properties[name].(map[string]any); ok && r.IntN(4) > 0 {
			out[name] = r.value(p, depth+1)
		}
	}
	// What is not declared counts where a schema says what it may be.
	if rest, ok := s["additionalProperties"].(map[string]any); ok && r.IntN(2) == 0 {
		name := r.pick("a", "b", "c", "d", "e")
		if _, declared := properties[name]; !declared {
			out[name] = r.value(rest, depth+1)
		}
	}
	return out
}

func compiled(t testing.TB, schema map[string]any) *jsonschema.Schema {
	t.Helper()
	raw, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("urn:x", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:x")
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return s
}

func valid(t testing.TB, s *jsonschema.Schema, v any) bool {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc) == nil
}

// What is called additive breaks no call, by the judgement of the validator that
// holds calls against schemas.
func FuzzAdditiveBreaksNobody(f *testing.F) {
	for i := range uint64(200) {
		f.Add(i, i*7)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) { additiveBreaksNobody(t, schemas{rand.New(rand.NewPCG(a, b))}) })
}

func TestAdditiveBreaksNobody(t *testing.T) {
	additive := 0
	for i := range uint64(3000) {
		if additiveBreaksNobody(t, schemas{rand.New(rand.NewPCG(i, 1))}) {
			additive++
		}
		if t.Failed() {
			return
		}
	}
	if additive < 200 {
		t.Errorf("only %d of the changes were additive: this tests little", additive)
	}
}

func additiveBreaksNobody(t *testing.T, r schemas) (additive bool) {
	s := r.schema(0)
	other := r.changed(s, 0)
	old, err1 := json.Marshal(s)
	now, err2 := json.Marshal(other)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if class, _ := classOf(toolWith(string(old)), toolWith(string(old))); class != SameClass {
		t.Fatalf("differs from itself: %s", old)
	}
	input, effects := classOf(toolWith(string(old)), toolWith(string(now)))
	output, _ := classOf(answering(string(old)), answering(string(now)))
	if bytes.Equal(old, now) {
		return false
	}
	before, after := compiled(t, s), compiled(t, other)
	for range 60 {
		if v := r.value(s, 0); input != Breaking && valid(t, before, v) && !valid(t, after, v) {
			raw, _ := json.Marshal(v)
			t.Errorf("additive, but %s is refused\nbefore %s\nafter  %s\n%+v", raw, old, now, effects)
			return true
		}
		if v := r.value(other, 0); output != Breaking && valid(t, after, v) && !valid(t, before, v) {
			raw, _ := json.Marshal(v)
			t.Errorf("additive, but the answer %s was not promised\nbefore %s\nafter  %s", raw, old, now)
			return true
		}
	}
	// To add what is then removed again is no addition both ways.
	there, _ := classOf(toolWith(string(old)), toolWith(string(now)))
	back, _ := classOf(toolWith(string(now)), toolWith(string(old)))
	if there == Additive && back == Additive {
		for range 30 {
			if v := r.value(other, 0); valid(t, after, v) != valid(t, before, v) {
				raw, _ := json.Marshal(v)
				t.Errorf("additive both ways, but %s tells them apart\nbefore %s\nafter  %s", raw, old, now)
				return true
			}
		}
	}
	return input != Breaking
}

// Anything at all can be compared: it ends, says the same of equals, and never
// calls what it could not read additive.
func FuzzClassify(f *testing.F) {
	for _, s := range []string{
		`{}`, `true`, `[]`, `{"type":5}`, `{"properties":[],"required":{}}`, `{"enum":{},"const":null}`, `{"minimum":"x"}`, `{"items":[{}],"additionalItems":false}`,
		`{"$ref":"#"}`, `{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}`, `{"anyOf":5,"allOf":[5]}`, `{"a":1,"a":2}`, `{"multipleOf":0}`, `{"maxLength":-1e400}`,
	} {
		f.Add(s, `{"type":"object"}`)
		f.Add(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x := Definition{Tools: []Tool{toolWith(a)}, Prompts: []Prompt{{Name: a}, {Name: b}}}
		y := Definition{Tools: []Tool{toolWith(b)}, Prompts: []Prompt{{Name: b}}}
		if c := Classify(x, x); c.Class != SameClass || len(c.Effects) > 0 {
			t.Errorf("differs from itself: %+v", c)
		}
		got := Classify(x, y)
		if got.Class == SameClass && a != b {
			t.Errorf("%q and %q are the same", a, b)
		}
		if (len(got.Breaking()) > 0) != (got.Class == Breaking) {
			t.Errorf("%+v", got)
		}
		if a != b && !json.Valid([]byte(b)) && got.Class != Breaking {
			t.Errorf("%q cannot be read, and is %s", b, got.Class)
		}
	})
}
