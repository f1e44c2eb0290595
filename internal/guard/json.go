package guard

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// walk goes through one JSON document and notes what takes the place of what.
// What nothing is said about stays as it was, byte for byte: spaces, the order
// of keys, the form of numbers.
type walk struct {
	*application
	in    string
	edits []span
	depth int // of JSON within texts of JSON
}

// place is what holds at a place because of what is above it.
type place struct {
	fields    *tree // of the allow-list, below a row; nil: all
	renames   *tree
	untrusted bool
	rule      string // of mask_fields
	name      string // of the nearest field
}

const (
	maxDepth  = 500 // what lies deeper is left out
	maxNested = 3   // JSON in a text of JSON, and so on
)

// json guards a document, which is valid JSON.
func (a *application) json(in string, depth int) string {
	w := &walk{application: a, in: in, depth: depth}
	w.top(skipSpace(in, 0))
	return rewriteJSON(in, w.edits)
}

func rewriteJSON(in string, edits []span) string {
	if len(edits) == 0 {
		return in
	}
	var b strings.Builder
	b.Grow(len(in) + len(in)/8)
	slices.SortStableFunc(edits, func(x, y span) int { return cmp.Compare(x.start, y.start) })
	at := 0
	for _, e := range edits {
		if e.start < at { // within what is gone already
			continue
		}
		b.WriteString(in[at:e.start])
		b.WriteString(e.with)
		at = e.end
	}
	b.WriteString(in[at:])
	return b.String()
}

// top finds the rows: entries of a list, of the member rows, or of other lists
// of objects; the member row; or the document itself.
func (w *walk) top(i int) {
	c := place{untrusted: w.policy.everyText}
	row := c
	row.fields, row.renames = w.policy.fields, w.policy.renames
	if row.fields == nil && row.renames == nil || i >= len(w.in) || w.failed {
		w.value(i, c)
		return
	}
	switch w.in[i] {
	case '[':
		w.list(i, row)
	case '{':
		envelope := w.envelope(i)
		if len(envelope) == 0 {
			w.value(i, row)
			return
		}
		w.object(i, c, func(name string) *place {
			if slices.Contains(envelope, name) {
				return &row
			}
			return nil
		})
	default:
		w.value(i, row)
	}
}

// envelope names the members of the outermost object that hold rows. An object
// that has one of the fields itself is a row, whatever lists are in it.
func (w *walk) envelope(i int) (names []string) {
	known, own := false, false
	w.members(i, func(name string, _, value, _ int) {
		switch {
		case name == "rows" && w.in[value] == '[' || name == "row" && (w.in[value] == '{' || w.in[value] == 'n'):
			known = true
			names = append(names, name)
		case w.in[value] == '[' && strings.HasPrefix(w.in[skipSpace(w.in, value+1):], "{"):
			names = append(names, name)
		}
		for _, t := range []*tree{w.policy.fields, w.policy.renames} {
			own = own || t != nil && t.below[name] != nil
		}
	})
	if own && !known {
		return nil
	}
	return names
}

// members calls f for each member of the object at i: its name, where the
// member, its value and its end are.
func (w *walk) members(i int, f func(name string, start, value, end int)) int {
	for i = skipSpace(w.in, i+1); i < len(w.in) && w.in[i] == '"'; {
		start := i
		nameEnd := skipString(w.in, i)
		name := decode(w.in[i:nameEnd])
		value := skipSpace(w.in, skipSpace(w.in, nameEnd)+1)
		end := skipValue(w.in, value)
		f(name, start, value, end)
		if i = skipSpace(w.in, end); i >= len(w.in) || w.in[i] != ',' {
			break
		}
		i = skipSpace(w.in, i+1)
	}
	return i + 1
}

// value guards the value at i and gives where it ends.
func (w *walk) value(i int, c place) int {
	if i >= len(w.in) {
		return i
	}
	if c.rule != "" {
		return w.masked(i, c.rule)
	}
	switch w.in[i] {
	case '{':
		return w.object(i, c, nil)
	case '[':
		return w.list(i, c)
	case '"':
		return w.string(i, c)
	}
	return w.scalar(i, c)
}

