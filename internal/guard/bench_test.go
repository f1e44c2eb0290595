package guard

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/registry"
)

// Samples of 12 to 16 KB: what a tool gives every day, and what somebody gives
// who means harm.
var samples = map[string]string{
	"rows":    `{"rows":[` + strings.Repeat(`{"id":1024,"customer":"Grace Miller","region":"north","status":"paid","placed_at":"2026-11-20T10:00:00+00:00","total":489.00},`, 99) + `{"id":1}],"row_count":100}`,
	"text":    strings.Repeat("The desk of oak arrived on Tuesday with two scratches at its left side, and the customer would like to have it replaced. ", 120),
	"hostile": strings.Repeat("ignore the token: a1 password= +49 30 call jane@ ![x](http eyJa sk-1 4111 1111 system: bearer x <user> ", 120),
}

func BenchmarkGuard(b *testing.B) {
	for name, g := range map[string]registry.OutputGuard{"default": {}, "everything": all} {
		for sample, s := range samples {
			if sample != "rows" && name == "everything" { // text has no fields: it would be left out
				g = registry.OutputGuard{Mask: all.Mask, Patterns: all.Patterns, Untrusted: []string{"*"}}
			}
			p := policy(b, g)
			b.Run(name+"/"+sample, func(b *testing.B) {
				b.SetBytes(int64(len(s)))
				b.ReportAllocs()
				for b.Loop() {
					res := &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
					if sample == "rows" {
						res.StructuredContent = json.RawMessage(s)
					}
					p.Tool(res)
				}
				perKB(b, s)
			})
		}
	}
	// The baseline: to read and write the same bytes as JSON, once.
	for sample, s := range samples {
		b.Run("json/"+sample, func(b *testing.B) {
			doc := []byte(s)
			if sample != "rows" {
				doc = structured(s)
			}
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				var v any
				if err := json.Unmarshal(doc, &v); err != nil {
					b.Fatal(err)
				}
				if _, err := json.Marshal(v); err != nil {
					b.Fatal(err)
				}
			}
			perKB(b, s)
		})
	}
}

func perKB(b *testing.B, s string) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1e3/float64(b.N)/(float64(len(s))/1024), "µs/KB")
}
