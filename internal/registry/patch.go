package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"latchkey/internal/fault"
)

// ToolPatch changes how a tool is described and guarded. What is nil stays.
type ToolPatch struct {
	Title, Description, Scope *string
	Risk                      *Risk
	Timeout                   *time.Duration
}

// fields are the keys of a spec's tools that change, with their values.
func (p ToolPatch) fields() (out []field) {
	add := func(key string, v *string) {
		if v != nil {
			out = append(out, field{key, *v})
		}
	}
	add("title", p.Title)
	add("description", p.Description)
	add("scope", p.Scope)
	if p.Risk != nil {
		out = append(out, field{"risk", string(*p.Risk)})
	}
	if p.Timeout != nil {
		out = append(out, field{"timeout", p.Timeout.String()})
	}
	return out
}

// PatchTool changes a tool in a declared spec, whatever the kind: specs list
// their tools under `tools`, each with its name. All else stays byte for byte.
// Whether the kind takes the result is for CheckSpec to say.
func PatchTool(declared json.RawMessage, tool string, p ToolPatch) (json.RawMessage, error) {
	unlisted := fault.New(fault.InvalidSpec, "The spec does not list the tool %q by its name. Declare it under tools, and publish that first.", tool)
	if len(declared) == 0 {
		return nil, fault.New(fault.InvalidSpec, "This revision is from before specs were kept as they were declared. Publish its spec once more, then change the tool.")
	}
	tools, ok := member(declared, whole(declared), "tools")
	if !ok || !startsWith(declared, tools, '[') {
		return nil, unlisted
	}
	for _, e := range elements(declared, tools) {
		switch {
		case startsWith(declared, e, '"'):
			var name string
			if json.Unmarshal(declared[e.from:e.to], &name) != nil || name != tool {
				continue
			}
			// A tool that is listed by its name alone gets a place for more.
			var b bytes.Buffer
			b.WriteString(`{"name":`)
			b.Write(declared[e.from:e.to])
			for _, f := range p.fields() {
				fmt.Fprintf(&b, ",%s:%s", quoted(f.path), quoted(f.value))
			}
			b.WriteByte('}')
			return splice(declared, e, b.Bytes()), nil
		case startsWith(declared, e, '{'):
			at, ok := member(declared, e, "name")
			var name string
			if !ok || json.Unmarshal(declared[at.from:at.to], &name) != nil || name != tool {
				continue
			}
			out := declared
			for _, f := range p.fields() {
				// Nothing before the entry changes, so that it begins where it did.
				e, _ := value(out, e.from)
				if at, ok := member(out, e, f.path); ok {
					out = splice(out, at, quoted(f.value))
				} else {
					end := span{e.to - 1, e.to - 1}
					out = splice(out, end, fmt.Appendf(nil, ",%s:%s", quoted(f.path), quoted(f.value)))
				}
			}
			return out, nil
		}
	}
	return nil, unlisted
}

// span is where a value stands in a text.
type span struct{ from, to int }

func splice(text json.RawMessage, at span, with []byte) json.RawMessage {
	out := make([]byte, 0, len(text)+len(with))
	out = append(out, text[:at.from]...)
	out = append(out, with...)
	return append(out, text[at.to:]...)
}

func startsWith(text json.RawMessage, at span, c byte) bool {
	return at.from < at.to && text[at.from] == c
}

func whole(text json.RawMessage) span {
	s, _ := value(text, 0)
	return s
}

// value finds the JSON value that begins at or after a place.
func value(text json.RawMessage, from int) (span, bool) {
	d := json.NewDecoder(bytes.NewReader(text[from:]))
	var raw json.RawMessage
	if d.Decode(&raw) != nil {
		return span{}, false
	}
	end := from + int(d.InputOffset())
	return span{end - len(raw), end}, true
}

// member finds the value of an object's key.
func member(text json.RawMessage, object span, key string) (found span, ok bool) {
	if !startsWith(text, object, '{') {
		return span{}, false
	}
	entries(text, object, func(k string, v span) {
		if k == key {
			found, ok = v, true
		}
	})
	return found, ok
}

// elements lists the values of an array.
func elements(text json.RawMessage, array span) (out []span) {
	entries(text, array, func(_ string, v span) { out = append(out, v) })
	return out
}

func entries(text json.RawMessage, of span, each func(key string, v span)) {
	d := json.NewDecoder(bytes.NewReader(text[of.from:of.to]))
	open, err := d.Token()
	if err != nil {
		return
	}
	for d.More() {
		key := ""
		if open == json.Delim('{') {
			k, err := d.Token()
			if err != nil {
				return
			}
			key, _ = k.(string)
		}
		var raw json.RawMessage
		if d.Decode(&raw) != nil {
			return
		}
		end := of.from + int(d.InputOffset())
		each(key, span{end - len(raw), end})
	}
}
