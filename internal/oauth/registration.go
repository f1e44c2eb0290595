package oauth

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

const (
	maxRegistration = 16 << 10
	maxRedirects    = 10
	maxClientName   = 200
)

// clientMetadata is what a client says of itself: RFC 7591 section 2, in a
// registration and in a client's own document. What is not here is ignored.
type clientMetadata struct {
	RedirectURIs []string `json:"redirect_uris"`
	AuthMethod   string   `json:"token_endpoint_auth_method,omitempty"`
	GrantTypes   []string `json:"grant_types,omitempty"`
	Name         string   `json:"client_name,omitempty"`
	URI          string   `json:"client_uri,omitempty"`
	Scope        string   `json:"scope,omitempty"`
}

// describe fills in a client from metadata. Grants that a person does not give
// (client credentials and the like) are stripped: nobody can register for
// those, an admin makes such clients.
func (m clientMetadata) describe(c *Client) error {
	if len(m.RedirectURIs) == 0 || len(m.RedirectURIs) > maxRedirects {
		return say(errInvalidRedirectURI, "Send 1 to %d redirect_uris.", maxRedirects)
	}
	for _, r := range m.RedirectURIs {
		if problem := validRedirectURI(r); problem != "" {
			return say(errInvalidRedirectURI, "The redirect URI %.200s cannot be used: %s.", r, problem)
		}
	}
	c.RedirectURIs = m.RedirectURIs
	c.Name = plainText(m.Name, maxClientName)
	c.URI = ""
	if u, err := url.Parse(m.URI); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.User == nil && len(m.URI) <= 2000 {
		c.URI = plainText(m.URI, 2000)
	}
	byPeople := []string{grantAuthorizationCode, grantRefreshToken}
	c.GrantTypes = intersect(byPeople, m.GrantTypes)
	if !slices.Contains(c.GrantTypes, grantAuthorizationCode) {
		c.GrantTypes = byPeople
	}
	return nil
}

// plainText drops what a database or a log cannot hold. Pages clean what they
// show once more.
func plainText(s string, limit int) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, s))
	if runes := []rune(s); len(runes) > limit {
		s = string(runes[:limit])
	}
	return s
}

// parseMetadata reads one JSON object and nothing after it.
func parseMetadata(body []byte, into any) error {
	if trimmed := strings.TrimLeft(string(body), " \t\r\n"); !strings.HasPrefix(trimmed, "{") {
		return errors.New("not a JSON object")
	}
	return json.Unmarshal(body, into)
}

// registration is the answer of RFC 7591 section 3.2.1 and RFC 7592 section 3.
type registration struct {
	ID       string `json:"client_id"`
	IssuedAt int64  `json:"client_id_issued_at"`
	Secret   string `json:"client_secret,omitempty"`
	Expires  *int64 `json:"client_secret_expires_at,omitempty"` // 0: never
	clientMetadata
	ResponseTypes []string `json:"response_types"`
	ManageURI     string   `json:"registration_client_uri"`
	ManageToken   string   `json:"registration_access_token"`
}

func (s *Server) registrationOf(t tenants.Tenant, c Client, secret, token string) registration {
	r := registration{
		ID: c.ID, IssuedAt: c.CreatedAt.Unix(), Secret: secret,
		clientMetadata: clientMetadata{RedirectURIs: c.RedirectURIs, AuthMethod: c.AuthMethod, GrantTypes: c.GrantTypes, Name: c.Name, URI: c.URI, Scope: c.Scope},
		ResponseTypes:  []string{"code"},
		ManageURI:      s.Sites.Base(t.Slug) + "/register/" + c.ID, ManageToken: token,
	}
	if secret != "" {
		r.Expires = new(int64)
	}
	return r
}

