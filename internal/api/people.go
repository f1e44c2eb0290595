package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/fault"
	"latchkey/internal/mail"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// People is what the operations on tenants, people, roles and access ask for.
type People struct {
	Store PeopleStore
	// EndSessions signs a person out of every browser.
	EndSessions func(ctx context.Context, t tenants.ID, user tenants.UserID) error
	// Mail takes letters; nil where no mail is sent and links are handed over.
	Mail interface {
		Send(ctx context.Context, m mail.Message) error
	}
	// Mailbox is where letters lie that are not sent, in development; else nil.
	Mailbox interface {
		Letters() ([]mail.Received, error)
	}
	// Queued is called after an operation was queued; nil: runners look
	// by themselves.
	Queued func()
}

// PeopleStore reads what it keeps, not a copy from memory: a change is seen by
// the read that follows it.
type PeopleStore interface {
	TenantBySlug(ctx context.Context, slug string) (tenants.Tenant, error)
	PutRole(ctx context.Context, t tenants.ID, r tenants.Role) error
	DeleteRole(ctx context.Context, t tenants.ID, name string) error
	Catalog(ctx context.Context, t tenants.ID) (registry.Catalog, error)
	ServerSlugs(ctx context.Context, t tenants.ID) (map[tenants.ServerID]string, error)
	tenants.Hosting
	tenants.Members
	tenants.RoleAdmin
	tenants.Invitations
	tenants.Operations
}

// withinQuota refuses one more of what a tenant has its fill of.
func withinQuota(what string, used, limit int) error {
	if used < limit {
		return nil
	}
	return fault.New(fault.Conflict, "This tenant may have %d %s and has %d. Remove what is not needed, or ask whoever runs the platform for a higher quota.", limit, what, used)
}

// deletion says what goes.
func deletion(dryRun bool, effects tenants.Effects) Deletion {
	d := Deletion{DryRun: dryRun, Effects: make([]Effect, 0, len(effects))}
	for _, e := range effects {
		d.Effects = append(d.Effects, Effect{What: e.What, Count: e.Count})
	}
	return d
}

// openedBy are what roles open together, each once.
func openedBy(roles []tenants.RoleUse, names []string) []tenants.Permission {
	var out []tenants.Permission
	for _, r := range roles {
		if slices.Contains(names, r.Name) {
			out = append(out, r.Permissions...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// knownRoles points at the names that are no roles of the tenant.
func knownRoles(roles []tenants.RoleUse, names []string) error {
	var known []string
	for _, r := range roles {
		known = append(known, r.Name)
	}
	var places []fault.Detail
	for i, n := range names {
		if !slices.Contains(known, n) {
			places = append(places, fault.Detail{Pointer: fmt.Sprintf("/roles/%d", i), Reason: fmt.Sprintf("there is no role %q", n), Fix: choices("roles", known)})
		}
	}
	if len(places) > 0 {
		return invalid(places)
	}
	return nil
}

// choices lists what there is instead.
func choices(what string, names []string) string {
	if len(names) == 0 {
		return "there are no " + what + " yet"
	}
	const most = 50
	list := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		list += ", …"
	}
	return "the " + what + " are " + list
}

func permissionList(held []tenants.Permission) []Permission {
	out := make([]Permission, 0, len(held))
	for _, p := range held {
		out = append(out, Permission(p))
	}
	return out
}

// texts is never nil: an empty list is written as one.
func texts(list []string) []string { return append([]string{}, list...) }
