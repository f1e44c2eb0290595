package vault

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// LeasesConfig is what a worker's leases need. Only Client is required.
type LeasesConfig struct {
	// Client has no authority of its own.
	Client *Client
	// Verifier checks each grant before a cached credential is used for it.
	// Without one only Vault does, when a credential is issued.
	Verifier *Verifier
	// PerTenant bounds the live credentials of a tenant on this worker; 0 is 32.
	PerTenant int
	// StaticPerTenant bounds what is kept of a tenant's static secrets; 0 is 1024.
	StaticPerTenant int
}

// LeaseRequest asks for the credential of one call.
type LeaseRequest struct {
	Tenant tenants.ID
	Server tenants.ServerID
	Access registry.Access
	// User asks for a credential of that user's own; "" shares the server's.
	User tenants.UserID
	// Static asks for the secrets that Vault keeps for the server, instead of a
	// credential that it makes. What is kept is used only for calls that name the
	// same Version of them, see Servers.SecretsVersion.
	Static   bool
	Version  string
	CallID   string
	Grant    secret.Text
	Deadline time.Time
}

// Lease is a credential, valid until it is released.
type Lease struct {
	// ID of static secrets names their version: the same ID has the same values.
	ID       string
	Username string
	Password secret.Text
	Fields   map[string]secret.Text // static secrets; not to be changed
	// Until is when a new call gets another credential if it can. Expired is
	// closed when this one must not be used any more: its pools close then.
	Until   time.Time
	Expired <-chan struct{}
	// Discard says that the database refuses the credential, because somebody
	// revoked it or changed the account: nobody gets it any more, and the next
	// call's grant buys another.
	Discard func()
}

// Leases keeps the credentials of one worker. Static secrets are kept alike. One for reading is reused until
// two thirds of its life are over; then the next call's grant buys another,
// while the old one serves. One for writing serves a single call, unless Vault
// says that it may be kept. When Vault is away kept ones serve to their end.
type Leases struct {
	issuer   credentialIssuer
	verifier *Verifier
	most     map[bool]int // in a share, by whether they are static

	mu      sync.Mutex
	slots   map[slotKey]*slot
	live    map[share]int // credentials, those on their way too
	pending map[*pending]struct{}
	ends    endHeap // of every live credential, the soonest first
	seen    seenGrants
	closed  bool

	wake    chan struct{} // the heap's first entry changed
	stop    context.CancelFunc
	stopped chan struct{}
	jobs    sync.WaitGroup // revocations and replacements under way
}

type slotKey struct {
	tenant  tenants.ID
	server  tenants.ServerID
	access  registry.Access
	user    tenants.UserID
	static  bool
	version string
}

// share is what is counted together: a credential that Vault makes costs the
// upstream an account, a static one costs memory.
type share struct {
	tenant tenants.ID
	static bool
}

// slot holds the current credential of a key, and who fetches the next.
type slot struct {
	current *held
	flight  *flight
	// restUntil is when a replacement that failed may be tried again.
	restUntil time.Time
}

type flight struct {
	done chan struct{} // closed when the slot is filled or err is set
	err  error
}

// pending is a credential on its way.
type pending struct {
	share
	server tenants.ServerID
	stale  bool // the server was invalidated meanwhile
}

// held is a live credential.
type held struct {
	Lease
	share
	server  tenants.ServerID
	token   secret.Text
	end     time.Time
	expired chan struct{}
	keep    bool // may serve several calls
	users   int  // calls that have it
	retired bool // nobody new gets it; the last user revokes it
	over    bool // Expired is closed
	index   int  // in the heap, -1 outside
}

const (
	defaultPerTenant       = 32
	defaultStaticPerTenant = 1024
	// restAfterFailure spares a Vault that is away one request per call.
	restAfterFailure = time.Second
	// fetchTimeout bounds a fetch that several calls wait for.
	fetchTimeout = requestTimeout + issueTimeout + time.Second
)

var errReplayed = errors.New("this grant was used already")

// NewLeases starts the one goroutine that ends credentials in time.
func NewLeases(cfg LeasesConfig) *Leases { return newLeases(cfg.Client, cfg) }

