// Package params is the language in which a kind's tools declare what a model
// gives them: names, types and bounds, as JSON Schema for the model and as checks
// on the worker.
//
// It leaves to each kind where a value goes.
package params

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
)

// Name is the form of a parameter's name.
var Name = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

type checker struct{ *registry.Reader }

// Parameter is one input of a tool or resource.
type Parameter struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Items       string            `json:"items,omitempty"`
	From        string            `json:"from,omitempty"` // of the call, out of the model's sight
	Description string            `json:"description,omitempty"`
	Required    bool              `json:"required,omitempty"`
	Default     json.RawMessage   `json:"default,omitempty"`
	Enum        []json.RawMessage `json:"enum,omitempty"`
	Minimum     json.Number       `json:"minimum,omitempty"`
	Maximum     json.Number       `json:"maximum,omitempty"`
	MinLength   *int              `json:"min_length,omitempty"`
	MaxLength   *int              `json:"max_length,omitempty"`
	Pattern     string            `json:"pattern,omitempty"`
	MaxItems    *int              `json:"max_items,omitempty"`
	Accept      []string          `json:"accept,omitempty"` // media types of a file

	Node *yaml.Node `json:"-"` // where it is declared
	Path string     `json:"-"`
}

// types are those of parameters, with their form in JSON Schema.
var types = map[string]struct{ json, format string }{
	"string":    {"string", ""},
	"integer":   {"integer", ""},
	"number":    {"number", ""},
	"boolean":   {"boolean", ""},
	"date":      {"string", "date"},
	"timestamp": {"string", "date-time"},
	"uuid":      {"string", "uuid"},
	"object":    {"object", ""},
	"array":     {"array", ""},
	"file":      {"object", ""}, // of kind http only
}

const typeNames = "string, integer, number, boolean, date, timestamp, uuid, object and array"

// Froms are what a parameter may take from the call instead of the model, see
// runtime.Call.Value.
var Froms = []string{"caller.id", "caller.email", "caller.name", "caller.client", "call.id", "call.idempotency_key"}

// ReadAll reads the declared parameters of a tool or resource. files: they may be
// files.
func ReadAll(r *registry.Reader, o registry.Object, variables []string, files bool) (all []Parameter) {
	o.List("parameters", func(n *yaml.Node, path string) {
		p := Read(r, n, path, variables)
		if slices.ContainsFunc(all, func(q Parameter) bool { return q.Name == p.Name }) && p.Name != "" {
			r.Problem(n, path+".name", fmt.Sprintf("a parameter %q is declared already", p.Name), "remove one of them")
		}
		if p.IsFile() && !files {
			r.Problem(n, path+".type", "is a file, which this kind of server cannot take", "write type: string")
		}
		all = append(all, p)
	})
	for _, v := range variables {
		if !slices.ContainsFunc(all, func(p Parameter) bool { return p.Name == v && p.From == "" }) {
			o.Bad("uri", fmt.Sprintf("has the variable {%s}, which is no parameter", v), "declare it under parameters with its type")
		}
	}
	return all
}

// Read reads a declared parameter. variables are those of a resource's URI: what
// is one of them is required, and nothing else is. It is nil for a tool.
func Read(r *registry.Reader, n *yaml.Node, path string, variables []string) Parameter {
	c := checker{r}
	o := c.Object(n, path, "name", "type", "items", "from", "description", "required", "default", "enum", "minimum", "maximum", "min_length", "max_length", "pattern", "max_items", "accept")
	p := Parameter{Name: o.Needed("name", "give the parameter a name"), Type: o.Text("type"), Items: o.Text("items"), From: o.Text("from"),
		Description: o.Text("description"), Required: o.Flag("required"), Pattern: o.Text("pattern"), Node: n, Path: path}
	if p.Name != "" && !Name.MatchString(p.Name) {
		o.Bad("name", fmt.Sprintf("%.80q is no name of a parameter", p.Name), "use a-z, 0-9 and _, beginning with a letter")
	}
	if p.From != "" {
		c.from(o, &p)
		return p
	}
	c.types(o, &p)
	p.Minimum, p.Maximum = c.number(o, "minimum", &p), c.number(o, "maximum", &p)
	p.MinLength, p.MaxLength, p.MaxItems = c.count(o, "min_length", p.Type, "string"), c.count(o, "max_length", p.Type, "string"), c.count(o, "max_items", p.Type, "array")
	c.accept(o, &p)
	if p.Pattern != "" {
		if _, err := regexp.Compile(p.Pattern); err != nil || p.Type != "string" {
			o.Bad("pattern", "is no regular expression for a string", "write one such as ^[A-Z]{3}$")
		}
	}
	o.List("enum", func(n *yaml.Node, path string) {
		if v, ok := c.value(n, path, &p); ok {
			p.Enum = append(p.Enum, v)
		}
	})
	if d := o.Value("default"); d != nil && types[p.Type].json != "" {
		if p.Required {
			o.Bad("default", "is given for a parameter that is required", "remove one of the two")
		}
		if v, ok := c.value(d, o.At("default"), &p); ok {
			p.Default = v
			if err := p.Allows(v); err != nil {
				o.Bad("default", "does not fit the parameter: "+err.Error(), "write a value that the parameter takes")
			}
		}
	}
	if slices.Contains(variables, p.Name) {
		p.Required = true
	} else if variables != nil && p.Required {
		o.Bad("required", "is set for a parameter that is no variable of the URI", "write {"+p.Name+"} in the uri, or give it a default")
	}
	return p
}

