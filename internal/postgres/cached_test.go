package postgres_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

// seenWithin is what the platform promises: every edge knows of a change.
const seenWithin = time.Second

// edge is a process with caches, and what it hears.
type edge struct {
	*postgres.Cached
	t     *testing.T
	heard chan postgres.Change
}

func newEdge(t *testing.T, url string) *edge {
	t.Helper()
	e := &edge{postgres.NewCached(postgrestest.Open(t, url)), t, make(chan postgres.Change, 10_000)}
	e.OnChange = func(c postgres.Change) { e.heard <- c }
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	e.await(postgres.Reconnected, 10*time.Second)
	return e
}

// await returns when a change of the topic was applied.
func (e *edge) await(topic string, within time.Duration) {
	e.t.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		select {
		case c := <-e.heard:
			if c.Topic == topic {
				return
			}
		case <-late.C:
			e.t.Fatalf("%q was not heard within %s", topic, within)
		}
	}
}

func TestChangesReachOtherEdges(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	root := connect(t, urls.Superuser)
	acme, globex := settle(t, db, "acme"), settle(t, db, "globex")
	e := newEdge(t, urls.App)
	ctx := t.Context()

	// state is everything that is cached about one tenant.
	state := func(p *place) string {
		t.Helper()
		ten, err := e.TenantBySlug(ctx, p.slug)
		check(t, err)
		a, err := e.Access(ctx, p.id, p.user.ID)
		check(t, err)
		active, err := e.GrantActive(ctx, p.id, p.grant.ID)
		check(t, err)
		number := 0
		if h, err := e.Hosted(ctx, p.id, p.server.Slug); err == nil {
			number = h.Revision.Number
		}
		off, err := e.Off(ctx, p.id)
		check(t, err)
		isOff := ""
		if w, ok := off.Of(switches.Call{Server: "orders", Tool: "say"}, began); ok {
			isOff = " off=" + w.Target.String()
		}
		return fmt.Sprintf("%s suspended=%v disabled=%v scopes=%d grant=%v revision=%d%s", ten.Name, ten.Suspended, a.User.Disabled, len(a.Scopes), active, number, isOff)
	}
	other := state(globex)
	say := switches.Switch{Target: switches.Target{Kind: switches.Tool, Server: "orders", Tool: "say"}, Reason: "test", By: "test", ByRole: "admin", CreatedAt: began}
	put := func(r tenants.Role) error { return db.PutRole(ctx, acme.id, r) }
	for _, step := range []struct {
		what, topic string
		change      func() error
		want        string
	}{
		{"nothing", "", nil, "ACME suspended=false disabled=false scopes=1 grant=true revision=1"},
		{"tenant renamed", "tenant", func() error { _, err := db.PutTenant(ctx, "acme", "Acme 2"); return err },
			"Acme 2 suspended=false disabled=false scopes=1 grant=true revision=1"},
		{"role narrowed", "access", func() error { return put(tenants.Role{Name: "member"}) },
			"Acme 2 suspended=false disabled=false scopes=0 grant=true revision=1"},
		{"role widened", "access", func() error {
			return put(tenants.Role{Name: "member", Scopes: []tenants.Scope{{Server: acme.server.ID, Name: "a"}, {Server: acme.server.ID, Name: "b"}}})
		}, "Acme 2 suspended=false disabled=false scopes=2 grant=true revision=1"},
		{"role taken from a person", "access", func() error { _, err := db.PutUser(ctx, acme.id, acme.user.Email, "Pat", nil); return err },
			"Acme 2 suspended=false disabled=false scopes=0 grant=true revision=1"},
		{"role given to a person", "access", func() error {
			_, err := db.PutUser(ctx, acme.id, acme.user.Email, "Pat", []string{"member"})
			return err
		},
			"Acme 2 suspended=false disabled=false scopes=2 grant=true revision=1"},
		{"person disabled", "access", func() error { return db.SetUserDisabled(ctx, acme.id, acme.user.ID, true) },
			"Acme 2 suspended=false disabled=true scopes=2 grant=true revision=1"},
		{"grant revoked", "grant", func() error { return db.RevokeGrant(ctx, acme.id, acme.grant.ID, "test", began) },
			"Acme 2 suspended=false disabled=true scopes=2 grant=false revision=1"},
		{"server published", "server", func() error { _, _, err := db.Publish(ctx, acme.id, revisionOf(acme.server.ID, "new")); return err },
			"Acme 2 suspended=false disabled=true scopes=2 grant=false revision=2"},
		{"role deleted", "access", func() error { return db.DeleteRole(ctx, acme.id, "member") },
			"Acme 2 suspended=false disabled=true scopes=0 grant=false revision=2"},
		{"tenant suspended", "tenant", func() error {
			_, err := root.Exec(ctx, `UPDATE tenants SET suspended_at = now() WHERE slug = 'acme'`)
			return err
		},
			"Acme 2 suspended=true disabled=true scopes=0 grant=false revision=2"},
		{"tool switched off", "switch", func() error { return second(db.PutSwitch(ctx, acme.id, say)) },
			"Acme 2 suspended=true disabled=true scopes=0 grant=false revision=2 off=tool:orders/say"},
		{"tool switched on", "switch", func() error { return second(db.LiftSwitch(ctx, acme.id, say.Target, "test", began)) },
			"Acme 2 suspended=true disabled=true scopes=0 grant=false revision=2"},
		{"server deleted", "server", func() error { return db.DeleteServer(ctx, acme.id, acme.server.ID) },
			"Acme 2 suspended=true disabled=true scopes=0 grant=false revision=0"},
	} {
		if step.change != nil {
			check(t, step.change())
			e.await(step.topic, seenWithin)
		}
		for range 2 { // from the source, then from memory
			if got := state(acme); got != step.want {
				t.Errorf("%s: %s\nwant %s", step.what, got, step.want)
			}
		}
	}
	if got := state(globex); got != other {
		t.Errorf("the other tenant: %s", got)
	}
}

