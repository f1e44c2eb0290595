package api

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/audit/audittest"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

func recordsWorld(t *testing.T) *world {
	w := newWorld(t, func(w *world, c *Config) {
		tails := audit.NewTails(w.db, nil)
		t.Cleanup(tails.Close)
		c.Records = Records{
			Store: w.db, Tails: tails,
			Workers: func() []Worker { return []Worker{{Name: "worker-1", Pool: "default", Slots: 8}} },
			Health: func(context.Context) []HealthCheck {
				return []HealthCheck{{Name: "store", Ok: true, Found: "15"}, {Name: "vault", Found: "sealed", Fix: ptr("Unseal it.")}}
			},
		}
	})
	w.as("auditor", tenants.AuditRead, tenants.UsageRead)
	return w
}

var mayFourth = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// record puts the suite's records into a tenant.
func (w *world) record(t tenants.ID, n int, from time.Time, change func(int, *audit.Event)) []audit.Event {
	w.Helper()
	es := audittest.Records(t, n, from, time.Duration(n)*time.Second)
	for i := range es {
		if change != nil {
			change(i, &es[i])
		}
	}
	check(w.T, w.db.InsertAudit(w.Context(), es))
	return es
}

func TestRecordsAreFoundPageByPage(t *testing.T) {
	w := recordsWorld(t)
	es := w.record(w.acme.ID, 500, mayFourth, func(i int, e *audit.Event) {
		if e.User == "us2" {
			e.User = w.pat.ID
		}
	})
	w.record(w.globex.ID, 50, mayFourth, nil)
	want := 0
	for _, e := range es {
		if e.User == w.pat.ID {
			want++
		}
	}
	for _, member := range []string{"pat@acme.test", "PAT@acme.test", string(w.pat.ID)} {
		got, path := 0, "/tenants/acme/audit/events?limit=40&member="+member
		for next := ""; ; {
			page := into[AuditPage](t, w.must(200, "auditor", "GET", path+next, nil))
			got += len(page.Data)
			for _, e := range page.Data {
				if deref(e.Member) != "pat@acme.test" || deref(e.MemberId) != string(w.pat.ID) {
					t.Fatalf("%+v", e)
				}
			}
			if !page.HasMore {
				if page.SearchedTo != nil {
					t.Errorf("the last page searched to %s only", page.SearchedTo)
				}
				break
			}
			if last := page.Data[len(page.Data)-1].At; page.SearchedTo == nil || !page.SearchedTo.Equal(last) {
				t.Errorf("searched to %v, and the last record is of %s", page.SearchedTo, last)
			}
			next = "&cursor=" + *page.NextCursor
		}
		if got != want {
			t.Errorf("%s: %d, want %d", member, got, want)
		}
	}
	// One record, and its call; another tenant's is not there.
	d := into[AuditDetail](t, w.must(200, "auditor", "GET", "/tenants/acme/audit/events/"+es[3].ID, nil))
	if d.Event.Id != es[3].ID || len(d.Call) != 1 {
		t.Errorf("%+v", d)
	}
	w.refused(fault.NotFound, "stranger", "GET", "/tenants/globex/audit/events/"+es[3].ID, nil)
	w.as("nothing")
	w.refused(fault.RoleNotAllowed, "nothing", "GET", "/tenants/acme/audit/events", nil)
	for _, q := range []string{"cursor=bm9uc2Vuc2U", "cursor=" + *cursor("listMembers", "1", "2"), "cursor=" + *cursor(auditList, "x", "y"), "cursor=" + *cursor(auditList, "1", "\x00"),
		"since=yesterday", "since=2026-05-05T00:00:00Z&until=2026-05-04T00:00:00Z", "outcome=odd", "method=prompts", "limit=0"} {
		w.refused(fault.InvalidRequest, "auditor", "GET", "/tenants/acme/audit/events?"+q, nil)
	}
	// Nobody's address finds nothing, and says so without a fault.
	if page := into[AuditPage](t, w.must(200, "auditor", "GET", "/tenants/acme/audit/events?member=nobody@acme.test", nil)); len(page.Data) != 0 || page.HasMore {
		t.Errorf("%+v", page)
	}
}

func TestPlatformsOwnRecordsAreOperators(t *testing.T) {
	w := recordsWorld(t)
	w.record(tenants.Platform, 5, mayFourth, nil)
	if page := into[AuditPage](t, w.must(200, "operator", "GET", "/tenants/platform/audit/events", nil)); len(page.Data) != 5 {
		t.Errorf("%d", len(page.Data))
	}
	w.refused(fault.NotFound, "admin", "GET", "/tenants/platform/audit/events", nil)
	w.refused(fault.NotFound, "operator", "GET", "/tenants/platform/usage", nil)
}

