package remotetool

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/runtime"
)

// everythingServer runs the SDK's server for conformance tests, a process of its
// own.
func everythingServer(t testing.TB, stateless bool) (url string) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "everything-server")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/modelcontextprotocol/go-sdk/conformance/everything-server").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	cmd := exec.Command(bin, "-http", at, fmt.Sprintf("-stateless=%v", stateless))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, "the server did not start", func() bool {
		c, err := net.Dial("tcp", at)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "http://" + at
}

// agreed is the answer of a client that agrees to every question: what the schema
// asks for.
func agreed(t testing.TB, question any) *mcp.ElicitResult {
	var q struct {
		RequestedSchema struct {
			Properties map[string]struct {
				Type    string
				Default any
				Enum    []any
				OneOf   []struct{ Const any }
			}
		}
	}
	if err := json.Unmarshal(marshal(t, question), &q); err != nil {
		t.Error(err)
	}
	content := map[string]any{}
	for name, p := range q.RequestedSchema.Properties {
		switch {
		case p.Default != nil:
			content[name] = p.Default
		case len(p.Enum) > 0:
			content[name] = p.Enum[0]
		case len(p.OneOf) > 0:
			content[name] = p.OneOf[0].Const
		case p.Type == "boolean":
			content[name] = true
		case p.Type == "string":
			content[name] = "ada@example.com"
		case p.Type == "integer" || p.Type == "number":
			content[name] = 1
		}
	}
	return &mcp.ElicitResult{Action: "accept", Content: content}
}

var sampled = &mcp.CreateMessageResult{Role: "assistant", Model: "m", Content: &mcp.TextContent{Text: "sampled"}}

// TestAsFaithfulAsNobodyBetween: every tool, resource and prompt of the SDK's own
// conformance server answers through the kind as it answers a client of its own.
func TestAsFaithfulAsNobodyBetween(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs a server")
	}
	for _, stateless := range []bool{true, false} {
		t.Run(fmt.Sprintf("stateless %v", stateless), func(t *testing.T) {
			url := everythingServer(t, stateless)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			client := mcp.NewClient(&mcp.Implementation{Name: "direct", Version: "1"}, &mcp.ClientOptions{
				ElicitationHandler: func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
					return agreed(t, req.Params), nil
				},
				CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
					return sampled, nil
				},
			})
			direct, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer direct.Close()
			b := newBench(t, connectionOf(t, "url: "+url), "", nil)
			tools, succeeded := 0, 0
			for tool, err := range direct.Tools(ctx, nil) {
				if err != nil {
					t.Fatal(err)
				}
				tools++
				succeeded += compareTool(t, ctx, direct, b, tool.Name)
			}
			if len(b.def.Tools) != tools || succeeded < 15 {
				t.Errorf("%d of %d tools are offered, %d answered alike", len(b.def.Tools), tools, succeeded)
			}
			compareRest(t, ctx, direct, b)
		})
	}
}

// unlike are tools that answer another thing each time, change what is offered,
// give the progress token back, or ask what the SDK's own client refuses.
var unlike = []string{"test_reconnection", "test_trigger_tool_change", "test_trigger_prompt_change", "test_tool_with_progress", "test_elicitation_sep1330_enums"}

func compareTool(t *testing.T, ctx context.Context, direct *mcp.ClientSession, b *bench, name string) (succeeded int) {
	t.Helper()
	if slices.Contains(unlike, name) {
		return 0
	}
	var want *mcp.CallToolResult
	var wantErr error
	input := ""
	for _, input = range []string{`{}`, `{"prompt":"p"}`, `{"message":"m"}`, `{"name":"n"}`, `{"region":"eu","query":"q"}`} {
		if want, wantErr = direct.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: json.RawMessage(input)}); wantErr == nil && !want.IsError {
			break
		}
	}
	got, err := b.run(ctx, b.call(runtime.CallTool, name, input), runtime.Back{Ask: func(_ context.Context, q runtime.Question) (json.RawMessage, error) {
		switch q.Method {
		case "elicitation/create":
			return marshal(t, agreed(t, q.Params)), nil
		case "sampling/createMessage":
			return marshal(t, sampled), nil
		}
		return json.RawMessage(`{"roots":[]}`), nil
	}})
	switch {
	case wantErr != nil:
		if err == nil && !got.Tool.IsError {
			t.Errorf("%s: %s, and alone %v", name, marshal(t, got.Tool), wantErr)
		}
	case err != nil:
		t.Errorf("%s: %v, and alone %s", name, err, marshal(t, want))
	case want.IsError: // its words list names in any order
		if !got.Tool.IsError {
			t.Errorf("%s: %s, and alone %s", name, marshal(t, got.Tool), marshal(t, want))
		}
	default:
		succeeded++
		delete(want.Meta, mcp.MetaKeyServerInfo)
		if w, g := plain(t, want), plain(t, got.Tool); !bytes.Equal(w, g) {
			t.Errorf("%s %s: %s, and alone %s", name, input, g, w)
		}
	}
	return succeeded
}

func compareRest(t *testing.T, ctx context.Context, direct *mcp.ClientSession, b *bench) {
	resources := 0
	for r, err := range direct.Resources(ctx, nil) {
		if err != nil {
			t.Fatal(err)
		}
		resources++
		want, err := direct.ReadResource(ctx, &mcp.ReadResourceParams{URI: r.URI})
		if err != nil {
			continue
		}
		c := b.call(runtime.ReadResource, r.URI, "")
		for _, d := range b.def.Resources {
			if d.URI == r.URI {
				c.Rule = runtime.ResourceRule(d.Name)
			}
		}
		got, err := b.run(ctx, c, runtime.Back{})
		if err != nil || !bytes.Equal(marshal(t, got.Resource.Contents), marshal(t, want.Contents)) {
			t.Errorf("%s: %v, %v", r.URI, got, err)
		}
	}
	prompts := 0
	for p, err := range direct.Prompts(ctx, nil) {
		if err != nil {
			t.Fatal(err)
		}
		prompts++
		arguments := map[string]string{}
		for _, a := range p.Arguments {
			arguments[a.Name] = "test://example-resource"
		}
		want, err := direct.GetPrompt(ctx, &mcp.GetPromptParams{Name: p.Name, Arguments: arguments})
		if err != nil || want.NeedsInput() {
			continue
		}
		got, err := b.run(ctx, b.call(runtime.GetPrompt, p.Name, string(marshal(t, arguments))), runtime.Back{Ask: func(_ context.Context, q runtime.Question) (json.RawMessage, error) {
			return marshal(t, agreed(t, q.Params)), nil
		}})
		if err != nil || !bytes.Equal(marshal(t, got.Prompt.Messages), marshal(t, want.Messages)) {
			t.Errorf("%s: %v, %v", p.Name, got, err)
		}
	}
	if resources < 2 || prompts < 3 {
		t.Errorf("only %d resources and %d prompts were compared", resources, prompts)
	}
}

func marshal(t testing.TB, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// plain is a result without what belongs to the transport, its keys in order.
func plain(t testing.TB, v any) []byte {
	var all map[string]any
	if err := json.Unmarshal(marshal(t, v), &all); err != nil {
		t.Fatal(err)
	}
	delete(all, "resultType")
	if meta, ok := all["_meta"].(map[string]any); ok && len(meta) == 0 {
		delete(all, "_meta")
	}
	return marshal(t, all)
}
