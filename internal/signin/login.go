package signin

import (
	"embed"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
	"latchkey/internal/pages"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

//go:embed login.html logout.html message.html invitation.html
var files embed.FS

var (
	loginView   = pages.Parse(files, "login.html")
	logoutView  = pages.Parse(files, "logout.html")
	messageView = pages.Parse(files, "message.html")
)

// maxForm bounds the body of a form: an address, a password, a return path.
const maxForm = 32 << 10

type loginPage struct {
	Base, Tenant    string
	Email, ReturnTo string
	Problem         string
	Wait            int    // seconds, when it is too early for another try
	SignedInAs      string // somebody sits here already
	Continue        string // where they go on
	FocusPassword   bool
}

func (s *Service) showLogin(c echo.Context) error {
	r, t := c.Request(), site.From(c.Request().Context())
	p := loginPage{ReturnTo: r.URL.Query().Get("return_to")}
	session, ok, err := s.Current(r)
	if err != nil {
		return s.failed(c, t, err)
	}
	if ok {
		p.SignedInAs, p.Continue = session.User.Email, s.destination(t, p.ReturnTo)
	}
	return s.renderLogin(c, t, http.StatusOK, p)
}

func (s *Service) renderLogin(c echo.Context, t tenants.Tenant, status int, p loginPage) error {
	p.Base, p.Tenant = s.sites.Base(t.Slug), t.Name
	if validReturnTo(p.ReturnTo) != nil {
		p.ReturnTo = ""
	}
	title := "Sign in to " + pages.Text(t.Name, 80)
	if p.Problem != "" {
		title = "Not signed in · " + title
	}
	loginView.Render(c.Response(), pages.Response{Status: status}, s.frame(t, title), p)
	return nil
}

// frame leaves the person out: these pages speak of them in their own words.
func (s *Service) frame(t tenants.Tenant, title string) pages.Frame {
	return pages.Frame{Base: s.sites.Base(t.Slug), Tenant: t.Name, Title: title, Narrow: true}
}

// login checks a password. Its answers to an unknown address, an account
// without a password and a wrong password are the same, and take as long.
func (s *Service) login(c echo.Context) error {
	r, t := c.Request(), site.From(c.Request().Context())
	form, err := s.form(c)
	if err != nil {
		return s.refused(c, t, err)
	}
	email := strings.ToLower(strings.TrimSpace(form.Get("email")))
	password := secret.Text(form.Get("password"))
	p := loginPage{Email: email, ReturnTo: form.Get("return_to"), FocusPassword: true}
	if email == "" || len(email) > 254 || password == "" {
		p.FocusPassword = email != ""
		p.Problem = "Enter your email address and your password."
		return s.renderLogin(c, t, http.StatusBadRequest, p)
	}

	try := newAttempt(t.ID, email, s.client(r))
	if wait := s.throttle.take(try); wait > 0 {
		s.note(r, t, "", "throttled")
		return s.tooEarly(c, t, p, wait)
	}
	user, ok, err := s.check(r, t, email, password)
	switch {
	case fault.HasCode(err, fault.Busy):
		return s.tooEarly(c, t, p, fault.Of(err).RetryAfter)
	case err != nil:
		return s.failed(c, t, err)
	case !ok:
		s.note(r, t, user.ID, "wrong password")
		p.Problem = "This email address and password do not go together."
		return s.renderLogin(c, t, http.StatusForbidden, p)
	case user.Disabled: // said only to who knows the password
		s.note(r, t, user.ID, "disabled")
		p.Problem = "This account is turned off. Ask an administrator of " + pages.Text(t.Name, 80) + "."
		return s.renderLogin(c, t, http.StatusForbidden, p)
	}
	s.throttle.succeeded(try)
	if _, err := s.begin(c.Response(), r, t, user.ID); err != nil {
		return s.failed(c, t, err)
	}
	s.note(r, t, user.ID, "signed in")
	s.goOn(c, t, s.destination(t, p.ReturnTo))
	return nil
}

// goOn leaves the form behind. What comes next may redirect at once to an app
// elsewhere, such as an authorization that was given before, which the form's
// form-action would block: browsers go on from a page.
func (s *Service) goOn(c echo.Context, t tenants.Tenant, to string) {
	if !pages.Browser(c.Request()) {
		pages.See(c.Response(), c.Request(), to)
		return
	}
	pages.GoOn(c.Response().Header(), to)
	s.message(c, t, http.StatusOK, message{Title: "You are signed in", Link: to, LinkText: "Continue"})
}

// check finds the person and verifies the password; an unknown person costs
// the same work. It brings an old hash up to date.
func (s *Service) check(r *http.Request, t tenants.Tenant, email string, password secret.Text) (tenants.User, bool, error) {
	ctx := r.Context()
	var encoded string
	user, err := s.people.UserByEmail(ctx, t.ID, email)
	if err == nil {
		encoded, err = s.people.PasswordHash(ctx, t.ID, user.ID)
	}
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return tenants.User{}, false, err
	}
	if len(password) > maxPassword { // never set, and not to be hashed
		password, encoded = password[:maxPassword], ""
	}
	ok, outdated, err := s.hasher.matches(ctx, password, encoded)
	if err != nil || !ok {
		return user, false, err
	}
	if outdated {
		if fresh, err := s.hasher.hash(ctx, password); err == nil {
			if err := s.people.SetPasswordHash(ctx, t.ID, user.ID, fresh); err != nil {
				s.log.WarnContext(ctx, "password hash not renewed", "tenant", t.ID, "user", user.ID, "error", err)
			}
		}
	}
	return user, true, nil
}

