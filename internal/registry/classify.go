package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// Class is what a change is to those who use a server's tools.
type Class string

const (
	SameClass Class = "none"     // nothing differs
	Additive  Class = "additive" // whatever was sent and expected before still works
	Breaking  Class = "breaking"
)

// Effect is one change and what it is to callers.
type Effect struct {
	Class  Class
	What   string // tool, resource, prompt, instructions
	Name   string
	Field  string // such as risk, or input_schema/properties/limit/maximum
	Detail string // what it is, as a sentence without its end
	Fix    string // what to do about it, where it is breaking
}

// Classified is the difference of two definitions.
type Classified struct {
	Class   Class
	Effects []Effect
}

// Breaking are the effects that are.
func (c Classified) Breaking() (out []Effect) {
	for _, e := range c.Effects {
		if e.Class == Breaking {
			out = append(out, e)
		}
	}
	return out
}

// Classify says what callers of before notice of after. Arguments that were good
// must stay good and mean the same, and answers must stay within what was
// promised. How a tool is kept safe, how long it may take and how it is described
// may change at any time: that is the administrator's to set.
//
// What cannot be compared, and differs, is breaking. See schema.go for schemas.
func Classify(before, after Definition) (c Classified) {
	c.Class = SameClass
	if before.Instructions != after.Instructions {
		c.add(Effect{Class: Additive, What: "instructions", Field: "instructions", Detail: "the instructions differ"})
	}
	if before.Search != after.Search {
		c.add(Effect{Class: Breaking, What: "mode", Field: "mode", Detail: "who listed its tools cannot call them as they did", Fix: "offer the other mode under a URL of its own"})
	}
	classifyNamed(&c, "tool", before.Tools, after.Tools, func(t *Tool) string { return t.Name }, ClassifyTool)
	classifyNamed(&c, "resource", before.Resources, after.Resources, func(r *Resource) string { return r.Name }, classifyResource)
	classifyNamed(&c, "prompt", before.Prompts, after.Prompts, func(p *Prompt) string { return p.Name }, classifyPrompt)
	return c
}

const maxEffects = 500 // of one comparison; one more says that there are more

func (c *Classified) add(e Effect) {
	if e.Class == Breaking {
		c.Class = Breaking
	} else if c.Class == SameClass {
		c.Class = Additive
	}
	switch {
	case len(c.Effects) < maxEffects:
		c.Effects = append(c.Effects, e)
	case len(c.Effects) == maxEffects:
		c.Effects = append(c.Effects, Effect{Class: c.Class, What: e.What, Name: e.Name, Detail: "and more", Fix: e.Fix})
	}
}

// classifyNamed compares lists of named things. Of a name that stands twice the
// first counts, as for Definition.Tool.
func classifyNamed[T any](c *Classified, what string, before, after []T, nameOf func(*T) string, compare func(before, after *T) []Effect) {
	first := func(list []T) map[string]*T {
		out := map[string]*T{}
		for i := range list {
			if name := nameOf(&list[i]); out[name] == nil {
				out[name] = &list[i]
			}
		}
		return out
	}
	was, is := first(before), first(after)
	for i := range before {
		name := nameOf(&before[i])
		if was[name] != &before[i] {
			continue
		}
		if is[name] == nil {
			fix := "keep it"
			if what == "tool" {
				fix = "keep it, with deprecated: {since, sunset, successor}, and remove it after the sunset"
			}
			c.add(Effect{Class: Breaking, What: what, Name: name, Detail: fmt.Sprintf("the %s is removed, or has another name", what), Fix: fix})
			continue
		}
		for _, e := range compare(was[name], is[name]) {
			e.What, e.Name = what, name
			c.add(e)
		}
	}
	for i := range after {
		if name := nameOf(&after[i]); is[name] == &after[i] && was[name] == nil {
			c.add(Effect{Class: Additive, What: what, Name: name, Detail: "the " + what + " is new"})
		}
	}
}

const newVersion = "keep what callers rely on, or raise version and say replaces: {version, sunset}"

