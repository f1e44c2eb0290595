package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/e2e"
	"latchkey/internal/postgres"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

const (
	rounds  = 5
	forEach = 1500 * time.Millisecond // of each side in each round
)

// BenchmarkPlatform measures everything once, whatever -benchtime says, and
// prints it as tables.
func BenchmarkPlatform(b *testing.B) {
	bin, state := buildBinaries(b), stateDir(b)
	cold := start(b, bin, state)
	cold.stop(b)
	p := start(b, bin, state)
	plain, plainPid := startPlain(b)

	var r report
	r.title(fmt.Sprintf("%s, %d processors shared with the load client, %s", time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.Version()))
	r.head("start of `platform dev`", "seconds")
	r.row("cold: new state", seconds(cold.ready))
	r.row("warm: its second start", seconds(p.ready))

	// What it holds when nobody calls, after the garbage of its start.
	time.Sleep(3 * time.Second)
	idle := map[string]memory{}
	for _, name := range processes {
		idle[name] = must(memoryOf(p.pid(name)))(b)
	}
	busy := calls(b, &r, p, plain, plainPid)
	r.title("Resident memory")
	r.head("process", "idle", "most under load")
	for _, name := range processes {
		r.row(name, idle[name].String(), busy[name].String())
	}

	r.title("Other work")
	r.head("operation", "callers", "per second", "p50 ms", "p99 ms")
	tokens(b, &r, p)
	flows(b, &r, p)
	records(b, &r, p)
	grants(b, &r)
	fmt.Println(r.b.String())
	b.ReportMetric(0, "ns/op") // of no meaning here
}

var processes = []string{"platform", "worker"}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }

// calls measures tool calls at the platform beside the plain SDK server.
func calls(b *testing.B, r *report, p *running, plain string, plainPid int) (most map[string]memory) {
	const hello, orders = `{"text":"hello"}`, `{"query":"","status":"paid","limit":5}`
	diagnostics, shop := newClient(b, p, "diagnostics"), newClient(b, p, "orders")
	// Both are good for ten minutes, which is longer than this takes.
	diagnosticsToken, shopToken := must(diagnostics.connect(b.Context()))(b).Access, must(shop.connect(b.Context()))(b).Access
	said := `"structuredContent":` + hello
	sdk, all := []int{plainPid}, []int{p.pid("platform"), p.pid("worker"), p.pid("postgres")}
	groups := []struct {
		callers []int
		targets []target // the first is what the others are compared with
	}{
		{[]int{1, 16, 64}, []target{
			{name: "plain SDK server", url: plain + "/mcp", tool: "echo", arguments: hello, want: said, pids: sdk},
			{name: "platform, no-op tool", url: diagnostics.target, token: diagnosticsToken, tool: "echo", arguments: hello, want: said, pids: all},
			{name: "platform, search_orders", url: shop.target, token: shopToken, tool: "search_orders", arguments: orders, want: `"rows":[{`, pids: all},
		}},
		{[]int{16}, []target{
			{name: "plain SDK server, 2025-11-25 sessions", url: plain + "/sessions", session: true, tool: "echo", arguments: hello, want: said, pids: sdk},
			{name: "platform, no-op tool, 2025-11-25 sessions", url: diagnostics.target, token: diagnosticsToken, session: true, tool: "echo", arguments: hello, want: said, pids: all},
		}},
	}
	watched := map[string]func() memory{}
	for _, name := range processes {
		watched[name] = watchMemory(p.pid(name))
	}
	r.title("Tool calls")
	r.head("server", "callers", "calls/s", "p50 ms", "p99 ms", "CPU µs a call", "calls/s to plain SDK")
	for _, g := range groups {
		for _, callers := range g.callers {
			got := alternate(b, g.targets, callers)
			for i, t := range g.targets {
				s := median(got[i])
				r.row(t.name, fmt.Sprint(callers), perSecond(s.rate), millis(s.p50), millis(s.p99), fmt.Sprint(s.cpu.Microseconds()), ratio(got[i], got[0]))
				if callers == 16 {
					b.ReportMetric(s.rate, strings.ReplaceAll(t.name, " ", "_")+"_calls/s")
				}
			}
		}
	}
	most = map[string]memory{}
	for name, stop := range watched {
		most[name] = stop()
	}
	return most
}

// alternate measures each target in each round, so that what else goes on at
// the machine meets all of them.
func alternate(b *testing.B, targets []target, callers int) [][]sample {
	b.Helper()
	got := make([][]sample, len(targets))
	for range rounds {
		for i, t := range targets {
			s, err := load(b.Context(), t, callers, forEach)
			if err != nil {
				b.Fatalf("%s: %v", t.name, err)
			}
			for _, w := range s.wrong {
				fmt.Printf("a wrong answer of %s at %d callers: %s\n", t.name, callers, w)
			}
			got[i] = append(got[i], s)
		}
	}
	return got
}

