package mcpgateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// This file is the one table of how a fault is said over MCP: as an HTTP
// status before a message is read, as a tool result, or as a JSON-RPC error.

var errNoToken = errors.New("no bearer token")

// failure is structuredContent.error of a failed tool call, and the data of a
// JSON-RPC error.
type failure struct {
	Category    fault.Category `json:"category"`
	Code        string         `json:"code"`
	Message     string         `json:"message"`
	RetryAfterS int            `json:"retry_after_s,omitempty"`
	Scope       string         `json:"scope,omitempty"`
	URL         string         `json:"url,omitempty"`
	Details     []fault.Detail `json:"details,omitempty"`
	CallID      string         `json:"call_id,omitempty"`
}

// errorSchema describes failure. Tools with an output schema publish it beside
// their own: clients check structuredContent of failed calls too.
const errorSchema = `{"type":"object","required":["error"],"properties":{"error":{"type":"object","required":["category","code","message"],"properties":{"category":{"type":"string","enum":["access","validation","downstream","rate_limit","internal"]},"code":{"type":"string"},"message":{"type":"string"},"retry_after_s":{"type":"integer","description":"seconds to wait before trying again"},"scope":{"type":"string"},"url":{"type":"string","description":"a page for the person"},"details":{"type":"array","items":{"type":"object"}},"call_id":{"type":"string"}}},"pending":{"type":"object","description":"whose word the call waits for, and what to call next; nothing was done","properties":{"kind":{"type":"string","enum":["confirmation","approval"]},"message":{"type":"string"},"confirmation":{"type":"string"},"approval":{"type":"string"},"role":{"type":"string"},"expires_at":{"type":"string"},"next":{"type":"object"}}}}}`

func failureOf(f *fault.Error, callID string) failure {
	return failure{
		Category: f.Code.Category, Code: f.Code.Name, Message: f.Message,
		RetryAfterS: seconds(f.RetryAfter), Scope: f.Scope, URL: f.URL, Details: f.Details, CallID: callID,
	}
}

func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// toolError is a result that an agent can act on: what happened, and what to
// do by category.
func toolError(f *fault.Error, callID string) *mcp.CallToolResult {
	var b strings.Builder
	b.WriteString(f.Message)
	for _, d := range f.Details {
		fmt.Fprintf(&b, "\n- %s: %s", orRoot(d.Pointer), d.Reason)
		if d.Fix != "" {
			b.WriteString("; " + d.Fix)
		}
	}
	fmt.Fprintf(&b, "\n(%s; call %s)", advice(f), callID)
	return &mcp.CallToolResult{
		IsError:           true,
		Content:           []mcp.Content{&mcp.TextContent{Text: b.String()}},
		StructuredContent: map[string]any{"error": failureOf(f, callID)},
	}
}

func orRoot(pointer string) string {
	if pointer == "" {
		return "arguments"
	}
	return pointer
}

func advice(f *fault.Error) string {
	switch f.Code {
	case fault.OutcomeUnknown:
		return "do not repeat: check first whether it took effect"
	case fault.Cancelled:
		return "it was cancelled"
	case fault.ConnectNeeded:
		return "give the person the link; call again when they have connected"
	case fault.ConfirmationNeeded:
		return "this was a dry run: nothing was done"
	case fault.ApprovalPending:
		return fmt.Sprintf("nothing was done; call again in %d s, or when it was approved", max(1, seconds(f.RetryAfter)))
	}
	switch f.Code.Category {
	case fault.Access:
		return "do not retry; ask a person"
	case fault.Validation:
		return "correct this and call again"
	case fault.RateLimit:
		return fmt.Sprintf("wait %d s, then call again", max(1, seconds(f.RetryAfter)))
	case fault.Downstream:
		if s := seconds(f.RetryAfter); s > 0 {
			return fmt.Sprintf("retry after %d s, with backoff, at most 3 times", s)
		}
		return "retry with backoff, at most 3 times"
	}
	return "retry once; then tell an administrator the call's id"
}

// missingCapabilities is the error for a request of the newest revision whose
// client did not declare what the server's upstream requires (SEP-2575); nil for
// everything else.
func missingCapabilities(req *mcp.CallToolRequest, err error) error {
	newest := isModern(req.Params.Meta) || only(req.Extra.Header, "Mcp-Protocol-Version", modern) // direct.go keeps no metadata that nobody reads
	if !newest || !fault.HasCode(err, fault.Unanswerable) {
		return nil
	}
	f, required := fault.Of(err), map[string]any{}
	for _, d := range f.Details {
		if d.Pointer == runtime.CapabilitiesPointer {
			required[d.Reason] = struct{}{}
		}
	}
	if len(required) == 0 {
		return nil
	}
	data, jsonErr := json.Marshal(map[string]any{"requiredCapabilities": required, "error": failureOf(f, "")})
	if jsonErr != nil {
		return nil
	}
	return &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: f.Message, Data: data}
}

