package registry

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Reader reads YAML strictly and collects every problem instead of stopping
// at the first.
type Reader struct{ Problems []Problem }

// Problem notes what is wrong at a node and what to write instead.
func (r *Reader) Problem(n *yaml.Node, path, reason, fix string) {
	r.Problems = append(r.Problems, ProblemAt(n, path, reason, fix))
}

// Object is a mapping whose keys are known.
type Object struct {
	*Reader
	Node   *yaml.Node
	path   string
	values map[string]*yaml.Node
}

// Deref follows aliases and documents to the node they stand for.
func Deref(n *yaml.Node) *yaml.Node {
	for n != nil {
		switch {
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		case n.Kind == yaml.DocumentNode && len(n.Content) == 1:
			n = n.Content[0]
		default:
			return n
		}
	}
	return n
}

const (
	maxNodes = 500_000 // of a file with its aliases written out
	maxDepth = 100
)

// writeOut copies a document with its aliases written out, so that nothing in
// it is shared or endless, and with nothing in it that JSON has no words for: or
// it says what stands in the way. A few lines of aliases can stand for more than
// memory holds.
func writeOut(doc *yaml.Node) (*yaml.Node, *Problem) {
	w := writer{left: maxNodes, open: map[*yaml.Node]bool{}}
	n := w.copy(doc, 0, false)
	return n, w.bad
}

type writer struct {
	left int
	open map[*yaml.Node]bool
	bad  *Problem
}

func (w *writer) copy(n *yaml.Node, depth int, key bool) *yaml.Node {
	at, n := n, Deref(n)
	w.left--
	switch {
	case w.bad != nil:
	case w.open[n]:
		w.stop(at, "this refers to what it is itself a part of", "write out what it should stand for")
	case depth > maxDepth:
		w.stop(at, fmt.Sprintf("this is nested deeper than %d levels", maxDepth), "declare it flatter")
	case w.left < 0:
		w.stop(at, "the file is too large with its aliases written out", "use fewer aliases, or split it")
	case strings.ContainsRune(n.Value, 0):
		w.stop(at, "this holds a NUL character", "remove it")
	}
	if w.bad != nil {
		return at
	}
	c := *n
	c.Alias, c.Anchor, c.Content = nil, "", make([]*yaml.Node, len(n.Content))
	if key {
		if c.Tag = textTag; c.Kind != yaml.ScalarNode {
			w.stop(at, "a key must be a text", "write name: … for each entry")
		}
	} else {
		w.plain(&c)
	}
	if w.bad != nil {
		return at
	}
	w.open[n] = true
	for i := range n.Content {
		if c.Content[i] = w.copy(n.Content[i], depth+1, n.Kind == yaml.MappingNode && i%2 == 0); w.bad != nil {
			break
		}
	}
	delete(w.open, n)
	return &c
}

const (
	textTag  = "!!str"
	nullTag  = "!!null"
	boolTag  = "!!bool"
	intTag   = "!!int"
	floatTag = "!!float"
	mapTag   = "!!map"
	listTag  = "!!seq"
)

// plain gives a node a tag that JSON knows. What is declared is kept as JSON,
// and what is read back must mean the same: so a number has one notation, and
// what is none but looks like one is asked to say so.
func (w *writer) plain(n *yaml.Node) {
	n.Tag = n.ShortTag()
	switch n.Kind {
	case yaml.MappingNode:
		n.Tag = mapTag
	case yaml.SequenceNode:
		n.Tag = listTag
	case yaml.ScalarNode:
		switch n.Tag {
		case nullTag:
			n.Value = "null"
		case boolTag:
			if n.Value = strings.ToLower(n.Value); n.Value != "true" && n.Value != "false" {
				w.stop(n, "this can be read in two ways", "write true or false, or put it in quotes if it is a text")
			}
		case intTag, floatTag:
			if !isJSONNumber(n.Value) {
				w.stop(n, fmt.Sprintf("%.40q can be read in two ways", n.Value), "write a plain decimal number, or put it in quotes if it is a text")
			}
		default:
			n.Tag = textTag
		}
	}
}

func (w *writer) stop(n *yaml.Node, reason, fix string) {
	p := ProblemAt(n, "", reason, fix)
	w.bad = &p
}

func isNull(n *yaml.Node) bool { return n == nil || n.Kind == 0 || n.Tag == "!!null" }

