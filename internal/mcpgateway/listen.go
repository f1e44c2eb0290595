package mcpgateway

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Who listens is told when what they would list has changed, and when a
// resource has that they subscribed to. Whatever changes (a revision, a role, a
// grant, a switch), the answer is found in one way: each listener of the tenant
// looks at what its caller sees now, and says something if that differs from
// what it saw before. Nobody else is told, and nobody learns of what they may
// not see.

const (
	// lookSoon and lookSpread are when a listener looks after a change: many of
	// them come together, and all listeners look.
	lookSoon   = 50 * time.Millisecond
	lookSpread = 200 * time.Millisecond
	// lookAlways is how often a listener looks although nothing was heard: a day
	// on which a tool ends comes by itself.
	lookAlways = time.Minute
	lookRetry  = 2 * time.Second // while the store is away

	maxSubscriptions = 100 // URIs of one listener
	maxUpdated       = 256 // URIs that wait to be told to one
)

var listChanged = [lists]string{"notifications/tools/list_changed", "notifications/resources/list_changed", "notifications/prompts/list_changed"}

// listener is one who listens: a legacy session, or a subscriptions/listen.
type listener struct {
	g        *Gateway
	tenant   tenants.ID
	exchange func() *exchange          // of whoever listens, as they came last
	sdk      func() *mcp.ServerSession // nil until it is connected
	lost     func()                    // they may not listen any more
	apart    bool                      // a subscriptions/listen, which is a request of its own

	mu sync.Mutex
	// subscription is the id of a subscriptions/listen; nil for a session.
	subscription any
	on           bool // a stream is, or was, open
	wants        [lists]bool
	told         sights // what they saw when they listed, or were told
	uris         map[string]bool
	updated      map[string]bool // of uris or below them, not told yet
	pending      bool            // a look is on its way
	again        bool            // something has changed since it began
	closed       bool
	always       *time.Timer
}

// listeners are those of this edge.
type listeners struct {
	mu  sync.Mutex
	all map[tenants.ID]map[*listener]bool
}

func (g *Gateway) newListener(l *listener) *listener {
	t := l.tenant
	l.g, l.uris, l.updated = g, map[string]bool{}, map[string]bool{}
	g.listeners.mu.Lock()
	defer g.listeners.mu.Unlock()
	if g.listeners.all[t] == nil {
		g.listeners.all[t] = map[*listener]bool{}
	}
	g.listeners.all[t][l] = true
	return l
}

// attachListener lets a legacy session listen, from its first stream on.
func (g *Gateway) attachListener(n *session) {
	l := g.newListener(&listener{tenant: n.of.tenant, exchange: n.exchange, lost: n.endStreams, sdk: func() *mcp.ServerSession {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.sdk
	}})
	l.mu.Lock()
	l.wants = [lists]bool{true, true, true}
	l.mu.Unlock()
	n.mu.Lock()
	n.listener = l
	n.mu.Unlock()
}

// listens is called when a session's own stream is opened.
func (n *session) listens() {
	n.mu.Lock()
	l, ex := n.listener, n.ex
	n.mu.Unlock()
	if l == nil {
		return
	}
	if now, err := l.g.see(context.Background(), ex); err == nil {
		l.mu.Lock()
		for i := range now {
			if l.told[i] == "" { // never listed: nothing has changed for them
				l.told[i] = now[i]
			}
		}
		l.mu.Unlock()
	}
	l.begin()
}

// begin lets a listener look.
func (l *listener) begin() {
	l.mu.Lock()
	l.on = true
	if l.always == nil && !l.closed {
		l.always = time.AfterFunc(lookAlways, l.wake)
	}
	l.mu.Unlock()
	l.wake()
}

// close forgets a listener.
func (l *listener) close() {
	l.mu.Lock()
	l.closed = true
	if l.always != nil {
		l.always.Stop()
	}
	l.mu.Unlock()
	g := l.g
	g.listeners.mu.Lock()
	delete(g.listeners.all[l.tenant], l)
	if len(g.listeners.all[l.tenant]) == 0 {
		delete(g.listeners.all, l.tenant)
	}
	g.listeners.mu.Unlock()
	g.upstreams.leave(l)
}

