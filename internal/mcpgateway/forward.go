package mcpgateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// What lives in the memory of one edge has that edge's name in its own. A
// request for it that reaches another edge is passed on, once: the edge that
// gets it checks the bearer again, and answers for what it does not have.
// Decision 24 says why.

// Forwarder is the Peers of an edge whose others are reached over HTTP.
type Forwarder struct {
	edge      string
	directory Directory
	transport http.RoundTripper
}

// Directory says where other edges take requests: scheme and host. One that is
// gone is unknown. What it gives must never come from a caller.
type Directory interface {
	Peer(ctx context.Context, edge string) (base string, ok bool)
}

// NewForwarder makes the Peers of the edge of that name.
func NewForwarder(edge string, d Directory) *Forwarder {
	return &Forwarder{edge, d, peerTransport()}
}

// hopHeader is on a request that was passed on already. Who sends it from
// outside only keeps an edge from passing theirs on.
const hopHeader = "Latchkey-Forwarded"

// peerTransport is for connections between edges: many short requests and some
// streams to few hosts. An edge that does not take a connection within two
// seconds counts as gone.
func peerTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 2 * time.Second,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true, // what comes is passed on as it is
	}
}

// Forward passes a request on to another edge and answers with what that one
// does. It reports false, with nothing written, where that edge is this one, is
// not there, or the request was passed on before. What was read of its body must
// have been put back.
func (f *Forwarder) Forward(w http.ResponseWriter, r *http.Request, edge string) (answered bool) {
	if edge == "" || edge == f.edge || r.Header.Get(hopHeader) != "" {
		return false
	}
	base, ok := f.directory.Peer(r.Context(), edge)
	if !ok {
		return false
	}
	peer, err := url.Parse(base)
	if err != nil {
		return false
	}
	asked, err := url.ParseRequestURI(r.RequestURI) // r.URL is cut to the tenant's own
	if err != nil {
		return false
	}
	answered = true
	proxy := httputil.ReverseProxy{
		Transport: f.transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL = &url.URL{Scheme: peer.Scheme, Host: peer.Host, Path: asked.Path, RawPath: asked.RawPath, RawQuery: asked.RawQuery}
			p.Out.Host = p.In.Host // which says the tenant
			p.Out.Header.Set(hopHeader, f.edge)
			if !mayHaveEffects(p.In) {
				// Read by http.Transport, and not sent: it may try again where a
				// connection that it kept turns out to be dead.
				p.Out.Header["Idempotency-Key"] = []string{}
			}
			if from := p.In.Header["X-Forwarded-For"]; from != nil {
				p.Out.Header["X-Forwarded-For"] = from
			}
		},
		ModifyResponse: func(res *http.Response) error {
			for name := range res.Header { // such as those of CORS: both edges set them
				w.Header().Del(name)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			switch {
			case r.Context().Err() != nil: // nobody waits any more
			case neverSent(err):
				answered = false
			default:
				writeRPCError(w, http.StatusServiceUnavailable, jsonrpc.CodeInternalError, failureOf(errPeerLost, ""))
			}
		},
	}
	proxy.ServeHTTP(w, r)
	return answered
}

// mayHaveEffects holds of requests that must not be sent twice.
func mayHaveEffects(r *http.Request) bool {
	if r.Method != http.MethodPost || r.GetBody == nil {
		return r.Method == http.MethodPost
	}
	body, err := r.GetBody()
	if err != nil {
		return true
	}
	defer body.Close()
	all, err := io.ReadAll(body)
	return err != nil || bytes.Contains(all, []byte("tools/call")) || bytes.IndexByte(all, '\\') >= 0 // which may hide it
}

// neverSent holds where no connection was made.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

var errPeerLost = fault.New(fault.OutcomeUnknown, "The part of the platform that has this session was lost before it answered. Look first whether what you asked for happened; then start a new session.")

// maxEdgeName bounds the name of an edge, in bytes.
const maxEdgeName = 40

// edgeOf is the edge that made an id, or empty.
func edgeOf(id string) string {
	edge, _, ok := strings.Cut(id, ".")
	if !ok || len(edge) > maxEdgeName || strings.Trim(edge, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return ""
	}
	return edge
}

// newID names something that lives in this edge's memory.
func (g *Gateway) newID(prefix string) string { return g.cfg.Edge + "." + tenants.RandomID(prefix) }

// elsewhere answers a request of a session that lives, or lived, on another
// edge. What is not found anywhere is answered with the 404 upon which a client
// starts anew (MCP 2025-11-25, Streamable HTTP, "Session Management").
func (g *Gateway) elsewhere(w http.ResponseWriter, r *http.Request, session string) {
	if edge := edgeOf(session); edge == g.cfg.Edge || !g.cfg.Peers.Forward(w, r, edge) {
		g.refuseHTTP(w, r, errNoSession, "")
	}
}

var errNoSession = fault.New(fault.NotFound, "This session has ended. Start a new one.").Because(errSessionEnded)

var errSessionEnded = errors.New("session not found")
