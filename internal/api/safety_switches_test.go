package api

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

// switchWorld has a role that switches and nothing else, held by oncall.
func switchWorld(t *testing.T) (*world, *time.Time) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	w := newWorld(t, func(w *world, c *Config) {
		c.People = People{Store: w.db, EndSessions: w.db.DeleteSessionsOf}
		c.Servers = Servers{Registry: w.db, Kinds: kinds.All(), Checker: kinds.Checker(), Provisioner: provisions{}, People: w.db, Usage: w.db, Offers: w.db, Health: w.db}
		c.Apps.Clients, c.Records.Store = w.db, w.db
		c.Safety = Safety{Switches: w.db, Events: w.db}
		c.Now = func() time.Time { return now }
	})
	check(t, w.db.PutRole(t.Context(), w.acme.ID, tenants.Role{Name: "oncall", Permissions: []tenants.Permission{tenants.SwitchesWrite}}))
	check(t, w.db.PutRole(t.Context(), w.acme.ID, tenants.Role{Name: "audit", Permissions: []tenants.Permission{tenants.AuditRead}}))
	w.as("oncall", tenants.SwitchesWrite)
	p := w.callers["oncall"]
	p.Roles = []string{"audit", "oncall"}
	w.callers["oncall"] = p
	w.callers["key"] = Principal{Kind: MeKindApiKey, ID: "akaaaaaaaaaaaaaaaaaa", Name: "CI", Tenant: w.acme, Permissions: []tenants.Permission{tenants.SwitchesWrite}}
	_, err := w.db.PutServer(t.Context(), w.acme.ID, registry.Server{Slug: "orders", Kind: "echo", Title: "Orders"})
	check(t, err)
	return w, &now
}

func at(target string) string { return "/tenants/acme/switches/" + url.PathEscape(target) }

func TestSwitchIsPutAndLifted(t *testing.T) {
	w, now := switchWorld(t)
	end := now.Add(time.Hour)
	const tool = "tool:orders/to come: ü/?"
	s := into[Switch](t, w.must(200, "oncall", "PUT", at(tool), map[string]any{"reason": " a loop ", "expires_at": end, "cancel_running": true}))
	if s.Target != tool || !s.On || s.Reason != "a loop" || s.By != w.pat.Email || s.ByRole != "oncall" || s.Kind != SwitchKindTool || !s.ExpiresAt.Equal(end) || !s.CancelRunning || *s.Name != "to come: ü/?" {
		t.Errorf("%+v", s)
	}
	for who, role := range map[string]string{"key": "API key CI", "admin": "admin", "operator": "platform operator"} {
		if s := into[Switch](t, w.must(200, who, "PUT", at("server:orders"), map[string]any{"reason": "a loop"})); s.ByRole != role {
			t.Errorf("%s: %+v", who, s)
		}
		w.must(204, "operator", "DELETE", at("server:orders"), nil)
	}
	// A person by address or id; shown by id, with the address as the name.
	for _, name := range []string{w.pat.Email, string(w.pat.ID)} {
		if s := into[Switch](t, w.must(200, "oncall", "PUT", at("member:"+name), map[string]any{"reason": "a loop"})); s.Target != "member:"+string(w.pat.ID) || *s.Name != w.pat.Email {
			t.Errorf("%+v", s)
		}
	}
	client := oauth.Client{ID: "https://app.example/c.json", Kind: oauth.Document, Name: "App", AuthMethod: "none", RedirectURIs: []string{"https://app.example/cb"}, GrantTypes: []string{"authorization_code"}, CreatedAt: *now}
	check(t, w.db.CreateOAuthClient(t.Context(), w.acme.ID, client))
	if s := into[Switch](t, w.must(200, "oncall", "PUT", at("client:"+client.ID), map[string]any{"reason": "a loop"})); *s.Name != "App" {
		t.Errorf("%+v", s)
	}
	w.must(200, "oncall", "PUT", at("tenant"), map[string]any{"reason": "all of it"})
	var seen []string
	for path := "/tenants/acme/switches?on=true&limit=1"; path != ""; {
		page := into[SwitchPage](t, w.must(200, "oncall", "GET", path, nil))
		for _, s := range page.Data {
			seen = append(seen, string(s.Kind))
		}
		if path = ""; page.NextCursor != nil {
			path = "/tenants/acme/switches?on=true&limit=1&cursor=" + url.QueryEscape(*page.NextCursor)
		}
	}
	if slices.Sort(seen); fmt.Sprint(seen) != "[client member tenant tool]" {
		t.Errorf("%v", seen)
	}
	w.must(204, "oncall", "DELETE", at("tenant"), nil)
	w.refused(fault.NotFound, "oncall", "DELETE", at("tenant"), nil)
	if s := into[Switch](t, w.must(200, "oncall", "GET", at("tenant"), nil)); s.On || s.LiftedAt == nil || *s.LiftedBy != w.pat.Email {
		t.Errorf("%+v", s)
	}
	// It ends at its time, whoever looks.
	*now = end
	if s := into[Switch](t, w.must(200, "oncall", "GET", at(tool), nil)); s.On {
		t.Errorf("%+v", s)
	}
	w.refused(fault.NotFound, "oncall", "DELETE", at(tool), nil)
}

