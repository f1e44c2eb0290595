package sqltool

import (
	"bytes"
	"encoding/json"

	"latchkey/internal/registry"
)

const dialect = "https://json-schema.org/draft/2020-12/schema"

// ordered is a JSON object that keeps the order of its members: a schema reads
// as its author wrote it, and its hash does not change by chance.
type ordered []member

type member struct {
	name  string
	value any
}

func (o ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (o *ordered) add(name string, value any) { *o = append(*o, member{name, value}) }

func encode(o ordered) json.RawMessage {
	b, err := json.Marshal(o)
	if err != nil { // numbers of a spec that was checked
		panic(err)
	}
	return b
}

// inputSchema describes the parameters that the model sets. Those bound from
// the call are not in it, and nothing else is allowed in.
func inputSchema(params []parameter) json.RawMessage {
	properties, required := ordered{}, []string{}
	for _, p := range params {
		if p.From != "" || paramTypes[p.Type].json == "" {
			continue
		}
		properties.add(p.Name, p.schema())
		if p.Required {
			required = append(required, p.Name)
		}
	}
	s := ordered{{"$schema", dialect}, {"type", "object"}, {"properties", properties}}
	if len(required) > 0 {
		s.add("required", required)
	}
	s.add("additionalProperties", false)
	return encode(s)
}

func (p *parameter) schema() ordered {
	t := paramTypes[p.Type]
	s := ordered{{"type", t.json}}
	if t.format != "" {
		s.add("format", t.format)
	}
	if p.Type == "array" {
		s.add("items", (&parameter{Type: p.Items}).schema())
	}
	if p.Description != "" {
		s.add("description", p.Description)
	}
	if len(p.Enum) > 0 {
		s.add("enum", p.Enum)
	}
	if p.Default != nil {
		s.add("default", p.Default)
	}
	if p.Minimum != "" {
		s.add("minimum", p.Minimum)
	}
	if p.Maximum != "" {
		s.add("maximum", p.Maximum)
	}
	if p.MinLength != nil {
		s.add("minLength", *p.MinLength)
	}
	if p.MaxLength != nil {
		s.add("maxLength", *p.MaxLength)
	}
	if p.Pattern != "" {
		s.add("pattern", p.Pattern)
	}
	if p.MaxItems != nil {
		s.add("maxItems", *p.MaxItems)
	}
	return s
}

// outputSchema describes the structured answer. Nothing is required and more
// may be there, because a failure answers with other members under the same
// schema and clients hold both against it.
func outputSchema(s *statement, columns []column, a registry.Access) json.RawMessage {
	row := ordered{}
	for _, c := range columns {
		row.add(c.name, ordered{{"description", c.description}})
	}
	one := ordered{{"type", "object"}}
	if len(row) > 0 {
		one.add("properties", row)
	}
	properties := ordered{}
	if s.Single {
		one[0].value = []string{"object", "null"}
		properties.add("row", one)
	} else {
		properties.add("rows", ordered{{"type", "array"}, {"items", one}})
	}
	properties.add("row_count", ordered{{"type", "integer"}, {"description", "How many rows this answer holds."}})
	properties.add("more_rows", ordered{{"type", "integer"}, {"description", "How many rows were left out, at least."}})
	if a == registry.WriteAccess {
		properties.add("rows_changed", ordered{{"type", "integer"}, {"description", "How many rows the statement changed."}})
	}
	properties.add("note", ordered{{"type", "string"}, {"description", "What to know about this answer."}})
	return encode(ordered{{"$schema", dialect}, {"type", "object"}, {"properties", properties}})
}
