package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Bounds of an offer. What is larger is not kept: nobody could look at it.
const (
	MaxOfferBytes      = 4 << 20 // of all definitions and texts
	MaxDefinitionBytes = 256 << 10
	MaxOffered         = 5000 // tools, resources and prompts together
	maxOfferedName     = 4096 // a resource's URI is the longest
	maxInstructions    = 64 << 10
)

// Check holds a sealed offer to its bounds, and to what names must be: text, not
// empty, and each once. The error is for an administrator.
func (o *Offer) Check() error {
	wrong := func(format string, a ...any) error {
		return fault.New(fault.UpstreamAway, "The upstream answered, but what it offers cannot be used: %s. Tell whoever runs it.", fmt.Sprintf(format, a...))
	}
	if n := len(o.Tools) + len(o.Resources) + len(o.Prompts); n > MaxOffered {
		return wrong("it has %d tools, resources and prompts, and %d are possible", n, MaxOffered)
	}
	if len(o.Instructions) > maxInstructions {
		return wrong("its instructions are longer than %d KB", maxInstructions>>10)
	}
	total := len(o.Instructions)
	one := func(what, name string, definition json.RawMessage, seen map[string]bool) error {
		total += len(name) + len(definition)
		switch {
		case name == "" || len(name) > maxOfferedName || !utf8.ValidString(name) || strings.ContainsRune(name, 0):
			return wrong("a %s has no usable name: %.60q", what, name)
		case seen[name]:
			return wrong("it has two %ss called %.60q", what, name)
		case len(definition) > MaxDefinitionBytes:
			return wrong("the definition of the %s %.60q is larger than %d KB", what, name, MaxDefinitionBytes>>10)
		case !json.Valid(definition) || !utf8.Valid(definition):
			return wrong("the definition of the %s %.60q is not JSON", what, name)
		}
		seen[name] = true
		return nil
	}
	tools, resources, prompts := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, t := range o.Tools {
		if err := one("tool", t.Name, t.Definition, tools); err != nil {
			return err
		}
	}
	for _, r := range o.Resources {
		if err := one("resource", r.URI, r.Definition, resources); err != nil {
			return err
		}
	}
	for _, p := range o.Prompts {
		if err := one("prompt", p.Name, p.Definition, prompts); err != nil {
			return err
		}
	}
	for _, s := range []string{o.Protocol, o.Name, o.Title, o.Version} {
		if len(s) > 1000 || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return wrong("what it says of itself is too long, or no text")
		}
	}
	if !utf8.ValidString(o.Instructions) || strings.ContainsRune(o.Instructions, 0) {
		return wrong("its instructions are no text")
	}
	if total > MaxOfferBytes {
		return wrong("all of it is larger than %d MB", MaxOfferBytes>>20)
	}
	return nil
}

// Offered is what is known of what a server's upstream offers.
type Offered struct {
	Tenant tenants.ID
	Server ServerID
	// Pinned is what an administrator agreed to; its Hash is empty where nothing
	// is yet.
	Pinned PinnedOffer
	// Pending is what the upstream offers now, where that is something else.
	Pending PendingOffer
	Awaited Awaited
	// Problem is why what was awaited was not published; empty: nothing is wrong.
	Problem string
}

// PinnedOffer is an offer that a server's definition is made of.
type PinnedOffer struct {
	Hash  string
	Offer Offer
	At    time.Time
	// By is who agreed. Empty: nobody was asked, because it was the first one of
	// a new server.
	By string
}

// PendingOffer waits for somebody to look at it.
type PendingOffer struct {
	Hash        string
	Offer       Offer
	Since, Seen time.Time // the first and the last time
}

// Awaited is a revision that was asked to be published before it was known what
// its server offers. It is when that is known.
type Awaited struct {
	Revision      RevisionID // empty: none
	By            string
	AllowBreaking bool
}

// PinnedOrNil is the offer that a definition is made of.
func (o Offered) PinnedOrNil() *Offer {
	if o.Pinned.Hash == "" {
		return nil
	}
	return &o.Pinned.Offer
}

// Seen is what an offer is to those that were there before.
type Seen string

const (
	SeenFirst   Seen = "first"   // pinned by itself
	SeenSame    Seen = "same"    // what is pinned
	SeenChanged Seen = "changed" // pending now, and was not
	SeenPending Seen = "pending" // and was already
	SeenRefused Seen = "refused" // somebody said no to exactly this
)

