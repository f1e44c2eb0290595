package vault

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/testenv"
)

func get(t testing.TB, l *Leases, r LeaseRequest) (Lease, func()) {
	t.Helper()
	lease, release, err := l.Get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return lease, release
}

func TestReadLeaseIsShared(t *testing.T) {
	s := newSite(t)
	leases := newTestLeases(t, LeasesConfig{})
	var wg sync.WaitGroup
	ids := make([]string, 20)
	for i := range ids {
		r := s.request(t, registry.ReadAccess)
		wg.Go(func() {
			lease, release, err := leases.Get(t.Context(), r)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			ids[i] = lease.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("concurrent reads got different credentials: %q", ids)
		}
	}
	lease, release := get(t, leases, s.request(t, registry.ReadAccess))
	defer release()
	if !strings.HasPrefix(lease.Username, "lk_"+string(s.tenant)+"_shared_") || len(lease.Username) > 63 {
		t.Errorf("user name %q", lease.Username)
	}
	conn, err := s.login(t.Context(), lease)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var n int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM notes`).Scan(&n); err != nil || n != 1 {
		t.Errorf("read: %d, %v", n, err)
	}
	for _, sql := range []string{`INSERT INTO notes (note) VALUES ('x')`, `SET SESSION default_transaction_read_only = off; INSERT INTO notes (note) VALUES ('x')`, `SET ROLE ` + s.db.WriteGroups[0]} {
		if _, err := conn.Exec(t.Context(), sql); err == nil {
			t.Errorf("a credential for reading may %s", sql)
		}
	}
}

func TestPerUserLeasesAreSeparate(t *testing.T) {
	s := newSite(t, func(d *Database) { d.PerUser = true })
	leases := newTestLeases(t, LeasesConfig{})
	r1, g2 := s.request(t, registry.ReadAccess), s.grant(registry.ReadAccess)
	r1.User = s.user
	g2.User = "us22222222222222222u"
	r2 := requestFor(t, g2)
	r2.User = g2.User
	one, release := get(t, leases, r1)
	defer release()
	two, release := get(t, leases, r2)
	defer release()
	if one.ID == two.ID || !strings.Contains(one.Username, string(s.user)) || !strings.Contains(two.Username, string(g2.User)) {
		t.Errorf("%s and %s", one.Username, two.Username)
	}
	// A grant of one user does not open the cached credential of another.
	r3 := s.request(t, registry.ReadAccess)
	r3.User = g2.User
	if _, _, err := leases.Get(t.Context(), r3); !errors.Is(err, ErrRefused) {
		t.Errorf("the grant of one user for the credential of another: %v", err)
	}
}

func TestWriteLeaseRevokedAfterCall(t *testing.T) {
	s := newSite(t)
	leases := newTestLeases(t, LeasesConfig{})
	lease, release := get(t, leases, s.request(t, registry.WriteAccess))
	other, releaseOther := get(t, leases, s.request(t, registry.WriteAccess))
	defer releaseOther()
	if lease.ID == other.ID {
		t.Error("two writing calls share a credential")
	}
	if !strings.Contains(lease.Username, string(s.user)) {
		t.Errorf("user name %q does not tell the user", lease.Username)
	}
	conn, err := s.login(t.Context(), lease)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `INSERT INTO notes (note) VALUES ('second')`); err != nil {
		t.Fatal(err)
	}
	release()
	release() // a second time is nothing
	select {
	case <-lease.Expired:
	default:
		t.Error("Expired is open after the call")
	}
	eventually(t, "the database user of the call is dropped", func() bool { return !s.hasRole(t, lease.Username) })
	if _, err := conn.Exec(t.Context(), `INSERT INTO notes (note) VALUES ('third')`); err == nil {
		t.Error("the session outlived its credential")
	}
	if !s.hasRole(t, other.Username) {
		t.Error("the credential of the other call went with it")
	}
}

func TestCachedWriteLeaseIsKept(t *testing.T) {
	s := newSite(t, func(d *Database) { d.CachedWrites = true })
	leases := newTestLeases(t, LeasesConfig{})
	one, release := get(t, leases, s.request(t, registry.WriteAccess))
	release()
	two, release := get(t, leases, s.request(t, registry.WriteAccess))
	defer release()
	if one.ID != two.ID || !s.hasRole(t, one.Username) {
		t.Error("a write credential that may be kept was not reused")
	}
}

func TestLeaseReplacedBeforeItEnds(t *testing.T) {
	s := newSite(t, func(d *Database) { d.TTL = 12 * time.Second })
	leases := newTestLeases(t, LeasesConfig{})
	first, releaseFirst := get(t, leases, s.request(t, registry.ReadAccess))
	same, release := get(t, leases, s.request(t, registry.ReadAccess))
	if same.ID != first.ID {
		t.Fatal("a fresh credential was replaced")
	}
	release()
	<-time.After(time.Until(first.Until) + 10*time.Millisecond) // two thirds of its life

	// The call that comes now is served by the old one, without a wait, and
	// buys the new one.
	old, release := get(t, leases, s.request(t, registry.ReadAccess))
	if old.ID != first.ID {
		t.Error("the old credential did not serve while the new one was fetched")
	}
	release()
	var next Lease
	eventually(t, "a new credential serves", func() bool {
		l, release := get(t, leases, s.request(t, registry.ReadAccess))
		release()
		next = l
		return l.ID != first.ID
	})
	select {
	case <-first.Expired:
		t.Error("the old credential ended under a call that has it")
	default:
	}
	if conn, err := s.login(t.Context(), first); err != nil {
		t.Errorf("the old credential is dead before its end: %v", err)
	} else {
		conn.Close(t.Context())
	}
	releaseFirst()
	<-first.Expired
	eventually(t, "the old user is dropped", func() bool { return !s.hasRole(t, first.Username) })
	if !s.hasRole(t, next.Username) {
		t.Error("the new user went with the old")
	}
}

func TestLeaseExpiresWhileInUse(t *testing.T) {
	s := newSite(t, func(d *Database) { d.TTL = 5 * time.Second })
	leases := newTestLeases(t, LeasesConfig{})
	lease, release := get(t, leases, s.request(t, registry.ReadAccess))
	defer release()
	<-lease.Expired
	next, release := get(t, leases, s.request(t, registry.ReadAccess))
	defer release()
	if next.ID == lease.ID {
		t.Error("an expired credential was handed out")
	}
}

func TestVaultAwayServesCachedThenDownstreamThenRecovers(t *testing.T) {
	s := newSite(t, func(d *Database) { d.TTL = 5 * time.Second })
	g := newGate(t, testenv.Vault(t).Addr())
	leases := newTestLeases(t, LeasesConfig{Client: workerClientAt(t, g.addr())})
	first, release := get(t, leases, s.request(t, registry.ReadAccess))
	release()
	g.setCut(true)

	<-time.After(time.Until(first.Until) + 10*time.Millisecond)
	for range 5 {
		lease, release := get(t, leases, s.request(t, registry.ReadAccess))
		if lease.ID != first.ID {
			t.Fatal("another credential while Vault is away")
		}
		release()
	}
	<-first.Expired
	began := time.Now()
	for range 5 {
		_, _, err := leases.Get(t.Context(), s.request(t, registry.ReadAccess))
		f := fault.Of(err)
		if f.Code != fault.CredentialsAway || f.RetryAfter <= 0 || f.Code.Category != fault.Downstream {
			t.Fatalf("with Vault away: %v", err)
		}
		for _, internal := range []string{"127.0.0.1", "Vault", "vault", "http", string(s.tenant)} {
			if strings.Contains(f.Message, internal) {
				t.Errorf("the message tells %q: %s", internal, f.Message)
			}
		}
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("five calls took %s to learn that Vault is away", d)
	}
	g.setCut(false)
	eventually(t, "credentials are issued again", func() bool {
		_, release, err := leases.Get(t.Context(), s.request(t, registry.ReadAccess))
		if err == nil {
			release()
		}
		return err == nil
	})
}

func TestTenantsDatabaseAwayDoesNotStopOthers(t *testing.T) {
	broken, fine := newSite(t), newSite(t)
	// The account loses its way in after it was set up.
	broken.superuser(t, `ALTER ROLE `+broken.db.AdminUser+` NOLOGIN`)
	defer broken.superuser(t, `ALTER ROLE `+broken.db.AdminUser+` LOGIN`)
	if _, err := rootClient(t).own(t.Context(), "POST", "database/reset/"+configName(broken.tenant, broken.server), nil); err != nil {
		t.Log(err) // it says so when the new connection fails
	}
	leases := newTestLeases(t, LeasesConfig{})
	for range 2 * breakerFailures {
		_, _, err := leases.Get(t.Context(), broken.request(t, registry.ReadAccess))
		if !fault.HasCode(err, fault.UpstreamAway) || strings.Contains(fault.Of(err).Message, broken.db.Host) {
			t.Fatalf("a tenant's database that refuses Vault: %v", err)
		}
	}
	_, release := get(t, leases, fine.request(t, registry.ReadAccess))
	release()
}

func TestLeasesOfATenantAreBounded(t *testing.T) {
	a, b := newSite(t), newSite(t)
	leases := newTestLeases(t, LeasesConfig{PerTenant: 2})
	_, release := get(t, leases, a.request(t, registry.ReadAccess)) // cached, and unused from here on
	release()
	_, release1 := get(t, leases, a.request(t, registry.WriteAccess))
	_, release2 := get(t, leases, a.request(t, registry.WriteAccess)) // instead of the unused one
	_, _, err := leases.Get(t.Context(), a.request(t, registry.WriteAccess))
	if !fault.HasCode(err, fault.Busy) || fault.Of(err).RetryAfter <= 0 {
		t.Errorf("over the bound: %v", err)
	}
	_, releaseB := get(t, leases, b.request(t, registry.WriteAccess)) // another tenant's share is its own
	releaseB()
	release1()
	release2()
	_, release = get(t, leases, a.request(t, registry.WriteAccess))
	release()
}

func TestInvalidateRevokes(t *testing.T) {
	s, other := newSite(t), newSite(t)
	leases := newTestLeases(t, LeasesConfig{})
	lease, release := get(t, leases, s.request(t, registry.ReadAccess))
	defer release()
	kept, releaseKept := get(t, leases, other.request(t, registry.ReadAccess))
	defer releaseKept()
	leases.Invalidate(s.tenant, s.server)
	<-lease.Expired
	eventually(t, "the user is dropped", func() bool { return !s.hasRole(t, lease.Username) })
	if !other.hasRole(t, kept.Username) {
		t.Error("another tenant's credential was revoked too")
	}
	next, release := get(t, leases, s.request(t, registry.ReadAccess))
	defer release()
	if next.ID == lease.ID {
		t.Error("an invalidated credential was handed out")
	}
}

func TestCloseRevokes(t *testing.T) {
	s := newSite(t)
	leases := newTestLeases(t, LeasesConfig{})
	read, _ := get(t, leases, s.request(t, registry.ReadAccess))
	write, release := get(t, leases, s.request(t, registry.WriteAccess))
	if err := leases.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	release()
	for _, l := range []Lease{read, write} {
		<-l.Expired
		// Vault has the revocation; under load it drops the user a moment later.
		eventually(t, l.Username+" goes with the worker", func() bool { return !s.hasRole(t, l.Username) })
	}
	if _, _, err := leases.Get(t.Context(), s.request(t, registry.ReadAccess)); !fault.HasCode(err, fault.CredentialsAway) {
		t.Errorf("Get after Close: %v", err)
	}
}
