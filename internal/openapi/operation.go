package openapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"latchkey/internal/runtime/params"
)

// Operation is one with all that a tool of it needs.
type Operation struct {
	Summary
	Description string
	Arguments   []Argument // in the order of path, query, header, cookie, body
	Body        *Body
	// Output describes what the operation answers, and Answer its form; see
	// Operation.output.
	Output json.RawMessage
	Answer Answer
	// Notes say what of the document could not be kept as it is.
	Notes []string
}

// Answer is the form of what an operation gives.
type Answer string

// The forms. A tool's structured answer is an object, so that a list or a single
// value is put into one.
const (
	AnswerObject Answer = "object"
	AnswerList   Answer = "list"
	AnswerValue  Answer = "value"
	AnswerOther  Answer = "" // no JSON, or nothing is known of it
)

// Places of arguments.
const (
	InPath   = "path"
	InQuery  = "query"
	InHeader = "header"
	InCookie = "cookie"
	InBody   = "body"
)

// Argument is one input of an operation, whatever place it has in the request.
type Argument struct {
	Name     string // in the tool; each once
	In, Wire string // the place in the request, and the name there; empty: the whole body
	Required bool
	Style    string // as OpenAPI names it; always given but in the body
	Explode  bool
	Reserved bool // reserved characters stay as they are
	JSON     bool // the value is sent as JSON text
	Schema   params.Ordered
	Default  json.RawMessage
}

// Operation reads one. The error says why no tool can be made of it.
func (d *Document) Operation(s Summary) (op Operation, err error) {
	at, found := d.find(s)
	if !found {
		return op, bad("The document has no operation %s.", s.Key())
	}
	b := &builder{doc: d, at: at, op: Operation{Summary: at.Summary}, names: uniques{}}
	if strings.Contains(s.Path, "?") {
		return op, fmt.Errorf("%s: its path has a query; write what follows the ? as parameters", s.Key())
	}
	if err := b.parameters(); err != nil {
		return op, fmt.Errorf("%s: %w", s.Key(), err)
	}
	if err := b.body(); err != nil {
		return op, fmt.Errorf("%s: %w", s.Key(), err)
	}
	b.describe()
	b.output()
	if d.far.tired() {
		return op, fmt.Errorf("%s: %w", s.Key(), errTangled)
	}
	return b.op, nil
}

// InputSchema describes the arguments that are given, in their order.
func InputSchema(args []Argument) json.RawMessage {
	properties, required := params.Ordered{}, []string{}
	for _, a := range args {
		properties.Add(a.Name, a.Schema)
		if a.Required {
			required = append(required, a.Name)
		}
	}
	s := params.Ordered{{"$schema", params.Dialect}, {"type", "object"}, {"properties", properties}}
	if len(required) > 0 {
		s.Add("required", required)
	}
	s.Add("additionalProperties", false)
	return params.Encode(s)
}

type builder struct {
	doc   *Document
	at    summary
	op    Operation
	names uniques
}

func (b *builder) note(format string, args ...any) {
	if len(b.op.Notes) < 20 {
		b.op.Notes = append(b.op.Notes, fmt.Sprintf(format, args...))
	}
}

// converter of one schema of the operation.
func (b *builder) converter() *converter {
	return &converter{doc: b.doc, left: maxSchemaNodes, open: map[string]bool{}, note: b.note}
}

const maxArguments = 200

// parameters reads those of the path and of the operation, of which the later
// stand before the earlier of the same name and place.
func (b *builder) parameters() error {
	type key struct{ in, name string }
	var order []key
	all := map[key][]byte{}
	for _, list := range [][]byte{get(b.at.item, "parameters"), get(b.at.raw, "parameters")} {
		var err error
		eachOf(list, func(raw []byte) bool {
			if raw, err = b.doc.resolve(raw); err != nil {
				return false
			}
			k := key{textOf(get(raw, "in")), textOf(get(raw, "name"))}
			if _, had := all[k]; !had {
				order = append(order, k)
			}
			all[k] = raw
			return len(order) < maxArguments
		})
		if err != nil {
			return err
		}
	}
	places := []string{InPath, InQuery, InHeader, InCookie}
	slices.SortStableFunc(order, func(x, y key) int { return slices.Index(places, x.in) - slices.Index(places, y.in) })
	for _, k := range order {
		if !slices.Contains(places, k.in) || k.name == "" {
			continue
		}
		if err := b.parameter(k.in, k.name, all[k]); err != nil {
			return err
		}
	}
	for _, name := range PathNames(b.op.Address()) {
		if _, has := all[key{InPath, name}]; !has {
			// Documents forget them, and nothing can be called without.
			b.note("The path has {%s}, which is not among its parameters; it is taken for a text.", name)
			b.argument(Argument{In: InPath, Wire: name, Required: true, Style: "simple", Schema: params.Ordered{{"type", "string"}}})
		}
	}
	return nil
}

// PathNames are the variables of a path, in order.
func PathNames(path string) (out []string) {
	for rest := path; ; {
		_, after, found := strings.Cut(rest, "{")
		name, then, closed := strings.Cut(after, "}")
		if !found || !closed {
			return out
		}
		out, rest = append(out, name), then
	}
}

// ownHeaders are not a tool's to set: OpenAPI says to ignore the first three, and
// the others are the platform's or the connection's.
var ownHeaders = []string{"Accept", "Content-Type", "Authorization", "Host", "Content-Length", "Transfer-Encoding", "Connection", "Cookie", "Idempotency-Key", "Traceparent"}

// OwnHeader reports whether a header is not a tool's to set.
func OwnHeader(name string) bool {
	return slices.Contains(ownHeaders, http.CanonicalHeaderKey(name)) || strings.HasPrefix(http.CanonicalHeaderKey(name), "Proxy-")
}