func newLeases(i credentialIssuer, cfg LeasesConfig) *Leases {
	if cfg.PerTenant == 0 {
		cfg.PerTenant = defaultPerTenant
	}
	if cfg.StaticPerTenant == 0 {
		cfg.StaticPerTenant = defaultStaticPerTenant
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &Leases{
		issuer: i, verifier: cfg.Verifier, most: map[bool]int{false: cfg.PerTenant, true: cfg.StaticPerTenant},
		slots: map[slotKey]*slot{}, live: map[share]int{}, pending: map[*pending]struct{}{},
		wake: make(chan struct{}, 1), stop: stop, stopped: make(chan struct{}),
	}
	go l.watch(ctx)
	return l
}

// Get trades the call's grant for a credential, or finds a cached one. The
// caller must call release when the call ends, however it ends; release never
// blocks. A grant is good for one Get on this worker.
func (l *Leases) Get(ctx context.Context, r LeaseRequest) (lease Lease, release func(), err error) {
	if err := l.admit(&r); err != nil {
		return Lease{}, nil, err
	}
	h, err := l.get(ctx, &r)
	if err != nil {
		return Lease{}, nil, err
	}
	lease = h.Lease
	lease.Discard = func() { l.discard(h) }
	var once sync.Once
	return lease, func() { once.Do(func() { l.release(h) }) }, nil
}

// admit refuses a grant that is not for this request or was here before. The
// name of a call is not enough: a message can be forged, a grant cannot.
func (l *Leases) admit(r *LeaseRequest) error {
	g, err := l.verifier.Verify(r.Grant)
	if err != nil {
		return refused(err)
	}
	if g.Tenant != r.Tenant || g.Server != r.Server || g.Access != r.Access || g.CallID != r.CallID || (r.User != "" && g.User != r.User) {
		return refused(errors.New("the grant is for something else than the call"))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.seen.add(g.CallID, time.Now()) {
		return refused(errReplayed)
	}
	return nil
}

func (l *Leases) get(ctx context.Context, r *LeaseRequest) (*held, error) {
	key := slotKey{r.Tenant, r.Server, r.Access, r.User, r.Static, r.Version}
	if r.Access == registry.WriteAccess {
		return l.getForWriting(ctx, key, r)
	}
	for {
		h, f, mine, err := l.take(key, r)
		if err != nil || h != nil {
			return h, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, explain(fmt.Errorf("%w: %w", errGaveUp, ctx.Err()), true)
		}
		if f.err == nil {
			continue // take it, or another if it has gone meanwhile
		}
		// Another call's grant says nothing about ours.
		if mine || !errors.Is(f.err, ErrRefused) {
			return nil, f.err
		}
	}
}

// getForWriting waits for nobody: most credentials for writing are one call's
// own, and whether one may be kept is known only when it is there.
func (l *Leases) getForWriting(ctx context.Context, key slotKey, r *LeaseRequest) (*held, error) {
	if h := l.kept(key, r); h != nil {
		return h, nil
	}
	h, err := l.fetch(ctx, r)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h.users++
	h.retired = true
	if h.keep && l.slots[key] == nil && !h.over {
		h.retired = false
		l.slots[key] = &slot{current: h}
	}
	return h, nil
}

// kept gives the live credential of a slot, if there is one.
func (l *Leases) kept(key slotKey, r *LeaseRequest) *held {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slots[key]
	if s == nil || s.current == nil || s.current.over {
		return nil
	}
	return l.use(key, s, r)
}

// use counts a call in. A credential past two thirds of its life is given all
// the same, and replaced behind the caller's back.
func (l *Leases) use(key slotKey, s *slot, r *LeaseRequest) *held {
	h, now := s.current, time.Now()
	if now.After(h.Until) && s.flight == nil && now.After(s.restUntil) {
		l.launch(key, s, r)
	}
	h.users++
	return h
}

// take gives the credential of a slot, or the flight that fetches it; mine is
// true when that flight has this call's grant.
func (l *Leases) take(key slotKey, r *LeaseRequest) (h *held, f *flight, mine bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, false, errClosed
	}
	s := l.slots[key]
	if s == nil {
		s = &slot{}
		l.slots[key] = s
	}
	if s.current != nil && !s.current.over {
		return l.use(key, s, r), nil, false, nil
	}
	if s.flight != nil {
		return nil, s.flight, false, nil
	}
	l.launch(key, s, r)
	return nil, s.flight, true, nil
}

// launch fetches the next credential of a slot with the call's grant. It does
// not stop when that call does: others wait for the result.
func (l *Leases) launch(key slotKey, s *slot, r *LeaseRequest) {
	f, request := &flight{done: make(chan struct{})}, *r
	s.flight = f
	l.jobs.Go(func() { l.fly(key, f, &request) })
}

func (l *Leases) fly(key slotKey, f *flight, r *LeaseRequest) {
	h, err := l.fetch(context.Background(), r)
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(f.done)
	s := l.slots[key]
	if s == nil || s.flight != f {
		// The server was invalidated meanwhile.
		if h != nil {
			l.retire(h)
		}
		f.err = refused(errStale)
		return
	}
	s.flight = nil
	if err != nil {
		f.err = err
		s.restUntil = time.Now().Add(restAfterFailure)
		if s.current == nil {
			delete(l.slots, key)
		}
		return
	}
	if s.current != nil {
		l.retire(s.current)
	}
	if s.current = h; key.access == registry.WriteAccess && !h.keep {
		// The server was changed to one credential for each call.
		l.retire(h)
		delete(l.slots, key)
	}
}

// fetch gets a credential from Vault within the tenant's share.
func (l *Leases) fetch(ctx context.Context, r *LeaseRequest) (*held, error) {
	p := &pending{share: share{r.Tenant, r.Static}, server: r.Server}
	if err := l.reserve(p); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	began := time.Now()
	got, err := l.issuer.issue(ctx, r)
	if err == nil {
		if h, err := l.hold(p, got, began); err == nil {
			return h, nil
		}
		_ = l.issuer.revoke(ctx, got.token)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, p)
	l.unreserve(p.share)
	switch {
	case err != nil:
		return nil, err
	case l.closed:
		return nil, errClosed
	}
	return nil, refused(errStale)
}

var errStale = errors.New("the server changed while its credential was fetched")

// hold takes up what was issued, unless it is no longer wanted.
func (l *Leases) hold(p *pending, got issued, began time.Time) (*held, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || p.stale {
		return nil, errStale
	}
	delete(l.pending, p)
	h := &held{
		Lease: Lease{ID: got.id, Username: got.username, Password: got.password, Fields: got.fields, Until: began.Add(got.ttl * 2 / 3)},
		share: p.share, server: p.server, token: got.token, keep: got.keep,
		// A moment early: Vault ends it at the full time, sessions and all.
		end:     began.Add(got.ttl - min(time.Second, got.ttl/10)),
		expired: make(chan struct{}), index: -1,
	}
	h.Expired = h.expired
	heap.Push(&l.ends, h)
	if h.index == 0 {
		l.poke()
	}
	return h, nil
}

var errClosed = fault.New(fault.CredentialsAway, "This worker is stopping. Nothing was done. Call again now.")

// reserve counts a credential before it exists. A tenant at its bound gives up
// one that nobody uses, if there is one.
func (l *Leases) reserve(p *pending) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if most := l.most[p.static]; l.live[p.share] >= most && !l.evict(p.share) {
		return fault.New(fault.Busy, "Your organisation uses all of its %d credentials on this worker. Call again in 1 s.", most).After(time.Second)
	}
	l.live[p.share]++
	l.pending[p] = struct{}{}
	return nil
}

