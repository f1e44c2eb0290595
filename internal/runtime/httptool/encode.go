package httptool

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"latchkey/internal/openapi"
)

// How values are written into a path, a query, a header or a cookie: the styles
// of OpenAPI, which are those of RFC 6570 where there are such.

// field is a member of an object, or an entry of a list without a name.
type field struct {
	name  string
	value json.RawMessage
}

// fieldsOf are the entries of a list or the members of an object, in order.
func fieldsOf(raw json.RawMessage) (out []field, object bool, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	tok, err := d.Token()
	if err != nil {
		return nil, false, errors.New("is no JSON")
	}
	object = tok == json.Delim('{')
	for d.More() {
		var f field
		if object {
			k, err := d.Token()
			if err != nil {
				return nil, object, errors.New("is no JSON")
			}
			f.name, _ = k.(string)
		}
		if err := d.Decode(&f.value); err != nil {
			return nil, object, errors.New("is no JSON")
		}
		out = append(out, f)
		if len(out) > 10_000 {
			return nil, object, errors.New("has too many entries")
		}
	}
	if _, err := d.Token(); err != nil && !errors.Is(err, io.EOF) {
		return nil, object, errors.New("is no JSON")
	}
	return out, object, nil
}

// encode gives a value as it stands at a place: pairs for a query or cookies, one
// text for a header or a segment.
func encode(p place, raw json.RawMessage) ([]string, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	esc := escaper(p)
	if p.JSON {
		return one(p, esc(string(raw))), nil
	}
	if raw[0] != '{' && raw[0] != '[' {
		s, err := plain(raw)
		if err != nil {
			return nil, err
		}
		if p.In == openapi.InPath && s == "" {
			return nil, errors.New("must not be empty")
		}
		return one(p, esc(s)), nil
	}
	fields, object, err := fieldsOf(raw)
	if err != nil {
		return nil, err
	}
	if p.Style == "deepObject" {
		var pairs []string
		err := deep(&pairs, esc, esc(p.Name), raw, 0)
		return pairs, err
	}
	texts := make([]string, 0, len(fields))
	for _, f := range fields {
		v, err := plain(f.value)
		if err != nil {
			return nil, fmt.Errorf("has an entry that %w", err)
		}
		texts = append(texts, esc(v))
	}
	if len(texts) == 0 {
		return nil, nil
	}
	if p.Explode && p.Style == "form" {
		pairs := make([]string, len(texts))
		for i, v := range texts {
			name := esc(p.Name)
			if object {
				name = esc(fields[i].name)
			}
			pairs[i] = name + "=" + v
		}
		return pairs, nil
	}
	return one(p, join(p, esc, fields, texts, object)), nil
}

// join writes a list or an object as one text.
func join(p place, esc func(string) string, fields []field, texts []string, object bool) string {
	between, is := ",", ","
	switch p.Style {
	case "spaceDelimited":
		between = "%20"
	case "pipeDelimited":
		between = "%7C"
	case "label":
		if between = "."; !p.Explode {
			between = ","
		}
	case "matrix":
		if p.Explode {
			between = ";"
		}
	}
	if p.Explode {
		is = "="
	}
	var b strings.Builder
	for i, v := range texts {
		if i > 0 {
			b.WriteString(between)
		}
		switch {
		case object:
			b.WriteString(esc(fields[i].name) + is)
		case p.Style == "matrix" && p.Explode && i > 0:
			b.WriteString(esc(p.Wire) + "=")
		}
		b.WriteString(v)
	}
	if p.Style == "matrix" && p.Explode && object {
		return ";" + b.String()
	}
	return b.String()
}

// one makes what stands at the place of one text that is escaped.
func one(p place, s string) []string {
	switch {
	case p.In == openapi.InQuery || p.In == openapi.InCookie:
		return []string{escaper(p)(p.Name) + "=" + s}
	case p.Style == "label":
		return []string{"." + s}
	case p.Style == "matrix" && !strings.HasPrefix(s, ";"):
		return []string{";" + escaper(p)(p.Wire) + "=" + s}
	}
	return []string{s}
}

// escaper escapes for a place. Reserved characters stay where the document says
// so, but for those that would end the value there.
func escaper(p place) func(string) string {
	switch p.In {
	case openapi.InPath:
		return escapeSegment
	case openapi.InHeader:
		return func(s string) string { return s }
	case openapi.InCookie:
		return escapeQuery
	}
	if p.Reserved {
		return func(s string) string {
			return reserved.Replace(escapeQuery(s))
		}
	}
	return escapeQuery
}

var reserved = strings.NewReplacer("%3A", ":", "%2F", "/", "%3F", "?", "%5B", "[", "%5D", "]", "%40", "@", "%21", "!", "%24", "$", "%27", "'", "%28", "(", "%29", ")", "%2A", "*", "%2C", ",", "%3B", ";")

// escapeQuery escapes all but unreserved characters, and a space as %20, which
// every server reads alike.
func escapeQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// escapeSegment escapes all but unreserved characters: nothing in a value ends its
// segment, or begins parameters of it.
func escapeSegment(s string) string { return escapeQuery(s) }

// deep writes name[key]=value, as deep as the value is.
func deep(pairs *[]string, esc func(string) string, name string, raw json.RawMessage, depth int) error {
	raw = bytes.TrimSpace(raw)
	if len(*pairs) > 10_000 || depth > 10 {
		return errors.New("is too large or too deep for a form")
	}
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if raw[0] != '{' && raw[0] != '[' {
		s, err := plain(raw)
		if err != nil {
			return err
		}
		*pairs = append(*pairs, name+"="+esc(s))
		return nil
	}
	fields, object, err := fieldsOf(raw)
	if err != nil {
		return err
	}
	for i, f := range fields {
		key := strconv.Itoa(i)
		if object {
			key = esc(f.name)
		}
		if err := deep(pairs, esc, name+"["+key+"]", f.value, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// encodeForm writes an object as a form. Lists are repeated, objects are written
// as name[key], unless the document says otherwise.
func encodeForm(raw json.RawMessage, b *body) (string, error) {
	fields, object, err := fieldsOf(raw)
	if err != nil || !object {
		return "", errors.New("the body must be an object, to be sent as a form")
	}
	var pairs []string
	for _, f := range fields {
		v := bytes.TrimSpace(f.value)
		style, part := cmp.Or(b.Encoding[f.name], "form"), b.Parts[f.name]
		p := place{In: openapi.InQuery, Name: f.name, Style: style, Explode: !part.Joined, Reserved: part.Reserved, JSON: part.JSON}
		isList := len(v) > 0 && v[0] == '['
		if style != "deepObject" && (isList || part.Joined || part.JSON) {
			more, err := encode(p, v)
			if err == nil {
				pairs = append(pairs, more...)
				continue
			}
		}
		if err := deep(&pairs, escaper(p), escapeQuery(f.name), v, 0); err != nil {
			return "", fmt.Errorf("%s %w", f.name, err)
		}
	}
	return strings.Join(pairs, "&"), nil
}
