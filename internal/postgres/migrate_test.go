package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/secret"
	"latchkey/internal/testenv"
	"latchkey/migrations"
)

// bare makes a database with roles and no schema.
func bare(t *testing.T, owner, app secret.Text) postgrestest.URLs {
	t.Helper()
	super := testenv.Database(t)
	check(t, postgres.Bootstrap(t.Context(), super, databaseOf(t, super), owner, app))
	pg := testenv.Postgres(t)
	return postgrestest.URLs{
		Superuser: super,
		Owner:     postgres.DatabaseURL(pg.Host(), pg.Port(), databaseOf(t, super), postgres.OwnerUser(), owner),
		App:       postgres.DatabaseURL(pg.Host(), pg.Port(), databaseOf(t, super), postgres.AppUser(), app),
	}
}

func databaseOf(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	check(t, err)
	return strings.TrimPrefix(u.Path, "/")
}

func wantText(t *testing.T, what string, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %q does not say %q", what, err, p)
		}
	}
}

func TestMigrateFromSeveralProcesses(t *testing.T) {
	urls := bare(t, "o", "a")
	db := postgrestest.Open(t, urls.App)
	wantText(t, "no schema", db.CheckSchema(t.Context()), "no schema yet", "platform migrate")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, to, err := postgres.Migrate(context.Background(), urls.Owner); err != nil || to == 0 {
				t.Errorf("to %d, %v", to, err)
			}
		})
	}
	wg.Wait()
	check(t, db.CheckSchema(t.Context()))
	from, to, err := postgres.Migrate(t.Context(), urls.Owner)
	if err != nil || from != to {
		t.Errorf("migrated already: from %d to %d, %v", from, to, err)
	}
	root := connect(t, urls.Superuser)
	if n := column[int](t, root, `SELECT count(*) FROM goose_db_version WHERE version_id > 0`)[0]; n != int(to) {
		t.Errorf("%d steps noted, want %d", n, to)
	}

	exec(t, root, `DELETE FROM goose_db_version WHERE version_id = $1`, to)
	wantText(t, "old schema", db.CheckSchema(t.Context()), fmt.Sprintf("at schema version %d, this binary needs %d", to-1, to), "platform migrate")

	exec(t, root, `INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, true), (999, true)`, to)
	_, _, err = postgres.Migrate(t.Context(), urls.Owner)
	wantText(t, "newer database", err, "at schema version 999", fmt.Sprintf("knows up to %d", to), "run the newer binary")
	// A step works with the code before it: an older binary may serve on.
	check(t, db.CheckSchema(t.Context()))
}

func TestFailedStepIsRolledBackAndNamed(t *testing.T) {
	urls := bare(t, "o", "a")
	sqldb, err := sql.Open("pgx", urls.Owner)
	check(t, err)
	defer sqldb.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, sqldb, migrations.Files)
	check(t, err)
	_, err = p.UpTo(t.Context(), 3)
	check(t, err)
	owner := connect(t, urls.Owner)
	// The fourth step makes this function after its tables.
	exec(t, owner, `CREATE FUNCTION add_audit_partition(month date) RETURNS void LANGUAGE sql AS ''`)
	from, _, err := postgres.Migrate(t.Context(), urls.Owner)
	wantText(t, "failing step", err, "00004_audit.sql", "rolled back", "add_audit_partition", "run `platform migrate` again")
	if from != 3 {
		t.Errorf("from %d", from)
	}
	if left := column[string](t, owner, `SELECT relname::text FROM pg_class WHERE relname LIKE 'audit%'`); len(left) > 0 {
		t.Errorf("half of the step is left: %v", left)
	}
	wantText(t, "half way", postgrestest.Open(t, urls.App).CheckSchema(t.Context()), "at schema version 3")
	exec(t, owner, `DROP FUNCTION add_audit_partition`)
	if from, _, err := postgres.Migrate(t.Context(), urls.Owner); err != nil || from != 3 {
		t.Errorf("from %d, %v", from, err)
	}
	check(t, postgrestest.Open(t, urls.App).CheckSchema(t.Context()))
}

func TestFirstStepFails(t *testing.T) {
	urls := bare(t, "o", "a")
	exec(t, connect(t, urls.Owner), `CREATE TABLE users (id int)`)
	_, _, err := postgres.Migrate(t.Context(), urls.Owner)
	wantText(t, "failing step", err, "00001_tenancy.sql", "users")
	wantText(t, "nothing there", postgrestest.Open(t, urls.App).CheckSchema(t.Context()), "no schema yet")
}

func TestMigrateAsTheWrongRole(t *testing.T) {
	urls := bare(t, "o", "a")
	_, _, err := postgres.Migrate(t.Context(), urls.App)
	wantText(t, "as the serving role", err, "permission denied")
	if _, _, err := postgres.Migrate(t.Context(), strings.Replace(urls.Owner, ":o@", ":secret-password@", 1)); err == nil || strings.Contains(err.Error(), "secret-password") {
		t.Errorf("wrong password: %v", err)
	}
}

func TestBootstrapAgainChangesPasswords(t *testing.T) {
	first := bare(t, "owner-1", "app-1")
	name := databaseOf(t, first.Superuser)
	for range 2 {
		check(t, postgres.Bootstrap(t.Context(), first.Superuser, name, `owner'2\`, `app"2 %`))
	}
	pg := testenv.Postgres(t)
	for user, password := range map[string]secret.Text{postgres.OwnerUser(): `owner'2\`, postgres.AppUser(): `app"2 %`} {
		connect(t, postgres.DatabaseURL(pg.Host(), pg.Port(), name, user, password))
	}
	for _, old := range []string{first.Owner, first.App} {
		if conn, err := pgx.Connect(t.Context(), old); err == nil {
			conn.Close(t.Context())
			t.Error("an old password still works")
		}
	}
}

// TestBootstrapOfSeveralDatabases meets in the catalogs that they share.
func TestBootstrapOfSeveralDatabases(t *testing.T) {
	supers := []string{testenv.Database(t), testenv.Database(t), testenv.Database(t)}
	var wg sync.WaitGroup
	for i := range 12 {
		super := supers[i%len(supers)]
		name := databaseOf(t, super)
		wg.Go(func() {
			for range 5 {
				if err := postgres.Bootstrap(context.Background(), super, name, "o", "a"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestDatabaseURL(t *testing.T) {
	for _, c := range []struct{ host, want string }{
		{"127.0.0.1", "postgres://u:p%40%2F@127.0.0.1:5432/db?sslmode=disable"},
		{"::1", "postgres://u:p%40%2F@[::1]:5432/db?sslmode=disable"},
		{"db.example.com", "postgres://u:p%40%2F@db.example.com:5432/db"},
	} {
		got := postgres.DatabaseURL(c.host, 5432, "db", "u", "p@/")
		if got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
		if cfg, err := pgx.ParseConfig(got); err != nil || cfg.Password != "p@/" || cfg.Host != c.host {
			t.Errorf("%s is read as %+v, %v", got, cfg, err)
		}
	}
	for _, bad := range []string{"postgres://u:hunter2@host:port/db", "host=x port=y password=hunter2", "postgres://u:hunter2@%zz/"} {
		if _, err := postgres.Open(t.Context(), postgres.Options{URL: bad}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}