func (s *Service) showLogout(c echo.Context) error {
	t := site.From(c.Request().Context())
	session, ok, err := s.Current(c.Request())
	if err != nil {
		return s.failed(c, t, err)
	}
	if !ok {
		pages.See(c.Response(), c.Request(), s.sites.Base(t.Slug)+"/signed-out")
		return nil
	}
	logoutView.Render(c.Response(), pages.Response{}, s.frame(t, "Sign out of "+pages.Text(t.Name, 80)),
		loginPage{Base: s.sites.Base(t.Slug), Tenant: t.Name, SignedInAs: session.User.Email, Continue: s.destination(t, "")})
	return nil
}

func (s *Service) logout(c echo.Context) error {
	r, t := c.Request(), site.From(c.Request().Context())
	if _, err := s.form(c); err != nil {
		return s.refused(c, t, err)
	}
	if err := s.SignOut(c.Response(), r); err != nil {
		return s.failed(c, t, err)
	}
	pages.See(c.Response(), r, s.sites.Base(t.Slug)+"/signed-out")
	return nil
}

func (s *Service) showSignedOut(c echo.Context) error {
	t := site.From(c.Request().Context())
	if _, ok, err := s.Current(c.Request()); err != nil {
		return s.failed(c, t, err)
	} else if ok {
		pages.See(c.Response(), c.Request(), s.sites.Base(t.Slug)+"/login")
		return nil
	}
	s.message(c, t, http.StatusOK, message{
		Title: "You are signed out", What: "Apps that you connected go on working. To stop one, sign in and revoke it in your connections.",
		Link: s.LoginURL(t, ""), LinkText: "Sign in again",
	})
	return nil
}

// errOtherSite refuses a form that another site sent.
var errOtherSite = errors.New("the form was sent from another site")

// form reads a POST that came from this tenant's own pages. The query of the
// URL is left out: a password does not belong there.
func (s *Service) form(c echo.Context) (url.Values, error) {
	r := c.Request()
	if err := s.guard.Check(r); err != nil {
		return nil, errOtherSite
	}
	r.Body = http.MaxBytesReader(c.Response(), r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	return r.PostForm, nil
}

func (s *Service) refused(c echo.Context, t tenants.Tenant, err error) error {
	var big *http.MaxBytesError
	switch {
	case errors.Is(err, errOtherSite):
		s.note(c.Request(), t, "", "refused: other site")
		s.message(c, t, http.StatusForbidden, message{
			Title: "This form came from another site", What: "Nothing was done. If you meant to sign in, begin here.",
			Link: s.LoginURL(t, ""), LinkText: "Sign in",
		})
	case errors.As(err, &big):
		s.message(c, t, http.StatusRequestEntityTooLarge, message{Title: "This form is too large", What: "Go back and try again."})
	default:
		s.message(c, t, http.StatusBadRequest, message{Title: "This form cannot be read", What: "Go back and try again."})
	}
	return nil
}

func (s *Service) tooEarly(c echo.Context, t tenants.Tenant, p loginPage, wait time.Duration) error {
	p.Wait = max(1, int(math.Ceil(wait.Seconds())))
	p.Problem = fmt.Sprintf("Too many tries. Wait %s, then try again.", seconds(p.Wait))
	c.Response().Header().Set("Retry-After", strconv.Itoa(p.Wait))
	return s.renderLogin(c, t, http.StatusTooManyRequests, p)
}

func seconds(n int) string {
	if n == 1 {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", n)
}

// failed shows what the platform could not do; the cause goes to the log.
func (s *Service) failed(c echo.Context, t tenants.Tenant, err error) error {
	s.log.ErrorContext(c.Request().Context(), "sign-in", "tenant", t.ID, "error", err)
	status := http.StatusInternalServerError
	if fault.HasCode(err, fault.StoreAway) {
		status = http.StatusServiceUnavailable
		c.Response().Header().Set("Retry-After", "5")
	}
	s.message(c, t, status, message{
		Title: "Signing in does not work at the moment", What: "Nothing is wrong on your side, and nothing was changed. Try again in a few seconds.",
		Link: s.LoginURL(t, c.QueryParam("return_to")), LinkText: "Try again",
	})
	return nil
}

// message is a page that says one thing.
type message struct{ Title, What, Link, LinkText string }

func (s *Service) message(c echo.Context, t tenants.Tenant, status int, m message) {
	messageView.Render(c.Response(), pages.Response{Status: status}, s.frame(t, m.Title), m)
}

// note is the one log line of a sign-in. It names no address: people type
// passwords into that field.
func (s *Service) note(r *http.Request, t tenants.Tenant, user tenants.UserID, outcome string) {
	s.log.InfoContext(r.Context(), "sign-in", "tenant", t.ID, "user", user, "network", networkOf(s.client(r)).String(), "outcome", outcome)
}