// Offers keeps what upstreams offer, inside a tenant. It may be used by several
// edges at once. Unknown servers are fault.NotFound.
type Offers interface {
	// Offered of a server that nothing is known of has empty hashes.
	Offered(ctx context.Context, t tenants.ID, s ServerID) (Offered, error)
	// AllOffered lists those of the tenant's servers of which something is known.
	AllOffered(ctx context.Context, t tenants.ID) (map[ServerID]Offered, error)
	// SeeOffer keeps a sealed and checked offer that the upstream has at a time.
	// What was pending before and is another one is forgotten.
	SeeOffer(ctx context.Context, t tenants.ID, s ServerID, o Offer, at time.Time) (Seen, error)
	// PinOffer makes an offer the pinned one, whether it still is pending or not.
	PinOffer(ctx context.Context, t tenants.ID, s ServerID, o Offer, by string, at time.Time) error
	// RefuseOffer refuses the pending offer: it is fault.Conflict when that has
	// another hash by now. The same one is not asked about again.
	RefuseOffer(ctx context.Context, t tenants.ID, s ServerID, hash, by string, at time.Time) error
	// AwaitOffer keeps what is to be published when an offer is pinned; empty:
	// nothing is. The problem of before is forgotten.
	AwaitOffer(ctx context.Context, t tenants.ID, s ServerID, a Awaited) error
	// EndAwait takes back what is awaited, if that is the revision, with why it
	// was not published.
	EndAwait(ctx context.Context, t tenants.ID, s ServerID, r RevisionID, problem string) error
}

// ErrOfferGone is what an approval or refusal of an offer gets that is not the
// pending one any more.
func ErrOfferGone() error {
	return fault.New(fault.Conflict, "This is not what waits for a decision any more: the upstream offers something else by now, or somebody has decided. Look again, then decide.")
}

// DiffOffers says tool by tool how one offer differs from another, in the
// upstream's own words. Characters that people cannot see are written out.
func DiffOffers(before, after Offer) []Change {
	var out []Change
	if before.Instructions != after.Instructions {
		c := changeOf("instructions", "", []field{{"instructions", before.Instructions}}, []field{{"instructions", after.Instructions}})
		c.Verb = "changed"
		out = append(out, c)
	}
	out = append(out, diffNamed("tool", before.Tools, after.Tools, func(t OfferedTool) (string, string, []field) {
		return t.Name, t.Hash, offeredFields(t.Definition)
	})...)
	out = append(out, diffNamed("resource", before.Resources, after.Resources, func(r OfferedResource) (string, string, []field) {
		return r.URI, r.Hash, offeredFields(r.Definition)
	})...)
	out = append(out, diffNamed("prompt", before.Prompts, after.Prompts, func(p OfferedPrompt) (string, string, []field) {
		return p.Name, p.Hash, offeredFields(p.Definition)
	})...)
	for i := range out {
		out[i].Name = visible(out[i].Name)
		for j, f := range out[i].Fields {
			out[i].Fields[j] = FieldChange{visible(f.Field), visible(f.Before), visible(f.After)}
		}
	}
	return out
}

// offeredFields are the values of a list entry, without its name.
func offeredFields(definition json.RawMessage) []field {
	fields := slices.DeleteFunc(leaves("", definition), func(f field) bool { return f.path == "/name" })
	for i := range fields {
		fields[i].path = strings.TrimPrefix(fields[i].path, "/")
	}
	return fields
}

// Upstream is a server that is looked after, as a list of all tenants' has it.
type Upstream struct {
	Tenant    tenants.ID
	Server    ServerID
	Slug      string
	Kind      string
	PerUser   bool
	Connected bool // it has a connection
	UpdatedAt time.Time
	// Active is the revision that is served, Newest the last one; empty: none.
	Active, Newest  RevisionID
	Pinned, Pending string     // hashes of offers; empty: none
	Awaited         RevisionID // to be published when an offer is pinned
}

// Trial is what was kept to try a server that is not saved.
type Trial struct {
	Tenant   tenants.ID
	Server   ServerID
	Revision RevisionID
	Saved    bool // the server is one of the tenant's; else Vault may know of it and nobody else
}
