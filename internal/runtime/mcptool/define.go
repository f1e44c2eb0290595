package mcptool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/yosida95/uritemplate/v3"

	"latchkey/internal/registry"
)

// Define says what is offered of a pinned offer (runtime.Kind's Define, over the
// shared part of the spec): the spec has the pins then. Problems name what of
// the upstream cannot be offered, and how to leave it out.
func Define(s Spec, pinned registry.Offer) (Spec, registry.Definition, []registry.Problem) {
	d := &definer{spec: s, pins: Pins{Offer: pinned.Hash(), Tools: map[string]string{}, Prompts: map[string]string{}}}
	d.def = registry.Definition{Instructions: pinned.Instructions, Completions: pinned.Completions, Subscribe: pinned.Subscribe, Logging: pinned.Logging}
	if s.Instructions != "" {
		d.def.Instructions = s.Instructions
	}
	for _, t := range pinned.Tools {
		if s.offers(t.Name) {
			d.tool(t)
		}
	}
	names := map[string]int{}
	for _, r := range pinned.Resources {
		d.resource(r, names)
	}
	for _, p := range pinned.Prompts {
		d.prompt(p)
	}
	if len(d.problems) > 0 {
		return Spec{}, registry.Definition{}, d.problems
	}
	s.Pins = &d.pins
	return s, d.def, nil
}

// DefineSpec is a runtime.Kind's Define for a kind whose spec has nothing else.
func DefineSpec(spec json.RawMessage, pinned registry.Offer) (json.RawMessage, registry.Definition, []registry.Problem) {
	var s Spec
	if err := json.Unmarshal(spec, &s); err != nil {
		return nil, registry.Definition{}, []registry.Problem{{Path: "spec", Reason: "is not one of this kind", Fix: "declare it again"}}
	}
	s, def, problems := Define(s, pinned)
	if len(problems) > 0 {
		return nil, registry.Definition{}, problems
	}
	return s.JSON(), def, nil
}

type definer struct {
	spec     Spec
	def      registry.Definition
	pins     Pins
	problems []registry.Problem
}

// maxProblems bounds how much is said of one offer.
const maxProblems = 50

func (d *definer) bad(path, reason, fix string) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, registry.Problem{Path: path, Reason: reason, Fix: fix})
	}
}

// offered is what of a list entry is read here, of whatever sort it is.
type offered struct {
	Name         string                    `json:"name"`
	Title        string                    `json:"title"`
	Description  string                    `json:"description"`
	InputSchema  json.RawMessage           `json:"inputSchema"`
	OutputSchema json.RawMessage           `json:"outputSchema"`
	MIMEType     string                    `json:"mimeType"`
	Arguments    []registry.PromptArgument `json:"arguments"`
	Hints        struct {
		Title       string `json:"title"`
		ReadOnly    bool   `json:"readOnlyHint"`
		Destructive *bool  `json:"destructiveHint"`
		Idempotent  bool   `json:"idempotentHint"`
		OpenWorld   *bool  `json:"openWorldHint"`
	} `json:"annotations"`
}

// read reads the definition of one thing.
func (d *definer) read(path string, raw json.RawMessage) (o offered, ok bool) {
	if err := json.Unmarshal(raw, &o); err != nil {
		d.bad(path, "has a definition that cannot be read", "have its author correct it, or leave it out")
		return o, false
	}
	return o, true
}

func (d *definer) tool(t registry.OfferedTool) {
	path := "tools." + t.Name
	o, ok := d.read(path, t.Definition)
	if !ok {
		return
	}
	leaveOut := "have the server's author correct it, or leave it out: exclude: [" + t.Name + "]"
	properties, err := argumentsOf(o.InputSchema)
	if err != nil {
		d.bad(path+".inputSchema", "is no schema of arguments: "+clean(err.Error(), 300), leaveOut)
		return
	}
	if len(o.OutputSchema) > 0 && string(o.OutputSchema) != "null" {
		if err := compiles(o.OutputSchema); err != nil {
			d.bad(path+".outputSchema", "is no schema: "+clean(err.Error(), 300), leaveOut)
			return
		}
	} else {
		o.OutputSchema = nil
	}
	set := of(d.spec.Tools, t.Name)
	risk := riskOf(o, set.Risk)
	d.safety(path, set, risk, properties)
	d.pins.Tools[t.Name] = t.Hash
	d.def.Tools = append(d.def.Tools, registry.Tool{
		Name: t.Name, Title: first(set.Title, o.Title, o.Hints.Title), Description: first(set.Description, o.Description),
		InputSchema: o.InputSchema, OutputSchema: o.OutputSchema,
		Scope: first(set.Scope, scopeOf("tool", t.Name)), Risk: risk,
		Idempotent: set.Idempotent || o.Hints.Idempotent && risk != registry.Destructive || risk == registry.Reads,
		OpenWorld:  o.Hints.OpenWorld == nil || *o.Hints.OpenWorld,
		Timeout:    orDefault(set.Timeout, defaultTimeout),
		Passed:     passed(t.Definition, "annotations", "icons", "_meta"), Safety: set.Safety,
	})
}

