package vault

import (
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"testing"

	"latchkey/internal/registry"
	"latchkey/internal/testenv"
)

// snapshot reads what Setup writes, as text.
func snapshot(t *testing.T, c *Client) string {
	t.Helper()
	var b strings.Builder
	for _, path := range []string{
		"sys/mounts", "sys/auth", "sys/mounts/database/tune", "sys/policies/acl/" + platformPolicy,
		"auth/approle/role/" + platformRole, "auth/approle/role/" + platformRole + "/role-id",
		"sys/quotas/rate-limit/" + loginQuota, "sys/config/auditing/request-headers", "transit/keys/" + sealKey, "auth/latchkey/config",
	} {
		data, err := c.read(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.MarshalIndent(data, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(path + "\n" + string(text) + "\n")
	}
	return b.String()
}

func TestSetupIsIdempotent(t *testing.T) {
	root := rootClient(t)
	cfg := SetupConfig{Keys: []ed25519.PublicKey{testKey().Public()}, LoginRate: 10000}
	before := snapshot(t, root)
	for range 2 {
		if err := Setup(t.Context(), root, cfg); err != nil {
			t.Fatal(err)
		}
		if after := snapshot(t, root); after != before {
			t.Fatalf("running again changed something\nbefore:\n%s\nafter:\n%s", before, after)
		}
	}
	// Without keys, those that are pinned stay.
	if err := Setup(t.Context(), root, SetupConfig{LoginRate: 10000}); err != nil {
		t.Fatal(err)
	}
	if after := snapshot(t, root); after != before {
		t.Fatal("running without keys changed something")
	}
}

// Both keys are good while one replaces the other, and only then.
func TestKeyRotation(t *testing.T) {
	s := newSite(t)
	platform := platformClient(t)
	next, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	role := roleName(s.tenant, s.server, registry.ReadAccess)
	wantRefusedLogin(t, role, forge(next, s.claims(registry.ReadAccess)))
	if err := PinKeys(t.Context(), platform, []ed25519.PublicKey{testKey().Public(), next.Public()}); err != nil {
		t.Fatal(err)
	}
	mustToken(t, role, forge(next, s.claims(registry.ReadAccess)))
	mustToken(t, role, forge(testKey(), s.claims(registry.ReadAccess)))
	if err := PinKeys(t.Context(), platform, []ed25519.PublicKey{testKey().Public()}); err != nil {
		t.Fatal(err)
	}
	wantRefusedLogin(t, role, forge(next, s.claims(registry.ReadAccess)))
}

func TestSealedValueIsBoundToItsName(t *testing.T) {
	sealer := NewSealer(platformClient(t))
	sealed, err := sealer.Seal(t.Context(), "tenant/a/signing-key", []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), "value") {
		t.Error("not sealed")
	}
	if got, err := sealer.Open(t.Context(), "tenant/a/signing-key", sealed); err != nil || string(got) != "value" {
		t.Errorf("Open: %q, %v", got, err)
	}
	if got, err := sealer.Open(t.Context(), "tenant/b/signing-key", sealed); err == nil {
		t.Errorf("opened under another name: %q", got)
	}
	sealed[len(sealed)-6] ^= 1
	if _, err := sealer.Open(t.Context(), "tenant/a/signing-key", sealed); err == nil {
		t.Error("opened after a change")
	}
}

func TestSigningKeySurvivesSealing(t *testing.T) {
	sealer := NewSealer(platformClient(t))
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal(t.Context(), sealer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenKey(t.Context(), sealer, sealed)
	if err != nil || got.ID != k.ID || !got.Public().Equal(k.Public()) {
		t.Errorf("got %s, %v; want %s", got, err, k)
	}
}

// The platform logs in again when its token has gone.
func TestPlatformTokenLost(t *testing.T) {
	c := platformClient(t)
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	token, err := c.ownToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root := rootClient(t)
	if _, err := root.own(t.Context(), "POST", "auth/token/revoke", map[string]any{"token": token.Reveal()}); err != nil {
		t.Fatal(err)
	}
	if _, err := authAccessor(t.Context(), c); err != nil {
		t.Errorf("after the token was revoked: %v", err)
	}
}

func TestEnvironmentIsWithoutEffect(t *testing.T) {
	t.Setenv("VAULT_TOKEN", testenv.Vault(t).RootToken())
	t.Setenv("VAULT_NAMESPACE", "other")
	if _, err := authAccessor(t.Context(), workerClient(t)); err == nil {
		t.Error("a worker's client took a token from the environment")
	}
}
