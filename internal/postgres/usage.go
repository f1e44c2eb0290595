package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var _ audit.UsageReader = (*DB)(nil)

// usageLevel is a width of steps that records are added up in.
type usageLevel struct {
	name string
	step time.Duration
	// wait is how long after a step's end it is added up: a record's time is
	// before its commit.
	wait time.Duration
	keep time.Duration
	cuts []usageCut
	// twice adds each step up again with the next one, for records that came
	// later than wait.
	twice bool
}

type usageCut struct {
	name    string
	columns []string
}

var (
	cutTotal  = usageCut{"total", nil}
	cutTool   = usageCut{"tool", []string{"server", "tool"}}
	cutMember = usageCut{"member", []string{"user_id"}}
	cutClient = usageCut{"client", []string{"client_id"}}
	cutAll    = usageCut{"all", []string{"server", "tool", "user_id", "client_id"}}

	oneKey = []usageCut{cutTotal, cutTool, cutMember, cutClient}

	// usageLevels are from wide to narrow. Only days tell everything apart: in a
	// shorter time there are hardly fewer combinations than calls.
	usageLevels = []usageLevel{
		{name: "day", step: 24 * time.Hour, wait: 2 * time.Hour, keep: 400 * 24 * time.Hour, cuts: append(slices.Clone(oneKey), cutAll)},
		{name: "hour", step: time.Hour, wait: time.Minute, keep: 35 * 24 * time.Hour, cuts: oneKey, twice: true},
		{name: "quarter", step: 15 * time.Minute, wait: time.Minute, keep: 50 * time.Hour, cuts: oneKey, twice: true},
	}
)

// cutFor is the smallest cut that has all columns.
func cutFor(columns []string) usageCut {
	for _, c := range []usageCut{cutTotal, cutTool, cutMember, cutClient} {
		if !slices.ContainsFunc(columns, func(name string) bool { return !slices.Contains(c.columns, name) }) {
			return c
		}
	}
	return cutAll
}

// floor is the beginning of the step that a time is in. Days are UTC's.
func floor(t time.Time, step time.Duration) time.Time {
	s := int64(step / time.Second)
	u := t.Unix()
	return time.Unix(u-((u%s)+s)%s, 0).UTC()
}

func ceil(t time.Time, step time.Duration) time.Time {
	if f := floor(t, step); f.Before(t) {
		return f.Add(step)
	} else {
		return f
	}
}

const (
	isCall = `phase IN ('outcome', 'refusal') AND method IN ('tools/call', 'resources/read')`
	// bucketOf is audit.BucketOf in SQL. Calls that did not run have none.
	bucketOf = `CASE WHEN phase <> 'outcome' THEN NULL WHEN latency_us < 100 THEN 0
		ELSE least(160, 1 + floor(ln(latency_us / 100.0::float8) / ln(1.1::float8)))::smallint END`
	usageNumbers = `done, failed, refused, unknown, access, validation, downstream, rate_limit, internal, buckets, counts`
)

// columnOf is a key of usage as records have it.
var columnOf = map[string]string{
	"server": "server", "user_id": "user_id", "client_id": "left(client_id, 512)",
	"tool": "CASE WHEN method = 'resources/read' THEN 'resources/read' ELSE left(tool, 300) END",
}

