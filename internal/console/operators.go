package console

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/pages"
	"latchkey/internal/secret"
)

// Operators see every tenant: their sessions are shorter.
const (
	opsIdleLimit     = 2 * time.Hour
	opsAbsoluteLimit = 12 * time.Hour
	// maxForm bounds the body of a form: an address, a password, a return path.
	maxForm = 32 << 10
)

func (s *Console) opsCookieName() string { return s.prefixed("latchkey-ops") }

// Operator is who sits at the operators' part, if anybody does.
func (s *Console) Operator(r *http.Request) (callers.Operator, bool, error) {
	ctx := r.Context()
	hash, ok := token(r, s.opsCookieName())
	if !ok {
		return callers.Operator{}, false, nil
	}
	rec, o, err := s.Operators.OperatorSession(ctx, hash)
	if fault.HasCode(err, fault.NotFound) {
		return callers.Operator{}, false, nil
	}
	if err != nil {
		return callers.Operator{}, false, err
	}
	now := s.Now()
	if o.Disabled || now.Sub(rec.LastSeenAt) > opsIdleLimit || now.Sub(rec.CreatedAt) > opsAbsoluteLimit {
		return callers.Operator{}, false, s.Operators.DeleteOperatorSession(ctx, hash)
	}
	if now.Sub(rec.LastSeenAt) >= touchEvery {
		if err := s.Operators.TouchOperatorSession(ctx, hash, now); err != nil {
			return callers.Operator{}, false, err
		}
	}
	return o, true, nil
}

type opsPage struct {
	Base, Email, ReturnTo, Problem string
	Continue, SignedInAs           string
	FocusPassword                  bool
}

func (s *Console) renderOpsLogin(c echo.Context, status int, p opsPage) error {
	p.Base = s.Sites.Platform()
	if !below(s.opsHome(), p.ReturnTo) {
		p.ReturnTo = ""
	}
	title := "Sign in as an operator"
	if p.Problem != "" {
		title = "Not signed in · " + title
	}
	opsView.Render(c.Response(), pages.Response{Status: status}, pages.Frame{Base: p.Base, Title: title, Narrow: true}, p)
	return nil
}

func (s *Console) opsHome() string { return s.opsBoot().Console + "/" }

// opsDestination is a path below /ops/, whatever was asked for.
func (s *Console) opsDestination(asked string) string {
	if !below(s.opsHome(), asked) {
		asked = s.opsHome()
	}
	u, err := url.Parse(s.Sites.Platform())
	if err != nil { // of Sites, which wrote it
		panic(err)
	}
	return u.Scheme + "://" + u.Host + asked
}

// opsSignIn is where the console's page sends who is not signed in.
func (s *Console) opsSignIn(c echo.Context) error {
	to := s.Sites.Platform() + "/ops/login"
	if asked := c.QueryParam("return_to"); below(s.opsHome(), asked) {
		to += "?return_to=" + url.QueryEscape(asked)
	}
	pages.See(c.Response(), c.Request(), to)
	return nil
}

func (s *Console) showOpsLogin(c echo.Context) error {
	p := opsPage{ReturnTo: c.QueryParam("return_to")}
	o, ok, err := s.Operator(c.Request())
	if err != nil {
		return s.failed(c, err)
	}
	if ok {
		p.SignedInAs, p.Continue = o.Email, s.opsDestination(p.ReturnTo)
	}
	return s.renderOpsLogin(c, http.StatusOK, p)
}

