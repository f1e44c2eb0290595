package mcptool

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
)

// Spec is the shared part of a normalized spec. A kind embeds it in its own.
type Spec struct {
	// Include and Exclude are globs over the names of tools, as path.Match has
	// them. No Include is every tool.
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	// Instructions take the place of the upstream's.
	Instructions string `json:"instructions,omitempty"`
	// Tools, Resources and Prompts are what the administrator says of each, by
	// name. "*" is for those without an entry.
	Tools     map[string]Setting `json:"tools,omitempty"`
	Resources map[string]Setting `json:"resources,omitempty"`
	Prompts   map[string]Setting `json:"prompts,omitempty"`
	// Pins is set by Define. Without it nothing runs.
	Pins *Pins `json:"pins,omitempty"`
}

// Setting is the administrator's word on one tool, resource or prompt. What is
// empty is left to the upstream or to the defaults.
type Setting struct {
	// Hidden: not offered.
	Hidden      bool            `json:"hidden,omitempty"`
	Scope       string          `json:"scope,omitempty"`
	Title       string          `json:"title,omitempty"`
	Description string          `json:"description,omitempty"`
	Timeout     time.Duration   `json:"timeout,omitempty"`
	Risk        registry.Risk   `json:"risk,omitempty"`       // of tools
	Idempotent  bool            `json:"idempotent,omitempty"` // of tools
	Safety      registry.Safety `json:"safety,omitzero"`      // of tools; resources have its Guard
}

// Pins are the hashes of the definitions that an administrator has looked at,
// by name (registry.OfferedTool.Hash).
type Pins struct {
	Offer   string            `json:"offer"` // registry.Offer.Hash
	Tools   map[string]string `json:"tools,omitempty"`
	Prompts map[string]string `json:"prompts,omitempty"`
}

const (
	defaultTimeout = time.Minute
	minTimeout     = 10 * time.Millisecond
	maxTimeout     = 10 * time.Minute
	maxGlobs       = 200
	maxSettings    = 2000
)

// others is the key of the setting for those without one.
const others = "*"

var scopePattern = regexp.MustCompile(`^[a-z][a-z0-9_:.-]{0,63}$`)

// Keys are the keys of a spec that Read reads. A kind adds them to its own.
func Keys(own ...string) []string {
	return append(own, "instructions", "include", "exclude", "tools", "resources", "prompts")
}

// revisions of MCP that an upstream can be spoken to in.
var revisions = []string{"2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}

// ReadProtocol reads the newest revision that is to be spoken with an upstream,
// for one that says it speaks a newer one and has tools that do not.
func ReadProtocol(o registry.Object) string {
	p := o.Text("protocol")
	if p != "" && !slices.Contains(revisions, p) {
		o.Bad("protocol", fmt.Sprintf("%.40q is no revision of MCP", p), "write one of "+strings.Join(revisions, ", ")+", or leave it out for the newest that both speak")
		return ""
	}
	return p
}

// Read reads the shared part of a declared spec. Problems are noted in o.
func Read(o registry.Object) (s Spec) {
	s.Instructions = o.Text("instructions")
	s.Include, s.Exclude = globs(o, "include"), globs(o, "exclude")
	s.Tools = settings(o, "tools", tool)
	s.Resources = settings(o, "resources", resource)
	s.Prompts = settings(o, "prompts", prompt)
	return s
}

// CheckSpec is a runtime.Kind's Check for a kind whose spec has nothing else.
func CheckSpec(n *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	r := &registry.Reader{}
	var s Spec
	if n = registry.Deref(n); n != nil && n.Kind != 0 && n.Tag != "!!null" {
		s = Read(r.Object(n, "spec", Keys()...))
	}
	if len(r.Problems) > 0 {
		slices.SortStableFunc(r.Problems, func(a, b registry.Problem) int { return a.Line - b.Line })
		return nil, registry.Definition{}, r.Problems
	}
	return s.JSON(), registry.Definition{Instructions: s.Instructions}, nil
}

// JSON is the spec as it is stored.
func (s Spec) JSON() json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil { // texts and numbers only
		panic(err)
	}
	return raw
}

func globs(o registry.Object, key string) []string {
	all := o.Texts(key)
	if len(all) > maxGlobs {
		o.Bad(key, fmt.Sprintf("has more than %d entries", maxGlobs), "use patterns such as search_*")
		return nil
	}
	for _, g := range all {
		if _, err := path.Match(g, ""); err != nil || g == "" || len(g) > 128 {
			o.Bad(key, fmt.Sprintf("%.80q is no pattern", g), "write a tool's name, with * for any text and ? for one character, such as search_*")
		}
	}
	return all
}

// what a setting is of.
const (
	tool     = "tool"
	resource = "resource"
	prompt   = "prompt"
)

func settings(o registry.Object, key, what string) map[string]Setting {
	n := o.Value(key)
	if n == nil {
		return nil
	}
	all := map[string]Setting{}
	o.Entries(n, o.At(key), func(name, value *yaml.Node, at string) {
		if len(all) > maxSettings {
			return
		}
		all[name.Value] = setting(o.Reader, value, at, what)
	})
	if len(all) > maxSettings {
		o.Bad(key, fmt.Sprintf("has more than %d entries", maxSettings), `use "*" for those that are alike`)
	}
	return all
}

func setting(r *registry.Reader, n *yaml.Node, at, what string) (s Setting) {
	keys := []string{"hidden", "scope", "title", "description"}
	switch what {
	case tool:
		keys = registry.SafetyKeys(append(keys, "timeout", "risk", "idempotent")...)
	case resource:
		keys = append(keys, "timeout", "guard")
	}
	o := r.Object(n, at, keys...)
	s.Hidden, s.Title, s.Description = o.Flag("hidden"), o.Text("title"), o.Text("description")
	if s.Scope = o.Text("scope"); s.Scope != "" && !scopePattern.MatchString(s.Scope) {
		o.Bad("scope", fmt.Sprintf("%.80q is no scope", s.Scope), "use a-z, 0-9, _, :, . and -, beginning with a letter, such as issues:read")
	}
	if what == prompt {
		return s
	}
	if o.Has("timeout") {
		s.Timeout = o.Duration("timeout", defaultTimeout, minTimeout, maxTimeout)
	}
	if what == resource {
		if v := o.Value("guard"); v != nil {
			s.Safety.Guard = registry.ReadGuard(r, v, o.At("guard"))
		}
		return s
	}
	s.Idempotent = o.Flag("idempotent")
	switch s.Risk = registry.Risk(o.Text("risk")); s.Risk {
	case "", registry.Reads, registry.Writes, registry.Destructive:
	default:
		o.Bad("risk", "is not known", "write read, write or destructive; what neither you nor the server says counts as destructive")
	}
	s.Safety = registry.ReadSafety(o, nil) // Define knows the arguments
	return s
}

// of finds the setting for a name.
func of(all map[string]Setting, name string) Setting {
	if s, found := all[name]; found {
		return s
	}
	return all[others]
}

// offers reports whether a tool of that name is offered.
func (s *Spec) offers(name string) bool {
	match := func(g string) bool { ok, _ := path.Match(g, name); return ok }
	if len(s.Include) > 0 && !slices.ContainsFunc(s.Include, match) {
		return false
	}
	return !slices.ContainsFunc(s.Exclude, match) && !of(s.Tools, name).Hidden
}

// scopeOf is the default scope of a name: what a scope may not hold becomes _.
func scopeOf(what, name string) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_', r == '.', r == '-', r == ':':
			return r
		}
		return '_'
	}, strings.ToLower(what+":"+name))
	return s[:min(len(s), 64)]
}
