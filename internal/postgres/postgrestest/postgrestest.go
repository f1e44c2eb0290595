// Package postgrestest gives tests a migrated platform database of their own,
// on the real server of testenv, seen through the serving role.
package postgrestest

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"

	"latchkey/internal/postgres"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
)

const ownerPassword, appPassword = secret.Text("owner-password-of-tests"), secret.Text("app-password-of-tests")

// URLs of one test database.
type URLs struct{ Superuser, Owner, App string }

// template is migrated once a test process; each test's database is a copy.
var template struct {
	sync.Once
	err error
}

const templateName = "latchkey_template"

// Database makes a migrated database and returns how to reach it.
func Database(t testing.TB) URLs {
	t.Helper()
	ctx := context.Background()
	template.Do(func() {
		super := testenv.Template(t, templateName)
		if template.err = postgres.Bootstrap(ctx, super, templateName, ownerPassword, appPassword); template.err == nil {
			_, _, template.err = postgres.Migrate(ctx, urlsOf(t, super, templateName).Owner)
		}
	})
	if template.err != nil {
		t.Fatal(template.err)
	}
	super := testenv.DatabaseLike(t, templateName)
	u, err := url.Parse(super)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	// Who may connect is not part of the copy.
	if err := postgres.Bootstrap(ctx, super, name, ownerPassword, appPassword); err != nil {
		t.Fatal(err)
	}
	return urlsOf(t, super, name)
}

func urlsOf(t testing.TB, super, name string) URLs {
	pg := testenv.Postgres(t)
	return URLs{
		Superuser: super,
		Owner:     postgres.DatabaseURL(pg.Host(), pg.Port(), name, postgres.OwnerUser(), ownerPassword),
		App:       postgres.DatabaseURL(pg.Host(), pg.Port(), name, postgres.AppUser(), appPassword),
	}
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