// TestGrantEndsWithItsClientAndItsServer covers ends that nobody calls
// RevokeGrant for.
func TestGrantEndsWithItsClientAndItsServer(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	for slug, end := range map[string]func(*place) error{
		"acme":   func(p *place) error { return db.DeleteOAuthClient(t.Context(), p.id, p.client.ID, began) },
		"globex": func(p *place) error { return db.DeleteServer(t.Context(), p.id, p.server.ID) },
	} {
		p, e := settle(t, db, slug), newEdge(t, urls.App)
		if active, err := e.GrantActive(t.Context(), p.id, p.grant.ID); err != nil || !active {
			t.Fatal(active, err)
		}
		check(t, end(p))
		e.await("grant", seenWithin)
		if active, err := e.GrantActive(t.Context(), p.id, p.grant.ID); err != nil || active {
			t.Errorf("%s: still active, %v", slug, err)
		}
	}
}

func killListeners(t *testing.T, root *pgx.Conn) {
	t.Helper()
	exec(t, root, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'latchkey-listen' AND datname = current_database()`)
}

func TestLostConnectionBypassesCaches(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	root := connect(t, urls.Superuser)
	acme := settle(t, db, "acme")
	e := newEdge(t, urls.App)
	title := func() string {
		t.Helper()
		h, err := e.Hosted(t.Context(), acme.id, "orders")
		check(t, err)
		return h.Server.Title
	}
	title() // it is in memory now
	// Nobody can listen any more: the edge stays deaf.
	exec(t, root, `ALTER ROLE latchkey_app CONNECTION LIMIT 0`)
	t.Cleanup(func() { exec(t, root, `ALTER ROLE latchkey_app CONNECTION LIMIT -1`) })
	killListeners(t, root)
	e.await(postgres.Lost, seenWithin)
	for i := range 5 {
		want := strconv.Itoa(i)
		exec(t, root, `UPDATE servers SET title = $1 WHERE tenant_id = $2`, want, acme.id)
		if got := title(); got != want {
			t.Fatalf("a deaf edge served %q, the store holds %q", got, want)
		}
	}
	exec(t, root, `ALTER ROLE latchkey_app CONNECTION LIMIT -1`)
	e.await(postgres.Reconnected, 5*time.Second)
	if got := title(); got != "4" {
		t.Errorf("after reconnecting: %q", got)
	}
	_, err := db.PutServer(t.Context(), acme.id, registry.Server{Slug: "orders", Kind: "echo", Title: "Again"})
	check(t, err)
	e.await("server", seenWithin)
	if got := title(); got != "Again" {
		t.Errorf("a change after reconnecting: %q", got)
	}
}

func TestCachesAreBypassedWhenListeningEnds(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	acme := settle(t, db, "acme")
	c := postgres.NewCached(db)
	ctx, cancel := context.WithCancel(t.Context())
	hearing, ended := make(chan bool, 8), make(chan bool)
	c.OnChange = func(ch postgres.Change) { hearing <- ch.Topic == postgres.Reconnected }
	go func() { defer close(ended); c.Run(ctx) }()
	<-hearing
	if _, err := c.Access(t.Context(), acme.id, acme.user.ID); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-ended
	check(t, db.SetUserDisabled(t.Context(), acme.id, acme.user.ID, true))
	if a, err := c.Access(t.Context(), acme.id, acme.user.ID); err != nil || !a.User.Disabled {
		t.Errorf("a draining edge served a stale account: %+v, %v", a.User, err)
	}
}

// TestValuesAreKeptWhileChangesAreHeard changes rows behind the triggers'
// backs: what is in memory stays, so it is memory that answers.
func TestValuesAreKeptWhileChangesAreHeard(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	acme := settle(t, db, "acme")
	e := newEdge(t, urls.App)
	state := func() string {
		t.Helper()
		ten, err := e.TenantBySlug(t.Context(), "acme")
		check(t, err)
		a, err := e.Access(t.Context(), acme.id, acme.user.ID)
		check(t, err)
		h, err := e.Hosted(t.Context(), acme.id, "orders")
		check(t, err)
		active, err := e.GrantActive(t.Context(), acme.id, acme.grant.ID)
		check(t, err)
		off, err := e.Off(t.Context(), acme.id)
		check(t, err)
		_, isOff := off.Of(switches.Call{Client: acme.client.ID}, began)
		return fmt.Sprint(ten.Name, a.User.Name, h.Server.Title, active, isOff)
	}
	want := state()
	root := connect(t, urls.Superuser)
	exec(t, root, `SET session_replication_role = replica`)
	exec(t, root, `UPDATE tenants SET name = 'x'`)
	exec(t, root, `UPDATE users SET name = 'x'`)
	exec(t, root, `UPDATE servers SET title = 'x'`)
	exec(t, root, `UPDATE oauth_grants SET revoked_at = now()`)
	exec(t, root, `UPDATE switches SET lifted_at = now()`)
	if got := state(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	killListeners(t, root)
	e.await(postgres.Reconnected, 5*time.Second)
	if got := state(); got != "xxxfalse false" {
		t.Errorf("after the connection was lost: %s", got)
	}
}

// TestNothingOlderThanASecondIsServed has readers, a writer and a connection
// that is killed again and again.
func TestNothingOlderThanASecondIsServed(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	root := connect(t, urls.Superuser)
	acme := settle(t, db, "acme")
	e := newEdge(t, urls.App)
	const last = 60
	var committed [last + 2]atomic.Int64 // when each value was, in nanoseconds
	read := func() int {
		began := time.Now()
		ten, err := e.TenantBySlug(context.Background(), "acme")
		n, _ := strconv.Atoi(ten.Name)
		if next := committed[n+1].Load(); err != nil || next != 0 && began.UnixNano()-next > int64(seenWithin) {
			t.Errorf("read %d, %s after the next one; %v", n, time.Duration(began.UnixNano()-next), err)
		}
		return n
	}
	_, err := db.PutTenant(t.Context(), "acme", "0")
	check(t, err)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	defer func() { close(stop); readers.Wait() }()
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				read()
				if _, err := e.Access(context.Background(), acme.id, acme.user.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := 1; i <= last; i++ {
		if i%10 == 0 {
			if i > 10 {
				e.await(postgres.Reconnected, 5*time.Second)
			}
			killListeners(t, root)
			e.await(postgres.Lost, seenWithin)
		}
		_, err := db.PutTenant(t.Context(), "acme", strconv.Itoa(i))
		check(t, err)
		committed[i].Store(time.Now().UnixNano())
		for end := time.Now().Add(seenWithin); read() != i; {
			if time.Now().After(end) {
				t.Fatalf("%d is not seen after %s", i, seenWithin)
			}
		}
	}
}
