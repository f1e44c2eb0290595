package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/audit"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
)

// recorded is how many records the tenant of these measurements has, over 30
// days; other tenants have a tenth of it besides.
const recorded = 1_500_000

// recordsOfAMonth are bursts of a dozen calls by one person with one app on one
// server: 800 people, 12 servers, 15 tools each, and all of it skewed. 2 % are
// refused, 1 % failed, and a code in ten thousand is rare.
const recordsOfAMonth = `
	INSERT INTO audit_events (tenant_id, at, id, call_id, phase, writer_id, writer_seq, user_id, client_id, grant_id, server, method, tool, definition_hash, scope,
		decision, arguments, outcome, category, code, latency_us, result_bytes, worker, trace_id)
	SELECT CASE WHEN burst % 11 < 10 THEN $1 ELSE 'tn' || lpad((burst % 40)::text, 18, 'x') END,
		now() - interval '30 days' + interval '30 days' * ((g + r1 * 20) / ($2::float8 * 1.1 + 21)),
		'au' || substr(md5(g::text), 1, 18), 'ca' || substr(md5('call' || g), 1, 18), CASE WHEN r2 < 0.02 THEN 'refusal' ELSE 'outcome' END, 'wr' || g / 400000, g % 400000,
		'us' || person, CASE WHEN person % 3 = 0 THEN 'https://app.example/client.json' ELSE 'cl' || person || 'x' || burst % 2 END, 'gr' || person,
		'server-' || server, CASE WHEN r2 > 0.97 THEN 'resources/read' ELSE 'tools/call' END,
		CASE WHEN r2 > 0.97 THEN 'orders://order/' || g ELSE 'tool_' || floor(15 * r3 * r3 * r3) END, md5(server::text) || md5('x'), 'server-' || server || ':use',
		CASE WHEN r2 < 0.02 THEN 'refused' ELSE 'allowed' END, '{limit: 20, query: "' || md5(g::text) || '"}',
		CASE WHEN r2 < 0.02 THEN 'refused' WHEN r2 < 0.0299 THEN 'failed' WHEN r2 < 0.03 THEN 'unknown' ELSE 'done' END,
		CASE WHEN r2 < 0.02 THEN 'access' WHEN r2 < 0.03 THEN 'downstream' ELSE '' END,
		CASE WHEN r2 < 0.02 THEN 'role_not_allowed' WHEN r2 < 0.0299 THEN 'tool_failed' WHEN r2 < 0.03 THEN 'worker_lost' ELSE '' END,
		(1000 * exp(4 * r1))::bigint, 2000 * r3, 'worker-1', md5('t' || g)
	FROM (SELECT g, burst, r1, r2, r3, floor(800 * b1 * b1)::int AS person, floor(12 * b2 * b2 * b2)::int AS server
		FROM (SELECT g, g / 12 AS burst, random() AS r1, random() AS r2, random() AS r3,
			(hashint4(g / 12)::bigint + 2147483648) / 4294967296.0 AS b1, (hashint4(g / 12 + 77777777)::bigint + 2147483648) / 4294967296.0 AS b2
			FROM generate_series(1, ($2::float8 * 1.1)::int) g) a) b ORDER BY g`

// explorerIndexes are those of migration 11.
var explorerIndexes = []string{"tenant_id_user_id_at_id", "tenant_id_client_id_at_id", "tenant_id_server_tool_at_id", "tenant_id_at_id", "tenant_id_method_at_id"}

func statement(b *testing.B, dsn, sql string, args ...any) {
	b.Helper()
	conn := must(pgx.Connect(b.Context(), dsn))(b)
	defer conn.Close(context.Background())
	if _, err := conn.Exec(b.Context(), sql, args...); err != nil {
		b.Fatalf("%.60s: %v", sql, err)
	}
}

// BenchmarkExplorer measures searches, exports and usage of a tenant with more
// than a million records, and what the indexes for it cost each record, and
// prints that as tables.
func BenchmarkExplorer(b *testing.B) {
	urls := postgrestest.Database(b)
	db := must(postgres.Open(b.Context(), postgres.Options{URL: urls.App}))(b)
	b.Cleanup(db.Close)
	for months := -1; months <= 0; months++ {
		check(b, db.AddAuditPartitions(b.Context(), time.Now().AddDate(0, months, 0)))
	}
	t, _ := postgrestest.Tenant(b, db, "acme")
	began := time.Now()
	statement(b, urls.Superuser, recordsOfAMonth, string(t.ID), recorded)
	statement(b, urls.Superuser, `VACUUM (ANALYZE)`)
	fmt.Printf("%d records made in %s\n", recorded, time.Since(began).Round(time.Second))
	began = time.Now()
	must(db.RollUpUsage(b.Context(), time.Now()))(b)
	rolled := time.Since(began)
	statement(b, urls.Superuser, `VACUUM (ANALYZE) usage`)

	var r report
	r.title(fmt.Sprintf("%s, %d processors, %s, %d records of one tenant in 30 days", time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), recorded))
	searches(b, &r, db, t.ID)
	r.flush()
	r.title("Export, usage, verification")
	r.head("operation", "")
	export(b, &r, db, t.ID)
	r.row("all that a month holds, added up for the first time", rolled.Round(100*time.Millisecond).String())
	began = time.Now()
	v := must(db.VerifyAudit(b.Context(), time.Now().AddDate(0, 0, -31), time.Now()))(b)
	r.row(fmt.Sprintf("verification of %d records", v.Records), time.Since(began).Round(10*time.Millisecond).String())
	r.flush()
	insertCost(b, &r, urls, t.ID)
	r.flush()
	b.ReportMetric(0, "ns/op") // of no meaning here
}

