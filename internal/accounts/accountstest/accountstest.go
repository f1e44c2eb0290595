// Package accountstest is the contract of accounts.Store as a test: each
// implementation runs it.
package accountstest

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/accounts"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Fixture is a store with a tenant that has a server and a person. Elsewhere is
// another tenant.
type Fixture struct {
	Store             accounts.Store
	Tenant, Elsewhere tenants.ID
	Server            registry.ServerID
	User              tenants.UserID
}

var began = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// Run runs the suite; each part has a store of its own.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for name, test := range map[string]func(*suite){
		"AccountComesBack":          (*suite).comesBack,
		"OldVersionChangesNothing":  (*suite).versions,
		"TenantsAndPersonsAreApart": (*suite).apart,
		"OneRenewsAtATime":          (*suite).claims,
		"ClientComesBack":           (*suite).client,
		"FlowIsTakenOnce":           (*suite).flow,
		"FlowsAreBounded":           (*suite).bounded,
		"OtherTenantKnowsNothing":   (*suite).elsewhere,
	} {
		t.Run(name, func(t *testing.T) { test(&suite{T: t, Fixture: open(t)}) })
	}
}

type suite struct {
	*testing.T
	Fixture
}

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) code(err error, c fault.Code) {
	s.Helper()
	if !fault.HasCode(err, c) {
		s.Errorf("got %v, want %s", err, c)
	}
}

func (s *suite) account(u tenants.UserID) accounts.Account {
	return accounts.Account{
		Server: s.Server, User: u, State: accounts.Connected, Issuer: "https://as.example", Scopes: []string{"a", "b"}, ExpiresAt: began.Add(time.Hour),
		Renewable: true, ConnectedBy: s.User, ConnectedAt: began, RenewedAt: began,
	}
}

func (s *suite) put(a accounts.Account) accounts.Account {
	s.Helper()
	out, err := s.Store.PutUpstreamAccount(s.Context(), s.Tenant, a)
	s.ok(err)
	return out
}

func same(a, b accounts.Account) bool {
	return fmt.Sprintf("%+v", utc(a)) == fmt.Sprintf("%+v", utc(b))
}

func utc(a accounts.Account) accounts.Account {
	a.ExpiresAt, a.ConnectedAt, a.RenewedAt = a.ExpiresAt.UTC(), a.ConnectedAt.UTC(), a.RenewedAt.UTC()
	return a
}

func (s *suite) comesBack() {
	for _, u := range []tenants.UserID{"", s.User} {
		put := s.put(s.account(u))
		want := s.account(u)
		want.Version = 1
		got, err := s.Store.UpstreamAccount(s.Context(), s.Tenant, s.Server, u)
		s.ok(err)
		if !same(got, want) || !same(put, want) {
			s.Errorf("put %+v, got %+v, want %+v", put, got, want)
		}
		got.State, got.Failure, got.ExpiresAt = accounts.Expired, "it has ended", time.Time{}
		s.put(got)
		again, err := s.Store.UpstreamAccount(s.Context(), s.Tenant, s.Server, u)
		s.ok(err)
		if again.State != accounts.Expired || again.Failure != "it has ended" || again.Version != 2 || !again.ExpiresAt.IsZero() {
			s.Errorf("changed to %+v", again)
		}
	}
	all, err := s.Store.UpstreamAccounts(s.Context(), s.Tenant, s.Server)
	s.ok(err)
	if len(all) != 2 || all[0].User != "" || all[1].User != s.User {
		s.Errorf("listed %+v", all)
	}
	s.ok(s.Store.DeleteUpstreamAccount(s.Context(), s.Tenant, s.Server, s.User))
	_, err = s.Store.UpstreamAccount(s.Context(), s.Tenant, s.Server, s.User)
	s.code(err, fault.NotFound)
	s.code(s.Store.DeleteUpstreamAccount(s.Context(), s.Tenant, s.Server, s.User), fault.NotFound)
	if _, err := s.Store.UpstreamAccount(s.Context(), s.Tenant, s.Server, ""); err != nil {
		s.Errorf("the tenant's went with it: %v", err)
	}
}

func (s *suite) versions() {
	first := s.put(s.account(s.User))
	second := s.put(first)
	_, err := s.Store.PutUpstreamAccount(s.Context(), s.Tenant, first)
	s.code(err, fault.Stale)
	_, err = s.Store.PutUpstreamAccount(s.Context(), s.Tenant, s.account(s.User)) // as if there were none
	s.code(err, fault.Stale)
	s.ok(s.Store.DeleteUpstreamAccount(s.Context(), s.Tenant, s.Server, s.User))
	_, err = s.Store.PutUpstreamAccount(s.Context(), s.Tenant, second) // somebody disconnected it
	s.code(err, fault.Stale)
	if _, err := s.Store.UpstreamAccount(s.Context(), s.Tenant, s.Server, s.User); !fault.HasCode(err, fault.NotFound) {
		s.Errorf("a late write brought it back: %v", err)
	}
}

func (s *suite) apart() {
	s.put(s.account(s.User))
	_, err := s.Store.UpstreamAccount(s.Context(), s.Tenant, s.Server, "")
	s.code(err, fault.NotFound)
	of, err := s.Store.UpstreamAccountsOf(s.Context(), s.Tenant, s.User)
	s.ok(err)
	if len(of) != 1 || of[0].Server != s.Server {
		s.Errorf("of the person: %+v", of)
	}
}

