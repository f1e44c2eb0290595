package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/testenv"
)

// said is how somebody was told of a failure.
type said struct {
	Failure
	how  string // tool, http, api, record
	text string // of a tool result
}

// codes is a platform on which every code of the table is provoked.
type codes struct {
	*contract
	token  map[string]string // of dana, by server
	globex string            // gina's
}

// provocations are what brings each code of docs/errors.md about, from outside,
// as an agent or a script would.
var provocations = map[string]func(w *codes) said{
	"unauthenticated": func(w *codes) said {
		return w.http(w.p.MustCall(w.T, w.p.Resource("acme", "orders"), "nobody.knows.it", "search_orders", nil))
	},
	"insufficient_scope": func(w *codes) said {
		k := w.p.Token(w.T, "fred@acme.test", "orders", read)
		return w.http(w.p.MustCall(w.T, w.p.Resource("acme", "orders"), k.Access, "issue_refund", refundOf(payable(w.T, w.p), "no scope")))
	},
	"role_not_allowed": func(w *codes) said { return w.api("auditor", "GET", "/tenants/acme/members", nil) },
	"not_found":        func(w *codes) said { return w.api("admin", "GET", "/tenants/acme/roles/nobody", nil) },
	"switched_off": func(w *codes) said {
		const path = "/tenants/acme/switches/tool:codes%2Fecho_id"
		w.must("admin", "PUT", path, map[string]any{"reason": "seen to go wrong at night"}, http.StatusOK, nil)
		defer w.must("admin", "DELETE", path, nil, http.StatusNoContent, nil)
		return w.tool("codes", "echo_id", map[string]any{"id": 1})
	},
	"declined": func(w *codes) said {
		return w.declines("codes", "ask", map[string]any{"id": 1})
	},
	"approval_pending": func(w *codes) said {
		return w.tool("codes", "await", map[string]any{"id": 1})
	},
	"approval_denied": func(w *codes) said {
		if s := w.tool("codes", "await", map[string]any{"id": 2}); s.Code != "approval_pending" {
			w.Fatalf("%+v", s)
		}
		var pending struct {
			Data []struct {
				ID        string
				Arguments struct{ ID int }
			}
		}
		w.must("admin", "GET", "/tenants/acme/approvals?status=pending&server=codes", nil, http.StatusOK, &pending)
		for _, a := range pending.Data {
			if a.Arguments.ID == 2 {
				w.must("decider", "POST", "/tenants/acme/approvals/"+a.ID+"/decision", map[string]any{"decision": "deny", "reason": "not this week"}, http.StatusOK, nil)
			}
		}
		return w.tool("codes", "await", map[string]any{"id": 2})
	},
	"client_cannot_answer": func(w *codes) said {
		return w.tool("asking", "ask", map[string]any{"message": "which one?"})
	},
	"egress_refused":      func(w *codes) said { return w.tool("inside", "look", map[string]any{}) },
	"certificate_refused": func(w *codes) said { return w.tool("certified", "look", map[string]any{}) },
	"invalid_arguments": func(w *codes) said {
		return w.tool("orders", "search_orders", map[string]any{"query": "x", "limit": 1000})
	},
	"invalid_request": func(w *codes) said { return w.api("admin", "GET", "/tenants/acme/members?colour=red", nil) },
	"invalid_spec": func(w *codes) said {
		return w.api("admin", "POST", "/tenants/acme/servers/codes/revisions", map[string]any{"spec_yaml": "tools: [{name: x}]"})
	},
	"conflict": func(w *codes) said {
		return w.api("admin", "PUT", "/tenants/acme/servers/codes", map[string]any{"kind": "echo", "title": "Codes"})
	},
	"stale": func(w *codes) said {
		return w.api("admin", "PUT", "/tenants/acme/limits", map[string]any{}, "If-Match", `"long-ago"`)
	},
	"key_reused": func(w *codes) said {
		if s := w.tool("codes", "keep", map[string]any{"id": 1, "key": "k1"}); s.Code != "" {
			w.Fatalf("%+v", s)
		}
		return w.tool("codes", "keep", map[string]any{"id": 2, "key": "k1"})
	},
	"confirmation_needed": func(w *codes) said { return w.tool("codes", "ask", map[string]any{"id": 3}) },
	"confirmation_invalid": func(w *codes) said {
		return w.tool("codes", "ask", map[string]any{"id": 3, "confirmation": "cf" + strings.Repeat("a", 30)})
	},
	"tool_sunset": func(w *codes) said { return w.tool("codes", "old", map[string]any{"id": 1}) },
	"breaking_change": func(w *codes) said {
		return w.api("admin", "POST", "/tenants/acme/servers/codes/revisions", map[string]any{"publish": true, "spec_yaml": strings.Replace(codesSpec, "- {name: id, type: integer, required: true}\n  statement: SELECT :id AS id, 1", "- {name: id, type: boolean, required: true}\n  statement: SELECT :id AS id, 1", 1)})
	},
	"unsafe_description": func(w *codes) said {
		return w.api("admin", "POST", "/tenants/acme/servers/codes/revisions", map[string]any{"publish": true, "spec_yaml": strings.Replace(codesSpec, "Gives the id back.", "Gives the id\u202E back.", 1)})
	},
	"tool_failed": func(w *codes) said { return w.tool("diagnostics", "fail", map[string]any{"message": "it broke"}) },
	"upstream_unavailable": func(w *codes) said {
		return w.tool("codes", "cut", map[string]any{})
	},
	"credentials_unavailable": func(w *codes) said {
		pid, err := w.p.Vault()
		if err != nil {
			w.Fatal(err)
		}
		defer freeze(w.T, pid)()
		// Nobody at globex has called anything yet, so that no lease is there.
		k := w.globex
		return w.ofTool(w.p.MustCall(w.T, w.p.Resource("globex", "orders"), k, "search_orders", map[string]any{"query": ""}))
	},
	"no_worker": func(w *codes) said { return w.tool("nowhere", "echo", map[string]any{}) },
	"worker_lost": func(w *codes) said {
		return w.whileWorkersDie("lose", true)
	},
	"outcome_unknown": func(w *codes) said {
		return w.whileWorkersDie("hold", false)
	},
	"deadline_exceeded": func(w *codes) said { return w.tool("codes", "slow", map[string]any{}) },
	"result_too_large":  func(w *codes) said { return w.tool("diagnostics", "big", map[string]any{"bytes": 11 << 20}) },
	"platform_store_unavailable": func(w *codes) said {
		conn, err := w.p.SQL(w.Context(), "latchkey")
		if err != nil {
			w.Fatal(err)
		}
		defer conn.Close(context.Background())
		tx, err := conn.Begin(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		defer tx.Rollback(context.Background())
		if _, err := tx.Exec(w.Context(), `LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE`); err != nil {
			w.Fatal(err)
		}
		return w.tool("orders", "search_orders", map[string]any{"query": ""})
	},
	"busy": func(w *codes) said {
		ctx, cancel := context.WithCancel(w.Context())
		var all sync.WaitGroup
		defer all.Wait()
		defer cancel()
		answers := make(chan said, 100)
		for i := range cap(answers) {
			all.Go(func() {
				a, err := w.p.Call(ctx, w.p.Resource("acme", "diagnostics"), w.token["diagnostics"], "wait", map[string]any{"seconds": 20 + float64(i)/1000})
				if err == nil {
					answers <- w.ofTool(a)
				}
			})
		}
		select {
		case s := <-answers:
			return s
		case <-time.After(15 * time.Second):
			w.Fatal("no worker says that it is full")
			return said{}
		}
	},
	"limit_reached": func(w *codes) said {
		if s := w.tool("codes", "rare", map[string]any{}); s.Code != "" {
			w.Fatalf("%+v", s)
		}
		return w.tool("codes", "rare", map[string]any{})
	},
	"server_crashed": crash,
	"repeated_call": func(w *codes) said {
		var before struct{ Own json.RawMessage }
		w.must("admin", "GET", "/tenants/acme/limits", nil, http.StatusOK, &before)
		var own map[string]any
		if err := json.Unmarshal(before.Own, &own); err != nil {
			w.Fatal(err)
		}
		own["repeats"] = map[string]any{"notice": 2, "refuse": 3}
		w.must("admin", "PUT", "/tenants/acme/limits", own, http.StatusOK, nil)
		defer w.must("admin", "PUT", "/tenants/acme/limits", before.Own, http.StatusOK, nil)
		var s said
		Eventually(w.T, 10*time.Second, func() error {
			if s = w.tool("codes", "echo_id", map[string]any{"id": 77}); s.Code == "" {
				return errors.New("it is answered again and again")
			}
			return nil
		})
		return s
	},
	"cancelled": func(w *codes) said {
		since := time.Now().Add(-time.Second)
		ctx, cancel := context.WithCancel(w.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.p.Call(ctx, w.p.Resource("acme", "codes"), w.token["codes"], "linger", map[string]any{})
		}()
		w.sleeping()
		cancel()
		<-ended
		var s said
		Eventually(w.T, 10*time.Second, func() error {
			all, err := w.p.Audit(w.Context(), since)
			for _, r := range all {
				if r.Tool == "linger" && r.Code != "" {
					s = said{Failure: Failure{Category: r.Category, Code: r.Code, Message: "on record"}, how: "record"}
					return nil
				}
			}
			return errors.Join(err, errors.New("no call ended on record"))
		})
		return s
	},
}

// unprovoked are codes that nothing from outside brings about, and who holds
// them instead.
var unprovoked = map[string]string{
	"internal_error": "a fault of the platform's own: TestPanicDoesNotTakeTheProcessDown in internal/mcpgateway",
}

// TestEveryCodeOfTheTable walks docs/errors.md: each code is provoked in a
// running platform, comes with its category, tells the caller what its row
// says, and gives nothing away.
func TestEveryCodeOfTheTable(t *testing.T) {
	t.Parallel()
	w := newCodes(t)
	rows := errorTable(t)
	last := []string{"busy", "worker_lost", "outcome_unknown", "platform_store_unavailable", "credentials_unavailable"} // they disturb the others
	for code, category := range rows {
		provoke := provocations[code]
		if provoke == nil {
			if unprovoked[code] == "" {
				t.Errorf("nothing provokes %s: add it to the provocations", code)
			}
			continue
		}
		if !strings.Contains(strings.Join(last, " "), code) {
			t.Run(code, func(t *testing.T) { w.in(t).hold(code, category, provoke) })
		}
	}
	for _, code := range last {
		t.Run(code, func(t *testing.T) { w.in(t).hold(code, rows[code], provocations[code]) })
	}
	for code := range provocations {
		if rows[code] == "" {
			t.Errorf("%s is not in docs/errors.md", code)
		}
	}
}

var (
	tableRow = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| [^|]+ \\| [^|]+ \\|$")
	inside   = regexp.MustCompile(`(?i)sqlstate|goroutine|panic:|127\.0\.0\.1|localhost:\d|hvs\.|\bpq:|pgx|nats:|connection refused|/tmp/|\.go:\d+|password=|EOF`)
	// advice is what the text of a tool's failure says to do, by category.
	advice = map[string]string{
		"access": "do not retry; ask a person", "validation": "correct this and call again", "rate_limit": "wait ", "downstream": "retry ",
	}
	// otherAdvice is that of codes whose row says something else.
	otherAdvice = map[string]string{
		"connect_needed":  "give the person the link",
		"outcome_unknown": "do not repeat", "confirmation_needed": "confirmation", "approval_pending": "",
		"confirmation_invalid": "", "tool_sunset": "", "key_reused": "", "tool_failed": "",
	}
)

func errorTable(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testenv.RepoRoot(t), "docs/errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range tableRow.FindAllStringSubmatch(string(b), -1) {
		rows[m[1]] = m[2]
	}
	if len(rows) < 30 {
		t.Fatalf("only %d rows were found", len(rows))
	}
	return rows
}

