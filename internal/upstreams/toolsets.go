package upstreams

import (
	"context"
	"fmt"

	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// The upstream of a toolset is its tenant's other servers. When one of them gets
// another active revision, the toolset gets one that says the same over it.

// followed is what a tenant's servers were when its toolsets were last brought in
// line.
type followed map[tenants.ID]map[tenants.ServerID]registry.RevisionID

// followAll brings the toolsets of all tenants in line whose servers are others
// than before. It reads few columns of all servers, and definitions only where
// something changed.
func (k *Keeper) followAll(ctx context.Context) error {
	var composing, kinds []string
	for _, kind := range k.Kinds {
		kinds = append(kinds, kind.Name)
		if kind.Compose != nil {
			composing = append(composing, kind.Name)
		}
	}
	if len(composing) == 0 {
		return nil
	}
	toolsets, err := k.Store.Upstreams(ctx, composing)
	if err != nil {
		return err
	}
	if len(toolsets) == 0 {
		k.followed = nil
		return nil
	}
	all, err := k.Store.Upstreams(ctx, kinds)
	if err != nil {
		return err
	}
	now := followed{}
	for _, u := range toolsets {
		now[u.Tenant] = map[tenants.ServerID]registry.RevisionID{}
	}
	for _, u := range all {
		if now[u.Tenant] != nil {
			now[u.Tenant][u.Server] = u.Active
		}
	}
	for _, u := range toolsets {
		if u.Active == "" || same(now[u.Tenant], k.followed[u.Tenant]) {
			continue
		}
		if err := k.follow(ctx, u); err != nil {
			delete(now, u.Tenant) // looked at again with the next list
		}
	}
	k.followed = now
	return nil
}

func same(a, b map[tenants.ServerID]registry.RevisionID) bool {
	if len(a) != len(b) {
		return false
	}
	for id, rev := range a {
		if was, ok := b[id]; !ok || was != rev {
			return false
		}
	}
	return true
}

// follow brings one toolset in line. What stands against that is for its
// administrators; calls are held against its members in any case.
func (k *Keeper) follow(ctx context.Context, u registry.Upstream) error {
	var rev registry.Revision
	var published bool
	err := k.Store.Exclusive(ctx, u.Tenant, func(ctx context.Context) (err error) {
		rev, published, err = k.editor().Follow(ctx, u.Tenant, k.Checker, u.Server)
		return err
	})
	switch why := registry.Said(err); {
	case err == nil && published:
		k.Log.InfoContext(ctx, "a toolset follows its members", "tenant", u.Tenant, "server", u.Slug, "revision", rev.Number, "tools", len(rev.Definition.Tools))
	case err == nil || fault.HasCode(err, fault.NotFound): // as it was, or gone meanwhile
		return nil
	case why != "":
		k.Log.WarnContext(ctx, "a toolset cannot follow its members", "tenant", u.Tenant, "server", u.Slug, "error", err)
		k.Events.Raise(ctx, events.Event{
			Tenant: u.Tenant, At: k.Now(), Kind: events.DefinitionChanged, Severity: events.Warning, ServerID: u.Server, Server: u.Slug, Same: "toolset " + string(u.Server),
			Detail: fmt.Sprintf("The servers of the toolset %s offer something else now, and its list stays as it was. %s", u.Slug, why),
		})
		return nil // until something changes
	case ctx.Err() == nil:
		k.Log.ErrorContext(ctx, "a toolset does not follow its members; trying again", "tenant", u.Tenant, "server", u.Slug, "error", err)
	}
	return err
}

// compose tries a toolset that is not saved, without a worker: nothing has to
// answer.
func (k *Keeper) compose(ctx context.Context, t tenants.ID, s registry.Server, spec registry.Spec) (out Tried, err error) {
	servers, err := k.Store.Current(ctx, t)
	if err != nil {
		return out, err
	}
	began := k.Now()
	if spec, out.Unfit = spec.Compose(registry.Composing{Servers: servers}); out.Unfit != nil {
		return out, nil
	}
	rev, err := spec.Revision(s, nil, "")
	if err != nil {
		return out, err
	}
	out.Fits, out.Latency = &rev, k.Now().Sub(began)
	return out, nil
}