// rpcError is for requests that have no result to carry a failure.
func rpcError(f *fault.Error, callID string) error {
	code := int64(jsonrpc.CodeInternalError)
	switch f.Code.Category {
	case fault.Validation:
		code = jsonrpc.CodeInvalidParams
	case fault.Access:
		code = jsonrpc.CodeInvalidRequest
		if f.Code == fault.NotFound {
			code = jsonrpc.CodeInvalidParams
		}
	}
	data, err := json.Marshal(failureOf(f, callID))
	if err != nil {
		data = nil
	}
	return &jsonrpc.Error{Code: code, Message: f.Message, Data: data}
}

// refuseHTTP answers a request that no MCP message could be read from, or that
// is not signed in. metadata is the resource's metadata URL for a challenge.
func (g *Gateway) refuseHTTP(w http.ResponseWriter, r *http.Request, err error, metadata string, scopes ...string) {
	f := fault.Of(err)
	status := http.StatusBadRequest
	switch f.Code.Category {
	case fault.Access:
		status = http.StatusUnauthorized
		if f.Code == fault.NotFound {
			status = http.StatusNotFound
			if !errors.Is(err, errSessionEnded) {
				f = fault.New(fault.NotFound, "There is no such server here. Check the URL with whoever gave it to you.")
			}
		}
	case fault.Downstream:
		status = http.StatusServiceUnavailable
	case fault.RateLimit:
		status = http.StatusTooManyRequests
	case fault.Internal:
		status = http.StatusInternalServerError
	}
	if errors.Is(err, errTooLarge) {
		status = http.StatusRequestEntityTooLarge
	}
	if status == http.StatusUnauthorized {
		challenge := `Bearer resource_metadata="` + metadata + `"`
		if !errors.Is(err, errNoToken) {
			challenge = `Bearer error="invalid_token", error_description="` + quotable(f.Message) + `", resource_metadata="` + metadata + `"`
		}
		if len(scopes) > 0 {
			challenge += `, scope="` + strings.Join(scopes, " ") + `"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if status >= 500 {
		g.cfg.Log.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", err)
	}
	if s := seconds(f.RetryAfter); s > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(s))
	}
	code := int64(jsonrpc.CodeInvalidRequest)
	switch {
	case errors.Is(err, errParse):
		code = jsonrpc.CodeParseError
	case status >= 500:
		code = jsonrpc.CodeInternalError
	}
	writeRPCError(w, status, code, failureOf(f, ""))
}

// writeRPCError writes a JSON-RPC error without an id (none was read).
func writeRPCError(w http.ResponseWriter, status int, code int64, f failure) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{
		"jsonrpc": "2.0", "id": nil,
		"error": map[string]any{"code": code, "message": f.Message, "data": f},
	})
}

// quotable keeps to the characters of RFC 6750's error_description.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}

// shaper turns the answer to a call that lacked a scope into the 403 that
// makes a client ask for it (RFC 6750 section 3.1, MCP authorization "Scope
// challenge handling"): granted ∪ needed, so that asking again loses nothing.
type shaper struct {
	http.ResponseWriter
	ex      *exchange
	gateway *Gateway
	decided bool
	shaped  bool
}

func (s *shaper) WriteHeader(status int) {
	if s.decide() {
		return
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *shaper) Write(b []byte) (int, error) {
	if s.decide() {
		return len(b), nil
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *shaper) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Flush is called before the first write of a stream, which sends headers.
func (s *shaper) Flush() {
	if !s.decide() {
		http.NewResponseController(s.ResponseWriter).Flush()
	}
}

func (s *shaper) decide() bool {
	if s.decided {
		return s.shaped
	}
	missing := s.ex.missing.Load()
	if missing == nil {
		// A stream sends its headers before the call is decided only if it
		// flushes early; then the challenge stays in the result.
		s.decided = true
		return false
	}
	s.decided, s.shaped = true, true
	scopes := append([]string(nil), s.ex.principal.Scopes...)
	scopes = append(scopes, *missing)
	sites := s.gateway.cfg.Sites
	h := s.Header()
	h.Del("Content-Length")
	h.Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+strings.Join(scopes, " ")+
		`", resource_metadata="`+sites.WellKnown("oauth-protected-resource", s.ex.tenant.Slug, "/mcp/"+s.ex.hosted.Server.Slug)+
		`", error_description="This tool needs the scope `+quotable(*missing)+`."`)
	writeRPCError(s.ResponseWriter, http.StatusForbidden, jsonrpc.CodeInvalidRequest,
		failureOf(scopeFault(*missing), ""))
	return true
}

var _ io.Writer = (*shaper)(nil)