func (w *codes) hold(code, category string, provoke func(*codes) said) {
	w.Helper()
	s := provoke(w)
	if s.Code != code || s.Category != category {
		w.Fatalf("told %s (%s), want %s (%s): %+v", s.Code, s.Category, code, category, s)
	}
	w.Logf("%s: %s", s.how, s.Message)
	// Pages of the platform's own are no inside.
	if s.Message == "" || inside.MatchString(strings.ReplaceAll(s.Message+s.text, w.p.Tenants["acme"], "")) {
		w.Errorf("the caller reads %q %q", s.Message, s.text)
	}
	if category == "rate_limit" && s.RetryAfterS <= 0 {
		w.Errorf("no time to wait: %+v", s)
	}
	if s.how != "tool" {
		return
	}
	want, other := otherAdvice[code]
	if !other {
		want = advice[category]
	}
	if !strings.Contains(s.text, want) || s.CallID == "" {
		w.Errorf("the text does not say %q, or there is no call id: %+v", want, s)
	}
}

// codesSpec offers a tool for each way of failing.
const codesSpec = `tools:
- name: echo_id
  description: Gives the id back. Use it to try the connection; it changes nothing.
  risk: read
  scope: use
  parameters:
  - {name: id, type: integer, required: true}
  statement: SELECT :id AS id, 1 AS one
- name: ask
  description: Reads only when it is confirmed.
  risk: read
  scope: use
  confirm: always
  parameters:
  - {name: id, type: integer, required: true}
  statement: SELECT :id AS id
- name: await
  description: Reads only when somebody approves.
  risk: read
  scope: use
  approval: {role: finance-lead}
  parameters:
  - {name: id, type: integer, required: true}
  statement: SELECT :id AS id
- name: keep
  description: Counts as a change, and is done once for each key.
  risk: write
  scope: use
  idempotency: {argument: key}
  parameters:
  - {name: id, type: integer, required: true}
  - {name: key, type: string, required: true}
  statement: SELECT :id AS id, :key AS key
- name: old
  description: Was retired.
  risk: read
  scope: use
  deprecated: {since: 2026-01-01, sunset: 2026-02-01, successor: echo_id}
  parameters:
  - {name: id, type: integer, required: true}
  statement: SELECT :id AS id
- {name: cut, description: Loses its database., risk: read, scope: use, statement: SELECT pg_terminate_backend(pg_backend_pid()) AS gone}
- {name: slow, description: Takes too long., risk: read, scope: use, timeout: 500ms, statement: SELECT pg_sleep(20)::text AS slept}
- {name: linger, description: Reads for long., risk: read, scope: use, timeout: 60s, statement: SELECT pg_sleep(50)::text AS slept}
- {name: hold, description: Changes something for long., risk: write, scope: use, timeout: 60s, statement: SELECT pg_sleep(50)::text AS slept}
- {name: lose, description: Changes something for long; its upstream takes the key., risk: write, scope: use, timeout: 60s, idempotency: {repeatable: true}, statement: SELECT pg_sleep(50)::text AS slept}
- {name: rare, description: May be called once an hour., risk: read, scope: use, limits: {user: {rate: 1/h}}, statement: SELECT 1 AS one}
`