// ClassifyTool compares two states of one tool.
func ClassifyTool(before, after *Tool) (out []Effect) {
	if before.Scope != after.Scope {
		out = append(out, Effect{Class: Breaking, Field: "scope", Fix: newVersion,
			Detail: fmt.Sprintf("the scope is %s and was %s: who consented to that is refused", after.Scope, before.Scope)})
	}
	switch {
	case before.Risk == after.Risk:
	case before.Risk == Reads:
		out = append(out, Effect{Class: Breaking, Field: "risk", Fix: newVersion, Detail: fmt.Sprintf("it has effects now (risk %s), and only read before", after.Risk)})
	default:
		out = append(out, Effect{Class: Additive, Field: "risk", Detail: fmt.Sprintf("the risk is %s and was %s", after.Risk, before.Risk)})
	}
	if before.Origin.String() != after.Origin.String() {
		out = append(out, Effect{Class: Breaking, Field: "origin", Detail: fmt.Sprintf("its calls go to %q now, and went to %q", after.Origin, before.Origin), Fix: "keep it, and offer the other under a new name"})
	}
	out = append(out, compareSchemas("input_schema", before.InputSchema, after.InputSchema, false)...)
	switch {
	case len(before.OutputSchema) == 0 && len(after.OutputSchema) > 0:
		out = append(out, Effect{Class: Additive, Field: "output_schema", Detail: "it says now what it answers"})
	case len(before.OutputSchema) > 0 && len(after.OutputSchema) == 0:
		out = append(out, Effect{Class: Breaking, Field: "output_schema", Fix: newVersion, Detail: "it does not say any more what it answers"})
	case len(before.OutputSchema) > 0:
		out = append(out, compareSchemas("output_schema", before.OutputSchema, after.OutputSchema, true)...)
	}
	for _, f := range []struct {
		name string
		same bool
	}{
		{"title", before.Title == after.Title}, {"description", before.Description == after.Description},
		{"idempotent", before.Idempotent == after.Idempotent}, {"open_world", before.OpenWorld == after.OpenWorld}, {"timeout", before.Timeout == after.Timeout},
	} {
		if !f.same {
			out = append(out, Effect{Class: Additive, Field: f.name, Detail: "the " + strings.ReplaceAll(f.name, "_", " ") + " differs"})
		}
	}
	if !sameAsJSON(before.Safety, after.Safety) {
		out = append(out, Effect{Class: Additive, Field: "safety", Detail: "how it is kept safe differs"})
	}
	if len(out) == 0 && (!bytes.Equal(before.InputSchema, after.InputSchema) || !bytes.Equal(before.OutputSchema, after.OutputSchema)) {
		out = append(out, Effect{Class: Additive, Field: "input_schema", Detail: "a schema says the same in other words"})
	}
	return out
}

func classifyResource(before, after *Resource) (out []Effect) {
	breaks := func(field, detail string) {
		out = append(out, Effect{Class: Breaking, Field: field, Detail: detail, Fix: "keep it, and offer the other under a new name"})
	}
	if before.URI != after.URI || before.URITemplate != after.URITemplate {
		breaks("uri", "it has another address")
	}
	if before.MIMEType != after.MIMEType {
		breaks("mime_type", fmt.Sprintf("it is %s and was %s", after.MIMEType, before.MIMEType))
	}
	if before.Scope != after.Scope {
		breaks("scope", fmt.Sprintf("the scope is %s and was %s: who consented to that is refused", after.Scope, before.Scope))
	}
	b, a := *before, *after
	b.Hash, a.Hash = "", ""
	if len(out) == 0 && !sameAsJSON(b, a) {
		out = append(out, Effect{Class: Additive, Detail: "its description or policy differs"})
	}
	return out
}

func classifyPrompt(before, after *Prompt) (out []Effect) {
	breaks := func(field, detail string) {
		out = append(out, Effect{Class: Breaking, Field: field, Detail: detail, Fix: "keep it, and offer the other under a new name"})
	}
	if before.Scope != after.Scope {
		breaks("scope", fmt.Sprintf("the scope is %s and was %s: who consented to that is refused", after.Scope, before.Scope))
	}
	is, was := map[string]PromptArgument{}, map[string]PromptArgument{}
	for _, a := range after.Arguments {
		is[a.Name] = a
	}
	for _, a := range before.Arguments {
		was[a.Name] = a
		if _, kept := is[a.Name]; !kept {
			breaks("arguments/"+a.Name, "the argument is removed, or has another name")
		}
	}
	for _, a := range after.Arguments {
		if b, known := was[a.Name]; a.Required && (!known || !b.Required) {
			breaks("arguments/"+a.Name, "the argument must be given now")
		}
	}
	b, a := *before, *after
	b.Hash, a.Hash = "", ""
	if len(out) == 0 && !sameAsJSON(b, a) {
		out = append(out, Effect{Class: Additive, Detail: "its text or description differs"})
	}
	return out
}

func sameAsJSON(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
