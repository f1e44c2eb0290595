package vault

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// tokenFor logs in with any JWT to any role, past our own checks.
func tokenFor(t *testing.T, role string, jwt secret.Text) (secret.Text, error) {
	t.Helper()
	s, err := workerClient(t).do(t.Context(), request{method: http.MethodPost, path: "auth/" + authMount + "/login",
		body: map[string]any{"role": role, "jwt": jwt.Reveal()}})
	if err != nil {
		return "", err
	}
	return secret.Text(s.Auth.ClientToken), nil
}

func mustToken(t *testing.T, role string, jwt secret.Text) secret.Text {
	t.Helper()
	token, err := tokenFor(t, role, jwt)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// mayRead reports whether a token opens a path; what is neither allowed nor
// refused fails the test.
func mayRead(t *testing.T, token secret.Text, path string) bool {
	t.Helper()
	s, err := workerClient(t).do(t.Context(), request{method: http.MethodGet, path: path, token: token})
	switch {
	case err == nil:
		return s != nil
	case hasStatus(err, http.StatusForbidden):
		return false
	}
	t.Fatalf("read %s: %v", path, err)
	return false
}

func creds(s *site, a registry.Access) string {
	return "database/creds/" + roleName(s.tenant, s.server, a)
}

func wantRefusedLogin(t *testing.T, role string, jwt secret.Text) {
	t.Helper()
	if _, err := tokenFor(t, role, jwt); !hasStatus(err, http.StatusBadRequest) && !hasStatus(err, http.StatusForbidden) {
		t.Errorf("login to %s: got %v, want a refusal", role, err)
	}
}

func TestGrantOpensItsOwnCredential(t *testing.T) {
	s := newSite(t)
	token := mustToken(t, roleName(s.tenant, s.server, registry.ReadAccess), forge(testKey(), s.claims(registry.ReadAccess)))
	if !mayRead(t, token, creds(s, registry.ReadAccess)) {
		t.Error("the credential that the grant is for was refused")
	}
}

func TestGrantOfOtherTenantRefused(t *testing.T) {
	a, b := newSite(t), newSite(t)
	// The role is bound to its tenant …
	wantRefusedLogin(t, roleName(b.tenant, b.server, registry.ReadAccess), forge(testKey(), a.claims(registry.ReadAccess)))
	// … a grant that mixes the two is caught by one lock or the other …
	mixed := a.claims(registry.ReadAccess)
	mixed["server"] = string(b.server)
	wantRefusedLogin(t, roleName(b.tenant, b.server, registry.ReadAccess), forge(testKey(), mixed))
	// … and a token of one tenant opens nothing of another.
	token := mustToken(t, roleName(a.tenant, a.server, registry.ReadAccess), forge(testKey(), a.claims(registry.ReadAccess)))
	for _, path := range []string{
		creds(b, registry.ReadAccess), creds(b, registry.WriteAccess),
		"secret/data/tenants/" + string(b.tenant) + "/" + string(b.server) + "/ro/key",
		"secret/data/tenants/" + string(a.tenant) + "/" + string(a.server) + "/ro/../../../" + string(b.tenant) + "/" + string(b.server) + "/ro/key",
		"database/config/" + configName(b.tenant, b.server), "transit/keys/" + sealKey, "sys/policies/acl/" + platformPolicy,
	} {
		if mayRead(t, token, path) {
			t.Errorf("a token of %s reads %s", a.tenant, path)
		}
	}
	// The worker's own half refuses it before Vault is asked.
	r := a.request(t, registry.ReadAccess)
	r.Tenant, r.Server = b.tenant, b.server
	if _, _, err := newTestLeases(t, LeasesConfig{}).Get(t.Context(), r); !errors.Is(err, ErrRefused) {
		t.Errorf("Get with another tenant's grant: %v", err)
	}
}

func TestReadGrantCannotGetWriteCredential(t *testing.T) {
	s := newSite(t)
	jwt := forge(testKey(), s.claims(registry.ReadAccess))
	wantRefusedLogin(t, roleName(s.tenant, s.server, registry.WriteAccess), jwt)
	token := mustToken(t, roleName(s.tenant, s.server, registry.ReadAccess), jwt)
	if mayRead(t, token, creds(s, registry.WriteAccess)) {
		t.Error("a token for reading got a credential for writing")
	}
	r := s.request(t, registry.ReadAccess)
	r.Access = registry.WriteAccess
	if _, _, err := newTestLeases(t, LeasesConfig{}).Get(t.Context(), r); !errors.Is(err, ErrRefused) {
		t.Errorf("Get for writing with a grant for reading: %v", err)
	}
}

func TestOtherServersCredentialRefused(t *testing.T) {
	one := newSite(t)
	other := newDatabase(t)
	other.tenant, other.user = one.tenant, one.user // the same tenant's second server
	servers := NewServers(platformClient(t))
	if err := servers.PutDatabase(t.Context(), other.tenant, other.server, other.db); err != nil {
		t.Fatal(err)
	}
	defer servers.DeleteServer(context.Background(), other.tenant, other.server)

	wantRefusedLogin(t, roleName(other.tenant, other.server, registry.ReadAccess), forge(testKey(), one.claims(registry.ReadAccess)))
	token := mustToken(t, roleName(one.tenant, one.server, registry.ReadAccess), forge(testKey(), one.claims(registry.ReadAccess)))
	if mayRead(t, token, creds(other, registry.ReadAccess)) {
		t.Error("a token for one server got the credential of another")
	}
}

func TestExpiredGrantRefused(t *testing.T) {
	s := newSite(t)
	c := s.claims(registry.ReadAccess)
	c["iat"], c["exp"] = time.Now().Add(-65*time.Second).Unix(), time.Now().Add(-2*time.Second).Unix()
	jwt := forge(testKey(), c)
	wantRefusedLogin(t, roleName(s.tenant, s.server, registry.ReadAccess), jwt)
	if _, err := NewVerifier(testKey().Public()).Verify(jwt); err == nil {
		t.Error("the worker takes an expired grant")
	}
}

func TestGrantWithoutExpRefused(t *testing.T) {
	s := newSite(t)
	c := s.claims(registry.ReadAccess)
	delete(c, "exp")
	jwt := forge(testKey(), c)
	wantRefusedLogin(t, roleName(s.tenant, s.server, registry.ReadAccess), jwt)
	if _, err := NewVerifier(testKey().Public()).Verify(jwt); err == nil {
		t.Error("the worker takes a grant that never ends")
	}
}

func TestForgedKeyRefused(t *testing.T) {
	s := newSite(t)
	forged, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	own := forge(forged, s.claims(registry.ReadAccess))
	forged.ID = testKey().ID // it also claims to be ours
	role := roleName(s.tenant, s.server, registry.ReadAccess)
	for name, jwt := range map[string]secret.Text{
		"its own key id":    own,
		"our key id":        forge(forged, s.claims(registry.ReadAccess)),
		"no algorithm":      "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + secret.Text(strings.Split(own.Reveal(), ".")[1]) + ".",
		"no signature":      secret.Text(own.Reveal()[:strings.LastIndex(own.Reveal(), ".")+1]),
		"other signature":   secret.Text(strings.Join([]string{header(testKey().ID), strings.Split(own.Reveal(), ".")[1], strings.Split(own.Reveal(), ".")[2]}, ".")),
		"not a token":       "x.y.z",
		"an empty document": "",
	} {
		t.Run(name, func(t *testing.T) {
			wantRefusedLogin(t, role, jwt)
			if _, err := NewVerifier(testKey().Public()).Verify(jwt); err == nil {
				t.Error("the worker takes it")
			}
		})
	}
	wrong := s.claims(registry.ReadAccess)
	wrong["aud"] = "another service"
	wantRefusedLogin(t, role, forge(testKey(), wrong))
	wrong = s.claims(registry.ReadAccess)
	wrong["iss"] = "https://another.example"
	wantRefusedLogin(t, role, forge(testKey(), wrong))
}

// A tenant named `+` was every tenant to a policy. Neither the signer nor
// Vault's roles let such a name through.
func TestTenantIDCannotBeAPattern(t *testing.T) {
	s := newSite(t)
	signer, err := NewSigner(testKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, evil := range []string{"+", "*", "tn*", string(s.tenant) + "/*", "../" + string(s.tenant), "", "{{identity.entity.id}}",
		string(s.tenant[:19]) + "*", string(s.tenant[:19]) + "+", strings.ToUpper(string(s.tenant)), `tn","tenant":"` + string(s.tenant[:8])} {
		g := s.grant(registry.ReadAccess)
		g.Tenant = tenants.ID(evil)
		if _, err := signer.Sign(g); err == nil {
			t.Errorf("signed a grant of tenant %q", evil)
		}
		g = s.grant(registry.ReadAccess)
		g.Server = tenants.ServerID(evil)
		if _, err := signer.Sign(g); err == nil {
			t.Errorf("signed a grant of server %q", evil)
		}
		if err := NewServers(rootClient(t)).PutDatabase(t.Context(), tenants.ID(evil), s.server, s.db); err == nil {
			t.Errorf("wrote a server of tenant %q", evil)
		}
		c := s.claims(registry.ReadAccess)
		c["tenant"], c["sub"] = evil, evil+":"+string(s.user)
		wantRefusedLogin(t, roleName(s.tenant, s.server, registry.ReadAccess), forge(testKey(), c))
	}
}

// With the user alone as alias, a live token of one tenant became one of
// another when the same user logged in there.
func TestAliasConfusionCannotCrossTenants(t *testing.T) {
	a, b := newSite(t), newSite(t)
	b.user = a.user
	tokenA := mustToken(t, roleName(a.tenant, a.server, registry.ReadAccess), forge(testKey(), a.claims(registry.ReadAccess)))
	tokenB := mustToken(t, roleName(b.tenant, b.server, registry.ReadAccess), forge(testKey(), b.claims(registry.ReadAccess)))
	if !mayRead(t, tokenA, creds(a, registry.ReadAccess)) || mayRead(t, tokenA, creds(b, registry.ReadAccess)) {
		t.Error("the token of the first tenant changed when the same user logged in to the second")
	}
	if !mayRead(t, tokenB, creds(b, registry.ReadAccess)) || mayRead(t, tokenB, creds(a, registry.ReadAccess)) {
		t.Error("the token of the second tenant opens the first")
	}
	// Even if one alias could carry two tenants in turn, the roles stay apart.
	mixed := a.claims(registry.ReadAccess)
	mixed["tenant"] = string(b.tenant)
	wantRefusedLogin(t, roleName(a.tenant, a.server, registry.ReadAccess), forge(testKey(), mixed))
}

func TestTokenCannotTouchLeasesOfOthers(t *testing.T) {
	a, b := newSite(t), newSite(t)
	leases := newTestLeases(t, LeasesConfig{})
	lease, release, err := leases.Get(t.Context(), b.request(t, registry.ReadAccess))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	token := mustToken(t, roleName(a.tenant, a.server, registry.ReadAccess), forge(testKey(), a.claims(registry.ReadAccess)))
	for _, path := range []string{"sys/leases/revoke", "sys/leases/renew", "sys/leases/lookup"} {
		_, err := workerClient(t).do(t.Context(), request{method: http.MethodPut, path: path, body: map[string]any{"lease_id": lease.ID}, token: token})
		if !hasStatus(err, http.StatusForbidden) {
			t.Errorf("%s of another tenant's lease: %v", path, err)
		}
	}
}

func TestPlatformCannotReadCredentials(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{creds(s, registry.ReadAccess), creds(s, registry.WriteAccess), "secret/data/tenants/" + string(s.tenant) + "/x", "transit/export/encryption-key/" + sealKey} {
		if _, err := platformClient(t).own(t.Context(), http.MethodGet, path, nil); !hasStatus(err, http.StatusForbidden) {
			t.Errorf("the platform reads %s: %v", path, err)
		}
	}
}

func TestGrantIsRefusedTwice(t *testing.T) {
	s := newSite(t)
	leases := newTestLeases(t, LeasesConfig{Verifier: NewVerifier(testKey().Public())})
	r := s.request(t, registry.ReadAccess)
	_, release, err := leases.Get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if _, _, err := leases.Get(t.Context(), r); !errors.Is(err, errReplayed) {
		t.Errorf("the second use of a grant: %v", err)
	}
}

func TestForgedGrantCannotUseCachedCredential(t *testing.T) {
	s := newSite(t)
	leases := newTestLeases(t, LeasesConfig{Verifier: NewVerifier(testKey().Public())})
	_, release, err := leases.Get(t.Context(), s.request(t, registry.ReadAccess))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	other, _ := NewKey()
	c := s.claims(registry.ReadAccess)
	r := LeaseRequest{Tenant: s.tenant, Server: s.server, Access: registry.ReadAccess, CallID: c["jti"].(string), Grant: forge(other, c)}
	if _, _, err := leases.Get(t.Context(), r); !errors.Is(err, ErrRefused) || !fault.HasCode(err, fault.CredentialsAway) {
		t.Errorf("a forged grant got a cached credential: %v", err)
	}
}