func newCodes(t *testing.T) *codes {
	t.Helper()
	p := StartHosting(t)
	w := &codes{contract: newContract(t, p), token: map[string]string{}}
	w.keys["decider"] = w.makeKey("operator", "acme", "approvals:write")
	s, err := p.secrets()
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	certified := asksForCertificates(t)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certified.Certificate().Raw})
	file := fmt.Sprintf(`tenant: acme
name: Acme Corp
roles:
  tester: {scopes: {codes: [use], inside: [use], certified: [use], nowhere: [use], asking: [use]}}
servers:
- slug: codes
  kind: sql
  connection: {host: %s, port: %s, database: demo_acme, sslmode: disable, admin: {username: acme_vault, password: {env: DEMO_ACME_PASSWORD}}, groups: {read: [acme_reader], write: [acme_writer]}}
  spec:
    %s
- slug: inside
  kind: http
  connection: {base_url: 'http://10.255.255.1', plain_http: true}
  spec: {tools: [{name: look, description: Looks inside., scope: use, request: {path: /}}]}
- slug: certified
  kind: http
  connection:
    base_url: %s
    tls:
      ca: |
        %s
  spec: {tools: [{name: look, description: Looks behind a certificate., scope: use, request: {path: /}}]}
- {slug: nowhere, kind: echo, pool: nowhere, spec: {tools: [{name: echo, scope: use}]}}
- {slug: asking, kind: echo, spec: {tools: [{name: ask, scope: use}]}}
members:
- {email: dana@acme.test, name: Dana Admin, roles: [admin, tester]}
`, u.Hostname(), u.Port(), strings.ReplaceAll(strings.TrimSpace(codesSpec), "\n", "\n    "), certified.URL, strings.ReplaceAll(strings.TrimSpace(string(authority)), "\n", "\n        "))
	if got := p.Apply(t, file); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	for server, scopes := range map[string][]string{"orders": {read, write}, "diagnostics": {"diagnostics"}, "codes": {"use"}, "nowhere": {"use"}, "inside": {"use"}, "certified": {"use"}, "asking": {"use"}} {
		w.token[server] = p.Token(t, "dana@acme.test", server, scopes...).Access
	}
	w.globex = p.Token(t, "gina@globex.test", "orders", read).Access
	return w
}

