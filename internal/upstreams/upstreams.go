// Package upstreams looks after what servers stand on: it asks upstreams what
// they offer, probes whether they answer, and holds back what they changed until
// somebody has looked.
//
// It owns when to look and what follows from an answer. It leaves the states to
// health, offers and their approval to registry, and the call itself to the
// gateway and a worker.
package upstreams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// Store is what is asked of the platform's store.
type Store interface {
	registry.Store
	registry.Offers
	health.Store
	// Upstreams lists servers of these kinds, of all tenants.
	Upstreams(ctx context.Context, kinds []string) ([]registry.Upstream, error)
	// Trials: what a worker opens of a server that is not saved.
	PutTrial(ctx context.Context, t tenants.ID, o runtime.Opening, saved bool, until time.Time) error
	DropTrial(ctx context.Context, t tenants.ID, r registry.RevisionID) error
	StaleTrials(ctx context.Context, at time.Time) ([]registry.Trial, error)
	// Exclusive keeps other changes of a tenant out.
	Exclusive(ctx context.Context, t tenants.ID, fn func(ctx context.Context) error) error
}

// Reach is a call of the platform's own.
type Reach struct {
	Opening runtime.Opening
	Pool    string
	Op      runtime.Op
	User    tenants.UserID // whose credential is lent; empty: nobody's
	Timeout time.Duration
}

// Config of New. All but Events, Probed, Log and Now is needed.
type Config struct {
	Store   Store
	Kinds   []runtime.Kind
	Checker registry.Kinds
	// Opening is what a worker opens of a revision.
	Opening func(registry.Server, registry.Revision) runtime.Opening
	// Reach runs a probe or discovery on a worker.
	Reach func(ctx context.Context, r Reach) (*runtime.Result, error)
	// Provisioner makes the credentials of what is tried, and forgets them.
	Provisioner registry.Provisioner
	Events      events.Raiser
	// Probed hears of each probe, for metrics.
	Probed func(kind string, err error)
	Log    *slog.Logger
	Now    func() time.Time
}

// Bounds of what is run.
const (
	probeTimeout    = 5 * time.Second
	discoverTimeout = 20 * time.Second
)

// Keeper does the work. Discover and Try may be used on every edge; Run only by
// the one that leads.
type Keeper struct {
	Config
	watch    watch
	followed followed // what toolsets are in line with; Run's alone
}

