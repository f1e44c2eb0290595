package mcpgateway

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// What upstreams say of themselves reaches an edge by one call for each server
// (of each person, where they have upstreams of their own), however many
// sessions listen: it runs while anybody subscribes to a resource of it, and
// another one takes over before its time is up.

const (
	listenLife    = 10 * time.Minute // of one call; a worker's longest
	listenOverlap = 10 * time.Second // for which the next one runs beside it
	listenSettle  = 50 * time.Millisecond
	listenBackoff = time.Second // after a failure, doubled up to the next
	listenLongest = time.Minute
	listenSound   = 30 * time.Second // a call that lived so long was no failure at its start
	listenCatchUp = 2 * time.Second  // after which a call counts as listening
)

// upstreamKey is what one call listens to.
type upstreamKey struct {
	tenant tenants.ID
	slug   string
	server registry.ServerID
	user   tenants.UserID // empty where all people share the upstream
}

// upstreams are the calls of this edge.
type upstreams struct {
	g   *Gateway
	mu  sync.Mutex
	all map[upstreamKey]*upstream
	of  map[*listener]upstreamKey
}

// upstream is one of them, with those who listen.
type upstream struct {
	g      *Gateway
	key    upstreamKey
	cancel context.CancelFunc
	// changed: the call is to be made anew, because other resources are listened
	// to or the server is another.
	changed chan struct{}

	mu        sync.Mutex
	listeners map[*listener][]string
}

// follow brings what is listened to in line with what a listener subscribes to.
// The exchange has its server as it is now.
func (u *upstreams) follow(l *listener, ex *exchange) {
	l.mu.Lock()
	uris := make([]string, 0, len(l.uris))
	for uri := range l.uris {
		uris = append(uris, uri)
	}
	closed := l.closed
	l.mu.Unlock()
	if len(uris) == 0 || closed || !ex.hosted.Revision.Definition.Subscribe {
		u.leave(l)
		return
	}
	key := upstreamKey{tenant: ex.tenant.ID, slug: ex.hosted.Server.Slug, server: ex.hosted.Server.ID}
	if ex.hosted.Server.PerUser {
		key.user = ex.principal.User
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if was, ok := u.of[l]; ok && was != key {
		u.drop(l, was)
	}
	one := u.all[key]
	if one == nil {
		ctx, cancel := context.WithCancel(context.Background())
		one = &upstream{g: u.g, key: key, cancel: cancel, changed: make(chan struct{}, 1), listeners: map[*listener][]string{}}
		u.all[key] = one
		go one.run(ctx)
	}
	u.of[l] = key
	before := one.uris()
	one.mu.Lock()
	one.listeners[l] = uris
	one.mu.Unlock()
	if !slices.Equal(before, one.uris()) {
		one.again()
	}
}

// leave ends what is listened to for a listener.
func (u *upstreams) leave(l *listener) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if key, ok := u.of[l]; ok {
		u.drop(l, key)
	}
}

func (u *upstreams) drop(l *listener, key upstreamKey) {
	delete(u.of, l)
	one := u.all[key]
	one.mu.Lock()
	delete(one.listeners, l)
	left := len(one.listeners)
	one.mu.Unlock()
	if left == 0 {
		one.cancel()
		delete(u.all, key)
		return
	}
	// What nobody subscribes to any more is left to the next call: to hear of it
	// costs less than a new one.
}

// changed has the calls of a tenant look whether their server is another.
func (u *upstreams) changed(t tenants.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for key, one := range u.all {
		if t == "" || t == tenants.Platform || t == key.tenant {
			one.again()
		}
	}
}

// end ends all of them.
func (u *upstreams) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, one := range u.all {
		one.cancel()
	}
}

// uris are all that somebody subscribes to, in order.
func (u *upstream) uris() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []string
	for _, uris := range u.listeners {
		all = append(all, uris...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (u *upstream) again() {
	select {
	case u.changed <- struct{}{}:
	default:
	}
}

// run keeps a call running until ctx ends.
func (u *upstream) run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		err := u.listen(ctx, failures > 0)
		switch {
		case err == nil: // the next takes over
			failures = 0
			continue
		case ctx.Err() != nil:
			return
		case saysNothing(err): // by itself; not before something has changed
			u.sleep(ctx, 24*time.Hour)
			failures = 0
			continue
		}
		if time.Since(began) >= listenSound {
			failures = 0
		}
		wait := min(listenBackoff<<min(failures, 10), listenLongest)
		failures++
		u.g.cfg.Log.Warn("what an upstream says of its resources is not heard", "tenant", u.key.tenant, "server", u.key.slug, "error", err, "retry_in", wait)
		u.sleep(ctx, wait+rand.N(wait/4+1))
	}
}

func (u *upstream) sleep(ctx context.Context, d time.Duration) {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-u.changed:
	case <-ctx.Done():
	}
}

// saysNothing holds of servers to which nobody can listen.
func saysNothing(err error) bool {
	switch f := fault.Of(err); f.Code {
	case fault.InvalidRequest, fault.NotFound:
		return true
	}
	return false
}

