package signin

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

func FuzzReturnTo(f *testing.F) {
	for _, s := range []string{"/", "/authorize?x=y", "//evil", "/\\evil", "/../x", "/%2e%2e/x", "/a/..", "https://evil", "/a?b=/../c", "/%", "/\x00"} {
		f.Add(s)
	}
	byPath, err := site.Parse("http://127.0.0.1:8080/t/{tenant}")
	if err != nil {
		f.Fatal(err)
	}
	byHost, err := site.Parse("https://{tenant}.example.com")
	if err != nil {
		f.Fatal(err)
	}
	acme := tenants.Tenant{Slug: "acme"}
	f.Fuzz(func(t *testing.T, returnTo string) {
		for _, sites := range []*site.Sites{byPath, byHost} {
			s := &Service{sites: sites, home: "/connections"}
			to := s.destination(acme, returnTo)
			// What browsers do before they resolve: cut out tabs and newlines,
			// read a backslash as a slash and %2e as a dot.
			seen := strings.NewReplacer("\t", "", "\r", "", "\n", "", "\\", "/").Replace(to)
			path, query, _ := strings.Cut(seen, "?")
			path = strings.NewReplacer("%2e", ".", "%2E", ".").Replace(path)
			u, err := url.Parse(path)
			if err != nil {
				t.Fatalf("%q: %v", to, err)
			}
			u = u.ResolveReference(&url.URL{Path: u.Path}) // takes dot segments out
			base, _ := url.Parse(sites.Base("acme"))
			if u.Scheme != base.Scheme || u.Host != base.Host || !strings.HasPrefix(u.Path, base.Path+"/") {
				t.Fatalf("%q leads to %s", returnTo, u)
			}
			if strings.ContainsAny(to, "\r\n\t \\#") || strings.ContainsAny(query, "\r\n") {
				t.Fatalf("%q is sent as %q", returnTo, to)
			}
		}
	})
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parsePHC(s)
		if err != nil {
			return
		}
		if c.memory > 256<<10 || c.time > 16 || c.lanes > 16 || c.lanes < 1 || c.time < 1 || len(c.key) > 64 || c.String() != s {
			t.Fatalf("%q: %+v", s, c)
		}
	})
}

func TestHashesWaitForASlotAndAreBounded(t *testing.T) {
	h := newHasher(1)
	entered, release := make(chan struct{}, 100), make(chan struct{})
	var mu sync.Mutex
	now, most := 0, 0
	h.derive = func(_, _ []byte, _ params, n uint32) []byte {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		entered <- struct{}{}
		<-release
		mu.Lock()
		now--
		mu.Unlock()
		return make([]byte, n)
	}
	ctx := context.Background()
	errs := make(chan error, 100)
	for range 33 { // 32 may wait or work
		go func() {
			_, err := h.hash(ctx, "a password of twelve")
			errs <- err
		}()
	}
	<-entered
	if err := <-errs; !fault.HasCode(err, fault.Busy) || fault.Of(err).RetryAfter == 0 {
		t.Errorf("the one too many: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := h.hash(gone, "x"); !fault.HasCode(err, fault.Busy) {
		t.Errorf("a browser that left: %v", err)
	}
	close(release)
	for range 32 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if most != 1 {
		t.Errorf("%d at once", most)
	}
}

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func TestGuessingElsewhereDoesNotKeepAPersonOut(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	th := newThrottle(c.now)
	tenant := tenants.NewID()
	home := newAttempt(tenant, "pat@acme.test", netip.MustParseAddr("192.0.2.1"))
	if th.take(home) != 0 {
		t.Fatal("the first try waits")
	}
	th.succeeded(home)
	for i := range 1000 {
		th.take(newAttempt(tenant, "pat@acme.test", netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})))
	}
	if wait := th.take(newAttempt(tenant, "pat@acme.test", netip.MustParseAddr("203.0.113.9"))); wait == 0 {
		t.Error("guesses from everywhere are not slowed")
	}
	if wait := th.take(home); wait != 0 {
		t.Errorf("the person waits %s at home", wait)
	}
}

func TestOneNetworkIsSlowedOverAllAccounts(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	th := newThrottle(c.now)
	tenant := tenants.NewID()
	try := func(i int) time.Duration {
		a := netip.MustParseAddr(fmt.Sprintf("2001:db8:1:2::%x", i+1)) // one /64
		return th.take(newAttempt(tenant, fmt.Sprintf("user%d@acme.test", i), a))
	}
	n := 0
	for try(n) == 0 {
		n++
	}
	if n != int(perNetwork.burst) {
		t.Errorf("%d tries at once", n)
	}
	c.at = c.at.Add(perNetwork.every)
	if try(n) != 0 || try(n+1) == 0 {
		t.Error("it does not refill by one")
	}
	if th.take(newAttempt(tenant, "x@acme.test", netip.MustParseAddr("2001:db8:1:3::1"))) != 0 {
		t.Error("the next network waits too")
	}
	if networkOf(netip.MustParseAddr("::ffff:192.0.2.7")).String() != "192.0.2.7/32" {
		t.Error("a mapped address is not its IPv4 address")
	}
}

func TestThrottleMemoryIsBounded(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	th := newThrottle(c.now)
	tenant := tenants.NewID()
	for i := range 3 * maxBuckets {
		a := newAttempt(tenant, fmt.Sprint(i), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		c.at = c.at.Add(time.Second)
		th.take(a)
		th.succeeded(a)
	}
	for name, n := range map[string]int{"accounts": len(th.accounts.byKey), "known": len(th.known.byKey), "networks": len(th.networks.byKey), "in order": th.networks.order.Len()} {
		if n > maxBuckets {
			t.Errorf("%s: %d", name, n)
		}
	}
}
