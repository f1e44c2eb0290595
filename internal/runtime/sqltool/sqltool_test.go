package sqltool

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/runtimetest"
	"latchkey/internal/tenants"
)

const ordersSpec = `
tools:
- name: search_orders
  description: Finds orders by customer.
  risk: read
  scope: orders:read
  parameters:
  - {name: query, type: string, max_length: 100, required: true}
  - {name: status, type: string, enum: [open, paid]}
  - {name: limit, type: integer, minimum: 1, maximum: 50, default: 20}
  statement: |
    SELECT id, customer, status, amount FROM orders
    WHERE customer ILIKE '%' || :query || '%' AND (:status IS NULL OR status = :status)
    ORDER BY id LIMIT :limit
- name: note
  description: Writes a note.
  risk: write
  parameters:
  - {name: text, type: string, required: true}
  - {name: requested_by, from: caller.email}
  - {name: call, from: call.id}
  - {name: key, from: call.idempotency_key}
  statement: INSERT INTO ledger (note, by_email, by_call, key) VALUES (:text, :requested_by, :call, :key) RETURNING id, note, by_email
- name: sneak
  description: A reading tool whose function writes.
  risk: read
  statement: SELECT sneak()
- name: private
  description: Reads what its group may not.
  risk: read
  statement: SELECT secret FROM private
- name: sleep
  description: Takes its time.
  risk: read
  timeout: 60s
  parameters: [{name: seconds, type: number, default: 30}]
  statement: SELECT pg_sleep(:seconds)::text
- name: impatient
  description: Takes longer than it may.
  risk: read
  timeout: 200ms
  statement: SELECT pg_sleep(30)::text
- name: refuse
  description: Always refuses.
  risk: read
  statement: SELECT refuse('Only 30.00 of order 7 is left to refund.')
- name: series
  description: Many rows.
  risk: read
  max_rows: 10
  parameters: [{name: count, type: integer, required: true}]
  statement: SELECT n FROM generate_series(1, :count) n
- name: wide
  description: Large rows.
  risk: read
  max_rows: 1000
  max_bytes: 1048576
  parameters: [{name: count, type: integer, default: 1000}, {name: size, type: integer, default: 100000}]
  statement: SELECT n, repeat('x', :size::int) AS filler FROM generate_series(1, :count) n
`

func TestSuite(t *testing.T) {
	s := newShop(t)
	runtimetest.Run(t, runtimetest.Harness{
		Kind: Kind, Opening: s.opening(t, ordersSpec+canaryTool), Leases: s.leases, Secrets: []string{s.password},
		Normal:  runtimetest.Tool{Name: "search_orders", Input: `{"query":"ill"}`},
		Failing: runtimetest.Tool{Name: "refuse", Input: `{}`},
		Slow:    runtimetest.Tool{Name: "sleep", Input: `{}`},
		Big:     runtimetest.Tool{Name: "wide", Input: `{}`},
		Canary:  runtimetest.Tool{Name: "repeat", Input: `{"text":"mine is ` + runtimetest.CanarySecret + `"}`},
		Prepare: func(t *testing.T, c *runtime.Call) { c.Grant = grantFor(t, c) },
		Working: func(t *testing.T) int {
			return query[int](t, s, `SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE '%latchkey_rows%' AND pid <> pg_backend_pid()`)
		},
	})
}

const canaryTool = `
- name: repeat
  description: Gives a text back.
  risk: read
  parameters: [{name: text, type: string, required: true}]
  statement: SELECT :text AS said, jsonb_build_object('again', :text) AS deep
`

func TestPerUserCredentials(t *testing.T) {
	s := newShop(t, "per_user: true")
	d := s.desk(t, `
tools:
- name: me
  description: Says who is connected.
  risk: read
  output: {single: true}
  statement: SELECT session_user::text AS name
`)
	names := map[any]int{}
	for _, user := range []tenants.UserID{"us22222222222222222a", "us22222222222222222b", "us22222222222222222a"} {
		r := d.must("me", `{}`, func(c *runtime.Call) { c.Caller.User = user })
		if !strings.Contains(r.text, string(user)) {
			t.Errorf("%s is connected as %s", user, r.text)
		}
		names[r.Row["name"]]++
	}
	if len(names) != 2 {
		t.Errorf("two users had the credentials %v", names)
	}
}

func TestSearchOrders(t *testing.T) {
	d := newShop(t).desk(t, ordersSpec)
	r := d.must("search_orders", `{"query":"ill"}`)
	if want := `{"rows":[{"id":1,"customer":"Miller","status":"open","amount":10.00}],"row_count":1}`; r.text != want {
		t.Errorf("got  %s\nwant %s", r.text, want)
	}
}

