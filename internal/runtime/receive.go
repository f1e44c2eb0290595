package runtime

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Refused says that a call was not started here. Nothing happened, so that
// another worker may be asked, even for a call with effects.
type Refused struct {
	Reason Reason
	fault  *fault.Error
}

// Reason is why a worker refused a call. It is one byte on the wire.
type Reason byte

const (
	Full     Reason = 'f' // every slot is taken
	Late     Reason = 'l' // after the accept-by time: the edge has given up on this worker
	Draining Reason = 'd' // the worker is stopping
	// Replayed: this worker has had the call, or its grant, before. Nothing
	// happened this time.
	Replayed Reason = 'r'
)

func (r *Refused) Error() string { return "refused (" + string(r.Reason) + "): " + r.fault.Message }
func (r *Refused) Unwrap() error { return r.fault }

// Refuse makes the refusal of a call.
func Refuse(reason Reason) *Refused {
	f := fault.New(fault.Busy, "All workers for this server are busy. Wait a second, then call again.").After(time.Second)
	switch reason {
	case Late:
		f = fault.New(fault.Busy, "The worker got to this call too late and did not start it. Call again.").After(time.Second)
	case Replayed:
		f = fault.New(fault.Conflict, "This call has been run before. A new call needs a new id.")
	}
	return &Refused{reason, f}
}

// Received is a call that holds a slot of its worker, or a place to listen. Exactly one of Run and
// Abandon must follow.
type Received struct {
	Call     *Call
	worker   *Worker
	deadline time.Time
	acceptBy time.Time
	marks    []mark
	resting  atomic.Int32 // questions that wait
}

// Receive decides whether the worker takes the call. After it returns without
// an error the call has a slot and its id is spent.
func (w *Worker) Receive(c *Call, acceptBy time.Time) (*Received, error) {
	now := time.Now()
	if now.After(acceptBy) {
		return nil, Refuse(Late)
	}
	if err := wellFormed(c); err != nil {
		return nil, err
	}
	if !now.Before(c.Deadline) {
		return nil, fault.New(fault.DeadlineExceeded, "The call's time was over before a worker could start it. Nothing was done; call again.")
	}
	if c.Deadline.Sub(now) > maxAhead {
		return nil, malformed("/deadline", "is more than a day ahead")
	}
	r := &Received{Call: c, worker: w, acceptBy: acceptBy, deadline: now.Add(min(c.Deadline.Sub(now), w.MaxCall))}
	if !r.take() {
		return nil, Refuse(Full)
	}
	r.marks = marksOf(c)
	// Remembered to the deadline in the call, not the cut one: so long the
	// grant may be worth something.
	switch w.recent.spend(r.marks, now, c.Deadline) {
	case spentBefore:
		r.free()
		return nil, Refuse(Replayed)
	case noRoom:
		r.free()
		return nil, Refuse(Full)
	}
	return r, nil
}

// StillWanted reports whether the accept-by time has not passed.
func (r *Received) StillWanted() bool { return !time.Now().After(r.acceptBy) }

// Abandon gives the slot back and forgets the call, which was not started.
func (r *Received) Abandon() {
	r.worker.recent.forget(r.marks, r.Call.Deadline)
	r.free()
}

// take gives the call its slot, or, where it only listens, a place among those
// that do.
func (r *Received) take() bool {
	w := r.worker
	if r.Call.Op == Listen {
		return w.listens.take(r.Call.Tenant)
	}
	if w.busy.Add(1) > int64(w.Slots) {
		w.busy.Add(-1)
		return false
	}
	return true
}

func (r *Received) free() {
	if r.Call.Op == Listen {
		r.worker.listens.give(r.Call.Tenant)
		return
	}
	r.worker.busy.Add(-1)
}

// places are a number of them, of which one tenant has only so many.
type places struct {
	all, each int

	mu    sync.Mutex
	total int
	taken map[tenants.ID]int
}

func (p *places) take(t tenants.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total >= p.all || p.taken[t] >= p.each {
		return false
	}
	p.total++
	p.taken[t]++
	return true
}

func (p *places) give(t tenants.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.taken[t]--; p.taken[t] == 0 {
		delete(p.taken, t)
	}
}

// rest gives the call's slot to others until back, when it has one again, be it
// one more than there are. Questions of one call that wait at once give it once.
func (r *Received) rest() (back func()) {
	if r.Call.Op == Listen { // it has none
		return func() {}
	}
	if r.resting.Add(1) == 1 {
		r.free()
	}
	return func() {
		if r.resting.Add(-1) == 0 {
			r.worker.busy.Add(1)
		}
	}
}

