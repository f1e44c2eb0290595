package api

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Upstreams asks upstreams, on a worker.
type Upstreams interface {
	// Discover asks what a server's upstream offers and keeps it.
	Discover(ctx context.Context, t tenants.ID, id registry.ServerID, user tenants.UserID) (Discovered, error)
	// Try opens a server that is not saved.
	Try(ctx context.Context, t tenants.ID, try Trial) (TriedServer, error)
}

// Discovered is what a discovery came to.
type Discovered struct {
	Seen    registry.Seen
	Offer   registry.Offer
	Settled registry.Settled
	Took    time.Duration
}

// Trial is a server to be tried: its ID is empty where it is new, and Secrets are
// those that were sent.
type Trial struct {
	Server  registry.Server
	Spec    registry.Spec
	Secrets map[string]secret.Text
	User    tenants.UserID
}

// TriedServer is what came of it: without an error it answered.
type TriedServer struct {
	Offer   *registry.Offer
	Fits    *registry.Revision
	Unfit   error
	Latency time.Duration
}

// GetServerHealth implements StrictServerInterface.
func (a *API) GetServerHealth(ctx context.Context, r GetServerHealthRequestObject) (GetServerHealthResponseObject, error) {
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	set, err := a.Servers.Health.ServerHealth(ctx, s.Tenant)
	if err != nil {
		return nil, err
	}
	if !a.Servers.Checker.Composes(s.Kind) {
		return GetServerHealth200JSONResponse(showHealth(set.Of(s.ID))), nil
	}
	all, err := a.Servers.Registry.Current(ctx, s.Tenant)
	if err != nil {
		return nil, err
	}
	return GetServerHealth200JSONResponse(showHealth(together(set, all, s.ID))), nil
}

// together is how a toolset is: as the servers are that have its tools.
func together(set health.Set, all []registry.Hosted, id registry.ServerID) health.Record {
	of := map[string]registry.ServerID{}
	for _, toolset := range all {
		if toolset.Server.ID != id {
			continue
		}
		for _, slug := range toolset.Revision.Definition.Origins() {
			for _, h := range all {
				if h.Server.Slug == slug {
					of[slug] = h.Server.ID
				}
			}
		}
	}
	r, _ := set.Together(of)
	return r
}

func showHealth(r health.Record) ServerHealth {
	out := ServerHealth{
		Status: ServerState(r.State), Since: optionalTime(r.Since), CheckedAt: optionalTime(r.Checked), NextCheckAt: optionalTime(r.Next), LastOkAt: optionalTime(r.LastOK),
		Failures: r.Failures, LatencyMs: optional(milliseconds(r.Latency)), Protocol: optional(r.Era),
	}
	if r.Code != "" {
		out.LastFailure = &LastFailure{At: optionalTime(r.Failed), Code: r.Code, Message: r.Message}
	}
	return out
}

func milliseconds(d time.Duration) float32 { return float32(d.Microseconds()) / 1000 }

// healthOf adds to servers how they are.
func (a *API) healthOf(ctx context.Context, list []Server) error {
	set, err := a.Servers.Health.ServerHealth(ctx, tenantOf(ctx).ID)
	if err != nil {
		return err
	}
	var all []registry.Hosted // read where a toolset is listed
	for i := range list {
		if list[i].Status != ServerStatusPublished && !deref(list[i].Discovering) {
			continue
		}
		id := registry.ServerID(list[i].Id)
		record := set.Of(id)
		if a.Servers.Checker.Composes(list[i].Kind) {
			if all == nil {
				if all, err = a.Servers.Registry.Current(ctx, tenantOf(ctx).ID); err != nil {
					return err
				}
			}
			record = together(set, all, id)
		}
		list[i].Health = ptr(ServerState(record.State))
	}
	return nil
}

