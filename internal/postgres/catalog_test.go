package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
)

// These tests read Postgres's own catalogs, so that a later migration is held
// to the rules too. Each query lists what breaks its rule.
func TestCatalog(t *testing.T) {
	urls := postgrestest.Database(t)
	check(t, postgrestest.Open(t, urls.App).AddAuditPartitions(t.Context(), began))
	root := connect(t, urls.Superuser)
	exec(t, root, `CREATE TEMP VIEW tenant_tables AS
		SELECT c.oid, c.relname::text AS name, c.relkind, c.relispartition, c.relrowsecurity, c.relforcerowsecurity
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')`)
	if n := len(column[string](t, root, `SELECT name FROM tenant_tables WHERE relispartition`)); n != 4 {
		t.Errorf("%d partitions, want three months and the default", n)
	}

	for _, rule := range []struct{ name, violations string }{
		{"EveryTableIsATenantsOrListed", `
			SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
			AND oid NOT IN (SELECT oid FROM tenant_tables) AND relname NOT IN ('edges', 'grant_keys', 'usage_levels', 'goose_db_version', 'operators', 'operator_sessions', 'operator_keys', 'operator_tokens')`},
		{"TenantIDIsNeverNull", `
			SELECT name FROM tenant_tables JOIN pg_attribute ON attrelid = oid AND attname = 'tenant_id'
			WHERE NOT attnotnull AND name <> 'tenants'`}, // there it is generated from the primary key
		{"RowSecurityIsEnabledAndForced", `
			SELECT name FROM tenant_tables WHERE NOT (relrowsecurity AND relforcerowsecurity)`},
		{"ApplicationHasExactlyTheTenantPolicy", `
			SELECT name FROM tenant_tables t WHERE NOT relispartition AND 1 <> (
				SELECT count(*) FROM pg_policies p WHERE p.tablename = t.name AND p.roles && '{latchkey_app,public}'
				AND p.roles = '{latchkey_app}' AND p.permissive = 'PERMISSIVE' AND p.cmd = 'ALL'
				AND p.qual = '(tenant_id = current_tenant())' AND p.with_check = '(tenant_id = current_tenant())')`},
		{"NobodyElseHasAPolicy", `
			SELECT tablename || '.' || policyname FROM pg_policies
			WHERE roles <> '{latchkey_app}' AND roles <> '{latchkey_across}' OR roles = '{latchkey_app}' AND policyname <> 'tenant'`},
		{"PartitionsHaveNoDirectGrants", `
			SELECT t.name || ' to ' || coalesce(r.rolname, 'PUBLIC') FROM tenant_tables t JOIN pg_class c USING (oid),
			       LATERAL aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
			WHERE t.relispartition AND a.grantee <> c.relowner`},
		{"NothingIsGrantedToEverybody", `
			SELECT c.relname || ' ' || a.privilege_type FROM pg_class c, LATERAL aclexplode(c.relacl) a
			WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = 0`},
		{"ServingRolesOwnNothing", `
			SELECT r.rolname || ' owns ' || d.classid::regclass || ' ' || d.objid FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
			WHERE d.deptype = 'o' AND r.rolname IN ('latchkey_app', 'latchkey_across')`},
		{"RolesHaveNoPowers", `
			SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'latchkey\_%' AND rolname <> 'latchkey_root'
			AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication OR (rolinherit AND rolname <> 'latchkey_owner'))`},
		{"AcrossCannotLogIn", `SELECT rolname::text FROM pg_roles WHERE rolname = 'latchkey_across' AND rolcanlogin`},
		{"MembershipIsTakenNotInherited", `
			SELECT m.rolname || ' in ' || g.rolname FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
			WHERE m.rolname IN ('latchkey_app', 'latchkey_across', 'latchkey_owner')
			AND (m.rolname <> 'latchkey_app' OR g.rolname <> 'latchkey_across' OR a.admin_option OR pg_has_role(m.oid, g.oid, 'USAGE'))`},
		{"ServingRolesCannotCreate", `
			SELECT r FROM unnest('{latchkey_app,latchkey_across}'::text[]) r
			WHERE has_schema_privilege(r, 'public', 'CREATE') OR has_database_privilege(r, current_database(), 'CREATE, TEMP')`},
		{"EverybodyElseCannotConnect", `
			SELECT a.privilege_type FROM pg_database d, LATERAL aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee = 0`},
		{"ForeignKeysHoldTheTenant", `
			SELECT k.conrelid::regclass || '.' || k.conname FROM pg_constraint k
			JOIN tenant_tables a ON a.oid = k.conrelid JOIN tenant_tables b ON b.oid = k.confrelid
			WHERE k.contype = 'f' AND NOT EXISTS (
				SELECT FROM unnest(k.conkey, k.confkey) AS pair (here, there)
				JOIN pg_attribute h ON (h.attrelid, h.attnum) = (k.conrelid, pair.here)
				JOIN pg_attribute r ON (r.attrelid, r.attnum) = (k.confrelid, pair.there)
				WHERE h.attname = 'tenant_id' AND (r.attname = 'tenant_id' OR b.name = 'tenants' AND r.attname = 'id'))`},
		{"LentRightsAreNotEverybodys", `
			SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
			AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) WHERE grantee = 0))`},
		{"LentRightsHaveAFixedSearchPath", `
			SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
			AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%pg_temp')`},
		{"AuditRecordsCannotBeChanged", `
			SELECT r || ' ' || t.name || ' ' || p FROM tenant_tables t, unnest('{latchkey_app,latchkey_across}'::text[]) r, unnest('{UPDATE,DELETE,TRUNCATE}'::text[]) p
			WHERE t.name LIKE 'audit\_events%' AND has_table_privilege(r, t.oid, p)`},
		{"RevisionsCannotBeChanged", `
			SELECT r || ' ' || p FROM unnest('{latchkey_app,latchkey_across}'::text[]) r, unnest('{UPDATE,DELETE,TRUNCATE}'::text[]) p
			WHERE has_table_privilege(r, 'revisions', p)`},
		{"OperatorsAreNotReadAcrossTenants", `
			SELECT t || ' ' || p FROM unnest('{operators,operator_sessions,operator_keys,operator_tokens}'::text[]) t, unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) p
			WHERE has_table_privilege('latchkey_across', t, p)`},
		{"OperatorsKeysAreNotForgotten", `
			SELECT p FROM unnest('{DELETE,TRUNCATE}'::text[]) p WHERE has_table_privilege('latchkey_app', 'operator_keys', p)`},
		{"NobodyMayTruncate", `
			SELECT r || ' ' || name FROM tenant_tables, unnest('{latchkey_app,latchkey_across}'::text[]) r
			WHERE has_table_privilege(r, oid, 'TRUNCATE, REFERENCES, TRIGGER')`},
	} {
		t.Run(rule.name, func(t *testing.T) {
			for _, v := range column[string](t, root, rule.violations) {
				t.Error(v)
			}
		})
	}
}

