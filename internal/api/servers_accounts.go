package api

import (
	"context"
	"time"

	"latchkey/internal/accounts"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

// Accounts are the upstream accounts that servers run with.
type Accounts struct {
	Service *accounts.Service
}

// account finds a server that works with one.
func (a *API) account(ctx context.Context, slug string) (registry.Server, registry.Account, error) {
	s, err := a.server(ctx, slug)
	if err != nil {
		return s, registry.Account{}, err
	}
	need, ok := a.Accounts.Service.Of(&s)
	if !ok {
		return s, need, notFound()
	}
	return s, need, nil
}

// showAccount shows one; the zero Account is none.
func (a *API) showAccount(ctx context.Context, need registry.Account, s registry.Server, have accounts.Account) (UpstreamAccount, error) {
	out := UpstreamAccount{Per: UpstreamAccountPerTenant, State: UpstreamAccountStateNone, Scopes: append([]string{}, need.Scopes...)}
	if need.PerUser {
		out.Per = UpstreamAccountPerUser
	}
	c, err := a.Accounts.Service.Store.UpstreamClient(ctx, s.Tenant, s.ID)
	if err == nil {
		out.Issuer, out.Client, out.Registration = optional(c.Issuer), optional(c.ID), new(UpstreamAccountRegistration(c.How))
	} else if !fault.HasCode(err, fault.NotFound) {
		return out, err
	}
	if have.State == "" {
		return out, nil
	}
	out.State, out.Scopes, out.Failure = UpstreamAccountState(have.State), append([]string{}, have.Scopes...), optional(have.Failure)
	out.ConnectedAt, out.RenewedAt, out.ExpiresAt = optionalTime(have.ConnectedAt), optionalTime(have.RenewedAt), optionalTime(have.ExpiresAt)
	if by, err := a.People.Store.Member(ctx, s.Tenant, string(have.ConnectedBy)); err == nil {
		out.ConnectedBy = optional(by.Email)
	} else if !fault.HasCode(err, fault.NotFound) {
		return out, err
	}
	return out, nil
}

// GetAccount implements StrictServerInterface.
func (a *API) GetAccount(ctx context.Context, r GetAccountRequestObject) (GetAccountResponseObject, error) {
	s, need, err := a.account(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	have := accounts.Account{}
	if !need.PerUser {
		if have, err = a.Accounts.Service.Store.UpstreamAccount(ctx, s.Tenant, s.ID, ""); err != nil && !fault.HasCode(err, fault.NotFound) {
			return nil, err
		}
	}
	out, err := a.showAccount(ctx, need, s, have)
	if err != nil {
		return nil, err
	}
	return GetAccount200JSONResponse(out), nil
}

// AuthorizeAccount implements StrictServerInterface.
func (a *API) AuthorizeAccount(ctx context.Context, r AuthorizeAccountRequestObject) (AuthorizeAccountResponseObject, error) {
	s, _, err := a.account(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	by := callerOf(ctx).User
	if by == "" {
		return nil, fault.New(fault.Conflict, "An account is connected in a browser, by a member who is signed in there. Use the server's page in the console.")
	}
	url, err := a.Accounts.Service.Begin(ctx, tenantOf(ctx), &s, "", by, "/admin/servers/"+s.Slug+"?tab=connection")
	if err != nil {
		return nil, err
	}
	return AuthorizeAccount200JSONResponse{Url: url, ExpiresAt: a.Now().Add(accounts.FlowLife).UTC().Truncate(time.Second)}, nil
}

// DisconnectAccount implements StrictServerInterface.
func (a *API) DisconnectAccount(ctx context.Context, r DisconnectAccountRequestObject) (DisconnectAccountResponseObject, error) {
	s, _, err := a.account(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	if err := a.Accounts.Service.Disconnect(ctx, s.Tenant, s.ID, ""); err != nil {
		return nil, err
	}
	return DisconnectAccount204Response{}, nil
}

// ListAccounts implements StrictServerInterface.
func (a *API) ListAccounts(ctx context.Context, r ListAccountsRequestObject) (ListAccountsResponseObject, error) {
	s, need, err := a.account(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	all, err := a.Accounts.Service.Store.UpstreamAccounts(ctx, s.Tenant, s.ID)
	if err != nil {
		return nil, err
	}
	out := UpstreamAccountList{Data: []UpstreamAccount{}}
	for _, have := range all {
		if have.User == "" {
			continue
		}
		shown, err := a.showAccount(ctx, need, s, have)
		if err != nil {
			return nil, err
		}
		u, err := a.People.Store.Member(ctx, s.Tenant, string(have.User))
		if err != nil {
			return nil, err
		}
		shown.Member = optional(u.Email)
		out.Data = append(out.Data, shown)
	}
	return ListAccounts200JSONResponse(out), nil
}

// DisconnectMemberAccount implements StrictServerInterface.
func (a *API) DisconnectMemberAccount(ctx context.Context, r DisconnectMemberAccountRequestObject) (DisconnectMemberAccountResponseObject, error) {
	s, _, err := a.account(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	u, err := a.People.Store.Member(ctx, s.Tenant, r.Member)
	if err != nil {
		return nil, err
	}
	if err := a.Accounts.Service.Disconnect(ctx, s.Tenant, s.ID, u.ID); err != nil {
		return nil, err
	}
	return DisconnectMemberAccount204Response{}, nil
}
