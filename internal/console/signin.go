package console

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/pages"
	"latchkey/internal/secret"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

const (
	beginLifetime = 10 * time.Minute
	// maxBegun is how many sign-ins of one browser wait for their callback: a
	// few windows. More are somebody's work.
	maxBegun    = 6
	maxReturnTo = 2 << 10
)

// begun is a sign-in that waits for its callback: all of it is in a cookie of
// the browser that began it. state and the PKCE verifier follow from one nonce,
// so that neither is good without the cookie, and the cookie for no other.
type begun struct {
	nonce    secret.Text
	returnTo string
}

func (b begun) derive(what string) string {
	h := sha256.Sum256([]byte("latchkey console " + what + "\x00" + b.nonce.Reveal()))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

func (b begun) state() string    { return b.derive("state") }
func (b begun) verifier() string { return b.derive("verifier") }

func (b begun) challenge() string {
	h := sha256.Sum256([]byte(b.verifier()))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

func (b begun) cookie() string {
	return b.nonce.Reveal() + "." + base64.RawURLEncoding.EncodeToString([]byte(b.returnTo))
}

// parseBegun reads a cookie back. What it returns to is checked again where it
// is used.
func parseBegun(value string) (begun, bool) {
	nonce, to, ok := strings.Cut(value, ".")
	s, good := callers.ParseSecret("", nonce)
	if !ok || !good || len(to) > 2*maxReturnTo {
		return begun{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(to)
	return begun{s, string(b)}, err == nil
}

// beginName is a cookie for each sign-in, so that two windows do not take each
// other's place. The dot keeps it apart from any tenant's other cookies.
func (s *Console) beginName(t tenants.Tenant, state string) string {
	return s.prefixed("latchkey-begin." + t.Slug + "." + state[:min(8, len(state))])
}

func (s *Console) beginPath(t tenants.Tenant) string {
	return strings.TrimSuffix(s.Sites.CookiePath(t.Slug), "/") + "/admin"
}

// signIn sends the browser to the tenant's authorization server.
func (s *Console) signIn(c echo.Context) error {
	r := c.Request()
	t := site.From(r.Context())
	s.dropBegun(c, t)
	b := begun{callers.NewCookie(), s.returnTo(t, c.QueryParam("return_to"))}
	s.setCookie(c.Response(), s.beginName(t, b.state()), s.beginPath(t), b.cookie(), beginLifetime, http.SameSiteLaxMode)
	base := s.Sites.Base(t.Slug)
	pages.See(c.Response(), r, base+"/authorize?"+url.Values{
		"response_type": {"code"}, "client_id": {oauth.ConsoleClient}, "redirect_uri": {base + oauth.ConsoleRedirect},
		"resource": {s.Sites.API(t.Slug)}, "state": {b.state()}, "code_challenge": {b.challenge()}, "code_challenge_method": {"S256"},
	}.Encode())
	return nil
}

// dropBegun forgets sign-ins that were begun and not finished, once there are
// too many for a browser to send along.
func (s *Console) dropBegun(c echo.Context, t tenants.Tenant) {
	var names []string
	for _, k := range c.Request().Cookies() {
		if strings.HasPrefix(k.Name, s.prefixed("latchkey-begin."+t.Slug+".")) {
			names = append(names, k.Name)
		}
	}
	if len(names) < maxBegun {
		return
	}
	for _, name := range names {
		s.setCookie(c.Response(), name, s.beginPath(t), "", -1, http.SameSiteLaxMode)
	}
}

// returnTo is a path below the tenant's console, whatever was asked for.
func (s *Console) returnTo(t tenants.Tenant, asked string) string {
	home := pathOf(s.Sites.Base(t.Slug)) + "/admin/"
	if !below(home, asked) {
		return home
	}
	return asked
}

// below reports whether a browser resolves the path below home and nowhere
// else, by the rules that sign-in has for it.
func below(home, asked string) bool {
	return len(asked) <= maxReturnTo && strings.HasPrefix(asked, home) && signin.ValidReturnTo(asked) == nil
}

// errNotOurs is a callback that nothing here began.
var errNotOurs = errors.New("the callback does not belong to a sign-in of this browser")

// begunFor finds the sign-in that a callback answers.
func (s *Console) begunFor(r *http.Request, t tenants.Tenant, state string) (begun, error) {
	if len(state) != 43 {
		return begun{}, errNotOurs
	}
	value, ok := named(r, s.beginName(t, state))
	if !ok {
		return begun{}, errNotOurs
	}
	b, ok := parseBegun(value)
	if !ok || subtle.ConstantTimeCompare([]byte(b.state()), []byte(state)) != 1 {
		return begun{}, errNotOurs
	}
	return b, nil
}

// callback takes the authorization server's answer. It is good for the browser
// that began the sign-in, and once.
func (s *Console) callback(c echo.Context) error {
	r := c.Request()
	ctx, q := r.Context(), c.QueryParams()
	t := site.From(ctx)
	base := s.Sites.Base(t.Slug)
	for _, name := range []string{"state", "iss", "code", "error"} {
		if len(q[name]) > 1 {
			return s.refuse(c, "a parameter stands there twice")
		}
	}
	b, err := s.begunFor(r, t, q.Get("state"))
	if err != nil {
		return s.refuse(c, "no sign-in of this browser")
	}
	s.setCookie(c.Response(), s.beginName(t, b.state()), s.beginPath(t), "", -1, http.SameSiteLaxMode)
	if q.Get("iss") != base { // RFC 9207
		return s.refuse(c, "an answer of another issuer")
	}
	if q.Has("error") || q.Get("code") == "" {
		s.note(r, t, "", "refused: "+clean(q.Get("error")))
		return s.problem(c, http.StatusForbidden, "The sign-in was not finished.", "")
	}
	access, err := s.exchange(ctx, t, q.Get("code"), b.verifier())
	if errors.Is(err, errCode) {
		return s.refuse(c, "the code is not good")
	}
	if err != nil {
		return s.failed(c, err)
	}
	p, err := s.Tokens.VerifyCaller(ctx, t.ID, base, s.Sites.API(t.Slug), access.Reveal())
	switch {
	case fault.HasCode(err, fault.Unauthenticated) || err == nil && (p.Client != oauth.ConsoleClient || p.User == "" || p.Grant == "" || !p.Has(oauth.ScopeConsole)):
		return s.refuse(c, "the token is not for the console")
	case err != nil:
		return s.failed(c, err)
	}
	if err := s.begin(c.Response(), r, t, p.User, p.Grant); err != nil {
		return s.failed(c, err)
	}
	s.note(r, t, p.User, "signed in")
	pages.See(c.Response(), r, s.Sites.Origin(t.Slug)+s.returnTo(t, b.returnTo))
	return nil
}

// refuse shows that nobody was signed in.
func (s *Console) refuse(c echo.Context, outcome string) error {
	s.note(c.Request(), site.From(c.Request().Context()), "", "refused: "+outcome)
	return s.problem(c, http.StatusBadRequest, "This sign-in was begun in another browser or window, was finished already, or has expired.",
		"An answer that nobody asked for could sign you in as somebody else. Nothing was done with it.")
}

// errCode says that the authorization server did not take a code.
var errCode = errors.New("the code was refused")

// maxAnswer bounds what is read of a token endpoint's answer.
const maxAnswer = 64 << 10

// exchange trades a code for a token at the tenant's own token endpoint, as any
// client does.
func (s *Console) exchange(ctx context.Context, t tenants.Tenant, code, verifier string) (secret.Text, error) {
	base := s.Sites.Base(t.Slug)
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {oauth.ConsoleClient}, "redirect_uri": {base + oauth.ConsoleRedirect},
		"resource": {s.Sites.API(t.Slug)}, "code": {code}, "code_verifier": {verifier},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := s.http.Do(r)
	if err != nil {
		return "", errors.New("the token endpoint cannot be reached") // err names the URL only; the code was in the body
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return "", err
	}
	var answer struct {
		Access secret.Text `json:"access_token"`
		Type   string      `json:"token_type"`
		Error  string      `json:"error"`
	}
	err = json.Unmarshal(body, &answer)
	switch {
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		return "", fault.New(fault.StoreAway, "Signing in does not work at the moment. Try again in a few seconds.").After(5 * time.Second)
	case res.StatusCode != http.StatusOK || err != nil || answer.Access == "" || !strings.EqualFold(answer.Type, "bearer"):
		return "", errCode
	}
	return answer.Access, nil
}

// signOut ends the console's session with its grant, and the browser's sign-in:
// the next person at this computer is asked who they are.
func (s *Console) signOut(c echo.Context) error {
	r := c.Request()
	t := site.From(r.Context())
	if err := s.guard.Check(r); err != nil {
		s.note(r, t, "", "refused: other site")
		return s.problem(c, http.StatusForbidden, "This form came from another site. Nothing was done.", "")
	}
	if err := s.end(r, t, "signed out of the console"); err != nil {
		return s.failed(c, err)
	}
	if err := s.SignIn.SignOut(c.Response(), r); err != nil {
		return s.failed(c, err)
	}
	s.setCookie(c.Response(), s.cookieName(t), s.Sites.CookiePath(t.Slug), "", -1, http.SameSiteLaxMode)
	s.note(r, t, "", "signed out")
	pages.See(c.Response(), r, s.Sites.Base(t.Slug)+"/signed-out")
	return nil
}

// note is the one log line of a sign-in at the console.
func (s *Console) note(r *http.Request, t tenants.Tenant, user tenants.UserID, outcome string) {
	s.Log.InfoContext(r.Context(), "console sign-in", "tenant", t.ID, "user", user, "outcome", outcome)
}

// clean keeps an error's name fit for a log.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r == '_' {
			return r
		}
		return -1
	}, s[:min(len(s), 60)])
}