// addUp adds records up by keys, which are expressions named k1, k2, …: first
// by bucket, then the buckets into arrays.
func addUp(keys []string, from, cond string) string {
	var inner, names strings.Builder
	for i, k := range keys {
		fmt.Fprintf(&inner, "%s AS k%d, ", k, i+1)
		fmt.Fprintf(&names, "k%d, ", i+1)
	}
	by := strings.TrimSuffix(names.String(), ", ")
	grouped := "GROUP BY " + by
	if by == "" {
		grouped = "GROUP BY ()" // even no records have sums; HAVING drops them
	}
	return `SELECT ` + names.String() + `sum(done)::bigint AS done, sum(failed)::bigint AS failed, sum(refused)::bigint AS refused, sum(unknown)::bigint AS unknown,
			sum(access)::bigint AS access, sum(validation)::bigint AS validation, sum(downstream)::bigint AS downstream, sum(rate_limit)::bigint AS rate_limit, sum(internal)::bigint AS internal,
			coalesce(array_agg(bucket) FILTER (WHERE bucket IS NOT NULL), '{}')::smallint[] AS buckets, coalesce(array_agg(n) FILTER (WHERE bucket IS NOT NULL), '{}')::integer[] AS counts
		FROM (
			SELECT ` + names.String() + `bucket, count(*) AS n,
				count(*) FILTER (WHERE outcome = 'done') AS done, count(*) FILTER (WHERE outcome = 'failed') AS failed,
				count(*) FILTER (WHERE outcome = 'refused') AS refused, count(*) FILTER (WHERE outcome = 'unknown') AS unknown,
				count(*) FILTER (WHERE category = 'access') AS access, count(*) FILTER (WHERE category = 'validation') AS validation,
				count(*) FILTER (WHERE category = 'downstream') AS downstream, count(*) FILTER (WHERE category = 'rate_limit') AS rate_limit,
				count(*) FILTER (WHERE category = 'internal') AS internal
			FROM (SELECT ` + inner.String() + bucketOf + ` AS bucket, outcome, category FROM ` + from + ` WHERE ` + isCall + ` AND ` + cond + `) calls
			GROUP BY ` + names.String() + `bucket
		) buckets ` + grouped + ` HAVING count(*) > 0`
}

// RollUpUsage adds up every step that is over and was not added up yet, in all
// tenants. Each step is one transaction, and whoever begins holds its level:
// any number of edges may call this at any time, and be stopped at any time. It
// returns up to when the narrowest level is complete.
func (db *DB) RollUpUsage(ctx context.Context, now time.Time) (upto time.Time, err error) {
	defer fault.Wrap(&err, "postgres.RollUpUsage")
	for _, l := range usageLevels {
		for first, more := true, true; more; first = false {
			if upto, more, err = db.rollUpStep(ctx, l, now, first); err != nil {
				return upto, err
			}
		}
	}
	return upto, nil
}

func (db *DB) rollUpStep(ctx context.Context, l usageLevel, now time.Time, first bool) (upto time.Time, more bool, err error) {
	closed := floor(now.Add(-l.wait), l.step)
	err = db.AcrossTenants(ctx, "usage is added up for all tenants at once", func(ctx context.Context, tx pgx.Tx) error {
		var since time.Time
		err := tx.QueryRow(ctx, `SELECT since, upto FROM usage_levels WHERE level = $1 FOR UPDATE SKIP LOCKED`, l.name).Scan(&since, &upto)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // another edge is at it
		}
		if err != nil {
			return err
		}
		if upto.Unix() == 0 { // for the first time
			var oldest *time.Time
			if err := tx.QueryRow(ctx, `SELECT min(m.at) FROM tenants t, LATERAL (SELECT min(at) AS at FROM audit_events WHERE tenant_id = t.id AND at >= $1 AND at < $2) m`,
				closed.Add(-l.keep), closed).Scan(&oldest); err != nil {
				return err
			}
			since = closed
			if oldest != nil {
				since = floor(*oldest, l.step)
			}
			upto = since
		}
		if !upto.Before(closed) {
			_, err := tx.Exec(ctx, `UPDATE usage_levels SET since = $2, upto = $3 WHERE level = $1 AND upto <> $3`, l.name, since, upto)
			return err
		}
		// The one that was the last; those that were missed had all their time.
		if again := upto.Add(-l.step); first && l.twice && !again.Before(since) {
			if err := rollUp(ctx, tx, l, again); err != nil {
				return err
			}
		}
		if err := rollUp(ctx, tx, l, upto); err != nil {
			return err
		}
		upto = upto.Add(l.step)
		if old := floor(closed.Add(-l.keep), l.step); since.Before(old) {
			since = old
			if _, err := tx.Exec(ctx, `DELETE FROM usage WHERE level = $1 AND at < $2`, l.name, old); err != nil {
				return err
			}
		}
		more = upto.Before(closed)
		_, err = tx.Exec(ctx, `UPDATE usage_levels SET since = $2, upto = $3 WHERE level = $1`, l.name, since, upto)
		return err
	})
	return upto, more, err
}

