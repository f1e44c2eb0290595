package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var _ audit.Reader = (*DB)(nil)

const (
	// searchBudget is when a search stops and says where to go on.
	searchBudget = 250 * time.Millisecond
	// fewRecords are read all at once and then sorted.
	fewRecords = 1000
	// indexedText is how long a text may be to be in an index.
	indexedText = 512
)

// scanSizes are how many records are read in a row before looking at the clock.
var scanSizes = []int{500, 2000, 4000}

// path is a way to records in the order of their time: an index of leading
// columns and then (at, id), perhaps of some records only.
type path struct {
	columns []string // each equal to its value
	values  []any
	partial []string // conditions of the index
	few     bool     // not in order; good when there are few
}

// anyRecord is the primary key: always there.
var anyRecord = path{}

var failing = []audit.State{audit.Failed, audit.Refused, audit.Unknown}

// pathsOf lists what a filter could be answered by, the likely best first.
func pathsOf(f audit.Filter) (ps []path) {
	short := func(column string) string { return fmt.Sprintf("octet_length(%s) <= %d", column, indexedText) }
	if f.CallID != "" {
		ps = append(ps, path{columns: []string{"call_id"}, values: []any{f.CallID}, few: true})
	}
	if f.User != "" {
		ps = append(ps, path{columns: []string{"user_id"}, values: []any{string(f.User)}})
	}
	if f.Client != "" && len(f.Client) <= indexedText {
		ps = append(ps, path{columns: []string{"client_id"}, values: []any{f.Client}, partial: []string{short("client_id")}})
	}
	switch {
	case len(f.Tool) > indexedText:
	case f.Server != "" && f.Tool != "":
		ps = append(ps, path{columns: []string{"server", "tool"}, values: []any{f.Server, f.Tool}, partial: []string{short("tool")}})
	case f.Server != "":
		ps = append(ps, path{columns: []string{"server"}, values: []any{f.Server}, partial: []string{short("tool")}, few: true})
	case f.Tool != "":
		ps = append(ps, path{columns: []string{"tool"}, values: []any{f.Tool}, partial: []string{short("tool"), everyServer}, few: true})
	}
	// What has a category or a code has failed, was refused, or is not known.
	if f.Category != "" || f.Code != "" || slices.Contains(failing, f.State) {
		ps = append(ps, path{partial: []string{"outcome IN ('failed', 'refused', 'unknown')"}})
	}
	if f.Method != "" && f.Method != "tools/call" {
		ps = append(ps, path{columns: []string{"method"}, values: []any{f.Method}, partial: []string{"method <> 'tools/call'"}})
	}
	return ps
}

// everyServer makes the index of (server, tool) good for a tool alone: servers
// are few, and each next one is a look into the index.
const everyServer = `server = ANY (ARRAY(
	WITH RECURSIVE s (name) AS (
		SELECT min(server) FROM audit_events WHERE octet_length(tool) <= 512
		UNION ALL
		SELECT (SELECT min(server) FROM audit_events WHERE server > s.name AND octet_length(tool) <= 512) FROM s WHERE s.name IS NOT NULL
	) SELECT name FROM s WHERE name IS NOT NULL LIMIT 1000))`

// arguments collects a statement's values.
type arguments []any

func (a *arguments) add(v any, typ string) string {
	*a = append(*a, v)
	return fmt.Sprintf("$%d::%s", len(*a), typ)
}

// scan is a search under way.
type scan struct {
	filter     audit.Filter
	descending bool
	at         audit.Position // where it has come to
	budget     time.Duration
}

// endOfTime is later than any record.
var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func newScan(f audit.Filter, after audit.Position, descending bool) scan {
	s := scan{filter: f, descending: descending, at: after, budget: searchBudget}
	if s.filter.Until.IsZero() {
		s.filter.Until = endOfTime
	}
	if descending && (after.IsZero() || !after.At.Before(s.filter.Until)) {
		s.at = audit.Position{At: s.filter.Until}
	}
	if !descending && after.At.Before(s.filter.Since) {
		s.at = audit.Position{At: s.filter.Since}
	}
	return s
}