// GetServerOffer implements StrictServerInterface.
func (a *API) GetServerOffer(ctx context.Context, r GetServerOfferRequestObject) (GetServerOfferResponseObject, error) {
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	out := ServerOffer{Discovers: a.Servers.Checker.Discovers(s.Kind)}
	if !out.Discovers {
		return GetServerOffer200JSONResponse(out), nil
	}
	p, err := a.Servers.editor(a).ReviewOffer(ctx, s.Tenant, a.Servers.Checker, s)
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return nil, err
	}
	o := p.Offered
	out.Awaited, out.Problem = o.Awaited.Revision != "", optional(o.Problem)
	if o.Pinned.Hash != "" {
		sum := summaryOf(o.Pinned.Offer)
		out.Pinned = &PinnedOffer{
			Hash: sum.Hash, Name: sum.Name, Version: sum.Version, Protocol: sum.Protocol, Tools: sum.Tools, Resources: sum.Resources, Prompts: sum.Prompts,
			At: o.Pinned.At.UTC(), By: optional(o.Pinned.By), First: o.Pinned.By == "",
		}
	}
	if err == nil {
		pending := showPending(p)
		out.Pending = &pending
	}
	return GetServerOffer200JSONResponse(out), nil
}

func summaryOf(o registry.Offer) OfferSummary {
	return OfferSummary{
		Hash: o.Hash(), Name: optional(o.Name), Version: optional(o.Version), Protocol: optional(o.Protocol),
		Tools: len(o.Tools), Resources: len(o.Resources), Prompts: len(o.Prompts),
	}
}

func showPending(p registry.PendingReview) PendingOffer {
	o, sum := p.Offered.Pending, summaryOf(p.Offered.Pending.Offer)
	out := PendingOffer{
		Hash: sum.Hash, Name: sum.Name, Version: sum.Version, Protocol: sum.Protocol, Tools: sum.Tools, Resources: sum.Resources, Prompts: sum.Prompts,
		Since: o.Since.UTC(), SeenAt: o.Seen.UTC(), Changes: []DiffChange{},
	}
	for _, c := range p.Changes {
		out.Changes = append(out.Changes, DiffChange{Verb: DiffChangeVerb(c.Verb), What: DiffChangeWhat(c.What), Name: c.Name, Fields: showFields(c.Fields)})
	}
	if p.Unfit != nil {
		out.Problem = ptr(inWords(p.Unfit))
		return out
	}
	out.Class, out.Breaking, out.Findings = ptr(ChangeClass(p.Review.Class)), showEffects(p.Review.Refused), showFindings(p.Review.Findings)
	return out
}

// inWords is a failure for whoever looks: problems with their places.
func inWords(err error) string {
	var ps *registry.Problems
	if errors.As(err, &ps) {
		return ps.Error()
	}
	return fault.Of(err).Message
}

// ApproveServerOffer implements StrictServerInterface.
func (a *API) ApproveServerOffer(ctx context.Context, r ApproveServerOfferRequestObject) (ApproveServerOfferResponseObject, error) {
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	rev, review, err := a.Servers.editor(a).ApproveOffer(ctx, s.Tenant, a.Servers.Checker, s, r.Body.Hash, callerOf(ctx).Actor(), deref(r.Body.AllowBreaking))
	if err != nil {
		return nil, err
	}
	breaks(ctx, review.RefusedTools())
	if s.Active != "" {
		s.Active = rev.ID
	}
	out, err := showRevision(s, rev)
	return ApproveServerOffer200JSONResponse(out), err
}

// RefuseServerOffer implements StrictServerInterface.
func (a *API) RefuseServerOffer(ctx context.Context, r RefuseServerOfferRequestObject) (RefuseServerOfferResponseObject, error) {
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	if err := a.Servers.Offers.RefuseOffer(ctx, s.Tenant, s.ID, r.Body.Hash, callerOf(ctx).Actor(), a.Now()); err != nil {
		return nil, err
	}
	return RefuseServerOffer204Response{}, nil
}

// DiscoverServer implements StrictServerInterface.
func (a *API) DiscoverServer(ctx context.Context, r DiscoverServerRequestObject) (DiscoverServerResponseObject, error) {
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	d, err := a.Servers.Upstreams.Discover(ctx, s.Tenant, s.ID, callerOf(ctx).User)
	if err != nil {
		return nil, err
	}
	return DiscoverServer200JSONResponse(Discovery{
		Seen: DiscoverySeen(d.Seen), LatencyMs: milliseconds(d.Took), Offer: summaryOf(d.Offer), Published: d.Settled.Published,
		Revision: optional(d.Settled.Revision.Number), Problem: optional(d.Settled.Problem),
	}), nil
}