func TestNoRowsIsSuccess(t *testing.T) {
	d := newShop(t).desk(t, ordersSpec)
	r := d.must("search_orders", `{"query":"nobody"}`)
	if want := `{"rows":[],"row_count":0,"note":"No rows matched."}`; r.text != want {
		t.Errorf("got  %s\nwant %s", r.text, want)
	}
}

// Row-level security of the tenant's own sees who calls, also when calls of
// several people share a connection.
func TestRowsFollowTheCaller(t *testing.T) {
	d := newShop(t).desk(t, ordersSpec)
	for range 3 {
		for email, want := range map[string]string{"ann@shop.test": "1,3", "bob@shop.test": "2,4", "eve@shop.test": "", `x' OR '1'='1`: ""} {
			r := d.must("search_orders", `{"query":""}`, as(email))
			var ids []string
			for _, row := range r.Rows {
				ids = append(ids, fmt.Sprint(row["id"]))
			}
			if got := strings.Join(ids, ","); got != want {
				t.Errorf("%s sees %q, want %q", email, got, want)
			}
		}
	}
}

func TestBoundParameterCannotBeSetByTheModel(t *testing.T) {
	s := newShop(t)
	d := s.desk(t, ordersSpec)
	tool, _ := d.def.Tool("note")
	for _, hidden := range []string{"requested_by", "call", "key"} {
		if strings.Contains(string(tool.InputSchema), hidden) {
			t.Errorf("the model sees %s: %s", hidden, tool.InputSchema)
		}
	}
	_, err := d.call("note", `{"text":"x","requested_by":"boss@shop.test"}`)
	if !fault.HasCode(err, fault.InvalidArguments) || fault.Of(err).Details[0].Pointer != "/requested_by" {
		t.Errorf("setting a bound parameter: %v", err)
	}
	c := d.newCall(runtime.CallTool, "note", `{"text":"it's fine"}`)
	if _, err := d.run(c); err != nil {
		t.Fatal(err)
	}
	got := query[string](t, s, `SELECT concat_ws('|', note, by_email, by_call, key) FROM ledger`)
	if want := "it's fine|ann@shop.test|" + c.ID + "|" + c.IdempotencyKey; got != want {
		t.Errorf("ledger has %s, want %s", got, want)
	}
}

