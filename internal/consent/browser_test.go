package consent

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

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

// platform serves every page. A decision is answered with a redirect to what
// /ask was given; after /ask?return with Return instead.
func platform(t *testing.T) (base string, posted chan Decision) {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	base, posted = server.URL, make(chan Decision, 1)
	shown := map[string]func(http.ResponseWriter){
		"demo":    func(w http.ResponseWriter) { Render(w, 200, demo(base)) },
		"wider":   func(w http.ResponseWriter) { Render(w, 200, wider(base)) },
		"hostile": func(w http.ResponseWriter) { Render(w, 200, hostile(base)) },
		"nothing": func(w http.ResponseWriter) {
			p := demo(base)
			p.Server.Scopes, p.Server.Hidden = nil, 9
			Render(w, 200, p)
		},
		"unknown-client": func(w http.ResponseWriter) { Error(w, 400, UnknownClient(base, "Acme")) },
		"error": func(w http.ResponseWriter) {
			Error(w, 400, ErrorPage{
				Base: base, Tenant: "Acme", Title: "This request came from another browser",
				What: "You began to connect an app in one browser and went on in another. Nothing was allowed.",
				Why:  "A link from somebody else looks the same, so that it is refused.",
				Next: "Go back to the app and connect again.", Reference: "req_8f2k1m",
			})
		},
		"connections": func(w http.ResponseWriter) { Connections(w, connections(base)) },
		"no-connections": func(w http.ResponseWriter) {
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
	redirect, byPage := "", false
	mux.HandleFunc("GET /ask", func(w http.ResponseWriter, r *http.Request) {
		redirect, byPage = r.URL.Query().Get("redirect"), r.URL.Query().Has("return")
		p := demo(base)
		p.Client.Redirect = redirect
		if r.URL.Query().Has("forget") { // what a page without the redirect's source would do
			p.Client.Redirect = ""
		}
		Render(w, 200, p)
	})
	mux.HandleFunc("POST /consent", func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		d, err := ParseDecision(r.PostForm)
		if err != nil {
			t.Errorf("the page's own form: %v", err)
		}
		posted <- d
		if byPage {
			Return(w, ReturnPage{Base: base, Tenant: "Acme", Client: "Claude", Redirect: redirect + "?code=x", Allowed: d.Allow})
			return
		}
		pages.See(w, r, redirect+"?code=x")
	})
	mux.HandleFunc(pages.AssetPath, pages.Assets)
	return base, posted
}

// app waits for the answer as an app on this computer does, and then sends the
// browser on to a page elsewhere.
func app(t *testing.T, network, address string) *httptest.Server {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skip("no loopback address of this kind here: ", err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "<main>the app has %s</main>", r.URL.Query().Get("code"))
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func TestPagesInABrowser(t *testing.T) {
	base, _ := platform(t)
	b := pagestest.New(t)
	for _, name := range []string{"demo", "wider", "hostile", "nothing", "unknown-client", "error", "connections", "no-connections", "return"} {
		b.Check(name, base+"/"+name)
	}
}

const allow, cancel = `button[value="allow"]`, `button[value="cancel"]`

func TestRedirectToAppIsNotBlockedByFormAction(t *testing.T) {
	for _, test := range []struct{ name, network, address string }{
		{"IPv4", "tcp4", "127.0.0.1:0"}, {"IPv6", "tcp6", "[::1]:0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			base, posted := platform(t)
			b := pagestest.New(t)
			redirect := app(t, test.network, test.address).URL + "/callback"
			b.Open(base + "/ask?redirect=" + url.QueryEscape(redirect))
			b.Submit(chromedp.Click(chromedp.CSS(allow)))
			if got := b.Location(); got != redirect+"?code=x" {
				t.Errorf("the window is at %s; %v", got, b.Violations())
			}
			if d := <-posted; !d.Allow || !slices.Equal(d.Scopes, []string{"tool:search_orders", "tool:summarize_order", "orders:read"}) || d.For != 30*24*time.Hour || d.Ticket != "ticket-of-this-page" {
				t.Errorf("an untouched page says %+v", d)
			}
		})
	}
}

func TestRedirectToCustomSchemeIsNotBlockedByFormAction(t *testing.T) {
	base, posted := platform(t)
	blocked := func(query string) []string {
		b := pagestest.New(t)
		b.Open(base + "/ask?redirect=cursor%3A%2F%2Fanysphere.cursor-mcp%2Foauth%2Fcallback" + query)
		b.Do(chromedp.Click(chromedp.CSS(allow)))
		<-posted
		b.WaitSent("cursor://")
		return b.Violations()
	}
	if v := blocked(""); len(v) > 0 {
		t.Errorf("blocked: %v", v)
	}
	// The other way round, so that the test is known to see a block.
	if v := blocked("&forget"); len(v) == 0 {
		t.Error("a page without the scheme in form-action was not blocked: this test sees nothing")
	}
}

// https://vscode.dev/redirect does this, to vscode://.
func TestAppThatRedirectsOnIsNotBlocked(t *testing.T) {
	base, posted := platform(t)
	b := pagestest.New(t)
	end := app(t, "tcp4", "127.0.0.1:0").URL + "/end"
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, end+"?"+r.URL.RawQuery, http.StatusFound)
	}))
	t.Cleanup(between.Close)
	b.Open(base + "/ask?return&redirect=" + url.QueryEscape(between.URL+"/callback"))
	b.Do(chromedp.Click(chromedp.CSS(allow)), chromedp.WaitReady("the app has x"))
	<-posted
	if got := b.Location(); got != end+"?code=x" {
		t.Errorf("the window is at %s; %v", got, b.Violations())
	}
}

