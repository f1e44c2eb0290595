package signin

import (
	"container/list"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"latchkey/internal/tenants"
)

// rate of a token bucket: so many tries at once, then one every so often.
type rate struct {
	burst float64
	every time.Duration
}

// Guessing is slowed, never locked out: a bucket refills however often it is
// knocked at. The numbers leave a person who mistypes alone, and one account
// about 5,800 guesses a day, all networks together.
var (
	perAccount = rate{burst: 6, every: 15 * time.Second}
	perNetwork = rate{burst: 30, every: 2 * time.Second} // an office behind one address
	perTenant  = rate{burst: 300, every: 200 * time.Millisecond}
)

// maxBuckets bounds memory. The one that was used longest ago is forgotten,
// which an attacker can bring about only as fast as perNetwork lets them.
const maxBuckets = 10_000

// throttle counts in this process only: with several edges each allows as much.
type throttle struct {
	now func() time.Time

	mu       sync.Mutex
	accounts buckets[[32]byte]
	// known are accounts together with a network they have signed in from.
	// They have a bucket of their own there, so that somebody who keeps
	// guessing elsewhere does not keep the person out.
	known    buckets[[32]byte]
	networks buckets[netip.Prefix]
	tenants  buckets[tenants.ID]
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{
		now:      now,
		accounts: newBuckets[[32]byte](perAccount, maxBuckets),
		known:    newBuckets[[32]byte](perAccount, maxBuckets),
		networks: newBuckets[netip.Prefix](perNetwork, maxBuckets),
		tenants:  newBuckets[tenants.ID](perTenant, maxBuckets),
	}
}

// attempt is one try to sign in.
type attempt struct {
	tenant  tenants.ID
	account [32]byte
	pair    [32]byte // account and network
	network netip.Prefix
}

func newAttempt(t tenants.ID, email string, from netip.Addr) attempt {
	n := networkOf(from)
	account := string(t) + "\x00" + email
	return attempt{t, sha256.Sum256([]byte(account)), sha256.Sum256([]byte(account + "\x00" + n.String())), n}
}

// networkOf is what one party usually holds: an IPv4 address, an IPv6 /64.
func networkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// take spends one try, or says how long to wait and spends nothing.
func (t *throttle) take(a attempt) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	account := t.accounts.get(a.account, now)
	if known, ok := t.known.find(a.pair, now); ok {
		account = known
	}
	spend := []*bucket{account, t.networks.get(a.network, now), t.tenants.get(a.tenant, now)}
	for _, b := range spend {
		wait = max(wait, b.wait())
	}
	if wait == 0 {
		for _, b := range spend {
			b.tokens--
		}
	}
	return wait
}

// succeeded gives the account its try back and remembers the network.
func (t *throttle) succeeded(a attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	account := t.accounts.get(a.account, now)
	if known, ok := t.known.find(a.pair, now); ok {
		account = known
	}
	account.tokens = min(account.tokens+1, account.burst)
	t.known.get(a.pair, now)
}

type bucket struct {
	rate
	tokens float64
	at     time.Time
}

func (b *bucket) refill(now time.Time) {
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.burst, b.tokens+float64(d)/float64(b.every))
		b.at = now
	}
}

// wait is until there is a whole token. The smallest fractions are rounding.
func (b *bucket) wait() time.Duration {
	missing := 1 - b.tokens
	if missing <= 1e-9 {
		return 0
	}
	return time.Duration(missing * float64(b.every))
}

// buckets of one kind, at most max of them.
type buckets[K comparable] struct {
	rate  rate
	max   int
	byKey map[K]*list.Element
	order *list.List // of entry[K], the last used in front
}

type entry[K comparable] struct {
	key    K
	bucket *bucket
}

func newBuckets[K comparable](r rate, max int) buckets[K] {
	return buckets[K]{rate: r, max: max, byKey: map[K]*list.Element{}, order: list.New()}
}

func (bs *buckets[K]) find(k K, now time.Time) (*bucket, bool) {
	e, ok := bs.byKey[k]
	if !ok {
		return nil, false
	}
	bs.order.MoveToFront(e)
	b := e.Value.(entry[K]).bucket
	b.refill(now)
	return b, true
}

func (bs *buckets[K]) get(k K, now time.Time) *bucket {
	if b, ok := bs.find(k, now); ok {
		return b
	}
	if bs.order.Len() >= bs.max {
		oldest := bs.order.Back()
		delete(bs.byKey, oldest.Value.(entry[K]).key)
		bs.order.Remove(oldest)
	}
	b := &bucket{rate: bs.rate, tokens: bs.rate.burst, at: now}
	bs.byKey[k] = bs.order.PushFront(entry[K]{k, b})
	return b
}
