package sqltool

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
	"latchkey/internal/vault"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var signingKey = sync.OnceValue(func() vault.Key {
	k, err := vault.NewKey()
	if err != nil {
		panic(err)
	}
	return k
})

var setUp sync.Once

// servers is the control plane's side of the test process's Vault.
func servers(t testing.TB) *vault.Servers {
	t.Helper()
	v := testenv.Vault(t)
	root, err := vault.NewClient(vault.Config{Address: v.Addr(), Token: secret.Text(v.RootToken())})
	if err != nil {
		t.Fatal(err)
	}
	setUp.Do(func() {
		if err := vault.Setup(context.Background(), root, vault.SetupConfig{Keys: []ed25519.PublicKey{signingKey().Public()}, LoginRate: 10000}); err != nil {
			t.Fatal(err)
		}
	})
	return vault.NewServers(root)
}

// shop is a tenant with a database and one server on it.
type shop struct {
	tenant     tenants.ID
	server     tenants.ServerID
	dsn        string // the superuser's
	connection json.RawMessage
	password   string
	reader     string // the groups
	writer     string
	leases     *vault.Leases
}

// schema is what every shop has: orders that each person sees for their region,
// and functions that try to do what a tool may not.
const schema = `
CREATE TABLE staff (email text PRIMARY KEY, region text);
INSERT INTO staff VALUES ('ann@shop.test', 'north'), ('bob@shop.test', 'south');
CREATE TABLE orders (id int PRIMARY KEY, customer text NOT NULL, region text NOT NULL, status text NOT NULL DEFAULT 'open', amount numeric(10,2) NOT NULL CHECK (amount >= 0));
INSERT INTO orders VALUES (1, 'Miller', 'north', 'open', 10), (2, 'O''Hara', 'south', 'paid', 20.5), (3, 'Müller', 'north', 'paid', 30), (4, '100% Wool', 'south', 'open', 40);
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_region ON orders USING (region = (SELECT s.region FROM staff s WHERE s.email = current_setting('latchkey.user_email', true)));
CREATE TABLE ledger (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL, by_email text, by_call text, key text UNIQUE);
CREATE TABLE private (secret text);
INSERT INTO private VALUES ('canary of a table without rights');
CREATE FUNCTION sneak() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ledger (note) VALUES ('sneaked'); RETURN 1; END $$;
CREATE FUNCTION refuse(why text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', why; END $$;
`