// New makes a Keeper.
func New(c Config) *Keeper {
	if c.Events == nil {
		c.Events = events.Discard{}
	}
	if c.Probed == nil {
		c.Probed = func(string, error) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Keeper{Config: c, watch: watch{wake: make(chan struct{}, 1)}}
}

func (k *Keeper) kind(name string) (runtime.Kind, bool) {
	for _, kind := range k.Kinds {
		if kind.Name == name {
			return kind, true
		}
	}
	return runtime.Kind{}, false
}

// reachesOut reports whether servers of a kind stand on something that can be
// away.
func reachesOut(k runtime.Kind) bool { return k.CheckConnection != nil || k.Define != nil }

func (k *Keeper) editor() *registry.Editor {
	return &registry.Editor{Registry: k.Store, Provisioner: k.Provisioner, Offers: k.Store, Now: k.Now}
}

// Found is what a discovery came to.
type Found struct {
	Seen    registry.Seen
	Offer   registry.Offer
	Settled registry.Settled
	Took    time.Duration
}

// ErrNotDiscovered is what a discovery of a server gets whose kind has none.
func ErrNotDiscovered(kind string) error {
	return fault.New(fault.InvalidRequest, "What a server of kind %s offers stands in its spec: there is nothing to discover.", kind)
}

// Discover asks a server's upstream what it offers, and keeps it: the first time
// as what is agreed to, later for somebody to decide. What was awaited is
// published. user lends their credential to a server that has one for each.
func (k *Keeper) Discover(ctx context.Context, t tenants.ID, id registry.ServerID, user tenants.UserID) (f Found, err error) {
	s, err := k.Store.Server(ctx, t, id)
	if err != nil {
		return f, err
	}
	kind, ok := k.kind(s.Kind)
	switch {
	case s.Deleting:
		return f, registry.ErrDeleting
	case kind.Compose != nil:
		return f, fault.New(fault.InvalidRequest, "A toolset offers what its servers do, and follows them by itself: there is nothing to discover.")
	case !ok || kind.Define == nil:
		return f, ErrNotDiscovered(s.Kind)
	}
	if err := registry.Publishable(s, kind.NeedsConnection()); err != nil {
		return f, err
	}
	rev, err := k.inForce(ctx, s)
	if err != nil {
		return f, err
	}
	began := k.Now()
	res, err := k.Reach(ctx, Reach{Opening: k.Opening(s, rev), Pool: s.Pool, Op: runtime.Discover, User: user, Timeout: discoverTimeout})
	f.Took = k.Now().Sub(began)
	if err != nil {
		return f, err
	}
	return k.take(ctx, s, res.Offer, f)
}

func (k *Keeper) inForce(ctx context.Context, s registry.Server) (registry.Revision, error) {
	if s.Active != "" {
		return k.Store.Revision(ctx, s.Tenant, s.Active)
	}
	rev, err := k.Store.Newest(ctx, s.Tenant, s.ID)
	if fault.HasCode(err, fault.NotFound) {
		err = fault.New(fault.Conflict, "The server %s has no spec yet. Set one first.", s.Slug)
	}
	return rev, err
}

// take keeps an offer and does what follows.
func (k *Keeper) take(ctx context.Context, s registry.Server, o *registry.Offer, f Found) (Found, error) {
	seen, err := registry.SeenAt(ctx, k.Store, s.Tenant, s.ID, o, k.Now())
	if err != nil {
		return f, err
	}
	f.Seen, f.Offer = seen, *o
	switch seen {
	case registry.SeenChanged:
		k.tellOfChange(ctx, s, o)
	case registry.SeenFirst:
		k.Log.InfoContext(ctx, "the first offer of a server is agreed to by itself", "tenant", s.Tenant, "server", s.Slug, "tools", len(o.Tools), "hash", o.Hash())
	}
	f.Settled, err = k.settle(ctx, s)
	return f, err
}

// settle publishes what waited for an offer.
func (k *Keeper) settle(ctx context.Context, s registry.Server) (out registry.Settled, err error) {
	kind, _ := k.kind(s.Kind)
	err = k.Store.Exclusive(ctx, s.Tenant, func(ctx context.Context) error {
		out, err = k.editor().Settle(ctx, s.Tenant, k.Checker, s.ID, kind.NeedsConnection())
		return err
	})
	switch {
	case err != nil:
	case out.Problem != "":
		k.Events.Raise(ctx, events.Event{
			Tenant: s.Tenant, At: k.Now(), Kind: events.DefinitionChanged, Severity: events.Warning, ServerID: s.ID, Server: s.Slug, Same: "problem " + string(s.ID),
			Detail: fmt.Sprintf("It is known now what %s offers, and it was not published. %s", s.Slug, out.Problem),
		})
	case out.Published:
		k.Log.InfoContext(ctx, "a server was published when it was known what it offers", "tenant", s.Tenant, "server", s.Slug, "revision", out.Revision.Number, "tools", len(out.Revision.Definition.Tools))
	}
	return out, err
}

// maxNamed is how many tools an event names.
const maxNamed = 10

func (k *Keeper) tellOfChange(ctx context.Context, s registry.Server, o *registry.Offer) {
	known, err := k.Store.Offered(ctx, s.Tenant, s.ID)
	if err != nil {
		k.Log.ErrorContext(ctx, "an upstream changed what it offers; what exactly cannot be read now", "tenant", s.Tenant, "server", s.Slug, "error", err)
	}
	detail := fmt.Sprintf("The upstream of %s offers something else than what was agreed to. What changed is held back until somebody has looked.", s.Slug)
	if known.Pinned.Hash != "" {
		changes := registry.DiffOffers(known.Pinned.Offer, *o)
		for i, c := range changes {
			if i == maxNamed {
				detail += fmt.Sprintf(" And %d more.", len(changes)-maxNamed)
				break
			}
			detail += fmt.Sprintf(" %s %s %.80s.", c.Verb, c.What, c.Name)
		}
	}
	k.Events.Raise(ctx, events.Event{
		Tenant: s.Tenant, At: k.Now(), Kind: events.DefinitionChanged, Severity: events.Warning, ServerID: s.ID, Server: s.Slug, Same: "changed " + string(s.ID), Detail: detail,
	})
}

// problemOf is a failure in words for administrators.
func problemOf(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Message
	}
	return fault.Of(err).Message
}
