package vault

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// testKey signs the grants of all tests: Vault pins one set of keys.
var testKey = sync.OnceValue(func() Key {
	k, err := NewKey()
	if err != nil {
		panic(err)
	}
	return k
})

var setUp sync.Once

// rootClient is a client with all authority, of a Vault that is laid out.
func rootClient(t testing.TB) *Client {
	t.Helper()
	v := testenv.Vault(t)
	c, err := NewClient(Config{Address: v.Addr(), Token: secret.Text(v.RootToken())})
	if err != nil {
		t.Fatal(err)
	}
	setUp.Do(func() {
		if err := Setup(context.Background(), c, SetupConfig{Keys: []ed25519.PublicKey{testKey().Public()}, LoginRate: 10000}); err != nil {
			t.Fatal(err)
		}
	})
	return c
}

// platformClient is a client with the platform's authority and no more.
func platformClient(t testing.TB) *Client {
	t.Helper()
	root := rootClient(t)
	role, err := PlatformAppRole(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(Config{Address: testenv.Vault(t).Addr(), AppRole: role})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// workerClient is a client without any authority.
func workerClient(t testing.TB) *Client {
	t.Helper()
	rootClient(t)
	return workerClientAt(t, testenv.Vault(t).Addr())
}

func workerClientAt(t testing.TB, addr string) *Client {
	t.Helper()
	c, err := NewClient(Config{Address: addr})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// site is one tenant with one server on a database of its own.
type site struct {
	tenant tenants.ID
	server tenants.ServerID
	user   tenants.UserID
	dsn    string // the superuser's
	db     Database
}

// newSite makes a site whose credentials can be asked for.
func newSite(t testing.TB, change ...func(*Database)) *site {
	t.Helper()
	s := newDatabase(t)
	for _, f := range change {
		f(&s.db)
	}
	servers := NewServers(platformClient(t))
	if err := servers.PutDatabase(t.Context(), s.tenant, s.server, s.db); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := servers.DeleteServer(context.Background(), s.tenant, s.server); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newDatabase makes the database of a site, which Vault does not know yet.
func newDatabase(t testing.TB) *site {
	t.Helper()
	s := &site{tenant: tenants.NewID(), server: tenants.NewServerID(), user: tenants.NewUserID(), dsn: testenv.Database(t)}
	suffix := string(s.server)[2:12]
	reader, writer, admin := "reader_"+suffix, "writer_"+suffix, "vault_"+suffix
	s.superuser(t, fmt.Sprintf(`
		CREATE ROLE %[1]s; CREATE ROLE %[2]s;
		CREATE ROLE %[3]s LOGIN CREATEROLE PASSWORD 'secret of the account';
		GRANT %[1]s, %[2]s TO %[3]s WITH ADMIN OPTION;
		GRANT pg_signal_backend TO %[3]s;
		CREATE TABLE notes (id int GENERATED ALWAYS AS IDENTITY, note text);
		INSERT INTO notes (note) VALUES ('first');
		GRANT SELECT ON notes TO %[1]s, %[2]s;
		GRANT INSERT ON notes TO %[2]s;`, reader, writer, admin))
	u, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := testenv.Postgres(t)
	t.Cleanup(func() {
		// After DeleteServer, which runs first: roles belong to the server.
		s.superuser(t, fmt.Sprintf(`DROP OWNED BY %[1]s, %[2]s, %[3]s; DROP ROLE %[3]s; DROP ROLE %[1]s, %[2]s`, reader, writer, admin))
	})
	s.db = Database{Host: p.Host(), Port: p.Port(), Database: strings.TrimPrefix(u.Path, "/"), SSLMode: "disable",
		AdminUser: admin, AdminPassword: "secret of the account",
		ReadGroups: []string{reader}, WriteGroups: []string{writer}}
	return s
}

func (s *site) superuser(t testing.TB, sql string) {
	t.Helper()
	conn := connect(t, s.dsn)
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// login opens a connection with a lease.
func (s *site) login(ctx context.Context, l Lease) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable",
		l.Username, url.QueryEscape(l.Password.Reveal()), s.db.Host, s.db.Port, s.db.Database))
}

// hasRole reports whether the database still knows a credential's user.
func (s *site) hasRole(t testing.TB, name string) bool {
	t.Helper()
	conn := connect(t, s.dsn)
	defer conn.Close(context.Background())
	var has bool
	if err := conn.QueryRow(context.Background(), `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, name).Scan(&has); err != nil {
		t.Fatal(err)
	}
	return has
}

func (s *site) grant(access registry.Access) Grant {
	return Grant{
		Tenant: s.tenant, Server: s.server, Revision: registry.RevisionID(tenants.RandomID("rv")), Tool: "search",
		Access: access, User: s.user, CallID: tenants.RandomID("cl"), OpenHash: "ab12", Deadline: time.Now().Add(30 * time.Second),
	}
}

// request is the lease request of a call that the edge let through.
func (s *site) request(t testing.TB, access registry.Access) LeaseRequest {
	t.Helper()
	return requestFor(t, s.grant(access))
}

func requestFor(t testing.TB, g Grant) LeaseRequest {
	t.Helper()
	signer, err := NewSigner(testKey())
	if err != nil {
		t.Fatal(err)
	}
	jwt, err := signer.Sign(g)
	if err != nil {
		t.Fatal(err)
	}
	return LeaseRequest{Tenant: g.Tenant, Server: g.Server, Access: g.Access, CallID: g.CallID, Grant: jwt, Deadline: g.Deadline}
}

// forge signs any claims at all: what an attacker with the key, or a bug of
// ours, could send.
func forge(k Key, c map[string]any) secret.Text {
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	text := header(k.ID) + "." + base64.RawURLEncoding.EncodeToString(payload)
	return secret.Text(text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(k.private, []byte(text))))
}

func (s *site) claims(access registry.Access) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": issuer, "aud": audience, "sub": string(s.tenant) + ":" + string(s.user),
		"tenant": string(s.tenant), "server": string(s.server), "access": string(access),
		"jti": tenants.RandomID("cl"), "iat": now.Add(-5 * time.Second).Unix(), "exp": now.Add(30 * time.Second).Unix(),
	}
}

func newTestLeases(t testing.TB, cfg LeasesConfig) *Leases {
	t.Helper()
	if cfg.Client == nil {
		cfg.Client = workerClient(t)
	}
	l := NewLeases(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return l
}

// eventually waits for what happens in another process.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 15 s: %s", what)
		case <-tick.C:
		}
	}
}

// gate is a way to Vault that can be cut.
type gate struct {
	ln     net.Listener
	target string
	mu     sync.Mutex
	cut    bool
	conns  map[net.Conn]bool
}

func newGate(t testing.TB, target string) *gate {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{ln: ln, target: target, conns: map[net.Conn]bool{}}
	go g.serve()
	t.Cleanup(func() { ln.Close(); g.setCut(true) })
	return g
}

func (g *gate) addr() string { return "http://" + g.ln.Addr().String() }

func (g *gate) serve() {
	for {
		in, err := g.ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", strings.TrimPrefix(g.target, "http://"))
		g.mu.Lock()
		if err != nil || g.cut {
			in.Close()
			if out != nil {
				out.Close()
			}
		} else {
			g.conns[in], g.conns[out] = true, true
			go pipe(in, out)
			go pipe(out, in)
		}
		g.mu.Unlock()
	}
}

func pipe(a, b net.Conn) {
	io.Copy(a, b)
	a.Close()
	b.Close()
}

func (g *gate) setCut(cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = cut
	if cut {
		for c := range g.conns {
			c.Close()
		}
		clear(g.conns)
	}
}
