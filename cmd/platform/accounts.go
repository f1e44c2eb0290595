package main

import (
	"context"

	"latchkey/internal/accounts"
	"latchkey/internal/egress"
	"latchkey/internal/postgres"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// newAccounts wires what connects accounts at upstreams.
func (pl *platform) newAccounts(p parts) *accounts.Service {
	host, port, name := p.db.Endpoint()
	return accounts.New(accounts.Config{
		Store: p.db, Vault: vault.NewServers(p.vault, vault.Endpoint{Host: host, Port: port, Database: name}), Sites: p.sites,
		Of: kinds.Account, Server: p.db.ServerBySlug, Hosted: p.db.HostedAll, SignIn: pl.signin, Opens: pl.opens,
		Egress: &egress.Policy{Allow: p.cfg.Egress}, Events: pl.events, OnConnected: pl.connected, Log: pl.log,
	})
}

// connected has a server asked at once what it offers, which may have waited for
// the tenant's account.
func (pl *platform) connected(t tenants.ID, s registry.ServerID, user tenants.UserID) {
	if user == "" {
		pl.doubt(t, s)
	}
}

// opens reports whether a person's roles open anything of a server.
func (pl *platform) opens(ctx context.Context, t tenants.ID, u tenants.UserID, s registry.ServerID) (bool, error) {
	access, err := pl.cached.Access(ctx, t, u)
	if err != nil {
		return false, err
	}
	for scope := range access.Scopes {
		if scope.Server == s && access.Allows(s, scope.Name) {
			return true, nil
		}
	}
	return false, nil
}

// leaving takes the accounts of a person who leaves with them: their rows would
// go by themselves, their tokens at Vault would not.
type leaving struct {
	*postgres.DB
	accounts *accounts.Service
}

// DeleteUser implements api.PeopleStore and registry.People.
func (l leaving) DeleteUser(ctx context.Context, t tenants.ID, id tenants.UserID) error {
	had, err := l.UpstreamAccountsOf(ctx, t, id)
	if err != nil {
		return err
	}
	for _, a := range had {
		if err := l.accounts.Disconnect(ctx, t, a.Server, id); err != nil {
			return err
		}
	}
	return l.DB.DeleteUser(ctx, t, id)
}
