package httptool

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"latchkey/internal/fault"
	"latchkey/internal/openapi"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/params"
)

// document reads tools that are operations of an OpenAPI document.
func (c *checker) document(n *yaml.Node, path string) (tools []tool, defs []registry.Tool) {
	o := c.Object(n, path, "document", "operations", "except")
	doc := c.openDocument(o)
	if doc == nil {
		return nil, nil
	}
	choices := c.choose(o, doc)
	var kept []openapi.Summary
	for _, ch := range choices {
		op, err := doc.Operation(ch.op)
		if err != nil {
			c.Problem(ch.node, ch.path, sentence(err), "leave it out: except: [\""+ch.op.Key()+"\"]")
			continue
		}
		kept = append(kept, ch.op)
		t, def := c.operation(ch, op)
		tools, defs = append(tools, t), append(defs, def)
	}
	if len(c.Problems) == 0 {
		c.cut(o, doc, kept)
	}
	return tools, defs
}

// sentence is what an error says to whoever sent a document.
func sentence(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Message
	}
	return err.Error()
}

// openDocument reads the document: a text, or written out.
func (c *checker) openDocument(o registry.Object) *openapi.Document {
	const fix = "write document: {file: api.yaml}; over the API send its text"
	v := o.Value("document")
	if v == nil {
		if o.Node != nil && o.Node.Kind == yaml.MappingNode {
			o.Bad("document", "is missing", fix)
		}
		return nil
	}
	text := []byte(v.Value)
	if v.Kind == yaml.MappingNode {
		if len(v.Content) == 2 && v.Content[0].Value == "file" {
			o.Bad("document", "refers to something on the sender's machine", "send the text itself; `platform apply` does so")
			return nil
		}
		text = registry.JSONOf(v)
	}
	doc, err := openapi.Parse(text)
	if err != nil {
		o.Bad("document", sentence(err), "")
		return nil
	}
	return doc
}

// cut puts the part of the document that is needed in its place.
func (c *checker) cut(o registry.Object, doc *openapi.Document, kept []openapi.Summary) {
	less, err := doc.Prune(kept)
	if err != nil {
		o.Bad("document", sentence(err), "")
		return
	}
	v := o.Value("document")
	n, problems := registry.ReadJSON(less)
	if len(problems) > 0 {
		n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: string(less)}
	}
	line, column := v.Line, v.Column
	*v = *n
	placeNodes(v, line, column)
}

// placeNodes gives what stands for a document the place where that stood.
func placeNodes(n *yaml.Node, line, column int) {
	n.Line, n.Column = line, column
	for _, one := range n.Content {
		placeNodes(one, line, column)
	}
}

// choice is an operation that is wanted, with what is said of it.
type choice struct {
	op    openapi.Summary
	entry registry.Object
	plain bool // nothing is said but its name
	wild  bool // other operations were chosen by the same words
	node  *yaml.Node
	path  string
}

var choiceKeys = registry.SafetyKeys("operation", "name", "title", "description", "risk", "idempotent", "scope", "timeout", "max_bytes", "arguments", "response")

// choose gives the wanted operations in the order of the list. Where several
// entries choose one, the last says what it is like.
func (c *checker) choose(o registry.Object, doc *openapi.Document) (out []choice) {
	if !o.Has("operations") {
		o.Bad("operations", "is missing", `name those that become tools, such as [getCustomer, "GET /orders/{id}", "tag:invoices", "list*"]`)
		return nil
	}
	except := map[string]bool{}
	for _, e := range o.Texts("except") {
		found := doc.Match(e)
		if len(found) == 0 {
			o.Bad("except", fmt.Sprintf("%.100q is no operation of the document", e), "")
		}
		for _, s := range found {
			except[s.Key()] = true
		}
	}
	o.List("operations", func(n *yaml.Node, path string) {
		ch := choice{node: n, path: path, plain: n.Kind == yaml.ScalarNode}
		selector := n.Value
		if !ch.plain {
			ch.entry = c.Object(n, path, choiceKeys...)
			selector = ch.entry.Needed("operation", `name one, such as getCustomer or "GET /orders/{id}"`)
		}
		found := doc.Match(selector)
		ch.wild = openapi.Wild(selector) || len(found) > 1
		switch {
		case selector == "":
			return
		case len(found) == 0:
			c.Problem(n, path, fmt.Sprintf("%.100q is no operation of the document", selector), c.near(doc, selector))
		case ch.wild && !ch.plain && (ch.entry.Has("name") || ch.entry.Has("title") || ch.entry.Has("description")):
			c.Problem(n, path, fmt.Sprintf("gives one name or text to %d operations", len(found)), "name each of them in an entry of its own")
		}
		for _, s := range found {
			if except[s.Key()] {
				continue
			}
			one := ch
			one.op = s
			if i := slices.IndexFunc(out, func(had choice) bool { return had.op.Key() == s.Key() }); i >= 0 {
				if !one.plain || out[i].plain {
					out[i] = one
				}
				continue
			}
			out = append(out, one)
		}
	})
	if len(out) > maxTools {
		o.Bad("operations", fmt.Sprintf("chooses %d operations, more than the %d tools that a server may have", len(out), maxTools), "choose fewer")
		return nil
	}
	return out
}

