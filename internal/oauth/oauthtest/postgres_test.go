package oauthtest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"

	"latchkey/internal/oauth/oauthtest"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestPostgres(t *testing.T) {
	oauthtest.Run(t, func(t *testing.T) oauthtest.Fixture {
		db := postgrestest.New(t)
		return oauthtest.Fixture{Store: db, A: place(t, db, "acme"), B: place(t, db, "globex")}
	})
}

func place(t *testing.T, db *postgres.DB, slug string) oauthtest.Place {
	t.Helper()
	tenant, user := postgrestest.Tenant(t, db, slug)
	s, err := db.PutServer(t.Context(), tenant.ID, registry.Server{ID: tenants.NewServerID(), Slug: "orders", Kind: "echo", Title: "Orders", Pool: "default", Connection: json.RawMessage(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(slug))
	if _, _, err = db.Publish(t.Context(), tenant.ID, registry.Revision{
		ID: registry.RevisionID(tenants.RandomID("rv")), Server: s.ID, Hash: hex.EncodeToString(sum[:]), Kind: "echo", Spec: json.RawMessage(`{}`), CreatedBy: "test",
	}); err != nil {
		t.Fatal(err)
	}
	return oauthtest.Place{Tenant: tenant.ID, User: user.ID, Server: s.ID}
}
