// Package idempotencytest is the contract of idempotency.CallStore as a test:
// each implementation runs it.
package idempotencytest

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/tenants"
)

// Fixture is an empty store and two tenants in it.
type Fixture struct {
	Store interface {
		idempotency.CallStore
		CollectCalls(ctx context.Context, now time.Time) (int64, error)
	}
	A, B tenants.ID
}

// Run runs the suite, with a fresh fixture for each part.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for name, test := range map[string]func(*suite){
		"OneOfManyIsTaken":                (*suite).oneOfMany,
		"OwnClaimIsTakenAgain":            (*suite).ownClaim,
		"SameKeyInTwoTenants":             (*suite).twoTenants,
		"OtherPersonsAndServersKeys":      (*suite).otherNames,
		"DoneIsKeptForItsTime":            (*suite).done,
		"UnknownIsNotTaken":               (*suite).unknown,
		"UnknownGoesOnUnderItsKey":        (*suite).again,
		"FreeIsTakenUnderItsKey":          (*suite).free,
		"DeadEdgeLeavesUnknown":           (*suite).dead,
		"ProlongedIsNotTakenForDead":      (*suite).prolonged,
		"LateEndOfALostCallIsTheTruth":    (*suite).late,
		"EndOfAnotherCallChangesNothing":  (*suite).another,
		"CollectSparesWhatIsStillWanted":  (*suite).collect,
		"AnotherRequestDoesNotTakeOver":   (*suite).otherRequest,
		"LargestAnswerThatIsKeptIsStored": (*suite).large,
	} {
		t.Run(name, func(t *testing.T) {
			test(&suite{T: t, Fixture: open(t), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)})
		})
	}
}

const (
	timeout = 30 * time.Second
	keep    = 24 * time.Hour
)

type suite struct {
	*testing.T
	Fixture
	now time.Time
}

func hash() (h idempotency.Hash) { rand.Read(h[:]); return h }

func name() idempotency.CallName {
	return idempotency.CallName{User: tenants.NewUserID(), Server: tenants.NewServerID(), Key: hash()}
}

func (s *suite) claimOf(request idempotency.Hash) idempotency.Claim {
	id := tenants.RandomID("ca")
	return idempotency.Claim{CallID: id, Tool: "refund", Request: request, Upstream: "key of " + id, Now: s.now, RunsUntil: s.now.Add(timeout), Keep: keep}
}

func (s *suite) claim(t tenants.ID, n idempotency.CallName, c idempotency.Claim) (idempotency.Call, bool) {
	s.Helper()
	was, taken, err := s.Store.ClaimCall(s.Context(), t, n, c)
	if err != nil {
		s.Fatal(err)
	}
	return was, taken
}

func (s *suite) take(t tenants.ID, n idempotency.CallName, c idempotency.Claim) idempotency.Call {
	s.Helper()
	was, taken := s.claim(t, n, c)
	if !taken || was.ID != c.CallID || was.State != idempotency.Running {
		s.Fatalf("taken %v, %+v", taken, was)
	}
	return was
}

func (s *suite) end(t tenants.ID, n idempotency.CallName, c idempotency.Claim, e idempotency.End) {
	s.Helper()
	if e.ExpiresAt.IsZero() {
		e.ExpiresAt = s.now.Add(keep)
	}
	if err := s.Store.EndCall(s.Context(), t, n, c.CallID, e); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) prolong(t tenants.ID, n idempotency.CallName, call string, until time.Time) {
	s.Helper()
	if err := s.Store.ProlongCall(s.Context(), t, n, call, until); err != nil {
		s.Fatal(err)
	}
}

// wantHeld is a claim that meets another call.
func (s *suite) wantHeld(t tenants.ID, n idempotency.CallName, by idempotency.Claim, state idempotency.CallState) idempotency.Call {
	s.Helper()
	was, taken := s.claim(t, n, s.claimOf(by.Request))
	if taken || was.ID != by.CallID || was.Tool != by.Tool || was.Request != by.Request || was.State != state || was.Upstream != by.Upstream || !was.BeganAt.Equal(by.Now) {
		s.Fatalf("taken %v, %+v", taken, was)
	}
	return was
}

func (s *suite) oneOfMany() {
	n, request := name(), hash()
	var taken atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, got, err := s.Store.ClaimCall(s.Context(), s.A, n, s.claimOf(request)); err != nil {
				s.Error(err)
			} else if got {
				taken.Add(1)
			}
		})
	}
	all.Wait()
	if taken.Load() != 1 {
		s.Errorf("%d of 16 were taken", taken.Load())
	}
}

// The store's answer to a claim may be lost, and the claim be made again.
func (s *suite) ownClaim() {
	n, c := name(), s.claimOf(hash())
	s.take(s.A, n, c)
	if was := s.take(s.A, n, c); was.Upstream != c.Upstream {
		s.Errorf("%+v", was)
	}
	s.wantHeld(s.A, n, c, idempotency.Running)
}