func TestExportSaysThatItIsComplete(t *testing.T) {
	w := recordsWorld(t)
	es := w.record(w.acme.ID, 2500, mayFourth, func(i int, e *audit.Event) {
		if i == 100 {
			e.Tool, e.Arguments = "=HYPERLINK(\"https://evil.example\")", "@x\n\"y\",z"
		}
	})
	w.record(w.globex.ID, 20, mayFourth, nil)
	nd := w.must(200, "auditor", "GET", "/tenants/acme/audit/export", nil)
	lines := strings.Split(strings.TrimSpace(nd.Body), "\n")
	if len(lines) != len(es)+1 || lines[len(es)] != `{"complete":true,"records":2500}` || nd.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%d lines, the last is %s", len(lines), lines[len(lines)-1])
	}
	var last time.Time
	for _, line := range lines[:len(es)] {
		var e AuditEvent
		check(t, json.Unmarshal([]byte(line), &e))
		if e.At.Before(last) {
			t.Fatal("not oldest first")
		}
		last = e.At
	}
	table := w.must(200, "auditor", "GET", "/tenants/acme/audit/export?format=csv&since="+es[99].At.Format(time.RFC3339), nil)
	r := csv.NewReader(strings.NewReader(table.Body))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	check(t, err)
	end := rows[len(rows)-1]
	if end[0] != "#complete" || end[1] != fmt.Sprint(len(rows)-2) {
		t.Errorf("the last row is %v of %d", end, len(rows))
	}
	found := false
	for _, row := range rows[1 : len(rows)-1] {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Errorf("a cell begins %.20q", cell)
			}
			found = found || strings.HasPrefix(cell, "'=HYPERLINK")
		}
	}
	if !found {
		t.Error("what a model sent is not there")
	}
	w.refused(fault.InvalidRequest, "auditor", "GET", "/tenants/acme/audit/export?format=xml", nil)
	w.refused(fault.NotFound, "stranger", "GET", "/tenants/acme/audit/export", nil)
}

// failing is a store that goes away after some pages.
type failing struct {
	audit.Reader
	pages int
}

func (f *failing) ExportAudit(ctx context.Context, t tenants.ID, flt audit.Filter, at audit.Position, n int) (audit.Page, error) {
	if f.pages--; f.pages < 0 {
		return audit.Page{}, fault.New(fault.StoreAway, "away")
	}
	return f.Reader.ExportAudit(ctx, t, flt, at, n)
}

func TestCutOffExportIsNotTakenForComplete(t *testing.T) {
	w := recordsWorld(t)
	w.record(w.acme.ID, 2500, mayFourth, nil)
	store := w.api.Records.Store
	w.api.Records.Store = struct {
		*failing
		audit.UsageReader
		rest
	}{&failing{store, 2}, store, store}
	srv := httptest.NewServer(w.api)
	t.Cleanup(srv.Close)
	r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+Base+"/tenants/acme/audit/export", nil)
	check(t, err)
	r.Header.Set("Authorization", "Bearer auditor")
	res, err := http.DefaultClient.Do(r)
	check(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil || strings.Contains(string(b), `"complete"`) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// rest is what else the API asks of its store.
type rest interface {
	VerifyAudit(ctx context.Context, since, now time.Time) (audit.Verification, error)
	UserByEmail(ctx context.Context, t tenants.ID, email string) (tenants.User, error)
}

// stream is one reader of server-sent events.
type stream struct {
	t    *testing.T
	body io.ReadCloser
	r    *bufio.Reader
}

func openStream(t *testing.T, base, who, path string, headers ...string) *stream {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", base+Base+path, nil)
	check(t, err)
	r.Header.Set("Authorization", "Bearer "+who)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	check(t, err)
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("%s %s", res.Status, b)
	}
	t.Cleanup(func() { res.Body.Close() })
	s := &stream{t, res.Body, bufio.NewReader(res.Body)}
	if first := s.block(); !strings.HasPrefix(first, "retry:") {
		t.Fatalf("begins with %q", first)
	}
	return s
}

// block reads up to an empty line; "" is the end.
func (s *stream) block() string {
	var b strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return ""
		}
		if line == "\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