func (l *Leases) unreserve(of share) {
	if l.live[of]--; l.live[of] <= 0 {
		delete(l.live, of)
	}
}

// evict ends the share's unused cached credential that would end soonest.
func (l *Leases) evict(of share) bool {
	var victim *slot
	var key slotKey
	for k, s := range l.slots {
		if (share{k.tenant, k.static}) == of && s.current != nil && s.current.users == 0 && (victim == nil || s.current.end.Before(victim.current.end)) {
			victim, key = s, k
		}
	}
	if victim == nil {
		return false
	}
	l.retire(victim.current)
	if victim.current = nil; victim.flight == nil {
		delete(l.slots, key)
	}
	return true
}

func (l *Leases) discard(h *held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, s := range l.slots {
		if s.current == h {
			if s.current = nil; s.flight == nil {
				delete(l.slots, key)
			}
		}
	}
	l.retire(h)
}

func (l *Leases) release(h *held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.users--
	if h.retired && h.users == 0 {
		l.finish(h)
	}
}

// retire takes a credential out of use; it ends when its last call does.
func (l *Leases) retire(h *held) {
	h.retired = true
	if h.users == 0 {
		l.finish(h)
	}
}

// finish ends a credential now: its pools close and Vault drops its user.
func (l *Leases) finish(h *held) {
	if h.over {
		return
	}
	l.expire(h)
	l.jobs.Go(func() {
		// Unanswered, it ends by itself with its token.
		ctx, cancel := context.WithTimeout(context.Background(), issueTimeout)
		defer cancel()
		_ = l.issuer.revoke(ctx, h.token)
	})
}