func TestAuditRecordIsForEver(t *testing.T) {
	db := postgrestest.New(t)
	p := settle(t, db, "acme")
	doors := map[string]func(func(context.Context, pgx.Tx) error) error{
		"tenant": func(fn func(context.Context, pgx.Tx) error) error { return db.InTenant(t.Context(), p.id, fn) },
		"across": func(fn func(context.Context, pgx.Tx) error) error { return db.AcrossTenants(t.Context(), "test", fn) },
	}
	for door, through := range doors {
		for _, sql := range []string{
			`UPDATE audit_events SET reason = 'other'`, `DELETE FROM audit_events`, `TRUNCATE audit_events`,
			`UPDATE audit_events_default SET reason = 'other'`, `DELETE FROM audit_events_default`, `SELECT * FROM audit_events_default`,
			`ALTER TABLE audit_events DISABLE ROW LEVEL SECURITY`, `DROP TABLE audit_events_default`,
			`UPDATE revisions SET spec = '{}'`, `DELETE FROM revisions`,
		} {
			err := through(func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, sql); return err })
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != "42501" {
				t.Errorf("%s: %s: got %v, want permission denied", door, sql, err)
			}
		}
	}
	es, err := db.AuditEvents(t.Context(), p.id, began, 10)
	if err != nil || len(es) != 1 {
		t.Errorf("%d records, %v", len(es), err)
	}
}

func TestBootstrapTakesInheritanceBack(t *testing.T) {
	urls := postgrestest.Database(t)
	root := connect(t, urls.Superuser)
	if column[int](t, root, `SELECT current_setting('server_version_num')::int`)[0] < 160000 {
		t.Log("before 16 a membership has no INHERIT of its own")
		return
	}
	exec(t, root, `GRANT latchkey_across TO latchkey_app WITH INHERIT TRUE`)
	var name string
	check(t, root.QueryRow(t.Context(), `SELECT current_database()`).Scan(&name))
	check(t, postgres.Bootstrap(t.Context(), urls.Superuser, name, "owner-password-of-tests", "app-password-of-tests"))
	if column[bool](t, root, `SELECT pg_has_role('latchkey_app', 'latchkey_across', 'USAGE')`)[0] {
		t.Error("the serving role sees all tenants in every transaction")
	}
}