// within is the part of a path that is still ahead. Comparing rows of all the
// index's columns leaves no other index to choose: which one is good follows
// from how many records there are, and not from the planner's statistics over
// all tenants.
func (s *scan) within(p path, a *arguments) string {
	row := func(ends ...string) string {
		var parts []string
		for _, v := range p.values {
			parts = append(parts, a.add(v, "text"))
		}
		return "(" + strings.Join(append(parts, ends...), ", ") + ")"
	}
	columns := "(" + strings.Join(append(slices.Clone(p.columns), "at"), ", ") + ")"
	columnsID := "(" + strings.Join(append(slices.Clone(p.columns), "at", "id"), ", ") + ")"
	at, id := a.add(s.at.At, "timestamptz"), a.add(s.at.ID, "text")
	var conds []string
	if s.descending {
		since := a.add(s.filter.Since, "timestamptz")
		conds = append(conds, columnsID+" < "+row(at, id), columns+" >= "+row(since), "at <= "+at, "at >= "+since)
	} else {
		until := a.add(s.filter.Until, "timestamptz")
		conds = append(conds, columnsID+" > "+row(at, id), columns+" < "+row(until), "at >= "+at, "at < "+until)
	}
	return strings.Join(append(conds, p.partial...), " AND ")
}

// equal is within for a path that is not in order.
func (s *scan) equal(p path, a *arguments) string {
	conds := slices.Clone(p.partial)
	for i, c := range p.columns {
		conds = append(conds, c+" = "+a.add(p.values[i], "text"))
	}
	at, id := a.add(s.at.At, "timestamptz"), a.add(s.at.ID, "text")
	if s.descending {
		conds = append(conds, "(at, id) < ("+at+", "+id+")", "at <= "+at, "at >= "+a.add(s.filter.Since, "timestamptz"))
	} else {
		conds = append(conds, "(at, id) > ("+at+", "+id+")", "at >= "+at, "at < "+a.add(s.filter.Until, "timestamptz"))
	}
	return strings.Join(conds, " AND ")
}

// rest is the filter as a condition on records that a path leads to.
func (s *scan) rest(a *arguments) string {
	f := s.filter
	conds := []string{"true"}
	for _, c := range []struct{ column, value string }{
		{"server", f.Server}, {"tool", f.Tool}, {"user_id", string(f.User)}, {"client_id", f.Client}, {"grant_id", f.Grant},
		{"outcome", string(f.State)}, {"category", f.Category}, {"code", f.Code}, {"method", f.Method}, {"call_id", f.CallID},
	} {
		if c.value != "" {
			conds = append(conds, c.column+" = "+a.add(c.value, "text"))
		}
	}
	return strings.Join(conds, " AND ")
}

func (s *scan) order(columns ...string) string {
	if s.descending {
		return strings.Join(append(columns, "at"), " DESC, ") + " DESC, id DESC"
	}
	return strings.Join(append(columns, "at", "id"), ", ")
}

// counted is how many records a path leads to, up to fewRecords.
func (s *scan) counted(p path) (string, arguments) {
	var a arguments
	cond := s.equal(p, &a)
	if !p.few {
		a = nil
		cond = s.within(p, &a)
	}
	return fmt.Sprintf(`SELECT count(*) FROM (SELECT FROM audit_events WHERE %s LIMIT %d) x`, cond, fewRecords), a
}

// all reads what is left of a path with few records.
func (s *scan) all(p path, limit int) (string, arguments) {
	var a arguments
	return fmt.Sprintf(`WITH found AS MATERIALIZED (SELECT * FROM audit_events WHERE %s LIMIT %d)
		SELECT %s, true, 0 FROM found WHERE %s ORDER BY %s LIMIT %d`,
		s.equal(p, &a), 2*fewRecords, auditColumns, s.rest(&a), s.order(), limit), a
}