func newShop(t testing.TB, options ...string) *shop {
	t.Helper()
	s := &shop{tenant: tenants.NewID(), server: tenants.NewServerID(), dsn: testenv.Database(t), password: "canary-" + string(tenants.NewUserID())}
	suffix := string(s.server)[2:12]
	s.reader, s.writer = "reader_"+suffix, "writer_"+suffix
	admin := "vault_" + suffix
	s.superuser(t, schema)
	s.superuser(t, fmt.Sprintf(`
		CREATE ROLE %[1]s; CREATE ROLE %[2]s; CREATE ROLE %[3]s LOGIN CREATEROLE PASSWORD '%[4]s';
		GRANT %[1]s, %[2]s TO %[3]s WITH ADMIN OPTION; GRANT pg_signal_backend TO %[3]s;
		GRANT SELECT ON staff, orders TO %[1]s, %[2]s;
		GRANT SELECT, INSERT, UPDATE, DELETE ON ledger TO %[1]s, %[2]s;
		GRANT UPDATE ON orders TO %[2]s;`, s.reader, s.writer, admin, s.password))
	u, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := testenv.Postgres(t)
	text := fmt.Sprintf(`{host: %s, port: %d, database: %s, sslmode: disable, admin: {username: %s, password: !env %s}, groups: {read: [%s], write: [%s]}, credentials: {%s}}`,
		p.Host(), p.Port(), strings.TrimPrefix(u.Path, "/"), admin, s.password, s.reader, s.writer, strings.Join(options, ", "))
	connection, secrets, problems := Kind.CheckConnection(parseYAML(t, text))
	if len(problems) > 0 {
		t.Fatalf("connection: %v", problems)
	}
	s.connection = connection
	control := servers(t)
	t.Cleanup(func() {
		s.superuser(t, fmt.Sprintf(`DROP OWNED BY %[1]s, %[2]s, %[3]s; DROP ROLE %[3]s; DROP ROLE %[1]s, %[2]s`, s.reader, s.writer, admin))
	})
	if err := Kind.Provision(t.Context(), control, s.tenant, registry.Server{ID: s.server, Connection: connection}, secrets); err != nil {
		t.Fatal(err)
	}
	worker, err := vault.NewClient(vault.Config{Address: testenv.Vault(t).Addr()})
	if err != nil {
		t.Fatal(err)
	}
	s.leases = vault.NewLeases(vault.LeasesConfig{Client: worker, Verifier: vault.NewVerifier(signingKey().Public())})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.leases.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := control.DeleteServer(ctx, s.tenant, s.server); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *shop) superuser(t testing.TB, sql string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// query reads one value as the superuser.
func query[T any](t testing.TB, s *shop, sql string, args ...any) (v T) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func parseYAML(t testing.TB, text string) *yaml.Node {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	return &n
}

// opening opens the shop's server with a spec.
func (s *shop) opening(t testing.TB, spec string) runtime.Opening {
	t.Helper()
	normalized, def, problems := Kind.Check(parseYAML(t, spec))
	if len(problems) > 0 {
		t.Fatalf("spec: %v", &registry.Problems{List: problems})
	}
	return runtime.Opening{Tenant: s.tenant, Server: s.server, Revision: registry.RevisionID(tenants.RandomID("rv")), Kind: "sql",
		PerUser: strings.Contains(string(s.connection), `"per_user":true`), Spec: normalized, Connection: s.connection, Guard: runtime.GuardsOf(def)}
}

// desk is a worker with one server of a shop, and somebody who calls it.
type desk struct {
	testing.TB
	shop    *shop
	opening runtime.Opening
	def     registry.Definition
	worker  *runtime.Worker
}

func (s *shop) desk(t testing.TB, spec string) *desk {
	t.Helper()
	d := &desk{TB: t, shop: s, opening: s.opening(t, spec)}
	_, d.def, _ = Kind.Check(parseYAML(t, spec))
	d.worker = runtime.NewWorker(runtime.WorkerConfig{Name: "desk", Kinds: []runtime.Kind{Kind}, Openings: d, Leases: s.leases})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := d.worker.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *desk) Opening(context.Context, tenants.ID, registry.ServerID, registry.RevisionID) (runtime.Opening, error) {
	return d.opening, nil
}

// newCall is a call of ann's with a grant for it.
func (d *desk) newCall(op runtime.Op, name, input string) *runtime.Call {
	c := &runtime.Call{ID: tenants.RandomID("cl"), Tenant: d.opening.Tenant, Server: d.opening.Server, Revision: d.opening.Revision,
		OpenHash: d.opening.Hash(), Op: op, Name: name, Input: json.RawMessage(input), Access: registry.ReadAccess,
		Caller:   runtime.Caller{User: tenants.NewUserID(), Email: "ann@shop.test", Name: "Ann O'North", Roles: []string{"admin", "support"}, Client: "test"},
		Deadline: time.Now().Add(20 * time.Second), IdempotencyKey: "key-" + tenants.RandomID("ik")}
	if t, ok := d.def.Tool(name); ok {
		c.Access = t.Risk.Access()
	}
	if op == runtime.ReadResource {
		for _, r := range d.def.Resources {
			if scheme, _, _ := strings.Cut(r.URI+r.URITemplate, "{"); strings.HasPrefix(name, scheme) || c.Rule == "" {
				c.Rule = runtime.ResourceRule(r.Name)
			}
		}
	}
	return c
}

func grantFor(t testing.TB, c *runtime.Call) secret.Text {
	t.Helper()
	signer, err := vault.NewSigner(signingKey())
	if err != nil {
		t.Fatal(err)
	}
	g, err := signer.Sign(vault.Grant{Tenant: c.Tenant, Server: c.Server, Revision: c.Revision, Tool: c.Name, Access: c.Access,
		User: c.Caller.User, CallID: c.ID, OpenHash: c.OpenHash, Rule: c.Rule, Deadline: c.Deadline})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (d *desk) run(c *runtime.Call) (*runtime.Result, error) {
	d.Helper()
	c.Grant = grantFor(d, c)
	return d.worker.Run(d.Context(), c, time.Now().Add(time.Minute), runtime.Back{})
}

// reply is the structured answer.
type reply struct {
	Rows        []map[string]any `json:"rows"`
	Row         map[string]any   `json:"row"`
	RowCount    int              `json:"row_count"`
	MoreRows    int              `json:"more_rows"`
	RowsChanged int              `json:"rows_changed"`
	Note        string           `json:"note"`
	isError     bool
	text        string
}

// call runs a tool as ann, or as who change makes the caller.
func (d *desk) call(name, input string, change ...func(*runtime.Call)) (reply, error) {
	d.Helper()
	c := d.newCall(runtime.CallTool, name, input)
	for _, f := range change {
		f(c)
	}
	res, err := d.run(c)
	if err != nil {
		return reply{}, err
	}
	var r reply
	raw, err := json.Marshal(res.Tool.StructuredContent)
	if err != nil {
		d.Fatal(err)
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		d.Fatal(err)
	}
	content, err := json.Marshal(res.Tool.Content)
	if err != nil {
		d.Fatal(err)
	}
	var texts []struct{ Text string }
	if err := json.Unmarshal(content, &texts); err != nil || len(texts) != 1 {
		d.Fatalf("content %s", content)
	}
	r.isError, r.text = res.Tool.IsError, texts[0].Text
	return r, nil
}

// must is call for what has to work.
func (d *desk) must(name, input string, change ...func(*runtime.Call)) reply {
	d.Helper()
	r, err := d.call(name, input, change...)
	if err != nil {
		d.Fatalf("%s(%s): %v", name, input, err)
	}
	if r.isError {
		d.Fatalf("%s(%s) failed: %s", name, input, r.text)
	}
	return r
}

func as(email string) func(*runtime.Call) {
	return func(c *runtime.Call) { c.Caller.Email = email }
}