func TestBadSwitchesAreNamedByPointer(t *testing.T) {
	w, now := switchWorld(t)
	good := map[string]any{"reason": "a loop"}
	for _, c := range []struct {
		path    string
		body    any
		pointer string
	}{
		{at("server:nowhere"), good, "{target}"}, {at("tool:nowhere/x"), good, "{target}"}, {at("member:nobody@acme.test"), good, "{target}"},
		{at("member:" + string(tenants.NewUserID())), good, "{target}"}, {at("client:cl1"), good, "{target}"}, {at("tool:orders"), good, "{target}"}, {at("tool:orders/a\u0007"), good, "{target}"},
		{at("tenant"), map[string]any{"reason": "    x    "}, "/reason"}, {at("tenant"), map[string]any{}, "/reason"},
		{at("tenant"), map[string]any{"reason": "a loop", "expires_at": now.Add(-time.Second)}, "/expires_at"},
		{at("tenant"), map[string]any{"reason": "a loop", "expires_at": now.Add(20 * 366 * 24 * time.Hour)}, "/expires_at"},
		{"/tenants/acme/switches?cursor=WyJsaXN0U3dpdGNoZXMiLCJ0cnVlIiwieCIsInkiXQ", nil, "?cursor"},
	} {
		method := "PUT"
		if c.body == nil {
			method = "GET"
		}
		p := w.refused(fault.InvalidRequest, "oncall", method, c.path, c.body)
		if p.Errors == nil || (*p.Errors)[0].Pointer != c.pointer || c.body != nil && strings.HasPrefix(c.pointer, "{") && (*p.Errors)[0].Fix == nil {
			t.Errorf("%s %v: %+v", c.path, c.body, p)
		}
	}
	for _, method := range []string{"GET", "DELETE"} {
		for _, target := range []string{"member:nobody@acme.test", "member:x", "server:nowhere", "tenant"} {
			w.refused(fault.NotFound, "oncall", method, at(target), nil)
		}
	}
	w.as("reader", tenants.SwitchesRead)
	w.must(200, "reader", "GET", "/tenants/acme/switches", nil)
	w.refused(fault.RoleNotAllowed, "reader", "PUT", at("tenant"), good)
	w.refused(fault.NotFound, "stranger", "PUT", at("tenant"), good)
}

func TestTenantCannotLiftTheOperatorsSwitch(t *testing.T) {
	w, _ := switchWorld(t)
	w.must(200, "operator", "PUT", at("tenant"), map[string]any{"reason": "unpaid"})
	w.refused(fault.RoleNotAllowed, "admin", "DELETE", at("tenant"), nil)
	w.refused(fault.RoleNotAllowed, "admin", "PUT", at("tenant"), map[string]any{"reason": "mine now"})
	file := "tenant: acme\nname: acme\nroles: {admin: {permissions: [admin]}}\nswitches: [{target: tenant, reason: mine now}]\n"
	w.refused(fault.RoleNotAllowed, "admin", "POST", "/tenants/acme/apply", map[string]any{"file": file})
	w.must(204, "operator", "DELETE", at("tenant"), nil)
	w.must(200, "admin", "POST", "/tenants/acme/apply", map[string]any{"file": file})
	if s := into[Switch](t, w.must(200, "admin", "GET", at("tenant"), nil)); !s.On || s.Reason != "mine now" || s.ByRole != "admin" {
		t.Errorf("%+v", s)
	}
}

