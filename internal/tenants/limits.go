package tenants

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Rate is so many calls in a span of time. The zero Rate says nothing; NoRate
// says that there is none.
type Rate struct {
	Calls int
	Per   time.Duration
}

// NoRate lets any number of calls through.
var NoRate = Rate{Calls: -1}

// IsZero reports whether nothing is said.
func (r Rate) IsZero() bool { return r == Rate{} }

// Limited reports whether there is a rate to hold.
func (r Rate) Limited() bool { return r.Calls > 0 && r.Per > 0 }

var (
	ratePattern = regexp.MustCompile(`^([1-9][0-9]{0,6})/(s|min|h|d)$`)
	rateUnits   = map[string]time.Duration{"s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
)

// ParseRate reads what String writes: `60/min`, with s, min, h or d, or `none`.
func ParseRate(s string) (Rate, error) {
	if s == "none" {
		return NoRate, nil
	}
	m := ratePattern.FindStringSubmatch(s)
	if m == nil {
		return Rate{}, errors.New("is no rate: write one such as 60/min (with s, min, h or d), or none")
	}
	calls, err := strconv.Atoi(m[1])
	return Rate{calls, rateUnits[m[2]]}, err
}

func (r Rate) String() string {
	switch {
	case r.IsZero():
		return ""
	case !r.Limited():
		return "none"
	}
	for unit, per := range rateUnits {
		if per == r.Per {
			return fmt.Sprintf("%d/%s", r.Calls, unit)
		}
	}
	return fmt.Sprintf("%d/%s", r.Calls, r.Per)
}

// MarshalText and UnmarshalText make a rate a text in JSON.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r *Rate) UnmarshalText(b []byte) (err error) {
	if *r = (Rate{}); len(b) == 0 {
		return nil
	}
	*r, err = ParseRate(string(b))
	return err
}

// Limit bounds the calls of one who or what. Zero fields say nothing: what
// stands above them in the order of Limits holds.
type Limit struct {
	Rate  Rate `json:"rate,omitzero"`
	Burst int  `json:"burst,omitempty"` // calls at once, before the rate counts; see AtOnce
	// Concurrency is how many calls may run at the same time; Unbounded is any number.
	Concurrency int `json:"concurrency,omitempty"`
	// Message is to who reaches it. {{limit}} and {{seconds}} in it stand for the
	// limit and the time to wait, which are otherwise said after it.
	Message string `json:"message,omitempty"`
}

// AtOnce is how many calls may come at once before the rate counts: Burst, or
// where nothing is said a tenth of the rate's calls, one at least.
func (l Limit) AtOnce() int {
	if l.Burst > 0 {
		return l.Burst
	}
	return max(1, l.Rate.Calls/10)
}

// Unbounded is no bound on concurrency.
const Unbounded = -1

// Or fills what l leaves out.
func (l Limit) Or(other Limit) Limit {
	if l.Rate.IsZero() {
		l.Rate = other.Rate
		if l.Burst == 0 {
			l.Burst = other.Burst
		}
	}
	if l.Concurrency == 0 {
		l.Concurrency = other.Concurrency
	}
	if l.Message == "" {
		l.Message = other.Message
	}
	return l
}

// Limits are what a tenant sets for all of its servers. A tool's own limits for
// users, sessions and the tool come on top: every one of them must let a call
// through.
type Limits struct {
	Tenant  Limit `json:"tenant,omitzero"`  // all calls of the tenant
	User    Limit `json:"user,omitzero"`    // of one person, at all servers
	Session Limit `json:"session,omitzero"` // of one grant: one app of one person
	Tool    Limit `json:"tool,omitzero"`    // of one tool, whoever calls it

	FanOut  FanOut  `json:"fan_out,omitzero"`
	Repeats Repeats `json:"repeats,omitzero"`
}

// FanOut raises an event when one person's agents make more calls than this in
// a minute. It refuses nothing.
type FanOut struct {
	Calls int `json:"calls,omitempty"` // a minute; Unbounded is off
}

// Repeats are identical calls, the same tool with the same arguments, of one
// session within a minute: a loop.
type Repeats struct {
	Notice int `json:"notice,omitempty"` // from the nth on the answer says so; Unbounded is off
	Refuse int `json:"refuse,omitempty"` // from the nth on it is refused; Unbounded is off
}

// DefaultLimits hold where a tenant sets none of its own. They stop a loop, and
// nobody who works.
var DefaultLimits = Limits{
	Tenant:  Limit{Rate: Rate{6000, time.Minute}, Burst: 1000, Concurrency: 200},
	User:    Limit{Rate: Rate{600, time.Minute}, Burst: 100, Concurrency: 32},
	Session: Limit{Rate: Rate{300, time.Minute}, Burst: 60, Concurrency: 16},
	FanOut:  FanOut{Calls: 50},
	Repeats: Repeats{Notice: 5, Refuse: 30},
}

// Or fills what l leaves out.
func (l Limits) Or(other Limits) Limits {
	l.Tenant, l.User, l.Session, l.Tool = l.Tenant.Or(other.Tenant), l.User.Or(other.User), l.Session.Or(other.Session), l.Tool.Or(other.Tool)
	if l.FanOut.Calls == 0 {
		l.FanOut.Calls = other.FanOut.Calls
	}
	if l.Repeats.Notice == 0 {
		l.Repeats.Notice = other.Repeats.Notice
	}
	if l.Repeats.Refuse == 0 {
		l.Repeats.Refuse = other.Repeats.Refuse
	}
	return l
}