func (s *suite) claims() {
	a := s.put(s.account(s.User))
	var mine atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			got, err := s.Store.ClaimRenewal(s.Context(), s.Tenant, a, began, began.Add(time.Minute))
			if err != nil {
				s.Error(err)
			}
			if got {
				mine.Add(1)
			}
		})
	}
	all.Wait()
	if mine.Load() != 1 {
		s.Errorf("%d renew at once", mine.Load())
	}
	if got, err := s.Store.ClaimRenewal(s.Context(), s.Tenant, a, began.Add(2*time.Minute), began.Add(3*time.Minute)); err != nil || !got {
		s.Errorf("after the time of one that died: %v %v", got, err)
	}
	next := s.put(a)
	if got, err := s.Store.ClaimRenewal(s.Context(), s.Tenant, a, began.Add(time.Hour), began.Add(2*time.Hour)); err != nil || got {
		s.Errorf("of an old version: %v %v", got, err)
	}
	if got, err := s.Store.ClaimRenewal(s.Context(), s.Tenant, next, began, began.Add(time.Minute)); err != nil || !got {
		s.Errorf("after it was renewed: %v %v", got, err)
	}
}

func (s *suite) client() {
	_, err := s.Store.UpstreamClient(s.Context(), s.Tenant, s.Server)
	s.code(err, fault.NotFound)
	c := accounts.Client{
		Server: s.Server, ID: "c1", How: accounts.Registered, AuthMethod: "none", Issuer: "https://as.example", Resource: "https://mcp.example/mcp",
		Authorize: "https://as.example/authorize", Token: "https://as.example/token", SaysIssuer: true, Scopes: []string{"a"}, FoundAt: began,
	}
	s.ok(s.Store.PutUpstreamClient(s.Context(), s.Tenant, c))
	c.ID, c.Revoke = "c2", "https://as.example/revoke"
	s.ok(s.Store.PutUpstreamClient(s.Context(), s.Tenant, c))
	got, err := s.Store.UpstreamClient(s.Context(), s.Tenant, s.Server)
	s.ok(err)
	if got.FoundAt = got.FoundAt.UTC(); fmt.Sprint(got) != fmt.Sprint(c) {
		s.Errorf("got %+v, want %+v", got, c)
	}
}

func (s *suite) flowOf(name string) accounts.Flow {
	return accounts.Flow{State: sha256.Sum256([]byte(name)), Server: s.Server, User: s.User, By: s.User, Verifier: secret.Text(strings.Repeat("v", 43)), ReturnTo: "/x", Expires: began.Add(time.Minute)}
}

func (s *suite) flow() {
	f := s.flowOf("one")
	s.ok(s.Store.BeginUpstreamFlow(s.Context(), s.Tenant, f, began))
	var got atomic.Int64
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			taken, err := s.Store.TakeUpstreamFlow(s.Context(), s.Tenant, f.State)
			if err == nil {
				got.Add(1)
				if taken.Verifier != f.Verifier || taken.User != f.User || taken.By != f.By || taken.ReturnTo != f.ReturnTo || !taken.Expires.Equal(f.Expires) || taken.State != f.State {
					s.Errorf("took %+v", taken)
				}
			} else if !fault.HasCode(err, fault.NotFound) {
				s.Error(err)
			}
		})
	}
	all.Wait()
	if got.Load() != 1 {
		s.Errorf("it was taken %d times", got.Load())
	}
}

func (s *suite) bounded() {
	for i := range accounts.MaxFlows + 3 {
		f := s.flowOf(fmt.Sprint(i))
		f.Expires = began.Add(time.Duration(i+1) * time.Minute)
		s.ok(s.Store.BeginUpstreamFlow(s.Context(), s.Tenant, f, began))
	}
	for i, want := range map[int]fault.Code{0: fault.NotFound, 2: fault.NotFound} {
		_, err := s.Store.TakeUpstreamFlow(s.Context(), s.Tenant, s.flowOf(fmt.Sprint(i)).State)
		s.code(err, want)
	}
	_, err := s.Store.TakeUpstreamFlow(s.Context(), s.Tenant, s.flowOf("3").State)
	s.ok(err)
	// What has ended goes when another begins.
	s.ok(s.Store.BeginUpstreamFlow(s.Context(), s.Tenant, s.flowOf("late"), began.Add(time.Hour)))
	_, err = s.Store.TakeUpstreamFlow(s.Context(), s.Tenant, s.flowOf("5").State)
	s.code(err, fault.NotFound)
}

func (s *suite) elsewhere() {
	a := s.put(s.account(s.User))
	s.ok(s.Store.BeginUpstreamFlow(s.Context(), s.Tenant, s.flowOf("one"), began))
	_, err := s.Store.UpstreamAccount(s.Context(), s.Elsewhere, s.Server, s.User)
	s.code(err, fault.NotFound)
	_, err = s.Store.TakeUpstreamFlow(s.Context(), s.Elsewhere, s.flowOf("one").State)
	s.code(err, fault.NotFound)
	if got, err := s.Store.ClaimRenewal(s.Context(), s.Elsewhere, a, began, began.Add(time.Minute)); err != nil || got {
		s.Errorf("claimed elsewhere: %v %v", got, err)
	}
	if _, err := s.Store.PutUpstreamAccount(s.Context(), s.Elsewhere, s.account(s.User)); err == nil {
		s.Error("an account of another tenant's server was kept")
	}
	if all, err := s.Store.UpstreamAccounts(s.Context(), s.Elsewhere, s.Server); err != nil || len(all) != 0 {
		s.Errorf("listed elsewhere: %+v %v", all, err)
	}
}