func (s *suite) twoTenants() {
	n, a, b := name(), s.claimOf(hash()), s.claimOf(hash())
	s.take(s.A, n, a)
	s.end(s.A, n, a, idempotency.End{State: idempotency.Done, Sealed: []byte("of a")})
	s.take(s.B, n, b)
	// Neither ends, frees or reads the other's.
	s.end(s.B, n, a, idempotency.End{State: idempotency.Free})
	s.wantHeld(s.B, n, b, idempotency.Running)
	if was := s.wantHeld(s.A, n, a, idempotency.Done); string(was.Sealed) != "of a" {
		s.Errorf("%q", was.Sealed)
	}
	if _, err := s.Store.CallNamed(s.Context(), s.B, name(), s.now); !fault.HasCode(err, fault.NotFound) {
		s.Error(err)
	}
}

func (s *suite) otherNames() {
	n := name()
	s.take(s.A, n, s.claimOf(hash()))
	for _, other := range []idempotency.CallName{
		{User: tenants.NewUserID(), Server: n.Server, Key: n.Key}, {User: n.User, Server: tenants.NewServerID(), Key: n.Key}, {User: n.User, Server: n.Server, Key: hash()},
	} {
		s.take(s.A, other, s.claimOf(hash()))
	}
}

func (s *suite) done() {
	n, c := name(), s.claimOf(hash())
	s.take(s.A, n, c)
	s.wantHeld(s.A, n, c, idempotency.Running)
	s.end(s.A, n, c, idempotency.End{State: idempotency.Done, Sealed: []byte("answer")})
	s.now = s.now.Add(keep - time.Second)
	if was := s.wantHeld(s.A, n, c, idempotency.Done); string(was.Sealed) != "answer" {
		s.Errorf("%q", was.Sealed)
	}
	s.now = s.now.Add(2 * time.Second)
	if _, err := s.Store.CallNamed(s.Context(), s.A, n, s.now); !fault.HasCode(err, fault.NotFound) {
		s.Errorf("after its day: %v", err)
	}
	next := s.claimOf(c.Request)
	if was := s.take(s.A, n, next); was.Upstream != next.Upstream {
		s.Errorf("what runs after a day has the key %s of what ran before", was.Upstream)
	}
	if was := s.wantHeld(s.A, n, next, idempotency.Running); was.Sealed != nil {
		s.Error("the answer of yesterday is still there")
	}
}

// prolonged is a call that waits for its caller's answer.
func (s *suite) prolonged() {
	n, c := name(), s.claimOf(hash())
	s.take(s.A, n, c)
	later := c.RunsUntil.Add(5 * time.Minute)
	s.prolong(s.A, n, c.CallID, later)
	s.prolong(s.A, n, c.CallID, later.Add(-time.Minute))              // never back
	s.prolong(s.A, n, s.claimOf(hash()).CallID, later.Add(time.Hour)) // not another's
	s.prolong(s.B, n, c.CallID, later.Add(time.Hour))
	s.now = later
	if was := s.wantHeld(s.A, n, c, idempotency.Running); !was.RunsUntil.Equal(later) {
		s.Errorf("runs until %v, want %v", was.RunsUntil, later)
	}
	s.now = later.Add(time.Second)
	if was := s.wantHeld(s.A, n, c, idempotency.Unknown); !was.Lost {
		s.Errorf("%+v", was)
	}
	s.end(s.A, n, c, idempotency.End{State: idempotency.Done, ExpiresAt: s.now.Add(keep)})
	s.prolong(s.A, n, c.CallID, later.Add(time.Hour))
	s.wantHeld(s.A, n, c, idempotency.Done)
}

func (s *suite) unknown() {
	n, c := name(), s.claimOf(hash())
	s.take(s.A, n, c)
	s.end(s.A, n, c, idempotency.End{State: idempotency.Unknown})
	if was := s.wantHeld(s.A, n, c, idempotency.Unknown); was.Lost {
		s.Error("lost, although its edge said so itself")
	}
}

func (s *suite) again() {
	n, c := name(), s.claimOf(hash())
	s.take(s.A, n, c)
	again := s.claimOf(c.Request)
	again.Again = true
	if _, taken := s.claim(s.A, n, again); taken {
		s.Fatal("what is running was run beside itself")
	}
	s.end(s.A, n, c, idempotency.End{State: idempotency.Unknown})
	if was := s.take(s.A, n, again); was.Upstream != c.Upstream {
		s.Errorf("the upstream sees another key, %s", was.Upstream)
	}
	s.end(s.A, n, again, idempotency.End{State: idempotency.Done})
	third := s.claimOf(c.Request)
	third.Again = true
	if was, taken := s.claim(s.A, n, third); taken || was.State != idempotency.Done {
		s.Errorf("what is done ran again: %+v", was)
	}
}