// expire tells the credential's users that it is over.
func (l *Leases) expire(h *held) {
	h.over = true
	close(h.expired)
	if h.index >= 0 {
		heap.Remove(&l.ends, h.index)
	}
	l.unreserve(h.share)
}

// Invalidate ends every credential of a server at once, or of a whole tenant
// when server is "". Calls that still have one fail in the database.
func (l *Leases) Invalidate(t tenants.ID, server tenants.ServerID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	hit := func(tenant tenants.ID, id tenants.ServerID) bool {
		return tenant == t && (server == "" || server == id)
	}
	for p := range l.pending {
		p.stale = p.stale || hit(p.tenant, p.server)
	}
	for _, h := range slices.Clone(l.ends) {
		if hit(h.tenant, h.server) {
			l.finish(h)
		}
	}
	for k := range l.slots {
		if hit(k.tenant, k.server) {
			delete(l.slots, k)
		}
	}
}

// Close ends every credential and waits, within ctx, until Vault has revoked
// what it could.
func (l *Leases) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	for len(l.ends) > 0 {
		l.finish(l.ends[0])
	}
	clear(l.slots)
	l.mu.Unlock()
	l.stop()
	<-l.stopped
	done := make(chan struct{})
	go func() { l.jobs.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("vault.Leases.Close: credentials are left to end by themselves: %w", ctx.Err())
	}
}

// watch ends credentials whose time has come. One timer serves all of them.
func (l *Leases) watch(ctx context.Context) {
	defer close(l.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(l.sweep())
		select {
		case <-timer.C:
		case <-l.wake:
		case <-ctx.Done():
			return
		}
	}
}

// sweep expires what is over and returns the time until the next.
func (l *Leases) sweep() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for len(l.ends) > 0 && !l.ends[0].end.After(now) {
		l.expire(l.ends[0]) // Vault revokes it by itself
	}
	for k, s := range l.slots {
		if s.current != nil && s.current.over {
			if s.current = nil; s.flight == nil {
				delete(l.slots, k)
			}
		}
	}
	if len(l.ends) == 0 {
		return time.Hour
	}
	return l.ends[0].end.Sub(now)
}

func (l *Leases) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// seenGrants remembers call ids for at least the life of a grant, in two
// halves that take turns, so that forgetting costs nothing.
type seenGrants struct {
	young, old map[string]struct{}
	turn       time.Time
}

func (s *seenGrants) add(id string, now time.Time) bool {
	if now.Sub(s.turn) > MaxGrantLife {
		if now.Sub(s.turn) > 2*MaxGrantLife {
			s.young = nil
		}
		s.old, s.young, s.turn = s.young, map[string]struct{}{}, now
	}
	if _, was := s.young[id]; was {
		return false
	}
	if _, was := s.old[id]; was {
		return false
	}
	s.young[id] = struct{}{}
	return true
}

// endHeap orders credentials by their end (container/heap).
type endHeap []*held

func (h endHeap) Len() int           { return len(h) }
func (h endHeap) Less(i, j int) bool { return h[i].end.Before(h[j].end) }
func (h endHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *endHeap) Push(x any)        { v := x.(*held); v.index = len(*h); *h = append(*h, v) }
func (h *endHeap) Pop() any {
	old := *h
	v := old[len(old)-1]
	old[len(old)-1], v.index, *h = nil, -1, old[:len(old)-1]
	return v
}
