package mcpgateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/registry"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// Health says what is known of a tenant's servers. It is asked for each call, so
// it must answer from memory.
type Health interface {
	ServerHealth(ctx context.Context, t tenants.ID) (health.Set, error)
}

type allHealthy struct{}

func (allHealthy) ServerHealth(context.Context, tenants.ID) (health.Set, error) { return nil, nil }

// answers is the part of step 3 that refuses calls of a server that does not
// answer: at once, without a worker. Its tools stay in the list, so that no
// client takes them for gone. Where the platform does not know how a server is,
// calls go through: this saves time, and guards nothing.
func (g *Gateway) answers(ctx context.Context, c *call) error {
	if c.draft {
		return nil
	}
	set, err := g.cfg.Health.ServerHealth(ctx, c.ex.tenant.ID)
	if err != nil {
		g.cfg.Log.WarnContext(ctx, "how servers are cannot be read", "tenant", c.ex.tenant.ID, "error", err)
		return nil
	}
	if refusal := set.Of(c.host().Server.ID).Refusal(c.host().Server.Slug, time.Now()); refusal != nil {
		return refusal
	}
	return nil
}

// doubt tells of a call that failed for want of its upstream.
func (g *Gateway) doubt(_ context.Context, c *call, err error) {
	if err == nil {
		return
	}
	switch fault.Of(err).Code {
	case fault.UpstreamAway, fault.ServerCrashed:
		g.cfg.Doubt(c.ex.tenant.ID, c.host().Server.ID)
	}
}

// healthAnswer is all that a caller is told: not why, and not by whom.
type healthAnswer struct {
	Status      health.State `json:"status"`
	Since       *time.Time   `json:"since,omitempty"`
	RetryAfterS int          `json:"retry_after_s,omitempty"`
	Down        []string     `json:"down,omitempty"` // of a toolset: whose tools are refused now
}

// ServeHealth answers {base}/mcp/{server}/health: whether the server answers, to
// who holds a token of it. Others are answered as at the server's own URL, so
// that this tells nothing of what exists that the URL does not.
func (g *Gateway) ServeHealth(w http.ResponseWriter, r *http.Request, slug string) {
	t := site.From(r.Context())
	if !g.allowOrigin(w, r, t.Slug) {
		http.Error(w, "This origin may not call here. Ask the platform's operator to allow it.", http.StatusForbidden)
		return
	}
	switch r.Method {
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodGet, http.MethodHead:
	default:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "Health is read with GET.", http.StatusMethodNotAllowed)
		return
	}
	hosted, err := g.cfg.Registry.Hosted(r.Context(), t.ID, slug)
	if err != nil {
		g.refuseHTTP(w, r, err, "")
		return
	}
	if _, err := g.authenticate(r, t, hosted); err != nil {
		g.refuseHTTP(w, r, err, g.cfg.Sites.WellKnown("oauth-protected-resource", t.Slug, "/mcp/"+hosted.Server.Slug), hosted.Revision.Definition.Scopes()...)
		return
	}
	set, err := g.cfg.Health.ServerHealth(r.Context(), t.ID)
	if err != nil {
		g.refuseHTTP(w, r, err, "")
		return
	}
	record, down, err := g.healthOf(r.Context(), set, hosted)
	if err != nil {
		g.refuseHTTP(w, r, err, "")
		return
	}
	out, status := healthAnswer{Status: record.State, Down: down}, http.StatusOK
	if !record.Since.IsZero() {
		since := record.Since.UTC().Truncate(time.Second)
		out.Since = &since
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if record.State == health.Unhealthy {
		status, out.RetryAfterS = http.StatusServiceUnavailable, seconds(record.Wait(time.Now()))
		h.Set("Retry-After", strconv.Itoa(out.RetryAfterS))
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // who has gone away needs no answer
}

// healthOf is how a server is; of a toolset, how the servers are that have its
// tools.
func (g *Gateway) healthOf(ctx context.Context, set health.Set, h registry.Hosted) (health.Record, []string, error) {
	slugs := h.Revision.Definition.Origins()
	if len(slugs) == 0 {
		return set.Of(h.Server.ID), nil, nil
	}
	of := map[string]registry.ServerID{}
	for _, slug := range slugs {
		member, err := g.cfg.Registry.Hosted(ctx, h.Server.Tenant, slug)
		if err != nil && !fault.HasCode(err, fault.NotFound) {
			return health.Record{}, nil, err
		}
		if err == nil {
			of[slug] = member.Server.ID
		}
	}
	all, down := set.Together(of)
	return all, down, nil
}
