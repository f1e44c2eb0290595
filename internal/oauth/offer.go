package oauth

import (
	"context"
	"slices"
	"time"

	"latchkey/internal/consent"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// offer is what a person can say yes to: what is asked for and their roles
// open now.
type offer struct {
	key    ConsentKey
	scopes []string
	hidden int // tools of the server that the roles do not open
	before Consent
	known  bool // there is a consent from before, in force
}

func (s *Server) offer(ctx context.Context, t tenants.Tenant, user tenants.UserID, a *ask) (offer, error) {
	access, err := s.Tenants.Access(ctx, t.ID, user)
	if err != nil {
		return offer{}, err
	}
	server := a.target.Server.ID
	o := offer{key: ConsentKey{User: user, Client: a.client.ID, RedirectHost: redirectHost(a.redirect), Server: server}}
	o.scopes = slices.DeleteFunc(slices.Clone(a.scopes), func(scope string) bool { return !access.Allows(server, scope) })
	for _, tool := range a.target.Revision.Definition.Tools {
		if !access.Allows(server, tool.Scope) {
			o.hidden++
		}
	}
	o.before, err = s.Store.Consent(ctx, t.ID, o.key)
	if fault.HasCode(err, fault.NotFound) {
		return o, nil
	}
	o.known = err == nil && o.before.Live(s.Now())
	return o, err
}

// decidedBefore reports whether the person need not be asked again: they said
// yes to all of it, and the answer goes to the owner of a host name. Any
// program of a computer can pass for an app at a loopback address or behind a
// scheme, so that those are asked each time.
func (o offer) decidedBefore(a *ask, now time.Time) bool {
	return o.known && o.before.Live(now) && ownedRedirect(a.redirect) && len(o.scopes) > 0 && subset(o.scopes, o.before.Scopes)
}

// remembered is the consent after an answer: what was shown is as ticked now,
// what was not shown stays as it was.
func (o offer) remembered(shown, granted []string, now, expires time.Time) *Consent {
	c := Consent{ConsentKey: o.key, Scopes: slices.Clone(granted), GivenAt: now, ExpiresAt: expires}
	if o.known {
		c.Scopes = append(c.Scopes, without(without(o.before.Scopes, shown), granted)...)
	}
	slices.Sort(c.Scopes)
	return &c
}

// newGrant makes a grant. expires may be zero: until it is revoked.
func (s *Server) newGrant(k ConsentKey, scopes []string, expires time.Time) Grant {
	return Grant{ID: tenants.RandomID("gr"), ConsentKey: k, Scopes: scopes, CreatedAt: s.Now(), ExpiresAt: expires}
}

// pageScopes lists what each offered scope opens.
func pageScopes(d *registry.Definition, o offer) []consent.Scope {
	out := make([]consent.Scope, 0, len(o.scopes))
	for _, name := range o.scopes {
		sc := consent.Scope{Name: name, Allowed: o.known && contains(o.before.Scopes, name)}
		for _, tool := range d.Tools {
			if tool.Scope == name {
				sc.Tools = append(sc.Tools, consent.Tool{Name: tool.Name, Title: tool.Title, Description: tool.Description, Risk: tool.Risk, Approval: tool.Approval != nil})
			}
		}
		for _, r := range d.Resources {
			if r.Scope == name {
				sc.Resources = append(sc.Resources, titleOr(r.Title, r.Name))
			}
		}
		for _, p := range d.Prompts {
			if p.Scope == name {
				sc.Prompts = append(sc.Prompts, titleOr(p.Title, p.Name))
			}
		}
		out = append(out, sc)
	}
	return out
}

func titleOr(title, name string) string {
	if title != "" {
		return title
	}
	return name
}
