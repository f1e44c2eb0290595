package mcpgateway

import (
	"context"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// Subscriptions come as subscriptions/listen of the newest revision and as
// resources/subscribe of sessions. Either is a step into a resource: it needs
// what reading it needs, counts as a call, and is on record.

const (
	listenMethod      = "subscriptions/listen"
	subscribeOp       = runtime.Op("resources/subscribe")
	acknowledgeMethod = "notifications/subscriptions/acknowledged"
)

type listenerKey struct{}

// listen is a receiving middleware around the SDK's subscriptions/listen, which
// acknowledges and then waits. What is to be said meanwhile is ours.
func (g *Gateway) listen(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		asked, ok := req.(*mcp.SubscriptionsListenRequest)
		if method != listenMethod || !ok || asked.Params == nil || asked.Params.Notifications == nil {
			return next(ctx, method, req)
		}
		ex := exchangeOf(asked.Extra.TokenInfo)
		release, ok := g.streams.take(ex.person())
		if !ok {
			return nil, rpcError(fault.Of(tooManyStreams()), "")
		}
		defer release()
		want := *asked.Params.Notifications
		if len(want.ResourceSubscriptions) > maxSubscriptions {
			return nil, rpcError(tooManySubscriptions(), "")
		}
		want.ResourceSubscriptions = g.readable(ctx, ex, asked)
		params := *asked.Params
		params.Notifications = &want

		ctx, end := context.WithCancel(ctx)
		defer end()
		l := g.newListener(&listener{tenant: ex.tenant.ID, exchange: func() *exchange { return ex }, sdk: func() *mcp.ServerSession { return asked.Session }, lost: end, apart: true})
		defer l.close()
		if g.sessions.isEnding() { // whoever ends the others may not have seen this one
			return nil, rpcError(errEnding, "")
		}
		for _, uri := range want.ResourceSubscriptions {
			l.uris[uri] = true
		}
		var err error
		if l.told, err = g.see(ctx, ex); err != nil {
			return nil, err
		}
		return next(context.WithValue(ctx, listenerKey{}, l), method,
			&mcp.SubscriptionsListenRequest{Session: asked.Session, Params: &params, Extra: asked.Extra})
	}
}

// readable are the resources of those asked for that the caller may subscribe
// to. The acknowledgement has these and no others: it says what was agreed to.
func (g *Gateway) readable(ctx context.Context, ex *exchange, req *mcp.SubscriptionsListenRequest) (uris []string) {
	if !ex.hosted.Revision.Definition.Subscribe {
		return nil
	}
	for _, uri := range req.Params.Notifications.ResourceSubscriptions {
		if slices.Contains(uris, uri) || ctx.Err() != nil {
			continue
		}
		counts := g.spend
		if len(uris) > 0 { // it is one request
			counts = func(context.Context, *call) (func(), error) { return func() {}, nil }
		}
		if g.subscribe(ctx, ex, uri, traceparent(req.Params.Meta, ex), counts) == nil {
			uris = append(uris, uri)
		}
	}
	ex.missing.Store(nil) // the rest is listened to without it
	return uris
}

// acknowledged is a sending middleware: the SDK says on which subscription it
// has agreed to what, and from then on the listener speaks.
func acknowledged(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		l, ok := ctx.Value(listenerKey{}).(*listener)
		ack, is := req.GetParams().(*mcp.SubscriptionsAcknowledgedParams)
		if !ok || !is || method != acknowledgeMethod {
			return next(ctx, method, req)
		}
		res, err := next(ctx, method, req)
		if err != nil {
			return res, err
		}
		l.mu.Lock()
		l.subscription = ack.Meta[mcp.MetaKeySubscriptionID]
		l.wants = [lists]bool{ack.Notifications.ToolsListChanged, ack.Notifications.ResourcesListChanged, ack.Notifications.PromptsListChanged}
		l.mu.Unlock()
		l.g.upstreams.follow(l, l.exchange())
		l.begin()
		return res, nil
	}
}

// subscribe takes a subscription through the steps that a read takes, but for a
// worker.
func (g *Gateway) subscribe(ctx context.Context, ex *exchange, uri, trace string, spend func(context.Context, *call) (func(), error)) error {
	if err := boundedURI(uri); err != nil {
		return rpcError(fault.Of(err), "")
	}
	r := resourceAt(&ex.hosted.Revision.Definition, uri)
	if r == nil {
		return mcp.ResourceNotFoundError(uri)
	}
	c := &call{
		ex: ex, id: newCallID(), op: subscribeOp, name: uri, scope: r.Scope, hash: r.Hash, risk: registry.Reads,
		revision: ex.hosted.Revision, timeout: defaultTimeout, began: time.Now(), trace: trace,
	}
	err := g.allow(ctx, c)
	if err == nil {
		var release func()
		if release, err = spend(ctx, c); err == nil {
			release()
		}
	}
	if err != nil {
		return rpcError(fault.Of(g.recordRefusal(ctx, c, err)), c.id)
	}
	if err := g.add(ctx, c.event(audit.Outcome, audit.Done)); err != nil {
		return rpcError(fault.Of(err), c.id)
	}
	return nil
}

func tooManySubscriptions() *fault.Error {
	return fault.New(fault.LimitReached, "One session may subscribe to %d resources. Unsubscribe from some first.", maxSubscriptions)
}

// onSubscribe answers resources/subscribe of a session. The SDK calls it for
// each resource of a subscriptions/listen too, which was looked at before.
func (g *Gateway) onSubscribe(ctx context.Context, req *mcp.SubscribeRequest) error {
	if _, ok := ctx.Value(listenerKey{}).(*listener); ok {
		return nil
	}
	l, ex := g.listenerOf(req.Extra)
	if l == nil {
		return rpcError(fault.New(fault.InvalidRequest, "Subscriptions need a session: begin one with initialize."), "")
	}
	uri := req.Params.URI
	l.mu.Lock()
	full := len(l.uris) >= maxSubscriptions && !l.uris[uri]
	l.mu.Unlock()
	if full {
		return rpcError(tooManySubscriptions(), "")
	}
	if err := g.subscribe(ctx, ex, uri, traceparent(req.Params.Meta, ex), g.spend); err != nil {
		return err
	}
	l.mu.Lock()
	l.uris[uri] = true
	l.mu.Unlock()
	g.upstreams.follow(l, ex)
	return nil
}

func (g *Gateway) onUnsubscribe(_ context.Context, req *mcp.UnsubscribeRequest) error {
	l, ex := g.listenerOf(req.Extra)
	if l == nil { // of a subscriptions/listen, which ends as a whole
		return nil
	}
	l.mu.Lock()
	delete(l.uris, req.Params.URI)
	delete(l.updated, req.Params.URI)
	l.mu.Unlock()
	g.upstreams.follow(l, ex)
	return nil
}

// listenerOf is that of the session which a request came in.
func (g *Gateway) listenerOf(extra *mcp.RequestExtra) (*listener, *exchange) {
	if extra == nil {
		return nil, nil
	}
	ex := exchangeOf(extra.TokenInfo)
	if ex == nil || ex.session == "" {
		return nil, ex
	}
	n := g.sessions.find(ex.session)
	if n == nil || n.owner != ex.info.UserID {
		return nil, ex
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.listener, ex
}
