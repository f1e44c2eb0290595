package api

import (
	"context"
	"strings"
	"time"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/tenants"
)

// Apps is what the operations about clients, grants, keys and operators ask for.
type Apps struct {
	Clients   ClientStore
	Keys      callers.Keys
	Operators callers.Operators
}

// ClientStore is what the API asks of oauth.Store.
type ClientStore interface {
	ListClients(ctx context.Context, t tenants.ID, f oauth.ClientFilter, after callers.Position, limit int, now time.Time) ([]oauth.ListedClient, error)
	ListedClient(ctx context.Context, t tenants.ID, id string, now time.Time) (oauth.ListedClient, error)
	ClientUse(ctx context.Context, t tenants.ID, id string, now time.Time) (oauth.ClientUse, error)
	DeleteOAuthClient(ctx context.Context, t tenants.ID, id string, at time.Time) error
	ListGrants(ctx context.Context, t tenants.ID, f oauth.GrantFilter, after callers.Position, limit int, now time.Time) ([]oauth.Grant, error)
	Grant(ctx context.Context, t tenants.ID, id string) (oauth.Grant, error)
	RevokeGrant(ctx context.Context, t tenants.ID, id, reason string, at time.Time) error
}

// GetMe says who calls.
func (a *API) GetMe(ctx context.Context, _ GetMeRequestObject) (GetMeResponseObject, error) {
	p := callerOf(ctx)
	me := Me{Kind: p.Kind, Id: p.ID, Name: p.Name, Email: optional(p.Email), Permissions: permissionList(p.held())}
	if p.Tenant.ID != "" {
		me.Tenant = &TenantRef{Slug: p.Tenant.Slug, Name: p.Tenant.Name}
	}
	if p.Kind == MeKindMember {
		me.Roles = ptr(append([]string{}, p.Roles...))
	}
	return GetMe200JSONResponse(me), nil
}

// absent answers for an id that the store does not know as for one that may
// not be seen.
func absent(err error) error {
	if fault.HasCode(err, fault.NotFound) {
		return notFound()
	}
	return err
}

// positionOf reads a cursor of a list that is sorted by time.
func positionOf(operation string, c *Cursor) (callers.Position, error) {
	keys, err := readCursor(operation, c, 2)
	if err != nil || keys == nil {
		return callers.Position{}, err
	}
	at, err := time.Parse(time.RFC3339Nano, keys[0])
	if err != nil || len(keys[1]) > 512 || strings.ContainsRune(keys[1], 0) {
		return callers.Position{}, fault.New(fault.InvalidRequest, "The cursor is not one of this list. Pass next_cursor as it came, or leave it out to begin anew.").
			WithDetails(fault.Detail{Pointer: "?cursor", Reason: "it is not a cursor of this list"})
	}
	return callers.Position{At: at, ID: keys[1]}, nil
}

// nextPosition is the cursor after an entry, where there is more.
func nextPosition(operation string, more bool, at time.Time, id string) *string {
	if !more {
		return nil
	}
	return cursor(operation, at.UTC().Format(time.RFC3339Nano), id)
}
