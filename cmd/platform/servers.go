package main

import (
	"context"

	"latchkey/internal/api"
	"latchkey/internal/fault"
	"latchkey/internal/mcpgateway"
	"latchkey/internal/operations"
	"latchkey/internal/postgres"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/secret"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
	"latchkey/internal/upstreams"
	"latchkey/internal/vault"
)

// provisioner gives a server's connection to the kind that knows it.
type provisioner struct{ servers *vault.Servers }

func newProvisioner(db *postgres.DB, client *vault.Client) provisioner {
	host, port, name := db.Endpoint()
	return provisioner{vault.NewServers(client, vault.Endpoint{Host: host, Port: port, Database: name})}
}

func (p provisioner) Provision(ctx context.Context, t tenants.ID, s registry.Server, secrets map[string]secret.Text) (version string, err error) {
	k, ok := kinds.ByName(s.Kind)
	if !ok || k.Provision == nil {
		return "", nil
	}
	if err := k.Provision(ctx, p.servers, t, s, secrets); err != nil || !k.Static {
		return "", err
	}
	return p.servers.SecretsVersion(ctx, t, s.ID)
}

func (p provisioner) Forget(ctx context.Context, t tenants.ID, id registry.ServerID) error {
	return p.servers.DeleteServer(ctx, t, id)
}

// applyHere brings a tenant to a file in this process, alone in the tenant.
func applyHere(ctx context.Context, db *postgres.DB, client *vault.Client, f *registry.File, actor string) (r registry.Result, err error) {
	t, err := db.TenantBySlug(ctx, f.Tenant)
	if fault.HasCode(err, fault.NotFound) {
		t, err = db.PutTenant(ctx, f.Tenant, f.Title)
	}
	if err != nil {
		return r, err
	}
	a := &registry.Applier{People: db, Registry: db, Provisioner: newProvisioner(db, client), Offers: db, Actor: actor, Switches: db, Role: switches.OperatorRole}
	err = db.Exclusive(ctx, t.ID, func(ctx context.Context) error {
		r, err = a.Apply(ctx, f, registry.ApplyOptions{})
		return err
	})
	return r, err
}

// serversOf is the part of the platform API that is about servers.
func serversOf(db *postgres.DB, client *vault.Client, gateway *mcpgateway.Gateway, keeper *upstreams.Keeper, people registry.People) api.Servers {
	return api.Servers{
		Registry: db, Kinds: kinds.All(), Checker: kinds.Checker(), Provisioner: newProvisioner(db, client), People: people, Usage: db,
		Offers: db, Health: db, Upstreams: asked{keeper},
		Try: func(ctx context.Context, t api.TryCall) (api.Tried, error) {
			tried, err := gateway.Try(ctx, mcpgateway.TryCall(t))
			return api.Tried(tried), err
		},
	}
}

// deleteServer removes a server that clients do not see any more.
func deleteServer(db *postgres.DB, client *vault.Client) operations.Kind {
	e := &registry.Editor{Registry: db, Provisioner: newProvisioner(db, client)}
	return operations.Kind{Name: tenants.DeleteServerOperation, Run: func(ctx context.Context, op tenants.Operation) error {
		id, err := tenants.ParseServerID(op.Target)
		if err != nil {
			return err
		}
		return e.Remove(ctx, op.Tenant, id)
	}}
}
