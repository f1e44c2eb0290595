package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"latchkey/internal/consent"
	"latchkey/internal/fault"
	"latchkey/internal/pages"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// maxParameters bounds what is kept of an authorization request.
const maxParameters = 16 << 10

// ask is an authorization request that was read and found valid, or the part
// of it that was. Once redirect is set, errors may be sent there.
type ask struct {
	form     url.Values
	client   Client
	redirect string
	target   target
	scopes   []string // asked for, and on the server
	request  fosite.AuthorizeRequester
	pushed   *Hash // the pushed request that it came in
}

// authorize is /authorize: read the request, see who is there, and let them
// decide, unless they have decided this very thing before.
func (s *Server) authorize(c echo.Context) error {
	ctx := c.Request().Context()
	t := site.From(ctx)
	form, pushed, err := s.parameters(c, t)
	if err != nil {
		return s.showError(c, t, err)
	}
	a, err := s.read(c, t, form)
	if err != nil {
		return s.answerError(c, t, a, err)
	}
	a.pushed = pushed
	here := "/authorize?" + c.QueryParams().Encode()
	prompt := scopeList(form.Get("prompt"))
	session, ok, err := s.SignIn.Current(c.Request())
	switch {
	case err != nil:
		return s.answerError(c, t, a, err)
	case !ok && contains(prompt, "none"):
		return s.answerError(c, t, a, say(errLoginRequired, "Nobody is signed in."))
	case !ok:
		pages.See(c.Response(), c.Request(), s.SignIn.LoginURL(t, here))
		return nil
	}
	if a.client.Kind == Console {
		return s.admitConsole(c, t, session, a)
	}
	o, err := s.offer(ctx, t, session.User.ID, a)
	switch {
	case err != nil:
		return s.answerError(c, t, a, err)
	case !contains(prompt, "consent") && o.decidedBefore(a, s.Now()):
		to, err := s.issue(ctx, t, a, Issue{Grant: s.newGrant(o.key, o.scopes, o.before.ExpiresAt)})
		if err != nil {
			return s.answerError(c, t, a, err)
		}
		return s.sendBack(c, t, a, to, true)
	case contains(prompt, "none"):
		return s.answerError(c, t, a, say(errConsentRequired, "The person has to be asked."))
	}
	return s.ask(c, t, session, a, o)
}

// parameters finds the request in the query, or in what was pushed before. A
// pushed request may be looked at again (a reload, a detour to sign-in) until
// it is answered.
func (s *Server) parameters(c echo.Context, t tenants.Tenant) (url.Values, *Hash, error) {
	form, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return nil, nil, say(errInvalidRequest, "The parameters cannot be read.")
	}
	uri := form.Get("request_uri")
	handle, ok := strings.CutPrefix(uri, requestURIPrefix)
	if !ok {
		return form, nil, nil
	}
	h := hashOf(handle)
	pushed, err := s.Store.PushedRequest(c.Request().Context(), t.ID, h)
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return nil, nil, err
	}
	if err != nil || !s.Now().Before(pushed.ExpiresAt) || len(form["request_uri"]) != 1 || len(form["client_id"]) != 1 || pushed.Client != form.Get("client_id") {
		return nil, nil, say(errInvalidRequestURI, "This request was answered already, has expired, or belongs to another app.")
	}
	form, err = url.ParseQuery(pushed.Parameters)
	return form, &h, err
}

// read checks an authorization request. The client and the redirect URI come
// first: until both are good, nothing is sent anywhere.
func (s *Server) read(c echo.Context, t tenants.Tenant, form url.Values) (*ask, error) {
	ctx := c.Request().Context()
	a := &ask{form: form}
	if len(form["client_id"]) != 1 || len(form["redirect_uri"]) > 1 {
		return a, say(errInvalidRequest, "The app sent no client_id, or several.")
	}
	var err error
	if a.client, err = s.clientByID(c, t, form.Get("client_id")); err != nil {
		return a, err
	}
	redirect, ok := a.client.redirect(form.Get("redirect_uri"))
	if !ok {
		return a, errUnregisteredRedirect
	}
	a.redirect = redirect

	switch {
	case len(form.Encode()) > maxParameters:
		return a, say(errInvalidRequest, "The request is larger than 16 KB.")
	case form.Has("request"):
		return a, say(errRequestNotSupported, "Request objects are not read here.")
	case form.Has("request_uri"):
		return a, say(errRequestURINotSupported, "Only a request_uri of this server's own is read, alone with client_id.")
	case form.Get("response_type") != "code":
		return a, say(errUnsupportedResponseType, "response_type is code, and nothing else.")
	case form.Has("response_mode") && form.Get("response_mode") != "query":
		return a, say(errInvalidRequest, "response_mode is query, and nothing else.")
	}
	if err := once(form); err != nil {
		return a, err
	}
	if err := checkChallenge(form); err != nil {
		return a, err
	}
	if a.client.Kind == Console {
		err = s.readConsole(t, a)
	} else {
		err = s.readTarget(ctx, t, a)
	}
	if err != nil {
		return a, err
	}
	a.request, err = s.protocolRequest(ctx, a)
	return a, err
}