// near names operations that somebody may have meant.
func (c *checker) near(doc *openapi.Document, selector string) string {
	var some []string
	for _, s := range doc.Operations() {
		name := cmp.Or(s.ID, s.Key())
		if strings.Contains(strings.ToLower(s.ID+" "+s.Key()), strings.ToLower(strings.Trim(selector, "*"))) || len(some) == 0 {
			some = append(some, name)
		}
		if len(some) == 5 {
			break
		}
	}
	return "it has " + strings.Join(some, ", ") + " and so on; names are those of operationId, or METHOD /path, with * for any text"
}

// operation makes a tool.
func (c *checker) operation(ch choice, op openapi.Operation) (t tool, def registry.Tool) {
	o := ch.entry
	if ch.plain {
		o = c.Object(&yaml.Node{Kind: yaml.MappingNode, Line: ch.node.Line, Column: ch.node.Column}, ch.path, choiceKeys...)
	}
	t.Name = op.Tool
	if o.Has("name") {
		t.Name = c.names.Read(o, "tool")
	} else {
		for n := 2; c.names["tool"+t.Name]; n++ {
			t.Name = fmt.Sprintf("%.60s_%d", op.Tool, n)
		}
		c.names["tool"+t.Name] = true
	}
	t.Risk = params.Risk(o, riskOf(op.Method))
	c.honest(o, t.Risk, op.Method)
	idempotent := o.Flag("idempotent") || t.Risk == registry.Reads
	t.Repeat = idempotent || safe(op.Method)
	t.Method, t.Documented = op.Method, true
	t.Timeout = o.Duration("timeout", defaultTimeout, 10_000_000, maxTimeout)
	t.MaxBytes = o.Whole("max_bytes", defaultMaxBytes, 1024, maxMaxBytes)
	t.Response = c.response(o)
	args := c.arguments(o, &op, &t.request)
	c.wire(&op, &t.request)
	var offered []string
	for _, a := range args {
		offered = append(offered, a.Name)
	}
	if ch.wild {
		offered = nil // what one of them lacks another has
	}
	def = registry.Tool{
		Name: t.Name, Title: cmp.Or(o.Text("title"), op.Summary.Summary), Description: cmp.Or(o.Text("description"), op.Description),
		InputSchema: openapi.InputSchema(args), Scope: params.Scope(o, "tool:"+t.Name), Risk: t.Risk, Idempotent: idempotent, OpenWorld: true, Timeout: t.Timeout,
		Safety: registry.ReadSafety(o, offered),
	}
	if g := def.Guard; len(t.Response.Pick)+len(t.Response.Fields)+len(t.Response.Rename)+len(g.Fields)+len(g.Rename)+len(g.MaskFields) == 0 {
		def.OutputSchema = op.Output
	}
	return t, def
}

