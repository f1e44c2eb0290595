package postgres_test

import (
	"testing"
	"time"

	"latchkey/internal/accounts/accountstest"
	"latchkey/internal/approvals/approvalstest"
	"latchkey/internal/audit/audittest"
	"latchkey/internal/events/eventstest"
	"latchkey/internal/health/healthtest"
	"latchkey/internal/idempotency/idempotencytest"
	"latchkey/internal/peers/peerstest"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/registry/registrytest"
	"latchkey/internal/switches/switchestest"
	"latchkey/internal/tasks/taskstest"
	"latchkey/internal/tenants"
	"latchkey/internal/tenants/tenantstest"
)

// The suite of oauth.Store runs in internal/oauth/oauthtest.

func TestTenantsStore(t *testing.T) {
	tenantstest.Run(t, func(t *testing.T) tenantstest.Fixture {
		db := postgrestest.New(t)
		return tenantstest.Fixture{Store: db, AddServer: func(t *testing.T, id tenants.ID) tenants.ServerID {
			s, err := db.PutServer(t.Context(), id, registry.Server{Slug: tenants.RandomID("sv"), Kind: "echo", Title: "T"})
			check(t, err)
			return s.ID
		}}
	})
}

func TestRegistryStore(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.Fixture {
		db := postgrestest.New(t)
		return registrytest.Fixture{Store: db, AddTenant: func(t *testing.T) tenants.ID {
			ten, err := db.PutTenant(t.Context(), tenants.RandomID("tt"), "T")
			check(t, err)
			return ten.ID
		}}
	})
}

func TestOffersStore(t *testing.T) {
	registrytest.RunOffers(t, func(t *testing.T) registrytest.OffersFixture {
		db := postgrestest.New(t)
		return registrytest.OffersFixture{Store: db, Registry: db, AddTenant: func(t *testing.T) tenants.ID {
			ten, err := db.PutTenant(t.Context(), tenants.RandomID("tt"), "T")
			check(t, err)
			return ten.ID
		}}
	})
}

func TestHealthStore(t *testing.T) {
	healthtest.Run(t, func(t *testing.T) healthtest.Fixture {
		db := postgrestest.New(t)
		f := healthtest.Fixture{Store: db}
		for _, slug := range []string{"acme", "globex"} {
			ten, _ := postgrestest.Tenant(t, db, slug)
			s, err := db.PutServer(t.Context(), ten.ID, registry.Server{Slug: "orders", Kind: "echo", Title: "T"})
			check(t, err)
			f.Tenants, f.Servers = append(f.Tenants, ten.ID), append(f.Servers, s.ID)
		}
		return f
	})
}

func TestSwitchesStore(t *testing.T) {
	switchestest.Run(t, func(t *testing.T) switchestest.Fixture {
		db := postgrestest.New(t)
		acme, _ := postgrestest.Tenant(t, db, "acme")
		globex, _ := postgrestest.Tenant(t, db, "globex")
		return switchestest.Fixture{Store: db, Tenant: acme.ID, Other: globex.ID}
	})
}

func TestEventsStore(t *testing.T) {
	eventstest.Run(t, func(t *testing.T) eventstest.Fixture {
		db := postgrestest.New(t)
		acme, _ := postgrestest.Tenant(t, db, "acme")
		globex, _ := postgrestest.Tenant(t, db, "globex")
		return eventstest.Fixture{Store: db, Tenant: acme.ID, Other: globex.ID}
	})
}

func TestAuditStore(t *testing.T) {
	audittest.Run(t, func(t *testing.T) audittest.Fixture {
		db := postgrestest.New(t)
		acme, pat := postgrestest.Tenant(t, db, "acme")
		globex, _ := postgrestest.Tenant(t, db, "globex")
		return audittest.Fixture{Store: db, Tenant: acme.ID, Other: globex.ID, User: pat.ID, Email: pat.Email}
	})
}

func TestCallStore(t *testing.T) {
	idempotencytest.Run(t, func(t *testing.T) idempotencytest.Fixture {
		db := postgrestest.New(t)
		acme, _ := postgrestest.Tenant(t, db, "acme")
		globex, _ := postgrestest.Tenant(t, db, "globex")
		return idempotencytest.Fixture{Store: db, A: acme.ID, B: globex.ID}
	})
}

func TestApprovalsStore(t *testing.T) {
	approvalstest.Run(t, func(t *testing.T) approvalstest.Fixture {
		db := postgrestest.New(t)
		acme, pat := postgrestest.Tenant(t, db, "acme")
		globex, _ := postgrestest.Tenant(t, db, "globex")
		s, err := db.PutServer(t.Context(), acme.ID, registry.Server{Slug: "orders", Kind: "echo", Title: "T"})
		check(t, err)
		check(t, db.PutRole(t.Context(), acme.ID, tenants.Role{Name: "lead"}))
		f := approvalstest.Fixture{Store: db, Tenant: acme.ID, Elsewhere: globex.ID, Server: s.ID, Slug: s.Slug, Asker: pat}
		f.Lead, err = db.PutUser(t.Context(), acme.ID, "lena@acme.test", "Lena", []string{"lead"})
		check(t, err)
		f.Other, err = db.PutUser(t.Context(), acme.ID, "olaf@acme.test", "Olaf", []string{"lead"})
		check(t, err)
		f.TakeRole = func(t *testing.T, u tenants.User) {
			_, err := db.PutUser(t.Context(), acme.ID, u.Email, u.Name, nil)
			check(t, err)
		}
		return f
	})
}

func TestEdgesStore(t *testing.T) {
	urls := postgrestest.Database(t)
	owner := connect(t, urls.Superuser)
	peerstest.Run(t, peerstest.Fixture{Store: postgrestest.Open(t, urls.App), Age: func(id string, by time.Duration) {
		exec(t, owner, `UPDATE edges SET seen_at = seen_at - make_interval(secs => $2) WHERE id = $1`, id, by.Seconds())
	}})
}

func TestTaskStore(t *testing.T) {
	taskstest.Run(t, func(t *testing.T) taskstest.Fixture {
		db := postgrestest.New(t)
		acme, pat := postgrestest.Tenant(t, db, "acme")
		globex, gus := postgrestest.Tenant(t, db, "globex")
		serverOf := func(id tenants.ID) registry.ServerID {
			s, err := db.PutServer(t.Context(), id, registry.Server{Slug: "orders", Kind: "echo", Title: "T"})
			check(t, err)
			return s.ID
		}
		return taskstest.Fixture{
			Store: db, Calls: db, Tenant: acme.ID, Server: serverOf(acme.ID), User: pat, Elsewhere: globex.ID, ElsewhereOf: serverOf(globex.ID), ElsewhereWho: gus,
			Suspend: func(t *testing.T, id tenants.ID) {
				yes := true
				_, err := db.UpdateTenant(t.Context(), id, tenants.TenantChange{Suspended: &yes})
				check(t, err)
			},
		}
	})
}

func TestAccountsStore(t *testing.T) {
	accountstest.Run(t, func(t *testing.T) accountstest.Fixture {
		db := postgrestest.New(t)
		acme, pat := postgrestest.Tenant(t, db, "acme")
		globex, _ := postgrestest.Tenant(t, db, "globex")
		s, err := db.PutServer(t.Context(), acme.ID, registry.Server{Slug: "wiki", Kind: "remote", Title: "Wiki"})
		check(t, err)
		return accountstest.Fixture{Store: db, Tenant: acme.ID, Elsewhere: globex.ID, Server: s.ID, User: pat.ID}
	})
}
