package natsrt

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/guard"
	"latchkey/internal/runtime"
)

var results = map[string]*runtime.Result{
	"text": {Rows: -1, Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "hello\nüber"}}}},
	"structured failure": {Rows: 3, LeaseID: "lease-1", Tool: &mcp.CallToolResult{
		Meta: mcp.Meta{"a": "b"}, IsError: true, StructuredContent: map[string]any{"n": 1}, Content: []mcp.Content{},
	}},
	"annotated": {Tool: &mcp.CallToolResult{Content: []mcp.Content{
		&mcp.TextContent{Text: "for you", Annotations: &mcp.Annotations{Audience: []mcp.Role{"user"}}},
		&mcp.ImageContent{MIMEType: "image/png", Data: []byte{1, 2, 3}},
		&mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "a://b", Text: "t"}},
		&mcp.TextContent{Text: ""},
	}}},
	"guarded":          {Guard: &guard.Report{Withheld: map[string]int{"jwt": 1}, Flags: []guard.Flag{{Pattern: "fake-turn", At: "/content/0"}}}, Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "x"}}}},
	"guarded resource": {Guard: &guard.Report{Masked: map[string]int{"email": 2}}, Resource: &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "a://b", Text: "t"}}}},
	"resource":         {Rows: 1, Resource: &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "a://b", MIMEType: "text/plain", Text: "t"}}}},
}

func TestResultComesThrough(t *testing.T) {
	for name, want := range results {
		raw, err := marshalResult(want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := unmarshalResult(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(got)
		if !bytes.Equal(a, b) {
			t.Errorf("%s went in as %s and came out as %s", name, a, b)
		}
	}
}

func FuzzUnmarshalResult(f *testing.F) {
	for _, r := range results {
		raw, err := marshalResult(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		res, err := unmarshalResult(raw)
		if err != nil {
			return
		}
		if (res.Tool == nil) == (res.Resource == nil) || res.Rows < -1 {
			t.Fatalf("neither or both, or %d rows: %+v", res.Rows, res)
		}
		if _, err := json.Marshal(res); err != nil {
			t.Fatalf("what came out cannot be written: %v", err)
		}
	})
}
