package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

type fields = map[string]secret.Text

// newStatic makes a site whose credentials are static.
func newStatic(t testing.TB, read, write fields) (*site, *Servers) {
	t.Helper()
	s := &site{tenant: tenants.NewID(), server: tenants.NewServerID(), user: tenants.NewUserID()}
	return s, putStatic(t, s, read, write)
}

func putStatic(t testing.TB, s *site, read, write fields) *Servers {
	t.Helper()
	servers := NewServers(platformClient(t))
	if err := servers.PutSecrets(t.Context(), s.tenant, s.server, read, write); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := servers.DeleteServer(context.Background(), s.tenant, s.server); err != nil {
			t.Error(err)
		}
	})
	return servers
}

// static is the request of a call that the edge let through.
func (s *site) static(t testing.TB, a registry.Access, u tenants.UserID) LeaseRequest {
	t.Helper()
	g := s.grant(a)
	if u != "" {
		g.User = u
	}
	r := requestFor(t, g)
	r.Static, r.User = true, u
	return r
}

func revealed(f fields) map[string]string {
	out := map[string]string{}
	for k, v := range f {
		out[k] = v.Reveal()
	}
	return out
}

func wantFields(t *testing.T, l *Leases, r LeaseRequest, want map[string]string) Lease {
	t.Helper()
	lease, release := get(t, l, r)
	release()
	if got := revealed(lease.Fields); !maps.Equal(got, want) {
		t.Errorf("the call got %q, want %q", got, want)
	}
	return lease
}

func (s *site) data(path string) string {
	return "secret/data/tenants/" + string(s.tenant) + "/" + string(s.server) + "/" + path
}

// staticToken logs in for an access as a user.
func (s *site) staticToken(t *testing.T, a registry.Access, u tenants.UserID) secret.Text {
	t.Helper()
	c := s.claims(a)
	c["sub"] = alias(s.tenant, u)
	return mustToken(t, roleName(s.tenant, s.server, a), forge(testKey(), c))
}

func TestStaticSecretsReachTheCallsOfTheirServer(t *testing.T) {
	s, servers := newStatic(t, fields{"auth.token": "one for both"}, nil)
	leases := newTestLeases(t, LeasesConfig{})
	for _, a := range accesses {
		wantFields(t, leases, s.static(t, a, ""), map[string]string{"auth.token": "one for both"})
	}
	if err := servers.PutSecrets(t.Context(), s.tenant, s.server, fields{"auth.token": "to read"}, fields{"auth.token": "to write", "more": ""}); err != nil {
		t.Fatal(err)
	}
	fresh := newTestLeases(t, LeasesConfig{})
	wantFields(t, fresh, s.static(t, registry.ReadAccess, ""), map[string]string{"auth.token": "to read"})
	lease := wantFields(t, fresh, s.static(t, registry.WriteAccess, ""), map[string]string{"auth.token": "to write", "more": ""})
	if !strings.HasPrefix(lease.ID, "secret/tenants/"+string(s.tenant)+"/"+string(s.server)+"/rw@2.") || len(lease.ID) > 150 {
		t.Errorf("the id %q does not name the second version", lease.ID)
	}
	if left := time.Until(lease.Until); left > StaticTTL {
		t.Errorf("static secrets are kept for %s", left)
	}
}

