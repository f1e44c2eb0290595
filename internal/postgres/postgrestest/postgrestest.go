// Package postgrestest gives tests a migrated platform database of their own,
// on the real server of testenv, seen through the serving role.
package postgrestest

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"latchkey/internal/postgres"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
)

const ownerPassword, appPassword = secret.Text("owner-password-of-tests"), secret.Text("app-password-of-tests")

// URLs of one test database.
type URLs struct{ Superuser, Owner, App string }

// Database makes a migrated database and returns how to reach it.
func Database(t testing.TB) URLs {
	t.Helper()
	super := testenv.Database(t)
	u, err := url.Parse(super)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	if err := postgres.Bootstrap(context.Background(), super, name, ownerPassword, appPassword); err != nil {
		t.Fatal(err)
	}
	pg := testenv.Postgres(t)
	urls := URLs{
		Superuser: super,
		Owner:     postgres.DatabaseURL(pg.Host(), pg.Port(), name, postgres.OwnerUser(), ownerPassword),
		App:       postgres.DatabaseURL(pg.Host(), pg.Port(), name, postgres.AppUser(), appPassword),
	}
	if _, _, err := postgres.Migrate(context.Background(), urls.Owner); err != nil {
		t.Fatal(err)
	}
	return urls
}

// New makes a migrated database and opens it.
func New(t testing.TB) *postgres.DB {
	t.Helper()
	return Open(t, Database(t).App)
}

// Open opens a database until the test ends.
func Open(t testing.TB, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(context.Background(), postgres.Options{URL: url, MaxConns: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// Tenant adds a tenant with one person, who holds the role `member`.
func Tenant(t testing.TB, db *postgres.DB, slug string) (tenants.Tenant, tenants.User) {
	t.Helper()
	ctx := context.Background()
	ten, err := db.PutTenant(ctx, slug, strings.ToUpper(slug))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.PutRole(ctx, ten.ID, tenants.Role{Name: "member"}); err != nil {
		t.Fatal(err)
	}
	user, err := db.PutUser(ctx, ten.ID, "pat@"+slug+".test", "Pat", []string{"member"})
	if err != nil {
		t.Fatal(err)
	}
	return ten, user
}
