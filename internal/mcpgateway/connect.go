package mcpgateway

import (
	"embed"
	"net/http"

	"latchkey/internal/pages"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

//go:embed connect.html
var connectFiles embed.FS

var connectView = pages.Parse(connectFiles, "connect.html")

// showConnect answers a person who opened an MCP endpoint in a browser. The
// server's title is no secret: its public metadata has it.
func (g *Gateway) showConnect(w http.ResponseWriter, t tenants.Tenant, h registry.Hosted) {
	connectView.Render(w, pages.Response{}, pages.Frame{Base: g.cfg.Sites.Base(t.Slug), Tenant: t.Name, Title: h.Server.Title + " · " + t.Name}, struct {
		Title, Tenant, Slug, URL, SSE string
	}{h.Server.Title, t.Name, h.Server.Slug, g.cfg.Sites.Resource(t.Slug, h.Server.Slug), g.cfg.Sites.SSE(t.Slug, h.Server.Slug)})
}

// opensInBrowser reports whether a person looks at the URL. An MCP client
// never asks for HTML.
func opensInBrowser(r *http.Request) bool {
	return r.Method == http.MethodGet && pages.Browser(r) && r.Header.Get("Authorization") == "" && r.Header.Get("Mcp-Session-Id") == ""
}
