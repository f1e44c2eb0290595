package httptool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// text is a text with {name} places; {{ and }} stand for one brace. One that is
// nothing but a place keeps the value's type.
type text struct {
	parts []part
}

type part struct{ literal, name string }

func parseText(s string) (t text, err error) {
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			t.parts = append(t.parts, part{literal: literal.String()})
			literal.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case (c == '{' || c == '}') && i+1 < len(s) && s[i+1] == c:
			literal.WriteByte(c)
			i++
		case c == '}':
			return t, errors.New("has a } without a {; write }} for a brace")
		case c == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return t, errors.New("has a { without a }; write {{ for a brace")
			}
			name := s[i+1 : i+end]
			if name == "" || strings.ContainsAny(name, "{ \t\n") {
				return t, fmt.Errorf("has the place {%.40s}, which is no name; write {{ for a brace", name)
			}
			flush()
			t.parts = append(t.parts, part{name: name})
			i += end
		default:
			literal.WriteByte(c)
		}
	}
	flush()
	return t, nil
}

// sole is the name of the only place of a text that is nothing else.
func (t text) sole() (string, bool) {
	if len(t.parts) == 1 && t.parts[0].name != "" {
		return t.parts[0].name, true
	}
	return "", false
}

func (t text) names() (out []string) {
	for _, p := range t.parts {
		if p.name != "" {
			out = append(out, p.name)
		}
	}
	return out
}

// quoteText makes a text that stands for itself.
func quoteText(s string) string { return strings.NewReplacer("{", "{{", "}", "}}").Replace(s) }

// fill puts plain values in their places. What is not given is nothing.
func (t text) fill(values map[string]json.RawMessage) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.literal)
			continue
		}
		s, err := plain(values[p.name])
		if err != nil {
			return "", argumentError(p.name, err)
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// plain is a value as text: a list or an object is none.
func plain(raw json.RawMessage) (string, error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", nil
	case raw[0] == '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", errors.New("is no text")
		}
		if strings.ContainsRune(s, 0) {
			return "", errors.New("holds a NUL character")
		}
		return s, nil
	case raw[0] == '{' || raw[0] == '[':
		return "", errors.New("must be a text, a number or a truth")
	}
	return string(raw), nil
}

// node is a JSON value whose texts have places.
type node struct {
	members []member
	list    []node
	text    *text
	literal json.RawMessage
	kind    byte // { [ " or 0 for a literal
}

type member struct {
	name  string
	value node
}

const maxBodyDepth = 20

// parseBody reads a body with places.
func parseBody(raw json.RawMessage) (node, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	n, err := readNode(d, 0)
	if err != nil {
		return n, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return n, errors.New("something follows the value")
	}
	return n, nil
}

func readNode(d *json.Decoder, depth int) (n node, err error) {
	if depth > maxBodyDepth {
		return n, fmt.Errorf("is nested deeper than %d levels", maxBodyDepth)
	}
	tok, err := d.Token()
	if err != nil {
		return n, err
	}
	switch v := tok.(type) {
	case json.Delim:
		n.kind = byte(v)
		for d.More() {
			var m member
			if v == '{' {
				k, err := d.Token()
				if err != nil {
					return n, err
				}
				m.name, _ = k.(string)
			}
			if m.value, err = readNode(d, depth+1); err != nil {
				return n, err
			}
			if v == '{' {
				n.members = append(n.members, m)
			} else {
				n.list = append(n.list, m.value)
			}
		}
		_, err = d.Token()
		return n, err
	case string:
		t, err := parseText(v)
		n.kind, n.text = '"', &t
		return n, err
	}
	n.literal, err = json.Marshal(tok)
	return n, err
}

// names are the places in the body.
func (n *node) names() (out []string) {
	if n.text != nil {
		return n.text.names()
	}
	for _, m := range n.members {
		out = append(out, m.value.names()...)
	}
	for i := range n.list {
		out = append(out, n.list[i].names()...)
	}
	return out
}

// fill gives the value, or nothing where it is a place whose argument is missing:
// members and entries without a value are left out.
func (n *node) fill(values map[string]json.RawMessage) (json.RawMessage, error) {
	switch n.kind {
	case '"':
		if name, ok := n.text.sole(); ok {
			return values[name], nil
		}
		s, err := n.text.fill(values)
		if err != nil {
			return nil, err
		}
		return json.Marshal(s)
	case '[':
		var b bytes.Buffer
		b.WriteByte('[')
		for i := range n.list {
			v, err := n.list[i].fill(values)
			if err != nil {
				return nil, err
			}
			if v == nil {
				continue
			}
			if b.Len() > 1 {
				b.WriteByte(',')
			}
			b.Write(v)
		}
		b.WriteByte(']')
		return b.Bytes(), nil
	case '{':
		var b bytes.Buffer
		b.WriteByte('{')
		for _, m := range n.members {
			v, err := m.value.fill(values)
			if err != nil {
				return nil, err
			}
			if v == nil {
				continue
			}
			if b.Len() > 1 {
				b.WriteByte(',')
			}
			name, err := json.Marshal(m.name)
			if err != nil {
				return nil, err
			}
			b.Write(name)
			b.WriteByte(':')
			b.Write(v)
		}
		b.WriteByte('}')
		return b.Bytes(), nil
	}
	return n.literal, nil
}
