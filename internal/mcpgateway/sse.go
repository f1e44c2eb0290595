package mcpgateway

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
)

// The transport of 2024-11-05, HTTP+SSE: a GET opens a stream whose first event
// says where to POST messages, and everything that the server says comes on that
// stream. A session ends with its stream.
//
// The SDK's SSEServerTransport is not used: it hands no identity to handlers,
// writes to a slow reader while it holds a lock that every call needs, and its
// handler knows neither bearers nor bounds. What is here is its two queues.

const (
	ssePath = "/sse/"
	mcpPath = "/mcp/"

	sseSessionParam = "sessionId"
	// sseQueue bounds what waits to be read by a client, in bytes. One that reads
	// too slowly is cut: it cannot be told apart from one that is gone.
	sseQueue = 16 << 20
	// sseIncoming bounds messages that wait to be taken up.
	sseIncoming = 64
)

// ServeSSE answers {base}/sse/{server}. A token for {base}/mcp/{server} is one
// for this too: the two are ways to the same server, and its identifier is the
// first. See decision 24.
func (g *Gateway) ServeSSE(w http.ResponseWriter, r *http.Request, slug string) {
	ex, _, ok := g.admit(w, r, slug, ssePath)
	if !ok {
		return
	}
	switch {
	case r.Method == http.MethodGet:
		g.openSSE(w, r, ex)
	case r.Method == http.MethodPost && r.URL.Query().Has(sseSessionParam):
		g.postSSE(w, r, ex, r.URL.Query().Get(sseSessionParam))
	default:
		// Clients that try the newer transport first read this and come back with
		// GET (MCP 2025-03-26, Transports, "Backwards Compatibility").
		w.Header().Set("Allow", "GET, OPTIONS")
		http.Error(w, "Method Not Allowed: this is the older HTTP+SSE transport, which begins with a GET. The newer one is at "+g.cfg.Sites.Resource(ex.tenant.Slug, ex.hosted.Server.Slug)+".", http.StatusMethodNotAllowed)
	}
}

// openSSE serves one session on one stream.
func (g *Gateway) openSSE(w http.ResponseWriter, r *http.Request, ex *exchange) {
	release, ok := g.streams.take(ex.person())
	if !ok {
		g.refuseHTTP(w, r, tooManyStreams(), "")
		return
	}
	defer release()
	id := g.newID("ss")
	ex.session = id
	n, err := g.sessions.begin(id, ex)
	if err != nil {
		g.refuseHTTP(w, r, err, "")
		return
	}
	defer g.sessions.forget(id)
	defer n.enter(ex, true)()

	c := &sseConn{id: id, incoming: make(chan jsonrpc.Message, sseIncoming), done: make(chan struct{}), ready: make(chan struct{}, 1)}
	n.mu.Lock()
	n.sse = c
	n.mu.Unlock()
	g.attachListener(n)
	// Before its address is told: a message that came before the SDK knows what
	// this transport speaks would be offered a revision that has no such transport.
	s, err := g.servers.get(ex.hosted).Connect(r.Context(), c, nil)
	if err != nil {
		g.refuseHTTP(w, r, err, "")
		return
	}
	// What still runs at the end has nobody to answer to: the end of the
	// connection cancels it.
	defer s.Close()
	defer c.cut()
	n.connected(s)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	a := newAnswer(w, g.cfg.KeepAlive)
	defer a.end()
	if writeSSE(a, "endpoint", []byte(g.sseEndpoint(ex, id))) {
		n.listens()
		c.writeTo(r.Context(), a)
	}
}

// sseEndpoint is where a session's messages go. Some clients take the path and
// put it after a host of their own, so that it is never relative to the stream's.
func (g *Gateway) sseEndpoint(ex *exchange, id string) string {
	u, err := url.Parse(g.cfg.Sites.Base(ex.tenant.Slug))
	if err != nil {
		u = &url.URL{}
	}
	return u.Path + ssePath + ex.hosted.Server.Slug + "?" + sseSessionParam + "=" + url.QueryEscape(id)
}

