package api

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/authn"
	"latchkey/internal/demo"
	"latchkey/internal/fault"
	"latchkey/internal/mcpgateway"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
	"latchkey/internal/vault"
)

const hunter2 = "hunter2-of-acme"

// provisions is what the command wires: a kind knows its own connection.
type provisions struct{ *vault.Servers }

func (p provisions) Provision(ctx context.Context, t tenants.ID, s registry.Server, secrets map[string]secret.Text) (string, error) {
	k, _ := kinds.ByName(s.Kind)
	if k.Provision == nil {
		return "", nil
	}
	if err := k.Provision(ctx, p.Servers, t, s, secrets); err != nil {
		return "", err
	}
	return p.SecretsVersion(ctx, t, s.ID)
}

func (p provisions) Forget(ctx context.Context, t tenants.ID, id registry.ServerID) error {
	return p.DeleteServer(ctx, t, id)
}

// serversWorld hosts servers on a real Vault, whose databases are the demo's.
func serversWorld(t *testing.T) *world {
	t.Helper()
	pg := testenv.Postgres(t)
	demos.Do(func() {
		demos.err = demo.Databases(context.Background(), pg.DSN, demo.Passwords{Acme: hunter2, Globex: "hunter2-of-globex"})
	})
	check(t, demos.err)
	w := newWorld(t, func(w *world, c *Config) {
		c.People = People{Store: w.db, EndSessions: w.db.DeleteSessionsOf}
		c.Limits = Limits{Store: w.db}
		c.Servers = Servers{Registry: w.db, Kinds: kinds.All(), Checker: kinds.Checker(), Provisioner: provisions{vault.NewServers(w.vault)}, People: w.db, Usage: w.db, Offers: w.db, Health: w.db}
		c.Servers.Try = tryOn(t, w, c)
	})
	return w
}

var demos struct {
	sync.Once
	err error
}

var signing struct {
	sync.Once
	key vault.Key
	err error
}

// tryOn runs calls as the platform does: a gateway, NATS, and a worker that gets
// its credentials from Vault.
func tryOn(t *testing.T, w *world, c *Config) func(context.Context, TryCall) (Tried, error) {
	t.Helper()
	signing.Do(func() {
		if signing.key, signing.err = vault.NewKey(); signing.err == nil {
			signing.err = vault.PinKeys(context.Background(), w.vault, []ed25519.PublicKey{signing.key.Public()})
		}
	})
	check(t, signing.err)
	signer, err := vault.NewSigner(signing.key)
	check(t, err)
	server, err := natsrt.StartServer(natsrt.ServerOptions{})
	check(t, err)
	conn, err := server.EdgeConn("edge")
	check(t, err)
	sys, err := server.SysConn()
	check(t, err)
	edge, err := natsrt.NewEdge(natsrt.EdgeConfig{Conn: conn, Sys: sys, Opening: func(ctx context.Context, t tenants.ID, s registry.ServerID, r registry.RevisionID) (runtime.Opening, error) {
		rev, err := w.db.Revision(ctx, t, r)
		if err != nil {
			return runtime.Opening{}, err
		}
		of, err := w.db.Server(ctx, t, s)
		return mcpgateway.OpeningOf(of, rev), err
	}})
	check(t, err)
	workerConn, err := natsrt.DialWorker(server.WorkerURL(), "w1", slog.New(slog.DiscardHandler))
	check(t, err)
	leases := vault.NewLeases(vault.LeasesConfig{Client: workerVault(t), Verifier: vault.NewVerifier(signing.key.Public())})
	worker := runtime.NewWorker(runtime.WorkerConfig{Name: "w1", Kinds: kinds.All(), Openings: natsrt.NewOpenings(workerConn), Leases: leases})
	_, err = natsrt.ServeWorker(context.Background(), workerConn, "default", worker)
	check(t, err)
	check(t, workerConn.Flush())
	gateway := mcpgateway.New(mcpgateway.Config{
		Sites: c.Sites, Verifier: nobody{}, Registry: w.db, People: w.db, Signer: signer, Dispatch: dispatch{edge}, Audit: c.Audit, Approvals: w.db,
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		edge.Close()
		if err := worker.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := leases.Close(ctx); err != nil {
			t.Error(err)
		}
		conn.Close()
		sys.Close()
		workerConn.Close()
		server.Close()
	})
	return func(ctx context.Context, call TryCall) (Tried, error) {
		tried, err := gateway.Try(ctx, mcpgateway.TryCall(call))
		return Tried(tried), err
	}
}

