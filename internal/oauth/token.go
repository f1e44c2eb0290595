package oauth

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// token is /token. The grants do the work, each in its file.
func (s *Server) token(c echo.Context) error {
	r := c.Request()
	form, err := readForm(c)
	if err != nil {
		return err
	}
	if err := s.knownGrantType(form.Get("grant_type")); err != nil {
		return err
	}
	ctx := r.Context()
	request, err := s.fosite.NewAccessRequest(ctx, r, &session{})
	if err != nil {
		return err
	}
	response, err := s.fosite.NewAccessResponse(ctx, request)
	if err != nil {
		return err
	}
	s.fosite.WriteAccessResponse(ctx, c.Response(), request, response)
	return nil
}

// knownGrantType answers for fosite, which takes several grant types in one
// parameter and calls an unknown one an invalid request.
func (s *Server) knownGrantType(name string) error {
	if name == "" {
		return say(errInvalidRequest, "Send grant_type.")
	}
	var names []string
	for _, g := range s.grants() {
		names = append(names, g.name())
	}
	if !slices.Contains(names, name) {
		return say(errUnsupportedGrantType, "The grants that are served here are: %s", strings.Join(names, ", "))
	}
	return nil
}

// tokens are an answer of /token.
type tokens struct {
	access  string
	life    time.Duration
	refresh string // empty: the client does not use them
	scopes  []string
}

// answer hands tokens to fosite's responder.
func (t *tokens) answer(to fosite.AccessResponder) error {
	to.SetAccessToken(t.access)
	to.SetTokenType("Bearer")
	to.SetExpiresIn(t.life)
	to.SetScopes(t.scopes)
	if t.refresh != "" {
		to.SetExtra("refresh_token", t.refresh)
	}
	return nil
}

// exchange is what every grant's handler begins with.
type exchange struct {
	tenant tenants.Tenant
	client protocolClient
	form   url.Values
	key    openKey
}

// begin finds the key first: what is looked up afterwards can be used once, and
// must not be lost to a key that cannot be opened.
func (s *Server) begin(ctx context.Context, r fosite.AccessRequester, grant string) (exchange, error) {
	e := exchange{tenant: site.From(ctx), form: r.GetRequestForm()}
	e.client, _ = r.GetClient().(protocolClient)
	if !slices.Contains(e.client.GrantTypes, grant) {
		return e, say(errUnauthorizedClient, "This client is not registered for the grant %s.", grant)
	}
	var err error
	e.key, err = s.keys.signer(ctx, e.tenant.ID)
	return e, err
}

// finish mints the access token and leaves the answer in the session, for
// PopulateTokenEndpointResponse.
func (s *Server) finish(r fosite.AccessRequester, e exchange, g Grant, scopes []string, refresh string) error {
	access, life, err := s.accessToken(e.tenant, e.key, g, scopes)
	if err != nil {
		return err
	}
	sess, ok := r.GetSession().(*session)
	if !ok {
		return say(errServer, "")
	}
	sess.tokens = &tokens{access: access, life: life, refresh: refresh, scopes: scopes}
	return nil
}

// populate is PopulateTokenEndpointResponse of every grant.
func populate(r fosite.AccessRequester, to fosite.AccessResponder, grant string) error {
	if !r.GetGrantTypes().ExactOne(grant) {
		return fosite.ErrUnknownRequest
	}
	sess, ok := r.GetSession().(*session)
	if !ok || sess.tokens == nil {
		return say(errServer, "")
	}
	return sess.tokens.answer(to)
}

// nextRefreshToken makes a link of a grant's chain.
func (s *Server) nextRefreshToken(g Grant, now time.Time) (string, *RefreshToken) {
	token := newSecret(prefixRefresh)
	expires := now.Add(s.RefreshTokenIdle)
	if !g.ExpiresAt.IsZero() && g.ExpiresAt.Before(expires) {
		expires = g.ExpiresAt
	}
	return token, &RefreshToken{Hash: hashOf(token), Grant: g.ID, ExpiresAt: expires}
}