func TestStaticSecretsOfOthersRefused(t *testing.T) {
	a, _ := newStatic(t, fields{"key": "a"}, nil)
	b, servers := newStatic(t, fields{"key": "b"}, nil)
	sibling := &site{tenant: a.tenant, server: tenants.NewServerID(), user: a.user}
	putStatic(t, sibling, fields{"key": "sibling"}, nil)
	if err := servers.PutSharedToken(t.Context(), b.tenant, b.server, fields{"access_token": "b"}); err != nil {
		t.Fatal(err)
	}
	for name, attack := range map[string]struct {
		access registry.Access
		path   string
	}{
		"another tenant":               {registry.ReadAccess, b.data("ro/connection")},
		"another tenant's token":       {registry.ReadAccess, b.data("ro/token")},
		"another server of the tenant": {registry.ReadAccess, sibling.data("ro/connection")},
		"to write with a read's grant": {registry.ReadAccess, a.data("rw/connection")},
		"to read with a write's grant": {registry.WriteAccess, a.data("ro/connection")},
		"out of its folder":            {registry.ReadAccess, a.data("ro/../rw/connection")},
		"all users":                    {registry.ReadAccess, a.data("users/+")},
		"the metadata":                 {registry.ReadAccess, strings.Replace(a.data("ro/connection"), "/data/", "/metadata/", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			if mayRead(t, a.staticToken(t, attack.access, a.user), attack.path) {
				t.Errorf("read %s", attack.path)
			}
		})
	}
	wantRefusedLogin(t, roleName(b.tenant, b.server, registry.ReadAccess), forge(testKey(), a.claims(registry.ReadAccess)))
	wantRefusedLogin(t, roleName(a.tenant, a.server, registry.WriteAccess), forge(testKey(), a.claims(registry.ReadAccess)))
	r := a.static(t, registry.ReadAccess, "")
	r.Server = sibling.server
	if _, _, err := newTestLeases(t, LeasesConfig{}).Get(t.Context(), r); !errors.Is(err, ErrRefused) {
		t.Errorf("the secrets of another server with this one's grant: %v", err)
	}
}

