package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"latchkey/internal/api"
	"latchkey/internal/authn"
	"latchkey/internal/catalog"
	"latchkey/internal/fault"
	"latchkey/internal/mcpgateway"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
	"latchkey/internal/upstreams"
)

// newKeeper looks after upstreams through a gateway.
func (pl *platform) newKeeper(gateway *mcpgateway.Gateway) *upstreams.Keeper {
	return upstreams.New(upstreams.Config{
		Store: pl.db, Kinds: kinds.All(), Checker: kinds.Checker(), Opening: mcpgateway.OpeningOf, Provisioner: newProvisioner(pl.db, pl.vault), Events: pl.events,
		Reach: func(ctx context.Context, r upstreams.Reach) (*runtime.Result, error) {
			return gateway.Reach(ctx, mcpgateway.Reach(r))
		},
		Probed: func(kind string, err error) {
			code := "ok"
			if err != nil {
				code = fault.Of(err).Code.Name
			}
			probes.WithLabelValues(kind, code).Inc()
		},
		Log: pl.log,
	})
}

// keepUpstreams looks after them while this edge is the one that does.
func (pl *platform) keepUpstreams(ctx context.Context) {
	pl.db.Lead(ctx, "upstreams", func(ctx context.Context) {
		pl.log.Info("this edge looks after upstreams now")
		pl.keeper.Run(ctx)
	})
}

// countHealth counts how servers are, for metrics.
func (pl *platform) countHealth(ctx context.Context) {
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		if n, err := pl.db.CountServerHealth(ctx); err == nil {
			pl.healthCount.Store(&n)
		} else if ctx.Err() == nil {
			pl.log.Error("count how servers are", "error", err)
		}
		if err := pl.keeper.CollectTrials(ctx); err != nil && ctx.Err() == nil {
			pl.log.Error("collect what is left of trials", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// doubts tells whoever looks after upstreams of servers whose calls fail, each at
// most once a second.
type doubts struct {
	mu   sync.Mutex
	told map[registry.ServerID]time.Time
}

const (
	tellEvery = time.Second
	maxTold   = 10_000
)

func (d *doubts) due(s registry.ServerID, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.told[s]) < tellEvery {
		return false
	}
	if d.told == nil || len(d.told) >= maxTold {
		d.told = map[registry.ServerID]time.Time{}
	}
	d.told[s] = now
	return true
}

// doubt does not wait for the store.
func (pl *platform) doubt(t tenants.ID, s registry.ServerID) {
	if !pl.doubts.due(s, time.Now()) {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := pl.db.HintProbe(ctx, t, s); err != nil {
			pl.log.Warn("nobody was told that a server may not answer; its next probe sees it", "tenant", t, "server", s, "error", err)
		}
	}()
}

// asked fits the keeper to what the API asks for.
type asked struct{ keeper *upstreams.Keeper }

func (a asked) Discover(ctx context.Context, t tenants.ID, id registry.ServerID, user tenants.UserID) (api.Discovered, error) {
	f, err := a.keeper.Discover(ctx, t, id, user)
	return api.Discovered(f), err
}

func (a asked) Try(ctx context.Context, t tenants.ID, try api.Trial) (api.TriedServer, error) {
	out, err := a.keeper.Try(ctx, t, upstreams.Trial(try))
	return api.TriedServer(out), err
}

// newCatalog lists servers to who may see them. A person at the console sees
// what their roles open, a key or operator that may read servers all of them,
// and an app's token the one server that it is for: a token of one server says
// nothing of others.
func (pl *platform) newCatalog(p parts, caller func(*http.Request) (api.Principal, error), tokens *authn.Verifier) *catalog.API {
	token := func(r *http.Request, h registry.Hosted) error {
		_, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		t := site.From(r.Context())
		_, err := tokens.Verify(r.Context(), t.ID, p.sites.Base(t.Slug), p.sites.Resource(t.Slug, h.Server.Slug), strings.TrimSpace(bearer))
		return err
	}
	return &catalog.API{Sites: p.sites, Servers: pl.cached, See: func(r *http.Request) (catalog.Visible, error) {
		who, err := caller(r)
		switch {
		case err == nil && who.Kind == api.MeKindMember:
			access, err := pl.cached.Access(r.Context(), site.From(r.Context()).ID, who.User)
			return func(h registry.Hosted) bool { return opensAny(access, h) }, err
		case err == nil && !who.Holds(tenants.ServersRead):
			return nil, fault.New(fault.RoleNotAllowed, "This needs the permission %s. Ask an administrator for a key with it.", tenants.ServersRead)
		case err == nil:
			return func(registry.Hosted) bool { return true }, nil
		case !fault.HasCode(err, fault.Unauthenticated) || len(r.Header.Values("Authorization")) == 0:
			return nil, err
		}
		// The token of an app is good for one server, and says itself for which.
		all, listErr := pl.cached.HostedAll(r.Context(), site.From(r.Context()).ID)
		if listErr != nil {
			return nil, listErr
		}
		for _, h := range all {
			if token(r, h) == nil {
				return func(o registry.Hosted) bool { return o.Server.ID == h.Server.ID }, nil
			}
		}
		return nil, err
	}}
}

func opensAny(a tenants.Access, h registry.Hosted) bool {
	for _, scope := range h.Revision.Definition.Scopes() {
		if a.Allows(h.Server.ID, scope) {
			return true
		}
	}
	return false
}
