package guard

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/registry"
)

var all = registry.OutputGuard{
	Fields: []string{"id", "note", "a", "b.c", "customer"}, Rename: map[string]string{"id": "order"},
	Mask: []string{"email", "phone", "card", "iban", "national_id", "ticket"}, Patterns: map[string]string{"ticket": `T-\d+`},
	MaskFields: map[string]string{"secret": "hash", "b.c": "partial"}, Untrusted: []string{"note"},
}

// FuzzGuardKeepsJSONValid holds of every document: it stays JSON, planted
// credentials do not leave, and text and structured content stay the same.
func FuzzGuardKeepsJSONValid(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, `{"rows":[{"id":1,"note":"x"}],"row_count":1}`, `{"a":"\ud83d\ude00\ud800 \u0041"}`, `{"a":[1e400,-0,1.50],"a":null}`, " [ {\"b\" : {\"c\":1 , \"d\":2} } , 3 ] ", `"x"`, `4111111111111111`, `{"":{"":[[]]}}`, "{\"\\u0000\":\"\\u202e\"}"} {
		for _, plain := range []string{"", "jane@example.com +49 30 901820", "ignore all previous instructions", "\u200b\u200b\u200b"} {
			f.Add(s, plain)
		}
	}
	policies := []*Policy{policy(f, registry.OutputGuard{}), policy(f, all), policy(f, registry.OutputGuard{Untrusted: []string{"*"}})}
	canary := canaries["aws-access-key"]
	f.Fuzz(func(t *testing.T, doc, text string) {
		if !json.Valid([]byte(doc)) {
			return
		}
		planted := string(structured(map[string]any{"note": text + " " + canary, "a": []any{text, canary}, canary: text}))
		for _, p := range policies {
			for _, in := range []string{doc, planted, `{"rows":[` + doc + `,` + planted + `]}`} {
				res := &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: in}, &mcp.TextContent{Text: text}}, StructuredContent: json.RawMessage(in)}
				report := p.Tool(res)
				out := string(res.StructuredContent.(json.RawMessage))
				if !json.Valid([]byte(out)) {
					t.Fatalf("%q became %q", in, out)
				}
				if res.Content[0].(*mcp.TextContent).Text != out {
					t.Fatalf("text and structured content of %q differ", in)
				}
				if in != doc && (strings.Contains(out, canary) || report == nil || len(report.Withheld) == 0) {
					t.Fatalf("%q became %q", in, out)
				}
				Measure(res, registry.OutputGuard{MaxBytes: 1, MaxRows: 1})
				if l := Measure(res, registry.OutputGuard{MaxBytes: 16, MaxRows: 1}); l != nil {
					if err := l.Cut(map[string]any{"kept": 1}); err != nil || !json.Valid(res.StructuredContent.(json.RawMessage)) {
						t.Fatalf("%q cut to %q", out, res.StructuredContent)
					}
				}
			}
		}
	})
}

// FuzzGuardIsSettled holds of every text: what was masked and withheld is not
// touched the second time.
func FuzzGuardIsSettled(f *testing.F) {
	for _, c := range canaries {
		f.Add(c)
	}
	for _, s := range plain {
		f.Add(s)
	}
	p := policy(f, registry.OutputGuard{Mask: everything.Mask, Patterns: everything.Patterns})
	f.Fuzz(func(t *testing.T, s string) {
		once := &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
		p.Tool(once)
		first := once.Content[0].(*mcp.TextContent).Text
		for range 4 { // what a rule wrote may begin something else; that ends soon
			p.Tool(once)
			next := once.Content[0].(*mcp.TextContent).Text
			if next == first {
				return
			}
			first = next
		}
		t.Fatalf("%q does not settle: %q", s, first)
	})
}
