package sqltool

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
)

// reader reads YAML strictly and collects every problem instead of stopping
// at the first.
type reader struct{ problems []registry.Problem }

func (r *reader) problem(n *yaml.Node, path, reason, fix string) {
	r.problems = append(r.problems, registry.ProblemAt(n, path, reason, fix))
}

// object is a mapping whose keys are known.
type object struct {
	*reader
	node   *yaml.Node
	path   string
	values map[string]*yaml.Node
}

func deref(n *yaml.Node) *yaml.Node {
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

func isNull(n *yaml.Node) bool { return n == nil || n.Kind == 0 || n.Tag == "!!null" }

// object reads a mapping; keys that are not known are problems.
func (r *reader) object(n *yaml.Node, path string, known ...string) object {
	n = deref(n)
	o := object{reader: r, node: n, path: path, values: map[string]*yaml.Node{}}
	if n == nil || n.Kind != yaml.MappingNode {
		r.problem(n, path, "must be a mapping", "write "+known[0]+": … and so on")
		return o
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], deref(n.Content[i+1])
		switch {
		case !slices.Contains(known, key.Value):
			r.problem(key, o.at(key.Value), "is not known", "the keys are "+strings.Join(known, ", "))
		case o.values[key.Value] != nil:
			r.problem(key, o.at(key.Value), "stands here twice", "remove one of them")
		case !isNull(value):
			o.values[key.Value] = value
		}
	}
	return o
}

func (o object) at(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}
func (o object) has(key string) bool { return o.values[key] != nil }
func (o object) bad(key, reason, fix string) {
	n := o.values[key]
	if n == nil {
		n = o.node
	}
	o.problem(n, o.at(key), reason, fix)
}

func (o object) text(key string) string {
	n := o.values[key]
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		o.bad(key, "must be a text", "write "+key+": some text")
		return ""
	}
	return strings.TrimRight(n.Value, "\n")
}

// needed is a text that must not be missing.
func (o object) needed(key, fix string) string {
	s := o.text(key)
	if strings.TrimSpace(s) == "" && (!o.has(key) || o.values[key].Kind == yaml.ScalarNode) {
		o.bad(key, "is missing", fix)
	}
	return s
}

func (o object) flag(key string) bool {
	n := o.values[key]
	if n == nil {
		return false
	}
	var b bool
	if n.Tag != "!!bool" || n.Decode(&b) != nil {
		o.bad(key, "must be true or false", "write "+key+": true")
	}
	return b
}

// whole is an integer within bounds, or def where the key is missing.
func (o object) whole(key string, def, low, high int) int {
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
		o.bad(key, "must be a whole number within its bounds", fix)
		return def
	}
	return v
}

func (o object) duration(key string, def, low, high time.Duration) time.Duration {
	n := o.values[key]
	if n == nil {
		return def
	}
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || d < low || d > high {
		o.bad(key, "must be a duration within its bounds", fmt.Sprintf("write one from %s to %s, such as %s", low, high, def))
		return def
	}
	return d
}

// list gives the entries of a sequence, with their paths.
func (o object) list(key string, each func(n *yaml.Node, path string)) {
	n := o.values[key]
	if n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode {
		o.bad(key, "must be a list", "begin each entry with a dash")
		return
	}
	for i, e := range n.Content {
		each(deref(e), fmt.Sprintf("%s[%d]", o.at(key), i))
	}
}

func (o object) texts(key string) []string {
	var out []string
	o.list(key, func(n *yaml.Node, path string) {
		if n.Kind != yaml.ScalarNode {
			o.problem(n, path, "must be a text", "write one text for each entry")
			return
		}
		out = append(out, n.Value)
	})
	return out
}

// lineOf finds the line of a byte offset in a text node, as well as YAML lets
// one: a block keeps its lines, a folded or quoted text does not.
func lineOf(n *yaml.Node, offset int) *yaml.Node {
	at := *n
	if n.Style&yaml.LiteralStyle != 0 {
		before := n.Value[:min(offset, len(n.Value))]
		at.Line += 1 + strings.Count(before, "\n")
		at.Column = 0
	}
	return &at
}