// ofAll are the calls of a step, $2 to $3, of every tenant: one look into the
// primary key for each, whatever the planner thinks of tenants' sizes.
const ofAll = `SELECT e.* FROM tenants t, LATERAL (
		SELECT tenant_id, at, server, tool, user_id, client_id, phase, method, outcome, category, latency_us
		FROM audit_events WHERE tenant_id = t.id AND at >= $2 AND at < $3 OFFSET 0) e WHERE ` + isCall

// rollUp makes one step anew.
func rollUp(ctx context.Context, tx pgx.Tx, l usageLevel, at time.Time) error {
	if _, err := tx.Exec(ctx, `DELETE FROM usage WHERE level = $1 AND at = $2`, l.name, at); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, rollUpStatement(l), l.name, at, at.Add(l.step))
	return err
}

// rollUpStatement reads the step's calls once and adds them up by each cut.
func rollUpStatement(l usageLevel) string {
	var sums []string
	for _, cut := range l.cuts {
		keys, hash := []string{"tenant_id"}, "''"
		columns := map[string]string{}
		for i, c := range cut.columns {
			name := fmt.Sprintf("k%d", i+2)
			keys, columns[c], hash = append(keys, columnOf[c]), name, hash+" || "+name+" || E'\\x01'"
		}
		var four string
		for _, c := range cutAll.columns {
			four += cmp.Or(columns[c], "''") + ", "
		}
		peaks, join := "0, NULL::timestamptz", ""
		if cut.name == cutMember.name {
			peaks = "peak, peak_at"
			join = `JOIN (SELECT DISTINCT ON (tenant_id, user_id) tenant_id, user_id, n AS peak, minute AS peak_at
				FROM (SELECT tenant_id, user_id, date_trunc('minute', at) AS minute, count(*) AS n FROM events GROUP BY 1, 2, 3) m
				ORDER BY tenant_id, user_id, n DESC, minute) p ON p.tenant_id = k1 AND p.user_id = k2`
		}
		sums = append(sums, `SELECT k1, $1::text, '`+cut.name+`', $2::timestamptz, md5(`+hash+`)::uuid, `+four+usageNumbers+`, `+peaks+`
			FROM (`+addUp(keys, "events", "true")+`) sums `+join)
	}
	return `WITH events AS MATERIALIZED (` + ofAll + `)
		INSERT INTO usage (tenant_id, level, cut, at, key, ` + strings.Join(cutAll.columns, ", ") + `, ` + usageNumbers + `, peak, peak_at) ` + strings.Join(sums, " UNION ALL ")
}

// part is a stretch of time, and the level that has it; "" is the records.
type part struct {
	level    string
	from, to time.Time
}

// known is what a level has.
type known struct {
	usageLevel
	since, upto time.Time
}

// cover splits a time among levels, widest first, and records for the rest.
func cover(from, to time.Time, levels []known) []part {
	if !from.Before(to) {
		return nil
	}
	if len(levels) == 0 {
		return []part{{"", from, to}}
	}
	l := levels[0]
	a, b := ceil(from, l.step), floor(to, l.step)
	if a.Before(l.since) {
		a = l.since
	}
	if l.upto.Before(b) {
		b = l.upto
	}
	if !a.Before(b) {
		return cover(from, to, levels[1:])
	}
	return append(append(cover(from, a, levels[1:]), part{l.name, a, b}), cover(b, to, levels[1:])...)
}

// usageRow is a sum: of a step of a level, or of records.
type usageRow struct {
	at                         time.Time
	server, tool, user, client string
	numbers                    audit.Numbers
}