// next reads at most size records of a path in order, and gives those that
// match and the last one that was read.
func (s *scan) next(p path, size, limit int) (string, arguments) {
	var a arguments
	within, order := s.within(p, &a), s.order(slices.Clone(p.columns)...)
	return fmt.Sprintf(`SELECT %s, matches, n FROM (
			SELECT *, %s AS matches, row_number() OVER (ORDER BY %s) AS n
			FROM (SELECT * FROM audit_events WHERE %s ORDER BY %s LIMIT %d) read) x
		WHERE matches OR n = %d ORDER BY %s LIMIT %d`,
		auditColumns, s.rest(&a), order, within, order, size, size, order, limit), a
}

type scanned struct {
	event   audit.Event
	matches bool
	n       int
}

func scanScanned(row pgx.CollectableRow) (s scanned, err error) {
	s.event, err = scanEvent(row, &s.matches, &s.n)
	return s, err
}

// choose takes the path with the fewest records, where it matters.
func (s *scan) choose(ctx context.Context, tx pgx.Tx) (path, error) {
	ps := pathsOf(s.filter)
	if s.filter.User == "" && s.filter.Grant != "" {
		// A grant is one person's.
		var user string
		err := tx.QueryRow(ctx, `SELECT coalesce(max(user_id), '') FROM oauth_grants WHERE id = $1`, s.filter.Grant).Scan(&user)
		if err != nil {
			return path{}, err
		}
		if user != "" {
			ps = append(ps, path{columns: []string{"user_id"}, values: []any{user}})
		}
	}
	if len(ps) == 0 {
		return anyRecord, nil
	}
	if len(ps) == 1 && !ps[0].few {
		return ps[0], nil
	}
	b := &pgx.Batch{}
	counts := make([]int, len(ps))
	for i, p := range ps {
		q, a := s.counted(p)
		b.Queue(q, a...).QueryRow(func(row pgx.Row) error { return row.Scan(&counts[i]) })
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return path{}, err
	}
	least := slices.Index(counts, slices.Min(counts))
	if counts[least] < fewRecords {
		p := ps[least]
		p.few = true
		return p, nil
	}
	for _, p := range ps {
		if !p.few {
			return p, nil
		}
	}
	return anyRecord, nil
}

// run reads until the page is full, nothing is left or the time is up.
func (s *scan) run(ctx context.Context, tx pgx.Tx, limit int) (page audit.Page, err error) {
	began := time.Now()
	p, err := s.choose(ctx, tx)
	if err != nil {
		return page, err
	}
	if p.few {
		q, a := s.all(p, limit+1)
		found, err := many(ctx, tx, scanScanned, q, a...)
		for _, f := range found {
			page.Events = append(page.Events, f.event)
		}
		return cutPage(page, limit), err
	}
	for round := 0; ; round++ {
		size := scanSizes[min(round, len(scanSizes)-1)]
		q, a := s.next(p, size, limit+1-len(page.Events))
		found, err := many(ctx, tx, scanScanned, q, a...)
		if err != nil {
			return page, err
		}
		full := true // every record of the path was read
		for _, f := range found {
			if f.matches {
				page.Events = append(page.Events, f.event)
			}
			if f.n == size {
				full, s.at = false, audit.PositionOf(&f.event)
			}
		}
		switch {
		case len(page.Events) > limit:
			return cutPage(page, limit), nil
		case full:
			return page, nil
		case time.Since(began) > s.budget:
			page.More, page.Next = true, s.at
			return page, nil
		}
	}
}

func cutPage(p audit.Page, limit int) audit.Page {
	if len(p.Events) > limit {
		p.Events = p.Events[:limit]
		p.More, p.Next = true, audit.PositionOf(&p.Events[limit-1])
	}
	return p
}

// SearchAudit lists the newest records first.
func (db *DB) SearchAudit(ctx context.Context, t tenants.ID, f audit.Filter, after audit.Position, limit int) (page audit.Page, err error) {
	defer fault.Wrap(&err, "postgres.SearchAudit(%s)", t)
	err = db.scan(ctx, t, newScan(f, after, true), limit, &page)
	return page, err
}

// ExportAudit lists the oldest records first.
func (db *DB) ExportAudit(ctx context.Context, t tenants.ID, f audit.Filter, after audit.Position, limit int) (page audit.Page, err error) {
	defer fault.Wrap(&err, "postgres.ExportAudit(%s)", t)
	err = db.scan(ctx, t, newScan(f, after, false), limit, &page)
	return page, err
}

