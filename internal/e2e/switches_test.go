package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"

	"latchkey/internal/embedded"
	"latchkey/internal/testenv"
)

const (
	readIncidents  = "incidents:read"
	writeIncidents = "incidents:write"
)

func ticket(title string) map[string]any {
	return map[string]any{"title": title, "severity": "high", "description": "Seen by a test."}
}

// tickets are those of a title that are really in the tenant's table.
func (p *Platform) tickets(t *testing.T, title string) int {
	t.Helper()
	n, err := query(t.Context(), p, "demo_acme", pgx.RowTo[int], `SELECT count(*)::int FROM incidents WHERE title = $1`, title)
	if err != nil {
		t.Fatal(err)
	}
	return n[0]
}

// metrics are what a platform's /metrics says now.
func metrics(ctx context.Context, at string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", err
	}
	_, text, err := send(http.DefaultClient, r)
	return text, err
}

// The switch that somebody on call reaches for, from the loop that they see to
// the end of it.
func TestKillSwitchOfCreateIncidentTicket(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	const target = "tool:incidents/create_incident_ticket"
	at := p.APIURL + "/tenants/acme/switches/" + url.PathEscape(target)
	incidents := p.Resource("acme", "incidents")
	k := p.Token(t, "sam@acme.test", "incidents", readIncidents, writeIncidents)
	title := unique("Loop ")
	create := func() Answer {
		return p.MustCall(t, incidents, k.Access, "create_incident_ticket", ticket(unique(title)))
	}
	list := func() Answer { return p.MustCall(t, incidents, k.Access, "list_incidents", map[string]any{}) }
	done := func(a Answer) bool { f, err := a.Failure(); return f == nil && err == nil }
	listed := func() bool {
		a, err := p.RPC(t.Context(), incidents, k.Access, "tools/list", nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := a.Message()
		if err != nil || len(m.Result.Tools) == 0 {
			t.Fatalf("%v: %s", err, a.Body)
		}
		for _, tool := range m.Result.Tools {
			if tool.Name == "create_incident_ticket" {
				return true
			}
		}
		return false
	}
	alert := func(want string) {
		t.Helper()
		Eventually(t, 5*time.Second, func() error {
			text, err := metrics(t.Context(), p.MetricsURL)
			if err == nil && !strings.Contains(text, want+"\n") {
				err = fmt.Errorf("/metrics has no %q", want)
			}
			return err
		})
	}
	if a := create(); !done(a) || !listed() {
		t.Fatalf("before: %d %s", a.Status, a.Body)
	}
	again := ticket(unique(title))
	again["request_id"] = unique("r")
	for range 2 { // the table takes the key
		if a := p.MustCall(t, incidents, k.Access, "create_incident_ticket", again); !done(a) {
			t.Fatalf("before: %d %s", a.Status, a.Body)
		}
	}
	if n := p.tickets(t, again["title"].(string)); n != 1 {
		t.Errorf("%d tickets under one request_id", n)
	}
	alert(`latchkey_switches_on{kind="tool"} 0`)

	const reason = "tickets in a loop, see the pager"
	if status, s := p.api(t.Context(), t, "PUT", at, p.APIKey, map[string]any{"reason": reason}); status != 200 || s["on"] != true || s["by_role"] != "API key platform dev" {
		t.Fatalf("%d %v", status, s)
	}
	wantWithin(t, time.Second, create, failedAs("switched_off"))
	refused := create()
	f := wantFailure(t, refused, "switched_off")
	if f.Category != "access" || f.Message != "create_incident_ticket is switched off at Acme Corp by an administrator (API key platform dev). Do not retry; ask them." || strings.Contains(refused.Body, "pager") {
		t.Errorf("the caller reads %s", refused.Body)
	}
	if listed() || !done(list()) {
		t.Error("the tool is listed, or its neighbour is off too")
	}
	if r := p.RecordsOf(t, f.CallID); len(r) != 1 || r[0].Phase != "refusal" || r[0].Code != "switched_off" || !strings.Contains(r[0].Text, target) {
		t.Errorf("on record: %v", r)
	}
	events := func(kind string) (n int) {
		t.Helper()
		status, page := p.api(t.Context(), t, "GET", p.APIURL+"/tenants/acme/events?server=incidents&kind="+kind, p.APIKey, nil)
		if status != 200 {
			t.Fatalf("%d %v", status, page)
		}
		for _, e := range page["data"].([]any) {
			if d := e.(map[string]any)["detail"].(string); strings.Contains(d, target) {
				n++
			}
		}
		return n
	}
	Eventually(t, 5*time.Second, func() error {
		if n := events("switched_off"); n != 1 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	alert(`latchkey_switches_on{kind="tool"} 1`)
	tried, err := p.Audit(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(tried, func(r Record) bool {
		return r.Tool == "putSwitch" && r.Outcome == "done" && strings.Contains(r.Arguments, reason)
	}) {
		t.Error("who switched it off, and why, is not on record")
	}

	// Somebody on call types this.
	env := []string{"LATCHKEY_URL=" + p.APIURL, "LATCHKEY_API_KEY=" + p.APIKey}
	if got := platform(t, env, "switch", "list"); got.code != 0 || !strings.Contains(got.out, target) || !strings.Contains(got.out, reason) {
		t.Errorf("%+v", got)
	}
	if got := platform(t, env, "switch", "off", target); got.code != 0 || !strings.Contains(got.out, "is on again") {
		t.Errorf("%+v", got)
	}
	if got := platform(t, env, "switch", "off", target); got.code != 4 {
		t.Errorf("lifting what is on: %+v", got)
	}
	wantWithin(t, time.Second, create, done)
	if !listed() {
		t.Error("it is not listed again")
	}
	Eventually(t, 5*time.Second, func() error {
		if n := events("switched_on"); n != 1 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	alert(`latchkey_switches_on{kind="tool"} 0`)

	// One that runs out lets through by itself, at its time.
	if got := platform(t, env, "switch", "on", target, "--reason", reason, "--for", "2s", "--output", "json"); got.code != 0 || !strings.Contains(got.out, `"expires_at"`) {
		t.Fatalf("%+v", got)
	}
	wantWithin(t, time.Second, create, failedAs("switched_off"))
	Eventually(t, 5*time.Second, func() error {
		if a := create(); !done(a) {
			return fmt.Errorf("%d %.200s", a.Status, a.Body)
		}
		return nil
	})
}

// serving is a `platform serve` beside a `platform dev`.
type serving struct {
	name  string
	base  string // where it really listens
	child *embedded.Child
	log   string
}

// serve starts edges on the Postgres and the Vault of p, and on a NATS of their
// own, with one worker. All answer under p's base URL. The last one's listener
// is the only one that was not there before it started: others are in keep.
func serve(t *testing.T, p *Platform, n int) (edges []*serving, keep []int32) {
	t.Helper()
	bin, dir := Binaries(t), t.TempDir()
	s, err := p.secrets()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, MaxPayload: 2 << 20,
		PingInterval: time.Second, MaxPingsOut: 2, Username: "platform", Password: "secret-of-tests"})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS is not ready")
	}
	nats := "nats://platform:secret-of-tests@" + ns.Addr().String()
	keys, err := query(t.Context(), p, "latchkey", pgx.RowTo[string], `SELECT encode(public, 'base64') FROM grant_keys ORDER BY created_at DESC`)
	if err != nil {
		t.Fatal(err)
	}
	start := func(name, path string, args []string, env ...string) *serving {
		t.Helper()
		x := &serving{name: name, log: filepath.Join(dir, name+".log")}
		x.child, err = embedded.StartChild(embedded.ChildOptions{Name: name, Path: filepath.Join(bin, path), Args: args, Log: x.log, Dir: testenv.RepoRoot(t), Stop: stopSteps,
			Env: append([]string{"PATH=" + os.Getenv("PATH"), noRaceSleep, "LATCHKEY_NATS_URL=" + nats, "VAULT_ADDR=" + p.VaultAddr}, env...)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := x.child.Stop(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if b, err := os.ReadFile(x.log); err != nil || bytes.Contains(b, []byte("DATA RACE")) {
				t.Errorf("%s: %v\n%s", name, err, b)
			}
		})
		return x
	}
	// said waits for a line of its log.
	said := func(x *serving, msg string) (line map[string]any) {
		t.Helper()
		Eventually(t, 30*time.Second, func() error {
			b, err := os.ReadFile(x.log)
			if err != nil {
				return err
			}
			for l := range bytes.Lines(b) {
				if json.Unmarshal(l, &line) == nil && line["msg"] == msg {
					return nil
				}
			}
			select {
			case <-x.child.Done():
				return final{fmt.Errorf("%s ended: %s", x.name, b)}
			default:
			}
			return fmt.Errorf("%s does not say %q: %s", x.name, msg, b)
		})
		return line
	}
	said(start("worker", "worker", []string{"run"}, "LATCHKEY_GRANT_KEYS="+strings.Join(keys, ","), "LATCHKEY_WORKER_DRAIN=5s", "LATCHKEY_EGRESS_ALLOW=127.0.0.0/8"), "worker ready")
	listeners := func() []int32 {
		t.Helper()
		pids, err := query(t.Context(), p, "latchkey", pgx.RowTo[int32], `SELECT pid FROM pg_stat_activity WHERE application_name = 'latchkey-listen'`)
		if err != nil {
			t.Fatal(err)
		}
		return pids
	}
	for i := range n {
		keep = listeners()
		port, err := embedded.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		listen := fmt.Sprintf("127.0.0.1:%d", port)
		x := start(fmt.Sprintf("edge%d", i+1), "platform", []string{"serve"}, "LATCHKEY_BASE_URL="+strings.TrimSuffix(p.BaseURL, "acme")+"{tenant}", "DATABASE_URL="+s.DatabaseURL,
			"VAULT_ROLE_ID="+s.VaultRole, "VAULT_SECRET_ID="+s.VaultSecret, "LATCHKEY_LISTEN="+listen, "LATCHKEY_PEER_URL=http://"+listen, "LATCHKEY_METRICS_LISTEN=127.0.0.1:0")
		x.base = "http://" + said(x, "serving")["listen"].(string)
		Eventually(t, 10*time.Second, func() error {
			if len(listeners()) <= len(keep) {
				return errors.New("it does not listen for changes")
			}
			return nil
		})
		edges = append(edges, x)
	}
	return edges, keep
}

// call is a call through one edge, under the platform's own name.
func (x *serving) call(ctx context.Context, p *Platform, tenant, server, token, tool string, arguments any) (Answer, error) {
	base, err := url.Parse(p.BaseURL)
	if err != nil {
		return Answer{}, err
	}
	return p.Call(ctx, x.base+"/t/"+tenant+"/mcp/"+server, token, tool, arguments, "Host", base.Host)
}

// cut ends the connection on which an edge hears of changes, again and again,
// until the returned function is called.
func cut(t *testing.T, p *Platform, keep []int32) (mend func()) {
	t.Helper()
	conn, err := p.SQL(t.Context(), "latchkey")
	if err != nil {
		t.Fatal(err)
	}
	ended, once := make(chan int), sync.Once{}
	stop := make(chan struct{})
	// once cut before this returns
	strike := func() (n int) {
		if err := conn.QueryRow(context.Background(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE application_name = 'latchkey-listen' AND pid <> ALL ($1)`, keep).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	first := strike()
	go func() {
		n := first
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				conn.Close(context.Background())
				ended <- n
				return
			case <-tick.C:
				n += strike()
			}
		}
	}()
	return func() {
		once.Do(func() {
			close(stop)
			if n := <-ended; n == 0 {
				t.Error("no connection was cut")
			}
		})
	}
}

// Three edges of their own processes and the one that is asked. From the answer
// of the API on, each refuses within a second, also the one that cannot hear of
// changes at that time.
func TestSwitchReachesEveryEdgeWithinASecond(t *testing.T) {
	t.Parallel()
	p := Start(t)
	edges, keep := serve(t, p, 3)
	base, err := url.Parse(p.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	edges = append(edges, &serving{name: "the one that is asked", base: "http://" + base.Host})
	k := p.Token(t, "dana@acme.test", "diagnostics", "diagnostics")
	at := p.APIURL + "/tenants/acme/switches/" + url.PathEscape("tool:diagnostics/echo")
	var seq atomic.Int64
	off := func(x *serving) (bool, error) {
		a, err := x.call(t.Context(), p, "acme", "diagnostics", k.Access, "echo", map[string]any{"text": fmt.Sprint(seq.Add(1))})
		if err != nil {
			return false, err
		}
		f, err := a.Failure()
		if f != nil && f.Code != "switched_off" && f.Category != "rate_limit" {
			return false, fmt.Errorf("%s answers %+v", x.name, f)
		}
		return f != nil && f.Code == "switched_off", err
	}
	// follow calls an edge until what it answers is want, and gives when that
	// was. Whatever began more than a second after the change must be so.
	follow := func(x *serving, want bool, changed *atomic.Int64) (time.Time, error) {
		for end := time.Now().Add(20 * time.Second); ; {
			began := time.Now()
			is, err := off(x)
			if err != nil {
				return time.Time{}, err
			}
			if is == want {
				return began, nil // how long the call takes is not the question
			}
			if c := changed.Load(); c != 0 && began.UnixNano() > c+int64(time.Second) || began.After(end) {
				return time.Time{}, fmt.Errorf("%s: more than a second after the change a call is answered with off=%v", x.name, is)
			}
		}
	}
	took := map[string][]time.Duration{}
	change := func(name string, want bool, do func() int) {
		t.Helper()
		var changed atomic.Int64
		var all sync.WaitGroup
		at, errs := make([]time.Time, len(edges)), make([]error, len(edges))
		for i, x := range edges {
			all.Go(func() { at[i], errs[i] = follow(x, want, &changed) })
		}
		if status := do(); status >= 300 {
			t.Errorf("the API answers %d", status)
		}
		answered := time.Now()
		changed.Store(answered.UnixNano())
		all.Wait()
		for i, x := range edges {
			if errs[i] != nil {
				t.Error(errs[i])
				continue
			}
			took[name] = append(took[name], max(0, at[i].Sub(answered)))
			for range 3 {
				if is, err := off(x); err != nil || is != want {
					t.Errorf("%s: a later call has off=%v, %v", x.name, is, err)
				}
			}
		}
	}
	const rounds = 5 // of 25, none took longer than 250 ms
	for i := range rounds {
		name, mend := "all hear", func() {}
		if i%5 == 4 {
			name, mend = "one was cut off", cut(t, p, keep)
		}
		change(name, true, func() int {
			status, _ := p.api(t.Context(), t, "PUT", at, p.APIKey, map[string]any{"reason": "a drill"})
			return status
		})
		mend()
		change("lifted", false, func() int {
			status, _ := p.api(t.Context(), t, "DELETE", at, p.APIKey, nil)
			return status
		})
		if t.Failed() {
			return
		}
	}
	for name, all := range took {
		slices.Sort(all)
		p50, p99 := all[len(all)/2], all[(len(all)*99)/100]
		t.Logf("%s: %d times on %d edges, from the API's answer to the first call that knows: p50 %s, p99 %s, most %s",
			name, len(all), len(edges), p50.Round(10*time.Microsecond), p99.Round(10*time.Microsecond), all[len(all)-1].Round(10*time.Microsecond))
		if p99 > time.Second {
			t.Errorf("%s: p99 is %s", name, p99)
		}
	}
	t.Run("running calls", func(t *testing.T) { switchStopsRunningCalls(t, p, edges) })
	t.Run("the platform's", func(t *testing.T) { platformSwitchStopsEveryTenant(t, p, edges) })
}

// A read and a call with effects hang in the tenant's database, each on another
// edge, when all of the tenant is switched off.
func switchStopsRunningCalls(t *testing.T, p *Platform, edges []*serving) {
	orders := p.Token(t, "dana@acme.test", "orders", read).Access
	incidents := p.Token(t, "dana@acme.test", "incidents", readIncidents, writeIncidents).Access
	title := unique("Stopped ")
	search := func() (Answer, error) {
		return edges[0].call(t.Context(), p, "acme", "orders", orders, "search_orders", map[string]any{"query": unique("x")})
	}
	create := func(title string) (Answer, error) {
		return edges[1].call(t.Context(), p, "acme", "incidents", incidents, "create_incident_ticket", ticket(title))
	}
	for what, call := range map[string]func() (Answer, error){"search": search, "create": func() (Answer, error) { return create(unique("Before ")) }} {
		Eventually(t, 10*time.Second, func() error {
			a, err := call()
			if err != nil {
				return err
			}
			if f, err := a.Failure(); f != nil || err != nil {
				return fmt.Errorf("%s: %+v, %v", what, f, err)
			}
			return nil
		})
	}
	conn, err := p.SQL(t.Context(), "demo_acme")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), `LOCK TABLE orders, incidents IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	type result struct {
		Answer
		err error
	}
	searched, created := make(chan result, 1), make(chan result, 1)
	go func() { a, err := search(); searched <- result{a, err} }()
	go func() { a, err := create(title); created <- result{a, err} }()
	Eventually(t, 4*time.Second, func() error {
		n, err := query(t.Context(), p, "postgres", pgx.RowTo[int], `SELECT count(*)::int FROM pg_stat_activity WHERE datname = 'demo_acme' AND wait_event_type = 'Lock'`)
		if err == nil && n[0] < 2 {
			err = fmt.Errorf("%d calls wait", n[0])
		}
		return err
	})
	at := p.APIURL + "/tenants/acme/switches/tenant"
	if status, s := p.api(t.Context(), t, "PUT", at, p.APIKey, map[string]any{"reason": "a drill", "cancel_running": true}); status != 200 {
		t.Fatalf("%d %v", status, s)
	}
	answered := time.Now()
	for what, c := range map[string]struct {
		from    chan result
		code    string
		outcome string
	}{"the read": {searched, "switched_off", "failed"}, "the call with effects": {created, "outcome_unknown", "unknown"}} {
		select {
		case r := <-c.from:
			if r.err != nil {
				t.Fatal(r.err)
			}
			f := wantFailure(t, r.Answer, c.code)
			if !strings.Contains(f.Message, "switched off at Acme Corp") {
				t.Errorf("%s reads %s", what, f.Message)
			}
			if took := time.Since(answered); took > 3*time.Second { // with its record, on a busy machine
				t.Errorf("%s was stopped after %s", what, took)
			}
			records := p.RecordsOf(t, f.CallID)
			if last := records[len(records)-1]; last.Phase != "outcome" || last.Outcome != c.outcome || last.Code != c.code || !strings.Contains(last.Text, "switch") {
				t.Errorf("%s is on record as %v", what, records)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s was not stopped", what)
		}
	}
	// The workers were told: nothing waits in the database any more, and nothing
	// was written.
	Eventually(t, 5*time.Second, func() error {
		n, err := query(t.Context(), p, "postgres", pgx.RowTo[int], `SELECT count(*)::int FROM pg_stat_activity WHERE datname = 'demo_acme' AND wait_event_type = 'Lock'`)
		if err == nil && n[0] != 0 {
			err = fmt.Errorf("%d calls wait", n[0])
		}
		return err
	})
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := p.tickets(t, title); n != 0 {
		t.Errorf("%d tickets were opened by a call that was stopped", n)
	}
	// The console and the API are not switched off: somebody has to lift it.
	if status, _ := p.api(t.Context(), t, "GET", p.APIURL+"/tenants/acme/switches", p.APIKey, nil); status != 200 {
		t.Errorf("the API of a tenant that is switched off answers %d", status)
	}
	if status, _ := p.api(t.Context(), t, "DELETE", at, p.APIKey, nil); status != 204 {
		t.Errorf("%d", status)
	}
}

func platformSwitchStopsEveryTenant(t *testing.T, p *Platform, edges []*serving) {
	tokens := map[string]string{
		"acme":   p.Token(t, "dana@acme.test", "orders", read).Access,
		"globex": p.Token(t, "gina@globex.test", "orders", read).Access,
	}
	env := []string{"LATCHKEY_URL=" + p.APIURL, "LATCHKEY_API_KEY=" + p.Operator.APIKey}
	if got := platform(t, env, "switch", "on", "platform", "--reason", "a drill"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	each := func(want func(Answer) bool) {
		t.Helper()
		for tenant, token := range tokens {
			for _, x := range edges {
				wantWithin(t, time.Second, func() Answer {
					a, err := x.call(t.Context(), p, tenant, "orders", token, "search_orders", map[string]any{"query": unique("x")})
					if err != nil {
						t.Fatal(err)
					}
					return a
				}, want)
			}
		}
	}
	each(failedAs("switched_off"))
	// A tenant's key does not see it, and cannot lift it.
	if got := platform(t, []string{"LATCHKEY_URL=" + p.APIURL, "LATCHKEY_API_KEY=" + p.APIKey}, "switch", "off", "platform"); got.code != 4 {
		t.Errorf("%+v", got)
	}
	if got := platform(t, env, "switch", "list"); got.code != 0 || !strings.Contains(got.out, "platform") || !strings.Contains(got.out, "a drill") {
		t.Errorf("%+v", got)
	}
	if got := platform(t, env, "switch", "off", "platform"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	each(func(a Answer) bool { return !failedAs("switched_off")(a) && a.Status == http.StatusOK })
}
