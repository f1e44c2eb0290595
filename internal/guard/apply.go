package guard

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// application is one use of a policy.
type application struct {
	policy *Policy
	report Report
	marker string // made when it is first needed
	base   string // JSON pointer of what is looked at
	path   []step // below it
	failed bool   // the result reports a failure: it has no rows
	phones int    // numbers that the tables were asked for
	checks int    // neighbourhoods that were looked at
}

// Tool guards a tool's result, in place. Structured content must be a
// json.RawMessage, or nil.
func (p *Policy) Tool(res *mcp.CallToolResult) *Report {
	if p.off || res == nil {
		return nil
	}
	a := &application{policy: p, failed: res.IsError}
	raw, _ := res.StructuredContent.(json.RawMessage)
	before, after := string(raw), ""
	if len(raw) > 0 {
		a.base = "/structuredContent"
		if after = a.document(before); after != before {
			res.StructuredContent = json.RawMessage(after)
		}
	}
	for i, c := range res.Content {
		a.base = "/content/" + strconv.Itoa(i)
		if t, ok := c.(*mcp.TextContent); ok {
			if len(raw) > 0 && t.Text == before { // as most kinds give it: twice the same
				t.Text = after
			} else {
				t.Text = a.prose(t.Text, after)
			}
			a.meta(t.Meta)
			continue
		}
		a.content(c)
	}
	a.base = ""
	a.meta(res.Meta)
	return a.done()
}

// Resource guards the contents of a resource, in place.
func (p *Policy) Resource(res *mcp.ReadResourceResult) *Report {
	if p.off || res == nil {
		return nil
	}
	a := &application{policy: p}
	for i, c := range res.Contents {
		a.base = "/contents/" + strconv.Itoa(i)
		a.contents(c)
	}
	a.base = ""
	a.meta(res.Meta)
	return a.done()
}

// Prompt guards the messages of a prompt that an upstream made, in place.
func (p *Policy) Prompt(res *mcp.GetPromptResult) *Report {
	if p.off || res == nil {
		return nil
	}
	a := &application{policy: p}
	for i, m := range res.Messages {
		if m == nil || m.Content == nil {
			continue
		}
		a.base = "/messages/" + strconv.Itoa(i) + "/content"
		if t, ok := m.Content.(*mcp.TextContent); ok {
			t.Text = a.prose(t.Text, "")
			a.meta(t.Meta)
			continue
		}
		a.content(m.Content)
	}
	a.base = ""
	a.meta(res.Meta)
	return a.done()
}

// Message guards JSON that an upstream sends beside a result, such as a log or a
// question. It has no fields to choose from and none that are marked: credentials
// are withheld, and masks applied, wherever they stand. The address of a page
// that a person is to open stays as it is, for it is nothing without its secrets.
func (p *Policy) Message(raw json.RawMessage) (json.RawMessage, *Report) {
	if p.off || len(raw) == 0 {
		return raw, nil
	}
	plain := *p
	plain.fields, plain.renames, plain.rules, plain.untrusted, plain.everyText = nil, nil, nil, nil, false
	a := &application{policy: &plain}
	if !plain.masks && a.quiet(string(raw)) {
		return raw, nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return json.RawMessage(a.document(string(raw))), a.done()
	}
	for name, value := range members {
		if name == "url" {
			continue
		}
		// With its name around it, which may be what says that it is a secret.
		one, err := json.Marshal(map[string]json.RawMessage{name: value})
		if err != nil {
			delete(members, name)
			continue
		}
		var back map[string]json.RawMessage
		if json.Unmarshal([]byte(a.document(string(one))), &back) != nil {
			delete(members, name)
			continue
		}
		members[name] = back[name]
	}
	out, err := json.Marshal(members)
	if err != nil {
		return nil, a.done()
	}
	return out, a.done()
}

func (a *application) done() *Report {
	if a.report.Marker = a.marker; a.report.Empty() {
		return nil
	}
	return &a.report
}

// document guards what should be JSON. What is none is no secret's hiding
// place either: it is guarded as a text, and refused later for what it is.
func (a *application) document(s string) string {
	p := a.policy
	if !p.masks && !p.byField() && a.quiet(s) {
		return s
	}
	if !json.Valid([]byte(s)) {
		return a.text(s, "")
	}
	return a.json(s, 0)
}

