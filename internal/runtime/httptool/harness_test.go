package httptool

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/egress"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// upstream is a real HTTP server that keeps what it was sent.
type upstream struct {
	*httptest.Server
	mu      sync.Mutex
	got     []seen
	answer  http.HandlerFunc
	working atomic.Int64
}

type seen struct {
	method, path, query, body string
	header                    http.Header
}

func newUpstream(t testing.TB, answer http.HandlerFunc) *upstream {
	t.Helper()
	u := &upstream{answer: answer}
	u.Server = httptest.NewServer(u)
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	u.got = append(u.got, seen{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, string(body), r.Header.Clone()})
	u.mu.Unlock()
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	u.answer(w, r)
}

func (u *upstream) requests() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]seen(nil), u.got...)
}

func (u *upstream) last(t testing.TB) seen {
	t.Helper()
	all := u.requests()
	if len(all) == 0 {
		t.Fatal("the upstream was sent nothing")
	}
	return all[len(all)-1]
}

func answers(status int, media, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if media != "" {
			w.Header().Set("Content-Type", media)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func answersJSON(body string) http.HandlerFunc { return answers(200, "application/json", body) }

// node reads YAML as the registry gives it to a kind.
func yamlNode(t testing.TB, text string) *yaml.Node {
	t.Helper()
	n, problems := registry.ReadYAML(text)
	if len(problems) > 0 {
		t.Fatalf("the test's own YAML: %v", problems)
	}
	return n
}

// referTo gives `{env: X}` the form in which kinds see it.
func connected(t testing.TB, text string) (json.RawMessage, map[string]secret.Text) {
	t.Helper()
	c, problems := registry.CheckConnection(onlyHTTP{}, "http", yamlNode(t, text), func(_, name string) (string, error) {
		if v, has := testSecrets[name]; has {
			return v, nil
		}
		return "", fmt.Errorf("there is no %s", name)
	})
	if len(problems) > 0 {
		t.Fatalf("the connection: %v", (&registry.Problems{List: problems}).Error())
	}
	return c.Normalized, c.Secrets
}

// onlyHTTP is registry.Kinds of this kind alone.
type onlyHTTP struct{}

func (onlyHTTP) CheckSpec(_ string, n *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	return check(n)
}
func (onlyHTTP) CheckConnection(_ string, n *yaml.Node) (json.RawMessage, map[string]secret.Text, []registry.Problem) {
	return checkConnection(n)
}
func (onlyHTTP) Discovers(string) bool { return false }
func (onlyHTTP) Define(string, json.RawMessage, registry.Offer) (json.RawMessage, registry.Definition, []registry.Problem) {
	return nil, registry.Definition{}, nil
}
func (onlyHTTP) Names() []string { return []string{"http"} }

const canary = "canary-of-the-upstream"

var testSecrets = map[string]string{"KEY": canary + "-key", "PASSWORD": canary + "-password", "TOKEN": canary + "-token", "CLIENT": canary + "-client", "OTHER": canary + "-other"}

// served is a server that was declared and opened.
type served struct {
	testing.TB
	def     registry.Definition
	opening runtime.Opening
	in      runtime.Instance
	fields  map[string]secret.Text
	lease   string
	dropped int
	expired chan struct{}
	key     string // idempotency
}

func loopbackHost() runtime.Host {
	return runtime.Host{Egress: &egress.Policy{Allow: egress.Loopback()}}
}

// serve declares a server and opens it. BASE in the texts is the upstream.
func serve(t testing.TB, u *upstream, connection, spec string) *served {
	t.Helper()
	base := strings.NewReplacer("BASE", u.URL)
	normalized, def, problems := check(yamlNode(t, spec))
	if len(problems) > 0 {
		t.Fatalf("the spec: %v", (&registry.Problems{List: problems}).Error())
	}
	conn, secrets := connected(t, base.Replace(connection))
	s := &served{TB: t, def: def, fields: secrets, lease: "secret@1", expired: make(chan struct{}), opening: runtime.Opening{
		Tenant: tenants.NewID(), Server: tenants.NewServerID(), Kind: "http", Spec: normalized, Connection: conn, Guard: runtime.GuardsOf(def),
	}}
	s.open(loopbackHost())
	return s
}

func (s *served) open(h runtime.Host) {
	s.Helper()
	in, err := open(s.Context(), s.opening, h)
	if err != nil {
		s.Fatal(err)
	}
	s.in = in
	s.Cleanup(func() { in.Close() })
}

func (s *served) env() runtime.Env {
	return runtime.Env{Credential: func(context.Context) (runtime.Credential, error) {
		return runtime.Credential{ID: s.lease, Fields: s.fields, Until: time.Now().Add(time.Minute), Expired: s.expired, Discard: func() { s.dropped++ }}, nil
	}}
}

func (s *served) call(name, input string) *runtime.Call {
	a := registry.ReadAccess
	if t, has := s.def.Tool(name); has {
		a = t.Risk.Access()
	}
	return &runtime.Call{ID: "cl1", Tenant: s.opening.Tenant, Server: s.opening.Server, Op: runtime.CallTool, Name: name, Input: json.RawMessage(input), Access: a, IdempotencyKey: s.key,
		Caller: runtime.Caller{User: "us1", Email: "sam@acme.test", Name: "Sam"}, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
}

func (s *served) tool(name, input string) (*runtime.Result, error) {
	return s.in.CallTool(s.Context(), s.call(name, input), s.env())
}

// structured is what a tool gave, as JSON.
func (s *served) structured(name, input string) string {
	s.Helper()
	res, err := s.tool(name, input)
	if err != nil {
		s.Fatalf("%s: %v", name, err)
	}
	raw, err := json.Marshal(res.Tool.StructuredContent)
	if err != nil {
		s.Fatal(err)
	}
	return string(raw)
}

// fixedLeases hand out the same secrets to every call.
type fixedLeases map[string]secret.Text

func (f fixedLeases) Get(_ context.Context, r vault.LeaseRequest) (vault.Lease, func(), error) {
	return vault.Lease{ID: "secret@1", Fields: f, Until: time.Now().Add(time.Minute), Expired: make(chan struct{}), Discard: func() {}}, func() {}, nil
}

// closedPort is an address where nothing listens.
func closedPort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func isCode(err error, name string) bool {
	f := (*fault.Error)(nil)
	return errors.As(err, &f) && f.Code.Name == name
}

// Private keys of the tests, in PEM.
func init() {
	pemOf := func(key any, err error) string {
		if err != nil {
			panic(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			panic(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	testSecrets["RSA"] = pemOf(rsaKey, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testSecrets["EC"] = pemOf(ecKey, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	testSecrets["ED25519"] = pemOf(edKey, err)
	testKeys = map[string]any{"RSA": rsaKey.Public(), "EC": ecKey.Public(), "ED25519": edKey.Public()}
}

var testKeys map[string]any

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// pretendAt dials the upstream, and says that it is elsewhere.
func pretendAt(t testing.TB, u *upstream, address string) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, strings.TrimPrefix(u.URL, "http://"))
		return elsewhere{c, at}, err
	}
}

type elsewhere struct {
	net.Conn
	at net.Addr
}

func (e elsewhere) RemoteAddr() net.Addr { return e.at }

func (onlyHTTP) Composes(string) bool { return false }

func (onlyHTTP) Compose(string, json.RawMessage, registry.Composing) (json.RawMessage, registry.Definition, []registry.Problem) {
	return nil, registry.Definition{}, nil
}