func workerVault(t *testing.T) *vault.Client {
	c, err := vault.NewClient(vault.Config{Address: testenv.Vault(t).Addr()})
	check(t, err)
	return c
}

// nobody verifies no token: people who try tools have none.
type nobody struct{}

func (nobody) Verify(context.Context, tenants.ID, string, string, string) (authn.Principal, error) {
	return authn.Principal{}, fault.New(fault.Unauthenticated, "no")
}

type dispatch struct{ edge *natsrt.Edge }

func (d dispatch) Dispatch(ctx context.Context, c *runtime.Call, o mcpgateway.DispatchOptions) (mcpgateway.DispatchOutcome, error) {
	out, err := d.edge.Do(ctx, c, natsrt.DoOptions{Pool: o.Pool, Retryable: o.Repeatable, Progress: o.Progress})
	return mcpgateway.DispatchOutcome{Result: out.Result, Worker: out.Worker, Started: out.Started && !out.Answered}, err
}

// shop is the connection to acme's database.
func shop(t *testing.T, password any) object {
	pg := testenv.Postgres(t)
	return object{
		"host": pg.Host(), "port": pg.Port(), "database": "demo_acme", "sslmode": "disable",
		"admin":  object{"username": "acme_vault", "password": password},
		"groups": object{"read": []string{"acme_reader"}, "write": []string{"acme_writer"}},
	}
}

const ordersYAML = `tools:
- name: count_orders
  description: Counts the orders of a state.
  risk: read
  scope: orders:read
  parameters:
  - {name: status, type: string, enum: [open, paid, shipped, cancelled], required: true}
  statement: SELECT count(*) AS n FROM orders WHERE status = :status
  output: {single: true}
- name: forget_orders
  description: Deletes nothing, for tests.
  statement: DELETE FROM orders WHERE false
`

// hasNoSecret holds everything that an administrator could read.
func (w *world) hasNoSecret() {
	w.Helper()
	events, err := w.db.AuditEvents(w.Context(), w.acme.ID, time.Time{}, 1000)
	check(w.T, err)
	text := fmt.Sprintf("%+v", events)
	for _, path := range []string{"/servers", "/servers/orders", "/servers/orders/connection", "/connections", "/export", "/servers/orders/revisions"} {
		text += w.do("admin", "GET", "/tenants/acme"+path, nil).Body
	}
	if strings.Contains(text, "hunter2") {
		w.Errorf("the secret is in\n%s", text)
	}
}