// ratio is the median of the rounds' own ratios.
func ratio(s, base []sample) string {
	var each []sample
	for i := range s {
		each = append(each, sample{rate: s[i].rate / base[i].rate})
	}
	return fmt.Sprintf("%.2f", median(each).rate)
}

// client is one app, and somebody who is signed in and lets it in.
type client struct {
	p      *running
	app    *e2e.App
	person *e2e.Person
	target string
}

func newClient(b *testing.B, p *running, server string) *client {
	b.Helper()
	return &client{
		p: p, target: p.Resource("acme", server),
		app:    must(p.Register(b.Context(), "acme", "http://127.0.0.1:9/callback"))(b),
		person: must(p.SignIn(b.Context(), "dana@acme.test"))(b),
	}
}

// connect is one authorization-code flow: the consent page is shown and answered
// with everything ticked, and the code exchanged.
func (c *client) connect(ctx context.Context) (k e2e.Token, err error) {
	verifier := rand.Text() + rand.Text()
	page, err := c.person.Ask(ctx, c.app.AuthorizeURL(c.target, verifier)+"&prompt=consent")
	if err != nil {
		return k, err
	}
	to, err := c.person.Answer(ctx, page, "allow", page.Offered...)
	if err != nil {
		return k, err
	}
	res, err := c.p.HTTP.PostForm(c.p.Tenants["acme"]+"/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")}, "code_verifier": {verifier},
		"redirect_uri": {c.app.Redirect}, "client_id": {c.app.ID},
	})
	if err != nil {
		return k, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(body, &k); err != nil || res.StatusCode != http.StatusOK || k.Access == "" {
		return k, fmt.Errorf("token: %s %.300s", res.Status, body)
	}
	return k, nil
}

// operation adds a row for what is not compared with anything.
func operation(b *testing.B, r *report, name string, callers int, prepare func(int) (func() error, func(), error)) {
	b.Helper()
	s, err := drive(callers, 2*forEach, prepare)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	r.row(name, fmt.Sprint(callers), perSecond(s.rate), millis(s.p50), millis(s.p99))
}

// tokens refreshes: each caller has a consent of its own and rotates its token.
func tokens(b *testing.B, r *report, p *running) {
	c := newClient(b, p, "orders")
	for _, callers := range []int{1, 16} {
		operation(b, r, "refresh a token", callers, func(int) (func() error, func(), error) {
			k, err := c.connect(b.Context())
			return func() (err error) {
				if k, err = c.app.Renew(b.Context(), k.Refresh); err == nil && k.Refresh == "" {
					err = errors.New("no refresh token")
				}
				return err
			}, nil, err
		})
	}
}

// flows reuses the sign-in; the consent page is shown and answered each time.
func flows(b *testing.B, r *report, p *running) {
	c := newClient(b, p, "orders")
	for _, callers := range []int{1, 16} {
		operation(b, r, "authorization-code flow (3 requests)", callers, func(int) (func() error, func(), error) {
			return func() error { _, err := c.connect(b.Context()); return err }, nil, nil
		})
	}
}

// records writes audit records into the platform's own Postgres.
func records(b *testing.B, r *report, p *running) {
	db := must(postgres.Open(b.Context(), postgres.Options{URL: databaseURL(b, p)}))(b)
	defer db.Close()
	tenant := must(db.TenantBySlug(b.Context(), "acme"))(b)
	w := audit.NewWriter(db, nil)
	defer w.Close()
	for _, callers := range []int{1, 16, 64} {
		operation(b, r, "audit record, committed", callers, func(int) (func() error, func(), error) {
			return func() error {
				return w.Add(b.Context(), audit.Event{
					Tenant: tenant.ID, At: time.Now(), CallID: "bench", Phase: audit.Outcome, State: audit.Done, Allowed: true,
					Server: "diagnostics", Method: "tools/call", Tool: "echo", Scope: "diagnostics:use", Arguments: `{text: "hello"}`,
				})
			}, nil, nil
		})
	}
}

func databaseURL(b *testing.B, p *running) string {
	b.Helper()
	var s struct {
		URL string `json:"database_url"`
	}
	if err := json.Unmarshal(must(os.ReadFile(p.Path("secrets.json")))(b), &s); err != nil {
		b.Fatal(err)
	}
	return s.URL
}

// grants signs what a worker trades for a credential.
func grants(b *testing.B, r *report) {
	signer := must(vault.NewSigner(must(vault.NewKey())(b)))(b)
	g := vault.Grant{
		Tenant: tenants.NewID(), Server: tenants.NewServerID(), Revision: "rv1", Tool: "search_orders", Access: registry.ReadAccess,
		User: tenants.NewUserID(), CallID: tenants.RandomID("ca"), OpenHash: strings.Repeat("0", 64), Deadline: time.Now().Add(time.Minute),
	}
	operation(b, r, "sign a call's grant", 1, func(int) (func() error, func(), error) {
		return func() error { _, err := signer.Sign(g); return err }, nil, nil
	})
}

func must[T any](v T, err error) func(*testing.B) T {
	return func(b *testing.B) T {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
}