// deep leaves out what lies deeper than anybody looks.
func (w *walk) deep(i int) (int, bool) {
	if len(w.path) < maxDepth {
		return 0, false
	}
	end := skipValue(w.in, i)
	w.edits = append(w.edits, span{i, end, `"[left out: too deep]"`})
	w.report.LeftOut++
	return end, true
}

func (w *walk) list(i int, c place) int {
	if end, deep := w.deep(i); deep {
		return end
	}
	w.path = append(w.path, step{index: 0})
	for i = skipSpace(w.in, i+1); i < len(w.in) && w.in[i] != ']'; {
		i = skipSpace(w.in, w.value(i, c))
		if i < len(w.in) && w.in[i] == ',' {
			i = skipSpace(w.in, i+1)
		}
		w.path[len(w.path)-1].index++
	}
	w.path = w.path[:len(w.path)-1]
	return i + 1
}

// object guards an object. rows, in the outermost one, says which members hold
// rows.
func (w *walk) object(i int, c place, rows func(name string) *place) int {
	if end, deep := w.deep(i); deep {
		return end
	}
	w.path = append(w.path, step{index: -1})
	keptEnd := i + 1 // where the last member that stays ends
	for i = skipSpace(w.in, i+1); i < len(w.in) && w.in[i] == '"'; {
		start := i
		nameEnd := skipString(w.in, i)
		name := decode(w.in[i:nameEnd])
		value := skipSpace(w.in, skipSpace(w.in, nameEnd)+1)
		w.path[len(w.path)-1] = step{name, -1}

		below, stays := c, true
		below.name = name
		if rows != nil {
			if r := rows(name); r != nil {
				below = *r
				below.name = name
			}
		} else if stays = w.member(start, nameEnd, value, name, &below); !stays {
			end := skipValue(w.in, value)
			next := skipSpace(w.in, end)
			if next < len(w.in) && w.in[next] == ',' {
				i = skipSpace(w.in, next+1)
				w.edits = append(w.edits, span{start, i, ""})
				continue
			}
			for n := len(w.edits); n > 0 && w.edits[n-1].start >= keptEnd; n-- {
				w.edits = w.edits[:n-1]
			}
			w.edits = append(w.edits, span{keptEnd, end, ""})
			i = next
			break
		}
		if rows != nil {
			w.name(start, nameEnd, name, "")
		}
		if rule := w.policy.rules.rule(w.path); rule != "" {
			below.rule = rule
		}
		if w.policy.untrusted.rule(w.path) != "" {
			below.untrusted = true
		}
		keptEnd = w.value(value, below)
		if i = skipSpace(w.in, keptEnd); i < len(w.in) && w.in[i] == ',' {
			i = skipSpace(w.in, i+1)
		}
	}
	w.path = w.path[:len(w.path)-1]
	return i + 1
}

// member decides about one member of a row, or of something below it.
func (w *walk) member(start, nameEnd, value int, name string, below *place) (stays bool) {
	if below.fields != nil {
		t := below.fields.below[name]
		if t == nil {
			return false
		}
		below.fields = t
		if t.leaf {
			below.fields = nil
		} else if v := w.in[min(value, len(w.in)-1)]; v != '{' && v != '[' && v != 'n' {
			return false // what is listed would be below it
		}
	}
	renamed := ""
	if below.renames != nil {
		t := below.renames.below[name]
		if t != nil {
			renamed = t.name
		}
		below.renames = t
	}
	w.name(start, nameEnd, name, renamed)
	return true
}

// name guards the name of a member: a credential can be one too.
func (w *walk) name(start, end int, name, renamed string) {
	out := renamed
	if out == "" {
		if out = w.text(name, ""); out == name {
			return
		}
	}
	w.edits = append(w.edits, span{start, end, quote(out)})
}

