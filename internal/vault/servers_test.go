package vault

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

func TestRevokedWhenServerDeleted(t *testing.T) {
	s := newSite(t)
	servers := NewServers(platformClient(t))
	leases := newTestLeases(t, LeasesConfig{})
	read, releaseRead := get(t, leases, s.request(t, registry.ReadAccess))
	defer releaseRead()
	write, releaseWrite := get(t, leases, s.request(t, registry.WriteAccess))
	defer releaseWrite()
	token := mustToken(t, roleName(s.tenant, s.server, registry.ReadAccess), forge(testKey(), s.claims(registry.ReadAccess)))

	for range 2 { // the second time is nothing
		if err := servers.DeleteServer(t.Context(), s.tenant, s.server); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range []Lease{read, write} {
		if s.hasRole(t, l.Username) {
			t.Errorf("%s outlives its server", l.Username)
		}
	}
	if mayRead(t, token, creds(s, registry.ReadAccess)) {
		t.Error("a token from before gets a credential")
	}
	wantRefusedLogin(t, roleName(s.tenant, s.server, registry.ReadAccess), forge(testKey(), s.claims(registry.ReadAccess)))
	leases.Invalidate(s.tenant, s.server)
	if _, _, err := leases.Get(t.Context(), s.request(t, registry.ReadAccess)); !errors.Is(err, ErrRefused) {
		t.Errorf("a credential of a server that is gone: %v", err)
	}
}

func TestDeleteTenantLeavesOthers(t *testing.T) {
	a, b := newSite(t), newSite(t)
	platform := platformClient(t)
	for _, s := range []*site{a, b} {
		if err := rootClient(t).write(t.Context(), "secret/data/tenants/"+string(s.tenant)+"/"+string(s.server)+"/ro/api", map[string]any{"data": map[string]any{"key": "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := NewServers(platform).DeleteTenant(t.Context(), a.tenant); err != nil {
		t.Fatal(err)
	}
	wantRefusedLogin(t, roleName(a.tenant, a.server, registry.ReadAccess), forge(testKey(), a.claims(registry.ReadAccess)))
	token := mustToken(t, roleName(b.tenant, b.server, registry.ReadAccess), forge(testKey(), b.claims(registry.ReadAccess)))
	if !mayRead(t, token, creds(b, registry.ReadAccess)) || !mayRead(t, token, "secret/data/tenants/"+string(b.tenant)+"/"+string(b.server)+"/ro/api") {
		t.Error("another tenant's server went too")
	}
	if left, _ := rootClient(t).list(t.Context(), "secret/metadata/tenants/"+string(a.tenant)); len(left) > 0 {
		t.Errorf("secrets left: %q", left)
	}
}

func TestDeleteServerWhoseDatabaseIsGone(t *testing.T) {
	s := newSite(t)
	leases := newTestLeases(t, LeasesConfig{})
	_, release := get(t, leases, s.request(t, registry.ReadAccess))
	release()
	s.superuser(t, `ALTER ROLE `+s.db.AdminUser+` NOLOGIN`)
	s.superuser(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '`+s.db.AdminUser+`'`)
	defer s.superuser(t, `ALTER ROLE `+s.db.AdminUser+` LOGIN`)
	if err := NewServers(platformClient(t)).DeleteServer(t.Context(), s.tenant, s.server); err != nil {
		t.Fatal(err)
	}
	wantRefusedLogin(t, roleName(s.tenant, s.server, registry.ReadAccess), forge(testKey(), s.claims(registry.ReadAccess)))
	conn := connect(t, s.dsn)
	defer conn.Close(context.Background())
	var names []string
	if err := conn.QueryRow(t.Context(), `SELECT array_agg(rolname::text) FROM pg_roles WHERE rolname LIKE 'lk_' || $1 || '%'`, string(s.tenant)).Scan(&names); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		s.superuser(t, `DROP ROLE `+n)
	}
}

func TestChangedConnectionRevokesOldCredentials(t *testing.T) {
	s := newSite(t)
	servers := NewServers(platformClient(t))
	leases := newTestLeases(t, LeasesConfig{})
	lease, release := get(t, leases, s.request(t, registry.ReadAccess))
	defer release()
	if err := servers.PutDatabase(t.Context(), s.tenant, s.server, s.db); err != nil {
		t.Fatal(err)
	}
	if !s.hasRole(t, lease.Username) {
		t.Error("writing the same again revoked a credential")
	}
	s.db.ReadGroups = []string{s.db.WriteGroups[0]}
	if err := servers.PutDatabase(t.Context(), s.tenant, s.server, s.db); err != nil {
		t.Fatal(err)
	}
	if s.hasRole(t, lease.Username) {
		t.Error("a credential with the old groups outlives the change")
	}
}

func TestPlatformsOwnDatabaseRefused(t *testing.T) {
	s := newDatabase(t)
	own := Endpoint{Host: s.db.Host, Port: s.db.Port, Database: s.db.Database}
	servers := NewServers(platformClient(t), own)
	servers.lookup = func(_ context.Context, host string) ([]net.IPAddr, error) {
		switch host {
		case "alias.example":
			return []net.IPAddr{{IP: net.ParseIP("10.9.8.7")}, {IP: net.ParseIP("127.0.0.1")}}, nil
		case "localhost":
			return []net.IPAddr{{IP: net.IPv6loopback}}, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	for _, host := range []string{"127.0.0.1", "localhost", "127.1.2.3", "::1", "0.0.0.0", "::ffff:127.0.0.1", "alias.example"} {
		db := s.db
		db.Host = host
		err := servers.PutDatabase(t.Context(), s.tenant, s.server, db)
		if !fault.HasCode(err, fault.InvalidSpec) || !strings.Contains(fault.Of(err).Message, "platform's own") {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestBadDatabaseRefused(t *testing.T) {
	s := newDatabase(t)
	servers := NewServers(platformClient(t))
	for name, change := range map[string]func(*Database){
		"group with a quote":           func(d *Database) { d.ReadGroups = []string{`x"; DROP ROLE y; --`} },
		"group of Postgres itself":     func(d *Database) { d.ReadGroups = []string{"pg_read_all_data"} },
		"group that is everyone":       func(d *Database) { d.WriteGroups = []string{"public"} },
		"group that is a template":     func(d *Database) { d.WriteGroups = []string{"{{name}}"} },
		"no group":                     func(d *Database) { d.ReadGroups = nil },
		"host with a path":             func(d *Database) { d.Host = "h/../x" },
		"host that is a socket":        func(d *Database) { d.Host = "/var/run/postgresql" },
		"two hosts":                    func(d *Database) { d.Host = "127.0.0.1,10.0.0.1" },
		"host with a parameter":        func(d *Database) { d.Host = "h?host=10.0.0.1" },
		"sslmode that falls back":      func(d *Database) { d.SSLMode = "prefer" },
		"account that is a template":   func(d *Database) { d.AdminUser = "{{password}}" },
		"a life of a second":           func(d *Database) { d.TTL = 1 },
		"wrong password":               func(d *Database) { d.AdminPassword = "wrong" },
		"account that is not there":    func(d *Database) { d.AdminUser = "nobody_" + string(s.server) },
		"database that is not there":   func(d *Database) { d.Database = "nothing_" + string(s.server) },
		"port where nothing listens":   func(d *Database) { d.Port = 1 },
		"database with a query string": func(d *Database) { d.Database += "?options=x" },
	} {
		t.Run(name, func(t *testing.T) {
			db := s.db
			change(&db)
			err := servers.PutDatabase(t.Context(), s.tenant, s.server, db)
			if !fault.HasCode(err, fault.InvalidSpec) {
				t.Fatalf("got %v", err)
			}
			if m := fault.Of(err).Message; strings.Contains(m, "secret of the account") || strings.Contains(m, "SQLSTATE") {
				t.Errorf("the message tells too much: %s", m)
			}
		})
	}
	if err := servers.PutDatabase(t.Context(), "tn*", tenants.NewServerID(), s.db); err == nil {
		t.Error("an id that is a pattern was taken")
	}
}
