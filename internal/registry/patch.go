package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"latchkey/internal/fault"
)

// ToolPatch changes how a tool is described and guarded. What is nil stays.
type ToolPatch struct {
	Title, Description, Scope *string
	Risk                      *Risk
	Timeout                   *time.Duration
	// Safety has keys of the tool as its spec has them, see SafetyKeys; null
	// removes one.
	Safety json.RawMessage
}

// keyed is a key of a spec's tool with its value in JSON, nil to remove it.
type keyed struct {
	key   string
	value json.RawMessage
}

// fields are the keys of a spec's tools that change, with their values.
func (p ToolPatch) fields() (out []keyed, err error) {
	add := func(key string, v *string) {
		if v != nil {
			out = append(out, keyed{key, quoted(*v)})
		}
	}
	add("title", p.Title)
	add("description", p.Description)
	add("scope", p.Scope)
	if p.Risk != nil {
		out = append(out, keyed{"risk", quoted(string(*p.Risk))})
	}
	if p.Timeout != nil {
		out = append(out, keyed{"timeout", quoted(p.Timeout.String())})
	}
	if len(p.Safety) == 0 {
		return out, nil
	}
	wrong := func(key, reason, fix string) error {
		return fault.New(fault.InvalidSpec, "How the tool is to be kept safe cannot be read.").WithDetails(fault.Detail{Pointer: "/safety" + key, Reason: reason, Fix: fix})
	}
	at, seen := whole(p.Safety), map[string]bool{}
	if !startsWith(p.Safety, at, '{') {
		return nil, wrong("", "is not an object", "send the keys that change")
	}
	entries(p.Safety, at, func(key string, v span) {
		switch {
		case err != nil:
		case !slices.Contains(SafetyKeys(), key):
			err = wrong("/"+escaped(key), "is not known", "the keys are "+strings.Join(SafetyKeys(), ", "))
		case seen[key]:
			err = wrong("/"+key, "stands here twice", "send it once")
		}
		k := keyed{key, p.Safety[v.from:v.to]}
		if string(k.value) == "null" {
			k.value = nil
		}
		seen[key] = true
		out = append(out, k)
	})
	return out, err
}

// PatchTool changes a tool in a declared spec, whatever the kind: specs list
// their tools under `tools`, each with its name. All else stays byte for byte.
// Whether the kind takes the result is for CheckSpec to say.
func PatchTool(declared json.RawMessage, tool string, p ToolPatch) (json.RawMessage, error) {
	unlisted := fault.New(fault.InvalidSpec, "The spec does not list the tool %q by its name. Declare it under tools, and publish that first.", tool)
	if len(declared) == 0 {
		return nil, fault.New(fault.InvalidSpec, "This revision is from before specs were kept as they were declared. Publish its spec once more, then change the tool.")
	}
	fields, err := p.fields()
	if err != nil {
		return nil, err
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
			for _, f := range fields {
				if f.value != nil {
					fmt.Fprintf(&b, ",%s:%s", quoted(f.key), f.value)
				}
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
			for _, f := range fields {
				// Nothing before the entry changes, so that it begins where it did.
				e, _ := value(out, e.from)
				switch at, ok := member(out, e, f.key); {
				case ok && f.value == nil:
					out = splice(out, entryOf(out, e, at), nil)
				case ok:
					out = splice(out, at, f.value)
				case f.value != nil:
					end := span{e.to - 1, e.to - 1}
					out = splice(out, end, fmt.Appendf(nil, ",%s:%s", quoted(f.key), f.value))
				}
			}
			return out, nil
		}
	}
	return nil, unlisted
}

// DeclaredSafety gives the keys of a declared tool that say how it is kept safe,
// as they are written, or nil where there are none.
func DeclaredSafety(declared json.RawMessage, tool string) json.RawMessage {
	tools, ok := member(declared, whole(declared), "tools")
	if !ok || !startsWith(declared, tools, '[') {
		return nil
	}
	for _, e := range elements(declared, tools) {
		at, ok := member(declared, e, "name")
		var name string
		if !ok || json.Unmarshal(declared[at.from:at.to], &name) != nil || name != tool {
			continue
		}
		var b bytes.Buffer
		entries(declared, e, func(key string, v span) {
			if slices.Contains(SafetyKeys(), key) {
				fmt.Fprintf(&b, ",%s:%s", quoted(key), declared[v.from:v.to])
			}
		})
		if b.Len() == 0 {
			return nil
		}
		return append(append(json.RawMessage("{"), b.Bytes()[1:]...), '}')
	}
	return nil
}

// span is where a value stands in a text.
type span struct{ from, to int }

func splice(text json.RawMessage, at span, with []byte) json.RawMessage {
	out := make([]byte, 0, len(text)+len(with))
	out = append(out, text[:at.from]...)
	out = append(out, with...)
	return append(out, text[at.to:]...)
}

// entryOf is a member of an object, from the comma before it on, or to the one
// after it where it is the first.
func entryOf(text json.RawMessage, object, at span) span {
	from := object.from + 1
	entries(text, object, func(_ string, v span) {
		if v.to <= at.from {
			from = v.to
		}
	})
	if from > object.from+1 {
		return span{from, at.to}
	}
	to := at.to
	for to < object.to-1 && text[to] != ',' {
		to++
	}
	if text[to] == ',' {
		to++
	}
	return span{from, to}
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
