package mcpgateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"latchkey/internal/site"
)

// BenchmarkPlainCall is a call of the newest revision that needs nothing
// special, from its HTTP request to its answer, with a worker that answers at
// once: what the gateway itself costs.
func BenchmarkPlainCall(b *testing.B) {
	for name, capabilities := range map[string]string{"no capabilities": `{}`, "can be asked": `{"elicitation":{"form":{}},"sampling":{},"roots":{}}`} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{"id":1},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":` + capabilities + `}}}`
			token := w.token(ann, "read")
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(site.With(context.Background(), w.tenant), "POST", "/mcp/orders", strings.NewReader(body))
				r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {directAccept}, "Mcp-Protocol-Version": {modern}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"look"}, "Authorization": {"Bearer " + token}}
				rec := httptest.NewRecorder()
				if w.gateway.ServeMCP(rec, r, "orders"); rec.Code != http.StatusOK {
					b.Fatal(rec.Code, rec.Body)
				}
				w.mu.Lock()
				w.events, w.dispatched = nil, nil
				w.mu.Unlock()
			}
		})
	}
}
