package accounts

import (
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
	"latchkey/internal/pages"
	"latchkey/internal/registry"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

//go:embed account.html
var templates embed.FS

var view = pages.Parse(templates, "account.html")

// page is what a person is shown of an account.
type page struct {
	Base, Server, Upstream string
	Scopes                 []string
	Connected, Expired     bool
	Failure                string
	Token                  string // of the form
	Action, Disconnect     string
	Notice, Problem        string
	Back                   string
}

// Register mounts the pages below a tenant's base.
func (s *Service) Register(e *echo.Echo) {
	e.GET("/accounts/callback", s.handle(s.callback))
	e.GET("/accounts/client.json", s.showDocument)
	e.GET("/accounts/:server", s.handle(s.show))
	e.POST("/accounts/:server/connect", s.handle(s.connect))
	e.POST("/accounts/:server/disconnect", s.handle(s.disconnect))
}

func (s *Service) redirectURI(t tenants.Tenant) string {
	return s.Sites.Base(t.Slug) + "/accounts/callback"
}

func (s *Service) documentURL(t tenants.Tenant) string {
	return s.Sites.Base(t.Slug) + "/accounts/client.json"
}

// showDocument is the platform's metadata as a client (OAuth Client ID Metadata
// Document). There is nothing in it that is not public.
func (s *Service) showDocument(c echo.Context) error {
	t := site.From(c.Request().Context())
	raw, err := json.Marshal(map[string]any{
		"client_id": s.documentURL(t), "client_name": "Latchkey for " + t.Name, "client_uri": s.Sites.Base(t.Slug), "redirect_uris": []string{s.redirectURI(t)},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "token_endpoint_auth_method": "none", "application_type": "web",
	})
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "public, max-age=3600")
	c.Response().Header().Set("X-Content-Type-Options", "nosniff")
	return c.Blob(http.StatusOK, "application/json", raw)
}

// visit is a request of somebody who is signed in.
type visit struct {
	echo.Context
	tenant  tenants.Tenant
	session signin.Session
}

// handle asks who is there, and shows what goes wrong.
func (s *Service) handle(h func(v visit) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		t := site.From(r.Context())
		session, ok, err := s.SignIn.Current(r)
		if err == nil && !ok {
			to := r.URL.RequestURI()
			if r.Method != http.MethodGet {
				to = "/accounts/" + url.PathEscape(c.Param("server"))
			}
			pages.See(c.Response(), r, s.SignIn.LoginURL(t, to))
			return nil
		}
		v := visit{c, t, session}
		if err == nil {
			err = h(v)
		}
		if err != nil {
			s.fail(v, err)
		}
		return nil
	}
}

// fail shows an error in words of a page.
func (s *Service) fail(v visit, err error) {
	f := fault.Of(err)
	status := http.StatusBadRequest
	problem := f.Message
	refused := (*refusal)(nil)
	switch {
	case errors.Is(err, errUnknownFlow):
		problem = "This authorization is not known any more: it was used already, or took longer than 15 minutes. Begin it again."
	case errors.Is(err, errOtherPerson):
		problem = "Somebody else began this authorization in this browser. Nothing was connected: begin it again yourself."
	case errors.Is(err, errDenied):
		problem = "The authorization was denied at the other side. Nothing was connected."
	case errors.Is(err, errMixUp):
		problem = "The answer came from another authorization server than the one that was asked. Nothing was connected; tell your administrator."
	case errors.As(err, &refused):
		problem = "The other side did not take the authorization. Begin it again; if it goes on, tell your administrator."
	case f.Code == fault.NotFound:
		status, problem = http.StatusNotFound, "There is no such server, or your roles do not open it."
	case f.Code.Category == fault.Downstream:
		status = http.StatusBadGateway
	case f.Code.Category == fault.Internal:
		status = http.StatusInternalServerError
	}
	if f.Code.Category == fault.Internal || f.Unwrap() != nil {
		s.Log.WarnContext(v.Request().Context(), "account page", "tenant", v.tenant.ID, "path", v.Path(), "error", err)
	}
	s.render(v, status, page{Problem: problem, Back: s.Sites.Base(v.tenant.Slug) + "/connections"})
}

func (s *Service) render(v visit, status int, p page) {
	p.Base = s.Sites.Base(v.tenant.Slug)
	title := "Connect an account"
	if p.Server != "" {
		title = "Your account for " + p.Server
	}
	view.Render(v.Response(), pages.Response{Status: status}, pages.Frame{
		Base: p.Base, Tenant: v.tenant.Name, User: v.session.User.Email, NotYou: s.SignIn.LoginURL(v.tenant, "/connections"), Title: title, Narrow: true,
	}, p)
}

