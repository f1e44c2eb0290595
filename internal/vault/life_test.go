package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// counter is an issuer that keeps account of what it issued. These tests are
// about time and order, which a bubble holds still; what Vault itself does is
// tried on a real one.
type counter struct {
	ttl   time.Duration
	takes time.Duration
	keep  bool

	mu     sync.Mutex
	n      int
	ends   map[secret.Text]time.Time
	away   bool
	denied map[string]bool // call ids whose grant is refused
}

func newCounter() *counter {
	return &counter{ttl: time.Minute, takes: 10 * time.Millisecond, keep: true, ends: map[secret.Text]time.Time{}, denied: map[string]bool{}}
}

func (c *counter) issue(ctx context.Context, r *LeaseRequest) (issued, error) {
	select {
	case <-time.After(c.takes):
	case <-ctx.Done():
		return issued{}, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.away:
		return issued{}, away(errors.New("test"))
	case c.denied[r.CallID]:
		return issued{}, refused(errors.New("test"))
	}
	c.n++
	token := secret.Text(fmt.Sprintf("token %d", c.n))
	c.ends[token] = time.Now().Add(c.ttl)
	return issued{id: fmt.Sprintf("lease %d", c.n), token: token, ttl: c.ttl, keep: c.keep}, nil
}

func (c *counter) revoke(_ context.Context, token secret.Text) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.ends[token]; !ok {
		return errors.New("revoked twice")
	}
	delete(c.ends, token)
	return nil
}

func (c *counter) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// live are the tokens that are neither revoked nor over.
func (c *counter) live() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range c.ends {
		if end.After(time.Now()) {
			n++
		}
	}
	return n
}

var fakeSite = &site{tenant: tenants.NewID(), server: tenants.NewServerID(), user: tenants.NewUserID()}

func TestWaitersDoNotShareTheLeadersRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter()
		l := newLeases(c, LeasesConfig{})
		defer l.Close(context.Background())
		bad, good := fakeSite.request(t, registry.ReadAccess), fakeSite.request(t, registry.ReadAccess)
		c.denied[bad.CallID] = true
		leader := make(chan error)
		go func() {
			_, _, err := l.Get(context.Background(), bad)
			leader <- err
		}()
		synctest.Wait()
		_, release, err := l.Get(t.Context(), good)
		if err != nil {
			t.Fatalf("a good grant behind a refused one: %v", err)
		}
		release()
		if err := <-leader; !errors.Is(err, ErrRefused) {
			t.Errorf("the refused one: %v", err)
		}
	})
}

func TestWaiterLeavesWhenItsCallEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter()
		c.takes = time.Second
		l := newLeases(c, LeasesConfig{})
		defer l.Close(context.Background())
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, _, err := l.Get(ctx, fakeSite.request(t, registry.ReadAccess)); !fault.HasCode(err, fault.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(began); d != 100*time.Millisecond {
			t.Errorf("waited %s", d)
		}
		// What it began serves the next.
		_, release, err := l.Get(t.Context(), fakeSite.request(t, registry.ReadAccess))
		if err != nil || c.n != 1 {
			t.Fatalf("%d issued, %v", c.n, err)
		}
		release()
	})
}

func TestVaultIsSparedWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter()
		l := newLeases(c, LeasesConfig{})
		defer l.Close(context.Background())
		lease, release := get(t, l, fakeSite.request(t, registry.ReadAccess))
		release()
		c.set(func() { c.away = true })
		time.Sleep(41 * time.Second) // of a bubble: past two thirds
		tries := 0
		for range 100 {
			before := l.flights()
			_, release := get(t, l, fakeSite.request(t, registry.ReadAccess))
			release()
			if l.flights() > before {
				tries++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if tries < 5 || tries > 11 {
			t.Errorf("%d tries in ten seconds", tries)
		}
		<-lease.Expired
		if _, _, err := l.Get(t.Context(), fakeSite.request(t, registry.ReadAccess)); !fault.HasCode(err, fault.CredentialsAway) {
			t.Errorf("after its end: %v", err)
		}
	})
}

func (l *Leases) flights() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.slots {
		if s.flight != nil {
			n++
		}
	}
	return n
}

func TestGrantIsForgottenAfterItsLife(t *testing.T) {
	var s seenGrants
	now := time.Unix(1e9, 0)
	for i := range 1000 {
		at := now.Add(time.Duration(i) * time.Second)
		id := fmt.Sprint(i)
		if !s.add(id, at) {
			t.Fatalf("%s was not there yet", id)
		}
		for back := range min(i, 60) {
			if s.add(fmt.Sprint(i-back), at) {
				t.Fatalf("%d was forgotten after %d s", i-back, back)
			}
		}
		if n := len(s.young) + len(s.old); n > 200 {
			t.Fatalf("%d ids are kept", n)
		}
	}
}

func TestInvalidateCatchesWhatIsOnItsWay(t *testing.T) {
	for _, access := range accesses {
		synctest.Test(t, func(t *testing.T) {
			c := newCounter()
			l := newLeases(c, LeasesConfig{})
			defer l.Close(context.Background())
			r := fakeSite.request(t, access)
			ended := make(chan error)
			go func() {
				_, _, err := l.Get(context.Background(), r)
				ended <- err
			}()
			synctest.Wait()
			l.Invalidate(fakeSite.tenant, "")
			// One flight more is allowed: reading tries again with the same grant.
			<-ended
			synctest.Wait()
			if n := c.live(); n != 0 {
				t.Errorf("%s: %d credentials from before", access, n)
			}
		})
	}
}

// Whatever happens in whatever order, nothing is lost: what was issued is
// handed out, revoked or over, and the count of a tenant comes back to nothing.
func TestNoCredentialIsLost(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			c := newCounter()
			c.ttl = 5 * time.Second
			l := newLeases(c, LeasesConfig{PerTenant: 4})
			sites := []*site{fakeSite, {tenant: fakeSite.tenant, server: tenants.NewServerID(), user: fakeSite.user}, {tenant: tenants.NewID(), server: tenants.NewServerID(), user: fakeSite.user}}
			var calls sync.WaitGroup
			for range 300 {
				s := sites[random.IntN(len(sites))]
				access := accesses[random.IntN(2)]
				hold, patience := time.Duration(random.IntN(4000))*time.Millisecond, time.Duration(random.IntN(30))*time.Millisecond
				switch random.IntN(12) {
				case 0:
					l.Invalidate(s.tenant, s.server)
				case 1:
					c.set(func() { c.away = !c.away })
				case 2:
					c.set(func() { c.keep = !c.keep })
				default:
					r := s.request(t, access)
					calls.Go(func() {
						ctx, cancel := context.WithTimeout(context.Background(), patience)
						defer cancel()
						lease, release, err := l.Get(ctx, r)
						if err != nil {
							return
						}
						defer release()
						select {
						case <-lease.Expired:
						case <-time.After(hold):
						}
					})
				}
				time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
				l.mu.Lock()
				if n := l.live[share{tenant: fakeSite.tenant}]; n > 4 {
					t.Errorf("%d live credentials of a tenant that may have 4", n)
				}
				l.mu.Unlock()
			}
			calls.Wait()
			c.set(func() { c.away = false })
			if err := l.Close(context.Background()); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second) // one that has run out ends in Vault by itself
			if n := c.live(); n != 0 {
				t.Errorf("seed %d: %d credentials outlive Close", seed, n)
			}
			if len(l.live) != 0 || len(l.ends) != 0 || len(l.slots) != 0 {
				t.Errorf("seed %d: left are %v, %d ends, %d slots", seed, l.live, len(l.ends), len(l.slots))
			}
		})
	}
}
