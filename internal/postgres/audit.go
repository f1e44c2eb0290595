package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var _ audit.Store = (*DB)(nil)

// COPY is refused on tables with row-level security, so a group is one INSERT
// from arrays: one statement, one commit, whatever its size.
const insertAudit = `
	INSERT INTO audit_events (tenant_id, at, id, call_id, phase, writer_id, writer_seq, user_id, client_id, grant_id, session_id,
		server_id, server, revision_id, method, tool, definition_hash, scope, decision, reason, idempotency_key, arguments,
		outcome, category, code, latency_us, result_bytes, worker, lease_id, trace_id, notes)
	SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[],
		$12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[],
		$23::text[], $24::text[], $25::text[], $26::bigint[], $27::bigint[], $28::text[], $29::text[], $30::text[], $31::text[])`

// InsertAudit commits a group of records of any tenants.
func (db *DB) InsertAudit(ctx context.Context, events []audit.Event) (err error) {
	defer fault.Wrap(&err, "postgres.InsertAudit(%d)", len(events))
	n := len(events)
	var text [27][]string
	for i := range text {
		text[i] = make([]string, n)
	}
	at := make([]time.Time, n)
	seq, latency, size := make([]int64, n), make([]int64, n), make([]int64, n)
	for i := range events {
		e := &events[i]
		at[i], seq[i], latency[i], size[i] = e.At, e.WriterSeq, e.Latency.Microseconds(), int64(e.ResultBytes)
		decision := "refused"
		if e.Allowed {
			decision = "allowed"
		}
		for j, s := range [27]string{
			string(e.Tenant), e.ID, e.CallID, string(e.Phase), e.WriterID, string(e.User), e.Client, e.Grant, e.Session,
			string(e.ServerID), e.Server, string(e.Revision), e.Method, e.Tool, e.DefinitionHash, e.Scope, decision, e.Reason, e.IdempotencyKey, e.Arguments,
			string(e.State), e.Category, e.Code, e.Worker, e.LeaseID, e.TraceID, e.Notes.Text(),
		} {
			text[j][i] = storable(s)
		}
	}
	t := &text
	return db.recordAcross(ctx, insertAudit, t[0], at, t[1], t[2], t[3], t[4], seq, t[5], t[6], t[7], t[8],
		t[9], t[10], t[11], t[12], t[13], t[14], t[15], t[16], t[17], t[18], t[19],
		t[20], t[21], t[22], latency, size, t[23], t[24], t[25], t[26])
}

// recordAcross is AcrossTenants for one statement, in one round trip instead of
// three: every call waits for it. Records are written in groups across tenants;
// the role may insert and read here, and no more. Nobody may change a record.
func (db *DB) recordAcross(ctx context.Context, statement string, args ...any) error {
	b := &pgx.Batch{}
	b.Queue("BEGIN")
	b.Queue("SET LOCAL ROLE latchkey_across")
	b.Queue(statement, args...)
	b.Queue("COMMIT")
	res := db.pool.SendBatch(ctx, b)
	for range b.Len() {
		if _, err := res.Exec(); err != nil {
			// What follows was not run. The pool closes a connection that comes
			// back from within a transaction.
			res.Close()
			return translate(err)
		}
	}
	return away(res.Close())
}

// storable makes any string one that Postgres takes: UTF-8 without NUL.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

const auditColumns = `tenant_id, at, id, call_id, phase, writer_id, writer_seq, user_id, client_id, grant_id, session_id,
	server_id, server, revision_id, method, tool, definition_hash, scope, decision = 'allowed', reason, idempotency_key, arguments,
	outcome, category, code, latency_us, result_bytes, worker, lease_id, trace_id, notes`

// scanEvent reads auditColumns, and more columns that follow them.
func scanEvent(row pgx.CollectableRow, more ...any) (e audit.Event, err error) {
	var latency, size int64
	var notes string
	err = row.Scan(append([]any{&e.Tenant, &e.At, &e.ID, &e.CallID, &e.Phase, &e.WriterID, &e.WriterSeq, &e.User, &e.Client, &e.Grant, &e.Session,
		&e.ServerID, &e.Server, &e.Revision, &e.Method, &e.Tool, &e.DefinitionHash, &e.Scope, &e.Allowed, &e.Reason, &e.IdempotencyKey, &e.Arguments,
		&e.State, &e.Category, &e.Code, &latency, &size, &e.Worker, &e.LeaseID, &e.TraceID, &notes}, more...)...)
	e.Notes = audit.ParseNotes(notes)
	e.At, e.Latency, e.ResultBytes = e.At.UTC(), time.Duration(latency)*time.Microsecond, int(size)
	return e, err
}

// AuditEvents reads a tenant's records since a time, oldest first, at most
// limit of them.
func (db *DB) AuditEvents(ctx context.Context, t tenants.ID, since time.Time, limit int) (es []audit.Event, err error) {
	defer fault.Wrap(&err, "postgres.AuditEvents(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		es, err = many(ctx, tx, func(row pgx.CollectableRow) (audit.Event, error) { return scanEvent(row) }, `SELECT `+auditColumns+` FROM audit_events WHERE at >= $1 ORDER BY at, id LIMIT $2`, since, limit)
		return err
	})
	return es, err
}

// AddAuditPartitions makes the partitions of this month and the next two.
// Records of a month without one go to the default partition and are not lost;
// they move when their month's is made.
func (db *DB) AddAuditPartitions(ctx context.Context, now time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.AddAuditPartitions")
	now = now.UTC()
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		for i := range 3 {
			month := time.Date(now.Year(), now.Month()+time.Month(i), 1, 0, 0, 0, 0, time.UTC)
			if _, err := tx.Exec(ctx, `SELECT add_audit_partition($1)`, month); err != nil {
				return err
			}
		}
		return nil
	})
}