func (c checker) from(o registry.Object, p *Parameter) {
	if !slices.Contains(Froms, p.From) {
		o.Bad("from", fmt.Sprintf("%.80q is not known", p.From), "write one of "+strings.Join(Froms, ", "))
	}
	if p.Type == "" {
		p.Type = "string"
	}
	if p.Type != "string" && p.Type != "uuid" {
		o.Bad("type", "must be string for what comes from the call", "leave it out")
	}
	for _, key := range []string{"items", "required", "default", "enum", "minimum", "maximum", "min_length", "max_length", "pattern", "max_items", "accept"} {
		if o.Has(key) {
			o.Bad(key, "means nothing for what comes from the call", "remove it: the model never sees this parameter")
		}
	}
	p.Required = false
}

func (c checker) types(o registry.Object, p *Parameter) {
	switch t, known := types[p.Type]; {
	case p.Type == "":
		o.Bad("type", "is missing", "write one of "+typeNames)
	case !known:
		o.Bad("type", fmt.Sprintf("%.80q is not known", p.Type), "write one of "+typeNames)
	case t.json == "array":
		if _, known := types[p.Items]; !known || p.Items == "object" || p.Items == "array" {
			o.Bad("items", "must name the type of the entries", "write items: string, or another type but object and array")
			p.Items = "string"
		}
	case p.Items != "":
		o.Bad("items", "means nothing without type: array", "remove it")
	}
}

// accept reads the types of a file.
func (c checker) accept(o registry.Object, p *Parameter) {
	for _, s := range o.Texts("accept") {
		media, ok := MediaType(s)
		if !ok {
			o.Bad("accept", fmt.Sprintf("has %.80q, which is no media type", s), "write one such as image/png, or image/*")
			return
		}
		p.Accept = append(p.Accept, media)
	}
	if len(p.Accept) > 0 && !p.IsFile() {
		o.Bad("accept", "means nothing for type "+p.Type, "remove it")
	}
}

func (c checker) number(o registry.Object, key string, p *Parameter) json.Number {
	n := o.Value(key)
	if n == nil {
		return ""
	}
	if p.Type != "integer" && p.Type != "number" {
		o.Bad(key, "means nothing for type "+p.Type, "remove it")
		return ""
	}
	v, ok := c.value(n, o.At(key), p)
	if !ok {
		return ""
	}
	return json.Number(v)
}

func (c checker) count(o registry.Object, key, have, want string) *int {
	if !o.Has(key) {
		return nil
	}
	if have != want {
		o.Bad(key, "means nothing for type "+have, "remove it")
		return nil
	}
	v := o.Whole(key, 0, 0, math.MaxInt32)
	return &v
}

// value reads a YAML value as JSON of the parameter's type.
func (c checker) value(n *yaml.Node, path string, p *Parameter) (json.RawMessage, bool) {
	var v any
	if types[p.Type].json == "" {
		return nil, false // said already
	}
	raw := json.RawMessage(nil)
	err := n.Decode(&v)
	if err == nil {
		// A date or a text of digits is meant as a text where one is expected.
		if types[p.Type].json == "string" && n.Kind == yaml.ScalarNode {
			v = n.Value
		}
		raw, err = json.Marshal(v)
	}
	if err == nil {
		_, err = p.Convert(raw)
	}
	if err != nil {
		c.Problem(n, path, "is no "+p.Type, "write a value of type "+p.Type)
		return nil, false
	}
	return raw, true
}

// IsFile reports whether the parameter is a file, or a list of files.
func (p *Parameter) IsFile() bool { return p.Type == "file" || p.Type == "array" && p.Items == "file" }

// IsText reports whether the parameter is a text in JSON.
func (p *Parameter) IsText() bool { return types[p.Type].json == "string" }

// Offered names the parameters that the model gives.
func Offered(all []Parameter) []string {
	names := []string{}
	for _, p := range all {
		if p.From == "" {
			names = append(names, p.Name)
		}
	}
	return names
}
