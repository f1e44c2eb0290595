package upstreams

import (
	"context"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Trial is a server that is tried before it is saved.
type Trial struct {
	Server registry.Server // as it would be; its ID is empty where it is new
	Spec   registry.Spec
	// Secrets of the connection, where it came with the request. Without, those
	// that Vault has of the saved server are used.
	Secrets map[string]secret.Text
	User    tenants.UserID // see Keeper.Discover
}

// Tried is what came of it.
type Tried struct {
	Offer   *registry.Offer    // nil: the kind discovers nothing
	Fits    *registry.Revision // what would be served over the offer
	Unfit   error              // or why nothing could be
	Latency time.Duration
}

// trialLife is how long what a worker opens is kept: longer than any trial.
const trialLife = 2 * time.Minute

// Try opens a server on a worker without saving it: it asks what it offers, or
// whether it answers. The error is why it does not. Credentials that were made
// for it are forgotten again.
func (k *Keeper) Try(ctx context.Context, t tenants.ID, try Trial) (out Tried, err error) {
	s := try.Server
	kind, ok := k.kind(s.Kind)
	if !ok {
		return out, fault.New(fault.InvalidRequest, "There is no kind of server %q here.", s.Kind)
	}
	s.Tenant = t
	if kind.Compose != nil {
		return k.compose(ctx, t, s, try.Spec)
	}
	saved := s.ID != "" && len(try.Secrets) == 0
	if !saved {
		s.ID, s.SecretsVersion = tenants.NewServerID(), ""
	}
	rev, err := try.Spec.Revision(s, nil, "")
	if err != nil {
		return out, err
	}
	rev.ID, rev.Tenant, rev.Server = registry.RevisionID(tenants.RandomID("rv")), t, s.ID
	keep := func() (opening runtime.Opening, err error) {
		opening = k.Opening(s, rev)
		return opening, k.Store.PutTrial(ctx, t, opening, saved, k.Now().Add(trialLife))
	}
	// First, so that what is left of a trial is found whatever happens.
	opening, err := keep()
	if err != nil {
		return out, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		k.forget(ctx, registry.Trial{Tenant: t, Server: s.ID, Revision: rev.ID, Saved: saved})
	}()
	if !saved && s.HasConnection() {
		if s.SecretsVersion, err = k.Provisioner.Provision(ctx, t, s, try.Secrets); err == nil {
			opening, err = keep()
		}
		if err != nil {
			return out, err
		}
	}
	op := runtime.Probe
	if kind.Define != nil {
		op = runtime.Discover
	}
	began := k.Now()
	res, err := k.Reach(ctx, Reach{Opening: opening, Pool: s.Pool, Op: op, User: try.User, Timeout: discoverTimeout})
	if out.Latency = k.Now().Sub(began); err != nil {
		return out, err
	}
	if op == runtime.Probe {
		return out, nil
	}
	res.Offer.Seal()
	if err := res.Offer.Check(); err != nil {
		return out, err
	}
	out.Offer = res.Offer
	fits, err := try.Spec.Revision(s, res.Offer, "")
	if err != nil {
		out.Unfit = err
		return out, nil
	}
	out.Fits = &fits
	return out, nil
}

// forget removes what a trial left. What cannot be removed now is found later.
func (k *Keeper) forget(ctx context.Context, tr registry.Trial) {
	if !tr.Saved {
		if err := k.Provisioner.Forget(ctx, tr.Tenant, tr.Server); err != nil {
			k.Log.WarnContext(ctx, "the credentials of a trial are forgotten later", "tenant", tr.Tenant, "error", err)
			return
		}
	}
	if err := k.Store.DropTrial(ctx, tr.Tenant, tr.Revision); err != nil {
		k.Log.WarnContext(ctx, "a trial is removed later", "tenant", tr.Tenant, "error", err)
	}
}

// CollectTrials removes what is left of trials whose edge ended before they did.
func (k *Keeper) CollectTrials(ctx context.Context) error {
	list, err := k.Store.StaleTrials(ctx, k.Now())
	for _, tr := range list {
		k.forget(ctx, tr)
	}
	return err
}