// Object reads a mapping; keys that are not known are problems.
func (r *Reader) Object(n *yaml.Node, path string, known ...string) Object {
	n = Deref(n)
	o := Object{Reader: r, Node: n, path: path, values: map[string]*yaml.Node{}}
	if n == nil || n.Kind != yaml.MappingNode {
		r.Problem(n, path, "must be a mapping", "write "+known[0]+": … and so on")
		return o
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], Deref(n.Content[i+1])
		switch {
		case !slices.Contains(known, key.Value):
			r.Problem(key, o.At(key.Value), "is not known", "the keys are "+strings.Join(known, ", "))
		case o.values[key.Value] != nil:
			r.Problem(key, o.At(key.Value), "stands here twice", "remove one of them")
		case !isNull(value):
			o.values[key.Value] = value
		}
	}
	return o
}

// At is the path of a key.
func (o Object) At(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

// Has reports whether the key is there and not null.
func (o Object) Has(key string) bool { return o.values[key] != nil }

// Bad notes a problem with a key's value, or with the object if it is missing.
func (o Object) Bad(key, reason, fix string) {
	n := o.values[key]
	if n == nil {
		n = o.Node
	}
	o.Problem(n, o.At(key), reason, fix)
}

// Text is a scalar as it is written, without the line ends that YAML adds.
func (o Object) Text(key string) string {
	n := o.values[key]
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		o.Bad(key, "must be a text", "write "+key+": some text")
		return ""
	}
	return strings.TrimRight(n.Value, "\n")
}

// atMost bounds a text in characters, as the store counts them.
func (o Object) atMost(key string, characters int) {
	if n := o.values[key]; n != nil && n.Kind == yaml.ScalarNode && utf8.RuneCountInString(n.Value) > characters {
		o.Bad(key, fmt.Sprintf("is longer than %d characters", characters), "shorten it")
	}
}

// Needed is a text that must not be missing. Of what is no mapping, that is said
// already.
func (o Object) Needed(key, fix string) string {
	s := o.Text(key)
	if o.Node == nil || o.Node.Kind != yaml.MappingNode {
		return s
	}
	if strings.TrimSpace(s) == "" && (!o.Has(key) || o.values[key].Kind == yaml.ScalarNode) {
		o.Bad(key, "is missing", fix)
	}
	return s
}

// Flag is a boolean, false where the key is missing.
func (o Object) Flag(key string) bool {
	n := o.values[key]
	if n == nil {
		return false
	}
	var b bool
	if n.Tag != "!!bool" || n.Decode(&b) != nil {
		o.Bad(key, "must be true or false", "write "+key+": true")
	}
	return b
}

// Whole is an integer within bounds, or def where the key is missing.
func (o Object) Whole(key string, def, low, high int) int {
	n := o.values[key]
	if n == nil {
		return def
	}
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || v < low || v > high {
		fix := fmt.Sprintf("write a number from %d to %d", low, high)
		if high == math.MaxInt32 {
			fix = fmt.Sprintf("write a number from %d", low)
		}
		o.Bad(key, "must be a whole number within its bounds", fix)
		return def
	}
	return v
}

// Duration is one within bounds, or def where the key is missing.
func (o Object) Duration(key string, def, low, high time.Duration) time.Duration {
	n := o.values[key]
	if n == nil {
		return def
	}
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || d < low || d > high {
		o.Bad(key, "must be a duration within its bounds", fmt.Sprintf("write one from %s to %s, such as %s", low, high, def))
		return def
	}
	return d
}

// List gives the entries of a sequence, with their paths.
func (o Object) List(key string, each func(n *yaml.Node, path string)) {
	n := o.values[key]
	if n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode {
		o.Bad(key, "must be a list", "begin each entry with a dash")
		return
	}
	for i, e := range n.Content {
		each(Deref(e), fmt.Sprintf("%s[%d]", o.At(key), i))
	}
}

// Texts is a list of scalars.
func (o Object) Texts(key string) []string {
	var out []string
	o.List(key, func(n *yaml.Node, path string) {
		if n.Kind != yaml.ScalarNode {
			o.Problem(n, path, "must be a text", "write one text for each entry")
			return
		}
		out = append(out, n.Value)
	})
	return out
}

// Value is the node of a key, nil where it is missing.
func (o Object) Value(key string) *yaml.Node { return o.values[key] }

// Entries gives a mapping with keys of the writer's choice, in order.
func (r *Reader) Entries(n *yaml.Node, path string, each func(key, value *yaml.Node, path string)) {
	if n = Deref(n); isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.Problem(n, path, "must be a mapping", "write name: … for each entry")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, at := n.Content[i], path+"."+n.Content[i].Value
		if seen[key.Value] {
			r.Problem(key, at, "stands here twice", "remove one of them")
			continue
		}
		seen[key.Value] = true
		each(key, Deref(n.Content[i+1]), at)
	}
}