func TestServerIsMadeCheckedPublishedAndDeleted(t *testing.T) {
	w := serversWorld(t)
	at := "/tenants/acme/servers/orders"
	w.refused(fault.NotFound, "admin", "GET", at, nil)

	// Check: nothing is saved.
	c := into[ServerCheck](t, w.must(200, "admin", "POST", at+"/check", object{"kind": "sql", "spec_yaml": strings.Replace(ordersYAML, ":status", ":state", 1), "connection": shop(t, object{"env": "PASSWORD"})}))
	if c.Ok || len(c.Problems) != 3 || c.Problems[0].Pointer != "/spec/tools/0/parameters/0" || deref(c.Problems[0].Line) != 7 || c.Problems[1].Pointer != "/spec/tools/0/statement" || deref(c.Problems[1].Line) == 0 ||
		c.Problems[2].Pointer != "/connection/admin/password" || c.Problems[2].Line != nil || !strings.Contains(deref(c.Problems[2].Fix), "{secret: value}") {
		t.Errorf("%+v", c)
	}
	if c = into[ServerCheck](t, w.must(200, "admin", "POST", at+"/check", object{"kind": "sql", "spec_yaml": ordersYAML})); !c.Ok || len(c.Tools) != 2 || c.Diff == nil || c.Diff.From != nil || len(c.Diff.Changes) != 2 || !slices.Equal(c.Scopes, []string{"orders:read", "tool:forget_orders"}) {
		t.Errorf("%+v", c)
	}
	w.refused(fault.NotFound, "admin", "GET", at, nil)

	// What fails saves nothing.
	for name, body := range map[string]object{
		"a wrong password":   {"kind": "sql", "spec_yaml": ordersYAML, "connection": shop(t, object{"secret": "wrong"})},
		"a reference":        {"kind": "sql", "spec_yaml": ordersYAML, "connection": shop(t, object{"env": "PASSWORD"})},
		"a plain secret":     {"kind": "sql", "spec_yaml": ordersYAML, "connection": shop(t, hunter2)},
		"nothing to keep":    {"kind": "sql", "spec_yaml": ordersYAML, "connection": shop(t, object{"secret": "[set]"})},
		"a spec of no use":   {"kind": "sql", "spec": object{"tools": []any{}}},
		"two specs":          {"kind": "sql", "spec": object{}, "spec_yaml": ordersYAML},
		"nothing to publish": {"kind": "sql", "publish": true},
	} {
		if a := w.do("admin", "PUT", at, body); a.Status != 422 || a.problem().Code != "invalid_spec" || strings.Contains(a.Body, "hunter2") {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
		w.refused(fault.NotFound, "admin", "GET", at, nil)
	}
	w.refused(fault.InvalidRequest, "admin", "PUT", at, object{"kind": "magic"})
	w.refused(fault.Conflict, "admin", "PUT", at, object{"kind": "sql", "spec_yaml": ordersYAML, "publish": true})

	// A draft.
	put := w.must(200, "admin", "PUT", at, object{"kind": "sql", "title": "Orders", "spec_yaml": ordersYAML, "connection": shop(t, object{"secret": hunter2})})
	s := into[Server](t, put)
	if s.Status != "draft" || s.ActiveRevision != nil || deref(s.LatestRevision) != 1 || deref(s.Tools) != 2 || !slices.Equal(s.SecretsSet, []string{"admin.password"}) || s.McpUrl != "http://127.0.0.1:8080/t/acme/mcp/orders" {
		t.Errorf("%+v", s)
	}
	get := w.must(200, "admin", "GET", at, nil)
	if get.Body != put.Body || !strings.Contains(get.Body, `"password":{"secret":"[set]"}`) {
		t.Errorf("put answered\n%s\nget\n%s", put.Body, get.Body)
	}
	if _, err := w.db.Hosted(t.Context(), w.acme.ID, "orders"); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("a draft is served: %v", err)
	}
	// What was read back can be sent back.
	var back object
	check(t, json.Unmarshal([]byte(get.Body), &back))
	again := w.must(200, "admin", "PUT", at, object{"kind": back["kind"], "title": back["title"], "spec": back["spec"], "connection": back["connection"]}, "If-Match", get.Header.Get("ETag"))
	if again.Body != get.Body {
		t.Errorf("sending what was read changed it to\n%s", again.Body)
	}
	w.refused(fault.Stale, "admin", "PUT", at, object{"kind": "sql"}, "If-Match", `"other"`)
	// A kept secret stays where it is.
	evil := shop(t, object{"secret": "[set]"})
	evil["host"] = "127.0.0.9"
	if p := w.refused(fault.InvalidSpec, "admin", "PUT", at+"/connection", object{"connection": evil}); !strings.Contains((*p.Errors)[0].Detail, "not sent to another one") {
		t.Errorf("%+v", *p.Errors)
	}
	w.refused(fault.InvalidSpec, "admin", "PUT", at+"/connection", object{"connection": shop(t, object{"secret": "wrong"})})
	if conn := into[Connection](t, w.must(200, "admin", "PUT", at+"/connection", object{"connection": shop(t, object{"secret": hunter2})})); !strings.Contains(deref(conn.Source), "Vault makes database users on ") {
		t.Errorf("%+v", conn)
	}

	// Published, and another revision staged.
	w.must(200, "admin", "POST", at+"/revisions/1/publish", nil)
	second := into[RevisionStaged](t, w.must(201, "admin", "POST", at+"/revisions", object{"spec_yaml": strings.Replace(ordersYAML, "Counts the orders", "Counts all orders", 1)}))
	if second.Published || second.Revision.Number != 2 || second.Diff.Same || *second.Diff.From != 1 || second.Diff.Changes[0].Name != "count_orders" {
		t.Errorf("%+v", second)
	}
	same := into[RevisionStaged](t, w.must(201, "admin", "POST", at+"/revisions", object{"spec_yaml": ordersYAML}))
	if same.Revision.Number != 1 || !same.Diff.Same || !same.Published {
		t.Errorf("%+v", same)
	}
	if dry := into[RevisionStaged](t, w.must(201, "admin", "POST", at+"/revisions?dry_run=true", object{"spec_yaml": strings.Replace(ordersYAML, "Counts", "Numbers", 1)})); dry.Revision != nil || dry.Diff.Same {
		t.Errorf("%+v", dry)
	}
	list := into[RevisionPage](t, w.must(200, "admin", "GET", at+"/revisions?limit=1", nil))
	if len(list.Data) != 1 || list.Data[0].Number != 2 || !list.HasMore {
		t.Errorf("%+v", list)
	}
	if list = into[RevisionPage](t, w.must(200, "admin", "GET", at+"/revisions?cursor="+*list.NextCursor, nil)); len(list.Data) != 1 || !list.Data[0].Active || list.HasMore {
		t.Errorf("%+v", list)
	}
	if d := into[Diff](t, w.must(200, "admin", "GET", at+"/revisions/1/diff?from=2", nil)); d.Same || *d.From != 2 || *d.To != 1 {
		t.Errorf("%+v", d)
	}
	if d := into[Diff](t, w.must(200, "admin", "GET", at+"/revisions/1/diff", nil)); !d.Same || d.Changes == nil {
		t.Errorf("%+v", d)
	}
	rev := into[Revision](t, w.must(200, "admin", "GET", at+"/revisions/1", nil))
	if !rev.Active || !strings.Contains(deref(rev.SpecYaml), "statement: SELECT count(*)") || rev.Spec == nil || rev.CreatedBy != "pat@acme.test" {
		t.Errorf("%+v", rev)
	}
	w.refused(fault.NotFound, "admin", "GET", at+"/revisions/3", nil)
	w.refused(fault.NotFound, "admin", "GET", at+"/revisions/1/diff?from=9", nil)
	w.refused(fault.Conflict, "admin", "PUT", at, object{"kind": "echo"})
	w.hasNoSecret()

	// Deleted.
	if d := into[Deletion](t, w.must(200, "admin", "DELETE", at+"?dry_run=true", nil)); !d.DryRun || len(d.Effects) != 2 || d.Effects[1].Count != 2 {
		t.Errorf("%+v", d)
	}
	if h, err := w.db.Hosted(t.Context(), w.acme.ID, "orders"); err != nil || h.Server.Deleting {
		t.Errorf("a dry run deleted: %v", err)
	}
	op := into[Operation](t, w.must(202, "admin", "DELETE", at, nil))
	if op.Kind != "delete_server" || op.Target != "orders" || op.State != "queued" {
		t.Errorf("%+v", op)
	}
	if _, err := w.db.Hosted(t.Context(), w.acme.ID, "orders"); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("still served: %v", err)
	}
	if s := into[Server](t, w.must(200, "admin", "GET", at, nil)); s.Status != "deleting" {
		t.Errorf("%+v", s)
	}
	w.refused(fault.Conflict, "admin", "PUT", at, object{"kind": "sql"})
	w.refused(fault.Conflict, "admin", "POST", at+"/revisions", object{"spec_yaml": ordersYAML})
	w.refused(fault.Conflict, "admin", "POST", at+"/revisions/2/publish", nil)
	id, err := tenants.ParseServerID(s.Id)
	check(t, err)
	for range 2 { // it may be interrupted and gone on with
		check(t, w.api.Servers.editor(w.api).Remove(t.Context(), w.acme.ID, id))
	}
	w.refused(fault.NotFound, "admin", "GET", at, nil)
}

