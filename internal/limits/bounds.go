package limits

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Dimension is whose calls a limit bounds.
type Dimension string

// The dimensions.
const (
	Tenant  Dimension = "tenant"
	User    Dimension = "user"
	Session Dimension = "session"
	Tool    Dimension = "tool"
)

// maxBounds is how many limits one call can meet: the tenant's four, and three
// of the tool's own.
const maxBounds = 7

// bound is a limit with what is said of it. Its count is at the same place in a
// Request.
type bound struct {
	dimension Dimension
	limit     *tenants.Limit
	ofTool    bool // it counts the calls of one tool only
}

// boundsOf puts what bounds a call into a request.
func boundsOf(c *Call, set *tenants.Limits, r *Request) (bounds [maxBounds]bound) {
	add := func(d Dimension, l *tenants.Limit, ofTool bool, k Key) {
		b := Bound{Key: k}
		if l.Rate.Limited() && c.Part != Place {
			b.Interval, b.Burst = max(l.Rate.Per/time.Duration(l.Rate.Calls), minInterval), l.AtOnce()
		}
		if c.Part != Arrival {
			b.Slots = max(l.Concurrency, 0)
		}
		if b.Interval > 0 || b.Slots > 0 {
			bounds[r.n] = bound{d, l, ofTool}
			r.bounds[r.n] = b
			r.n++
		}
	}
	user, session := string(c.User), c.session()
	add(Tenant, &set.Tenant, false, Key{Kind: allOf})
	add(User, &set.User, false, Key{Kind: userOf, Who: user})
	add(Session, &set.Session, false, Key{Kind: sessionOf, Who: session})
	if c.Tool != nil {
		own, server, tool := &c.Tool.Limits, string(c.ServerID), c.Tool.Name
		add(Tool, &set.Tool, true, Key{Kind: toolOf, Server: server, What: tool})
		add(Tool, &own.Tool, true, Key{Kind: ownToolOf, Server: server, What: tool})
		add(User, &own.User, true, Key{Kind: userToolOf, Who: user, Server: server, What: tool})
		add(Session, &own.Session, true, Key{Kind: sessionToolOf, Who: session, Server: server, What: tool})
	}
	return bounds
}

// minInterval is the finest that both stores count.
const minInterval = time.Microsecond

// refuse words a refusal. What the tenant wrote comes first; {{limit}} and
// {{seconds}} in it stand for what is otherwise said after it.
func (b bound) refuse(c *Call, v Verdict) error {
	limit, calls := "", "calls"
	if b.ofTool {
		calls = "calls of " + c.Name
	}
	if v.Refused == BySlots {
		limit = fmt.Sprintf("%d at the same time %s", b.limit.Concurrency, b.whom(c))
	} else {
		limit = fmt.Sprintf("%s %s", rateWords(b.limit.Rate), b.whom(c))
	}
	wait := strconv.Itoa(seconds(v.Wait))
	var text string
	switch own := b.limit.Message; {
	case own == "" && v.Refused == BySlots:
		text = fmt.Sprintf("Too many %s at once: %s. Wait until one of them has ended, or %s s.", calls, limit, wait)
	case own == "":
		text = fmt.Sprintf("Too many %s: %s. Wait %s s.", calls, limit, wait)
	default:
		text = strings.NewReplacer("{{limit}}", limit, "{{seconds}}", wait).Replace(own)
		if !strings.ContainsAny(text[len(text)-1:], ".!?") {
			text += "."
		}
		if !strings.Contains(own, "{{limit}}") {
			text += " The limit is " + limit + "."
		}
		if !strings.Contains(own, "{{seconds}}") {
			text += " Wait " + wait + " s."
		}
	}
	return fault.New(fault.LimitReached, "%s", text).After(v.Wait)
}

func (b bound) whom(c *Call) string {
	switch {
	case b.dimension == Tenant && c.TenantName != "":
		return "for all of " + c.TenantName
	case b.dimension == Tenant || b.dimension == Tool:
		return "for everybody together"
	case b.dimension == Session && c.Grant != "":
		return "for one app of one person"
	}
	return "for one person"
}

func rateWords(r tenants.Rate) string {
	for _, u := range []struct {
		per  time.Duration
		word string
	}{{time.Second, "a second"}, {time.Minute, "a minute"}, {time.Hour, "an hour"}, {24 * time.Hour, "a day"}} {
		if r.Per == u.per {
			return fmt.Sprintf("%d %s", r.Calls, u.word)
		}
	}
	return r.String()
}

func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
