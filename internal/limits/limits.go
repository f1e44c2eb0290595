// Package limits decides whether a caller may make one more call. It counts; it
// never sleeps, retries or writes HTTP.
//
// It owns the arithmetic of rates, the places of calls that run, and the
// counters of a person's minute and of identical calls; where they are kept is a
// Store: in the memory of this edge, or in Valkey for all edges together. It
// leaves what the limits are to tenants and registry, and what to do with an
// event to who hears of it.
package limits

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Call is a call before it is made.
type Call struct {
	ID         string
	Tenant     tenants.ID
	TenantName string
	User       tenants.UserID
	Grant      string // empty: there is none, and the person stands for it
	Client     string
	ServerID   registry.ServerID
	Server     string // slug
	Op         string // tools/call, …
	Name       string // of the tool or prompt, or the resource's URI
	Tool       *registry.Tool
	Arguments  json.RawMessage
	// Typing: a keystroke of a person. It counts against the rates, and is neither
	// a loop nor a crowd.
	Typing bool
	Part   Part
}

// Part is what of a call is counted. One that is queued arrives long before it
// runs.
type Part int

// The parts.
const (
	Whole   Part = iota
	Arrival      // rates, the person's minute and repeats, but no place
	Place        // a place among those that run, and nothing else
)

// Spent is a call that was counted.
type Spent struct {
	// Repeats is how many identical calls there were within a minute, this one
	// included, where that is worth a word; Notice is the word.
	Repeats int
	Notice  string
	// Reached is the dimension of a refusal; empty where it was for repeats.
	Reached Dimension

	store   Store
	request *Request
}

// Release ends the call's place among those that run. It may be called once.
func (s *Spent) Release() {
	if s.request != nil && s.request.slots() {
		s.store.Release(s.request)
	}
}

// Config of New.
type Config struct {
	Store Store
	// Settings gives the limits that hold at a tenant; nil: the defaults do.
	Settings interface {
		Limits(ctx context.Context, t tenants.ID) (tenants.Limits, error)
	}
	Events events.Raiser // may be nil
}

// Limiter counts calls. It is safe for concurrent use.
type Limiter struct{ Config }

// New makes a limiter.
func New(c Config) *Limiter { return &Limiter{c} }

// Store is where it counts, as the API says it: memory, valkey, degraded.
func (l *Limiter) Where() State { return l.Config.Store.State() }

// Spend counts one call, in every dimension or in none. What refuses it is
// fault.LimitReached or fault.RepeatedCall, with the time to wait.
func (l *Limiter) Spend(ctx context.Context, c Call) (Spent, error) {
	set := tenants.DefaultLimits
	if l.Settings != nil {
		var err error
		if set, err = l.Settings.Limits(ctx, c.Tenant); err != nil {
			return Spent{}, err
		}
	}
	r := &Request{Tenant: c.Tenant, CallID: c.ID}
	bounds := boundsOf(&c, &set, r)
	if c.Typing {
		set.FanOut.Calls, set.Repeats.Notice, set.Repeats.Refuse = 0, 0, 0
	}
	if set.FanOut.Calls > 0 && c.Part != Place {
		r.Minute = Key{Kind: minuteOf, Who: string(c.User)}
	}
	if (set.Repeats.Notice > 0 || set.Repeats.Refuse > 0) && c.Part != Place {
		r.Same, r.RefuseSame = c.same(), max(set.Repeats.Refuse, 0)
	}
	v, err := l.Config.Store.Spend(ctx, r)
	if err != nil {
		return Spent{}, err
	}
	switch v.Refused {
	case ByRepeats:
		if v.First {
			l.raise(ctx, &c, events.RepeatedCalls, fmt.Sprintf("The identical call was made %d times within a minute, and is refused.", set.Repeats.Refuse-1))
		}
		return Spent{Repeats: set.Repeats.Refuse}, fault.New(fault.RepeatedCall,
			"This is the identical call number %d within a minute: the same tool with the same arguments. It is refused from number %d on. Use the answers that you have, or ask something else; the same call is possible again in %d s.",
			set.Repeats.Refuse, set.Repeats.Refuse, seconds(v.Wait)).After(v.Wait)
	case ByRate, BySlots:
		b := bounds[v.Bound]
		return Spent{Reached: b.dimension}, b.refuse(&c, v)
	}
	s := Spent{store: l.Config.Store, request: r}
	if set.FanOut.Calls > 0 && v.Calls == set.FanOut.Calls+1 {
		l.raise(ctx, &c, events.FanOut, fmt.Sprintf("One person's apps made more than %d calls within a minute.", set.FanOut.Calls))
	}
	if n := set.Repeats.Notice; n > 0 && v.Repeats >= n {
		s.Repeats = v.Repeats
		s.Notice = fmt.Sprintf("This is the identical call number %d within a minute: the same tool with the same arguments. Asking again does not change the answer: use it, or ask something else.", v.Repeats)
		if refuse := set.Repeats.Refuse; refuse > 0 {
			s.Notice += fmt.Sprintf(" From number %d on it is refused.", refuse)
		}
	}
	return s, nil
}

// raise tells of an event, which is one within a minute.
func (l *Limiter) raise(ctx context.Context, c *Call, kind events.Kind, detail string) {
	if l.Events == nil {
		return
	}
	e := events.Event{
		Tenant: c.Tenant, At: time.Now(), Kind: kind, Severity: events.Warning, Detail: detail,
		User: c.User, Client: c.Client, ServerID: c.ServerID, Server: c.Server, CallID: c.ID, Same: string(c.User),
	}
	if kind == events.RepeatedCalls {
		e.Tool, e.Same = c.Name, c.session()+" "+string(c.ServerID)+" "+c.Name
	}
	l.Events.Raise(ctx, e)
}

// session is the grant, or the person where there is none.
func (c *Call) session() string {
	if c.Grant != "" {
		return c.Grant
	}
	return string(c.User)
}

// same names what makes calls of a session identical. Arguments that have no
// canonical form are compared as they were written.
func (c *Call) same() Key {
	canonical, err := idempotency.Canonical(c.Arguments)
	if err != nil {
		canonical = c.Arguments
	}
	var room [512]byte
	b := append(room[:0], c.ServerID...)
	b = append(append(b, 0), c.Op...)
	b = append(append(b, 0), c.Name...)
	b = append(append(b, 0), canonical...)
	sum := sha256.Sum256(b)
	return Key{Kind: sameOf, Who: c.session(), What: string(sum[:16])}
}

// NoteOf is what the record says of a call that was counted or refused.
func (s *Spent) NoteOf() (key string, value any, ok bool) {
	switch {
	case s.Reached != "":
		return audit.NoteLimit, string(s.Reached), true
	case s.Repeats > 0:
		return audit.NoteRepeats, s.Repeats, true
	}
	return "", nil, false
}
