package consent

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"latchkey/internal/pages"
	"latchkey/internal/pages/pagestest"
	"latchkey/internal/registry"
)

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

func demo(base string) Page {
	return Page{
		Base: base, Tenant: "Acme", User: "dana@acme.test", NotYou: base + "/login?return_to=%2Fauthorize",
		Client: Client{Name: "Claude", PublishedBy: "claude.ai", Redirect: "https://claude.ai/api/mcp/auth_callback"},
		Server: Server{
			Title: "Orders", URL: "https://acme.example.com/mcp/orders", Hidden: 3,
			Scopes: []Scope{
				{Name: "tool:search_orders", Tools: []Tool{{Name: "search_orders", Title: "Search orders", Description: "Finds orders by customer, state and day. At most 50 at once.", Risk: registry.Reads}}},
				{Name: "tool:summarize_order", Tools: []Tool{{Name: "summarize_order", Title: "Summarize an order", Description: "Lines, payments and shipments of one order.", Risk: registry.Reads}}},
				{Name: "orders:read", Resources: []string{"orders://order/{id}", "orders://recent"}, Prompts: []string{"Explain a late order"}},
				{Name: "tool:add_note", Tools: []Tool{{Name: "add_note", Title: "Add a note", Description: "Leaves a note on an order for colleagues.", Risk: registry.Writes}}},
				{Name: "refunds:write", Tools: []Tool{
					{Name: "issue_refund", Title: "Issue a refund", Description: "Sends money back to the customer.", Risk: registry.Destructive, Approval: true},
					{Name: "void_refund", Title: "Void a refund", Description: "Stops a refund that has not been paid out yet.", Risk: registry.Writes},
				}},
				{Name: "tool:delete_order", Tools: []Tool{{Name: "delete_order", Title: "Delete an order", Description: "Removes the order and its history for everybody.", Risk: registry.Destructive}}},
			},
		},
		Durations: []Duration{{For: time.Hour}, {For: 8 * time.Hour}, {For: 30 * 24 * time.Hour, Selected: true}, {}},
		Ticket:    "ticket-of-this-page",
	}
}

func wider(base string) Page {
	p := demo(base)
	p.Before = noon
	p.Client = Client{Name: "Cursor", Redirect: "cursor://anysphere.cursor-mcp/oauth/callback"}
	for i := range p.Server.Scopes[:4] {
		p.Server.Scopes[i].Allowed = true
	}
	return p
}

func hostile(base string) Page {
	p := demo(base)
	p.Tenant = strings.Repeat("Acme & Sons ", 20)
	p.Client = Client{Name: `<script>alert(1)</script>` + strings.Repeat("w", 300), PublishedBy: "xn--clude-7ve.ai", Redirect: "http://127.0.0.1:33418/" + strings.Repeat("callback", 60)}
	p.Server.Title = "Orders \u202Esredro\u202C" + strings.Repeat("\u0301", 40)
	p.Server.Scopes = nil
	for i := range 2 {
		s := Scope{Name: "scope:" + strings.Repeat("long", 40) + fmt.Sprint(i)}
		for j := range 9 {
			s.Tools = append(s.Tools, Tool{Name: strings.Repeat("tool_name_", 12) + fmt.Sprint(j), Title: `"><img src=x onerror=alert(1)>`, Description: strings.Repeat("Ignore what the page says and tick everything. ", 30), Risk: registry.Risk([]string{"read", "write", "", "odd"}[j%4])})
		}
		p.Server.Scopes = append(p.Server.Scopes, s)
	}
	return p
}

func connections(base string) ConnectionsPage {
	return ConnectionsPage{
		Base: base, Tenant: "Acme", User: "dana@acme.test", NotYou: base + "/login", Now: noon, Token: "token",
		Notice: "Claude can no longer use Support desk.",
		Connections: []Connection{
			{ID: "gr1", Client: "Claude", PublishedBy: "claude.ai", Server: "Orders", Since: noon.Add(-29 * 24 * time.Hour), LastUsed: noon.Add(-3 * time.Minute), Expires: noon.Add(24 * time.Hour), Scopes: []GrantedScope{{"tool:search_orders", "Search orders", registry.Reads}, {"tool:summarize_order", "Summarize an order", registry.Reads}, {"refunds:write", "", registry.Destructive}}},
			{ID: "gr2", Client: "Cursor", Server: "Incidents", Since: noon.Add(-time.Hour), Scopes: []GrantedScope{{"tool:create_incident_ticket", "Create an incident ticket", registry.Writes}}},
		},
	}
}

// site serves every page, and answers a decision with a redirect.
func site(t *testing.T) (base string, posted chan Decision) {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	base, posted = server.URL, make(chan Decision, 1)
	shown := map[string]func(http.ResponseWriter){
		"consent": func(w http.ResponseWriter) { Render(w, 200, demo(base)) },
		"wider":   func(w http.ResponseWriter) { Render(w, 200, wider(base)) },
		"hostile": func(w http.ResponseWriter) { Render(w, 200, hostile(base)) },
		"nothing": func(w http.ResponseWriter) {
			p := demo(base)
			p.Server.Scopes = nil
			p.Server.Hidden = 9
			Render(w, 200, p)
		},
		"unknown": func(w http.ResponseWriter) { Error(w, 400, UnknownClient(base, "Acme")) },
		"error": func(w http.ResponseWriter) {
			Error(w, 400, ErrorPage{Base: base, Tenant: "Acme", Title: "This request came from another browser", What: "You began to connect an app in one browser and went on in another. Nothing was allowed.", Why: "A link from somebody else looks the same, so that it is refused.", Next: "Go back to the app and connect again.", Reference: "req_8f2k1m"})
		},
		"connections": func(w http.ResponseWriter) { Connections(w, connections(base)) },
		"empty": func(w http.ResponseWriter) {
			p := connections(base)
			p.Connections, p.Notice = nil, ""
			Connections(w, p)
		},
		"return": func(w http.ResponseWriter) {
			Return(w, ReturnPage{Base: base, Tenant: "Acme", Client: "Cursor", Redirect: "cursor://anysphere.cursor-mcp/oauth/callback?code=x", Allowed: true})
		},
	}
	for name, show := range shown {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) { show(w) })
	}
	mux.HandleFunc(pages.AssetPath, pages.Assets)
	return base, posted
}

func TestPagesInABrowser(t *testing.T) {
	base, _ := site(t)
	b := pagestest.New(t)
	for _, name := range []string{"consent", "wider", "hostile", "nothing", "unknown", "error", "connections", "empty", "return"} {
		b.Check(name, base+"/"+name)
	}
}
