package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Views into JSON that json.Valid has checked. They share the document's memory,
// and nil is what is not there.

// maxDepth is what any part of a document may be nested.
const maxDepth = 200

// kindOf is the first byte of a value: { [ " t f n - or a digit.
func kindOf(raw []byte) byte {
	if len(raw) == 0 {
		return 0
	}
	return raw[0]
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skip is the end of the value that begins at i.
func skip(b []byte, i int) int {
	switch b[i] {
	case '"':
		for i++; ; i++ {
			i += bytes.IndexByte(b[i:], '"')
			// A quote that is escaped has an odd number of backslashes before it.
			n := 0
			for b[i-1-n] == '\\' {
				n++
			}
			if n%2 == 0 {
				return i + 1
			}
		}
	case '{', '[':
		for depth := 0; ; i++ {
			switch b[i] {
			case '"':
				i = skip(b, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for ; i < len(b); i++ {
		switch b[i] {
		case ',', ']', '}', ' ', '\n', '\t', '\r':
			return i
		}
	}
	return i
}

// members gives those of an object in order, with their names as they are
// written, until f says no.
func members(raw []byte, f func(name, value []byte) bool) {
	if kindOf(raw) != '{' {
		return
	}
	for i := space(raw, 1); raw[i] != '}'; {
		end := skip(raw, i)
		name := raw[i:end]
		i = space(raw, end)
		i = space(raw, i+1) // the colon
		end = skip(raw, i)
		if !f(name, raw[i:end:end]) {
			return
		}
		if i = space(raw, end); raw[i] == ',' {
			i = space(raw, i+1)
		}
	}
}

// isKey reports whether a name, as it is written, is the key.
func isKey(name []byte, key string) bool {
	plain := name[1 : len(name)-1]
	return string(plain) == key || bytes.IndexByte(plain, '\\') >= 0 && textOf(name) == key
}

// each gives the members of an object in order, until f says no.
func each(raw []byte, f func(key string, value []byte) bool) {
	members(raw, func(name, value []byte) bool { return f(textOf(name), value) })
}

// eachOf gives the elements of a list, until f says no.
func eachOf(raw []byte, f func(value []byte) bool) {
	if kindOf(raw) != '[' {
		return
	}
	for i := space(raw, 1); raw[i] != ']'; {
		end := skip(raw, i)
		if !f(raw[i:end:end]) {
			return
		}
		if i = space(raw, end); raw[i] == ',' {
			i = space(raw, i+1)
		}
	}
}

// get finds a member of an object. Of a name that stands twice it is the first.
func get(raw []byte, key string) (found []byte) {
	members(raw, func(name, value []byte) bool {
		if isKey(name, key) {
			found = value
		}
		return found == nil
	})
	return found
}

// object is a schema that was gone through once, however many of its keywords are
// asked for.
type object []keyword

type keyword struct{ name, value []byte }

// maxKeywords of one schema are looked at.
const maxKeywords = 200

func openObject(raw []byte) (o object) {
	members(raw, func(name, value []byte) bool {
		o = append(o, keyword{name, value})
		return len(o) < maxKeywords
	})
	return o
}

func (o object) get(key string) []byte {
	for _, k := range o {
		if isKey(k.name, key) {
			return k.value
		}
	}
	return nil
}

func element(raw []byte, index string) (found []byte) {
	n, err := strconv.Atoi(index)
	if err != nil {
		return nil
	}
	i := 0
	eachOf(raw, func(v []byte) bool {
		if i == n {
			found = v
		}
		i++
		return found == nil
	})
	return found
}

// textOf is the value of a JSON text, or empty for anything else.
func textOf(raw []byte) string {
	if kindOf(raw) != '"' {
		return ""
	}
	if plain := raw[1 : len(raw)-1]; bytes.IndexByte(plain, '\\') < 0 {
		return strings.ToValidUTF8(string(plain), "\uFFFD")
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func textsOf(raw []byte) (out []string) {
	eachOf(raw, func(v []byte) bool {
		if kindOf(v) == '"' {
			out = append(out, textOf(v))
		}
		return true
	})
	return out
}

// toJSON gives the document as JSON. YAML costs more memory than JSON: its reader
// makes a node of each value.
func toJSON(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
	if len(text) > 0 && text[0] == '{' && json.Valid(text) {
		return text, shallow(text)
	}
	if len(text) > maxYAML {
		return nil, bad("The document is no JSON, and YAML may have %d MB at most. Give it as JSON, or cut it down to the operations that you need.", maxYAML>>20)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, bad("The document is neither JSON nor YAML: %s.", clean(strings.TrimPrefix(err.Error(), "yaml: "), 200))
	}
	w := yamlWriter{left: maxNodes}
	if err := w.write(&doc, 0); err != nil {
		return nil, bad("The document cannot be used: %s.", err)
	}
	raw := w.out.Bytes()
	if !json.Valid(raw) {
		return nil, bad("The document cannot be read as JSON. Give it as JSON.")
	}
	return raw, nil
}

// shallow refuses what is nested deeper than anything real.
func shallow(raw []byte) error {
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = skip(raw, i) - 1
		case '{', '[':
			if depth++; depth > maxDepth {
				return bad("The document is nested deeper than %d levels.", maxDepth)
			}
		case '}', ']':
			depth--
		}
	}
	return nil
}

// maxNodes bounds a YAML document with its aliases written out.
const maxNodes = 2_000_000

type yamlWriter struct {
	out  bytes.Buffer
	left int
}

func (w *yamlWriter) write(n *yaml.Node, depth int) error {
	for n.Kind == yaml.AliasNode || n.Kind == yaml.DocumentNode {
		switch {
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		case len(n.Content) == 1:
			n = n.Content[0]
		default:
			return errors.New("it is empty")
		}
	}
	if w.left--; w.left < 0 || w.out.Len() > MaxDocument {
		return errors.New("it is too large with its aliases written out; give it as JSON")
	}
	if depth > maxDepth {
		return fmt.Errorf("line %d is nested deeper than %d levels", n.Line, maxDepth)
	}
	switch n.Kind {
	case yaml.MappingNode:
		w.out.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				w.out.WriteByte(',')
			}
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
				return fmt.Errorf("line %d has a key that is no text; write merged mappings out", key.Line)
			}
			w.text(key.Value)
			w.out.WriteByte(':')
			if err := w.write(n.Content[i+1], depth+1); err != nil {
				return err
			}
		}
		w.out.WriteByte('}')
	case yaml.SequenceNode:
		w.out.WriteByte('[')
		for i, one := range n.Content {
			if i > 0 {
				w.out.WriteByte(',')
			}
			if err := w.write(one, depth+1); err != nil {
				return err
			}
		}
		w.out.WriteByte(']')
	case yaml.ScalarNode:
		w.scalar(n)
	default:
		return errors.New("it is empty")
	}
	return nil
}

func (w *yamlWriter) scalar(n *yaml.Node) {
	switch tag := n.ShortTag(); {
	case tag == "!!null":
		w.out.WriteString("null")
	case tag == "!!bool":
		w.out.WriteString(strings.ToLower(n.Value))
	case (tag == "!!int" || tag == "!!float") && json.Valid([]byte(n.Value)):
		w.out.WriteString(n.Value)
	default:
		w.text(n.Value)
	}
}

func (w *yamlWriter) text(s string) {
	b, err := json.Marshal(s)
	if err != nil { // a string has JSON
		panic(err)
	}
	w.out.Write(b)
}