// postSSE takes one message of a session.
func (g *Gateway) postSSE(w http.ResponseWriter, r *http.Request, ex *exchange, id string) {
	n := g.sessions.find(id)
	if n == nil {
		g.elsewhere(w, r, id)
		return
	}
	n.mu.Lock()
	c := n.sse
	n.mu.Unlock()
	if c == nil || n.owner != ex.info.UserID {
		g.refuseHTTP(w, r, errNoSession, "")
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		http.Error(w, "Content-Type must be application/json.", http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(r.Body) // admit has bounded it
	if err != nil {
		g.refuseHTTP(w, r, err, "")
		return
	}
	msg, err := jsonrpc.DecodeMessage(body)
	if err != nil {
		g.refuseHTTP(w, r, fault.New(fault.InvalidRequest, "The body is not a JSON-RPC message.").Because(errParse), "")
		return
	}
	ex.session = id
	defer n.enter(ex, false)()
	if call, ok := msg.(*jsonrpc.Request); ok {
		call.Extra = &mcp.RequestExtra{TokenInfo: ex.info, Header: r.Header}
	}
	if err := c.take(r.Context(), msg); err != nil {
		g.refuseHTTP(w, r, err, "")
		return
	}
	w.WriteHeader(http.StatusAccepted)
	io.WriteString(w, "Accepted")
}

// sseConn is the mcp.Transport and the mcp.Connection of one session.
type sseConn struct {
	id       string
	incoming chan jsonrpc.Message
	done     chan struct{} // closed when it is over
	ready    chan struct{} // something waits in queue

	mu      sync.Mutex
	closed  bool
	waiting int  // calls that were taken and are not answered
	last    bool // it ends when none is left
	queue   [][]byte
	bytes   int
}

func (c *sseConn) Connect(context.Context) (mcp.Connection, error) { return c, nil }

// SupportsProtocolVersion leaves out the revisions that have no such transport.
func (c *sseConn) SupportsProtocolVersion(version string) bool { return version < modern }

func (c *sseConn) SessionID() string { return c.id }

// take gives a message to the session, if it takes one up in a while.
func (c *sseConn) take(ctx context.Context, msg jsonrpc.Message) error {
	wait := time.NewTimer(10 * time.Second)
	defer wait.Stop()
	select {
	case <-c.done:
		return errNoSession
	default:
	}
	call, ok := msg.(*jsonrpc.Request)
	if ok = ok && call.IsCall(); ok {
		if !c.begin() {
			return errEnding
		}
	}
	select {
	case c.incoming <- msg:
		return nil
	case <-c.done:
		return errNoSession
	case <-ctx.Done():
		c.answered(ok)
		return fault.New(fault.Cancelled, "The request was cancelled.")
	case <-wait.C:
		c.answered(ok)
		return fault.New(fault.Busy, "This session has more messages waiting than it can take. Wait for answers before you send more.").After(5 * time.Second)
	}
}

func (c *sseConn) Read(ctx context.Context) (jsonrpc.Message, error) {
	select {
	case <-c.done: // first: what comes after the end is not begun
		return nil, io.EOF
	default:
	}
	select {
	case msg := <-c.incoming:
		return msg, nil
	case <-c.done:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errSlowReader = errors.New("the client does not read what it is sent")

// Write queues a message. It never waits.
func (c *sseConn) Write(_ context.Context, msg jsonrpc.Message) error {
	data, err := jsonrpc.EncodeMessage(msg)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return io.EOF
	}
	if len(c.queue) > 0 && c.bytes+len(data) > sseQueue {
		c.end(false)
		return errSlowReader
	}
	c.queue = append(c.queue, data)
	c.bytes += len(data)
	select {
	case c.ready <- struct{}{}:
	default:
	}
	if _, ok := msg.(*jsonrpc.Response); ok {
		c.less()
	}
	return nil
}

// begin counts a call that is to be answered, unless the session is about to end.
func (c *sseConn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last {
		return false
	}
	c.waiting++
	return true
}

func (c *sseConn) answered(call bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call {
		c.less()
	}
}

func (c *sseConn) less() {
	c.waiting--
	if c.last && c.waiting <= 0 {
		c.end(true)
	}
}

// drain ends the session when what it was asked has been answered.
func (c *sseConn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last = true; c.waiting <= 0 {
		c.end(true)
	}
}

// Close ends the session. What is queued is still sent.
func (c *sseConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(true)
	return nil
}

// cut ends the session at once.
func (c *sseConn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(false)
}

func (c *sseConn) end(flush bool) {
	if !flush {
		c.queue, c.bytes = nil, 0
	}
	if !c.closed {
		c.closed = true
		close(c.done)
	}
}

// writeTo sends what is queued until the session or the request ends.
func (c *sseConn) writeTo(ctx context.Context, w http.ResponseWriter) {
	for ctx.Err() == nil {
		data, over := c.next()
		switch {
		case data != nil:
			if !writeSSE(w, "message", data) {
				return
			}
		case over:
			return
		default:
			select {
			case <-c.ready:
			case <-c.done:
			case <-ctx.Done():
			}
		}
	}
}

// next takes what is first in the queue. over: nothing is, and nothing will be.
func (c *sseConn) next() (data []byte, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil, c.closed
	}
	data = c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	c.bytes -= len(data)
	return data, false
}

// writeSSE sends one event. JSON of one line needs no more than this.
func writeSSE(w http.ResponseWriter, event string, data []byte) bool {
	b := make([]byte, 0, len(data)+32)
	b = append(append(b, "event: "...), event...)
	b = append(append(append(b, "\ndata: "...), data...), "\n\n"...)
	if _, err := w.Write(b); err != nil {
		return false
	}
	return http.NewResponseController(w).Flush() == nil
}

var (
	_ mcp.Transport                = (*sseConn)(nil)
	_ mcp.Connection               = (*sseConn)(nil)
	_ mcp.ProtocolVersionSupporter = (*sseConn)(nil)
)