// readRegistration reads a body into a client, and makes or drops its secret
// as its authentication method needs.
func (s *Server) readRegistration(c echo.Context, client *Client) (m clientMetadata, id, secret string, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, maxRegistration))
	if err != nil {
		return m, "", "", readError(err)
	}
	var in struct {
		clientMetadata
		ID string `json:"client_id"`
	}
	if err := parseMetadata(body, &in); err != nil {
		return m, "", "", say(errInvalidClientMetadata, "The body is not a JSON object with client metadata.")
	}
	m = in.clientMetadata
	if err := m.describe(client); err != nil {
		return m, "", "", err
	}
	if m.AuthMethod == "" {
		m.AuthMethod = "client_secret_basic" // RFC 7591 section 2
	}
	if !knownAuthMethod(m.AuthMethod) {
		return m, "", "", say(errInvalidClientMetadata, "The method %.40s is not served; see token_endpoint_auth_methods_supported.", m.AuthMethod)
	}
	client.AuthMethod = m.AuthMethod
	switch {
	case m.AuthMethod == "none":
		client.Secret = nil
	case client.Secret == nil:
		secret = newSecret(prefixSecret)
		h := hashOf(secret)
		client.Secret = &h
	}
	client.Scope, err = s.knownScopes(c, m.Scope)
	return m, in.ID, secret, err
}

// knownScopes keeps the scopes that some server of the tenant has.
func (s *Server) knownScopes(c echo.Context, param string) (string, error) {
	asked := scopeList(param)
	if len(asked) == 0 {
		return "", nil
	}
	ctx := c.Request().Context()
	all, err := s.Registry.HostedAll(ctx, site.From(ctx).ID)
	if err != nil {
		return "", err
	}
	known := []string{offlineAccess}
	for _, h := range all {
		known = append(known, h.Revision.Definition.Scopes()...)
	}
	return strings.Join(intersect(asked, known), " "), nil
}

// registerClient is RFC 7591. Anybody may register: what a client gets for it
// is the right to ask a person.
func (s *Server) registerClient(c echo.Context) error {
	ctx := c.Request().Context()
	t := site.From(ctx)
	if err := s.throttle(s.register, t.ID, c.Request()); err != nil {
		return err
	}
	token := newSecret(prefixRegistration)
	manage := hashOf(token)
	client := Client{ID: tenants.RandomID("cl"), Kind: Registered, Registration: &manage, CreatedAt: s.Now()}
	_, _, secret, err := s.readRegistration(c, &client)
	if err != nil {
		return err
	}
	if err := s.Store.CreateOAuthClient(ctx, t.ID, client); err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, s.registrationOf(t, client, secret, token))
}

// managed finds the client that a registration token manages. Another
// client's token and an unknown client answer alike.
func (s *Server) managed(c echo.Context) (Client, string, error) {
	bad := say(errInvalidToken, "The registration access token is not the one of this client.")
	scheme, token, _ := strings.Cut(c.Request().Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return Client{}, "", bad
	}
	ctx := c.Request().Context()
	client, err := s.Store.OAuthClient(ctx, site.From(ctx).ID, c.Param("client"))
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return Client{}, "", err
	}
	h := hashOf(token)
	if err != nil || client.Registration == nil || subtle.ConstantTimeCompare(h[:], client.Registration[:]) != 1 {
		return Client{}, "", bad
	}
	return client, token, nil
}

func (s *Server) showRegistration(c echo.Context) error {
	client, token, err := s.managed(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, s.registrationOf(site.From(c.Request().Context()), client, "", token))
}

// updateRegistration replaces all of a client's metadata (RFC 7592 section 2.2).
func (s *Server) updateRegistration(c echo.Context) error {
	client, token, err := s.managed(c)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	t := site.From(ctx)
	if err := s.throttle(s.register, t.ID, c.Request()); err != nil {
		return err
	}
	_, id, secret, err := s.readRegistration(c, &client)
	if err != nil {
		return err
	}
	if id != client.ID {
		return say(errInvalidClientMetadata, "client_id must be the client's own.")
	}
	if err := s.Store.UpdateOAuthClient(ctx, t.ID, client); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, s.registrationOf(t, client, secret, token))
}

func (s *Server) deleteRegistration(c echo.Context) error {
	client, _, err := s.managed(c)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	if err := s.Store.DeleteOAuthClient(ctx, site.From(ctx).ID, client.ID, s.Now()); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
