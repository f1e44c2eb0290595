package openapi

import (
	"encoding/json"
	"regexp"
	"slices"

	"latchkey/internal/runtime/params"
)

const (
	// maxSchemaDepth and maxSchemaNodes bound a schema with its references
	// written out. What is beyond them is any value: a model learns nothing from
	// the tenth level of somebody's object.
	maxSchemaDepth = 7
	maxSchemaNodes = 600
	schemaWork     = 64  // what a schema costs beside its bytes, see maxWork
	maxDescription = 500 // characters, of one argument or member
	maxEnum        = 200
)

// converter makes a schema of a document one of JSON Schema 2020-12 that stands by
// itself. References are written out, because many models' APIs take none; one
// that leads back to itself ends there.
type converter struct {
	doc  *Document
	left int
	open map[string]bool // references that are being written out
	note func(format string, args ...any)
	// answers: the schema describes what comes back. It keeps names, types and
	// texts only, since documents promise more than their servers hold, and
	// clients refuse an answer that does not fit.
	answers bool
	said    bool
}

type rawMember struct {
	name  string
	value []byte
}

// enter follows a reference, if it is one, unless it leads back to itself.
func (c *converter) enter(raw []byte) (target []byte, leave func(), ok bool) {
	if !c.doc.far.worked(len(raw) + schemaWork) {
		return nil, nil, false
	}
	ref := get(raw, "$ref")
	if kindOf(ref) != '"' {
		return raw, func() {}, true
	}
	name := textOf(ref)
	if c.open[name] {
		return nil, nil, false
	}
	target, err := c.doc.lookup(name)
	if err != nil {
		c.note("%s", err)
		return nil, nil, false
	}
	c.open[name] = true
	target, further, ok := c.enter(target)
	leave = func() {
		if further != nil {
			further()
		}
		delete(c.open, name)
	}
	if !ok {
		leave()
		return nil, nil, false
	}
	return target, leave, true
}

// schema converts one. Its first member is the type, where there is one.
func (c *converter) schema(raw []byte, depth int) (out params.Ordered) {
	c.left--
	switch {
	case kindOf(raw) != '{':
		return params.Ordered{}
	case depth > maxSchemaDepth || c.left < 0:
		if !c.said && !c.answers {
			c.said = true
			c.note("A part of what it takes is nested so deep that it is offered as any value.")
		}
		return params.Ordered{}
	}
	own := raw
	raw, leave, ok := c.enter(raw)
	if !ok {
		return params.Ordered{{"description", "A value of the same form as the one that it is part of."}}
	}
	defer leave()
	s := openObject(raw)
	if s.get("allOf") != nil {
		out = c.allOf(raw, s, depth)
	} else {
		out = c.plain(s, depth)
	}
	if get(own, "$ref") != nil { // since 3.1 a reference may have a text beside it
		describe(&out, textOf(get(own, "description")))
	}
	return out
}

// allOf is one schema where it can be: of objects all members, of one schema that
// with what stands beside it.
func (c *converter) allOf(raw []byte, s object, depth int) params.Ordered {
	if members, required, ok := c.members(raw, depth); ok {
		return c.object(s, members, required, depth)
	}
	var parts []params.Ordered
	eachOf(s.get("allOf"), func(one []byte) bool {
		parts = append(parts, c.schema(one, depth))
		return len(parts) < 20
	})
	out := c.plain(s, depth)
	if len(parts) == 1 {
		for _, m := range parts[0] {
			if !has(out, m.Name) {
				out.Add(m.Name, m.Value)
			}
		}
		return typeFirst(out)
	}
	if len(parts) > 0 && !c.answers {
		out.Add("allOf", parts)
	}
	return out
}

