package openapi

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"latchkey/internal/fault"
)

func mustParse(t testing.TB, text string) *Document {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustOperation(t testing.TB, d *Document, selector string) Operation {
	t.Helper()
	found := d.Match(selector)
	if len(found) != 1 {
		t.Fatalf("%s chooses %v", selector, found)
	}
	op, err := d.Operation(found[0])
	if err != nil {
		t.Fatal(err)
	}
	compiled(t, InputSchema(op.Arguments))
	if op.Output != nil {
		compiled(t, op.Output)
	}
	return op
}

// compiled holds what is made against a schema library.
func compiled(t testing.TB, raw json.RawMessage) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("x.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("x.json")
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return s
}

func document(paths, components string) string {
	return `{"openapi":"3.0.3","info":{"title":"T","version":"1"},"paths":{` + paths + `},"components":{` + components + `}}`
}

func TestArgumentsOfAnOperation(t *testing.T) {
	d := mustParse(t, document(`"/a/{id}/{forgotten}":{
		"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string"}},{"name":"q","in":"query","schema":{"type":"string"}}],
		"post":{"operationId":"make","parameters":[
			{"name":"id","in":"path","required":true,"description":"Its number.","schema":{"type":"integer","minimum":0,"exclusiveMinimum":true}},
			{"$ref":"#/components/parameters/Filter"},
			{"name":"X-Trace","in":"header","schema":{"type":"string","nullable":true,"pattern":"(?<=a)b"}},
			{"name":"Authorization","in":"header","schema":{"type":"string"}},
			{"name":"id","in":"cookie","schema":{"type":"string"}}],
		"requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}}}},
		"responses":{"201":{"content":{"application/json":{"schema":{"type":"array","items":{"$ref":"#/components/schemas/Thing"}}}}}}}}`,
		`"parameters":{"Filter":{"name":"filter[state]","in":"query","style":"deepObject","explode":true,"schema":{"type":"object","properties":{"a":{"type":"string"}}}}},
		"schemas":{"Base":{"type":"object","required":["name","created"],"properties":{"created":{"type":"string","readOnly":true},"name":{"type":"string","maxLength":9}}},
			"Thing":{"allOf":[{"$ref":"#/components/schemas/Base"},{"type":"object","required":["id"],"properties":{"id":{"type":"integer"},"password":{"type":"string","writeOnly":true},"parent":{"$ref":"#/components/schemas/Thing"}}}]}}`))
	op := mustOperation(t, d, "make")
	var got []string
	for _, a := range op.Arguments {
		got = append(got, fmt.Sprintf("%s=%s/%s %v", a.Name, a.In, a.Wire, a.Required))
	}
	want := []string{"id=path/id true", "forgotten=path/forgotten true", "q=query/q false", "filter_state=query/filter[state] false", "X-Trace=header/X-Trace false",
		"cookie_id=cookie/id false", "name=body/name true", "body_id=body/id true", "password=body/password false", "parent=body/parent false"}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	said := strings.Join(op.Notes, "\n")
	for _, w := range []string{"forgotten", `"filter[state]" is the argument "filter_state"`, `the cookie is the argument "cookie_id"`, `the body is the argument "body_id"`} {
		if !strings.Contains(said, w) {
			t.Errorf("it is not said that %s:\n%s", w, said)
		}
	}
	in := compiled(t, InputSchema(op.Arguments))
	for text, ok := range map[string]bool{
		`{"id":1,"forgotten":"x","name":"n","body_id":2}`:                              true,
		`{"id":0,"forgotten":"x","name":"n","body_id":2}`:                              false, // exclusive, as 3.0 writes it
		`{"id":1,"forgotten":"x","name":"n","body_id":2,"X-Trace":null}`:               true,
		`{"id":1,"forgotten":"x","name":"0123456789","body_id":2}`:                     false,
		`{"id":1,"forgotten":"x","name":"n","body_id":2,"created":"now"}`:              false,
		`{"id":1,"forgotten":"x","name":"n","body_id":2,"parent":{"id":1,"name":"p"}}`: true,
	} {
		v, _ := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err := in.Validate(v); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	if op.Answer != AnswerList || strings.Contains(string(op.Output), "password") || strings.Contains(string(op.Output), `"required"`) {
		t.Errorf("%s %s", op.Answer, op.Output)
	}
}

func TestBodyThatIsNoPlainObject(t *testing.T) {
	for name, schema := range map[string]string{
		"a list": `{"type":"array","items":{"type":"integer"}}`, "alternatives": `{"oneOf":[{"type":"object","properties":{"a":{"type":"string"}}},{"type":"string"}]}`,
		"anything": `{}`, "a map": `{"type":"object","additionalProperties":{"type":"integer"}}`, "a text": `{"type":"string"}`,
	} {
		d := mustParse(t, document(`"/a":{"put":{"operationId":"x","requestBody":{"content":{"application/json":{"schema":`+schema+`}}},"responses":{}}}`, ""))
		op := mustOperation(t, d, "x")
		if len(op.Arguments) != 1 || op.Arguments[0].Name != "body" || op.Arguments[0].Wire != "" {
			t.Errorf("%s: %+v", name, op.Arguments)
		}
	}
}

func TestDialectOf31(t *testing.T) {
	d := mustParse(t, `
openapi: 3.1.0
info: {title: T, version: 1}
paths:
  /a:
    get:
      operationId: x
      parameters:
      - {name: p, in: query, schema: {type: [string, 'null'], const: on, description: One.}}
      - {name: n, in: query, schema: {type: number, exclusiveMaximum: 5}}
      - {name: r, in: query, schema: {$ref: '#/components/schemas/R', description: Mine.}}
      responses:
        200: {description: D, content: {application/vnd.x+json: {schema: {type: object, properties: {yes: {type: boolean}}}}}}
components: {schemas: {R: {type: string, description: Theirs.}}}
`)
	op := mustOperation(t, d, "x")
	s := string(InputSchema(op.Arguments))
	for _, w := range []string{`"type":["string","null"]`, `"const":"on"`, `"exclusiveMaximum":5`, `"Mine."`} {
		if !strings.Contains(s, w) {
			t.Errorf("no %s in %s", w, s)
		}
	}
	if op.Answer != AnswerObject {
		t.Errorf("%+v", op)
	}
}

func TestSelectorsChoose(t *testing.T) {
	d := mustParse(t, document(`"/a":{"get":{"operationId":"listA","tags":["x y"],"responses":{}},"post":{"operationId":"makeA","tags":["x"],"responses":{}}},"/a/{id}":{"get":{"responses":{}}}`, ""))
	for selector, want := range map[string]string{
		"listA": "GET /a", "GET /a/{id}": "GET /a/{id}", "tag:x y": "GET /a", "tag:x*": "GET /a,POST /a", "* /a": "GET /a,POST /a", "*A": "GET /a,POST /a", "*": "GET /a,POST /a,GET /a/{id}", "nothing": "", "list.": "",
	} {
		var keys []string
		for _, s := range d.Match(selector) {
			keys = append(keys, s.Key())
		}
		if got := strings.Join(keys, ","); got != want {
			t.Errorf("%s chooses %s, want %s", selector, got, want)
		}
	}
}

func TestBadDocumentsSayWhy(t *testing.T) {
	for text, want := range map[string]string{
		``: "empty", `[]`: "no object", `{"swagger":"2.0"}`: "Swagger 2.0", `{"openapi":"4.0.0"}`: "Use 3.0 or 3.1", `{"openapi":"3.0.0"}`: "no operation",
		"a: &a [*a]": "nested deeper", "a: {<<: {b: 1}}": "merged", "\x00": "neither JSON nor YAML", strings.Repeat("[", 300) + strings.Repeat("]", 300): "nested deeper",
		"openapi: 3.0.0\na: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]": "too large with its aliases",
	} {
		_, err := Parse([]byte(text))
		if !fault.HasCode(err, fault.InvalidSpec) || !strings.Contains(fault.Of(err).Message, want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

func TestReferencesAreNeverFetched(t *testing.T) {
	for ref, want := range map[string]string{
		"http://127.0.0.1/x.json": "leads out", "other.yaml#/a": "leads out", "#/components/parameters/None": "leads nowhere", "#/components/parameters/Loop": "leads to more than",
	} {
		d := mustParse(t, document(`"/a":{"get":{"operationId":"x","parameters":[{"$ref":"`+ref+`"}],"responses":{}}}`, `"parameters":{"Loop":{"$ref":"#/components/parameters/Loop"}}`))
		if _, err := d.Operation(d.Operations()[0]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// What refers to itself in many ways could be written out without end.
func TestRecursionIsBounded(t *testing.T) {
	var properties []string
	for i := range 50 {
		properties = append(properties, fmt.Sprintf(`"p%d":{"$ref":"#/components/schemas/S%d"}`, i, i))
	}
	var schemas []string
	for i := range 50 {
		schemas = append(schemas, fmt.Sprintf(`"S%d":{"type":"object","properties":{%s}}`, i, strings.Join(properties, ",")))
	}
	d := mustParse(t, document(`"/a":{"post":{"operationId":"x","requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/S0"}}}},"responses":{"200":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/S1"}}}}}}}`, `"schemas":{`+strings.Join(schemas, ",")+`}`))
	began := time.Now()
	op := mustOperation(t, d, "x")
	if n := len(InputSchema(op.Arguments)) + len(op.Output); n > 100_000 {
		t.Errorf("%d bytes", n)
	}
	if len(op.Notes) == 0 {
		t.Error("it is not said that something was left out")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestPrunedDocumentGivesTheSameTools(t *testing.T) {
	d := mustParse(t, large(40, 30))
	ops := d.Operations()[3:8]
	pruned, err := d.Prune(ops)
	if err != nil {
		t.Fatal(err)
	}
	again := mustParse(t, string(pruned))
	if got := again.Operations(); len(got) != 5 || got[0].Key() != ops[0].Key() || got[0].ID != ops[0].ID {
		t.Fatalf("%+v", got)
	}
	for _, s := range ops {
		was, err := d.Operation(s)
		if err != nil {
			t.Fatal(err)
		}
		is, err := again.Operation(s)
		if err != nil || string(InputSchema(was.Arguments)) != string(InputSchema(is.Arguments)) || string(was.Output) != string(is.Output) || was.Description != is.Description {
			t.Errorf("%s is another one: %v", s.Key(), err)
		}
	}
	twice, err := again.Prune(again.Operations())
	if err != nil || string(twice) != string(pruned) {
		t.Errorf("what was cut down is cut down again: %v", err)
	}
	if strings.Contains(string(pruned), "example of") {
		t.Error("examples are kept")
	}
}

// large makes a document of many operations over many schemas, which refer to each
// other as those of real ones do.
func large(operations, schemas int) string {
	var b strings.Builder
	b.WriteString(`{"openapi":"3.0.3","info":{"title":"Large","version":"1"},"paths":{`)
	for i := range operations {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"/r%d/{id}":{"get":{"operationId":"get%d","summary":"Get r%d","description":"Gives one of %d.","tags":["t%d"],"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"integer"}},{"name":"expand","in":"query","schema":{"type":"array","items":{"type":"string","enum":["a","b"]}}}],
			"responses":{"200":{"description":"One.","content":{"application/json":{"schema":{"$ref":"#/components/schemas/s%d"},"examples":{"x":{"value":{"text":"example of %s"}}}}}},"404":{"description":"None.","content":{"application/json":{"schema":{"$ref":"#/components/schemas/s0"}}}}}}}`,
			i, i, i, i, i%20, i%schemas, strings.Repeat("many words ", 30))
	}
	b.WriteString(`},"components":{"schemas":{`)
	for i := range schemas {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"s%d":{"type":"object","description":"Schema %d.","required":["id"],"properties":{"id":{"type":"integer"},"name":{"type":"string","nullable":true,"description":"%s"},"next":{"$ref":"#/components/schemas/s%d"},"others":{"type":"array","items":{"$ref":"#/components/schemas/s%d"}}}}`,
			i, i, strings.Repeat("words of it ", 20), (i+1)%schemas, (i*7+3)%schemas)
	}
	b.WriteString(`}}}`)
	return b.String()
}

func TestLargeDocumentCostsWhatIsChosenOfIt(t *testing.T) {
	text := []byte(large(4000, 3000))
	if len(text) < 3<<20 {
		t.Fatalf("only %d bytes", len(text))
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Prune(d.Operations()[:10]); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	// It takes three times its size, and eleven under the race detector. A reader
	// that makes values of all of it takes eighty.
	if used := after.TotalAlloc - before.TotalAlloc; used > uint64(20*len(text)) {
		t.Errorf("ten operations of a document of %d kB took %d kB", len(text)>>10, used>>10)
	}
}

func BenchmarkTenOperations(b *testing.B) {
	text := []byte(large(4000, 3000))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		d, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := d.Prune(d.Operations()[:10]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAllOperations(b *testing.B) {
	text := []byte(large(200, 150))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		d, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		for _, s := range d.Operations() {
			if _, err := d.Operation(s); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add(large(2, 2))
	f.Add("openapi: 3.1.0\npaths: {/a/{b}: {get: {parameters: [{name: b, in: path, schema: {$ref: '#/paths'}}], responses: {200: {content: {application/json: {schema: {allOf: [{$ref: '#/components/schemas/x'}, {oneOf: [true, {}]}]}}}}}}}}\ncomponents: {schemas: {x: {$ref: '#/components/schemas/x'}}}\n")
	f.Add(`{"openapi":"3.0.0","paths":{"/":{"post":{"requestBody":{"content":{"application/x-www-form-urlencoded":{"schema":{"type":"object","properties":{"a":{"type":["null"]},"":{}}},"encoding":{"a":{"style":"deepObject"}}}}}}}}}`)
	f.Add(`{"openapi":"3.0.0","paths":{"/a":{"$ref":"#/paths/~1a"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse([]byte(text))
		if err != nil {
			return
		}
		var usable []Summary
		for _, s := range d.Operations() {
			op, err := d.Operation(s)
			if err != nil {
				continue
			}
			usable = append(usable, s)
			seen := map[string]bool{}
			for _, a := range op.Arguments {
				if a.Name == "" || len(a.Name) > 64 || seen[a.Name] {
					t.Fatalf("%s has the argument %q", s.Key(), a.Name)
				}
				seen[a.Name] = true
			}
			compiled(t, InputSchema(op.Arguments))
			if op.Output != nil {
				compiled(t, op.Output)
			}
			if len(usable) > 50 {
				break
			}
		}
		pruned, err := d.Prune(usable)
		if err != nil || len(usable) == 0 {
			return
		}
		again, err := Parse(pruned)
		if err != nil {
			t.Fatalf("what was cut down is no document: %v: %s", err, pruned)
		}
		d.Servers()
		d.Security()
		if len(again.Operations()) < len(usable) {
			t.Fatalf("%d operations of %d are left", len(again.Operations()), len(usable))
		}
	})
}