// quiet reports that no rule has anything to look at in a document. An escape
// could hide it.
func (a *application) quiet(s string) bool {
	return strings.IndexByte(s, '\\') < 0 && !words.any(s)
}

// prose guards a text that is not the structured content once more. Text that
// is JSON is treated as such. Other text has no fields: where the policy chooses
// among fields it cannot be let through, and the structured content stands in
// for it; where it marks some as untrusted, all of the text is.
func (a *application) prose(s, structured string) string {
	p := a.policy
	if s == "" {
		return s
	}
	if looksLikeJSON(s) {
		if !p.masks && !p.byField() && a.quiet(s) {
			return s
		}
		if json.Valid([]byte(s)) {
			return a.json(s, 0)
		}
	}
	if (p.fields != nil || p.rules != nil) && !a.failed {
		a.report.LeftOut++
		if structured != "" {
			return structured
		}
		return "[left out: of this tool's answers only chosen fields are given, and this text has none]"
	}
	s = a.text(s, "")
	if p.everyText || p.untrusted != nil {
		s = a.mark(s)
	}
	return s
}

// content guards what is not plain text. Pictures and sounds stay.
func (a *application) content(c mcp.Content) {
	switch c := c.(type) {
	case *mcp.ImageContent:
		a.meta(c.Meta)
	case *mcp.AudioContent:
		a.meta(c.Meta)
	case *mcp.EmbeddedResource:
		if c.Resource != nil {
			a.contents(c.Resource)
		}
		a.meta(c.Meta)
	case *mcp.ResourceLink:
		for _, s := range []*string{&c.URI, &c.Name, &c.Title, &c.Description} {
			*s = a.text(*s, "")
		}
		a.meta(c.Meta)
	case *mcp.ToolUseContent:
		a.meta(c.Input)
		a.meta(c.Meta)
	case *mcp.ToolResultContent:
		for _, inner := range c.Content {
			if t, ok := inner.(*mcp.TextContent); ok {
				t.Text = a.prose(t.Text, "")
				continue
			}
			a.content(inner)
		}
		c.StructuredContent = a.any(c.StructuredContent)
		a.meta(c.Meta)
	}
}

// contents guards a resource's text, and a blob that is text in disguise.
func (a *application) contents(c *mcp.ResourceContents) {
	if c == nil {
		return
	}
	c.URI = a.text(c.URI, "")
	c.Text = a.prose(c.Text, "")
	if len(c.Blob) > 0 && utf8.Valid(c.Blob) {
		if s := string(c.Blob); strings.IndexByte(s, 0) < 0 {
			if out := a.prose(s, ""); out != s {
				c.Blob = []byte(out)
			}
		}
	}
	a.meta(c.Meta)
}

// meta guards what was decoded already.
func (a *application) meta(m map[string]any) {
	for k, v := range m {
		m[k] = a.any(v)
	}
}

func (a *application) any(v any) any {
	if v == nil {
		return nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	b := *a
	policy := *a.policy // fields are those of results
	policy.fields, policy.renames = nil, nil
	b.policy = &policy
	before := string(raw)
	after := b.document(before)
	a.report, a.marker, a.phones, a.checks = b.report, b.marker, b.phones, b.checks
	if after == before {
		return v
	}
	var out any
	if json.Unmarshal([]byte(after), &out) != nil {
		return nil
	}
	return out
}

// mark puts a text of strangers between tags that it cannot hold: 128 random
// bits, made after it was written.
func (a *application) mark(s string) string {
	if a.marker == "" {
		var id [16]byte
		rand.Read(id[:])
		a.marker = "untrusted-" + hex.EncodeToString(id[:])
	}
	return "<" + a.marker + ">" + s + "</" + a.marker + ">"
}

// pointer is where the walk is (RFC 6901).
func (a *application) pointer() string {
	var b strings.Builder
	b.WriteString(a.base)
	for _, s := range a.path {
		b.WriteByte('/')
		if s.index >= 0 {
			b.WriteString(strconv.Itoa(s.index))
		} else {
			name := a.plainName(s.name)
			b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
		}
		if b.Len() > 400 {
			break
		}
	}
	return b.String()
}

// plainName is a field's name as it may stand in a pointer.
func (a *application) plainName(name string) string {
	if a.policy.masks || words.any(name) {
		policy := *a.policy
		policy.injections = false // which would ask for a pointer
		name = (&application{policy: &policy}).text(name, "")
	}
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "") + "…"
	}
	return name
}
