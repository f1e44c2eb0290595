package api

import (
	"context"

	"latchkey/internal/fault"
	"latchkey/internal/oauth"
)

func clientOf(c oauth.ListedClient) Client {
	return Client{
		Id: c.ID, Kind: ClientKind(c.Kind), Name: c.Name, Uri: optional(c.URI), RedirectHosts: c.RedirectHosts(), RedirectUris: &c.RedirectURIs,
		AuthMethod: optional(c.AuthMethod), CreatedAt: c.CreatedAt.UTC(), AuthorizedAt: optionalTime(c.AuthorizedAt), LastUsedAt: optionalTime(c.LastUsedAt),
		Grants: c.Grants,
	}
}

// ListClients lists apps, newest first.
func (a *API) ListClients(ctx context.Context, in ListClientsRequestObject) (ListClientsResponseObject, error) {
	const op = "listClients"
	after, err := positionOf(op, in.Params.Cursor)
	if err != nil {
		return nil, err
	}
	limit := limitOf(in.Params.Limit)
	f := oauth.ClientFilter{Search: deref(in.Params.Q), Authorized: in.Params.Authorized}
	all, err := a.Apps.Clients.ListClients(ctx, tenantOf(ctx).ID, f, after, limit+1, a.Now())
	if err != nil {
		return nil, err
	}
	all, more := cut(all, limit)
	page := ClientPage{Data: make([]Client, 0, len(all)), HasMore: more}
	for _, c := range all {
		page.Data = append(page.Data, clientOf(c))
		page.NextCursor = nextPosition(op, more, c.CreatedAt, c.ID)
	}
	return ListClients200JSONResponse(page), nil
}

// GetClient shows one app.
func (a *API) GetClient(ctx context.Context, in GetClientRequestObject) (GetClientResponseObject, error) {
	c, err := a.Apps.Clients.ListedClient(ctx, tenantOf(ctx).ID, in.Client, a.Now())
	if err != nil {
		return nil, absent(err)
	}
	return GetClient200JSONResponse(clientOf(c)), nil
}

// DeleteClient removes an app's registration, which revokes its grants.
func (a *API) DeleteClient(ctx context.Context, in DeleteClientRequestObject) (DeleteClientResponseObject, error) {
	t, now := tenantOf(ctx).ID, a.Now()
	if in.Client == oauth.ConsoleClient {
		return nil, fault.New(fault.Conflict, "The console is built in and cannot be deleted. To sign somebody out of it, revoke their grant.")
	}
	use, err := a.Apps.Clients.ClientUse(ctx, t, in.Client, now)
	if err != nil {
		return nil, absent(err)
	}
	d := Deletion{DryRun: deref(in.Params.DryRun), Effects: []Effect{
		{What: "grants, whose tokens are refused from then on", Count: use.Grants},
		{What: "people who let the app in", Count: use.People},
		{What: "remembered consents", Count: use.Consents},
	}}
	if !d.DryRun {
		if err := a.Apps.Clients.DeleteOAuthClient(ctx, t, in.Client, now); err != nil {
			return nil, absent(err)
		}
	}
	return DeleteClient200JSONResponse(d), nil
}

func (a *API) grantOf(g oauth.Grant) Grant {
	return Grant{
		Id: g.ID, Member: g.UserEmail, MemberId: optional(string(g.User)), Client: g.Client, ClientName: g.ClientName, Server: optional(g.ServerSlug),
		RedirectHost: optional(g.RedirectHost), Scopes: append([]string{}, g.Scopes...), Status: GrantStatus(g.Status(a.Now())), CreatedAt: g.CreatedAt.UTC(),
		ExpiresAt: optionalTime(g.ExpiresAt), UsedAt: optionalTime(g.UsedAt), RevokedAt: optionalTime(g.RevokedAt), RevokedReason: optional(g.RevokedReason),
	}
}

// ListGrants lists who let which app use what, newest first.
func (a *API) ListGrants(ctx context.Context, in ListGrantsRequestObject) (ListGrantsResponseObject, error) {
	const op = "listGrants"
	after, err := positionOf(op, in.Params.Cursor)
	if err != nil {
		return nil, err
	}
	limit := limitOf(in.Params.Limit)
	f := oauth.GrantFilter{
		Member: deref(in.Params.Member), Client: deref(in.Params.Client), Server: deref(in.Params.Server), Status: oauth.GrantStatus(deref(in.Params.Status)),
	}
	all, err := a.Apps.Clients.ListGrants(ctx, tenantOf(ctx).ID, f, after, limit+1, a.Now())
	if err != nil {
		return nil, err
	}
	all, more := cut(all, limit)
	page := GrantPage{Data: make([]Grant, 0, len(all)), HasMore: more}
	for _, g := range all {
		page.Data = append(page.Data, a.grantOf(g))
		page.NextCursor = nextPosition(op, more, g.CreatedAt, g.ID)
	}
	return ListGrants200JSONResponse(page), nil
}

// GetGrant shows one grant.
func (a *API) GetGrant(ctx context.Context, in GetGrantRequestObject) (GetGrantResponseObject, error) {
	g, err := a.Apps.Clients.Grant(ctx, tenantOf(ctx).ID, in.Grant)
	if err != nil {
		return nil, absent(err)
	}
	return GetGrant200JSONResponse(a.grantOf(g)), nil
}

// RevokeGrant ends a grant and the tokens that came from it.
func (a *API) RevokeGrant(ctx context.Context, in RevokeGrantRequestObject) (RevokeGrantResponseObject, error) {
	reason := deref(in.Params.Reason)
	if reason == "" {
		reason = "revoked by an administrator"
	}
	if err := a.Apps.Clients.RevokeGrant(ctx, tenantOf(ctx).ID, in.Grant, reason, a.Now()); err != nil {
		return nil, absent(err)
	}
	return RevokeGrant204Response{}, nil
}
