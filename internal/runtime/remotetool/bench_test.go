package remotetool

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/runtime"
)

// BenchmarkCall is a call through the kind on a pooled session, and one of an SDK
// client of its own. The difference is what a worker, pins and the carrier cost.
func BenchmarkCall(b *testing.B) {
	for _, era := range eras {
		up := newUpstreamServer(b, era, "")
		b.Run(era+"/pooled", func(b *testing.B) {
			bench := newBench(b, connectionOf(b, "url: "+up.URL), "", nil)
			bench.must(runtime.CallTool, "echo", `{"text":"x"}`)
			hash := bench.opening.Hash() // the edge keeps it
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bench.run(context.Background(), bench.callOf(hash, runtime.CallTool, "echo", `{"text":"x"}`), runtime.Back{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(era+"/plain", func(b *testing.B) {
			var transport mcp.Transport = &mcp.StreamableClientTransport{Endpoint: up.URL}
			if era == "sse" {
				transport = &mcp.SSEClientTransport{Endpoint: up.URL}
			}
			s, err := mcp.NewClient(&mcp.Implementation{Name: "plain", Version: "1"}, nil).Connect(context.Background(), transport, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.CallTool(context.Background(), &mcp.CallToolParams{Name: "echo", Arguments: json.RawMessage(`{"text":"x"}`)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
