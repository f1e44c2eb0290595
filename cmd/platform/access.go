package main

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"latchkey/internal/api"
	"latchkey/internal/authn"
	"latchkey/internal/callers"
	"latchkey/internal/console"
	"latchkey/internal/fault"
	"latchkey/internal/mcpgateway"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
	"latchkey/web/admin"
)

// openAPI wires the platform API, and the console, which says who sits at it.
func (pl *platform) openAPI(p parts, client func(*http.Request) netip.Addr, tokens *authn.Verifier, gateway *mcpgateway.Gateway) (err error) {
	pl.console, err = console.New(console.Config{
		Sites: p.sites, Files: admin.Files(), Sessions: p.db, Operators: p.db, Grants: pl.oauth, Tokens: tokens, SignIn: pl.signin, Passwords: pl.signin.Gate(),
		Transport: console.InProcess(func() http.Handler { return pl.server.Handler }), Client: client, Log: pl.log,
	})
	if err != nil {
		return err
	}
	// People are read from memory, which is told of every change; all else that
	// a change could be decided by is read from the store.
	auth := &api.Authenticator{Sites: p.sites, Tenants: p.db, People: pl.cached, Tokens: tokens, Keys: p.db, Operators: p.db, Console: pl.console, Log: pl.log}
	pl.catalog = pl.newCatalog(p, auth.Authenticate, tokens)
	pl.api, err = api.New(api.Config{
		Sites: p.sites, Tenants: p.db, Authenticate: auth.Authenticate, Changes: p.db, Sealer: vault.NewSealer(p.vault), Audit: pl.audit,
		Observe: observeAPI, Log: pl.log, Rate: api.Rate{PerSecond: float64(p.cfg.APIRate), Burst: 4 * p.cfg.APIRate},
		People: peopleOf(leaving{p.db, pl.accounts}, pl.signin, pl.post, pl.work), Servers: serversOf(p.db, p.vault, gateway, pl.keeper, leaving{p.db, pl.accounts}), Records: pl.records(),
		Apps: api.Apps{Clients: p.db, Keys: p.db, Operators: p.db}, Safety: api.Safety{Switches: pl.board, Events: p.db},
		Limits:    api.Limits{Store: p.db, Where: func() string { return string(pl.limits.Where()) }},
		Approvals: api.Approvals{Store: p.db, Keys: p.db}, Tasks: api.Tasks{Store: p.db},
		Accounts: api.Accounts{Service: pl.accounts},
	})
	return err
}

const (
	demoOperator = "ops@latchkey.test"
	demoTenant   = "acme"
	// demoKeyLifetime is longer than a demo is of use.
	demoKeyLifetime = 2 * 365 * 24 * time.Hour
)

// seedAccess makes an operator with a password and a key, and a key of the
// first tenant, all kept beside the others' passwords. What is there and still
// good is left as it is.
func seedAccess(ctx context.Context, pl *platform, s *devSecrets) error {
	if _, err := pl.db.Operator(ctx, demoOperator); fault.HasCode(err, fault.NotFound) {
		if _, err := pl.db.PutOperator(ctx, callers.Operator{Email: demoOperator, Name: "Olga Operator", CreatedAt: time.Now()}); err != nil {
			return err
		}
		s.Operator = ""
	} else if err != nil {
		return err
	}
	if s.Operator == "" {
		s.Operator = randomPassword()
		if err := setOperatorPassword(ctx, pl.db, demoOperator, s.Operator); err != nil {
			return err
		}
	}
	now := time.Now()
	template := callers.Key{Name: "platform dev", CreatedBy: "platform dev", Author: callers.ByOperator, CreatedAt: now, ExpiresAt: now.Add(demoKeyLifetime)}
	k, err := pl.db.OperatorKeyByHash(ctx, callers.HashOf(s.OperatorKey))
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return err
	}
	if err != nil || !k.Live(now) {
		var key secret.Text
		k, key = callers.NewOperatorKey(template)
		if err := pl.db.CreateOperatorKey(ctx, k); err != nil {
			return err
		}
		s.OperatorKey = key
	}
	t, err := pl.db.TenantBySlug(ctx, demoTenant)
	if err != nil {
		return err
	}
	of, k, err := pl.db.APIKeyByHash(ctx, callers.HashOf(s.APIKey))
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return err
	}
	if err != nil || of.ID != t.ID || !k.Live(now) {
		var key secret.Text
		template.Permissions = []tenants.Permission{tenants.Admin}
		k, key = callers.NewKey(template)
		if err := pl.db.CreateAPIKey(ctx, t.ID, k); err != nil {
			return err
		}
		s.APIKey = key
	}
	return nil
}
