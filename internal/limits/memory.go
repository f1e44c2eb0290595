package limits

import (
	"context"
	"sync"
	"time"

	"latchkey/internal/tenants"
)

// Memory counts in this process. A tenant has a bounded number of counters, and
// those of one never make way for another's: a flood of keys is its maker's own.
type Memory struct {
	now     func() time.Time
	base    time.Time
	max     int
	mu      sync.RWMutex
	tenants map[tenants.ID]*counts
}

// maxKeys is how many counters a tenant has of rates and places, and as many
// again of identical calls, whose keys are whatever is called. Those that were
// used longest ago make way.
const maxKeys = 20_000

// NewMemory makes an empty store.
func NewMemory() *Memory { return newMemory(time.Now, maxKeys) }

func newMemory(now func() time.Time, max int) *Memory {
	return &Memory{now: now, base: now(), max: max, tenants: map[tenants.ID]*counts{}}
}

// State is InMemory.
func (m *Memory) State() State { return InMemory }

// counts are a tenant's.
type counts struct {
	mu    sync.Mutex
	rates table
	same  table
}

func (m *Memory) of(t tenants.ID) *counts {
	m.mu.RLock()
	c := m.tenants[t]
	m.mu.RUnlock()
	if c != nil {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c = m.tenants[t]; c == nil {
		c = &counts{rates: newTable(m.max), same: newTable(m.max)}
		m.tenants[t] = c
	}
	return c
}

// Spend looks at everything before it writes anything.
func (m *Memory) Spend(_ context.Context, r *Request) (v Verdict, err error) {
	now := m.now().Sub(m.base)
	c := m.of(r.Tenant)
	c.mu.Lock()
	defer c.mu.Unlock()

	var same *counter
	if r.Same.Kind != 0 {
		same = c.same.get(r.Same, now)
		same.roll(now)
		if r.RefuseSame > 0 && same.n+1 >= r.RefuseSame {
			v = Verdict{Refused: ByRepeats, Wait: same.from + window - now, Repeats: r.RefuseSame, First: !same.refused}
			same.refused = true
			return v, nil
		}
	}
	var at [maxBounds]*counter
	for i := range r.bounds[:r.n] {
		b := &r.bounds[i]
		at[i] = c.rates.get(b.Key, now)
		if b.Slots > 0 && at[i].running >= b.Slots && v.Wait < slotWait {
			v = Verdict{Refused: BySlots, Bound: i, Wait: slotWait}
		}
		if b.Interval > 0 {
			if wait := at[i].arrival(now) + b.Interval*time.Duration(1-b.Burst) - now; wait > v.Wait {
				v = Verdict{Refused: ByRate, Bound: i, Wait: wait}
			}
		}
	}
	if v.Refused != Not {
		return v, nil
	}
	for i := range r.bounds[:r.n] {
		b := &r.bounds[i]
		if b.Interval > 0 {
			at[i].due = at[i].arrival(now) + b.Interval
		}
		if b.Slots > 0 {
			at[i].running++
		}
	}
	if r.Minute.Kind != 0 {
		minute := c.rates.get(r.Minute, now)
		minute.roll(now)
		minute.n++
		v.Calls = minute.n
	}
	if same != nil {
		same.n++
		v.Repeats = same.n
	}
	return v, nil
}

// Release frees places at once.
func (m *Memory) Release(r *Request) {
	c := m.of(r.Tenant)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range r.bounds[:r.n] {
		if b := &r.bounds[i]; b.Slots > 0 {
			if at := c.rates.all[b.Key]; at != nil && at.running > 0 {
				at.running--
			}
		}
	}
}

// counter is what is kept of a key. Times are since the store was made, by the
// monotonic clock.
type counter struct {
	key        Key
	due        time.Duration // when the next call would come at the rate (GCRA's theoretical arrival time)
	running    int
	from       time.Duration // of the minute that n is within
	n          int
	refused    bool          // in that minute
	used       time.Duration // last
	prev, next *counter
}

func (c *counter) arrival(now time.Duration) time.Duration { return max(c.due, now) }

// roll begins a new minute where there is none, or it is over.
func (c *counter) roll(now time.Duration) {
	if c.n == 0 && !c.refused || now >= c.from+window {
		c.from, c.n, c.refused = now, 0, false
	}
}

// idle holds of a counter that is like a new one, and of no call that is being
// counted now.
func (c *counter) idle(now time.Duration) bool {
	return c.running == 0 && c.due <= now && c.used < now && (c.n == 0 && !c.refused || now >= c.from+window)
}

// table is counters in the order of their use.
type table struct {
	max   int
	all   map[Key]*counter
	first *counter // a ring; first.prev was used longest ago
}

func newTable(max int) table { return table{max: max, all: map[Key]*counter{}} }

// get gives the counter of a key, which is then the one used last.
func (t *table) get(k Key, now time.Duration) *counter {
	c := t.all[k]
	switch {
	case c == nil:
		t.makeRoom(now)
		c = &counter{key: k}
		t.all[k] = c
	case c == t.first:
		c.used = now
		return c
	default:
		c.prev.next, c.next.prev = c.next, c.prev
	}
	c.used = now
	if t.first == nil {
		c.prev, c.next = c, c
	} else {
		c.prev, c.next = t.first.prev, t.first
		c.prev.next, c.next.prev = c, c
	}
	t.first = c
	return c
}

// makeRoom drops what is idle among those used longest ago, and where the table
// is full whatever is: of those whose calls still run only when there is no
// other near.
func (t *table) makeRoom(now time.Duration) {
	for range 2 {
		if t.first == nil || !t.first.prev.idle(now) {
			break
		}
		t.drop(t.first.prev)
	}
	for len(t.all) >= t.max {
		victim := t.first.prev
		for c, i := victim, 0; i < 16 && c != t.first; c, i = c.prev, i+1 {
			if c.running == 0 {
				victim = c
				break
			}
		}
		t.drop(victim)
	}
}

func (t *table) drop(c *counter) {
	delete(t.all, c.key)
	if c.next == c {
		t.first = nil
		return
	}
	c.prev.next, c.next.prev = c.next, c.prev
	if t.first == c {
		t.first = c.next
	}
}
