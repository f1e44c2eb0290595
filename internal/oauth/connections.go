package oauth

import (
	"crypto/subtle"
	"encoding/base64"
	"net/http"

	"github.com/labstack/echo/v4"

	"latchkey/internal/consent"
	"latchkey/internal/fault"
	"latchkey/internal/pages"
	"latchkey/internal/registry"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// showConnections lists what the person let in.
func (s *Server) showConnections(c echo.Context) error {
	ctx := c.Request().Context()
	t := site.From(ctx)
	session, ok, err := s.SignIn.Current(c.Request())
	if err != nil {
		return s.showError(c, t, err)
	}
	if !ok {
		pages.See(c.Response(), c.Request(), s.SignIn.LoginURL(t, "/connections"))
		return nil
	}
	grants, err := s.Grants(ctx, t.ID, session.User.ID)
	if err != nil {
		return s.showError(c, t, err)
	}
	p := consent.ConnectionsPage{
		Base: s.Sites.Base(t.Slug), Tenant: t.Name, User: session.User.Email, NotYou: s.SignIn.LoginURL(t, "/connections"),
		Now: s.Now(), Token: formToken(session),
	}
	if c.QueryParam("revoked") != "" {
		p.Notice = "The connection was revoked."
	}
	definitions := map[string]*registry.Definition{}
	for _, g := range grants {
		d, err := s.definition(c, t, g.ServerSlug, definitions)
		if err != nil {
			return s.showError(c, t, err)
		}
		p.Connections = append(p.Connections, connection(g, d))
	}
	if s.Accounts != nil {
		if p.Accounts, err = s.Accounts(ctx, t, session.User.ID); err != nil {
			return s.showError(c, t, err)
		}
	}
	consent.Connections(c.Response(), p)
	return nil
}

// definition finds what a server offers, once for each; one that was never
// published offers nothing.
func (s *Server) definition(c echo.Context, t tenants.Tenant, slug string, known map[string]*registry.Definition) (*registry.Definition, error) {
	if d, ok := known[slug]; ok {
		return d, nil
	}
	h, err := s.Registry.Hosted(c.Request().Context(), t.ID, slug)
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return nil, err
	}
	known[slug] = &h.Revision.Definition
	return known[slug], nil
}

func connection(g Grant, d *registry.Definition) consent.Connection {
	out := consent.Connection{
		ID: g.ID, Client: g.ClientName, Server: titleOr(g.ServerTitle, g.ServerSlug),
		Since: g.CreatedAt, LastUsed: g.UsedAt, Expires: g.ExpiresAt,
	}
	if isDocument(g.Client) {
		out.PublishedBy = documentHost(g.Client)
	}
	if g.forConsole() {
		out.Server = "The admin console"
		out.Scopes = []consent.GrantedScope{{Name: ScopeConsole, Title: "What your roles open in the console", Risk: registry.Writes}}
		return out
	}
	for _, name := range g.Scopes {
		granted := consent.GrantedScope{Name: name, Risk: registry.Reads}
		for _, tool := range d.Tools {
			if tool.Scope == name {
				granted.Title = titleOr(granted.Title, tool.Title)
				granted.Risk = worse(granted.Risk, tool.Risk)
			}
		}
		out.Scopes = append(out.Scopes, granted)
	}
	return out
}

func worse(a, b registry.Risk) registry.Risk {
	for _, r := range []registry.Risk{registry.Reads, registry.Writes} {
		if a == r {
			return b
		}
		if b == r {
			return a
		}
	}
	return registry.Destructive
}

// revokeConnection ends one of the person's own grants.
func (s *Server) revokeConnection(c echo.Context) error {
	ctx := c.Request().Context()
	t := site.From(ctx)
	if err := s.guard.Check(c.Request()); err != nil {
		return s.showRefusal(c, t, http.StatusForbidden, "This form came from another site", "Nothing was revoked.")
	}
	form, err := readPageForm(c)
	if err != nil {
		return s.showError(c, t, err)
	}
	asked, err := consent.ParseRevocation(form)
	if err != nil {
		return s.showError(c, t, err)
	}
	session, ok, err := s.SignIn.Current(c.Request())
	if err != nil {
		return s.showError(c, t, err)
	}
	if !ok || subtle.ConstantTimeCompare([]byte(asked.Token), []byte(formToken(session))) != 1 {
		return s.showRefusal(c, t, http.StatusForbidden, "This page belongs to another sign-in", "Nothing was revoked.")
	}
	g, err := s.Store.Grant(ctx, t.ID, asked.Grant)
	if err == nil && g.User == session.User.ID {
		err = s.RevokeGrant(ctx, t.ID, g.ID, "revoked by the person")
	}
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return s.showError(c, t, err)
	}
	pages.See(c.Response(), c.Request(), s.Sites.Base(t.Slug)+"/connections?revoked=1")
	return nil
}

// formToken ties a page's form to the sign-in that it was shown to, so that a
// page left open by one person cannot be used by the next. That no other site
// sends it is the business of http.CrossOriginProtection and of the cookie.
func formToken(session signin.Session) string {
	h := hashOf("connections/" + session.ID)
	return base64.RawURLEncoding.EncodeToString(h[:16])
}