func TestSecretsOfAPersonOpenOnlyForTheirOwnCalls(t *testing.T) {
	s, servers := newStatic(t, fields{"client_id": "app"}, nil)
	ann, bob := tenants.NewUserID(), tenants.NewUserID()
	for u, token := range map[tenants.UserID]secret.Text{ann: "token of ann", bob: "token of bob"} {
		if err := servers.PutUserSecrets(t.Context(), s.tenant, s.server, u, fields{"access_token": token}); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range accesses {
		token := s.staticToken(t, a, ann)
		if !mayRead(t, token, s.data("users/"+alias(s.tenant, ann))) {
			t.Errorf("%s: ann's grant does not read ann's secrets", a)
		}
		for _, path := range []string{alias(s.tenant, bob), string(bob), "+", "*", alias(s.tenant, ann) + "/../" + alias(s.tenant, bob)} {
			if mayRead(t, token, s.data("users/"+path)) {
				t.Errorf("%s: ann's grant reads users/%s", a, path)
			}
		}
	}
	leases := newTestLeases(t, LeasesConfig{})
	of := map[tenants.UserID]Lease{}
	for u, token := range map[tenants.UserID]string{ann: "token of ann", bob: "token of bob"} {
		of[u] = wantFields(t, leases, s.static(t, registry.ReadAccess, u), map[string]string{"client_id": "app", "access_token": token})
		if !strings.Contains(of[u].ID, "+"+string(u)+"@1.") {
			t.Errorf("the id %q does not name the version of the person's secrets", of[u].ID)
		}
	}
	// What a worker keeps for bob is not for ann's grant.
	r := s.static(t, registry.ReadAccess, ann)
	r.User = bob
	if _, _, err := leases.Get(t.Context(), r); !errors.Is(err, ErrRefused) {
		t.Errorf("bob's secrets with ann's grant: %v", err)
	}
	// The server's calls have none of either.
	wantFields(t, leases, s.static(t, registry.ReadAccess, ""), map[string]string{"client_id": "app"})

	if err := servers.DeleteUserSecrets(t.Context(), s.tenant, s.server, ann); err != nil {
		t.Fatal(err)
	}
	fresh := newTestLeases(t, LeasesConfig{})
	lease := wantFields(t, fresh, s.static(t, registry.ReadAccess, ann), map[string]string{"client_id": "app"})
	if left := time.Until(lease.Until); left > time.Second {
		t.Errorf("that a person has no account is kept for %s", left)
	}
	wantFields(t, fresh, s.static(t, registry.ReadAccess, bob), map[string]string{"client_id": "app", "access_token": "token of bob"})
	// One that is connected again is another, though its count begins anew.
	if err := servers.PutUserSecrets(t.Context(), s.tenant, s.server, ann, fields{"access_token": "another"}); err != nil {
		t.Fatal(err)
	}
	again := wantFields(t, newTestLeases(t, LeasesConfig{}), s.static(t, registry.ReadAccess, ann), map[string]string{"client_id": "app", "access_token": "another"})
	if again.ID == of[ann].ID {
		t.Error("other values have the same id")
	}
}

func TestSharedTokenIsThereBesideTheConnection(t *testing.T) {
	s, servers := newStatic(t, nil, nil)
	soon := time.Now().Add(20 * time.Second).UTC().Format(time.RFC3339)
	if err := servers.PutSharedToken(t.Context(), s.tenant, s.server, fields{"access_token": "t1", ExpiresAt: secret.Text(soon)}); err != nil {
		t.Fatal(err)
	}
	lease := wantFields(t, newTestLeases(t, LeasesConfig{}), s.static(t, registry.WriteAccess, ""), map[string]string{"access_token": "t1", ExpiresAt: soon})
	if left := time.Until(lease.Until); left > 20*time.Second {
		t.Errorf("a token of 20 s is kept for %s", left)
	}
	if err := servers.PutSharedToken(t.Context(), s.tenant, s.server, nil); err != nil {
		t.Fatal(err)
	}
	wantFields(t, newTestLeases(t, LeasesConfig{}), s.static(t, registry.WriteAccess, ""), map[string]string{})
}

func TestRotationReachesTheNextCall(t *testing.T) {
	s, servers := newStatic(t, fields{"key": "old"}, nil)
	leases := newTestLeases(t, LeasesConfig{})
	version := func() string {
		v, err := servers.SecretsVersion(t.Context(), s.tenant, s.server)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	call := func(v string) LeaseRequest {
		r := s.static(t, registry.ReadAccess, "")
		r.Version = v
		return r
	}
	before := version()
	first := wantFields(t, leases, call(before), map[string]string{"key": "old"})
	// The same values are no rotation.
	if err := servers.PutSecrets(t.Context(), s.tenant, s.server, fields{"key": "old"}, nil); err != nil {
		t.Fatal(err)
	}
	if v := version(); v != before || v == "" {
		t.Errorf("the same values are version %q after %q", v, before)
	}
	if err := servers.PutSecrets(t.Context(), s.tenant, s.server, fields{"key": "new"}, nil); err != nil {
		t.Fatal(err)
	}
	after := wantFields(t, leases, call(version()), map[string]string{"key": "new"})
	if after.ID == first.ID {
		t.Error("the id of the new secret is the old one's")
	}
	// Back to what it was is a change as well.
	if err := servers.PutSecrets(t.Context(), s.tenant, s.server, fields{"key": "old"}, nil); err != nil {
		t.Fatal(err)
	}
	wantFields(t, leases, call(version()), map[string]string{"key": "old"})
	// Nothing keeps what was replaced.
	about, err := rootClient(t).read(t.Context(), strings.Replace(s.data("ro/connection"), "/data/", "/metadata/", 1))
	if err != nil {
		t.Fatal(err)
	}
	if versions, _ := about["versions"].(map[string]any); len(versions) != 1 || versions["3"] == nil {
		t.Errorf("after two rotations Vault has the versions %v", versions)
	}
}

func TestDiscardedSecretIsFetchedAnew(t *testing.T) {
	s, servers := newStatic(t, fields{"key": "old"}, nil)
	leases := newTestLeases(t, LeasesConfig{})
	for _, a := range accesses {
		lease, release := get(t, leases, s.static(t, a, ""))
		if err := servers.PutSecrets(t.Context(), s.tenant, s.server, fields{"key": secret.Text("new for " + a)}, nil); err != nil {
			t.Fatal(err)
		}
		kept, releaseKept := get(t, leases, s.static(t, a, ""))
		if kept.ID != lease.ID {
			t.Errorf("%s: two calls within a moment read twice", a)
		}
		releaseKept()
		lease.Discard()
		release()
		wantFields(t, leases, s.static(t, a, ""), map[string]string{"key": "new for " + string(a)})
	}
}

func TestPlatformCannotReadStaticSecrets(t *testing.T) {
	s, servers := newStatic(t, fields{"key": "value that is kept"}, nil)
	if err := servers.PutUserSecrets(t.Context(), s.tenant, s.server, s.user, fields{"key": "value that is kept"}); err != nil {
		t.Fatal(err)
	}
	platform := platformClient(t)
	for _, path := range []string{"ro/connection", "rw/connection", "users/" + alias(s.tenant, s.user)} {
		if _, err := platform.own(t.Context(), http.MethodGet, s.data(path), nil); !hasStatus(err, http.StatusForbidden) {
			t.Errorf("the platform reads %s: %v", path, err)
		}
		about, err := platform.own(t.Context(), http.MethodGet, strings.Replace(s.data(path), "/data/", "/metadata/", 1), nil)
		if err != nil || strings.Contains(fmt.Sprint(about.Data), "value that is kept") {
			t.Errorf("metadata of %s: %v, %v", path, about, err)
		}
	}
}

func TestDeletingLeavesNoStaticSecret(t *testing.T) {
	s, servers := newStatic(t, fields{"key": "a"}, nil)
	other := &site{tenant: s.tenant, server: tenants.NewServerID(), user: s.user}
	putStatic(t, other, fields{"key": "b"}, nil)
	apart, _ := newStatic(t, fields{"key": "c"}, nil)
	if err := servers.PutUserSecrets(t.Context(), s.tenant, s.server, s.user, fields{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	if err := servers.PutSharedToken(t.Context(), s.tenant, s.server, fields{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	token := s.staticToken(t, registry.ReadAccess, s.user)
	below := func() []string {
		keys, err := rootClient(t).list(t.Context(), "secret/metadata/tenants/"+string(s.tenant))
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	for range 2 { // the second time is nothing
		if err := servers.DeleteServer(t.Context(), s.tenant, s.server); err != nil {
			t.Fatal(err)
		}
	}
	if keys := below(); len(keys) != 1 || keys[0] != string(other.server)+"/" {
		t.Errorf("left of two servers is %q", keys)
	}
	if mayRead(t, token, s.data("ro/connection")) {
		t.Error("a token from before still reads")
	}
	wantRefusedLogin(t, roleName(s.tenant, s.server, registry.ReadAccess), forge(testKey(), s.claims(registry.ReadAccess)))
	if err := servers.DeleteTenant(t.Context(), s.tenant); err != nil {
		t.Fatal(err)
	}
	if keys := below(); len(keys) != 0 {
		t.Errorf("left of the tenant is %q", keys)
	}
	wantRefusedLogin(t, roleName(other.tenant, other.server, registry.ReadAccess), forge(testKey(), other.claims(registry.ReadAccess)))
	wantFields(t, newTestLeases(t, LeasesConfig{}), apart.static(t, registry.ReadAccess, ""), map[string]string{"key": "c"})
}

func TestBadStaticSecretsRefused(t *testing.T) {
	s, servers := newStatic(t, nil, nil)
	many := fields{}
	for i := range maxFields + 1 {
		many[fmt.Sprint(i)] = "x"
	}
	for name, f := range map[string]fields{"too many": many, "too large": {"key": secret.Text(strings.Repeat("x", maxFieldBytes))}} {
		if err := servers.PutSecrets(t.Context(), s.tenant, s.server, f, nil); !fault.HasCode(err, fault.InvalidSpec) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := servers.PutSecrets(t.Context(), "tn*", s.server, nil, nil); err == nil {
		t.Error("a tenant that is a pattern was taken")
	}
	if err := servers.PutUserSecrets(t.Context(), s.tenant, s.server, "us+", fields{"k": "v"}); err == nil {
		t.Error("a user that is a pattern was taken")
	}
}

// What a tenant keeps of static secrets leaves its share of accounts alone.
func TestStaticSecretsCountApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter()
		l := newLeases(c, LeasesConfig{PerTenant: 1, StaticPerTenant: 3})
		defer l.Close(context.Background())
		_, release := get(t, l, fakeSite.request(t, registry.ReadAccess))
		defer release()
		for range 3 {
			_, release := get(t, l, fakeSite.static(t, registry.ReadAccess, tenants.NewUserID()))
			defer release()
		}
		if _, _, err := l.Get(t.Context(), fakeSite.static(t, registry.ReadAccess, tenants.NewUserID())); !fault.HasCode(err, fault.Busy) {
			t.Errorf("a fourth: %v", err)
		}
	})
}
