package mcpgateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

const (
	directAccept = "application/json, text/event-stream"
	sdkAccept    = "application/json,text/event-stream" // means the same, and is not taken directly
)

var callIDs = regexp.MustCompile(`\bca[0-9a-z]{10,}`)

// same takes out of an answer what differs from call to call.
func same(t *testing.T, body string) (v any) {
	t.Helper()
	if err := json.Unmarshal(callIDs.ReplaceAll([]byte(body), []byte("(call)")), &v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return v
}

// Whatever a call's fate, a client cannot tell which of the two answered it.
func TestDirectCallsAnswerLikeTheSDK(t *testing.T) {
	say := func(r *mcp.CallToolResult) func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
		return func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
			return DispatchOutcome{Worker: "w1", Started: true, Result: &runtime.Result{Tool: r}}, nil
		}
	}
	for name, c := range map[string]struct {
		tool, arguments, id, meta string
		scopes                    []string
		run                       func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error)
	}{
		"rows":                   {},
		"text id":                {id: `"a-1"`},
		"large id":               {id: `9007199254740991`},
		"no arguments":           {arguments: "-"},
		"wrong argument":         {arguments: `{"id":0,"else":true}`},
		"argument twice":         {arguments: `{"id":1,"id":2}`},
		"scope not consented to": {tool: "refund"},
		"role without scope":     {tool: "hidden", scopes: []string{"read", "secret"}},
		"client and capabilities": {meta: `"io.modelcontextprotocol/clientInfo":{"name":"x","version":"1","title":"X"},
			"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}},"extensions":{"io.modelcontextprotocol/tasks":{}}}`},
		"vendor's metadata":     {meta: `"io.modelcontextprotocol/clientCapabilities":{},"vendor.example/use":{"id":[1,2]},"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`},
		"bad idempotency key":   {meta: `"io.modelcontextprotocol/clientCapabilities":{},"latchkey/idempotencyKey":7`},
		"tool's failure":        {run: say(&mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: "no <b> & \u2028"}}})},
		"nothing":               {run: say(&mcp.CallToolResult{})},
		"own metadata":          {run: say(&mcp.CallToolResult{Meta: mcp.Meta{"a": 1.5}, Content: []mcp.Content{&mcp.TextContent{Text: "x", Annotations: &mcp.Annotations{Priority: 1}}}})},
		"contents of all sorts": {run: say(&mcp.CallToolResult{Content: []mcp.Content{&mcp.ImageContent{Data: []byte("x"), MIMEType: "image/png"}, &mcp.ResourceLink{URI: "a://b", Name: "b"}, &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "a://b", Text: "t"}}}})},
		"no result":             {run: say(nil)},
		"worker's error": {run: func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
			return DispatchOutcome{}, fault.New(fault.Busy, "busy")
		}},
		"internal error": {run: func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
			return DispatchOutcome{}, errors.New("secret")
		}},
		"panic": {run: func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) { panic("secret") }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.run != nil {
				w.run = c.run
			}
			if c.tool == "" {
				c.tool = "look"
			}
			if c.scopes == nil {
				c.scopes = []string{"read"}
			}
			meta := modernMeta
			if c.meta != "" {
				meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` + c.meta + `}`
			}
			arguments := `"arguments":{"id":1},`
			switch c.arguments {
			case "":
			case "-":
				arguments = ""
			default:
				arguments = `"arguments":` + c.arguments + `,`
			}
			if c.id == "" {
				c.id = "1"
			}
			body := `{"jsonrpc":"2.0","id":` + c.id + `,"method":"tools/call","params":{"name":"` + c.tool + `",` + arguments + meta + `}}`
			headers := []string{"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", c.tool, "Accept"}
			h := http.Header{"Content-Type": {"application/json"}}
			for i := 0; i+1 < len(headers); i += 2 {
				h.Set(headers[i], headers[i+1])
			}
			for accept, want := range map[string]bool{directAccept: true, sdkAccept: false} {
				h.Set("Accept", accept)
				if _, ok := w.gateway.direct(&http.Request{Method: "POST", Header: h}, &exchange{hosted: w.hosted}, []byte(body)); ok != want {
					t.Fatalf("Accept %s: taken directly: %v", accept, ok)
				}
			}
			token := w.token(ann, c.scopes...)
			direct, directBody := w.post(token, body, append(headers, directAccept)...)
			sdk, sdkBody := w.post(token, body, append(headers, sdkAccept)...)
			if direct.StatusCode != sdk.StatusCode || !reflect.DeepEqual(same(t, directBody), same(t, sdkBody)) {
				t.Errorf("%d %s\nfrom the SDK: %d %s", direct.StatusCode, directBody, sdk.StatusCode, sdkBody)
			}
			for _, name := range []string{"Content-Type", "Cache-Control", "WWW-Authenticate"} {
				if direct.Header.Get(name) != sdk.Header.Get(name) {
					t.Errorf("%s: %q, from the SDK %q", name, direct.Header.Get(name), sdk.Header.Get(name))
				}
			}
			if strings.Contains(directBody, "secret") && c.tool != "hidden" {
				t.Errorf("leaked: %s", directBody)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if n := len(w.events); n%2 != 0 || n == 0 && name != "panic" {
				t.Errorf("%d records of two calls", n)
			}
		})
	}
}

// What is not of the plain form is the SDK's to judge.
func TestDirectLeavesTheRestToTheSDK(t *testing.T) {
	w := newWorld(t)
	good := func() (http.Header, string) {
		return http.Header{"Content-Type": {"application/json"}, "Accept": {directAccept}, "Mcp-Protocol-Version": {modern}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"look"}},
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{"id":1},` + modernMeta + `}}`
	}
	taken := func(h http.Header, body string) bool {
		_, ok := w.gateway.direct(&http.Request{Method: "POST", Header: h}, &exchange{hosted: w.hosted}, []byte(body))
		return ok
	}
	if h, body := good(); !taken(h, body) {
		t.Fatal("the plain form is not taken")
	}
	for _, c := range [][2]string{
		{"Mcp-Name", "refund"}, {"Mcp-Name", ""}, {"Mcp-Method", "tools/list"}, {"Mcp-Protocol-Version", "2026-07-29"}, {"Mcp-Protocol-Version", "2025-11-25"},
		{"Content-Type", "text/plain"}, {"Accept", "application/json"}, {"Mcp-Session-Id", "x"}, {"Last-Event-Id", "1"},
	} {
		h, body := good()
		if h.Set(c[0], c[1]); taken(h, body) {
			t.Errorf("taken with %s: %s", c[0], c[1])
		}
		h, body = good()
		if h.Add(c[0], c[1]); taken(h, body) {
			t.Errorf("taken with a further %s: %s", c[0], c[1])
		}
	}
	for _, c := range [][2]string{
		{`"jsonrpc":"2.0"`, `"jsonrpc":"1.0"`}, {`"id":1,"method`, `"method`}, {`"id":1,"method`, `"id":null,"method`}, {`"id":1,"method`, `"id":1.5,"method`},
		{`"id":1,"method`, `"id":-1,"method`}, {`"id":1,"method`, `"id":1,"id":2,"method`}, {`"id":1,"method`, `"ID":2,"id":1,"method`}, {`"id":1,"method`, `"id":"a\u0062","method`},
		{`"id":1,"method`, `"id":10000000000000000,"method`}, {`"name":"look"`, `"name":"look","name":"look"`}, {`"name":"look"`, `"name":"look","NAME":"refund"`},
		{`"name":"look"`, `"name":"refund"`}, {`"name":"look"`, `"nam\u0065":"look"`}, {`"name":"look"`, `"name":"l\u006fok"`}, {`"name":"look"`, `"name":"look","requestState":"x"`},
		{`"arguments":{"id":1}`, `"arguments":[1]`}, {`"arguments":{"id":1}`, `"arguments":null`}, {`2026-07-28`, `2025-11-25`},
		{`Capabilities":{}`, `Capabilities":{"sampling":7}`}, {`Capabilities":{}`, `Capabilities":{},"progressToken":1`}, {`Capabilities":{}`, `Capabilities":{},"io.modelcontextprotocol/logLevel":"info"`},
		{`Capabilities":{}`, `Capabilities":{},"io.modelcontextprotocol/clientInfo":{"name":1}`}, {`"_meta":`, `"_META":{},"_meta":`},
	} {
		h, body := good()
		if body = strings.Replace(body, c[0], c[1], 1); !json.Valid([]byte(body)) || taken(h, body) {
			t.Errorf("taken with %s", c[1])
		}
	}
}

