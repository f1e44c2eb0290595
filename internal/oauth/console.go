package oauth

import (
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/pages"
	"latchkey/internal/signin"
	"latchkey/internal/tenants"
)

// ConsoleClient is the admin console: a client that is built in for each
// tenant, public, with one redirect URI below the tenant's own base. It is the
// only one whose tokens are for the platform API. Nobody can register the
// name: ids of registered clients are made here, those of documents are URLs.
const ConsoleClient = "latchkey-console"

// ScopeConsole stands for what the person's roles open on the platform API,
// which is looked up at each call.
const ScopeConsole = "console"

// ConsoleRedirect is below a tenant's base where the console's answers go.
const ConsoleRedirect = "/admin/callback"

// consoleGrantLifetime bounds how long one sign-in at the console lasts.
const consoleGrantLifetime = 7 * 24 * time.Hour

func (s *Server) consoleClient(t tenants.Tenant) Client {
	return Client{
		ID: ConsoleClient, Kind: Console, Name: "Latchkey console", URI: s.Sites.Base(t.Slug) + "/admin/", AuthMethod: "none",
		RedirectURIs: []string{s.Sites.Base(t.Slug) + ConsoleRedirect}, GrantTypes: []string{grantAuthorizationCode}, CreatedAt: s.Now(),
	}
}

// readConsole is readTarget for the console: the platform API, all of it or
// nothing. The redirect URI has no port to choose, as one of an app on
// loopback has.
func (s *Server) readConsole(t tenants.Tenant, a *ask) error {
	if a.redirect != a.client.RedirectURIs[0] {
		a.redirect = ""
		return errUnregisteredRedirect
	}
	if err := s.apiTarget(t, a.form["resource"]); err != nil {
		return err
	}
	a.target.resource = s.Sites.API(t.Slug)
	var err error
	a.scopes, err = askedScopes(a.form.Get("scope"), []string{ScopeConsole})
	return err
}

// admitConsole gives a code without a question: it is the tenant's own console,
// and it can do nothing but what the person may do there. That another site
// cannot make use of it is the business of PKCE and of the console's state.
func (s *Server) admitConsole(c echo.Context, t tenants.Tenant, session signin.Session, a *ask) error {
	ctx := c.Request().Context()
	if err := s.Store.PutOAuthClient(ctx, t.ID, a.client); err != nil { // the grant refers to it
		return s.answerError(c, t, a, err)
	}
	key := ConsentKey{User: session.User.ID, Client: ConsoleClient, RedirectHost: redirectHost(a.redirect)}
	to, err := s.issue(ctx, t, a, Issue{Grant: s.newGrant(key, a.scopes, s.Now().Add(consoleGrantLifetime))})
	if err != nil {
		return s.answerError(c, t, a, err)
	}
	pages.See(c.Response(), c.Request(), to)
	return nil
}
