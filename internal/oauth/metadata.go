package oauth

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// metadata is RFC 8414, computed from what is mounted.
func (s *Server) metadata(t tenants.Tenant) map[string]any {
	base := s.Sites.Base(t.Slug)
	m := map[string]any{
		"issuer":                                         base,
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"code_challenge_methods_supported":               []string{"S256"},
		"scopes_supported":                               []string{offlineAccess},
		"authorization_response_iss_parameter_supported": true, // RFC 9207
		"client_id_metadata_document_supported":          true,
		"require_pushed_authorization_requests":          false,
	}
	for _, e := range s.endpoints() {
		if e.member != "" {
			m[e.member] = base + e.path
		}
	}
	var grants, methods []string
	for _, g := range s.grants() {
		grants = append(grants, g.name())
	}
	for _, a := range authMethods {
		methods = append(methods, a.name)
	}
	m["grant_types_supported"] = grants
	for _, at := range []string{"token", "revocation", "introspection"} {
		m[at+"_endpoint_auth_methods_supported"] = methods
	}
	return m
}

func (s *Server) showMetadata(c echo.Context) error {
	return cached(c, s.metadata(site.From(c.Request().Context())))
}

// showOpenIDMetadata has what OpenID Connect Discovery requires besides. No ID
// token is issued: clients only look here for the OAuth part.
func (s *Server) showOpenIDMetadata(c echo.Context) error {
	m := s.metadata(site.From(c.Request().Context()))
	m["subject_types_supported"] = []string{"public"}
	m["id_token_signing_alg_values_supported"] = []string{"EdDSA"}
	return cached(c, m)
}

// resourceMetadata is RFC 9728.
type resourceMetadata struct {
	Resource      string   `json:"resource"`
	Servers       []string `json:"authorization_servers"`
	Scopes        []string `json:"scopes_supported,omitempty"`
	BearerMethods []string `json:"bearer_methods_supported"`
	Name          string   `json:"resource_name,omitempty"`
}

// showResource describes one MCP endpoint. Its scopes are the server's.
func (s *Server) showResource(c echo.Context) error { return s.showEndpoint(c, s.Sites.Resource) }

// showSSEResource describes the endpoint of a server for the HTTP+SSE transport.
// A client compares the resource with the URL that it was given (RFC 9728 section
// 3.3), so that it must be this one; a token for it is one for the server.
func (s *Server) showSSEResource(c echo.Context) error { return s.showEndpoint(c, s.Sites.SSE) }

func (s *Server) showEndpoint(c echo.Context, url func(tenant, server string) string) error {
	ctx := c.Request().Context()
	t, slug := site.From(ctx), c.Param("server")
	if tenants.ValidSlug(slug) != nil {
		return say(errNotFound, "There is no such server here.")
	}
	h, err := s.Registry.Hosted(ctx, t.ID, slug)
	if fault.HasCode(err, fault.NotFound) {
		return say(errNotFound, "There is no such server here.")
	}
	if err != nil {
		return err
	}
	return cached(c, s.resourceOf(t, url(t.Slug, slug), h.Server.Title, h.Revision.Definition.Scopes()))
}

// showAPIResource describes the platform API. Its scopes are permissions: what
// a token got with an API key can be narrowed to.
func (s *Server) showAPIResource(c echo.Context) error {
	t := site.From(c.Request().Context())
	var scopes []string
	for _, p := range tenants.Permissions() {
		scopes = append(scopes, string(p))
	}
	return cached(c, s.resourceOf(t, s.Sites.API(t.Slug), t.Name+": platform API", scopes))
}

// showTenantResource is for clients that only know the host: it names the
// authorization server. A token is for one server, whose own document names it.
func (s *Server) showTenantResource(c echo.Context) error {
	t := site.From(c.Request().Context())
	return cached(c, s.resourceOf(t, s.Sites.Base(t.Slug), t.Name, nil))
}

func (s *Server) resourceOf(t tenants.Tenant, resource, name string, scopes []string) resourceMetadata {
	return resourceMetadata{
		Resource: resource, Servers: []string{s.Sites.Base(t.Slug)}, Name: name,
		Scopes: slices.DeleteFunc(scopes, func(s string) bool { return s == offlineAccess }), BearerMethods: []string{"header"},
	}
}

// cached answers with a public document. Half the time by which a key is
// published ahead is the longest that any of them may be kept.
func cached(c echo.Context, doc any) error {
	h := c.Response().Header()
	h.Del("Pragma")
	h.Set("Cache-Control", "public, max-age=60")
	return c.JSON(http.StatusOK, doc)
}
