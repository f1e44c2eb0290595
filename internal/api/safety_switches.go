package api

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

// ListSwitches lists them, those that are on first.
func (a *API) ListSwitches(ctx context.Context, in ListSwitchesRequestObject) (ListSwitchesResponseObject, error) {
	const op = "listSwitches"
	q := switches.Query{At: a.Now(), On: in.Params.On}
	keys, err := readCursor(op, in.Params.Cursor, 3)
	if err != nil {
		return nil, err
	}
	if keys != nil {
		at, err := time.Parse(time.RFC3339Nano, keys[1])
		if err != nil || len(keys[2]) > 20 || strings.ContainsRune(keys[2], 0) {
			return nil, errBadCursor()
		}
		q.After = switches.Position{On: keys[0] == "true", At: at, ID: keys[2]}
	}
	limit := limitOf(in.Params.Limit)
	q.Limit = limit + 1
	t := tenantOf(ctx).ID
	all, err := a.Safety.Switches.Switches(ctx, t, q)
	if err != nil {
		return nil, err
	}
	all, more := cut(all, limit)
	page := SwitchPage{HasMore: more}
	if page.Data, err = a.showSwitches(ctx, q.At, all...); err != nil {
		return nil, err
	}
	if more {
		last := all[limit-1]
		page.NextCursor = cursor(op, strconv.FormatBool(last.On(q.At)), last.CreatedAt.UTC().Format(time.RFC3339Nano), last.ID)
	}
	return ListSwitches200JSONResponse(page), nil
}

func errBadCursor() error {
	return fault.New(fault.InvalidRequest, "The cursor is not one of this list. Pass next_cursor as it came, or leave it out to begin anew.").
		WithDetails(fault.Detail{Pointer: "?cursor", Reason: "it is not a cursor of this list"})
}

// GetSwitch shows the last one of a target.
func (a *API) GetSwitch(ctx context.Context, in GetSwitchRequestObject) (GetSwitchResponseObject, error) {
	target, err := a.targetOf(ctx, in.Target)
	if err != nil {
		return nil, absent(err)
	}
	s, err := a.Safety.Switches.Switch(ctx, tenantOf(ctx).ID, target)
	if err != nil {
		return nil, absent(err)
	}
	shown, err := a.showSwitch(ctx, s)
	return GetSwitch200JSONResponse(shown), err
}

// PutSwitch switches something off.
func (a *API) PutSwitch(ctx context.Context, in PutSwitchRequestObject) (PutSwitchResponseObject, error) {
	t := tenantOf(ctx).ID
	target, err := a.targetOf(ctx, in.Target)
	if err == nil {
		err = a.targetExists(ctx, target)
	}
	if fault.HasCode(err, fault.NotFound) {
		return nil, invalid([]fault.Detail{{Pointer: "{target}", Reason: "does not exist here", Fix: missing[target.Kind]}})
	}
	if err != nil {
		return nil, err
	}
	put, err := a.switchOff(ctx, t, target, *in.Body)
	if err != nil {
		return nil, err
	}
	shown, err := a.showSwitch(ctx, put)
	return PutSwitch200JSONResponse(shown), err
}

// missing says what to name instead of what does not exist.
var missing = map[switches.Kind]string{
	switches.Server: "name a server of the tenant by its slug",
	switches.Tool:   "name a server of the tenant by its slug; its tool need not exist yet",
	switches.Member: "name somebody of the tenant by address or id",
	switches.Client: "name an app by its client id, from the list of clients",
}

