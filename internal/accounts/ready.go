package accounts

import (
	"context"
	"errors"
	"time"

	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

const (
	// renewAhead is how long before its end a token is renewed: longer than most
	// calls take.
	renewAhead = 90 * time.Second
	// believed bounds how long an account is taken for good without a look at
	// the store: another edge may have disconnected it.
	believed = 20 * time.Second
	// renewing bounds one renewal; afterwards another edge may try.
	renewing = 20 * time.Second
	maxFresh = 50_000
)

// Ready makes sure that a call of this person has an account at the server's
// upstream whose token does not end during it. It answers fault.ConnectNeeded
// where the person has to connect theirs, with the page on which they can, and
// fault.CredentialsAway where it is an administrator's to do. Servers that run
// with no account are always ready.
func (s *Service) Ready(ctx context.Context, t tenants.Tenant, server *registry.Server, user tenants.UserID) error {
	need, ok := s.Of(server)
	if !ok {
		return nil
	}
	if !need.PerUser {
		user = ""
	}
	k, now := key{t.ID, server.ID, user}, s.Now()
	s.mu.Lock()
	until := s.fresh[k]
	s.mu.Unlock()
	if now.Before(until) {
		return nil
	}
	a, err := s.Store.UpstreamAccount(ctx, t.ID, server.ID, user)
	switch {
	case fault.HasCode(err, fault.NotFound):
		return s.missing(t, server, need, "")
	case err != nil:
		return err
	case a.State == Expired:
		return s.missing(t, server, need, a.Failure)
	}
	if a.ends(now.Add(renewAhead)) {
		if a, err = s.renew(ctx, t, server, a); err != nil {
			return s.unrenewed(t, server, need, a, err)
		}
	}
	s.believe(k, a, now)
	return nil
}

// ends reports whether the access token does, by then.
func (a *Account) ends(by time.Time) bool {
	return !a.ExpiresAt.IsZero() && !by.Before(a.ExpiresAt)
}

func (s *Service) believe(k key, a Account, now time.Time) {
	until := now.Add(believed)
	if end := a.ExpiresAt.Add(-renewAhead); !a.ExpiresAt.IsZero() && end.Before(until) {
		until = end
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.fresh) >= maxFresh {
		clear(s.fresh)
	}
	s.fresh[k] = until
}

func (s *Service) forget(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.fresh, k)
}

// Refused hears that the upstream did not take the account's token, whatever its
// end says: it is renewed before the next call.
func (s *Service) Refused(ctx context.Context, t tenants.ID, server *registry.Server, user tenants.UserID) {
	need, ok := s.Of(server)
	if !ok {
		return
	}
	if !need.PerUser {
		user = ""
	}
	s.forget(key{t, server.ID, user})
	a, err := s.Store.UpstreamAccount(ctx, t, server.ID, user)
	if err != nil || a.State != Connected || s.Now().Sub(a.RenewedAt) < renewAhead {
		return // a token of just now that is refused is not mended by another
	}
	a.ExpiresAt = s.Now()
	if _, err := s.Store.PutUpstreamAccount(ctx, t, a); err != nil && !fault.HasCode(err, fault.Stale) {
		s.Log.WarnContext(ctx, "a refused token is not marked", "tenant", t, "server", server.ID, "error", err)
	}
}

// missing says who has to connect what, and where.
func (s *Service) missing(t tenants.Tenant, server *registry.Server, need registry.Account, failure string) error {
	again, why := "", ""
	if failure != "" {
		again, why = " again", " ("+failure+")"
	}
	if need.PerUser {
		return fault.New(fault.ConnectNeeded, "%s works with an account of your own%s. Open %s in a browser to connect it%s, then call again. Nothing was done.",
			titleOf(server), why, s.ConnectURL(t, server), again).WithURL(s.ConnectURL(t, server))
	}
	return fault.New(fault.CredentialsAway, "%s works with an account that an administrator of %s has to connect%s%s. Nothing was done.", titleOf(server), t.Name, again, why)
}

func (s *Service) unrenewed(t tenants.Tenant, server *registry.Server, need registry.Account, a Account, err error) error {
	if a.State == Expired {
		return s.missing(t, server, need, a.Failure)
	}
	if !a.ends(s.Now().Add(5 * time.Second)) {
		return nil // it lasts for this call; the next one tries again
	}
	return fault.New(fault.UpstreamAway, "The authorization for %s could not be renewed at its upstream. Nothing was done; call again in a few seconds.", titleOf(server)).
		After(5 * time.Second).Because(err)
}

func titleOf(s *registry.Server) string {
	if s.Title != "" {
		return s.Title
	}
	return s.Slug
}

// ConnectURL is the page on which a person connects their account.
func (s *Service) ConnectURL(t tenants.Tenant, server *registry.Server) string {
	return s.Sites.Base(t.Slug) + "/accounts/" + server.Slug
}

