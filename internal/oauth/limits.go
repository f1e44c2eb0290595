package oauth

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Rates bound what strangers may make the platform store or fetch, for each
// network and each tenant: so many at once, and then one each interval.
type Rates struct {
	NetworkBurst, TenantBurst int
	NetworkEvery, TenantEvery time.Duration
}

// Some clients register anew at each step-up, and all people of a web app
// register from its few addresses.
var defaultRegistrations = Rates{NetworkBurst: 40, NetworkEvery: 2 * time.Second, TenantBurst: 200, TenantEvery: time.Second / 2}

var defaultFetches = Rates{NetworkBurst: 60, NetworkEvery: time.Second, TenantBurst: 300, TenantEvery: time.Second / 5}

func (r Rates) or(def Rates) Rates {
	if r == (Rates{}) {
		return def
	}
	return r
}

// limiter counts in this process: with several edges the bounds multiply,
// which still bounds them.
type limiter struct {
	rates Rates
	now   func() time.Time
	mu    sync.Mutex
	have  map[any]*rate.Limiter
}

// maxBuckets bounds memory. Past it full buckets go first, then any.
const maxBuckets = 20_000

func newLimiter(r Rates, now func() time.Time) *limiter {
	return &limiter{rates: r, now: now, have: map[any]*rate.Limiter{}}
}

// take spends one token of the network and one of the tenant. The error says
// when to come back.
func (l *limiter) take(t tenants.ID, from netip.Addr) error {
	type inTenant struct {
		t   tenants.ID
		net netip.Prefix
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	mine := l.bucket(inTenant{t, networkOf(from)}, l.rates.NetworkEvery, l.rates.NetworkBurst, now)
	all := l.bucket(t, l.rates.TenantEvery, l.rates.TenantBurst, now)
	wait := max(untilToken(mine, now), untilToken(all, now))
	if wait > 0 {
		return fault.New(fault.LimitReached, "Too many requests of this kind came from your network or for this tenant. Wait, then try again.").After(wait)
	}
	mine.AllowN(now, 1)
	all.AllowN(now, 1)
	return nil
}

func untilToken(b *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - b.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / float64(b.Limit()) * float64(time.Second))
}

func (l *limiter) bucket(key any, every time.Duration, burst int, now time.Time) *rate.Limiter {
	b, ok := l.have[key]
	if !ok {
		if len(l.have) >= maxBuckets {
			l.evict(now)
		}
		b = rate.NewLimiter(rate.Every(every), burst)
		l.have[key] = b
	}
	return b
}

func (l *limiter) evict(now time.Time) {
	for k, b := range l.have {
		if b.TokensAt(now) >= float64(b.Burst()) {
			delete(l.have, k)
		}
	}
	for k := range l.have {
		if len(l.have) < maxBuckets*9/10 {
			return
		}
		delete(l.have, k)
	}
}

// networkOf is the unit that one party can hold many addresses of.
func networkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// throttle applies a limiter to a request.
func (s *Server) throttle(l *limiter, t tenants.ID, r *http.Request) error {
	return l.take(t, s.Client(r))
}
