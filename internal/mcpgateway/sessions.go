package mcpgateway

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
)

// Sessions are of legacy clients: those that sent initialize. Each lives on the
// edge that made it (decision 24) and belongs to one person at one server. This
// file keeps what the SDK does not: how many there are, when they were last
// used, which streams they have open, and who listens.

const (
	// sessionIdle is how long a session may have no request and no stream.
	sessionIdle = 30 * time.Minute
	// maxSessions bounds the sessions of one person on an edge. When there are as
	// many, the one that was not used for longest goes.
	maxSessions = 64
)

// session is one legacy session, of either transport.
type session struct {
	id    string
	owner string // the SDK's user id: tenant, server and person
	of    personKey
	began time.Time

	mu       sync.Mutex
	ex       *exchange // of its last request
	sdk      *mcp.ServerSession
	listener *listener
	open     int // requests and streams
	calls    int // of these, what is not a stream: they are answered before it ends
	ending   bool
	used     time.Time
	idle     *time.Timer
	streams  map[string]*openStream // by the SDK's id of the stream
	closed   bool
	sse      *sseConn // nil where the transport is the newer one
}

// openStream is a stream of a session that a client reads.
type openStream struct {
	end  context.CancelFunc // ends the request
	cut  func()             // ends a write that waits
	done chan struct{}      // closed when the request is over
}

// sessions are those of this edge.
type sessions struct {
	mu     sync.Mutex
	all    map[string]*session
	of     map[personKey]map[*session]bool
	ending bool // no further ones: the edge stops
}

func newSessions() *sessions {
	return &sessions{all: map[string]*session{}, of: map[personKey]map[*session]bool{}}
}

// begin registers a session. It makes room by ending one that nobody uses.
func (s *sessions) begin(id string, ex *exchange) (*session, error) {
	n := &session{id: id, owner: ex.info.UserID, of: ex.person(), ex: ex, began: time.Now(), used: time.Now(), streams: map[string]*openStream{}}
	s.mu.Lock()
	if s.ending {
		s.mu.Unlock()
		return nil, errEnding
	}
	mine := s.of[n.of]
	var oldest *session
	if len(mine) >= maxSessions {
		if oldest = leastUsed(mine); oldest == nil {
			s.mu.Unlock()
			return nil, tooManySessions()
		}
		s.remove(oldest)
	}
	if s.of[n.of] == nil {
		s.of[n.of] = map[*session]bool{}
	}
	s.of[n.of][n] = true
	s.all[id] = n
	s.mu.Unlock()
	if oldest != nil {
		go oldest.end() // which waits for what runs in it
	}
	n.mu.Lock()
	n.idle = time.AfterFunc(sessionIdle, n.endIfIdle)
	n.mu.Unlock()
	return n, nil
}

// leastUsed is the session without requests whose last one is longest ago.
func leastUsed(of map[*session]bool) (oldest *session) {
	var at time.Time
	for s := range of {
		s.mu.Lock()
		used, open := s.used, s.open
		s.mu.Unlock()
		if open == 0 && (oldest == nil || used.Before(at)) {
			oldest, at = s, used
		}
	}
	return oldest
}

// room says why a person cannot begin one more session: nil if they can.
func (s *sessions) room(p personKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return errEnding
	}
	if len(s.of[p]) >= maxSessions && leastUsed(s.of[p]) == nil {
		return tooManySessions()
	}
	return nil
}

func (s *sessions) isEnding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

var errEnding = fault.New(fault.Busy, "This part of the platform is stopping. Connect again: another one takes over.").After(time.Second)

func tooManySessions() error {
	return fault.New(fault.LimitReached, "You have %d sessions in use here, which is as many as one person may have. End apps that you do not use.", maxSessions).After(time.Minute)
}

func (s *sessions) find(id string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[id]
}

// forget is called when the SDK has closed a session.
func (s *sessions) forget(id string) {
	s.mu.Lock()
	n := s.all[id]
	if n != nil {
		s.remove(n)
	}
	s.mu.Unlock()
	if n != nil {
		n.over()
	}
}

func (s *sessions) remove(n *session) {
	delete(s.all, n.id)
	delete(s.of[n.of], n)
	if len(s.of[n.of]) == 0 {
		delete(s.of, n.of)
	}
}

// each calls f for every session.
func (s *sessions) each(f func(*session)) {
	s.mu.Lock()
	all := make([]*session, 0, len(s.all))
	for _, n := range s.all {
		all = append(all, n)
	}
	s.mu.Unlock()
	for _, n := range all {
		f(n)
	}
}

// enter is called for each request of a session; leave when it is over. stream
// holds of a GET.
func (n *session) enter(ex *exchange, stream bool) (leave func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open++
	if !stream {
		n.calls++
	}
	n.ex, n.used = ex, time.Now()
	if n.idle != nil {
		n.idle.Stop()
	}
	return sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.open--
		if !stream {
			n.calls--
		}
		if n.ending && n.calls == 0 {
			go n.end()
		}
		n.used = time.Now()
		if n.open == 0 && n.idle != nil && !n.closed {
			n.idle.Reset(sessionIdle)
		}
	})
}

// exchange is that of the session's last request: who it is for, and with what
// token they came last.
func (n *session) exchange() *exchange {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ex
}

// connected says which session of the SDK it is.
func (n *session) connected(s *mcp.ServerSession) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sdk = s
}

func (n *session) endIfIdle() {
	n.mu.Lock()
	busy := n.open > 0 || n.closed
	n.mu.Unlock()
	if !busy {
		n.end()
	}
}