const (
	maxID   = 128
	maxName = 4096 // a resource URI is the longest name
	// Ids are remembered until their deadline, so that there must be an end.
	maxAhead = 24 * time.Hour
)

func malformed(pointer, reason string) error {
	return fault.New(fault.InvalidRequest, "The call is malformed.").WithDetails(fault.Detail{Pointer: pointer, Reason: reason})
}

// wellFormed checks what the worker relies on. Ids stand in the names of
// credentials, so that their charset is part of the isolation.
func wellFormed(c *Call) error {
	if c.ID == "" || len(c.ID) > maxID {
		return malformed("/id", "must be 1 to 128 bytes")
	}
	if _, err := tenants.ParseID(string(c.Tenant)); err != nil {
		return malformed("/tenant", "is not a tenant id")
	}
	if _, err := tenants.ParseServerID(string(c.Server)); err != nil {
		return malformed("/server", "is not a server id")
	}
	if c.Revision == "" || len(c.Revision) > maxID || len(c.OpenHash) != sha256.Size*2 {
		return malformed("/revision", "revision and open_hash are required")
	}
	if c.Name == "" || len(c.Name) > maxName {
		return malformed("/name", "must be 1 to 4096 bytes")
	}
	if len(c.Rule) > maxID {
		return malformed("/rule", "must be at most 128 bytes")
	}
	if !slices.Contains(Ops(), c.Op) {
		return malformed("/op", "is not known to this worker")
	}
	return nil
}

// jtiOf reads a grant without verifying its signature, which is Vault's to do:
// it is enough to see a grant twice.
func jtiOf(grant secret.Text) (string, bool) {
	_, rest, _ := strings.Cut(grant.Reveal(), ".")
	payload, _, found := strings.Cut(rest, ".")
	if !found {
		return "", false
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", false
	}
	var claims struct {
		JTI string `json:"jti"`
	}
	err = json.Unmarshal(raw, &claims)
	return claims.JTI, err == nil && claims.JTI != ""
}

// mark stands for an id. The seed is random, so that nobody can look for two
// ids with the same mark; by chance it happens once in 10^12 calls.
type mark uint64

var markSeed = maphash.MakeSeed()

func markOf(id string) mark { return mark(maphash.String(markSeed, id)) }

// marksOf are the ids that the call spends: its own, and its grant's where that
// is another.
func marksOf(c *Call) []mark {
	own := markOf("id:" + c.ID)
	if c.Grant == "" {
		return []mark{own}
	}
	if jti, ok := jtiOf(c.Grant); !ok {
		return []mark{own, markOf("text:" + c.Grant.Reveal())}
	} else if jti != c.ID {
		return []mark{own, markOf("id:" + jti)}
	}
	return []mark{own}
}

const (
	// Enough for 70,000 calls a second of a minute each; about 80 MB when full.
	maxRecent    = 1 << 22
	recentBucket = 8 // seconds of deadlines that share a bucket
)

type spent int

const (
	spendOK spent = iota
	spentBefore
	noRoom
)

// recentIDs remembers the ids of calls until their deadlines, in buckets that
// are dropped whole. When it is full it refuses rather than forgets.
type recentIDs struct {
	mu      sync.Mutex
	buckets map[int64]map[mark]struct{}
	count   int
	limit   int
}

func newRecentIDs(limit int) *recentIDs {
	return &recentIDs{buckets: map[int64]map[mark]struct{}{}, limit: limit}
}

func (r *recentIDs) spend(marks []mark, now, until time.Time) spent {
	r.mu.Lock()
	defer r.mu.Unlock()
	current := bucketOf(now)
	for b, held := range r.buckets {
		if b < current {
			r.count -= len(held)
			delete(r.buckets, b)
			continue
		}
		for _, m := range marks {
			if _, ok := held[m]; ok {
				return spentBefore
			}
		}
	}
	if r.count+len(marks) > r.limit {
		return noRoom
	}
	b := bucketOf(until)
	if r.buckets[b] == nil {
		r.buckets[b] = map[mark]struct{}{}
	}
	for _, m := range marks {
		r.buckets[b][m] = struct{}{}
	}
	r.count += len(marks)
	return spendOK
}

func (r *recentIDs) forget(marks []mark, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := r.buckets[bucketOf(until)]
	for _, m := range marks {
		if _, ok := held[m]; ok {
			delete(held, m)
			r.count--
		}
	}
}

func bucketOf(t time.Time) int64 { return t.Unix() / recentBucket }
