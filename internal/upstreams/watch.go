package upstreams

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

const (
	// parallel is how many upstreams are looked at at once: one that hangs holds
	// up nobody, and a thousand do not fill the workers.
	parallel = 16
	// reread is how often the list of servers is read without a reason.
	reread = 30 * time.Second
	// settleDown lets changes that come together be one.
	settleDown = 50 * time.Millisecond
	// keepEvery is how often a record is stored that says that all is as it was.
	keepEvery = time.Minute
	// undiscovered is how often an upstream is asked again that did not say what it
	// offers, and rediscover how often one is that cannot say cheaply whether that
	// is another.
	maxUndiscovered = time.Minute
	rediscover      = 5 * time.Minute
	// minHint is how soon a failed call can bring another probe.
	minHint = time.Second
)

type watchedKey struct {
	tenant tenants.ID
	server registry.ServerID
}

// watched is a server that is looked after. It is guarded by watch.mu; who looks
// at it has a copy.
type watched struct {
	registry.Upstream
	record health.Record
	known  bool // record is what the store has
	stored time.Time
	next   time.Time
	busy   bool
	again  bool // look once more when the look that goes on has ended
	// opening is what a worker opens, of the revision.
	opening  runtime.Opening
	pool     string
	openedOf openedOf
	// offer is the hash of the last offer that was taken, and when: what is refused
	// or pending already is not asked for at each probe.
	offer   string
	offered time.Time
	misses  int // discoveries that failed, one after the other
}

type openedOf struct {
	revision registry.RevisionID
	updated  time.Time
}

// watch is what the leader looks after.
type watch struct {
	wake chan struct{}

	mu     sync.Mutex
	all    map[watchedKey]*watched
	stale  bool // the list has to be read anew
	staled time.Time
}

// Changed says that servers or offers may be others now. It does not wait.
func (k *Keeper) Changed() {
	k.watch.mu.Lock()
	if !k.watch.stale {
		k.watch.stale, k.watch.staled = true, time.Now()
	}
	k.watch.mu.Unlock()
	k.wakeUp()
}

// Hint says that a call of a server failed for want of its upstream. Where this
// edge does not lead, it means nothing. It does not wait.
func (k *Keeper) Hint(t tenants.ID, s registry.ServerID) {
	k.watch.mu.Lock()
	defer k.watch.mu.Unlock()
	w := k.watch.all[watchedKey{t, s}]
	if w == nil || w.busy || w.record.State == health.Unhealthy {
		return
	}
	if soon := w.record.Checked.Add(minHint); soon.Before(w.next) {
		w.next = soon
		k.wakeUp()
	}
}

func (k *Keeper) wakeUp() {
	select {
	case k.watch.wake <- struct{}{}:
	default:
	}
}

