package e2e

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// listed are the names of a server's tools for a token.
func (p *Platform) listed(ctx context.Context, resource, token string) (names []string, err error) {
	a, err := p.RPC(ctx, resource, token, "tools/list", nil)
	if err != nil {
		return nil, err
	}
	m, err := a.Message()
	if err != nil {
		return nil, err
	}
	for _, tool := range m.Result.Tools {
		names = append(names, tool.Name)
	}
	slices.Sort(names)
	return names, nil
}

func ran1(a Answer) bool { f, err := a.Failure(); return f == nil && err == nil }

// The demo's toolset: tools of three servers of two kinds under one URL and one
// consent, each run at its own server and on record as that.
func TestToolsetIsOneURLOverSeveralServers(t *testing.T) {
	t.Parallel()
	p := Start(t) // others switch the demo's tools off
	k := p.Token(t, "sam@acme.test", "support", "desk:read", "desk:tickets")
	desk := p.Resource("acme", "support")
	names, err := p.listed(t.Context(), desk, k.Access)
	if err != nil || !slices.Equal(names, []string{"list_incidents", "look_up_customer", "open_ticket", "search_orders", "summarize_order"}) {
		t.Fatalf("%v, %v", names, err)
	}
	if a := p.MustCall(t, desk, k.Access, "search_orders", map[string]any{"query": unique("nobody")}); !ran1(a) {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if a := p.MustCall(t, desk, k.Access, "look_up_customer", map[string]any{"customer_id": 1}); !ran1(a) && !strings.Contains(a.Body, "The API knows no such thing") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	title := unique("Desk ")
	for range 2 { // once, however often
		if a := p.MustCall(t, desk, k.Access, "open_ticket", ticket(title)); !ran1(a) {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
	}
	direct := p.Token(t, "sam@acme.test", "incidents", writeIncidents)
	if a := p.MustCall(t, p.Resource("acme", "incidents"), direct.Access, "create_incident_ticket", ticket(title)); !ran1(a) {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if n := p.tickets(t, title); n != 1 {
		t.Errorf("%d tickets: the same call through the toolset and at the server was done more than once", n)
	}
	records, err := p.Audit(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(records, func(r Record) bool {
		return r.Tool == "create_incident_ticket" && strings.Contains(r.Text, "support/open_ticket") && strings.Contains(r.Text, "desk:tickets") && strings.Contains(r.Text, "incidents")
	}) {
		t.Error("the call is not on record as its server's, through the toolset")
	}
	// A token is for one URL, whatever is behind it.
	for name, to := range map[string][2]string{"the toolset's at the server": {p.Resource("acme", "incidents"), k.Access}, "the server's at the toolset": {desk, direct.Access}} {
		if a := p.MustCall(t, to[0], to[1], "list_incidents", map[string]any{}); a.Status != 401 {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
}

func withDesk(slug, mode, tools string) string {
	return fmt.Sprintf(`tenant: acme
name: Acme Corp
roles:
  %[1]s:
    scopes: {%[1]s: [desk]}
members:
- {email: lena@acme.test, name: Lena Lead, roles: [finance, finance-lead, %[1]s]}
servers:
- slug: %[1]s
  kind: toolset
  spec: {mode: %[2]s, scope: desk, tools: [{server: tools-%[1]s, prefix: my_}]}
- slug: tools-%[1]s
  kind: echo
  spec: {tools: [%[3]s]}
`, slug, mode, tools)
}

// Whoever publishes, switches off or takes a tool away at its server does so for
// the toolset too, within seconds, and nobody has to touch the toolset.
func TestToolsetFollowsItsMembers(t *testing.T) {
	t.Parallel()
	p, slug := Start(t), unique("desk") // its switch would count in others' metrics
	if got := p.Apply(t, withDesk(slug, "direct", "echo, whoami")); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	k := p.Token(t, "lena@acme.test", slug, "desk")
	desk := p.Resource("acme", slug)
	lists := func(want ...string) {
		t.Helper()
		began := time.Now()
		Eventually(t, 20*time.Second, func() error {
			names, err := p.listed(t.Context(), desk, k.Access)
			if err == nil && !slices.Equal(names, want) {
				err = fmt.Errorf("it lists %v", names)
			}
			return err
		})
		t.Logf("listed %v after %s", want, time.Since(began).Round(time.Millisecond))
	}
	lists("my_echo", "my_whoami")
	revise := func(tools ...string) {
		t.Helper()
		status, body := p.api(t.Context(), t, "POST", p.APIURL+"/tenants/acme/servers/tools-"+slug+"/revisions", p.Operator.APIKey,
			map[string]any{"spec": map[string]any{"tools": tools}, "publish": true, "allow_breaking": true})
		if status != 201 {
			t.Fatalf("%d %v", status, body)
		}
	}
	revise("echo", "whoami", "wait")
	lists("my_echo", "my_wait", "my_whoami")
	revise("whoami", "wait")
	wantWithin(t, 10*time.Second, func() Answer { return p.MustCall(t, desk, k.Access, "my_echo", map[string]any{}) }, func(a Answer) bool { return !ran1(a) })
	lists("my_wait", "my_whoami")
	if status, body := p.api(t.Context(), t, "PUT", p.APIURL+"/tenants/acme/switches/"+url.PathEscape("tool:tools-"+slug+"/wait"), p.Operator.APIKey, map[string]any{"reason": "a test"}); status != 200 {
		t.Fatalf("%d %v", status, body)
	}
	wantWithin(t, 10*time.Second, func() Answer { return p.MustCall(t, desk, k.Access, "my_wait", map[string]any{"seconds": 0}) }, failedAs("switched_off"))
	lists("my_whoami")

	if got := p.Apply(t, withDesk(slug, "search", "whoami, wait"), "--allow-breaking"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	lists("describe_tool", "execute_tool", "search_tools")
	if a := p.MustCall(t, desk, k.Access, "search_tools", map[string]any{"query": "who am I"}); !ran1(a) || !strings.Contains(a.Body, "my_whoami") || strings.Contains(a.Body, "my_wait") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if a := p.MustCall(t, desk, k.Access, "execute_tool", map[string]any{"name": "my_whoami"}); !ran1(a) || !strings.Contains(a.Body, "lena@acme.test") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	wantFailure(t, p.MustCall(t, desk, k.Access, "execute_tool", map[string]any{"name": "my_wait", "arguments": map[string]any{"seconds": 0}}), "switched_off")
	status, body := p.api(t.Context(), t, "GET", p.APIURL+"/tenants/acme/servers/"+slug+"/health", p.Operator.APIKey, nil)
	if status != 200 {
		t.Errorf("%d %v", status, body)
	}
}

const globexDesk = `tenant: globex
name: Globex Corporation
roles:
  desk: {scopes: {support: [desk]}}
members:
- {email: gina@globex.test, name: Gina Admin, roles: [admin, desk]}
servers:
- {slug: support, kind: toolset, spec: {mode: %s, scope: desk, tools: [orders/search_orders%s]}}
`

// Two tenants with toolsets of the same slug over servers of the same slug: each
// has its own, in lists, in what is searched, and in rows.
func TestToolsetStaysInItsTenant(t *testing.T) {
	t.Parallel()
	p := Start(t)
	if got := p.Apply(t, fmt.Sprintf(globexDesk, "direct", ", crm/fetch_customer")); got.code != 2 || !strings.Contains(got.err, "crm") {
		t.Fatalf("over a server that only the other tenant has: %+v", got)
	}
	if got := p.Apply(t, fmt.Sprintf(globexDesk, "direct", "")); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	desks := map[string]string{"acme": p.Resource("acme", "support"), "globex": p.Resource("globex", "support")}
	tokens := map[string]Token{"acme": p.Token(t, "sam@acme.test", "support", "desk:read"), "globex": p.Token(t, "gina@globex.test", "support", "desk")}
	if names, err := p.listed(t.Context(), desks["globex"], tokens["globex"].Access); err != nil || !slices.Equal(names, []string{"search_orders"}) {
		t.Errorf("globex lists %v, %v", names, err)
	}
	rows := map[string]string{}
	for tenant, desk := range desks {
		for other, k := range tokens {
			a := p.MustCall(t, desk, k.Access, "search_orders", map[string]any{"query": "e"})
			switch {
			case tenant != other && a.Status != 401:
				t.Errorf("a token of %s at %s: %d %s", other, tenant, a.Status, a.Body)
			case tenant == other && (!ran1(a) || !strings.Contains(a.Body, "customer")):
				t.Errorf("%s: %d %s", tenant, a.Status, a.Body)
			case tenant == other:
				rows[tenant] = a.Body
			}
		}
	}
	if direct := p.MustCall(t, p.Resource("globex", "orders"), p.Token(t, "gina@globex.test", "orders", read).Access, "search_orders", map[string]any{"query": "e"}); rows["acme"] == rows["globex"] || !sameRows(direct.Body, rows["globex"]) {
		t.Errorf("through the toolset globex gets %s, at its server %s", rows["globex"], direct.Body)
	}
	if got := p.Apply(t, fmt.Sprintf(globexDesk, "search", ""), "--allow-breaking"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	Eventually(t, 20*time.Second, func() error {
		names, err := p.listed(t.Context(), desks["globex"], tokens["globex"].Access)
		if err == nil && !slices.Contains(names, "search_tools") {
			err = fmt.Errorf("it lists %v", names)
		}
		return err
	})
	if a := p.MustCall(t, desks["globex"], tokens["globex"].Access, "search_tools", map[string]any{"query": "customer ticket order"}); !ran1(a) || !strings.Contains(a.Body, "search_orders") || strings.Contains(a.Body, "look_up_customer") || strings.Contains(a.Body, "open_ticket") {
		t.Errorf("globex finds %s", a.Body)
	}
	for _, name := range []string{"look_up_customer", "crm/fetch_customer", "open_ticket"} {
		for _, tool := range []string{"describe_tool", "execute_tool"} {
			wantFailure(t, p.MustCall(t, desks["globex"], tokens["globex"].Access, tool, map[string]any{"name": name}), "not_found")
		}
	}
}

// sameRows compares answers but for what names the server and the call.
func sameRows(a, b string) bool {
	_, a, _ = strings.Cut(a, `"rows"`)
	_, b, _ = strings.Cut(b, `"rows"`)
	a, _, _ = strings.Cut(a, "]")
	b, _, _ = strings.Cut(b, "]")
	return a != "" && a == b
}
