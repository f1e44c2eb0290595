package demo_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/demo"
	"latchkey/internal/egress"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
	"latchkey/internal/vault"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// office is one tenant of the demo with a worker for its orders server.
type office struct {
	tenant  tenants.ID
	opening runtime.Opening
	def     registry.Definition
	worker  *runtime.Worker
	signer  *vault.Signer
	secrets map[string]secret.Text
	server  registry.Server
}

func (o *office) Opening(context.Context, tenants.ID, registry.ServerID, registry.RevisionID) (runtime.Opening, error) {
	return o.opening, nil
}

var passwords = demo.Passwords{Acme: "acme's own", Globex: "globex's \"own\" \\ '", Upstream: "upstream's own"}

const upstreamKey = "key of the demo's own API"

// upstreamURL serves the demo's own API.
func upstreamURL(t *testing.T) string {
	t.Helper()
	p := testenv.Postgres(t)
	up, err := demo.OpenUpstream(context.Background(), fmt.Sprintf("host=%s port=%d dbname=demo_acme sslmode=disable", p.Host(), p.Port()), passwords.Upstream, upstreamKey)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(up)
	t.Cleanup(func() { s.Close(); up.Close() })
	return s.URL
}

// offices makes both tenants as `platform dev` does, but for the platform.
func offices(t *testing.T) map[string]*office {
	t.Helper()
	ctx := t.Context()
	p := testenv.Postgres(t)
	for range 2 { // the second time changes nothing
		if err := demo.Databases(ctx, p.DSN, passwords); err != nil {
			t.Fatal(err)
		}
	}
	key, err := vault.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := vault.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	v := testenv.Vault(t)
	root, err := vault.NewClient(vault.Config{Address: v.Addr(), Token: secret.Text(v.RootToken())})
	if err != nil {
		t.Fatal(err)
	}
	if err := vault.Setup(ctx, root, vault.SetupConfig{Keys: []ed25519.PublicKey{key.Public()}}); err != nil {
		t.Fatal(err)
	}
	workerClient, err := vault.NewClient(vault.Config{Address: v.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	leases := vault.NewLeases(vault.LeasesConfig{Client: workerClient, Verifier: vault.NewVerifier(key.Public())})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := leases.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	all := map[string]*office{}
	for _, f := range demo.Files() {
		all[strings.TrimSuffix(f.Name, ".yaml")] = newOffice(t, f, "orders", vault.NewServers(root), leases, signer)
	}
	for _, slug := range []string{"crm", "incidents"} {
		all[slug] = newOffice(t, demo.Files()[0], slug, vault.NewServers(root), leases, signer)
	}
	return all
}

func newOffice(t *testing.T, f demo.File, slug string, servers *vault.Servers, leases *vault.Leases, signer *vault.Signer) *office {
	t.Helper()
	p := testenv.Postgres(t)
	env := map[string]string{"DEMO_PG_HOST": p.Host(), "DEMO_PG_PORT": fmt.Sprint(p.Port()),
		"DEMO_ACME_PASSWORD": passwords.Acme.Reveal(), "DEMO_GLOBEX_PASSWORD": passwords.Globex.Reveal(),
		"DEMO_UPSTREAM_URL": upstreamURL(t), "DEMO_UPSTREAM_KEY": upstreamKey}
	file, err := registry.ParseFile(f.Name, f.Data, kinds.Checker(), func(from, name string) (string, error) {
		if v, ok := env[name]; ok && from == "env" {
			return v, nil
		}
		return "", fmt.Errorf("there is no %s", name)
	})
	if err != nil {
		t.Fatal(err)
	}
	s := file.Servers[slices.IndexFunc(file.Servers, func(s registry.FileServer) bool { return s.Server.Slug == slug })]
	o := &office{tenant: tenants.NewID(), def: s.Spec.Definition, signer: signer, secrets: s.Connection.Secrets, server: s.Server}
	o.server.ID = tenants.NewServerID()
	kind, _ := kinds.ByName(s.Server.Kind)
	if err := kind.Provision(t.Context(), servers, o.tenant, o.server, s.Connection.Secrets); err != nil {
		t.Fatal(err)
	}
	o.opening = runtime.Opening{Tenant: o.tenant, Server: o.server.ID, Revision: registry.RevisionID(tenants.RandomID("rv")),
		Kind: s.Server.Kind, Spec: s.Spec.Normalized, Connection: s.Server.Connection, Guard: runtime.GuardsOf(s.Spec.Definition)}
	o.worker = runtime.NewWorker(runtime.WorkerConfig{Name: "demo", Kinds: kinds.All(), Openings: o, Leases: leases,
		Host: runtime.Host{Egress: &egress.Policy{Allow: egress.Loopback()}}})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := o.worker.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return o
}

// call runs a tool as somebody and gives what the model reads.
func (o *office) call(t *testing.T, email, tool, input, key string) (text string, failed bool, callID string) {
	t.Helper()
	def, ok := o.def.Tool(tool)
	if !ok {
		t.Fatalf("no tool %s", tool)
	}
	c := &runtime.Call{ID: tenants.RandomID("cl"), Tenant: o.tenant, Server: o.server.ID, Revision: o.opening.Revision, OpenHash: o.opening.Hash(),
		Op: runtime.CallTool, Name: tool, Input: json.RawMessage(input), Access: def.Risk.Access(), IdempotencyKey: key,
		Caller: runtime.Caller{User: tenants.NewUserID(), Email: email, Client: "test"}, Deadline: time.Now().Add(20 * time.Second)}
	var err error
	c.Grant, err = o.signer.Sign(vault.Grant{Tenant: c.Tenant, Server: c.Server, Revision: c.Revision, Tool: c.Name, Access: c.Access,
		User: c.Caller.User, CallID: c.ID, OpenHash: c.OpenHash, Deadline: c.Deadline})
	if err != nil {
		t.Fatal(err)
	}
	res, err := o.worker.Run(t.Context(), c, time.Now().Add(time.Minute), runtime.Back{})
	if err != nil {
		t.Fatalf("%s(%s): %v", tool, input, err)
	}
	raw, err := json.Marshal(res.Tool.Content)
	if err != nil {
		t.Fatal(err)
	}
	var content []struct{ Text string }
	if err := json.Unmarshal(raw, &content); err != nil {
		t.Fatal(err)
	}
	return content[0].Text, res.Tool.IsError, c.ID
}

func TestDemo(t *testing.T) {
	all := offices(t)
	acme, globex := all["acme"], all["globex"]

	t.Run("SearchFindsByNameAndNumber", func(t *testing.T) {
		text, failed, _ := acme.call(t, "dana@acme.test", "search_orders", `{"query":"1024"}`, "")
		if failed || !strings.Contains(text, `"id":1024`) || !strings.Contains(text, `"row_count":1`) {
			t.Error(text)
		}
		text, failed, _ = acme.call(t, "dana@acme.test", "search_orders", `{"query":"o'hara","status":"shipped","since":"2020-01-01","limit":3}`, "")
		if failed || !strings.Contains(text, `"row_count":3`) || strings.Contains(text, `"open"`) {
			t.Error(text)
		}
	})
	t.Run("SupportSeesOneRegion", func(t *testing.T) {
		all, _, _ := acme.call(t, "fred@acme.test", "search_orders", `{"query":"","limit":50}`, "")
		own, _, _ := acme.call(t, "sam@acme.test", "search_orders", `{"query":"","limit":50}`, "")
		if !strings.Contains(all, `"south"`) || !strings.Contains(own, `"north"`) || strings.Contains(own, `"south"`) || strings.Contains(own, `"west"`) {
			t.Errorf("finance: %.300s\nsupport: %.300s", all, own)
		}
		nobody, _, _ := acme.call(t, "gina@globex.test", "search_orders", `{"query":""}`, "")
		if !strings.Contains(nobody, `"row_count":0`) {
			t.Errorf("somebody of another tenant sees %.300s", nobody)
		}
	})
	t.Run("SummaryAddsUp", func(t *testing.T) {
		text, failed, _ := acme.call(t, "dana@acme.test", "summarize_order", `{"order_id":1024}`, "")
		var got struct {
			Row struct {
				Total, Refunded, LeftToRefund float64
				Lines                         []struct {
					Quantity  float64
					UnitPrice float64 `json:"unit_price"`
				}
				Left float64 `json:"left_to_refund"`
			}
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || failed {
			t.Fatal(text, err)
		}
		sum := 0.0
		for _, l := range got.Row.Lines {
			sum += l.Quantity * l.UnitPrice
		}
		if sum == 0 || sum != got.Row.Total || got.Row.Refunded != 18.75 || got.Row.Left != got.Row.Total-18.75 {
			t.Error(text)
		}
	})
	t.Run("CustomerIsMaskedAndMarked", func(t *testing.T) { customers(t, all["crm"]) })
	t.Run("TicketIsOpenedOnce", func(t *testing.T) { incidents(t, all["incidents"]) })
	t.Run("RefundIsAtomicAndOnRecord", func(t *testing.T) { refund(t, acme) })
	t.Run("TenantsAreApart", func(t *testing.T) {
		text, _, _ := globex.call(t, "gina@globex.test", "search_orders", `{"query":"helix"}`, "")
		if !strings.Contains(text, "Helix Bio") {
			t.Error(text)
		}
		text, _, _ = globex.call(t, "gina@globex.test", "search_orders", `{"query":"1024"}`, "")
		if !strings.Contains(text, `"row_count":0`) {
			t.Error(text)
		}
	})
	t.Run("AccountCannotConnectToOtherTenant", func(t *testing.T) {
		p := testenv.Postgres(t)
		_, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=acme_vault password='%s' dbname=demo_globex sslmode=disable", p.Host(), p.Port(), "acme\\'s own"))
		if err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("PlatformsOwnDatabaseRefused", func(t *testing.T) {
		v := testenv.Vault(t)
		root, err := vault.NewClient(vault.Config{Address: v.Addr(), Token: secret.Text(v.RootToken())})
		if err != nil {
			t.Fatal(err)
		}
		servers := vault.NewServers(root, vault.Endpoint{Host: "localhost", Port: testenv.Postgres(t).Port(), Database: "demo_acme"})
		kind, _ := kinds.ByName("sql")
		if err := kind.Provision(t.Context(), servers, acme.tenant, acme.server, acme.secrets); !fault.HasCode(err, fault.InvalidSpec) {
			t.Errorf("got %v", err)
		}
	})
}

func refund(t *testing.T, acme *office) {
	conn, err := pgx.Connect(t.Context(), testenv.Postgres(t).DSN("demo_acme"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var order int
	var total string
	if err := conn.QueryRow(t.Context(), `SELECT o.id, sum(l.quantity * l.unit_price)::text FROM orders o JOIN order_lines l ON l.order_id = o.id
		WHERE o.status = 'paid' AND NOT EXISTS (SELECT FROM refunds r WHERE r.order_id = o.id) GROUP BY o.id ORDER BY o.id LIMIT 1`).Scan(&order, &total); err != nil {
		t.Fatal(err)
	}
	input := func(amount string) string {
		return fmt.Sprintf(`{"order_id":%d,"amount":%s,"reason":"Arrived damaged"}`, order, amount)
	}
	text, failed, call := acme.call(t, "fred@acme.test", "issue_refund", input("10.00"), "key-1")
	if failed || !strings.Contains(text, `"amount":10.00`) {
		t.Fatal(text)
	}
	again, failed, _ := acme.call(t, "fred@acme.test", "issue_refund", input("10.00"), "key-1")
	if failed || again != text {
		t.Errorf("the same key again: %s", again)
	}
	var by, byCall string
	if err := conn.QueryRow(t.Context(), `SELECT requested_by, call_id FROM refunds WHERE idempotency_key = 'key-1'`).Scan(&by, &byCall); err != nil || by != "fred@acme.test" || byCall != call {
		t.Errorf("ledger: %s, %s, %v", by, byCall, err)
	}
	text, failed, _ = acme.call(t, "fred@acme.test", "issue_refund", input(total), "")
	if !failed || !strings.Contains(text, "is left to refund") {
		t.Errorf("more than is left: %s", text)
	}
	// Ten at once for all but a little of the rest: one gets it.
	rest := strings.Replace(total, ".", "", 1)
	var cents int
	fmt.Sscan(rest, &cents)
	amount := fmt.Sprintf("%d.%02d", (cents-1100)/100, (cents-1100)%100)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 10 {
		wg.Go(func() {
			if _, failed, _ := acme.call(t, "fred@acme.test", "issue_refund", input(amount), ""); !failed {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of ten refunds of %s went through", won, amount)
	}
}

// customers goes through the CRM: what a person reads of it has no personal data
// in full, no credential, and marks around what customers wrote.
func customers(t *testing.T, crm *office) {
	text, failed, _ := crm.call(t, "dana@acme.test", "fetch_customer", `{"customer_id":102}`, "")
	var r struct {
		ID                             int `json:"customer_id"`
		Email, Phone, IBAN, Card, Note string
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil || failed {
		t.Fatal(text, err)
	}
	marked := strings.HasPrefix(r.Note, "<untrusted-") && strings.HasSuffix(r.Note, ">") && strings.Contains(r.Note, "Ignore all previous instructions")
	if r.ID != 102 || !strings.Contains(r.Email, "***@example.com") || !strings.HasPrefix(r.Phone, "***") || !strings.Contains(r.IBAN, "** ****") || !strings.HasPrefix(r.Card, "****") || !marked {
		t.Errorf("%+v", r)
	}
	if strings.Contains(text, "erased_at") || strings.Contains(text, "650-253") {
		t.Error(text)
	}
	text, _, _ = crm.call(t, "dana@acme.test", "fetch_customer", `{"customer_id":103}`, "")
	if strings.Contains(text, "IOSFODNN7EXAMPLE") || strings.Contains(text, "bPxRfiCY") || !strings.Contains(text, "[withheld: aws-access-key]") {
		t.Error(text)
	}
	text, failed, _ = crm.call(t, "dana@acme.test", "update_customer", `{"customer_id":104,"phone":"+1 650-253-0199"}`, "")
	if failed || !strings.Contains(text, `"phone":"***99"`) {
		t.Error(text)
	}
	text, failed, _ = crm.call(t, "sam@acme.test", "fetch_customer", `{"customer_id":104}`, "")
	if !failed || !strings.Contains(text, "knows no such thing") {
		t.Errorf("support sees another region's: %s", text)
	}
	for range 2 {
		if text, failed, _ = crm.call(t, "dana@acme.test", "delete_customer", `{"customer_id":147}`, ""); failed || !strings.Contains(text, `"customer_id":147`) {
			t.Error(text)
		}
	}
	if text, _, _ = crm.call(t, "dana@acme.test", "fetch_customer", `{"customer_id":147}`, ""); !strings.Contains(text, `"name":"erased"`) {
		t.Error(text)
	}
}

// incidents opens a ticket once, however often it is asked for under one name.
func incidents(t *testing.T, o *office) {
	open := func(title, key string) (string, bool) {
		text, failed, _ := o.call(t, "sam@acme.test", "create_incident_ticket", fmt.Sprintf(`{"title":%q,"severity":"low","description":"Seen by a test."}`, title), key)
		return text, failed
	}
	first, failed := open("A door is stuck", "incident-1")
	if failed || !strings.Contains(first, `"repeated":false`) {
		t.Fatal(first)
	}
	if again, failed := open("A door is stuck", "incident-1"); failed || strings.Replace(again, `"repeated":true`, `"repeated":false`, 1) != first {
		t.Errorf("again: %s", again)
	}
	if text, failed := open("Another door is stuck", "incident-1"); !failed || !strings.Contains(text, "used for another ticket") {
		t.Errorf("another under the same name: %s", text)
	}
	text, failed, _ := o.call(t, "sam@acme.test", "list_incidents", `{"status":"open","limit":50}`, "")
	if failed || strings.Count(text, `"title":"A door is stuck"`) != 1 || !strings.Contains(text, `"opened_by":"sam@acme.test"`) {
		t.Error(text)
	}
}

func TestUpstreamAsksForItsKey(t *testing.T) {
	offices(t) // which makes the database
	url := upstreamURL(t)
	for _, c := range []struct {
		path, key, user string
		status          int
	}{
		{"/openapi.yaml", "", "", 200}, {"/customers/102", upstreamKey, "dana@acme.test", 200}, {"/customers/102", "another", "dana@acme.test", 401},
		{"/customers/102", "", "dana@acme.test", 401}, {"/customers/102", upstreamKey, "", 400}, {"/customers/102", upstreamKey, "nobody@globex.test", 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", c.key)
		req.Header.Set("X-Acting-User", c.user)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s with %q for %q: %d, want %d", c.path, c.key, c.user, res.StatusCode, c.status)
		}
	}
}
