package guard

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/registry"
)

// DefaultMaxBytes is how much of a result is given inline where a guard does
// not say.
const DefaultMaxBytes = 64 << 10

// PartBytes bounds one part of a kept result. A row that is larger is a part of
// its own.
const PartBytes = 256 << 10

// Large is a result that is too large to give inline.
type Large struct {
	Parts   []Part
	Bytes   int      // of all parts
	Rows    int      // 0: it is no list
	Shown   int      // rows that stay inline
	Columns []Column // of the rows
	of      *mcp.CallToolResult
	doc     document
	isText  bool // the document is a text of the result
	most    int
}

// Part is a piece of the whole.
type Part struct {
	MIME string
	Text string
}

// Column is a field of the rows, with the bounds of what is a number in it.
type Column struct {
	Name string   `json:"name"`
	Min  *float64 `json:"min,omitempty"`
	Max  *float64 `json:"max,omitempty"`
}

// Measure holds a guarded result against its bounds. Nil: it fits.
func Measure(res *mcp.CallToolResult, g registry.OutputGuard) *Large {
	if g.Off || res == nil {
		return nil
	}
	most := g.MaxBytes
	if most == 0 {
		most = DefaultMaxBytes
	}
	raw, _ := res.StructuredContent.(json.RawMessage)
	texts := 0
	for _, c := range res.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			texts += len(t.Text)
		}
	}
	if max(len(raw), texts) <= most && g.MaxRows == 0 {
		return nil
	}
	l := &Large{of: res, most: most}
	l.doc.in = string(raw)
	if len(raw) == 0 {
		for _, c := range res.Content {
			if t, ok := c.(*mcp.TextContent); ok && looksLikeJSON(t.Text) && json.Valid([]byte(t.Text)) {
				l.doc.in, l.isText = t.Text, true
				break
			}
		}
	}
	l.doc.find()
	l.Rows = len(l.doc.rows)
	if max(len(raw), texts) <= most && l.Rows <= g.MaxRows {
		return nil
	}
	l.Shown = l.doc.fitting(most, g.MaxRows)
	l.split()
	return l
}

// split makes the parts: rows in lists, then what else there is as text.
func (l *Large) split() {
	add := func(mime, text string) {
		l.Parts = append(l.Parts, Part{mime, text})
		l.Bytes += len(text)
	}
	if rows := l.doc.rows; len(rows) > 0 {
		l.Columns = l.doc.columns()
		for i := 0; i < len(rows); {
			first := i
			for i++; i < len(rows) && rows[i].end-rows[first].start < PartBytes-2; i++ {
			}
			add("application/json", "["+l.doc.in[rows[first].start:rows[i-1].end]+"]")
		}
	} else if l.doc.in != "" {
		for _, piece := range pieces(l.doc.in) {
			add("text/plain", piece)
		}
	}
	for _, c := range l.of.Content {
		if t, ok := c.(*mcp.TextContent); ok && t.Text != l.doc.in && t.Text != "" {
			for _, piece := range pieces(t.Text) {
				add("text/plain", piece)
			}
		}
	}
}

// pieces cuts a text, at the ends of lines where there are some.
func pieces(s string) (out []string) {
	for len(s) > PartBytes {
		n := strings.LastIndexByte(s[:PartBytes], '\n') + 1
		if n < PartBytes/2 {
			n = len(cutText(s, PartBytes))
		}
		out = append(out, s[:n])
		s = s[n:]
	}
	return append(out, s)
}

// cutText keeps at most n bytes, and no part of a character.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Cut leaves in the result what fits. Where the document is a list it keeps
// its form, with fewer rows. Structured content that cannot be cut is replaced
// by kept, which says where the whole is.
func (l *Large) Cut(kept any) error {
	before := l.doc.in
	cut, ok := l.doc.cut(l.Shown)
	ok = ok && len(cut) <= l.most+64
	if len(l.doc.in) > 0 && !l.isText {
		if ok {
			l.of.StructuredContent = json.RawMessage(cut)
		} else {
			raw, err := json.Marshal(kept)
			if err != nil {
				return err
			}
			l.of.StructuredContent = json.RawMessage(raw)
		}
	}
	left := l.most
	for _, c := range l.of.Content {
		t, isText := c.(*mcp.TextContent)
		if !isText {
			continue
		}
		if t.Text == before && ok {
			t.Text = cut
		} else {
			t.Text = cutText(t.Text, left)
		}
		left = max(0, left-len(t.Text))
	}
	return nil
}