// end closes the session when what runs in it has been answered. The SDK's Close
// by itself is no such end: what a call that runs answers after it is not sent.
func (n *session) end() {
	n.mu.Lock()
	sdk, sse := n.sdk, n.sse
	n.ending = true
	wait := sse == nil && n.calls > 0
	n.mu.Unlock()
	switch {
	case sse != nil:
		sse.drain()
	case wait: // the last to leave ends it
	case sdk != nil:
		sdk.Close()
	}
	if !wait {
		n.over()
	}
}

// over ends what hangs on a session that has ended.
func (n *session) over() {
	n.mu.Lock()
	n.closed = true
	if n.idle != nil {
		n.idle.Stop()
	}
	l := n.listener
	n.mu.Unlock()
	if l != nil {
		l.close()
	}
}

// endStreams ends the streams that the client reads. The session goes on, unless
// it is its stream.
func (n *session) endStreams() {
	n.mu.Lock()
	sse := n.sse
	open := make([]*openStream, 0, len(n.streams))
	for _, s := range n.streams {
		open = append(open, s)
	}
	n.mu.Unlock()
	for _, s := range open {
		s.end()
	}
	if sse != nil {
		sse.cut()
	}
}

// claim makes a stream the client's only reader of that id. A client that lost
// its connection comes back before this edge has noticed: the earlier reader
// goes, so that the SDK does not refuse the new one.
func (n *session) claim(ctx context.Context, id string, s *openStream) {
	n.mu.Lock()
	earlier := n.streams[id]
	n.streams[id] = s
	n.mu.Unlock()
	if earlier == nil {
		return
	}
	earlier.end()
	earlier.cut()
	select {
	case <-earlier.done:
	case <-ctx.Done():
	case <-time.After(5 * time.Second):
	}
}

func (n *session) release(id string, s *openStream) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.streams[id] == s {
		delete(n.streams, id)
	}
}

// streamOf is the stream that an event's id is of: see the SDK's formatEventID.
func streamOf(event string) string {
	stream, _, _ := strings.Cut(event, "_")
	return stream
}

// opened is called by the SDK when it makes a session, through the replay store.
func (g *Gateway) opened(ctx context.Context, id string) error {
	ex := exchangeOf(auth.TokenInfoFromContext(ctx))
	if ex == nil {
		return errNoSession
	}
	n, err := g.sessions.begin(id, ex)
	if err == nil {
		g.attachListener(n)
	}
	return err
}

// serveSession answers a request of a session, or one that begins one.
func (g *Gateway) serveSession(w http.ResponseWriter, r *http.Request, ex *exchange) {
	if ex.session == "" {
		if err := g.sessions.room(ex.person()); err != nil {
			g.refuseHTTP(w, r, err, "")
			return
		}
		g.serveSDK(w, r, ex, g.stateful, nil)
		return
	}
	n := g.sessions.find(ex.session)
	if n == nil {
		g.elsewhere(w, r, ex.session)
		return
	}
	if n.owner != ex.info.UserID { // somebody else's answers as none
		g.refuseHTTP(w, r, errNoSession, "")
		return
	}
	defer n.enter(ex, r.Method == http.MethodGet)()
	if r.Method == http.MethodGet {
		release, ok := g.streams.take(ex.person())
		if !ok {
			g.refuseHTTP(w, r, tooManyStreams(), "")
			return
		}
		defer release()
	}
	g.serveSDK(w, r, ex, g.stateful, n)
}

// serveSDK has the SDK answer, on a stream that is kept alive. n is the session
// that the request is of, or nil.
func (g *Gateway) serveSDK(w http.ResponseWriter, r *http.Request, ex *exchange, handler http.Handler, n *session) {
	a := newAnswer(&shaper{ResponseWriter: w, ex: ex, gateway: g}, g.cfg.KeepAlive)
	ex.answer = a
	defer a.end()
	if n == nil {
		ex.carry(handler).ServeHTTP(a, r)
		return
	}
	ctx, end := context.WithCancel(r.Context())
	defer end()
	s := &openStream{end: end, cut: a.cut, done: make(chan struct{})}
	defer close(s.done)
	if r.Method == http.MethodGet {
		id := streamOf(r.Header.Get("Last-Event-ID"))
		n.claim(ctx, id, s)
		defer n.release(id, s)
		if id == "" {
			n.listens()
		}
		ctx = &hangs{Context: ctx, then: a.open}
	} else {
		a.named = func(event string) { // the stream can be read on with a GET
			id := streamOf(event)
			n.mu.Lock()
			defer n.mu.Unlock()
			n.streams[id] = s
		}
		defer func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			for id, open := range n.streams {
				if open == s {
					delete(n.streams, id)
				}
			}
		}()
	}
	ex.carry(handler).ServeHTTP(a, r.WithContext(ctx))
}

// began is a middleware: a request's handler runs, which says which session of
// the SDK it is of, and that the form of its answer is known.
func (g *Gateway) began(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		extra := req.GetExtra()
		if extra == nil {
			return next(ctx, method, req)
		}
		if ex := exchangeOf(extra.TokenInfo); ex != nil && ex.answer != nil && !strings.HasPrefix(method, "notifications/") {
			ex.answer.began()
		}
		if s, ok := req.GetSession().(*mcp.ServerSession); ok && method == "initialize" {
			if n := g.sessions.find(s.ID()); n != nil {
				n.connected(s)
			}
		}
		return next(ctx, method, req)
	}
}

// hangs is the context of a GET. The SDK asks for its end when it has chosen the
// form of the answer and begins to wait; it sends the headers with the first
// event only, which may be a long time off. It asks in the request's goroutine.
type hangs struct {
	context.Context
	once sync.Once
	then func()
}

func (h *hangs) Done() <-chan struct{} {
	h.once.Do(h.then)
	return h.Context.Done()
}