// renew gets a new access token for the refresh token. One edge does it for an
// account at a time: some servers take a refresh token that comes twice for a
// stolen one (OAuth 2.1 section 4.3.1), and end everything.
func (s *Service) renew(ctx context.Context, t tenants.Tenant, server *registry.Server, a Account) (Account, error) {
	if !a.Renewable {
		return s.expire(ctx, t, server, a, "its authorization has ended, and the server renews none")
	}
	for {
		now := s.Now()
		mine, err := s.Store.ClaimRenewal(ctx, t.ID, a, now, now.Add(renewing))
		if err != nil {
			return a, err
		}
		if mine {
			// The answer must be kept even when the caller is gone.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewing-5*time.Second)
			defer cancel()
			return s.trade(ctx, t, server, a)
		}
		timer := time.NewTimer(200 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return a, ctx.Err()
		}
		if a, err = s.Store.UpstreamAccount(ctx, t.ID, server.ID, a.User); err != nil || a.State == Expired || !a.ends(s.Now().Add(renewAhead)) {
			return a, err
		}
	}
}

func (s *Service) trade(ctx context.Context, t tenants.Tenant, server *registry.Server, a Account) (Account, error) {
	c, err := s.Store.UpstreamClient(ctx, t.ID, server.ID)
	if err != nil {
		return a, err
	}
	kept, err := s.Vault.Account(ctx, t.ID, server.ID, of(a.User))
	if err != nil {
		return a, err
	}
	if kept[fieldRefresh] == "" || c.Issuer != a.Issuer {
		return s.expire(ctx, t, server, a, "the server asks for a new authorization")
	}
	got, err := s.refresh(ctx, t.ID, c, kept[fieldRefresh])
	if refused := (*refusal)(nil); errors.As(err, &refused) && refused.final() {
		return s.expire(ctx, t, server, a, "the server does not renew its authorization any more")
	}
	if err != nil {
		return a, err
	}
	return s.keep(ctx, t.ID, a, got, kept[fieldRefresh])
}

// keep puts tokens where they belong: first what renews them, which the upstream
// may have replaced and would not give again.
func (s *Service) keep(ctx context.Context, t tenants.ID, a Account, got tokens, before secret.Text) (Account, error) {
	refresh := got.Refresh
	if refresh == "" {
		refresh = before
	}
	kept := map[string]secret.Text{}
	if refresh != "" {
		kept[fieldRefresh] = refresh
	}
	if err := s.Vault.PutAccount(ctx, t, a.Server, of(a.User), kept); err != nil {
		return a, err
	}
	fields := map[string]secret.Text{fieldAccess: got.Access}
	if a.ExpiresAt = got.ExpiresAt; !a.ExpiresAt.IsZero() {
		fields[vault.ExpiresAt] = secret.Text(a.ExpiresAt.UTC().Format(time.RFC3339))
	}
	err := error(nil)
	if a.User == "" {
		err = s.Vault.PutSharedToken(ctx, t, a.Server, fields)
	} else {
		err = s.Vault.PutUserSecrets(ctx, t, a.Server, a.User, fields)
	}
	if err != nil {
		return a, err
	}
	if len(got.Scopes) > 0 {
		a.Scopes = got.Scopes
	}
	a.State, a.Failure, a.Renewable, a.RenewedAt = Connected, "", refresh != "", s.Now()
	return s.Store.PutUpstreamAccount(ctx, t, a)
}

// expire notes that only a person can help. The token that is left goes.
func (s *Service) expire(ctx context.Context, t tenants.Tenant, server *registry.Server, a Account, why string) (Account, error) {
	a.State, a.Failure = Expired, why
	s.forget(key{t.ID, a.Server, a.User})
	err := s.drop(ctx, t.ID, a.Server, a.User)
	stored, putErr := s.Store.PutUpstreamAccount(ctx, t.ID, a)
	if putErr == nil {
		a = stored
	}
	s.Events.Raise(ctx, events.Event{
		Tenant: t.ID, At: s.Now(), Kind: events.AccountExpired, Severity: events.Warning, User: a.User, ServerID: server.ID, Server: server.Slug,
		Detail: "The account that calls of " + titleOf(server) + " run with has to be connected again: " + why + ".", Same: string(a.Server) + "/" + string(a.User),
	})
	return a, errors.Join(errExpired, err, putErr)
}

var errExpired = errors.New("accounts: it has to be connected again")

// drop removes an account's tokens from Vault.
func (s *Service) drop(ctx context.Context, t tenants.ID, server registry.ServerID, user tenants.UserID) error {
	err := s.Vault.PutAccount(ctx, t, server, of(user), nil)
	if user == "" {
		return errors.Join(err, s.Vault.PutSharedToken(ctx, t, server, nil))
	}
	return errors.Join(err, s.Vault.DeleteUserSecrets(ctx, t, server, user))
}

// Names of fields at Vault.
const (
	fieldAccess  = "access_token"
	fieldRefresh = "refresh_token"
	fieldSecret  = "client_secret"
)

func of(u tenants.UserID) string {
	if u == "" {
		return vault.SharedAccount
	}
	return string(u)
}
