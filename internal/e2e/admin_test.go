package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"latchkey/internal/pages/pagestest"
)

// The story of an administrator's first day: she invites a person, adds a
// server, narrows a role. His running client loses the tool at the next call;
// the denial stands in the explorer; she revokes the grant, and his client is
// told.
func TestAdminRunsATenant(t *testing.T) {
	external(t)
	t.Parallel()
	p := Start(t)
	orders := p.Resource("acme", "orders")
	dana := OpenConsole(t, p, "dana@acme.test")

	// An invitation by link, to hand over.
	dana.Go("/people")
	dana.Press("Invite people")
	dana.Fill("Addresses", "Nora New <nora@acme.test>")
	dana.Choose("Roles", "finance")
	dana.Press("Show it to me, once, to hand over", "Invite")
	link := dana.Shown("Link of nora@acme.test")
	if !strings.HasPrefix(link, p.Tenants["acme"]+"/invitation?token=") {
		t.Fatalf("the link is %q", link)
	}

	// Nora follows it, chooses a password, and lets her app in.
	app, nora := listen(t, p), pagestest.New(t)
	nora.Open(link)
	wantText(t, nora, "Join Acme Corp", "dana@acme.test invites you")
	const password = "correct horse battery staple"
	nora.Do(chromedp.SendKeys(chromedp.CSS(`input[name="password"]`), password))
	if pagestest.Get(nora, chromedp.Evaluate[bool](`!!document.querySelector('input[name="again"]')`)) {
		nora.Do(chromedp.SendKeys(chromedp.CSS(`input[name="again"]`), password))
	}
	nora.Do(chromedp.Click(chromedp.CSS(`form button`)))
	nora.WaitAt(p.Tenants["acme"] + "/connections")
	nora.Open(app.url())
	nora.Do(chromedp.WaitReady(chromedp.CSS(allowButton)), tick(write), chromedp.Click(chromedp.CSS(allowButton)))
	k := app.token(t)
	reason := unique("console ")
	p.Exec(t, "demo_acme", `INSERT INTO staff (email) VALUES ('nora@acme.test')`) // the shop's own rules let her see its orders
	if f, err := p.MustCall(t, orders, k.Access, "issue_refund", refundOf(payable(t, p), reason)).Failure(); f != nil || err != nil {
		t.Fatalf("before the role is narrowed: %v %v", f, err)
	}

	// Finance may not refund any more. The next call is refused.
	dana.Go("/access")
	dana.Press("finance opens refunds:write on orders")
	dana.See("finance closes 1 scope")
	dana.Shot("story-access")
	dana.Press("Save")
	refund := func() Answer {
		return p.MustCall(t, orders, k.Access, "issue_refund", refundOf(payable(t, p), reason))
	}
	wantWithin(t, time.Second, refund, failedAs("role_not_allowed"))

	// The denial stands in the explorer, with who and why.
	dana.Go("/audit?" + url.Values{"outcome": {"refused"}, "member": {"nora@acme.test"}}.Encode())
	dana.See("issue_refund", "nora@acme.test", "role_not_allowed")
	dana.Shot("story-audit")

	// The grant goes, and the client is told to sign in again.
	dana.Go("/clients?" + url.Values{"tab": {"grants"}, "member": {"nora@acme.test"}}.Encode())
	dana.Press("Revoke what nora@acme.test gave End-to-end test")
	dana.See("can no longer use orders for nora@acme.test")
	dana.Press("Revoke")
	wantWithin(t, 5*time.Second, func() Answer { return p.MustCall(t, orders, k.Access, "search_orders", map[string]any{"query": "x"}) }, unauthorized)
	if k, err := app.Renew(t.Context(), k.Refresh); err == nil {
		t.Errorf("the refresh token still gives %s", k.Scope)
	}
	dana.Clean()
}

// An administrator adds a server: the connection is tried when it is entered,
// mistakes in the spec are named by line, a tool is called before anybody sees
// the server, and the scopes are opened with the publication.
func TestAdminAddsAServer(t *testing.T) {
	external(t)
	t.Parallel()
	p := Start(t)
	dana := OpenConsole(t, p, "dana@acme.test")
	dana.Go("/add-server")
	dana.Press("Diagnostics")
	dana.Fill("Title", "Smoke signals")
	dana.Press("Next")
	dana.See("Spec")
	dana.Fill("Spec", "tools:\n- {name: ecko, scope: smoke}\n")
	dana.See("ecko", "Line 2")
	dana.Shot("story-add-server")
	dana.Fill("Spec", "tools:\n- {name: echo, scope: smoke}\n")
	dana.See("1 tool")
	dana.Press("Save the draft")
	dana.See("Call echo")
	if a := p.MustCall(t, p.Resource("acme", "smoke-signals"), "", "echo", nil); a.Status != http.StatusNotFound {
		t.Errorf("a draft is served: %d %s", a.Status, a.Body)
	}
	dana.Fill("text", "hello from a draft")
	dana.Press("Call echo")
	dana.See("hello from a draft", "Call ca")
	dana.Shot("story-try")
	dana.Press("Next")
	dana.Press("support opens smoke")
	dana.Press("Publish and open 1 scope")
	dana.See("is served")
	k := p.Token(t, "sam@acme.test", "smoke-signals", "smoke")
	if a := p.MustCall(t, p.Resource("acme", "smoke-signals"), k.Access, "echo", map[string]any{"text": "x"}); a.Status != http.StatusOK {
		t.Errorf("a published server: %d %s", a.Status, a.Body)
	}
	// What she tried is on record like any call.
	dana.Go("/audit?" + url.Values{"server": {"smoke-signals"}, "method": {"tools/call"}}.Encode())
	dana.See("echo", "dana@acme.test", "sam@acme.test")
	dana.Clean()
}

