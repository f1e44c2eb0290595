package oauth

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// authenticated is what /revoke and /introspect begin with.
func (s *Server) authenticated(c echo.Context) (tenants.Tenant, protocolClient, error) {
	ctx := c.Request().Context()
	form, err := readForm(c)
	if err != nil {
		return tenants.Tenant{}, protocolClient{}, err
	}
	client, err := s.authenticateClient(ctx, c.Request(), form)
	if err != nil {
		return tenants.Tenant{}, protocolClient{}, err
	}
	return site.From(ctx), client.(protocolClient), nil
}

// revoke is RFC 7009. Either kind of token ends the grant with all of its
// tokens. What is unknown or another client's answers alike, and is left alone.
func (s *Server) revoke(c echo.Context) error {
	t, client, err := s.authenticated(c)
	if err != nil {
		return err
	}
	token := c.Request().PostForm.Get("token")
	if token == "" {
		return say(errInvalidRequest, "Send token.")
	}
	if client.key != nil {
		return say(errUnsupportedTokenType, "A token of an API key ends within minutes, or at once with the key.")
	}
	ctx := c.Request().Context()
	found, err := s.grantOfToken(ctx, t, token)
	if err != nil {
		return err
	}
	if found.Grant.ID != "" && found.Grant.Client == client.ID {
		if err := s.RevokeGrant(ctx, t.ID, found.Grant.ID, "revoked by the client"); err != nil && !fault.HasCode(err, fault.NotFound) {
			return err
		}
	}
	return c.NoContent(http.StatusOK)
}

// introspection is RFC 7662 section 2.2.
type introspection struct {
	Active    bool   `json:"active"`
	TokenUse  string `json:"token_use,omitempty"`
	TokenType string `json:"token_type,omitempty"`
	Issuer    string `json:"iss,omitempty"`
	Subject   string `json:"sub,omitempty"`
	Audience  string `json:"aud,omitempty"`
	Client    string `json:"client_id,omitempty"`
	Scope     string `json:"scope,omitempty"`
	Grant     string `json:"gid,omitempty"`
	ID        string `json:"jti,omitempty"`
	IssuedAt  int64  `json:"iat,omitempty"`
	ExpiresAt int64  `json:"exp,omitempty"`
}

// introspect tells a client about its own tokens, and about no others.
func (s *Server) introspect(c echo.Context) error {
	t, client, err := s.authenticated(c)
	if err != nil {
		return err
	}
	if client.key != nil {
		return s.introspectKey(c, t, *client.key)
	}
	found, err := s.grantOfToken(c.Request().Context(), t, c.Request().PostForm.Get("token"))
	if err != nil {
		return err
	}
	now := s.Now()
	if found.Grant.ID == "" || found.Grant.Client != client.ID || !found.Grant.Live(now) || found.spent(now) {
		return c.JSON(http.StatusOK, introspection{})
	}
	out := introspection{
		Active: true, TokenUse: "refresh_token", Issuer: s.Sites.Base(t.Slug),
		Subject: string(found.Grant.User), Audience: s.audience(t, found.Grant),
		Client: found.Grant.Client, Scope: strings.Join(found.Grant.Scopes, " "), Grant: found.Grant.ID,
	}
	if a := found.access; a != nil {
		out.TokenUse, out.TokenType = "access_token", "Bearer"
		out.Audience, out.Scope, out.ID, out.IssuedAt, out.ExpiresAt = a.Audience, a.Scope, a.ID, a.IssuedAt, a.ExpiresAt
	} else {
		out.ExpiresAt = found.refresh.ExpiresAt.Unix()
	}
	return c.JSON(http.StatusOK, out)
}
