package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// apiOperation is a request to the platform API that is sent again and again.
// vary puts a number into path and body, so that callers do not all change the
// same thing.
type apiOperation struct {
	name, method, path, body string
	vary                     bool
}

// BenchmarkAPI measures the platform API beside /healthz of the same process,
// which is what net/http alone costs here.
func BenchmarkAPI(b *testing.B) {
	b.Setenv("LATCHKEY_API_RATE", "1000000") // all that is sent here comes from one caller
	p := start(b, buildBinaries(b), stateDir(b))
	prepareMatrix(b, p)
	operations := []apiOperation{
		{name: "who am I", method: "GET", path: "/me"},
		{name: "one role", method: "GET", path: "/tenants/bench/roles/role-01"},
		{name: "list 50 members", method: "GET", path: "/tenants/acme/members?limit=50"},
		{name: "matrix, 50 roles × 500 scopes", method: "GET", path: "/tenants/bench/access"},
		{name: "audit, first page of 50", method: "GET", path: "/tenants/acme/audit/events"},
		{name: "put a member (change, lock, two records)", method: "PUT", path: "/tenants/bench/members/m%d@bench.test", body: `{"name":"M %d","roles":["role-01"]}`, vary: true},
		{name: "open and close 500 cells", method: "PATCH", path: "/tenants/bench/access", body: "cells", vary: true},
	}
	var r report
	r.title("Platform API")
	r.head("operation", "callers", "per second", "p50 ms", "p99 ms", "to /healthz")
	for _, callers := range []int{1, 16} {
		plain := p.hammer(b, callers, apiOperation{method: "GET", path: "/healthz"})
		r.row("net/http alone: /healthz", fmt.Sprint(callers), perSecond(plain.rate), millis(plain.p50), millis(plain.p99), "1.00")
		for _, op := range operations {
			s := p.hammer(b, callers, op)
			r.row(op.name, fmt.Sprint(callers), perSecond(s.rate), millis(s.p50), millis(s.p99), fmt.Sprintf("%.3f", s.rate/plain.rate))
		}
	}
	fmt.Println(r.b.String())
	b.ReportMetric(0, "ns/op") // of no meaning here
}

// hammer sends an operation for a while.
func (r *running) hammer(b *testing.B, callers int, op apiOperation) sample {
	b.Helper()
	root := strings.TrimSuffix(r.APIURL, "/api/v1")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}, Timeout: time.Minute}
	s, err := drive(callers, forEach, func(i int) (func() error, func(), error) {
		n := i * 1_000_000
		return func() error {
			n++
			path, body := op.path, op.body
			if op.vary && body != "cells" {
				path, body = fmt.Sprintf(path, n%1000), fmt.Sprintf(body, n)
			}
			if body == "cells" {
				body = cells(i%50, n%2 == 0)
			}
			if path != "/healthz" {
				path = "/api/v1" + path
			}
			return r.send(client, op.method, root+path, body)
		}, nil, nil
	})
	if err != nil {
		b.Fatalf("%s: %v", op.name, err)
	}
	for _, w := range s.wrong {
		fmt.Printf("a wrong answer to %s at %d callers: %s\n", op.name, callers, w)
	}
	return s
}

func (r *running) send(client *http.Client, method, url, body string) error {
	q, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+r.Operator.APIKey)
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		return wrongAnswer(fmt.Sprintf("%s %.300s", res.Status, b))
	}
	return err
}

// cells are all 500 scopes of one role.
func cells(role int, open bool) string {
	var changes []map[string]any
	for s := range 500 {
		changes = append(changes, map[string]any{"role": fmt.Sprintf("role-%02d", role), "server": fmt.Sprintf("server-%d", s/100), "scope": fmt.Sprintf("scope-%03d", s), "open": open})
	}
	b, err := json.Marshal(map[string]any{"changes": changes})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// prepareMatrix makes a tenant with 50 roles and five servers of 100 scopes, on
// the database of the demo.
func prepareMatrix(b *testing.B, p *running) {
	b.Helper()
	client := &http.Client{Timeout: 5 * time.Minute}
	create, err := json.Marshal(map[string]any{"slug": "bench", "name": "Bench"})
	if err == nil {
		err = p.send(client, "POST", p.APIURL+"/tenants", string(create))
	}
	if err != nil {
		b.Fatal(err)
	}
	var file strings.Builder
	file.WriteString("tenant: bench\nname: Bench\nroles:\n")
	for r := range 50 {
		fmt.Fprintf(&file, "  role-%02d: {scopes: {server-0: [scope-000]}}\n", r)
	}
	file.WriteString("servers:\n")
	for s := range 5 {
		fmt.Fprintf(&file, "- slug: server-%d\n  kind: sql\n  connection: %s\n  spec:\n    tools:\n", s, demoConnection(b, p))
		for t := range 100 {
			n := s*100 + t
			fmt.Fprintf(&file, "    - {name: tool_%03d, description: Reads., risk: read, scope: scope-%03d, statement: SELECT 1 AS one}\n", n, n)
		}
	}
	apply, err := json.Marshal(map[string]any{"file": file.String()})
	if err == nil {
		err = p.send(client, "POST", p.APIURL+"/tenants/bench/apply", string(apply))
	}
	if err != nil {
		b.Fatal(err)
	}
}

// demoConnection is the demo's database as a connection, in one line.
func demoConnection(b *testing.B, p *running) string {
	b.Helper()
	var secrets struct {
		Password string `json:"demo_acme"`
	}
	text, err := os.ReadFile(p.Path("secrets.json"))
	if err == nil {
		err = json.Unmarshal(text, &secrets)
	}
	if err != nil {
		b.Fatal(err)
	}
	u, err := url.Parse(databaseURL(b, p))
	if err != nil {
		b.Fatal(err)
	}
	return fmt.Sprintf("{host: %s, port: %s, database: demo_acme, sslmode: disable, admin: {username: acme_vault, password: {secret: %s}}, groups: {read: [acme_reader]}}",
		u.Hostname(), u.Port(), secrets.Password)
}