// next is the next event.
func (s *stream) next() (id, name, data string) {
	s.t.Helper()
	for {
		b := s.block()
		if b == "" {
			return "", "", ""
		}
		for line := range strings.Lines(b) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch key {
			case "id":
				id = value
			case "event":
				name = value
			case "data":
				data = value
			}
		}
		if name != "" {
			return id, name, data
		}
	}
}

func (s *stream) record() (id string, e AuditEvent) {
	s.t.Helper()
	id, name, data := s.next()
	if name != "record" {
		s.t.Fatalf("got %s %s", name, data)
	}
	check(s.t, json.Unmarshal([]byte(data), &e))
	return id, e
}

func TestTailFollowsAndGoesOn(t *testing.T) {
	w := recordsWorld(t)
	srv := httptest.NewServer(w.api)
	t.Cleanup(srv.Close)
	now := time.Now()
	s := openStream(t, srv.URL, "auditor", "/tenants/acme/audit/tail?code=seen")
	one := func(id tenants.ID, at time.Time, code string) audit.Event {
		e := w.record(id, 1, at, func(_ int, e *audit.Event) { e.State, e.Code, e.User = audit.Failed, code, w.pat.ID })
		return e[0]
	}
	// Until the first look is done, what is there counts as before.
	var got AuditEvent
	var last string
	first := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			one(w.acme.ID, time.Now(), "seen")
			select {
			case <-first:
				return
			case <-tick.C:
			}
		}
	})
	last, got = s.record()
	close(first)
	writing.Wait()
	if deref(got.Code) != "seen" || deref(got.Member) != "pat@acme.test" {
		t.Errorf("%+v", got)
	}
	one(w.globex.ID, time.Now(), "seen")
	one(w.acme.ID, time.Now(), "unseen")
	late := one(w.acme.ID, now.Add(-5*time.Second), "seen")
	for got.Id != late.ID {
		last, got = s.record()
		if deref(got.Code) != "seen" {
			t.Fatalf("%+v", got)
		}
	}
	s.body.Close()
	missed := one(w.acme.ID, time.Now(), "seen")
	s = openStream(t, srv.URL, "auditor", "/tenants/acme/audit/tail?code=seen", "Last-Event-ID", last)
	for got.Id != missed.ID {
		if _, got = s.record(); got.Id == late.ID {
			t.Error("told of the very record that it was the last to see")
		}
	}
	w.refused(fault.InvalidRequest, "auditor", "GET", "/tenants/acme/audit/tail", nil, "Last-Event-ID", "nonsense")
	w.refused(fault.NotFound, "stranger", "GET", "/tenants/acme/audit/tail", nil)
	// Shutting down ends it at once, and says to come back.
	w.api.Records.Tails.Close()
	for name := ""; name != "end"; {
		var data string
		if _, name, data = s.next(); name == "" || name == "end" && !strings.Contains(data, "restart") {
			t.Fatalf("%q %q", name, data)
		}
	}
}

func TestTailEndsWithTheRight(t *testing.T) {
	w := recordsWorld(t)
	srv := httptest.NewServer(w.api)
	t.Cleanup(srv.Close)
	for name, take := range map[string]func(){
		"permission": func() { w.as("guest", tenants.UsageRead) },
		"session":    func() { w.mu.Lock(); delete(w.callers, "guest"); w.mu.Unlock() },
	} {
		w.as("guest", tenants.AuditRead)
		s := openStream(t, srv.URL, "guest", "/tenants/acme/audit/tail")
		take()
		began := time.Now()
		_, event, data := s.next()
		if event != "end" || !strings.Contains(data, map[string]string{"permission": "role_not_allowed", "session": "unauthenticated"}[name]) {
			t.Errorf("%s: %s %s", name, event, data)
		}
		if s.block() != "" || time.Since(began) > 10*time.Second {
			t.Errorf("%s: goes on", name)
		}
	}
}

func TestUsage(t *testing.T) {
	w := recordsWorld(t)
	w.record(w.acme.ID, 300, time.Now().Add(-10*time.Minute), func(_ int, e *audit.Event) {
		if e.User == "us1" {
			e.User = w.pat.ID
		}
	})
	for _, r := range []string{"", "?range=1h", "?range=7d&group_by=member", "?range=30d&group_by=client", "?range=24h&group_by=server&server=orders"} {
		u := into[Usage](t, w.must(200, "auditor", "GET", "/tenants/acme/usage"+r, nil))
		sum := 0
		for _, g := range u.Groups {
			sum += g.Numbers.Calls
			if g.Key == string(w.pat.ID) && deref(g.Label) != "pat@acme.test" {
				t.Errorf("%+v", g)
			}
		}
		if u.Totals.Calls == 0 || sum != u.Totals.Calls || len(u.Series) < 30 || u.Totals.P50Ms == nil || len(*u.Busiest) == 0 {
			t.Errorf("%s: %d calls, %d in groups, %d steps", r, u.Totals.Calls, sum, len(u.Series))
		}
	}
	w.as("member", tenants.AuditRead)
	w.refused(fault.RoleNotAllowed, "member", "GET", "/tenants/acme/usage", nil)
	w.refused(fault.InvalidRequest, "auditor", "GET", "/tenants/acme/usage?range=2y", nil)
}

