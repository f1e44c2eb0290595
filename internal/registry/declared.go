package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// What people declare comes as YAML text, whose problems have lines, or as
// JSON. Both become nodes of the same form, which kinds read; and those become
// the JSON that is kept and read back, with its keys in the writer's order.

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

func isJSONNumber(s string) bool { return jsonNumber.MatchString(s) }

// ReadYAML reads one document. Its nodes are plain: no aliases, no tags of the
// writer's own, nothing that JSON has no words for. Of an empty text the node
// is nil.
func ReadYAML(text string) (*yaml.Node, []Problem) {
	if len(text) > maxFile {
		return nil, []Problem{{Reason: fmt.Sprintf("this is larger than %d MB", maxFile>>20), Fix: "declare less at once"}}
	}
	var doc, second yaml.Node
	d := yaml.NewDecoder(strings.NewReader(text))
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, []Problem{yamlProblem(err)}
	}
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, []Problem{ProblemAt(&second, "", "there is more than one document", "remove what follows `---`")}
	}
	plain, bad := writeOut(&doc)
	if bad != nil {
		return nil, []Problem{*bad}
	}
	return plain, nil
}

// ReadJSON reads JSON into nodes of the same form, without lines. Keys keep
// their order, numbers their digits; a key that stands twice does so here too,
// for whoever checks it.
func ReadJSON(raw json.RawMessage) (*yaml.Node, []Problem) {
	if len(raw) > maxJSON {
		return nil, []Problem{{Reason: fmt.Sprintf("this is larger than %d MB", maxJSON>>20), Fix: "declare less at once"}}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	left := maxNodes
	n, err := readValue(d, 0, &left)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			err = nil
		} else {
			err = errors.New("something follows the value")
		}
	}
	if err != nil {
		return nil, []Problem{{Reason: "this is not JSON: " + err.Error(), Fix: "send one value"}}
	}
	plain, bad := writeOut(n)
	if bad != nil {
		return nil, []Problem{*bad}
	}
	return plain, nil
}

// maxJSON holds a document of 32 MB as one text with its escapes: many values are
// bounded by maxNodes.
const maxJSON = 48 << 20

func readValue(d *json.Decoder, depth int, left *int) (*yaml.Node, error) {
	if *left--; *left < 0 {
		return nil, errors.New("it has too many values")
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	}
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := tok.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: mapTag}
		if v == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, listTag
		}
		for d.More() {
			c, err := readValue(d, depth+1, left) // a key is a text to the decoder too
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, c)
		}
		_, err := d.Token()
		return n, err
	case json.Number:
		tag := intTag
		if strings.ContainsAny(string(v), ".eE") {
			tag = floatTag
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: string(v)}, nil
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: textTag, Value: v, Style: yaml.DoubleQuotedStyle}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: boolTag, Value: strconv.FormatBool(v)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: nullTag, Value: "null"}, nil
}

// JSONOf writes plain nodes as JSON. Of no node it is an empty object, which
// means the same to every kind.
func JSONOf(n *yaml.Node) json.RawMessage {
	var b bytes.Buffer
	if n = Deref(n); isNull(n) {
		return json.RawMessage(`{}`)
	}
	writeJSON(&b, n)
	return b.Bytes()
}

func writeJSON(b *bytes.Buffer, n *yaml.Node) {
	n = Deref(n)
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(quoted(n.Content[i].Value))
			b.WriteByte(':')
			writeJSON(b, n.Content[i+1])
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, c)
		}
		b.WriteByte(']')
	default:
		switch {
		case n.Tag == nullTag:
			b.WriteString("null")
		case n.Tag == boolTag || (n.Tag == intTag || n.Tag == floatTag) && isJSONNumber(n.Value):
			b.WriteString(n.Value)
		default:
			b.Write(quoted(n.Value))
		}
	}
}

// quoted is a JSON string in which only what must be is escaped.
func quoted(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil { // a string
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// YAMLOf writes what was declared as YAML, for people to read and edit.
func YAMLOf(declared json.RawMessage) (string, error) {
	n, problems := ReadJSON(declared)
	if len(problems) > 0 {
		return "", &Problems{List: problems}
	}
	return encodeYAML(n)
}

// encodeYAML writes nodes so that reading gives the same ones. Texts of several
// lines are blocks where a block can hold them.
func encodeYAML(n *yaml.Node) (string, error) {
	write := func(blocks bool) (string, error) {
		restyle(n, blocks)
		var b bytes.Buffer
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		if err := e.Encode(n); err != nil {
			return "", err
		}
		return b.String(), e.Close()
	}
	text, err := write(true)
	if err == nil {
		if back, problems := ReadYAML(text); len(problems) == 0 && bytes.Equal(JSONOf(back), JSONOf(n)) {
			return text, nil
		}
	}
	return write(false)
}

func restyle(n *yaml.Node, blocks bool) {
	if n.Kind == yaml.ScalarNode && n.Tag == textTag {
		n.Style = 0
		switch {
		case blocks && blockable(n.Value):
			n.Style = yaml.LiteralStyle
		case !blocks || strings.ContainsFunc(n.Value, func(r rune) bool {
			return r < ' ' || r == 0x7f || r >= 0x80 && r <= 0x9f || r == 0x2028 || r == 0x2029 || r == 0xfeff
		}):
			n.Style = yaml.DoubleQuotedStyle
		}
	}
	for _, c := range n.Content {
		restyle(c, blocks)
	}
}

// blockable texts have several lines and nothing that a block would lose.
func blockable(s string) bool {
	if !strings.Contains(strings.TrimRight(s, "\n"), "\n") || strings.HasSuffix(s, "\n\n") {
		return false
	}
	for i, line := range strings.Split(strings.TrimSuffix(s, "\n"), "\n") {
		if i == 0 && (line == "" || line[0] == ' ') || strings.HasSuffix(line, " ") || strings.HasPrefix(line, "\t") {
			return false
		}
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r <= 0x9f || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffd
	})
}

// Pointer turns a problem's path into a JSON pointer (RFC 6901). n is what the
// path begins in: names in it may hold what separates them.
func Pointer(n *yaml.Node, path string) string {
	var b strings.Builder
	for path != "" {
		n = Deref(n)
		path = strings.TrimPrefix(path, ".")
		if rest, ok := strings.CutPrefix(path, "["); ok {
			if number, after, found := strings.Cut(rest, "]"); found {
				b.WriteString("/" + number)
				i, err := strconv.Atoi(number)
				if n != nil && n.Kind == yaml.SequenceNode && err == nil && i >= 0 && i < len(n.Content) {
					n = n.Content[i]
				} else {
					n = nil
				}
				path = after
				continue
			}
		}
		key := path
		if i := strings.IndexAny(path, ".["); i > 0 {
			key = path[:i]
		}
		var next *yaml.Node
		if n != nil && n.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(n.Content); i += 2 {
				name := n.Content[i].Value
				whole := strings.HasPrefix(path, name) && (len(path) == len(name) || path[len(name)] == '.' || path[len(name)] == '[')
				if whole && (next == nil || len(name) > len(key)) {
					key, next = name, n.Content[i+1]
				}
			}
		}
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key))
		path, n = path[len(key):], next
	}
	return b.String()
}
