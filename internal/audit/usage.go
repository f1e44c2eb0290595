package audit

import (
	"context"
	"math"
	"time"

	"latchkey/internal/tenants"
)

// Group is what usage is told apart by.
type Group string

const (
	ByServer Group = "server"
	ByTool   Group = "tool"
	ByMember Group = "member"
	ByClient Group = "client"
)

// AnyResource stands for all resources of a server among its tools: each has
// an address of its own.
const AnyResource = "resources/read"

// UsageQuery asks for the calls of a time. Calls are tool calls and reads of
// resources, done or refused; changes by the API are none.
type UsageQuery struct {
	Since, Until time.Time
	Step         time.Duration // of the series; Since is a multiple of it
	By           Group
	// Filters: what is not zero must hold.
	Server, Tool, Client string
	User                 tenants.UserID
}

// Usage is the answer. It is exact up to Until, but for latencies, which are
// within 5 %.
type Usage struct {
	Totals  Numbers
	Series  []UsagePoint // every step, oldest first
	Groups  []UsageGroup // most calls first
	Busiest []Busiest    // most calls in a minute first
}

// UsagePoint is one step of time.
type UsagePoint struct {
	At time.Time
	Numbers
}

// UsageGroup is one of what the query told apart: Server and Tool by tool,
// otherwise the one field.
type UsageGroup struct {
	Server, Tool, Client string
	User                 tenants.UserID
	Numbers
}

// Busiest is a person's minute with most calls. Filters other than the person
// do not apply to it: what stands out is an agent that goes in circles,
// whatever it calls.
type Busiest struct {
	User  tenants.UserID
	At    time.Time
	Calls int64
}

// Numbers count calls.
type Numbers struct {
	Done, Failed, Refused, Unknown                   int64
	Access, Validation, Downstream, Limits, Internal int64 // errors by category
	Latency                                          Latencies
}

// Calls is how many there were.
func (n *Numbers) Calls() int64 { return n.Done + n.Failed + n.Refused + n.Unknown }

// Add adds another's.
func (n *Numbers) Add(o *Numbers) {
	n.Done, n.Failed, n.Refused, n.Unknown = n.Done+o.Done, n.Failed+o.Failed, n.Refused+o.Refused, n.Unknown+o.Unknown
	n.Access, n.Validation, n.Downstream = n.Access+o.Access, n.Validation+o.Validation, n.Downstream+o.Downstream
	n.Limits, n.Internal = n.Limits+o.Limits, n.Internal+o.Internal
	for b, c := range o.Latency {
		n.Latency.Count(b, c)
	}
}

// Latencies counts calls that ran by how long they took, in buckets that are
// each a tenth wider than the one before. Bucket 0 is less than 100 µs, bucket
// b from 100 µs · 1.1^(b-1) on; the last holds everything from 7 minutes on.
type Latencies []int64

const (
	// MaxBucket is the last one.
	MaxBucket = 160
	firstEdge = 100 * time.Microsecond
	growth    = 1.1
)

// BucketOf a latency. The store's rule in SQL is the same.
func BucketOf(d time.Duration) int {
	if d < firstEdge {
		return 0
	}
	return min(MaxBucket, 1+int(math.Floor(math.Log(float64(d)/float64(firstEdge))/math.Log(growth))))
}

// Count adds n calls to a bucket.
func (l *Latencies) Count(bucket int, n int64) {
	if n == 0 || bucket < 0 || bucket > MaxBucket {
		return
	}
	if len(*l) <= bucket {
		*l = append(*l, make([]int64, bucket+1-len(*l))...)
	}
	(*l)[bucket] += n
}

// Percentile is the latency that a share of the calls did not exceed, or 0 when
// there are none. It gives the middle of a bucket, so that it is never more
// than 4.9 % off.
func (l Latencies) Percentile(share float64) time.Duration {
	var all int64
	for _, n := range l {
		all += n
	}
	if all == 0 {
		return 0
	}
	rank := max(1, int64(math.Ceil(share*float64(all))))
	for b, n := range l {
		if rank -= n; rank <= 0 {
			if b == 0 {
				return firstEdge / 2
			}
			return time.Duration(float64(firstEdge) * math.Pow(growth, float64(b)-0.5))
		}
	}
	return 0
}

// UsageReader adds calls up.
type UsageReader interface {
	Usage(ctx context.Context, t tenants.ID, q UsageQuery) (Usage, error)
}

// Gap is a run of numbers of one writer that no record has.
type Gap struct {
	Writer        string
	After, Before int64 // the records around it
}

// Verification is what holding all records' numbers against each other found.
type Verification struct {
	Since, Until time.Time
	Writers      int
	Records      int64
	Gaps         []Gap // at most MaxGaps
	OpenIntents  int64 // without an outcome, and older than any call runs
}

// MaxGaps bounds what a verification lists.
const MaxGaps = 1000