func TestVerificationFindsWhatIsMissing(t *testing.T) {
	w := recordsWorld(t)
	es := audittest.Records(w.acme.ID, 400, time.Now().Add(-time.Hour), 30*time.Minute)
	for i := range es {
		es[i].Tenant = []tenants.ID{w.acme.ID, w.globex.ID}[i%2] // a writer's numbers run through all tenants
	}
	check(t, w.db.InsertAudit(t.Context(), append(append([]audit.Event{}, es[:100]...), es[103:]...)))
	v := into[AuditVerification](t, w.must(200, "operator", "GET", "/audit/verification", nil))
	if v.Ok || len(v.Gaps) != 1 || v.Gaps[0] != (AuditGap{Writer: es[0].WriterID, After: 100, Before: 104, Missing: 3}) || v.Records != 397 || deref(v.OpenIntents) == 0 {
		t.Errorf("%+v", v)
	}
	// What lies before since is no gap, and neither is what is being written.
	v = into[AuditVerification](t, w.must(200, "operator", "GET", "/audit/verification?since="+es[200].At.Format(time.RFC3339Nano), nil))
	if !v.Ok {
		t.Errorf("%+v", v)
	}
	young := audittest.Records(w.acme.ID, 9, time.Now(), time.Millisecond)
	for i := range young {
		young[i].WriterID = "wryoung"
	}
	check(t, w.db.InsertAudit(t.Context(), append(young[:3:3], young[6:]...)))
	if v = into[AuditVerification](t, w.must(200, "operator", "GET", "/audit/verification", nil)); len(v.Gaps) != 1 {
		t.Errorf("%+v", v)
	}
	w.refused(fault.NotFound, "admin", "GET", "/audit/verification", nil)
}

func TestHealthAndWorkers(t *testing.T) {
	w := recordsWorld(t)
	if h := into[Health](t, w.must(200, "operator", "GET", "/health", nil)); h.Ok || len(h.Checks) != 2 {
		t.Errorf("%+v", h)
	}
	if l := into[WorkerList](t, w.must(200, "operator", "GET", "/workers", nil)); len(l.Data) != 1 {
		t.Errorf("%+v", l)
	}
	w.refused(fault.NotFound, "admin", "GET", "/health", nil)
}

func FuzzPositions(f *testing.F) {
	f.Add("1777863721000000", "au222222222222222222")
	f.Add("-1", "")
	f.Add("9223372036854775807", "x\x00")
	f.Fuzz(func(t *testing.T, at, id string) {
		p, err := position(at, id)
		if err != nil {
			return
		}
		k := keysOf(p)
		again, err := position(k[0], k[1])
		if err != nil || again != p || p.At.Year() > 9999 {
			t.Fatalf("%v, then %v, %v", p, again, err)
		}
	})
}

func FuzzCursors(f *testing.F) {
	f.Add(*cursor(auditList, "1", "a"))
	f.Add("eyJ9")
	f.Fuzz(func(t *testing.T, c string) {
		keys, err := readCursor(auditList, &c, 2)
		if err != nil && !fault.HasCode(err, fault.InvalidRequest) || err == nil && len(keys) != 0 && len(keys) != 2 {
			t.Fatal(keys, err)
		}
	})
}

// Whoever runs the platform is named in what they do to a tenant.
func TestOperatorsWritesNameThem(t *testing.T) {
	w := recordsWorld(t)
	w.refused(fault.InvalidRequest, "operator", "PUT", "/tenants/acme/members/x@acme.test", map[string]any{"name": ""})
	page := into[AuditPage](t, w.must(200, "auditor", "GET", "/tenants/acme/audit/events?method=api&member=ops@example.test", nil))
	if len(page.Data) == 0 || deref(page.Data[0].Member) != "ops@example.test" || deref(page.Data[0].Tool) != "putMember" {
		t.Errorf("%+v", page.Data)
	}
}