// server finds the server of the path, if the person may use it and it works with
// accounts of persons' own.
func (s *Service) server(v visit) (registry.Server, registry.Account, error) {
	ctx := v.Request().Context()
	server, err := s.Server(ctx, v.tenant.ID, v.Param("server"))
	if err != nil {
		return server, registry.Account{}, err
	}
	need, ok := s.Of(&server)
	use, err := s.Opens(ctx, v.tenant.ID, v.session.User.ID, server.ID)
	if err == nil && (!ok || !need.PerUser || !use) {
		err = fault.New(fault.NotFound, "There is no such account.")
	}
	return server, need, err
}

// show says which account is connected, and lets the person change that.
func (s *Service) show(v visit) error {
	server, need, err := s.server(v)
	if err != nil {
		return err
	}
	p := page{
		Server: titleOf(&server), Upstream: pages.Host(hostOf(need.Resource)), Scopes: need.Scopes, Token: formToken(v.session),
		Action: s.ConnectURL(v.tenant, &server) + "/connect", Disconnect: s.ConnectURL(v.tenant, &server) + "/disconnect",
	}
	switch v.QueryParam("done") {
	case "connected":
		p.Notice = "Your account is connected. You can close this page and go on in your app."
	case "disconnected":
		p.Notice = "Your account is disconnected."
	}
	a, err := s.Store.UpstreamAccount(v.Request().Context(), v.tenant.ID, server.ID, v.session.User.ID)
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return err
	}
	p.Connected, p.Expired, p.Failure = a.State == Connected, a.State == Expired, a.Failure
	if len(a.Scopes) > 0 {
		p.Scopes = a.Scopes
	}
	s.render(v, http.StatusOK, p)
	return nil
}

func hostOf(resource string) string {
	u, err := url.Parse(resource)
	if err != nil {
		return ""
	}
	return u.Host
}

var guard = http.NewCrossOriginProtection()

// checked holds a form to the page and the sign-in that it was shown to.
func checked(v visit) error {
	if err := guard.Check(v.Request()); err != nil {
		return fault.New(fault.InvalidRequest, "This form came from another site. Nothing was changed.")
	}
	if subtle.ConstantTimeCompare([]byte(v.FormValue("token")), []byte(formToken(v.session))) != 1 {
		return fault.New(fault.InvalidRequest, "This page belongs to another sign-in. Open it again.")
	}
	return nil
}

func formToken(session signin.Session) string {
	h := sha256.Sum256([]byte("accounts/" + session.ID))
	return base64.RawURLEncoding.EncodeToString(h[:16])
}

// connect sends the browser to the upstream's authorization server.
func (s *Service) connect(v visit) error {
	if err := checked(v); err != nil {
		return err
	}
	server, _, err := s.server(v)
	if err != nil {
		return err
	}
	me := v.session.User.ID
	to, err := s.Begin(v.Request().Context(), v.tenant, &server, me, me, "/accounts/"+server.Slug+"?done=connected")
	if err != nil {
		return err
	}
	// Not a redirect: Chromium holds form-action against those, and where they
	// lead on to is not ours to say.
	pages.GoOn(v.Response().Header(), to)
	s.render(v, http.StatusOK, page{Server: titleOf(&server), Upstream: pages.Host(hostOf(to)), Notice: "You are being sent on. If nothing happens, follow the link.", Back: to})
	return nil
}

func (s *Service) disconnect(v visit) error {
	if err := checked(v); err != nil {
		return err
	}
	server, _, err := s.server(v)
	if err != nil {
		return err
	}
	if err := s.Disconnect(v.Request().Context(), v.tenant.ID, server.ID, v.session.User.ID); err != nil {
		return err
	}
	pages.See(v.Response(), v.Request(), s.ConnectURL(v.tenant, &server)+"?done=disconnected")
	return nil
}

// callback is where the upstream sends the browser back to.
func (s *Service) callback(v visit) error {
	q := v.QueryParams()
	f, err := s.Finish(v.Request().Context(), v.tenant, v.session.User.ID, Answer{State: q.Get("state"), Code: q.Get("code"), Issuer: q.Get("iss"), Error: q.Get("error")})
	if err != nil {
		return err
	}
	to := f.ReturnTo
	if to == "" || signin.ValidReturnTo(to) != nil {
		to = "/connections"
	}
	pages.See(v.Response(), v.Request(), s.Sites.Base(v.tenant.Slug)+to)
	return nil
}
