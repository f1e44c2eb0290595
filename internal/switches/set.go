package switches

import (
	"time"

	"latchkey/internal/tenants"
)

// Call is what a switch may be about of a call. Tool is empty where it is none,
// as for a resource.
type Call struct {
	Server, Tool string
	Member       tenants.UserID
	Client       string
}

// Set is a tenant's switches, or the platform's, made for looking calls up. It
// is not changed once made; nil is empty.
type Set struct{ by map[Target]Switch }

// NewSet makes one of what Store.SwitchesOn lists.
func NewSet(on []Switch) *Set {
	if len(on) == 0 {
		return nil
	}
	s := &Set{by: make(map[Target]Switch, len(on))}
	for _, w := range on {
		s.by[w.Target] = w
	}
	return s
}

// Of finds the widest switch that is on at a time and that a call is of.
func (s *Set) Of(c Call, now time.Time) (Switch, bool) {
	if s == nil {
		return Switch{}, false
	}
	for _, t := range c.targets() {
		if w, ok := s.by[t]; ok && w.On(now) {
			return w, true
		}
	}
	return Switch{}, false
}

// Cancels finds the widest one that cancels running calls.
func (s *Set) Cancels(c Call, now time.Time) (Switch, bool) {
	if s == nil {
		return Switch{}, false
	}
	for _, t := range c.targets() {
		if w, ok := s.by[t]; ok && w.CancelRunning && w.On(now) {
			return w, true
		}
	}
	return Switch{}, false
}

// targets are those that would stop a call, the widest first.
func (c Call) targets() [6]Target {
	t := [6]Target{{Kind: Platform}, {Kind: Tenant}, {Kind: Member, Member: c.Member}, {Kind: Client, Client: c.Client}, {Kind: Server, Server: c.Server}}
	if c.Tool != "" {
		t[5] = Target{Kind: Tool, Server: c.Server, Tool: c.Tool}
	}
	return t
}