// listen runs one call. Without an error, another one is to take over: this one
// goes on for a moment, so that nothing is missed in between. After a gap,
// whoever subscribes is told that everything may have changed.
func (u *upstream) listen(ctx context.Context, gap bool) error {
	hosted, err := u.g.cfg.Registry.Hosted(ctx, u.key.tenant, u.key.slug)
	if err != nil {
		return err
	}
	uris := u.uris()
	call, err := u.call(ctx, hosted, uris)
	if err != nil {
		return err
	}
	running, cancel := context.WithDeadline(ctx, call.Deadline)
	ended := make(chan error, 1)
	go func() {
		_, err := u.g.cfg.Dispatch.Dispatch(running, call, DispatchOptions{Pool: hosted.Server.Pool, Repeatable: true, Notify: u.heard, Home: u.g.HomeOf(hosted.Server, call.Caller.User)})
		if err == nil {
			err = errors.New("the upstream is not listened to any more")
		}
		ended <- err
	}()
	next := time.NewTimer(listenLife - listenOverlap)
	defer next.Stop()
	heard := time.NewTimer(listenCatchUp)
	defer heard.Stop()
	for {
		select {
		case err := <-ended:
			cancel()
			return err
		case <-ctx.Done():
			cancel()
			return ctx.Err()
		case <-heard.C:
			if gap {
				u.tell(uris...)
			}
		case <-next.C:
			time.AfterFunc(listenOverlap, cancel)
			return nil
		case <-u.changed:
			if another, err := u.differs(ctx, hosted, uris); err != nil || another {
				time.AfterFunc(listenOverlap, cancel)
				return err
			}
		}
	}
}

// differs reports whether what is listened to would now be another call.
func (u *upstream) differs(ctx context.Context, was registry.Hosted, uris []string) (bool, error) {
	settled := time.NewTimer(listenSettle) // who subscribes to one thing subscribes to several
	defer settled.Stop()
	select {
	case <-settled.C:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select { // what has come meanwhile is looked at now
	case <-u.changed:
	default:
	}
	for _, uri := range u.uris() {
		if !slices.Contains(uris, uri) {
			return true, nil
		}
	}
	is, err := u.g.cfg.Registry.Hosted(ctx, u.key.tenant, u.key.slug)
	if err != nil {
		return false, err
	}
	return is.Revision.ID != was.Revision.ID || u.g.servers.openHash(is, is.Revision) != u.g.servers.openHash(was, was.Revision), nil
}

// call makes the call. It is the edge's own, on behalf of somebody who listens:
// no tool runs, and nothing comes back but which resources have changed.
func (u *upstream) call(ctx context.Context, h registry.Hosted, uris []string) (*runtime.Call, error) {
	user := u.key.user
	if user == "" {
		user = u.somebody()
	}
	if h.Server.ID != u.key.server || h.Server.PerUser != (u.key.user != "") || !h.Revision.Definition.Subscribe || user == "" {
		return nil, fault.New(fault.NotFound, "Nobody listens to this server.")
	}
	input, err := json.Marshal(runtime.ListenInput{Resources: uris, Lists: true})
	if err != nil {
		return nil, err
	}
	access, err := u.g.cfg.People.Access(ctx, u.key.tenant, user)
	if err != nil {
		return nil, err
	}
	c := &runtime.Call{
		ID: newCallID(), Tenant: u.key.tenant, Server: h.Server.ID, Revision: h.Revision.ID, OpenHash: u.g.servers.openHash(h, h.Revision),
		Op: runtime.Listen, Name: "server", Input: input, Access: registry.ReadAccess, Deadline: time.Now().Add(listenLife),
		Caller: runtime.Caller{User: user, Email: access.User.Email, Name: access.User.Name, Roles: access.User.Roles, Client: listenClient},
	}
	c.Grant, err = u.grant(h.Server, c)
	return c, err
}

// listenClient stands where a call names the app that makes it.
const listenClient = "latchkey"

func (u *upstream) grant(s registry.Server, c *runtime.Call) (secret.Text, error) {
	if !s.HasConnection() {
		return "", nil
	}
	return u.g.cfg.Signer.Sign(vault.Grant{
		Tenant: c.Tenant, Server: c.Server, Revision: c.Revision, Tool: c.Name, Access: c.Access,
		User: c.Caller.User, CallID: c.ID, OpenHash: c.OpenHash, Deadline: c.Deadline,
	})
}

// somebody who listens.
func (u *upstream) somebody() (who tenants.UserID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for l := range u.listeners {
		if user := l.exchange().principal.User; who == "" || user < who {
			who = user
		}
	}
	return who
}

// heard takes what the upstream says.
func (u *upstream) heard(n runtime.Notification) {
	switch n.Method {
	case "notifications/resources/updated":
		var p struct {
			URI string `json:"uri"`
		}
		if json.Unmarshal(n.Params, &p) == nil && p.URI != "" && boundedURI(p.URI) == nil {
			u.tell(p.URI)
		}
	case listChanged[toolList], listChanged[resourceList], listChanged[promptList]:
		// What is offered does not change by that: an administrator looks first.
		u.g.cfg.OfferChanged(u.key.tenant, u.key.server)
		u.g.wakeTenant(u.key.tenant)
	}
}

// tell passes on that resources may have changed. Each listener looks whether it
// is one of theirs, and whether they may know.
func (u *upstream) tell(uris ...string) {
	u.mu.Lock()
	all := make([]*listener, 0, len(u.listeners))
	for l := range u.listeners {
		all = append(all, l)
	}
	u.mu.Unlock()
	for _, l := range all {
		for _, uri := range uris {
			l.resourceUpdated(uri)
		}
	}
}