// members are those of an object with what it is composed of. plain is false for
// what is no object, or one that is open for more or has alternatives.
func (c *converter) members(raw []byte, depth int) (out []rawMember, required []string, plain bool) {
	if depth > maxSchemaDepth || kindOf(raw) != '{' {
		return nil, nil, false
	}
	raw, leave, ok := c.enter(raw)
	if !ok {
		return nil, nil, false
	}
	defer leave()
	s := openObject(raw)
	if s.get("oneOf") != nil || s.get("anyOf") != nil || s.get("not") != nil || s.get("enum") != nil {
		return nil, nil, false
	}
	types := typesOf(s)
	if len(types) > 0 && !slices.Contains(types, "object") || len(types) > 1 && !slices.Equal(types, []string{"object", "null"}) {
		return nil, nil, false
	}
	parts := 0
	plain = true
	eachOf(s.get("allOf"), func(one []byte) bool {
		more, needs, ok := c.members(one, depth+1)
		parts++
		plain = plain && ok && parts <= 20
		out, required = merged(out, more), append(required, needs...)
		return plain
	})
	properties := s.get("properties")
	if parts == 0 && properties == nil && !slices.Contains(types, "object") {
		// Nothing but a text or an example says nothing of objects.
		if s.get("description") == nil && s.get("required") == nil {
			return nil, nil, false
		}
	}
	var own []rawMember
	each(properties, func(name string, v []byte) bool {
		own = append(own, rawMember{name, v})
		return len(own) < 500
	})
	return merged(out, own), append(required, textsOf(s.get("required"))...), plain
}

// merged puts later members in the place of earlier ones of the same name.
func merged(all, more []rawMember) []rawMember {
	for _, m := range more {
		if i := slices.IndexFunc(all, func(n rawMember) bool { return n.name == m.name }); i >= 0 {
			all[i] = m
		} else {
			all = append(all, m)
		}
	}
	return all
}

// typesOf are the types that are named, with null where 3.0 says nullable.
func typesOf(s object) []string {
	t := s.get("type")
	types := textsOf(t)
	if kindOf(t) == '"' {
		types = []string{textOf(t)}
	}
	types = slices.DeleteFunc(types, func(name string) bool {
		return !slices.Contains([]string{"object", "array", "string", "integer", "number", "boolean", "null"}, name)
	})
	if len(types) > 0 && string(s.get("nullable")) == "true" && !slices.Contains(types, "null") {
		types = append(types, "null")
	}
	return types
}

// plain converts a schema without allOf.
func (c *converter) plain(s object, depth int) params.Ordered {
	types := typesOf(s)
	properties := s.get("properties")
	if len(types) == 0 && properties != nil && s.get("oneOf") == nil && s.get("anyOf") == nil {
		types = []string{"object"}
	}
	if slices.Contains(types, "object") {
		var own []rawMember
		each(properties, func(name string, v []byte) bool {
			own = append(own, rawMember{name, v})
			return len(own) < 500
		})
		if len(own) > 0 || s.get("additionalProperties") != nil || len(types) == 1 {
			return c.object(s, own, textsOf(s.get("required")), depth)
		}
	}
	out := params.Ordered{}
	c.types(&out, types)
	if slices.Contains(types, "array") {
		out.Add("items", c.schema(s.get("items"), depth+1))
	}
	describe(&out, textOf(s.get("description")))
	if c.answers {
		marks(&out, s)
		return out
	}
	c.keywords(&out, s, depth)
	return out
}

func (c *converter) types(out *params.Ordered, types []string) {
	if c.answers && len(types) > 0 && !slices.Contains(types, "null") {
		types = append(types, "null")
	}
	switch len(types) {
	case 0:
	case 1:
		out.Add("type", types[0])
	default:
		out.Add("type", types)
	}
}

func (c *converter) object(s object, members []rawMember, required []string, depth int) params.Ordered {
	types := typesOf(s)
	if len(types) == 0 {
		types = []string{"object"}
	}
	out := params.Ordered{}
	c.types(&out, types)
	describe(&out, textOf(s.get("description")))
	properties := params.Ordered{}
	for _, m := range members {
		one := c.schema(m.value, depth+1)
		if c.answers && has(one, "writeOnly") || !c.answers && has(one, "readOnly") {
			continue
		}
		properties.Add(m.name, one)
	}
	if len(properties) > 0 {
		out.Add("properties", properties)
	}
	marks(&out, s)
	if c.answers {
		return out
	}
	required = slices.DeleteFunc(slices.Clone(required), func(name string) bool { return !has(properties, name) })
	slices.Sort(required)
	if required = slices.Compact(required); len(required) > 0 {
		out.Add("required", required)
	}
	switch more := s.get("additionalProperties"); kindOf(more) {
	case 'f':
		out.Add("additionalProperties", false)
	case '{':
		if rest := c.schema(more, depth+1); len(rest) > 0 {
			out.Add("additionalProperties", rest)
		}
	}
	return out
}