// opsLogin checks an operator's password. Its answers to an unknown address, an
// account without a password and a wrong password are the same, and take as
// long.
func (s *Console) opsLogin(c echo.Context) error {
	r := c.Request()
	if err := s.guard.Check(r); err != nil {
		s.opsNote(r, "refused: other site")
		s.message(c, s.Sites.Platform(), "", http.StatusForbidden, message{
			Title: "This form came from another site", What: "Nothing was done. If you meant to sign in, begin here.", Link: s.Sites.Platform() + "/ops/login", LinkText: "Sign in",
		})
		return nil
	}
	r.Body = http.MaxBytesReader(c.Response(), r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		s.message(c, s.Sites.Platform(), "", http.StatusBadRequest, message{Title: "This form cannot be read", What: "Go back and try again."})
		return nil
	}
	email := strings.ToLower(strings.TrimSpace(r.PostForm.Get("email")))
	password := secret.Text(r.PostForm.Get("password"))
	p := opsPage{Email: email, ReturnTo: r.PostForm.Get("return_to"), FocusPassword: email != ""}
	if email == "" || len(email) > 254 || password == "" {
		p.Problem = "Enter your email address and your password."
		return s.renderOpsLogin(c, http.StatusBadRequest, p)
	}
	o, ok, err := s.checkOperator(r, email, password)
	if f := fault.Of(err); err != nil && f.RetryAfter > 0 && f.Code.Category == fault.RateLimit {
		wait := max(1, int(math.Ceil(f.RetryAfter.Seconds())))
		s.opsNote(r, "throttled")
		c.Response().Header().Set("Retry-After", strconv.Itoa(wait))
		p.Problem = "Too many tries. Wait " + strconv.Itoa(wait) + " s, then try again."
		return s.renderOpsLogin(c, http.StatusTooManyRequests, p)
	}
	switch {
	case err != nil:
		return s.failed(c, err)
	case !ok:
		s.opsNote(r, "wrong password")
		p.Problem = "This email address and password do not go together."
		return s.renderOpsLogin(c, http.StatusForbidden, p)
	case o.Disabled: // said only to who knows the password
		s.opsNote(r, "disabled")
		p.Problem = "This account is turned off. Ask another operator."
		return s.renderOpsLogin(c, http.StatusForbidden, p)
	}
	if err := s.beginOps(c.Response(), r, o.Email); err != nil {
		return s.failed(c, err)
	}
	s.opsNote(r, "signed in")
	pages.See(c.Response(), r, s.opsDestination(p.ReturnTo))
	return nil
}

func (s *Console) checkOperator(r *http.Request, email string, password secret.Text) (o callers.Operator, ok bool, err error) {
	ctx := r.Context()
	var encoded string
	if o, err = s.Operators.Operator(ctx, email); err == nil {
		encoded, err = s.Operators.OperatorPassword(ctx, email)
	}
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return o, false, err
	}
	ok, err = s.Passwords.Check(ctx, email, s.Client(r), password, encoded)
	return o, ok, err
}

// beginOps makes a new session, and ends the one whose cookie the browser came
// with.
func (s *Console) beginOps(w http.ResponseWriter, r *http.Request, email string) error {
	if err := s.endOps(r); err != nil {
		return err
	}
	value, now := callers.NewCookie(), s.Now()
	rec := callers.OperatorSession{Email: email, Token: callers.HashOf(value), CreatedAt: now, LastSeenAt: now}
	if err := s.Operators.CreateOperatorSession(r.Context(), rec, now.Add(-opsIdleLimit)); err != nil {
		return err
	}
	// Strict: nobody is sent to the operators' part from elsewhere and has to be
	// signed in there at once.
	s.setCookie(w, s.opsCookieName(), "/", value.Reveal(), opsAbsoluteLimit, http.SameSiteStrictMode)
	return nil
}

func (s *Console) endOps(r *http.Request) error {
	hash, ok := token(r, s.opsCookieName())
	if !ok {
		return nil
	}
	return s.Operators.DeleteOperatorSession(r.Context(), hash)
}

func (s *Console) opsSignOut(c echo.Context) error {
	r := c.Request()
	if err := s.guard.Check(r); err != nil {
		s.opsNote(r, "refused: other site")
		s.message(c, s.Sites.Platform(), "", http.StatusForbidden, message{Title: "This form came from another site", What: "Nothing was done."})
		return nil
	}
	if err := s.endOps(r); err != nil {
		return s.failed(c, err)
	}
	s.setCookie(c.Response(), s.opsCookieName(), "/", "", -1, http.SameSiteStrictMode)
	s.opsNote(r, "signed out")
	pages.See(c.Response(), r, s.Sites.Platform()+"/ops/login")
	return nil
}

// opsNote is the one log line of an operator's sign-in. It names no address:
// people type passwords into that field.
func (s *Console) opsNote(r *http.Request, outcome string) {
	s.Log.InfoContext(r.Context(), "operator sign-in", "from", s.Client(r).String(), "outcome", outcome)
}

// operatorKey finds the key that a request authenticates with.
func (s *Console) operatorKey(ctx context.Context, id string, shown secret.Text) (callers.Key, bool, error) {
	text, ok := callers.ParseSecret(callers.PrefixOperatorKey, shown.Reveal())
	if !ok {
		return callers.Key{}, false, nil
	}
	k, err := s.Operators.OperatorKeyByHash(ctx, callers.HashOf(text))
	if fault.HasCode(err, fault.NotFound) {
		return callers.Key{}, false, nil
	}
	return k, err == nil && k.ID == id && k.Live(s.Now()), err
}
