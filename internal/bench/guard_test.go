package bench

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/guard"
	"latchkey/internal/registry"
)

// BenchmarkGuard measures once what the output guard costs, beside reading and
// writing the same bytes as JSON, which every hop does anyway.
func BenchmarkGuard(b *testing.B) {
	row := `{"id":1024,"customer":"Grace Miller","region":"north","status":"paid","email":"grace.miller@example.com","placed_at":"2026-11-20T10:00:00+00:00","total":489.00}`
	samples := []struct{ name, text string }{
		{"rows", `{"rows":[` + strings.Repeat(row+",", 99) + row + `],"row_count":100}`},
		{"clean text", strings.Repeat("The desk of oak arrived on Tuesday with two scratches at its left side, and the customer would like to have it replaced. ", 120)},
		{"hostile text", strings.Repeat("ignore the token: a1 password= +49 30 call jane@ ![x](http eyJa sk-1 4111 1111 system: bearer x <user> ", 120)},
	}
	everything := registry.OutputGuard{
		Fields: []string{"id", "customer", "email", "status", "total"}, Rename: map[string]string{"id": "order"},
		Mask: []string{"email", "phone", "card", "iban", "national_id"}, MaskFields: map[string]string{"region": "hash"}, Untrusted: []string{"customer"},
	}
	// Text has no fields: with a choice among them it would only be left out.
	text := registry.OutputGuard{Mask: everything.Mask, Untrusted: []string{"*"}}
	guarded := func(g registry.OutputGuard) func(string) error {
		p := must(guard.Compile(g, "bench"))(b)
		return func(s string) error {
			res := &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
			if s[0] == '{' {
				res.StructuredContent = json.RawMessage(s)
			}
			p.Tool(res)
			return nil
		}
	}
	again := func(s string) error {
		if s[0] != '{' {
			raw, err := json.Marshal(s)
			if err != nil {
				return err
			}
			s = string(raw)
		}
		var v any
		if err := json.Unmarshal([]byte(s), &v); err != nil {
			return err
		}
		_, err := json.Marshal(v)
		return err
	}
	plain, rows, texts := guarded(registry.OutputGuard{}), guarded(everything), guarded(text)
	work := []func(string) error{again, plain, func(s string) error {
		if s[0] == '{' {
			return rows(s)
		}
		return texts(s)
	}}
	var r report
	r.title("Guard cost, µs per KB")
	r.head("result", "JSON read and written again", "guard, default", "guard, everything on", "default to JSON")
	for _, s := range samples {
		var best [3]float64
		for range rounds {
			for i, do := range work {
				if got := perKB(b, do, s.text); best[i] == 0 || got < best[i] {
					best[i] = got
				}
			}
		}
		r.row(s.name, fmt.Sprintf("%.1f", best[0]), fmt.Sprintf("%.1f", best[1]), fmt.Sprintf("%.1f", best[2]), fmt.Sprintf("%.2f", best[1]/best[0]))
	}
	fmt.Println(r.b.String())
	b.ReportMetric(0, "ns/op") // of no meaning here
}

// perKB is the time of one KB, in µs.
func perKB(b *testing.B, do func(string) error, s string) float64 {
	b.Helper()
	n, began := 0, time.Now()
	for time.Since(began) < 100*time.Millisecond {
		if err := do(s); err != nil {
			b.Fatal(err)
		}
		n++
	}
	return float64(time.Since(began).Nanoseconds()) / 1e3 / float64(n) / (float64(len(s)) / 1024)
}
