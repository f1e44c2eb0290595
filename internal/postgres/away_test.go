package postgres_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/audit"
	"latchkey/internal/embedded"
	"latchkey/internal/fault"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
)

// ownServer starts a server that the test may stop.
func ownServer(t *testing.T, dir string, port int) *embedded.Postgres {
	t.Helper()
	cache, err := embedded.CacheDir(os.Getenv(embedded.EnvCacheDir))
	check(t, err)
	pg, err := embedded.StartPostgres(t.Context(), embedded.PostgresOptions{
		StateDir: dir, CacheDir: cache, Port: port, Settings: map[string]string{"fsync": "off", "synchronous_commit": "off"},
	})
	check(t, err)
	return pg
}

// wantAway calls the store and expects to be told soon, and when to come back.
func wantAway(t *testing.T, db *postgres.DB, p *place) {
	t.Helper()
	for what, call := range map[string]func() error{
		"read":  func() error { _, err := db.TenantBySlug(context.Background(), p.slug); return err },
		"write": func() error { return db.SetPasswordHash(context.Background(), p.id, p.user.ID, "x") },
		"audit": func() error { return db.InsertAudit(context.Background(), []audit.Event{event(p.id, began)}) },
		"ping":  func() error { return db.Ping(context.Background()) },
	} {
		start := time.Now()
		err := call()
		if f := fault.Of(err); err == nil || f.Code != fault.StoreAway || f.RetryAfter <= 0 {
			t.Errorf("%s: got %v, want a store that is away and when to retry", what, err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s took %s", what, took)
		}
	}
}

func TestStoreAwayAndBack(t *testing.T) {
	// The server may run as another account, which has to get in.
	dir := t.TempDir()
	check(t, os.Chmod(filepath.Dir(dir), 0o711))
	pg := ownServer(t, dir, 0)
	t.Cleanup(func() { pg.Stop() })
	check(t, postgres.Bootstrap(t.Context(), pg.DSN("postgres"), "latchkey", "owner", "app"))
	_, _, err := postgres.Migrate(t.Context(), postgres.DatabaseURL(pg.Host(), pg.Port(), "latchkey", postgres.OwnerUser(), "owner"))
	check(t, err)
	app := postgres.DatabaseURL(pg.Host(), pg.Port(), "latchkey", postgres.AppUser(), "app")
	db := postgrestest.Open(t, app)
	p := settle(t, db, "acme")
	e := newEdge(t, app)

	// Transactions that are under way when it stops.
	var busy sync.WaitGroup
	started := make(chan struct{}, 4)
	for range 4 {
		busy.Go(func() {
			err := db.InTenant(context.Background(), p.id, func(ctx context.Context, tx pgx.Tx) error {
				started <- struct{}{}
				_, err := tx.Exec(ctx, `SELECT pg_sleep(60)`)
				return err
			})
			wantCode(t, "under way", err, fault.StoreAway)
		})
	}
	for range 4 {
		<-started
	}
	check(t, pg.Stop())
	busy.Wait()
	e.await(postgres.Lost, seenWithin)
	wantAway(t, db, p)
	if _, err := e.Access(t.Context(), p.id, p.user.ID); !fault.HasCode(err, fault.StoreAway) {
		t.Errorf("a deaf cache answered: %v", err)
	}

	pg = ownServer(t, dir, pg.Port())
	e.await(postgres.Reconnected, 10*time.Second)
	if _, err := db.TenantBySlug(t.Context(), "acme"); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	check(t, db.InsertAudit(t.Context(), []audit.Event{event(p.id, began)}))
	if a, err := e.Access(t.Context(), p.id, p.user.ID); err != nil || len(a.Scopes) != 1 {
		t.Errorf("after the restart: %v, %v", a, err)
	}

	// A server that takes connections and says nothing.
	fresh := postgrestest.Open(t, app)
	check(t, syscall.Kill(pg.Pid(), syscall.SIGSTOP))
	defer syscall.Kill(pg.Pid(), syscall.SIGCONT)
	start := time.Now()
	_, err = fresh.TenantBySlug(t.Context(), "acme")
	wantCode(t, "silent server", err, fault.StoreAway)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("a silent server held its caller for %s", took)
	}
}

// TestOneDeadConnectionMeansAll: after a restart, no call fails for each of the
// connections that the pool still holds.
func TestOneDeadConnectionMeansAll(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	p := settle(t, db, "acme")
	var all, ended sync.WaitGroup
	all.Add(8)
	for range 8 {
		ended.Go(func() {
			if err := db.InTenant(context.Background(), p.id, func(context.Context, pgx.Tx) error { all.Done(); all.Wait(); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	ended.Wait()
	exec(t, connect(t, urls.Superuser), `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'latchkey_app' AND datname = current_database()`)
	if _, err := db.Users(t.Context(), p.id); err != nil {
		t.Error(err)
	}
}

func TestBusyPoolSaysSo(t *testing.T) {
	db := single(t, postgrestest.Database(t).App)
	p := settle(t, db, "acme")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	check(t, db.InTenant(t.Context(), p.id, func(context.Context, pgx.Tx) error {
		_, err := db.Users(ctx, p.id) // there is no second connection
		wantCode(t, "no connection is free", err, fault.StoreAway)
		return nil
	}))
}

func TestErrorsOfTheServerHaveCodes(t *testing.T) {
	db := postgrestest.New(t)
	p := settle(t, db, "acme")
	in := func(sql string) error {
		return db.InTenant(t.Context(), p.id, func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, sql); return err })
	}
	for _, c := range []struct {
		sql  string
		code fault.Code
	}{
		{`INSERT INTO roles (tenant_id, name) VALUES (current_tenant(), 'member')`, fault.Conflict},
		{`INSERT INTO user_roles VALUES (current_tenant(), 'us222222222222222222', 'member')`, fault.NotFound},
		{`INSERT INTO roles (tenant_id, name) VALUES (current_tenant(), 'Not a slug')`, fault.InvalidRequest},
		{`UPDATE servers SET active_revision = 'rv222222222222222222'`, fault.NotFound}, // told at commit
		{`SET LOCAL statement_timeout = 10; SELECT pg_sleep(60)`, fault.StoreAway},
		{`SELECT pg_terminate_backend(pg_backend_pid())`, fault.StoreAway},
		{`DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$`, fault.Busy},
		{`SELECT 1/0`, fault.Unexpected},
		{`DELETE FROM tenants`, fault.Unexpected},
	} {
		if err := in(c.sql); err == nil || fault.Of(err).Code != c.code {
			t.Errorf("%s: got %v, want %s", c.sql, err, c.code)
		}
	}
	// Text that Postgres cannot hold is the caller's mistake, not the platform's.
	_, err := db.UserByEmail(t.Context(), p.id, "a\x00@b")
	wantCode(t, "NUL", err, fault.InvalidRequest)
	_, err = db.Hosted(t.Context(), p.id, "a\xff")
	wantCode(t, "not UTF-8", err, fault.InvalidRequest)
	_, err = db.PutTenant(t.Context(), "Not A Slug", "x")
	wantCode(t, "slug", err, fault.InvalidRequest)
	// What was said already is not said over.
	said := fault.New(fault.LimitReached, "no").Because(pgx.ErrNoRows)
	if err := db.InTenant(t.Context(), p.id, func(context.Context, pgx.Tx) error { return said }); !errors.Is(err, error(said)) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Users(ctx, p.id); !errors.Is(err, context.Canceled) || fault.HasCode(err, fault.StoreAway) {
		t.Errorf("a caller who left: %v", err)
	}
}
