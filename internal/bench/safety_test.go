package bench

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Everything on: every limit counts, and none is reached. Everything off: the
// tenant has none, and the tools have no output guard. What cannot be switched
// off, such as kill switches and records, is in both.
const (
	everyLimit = `{"tenant":%[1]s,"user":%[1]s,"session":%[1]s,"tool":%[1]s,"fan_out":{"calls":1000000},"repeats":{"notice":1000000,"refuse":1000000}}`
	high       = `{"rate":"1000000/s","burst":1000000,"concurrency":100000}`
	noLimit    = `{"rate":"none","concurrency":-1}`
	noLimits   = `{"tenant":` + noLimit + `,"user":` + noLimit + `,"session":` + noLimit + `,"tool":` + noLimit + `,"fan_out":{"calls":-1},"repeats":{"notice":-1,"refuse":-1}}`
)

// BenchmarkSafety measures calls with all that keeps them safe beside the same
// calls with all of it off, in turns.
func BenchmarkSafety(b *testing.B) {
	p := start(b, buildBinaries(b), stateDir(b))
	prepareSafety(b, p)
	const hello, query = `{"text":"hello"}`, `{"query":"","limit":5}`
	said, rows := `"structuredContent":`+hello, `"rows":[{`
	targets := func(server, tool, arguments, want string) target {
		c := newClient(b, p, server)
		return target{
			url: c.target, token: must(c.connect(b.Context()))(b).Access, tool: tool, arguments: arguments, want: want,
			pids: []int{p.pid("platform"), p.pid("worker"), p.pid("postgres")},
		}
	}
	pairs := []struct {
		name    string
		off, on target
	}{
		{"no-op tool", targets("bare", "echo", hello, said), targets("guarded", "echo", hello, said)},
		{"sql, 5 rows", targets("shop-bare", "find", query, rows), targets("shop-guarded", "find", query, rows)},
		{"sql, 5 rows, e-mail masked", targets("shop-bare", "find", query, rows), targets("shop-masked", "find", query, rows)},
	}
	var r report
	r.title("Everything on beside everything off")
	r.head("call", "callers", "off: calls/s", "on: calls/s", "on to off", "off: CPU µs", "on: CPU µs")
	for _, callers := range []int{1, 16, 64} {
		for _, pair := range pairs {
			var off, on []sample
			for range rounds {
				p.setLimits(b, noLimits)
				off = append(off, must(load(b.Context(), pair.off, callers, forEach))(b))
				p.setLimits(b, fmt.Sprintf(everyLimit, high))
				on = append(on, must(load(b.Context(), pair.on, callers, forEach))(b))
			}
			r.row(pair.name, fmt.Sprint(callers), perSecond(median(off).rate), perSecond(median(on).rate), ratio(on, off),
				fmt.Sprint(median(off).cpu.Microseconds()), fmt.Sprint(median(on).cpu.Microseconds()))
		}
	}
	fmt.Println(r.b.String())
	b.ReportMetric(0, "ns/op") // of no meaning here
}

func (r *running) setLimits(b *testing.B, body string) {
	b.Helper()
	if err := r.send(&http.Client{Timeout: time.Minute}, "PUT", r.APIURL+"/tenants/acme/limits", body); err != nil {
		b.Fatal(err)
	}
}

// prepareSafety gives acme the same tools with and without an output guard.
func prepareSafety(b *testing.B, p *running) {
	b.Helper()
	file := "tenant: acme\nname: Acme Corp\nservers:\n"
	for _, s := range []struct{ slug, guard string }{{"bare", "off"}, {"guarded", "{}"}} {
		file += fmt.Sprintf("- {slug: %s, kind: echo, spec: {tools: [{name: echo, scope: use, guard: %s}]}}\n", s.slug, s.guard)
	}
	for _, s := range []struct{ slug, guard string }{{"shop-bare", "off"}, {"shop-guarded", "{}"}, {"shop-masked", "{mask: [email], untrusted: [name]}"}} {
		file += fmt.Sprintf(`- slug: %s
  kind: sql
  connection: %s
  spec:
    tools:
    - name: find
      description: Finds customers by name.
      risk: read
      scope: use
      guard: %s
      parameters:
      - {name: query, type: string, required: true}
      - {name: limit, type: integer, required: true}
      statement: SELECT id, name, email, region FROM customers WHERE name ILIKE '%%' || :query || '%%' ORDER BY id LIMIT :limit
`, s.slug, demoConnection(b, p), s.guard)
	}
	send := func(method, path string, body any) {
		b.Helper()
		raw, err := json.Marshal(body)
		if err == nil {
			err = p.send(&http.Client{Timeout: 5 * time.Minute}, method, p.APIURL+path, string(raw))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	send("POST", "/tenants/acme/apply", map[string]any{"file": file})
	var cells []map[string]any
	for _, slug := range []string{"bare", "guarded", "shop-bare", "shop-guarded", "shop-masked"} {
		cells = append(cells, map[string]any{"role": "admin", "server": slug, "scope": "use", "open": true})
	}
	send("PATCH", "/tenants/acme/access", map[string]any{"changes": cells})
}