// Run looks after all upstreams until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	k.watch.mu.Lock()
	k.followed = nil
	k.watch.all, k.watch.stale, k.watch.staled = map[watchedKey]*watched{}, true, time.Time{}
	k.watch.mu.Unlock()
	var looking sync.WaitGroup
	defer looking.Wait()
	slots := make(chan struct{}, parallel)
	var read time.Time
	for ctx.Err() == nil {
		if due := k.rereadAt(read); !k.Now().Before(due) {
			if err := k.reread(ctx); err != nil && ctx.Err() == nil {
				k.Log.ErrorContext(ctx, "upstreams cannot be listed; trying again", "error", err)
			}
			if err := k.followAll(ctx); err != nil && ctx.Err() == nil {
				k.Log.ErrorContext(ctx, "toolsets cannot be listed; trying again", "error", err)
			}
			read = k.Now()
		}
		next := k.rereadAt(read)
		for {
			w, at := k.due()
			if w == nil {
				if !at.IsZero() && at.Before(next) {
					next = at
				}
				break
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			looking.Go(func() {
				defer func() { <-slots; k.wakeUp() }()
				k.look(ctx, w)
			})
		}
		timer := time.NewTimer(max(time.Until(next), time.Millisecond))
		select {
		case <-timer.C:
		case <-k.watch.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (k *Keeper) rereadAt(read time.Time) time.Time {
	k.watch.mu.Lock()
	defer k.watch.mu.Unlock()
	if k.watch.stale {
		return k.watch.staled.Add(settleDown)
	}
	return read.Add(reread)
}

// due takes the server that is to be looked at first, if its time has come; else
// it says when one is.
func (k *Keeper) due() (*watched, time.Time) {
	k.watch.mu.Lock()
	defer k.watch.mu.Unlock()
	var first *watched
	for _, w := range k.watch.all {
		if !w.busy && (first == nil || w.next.Before(first.next)) {
			first = w
		}
	}
	if first == nil {
		return nil, time.Time{}
	}
	if first.next.After(k.Now()) {
		return nil, first.next
	}
	first.busy = true
	taken := *first
	return &taken, time.Time{}
}

// reread reads the list. What is new or was changed is looked at at once, what
// was looked at before when it is due, spread over time where that is past.
func (k *Keeper) reread(ctx context.Context) error {
	k.watch.mu.Lock()
	k.watch.stale = false
	k.watch.mu.Unlock()
	var kinds []string
	for _, kind := range k.Kinds {
		if reachesOut(kind) {
			kinds = append(kinds, kind.Name)
		}
	}
	list, err := k.Store.Upstreams(ctx, kinds)
	if err != nil {
		return err
	}
	sets := map[tenants.ID]health.Set{}
	for _, u := range list {
		if k.isWatched(u) {
			continue
		}
		if _, read := sets[u.Tenant]; !read {
			if sets[u.Tenant], err = k.Store.ServerHealth(ctx, u.Tenant); err != nil {
				return err
			}
		}
	}
	now, still := k.Now(), map[watchedKey]bool{}
	k.watch.mu.Lock()
	defer k.watch.mu.Unlock()
	for _, u := range list {
		key := watchedKey{u.Tenant, u.Server}
		still[key] = true
		w := k.watch.all[key]
		if w == nil {
			w = &watched{Upstream: u, record: sets[u.Tenant].Of(u.Server), next: now}
			w.record.Tenant, w.record.Server = u.Tenant, u.Server
			if _, w.known = sets[u.Tenant][u.Server]; w.known {
				w.stored = now
				if w.next = w.record.Next; w.next.Before(now) {
					w.next = now.Add(rand.N(health.Interval)) // an edge that takes over does not ask all at once
				}
			}
			k.watch.all[key] = w
		}
		if w.Upstream != u {
			w.Upstream, w.next, w.misses = u, now, 0
			w.again = w.busy
		}
	}
	for key := range k.watch.all {
		if !still[key] {
			delete(k.watch.all, key)
		}
	}
	return nil
}

func (k *Keeper) isWatched(u registry.Upstream) bool {
	k.watch.mu.Lock()
	defer k.watch.mu.Unlock()
	return k.watch.all[watchedKey{u.Tenant, u.Server}] != nil
}

// look is one look at a server: what it needs first. A panic in it ends the
// look, and nothing else.
func (k *Keeper) look(ctx context.Context, w *watched) {
	defer func() {
		if p := recover(); p != nil {
			k.Log.ErrorContext(ctx, "looking at an upstream failed", "tenant", w.Tenant, "server", w.Slug, "panic", p)
			w.next = k.Now().Add(health.Interval)
			k.done(w)
		}
	}()
	kind, _ := k.kind(w.Kind)
	discovers := kind.Define != nil
	switch {
	case kind.NeedsConnection() && !w.Connected:
		w.next = k.Now().Add(reread)
	case discovers && w.Pinned == "" && w.Newest != "":
		k.first(ctx, w)
	case w.Awaited != "" && w.Pinned != "":
		k.await(ctx, w)
	case w.Active != "":
		k.probe(ctx, w, discovers)
	default:
		w.next = k.Now().Add(reread)
	}
	k.done(w)
}

// done puts back what a look found.
func (k *Keeper) done(w *watched) {
	k.watch.mu.Lock()
	defer k.watch.mu.Unlock()
	now := k.watch.all[watchedKey{w.Tenant, w.Server}]
	if now == nil {
		return
	}
	again, upstream := now.again, now.Upstream
	*now = *w
	now.Upstream, now.busy, now.again = upstream, false, false
	if again {
		now.next = k.Now()
	}
}

// first asks a new server what it offers. While it does not say, it has no
// revision that could be served, and its health says why.
func (k *Keeper) first(ctx context.Context, w *watched) {
	began := k.Now()
	found, err := k.Discover(ctx, w.Tenant, w.Server, "")
	if err == nil {
		w.misses, w.offer, w.offered, w.next = 0, found.Offer.Hash(), k.Now(), k.Now()
		k.record(ctx, w, health.Probe{At: k.Now(), Latency: k.Now().Sub(began)})
		return
	}
	if w.next = k.Now().Add(health.Recheck); !health.Infrastructure(err) {
		w.misses++
		w.next = k.Now().Add(min(health.Recheck<<min(w.misses-1, 6), maxUndiscovered))
	}
	if fault.HasCode(err, fault.NotFound) || ctx.Err() != nil { // gone meanwhile, or the lead is
		return
	}
	k.Log.WarnContext(ctx, "a server does not say what it offers", "tenant", w.Tenant, "server", w.Slug, "attempt", w.misses, "error", err)
	next := w.next
	k.failed(ctx, w, err)
	w.next = next
}

func (k *Keeper) await(ctx context.Context, w *watched) {
	s, err := k.Store.Server(ctx, w.Tenant, w.Server)
	if err == nil {
		_, err = k.settle(ctx, s)
	}
	// Where it worked the list is told to be read anew.
	w.next = k.Now().Add(health.Recheck)
	if err != nil && ctx.Err() == nil {
		k.Log.ErrorContext(ctx, "what a server offers is known, and was not published; trying again", "tenant", w.Tenant, "server", w.Slug, "error", err)
	}
}

// probe asks whether the upstream answers, and what it offers where it says that
// this is another than before.
func (k *Keeper) probe(ctx context.Context, w *watched, discovers bool) {
	if err := k.open(ctx, w); err != nil {
		w.next = k.Now().Add(health.Interval)
		if ctx.Err() == nil && !fault.HasCode(err, fault.NotFound) {
			k.Log.ErrorContext(ctx, "a server cannot be probed", "tenant", w.Tenant, "server", w.Slug, "error", err)
		}
		return
	}
	began := k.Now()
	res, err := k.Reach(ctx, Reach{Opening: w.opening, Pool: w.pool, Op: runtime.Probe, Timeout: probeTimeout})
	if ctx.Err() != nil {
		return
	}
	took := k.Now().Sub(began)
	k.Probed(w.Kind, err)
	if fault.HasCode(err, fault.ConnectNeeded) { // it answers, and wants a person
		res, err = &runtime.Result{Health: &runtime.Health{}}, nil
	}
	if err != nil {
		k.failed(ctx, w, err)
		return
	}
	h := res.Health
	k.record(ctx, w, health.Probe{At: k.Now(), Latency: took, Idle: h.Idle, Era: h.Era})
	if discovers && !h.Idle && k.isAnother(w, h.Offer) {
		k.again(ctx, w)
	}
}

// isAnother reports whether it has to be asked what the upstream offers.
func (k *Keeper) isAnother(w *watched, hash string) bool {
	switch {
	case hash == "":
		return k.Now().Sub(w.offered) >= rediscover
	case hash == w.Pinned:
		return w.Pending != "" // it is as it was again
	}
	return hash != w.offer
}

// again asks what an upstream offers that is known already.
func (k *Keeper) again(ctx context.Context, w *watched) {
	found, err := k.Discover(ctx, w.Tenant, w.Server, "")
	w.offered = k.Now() // also where it failed: the next probe says whether it answers
	if err != nil {
		if ctx.Err() == nil {
			k.Log.WarnContext(ctx, "a server does not say what it offers", "tenant", w.Tenant, "server", w.Slug, "error", err)
		}
		return
	}
	w.offer = found.Offer.Hash()
}

// open reads what a worker opens of the active revision, once for each.
func (k *Keeper) open(ctx context.Context, w *watched) error {
	of := openedOf{w.Active, w.UpdatedAt}
	if w.openedOf == of {
		return nil
	}
	s, err := k.Store.Server(ctx, w.Tenant, w.Server)
	if err != nil {
		return err
	}
	rev, err := k.Store.Revision(ctx, w.Tenant, w.Active)
	if err != nil {
		return err
	}
	w.opening, w.pool, w.openedOf = k.Opening(s, rev), s.Pool, of
	return nil
}

// failed records a failure. One of the platform's own takes no server away.
func (k *Keeper) failed(ctx context.Context, w *watched, err error) {
	if health.Infrastructure(err) {
		w.next = k.Now().Add(health.Interval)
		k.Log.WarnContext(ctx, "a server could not be looked at", "tenant", w.Tenant, "server", w.Slug, "error", err)
		if w.record.State == health.Unknown {
			k.keep(ctx, w, w.record.Missed(k.Now(), err))
		}
		return
	}
	k.record(ctx, w, health.Probe{At: k.Now(), Err: err})
}

// record adds a probe to what is known.
func (k *Keeper) record(ctx context.Context, w *watched, p health.Probe) {
	before := w.record
	after := before.After(p)
	w.next = after.Next
	k.keep(ctx, w, after)
	if before.State == after.State {
		return
	}
	at := []any{"tenant", w.Tenant, "server", w.Slug, "state", after.State, "was", before.State, "code", after.Code}
	if after.State != health.Unhealthy {
		k.Log.InfoContext(ctx, "a server's state changed", at...)
		return
	}
	k.Log.WarnContext(ctx, "a server does not answer", append(at, "error", p.Err)...)
	if w.Active == "" {
		return // nobody calls it
	}
	k.Events.Raise(ctx, events.Event{
		Tenant: w.Tenant, At: p.At, Kind: events.ServerUnhealthy, Severity: events.Warning, ServerID: w.Server, Server: w.Slug, Same: string(w.Server),
		Detail: "The server " + w.Slug + " does not answer, and its calls are refused until it does. " + problemOf(p.Err),
	})
}

// keep stores a record: at once where it says something new, else now and then.
func (k *Keeper) keep(ctx context.Context, w *watched, r health.Record) {
	news := !w.known || r.State != w.record.State || r.State == health.Unhealthy || r.Code != w.record.Code || r.Failures != w.record.Failures
	w.record = r
	if !news && k.Now().Sub(w.stored) < keepEvery {
		return
	}
	if err := k.Store.PutServerHealth(ctx, w.Tenant, r); err != nil {
		if ctx.Err() == nil && !fault.HasCode(err, fault.NotFound) { // of a server that is gone
			k.Log.ErrorContext(ctx, "how a server is was not stored", "tenant", w.Tenant, "server", w.Slug, "error", err)
		}
		w.known = false // so that the next probe stores it
		return
	}
	w.known, w.stored = true, k.Now()
}