// asksForCertificates is an API that lets nobody in without one.
func asksForCertificates(t *testing.T) *httptest.Server {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (w *codes) in(t *testing.T) *codes {
	sub := *w
	sub.contract = w.contract.in(t)
	return &sub
}

// tool calls a tool as dana.
func (w *codes) tool(server, tool string, arguments map[string]any) said {
	w.Helper()
	return w.ofTool(w.p.MustCall(w.T, w.p.Resource("acme", server), w.token[server], tool, arguments))
}

// ofTool reads a tool's result: what is no failure has no code.
func (w *codes) ofTool(a Answer) said {
	m, err := a.Message()
	if err != nil || m.Error != nil {
		w.Errorf("%v, %d %.600s", err, a.Status, a.Body)
		return said{}
	}
	s := said{how: "tool"}
	for _, c := range m.Result.Content {
		s.text += c.Text + "\n"
	}
	var structured struct{ Error *Failure }
	if json.Unmarshal(m.Result.Structured, &structured) == nil && structured.Error != nil {
		s.Failure = *structured.Error
		if !m.Result.IsError {
			w.Errorf("a failure that is no error: %.600s", a.Body)
		}
	}
	return s
}

// http reads a refusal that comes before any result.
func (w *codes) http(a Answer) said {
	w.Helper()
	m, err := a.Message()
	if err != nil || m.Error == nil || a.Status/100 != 4 {
		w.Fatalf("%v, %d %.600s", err, a.Status, a.Body)
	}
	return said{Failure: m.Error.Data, how: "http"}
}

// api reads a problem of the platform API.
func (w *codes) api(who, method, path string, body any, headers ...string) said {
	w.Helper()
	res := w.call(who, method, path, body, headers...)
	var p struct {
		Code, Category, Detail string
		RetryAfterS            int `json:"retry_after_s"`
	}
	if err := json.Unmarshal([]byte(res.body), &p); err != nil || res.StatusCode < 400 {
		w.Fatalf("%v, %d %.600s", err, res.StatusCode, res.body)
	}
	return said{Failure: Failure{Code: p.Code, Category: p.Category, Message: p.Detail, RetryAfterS: p.RetryAfterS}, how: "api"}
}

// declines calls a tool from a client that can ask its person, who says no.
func (w *codes) declines(server, tool string, arguments map[string]any) said {
	w.Helper()
	c := &clicks{person: person(w.T, w.p, "dana@acme.test"), ticks: [][]string{{"use"}}}
	client := mcp.NewClient(&mcp.Implementation{Name: "e2e-go", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "decline"}, nil
		},
	})
	s, err := client.Connect(w.Context(), &mcp.StreamableClientTransport{Endpoint: w.p.Resource("acme", server), HTTPClient: c.client(), OAuthHandler: c.handler(w.T)}, nil)
	if err != nil {
		w.Fatal(err)
	}
	defer s.Close()
	res, err := s.CallTool(w.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		w.Fatal(err)
	}
	raw, err := json.Marshal(res.StructuredContent)
	if err != nil {
		w.Fatal(err)
	}
	var structured struct{ Error Failure }
	if err := json.Unmarshal(raw, &structured); err != nil || !res.IsError {
		w.Fatalf("%v %s", err, raw)
	}
	out := said{Failure: structured.Error, how: "tool"}
	for _, c := range res.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			out.text += t.Text
		}
	}
	return out
}

