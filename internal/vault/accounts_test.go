package vault

import (
	"testing"

	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// What renews an account is the platform's: no grant of a call opens it.
func TestNoGrantOpensWhatRenewsAnAccount(t *testing.T) {
	s, servers := newStatic(t, fields{"auth.token": "x"}, nil)
	for _, of := range []string{SharedAccount, AccountClient, string(s.user)} {
		if err := servers.PutAccount(t.Context(), s.tenant, s.server, of, fields{"refresh_token": secret.Text("renews " + of)}); err != nil {
			t.Fatal(err)
		}
		got, err := servers.Account(t.Context(), s.tenant, s.server, of)
		if err != nil || got["refresh_token"].Reveal() != "renews "+of {
			t.Errorf("%s: the platform reads %v, %v", of, got, err)
		}
		for _, a := range accesses {
			if path := kvMount + "/data/" + accountPath(s.tenant, s.server, of); mayRead(t, s.staticToken(t, a, s.user), path) {
				t.Errorf("a call of its own server reads %s", path)
			}
		}
	}
	if err := servers.PutAccount(t.Context(), s.tenant, s.server, "../x", nil); err == nil {
		t.Error("a name that is no person's was taken")
	}
}

func TestDeletingLeavesNoAccount(t *testing.T) {
	s, servers := newStatic(t, nil, nil)
	other := &site{tenant: s.tenant, server: tenants.NewServerID(), user: s.user}
	for _, one := range []*site{s, other} {
		if err := servers.PutAccount(t.Context(), one.tenant, one.server, SharedAccount, fields{"refresh_token": "r"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := servers.DeleteServer(t.Context(), s.tenant, s.server); err != nil {
		t.Fatal(err)
	}
	if got, err := servers.Account(t.Context(), s.tenant, s.server, SharedAccount); err != nil || len(got) != 0 {
		t.Errorf("of a server that was deleted: %v, %v", got, err)
	}
	if got, err := servers.Account(t.Context(), other.tenant, other.server, SharedAccount); err != nil || len(got) != 1 {
		t.Errorf("of another one: %v, %v", got, err)
	}
	if err := servers.DeleteTenant(t.Context(), s.tenant); err != nil {
		t.Fatal(err)
	}
	if got, err := servers.Account(t.Context(), other.tenant, other.server, SharedAccount); err != nil || len(got) != 0 {
		t.Errorf("of a tenant that was deleted: %v, %v", got, err)
	}
}