// Usage adds up from sums as far as there are any, and from records for the
// rest.
func (db *DB) Usage(ctx context.Context, t tenants.ID, q audit.UsageQuery) (u audit.Usage, err error) {
	defer fault.Wrap(&err, "postgres.Usage(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		levels, err := usageKnown(ctx, tx)
		if err != nil {
			return err
		}
		if err := usageSeries(ctx, tx, q, levels, &u); err != nil {
			return err
		}
		if err := usageGroups(ctx, tx, q, levels, &u); err != nil {
			return err
		}
		return usageBusiest(ctx, tx, q, levels, &u)
	})
	return u, err
}

func usageKnown(ctx context.Context, tx pgx.Tx) (out []known, err error) {
	type row struct {
		Level       string
		Since, Upto time.Time
	}
	rows, err := many(ctx, tx, pgx.RowToStructByPos[row], `SELECT level, since, upto FROM usage_levels`)
	for _, l := range usageLevels {
		for _, r := range rows {
			if r.Level == l.name {
				out = append(out, known{l, r.Since.UTC(), r.Upto.UTC()})
			}
		}
	}
	return out, err
}

// filters are the columns that a query's filters are on.
func filters(q audit.UsageQuery) (columns, values []string) {
	for _, f := range []struct{ column, value string }{{"server", q.Server}, {"tool", q.Tool}, {"user_id", string(q.User)}, {"client_id", q.Client}} {
		if f.value != "" {
			columns, values = append(columns, f.column), append(values, f.value)
		}
	}
	return columns, values
}

func usageSeries(ctx context.Context, tx pgx.Tx, q audit.UsageQuery, levels []known, u *audit.Usage) error {
	columns, _ := filters(q)
	for at := q.Since; at.Before(q.Until); at = at.Add(q.Step) {
		u.Series = append(u.Series, audit.UsagePoint{At: at})
	}
	levels = slices.DeleteFunc(slices.Clone(levels), func(l known) bool { return l.step > q.Step || q.Step%l.step != 0 })
	return usageRows(ctx, tx, q, cutFor(columns), nil, q.Step, levels, func(r *usageRow) {
		if i := int(r.at.Sub(q.Since) / q.Step); i >= 0 && i < len(u.Series) {
			u.Series[i].Add(&r.numbers)
			u.Totals.Add(&r.numbers)
		}
	})
}

var groupColumns = map[audit.Group][]string{
	audit.ByServer: {"server"}, audit.ByTool: {"server", "tool"}, audit.ByMember: {"user_id"}, audit.ByClient: {"client_id"},
}

const maxGroups = 100

func usageGroups(ctx context.Context, tx pgx.Tx, q audit.UsageQuery, levels []known, u *audit.Usage) error {
	columns, _ := filters(q)
	by := groupColumns[q.By]
	found := map[[4]string]*audit.UsageGroup{}
	err := usageRows(ctx, tx, q, cutFor(append(columns, by...)), by, 0, levels, func(r *usageRow) {
		var key [4]string
		for _, c := range by {
			switch c {
			case "server":
				key[0] = r.server
			case "tool":
				key[1] = r.tool
			case "user_id":
				key[2] = r.user
			case "client_id":
				key[3] = r.client
			}
		}
		g := found[key]
		if g == nil {
			g = &audit.UsageGroup{Server: key[0], Tool: key[1], User: tenants.UserID(key[2]), Client: key[3]}
			found[key] = g
		}
		g.Add(&r.numbers)
	})
	for _, g := range found {
		u.Groups = append(u.Groups, *g)
	}
	slices.SortFunc(u.Groups, func(a, b audit.UsageGroup) int {
		return cmp.Or(cmp.Compare(b.Calls(), a.Calls()), cmp.Compare(a.Server+"/"+a.Tool, b.Server+"/"+b.Tool), cmp.Compare(a.User, b.User), cmp.Compare(a.Client, b.Client))
	})
	u.Groups = u.Groups[:min(len(u.Groups), maxGroups)]
	return err
}

