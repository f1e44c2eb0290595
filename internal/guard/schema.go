package guard

import (
	"bytes"
	"encoding/json"
	"slices"

	"latchkey/internal/registry"
)

// Schema is a tool's output schema as its results are after the guard: without
// the fields that are dropped, with the new names, and without what masks and
// marks break. What is no schema of an object stays as it is.
func Schema(schema json.RawMessage, g registry.OutputGuard) json.RawMessage {
	p, err := Compile(g, "")
	if err != nil || p.off || !p.byField() && !p.masks {
		return schema
	}
	dec := json.NewDecoder(bytes.NewReader(schema))
	dec.UseNumber()
	var root map[string]any
	if dec.Decode(&root) != nil {
		return schema
	}
	s := &schemas{policy: p}
	s.walk(root, nil, false) // by the old names
	s.rows(root)
	out, err := json.Marshal(root)
	if err != nil {
		return schema
	}
	return out
}

type schemas struct{ policy *Policy }

// rows finds the schemas of rows, as walk.envelope finds the rows.
func (s *schemas) rows(root map[string]any) {
	if s.policy.fields == nil && s.policy.renames == nil {
		return
	}
	if items, ok := root["items"].(map[string]any); ok {
		s.cut(items, s.policy.fields, s.policy.renames)
		return
	}
	properties, _ := root["properties"].(map[string]any)
	envelope := map[string]map[string]any{}
	own, known := false, false
	for name, v := range properties {
		one, _ := v.(map[string]any)
		items, isList := one["items"].(map[string]any)
		switch {
		case name == "rows" && isList:
			known = true
			envelope[name] = items
		case name == "row" && one != nil:
			known = true
			envelope[name] = one
		case isList && items["properties"] != nil:
			envelope[name] = items
		}
		for _, t := range []*tree{s.policy.fields, s.policy.renames} {
			own = own || t != nil && t.below[name] != nil
		}
	}
	if len(envelope) == 0 || own && !known {
		s.cut(root, s.policy.fields, s.policy.renames)
		return
	}
	for _, row := range envelope {
		s.cut(row, s.policy.fields, s.policy.renames)
	}
}

// cut drops and renames the properties of an object, and of those below it.
func (s *schemas) cut(o map[string]any, fields, renames *tree) {
	if items, ok := o["items"].(map[string]any); ok {
		s.cut(items, fields, renames)
	}
	properties, _ := o["properties"].(map[string]any)
	names := map[string]string{} // old to new; absent: dropped
	out := map[string]any{}
	for name, v := range properties {
		f, r := fields, renames
		if f != nil {
			if f = f.below[name]; f == nil {
				continue
			}
			if f.leaf {
				f = nil
			}
		}
		to := name
		if r != nil {
			if r = r.below[name]; r != nil && r.name != "" {
				to = r.name
			}
		}
		names[name] = to
		if one, ok := v.(map[string]any); ok {
			s.cut(one, f, r)
		}
		out[to] = v
	}
	if properties != nil {
		o["properties"] = out
	}
	if required, ok := o["required"].([]any); ok {
		left := []any{}
		for _, r := range required {
			if name, _ := r.(string); names[name] != "" {
				left = append(left, names[name])
			}
		}
		o["required"] = left
	}
}

// walk takes from every field what its mask or mark breaks.
func (s *schemas) walk(o map[string]any, path []step, untrusted bool) {
	s.loosen(o, path, untrusted)
	untrusted = untrusted || s.policy.everyText || s.policy.untrusted.rule(path) != ""
	if properties, ok := o["properties"].(map[string]any); ok {
		for name, v := range properties {
			if one, ok := v.(map[string]any); ok {
				s.walk(one, append(slices.Clip(path), step{name, -1}), untrusted)
			}
		}
	}
	for _, key := range []string{"items", "additionalProperties", "contains"} {
		if one, ok := o[key].(map[string]any); ok {
			s.walk(one, path, untrusted)
		}
	}
	for _, key := range []string{"anyOf", "oneOf", "allOf", "prefixItems"} {
		if list, ok := o[key].([]any); ok {
			for _, v := range list {
				if one, ok := v.(map[string]any); ok {
					s.walk(one, path, untrusted)
				}
			}
		}
	}
	for _, key := range []string{"$defs", "definitions"} {
		if defs, ok := o[key].(map[string]any); ok {
			for _, v := range defs {
				if one, ok := v.(map[string]any); ok { // used from anywhere
					s.walk(one, nil, untrusted || len(s.policy.untrusted) > 0)
				}
			}
		}
	}
}

// loosen removes from one field what does not hold of it any more.
func (s *schemas) loosen(o map[string]any, path []step, untrusted bool) {
	p := s.policy
	if rule := p.rules.rule(path); rule != "" {
		description := o["description"]
		clear(o)
		if o["type"] = []any{"string", "null"}; description != nil {
			o["description"] = description
		}
		return
	}
	marked := untrusted || p.everyText || p.untrusted.rule(path) != ""
	if !marked && !p.masks {
		return
	}
	for _, key := range []string{"format", "pattern", "enum", "const", "maxLength", "minLength", "contentEncoding", "contentMediaType"} {
		delete(o, key)
	}
	if p.card || p.nationalID || p.phone { // a number that is one becomes a text
		if t, _ := o["type"].(string); t == "integer" || t == "number" {
			o["type"] = []any{t, "string"}
			for _, key := range []string{"minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"} {
				delete(o, key)
			}
		}
	}
}
