package oauth

import (
	"context"
	"errors"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// foundToken is a token of either kind with its grant. The zero one is none.
type foundToken struct {
	Grant   Grant
	access  *claims
	refresh *RefreshToken
}

// spent reports a refresh token that yields nothing any more. That an access
// token has not expired is known from reading it.
func (f foundToken) spent(now time.Time) bool {
	return f.refresh != nil && (!f.refresh.UsedAt.IsZero() || !now.Before(f.refresh.ExpiresAt))
}

// grantOfToken finds what a token stands for. token_type_hint is not needed:
// our refresh tokens have a prefix.
func (s *Server) grantOfToken(ctx context.Context, t tenants.Tenant, token string) (foundToken, error) {
	var found foundToken
	var err error
	if strings.HasPrefix(token, prefixRefresh) {
		var refresh RefreshToken
		refresh, found.Grant, err = s.Store.GrantOfRefreshToken(ctx, t.ID, hashOf(token))
		found.refresh = &refresh
	} else {
		var c claims
		if c, err = s.readAccessToken(ctx, t, token); err == nil {
			found.access = &c
			found.Grant, err = s.Store.Grant(ctx, t.ID, c.Grant)
		}
	}
	if errors.Is(err, errNotOurToken) || fault.HasCode(err, fault.NotFound) {
		return foundToken{}, nil
	}
	return found, err
}
