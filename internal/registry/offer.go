package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Offer is what an upstream MCP server says that it offers, in its own words.
// What an administrator has looked at of it is pinned: a definition is made of
// that and of nothing else (OWASP MCP03, tool poisoning).
type Offer struct {
	// Protocol is the newest revision that the upstream speaks.
	Protocol     string            `json:"protocol,omitempty"`
	Name         string            `json:"name,omitempty"`
	Title        string            `json:"title,omitempty"`
	Version      string            `json:"version,omitempty"`
	Instructions string            `json:"instructions,omitempty"`
	Tools        []OfferedTool     `json:"tools,omitempty"`
	Resources    []OfferedResource `json:"resources,omitempty"` // and templates
	Prompts      []OfferedPrompt   `json:"prompts,omitempty"`
	Completions  bool              `json:"completions,omitempty"`
	Subscribe    bool              `json:"subscribe,omitempty"`
	Logging      bool              `json:"logging,omitempty"`
	// Lock is the lock file of the package that was asked, where it was one: what
	// is pinned with it runs the same files everywhere. It does not count as an
	// offer.
	Lock json.RawMessage `json:"lock,omitempty"`
}

// OfferedTool is a tool as the upstream lists it. Definition is the whole JSON
// of its list entry, canonical: sorted keys, no spaces.
type OfferedTool struct {
	Name       string          `json:"name"`
	Definition json.RawMessage `json:"definition"`
	Hash       string          `json:"hash"` // SHA-256 over Definition, hex
}

// OfferedResource is a resource, or a template where Template is set.
type OfferedResource struct {
	URI        string          `json:"uri"` // or the URI template
	Template   bool            `json:"template,omitempty"`
	Definition json.RawMessage `json:"definition"`
	Hash       string          `json:"hash"`
}

// OfferedPrompt is a prompt.
type OfferedPrompt struct {
	Name       string          `json:"name"`
	Definition json.RawMessage `json:"definition"`
	Hash       string          `json:"hash"`
}

// Canonical gives the JSON of one definition with sorted keys and without
// spaces, and its hash. Text that is no JSON has the hash of itself.
func Canonical(raw json.RawMessage) (definition json.RawMessage, hash string) {
	definition = raw
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) == nil {
		if b, err := json.Marshal(v); err == nil {
			definition = b
		}
	}
	sum := sha256.Sum256(definition)
	return definition, hex.EncodeToString(sum[:])
}

// Seal sorts everything by name, makes the definitions canonical and gives each
// its hash. An Offer must be sealed before it is stored or compared.
func (o *Offer) Seal() {
	for i := range o.Tools {
		o.Tools[i].Definition, o.Tools[i].Hash = Canonical(o.Tools[i].Definition)
	}
	for i := range o.Resources {
		o.Resources[i].Definition, o.Resources[i].Hash = Canonical(o.Resources[i].Definition)
	}
	for i := range o.Prompts {
		o.Prompts[i].Definition, o.Prompts[i].Hash = Canonical(o.Prompts[i].Definition)
	}
	slices.SortStableFunc(o.Tools, func(a, b OfferedTool) int { return strings.Compare(a.Name, b.Name) })
	slices.SortStableFunc(o.Resources, func(a, b OfferedResource) int { return strings.Compare(a.URI, b.URI) })
	slices.SortStableFunc(o.Prompts, func(a, b OfferedPrompt) int { return strings.Compare(a.Name, b.Name) })
}

// Hash is SHA-256 over what a client would be shown of the offer, hex: the
// upstream's version and protocol do not count.
func (o *Offer) Hash() string {
	h := sha256.New()
	add := func(parts ...string) {
		for _, p := range parts { // with its length, so that no text can pass for two
			fmt.Fprintf(h, "%d:%s", len(p), p)
		}
	}
	add("instructions", o.Instructions)
	for _, t := range o.Tools {
		add("tool", t.Name, t.Hash)
	}
	for _, r := range o.Resources {
		add("resource", r.URI, r.Hash)
	}
	for _, p := range o.Prompts {
		add("prompt", p.Name, p.Hash)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Empty reports whether nothing was ever offered.
func (o *Offer) Empty() bool {
	return o.Protocol == "" && len(o.Tools)+len(o.Resources)+len(o.Prompts) == 0
}