// marks keep who may give a member: the caller drops it by them.
func marks(out *params.Ordered, s object) {
	for _, k := range []string{"readOnly", "writeOnly"} {
		if string(s.get(k)) == "true" && !has(*out, k) {
			out.Add(k, true)
		}
	}
}

// keywords that are kept as they are.
var keptKeywords = []string{"format", "enum", "const", "default", "minimum", "maximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems"}

func (c *converter) keywords(out *params.Ordered, s object, depth int) {
	for _, k := range keptKeywords {
		v := s.get(k)
		if v == nil || len(v) > 10_000 {
			continue
		}
		switch n := 0; k {
		case "enum":
			if eachOf(v, func([]byte) bool { n++; return true }); n == 0 || n > maxEnum {
				continue
			}
		case "format":
			if kindOf(v) != '"' || len(v) > 60 {
				continue
			}
		case "minimum", "maximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems":
			if !isNumber(v) || k == "multipleOf" && kindOf(v) == '-' {
				continue
			}
		case "uniqueItems":
			if string(v) != "true" {
				continue
			}
		}
		out.Add(k, json.RawMessage(v))
	}
	for _, k := range []string{"exclusiveMinimum", "exclusiveMaximum"} {
		switch v := s.get(k); {
		case isNumber(v):
			out.Add(k, json.RawMessage(v))
		case string(v) == "true": // of 3.0, where it is said of the other bound
			bound := map[string]string{"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}[k]
			if n := s.get(bound); isNumber(n) {
				out.Add(k, json.RawMessage(n))
			}
		}
	}
	// A pattern of ECMAScript that is none of RE2 could not be checked.
	if p := textOf(s.get("pattern")); p != "" && len(p) < 1000 {
		if _, err := regexp.Compile(p); err == nil {
			out.Add("pattern", p)
		}
	}
	if e := s.get("example"); e != nil && len(e) < 200 && !has(*out, "enum") {
		out.Add("examples", []json.RawMessage{json.RawMessage(e)})
	}
	marks(out, s)
	c.alternatives(out, s, depth)
}

// alternatives become anyOf: of the schemas of a oneOf more than one fits more
// often than their authors know.
func (c *converter) alternatives(out *params.Ordered, s object, depth int) {
	for _, k := range []string{"oneOf", "anyOf"} {
		var parts []params.Ordered
		open := false
		eachOf(s.get(k), func(one []byte) bool {
			part := c.schema(one, depth+1)
			open = open || len(part) == 0
			parts = append(parts, part)
			return len(parts) < 50
		})
		if len(parts) == 0 || open || has(*out, "anyOf") {
			continue
		}
		if len(parts) == 1 {
			for _, m := range parts[0] {
				if !has(*out, m.Name) {
					out.Add(m.Name, m.Value)
				}
			}
			*out = typeFirst(*out)
			continue
		}
		out.Add("anyOf", parts)
	}
}

func isNumber(raw []byte) bool {
	k := kindOf(raw)
	return k == '-' || k >= '0' && k <= '9'
}

func has(o params.Ordered, name string) bool {
	for _, m := range o {
		if m.Name == name {
			return true
		}
	}
	return false
}

// describe sets the text of a schema, where there is one to set.
func describe(o *params.Ordered, text string) {
	if text = clean(text, maxDescription); text == "" {
		return
	}
	for i := range *o {
		if (*o)[i].Name == "description" {
			(*o)[i].Value = text
			return
		}
	}
	o.Add("description", text)
}

func descriptionOf(o params.Ordered) string {
	for _, m := range o {
		if m.Name == "description" {
			text, _ := m.Value.(string)
			return text
		}
	}
	return ""
}

func typeFirst(o params.Ordered) params.Ordered {
	for i, m := range o {
		if m.Name == "type" && i > 0 {
			return slices.Insert(slices.Delete(slices.Clone(o), i, i+1), 0, m)
		}
	}
	return o
}

// typeOf is the only type of a schema but null, or empty.
func typeOf(o params.Ordered) string {
	if len(o) == 0 || o[0].Name != "type" {
		return ""
	}
	switch t := o[0].Value.(type) {
	case string:
		return t
	case []string:
		if len(t) == 2 && t[1] == "null" {
			return t[0]
		}
	}
	return ""
}

func defaultOf(o params.Ordered) json.RawMessage {
	for _, m := range o {
		if m.Name == "default" {
			raw, _ := m.Value.(json.RawMessage)
			return raw
		}
	}
	return nil
}
