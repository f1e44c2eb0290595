package mcpgateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

// Most requests are a tools/call of the newest revision that one JSON document
// answers. For each the SDK makes a session, a connection and goroutines, and
// decodes the body eight times through a buffer of 32 KB: about half of what
// such a call costs the edge (docs/performance.md). They are read and answered
// here.
//
// Nothing is refused here, and nothing decided: what is not exactly of the
// form that every client sends goes to the SDK, which knows what is wrong with
// it or why it is right. What is taken runs through callTool like every call.
// TestDirectCallsAnswerLikeTheSDK holds the two against each other.

// directCall is a request that was read here.
type directCall struct {
	id   []byte // as it goes into the answer
	tool *directTool
	req  *mcp.CallToolRequest
}

// directTool is a tool of a built server.
type directTool struct {
	revision  registry.Revision
	tool      *registry.Tool
	validator *validator
	asks      bool // for a confirmation, if need be of the person at the client
	talks     bool // its upstream may ask the client something
	task      registry.TaskMode
}

// direct reads a request, or leaves it to the SDK. The body is valid JSON and
// an object. What the SDK decides by a header is compared whole.
func (g *Gateway) direct(r *http.Request, ex *exchange, body []byte) (directCall, bool) {
	none := directCall{}
	h := r.Header
	if r.Method != http.MethodPost || !only(h, "Content-Type", "application/json") || !only(h, "Mcp-Protocol-Version", modern) ||
		!only(h, "Mcp-Method", "tools/call") || len(h["Mcp-Name"]) != 1 || h["Mcp-Session-Id"] != nil || h["Last-Event-Id"] != nil ||
		!only(h, "Accept", "application/json, text/event-stream") && !only(h, "Accept", "text/event-stream, application/json") {
		return none, false
	}
	var version, id, method, params, name, arguments, meta []byte
	if !members(body, map[string]*[]byte{"jsonrpc": &version, "id": &id, "method": &method, "params": &params}) ||
		string(version) != `"2.0"` || string(method) != `"tools/call"` || !plainID(id) ||
		!members(params, map[string]*[]byte{"name": &name, "arguments": &arguments, "_meta": &meta}) ||
		len(name) < 2 || string(name[1:len(name)-1]) != h["Mcp-Name"][0] || arguments != nil && arguments[0] != '{' {
		return none, false
	}
	m, ok := directMeta(meta)
	if !ok {
		return none, false
	}
	tool := g.servers.directTool(ex.hosted, h["Mcp-Name"][0])
	if tool == nil || tool.asks && bytes.Contains(meta, []byte(`"elicitation"`)) || tool.talks && mayBeAsked(meta) {
		return none, false
	}
	if tool.task == registry.TaskRequired || tool.task == registry.TaskOptional && bytes.Contains(meta, []byte(extTasks)) { // its answer is no tool result
		return none, false
	}
	return directCall{id: id, tool: tool, req: &mcp.CallToolRequest{
		Params: &mcp.CallToolParamsRaw{Meta: m, Name: tool.tool.Name, Arguments: arguments},
		Extra:  &mcp.RequestExtra{TokenInfo: ex.info, Header: h},
	}}, true
}

// mayBeAsked reports whether a client may have said that it can be asked
// something.
func mayBeAsked(meta []byte) bool {
	return bytes.Contains(meta, []byte(`"elicitation"`)) || bytes.Contains(meta, []byte(`"sampling"`)) || bytes.Contains(meta, []byte(`"roots"`))
}

// only reports whether a header has just this value. The name is canonical.
func only(h http.Header, name, value string) bool {
	v := h[name]
	return len(v) == 1 && v[0] == value
}

// directMeta reads the metadata of a request, which must be one of the newest
// revision with capabilities and client in their plain form. Other entries of
// the protocol's own may change how a request is answered.
func directMeta(raw []byte) (m mcp.Meta, ok bool) {
	const own = "io.modelcontextprotocol/"
	seen, read := 0, false
	ok = eachMember(raw, func(name, value []byte) bool {
		switch string(name) {
		case own + "protocolVersion":
			seen |= 1
			return string(value) == `"`+modern+`"`
		case own + "clientCapabilities":
			seen |= 2
			return onlyObjects(value, 4)
		case own + "clientInfo":
			return plainClient(value)
		case "progressToken":
			return false
		case "traceparent", metaIdempotencyKey, metaConfirmation:
			read = true
		}
		return !bytes.HasPrefix(name, []byte(own))
	})
	if !ok || seen != 3 || !read { // nobody looks at the rest
		return nil, ok && seen == 3
	}
	return m, json.Unmarshal(raw, &m) == nil
}

// onlyObjects holds of capabilities that any reader takes: objects in objects.
func onlyObjects(raw []byte, depth int) bool {
	return depth > 0 && eachMember(raw, func(_, value []byte) bool { return onlyObjects(value, depth-1) })
}

// plainClient holds of a client's name as most clients give it.
func plainClient(raw []byte) bool {
	return eachMember(raw, func(name, value []byte) bool {
		switch string(name) {
		case "name", "title", "version", "websiteUrl", "description":
			return value[0] == '"'
		}
		return false
	})
}