func (w *walk) string(i int, c place) int {
	end := skipString(w.in, i)
	s := decode(w.in[i:end])
	out := s
	if w.depth < maxNested && looksLikeJSON(s) && json.Valid([]byte(s)) {
		path := w.path
		w.path = append(slices.Clip(w.path), step{"(JSON)", -1})
		out = w.nested(s, c)
		w.path = path
	} else {
		out = w.text(s, c.name)
	}
	if c.untrusted && out != "" {
		out = w.mark(out)
	}
	if out != s {
		w.edits = append(w.edits, span{i, end, quote(out)})
	}
	return end
}

// nested is a document in a text of another. It is no row; that of the other is.
func (w *walk) nested(s string, c place) string {
	n := &walk{application: w.application, in: s, depth: w.depth + 1}
	n.value(skipSpace(s, 0), place{name: c.name})
	return rewriteJSON(s, n.edits)
}

// scalar guards a number: that of a card is one too. It becomes a text then.
func (w *walk) scalar(i int, c place) int {
	end := skipValue(w.in, i)
	if p := w.policy; p.digits && end-i >= 7 && end-i <= 19 && w.in[i]-'0' < 10 {
		if s := w.in[i:end]; run(s, 0, digitChars) == len(s) {
			if kind, to := w.number(s, 0, c.name); to == len(s) {
				count(&w.report.Masked, kind)
				w.edits = append(w.edits, span{i, end, quote(maskNumber(kind, s))})
			}
		}
	}
	return end
}

var digitChars = chars("0-9")

// masked puts what the rule says in the place of the value at i.
func (w *walk) masked(i int, rule string) int {
	end := skipValue(w.in, i)
	raw := w.in[i:end]
	if raw == "null" {
		return end
	}
	value := raw
	if raw[0] == '"' {
		value = decode(raw)
	} else if rule == "partial" && (raw[0] == '{' || raw[0] == '[') {
		rule = "hide"
	}
	w.edits = append(w.edits, span{i, end, quote(w.whole(rule, value))})
	return end
}

func looksLikeJSON(s string) bool {
	i := skipSpace(s, 0)
	return i < len(s) && (s[i] == '{' || s[i] == '[') && len(s) > 1
}

func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\r' || s[i] == '\t') {
		i++
	}
	return i
}

// skipString begins at a quote.
func skipString(s string, i int) int {
	for i++; i < len(s) && s[i] != '"'; i++ {
		if s[i] == '\\' {
			i++
		}
	}
	return min(i+1, len(s))
}

func skipValue(s string, i int) int {
	depth := 0
	for i < len(s) {
		switch s[i] {
		case '"':
			i = skipString(s, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// decode reads a JSON string with its quotes. Without an escape it is a part of
// what it was read from.
func decode(raw string) string {
	if len(raw) < 2 {
		return ""
	}
	s := raw[1 : len(raw)-1]
	first := strings.IndexByte(s, '\\')
	if first < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	b = append(b, s[:first]...)
	for i := first; i < len(s); i++ {
		if s[i] != '\\' || i+1 >= len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, n := unicodeEscape(s[i-1:])
			b = utf8.AppendRune(b, r)
			i += n - 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

// unicodeEscape reads \uXXXX, or two that are a pair, and how long it is.
func unicodeEscape(s string) (rune, int) {
	one := func(s string) rune {
		if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
			return -1
		}
		v, err := strconv.ParseUint(s[2:6], 16, 32)
		if err != nil {
			return -1
		}
		return rune(v)
	}
	r := one(s)
	if r < 0 {
		return utf8.RuneError, 2
	}
	if utf16.IsSurrogate(r) {
		if low := one(s[6:]); low >= 0 {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 12
			}
		}
		return utf8.RuneError, 6
	}
	return r, 6
}

// quote writes a JSON string. Only what must be escaped is.
func quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < 0x20:
			b = append(b, `\u00`...)
			b = append(b, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
	}
	return string(append(b, '"'))
}