func (db *DB) scan(ctx context.Context, t tenants.ID, s scan, limit int, page *audit.Page) error {
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) (err error) {
		// The planner takes a range of unknown ends for a few records, and would
		// read and sort all of it. The price that forbids it is no reason to compile.
		if _, err := tx.Exec(ctx, `SELECT set_config('enable_sort', 'off', true), set_config('jit', 'off', true)`); err != nil {
			return err
		}
		*page, err = s.run(ctx, tx, limit)
		return err
	})
}

// AuditEvent finds a record by the time in its id. One that was made by an
// earlier version, or in another way, is looked for among all.
func (db *DB) AuditEvent(ctx context.Context, t tenants.ID, id string) (e audit.Event, call []audit.Event, err error) {
	defer fault.Wrap(&err, "postgres.AuditEvent(%s, %s)", t, id)
	scan := func(row pgx.CollectableRow) (audit.Event, error) { return scanEvent(row) }
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		var found []audit.Event
		if at, ok := audit.TimeOfID(id); ok {
			found, err = many(ctx, tx, scan, `SELECT `+auditColumns+` FROM audit_events WHERE at >= $1 AND at < $2 AND id = $3`, at, at.Add(time.Millisecond), id)
			if err != nil {
				return err
			}
		}
		if len(found) == 0 {
			found, err = many(ctx, tx, scan, `SELECT `+auditColumns+` FROM audit_events WHERE id = $1 LIMIT 1`, id)
			if err != nil {
				return err
			}
		}
		if len(found) == 0 {
			return pgx.ErrNoRows
		}
		e = found[0]
		call, err = many(ctx, tx, scan, `SELECT `+auditColumns+` FROM audit_events WHERE call_id = $1 ORDER BY at, id LIMIT 100`, e.CallID)
		return err
	})
	return e, call, err
}

// RecentAudit lists records that are new to who knows some of the last seconds.
func (db *DB) RecentAudit(ctx context.Context, t tenants.ID, since time.Time, known []string, limit int) (es []audit.Event, err error) {
	defer fault.Wrap(&err, "postgres.RecentAudit(%s)", t)
	if known == nil {
		known = []string{}
	}
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		es, err = many(ctx, tx, func(row pgx.CollectableRow) (audit.Event, error) { return scanEvent(row) },
			`SELECT `+auditColumns+` FROM audit_events WHERE at >= $1 AND id <> ALL ($2) ORDER BY at, id LIMIT $3`, since, known, limit)
		return err
	})
	return es, err
}

// AuditNames looks up whom and what records name.
func (db *DB) AuditNames(ctx context.Context, t tenants.ID, events []audit.Event) (n audit.Names, err error) {
	defer fault.Wrap(&err, "postgres.AuditNames(%s)", t)
	n = audit.Names{Users: map[tenants.UserID]string{}, Clients: map[string]string{}}
	for i := range events {
		n.Users[events[i].User], n.Clients[events[i].Client] = "", ""
	}
	delete(n.Users, "")
	delete(n.Clients, "")
	if len(n.Users)+len(n.Clients) == 0 {
		return n, nil
	}
	users := make([]string, 0, len(n.Users))
	for u := range n.Users {
		users = append(users, string(u))
	}
	clients := slices.Collect(maps.Keys(n.Clients))
	clear(n.Users)
	clear(n.Clients)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		b := &pgx.Batch{}
		var id, name string
		b.Queue(`SELECT id, email FROM users WHERE id = ANY ($1)`, users).Query(func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error { n.Users[tenants.UserID(id)] = name; return nil })
			return err
		})
		b.Queue(`SELECT id, name FROM oauth_clients WHERE id = ANY ($1) AND name <> ''
			UNION ALL SELECT id, name FROM api_keys WHERE id = ANY ($1) UNION ALL SELECT id, name FROM operator_keys WHERE id = ANY ($1)`, clients).Query(func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error { n.Clients[id] = name; return nil })
			return err
		})
		return tx.SendBatch(ctx, b).Close()
	})
	return n, err
}