// usageRows reads sums of a cut: of levels by their step and key, of records by
// the columns and the step that are asked for.
func usageRows(ctx context.Context, tx pgx.Tx, q audit.UsageQuery, cut usageCut, by []string, step time.Duration, levels []known, each func(*usageRow)) error {
	levels = slices.DeleteFunc(slices.Clone(levels), func(l known) bool {
		return !slices.ContainsFunc(l.cuts, func(c usageCut) bool { return c.name == cut.name })
	})
	columns, values := filters(q)
	for _, p := range cover(q.Since, q.Until, levels) {
		var a arguments
		var statement string
		conds := []string{"at >= " + a.add(p.from, "timestamptz"), "at < " + a.add(p.to, "timestamptz")}
		if p.level == "" {
			for i, c := range columns {
				switch {
				case c == "tool" && values[i] == audit.AnyResource:
					conds = append(conds, "method = 'resources/read'")
				default:
					conds = append(conds, c+" = "+a.add(values[i], "text"))
				}
			}
			keys := []string{"'epoch'::timestamptz"}
			if step > 0 {
				s := a.add(step.Seconds(), "float8")
				keys[0] = "to_timestamp(floor(extract(epoch FROM at) / " + s + ") * " + s + ")"
			}
			for _, c := range []string{"server", "tool", "user_id", "client_id"} {
				if slices.Contains(by, c) {
					keys = append(keys, columnOf[c])
				} else {
					keys = append(keys, "''::text")
				}
			}
			statement = addUp(keys, "audit_events", strings.Join(conds, " AND "))
		} else {
			for i, c := range columns {
				conds = append(conds, c+" = "+a.add(values[i], "text"))
			}
			statement = `SELECT at, server, tool, user_id, client_id, ` + usageNumbers + ` FROM usage WHERE level = '` + p.level + `' AND cut = '` + cut.name + `' AND ` + strings.Join(conds, " AND ")
		}
		rows, _ := tx.Query(ctx, statement, a...)
		var r usageRow
		var buckets []int16
		var counts []int32
		n := &r.numbers
		_, err := pgx.ForEachRow(rows, []any{&r.at, &r.server, &r.tool, &r.user, &r.client, &n.Done, &n.Failed, &n.Refused, &n.Unknown,
			&n.Access, &n.Validation, &n.Downstream, &n.Limits, &n.Internal, &buckets, &counts}, func() error {
			n.Latency = n.Latency[:0]
			for i, b := range buckets {
				n.Latency.Count(int(b), int64(counts[i]))
			}
			each(&r)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const maxBusiest = 10

func usageBusiest(ctx context.Context, tx pgx.Tx, q audit.UsageQuery, levels []known, u *audit.Usage) error {
	found := map[string]audit.Busiest{}
	for _, p := range cover(q.Since, q.Until, levels) {
		var a arguments
		cond := "at >= " + a.add(p.from, "timestamptz") + " AND at < " + a.add(p.to, "timestamptz") + " AND user_id <> ''"
		if q.User != "" {
			cond += " AND user_id = " + a.add(string(q.User), "text")
		}
		from := `usage WHERE level = '` + p.level + `' AND cut = 'member' AND ` + cond
		if p.level == "" {
			from = `(SELECT user_id, date_trunc('minute', at) AS peak_at, count(*)::integer AS peak FROM audit_events WHERE ` + isCall + ` AND ` + cond + ` GROUP BY 1, 2) m`
		}
		rows, _ := tx.Query(ctx, `SELECT DISTINCT ON (user_id) user_id, peak, peak_at FROM `+from+` ORDER BY user_id, peak DESC, peak_at`, a...)
		var user string
		var peak int64
		var at time.Time
		if _, err := pgx.ForEachRow(rows, []any{&user, &peak, &at}, func() error {
			if peak > found[user].Calls {
				found[user] = audit.Busiest{User: tenants.UserID(user), At: at.UTC(), Calls: peak}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	for _, b := range found {
		u.Busiest = append(u.Busiest, b)
	}
	slices.SortFunc(u.Busiest, func(a, b audit.Busiest) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.User, b.User))
	})
	u.Busiest = u.Busiest[:min(len(u.Busiest), maxBusiest)]
	return nil
}
