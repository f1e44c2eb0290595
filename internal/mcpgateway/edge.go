package mcpgateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/site"
)

const (
	maxBody = 1 << 20 // bytes of one request
	modern  = "2026-07-28"
)

// ServeMCP answers {base}/mcp/{server}: when the request is admitted, by the
// transport that its era needs.
func (g *Gateway) ServeMCP(w http.ResponseWriter, r *http.Request, slug string) {
	ex, body, ok := g.admit(w, r, slug, mcpPath)
	if !ok {
		return
	}
	if edge := parkedAt(body); edge != "" && edge != g.cfg.Edge {
		if g.cfg.Peers.Forward(w, r, edge) {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body)) // it is told here that nothing waits
	}
	if d, ok := g.direct(r, ex, body); ok {
		g.serveDirect(&shaper{ResponseWriter: w, ex: ex, gateway: g}, r, d)
		return
	}
	if g.isSession(r, body) {
		g.serveSession(w, r, ex)
		return
	}
	g.serveSDK(w, r, ex, g.transport(body), nil)
}

// admit is step 1: method, Origin, tenant, server, size; and 2: who calls, in
// authn.go. path is that of the transport, below the tenant's base. What is not
// admitted is answered here.
func (g *Gateway) admit(w http.ResponseWriter, r *http.Request, slug, path string) (_ *exchange, body []byte, ok bool) {
	t := site.From(r.Context())
	if !g.allowOrigin(w, r, t.Slug) {
		http.Error(w, "This origin may not call here. Ask the platform's operator to allow it.", http.StatusForbidden)
		return nil, nil, false
	}
	switch r.Method {
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return nil, nil, false
	case http.MethodPost, http.MethodGet, http.MethodDelete:
	default:
		w.Header().Set("Allow", "GET, POST, DELETE, OPTIONS")
		http.Error(w, "MCP is spoken here with POST, GET and DELETE.", http.StatusMethodNotAllowed)
		return nil, nil, false
	}
	hosted, err := g.cfg.Registry.Hosted(r.Context(), t.ID, slug)
	if err != nil {
		g.refuseHTTP(w, r, err, "")
		return nil, nil, false
	}
	if opensInBrowser(r) {
		g.showConnect(w, t, hosted)
		return nil, nil, false
	}
	ex, err := g.authenticate(r, t, hosted)
	if err != nil {
		g.refuseHTTP(w, r, err, g.cfg.Sites.WellKnown("oauth-protected-resource", t.Slug, path+hosted.Server.Slug), hosted.Revision.Definition.Scopes()...)
		return nil, nil, false
	}
	if body, err = readBody(w, r); err != nil {
		g.refuseHTTP(w, r, err, "")
		return nil, nil, false
	}
	return ex, body, true
}

// readBody reads a POST's body whole and puts it back. An array is refused:
// batches exist in one old revision only, no client sends them, and a check
// that looked into the first element was how they passed by others' checks.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Method != http.MethodPost {
		return nil, nil
	}
	var buf bytes.Buffer
	if n := r.ContentLength; n > 0 { // else it grows from 512 bytes on
		buf.Grow(int(min(n, 64<<10)) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	body := buf.Bytes()
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, fault.New(fault.InvalidRequest, "The request is larger than %d bytes. Send less at once.", maxBody).Because(errTooLarge)
		}
		return nil, fault.New(fault.InvalidRequest, "The request ended before its body was complete. Send it again.").Because(err)
	}
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, fault.New(fault.InvalidRequest, "The body must be one JSON-RPC message, an object; batches are not accepted.")
	}
	if !json.Valid(body) {
		return nil, fault.New(fault.InvalidRequest, "The body is not valid JSON.").Because(errParse)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil } // for who passes it on
	// The call may take longer than its body had to arrive.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, nil
}

var (
	errTooLarge = errors.New("request entity too large")
	errParse    = errors.New("parse error")
)

// isSession chooses by era, as both revisions' conformance suites want it: a
// version header of the newest revision is stateless; a session id, GET,
// DELETE or a plain initialize is a legacy session; the rest is stateless. The
// body is looked at here only for that, never for what a call may do.
func (g *Gateway) isSession(r *http.Request, body []byte) bool {
	return r.Header.Get("MCP-Protocol-Version") < modern &&
		(r.Header.Get("Mcp-Session-Id") != "" || r.Method != http.MethodPost || isLegacyInitialize(body))
}

// transport is the one for a request without a session.
func (g *Gateway) transport(body []byte) http.Handler {
	// Plain JSON would drop the notifications that these ask for.
	if bytes.Contains(body, []byte(`"progressToken"`)) || bytes.Contains(body, []byte(`io.modelcontextprotocol/logLevel`)) {
		return g.streaming
	}
	return g.stateless
}

// parkedAt is the edge that a request's state names, empty for most. The body is
// looked at here only to find that edge, which looks at it anew.
func parkedAt(body []byte) string {
	if !bytes.Contains(body, []byte(`"requestState"`)) || !bytes.Contains(body, []byte(statePrefix+".")) {
		return ""
	}
	var m struct {
		Params struct {
			State string `json:"requestState"`
		} `json:"params"`
	}
	if json.Unmarshal(body, &m) != nil {
		return ""
	}
	return edgeOfState(m.Params.State)
}

func isLegacyInitialize(body []byte) bool {
	if !bytes.Contains(body, []byte(`"initialize"`)) {
		return false
	}
	var m struct {
		Method string `json:"method"`
		Params struct {
			Meta map[string]any `json:"_meta"`
		} `json:"params"`
	}
	if json.Unmarshal(body, &m) != nil || m.Method != "initialize" {
		return false
	}
	version, _ := m.Params.Meta["io.modelcontextprotocol/protocolVersion"].(string)
	return version < modern
}

// allowOrigin holds the specification's rule on Origin and sets the CORS
// headers for those that may call. Tokens travel in a header and never in a
// cookie, so that an allowed origin gains nothing without one.
func (g *Gateway) allowOrigin(w http.ResponseWriter, r *http.Request, slug string) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if origin != g.cfg.Sites.Origin(slug) && !isLoopbackOrigin(origin) && !slices.Contains(g.cfg.AllowedOrigins, origin) && !slices.Contains(g.cfg.AllowedOrigins, "*") {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id, Mcp-Protocol-Version")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept, Mcp-Session-Id, Mcp-Protocol-Version, Mcp-Method, Mcp-Name, Last-Event-ID, Traceparent")
		h.Set("Access-Control-Max-Age", "600")
	}
	return true
}

func isLoopbackOrigin(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	h := u.Hostname()
	return h == "localhost" || h == "127.0.0.1" || h == "::1" || strings.HasSuffix(h, ".localhost")
}
