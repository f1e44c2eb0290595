package api

import (
	"context"
	"slices"
	"time"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

func keyOf(k callers.Key) APIKey {
	return APIKey{
		Id: k.ID, Name: k.Name, Hint: k.Hint, Permissions: permissionList(k.Permissions), CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt.UTC(),
		ExpiresAt: optionalTime(k.ExpiresAt), LastUsedAt: optionalTime(k.LastUsedAt), RevokedAt: optionalTime(k.RevokedAt),
	}
}

// keyDays is the default of expires_in_days.
const keyDays = 90

// newKeyFrom is what the two kinds of keys have in common.
func (a *API) newKeyFrom(ctx context.Context, name string, days *int) callers.Key {
	// As the store keeps it, so that what is shown once is what is shown later.
	now := a.Now().UTC().Truncate(time.Microsecond)
	n := keyDays
	if days != nil {
		n = *days
	}
	return callers.Key{Name: name, CreatedBy: callerOf(ctx).Actor(), CreatedAt: now, ExpiresAt: now.AddDate(0, 0, n)}
}

// author is whose right the caller acts with: of a key, that of who made it.
func (a *API) author(ctx context.Context) (string, error) {
	switch caller := callerOf(ctx); {
	case caller.Operator():
		return callers.ByOperator, nil
	case caller.User != "":
		return string(caller.User), nil
	default:
		k, err := a.Apps.Keys.APIKey(ctx, tenantOf(ctx).ID, caller.ID)
		return k.Author, err
	}
}

// ListAPIKeys lists a tenant's keys, newest first.
func (a *API) ListAPIKeys(ctx context.Context, in ListAPIKeysRequestObject) (ListAPIKeysResponseObject, error) {
	const op = "listAPIKeys"
	after, err := positionOf(op, in.Params.Cursor)
	if err != nil {
		return nil, err
	}
	limit := limitOf(in.Params.Limit)
	all, err := a.Apps.Keys.APIKeys(ctx, tenantOf(ctx).ID, after, limit+1)
	if err != nil {
		return nil, err
	}
	all, more := cut(all, limit)
	page := APIKeyPage{Data: make([]APIKey, 0, len(all)), HasMore: more}
	for _, k := range all {
		page.Data = append(page.Data, keyOf(k))
		page.NextCursor = nextPosition(op, more, k.CreatedAt, k.ID)
	}
	return ListAPIKeys200JSONResponse(page), nil
}

// CreateAPIKey makes a key with no more rights than its maker has.
func (a *API) CreateAPIKey(ctx context.Context, in CreateAPIKeyRequestObject) (CreateAPIKeyResponseObject, error) {
	t := tenantOf(ctx)
	var asked []tenants.Permission
	for _, p := range in.Body.Permissions {
		asked = append(asked, tenants.Permission(p))
	}
	if i := slices.Index(asked, tenants.ToolsTry); i >= 0 {
		return nil, fault.New(fault.InvalidArguments, "A key cannot hold %s: tools are tried by people, as themselves.", tenants.ToolsTry).
			WithDetails(fault.Detail{Pointer: "/permissions", Reason: "holds " + string(tenants.ToolsTry), Fix: "leave it out"})
	}
	if err := callerOf(ctx).mayGive(asked); err != nil {
		return nil, err
	}
	live, err := a.Apps.Keys.CountAPIKeys(ctx, t.ID, a.Now())
	if err != nil {
		return nil, err
	}
	if err := withinQuota("API keys", live, t.Quotas.APIKeys); err != nil {
		return nil, err
	}
	k := a.newKeyFrom(ctx, in.Body.Name, in.Body.ExpiresInDays)
	if k.Author, err = a.author(ctx); err != nil {
		return nil, err
	}
	k.Permissions = asked
	k, secret := callers.NewKey(k)
	if err := a.Apps.Keys.CreateAPIKey(ctx, t.ID, k); err != nil {
		return nil, err
	}
	return CreateAPIKey201JSONResponse(APIKeyCreated{Key: keyOf(k), Secret: secret}), nil
}

// GetAPIKey shows one key.
func (a *API) GetAPIKey(ctx context.Context, in GetAPIKeyRequestObject) (GetAPIKeyResponseObject, error) {
	k, err := a.Apps.Keys.APIKey(ctx, tenantOf(ctx).ID, in.Key)
	if err != nil {
		return nil, absent(err)
	}
	return GetAPIKey200JSONResponse(keyOf(k)), nil
}

// RevokeAPIKey ends a key, and with it the tokens that were got with it.
func (a *API) RevokeAPIKey(ctx context.Context, in RevokeAPIKeyRequestObject) (RevokeAPIKeyResponseObject, error) {
	if err := a.Apps.Keys.RevokeAPIKey(ctx, tenantOf(ctx).ID, in.Key, a.Now()); err != nil {
		return nil, absent(err)
	}
	return RevokeAPIKey204Response{}, nil
}