// plainID holds of ids that are the same however they are read.
func plainID(raw []byte) bool {
	if n := len(raw); n > 2 && n <= 66 && raw[0] == '"' {
		return strings.Trim(string(raw[1:n-1]), "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_.:") == ""
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return err == nil && n >= 0 && n < 1<<53 && strconv.FormatInt(n, 10) == string(raw)
}

// members puts an object's members where into says, each at most once and no
// others.
func members(object []byte, into map[string]*[]byte) bool {
	return eachMember(object, func(name, value []byte) bool {
		at := into[string(name)]
		if at == nil || *at != nil {
			return false
		}
		*at = value
		return true
	})
}

// eachMember gives f the members of a JSON object until it says no. The text
// must be part of a valid document. A name with an escape in it is no.
func eachMember(b []byte, f func(name, value []byte) bool) bool {
	if len(b) == 0 {
		return false
	}
	i := pastSpace(b, 0)
	if i == len(b) || b[i] != '{' {
		return false
	}
	for i = pastSpace(b, i+1); i < len(b) && b[i] == '"'; i = pastSpace(b, i+1) {
		end := pastString(b, i)
		name := b[i+1 : end-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			return false
		}
		i = pastSpace(b, pastSpace(b, end)+1) // past the colon
		end = pastValue(b, i)
		if !f(name, b[i:end]) {
			return false
		}
		if i = pastSpace(b, end); i == len(b) || b[i] != ',' {
			break
		}
	}
	return i < len(b) && b[i] == '}'
}

func pastSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// pastString begins at a quote.
func pastString(b []byte, i int) int {
	for i++; i < len(b) && b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return min(i+1, len(b))
}

func pastValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = pastString(b, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of a number or a word at an object's end
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// serveDirect runs the call and writes the answer as the SDK would.
func (g *Gateway) serveDirect(w http.ResponseWriter, r *http.Request, d directCall) {
	status := http.StatusOK
	answer, err := g.runDirect(r.Context(), d)
	if rpc := (*jsonrpc.Error)(nil); errors.As(err, &rpc) { // of a request that cannot be run as it is
		status, answer = http.StatusBadRequest, d.refused(rpc)
	} else if err != nil {
		g.cfg.Log.ErrorContext(r.Context(), "answer not encoded", "tool", d.tool.tool.Name, "error", err)
		answer = d.failure(fault.Of(err))
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("Content-Length", strconv.Itoa(len(answer)))
	w.WriteHeader(status)
	w.Write(answer) // a caller that is gone changes nothing: the call is on record
}

func (g *Gateway) runDirect(ctx context.Context, d directCall) (answer []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			g.cfg.Log.ErrorContext(ctx, "panic in a handler", "method", "tools/call", "panic", p, "stack", string(debug.Stack()))
			answer, err = d.failure(fault.Of(fmt.Errorf("panic: %v", p))), nil
		}
	}()
	res, err := g.callTool(ctx, d.tool.revision, d.tool.tool, d.tool.validator, d.req)
	if err != nil {
		return nil, err
	}
	return d.encode(res, g.servers.info(exchangeOf(d.req.Extra.TokenInfo).hosted))
}

// failure is the JSON-RPC error for what is no result.
func (d directCall) failure(f *fault.Error) []byte { return d.refused(rpcError(f, "")) }

func (d directCall) refused(rpc error) []byte {
	detail, err := json.Marshal(rpc)
	if err != nil {
		detail = []byte(`{"code":-32603,"message":"internal error"}`)
	}
	return append(append(append(append([]byte(`{"jsonrpc":"2.0","id":`), d.id...), `,"error":`...), detail...), '}')
}

// encode writes the result. A call that may ask its caller for input is not
// taken.
func (d directCall) encode(res *mcp.CallToolResult, server json.RawMessage) ([]byte, error) {
	b := make([]byte, 0, 1024)
	b = append(append(append(b, `{"jsonrpc":"2.0","id":`...), d.id...), `,"result":{"_meta":`...)
	meta, err := metaWith(res.Meta, server)
	if err != nil {
		return nil, err
	}
	b = append(append(b, meta...), `,"content":[`...)
	for i, c := range res.Content {
		if i > 0 {
			b = append(b, ',')
		}
		raw, err := c.MarshalJSON()
		if err != nil {
			return nil, err
		}
		b = append(b, raw...)
	}
	b = append(b, ']')
	if res.StructuredContent != nil {
		raw, ok := res.StructuredContent.(json.RawMessage)
		if !ok {
			if raw, err = json.Marshal(res.StructuredContent); err != nil {
				return nil, err
			}
		}
		b = append(append(b, `,"structuredContent":`...), raw...)
	}
	if res.IsError {
		b = append(b, `,"isError":true`...)
	}
	return append(b, `,"resultType":"complete"}}`...), nil
}

// metaWith is a result's metadata with the server's name.
func metaWith(m mcp.Meta, server json.RawMessage) (json.RawMessage, error) {
	if len(m) == 0 {
		return server, nil
	}
	all := mcp.Meta{}
	if err := json.Unmarshal(server, &all); err != nil {
		return nil, err
	}
	for k, v := range m {
		all[k] = v
	}
	return json.Marshal(all)
}