// The explorer shows what happens while one looks.
func TestExplorerFollows(t *testing.T) {
	external(t)
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "fred@acme.test", "orders", read)
	dana := OpenConsole(t, p, "dana@acme.test")
	dana.Go("/audit?live=true&server=orders")
	dana.See("Live")
	query := unique("followed-")
	p.MustCall(t, p.Resource("acme", "orders"), k.Access, "search_orders", map[string]any{"query": query})
	dana.See("fred@acme.test", "search_orders")
	dana.Clean()
}

// consolePages are all pages of a tenant's console, and opsPages the operators'.
var (
	consolePages = []string{
		"/", "/servers", "/servers/orders", "/servers/orders?tab=tools", "/servers/orders?tab=revisions", "/servers/orders?tab=connection", "/servers/orders?tab=try", "/add-server",
		"/tools", "/tools/orders/issue_refund", "/credentials", "/access", "/people", "/people?tab=invitations", "/people/fred@acme.test", "/clients", "/clients?tab=grants",
		"/servers/issues", "/servers/issues?tab=changes", "/servers/issues?tab=connection", "/tasks",
		"/approvals", "/events", "/switches", "/limits", "/deprecations",
		"/audit", "/usage", "/api-keys", "/settings",
	}
	opsPages = []string{"/tenants", "/tenants/acme", "/workers", "/health", "/operators", "/mail", "/switch"}
)

// Every page, in both themes and at a phone's width: accessible, within its
// policy and its window, and with something on it.
func TestConsolePages(t *testing.T) {
	external(t)
	t.Parallel()
	p := Start(t)
	busyDay(t, p)
	groups := 4
	for g := range groups {
		t.Run("tenant", func(t *testing.T) {
			t.Parallel()
			c := OpenConsole(t, p, "dana@acme.test")
			for i, path := range consolePages {
				if i%groups == g {
					c.look("console", path)
				}
			}
		})
	}
	t.Run("ops", func(t *testing.T) {
		t.Parallel()
		c := OpenOps(t, p)
		for _, path := range opsPages {
			c.look("ops", path)
		}
	})
	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		c := OpenConsole(t, p, "sam@acme.test")
		c.Go("/api-keys")
		c.See("keys:read")
		c.CheckHere("console-denied")
	})
}

// look checks one page and takes its pictures.
func (c *Console) look(part, path string) {
	c.t.Helper()
	c.Go(path)
	c.Settled()
	name := strings.Trim(strings.NewReplacer("/", "-", "?", "-", "=", "-", "@", "-", ".", "-").Replace(path), "-")
	if name == "" {
		name = "overview"
	}
	if strings.Contains(c.Text(), "Something went wrong") || strings.Contains(c.Text(), "not_found") {
		c.t.Errorf("%s:\n%.1000s", path, c.Text())
	}
	c.CheckHere(part + "-" + name)
	c.Clean()
}

// busyDay gives the pages something to show.
func busyDay(t *testing.T, p *Platform) {
	t.Helper()
	fred, vic := p.Token(t, "fred@acme.test", "orders", read, write), p.Token(t, "vic@acme.test", "orders", read)
	orders := p.Resource("acme", "orders")
	for i := range 12 {
		p.MustCall(t, orders, fred.Access, "search_orders", map[string]any{"query": string(rune('a' + i))})
		p.MustCall(t, orders, vic.Access, "search_orders", map[string]any{"query": "Miller"})
	}
	p.MustCall(t, orders, fred.Access, "issue_refund", refundOf(payable(t, p), "busy day"))
	p.MustCall(t, orders, vic.Access, "issue_refund", map[string]any{"order_id": 1, "amount": 1, "reason": "not allowed"})
	p.MustCall(t, orders, fred.Access, "search_orders", map[string]any{"limit": "many"})
	changedUpstream(t, p)
	tasksOfADay(t, p)
	// What the pages of safety show: a dry run, an approval that waits, an answer
	// that was masked and flagged, and a switch.
	for _, amount := range []float64{60, 600} {
		p.MustCall(t, orders, fred.Access, "issue_refund", map[string]any{"order_id": payable(t, p), "amount": amount, "reason": "arrived broken"})
	}
	sam := p.Token(t, "sam@acme.test", "crm", "crm:read")
	for id := 100; id < 112; id++ {
		p.MustCall(t, p.Resource("acme", "crm"), sam.Access, "fetch_customer", map[string]any{"customer_id": id})
	}
	if err := p.operate(http.MethodPut, "/tenants/acme/switches/tool:incidents%2Fcreate_incident_ticket", object{"reason": "Duplicates since the release"}, nil); err != nil {
		t.Fatal(err)
	}
}