// switchOff puts a switch for the caller.
func (a *API) switchOff(ctx context.Context, t tenants.ID, target switches.Target, body SwitchPut) (s switches.Switch, err error) {
	now := a.Now()
	var places []fault.Detail
	reason := strings.TrimSpace(body.Reason)
	if n := utf8.RuneCountInString(reason); n < switches.MinReason || n > switches.MaxReason {
		places = append(places, fault.Detail{Pointer: "/reason", Reason: "is not of 3 to 500 characters", Fix: "say why, for the next one who looks"})
	}
	var expires time.Time
	if body.ExpiresAt != nil {
		if expires = body.ExpiresAt.UTC().Truncate(time.Microsecond); !expires.After(now) || expires.Sub(now) > maxSwitched {
			places = append(places, fault.Detail{Pointer: "/expires_at", Reason: "is not within the next ten years", Fix: "write a time to come, or leave it out: then somebody has to lift it"})
		}
	}
	if len(places) > 0 {
		return s, invalid(places)
	}
	role, err := a.switchRole(ctx)
	if err != nil {
		return s, err
	}
	if err := a.maySwitch(ctx, t, target, role, now); err != nil {
		return s, err
	}
	return a.Safety.Switches.PutSwitch(ctx, t, switches.Switch{
		Target: target, Reason: reason, By: callerOf(ctx).Actor(), ByRole: role, CreatedAt: now.UTC().Truncate(time.Microsecond), ExpiresAt: expires,
		CancelRunning: deref(body.CancelRunning),
	})
}

const maxSwitched = 10 * 366 * 24 * time.Hour

// maySwitch holds the caller against who switched the target off before.
func (a *API) maySwitch(ctx context.Context, t tenants.ID, target switches.Target, role string, now time.Time) error {
	before, err := a.Safety.Switches.Switch(ctx, t, target)
	if fault.HasCode(err, fault.NotFound) || err == nil && !before.On(now) {
		return nil
	}
	if err != nil {
		return err
	}
	return before.MayChange(role)
}