// readTarget finds the server that is asked for and the scopes on it.
func (s *Server) readTarget(ctx context.Context, t tenants.Tenant, a *ask) (err error) {
	if a.target, err = s.resolveTarget(ctx, t, a.form["resource"], scopeList(a.form.Get("scope"))); err != nil {
		return err
	}
	a.scopes, err = askedScopes(a.form.Get("scope"), a.target.Revision.Definition.Scopes())
	return err
}

// protocolRequest hands fosite the request in the form that it expects: state
// is there, resource is audience, and everything is what was checked above.
func (s *Server) protocolRequest(ctx context.Context, a *ask) (fosite.AuthorizeRequester, error) {
	form := url.Values{
		"client_id": {a.client.ID}, "redirect_uri": {a.redirect}, "response_type": {"code"},
		"scope": {strings.Join(a.scopes, " ")}, "audience": {a.target.resource}, "state": {"-"},
		"code_challenge": {a.form.Get("code_challenge")}, "code_challenge_method": {"S256"},
	}
	ctx = withPrepared(ctx, protocolClient{Client: a.client, redirect: a.redirect, scopes: a.scopes, audience: []string{a.target.resource}})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/authorize?"+form.Encode(), nil)
	if err != nil {
		return nil, err
	}
	return s.fosite.NewAuthorizeRequest(ctx, r)
}

// issue stores what was approved and returns where the browser goes with it.
func (s *Server) issue(ctx context.Context, t tenants.Tenant, a *ask, i Issue) (string, error) {
	for _, scope := range i.Grant.Scopes {
		a.request.GrantScope(scope)
	}
	a.request.GrantAudience(a.target.resource)
	resp, err := s.fosite.NewAuthorizeResponse(ctx, a.request, &session{issue: i})
	if err != nil {
		return "", err
	}
	return s.answerURL(t, a, url.Values{"code": {resp.GetCode()}}), nil
}

// answerURL is the redirect URI with an answer, the state as it came, and our
// name, so that a client can tell us from another server (RFC 9207).
func (s *Server) answerURL(t tenants.Tenant, a *ask, answer url.Values) string {
	answer.Set("iss", s.Sites.Base(t.Slug))
	if state := a.form.Get("state"); state != "" {
		answer.Set("state", state)
	}
	return withAnswer(a.redirect, answer)
}

var (
	errUnknownClient        = errors.New("the client is not known here")
	errUnregisteredRedirect = errors.New("the redirect URI is not registered")
)

// answerError sends an error to the client if it is certain where that is, and
// else shows it. Our own failures are shown: the app cannot repair them.
func (s *Server) answerError(c echo.Context, t tenants.Tenant, a *ask, err error) error {
	e := inProtocol(err)
	if a == nil || a.redirect == "" || e.CodeField >= http.StatusInternalServerError || e.CodeField == http.StatusTooManyRequests {
		return s.showError(c, t, err)
	}
	return s.sendBack(c, t, a, s.answerURL(t, a, url.Values{"error": {e.ErrorField}, "error_description": {describe(e)}}), false)
}

// showError is the page for a person whose app cannot be answered.
func (s *Server) showError(c echo.Context, t tenants.Tenant, err error) error {
	base := s.Sites.Base(t.Slug)
	p := consent.ErrorPage{
		Base: base, Tenant: t.Name, Title: "This app cannot be connected",
		Next: "Go back to the app and try again. If it goes on, remove the server there and add it again.",
	}
	status := http.StatusBadRequest
	e := inProtocol(err)
	switch {
	case errors.Is(err, errUnknownClient):
		p = consent.UnknownClient(base, t.Name)
	case errors.Is(err, errUnregisteredRedirect):
		p.What = "The app asked to have the answer sent to an address that it has not registered."
		p.Why = "An answer sent to a wrong address would let somebody else in. Nothing was sent."
	case errors.Is(err, errDocument):
		p.What = "The app's description of itself could not be read or is not valid."
		p.Why = "Apps that are known by a web address publish a small file there. Without it nobody can tell where an answer may go."
	case e.CodeField >= http.StatusInternalServerError || e.CodeField == http.StatusTooManyRequests:
		s.logServerError(c, e)
		status = e.CodeField
		p.Title = "This does not work at the moment"
		p.What = "Nothing is wrong on your side, and nothing was changed."
		p.Next = "Wait a few seconds, then reload this page."
		retryAfter(c.Response().Header(), err)
	default:
		p.What = "The app sent a request that is not valid."
		p.Why, p.Reference = describe(e), e.ErrorField
	}
	consent.Error(c.Response(), status, p)
	return nil
}

// redirect finds where an answer goes. A client with one URI need not name it.
func (c Client) redirect(asked string) (string, bool) {
	if asked == "" && len(c.RedirectURIs) == 1 {
		return c.RedirectURIs[0], true
	}
	for _, registered := range c.RedirectURIs {
		if matchRedirect(registered, asked) {
			return asked, true
		}
	}
	return "", false
}

// clientByID finds a client of any kind, for /authorize and /par.
func (s *Server) clientByID(c echo.Context, t tenants.Tenant, id string) (Client, error) {
	ctx := c.Request().Context()
	if id == ConsoleClient {
		return s.consoleClient(t), nil
	}
	if isDocument(id) {
		return s.documents.get(ctx, id, func() error { return s.throttle(s.fetch, t.ID, c.Request()) })
	}
	client, err := s.Store.OAuthClient(ctx, t.ID, id)
	if fault.HasCode(err, fault.NotFound) {
		return client, errUnknownClient
	}
	return client, err
}
