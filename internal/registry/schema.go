package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Comparing JSON schemas (draft 2020-12): whether every value that one takes is
// taken by the other. For arguments, the new schema must take what the old one
// did; for answers, the old one what the new one does.
//
// A schema is a conjunction of its keywords, so that it holds of all values of
// another one if each of its keywords follows from that. Keywords that this
// cannot reason about follow from an equal one only. Of objects that are open,
// only declared members count: callers send and read what is declared, and a new
// optional argument would otherwise break everybody.
//
// Defaults are not about which values are taken, but what is left out means
// something else with another one: for arguments, a default that is changed or
// removed is breaking, one where there was none is not.

const (
	maxSchemaDepth = 64
	maxSchema      = 4 << 20 // bytes of one
	maxSchemaSteps = 100_000 // keywords that are compared; what goes on longer counts as breaking
)

// compareSchemas compares a tool's schema with the one before. For answers, of
// which callers expect what was promised, the direction is the other.
func compareSchemas(field string, before, after json.RawMessage, answers bool) []Effect {
	if bytes.Equal(before, after) {
		return nil
	}
	c := &comparison{answers: answers}
	was, errWas := readSchema(before)
	is, errIs := readSchema(after)
	switch {
	case errWas != nil || errIs != nil:
		c.bad(field, "a schema cannot be read, and differs")
		return c.out
	case sameValue(was, is):
		return nil
	}
	plainWas, plainIs := withoutNotes(was, 0), withoutNotes(is, 0)
	switch {
	case sameValue(plainWas, plainIs):
	case !comparable2020(was) || !comparable2020(is) || !sameValue(definitionsOf(plainWas), definitionsOf(plainIs)):
		c.bad(field, "the schemas differ, and are made in a way that cannot be compared")
		return c.out
	case answers:
		c.within(is, was, field, 0)
	default:
		c.within(was, is, field, 0)
	}
	if len(c.out) == 0 {
		c.good(field, "texts of the schema differ")
	}
	return c.out
}

// readSchema reads one JSON value whose objects name nothing twice.
func readSchema(raw json.RawMessage) (any, error) {
	if len(raw) > maxSchema {
		return nil, errors.New("too large")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := readPlain(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the value")
	}
	return v, nil
}

func readPlain(d *json.Decoder, depth int) (any, error) {
	if depth > maxSchemaDepth {
		return nil, errors.New("too deep")
	}
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('{'):
		o := map[string]any{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, _ := k.(string)
			if _, twice := o[name]; twice {
				return nil, errors.New("a name stands twice")
			}
			if o[name], err = readPlain(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return o, err
	case json.Delim('['):
		l := []any{}
		for d.More() {
			v, err := readPlain(d, depth+1)
			if err != nil {
				return nil, err
			}
			l = append(l, v)
		}
		_, err := d.Token()
		return l, err
	}
	return tok, nil
}

// Keywords by what stands in them.
var (
	noteKeywords = []string{"title", "description", "examples", "$comment", "deprecated", "readOnly", "writeOnly", "$schema"}
	schemaMaps   = []string{"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
	schemaLists  = []string{"allOf", "anyOf", "oneOf", "prefixItems"}
	schemaOnes   = []string{"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties", "contentSchema"}
	// contextual change what other keywords mean, wherever they stand.
	contextual = []string{"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary", "unevaluatedItems", "unevaluatedProperties", "id"}
)

const draft2020 = "https://json-schema.org/draft/2020-12/schema"

// comparable2020 reports whether a document's keywords can be looked at one by
// one.
func comparable2020(root any) bool {
	if o, ok := root.(map[string]any); ok {
		if dialect, said := o["$schema"]; said && dialect != draft2020 {
			return false
		}
	}
	ok := true
	eachSchema(root, 0, func(o map[string]any) {
		for _, k := range contextual {
			if _, has := o[k]; has {
				ok = false
			}
		}
		if ref, has := o["$ref"]; has {
			s, _ := ref.(string)
			ok = ok && (strings.HasPrefix(s, "#/$defs/") || strings.HasPrefix(s, "#/definitions/"))
		}
	})
	return ok
}

func eachSchema(v any, depth int, f func(map[string]any)) {
	o, ok := v.(map[string]any)
	if !ok || depth > maxSchemaDepth {
		return
	}
	f(o)
	for _, k := range schemaMaps {
		if m, ok := o[k].(map[string]any); ok {
			for _, s := range m {
				eachSchema(s, depth+1, f)
			}
		}
	}
	for _, k := range schemaLists {
		if l, ok := o[k].([]any); ok {
			for _, s := range l {
				eachSchema(s, depth+1, f)
			}
		}
	}
	for _, k := range schemaOnes {
		eachSchema(o[k], depth+1, f)
	}
}

// definitionsOf is what references of a document lead to. Where there is none,
// they do not matter.
func definitionsOf(root any) any {
	o, _ := root.(map[string]any)
	refers := false
	eachSchema(root, 0, func(s map[string]any) { _, has := s["$ref"]; refers = refers || has })
	if !refers {
		return nil
	}
	return map[string]any{"$defs": o["$defs"], "definitions": o["definitions"]}
}

// withoutNotes copies a schema without what is only for reading.
func withoutNotes(v any, depth int) any {
	o, ok := v.(map[string]any)
	if !ok || depth > maxSchemaDepth {
		return v
	}
	out := map[string]any{}
	for k, v := range o {
		switch {
		case slices.Contains(noteKeywords, k):
		case slices.Contains(schemaMaps, k):
			m, ok := v.(map[string]any)
			if !ok {
				out[k] = v
				continue
			}
			plain := map[string]any{}
			for name, s := range m {
				plain[name] = withoutNotes(s, depth+1)
			}
			out[k] = plain
		case slices.Contains(schemaLists, k):
			l, ok := v.([]any)
			if !ok {
				out[k] = v
				continue
			}
			plain := make([]any, len(l))
			for i, s := range l {
				plain[i] = withoutNotes(s, depth+1)
			}
			out[k] = plain
		case slices.Contains(schemaOnes, k):
			out[k] = withoutNotes(v, depth+1)
		default:
			out[k] = v
		}
	}
	return out
}

// sameValue compares JSON values; numbers by what they are worth.
func sameValue(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, has := b[k]; !has || !sameValue(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, sameValue)
	case json.Number:
		b, ok := b.(json.Number)
		if !ok || a == b {
			return ok
		}
		x, okX := rational(a.String())
		y, okY := rational(b.String())
		return okX && okY && x.Cmp(y) == 0
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

// canonical writes a JSON value so that equal ones are written alike.
func canonical(v any) string {
	var b strings.Builder
	writeCanonical(&b, v)
	return b.String()
}

func writeCanonical(b *strings.Builder, v any) {
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		for _, k := range slices.Sorted(maps.Keys(v)) {
			b.Write(quoted(k))
			b.WriteByte(':')
			writeCanonical(b, v[k])
			b.WriteByte(',')
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for _, e := range v {
			writeCanonical(b, e)
			b.WriteByte(',')
		}
		b.WriteByte(']')
	case json.Number:
		if r, ok := rational(v.String()); ok {
			b.WriteString(r.RatString())
			return
		}
		b.WriteString(v.String())
	case string:
		b.Write(quoted(v))
	default:
		fmt.Fprint(b, v)
	}
}

func setOf(list []any) map[string]bool {
	out := make(map[string]bool, len(list))
	for _, v := range list {
		out[canonical(v)] = true
	}
	return out
}
