package httptool

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

const (
	breakerFailures = 5
	breakerPause    = 10 * time.Second
	maxBreakers     = 10_000
)

// breaker spares an upstream that is away, and callers the wait for it. Servers of
// a tenant with the same origin share one; those of different tenants do not, so
// that nobody can close another's way.
type breaker struct {
	gate *gobreaker.TwoStepCircuitBreaker[struct{}]

	mu    sync.Mutex
	until time.Time // while it is open
}

type breakerKey struct {
	tenant tenants.ID
	origin string
}

// breakers are of this process: a worker has the openings of many servers.
var breakers = struct {
	sync.Mutex
	all map[breakerKey]*breaker
}{all: map[breakerKey]*breaker{}}

func breakerOf(t tenants.ID, origin string) *breaker {
	key := breakerKey{t, origin}
	breakers.Lock()
	defer breakers.Unlock()
	if b := breakers.all[key]; b != nil {
		return b
	}
	for k := range breakers.all {
		if len(breakers.all) < maxBreakers {
			break
		}
		delete(breakers.all, k)
	}
	b := newBreaker()
	breakers.all[key] = b
	return b
}

func newBreaker() *breaker {
	b := &breaker{}
	b.gate = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     breakerPause,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerFailures },
		// A caller who gives up says nothing of the upstream.
		IsExcluded: func(err error) bool { return errors.Is(err, errGaveUp) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.until = (time.Time{}); to == gobreaker.StateOpen {
				b.until = time.Now().Add(breakerPause)
			}
		},
	})
	return b
}

var (
	errGaveUp = errors.New("the caller gave up")
	errFailed = errors.New("failed")
)

// allow gives how to tell what became of a request, or says when to come again.
func (b *breaker) allow() (done func(ok bool, ctx context.Context), err error) {
	tell, err := b.gate.Allow()
	if err != nil {
		b.mu.Lock()
		wait := time.Until(b.until)
		b.mu.Unlock()
		wait = max(wait.Round(time.Second), time.Second)
		return nil, fault.New(fault.UpstreamAway, "The system behind this tool has failed several times in a row, and is left alone for a while. Nothing was done. Call again in %d s.", int(wait.Seconds())).
			After(wait).Because(err)
	}
	return func(ok bool, ctx context.Context) {
		switch {
		case ok:
			tell(nil)
		case ctx.Err() == context.Canceled:
			tell(errGaveUp)
		default:
			tell(errFailed)
		}
	}, nil
}