// Words say what was cut, to who reads the result.
func (l *Large) Words() string {
	size := fmt.Sprintf("%d kB", (l.Bytes+1023)/1024)
	if l.Rows == 0 {
		return fmt.Sprintf("This answer is larger than is given at once: its beginning is here, of %s.", size)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "The first %d of %d rows are here; all of them are %s.", l.Shown, l.Rows, size)
	for i, c := range l.Columns {
		if i == 0 {
			b.WriteString(" Fields: ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(c.Name)
		if c.Min != nil {
			fmt.Fprintf(&b, " (%s to %s)", number(*c.Min), number(*c.Max))
		}
	}
	if len(l.Columns) > 0 {
		b.WriteByte('.')
	}
	return b.String()
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// document is JSON whose longest list, if any, is known.
type document struct {
	in       string
	rows     []span
	rowCount span // the number of rows in sql's envelope, if it is that
	moreRows span
}

func (d *document) find() {
	i := skipSpace(d.in, 0)
	if i >= len(d.in) {
		return
	}
	switch d.in[i] {
	case '[':
		d.rows = entries(d.in, i)
	case '{':
		var count, more span
		w := walk{application: &application{}, in: d.in}
		w.members(i, func(name string, _, value, end int) {
			switch {
			case value < len(d.in) && d.in[value] == '[':
				if rows := entries(d.in, value); len(rows) > len(d.rows) {
					d.rows = rows
				}
			case name == "row_count":
				count = span{start: value, end: end}
			case name == "more_rows":
				more = span{start: value, end: end}
			}
		})
		if count.end > 0 && d.in[count.start:count.end] == strconv.Itoa(len(d.rows)) {
			d.rowCount, d.moreRows = count, more
		}
	}
}

// entries are those of the list at i.
func entries(s string, i int) (out []span) {
	for i = skipSpace(s, i+1); i < len(s) && s[i] != ']'; {
		end := skipValue(s, i)
		if end == i {
			return nil
		}
		out = append(out, span{start: i, end: end})
		if i = skipSpace(s, end); i < len(s) && s[i] == ',' {
			i = skipSpace(s, i+1)
		}
	}
	return out
}

// fitting is how many rows fit.
func (d *document) fitting(bytes, most int) int {
	if len(d.rows) == 0 {
		return 0
	}
	first, last := d.rows[0].start, d.rows[len(d.rows)-1].end
	left := bytes - (len(d.in) - (last - first))
	n := 0
	for n < len(d.rows) && (most == 0 || n < most) && d.rows[n].end-first <= left {
		n++
	}
	return n
}

// cut gives the document with the first n rows.
func (d *document) cut(n int) (string, bool) {
	if len(d.rows) == 0 {
		return "", false
	}
	last := d.rows[len(d.rows)-1].end
	from := d.rows[0].start
	if n > 0 {
		from = d.rows[n-1].end
	}
	edits := []span{{from, last, ""}}
	if left := len(d.rows) - n; d.rowCount.end > 0 {
		count := strconv.Itoa(n)
		if d.moreRows.end > 0 {
			before, err := strconv.Atoi(d.in[d.moreRows.start:d.moreRows.end])
			if err == nil {
				edits = append(edits, span{d.moreRows.start, d.moreRows.end, strconv.Itoa(before + left)})
			}
		} else {
			count += `,"more_rows":` + strconv.Itoa(left)
		}
		edits = append(edits, span{d.rowCount.start, d.rowCount.end, count})
	}
	return rewriteJSON(d.in, edits), true
}

const (
	maxColumns  = 40
	maxMeasured = 2 << 20 // bytes of rows whose numbers are looked at
)

// columns are the fields of the rows, in the order of their first appearance.
func (d *document) columns() (out []Column) {
	at := map[string]int{}
	w := walk{application: &application{}, in: d.in}
	for _, r := range d.rows {
		if d.in[r.start] != '{' || r.end-d.rows[0].start > maxMeasured {
			break
		}
		w.members(r.start, func(name string, _, value, end int) {
			i, known := at[name]
			if !known {
				if len(out) == maxColumns {
					return
				}
				i = len(out)
				at[name] = i
				out = append(out, Column{Name: cutText(name, 64)})
			}
			if c := d.in[value]; c != '-' && c-'0' > 9 {
				return
			}
			f, err := strconv.ParseFloat(d.in[value:end], 64)
			if err != nil || math.IsInf(f, 0) {
				return
			}
			c := &out[i]
			if c.Min == nil {
				c.Min, c.Max = new(f), new(f)
			}
			*c.Min, *c.Max = min(*c.Min, f), max(*c.Max, f)
		})
	}
	return out
}
