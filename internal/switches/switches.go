// Package switches owns kill switches: what of a tenant, or of the whole
// platform, is switched off, by whom, why and until when, and whether a call
// is of it.
//
// It leaves storage and how edges hear of a change to postgres, refusing and
// cancelling calls to mcpgateway, and who may switch to api.
package switches

import (
	"context"
	"fmt"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Switch is one time that a target was switched off.
type Switch struct {
	Tenant tenants.ID // tenants.Platform for the one of the whole platform
	ID     string     // `sw…`; given by who stores it
	Target Target
	Reason string // for administrators; callers are never told
	By     string // an address, or the name of a key
	// ByRole is what callers are told of who did it: a role, KeyRole of a key, or
	// OperatorRole.
	ByRole    string
	CreatedAt time.Time
	ExpiresAt time.Time // zero: somebody has to lift it
	LiftedAt  time.Time
	LiftedBy  string // empty where it ran out
	// CancelRunning: calls that were running when it arrived are cancelled.
	CancelRunning bool
}

// OperatorRole stands in ByRole for who runs the platform. A role's name has no
// space, so that no tenant can make one of that name.
const OperatorRole = "platform operator"

// KeyRole stands in ByRole for an API key, which has no role.
func KeyRole(name string) string { return "API key " + name }

// MaxReason and MinReason bound a reason, in characters.
const (
	MinReason = 3
	MaxReason = 500
)

// On reports whether it holds at a time. It ends by itself to the moment:
// nothing has to be stored or told for it.
func (s Switch) On(now time.Time) bool {
	return s.LiftedAt.IsZero() && (s.ExpiresAt.IsZero() || now.Before(s.ExpiresAt))
}

// MayChange refuses somebody of a tenant to lift or to change what the
// platform's operator switched off.
func (s Switch) MayChange(byRole string) error {
	if s.ByRole == OperatorRole && byRole != OperatorRole {
		return fault.New(fault.RoleNotAllowed, "Whoever runs the platform switched %s off, and only they can change that. Ask them.", s.Target)
	}
	return nil
}

// Refusal is what a caller is told: that it is off and by which role. The
// reason, the person and the end are for administrators.
func (s Switch) Refusal(tenant string) *fault.Error {
	return fault.New(fault.SwitchedOff, "%s switched off at %s by %s. Do not retry; ask them.", s.Target.subject(), where(s, tenant), s.who())
}

// Stopped is what the caller of a call is told that ran when it was switched
// off. Unknown: it may have taken effect.
func (s Switch) Stopped(tenant, call string, unknown bool) *fault.Error {
	if !unknown {
		return fault.New(fault.SwitchedOff, "%s switched off at %s by %s while this call ran, and it was stopped. Do not retry; ask them.", s.Target.subject(), where(s, tenant), s.who())
	}
	return fault.New(fault.OutcomeUnknown, "%s switched off at %s by %s while this call ran. It is not known whether %s took effect: check, and do not repeat it before you have asked them.",
		s.Target.subject(), where(s, tenant), s.who(), call)
}

func where(s Switch, tenant string) string {
	if s.Tenant == tenants.Platform {
		return "every tenant"
	}
	return tenant
}

func (s Switch) who() string {
	switch {
	case s.ByRole == OperatorRole:
		return "whoever runs the platform (" + OperatorRole + ")"
	case tenants.ValidSlug(s.ByRole) == nil:
		return "an administrator (role " + s.ByRole + ")"
	}
	return "an administrator (" + s.ByRole + ")"
}

// Query asks for a page of a tenant's switches.
type Query struct {
	At    time.Time // to tell what is on
	On    *bool     // nil: all
	After Position
	Limit int
}

// Position is that of an entry among those that are on, which come first, or
// among the others; both newest first. Zero is before the first.
type Position struct {
	On bool
	At time.Time
	ID string
}

// Store keeps switches. Unknown ones are fault.NotFound.
type Store interface {
	// PutSwitch switches a target off. What is off at CreatedAt already stays the
	// one switch, with the new reason, end, role and CancelRunning.
	PutSwitch(ctx context.Context, t tenants.ID, s Switch) (Switch, error)
	// LiftSwitch ends the one of a target that is on at a time.
	LiftSwitch(ctx context.Context, t tenants.ID, target Target, by string, at time.Time) (Switch, error)
	// Switch is the one of a target that is on, or was last.
	Switch(ctx context.Context, t tenants.ID, target Target) (Switch, error)
	Switches(ctx context.Context, t tenants.ID, q Query) ([]Switch, error)
	// SwitchesOn lists those that nobody lifted; some may have run out.
	SwitchesOn(ctx context.Context, t tenants.ID) ([]Switch, error)
	// EndSwitches marks those of all tenants that have run out as lifted, each
	// once, and returns them.
	EndSwitches(ctx context.Context, now time.Time) ([]Switch, error)
	// CountSwitches counts those of all tenants that are on.
	CountSwitches(ctx context.Context, now time.Time) (map[Kind]int, error)
}

// Board is a store that tells of what was switched through it.
type Board struct {
	Store
	// Changed hears of each switch that was put, lifted or has ended.
	Changed func(ctx context.Context, s Switch)
}

func (b Board) PutSwitch(ctx context.Context, t tenants.ID, s Switch) (Switch, error) {
	s, err := b.Store.PutSwitch(ctx, t, s)
	if err == nil {
		b.Changed(ctx, s)
	}
	return s, err
}

func (b Board) LiftSwitch(ctx context.Context, t tenants.ID, target Target, by string, at time.Time) (Switch, error) {
	s, err := b.Store.LiftSwitch(ctx, t, target, by, at)
	if err == nil {
		b.Changed(ctx, s)
	}
	return s, err
}

func (b Board) EndSwitches(ctx context.Context, now time.Time) ([]Switch, error) {
	ended, err := b.Store.EndSwitches(ctx, now)
	for _, s := range ended {
		b.Changed(ctx, s)
	}
	return ended, err
}

// Says is a switch as a sentence for administrators.
func (s Switch) Says() string {
	switch {
	case s.LiftedAt.IsZero():
		until := ""
		if !s.ExpiresAt.IsZero() {
			until = " until " + s.ExpiresAt.UTC().Format(time.RFC3339)
		}
		return fmt.Sprintf("%s was switched off by %s (%s)%s: %s", s.Target, s.By, s.ByRole, until, s.Reason)
	case s.LiftedBy == "":
		return fmt.Sprintf("%s is on again: the switch of %s (%s) has run out", s.Target, s.By, s.ByRole)
	}
	return fmt.Sprintf("%s was switched on again by %s", s.Target, s.LiftedBy)
}
