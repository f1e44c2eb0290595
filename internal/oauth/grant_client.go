package oauth

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// clientGrant is the client credentials grant (RFC 6749 section 4.4) for API
// keys: the key's id is the client id, the key the secret. Its tokens are for
// the platform API and for nothing else. They carry no grant: an edge looks
// the key up at each call, so that they end with it.
type clientGrant struct{ s *Server }

const grantClientCredentials = "client_credentials"

func (clientGrant) name() string { return grantClientCredentials }

// isAPIKey tells a key's id from a client's, which begins otherwise.
func isAPIKey(id string) bool { return len(id) == 20 && strings.HasPrefix(id, "ak") }

// authenticateKey answers alike for a key that is unknown, wrong, revoked or
// expired.
func (s *Server) authenticateKey(ctx context.Context, t tenants.Tenant, got credentials) (fosite.Client, error) {
	k, err := s.APIKeys.APIKey(ctx, t.ID, got.id)
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return nil, err
	}
	h := callers.HashOf(secret.Text(got.secret))
	if err != nil || !got.shown || subtle.ConstantTimeCompare(h[:], k.Hash[:]) != 1 || !k.Live(s.Now()) {
		return nil, errWrongSecret
	}
	return protocolClient{Client: Client{ID: k.ID, Name: k.Name, GrantTypes: []string{grantClientCredentials}}, key: &k}, nil
}

func (clientGrant) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

func (clientGrant) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantClientCredentials)
}

// HandleTokenEndpointRequest gives a token with the key's permissions, or with
// those of them that are asked for.
func (g clientGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	e, err := g.s.begin(ctx, r, grantClientCredentials)
	if err != nil {
		return err
	}
	k := e.client.key
	if k == nil {
		return say(errUnauthorizedClient, "This grant is for API keys.")
	}
	if e.form.Has("resource") {
		if err := g.s.apiTarget(e.tenant, e.form["resource"]); err != nil {
			return err
		}
	}
	scopes, err := narrow(k.Permissions, scopeList(e.form.Get("scope")))
	if err != nil {
		return err
	}
	now := g.s.Now()
	if k.UseDue(now) {
		if err := g.s.APIKeys.UseAPIKey(ctx, e.tenant.ID, k.ID, now); err != nil {
			return err
		}
	}
	access, life, err := g.s.mint(e.tenant, e.key, claims{
		Subject: k.ID, Client: k.ID, Audience: g.s.Sites.API(e.tenant.Slug), Scope: strings.Join(scopes, " "),
	}, k.ExpiresAt)
	if err != nil {
		return err
	}
	sess, ok := r.GetSession().(*session)
	if !ok {
		return say(errServer, "")
	}
	sess.tokens = &tokens{access: access, life: life, scopes: scopes}
	return nil
}

// narrow picks permissions. Whoever asks for one that the key does not hold is
// told so: a token with less would fail later, and further from the mistake.
func narrow(held []tenants.Permission, asked []string) ([]string, error) {
	if len(asked) == 0 {
		for _, p := range held {
			asked = append(asked, string(p))
		}
		return asked, nil
	}
	for _, scope := range asked {
		if p := tenants.Permission(scope); !tenants.ValidPermission(p) || !tenants.Holds(held, p) {
			return nil, say(errInvalidScope, "The key does not hold %.60s. Ask for permissions that it holds, or send no scope.", scope)
		}
	}
	return asked, nil
}

func (clientGrant) PopulateTokenEndpointResponse(_ context.Context, r fosite.AccessRequester, to fosite.AccessResponder) error {
	return populate(r, to, grantClientCredentials)
}

// introspectKey tells a key about its own tokens. That the key is in force is
// known from its authentication.
func (s *Server) introspectKey(c echo.Context, t tenants.Tenant, k callers.Key) error {
	a, err := s.readAccessToken(c.Request().Context(), t, c.Request().PostForm.Get("token"))
	if err != nil && err != errNotOurToken {
		return err
	}
	if err != nil || a.Client != k.ID || a.Grant != "" {
		return c.JSON(http.StatusOK, introspection{})
	}
	return c.JSON(http.StatusOK, introspection{
		Active: true, TokenUse: "access_token", TokenType: "Bearer", Issuer: a.Issuer, Subject: a.Subject, Audience: a.Audience,
		Client: a.Client, Scope: a.Scope, ID: a.ID, IssuedAt: a.IssuedAt, ExpiresAt: a.ExpiresAt,
	})
}