// Changed says that something of a tenant may have changed that decides what its
// callers see; of tenants.Platform or an empty one: of every tenant. It does not
// wait. It is to be called after caches have heard.
func (g *Gateway) Changed(t tenants.ID) {
	g.wakeTenant(t)
	g.upstreams.changed(t)
}

func (g *Gateway) wakeTenant(t tenants.ID) {
	g.listeners.mu.Lock()
	var all []*listener
	for of, ls := range g.listeners.all {
		if t == "" || t == tenants.Platform || t == of {
			for l := range ls {
				all = append(all, l)
			}
		}
	}
	g.listeners.mu.Unlock()
	for _, l := range all {
		l.wake()
	}
}

// wake has the listener look soon.
func (l *listener) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed || !l.on:
	case l.pending:
		l.again = true
	default:
		l.pending = true
		time.AfterFunc(lookSoon+rand.N(lookSpread), l.look)
	}
}

// look says what has changed. Only one runs for a listener: one that reads
// slowly holds up nobody else, and keeps nothing but which things have changed.
func (l *listener) look() {
	l.mu.Lock()
	l.again = false
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	wait := lookSoon
	if err := l.tell(); err != nil {
		l.g.cfg.Log.Warn("who listens was not told yet; trying again", "tenant", l.tenant, "error", err)
		wait = lookRetry
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.always.Reset(lookAlways)
	if l.again || wait == lookRetry {
		time.AfterFunc(wait, l.look)
		return
	}
	l.pending = false
}

// tell looks once. An error is the store's: nothing is known.
func (l *listener) tell() error {
	ctx, cancel := context.WithTimeout(context.Background(), stallAfter+5*time.Second)
	defer cancel()
	s := l.sdk()
	ex, err := l.g.stands(ctx, l.exchange())
	if err != nil {
		if f := fault.Of(err); f.Code.Category == fault.Access {
			l.g.upstreams.leave(l)
			l.lost()
			return nil
		}
		return err
	}
	l.g.upstreams.follow(l, ex)
	if s == nil {
		return nil
	}
	now, err := l.g.see(ctx, ex)
	if err != nil {
		return err
	}
	l.mu.Lock()
	var changed [lists]bool
	for i := range now {
		changed[i] = l.wants[i] && l.told[i] != now[i]
	}
	l.told = now
	updated := l.updated
	l.updated = map[string]bool{}
	meta := l.meta()
	l.mu.Unlock()
	for i, is := range changed {
		if is {
			l.send(ctx, s, listChanged[i], listChangedParams(i, meta))
		}
	}
	for uri := range updated {
		if l.g.mayRead(ctx, ex, uri) {
			l.send(ctx, s, "notifications/resources/updated", &mcp.ResourceUpdatedNotificationParams{Meta: meta, URI: uri})
		}
	}
	return nil
}

// send says one thing. A session that cannot be reached ends by itself.
func (l *listener) send(ctx context.Context, s *mcp.ServerSession, method string, params mcp.Params) {
	if err := notify(ctx, s, method, params); err != nil {
		l.g.cfg.Log.DebugContext(ctx, "not told", "method", method, "error", err)
	}
}

// meta names the subscription that a notification is of, in the newest revision.
func (l *listener) meta() mcp.Meta {
	if l.subscription == nil {
		return nil
	}
	return mcp.Meta{mcp.MetaKeySubscriptionID: l.subscription}
}

func listChangedParams(list int, meta mcp.Meta) mcp.Params {
	switch list {
	case toolList:
		return &mcp.ToolListChangedParams{Meta: meta}
	case resourceList:
		return &mcp.ResourceListChangedParams{Meta: meta}
	}
	return &mcp.PromptListChangedParams{Meta: meta}
}

// stands gives an exchange with the server of now, if whoever it is of may still
// listen: the access that they gave stands, and their account, tenant and server
// are there. A fault.Access says that one of these is not so.
func (g *Gateway) stands(ctx context.Context, ex *exchange) (*exchange, error) {
	if g.cfg.Grants == nil {
		if !g.cfg.Now().Before(ex.principal.ExpiresAt) {
			return nil, fault.New(fault.Unauthenticated, "The access token has expired.")
		}
	} else if active, err := g.cfg.Grants.GrantActive(ctx, ex.tenant.ID, ex.principal.Grant); err != nil {
		return nil, err
	} else if !active {
		return nil, fault.New(fault.Unauthenticated, "The access was revoked.")
	}
	if g.cfg.Tenants != nil {
		t, err := g.cfg.Tenants.TenantBySlug(ctx, ex.tenant.Slug)
		if err != nil {
			return nil, err
		}
		if t.Suspended || t.ID != ex.tenant.ID {
			return nil, fault.New(fault.NotFound, "There is no such tenant.")
		}
	}
	access, err := g.cfg.People.Access(ctx, ex.tenant.ID, ex.principal.User)
	if err != nil {
		return nil, err
	}
	if access.User.Disabled {
		return nil, fault.New(fault.RoleNotAllowed, "This account is closed.")
	}
	h, err := g.cfg.Registry.Hosted(ctx, ex.tenant.ID, ex.hosted.Server.Slug)
	if err != nil {
		return nil, err
	}
	if h.Server.ID != ex.hosted.Server.ID {
		return nil, fault.New(fault.NotFound, "There is no such server.")
	}
	return &exchange{tenant: ex.tenant, hosted: h, principal: ex.principal, session: ex.session, traceparent: ex.traceparent, info: ex.info}, nil
}

// mayRead reports whether a caller could read a resource now.
func (g *Gateway) mayRead(ctx context.Context, ex *exchange, uri string) bool {
	r := resourceAt(&ex.hosted.Revision.Definition, uri)
	if r == nil {
		return false
	}
	hidden, _, err := g.hidden(ctx, ex)
	return err == nil && !hidden(r.Scope)
}

// resourceUpdated notes that a resource has changed at the upstream, if the
// listener subscribed to it or to what it is below of.
func (l *listener) resourceUpdated(uri string) {
	l.mu.Lock()
	subscribed := l.uris[uri]
	for of := range l.uris {
		subscribed = subscribed || strings.HasPrefix(uri, strings.TrimSuffix(of, "/")+"/")
	}
	if subscribed && (len(l.updated) < maxUpdated || l.updated[uri]) {
		l.updated[uri] = true
	}
	l.mu.Unlock()
	if subscribed {
		l.wake()
	}
}

// sawList is a middleware: a session that lists has seen what is there now, and
// is told of what changes from then on.
func (g *Gateway) sawList(next mcp.MethodHandler) mcp.MethodHandler {
	of := map[string][]int{"tools/list": {toolList}, "resources/list": {resourceList}, "prompts/list": {promptList}}
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		which := of[method]
		if which == nil || req.GetExtra() == nil {
			return next(ctx, method, req)
		}
		ex := exchangeOf(req.GetExtra().TokenInfo)
		if ex == nil || ex.session == "" {
			return next(ctx, method, req)
		}
		now, seeErr := g.see(ctx, ex) // before: what changes in between is told once too often, not once too rarely
		res, err := next(ctx, method, req)
		if n := g.sessions.find(ex.session); err == nil && seeErr == nil && n != nil && n.owner == ex.info.UserID {
			n.mu.Lock()
			l := n.listener
			n.mu.Unlock()
			if l != nil {
				l.mu.Lock()
				for _, i := range which {
					l.told[i] = now[i]
				}
				l.mu.Unlock()
			}
		}
		return res, err
	}
}

// Drain ends what would otherwise keep the edge from stopping: streams on which
// clients listen, and sessions, which are of no use without their edge. What runs
// is finished. It does not wait.
func (g *Gateway) Drain() {
	g.sessions.mu.Lock()
	g.sessions.ending = true
	g.sessions.mu.Unlock()
	g.listeners.mu.Lock()
	var listening []*listener
	for _, ls := range g.listeners.all {
		for l := range ls {
			listening = append(listening, l)
		}
	}
	g.listeners.mu.Unlock()
	for _, l := range listening {
		if l.apart {
			l.lost() // its result is sent, which says that it has ended
		}
	}
	g.sessions.each(func(n *session) { go n.end() })
	g.upstreams.end()
}
