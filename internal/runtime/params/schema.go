package params

import (
	"bytes"
	"encoding/json"
)

// Dialect is the one of every schema here.
const Dialect = "https://json-schema.org/draft/2020-12/schema"

// Ordered is a JSON object that keeps the order of its members: a schema reads
// as its author wrote it, and its hash does not change by chance.
type Ordered []struct {
	Name  string
	Value any
}

// MarshalJSON keeps the order.
func (o Ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := o.write(&b)
	return b.Bytes(), err
}

// write goes into what is Ordered itself: encoding/json reads what MarshalJSON
// gives once more at every level, which for schemas is most of the time.
func (o Ordered) write(b *bytes.Buffer) error {
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.Name)
		if err != nil {
			return err
		}
		b.Write(name)
		b.WriteByte(':')
		if err := writeValue(b, m.Value); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func writeValue(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case Ordered:
		return v.write(b)
	case []Ordered:
		b.WriteByte('[')
		for i, one := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := one.write(b); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	}
	raw, err := json.Marshal(v)
	b.Write(raw)
	return err
}

// Add a member at the end.
func (o *Ordered) Add(name string, value any) {
	*o = append(*o, struct {
		Name  string
		Value any
	}{name, value})
}

// Encode gives the JSON of a schema.
func Encode(o Ordered) json.RawMessage {
	b, err := json.Marshal(o)
	if err != nil { // numbers of a spec that was checked
		panic(err)
	}
	return b
}

// InputSchema describes the parameters that the model sets. Those bound from
// the call are not in it, and nothing else is allowed in.
func InputSchema(all []Parameter) json.RawMessage {
	properties, required := Ordered{}, []string{}
	for _, p := range all {
		if p.From != "" || types[p.Type].json == "" {
			continue
		}
		properties.Add(p.Name, p.Schema())
		if p.Required {
			required = append(required, p.Name)
		}
	}
	s := Ordered{{"$schema", Dialect}, {"type", "object"}, {"properties", properties}}
	if len(required) > 0 {
		s.Add("required", required)
	}
	s.Add("additionalProperties", false)
	return Encode(s)
}

// Schema describes one parameter.
func (p *Parameter) Schema() Ordered {
	if p.Type == "file" {
		return FileSchema(p.Description, p.Accept, true)
	}
	t := types[p.Type]
	s := Ordered{{"type", t.json}}
	if t.format != "" {
		s.Add("format", t.format)
	}
	if p.Type == "array" {
		s.Add("items", (&Parameter{Type: p.Items, Accept: p.Accept}).Schema())
	}
	if p.Description != "" {
		s.Add("description", p.Description)
	}
	if len(p.Enum) > 0 {
		s.Add("enum", p.Enum)
	}
	if p.Default != nil {
		s.Add("default", p.Default)
	}
	if p.Minimum != "" {
		s.Add("minimum", p.Minimum)
	}
	if p.Maximum != "" {
		s.Add("maximum", p.Maximum)
	}
	if p.MinLength != nil {
		s.Add("minLength", *p.MinLength)
	}
	if p.MaxLength != nil {
		s.Add("maxLength", *p.MaxLength)
	}
	if p.Pattern != "" {
		s.Add("pattern", p.Pattern)
	}
	if p.MaxItems != nil {
		s.Add("maxItems", *p.MaxItems)
	}
	return s
}