func first(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// riskOf is the stricter of the administrator's word and the server's, where
// both speak. Nobody speaking is destructive.
func riskOf(o offered, admin registry.Risk) registry.Risk {
	var server registry.Risk
	switch {
	case o.Hints.ReadOnly:
		server = registry.Reads
	case o.Hints.Destructive != nil && !*o.Hints.Destructive:
		server = registry.Writes
	case o.Hints.Destructive != nil:
		server = registry.Destructive
	}
	order := []registry.Risk{"", registry.Reads, registry.Writes, registry.Destructive}
	return orDefault(order[max(slices.Index(order, admin), slices.Index(order, server), 0)], registry.Destructive)
}

// argumentsOf reads a tool's input schema: the names of its arguments.
func argumentsOf(schema json.RawMessage) ([]string, error) {
	var s struct {
		Type       any                        `json:"type"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, errors.New("it is no object")
	}
	if s.Type != "object" {
		return nil, errors.New("its type must be object")
	}
	if err := compiles(schema); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// compiles checks a schema as the edge does: nothing is ever fetched for it.
func compiles(schema json.RawMessage) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	const name = "urn:latchkey:schema"
	if err := c.AddResource(name, doc); err != nil {
		return err
	}
	_, err = c.Compile(name)
	return err
}

type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("a schema may only refer to itself")
}

var placePattern = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

// safety holds the administrator's settings against the arguments that the tool
// has: what Check could not know.
func (d *definer) safety(path string, set Setting, risk registry.Risk, properties []string) {
	s := set.Safety
	argument := func(key, name string) {
		if name != "" && !slices.Contains(properties, name) {
			d.bad(path+"."+key, fmt.Sprintf("the tool has no argument %.80q", name), "name one of "+clean(strings.Join(properties, ", "), 300))
		}
	}
	condition := func(key string, c *registry.Condition, message string) {
		if c != nil {
			argument(key+".when.argument", c.Argument)
		}
		for _, m := range placePattern.FindAllStringSubmatch(message, -1) {
			argument(key+".message", m[1])
		}
	}
	argument("idempotency.argument", s.Idempotency.Argument)
	condition("confirm", s.Confirmation.When, s.Confirmation.Message)
	if s.Approval != nil {
		condition("approval", s.Approval.When, s.Approval.Message)
	}
	if s.Confirmation.MayAsk(risk) && slices.Contains(properties, registry.ConfirmationArgument) {
		d.bad(path+".confirm", "is not possible: the tool has an argument "+registry.ConfirmationArgument+" of its own", "write confirm: never, or leave the tool out")
	}
}

// resource adds a resource or template. Names are the upstream's, and need not
// differ there; here they do.
func (d *definer) resource(r registry.OfferedResource, names map[string]int) {
	path := "resources." + clean(r.URI, 200)
	o, ok := d.read(path, r.Definition)
	if !ok {
		return
	}
	name := first(clean(o.Name, 200), clean(r.URI, 200))
	set := of(d.spec.Resources, name)
	if set.Hidden {
		return
	}
	if names[name]++; names[name] > 1 {
		name = fmt.Sprintf("%s (%d)", name, names[name])
	}
	out := registry.Resource{
		Name: name, Title: first(set.Title, o.Title), Description: first(set.Description, o.Description), MIMEType: o.MIMEType,
		Scope: first(set.Scope, scopeOf("resource", name)), Timeout: orDefault(set.Timeout, defaultTimeout), Guard: set.Safety.Guard,
		Passed: passed(r.Definition, "annotations", "icons", "_meta", "size"),
	}
	if r.Template {
		if _, err := uritemplate.New(r.URI); err != nil {
			d.bad(path, "is no URI template", `have the server's author correct it, or leave it out: resources: {"`+name+`": {hidden: true}}`)
			return
		}
		out.URITemplate = r.URI
	} else {
		out.URI = r.URI
	}
	d.def.Resources = append(d.def.Resources, out)
}

func (d *definer) prompt(p registry.OfferedPrompt) {
	o, ok := d.read("prompts."+clean(p.Name, 200), p.Definition)
	set := of(d.spec.Prompts, p.Name)
	if !ok || set.Hidden {
		return
	}
	d.pins.Prompts[p.Name] = p.Hash
	d.def.Prompts = append(d.def.Prompts, registry.Prompt{
		Name: p.Name, Title: first(set.Title, o.Title), Description: first(set.Description, o.Description), Arguments: o.Arguments,
		Upstream: true, Scope: first(set.Scope, scopeOf("prompt", p.Name)), Passed: passed(p.Definition, "icons", "_meta"),
	})
}

// passed is the part of a list entry that clients get as it is. Nothing in it
// speaks in the platform's or the transport's name.
func passed(definition json.RawMessage, keys ...string) json.RawMessage {
	var all map[string]json.RawMessage
	if json.Unmarshal(definition, &all) != nil {
		return nil
	}
	out := map[string]json.RawMessage{}
	for _, k := range keys {
		if v, there := all[k]; there && string(v) != "null" {
			out[k] = v
		}
	}
	if raw, there := out["_meta"]; there {
		var meta mcp.Meta
		delete(out, "_meta")
		if json.Unmarshal(raw, &meta) == nil && foreign(meta) != nil {
			if raw, err := json.Marshal(meta); err == nil {
				out["_meta"] = raw
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil
	}
	return raw
}