func TestReadToolCannotWrite(t *testing.T) {
	s := newShop(t) // whose group for reading may write to the ledger
	d := s.desk(t, ordersSpec)
	r, err := d.call("sneak", `{}`)
	if err != nil || !r.isError || !strings.Contains(r.text, "only reads") {
		t.Errorf("got %+v, %v", r, err)
	}
	if n := query[int](t, s, `SELECT count(*)::int FROM ledger`); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

func TestToolWithoutRightIsRefused(t *testing.T) {
	d := newShop(t).desk(t, ordersSpec)
	r, err := d.call("private", `{}`)
	if err != nil || !r.isError || !strings.Contains(r.text, "refused this for your user") || strings.Contains(r.text, "private") {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestStatementTimeout(t *testing.T) {
	d := newShop(t).desk(t, ordersSpec)
	began := time.Now()
	_, err := d.call("impatient", `{}`)
	if !fault.HasCode(err, fault.DeadlineExceeded) || strings.Contains(fault.Of(err).Message, "pg_sleep") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestRowBound(t *testing.T) {
	d := newShop(t).desk(t, ordersSpec)
	for _, c := range []struct {
		count, rows, more int
		note              string
	}{
		{9, 9, 0, ""}, {10, 10, 0, ""}, {11, 10, 1, "1 more rows were left out. Narrow the query."},
		{500, 10, 490, "490 more rows were left out. Narrow the query."},
		{100000, 10, 1001, "at least 1001 more rows were left out. Narrow the query."},
	} {
		r := d.must("series", fmt.Sprintf(`{"count":%d}`, c.count))
		if r.RowCount != c.rows || len(r.Rows) != c.rows || r.MoreRows != c.more || r.Note != c.note {
			t.Errorf("%d rows: got %d and %d more, %q", c.count, r.RowCount, r.MoreRows, r.Note)
		}
	}
}

func TestByteBound(t *testing.T) {
	d := newShop(t).desk(t, ordersSpec)
	r := d.must("wide", `{"count":50,"size":100000}`)
	if len(r.text) > 1<<20+1000 || r.RowCount != 10 || r.MoreRows != 40 || !strings.Contains(r.Note, "size") {
		t.Errorf("%d bytes, %d rows, %d more, %q", len(r.text), r.RowCount, r.MoreRows, r.Note)
	}
	r = d.must("wide", `{"count":2,"size":2000000}`)
	if r.RowCount != 0 || !strings.Contains(r.Note, "larger than") {
		t.Errorf("%d rows, %q", r.RowCount, r.Note)
	}
	// Beyond all reason the rows are not even read, and the next call works.
	if _, err := d.call("wide", `{"count":1000,"size":1000000}`); !fault.HasCode(err, fault.ResultTooLarge) {
		t.Errorf("a thousand rows of a megabyte: %v", err)
	}
	if _, err := d.call("wide", `{"count":1,"size":100000000}`); err == nil {
		t.Error("a row of a hundred megabytes was read")
	}
	d.must("search_orders", `{"query":"ill"}`)
}

func TestRaisedExceptionIsShown(t *testing.T) {
	d := newShop(t).desk(t, ordersSpec)
	r, err := d.call("refuse", `{}`)
	if err != nil || !r.isError || r.text != "Only 30.00 of order 7 is left to refund." {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestNothingInternalLeaves(t *testing.T) {
	s := newShop(t)
	d := s.desk(t, ordersSpec+`
- name: broken
  description: Does not fit the database.
  risk: read
  statement: SELECT no_such_column_canary FROM orders
- name: duplicate
  description: Violates a constraint.
  risk: write
  parameters: [{name: text, type: string, required: true}]
  statement: INSERT INTO ledger (note, key) VALUES (:text, 'canary of a row')
- name: cast
  description: Casts what does not fit.
  risk: read
  statement: SELECT customer::int FROM orders
`)
	d.must("duplicate", `{"text":"one"}`)
	for _, name := range []string{"broken", "duplicate", "cast", "private", "sneak"} {
		r, err := d.call(name, map[string]string{"duplicate": `{"text":"two"}`}[name])
		text := r.text
		if err != nil {
			text = fault.Of(err).Message
		} else if !r.isError {
			t.Errorf("%s succeeded", name)
		}
		for _, internal := range []string{"canary", "SELECT", "INSERT", "orders", "Miller", "SQLSTATE", "127.0.0.1", "lk_", s.reader, s.writer, "relation", "column"} {
			if strings.Contains(text, internal) {
				t.Errorf("%s says %q: %s", name, internal, text)
			}
		}
	}
}

func TestOtherTenantsDatabaseCannotBeReached(t *testing.T) {
	one, other := newShop(t), newShop(t)
	// The opening of one tenant with the connection of another, which only a
	// broken edge could sign: the credential is one of the first tenant's own
	// database, and its user may not connect to the other.
	other.superuser(t, fmt.Sprintf(`DO $$ BEGIN EXECUTE format('REVOKE CONNECT ON DATABASE %%I FROM PUBLIC', current_database()); END $$`))
	d := one.desk(t, ordersSpec)
	d.opening.Connection = other.connection
	if _, err := d.call("search_orders", `{"query":""}`); !fault.HasCode(err, fault.UpstreamAway) && !fault.HasCode(err, fault.ToolFailed) {
		t.Errorf("got %v", err)
	}
}

func TestWriteIsAtomic(t *testing.T) {
	s := newShop(t)
	d := s.desk(t, `
tools:
- name: settle
  description: Settles an order and notes it.
  risk: destructive
  parameters: [{name: id, type: integer, required: true}, {name: note, type: string}]
  statement: |
    WITH settled AS (UPDATE orders SET status = 'paid' WHERE id = :id RETURNING id),
         noted AS (INSERT INTO ledger (note) SELECT :note FROM settled RETURNING id)
    SELECT settled.id, noted.id AS entry FROM settled, noted
  output: {single: true}
`)
	r := d.must("settle", `{"id":1,"note":"done"}`)
	if r.Row["id"] != float64(1) || query[string](t, s, `SELECT status FROM orders WHERE id = 1`) != "paid" {
		t.Errorf("got %s", r.text)
	}
	// The second step fails: the first is undone.
	s.superuser(t, `UPDATE orders SET status = 'open'`)
	if r, err := d.call("settle", `{"id":1}`); err != nil || !r.isError {
		t.Errorf("got %+v, %v", r, err)
	}
	if got := query[string](t, s, `SELECT status FROM orders WHERE id = 1`); got != "open" {
		t.Errorf("the order is %s", got)
	}
	// Nothing that matches is an answer and no failure; bob's order is not ann's.
	r = d.must("settle", `{"id":2,"note":"x"}`)
	if r.Row != nil || r.RowCount != 0 || r.Note != "Nothing was changed: nothing matched the arguments." {
		t.Errorf("got %s", r.text)
	}
}

func TestResource(t *testing.T) {
	d := newShop(t).desk(t, `
resources:
- name: order
  uri: orders://order/{id}
  parameters: [{name: id, type: integer}]
  statement: SELECT id, customer, amount FROM orders WHERE id = :id
- name: names
  uri: orders://names
  mime_type: text/plain
  statement: SELECT string_agg(customer, E'\n' ORDER BY id) FROM orders
- name: all
  uri: orders://all
  statement: SELECT id FROM orders ORDER BY id
`)
	read := func(uri string) (string, error) {
		res, err := d.run(d.newCall(runtime.ReadResource, uri, ""))
		if err != nil {
			return "", err
		}
		c := res.Resource.Contents[0]
		if c.URI != uri {
			t.Errorf("answered for %s", c.URI)
		}
		return c.MIMEType + " " + c.Text, nil
	}
	for uri, want := range map[string]string{
		"orders://order/1": `application/json {"id":1,"customer":"Miller","amount":10.00}`,
		"orders://names":   "text/plain Miller\nMüller",
		"orders://all":     `application/json [{"id":1},{"id":3}]`,
	} {
		if got, err := read(uri); err != nil || got != want {
			t.Errorf("%s: %q, %v", uri, got, err)
		}
	}
	for _, uri := range []string{"orders://order/2", "orders://order/99", "orders://order/x", "orders://order/1;2", "orders://order/1%20OR%201", "orders://order/", "orders://order/1/2", "orders://order/null", "other://x"} {
		if got, err := read(uri); !fault.HasCode(err, fault.NotFound) && !fault.HasCode(err, fault.InvalidArguments) {
			t.Errorf("%s: %q, %v", uri, got, err)
		}
	}
}

func TestCallWithOtherAccessRefused(t *testing.T) {
	d := newShop(t).desk(t, ordersSpec)
	for tool, access := range map[string]registry.Access{"note": registry.ReadAccess, "search_orders": registry.WriteAccess} {
		_, err := d.call(tool, `{"text":"x"}`, func(c *runtime.Call) { c.Access = access })
		if !fault.HasCode(err, fault.InvalidRequest) {
			t.Errorf("%s with %s access: %v", tool, access, err)
		}
	}
}

func TestValuesBecomeJSON(t *testing.T) {
	d := newShop(t).desk(t, `
tools:
- name: values
  description: One of each.
  risk: read
  output: {single: true}
  statement: |
    SELECT 9007199254740992::int8 AS exact, 9007199254740993::int8 AS inexact, (-9007199254740993)::int8 AS negative,
      12.50::numeric AS money, 1234567890123456.7::numeric AS long, 'NaN'::numeric AS nan,
      1.5::float8 AS double, 'Infinity'::float8 AS infinity, 1e300::float8 AS large, true AS yes, NULL::int AS nothing,
      '{"b": [1, 2.50], "a": "<x>"}'::jsonb AS doc, '2026-01-31 12:00:00.25+02'::timestamptz AS instant,
      '2026-01-31 12:00:00'::timestamp AS local, '2026-01-31'::date AS day, '1 day 2 hours'::interval AS span,
      '\xdeadbeef'::bytea AS bytes, ARRAY[1,2,NULL] AS list, ARRAY['a,b','"q"','NULL',NULL,'','ü'] AS texts, ARRAY[[1,2],[3,4]] AS grid,
      '{}'::text[] AS empty, ARRAY['{"x": 1}'::jsonb] AS docs, 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'::uuid AS id, '<b>&' AS html, 1 AS twice, 2 AS twice, 3
`)
	const want = `{"exact":9007199254740992,"inexact":"9007199254740993","negative":"-9007199254740993",` +
		`"money":12.50,"long":"1234567890123456.7","nan":"NaN","double":1.5,"infinity":"Infinity","large":1e+300,"yes":true,"nothing":null,` +
		`"doc":{"a":"<x>","b":[1,2.50]},"instant":"2026-01-31T10:00:00.25Z","local":"2026-01-31T12:00:00","day":"2026-01-31","span":"P1DT2H",` +
		`"bytes":"3q2+7w==","list":[1,2,null],"texts":["a,b","\"q\"","NULL",null,"","ü"],"grid":[[1,2],[3,4]],"empty":[],"docs":[{"x":1}],` +
		`"id":"f81d4fae-7dec-11d0-a765-00a0c91e6bf6","html":"<b>&","twice":1,"twice_2":2,"column":3}`
	if r := d.must("values", ""); r.text != `{"row":`+want+`,"row_count":1}` {
		t.Errorf("got  %s\nwant %s", r.text, want)
	}
}

func TestParameterTypes(t *testing.T) {
	d := newShop(t).desk(t, `
tools:
- name: types
  description: Gives back its arguments.
  risk: read
  output: {single: true}
  parameters:
  - {name: s, type: string}
  - {name: i, type: integer}
  - {name: n, type: number}
  - {name: b, type: boolean}
  - {name: d, type: date}
  - {name: t, type: timestamp}
  - {name: u, type: uuid}
  - {name: o, type: object}
  - {name: ls, type: array, items: string}
  - {name: li, type: array, items: integer}
  - {name: ln, type: array, items: number}
  - {name: ld, type: array, items: date}
  - {name: lb, type: array, items: boolean}
  statement: SELECT :s AS s, :i AS i, :n AS n, :b AS b, :d AS d, :t AS t, :u AS u, :o AS o, :ls AS ls, :li AS li, :ln AS ln, :ld AS ld, :lb AS lb, 2 = ANY(:li) AS has, :li[1] AS first
`)
	in := `{"s":"it's; DROP TABLE orders; -- $1 :i","i":-5,"n":12.3456789,"b":false,"d":"2024-02-29","t":"2026-01-31T12:00:00+02:00","u":"F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6","o":{"k":[1,{"x":null}]},"ls":["a","b,\"}"],"li":[1,2],"ln":[1.5,2],"ld":["2024-02-29"],"lb":[true,false]}`
	const want = `{"s":"it's; DROP TABLE orders; -- $1 :i","i":-5,"n":12.3456789,"b":false,"d":"2024-02-29","t":"2026-01-31T10:00:00Z","u":"f81d4fae-7dec-11d0-a765-00a0c91e6bf6","o":{"k":[1,{"x":null}]},"ls":["a","b,\"}"],"li":[1,2],"ln":[1.5,2],"ld":["2024-02-29"],"lb":[true,false],"has":true,"first":1}`
	if r := d.must("types", in); r.text != `{"row":`+want+`,"row_count":1}` {
		t.Errorf("got  %s\nwant %s", r.text, want)
	}
	if r := d.must("types", `{}`); r.Row["s"] != nil || r.Row["li"] != nil || len(r.Row) != 15 {
		t.Errorf("without arguments: %s", r.text)
	}
	for _, bad := range []string{`{"s":5}`, `{"i":1.5}`, `{"i":"1"}`, `{"i":9223372036854775808}`, `{"n":"1"}`, `{"n":1e999}`, `{"b":"true"}`, `{"d":"2026-02-30"}`, `{"d":"now()"}`, `{"t":"yesterday"}`,
		`{"u":"x"}`, `{"o":[]}`, `{"o":"{}"}`, `{"ls":"a"}`, `{"ls":[1]}`, `{"li":["1"]}`, `{"x":1}`, `{"s":"a\u0000b"}`, `[]`, `"x"`, `{`} {
		if _, err := d.call("types", bad); !fault.HasCode(err, fault.InvalidArguments) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// Whatever the text of an argument is, it is data.
func FuzzArgumentStaysData(f *testing.F) {
	s := newShop(f)
	d := s.desk(f, `
tools:
- name: back
  description: Gives back its argument.
  risk: read
  parameters: [{name: text, type: string, required: true}]
  statement: SELECT :text AS text, length(:text) AS chars -- ':text'
`)
	for _, seed := range []string{"", "'", "''; DROP TABLE orders; --", `\'; SELECT 1`, "$1", ":text", "$$x$$", "%_", "ü\u2028", "\\", "a\nb", "{}", "null", "/*", "');"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		input, err := json.Marshal(map[string]string{"text": text})
		if err != nil {
			t.Skip()
		}
		var sent struct{ Text string }
		if err := json.Unmarshal(input, &sent); err != nil || len(text) > 10000 {
			t.Skip()
		}
		c := d.newCall(runtime.CallTool, "back", string(input))
		c.Grant = grantFor(t, c)
		res, err := d.worker.Run(context.Background(), c, time.Now().Add(time.Minute), runtime.Back{})
		if strings.ContainsRune(text, 0) {
			if !fault.HasCode(err, fault.InvalidArguments) {
				t.Errorf("a NUL: %v", err)
			}
			return
		}
		if err != nil || res.Tool.IsError {
			t.Fatalf("%q: %v", text, err)
		}
		var got reply
		if err := json.Unmarshal(res.Tool.StructuredContent.(json.RawMessage), &got); err != nil {
			t.Fatal(err)
		}
		if got.Rows[0]["text"] != sent.Text {
			t.Errorf("sent %q, got %q", sent.Text, got.Rows[0]["text"])
		}
	})
}