func TestToolsAreListedAndChanged(t *testing.T) {
	w := serversWorld(t)
	w.must(200, "admin", "PUT", "/tenants/acme/servers/orders", object{"kind": "sql", "spec_yaml": ordersYAML, "connection": shop(t, object{"secret": hunter2}), "publish": true})
	w.must(200, "admin", "PUT", "/tenants/acme/servers/check", object{"kind": "echo", "spec": object{"tools": []any{"echo", "whoami"}}})
	w.must(200, "admin", "PUT", "/tenants/acme/servers/bare", object{"kind": "sql"})
	check(t, w.db.PutRole(t.Context(), w.acme.ID, tenants.Role{Name: "support", Scopes: []tenants.Scope{{Server: w.serverID("orders"), Name: "orders:read"}}}))
	names := func(query string) string {
		var out []string
		for {
			page := into[ToolPage](t, w.must(200, "admin", "GET", "/tenants/acme/tools?"+query, nil))
			for _, tool := range page.Data {
				out = append(out, tool.Server+"/"+tool.Name)
			}
			if !page.HasMore {
				return strings.Join(out, " ")
			}
			query, _, _ = strings.Cut(query, "&cursor=")
			query += "&cursor=" + *page.NextCursor
		}
	}
	for query, want := range map[string]string{
		"": "check/echo check/whoami orders/count_orders orders/forget_orders", "limit=1": "check/echo check/whoami orders/count_orders orders/forget_orders",
		"risk=destructive": "orders/forget_orders", "role=support": "orders/count_orders", "q=COUNT": "orders/count_orders", "server=check": "check/echo check/whoami",
		"scope=orders:read": "orders/count_orders", "q=%25": "",
	} {
		if got := names(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	at := "/tenants/acme/servers/orders/tools/forget_orders"
	tool := w.must(200, "admin", "GET", at, nil)
	if got := into[Tool](t, tool); got.Risk != "destructive" || got.TimeoutMs != 10_000 || !deref(got.Published) || deref(got.Revision) != 1 {
		t.Errorf("%+v", got)
	}
	w.refused(fault.NotFound, "admin", "GET", at+"x", nil)
	w.refused(fault.Stale, "admin", "PATCH", at, object{"risk": "write"}, "If-Match", `"x"`)
	dry := into[RevisionStaged](t, w.must(200, "admin", "PATCH", at+"?dry_run=true", object{"risk": "write"}))
	if dry.Revision != nil || len(dry.Diff.Changes) != 1 {
		t.Errorf("%+v", dry)
	}
	done := into[RevisionStaged](t, w.must(200, "admin", "PATCH", at, object{"risk": "write", "timeout_ms": 1500, "title": "Forget", "publish": true}, "If-Match", tool.Header.Get("ETag")))
	if !done.Published || done.Revision.Number != 2 || !strings.Contains(deref(done.Revision.SpecYaml), "timeout: 1.5s") || !strings.Contains(deref(done.Revision.SpecYaml), "DELETE FROM orders WHERE false") {
		t.Errorf("%+v", done)
	}
	if p := w.refused(fault.InvalidSpec, "admin", "PATCH", at, object{"risk": "read"}); (*p.Errors)[0].Pointer != "/spec/tools/1/statement" {
		t.Errorf("%+v", *p.Errors)
	}
	if p := w.refused(fault.InvalidSpec, "admin", "PATCH", at, object{"scope": "Not a scope", "timeout_ms": 1}); places(p) != "/timeout_ms /scope" {
		t.Errorf("%+v", *p.Errors)
	}
	// Any kind that lists its tools.
	echo := into[RevisionStaged](t, w.must(200, "admin", "PATCH", "/tenants/acme/servers/check/tools/whoami", object{"scope": "diagnostics"}))
	if echo.Published || string(*echo.Revision.Spec) != `{"tools":["echo",{"name":"whoami","scope":"diagnostics"}]}` {
		t.Errorf("%s", *echo.Revision.Spec)
	}
	w.refused(fault.InvalidSpec, "admin", "PATCH", "/tenants/acme/servers/check/tools/whoami", object{"title": "Who"})
	w.refused(fault.NotFound, "admin", "PATCH", "/tenants/acme/servers/bare/tools/x", object{"title": "Who"})

	all := into[ServerPage](t, w.must(200, "admin", "GET", "/tenants/acme/servers?limit=2", nil))
	if len(all.Data) != 2 || all.Data[0].Slug != "bare" || all.Data[0].Tools != nil || !all.HasMore {
		t.Errorf("%+v", all)
	}
	if all = into[ServerPage](t, w.must(200, "admin", "GET", "/tenants/acme/servers?cursor="+*all.NextCursor, nil)); len(all.Data) != 1 || all.Data[0].Slug != "orders" || deref(all.Data[0].ActiveRevision) != 2 {
		t.Errorf("%+v", all)
	}
	if drafts := into[ServerPage](t, w.must(200, "admin", "GET", "/tenants/acme/servers?status=draft&q=chec", nil)); len(drafts.Data) != 1 || drafts.Data[0].Slug != "check" {
		t.Errorf("%+v", drafts)
	}
	conns := into[ConnectionPage](t, w.must(200, "admin", "GET", "/tenants/acme/connections", nil))
	if len(conns.Data) != 1 || conns.Data[0].Server != "orders" || conns.Data[0].LastIssuedAt != nil {
		t.Errorf("%+v", conns)
	}
	ks := into[KindList](t, w.must(200, "admin", "GET", "/tenants/acme/kinds", nil))
	if len(ks.Data) != len(kinds.All()) || !ks.Data[0].HasConnection || ks.Data[0].Template == "" {
		t.Errorf("%+v", ks)
	}
	w.hasNoSecret()
}

func (w *world) serverID(slug string) registry.ServerID {
	s, err := w.db.ServerBySlug(w.Context(), w.acme.ID, slug)
	check(w.T, err)
	return s.ID
}

func TestTryRunsAToolAsThePerson(t *testing.T) {
	w := serversWorld(t)
	at := "/tenants/acme/servers/orders"
	w.must(200, "admin", "PUT", at, object{"kind": "sql", "spec_yaml": ordersYAML, "connection": shop(t, object{"secret": hunter2})})
	call := object{"tool": "count_orders", "arguments": object{"status": "paid"}}
	// A draft: no role can open it, and who may try may.
	got := into[TryResult](t, w.must(200, "admin", "POST", at+"/revisions/1/try", call))
	var n struct {
		Count int `json:"row_count"`
	}
	if got.Structured == nil || json.Unmarshal(*got.Structured, &n) != nil || got.IsError || got.CallId == "" || deref(got.Worker) != "w1" || n.Count != 1 {
		t.Fatalf("%+v %s", got, deref(got.Text))
	}
	if p := w.refused(fault.InvalidArguments, "admin", "POST", at+"/revisions/1/try", object{"tool": "count_orders", "arguments": object{"status": "lost"}}); (*p.Errors)[0].Pointer != "/arguments/status" {
		t.Errorf("%+v", *p.Errors)
	}
	w.refused(fault.NotFound, "admin", "POST", at+"/revisions/1/try", object{"tool": "nothing"})
	w.refused(fault.NotFound, "admin", "POST", at+"/revisions/7/try", call)
	w.refused(fault.RoleNotAllowed, "operator", "POST", at+"/revisions/1/try", call)
	w.as("reader", tenants.ServersRead)
	w.refused(fault.RoleNotAllowed, "reader", "POST", at+"/revisions/1/try", call)
	// Published: the roles decide, for whatever revision.
	w.must(200, "admin", "POST", at+"/revisions/1/publish", nil)
	w.refused(fault.RoleNotAllowed, "admin", "POST", at+"/revisions/1/try", call)
	check(t, w.db.PutRole(t.Context(), w.acme.ID, tenants.Role{Name: "member", Scopes: []tenants.Scope{{Server: w.serverID("orders"), Name: "orders:read"}}}))
	w.must(200, "admin", "POST", at+"/revisions/1/try", call)
	check(t, w.db.SetUserDisabled(t.Context(), w.acme.ID, w.pat.ID, true))
	w.refused(fault.RoleNotAllowed, "admin", "POST", at+"/revisions/1/try", call)
	check(t, w.db.SetUserDisabled(t.Context(), w.acme.ID, w.pat.ID, false))

	events, err := w.db.AuditEvents(t.Context(), w.acme.ID, time.Time{}, 1000)
	check(t, err)
	var said []string
	for _, e := range events {
		if e.Method == "tools/call" {
			said = append(said, fmt.Sprintf("%s %s %s %s %s", e.Phase, e.State, e.Client, e.Tool, e.Code))
		}
	}
	want := []string{
		"outcome done console count_orders ", "refusal refused console count_orders invalid_arguments", "refusal refused console count_orders role_not_allowed",
		"outcome done console count_orders ", "refusal refused console count_orders role_not_allowed",
	}
	if !slices.Equal(said, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
	// A tool with effects has its intent on record.
	check(t, w.db.PutRole(t.Context(), w.acme.ID, tenants.Role{Name: "member", Scopes: []tenants.Scope{{Server: w.serverID("orders"), Name: "tool:forget_orders"}}}))
	asked := into[TryResult](t, w.must(200, "admin", "POST", at+"/revisions/1/try", object{"tool": "forget_orders"}))
	var dry struct {
		Pending struct {
			Next struct{ Arguments json.RawMessage }
		}
	}
	if !asked.IsError || asked.Structured == nil || json.Unmarshal(*asked.Structured, &dry) != nil || len(dry.Pending.Next.Arguments) == 0 {
		t.Fatalf("it cannot be undone and was not asked for first: %+v", asked)
	}
	if done := into[TryResult](t, w.must(200, "admin", "POST", at+"/revisions/1/try", object{"tool": "forget_orders", "arguments": dry.Pending.Next.Arguments})); deref(done.Worker) != "w1" || deref(asked.Worker) != "" { // the database refuses it
		t.Errorf("%+v %s", done, deref(done.Text))
	}
	if events, err = w.db.AuditEvents(t.Context(), w.acme.ID, time.Time{}, 1000); err != nil || !slices.ContainsFunc(events, func(e audit.Event) bool { return e.Method == "tools/call" && e.Phase == audit.Intent }) {
		t.Errorf("no intent: %v", err)
	}
	if conns := into[ConnectionPage](t, w.must(200, "admin", "GET", "/tenants/acme/connections", nil)); conns.Data[0].LastIssuedAt == nil || conns.Data[0].LastFailedAt != nil {
		t.Errorf("%+v", conns)
	}
	w.hasNoSecret()
}

func TestServersAreBounded(t *testing.T) {
	w := serversWorld(t)
	limit := 1
	_, err := w.db.UpdateTenant(t.Context(), w.acme.ID, tenants.TenantChange{Quotas: tenants.QuotaChange{Servers: &limit}})
	check(t, err)
	w.must(200, "admin", "PUT", "/tenants/acme/servers/one", object{"kind": "echo"})
	w.must(200, "admin", "PUT", "/tenants/acme/servers/one", object{"kind": "echo", "title": "Again"})
	w.refused(fault.Conflict, "admin", "PUT", "/tenants/acme/servers/two", object{"kind": "echo"})
}

func file(t *testing.T, password string, more ...string) string {
	pg := testenv.Postgres(t)
	return fmt.Sprintf(`tenant: acme
name: ACME
servers:
- slug: orders
  kind: sql
  connection:
    host: %s
    port: %d
    database: demo_acme
    sslmode: disable
    admin: {username: acme_vault, password: %s}
    groups: {read: [acme_reader]}
  spec:
    tools: [{name: one, description: One, statement: SELECT 1 AS n, risk: read, scope: orders:read}]
roles:
  member: {scopes: {orders: [orders:read]}}
members:
- {email: pat@acme.test, name: Pat, roles: [member]}
%s`, pg.Host(), pg.Port(), password, strings.Join(more, "\n"))
}

func TestApplyOverTheAPI(t *testing.T) {
	w := serversWorld(t)
	at := "/tenants/acme/apply"
	send := func(text string) object { return object{"file": text, "name": "acme.yaml"} }
	dry := into[ApplyResult](t, w.must(200, "admin", "POST", at+"?dry_run=true", send(file(t, "{secret: "+hunter2+"}"))))
	if !dry.DryRun || len(dry.Changes) != 3 || dry.Changes[0].Verb != "created" {
		t.Errorf("%+v", dry)
	}
	w.refused(fault.NotFound, "admin", "GET", "/tenants/acme/servers/orders", nil)
	first := into[ApplyResult](t, w.must(200, "admin", "POST", at, send(file(t, "{secret: "+hunter2+"}"))))
	if len(first.Changes) != 3 || first.Changes[1].Verb != "updated" || first.Changes[2].Verb != "unchanged" {
		t.Errorf("%+v", first.Changes)
	}
	for _, password := range []string{"{secret: " + hunter2 + "}", `{secret: "[set]"}`} {
		for _, c := range into[ApplyResult](t, w.must(200, "admin", "POST", at, send(file(t, password)))).Changes {
			if c.Verb != "unchanged" {
				t.Errorf("%s: %+v", password, c)
			}
		}
	}
	// Export, and apply that: only the reference has to be resolved.
	export := into[Export](t, w.must(200, "admin", "GET", "/tenants/acme/export", nil))
	if !slices.Equal(export.Env, []string{"ORDERS_ADMIN_PASSWORD"}) || !strings.Contains(export.File, "{env: ORDERS_ADMIN_PASSWORD}") {
		t.Errorf("%+v", export)
	}
	p := w.refused(fault.InvalidSpec, "admin", "POST", at, send(export.File))
	if e := (*p.Errors)[0]; len(*p.Errors) != 1 || deref(e.Line) == 0 || !strings.Contains(deref(e.Fix), "`platform apply` resolves references before it sends a file") {
		t.Errorf("%+v", *p.Errors)
	}
	resolved := strings.Replace(export.File, "{env: ORDERS_ADMIN_PASSWORD}", "{secret: "+hunter2+"}", 1)
	for _, c := range into[ApplyResult](t, w.must(200, "admin", "POST", at, object{"file": resolved, "prune": true})).Changes {
		if c.Verb != "unchanged" {
			t.Errorf("%+v", c)
		}
	}
	for text, want := range map[string]string{
		"tenant: [": "", strings.Replace(file(t, "x"), "tenant: acme", "tenant: globex", 1): "", file(t, "{secret: wrong}"): "",
		strings.Replace(file(t, `{secret: "[set]"}`), "[orders:read]", "[orders:none]", 1): "there is no scope",
	} {
		p := w.refused(fault.InvalidSpec, "admin", "POST", at, send(text))
		if want != "" && (!strings.Contains((*p.Errors)[0].Detail, want) || (*p.Errors)[0].Pointer != "/file" || deref((*p.Errors)[0].Line) == 0) {
			t.Errorf("%+v", *p.Errors)
		}
	}
	// Who may change servers, roles and people is not an administrator by that.
	w.as("almost", tenants.ServersWrite, tenants.RolesWrite, tenants.MembersWrite, tenants.TenantWrite)
	w.refused(fault.RoleNotAllowed, "almost", "POST", at, send("tenant: acme\nname: ACME\nroles: {member: {permissions: [admin]}}\n"))
	w.as("servers", tenants.ServersWrite)
	w.refused(fault.RoleNotAllowed, "servers", "POST", at, send(file(t, `{secret: "[set]"}`)))
	w.must(200, "operator", "POST", at, send("tenant: acme\nname: ACME\nroles: {boss: {permissions: [admin]}}\n"))
	left := into[ApplyResult](t, w.must(200, "admin", "POST", at+"?dry_run=true", send(file(t, `{secret: "[set]"}`)))).Unmentioned
	if len(left) != 1 || left[0].Name != "boss" {
		t.Errorf("%+v", left)
	}
	gone := into[ApplyResult](t, w.must(200, "admin", "POST", at, object{"file": "tenant: acme\nname: ACME\nmembers: [{email: pat@acme.test, name: Pat}]\n", "prune": true}))
	var deleted []string
	for _, c := range gone.Changes {
		if c.Verb == "deleted" {
			deleted = append(deleted, string(c.What)+" "+c.Name)
		}
	}
	if strings.Join(deleted, ", ") != "role boss, role member, server orders" {
		t.Errorf("%v", deleted)
	}
	w.hasNoSecret()
}

// A secret in the beginning of a file is in no record either.
func TestApplyRecordsNoSecret(t *testing.T) {
	w := serversWorld(t)
	text := `{servers: [{slug: a, kind: sql, connection: {admin: {password: {secret: hunter2}}}}], tenant: acme, name: x}`
	w.refused(fault.InvalidSpec, "admin", "POST", "/tenants/acme/apply", object{"file": text})
	w.refused(fault.InvalidSpec, "admin", "PUT", "/tenants/acme/servers/ab", object{"kind": "sql", "connection": object{"admin": object{"password": object{"secret": "hunter2"}}}})
	w.hasNoSecret()
}

// Nothing of one tenant's servers can be reached from another, or by guessing.
func TestServersOfAnotherTenantAreNotThere(t *testing.T) {
	w := serversWorld(t)
	w.must(200, "admin", "PUT", "/tenants/acme/servers/mine", object{"kind": "echo", "spec": object{}, "publish": true})
	w.callers["globex"] = Principal{Kind: MeKindMember, ID: "us222222222222222222", Tenant: w.globex, User: "us222222222222222222", Permissions: []tenants.Permission{tenants.Admin}, Via: "latchkey-console"}
	for _, path := range []string{"", "/revisions", "/revisions/1", "/revisions/1/diff", "/tools/echo", "/connection"} {
		for _, tenant := range []string{"acme", "globex"} {
			w.refused(fault.NotFound, "globex", "GET", "/tenants/"+tenant+"/servers/mine"+path, nil)
		}
	}
	w.refused(fault.NotFound, "globex", "POST", "/tenants/globex/servers/mine/revisions/1/try", object{"tool": "echo"})
	w.refused(fault.NotFound, "globex", "POST", "/tenants/globex/servers/mine/revisions/1/publish", nil)
	w.refused(fault.NotFound, "globex", "DELETE", "/tenants/globex/servers/mine", nil)
	for _, c := range []string{"x", url.QueryEscape("é")} {
		w.refused(fault.InvalidRequest, "admin", "GET", "/tenants/acme/servers?cursor="+c, nil)
	}
}