// LiftSwitch lets calls through again.
func (a *API) LiftSwitch(ctx context.Context, in LiftSwitchRequestObject) (LiftSwitchResponseObject, error) {
	t, now := tenantOf(ctx).ID, a.Now()
	target, err := a.targetOf(ctx, in.Target)
	if err != nil {
		return nil, absent(err)
	}
	role, err := a.switchRole(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.maySwitch(ctx, t, target, role, now); err != nil {
		return nil, err
	}
	if _, err := a.Safety.Switches.LiftSwitch(ctx, t, target, callerOf(ctx).Actor(), now); err != nil {
		return nil, absent(err)
	}
	return LiftSwitch204Response{}, nil
}

// targetOf reads a target of the path. Of a member it finds the id; somebody who
// is gone is known by id only.
func (a *API) targetOf(ctx context.Context, text string) (switches.Target, error) {
	t, err := switches.ParseTarget(text)
	if err == nil && t.Kind == switches.Platform {
		err = errors.New("is not a tenant's to switch")
	}
	if err != nil {
		return t, invalid([]fault.Detail{{Pointer: "{target}", Reason: err.Error(), Fix: "write tenant, server:slug, tool:slug/tool, member:address or client:id, escaped"}})
	}
	if t.Kind != switches.Member {
		return t, nil
	}
	if address := t.Address(); address != "" {
		m, err := a.People.Store.Member(ctx, tenantOf(ctx).ID, address)
		t.Member = m.ID
		return t, err
	}
	if _, err := tenants.ParseUserID(string(t.Member)); err != nil {
		return t, notFound()
	}
	return t, nil
}

// targetExists is fault.NotFound for what the tenant does not have. A tool need
// not exist: what is about to be published can be off before it is.
func (a *API) targetExists(ctx context.Context, target switches.Target) (err error) {
	t := tenantOf(ctx).ID
	switch target.Kind {
	case switches.Server, switches.Tool:
		_, err = a.server(ctx, target.Server)
	case switches.Member:
		_, err = a.People.Store.Member(ctx, t, string(target.Member))
	case switches.Client:
		_, err = a.Apps.Clients.ListedClient(ctx, t, target.Client, a.Now())
	}
	return err
}

// switchRole is what callers are told of who switches: the first of a member's
// roles that lets them, or what stands for one.
func (a *API) switchRole(ctx context.Context) (string, error) {
	p := callerOf(ctx)
	switch {
	case p.Operator():
		return switches.OperatorRole, nil
	case p.Kind == MeKindApiKey:
		return switches.KeyRole(p.Name), nil
	}
	roles, err := a.People.Store.RoleUses(ctx, tenantOf(ctx).ID)
	if err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(slices.Values(p.Roles)) {
		for _, r := range roles {
			if r.Name == name && tenants.Holds(r.Permissions, tenants.SwitchesWrite) {
				return name, nil
			}
		}
	}
	return string(tenants.Admin), nil // the role went while they asked
}

// showSwitches names what they are about for people, where there is a better
// name than the target's own.
func (a *API) showSwitches(ctx context.Context, now time.Time, list ...switches.Switch) ([]Switch, error) {
	t := tenantOf(ctx)
	about := make([]audit.Event, len(list))
	for i, s := range list {
		about[i] = audit.Event{User: s.Target.Member, Client: s.Target.Client}
	}
	names, err := a.Records.Store.AuditNames(ctx, t.ID, about)
	if err != nil {
		return nil, err
	}
	out := make([]Switch, 0, len(list))
	for _, s := range list {
		name := ""
		switch s.Target.Kind {
		case switches.Tenant:
			name = t.Name
		case switches.Tool:
			name = s.Target.Tool
		case switches.Server:
			name = s.Target.Server
		case switches.Member:
			name = names.Users[s.Target.Member]
		case switches.Client:
			name = names.Clients[s.Target.Client]
		}
		out = append(out, Switch{
			Target: s.Target.String(), Kind: SwitchKind(s.Target.Kind), Name: optional(name), On: s.On(now), Reason: s.Reason, By: s.By, ByRole: s.ByRole,
			CreatedAt: s.CreatedAt.UTC(), ExpiresAt: optionalTime(s.ExpiresAt), LiftedAt: optionalTime(s.LiftedAt), LiftedBy: optional(s.LiftedBy),
			CancelRunning: s.CancelRunning,
		})
	}
	return out, nil
}

func (a *API) showSwitch(ctx context.Context, s switches.Switch) (Switch, error) {
	all, err := a.showSwitches(ctx, a.Now(), s)
	if err != nil {
		return Switch{}, err
	}
	return all[0], nil
}

// unknown forgives that something is not there.
func unknown(err error) error {
	if fault.HasCode(err, fault.NotFound) {
		return nil
	}
	return err
}

var everything = switches.Target{Kind: switches.Platform}

// GetPlatformSwitch says whether all calls are off.
func (a *API) GetPlatformSwitch(ctx context.Context, _ GetPlatformSwitchRequestObject) (GetPlatformSwitchResponseObject, error) {
	s, err := a.Safety.Switches.Switch(ctx, tenants.Platform, everything)
	if unknown(err) != nil {
		return nil, err
	}
	if err != nil || !s.On(a.Now()) {
		return GetPlatformSwitch200JSONResponse{On: false}, nil
	}
	return GetPlatformSwitch200JSONResponse(showPlatformSwitch(s)), nil
}

// PutPlatformSwitch switches every call of every tenant off.
func (a *API) PutPlatformSwitch(ctx context.Context, in PutPlatformSwitchRequestObject) (PutPlatformSwitchResponseObject, error) {
	s, err := a.switchOff(ctx, tenants.Platform, everything, *in.Body)
	if err != nil {
		return nil, err
	}
	return PutPlatformSwitch200JSONResponse(showPlatformSwitch(s)), nil
}

// LiftPlatformSwitch lets calls through again.
func (a *API) LiftPlatformSwitch(ctx context.Context, _ LiftPlatformSwitchRequestObject) (LiftPlatformSwitchResponseObject, error) {
	_, err := a.Safety.Switches.LiftSwitch(ctx, tenants.Platform, everything, callerOf(ctx).Actor(), a.Now())
	if err != nil {
		return nil, absent(err)
	}
	return LiftPlatformSwitch204Response{}, nil
}

func showPlatformSwitch(s switches.Switch) PlatformSwitch {
	return PlatformSwitch{On: true, Reason: &s.Reason, By: &s.By, CreatedAt: optionalTime(s.CreatedAt), ExpiresAt: optionalTime(s.ExpiresAt), CancelRunning: &s.CancelRunning}
}