// Who may apply files and not switch sees and changes no switch through one.
func TestFileIsNoWayAroundThePermission(t *testing.T) {
	w, _ := switchWorld(t)
	w.as("builder", tenants.ServersWrite, tenants.RolesWrite, tenants.MembersWrite, tenants.TenantWrite)
	w.must(200, "oncall", "PUT", at("tenant"), map[string]any{"reason": "SECRETREASON"})
	file := "tenant: acme\nname: acme\n"
	apply := func(extra string, prune bool) reply {
		return w.do("builder", "POST", "/tenants/acme/apply", map[string]any{"file": file + extra, "prune": prune})
	}
	if p := apply("switches: [{target: \"server:orders\", reason: mine}]\n", false).problem(); p.Code != "role_not_allowed" || *p.Permission != "switches:write" {
		t.Errorf("%+v", p)
	}
	for _, a := range []reply{apply("", false), w.do("builder", "GET", "/tenants/acme/export", nil)} {
		if a.Status != 200 || strings.Contains(a.Body, "target") || strings.Contains(a.Body, `"switch"`) || strings.Contains(a.Body, "SECRETREASON") {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	if s := into[Switch](t, w.must(200, "oncall", "GET", at("tenant"), nil)); !s.On {
		t.Errorf("%+v", s)
	}
}

func TestPlatformSwitchIsTheOperators(t *testing.T) {
	w, _ := switchWorld(t)
	if s := into[PlatformSwitch](t, w.must(200, "operator", "GET", "/switch", nil)); s.On || s.Reason != nil {
		t.Errorf("%+v", s)
	}
	w.refused(fault.NotFound, "admin", "PUT", "/switch", map[string]any{"reason": "mine"})
	w.refused(fault.InvalidRequest, "operator", "PUT", "/switch", map[string]any{"reason": "x"})
	if s := into[PlatformSwitch](t, w.must(200, "operator", "PUT", "/switch", map[string]any{"reason": "a breach"})); !s.On || *s.Reason != "a breach" || *s.By != "ops@example.test" {
		t.Errorf("%+v", s)
	}
	on, err := w.db.SwitchesOn(t.Context(), tenants.Platform)
	if err != nil || len(on) != 1 || on[0].ByRole != switches.OperatorRole {
		t.Errorf("%+v, %v", on, err)
	}
	if page := into[SwitchPage](t, w.must(200, "admin", "GET", "/tenants/acme/switches", nil)); len(page.Data) != 0 {
		t.Errorf("a tenant sees %+v", page)
	}
	w.must(204, "operator", "DELETE", "/switch", nil)
	w.refused(fault.NotFound, "operator", "DELETE", "/switch", nil)
}

func TestEventsAreListedAndAcknowledged(t *testing.T) {
	w, now := switchWorld(t)
	w.as("watcher", tenants.EventsWrite)
	var es []events.Event
	for i := range 5 {
		es = append(es, events.Event{Tenant: w.acme.ID, At: now.Add(time.Duration(i) * time.Minute), Kind: events.FanOut, Severity: events.Warning, Detail: "Too many.", User: w.pat.ID, Server: "orders", Count: i + 1})
	}
	es = append(es, events.Event{Tenant: tenants.Platform, At: *now, Kind: events.LimitsDegraded, Severity: events.Warning, Detail: "Away."}, events.Event{Tenant: w.globex.ID, At: *now, Kind: events.FanOut, Severity: events.Info, Detail: "Theirs."})
	check(t, w.db.InsertEvents(t.Context(), es))
	var counts []int
	var last string
	for path := "/tenants/acme/events?limit=2&kind=fan_out&server=orders&open=true"; path != ""; {
		page := into[EventPage](t, w.must(200, "watcher", "GET", path, nil))
		for _, e := range page.Data {
			counts, last = append(counts, e.Count), e.Id
			if *e.Member != w.pat.Email {
				t.Errorf("%+v", e)
			}
		}
		if path = ""; page.NextCursor != nil {
			path = "/tenants/acme/events?limit=2&kind=fan_out&server=orders&open=true&cursor=" + url.QueryEscape(*page.NextCursor)
		}
	}
	if fmt.Sprint(counts) != "[5 4 3 2 1]" {
		t.Errorf("%v", counts)
	}
	for range 2 {
		if e := into[Event](t, w.must(200, "watcher", "PUT", "/tenants/acme/events/"+last+"/acknowledgement", nil)); e.AcknowledgedAt == nil || *e.AcknowledgedBy != w.pat.Email {
			t.Errorf("%+v", e)
		}
	}
	if page := into[EventPage](t, w.must(200, "watcher", "GET", "/tenants/acme/events?open=true", nil)); len(page.Data) != 4 {
		t.Errorf("%d are open", len(page.Data))
	}
	w.refused(fault.NotFound, "stranger", "PUT", "/tenants/acme/events/"+last+"/acknowledgement", nil)
	w.refused(fault.NotFound, "stranger", "PUT", "/tenants/globex/events/"+last+"/acknowledgement", nil)
	w.refused(fault.RoleNotAllowed, "oncall", "GET", "/tenants/acme/events", nil)
	// What is of no tenant is for who runs the platform.
	if page := into[EventPage](t, w.must(200, "operator", "GET", "/tenants/platform/events", nil)); len(page.Data) != 1 || page.Data[0].Kind != EventKindLimitsDegraded {
		t.Errorf("%+v", page)
	}
	w.refused(fault.NotFound, "admin", "GET", "/tenants/platform/events", nil)
}
