package api

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
)

//go:embed reference.html
var referenceHTML string

// showDocument is the OpenAPI document, in either form.
func (a *API) showDocument(c echo.Context) error {
	h := c.Response().Header()
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Access-Control-Allow-Origin", "*")
	if strings.HasSuffix(c.Path(), ".yaml") {
		return c.Blob(http.StatusOK, "application/yaml", documentYAML)
	}
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, a.document.json)
}

// A reference is what reference.html shows: the document, for a reader.
type reference struct {
	Base, Title string
	Intro       [][]span
	Groups      []referenceGroup
	Schemas     []referenceSchema
}

type referenceGroup struct {
	Name, About string
	Operations  []referenceOperation
}

type referenceOperation struct {
	ID, Method, Path, Summary string
	About                     [][]span
	Needs                     string
	Parameters                []referenceField
	Body                      string // name of its schema
	Answers                   []referenceAnswer
}

type referenceAnswer struct{ Status, About, Schema string }

type referenceSchema struct {
	Name, About string
	Fields      []referenceField
	Values      []string
}

type referenceField struct {
	Name, Type, Link, About string
	Required                bool
}

// showReference is a page to read: no script, no style from elsewhere.
func (a *API) showReference(c echo.Context) error {
	h := c.Response().Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "public, max-age=300")
	return c.HTMLBlob(http.StatusOK, a.document.reference)
}

var referenceView = template.Must(template.New("reference").Funcs(template.FuncMap{"lower": strings.ToLower, "spans": spans}).Parse(referenceHTML))

// renderReference writes the page once: the document does not change.
func (d *document) renderReference() ([]byte, error) {
	r := reference{Base: Base, Title: d.spec.Info.Title, Intro: paragraphs(d.spec.Info.Description)}
	for _, tag := range d.spec.Tags {
		g := referenceGroup{Name: tag.Name, About: tag.Description}
		for _, op := range d.inOrder() {
			if slices.Contains(op.spec.Tags, tag.Name) {
				g.Operations = append(g.Operations, d.describe(op))
			}
		}
		r.Groups = append(r.Groups, g)
	}
	var names []string
	for name := range d.spec.Components.Schemas {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		r.Schemas = append(r.Schemas, describeSchema(name, d.spec.Components.Schemas[name].Value))
	}
	var b bytes.Buffer
	err := referenceView.Execute(&b, r)
	return b.Bytes(), err
}

// inOrder lists operations by path, reading before writing.
func (d *document) inOrder() []*operation {
	rank := map[string]int{http.MethodGet: 0, http.MethodPost: 1, http.MethodPut: 2, http.MethodPatch: 3, http.MethodDelete: 4}
	ops := slices.Clone(d.operations)
	slices.SortStableFunc(ops, func(a, b *operation) int {
		if a.path != b.path {
			return strings.Compare(a.path, b.path)
		}
		return rank[a.method] - rank[b.method]
	})
	return ops
}

func (d *document) describe(op *operation) referenceOperation {
	r := referenceOperation{ID: op.id, Method: op.method, Path: op.path, Summary: op.spec.Summary, About: paragraphs(op.spec.Description)}
	switch {
	case op.operator:
		r.Needs = "an operator"
	case len(op.needs) == 0:
		r.Needs = "any caller"
	default:
		var needs []string
		for _, p := range op.needs {
			needs = append(needs, string(p))
		}
		r.Needs = strings.Join(needs, ", ")
	}
	item := d.spec.Paths.Value(op.path)
	for _, list := range []openapi3.Parameters{item.Parameters, op.spec.Parameters} {
		for _, p := range list {
			f := referenceField{Name: p.Value.Name, Required: p.Value.Required, About: strings.TrimSpace(p.Value.In + ". " + p.Value.Description)}
			f.Type, f.Link = typeOf(p.Value.Schema)
			r.Parameters = append(r.Parameters, f)
		}
	}
	if b := op.spec.RequestBody; b != nil {
		if m := b.Value.Content.Get("application/json"); m != nil {
			_, r.Body = typeOf(m.Schema)
		}
	}
	codes := op.spec.Responses.Map()
	var order []string
	for code := range codes {
		if code != "default" {
			order = append(order, code)
		}
	}
	slices.Sort(order)
	for _, code := range order {
		a := referenceAnswer{Status: code, About: *codes[code].Value.Description}
		for _, m := range codes[code].Value.Content {
			if m.Schema != nil {
				_, a.Schema = typeOf(m.Schema)
			}
		}
		r.Answers = append(r.Answers, a)
	}
	return r
}

func describeSchema(name string, v *openapi3.Schema) referenceSchema {
	r := referenceSchema{Name: name, About: v.Description}
	for _, e := range v.Enum {
		if text, ok := e.(string); ok {
			r.Values = append(r.Values, text)
		}
	}
	if v.Pattern != "" {
		r.Values = append(r.Values, "matches "+v.Pattern)
	}
	var fields []string
	for f := range v.Properties {
		fields = append(fields, f)
	}
	slices.SortFunc(fields, func(a, b string) int {
		ra, rb := slices.Contains(v.Required, a), slices.Contains(v.Required, b)
		if ra != rb {
			if ra {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, f := range fields {
		p := v.Properties[f]
		line := referenceField{Name: f, Required: slices.Contains(v.Required, f), About: p.Value.Description}
		line.Type, line.Link = typeOf(p)
		r.Fields = append(r.Fields, line)
	}
	return r
}

// typeOf says a schema's type in a word, and names the schema that it refers to.
func typeOf(ref *openapi3.SchemaRef) (text, link string) {
	if name, ok := strings.CutPrefix(ref.Ref, "#/components/schemas/"); ok {
		return name, name
	}
	v := ref.Value
	if len(v.AllOf) == 1 {
		return typeOf(v.AllOf[0])
	}
	if v.Type == nil {
		return "any", ""
	}
	switch {
	case v.Type.Is("array"):
		t, link := typeOf(v.Items)
		return "list of " + t, link
	case len(v.Enum) > 0:
		var values []string
		for _, e := range v.Enum {
			if text, ok := e.(string); ok {
				values = append(values, text)
			}
		}
		return strings.Join(values, " | "), ""
	case v.Format != "":
		return v.Format, ""
	}
	return strings.Join(v.Type.Slice(), " | "), ""
}

// paragraphs splits a description at blank lines.
func paragraphs(text string) (out [][]span) {
	for p := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if p = strings.Join(strings.Fields(p), " "); p != "" {
			out = append(out, spans(p))
		}
	}
	return out
}

// span is a piece of text with one of the marks of Markdown that descriptions
// use.
type span struct {
	Mark, Text string // strong, code or none
}

var marked = regexp.MustCompile("\\*\\*([^*]+)\\*\\*|`([^`]+)`")

func spans(text string) (out []span) {
	for {
		m := marked.FindStringSubmatchIndex(text)
		if m == nil {
			return append(out, span{Text: text})
		}
		out = append(out, span{Text: text[:m[0]]})
		if m[2] >= 0 {
			out = append(out, span{"strong", text[m[2]:m[3]]})
		} else {
			out = append(out, span{"code", text[m[4]:m[5]]})
		}
		text = text[m[1]:]
	}
}
