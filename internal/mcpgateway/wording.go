package mcpgateway

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"latchkey/internal/pages"
	"latchkey/internal/registry"
)

const (
	maxWords = 2000 // characters of a message with its places filled in
	maxPlace = 120  // characters of one argument in it
)

var placePattern = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

// wouldDo says in a sentence what a call would do: in the words of its spec, or
// in general ones.
func wouldDo(t *registry.Tool, words string, arguments json.RawMessage) string {
	if words != "" {
		return fill(words, arguments)
	}
	name := t.Name
	if t.Title != "" {
		name = oneLine(t.Title, 100) + " (" + t.Name + ")"
	}
	switch t.Risk {
	case registry.Destructive:
		return name + ", which cannot be undone."
	case registry.Writes:
		return name + ", which changes something."
	}
	return name + "."
}

// fill puts arguments into the {{argument}} places of a message, once: a value is
// never looked at for further places. Values are the caller's own words. Texts
// stand in quotes that they cannot close, on one line, cut, with what is hidden
// in them shown, so that none can pass for the message itself.
func fill(words string, arguments json.RawMessage) string {
	var all map[string]json.RawMessage
	if json.Unmarshal(arguments, &all) != nil {
		all = nil
	}
	return oneLine(placePattern.ReplaceAllStringFunc(words, func(place string) string {
		value, given := all[placePattern.FindStringSubmatch(place)[1]]
		if !given {
			return "(not given)"
		}
		return shown(value)
	}), maxWords)
}

func shown(value json.RawMessage) string {
	var v any
	d := json.NewDecoder(strings.NewReader(string(value)))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return "(not JSON)"
	}
	switch v := v.(type) {
	case nil:
		return "(nothing)"
	case string:
		return quote(v)
	case json.Number:
		return oneLine(v.String(), maxPlace)
	case bool:
		return fmt.Sprint(v)
	}
	return quote(string(value))
}

func quote(s string) string {
	return "“" + strings.NewReplacer("“", "'", "”", "'", "„", "'", `"`, "'").Replace(oneLine(s, maxPlace)) + "”"
}

// oneLine makes text that somebody else wrote fit to stand in a sentence.
func oneLine(s string, max int) string { return pages.Text(s, max) }

// dryRun is what a person or a model reads of a call that was not run.
func (p *pending) dryRun(c *call) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Nothing was done yet. The call would do this: %s\n", p.Message)
	fmt.Fprintf(&b, "Tool: %s, risk: %s.\n", c.inFull(), c.risk)
	fmt.Fprintf(&b, "Arguments: %s\n", oneLine(string(orObject(c.input)), maxWords))
	how := fmt.Sprintf("the argument confirmation=%q", p.Confirmation)
	if c.via != nil && c.via.executed {
		how = fmt.Sprintf("in them confirmation=%q", p.Confirmation)
	}
	if !c.takesConfirmation {
		how = fmt.Sprintf("%s: %q in _meta", metaConfirmation, p.Confirmation)
	}
	fmt.Fprintf(&b, "If this is what your person wants, call %s again with the same arguments and %s, within %s. If you are not sure, ask them first.", c.again(), how, p.good)
	return b.String()
}