// flush prints what there is: the next part takes minutes.
func (r *report) flush() {
	fmt.Println(r.b.String())
	r.b.Reset()
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// searches compares each with the plainest read there is.
func searches(b *testing.B, r *report, db *postgres.DB, t tenants.ID) {
	baseline := func() error {
		return db.InTenant(b.Context(), t, func(ctx context.Context, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, `SELECT * FROM audit_events WHERE at >= now() - interval '1 day' ORDER BY at DESC, id DESC LIMIT 50`)
			n := 0
			for err == nil && rows.Next() {
				_, err = rows.Values()
				n++
			}
			rows.Close()
			if n != 50 {
				return fmt.Errorf("%d rows, %v, %v", n, err, rows.Err())
			}
			return err
		})
	}
	deep := audit.Position{At: time.Now().AddDate(0, 0, -20)}
	found := map[string]string{}
	search := func(name string, f audit.Filter, after audit.Position) (string, func() error) {
		return name, func() error {
			p, err := db.SearchAudit(b.Context(), t, f, after, 50)
			found[name] = fmt.Sprintf("%d%s", len(p.Events), map[bool]string{true: ", more"}[p.More])
			return err
		}
	}
	usage := func(name string, q audit.UsageQuery, days int) (string, func() error) {
		return name, func() error {
			q.Until = time.Now()
			q.Since = q.Until.Truncate(q.Step).AddDate(0, 0, 1-days)
			u, err := db.Usage(b.Context(), t, q)
			found[name] = fmt.Sprintf("%d calls", u.Totals.Calls())
			return err
		}
	}
	type side struct {
		name string
		op   func() error
	}
	sides := []side{{"primary key range of 50 rows", baseline}}
	add := func(name string, op func() error) { sides = append(sides, side{name, op}) }
	none := audit.Position{}
	add(search("first page", audit.Filter{}, none))
	add(search("deep page, 20 days back", audit.Filter{}, deep))
	add(search("a busy member", audit.Filter{User: "us0"}, none))
	add(search("a member, deep", audit.Filter{User: "us400"}, deep))
	add(search("a client that a third uses", audit.Filter{Client: "https://app.example/client.json"}, none))
	add(search("a rare server", audit.Filter{Server: "server-11"}, none))
	add(search("a rare tool of a server", audit.Filter{Server: "server-11", Tool: "tool_14"}, none))
	add(search("a tool of any server", audit.Filter{Tool: "tool_14"}, none))
	add(search("failures", audit.Filter{State: audit.Failed}, none))
	add(search("a rare code (1 in 10,000)", audit.Filter{Code: "worker_lost"}, none))
	add(search("a member's refusals", audit.Filter{User: "us0", State: audit.Refused}, none))
	add(search("a grant", audit.Filter{Grant: "gr400"}, none))
	add(search("resources", audit.Filter{Method: "resources/read"}, none))
	add(search("nobody", audit.Filter{User: "usnobody"}, none))
	add(search("what no index serves, and is not there", audit.Filter{Grant: "grnone"}, none))
	add(usage("usage, 30 days by tool", audit.UsageQuery{Step: 24 * time.Hour, By: audit.ByTool}, 30))
	add(usage("usage, 30 days by member", audit.UsageQuery{Step: 24 * time.Hour, By: audit.ByMember}, 30))
	add(usage("usage, 30 days of a member by tool", audit.UsageQuery{Step: 24 * time.Hour, By: audit.ByTool, User: "us0"}, 30))
	add(usage("usage, 30 days of a server by member", audit.UsageQuery{Step: 24 * time.Hour, By: audit.ByMember, Server: "server-0"}, 30))
	add(usage("usage, 7 days by tool", audit.UsageQuery{Step: time.Hour, By: audit.ByTool}, 7))
	got := make([][]sample, len(sides))
	for range rounds {
		for i, s := range sides {
			m, err := oneAfterAnother(s.op)
			if err != nil {
				b.Fatalf("%s: %v", s.name, err)
			}
			got[i] = append(got[i], m)
		}
	}
	r.head("read", "finds", "p50 ms", "p99 ms", "times the primary key range")
	for i, s := range sides {
		m := median(got[i])
		r.row(s.name, found[s.name], millis(m.p50), millis(m.p99), fmt.Sprintf("%.1f", float64(m.p50)/float64(median(got[0]).p50)))
	}
}