func TestConsentByKeyboardAlone(t *testing.T) {
	base, posted := platform(t)
	b := pagestest.New(t)
	redirect := app(t, "tcp4", "127.0.0.1:0").URL + "/callback"
	focus := func() string {
		return pagestest.Get(b, chromedp.Evaluate[string](`(e => (e.value || e.innerText) + (e.checked ? " ticked" : ""))(document.activeElement)`))
	}
	tab := func(want string) {
		t.Helper()
		b.Do(chromedp.KeyEvent(kb.Tab))
		if got := focus(); got != want {
			t.Fatalf("Tab leads to %q, want %q", got, want)
		}
		if outline := pagestest.Get(b, chromedp.Evaluate[string](`getComputedStyle(document.activeElement.matches("[type=radio]") ? document.activeElement.nextElementSibling : document.activeElement).outlineStyle`)); outline != "solid" {
			t.Errorf("%s: the focus is not visible: outline %s", want, outline)
		}
	}
	b.Open(base + "/ask?redirect=" + url.QueryEscape(redirect))
	tab("Not you?")
	tab("tool:search_orders ticked")
	b.Do(chromedp.KeyEvent(" "))
	tab("tool:summarize_order ticked")
	tab("orders:read ticked")
	tab("tool:add_note")
	b.Do(chromedp.KeyEvent(" "))
	tab("refunds:write")
	tab("tool:delete_order")
	tab("2592000 ticked")
	b.Do(chromedp.KeyEvent(kb.ArrowLeft))
	tab("cancel")
	tab("allow")
	b.Submit(chromedp.KeyEvent(kb.Enter))
	if d := <-posted; !d.Allow || !slices.Equal(d.Scopes, []string{"tool:summarize_order", "orders:read", "tool:add_note"}) || d.For != 8*time.Hour {
		t.Errorf("the form says %+v", d)
	}
}

// Enter in the middle of the page is answered by the first button: Cancel.
func TestEnterInTheListAllowsNothing(t *testing.T) {
	base, posted := platform(t)
	b := pagestest.New(t)
	redirect := app(t, "tcp4", "127.0.0.1:0").URL + "/callback"
	b.Open(base + "/ask?redirect=" + url.QueryEscape(redirect))
	b.Do(chromedp.Focus(chromedp.CSS("#scope-0")))
	b.Submit(chromedp.KeyEvent(kb.Enter))
	if d := <-posted; d.Allow || len(d.Scopes) > 0 {
		t.Errorf("the form says %+v", d)
	}
}

func TestHostileTextRunsNothing(t *testing.T) {
	base, _ := platform(t)
	b := pagestest.New(t)
	b.Open(base + "/hostile")
	if n := pagestest.Get(b, chromedp.Evaluate[int](`document.querySelectorAll("main script, main img, main [onerror]").length`)); n != 0 {
		t.Errorf("%d elements came from a server's text", n)
	}
	if title := pagestest.Get(b, chromedp.Title()); !strings.HasPrefix(title, "Allow <script>alert(1)</script>") {
		t.Errorf("title: %s", title)
	}
}