// CheckServerLive implements StrictServerInterface.
func (a *API) CheckServerLive(ctx context.Context, r CheckServerLiveRequestObject) (CheckServerLiveResponseObject, error) {
	kind, err := a.Servers.kind(r.Body.Kind)
	if err != nil {
		return nil, err
	}
	before, err := a.server(ctx, r.Server)
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return nil, err
	}
	if before.ID != "" {
		if err := registry.MayBecome(before, registry.Server{Kind: r.Body.Kind}); err != nil {
			return nil, err
		}
	}
	out := LiveCheck{Tools: []Tool{}, Scopes: []string{}}
	try, details, err := a.readTrial(ctx, r.Server, r.Body, before)
	if err != nil {
		return nil, err
	}
	if out.Problems = fieldErrors(details); len(details) > 0 {
		return CheckServerLive200JSONResponse(out), nil
	}
	if err := registry.Publishable(try.Server, kind.NeedsConnection()); err != nil {
		return nil, err
	}
	tried, err := a.Servers.Upstreams.Try(ctx, tenantOf(ctx).ID, try)
	if err != nil {
		if f := fault.Of(err); f.Code != fault.Unexpected {
			out.Problems = fieldErrors(f.Details)
			out.Failure, out.LatencyMs = &LastFailure{Code: f.Code.Name, Message: f.Message}, optional(milliseconds(tried.Latency))
			return CheckServerLive200JSONResponse(out), nil
		}
		return nil, err
	}
	return a.showTried(ctx, r.Server, try, tried, out)
}

// readTrial checks what is to be tried. What is left out is that of the saved
// server.
func (a *API) readTrial(ctx context.Context, slug string, b *ServerCheckRequest, before registry.Server) (try Trial, details []fault.Detail, err error) {
	try = Trial{Server: before, User: callerOf(ctx).User}
	if before.ID == "" {
		try.Server = registry.Server{Slug: slug, Kind: b.Kind, Title: slug, Pool: "default"}
	}
	spec := declaredSpec{b.Spec, b.SpecYaml}
	if !spec.given() && before.ID != "" {
		rev, err := a.current(ctx, before)
		if err != nil {
			return try, nil, err
		}
		if len(rev.Declared) > 0 {
			spec.JSON = &rev.Declared
		}
	}
	if !spec.given() {
		spec.JSON = ptr(json.RawMessage(`{}`))
	}
	try.Spec, details = spec.check(a.Servers.Checker, b.Kind)
	if b.Connection == nil {
		return try, details, nil
	}
	c, wrong := checkConnection(a.Servers.Checker, b.Kind, *b.Connection)
	if len(wrong) > 0 {
		return try, append(details, wrong...), nil
	}
	keep, err := c.Keeps(before)
	if err != nil {
		return try, append(details, fault.Of(err).Details...), nil
	}
	s := &try.Server
	s.Connection, s.Declared, s.SecretsSet, s.PerUser = c.Normalized, c.Declared, c.SecretNames(), c.PerUser
	if !keep {
		s.ID, try.Secrets = "", c.Secrets
	}
	return try, details, nil
}

func (a *API) showTried(ctx context.Context, slug string, try Trial, tried TriedServer, out LiveCheck) (CheckServerLiveResponseObject, error) {
	out.Ok, out.LatencyMs = true, optional(milliseconds(tried.Latency))
	def := try.Spec.Definition
	if tried.Offer != nil {
		out.Offer = ptr(summaryOf(*tried.Offer))
	}
	if tried.Unfit != nil {
		var ps *registry.Problems
		if !errors.As(tried.Unfit, &ps) {
			return nil, tried.Unfit
		}
		out.Ok, out.Problems = false, fieldErrors(detailsOf(ps.List, "spec", nil, false))
		return CheckServerLive200JSONResponse(out), nil
	}
	if tried.Fits != nil {
		def = tried.Fits.Definition
	}
	out.Tools, out.Scopes = toolsOf(slug, def, try.Spec.Declared), scopesOf(def)
	out.Resources, out.Prompts = ptr(len(def.Resources)), ptr(len(def.Prompts))
	var err error
	out.Findings, err = a.findings(ctx, slug, def)
	return CheckServerLive200JSONResponse(out), err
}