func (b *builder) parameter(in, name string, raw []byte) error {
	if in == InHeader && OwnHeader(name) {
		return nil
	}
	a := Argument{In: in, Wire: name, Required: in == InPath || string(get(raw, "required")) == "true",
		Style: textOf(get(raw, "style")), Reserved: string(get(raw, "allowReserved")) == "true"}
	if a.Style == "" {
		a.Style = map[string]string{InPath: "simple", InQuery: "form", InHeader: "simple", InCookie: "form"}[in]
	}
	a.Explode = a.Style == "form"
	if e := get(raw, "explode"); e != nil {
		a.Explode = string(e) == "true"
	}
	if !slices.Contains(styles[in], a.Style) {
		return fmt.Errorf("the parameter %q has the style %q, which is none of a %s", name, clean(a.Style, 40), in)
	}
	schema := get(raw, "schema")
	if schema == nil {
		// content has one media type; its value is sent as that.
		each(get(raw, "content"), func(media string, v []byte) bool {
			a.JSON, schema = isJSON(media), get(v, "schema")
			return false
		})
	}
	c := b.converter()
	a.Schema = c.schema(schema, 0)
	describe(&a.Schema, textOf(get(raw, "description")))
	if e := get(raw, "example"); e != nil && len(e) < 200 && !has(a.Schema, "examples") && !has(a.Schema, "enum") {
		a.Schema.Add("examples", []json.RawMessage{json.RawMessage(e)})
	}
	a.Default = defaultOf(a.Schema)
	b.argument(a)
	return nil
}

// styles are what each place knows.
var styles = map[string][]string{
	InPath: {"simple", "label", "matrix"}, InQuery: {"form", "spaceDelimited", "pipeDelimited", "deepObject"},
	InHeader: {"simple"}, InCookie: {"form"},
}

// argument adds one under a name of its own.
func (b *builder) argument(a Argument) {
	if len(b.op.Arguments) >= maxArguments {
		b.note("The operation has more than %d arguments; %q is left out.", maxArguments, clean(a.Wire, 80))
		return
	}
	plain := argumentName(a.Wire)
	a.Name = plain
	if b.names[a.Name] > 0 {
		a.Name = b.names.take(argumentName(a.In+"_"+a.Wire), 64)
		b.note("%q stands in the request twice; the one of the %s is the argument %q.", clean(a.Wire, 80), a.In, a.Name)
	} else {
		b.names[a.Name] = 1
		if a.Name != a.Wire {
			b.note("%q is the argument %q: models take letters, digits, _, . and -.", clean(a.Wire, 80), a.Name)
		}
	}
	b.op.Arguments = append(b.op.Arguments, a)
}

// argumentName is a name that every model's API takes.
func argumentName(wire string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.', r == '-':
			return r
		}
		return '_'
	}, wire)
	if name = strings.TrimRight(name, "_"); name == "" {
		name = "value"
	}
	return name[:min(len(name), 64)]
}

// describe writes what the model reads of the tool.
func (b *builder) describe() {
	b.op.Description = clean(textOf(get(b.at.raw, "description")), 1500)
	if b.op.Description == "" {
		b.op.Description = b.op.Summary.Summary
	}
	if b.op.Description == "" {
		b.op.Description = b.op.Method + " " + b.op.Path
	}
	for _, at := range [][]byte{b.at.item, b.at.raw} {
		if kindOf(get(at, "servers")) == '[' {
			b.note("The document names another server for this operation. It is called at the connection's base_url all the same.")
			return
		}
	}
}

// output describes the answer of success, if it is JSON.
func (b *builder) output() {
	best, raw := 1000, []byte(nil)
	each(get(b.at.raw, "responses"), func(code string, v []byte) bool {
		n, err := strconv.Atoi(code)
		if strings.EqualFold(code, "2XX") {
			n, err = 299, nil
		}
		if err == nil && n >= 200 && n < 300 && n < best {
			best, raw = n, v
		}
		return true
	})
	raw, err := b.doc.resolve(raw)
	if err != nil || raw == nil {
		return
	}
	media, content := chosen(get(raw, "content"), JSON)
	schema := get(content, "schema")
	if media == "" || schema == nil {
		return
	}
	c := b.converter()
	c.answers = true
	one := c.schema(schema, 0)
	switch kind := typeOf(one); {
	case kind == "object":
		b.op.Answer = AnswerObject
		one[0].Value = "object"
		withoutError(one)
		b.op.Output = params.Encode(append(params.Ordered{{"$schema", params.Dialect}}, one...))
	case kind == "array":
		b.op.Answer = AnswerList
		b.op.Output = params.Encode(params.Ordered{{"$schema", params.Dialect}, {"type", "object"}, {"properties", params.Ordered{
			{"items", one}, {"count", params.Ordered{{"type", "integer"}, {"description", "How many there are in this answer."}}},
		}}})
	case kind != "":
		b.op.Answer = AnswerValue
		b.op.Output = params.Encode(params.Ordered{{"$schema", params.Dialect}, {"type", "object"}, {"properties", params.Ordered{{"value", one}}}})
	}
}

// withoutError takes a member `error` out of what is promised: a tool that fails
// answers with one of its own, under the same schema.
func withoutError(schema params.Ordered) {
	for i, m := range schema {
		properties, is := m.Value.(params.Ordered)
		if m.Name != "properties" || !is {
			continue
		}
		kept := params.Ordered{}
		for _, p := range properties {
			if p.Name != "error" {
				kept.Add(p.Name, p.Value)
			}
		}
		schema[i].Value = kept
	}
}