// sleeping waits until a statement of a tool sleeps in the tenant's database.
func (w *codes) sleeping() {
	w.Helper()
	Eventually(w.T, 20*time.Second, func() error {
		n, err := query(w.Context(), w.p, "postgres", pgx.RowTo[int], `SELECT count(*)::int FROM pg_stat_activity WHERE datname = 'demo_acme' AND wait_event = 'PgSleep'`)
		if err == nil && n[0] == 0 {
			err = errors.New("nothing sleeps")
		}
		return err
	})
}

// whileWorkersDie calls a tool and kills the worker that runs it: once, or each
// one that it is given to, until there is an answer.
func (w *codes) whileWorkersDie(tool string, again bool) said {
	w.Helper()
	Eventually(w.T, 30*time.Second, func() error { // of an earlier worker that died
		if s := w.tool("codes", "echo_id", map[string]any{"id": 5}); s.Code != "" {
			return errors.New(s.Message)
		}
		return nil
	})
	answered := make(chan said, 1)
	go func() {
		a, err := w.p.Call(w.Context(), w.p.Resource("acme", "codes"), w.token["codes"], tool, map[string]any{})
		if err != nil {
			w.Error(err)
		}
		answered <- w.ofTool(a)
	}()
	killed := 0
	for {
		w.sleeping()
		pid, err := w.p.Worker()
		if err == nil && pid != killed {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				w.Fatal(err)
			}
			// Its sessions end with it, so that what sleeps next is another's.
			w.p.Exec(w.T, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'demo_acme' AND wait_event = 'PgSleep'`)
			killed = pid
		}
		wait := 20 * time.Second
		if again {
			wait = 2 * time.Second
		}
		select {
		case s := <-answered:
			return s
		case <-time.After(wait):
			if !again {
				w.Fatal("no answer after the worker died")
			}
		}
	}
}
