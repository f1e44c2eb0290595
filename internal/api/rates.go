package api

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"latchkey/internal/fault"
)

// Rate is how many requests one caller may make of this edge.
type Rate struct {
	PerSecond float64 // 0: 100
	Burst     int     // 0: 400
}

// rates counts requests by caller, in memory: it keeps one script from taking
// an edge from all others, and is no quota.
type rates struct {
	limit rate.Limit
	burst int
	now   func() time.Time
	mu    sync.Mutex
	known map[string]*rate.Limiter
}

const maxKnown = 20_000

func newRates(r Rate, now func() time.Time) *rates {
	if r.PerSecond == 0 {
		r.PerSecond = 100
	}
	if r.Burst == 0 {
		r.Burst = 400
	}
	return &rates{limit: rate.Limit(r.PerSecond), burst: r.Burst, now: now, known: map[string]*rate.Limiter{}}
}

func (r *rates) take(p Principal) error {
	key, now := string(p.Kind)+":"+string(p.Tenant.ID)+":"+p.ID, r.now()
	r.mu.Lock()
	l := r.known[key]
	if l == nil {
		if len(r.known) >= maxKnown { // whoever has been quiet starts anew
			for k, old := range r.known {
				if old.TokensAt(now) >= float64(r.burst) {
					delete(r.known, k)
				}
			}
		}
		l = rate.NewLimiter(r.limit, r.burst)
		r.known[key] = l
	}
	r.mu.Unlock()
	if l.AllowN(now, 1) {
		return nil
	}
	wait := time.Duration(math.Ceil(float64(time.Second) / float64(r.limit)))
	return fault.New(fault.LimitReached, "More than %.0f requests a second came from this caller. Wait a second, and ask for larger pages instead of more of them.", float64(r.limit)).After(max(wait, time.Second))
}