func (s *suite) free() {
	n, c := name(), s.claimOf(hash())
	s.take(s.A, n, c)
	s.end(s.A, n, c, idempotency.End{State: idempotency.Free})
	next := s.claimOf(c.Request)
	if was := s.take(s.A, n, next); was.Upstream != c.Upstream {
		s.Errorf("the upstream sees another key, %s", was.Upstream)
	}
	s.end(s.A, n, next, idempotency.End{State: idempotency.Free})
	other := s.claimOf(hash()) // corrected arguments under the same key
	if was := s.take(s.A, n, other); was.Upstream != other.Upstream {
		s.Errorf("another request has the key %s", was.Upstream)
	}
}

func (s *suite) dead() {
	n, c := name(), s.claimOf(hash())
	s.take(s.A, n, c)
	s.now = s.now.Add(timeout)
	s.wantHeldAt(n, c, idempotency.Running, false)
	s.now = s.now.Add(time.Second)
	s.wantHeldAt(n, c, idempotency.Unknown, true)
	s.wantHeldAt(n, c, idempotency.Unknown, false) // it is said once
	again := s.claimOf(c.Request)
	again.Again = true
	s.take(s.A, n, again)
	// One that may run again takes over at once.
	s.now = s.now.Add(timeout + time.Second)
	third := s.claimOf(c.Request)
	third.Again = true
	if was := s.take(s.A, n, third); was.Upstream != c.Upstream {
		s.Errorf("the upstream sees another key, %s", was.Upstream)
	}
}

func (s *suite) wantHeldAt(n idempotency.CallName, c idempotency.Claim, state idempotency.CallState, lost bool) {
	s.Helper()
	if was := s.wantHeld(s.A, n, c, state); was.Lost != lost {
		s.Errorf("at %s lost is %v", s.now, was.Lost)
	}
}

func (s *suite) late() {
	n, c := name(), s.claimOf(hash())
	s.take(s.A, n, c)
	s.now = s.now.Add(timeout + time.Second)
	s.wantHeld(s.A, n, c, idempotency.Unknown)
	s.end(s.A, n, c, idempotency.End{State: idempotency.Done, Sealed: []byte("late")})
	if was := s.wantHeld(s.A, n, c, idempotency.Done); string(was.Sealed) != "late" {
		s.Errorf("%q", was.Sealed)
	}
}

func (s *suite) another() {
	n, c := name(), s.claimOf(hash())
	s.take(s.A, n, c)
	s.end(s.A, n, c, idempotency.End{State: idempotency.Unknown})
	again := s.claimOf(c.Request)
	again.Again = true
	again.Upstream = c.Upstream
	s.take(s.A, n, again)
	s.end(s.A, n, c, idempotency.End{State: idempotency.Free})
	s.wantHeld(s.A, n, again, idempotency.Running)
}

func (s *suite) otherRequest() {
	n, c := name(), s.claimOf(hash())
	s.take(s.A, n, c)
	s.end(s.A, n, c, idempotency.End{State: idempotency.Unknown})
	other := s.claimOf(hash())
	other.Again = true
	if was, taken := s.claim(s.A, n, other); taken || was.Request != c.Request {
		s.Errorf("taken %v, %+v", taken, was)
	}
}

func (s *suite) collect() {
	old, fresh, running := name(), name(), name()
	for _, n := range []idempotency.CallName{old, fresh} {
		c := s.claimOf(hash())
		s.take(s.A, n, c)
		s.end(s.A, n, c, idempotency.End{State: idempotency.Done})
		s.now = s.now.Add(time.Hour)
	}
	s.take(s.B, running, s.claimOf(hash()))
	gone := name()
	c := s.claimOf(hash())
	s.take(s.B, gone, c)
	s.end(s.B, gone, c, idempotency.End{State: idempotency.Unknown, ExpiresAt: s.now})
	s.now = s.now.Add(keep - time.Hour - time.Minute)
	if n, err := s.Store.CollectCalls(s.Context(), s.now); err != nil || n != 2 {
		s.Errorf("%d were collected, %v", n, err)
	}
	for n, t := range map[idempotency.CallName]tenants.ID{fresh: s.A, running: s.B} {
		if _, err := s.Store.CallNamed(s.Context(), t, n, s.now); err != nil {
			s.Error(err)
		}
	}
}

func (s *suite) large() {
	n, c := name(), s.claimOf(hash())
	s.take(s.A, n, c)
	sealed := bytes.Repeat([]byte{7}, idempotency.MaxKept+1000) // what sealing adds
	s.end(s.A, n, c, idempotency.End{State: idempotency.Done, Sealed: sealed})
	if was := s.wantHeld(s.A, n, c, idempotency.Done); !bytes.Equal(was.Sealed, sealed) {
		s.Errorf("%d bytes came back", len(was.Sealed))
	}
}
