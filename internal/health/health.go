// Package health owns what is known of whether servers answer: how a state
// follows from probes, when to look again, and what a call is told meanwhile.
//
// It probes nothing, stores nothing and refuses nothing: that is upstreams,
// postgres and mcpgateway.
package health

import (
	"context"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// State of a server.
type State string

const (
	Unknown   State = "unknown"   // not looked at yet
	Healthy   State = "healthy"   // the last probe answered
	Degraded  State = "degraded"  // the last probe failed, or answered slowly; calls go through
	Unhealthy State = "unhealthy" // several failed one after the other: calls are refused
	Idle      State = "idle"      // nothing runs, and a call would start it
)

// States lists every state.
func States() []State { return []State{Unknown, Healthy, Degraded, Unhealthy, Idle} }

// When to look.
const (
	Interval = 10 * time.Second // while all is well
	// Recheck is how soon after a first failure: with the one after it, a server
	// that went away is known to be within seconds.
	Recheck    = 2 * time.Second
	MaxBackoff = time.Minute
	// failures one after the other that make a server unhealthy.
	threshold = 2
	// slow answers are noticed and refuse nothing.
	slow = 3 * time.Second
)

// Record is what is known of one server.
type Record struct {
	Tenant  tenants.ID
	Server  registry.ServerID
	State   State
	Since   time.Time // of the state
	Checked time.Time // the last probe
	Next    time.Time // the next one, at the latest
	LastOK  time.Time // zero: never
	Failed  time.Time // zero: never
	Code    string    // of the last failure
	Message string    // for administrators
	// Failures one after the other.
	Failures int
	Latency  time.Duration // of the last probe that answered
	Era      string        // newest protocol revision of the upstream, where it speaks MCP
}

// Probe is how one went.
type Probe struct {
	At      time.Time // when it ended
	Latency time.Duration
	Idle    bool
	Era     string
	Err     error // nil: it answered
}

// maxMessage bounds what is kept of a failure, in bytes.
const maxMessage = 500

// After is the record after one more probe.
func (r Record) After(p Probe) Record {
	before := r.State
	r.Checked = p.At
	switch {
	case p.Err != nil:
		f := fault.Of(p.Err)
		r.Failures++
		r.Failed, r.Code, r.Message = p.At, f.Code.Name, cut(f.Message, maxMessage)
		if r.State = Degraded; r.Failures >= threshold {
			r.State = Unhealthy
		}
		wait := backoff(r.Failures)
		if r.State == Unhealthy { // until then, what the upstream wishes can wait
			wait = min(max(wait, f.RetryAfter), MaxBackoff)
		}
		r.Next = p.At.Add(wait)
	case p.Idle:
		r.State, r.Failures, r.Next = Idle, 0, p.At.Add(Interval)
	default:
		r.State, r.Failures, r.LastOK, r.Latency, r.Next = Healthy, 0, p.At, p.Latency, p.At.Add(Interval)
		if p.Latency > slow {
			r.State = Degraded
		}
	}
	if p.Era != "" {
		r.Era = p.Era
	}
	if r.State != before || r.Since.IsZero() {
		r.Since = p.At
	}
	return r
}

// Missed is the record of a server that could not be looked at, for a reason that
// is not its own.
func (r Record) Missed(at time.Time, err error) Record {
	f := fault.Of(err)
	r.Checked, r.Next, r.Code, r.Message = at, at.Add(Interval), f.Code.Name, cut(f.Message, maxMessage)
	if r.Since.IsZero() {
		r.Since = at
	}
	return r
}

// backoff is 2 s after the first failure, 4 after the next, up to MaxBackoff.
func backoff(failures int) time.Duration {
	return min(Recheck<<min(max(failures-1, 0), 10), MaxBackoff)
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// Infrastructure reports whether a probe's failure is about the platform and not
// about the server: it says nothing of the upstream, and takes no server away
// from its callers.
func Infrastructure(err error) bool {
	switch fault.Of(err).Code {
	case fault.NoWorker, fault.WorkerLost, fault.Busy, fault.StoreAway, fault.CredentialsAway, fault.Cancelled, fault.Unexpected:
		return true
	}
	return false
}

// Refusal is what a call of the server is told, or nil where it may go through.
// Nothing of why stands in it.
func (r Record) Refusal(slug string, now time.Time) *fault.Error {
	if r.State != Unhealthy {
		return nil
	}
	return fault.New(fault.ServerUnhealthy, "The server %s does not answer at the moment. Nothing was done. It is looked at again in %d s, and calls go through as soon as it answers.", slug, seconds(r.Wait(now))).After(r.Wait(now))
}

// Wait is how long until the server is looked at again, at least a second.
func (r Record) Wait(now time.Time) time.Duration {
	return min(max(r.Next.Sub(now), time.Second), MaxBackoff)
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// Set has what is known of a tenant's servers. It is not changed once made; nil
// is empty.
type Set map[registry.ServerID]Record

// Of is the record of a server, Unknown where there is none.
func (s Set) Of(id registry.ServerID) Record {
	r, ok := s[id]
	if !ok {
		r.State = Unknown
	}
	return r
}

// Store keeps records, one a server.
type Store interface {
	// ServerHealth lists a tenant's.
	ServerHealth(ctx context.Context, t tenants.ID) (Set, error)
	// PutServerHealth replaces one. Every edge hears of it where the state, or the
	// next look at what is unhealthy, is another.
	PutServerHealth(ctx context.Context, t tenants.ID, r Record) error
	// CountServerHealth counts those of all tenants, by state.
	CountServerHealth(ctx context.Context) (map[State]int, error)
}
