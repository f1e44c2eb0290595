package vault

import (
	"testing"

	"latchkey/internal/registry"
)

// The three ways a call gets its credential.

func BenchmarkLeaseCached(b *testing.B) {
	s := newSite(b)
	leases := newTestLeases(b, LeasesConfig{Verifier: NewVerifier(testKey().Public())})
	_, release := get(b, leases, s.request(b, registry.ReadAccess))
	release()
	for b.Loop() {
		b.StopTimer()
		r := s.request(b, registry.ReadAccess)
		b.StartTimer()
		_, release := get(b, leases, r)
		release()
	}
}

func BenchmarkLeaseIssued(b *testing.B) {
	s := newSite(b)
	leases := newTestLeases(b, LeasesConfig{PerTenant: 1 << 20})
	for b.Loop() {
		_, release := get(b, leases, s.request(b, registry.WriteAccess))
		release()
	}
}

func BenchmarkLogin(b *testing.B) {
	s := newSite(b)
	c := workerClient(b)
	for b.Loop() {
		r := s.request(b, registry.WriteAccess)
		if _, err := c.do(b.Context(), request{method: "POST", path: "auth/" + authMount + "/login",
			body: map[string]any{"role": roleName(s.tenant, s.server, r.Access), "jwt": r.Grant.Reveal()}}); err != nil {
			b.Fatal(err)
		}
	}
}
