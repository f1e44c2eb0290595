package oauth

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/consent"
	"latchkey/internal/fault"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// ask parks the request and shows the consent page. The ticket binds its
// answer to this browser session, this client with its redirect URI and PKCE
// challenge, and the scopes that are listed.
func (s *Server) ask(c echo.Context, t tenants.Tenant, session signin.Session, a *ask, o offer) error {
	ctx := c.Request().Context()
	if a.client.Kind == Document { // what follows refers to it
		if err := s.Store.PutOAuthClient(ctx, t.ID, a.client); err != nil {
			return s.answerError(c, t, a, err)
		}
	}
	ticket := newSecret(prefixTicket)
	err := s.Store.ShowRequest(ctx, t.ID, Shown{
		Ticket: hashOf(ticket), Client: a.client.ID, Parameters: a.form.Encode(), Session: session.ID, User: session.User.ID,
		Scopes: o.scopes, Pushed: a.pushed, ExpiresAt: s.Now().Add(s.RequestLifetime),
	})
	if err != nil {
		return s.answerError(c, t, a, err)
	}
	s.showQuestion(c, t, session, a, o, ticket, "")
	return nil
}

func (s *Server) showQuestion(c echo.Context, t tenants.Tenant, session signin.Session, a *ask, o offer, ticket, problem string) {
	base := s.Sites.Base(t.Slug)
	p := consent.Page{
		Base: base, Tenant: t.Name, User: session.User.Email,
		NotYou: s.SignIn.LoginURL(t, "/authorize?"+a.form.Encode()),
		Client: consent.Client{Name: a.client.Name, Redirect: a.redirect},
		Server: consent.Server{
			Title: titleOr(a.target.Server.Title, a.target.Server.Slug), URL: a.target.resource,
			Scopes: pageScopes(&a.target.Revision.Definition, o), Hidden: o.hidden,
		},
		Ticket: ticket, Problem: problem,
	}
	if a.client.Kind == Document {
		p.Client.PublishedBy = documentHost(a.client.ID)
	}
	if o.known {
		p.Before = o.before.GivenAt
	}
	for i, d := range s.Durations {
		p.Durations = append(p.Durations, consent.Duration{For: d, Selected: i == 0})
	}
	slices.SortStableFunc(p.Durations, func(a, b consent.Duration) int { return compareDurations(a.For, b.For) })
	status := http.StatusOK
	if problem != "" {
		status = http.StatusUnprocessableEntity
	}
	consent.Render(c.Response(), status, p)
}

// compareDurations puts the shortest first and zero, which has no end, last.
func compareDurations(a, b time.Duration) int {
	if (a == 0) != (b == 0) {
		a, b = b, a
	}
	return int((a - b) / time.Second)
}

// decide takes the answer of the consent page. What comes with the form can
// only be less than what was shown and is open to the person still.
func (s *Server) decide(c echo.Context) error {
	ctx := c.Request().Context()
	t := site.From(ctx)
	if err := s.guard.Check(c.Request()); err != nil {
		return s.showRefusal(c, t, http.StatusForbidden, "This form came from another site", "Nothing was allowed.")
	}
	d, err := readDecision(c)
	if err != nil {
		return s.showError(c, t, err)
	}
	session, ok, err := s.SignIn.Current(c.Request())
	if err != nil {
		return s.showError(c, t, err)
	}
	shown, err := s.Store.ShownRequest(ctx, t.ID, hashOf(d.Ticket))
	switch {
	case fault.HasCode(err, fault.NotFound):
		return s.showRefusal(c, t, http.StatusBadRequest, "This page was answered already", "It is good for one answer.")
	case err != nil:
		return s.showError(c, t, err)
	case !ok || shown.Session != session.ID || shown.User != session.User.ID:
		return s.showRefusal(c, t, http.StatusForbidden, "This page belongs to another sign-in", "Nothing was allowed: it was shown in another browser, or you signed in anew since.")
	case !s.Now().Before(shown.ExpiresAt):
		return s.showRefusal(c, t, http.StatusBadRequest, "This page has expired", "It is good for ten minutes.")
	}
	form, err := url.ParseQuery(shown.Parameters)
	if err != nil {
		return s.showError(c, t, err)
	}
	a, err := s.read(c, t, form)
	if err != nil {
		return s.answerError(c, t, a, err)
	}
	if !d.Allow {
		if err := s.Store.TakeShownRequest(ctx, t.ID, shown.Ticket); err != nil && !fault.HasCode(err, fault.NotFound) {
			return s.answerError(c, t, a, err)
		}
		return s.sendBack(c, t, a, s.answerURL(t, a, url.Values{"error": {errAccessDenied.ErrorField}, "error_description": {"The person did not allow it."}}), false)
	}
	return s.allow(c, t, session, shown, d, a)
}

// allow grants ticked ∩ shown ∩ asked ∩ roles now.
func (s *Server) allow(c echo.Context, t tenants.Tenant, session signin.Session, shown Shown, d consent.Decision, a *ask) error {
	ctx := c.Request().Context()
	if !slices.Contains(s.Durations, d.For) {
		return s.showError(c, t, say(errInvalidRequest, "How long the permission lasts is not one of the choices."))
	}
	o, err := s.offer(ctx, t, session.User.ID, a)
	if err != nil {
		return s.answerError(c, t, a, err)
	}
	o.scopes = intersect(o.scopes, shown.Scopes)
	granted := intersect(o.scopes, d.Scopes)
	if len(granted) == 0 {
		s.showQuestion(c, t, session, a, o, d.Ticket, "Tick what you want to allow, or cancel.")
		return nil
	}
	now := s.Now()
	var expires time.Time
	if d.For > 0 {
		expires = now.Add(d.For)
	}
	to, err := s.issue(ctx, t, a, Issue{
		Grant: s.newGrant(o.key, granted, expires), Ticket: &shown.Ticket,
		Consent: o.remembered(shown.Scopes, granted, now, expires),
	})
	if fault.HasCode(err, fault.NotFound) { // another click was faster
		return s.showRefusal(c, t, http.StatusBadRequest, "This page was answered already", "It is good for one answer.")
	}
	if err != nil {
		return s.answerError(c, t, a, err)
	}
	return s.sendBack(c, t, a, to, true)
}

// sendBack sends the browser to the app.
func (s *Server) sendBack(c echo.Context, t tenants.Tenant, a *ask, to string, allowed bool) error {
	consent.Answer(c.Response(), c.Request(), consent.ReturnPage{Base: s.Sites.Base(t.Slug), Tenant: t.Name, Client: a.client.Name, Redirect: to, Allowed: allowed})
	return nil
}

func readDecision(c echo.Context) (consent.Decision, error) {
	form, err := readPageForm(c)
	if err != nil {
		return consent.Decision{}, err
	}
	return consent.ParseDecision(form)
}

// readPageForm reads the body of a page's form.
func readPageForm(c echo.Context) (url.Values, error) {
	r := c.Request()
	r.Body = http.MaxBytesReader(c.Response(), r.Body, consent.MaxForm)
	if err := r.ParseForm(); err != nil {
		return nil, readError(err)
	}
	return r.PostForm, nil
}

func (s *Server) showRefusal(c echo.Context, t tenants.Tenant, status int, title, what string) error {
	consent.Error(c.Response(), status, consent.ErrorPage{
		Base: s.Sites.Base(t.Slug), Tenant: t.Name, Title: title, What: what,
		Next: "Go back to the app and connect again.",
	})
	return nil
}
