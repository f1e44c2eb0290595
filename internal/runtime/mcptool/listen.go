package mcptool

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

const (
	maxListened = 1000 // resources of one listener
	listenAgain = time.Second
	listenMost  = time.Minute
)

// watcher hears what an upstream says of itself.
type watcher struct {
	lists bool
	uris  []string
	tell  func(runtime.Notification)
}

// watched tells those who listen.
func (s *Session) watched(n runtime.Notification, uri string) {
	s.mu.Lock()
	var all []*watcher
	for w := range s.watchers {
		if uri == "" && w.lists || uri != "" && slices.Contains(w.uris, uri) {
			all = append(all, w)
		}
	}
	s.mu.Unlock()
	for _, w := range all {
		w.tell(n)
	}
}

// watchLists keeps a stream open on which an upstream of the new era says that
// its lists changed, as long as the session lives. One of the old era says it by
// itself.
func (s *Session) watchLists() {
	want := s.listChanges()
	if !s.modern() || want == nil {
		return
	}
	go func() {
		for wait := listenAgain; s.Err() == nil; wait = min(2*wait, listenMost) {
			began := time.Now()
			s.hearLists(want)
			if time.Since(began) > listenMost {
				wait = listenAgain
			}
			s.offer.outdated() // who knows what was not heard
			select {
			case <-time.After(wait):
			case <-s.broken:
			}
		}
	}()
}

// hearLists keeps one stream open until it or the session ends.
func (s *Session) hearLists(want *mcp.NotificationSubscriptions) {
	r := &Running{id: "lists", call: &runtime.Call{Op: runtime.Listen}, env: nobody, session: s, ended: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancelCause(context.WithValue(s.life, runningKey{}, r))
	defer r.cancel(nil)
	// The SDK says nothing of how this went: the transport tells when the stream
	// has ended, or did not begin.
	_ = s.stream(r.ctx, want)
	select {
	case <-r.ended:
	case <-s.broken:
	}
}

// listChanges are those that the upstream says it announces, nil for none.
func (s *Session) listChanges() *mcp.NotificationSubscriptions {
	c := s.cs.InitializeResult().Capabilities
	if c == nil {
		return nil
	}
	n := &mcp.NotificationSubscriptions{
		ToolsListChanged:     c.Tools != nil && c.Tools.ListChanged,
		PromptsListChanged:   c.Prompts != nil && c.Prompts.ListChanged,
		ResourcesListChanged: c.Resources != nil && c.Resources.ListChanged,
	}
	if !n.ToolsListChanged && !n.PromptsListChanged && !n.ResourcesListChanged {
		return nil
	}
	return n
}

// stream opens a stream of notifications that lasts as long as ctx.
func (s *Session) stream(ctx context.Context, want *mcp.NotificationSubscriptions) error {
	_, err := mcp.CallCustomMethod[*mcp.SubscriptionsListenParams, *mcp.SubscriptionsListenResult](ctx, s.cs, "subscriptions/listen", &mcp.SubscriptionsListenParams{Notifications: want})
	return err
}

// Listen passes on what the upstream says of itself until the call is cancelled
// or its time is over. After a session broke, listening begins anew, and
// everything that is listened to is said to have changed: nobody knows.
func (in *Instance) Listen(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	var input runtime.ListenInput
	if err := json.Unmarshal(c.Input, &input); err != nil || len(input.Resources) > maxListened {
		return nil, fault.New(fault.InvalidRequest, "Listen to %d resources at most.", maxListened).Because(err)
	}
	w := &watcher{lists: input.Lists, uris: input.Resources, tell: env.Notify}
	health := &runtime.Health{}
	for wait, begun := listenAgain, false; ; {
		began := time.Now()
		_, _, err := run(ctx, in, c, env, func(r *Running) (struct{}, error) {
			health.Era = r.session.Protocol()
			if begun {
				w.everything()
			}
			begun = true
			return struct{}{}, r.listen(w)
		})
		if ctx.Err() != nil {
			return &runtime.Result{Health: health, Rows: -1}, nil
		}
		if !begun {
			return nil, err
		}
		if time.Since(began) > listenMost {
			wait = listenAgain
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, listenMost)
		case <-ctx.Done():
			return &runtime.Result{Health: health, Rows: -1}, nil
		}
	}
}

// everything says of all that is listened to that it changed.
func (w *watcher) everything() {
	if w.lists {
		for _, what := range []string{"tools", "prompts", "resources"} {
			w.tell(runtime.Notification{Method: "notifications/" + what + "/list_changed"})
		}
	}
	for _, uri := range w.uris {
		params, err := json.Marshal(map[string]string{"uri": uri})
		if err == nil {
			w.tell(runtime.Notification{Method: "notifications/resources/updated", Params: params})
		}
	}
}

// listen listens until the call or the session ends.
func (r *Running) listen(w *watcher) error {
	s := r.session
	s.mu.Lock()
	s.watchers[w] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, w)
		s.mu.Unlock()
	}()
	if len(w.uris) > 0 {
		end, err := r.subscribe(w.uris)
		if err != nil {
			return err
		}
		defer end()
	}
	select {
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	case <-s.broken:
		return s.Err()
	case <-r.ended:
		return errEnded
	}
}

// subscribe asks the upstream to say when one of the resources changes.
func (r *Running) subscribe(uris []string) (end func(), err error) {
	s := r.session
	if c := s.cs.InitializeResult().Capabilities; c == nil || c.Resources == nil || !c.Resources.Subscribe {
		return func() {}, nil
	}
	if s.modern() {
		return func() {}, s.stream(r.ctx, &mcp.NotificationSubscriptions{ResourceSubscriptions: uris})
	}
	var done []string
	end = func() { s.unsubscribe(done) }
	for _, uri := range uris {
		s.mu.Lock()
		s.subs[uri]++
		first := s.subs[uri] == 1
		s.mu.Unlock()
		done = append(done, uri)
		if first {
			err := s.aside(r.ctx, func(ctx context.Context) error { return s.cs.Subscribe(ctx, &mcp.SubscribeParams{URI: uri}) })
			if refused := (*answered)(nil); errors.As(err, &refused) {
				continue // the others are listened to all the same
			}
			if err != nil {
				end()
				return nil, err
			}
		}
	}
	return end, nil
}

// unsubscribe takes back what nobody listens to any more.
func (s *Session) unsubscribe(uris []string) {
	ctx, cancel := context.WithTimeout(s.life, closeWait)
	defer cancel()
	for _, uri := range uris {
		s.mu.Lock()
		s.subs[uri]--
		last := s.subs[uri] == 0
		if last {
			delete(s.subs, uri)
		}
		s.mu.Unlock()
		if last && s.Err() == nil && ctx.Err() == nil {
			_ = s.aside(ctx, func(ctx context.Context) error { return s.cs.Unsubscribe(ctx, &mcp.UnsubscribeParams{URI: uri}) })
		}
	}
}
