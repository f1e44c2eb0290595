package limits

import (
	"context"
	"time"

	"latchkey/internal/tenants"
)

// Store counts calls. All methods are safe for concurrent use.
type Store interface {
	// Spend counts a call everywhere that the request names, or, where anything
	// refuses it, nowhere.
	Spend(ctx context.Context, r *Request) (Verdict, error)
	// Release gives the places of a call that was let through back. It does not
	// wait, and is in effect for every Spend of this store that begins after it.
	Release(r *Request)
	// State says where calls are counted now.
	State() State
}

// State is where calls are counted.
type State string

// The states.
const (
	InMemory State = "memory"   // in each edge: there is one
	InValkey State = "valkey"   // for all edges together
	Degraded State = "degraded" // in each edge, a share of each limit: Valkey is away
)

// Request asks whether one more call may be made, and counts it.
type Request struct {
	Tenant tenants.ID
	CallID string // names the call's places; unique
	bounds [maxBounds]Bound
	n      int
	// Minute counts a person's calls within a minute; its zero value counts
	// nothing. So does Same for identical calls, and from the RefuseSame-th on
	// they are refused; 0 refuses none.
	Minute     Key
	Same       Key
	RefuseSame int

	local bool // it was counted in memory instead
}

// Bounds are the limits that the call must keep.
func (r *Request) Bounds() []Bound { return r.bounds[:r.n] }

func (r *Request) slots() bool {
	for i := range r.bounds[:r.n] {
		if r.bounds[i].Slots > 0 {
			return true
		}
	}
	return false
}

// divided is the request with a share of each limit, one at least.
func (r *Request) divided(edges int) *Request {
	d := *r
	for i := range d.bounds[:d.n] {
		b := &d.bounds[i]
		b.Interval *= time.Duration(edges)
		b.Burst = max(1, b.Burst/edges)
		if b.Slots > 0 {
			b.Slots = max(1, b.Slots/edges)
		}
	}
	return &d
}

// Bound is one limit.
type Bound struct {
	Key Key
	// Interval is the time between calls at the rate, and Burst how many may come
	// at once before it counts; without an interval there is no rate.
	Interval time.Duration
	Burst    int
	Slots    int // calls at the same time; 0: any number
}

// Key names what is counted, within a tenant.
type Key struct {
	Kind              Kind
	Who, Server, What string
}

// Kind is what a key counts. It stands in the keys of Valkey.
type Kind byte

const (
	allOf         Kind = 't'
	userOf        Kind = 'u'
	sessionOf     Kind = 's'
	toolOf        Kind = 'o' // as the tenant limits every tool
	ownToolOf     Kind = 'O' // as the tool limits itself
	userToolOf    Kind = 'U'
	sessionToolOf Kind = 'S'
	minuteOf      Kind = 'm'
	sameOf        Kind = 'r'
)

// window is how long a person's minute and identical calls are counted, from
// the first of them on.
const window = time.Minute

// slotWait is the time to wait that is told where too many calls run: when one
// will end is not known.
const slotWait = time.Second

// Refused is what a call was refused for.
type Refused byte

const (
	Not Refused = iota
	ByRate
	BySlots
	ByRepeats
)

// Verdict is what was decided.
type Verdict struct {
	Refused Refused
	Bound   int           // the one of the request's that refuses for longest
	Wait    time.Duration // until it would not
	Calls   int           // of the person within a minute, this one included
	Repeats int           // identical ones within a minute, this one included
	First   bool          // with ByRepeats: it is the first refusal of that minute
}
