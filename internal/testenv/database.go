package testenv

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Database makes an empty database and returns the superuser's DSN for it. It
// is dropped after the test, whoever is still connected. Roles are shared by
// all databases of the server: a test that makes some drops them, or names
// them like nobody else.
func Database(t testing.TB) string {
	t.Helper()
	return DatabaseLike(t, "template1")
}

// DatabaseLike is Database with what is in another one, to which nobody may be
// connected meanwhile. Rights on the database itself are not copied.
func DatabaseLike(t testing.TB, template string) string {
	t.Helper()
	p := Postgres(t)
	name := "test_" + strings.ToLower(rand.Text()[:16])
	execute(t, p.DSN("postgres"), "CREATE DATABASE "+name+" TEMPLATE "+template)
	t.Cleanup(func() { execute(t, p.DSN("postgres"), "DROP DATABASE "+name+" WITH (FORCE)") })
	return p.DSN(name)
}

// Template makes an empty database for DatabaseLike, which stays as long as the
// test process, and returns the superuser's DSN for it.
func Template(t testing.TB, name string) string {
	t.Helper()
	p := Postgres(t)
	execute(t, p.DSN("postgres"), "CREATE DATABASE "+name)
	return p.DSN(name)
}

func execute(t testing.TB, dsn, sql string) {
	t.Helper()
	// Cleanups run after the test's own context has ended.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatalf("connect to the test server: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