// Only a client that can be asked, of a server that may ask, is the SDK's: all
// others are answered here.
func TestDirectLeavesCallsToTheSDKOnlyWhereSomebodyMayBeAsked(t *testing.T) {
	for _, c := range []struct {
		talks        bool
		capabilities string
		direct       bool
	}{
		{false, `{"elicitation":{"form":{}},"sampling":{},"roots":{}}`, true}, {true, `{}`, true}, {true, `{"extensions":{"a/b":{}}}`, true},
		{true, `{"elicitation":{}}`, false}, {true, `{"sampling":{}}`, false}, {true, `{"roots":{}}`, false},
	} {
		var change []func(*world, *Config)
		if c.talks {
			change = append(change, talks)
		}
		w := newWorld(t, change...)
		h := http.Header{"Content-Type": {"application/json"}, "Accept": {directAccept}, "Mcp-Protocol-Version": {modern}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"look"}}
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":` + c.capabilities + `}}}`
		if _, ok := w.gateway.direct(&http.Request{Method: "POST", Header: h}, &exchange{hosted: w.hosted}, []byte(body)); ok != c.direct {
			t.Errorf("%+v: taken directly: %v", c, ok)
		}
	}
}

// Whatever is taken, is read as the SDK reads it.
func FuzzDirectReadsLikeTheSDK(f *testing.F) {
	w := newWorld(f)
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {directAccept}, "Mcp-Protocol-Version": {modern}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"look"}}
	f.Add(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{"id":1,"note":"\"}{"},` + modernMeta + `}}`)
	f.Add(` { "params" : { ` + modernMeta + ` , "name":"look" } , "id":"x" , "method":"tools/call","jsonrpc":"2.0" } `)
	f.Fuzz(func(t *testing.T, body string) {
		if !json.Valid([]byte(body)) || !strings.HasPrefix(strings.TrimLeft(body, " \t\r\n"), "{") {
			return // readBody refuses it
		}
		d, ok := w.gateway.direct(&http.Request{Method: "POST", Header: h}, &exchange{hosted: w.hosted}, []byte(body))
		if !ok {
			return
		}
		msg, err := jsonrpc.DecodeMessage([]byte(body))
		if err != nil {
			t.Fatalf("the SDK cannot read it: %v", err)
		}
		req := msg.(*jsonrpc.Request)
		var p mcp.CallToolParamsRaw
		if err := json.Unmarshal(req.Params, &p); err != nil {
			t.Fatal(err)
		}
		id, err := json.Marshal(req.ID.Raw())
		if err != nil || !bytes.Equal(id, d.id) {
			t.Errorf("id %s, the SDK's %s", d.id, id)
		}
		if req.Method != "tools/call" || p.Name != "look" || !bytes.Equal(bytes.TrimSpace(p.Arguments), d.req.Params.Arguments) {
			t.Errorf("%s %s %s, read as %s", req.Method, p.Name, p.Arguments, d.req.Params.Arguments)
		}
	})
}