// arguments applies what is said of them, and gives those that are left to the
// model. The names in op are then those of the tool.
func (c *checker) arguments(o registry.Object, op *openapi.Operation, r *request) (offered []openapi.Argument) {
	said := map[string]registry.Object{}
	c.Entries(o.Value("arguments"), o.At("arguments"), func(key, value *yaml.Node, path string) {
		if !slices.ContainsFunc(op.Arguments, func(a openapi.Argument) bool { return a.Name == key.Value }) {
			var names []string
			for _, a := range op.Arguments {
				names = append(names, a.Name)
			}
			c.Problem(key, path, fmt.Sprintf("%s has no argument %.80q", op.Key(), key.Value), "its arguments are "+strings.Join(names, ", "))
			return
		}
		said[key.Value] = c.Object(value, path, "name", "description", "from", "value", "hide", "required")
	})
	taken := map[string]bool{}
	for i := range op.Arguments {
		a := &op.Arguments[i]
		s, has := said[a.Name]
		if has && s.Node != nil {
			if s.Has("name") {
				if a.Name = s.Text("name"); !argumentPattern(a.Name) {
					s.Bad("name", "is no name of an argument", "use letters, digits, _, . and -, 64 at most")
				}
			}
			c.argument(s, a, r)
		}
		if taken[a.Name] {
			c.Problem(o.Node, o.At("arguments"), fmt.Sprintf("two arguments are named %q", a.Name), "give each a name of its own")
		}
		taken[a.Name] = true
		hidden := has && (s.Has("from") || s.Has("value") || s.Flag("hide"))
		if !hidden {
			offered = append(offered, *a)
		}
	}
	return offered
}

func argumentPattern(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.' || r == '-')
	})
}

// argument reads what is said of one.
func (c *checker) argument(s registry.Object, a *openapi.Argument, r *request) {
	if d := s.Text("description"); d != "" {
		a.Schema = slices.DeleteFunc(slices.Clone(a.Schema), func(m struct {
			Name  string
			Value any
		}) bool {
			return m.Name == "description"
		})
		a.Schema.Add("description", d)
	}
	from, value := s.Text("from"), s.Value("value")
	switch {
	case from != "" && value != nil:
		s.Bad("value", "stands beside from", "remove one of them")
	case from != "":
		if !slices.Contains(params.Froms, from) {
			s.Bad("from", fmt.Sprintf("%.80q is not known", from), "write one of "+strings.Join(params.Froms, ", "))
		}
		r.Bound = append(r.Bound, bound{Name: a.Name, From: from})
	case value != nil:
		r.Bound = append(r.Bound, bound{Name: a.Name, Value: registry.JSONOf(value)})
	case s.Flag("hide") && a.Required:
		s.Bad("hide", "is set for an argument that is required", "give it a value, or from")
	}
	if s.Has("required") {
		if a.Required = s.Flag("required") || a.In == openapi.InPath; !s.Flag("required") && a.In == openapi.InPath {
			s.Bad("required", "is false for a part of the path", "remove it")
		}
	}
}

func bodyOf(b *openapi.Body) *body {
	return &body{ContentType: b.ContentType, Optional: !b.Required, Encoding: b.Encoding, As: b.As, Types: b.Types, Parts: b.Parts}
}

// wire says where each argument goes.
func (c *checker) wire(op *openapi.Operation, r *request) {
	inPath := map[string]string{}
	whole := params.Ordered{}
	for _, a := range op.Arguments {
		switch {
		case a.In == openapi.InPath:
			inPath[a.Wire] = a.Name
			r.Places = append(r.Places, place{In: a.In, Name: a.Name, Text: "{" + a.Name + "}", Style: a.Style, Explode: a.Explode, JSON: a.JSON, Wire: a.Wire})
		case a.In != openapi.InBody:
			r.Places = append(r.Places, place{In: a.In, Name: a.Wire, Text: "{" + a.Name + "}", Style: a.Style, Explode: a.Explode, Reserved: a.Reserved, JSON: a.JSON})
		case a.Wire == "":
			r.Body = bodyOf(op.Body)
			r.Body.Optional = !a.Required
			r.Body.Value, _ = json.Marshal("{" + a.Name + "}")
		default:
			whole.Add(a.Wire, "{"+a.Name+"}")
		}
	}
	if len(whole) > 0 {
		r.Body = bodyOf(op.Body)
		r.Body.Value = params.Encode(whole)
	}
	var b strings.Builder
	for rest := op.Address(); ; {
		before, after, found := strings.Cut(rest, "{")
		name, then, closed := strings.Cut(after, "}")
		if !found || !closed {
			b.WriteString(quoteText(rest))
			break
		}
		b.WriteString(quoteText(before) + "{" + inPath[name] + "}")
		rest = then
	}
	r.Path = b.String()
}