// oneAfterAnother calls what may take longer than drive waits.
func oneAfterAnother(op func() error) (sample, error) {
	var took []time.Duration
	for began := time.Now(); len(took) < 7 || time.Since(began) < forEach/5; {
		at := time.Now()
		if err := op(); err != nil {
			return sample{}, err
		}
		took = append(took, time.Since(at))
	}
	took = took[2:] // plans and pages are new to a connection
	slices.Sort(took)
	return sample{p50: took[len(took)/2], p99: took[len(took)*99/100]}, nil
}

// export reads two days in the pages that the API takes.
func export(b *testing.B, r *report, db *postgres.DB, t tenants.ID) {
	n, began := 0, time.Now()
	f := audit.Filter{Since: began.AddDate(0, 0, -10), Until: began.AddDate(0, 0, -8)}
	for at := (audit.Position{}); ; {
		p := must(db.ExportAudit(b.Context(), t, f, at, 1000))(b)
		n += len(p.Events)
		if !p.More {
			break
		}
		at = p.Next
	}
	r.row("export", perSecond(float64(n)/time.Since(began).Seconds())+" records a second")
}

// insertCost writes records into the same database with the indexes of the
// explorer, and into a copy without them.
func insertCost(b *testing.B, r *report, urls postgrestest.URLs, t tenants.ID) {
	source := must(url.Parse(urls.Superuser))(b)
	name := strings.TrimPrefix(source.Path, "/")
	pg := testenv.Postgres(b)
	statement(b, pg.DSN("postgres"), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, name)
	statement(b, pg.DSN("postgres"), "CREATE DATABASE "+name+"_plain TEMPLATE "+name)
	b.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), pg.DSN("postgres"))
		if err == nil {
			_, err = conn.Exec(context.Background(), "DROP DATABASE "+name+"_plain WITH (FORCE)")
			conn.Close(context.Background())
		}
		if err != nil {
			b.Error(err)
		}
	})
	plainURL := func(dsn string) string { return strings.Replace(dsn, "/"+name, "/"+name+"_plain", 1) }
	for _, index := range explorerIndexes {
		statement(b, plainURL(urls.Superuser), "DROP INDEX audit_events_"+index+"_idx")
	}
	statement(b, plainURL(urls.Superuser), "GRANT CONNECT ON DATABASE "+name+"_plain TO latchkey_app")
	type side struct {
		name string
		w    *audit.Writer
	}
	var sides []side
	for _, s := range [][2]string{{"without the explorer's indexes", plainURL(urls.App)}, {"with them", urls.App}} {
		db := must(postgres.Open(b.Context(), postgres.Options{URL: s[1]}))(b)
		b.Cleanup(db.Close)
		w := audit.NewWriter(db, nil)
		b.Cleanup(w.Close)
		sides = append(sides, side{s[0], w})
	}
	r.title("What a committed record costs")
	r.head("audit record, committed", "callers", "per second", "p50 ms", "Postgres's CPU µs a record", "records/s to without")
	for _, callers := range []int{1, 16} {
		got := make([][]sample, len(sides))
		for range rounds {
			for i, s := range sides {
				statement(b, pg.DSN("postgres"), "CHECKPOINT")
				before := processors(pg.Pid())
				m, err := drive(callers, 2*forEach, func(int) (func() error, func(), error) {
					return func() error { return s.w.Add(b.Context(), anyCall(t)) }, nil, nil
				})
				check(b, err)
				m.cpu = time.Duration(float64(processors(pg.Pid())-before) / (m.rate * (2*forEach + warmUp).Seconds()))
				got[i] = append(got[i], m)
			}
		}
		for i, s := range sides {
			m := median(got[i])
			r.row(s.name, fmt.Sprint(callers), perSecond(m.rate), millis(m.p50), fmt.Sprint(m.cpu.Microseconds()), ratio(got[i], got[0]))
		}
	}
}

func anyCall(t tenants.ID) audit.Event {
	person := rand.IntN(800)
	return audit.Event{
		Tenant: t, At: time.Now(), CallID: tenants.RandomID("ca"), Phase: audit.Outcome, State: audit.Done, Allowed: true,
		User: tenants.UserID(fmt.Sprintf("us%d", person)), Client: fmt.Sprintf("cl%dx0", person), Grant: fmt.Sprintf("gr%d", person),
		Server: fmt.Sprintf("server-%d", rand.IntN(12)), Method: "tools/call", Tool: fmt.Sprintf("tool_%d", rand.IntN(15)), Scope: "server:use",
		Arguments: `{text: "hello"}`, Latency: time.Millisecond, Worker: "worker-1",
	}
}
