// Package guard owns what is done to a result before it leaves a worker: fields
// are chosen and renamed, what persons are known by is masked, credentials are
// withheld, texts of strangers are marked, and what tells the model what to do
// is flagged. It also cuts what is too large to give inline.
//
// It is pure: a result goes in, a result and a report come out. It leaves to
// registry how a guard is declared, to runtime when it runs, and to the edge
// who hears of it and where the whole of a large result is kept.
//
// Results are hostile input. Nothing here panics on any of them, and the time
// grows with their length.
package guard

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"latchkey/internal/registry"
)

// Policy is a guard, ready to be applied. It is safe for concurrent use.
type Policy struct {
	off        bool
	secrets    bool
	injections bool

	masks                                bool // any of the following
	email, phone, card, iban, nationalID bool
	digits                               bool // any of them that is found by digits
	patterns                             []pattern

	fields    *tree // nil: all
	renames   *tree // by the old names
	rules     suffixes
	untrusted suffixes
	everyText bool // all of it is untrusted
	key       [sha256.Size]byte
}

type pattern struct {
	name string
	re   *regexp.Regexp
}

// processKey is what hashes of fields are made with. It is random: nobody can
// look for a value by its hash, and hashes of one process say nothing about
// those of another. Equal values are equal as long as one worker answers.
var processKey = func() (k [32]byte) { rand.Read(k[:]); return k }()

// Compile makes a guard ready. of is whose it is, such as tenant and server:
// the same value has another hash elsewhere.
func Compile(g registry.OutputGuard, of string) (*Policy, error) {
	p := &Policy{off: g.Off}
	if g.Off {
		return p, nil
	}
	p.secrets, p.injections = !g.KeepSecrets, !g.IgnoreInjection
	for _, m := range g.Mask {
		switch m {
		case "email":
			p.email = true
		case "phone":
			p.phone = true
		case "card":
			p.card = true
		case "iban":
			p.iban = true
		case "national_id":
			p.nationalID = true
		default:
			expr, ok := g.Patterns[m]
			if !ok {
				return nil, fmt.Errorf("guard: nothing is known to mask as %q", m)
			}
			re, err := regexp.Compile(expr)
			if err != nil {
				return nil, fmt.Errorf("guard: pattern %s: %w", m, err)
			}
			p.patterns = append(p.patterns, pattern{m, re})
		}
	}
	p.digits = p.phone || p.card || p.iban || p.nationalID
	p.masks = p.email || p.digits || len(p.patterns) > 0
	if len(g.Fields) > 0 {
		p.fields = &tree{}
		for _, f := range g.Fields {
			p.fields.add(f, "")
		}
	}
	for from, to := range g.Rename {
		if p.renames == nil {
			p.renames = &tree{}
		}
		p.renames.add(from, to)
	}
	for f, rule := range g.MaskFields {
		p.rules.add(f, rule)
	}
	for _, f := range g.Untrusted {
		if f == "*" {
			p.everyText = true
		} else {
			p.untrusted.add(f, "untrusted")
		}
	}
	mac := hmac.New(sha256.New, processKey[:])
	mac.Write([]byte(of))
	mac.Sum(p.key[:0])
	return p, nil
}

// byField reports whether something depends on where a text stands. Text that
// is no JSON has no fields; see application.prose.
func (p *Policy) byField() bool {
	return p.fields != nil || p.renames != nil || p.rules != nil || p.untrusted != nil || p.everyText
}

// Report says what was done to a result. Nothing of what was masked or
// withheld is in it.
type Report struct {
	Masked   map[string]int `json:"masked,omitempty"`   // by kind, or "field"
	Withheld map[string]int `json:"withheld,omitempty"` // credentials, by kind
	Flags    []Flag         `json:"flags,omitempty"`
	// Marker is the name of the tags around what strangers wrote; empty: none.
	Marker string `json:"marker,omitempty"`
	// LeftOut: texts were left out that could not be held against the fields.
	LeftOut int `json:"left_out,omitempty"`
}

// Flag is a pattern that was met, and where: a JSON pointer into the result.
type Flag struct {
	Pattern string `json:"pattern"`
	At      string `json:"at"`
}

// Empty reports whether nothing was done.
func (r *Report) Empty() bool {
	return r == nil || len(r.Masked)+len(r.Withheld)+len(r.Flags)+r.LeftOut == 0 && r.Marker == ""
}

// With is the report of a guard after another one. Of two markers the later
// stands: it names the tags that are outside.
func (r *Report) With(later *Report) *Report {
	switch {
	case r.Empty():
		return later
	case later.Empty():
		return r
	}
	out := Report{Masked: sum(r.Masked, later.Masked), Withheld: sum(r.Withheld, later.Withheld), Flags: r.Flags, Marker: cmp.Or(later.Marker, r.Marker), LeftOut: r.LeftOut + later.LeftOut}
	for _, f := range later.Flags {
		if !slices.Contains(out.Flags, f) {
			out.Flags = append(slices.Clip(out.Flags), f)
		}
	}
	return &out
}

func sum(a, b map[string]int) map[string]int {
	out := maps.Clone(a)
	for k, n := range b {
		if out == nil {
			out = map[string]int{}
		}
		out[k] += n
	}
	return out
}

// Patterns are the names of the flags, once each.
func (r *Report) Patterns() (names []string) {
	for _, f := range r.Flags {
		if !slices.Contains(names, f.Pattern) {
			names = append(names, f.Pattern)
		}
	}
	return names
}

// tree has paths of fields. A nil node below the root means everything there.
type tree struct {
	below map[string]*tree
	name  string // the new one, in a tree of renames
	leaf  bool
}

func (t *tree) add(path, name string) {
	for part := range strings.SplitSeq(path, ".") {
		if t.below == nil {
			t.below = map[string]*tree{}
		}
		if t.below[part] == nil {
			t.below[part] = &tree{}
		}
		t = t.below[part]
	}
	t.name, t.leaf = name, true
}

// suffixes has fields by the last part of their path: `note` is every field of
// that name, `customer.note` those in a customer. To hide too much is the safe
// side.
type suffixes map[string][]suffix

type suffix struct {
	before []string // lower case
	rule   string
}

func (s *suffixes) add(path, rule string) {
	if *s == nil {
		*s = suffixes{}
	}
	parts := strings.Split(strings.ToLower(path), ".")
	last := parts[len(parts)-1]
	(*s)[last] = append((*s)[last], suffix{parts[:len(parts)-1], rule})
}

// rule is that of the field at the end of a path; the most exact one.
func (s suffixes) rule(path []step) (rule string) {
	if len(s) == 0 || len(path) == 0 {
		return ""
	}
	best := -1
	for _, c := range s[strings.ToLower(path[len(path)-1].name)] {
		if len(c.before) > best && endsWith(path[:len(path)-1], c.before) {
			best, rule = len(c.before), c.rule
		}
	}
	return rule
}

func endsWith(path []step, names []string) bool {
	for i := len(path) - 1; len(names) > 0; i-- {
		if i < 0 {
			return false
		}
		if path[i].index >= 0 {
			continue
		}
		if strings.ToLower(path[i].name) != names[len(names)-1] {
			return false
		}
		names = names[:len(names)-1]
	}
	return true
}

// step is a member of an object, or an entry of a list.
type step struct {
	name  string
	index int // -1 for a member
}
