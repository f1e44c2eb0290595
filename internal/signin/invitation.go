package signin

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
	"latchkey/internal/pages"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// Invitations is what signin asks of tenants.Invitations, and what its people
// may do afterwards.
type Invitations interface {
	InvitationByToken(ctx context.Context, t tenants.ID, token tenants.TokenHash) (tenants.Invitation, error)
	AcceptInvitation(ctx context.Context, t tenants.ID, token tenants.TokenHash, name, passwordHash string, at time.Time) (tenants.User, error)
	Access(ctx context.Context, t tenants.ID, id tenants.UserID) (tenants.Access, error)
}

var invitationView = pages.Parse(files, "invitation.html")

type invitationPage struct {
	Base, Tenant string
	// Token stands in the page, as it does in the link: no other site sees the
	// address of this page, and nothing keeps it.
	Token            string
	Email, Name      string
	InvitedBy, Until string
	Reset            bool   // they have a password already
	SignedInAs       string // somebody else sits here
	Problem          string
	MinPassword      int
}

func (s *Service) showInvitation(c echo.Context) error {
	t := site.From(c.Request().Context())
	token := secret.Text(c.Request().URL.Query().Get("token"))
	hash, ok := tenants.ParseInvitationToken(token)
	if !ok {
		return s.unknownInvitation(c, t)
	}
	i, err := s.invitations.InvitationByToken(c.Request().Context(), t.ID, hash)
	if err != nil || i.Status(s.now()) != tenants.InvitationPending {
		return s.notInvited(c, t, i, err)
	}
	return s.renderInvitation(c, t, i, token, http.StatusOK, invitationPage{Name: i.Name})
}

func (s *Service) renderInvitation(c echo.Context, t tenants.Tenant, i tenants.Invitation, token secret.Text, status int, p invitationPage) error {
	ctx := c.Request().Context()
	u, err := s.people.UserByEmail(ctx, t.ID, i.Email)
	if err == nil {
		var hash string
		hash, err = s.people.PasswordHash(ctx, t.ID, u.ID)
		p.Reset = hash != ""
	}
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return s.failed(c, t, err)
	}
	if session, ok, err := s.Current(c.Request()); err == nil && ok && session.User.Email != i.Email {
		p.SignedInAs = session.User.Email
	}
	p.Base, p.Tenant, p.Token, p.MinPassword = s.sites.Base(t.Slug), t.Name, token.Reveal(), minPassword
	p.Email, p.InvitedBy, p.Until = i.Email, i.CreatedBy, i.ExpiresAt.UTC().Format("2 January 2006, 15:04 MST")
	title := "Join " + pages.Text(t.Name, 80)
	if p.Reset {
		title = "Choose a new password · " + pages.Text(t.Name, 80)
	}
	if p.Problem != "" {
		title = "Not done yet · " + title
	}
	invitationView.Render(c.Response(), pages.Response{Status: status}, s.frame(t, title), p)
	return nil
}

// accept spends an invitation. Whom it is for stands in the invitation alone:
// an address in the form changes nothing.
func (s *Service) accept(c echo.Context) error {
	r, t := c.Request(), site.From(c.Request().Context())
	form, err := s.form(c)
	if err != nil {
		return s.refused(c, t, err)
	}
	token := secret.Text(form.Get("token"))
	hash, ok := tenants.ParseInvitationToken(token)
	if !ok {
		return s.unknownInvitation(c, t)
	}
	try := newAttempt(t.ID, "invitation "+string(hash[:]), s.client(r))
	if wait := s.throttle.take(try); wait > 0 {
		s.note(r, t, "", "throttled")
		return s.waitBeforeAccepting(c, t, wait)
	}
	i, err := s.invitations.InvitationByToken(r.Context(), t.ID, hash)
	if err != nil || i.Status(s.now()) != tenants.InvitationPending {
		return s.notInvited(c, t, i, err)
	}
	s.throttle.succeeded(try) // whoever has the link is no guesser

	name, password := strings.TrimSpace(form.Get("name")), secret.Text(form.Get("password"))
	p := invitationPage{Name: name}
	switch err := acceptable(password, tenants.User{Email: i.Email}); {
	case name == "" || utf8.RuneCountInString(name) > 200 || !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		p.Problem = "Enter your name, in at most 200 characters."
	case err != nil:
		p.Problem = fault.Of(err).Message
	case !password.Equal(form.Get("again")):
		p.Problem = "The two passwords differ. Enter the same one twice."
	}
	if p.Problem != "" {
		return s.renderInvitation(c, t, i, token, http.StatusBadRequest, p)
	}
	encoded, err := s.hasher.hash(r.Context(), password)
	if fault.HasCode(err, fault.Busy) {
		return s.waitBeforeAccepting(c, t, fault.Of(err).RetryAfter)
	}
	if err != nil {
		return s.failed(c, t, err)
	}
	user, err := s.invitations.AcceptInvitation(r.Context(), t.ID, hash, name, encoded, s.now())
	if err != nil {
		s.note(r, t, "", "invitation refused")
		return s.notInvited(c, t, i, err)
	}
	if _, err := s.begin(c.Response(), r, t, user.ID); err != nil {
		return s.failed(c, t, err)
	}
	s.note(r, t, user.ID, "invitation accepted")
	access, err := s.invitations.Access(r.Context(), t.ID, user.ID)
	if err != nil {
		return s.failed(c, t, err)
	}
	to := "/connections"
	if len(access.Permissions) > 0 {
		to = "/admin/"
	}
	s.goOn(c, t, s.destination(t, to))
	return nil
}

func (s *Service) waitBeforeAccepting(c echo.Context, t tenants.Tenant, wait time.Duration) error {
	n := max(1, int(math.Ceil(wait.Seconds())))
	c.Response().Header().Set("Retry-After", strconv.Itoa(n))
	s.message(c, t, http.StatusTooManyRequests, message{
		Title: "Too many tries", What: fmt.Sprintf("Nothing was changed. Wait %s, then go back and send the form again.", seconds(n)),
	})
	return nil
}

func (s *Service) unknownInvitation(c echo.Context, t tenants.Tenant) error {
	s.message(c, t, http.StatusNotFound, message{
		Title: "This link is not known here",
		What:  "Check that you opened all of it. A newer invitation may have replaced it: look for one in your mail, or ask whoever invited you.",
	})
	return nil
}

// notInvited says why an invitation cannot be used, and what to do instead.
func (s *Service) notInvited(c echo.Context, t tenants.Tenant, i tenants.Invitation, err error) error {
	if fault.HasCode(err, fault.NotFound) {
		return s.unknownInvitation(c, t)
	}
	if err != nil && !fault.HasCode(err, fault.Conflict) {
		if f := fault.Of(err); f.Code == fault.RoleNotAllowed || f.Code == fault.LimitReached {
			s.message(c, t, http.StatusForbidden, message{Title: "This invitation cannot be used", What: f.Message})
			return nil
		}
		return s.failed(c, t, err)
	}
	by := pages.Text(i.CreatedBy, 80)
	m := message{Title: "This invitation was used already", What: "If that was you, sign in. If not, ask " + by + ": somebody else had the link."}
	switch i.Status(s.now()) {
	case tenants.InvitationExpired:
		m = message{Title: "This invitation has expired", What: "It was good until " + i.ExpiresAt.UTC().Format("2 January 2006, 15:04 MST") + ". Ask " + by + " for a new one."}
	case tenants.InvitationRevoked:
		m = message{Title: "This invitation was withdrawn", What: "A newer one may have replaced it: look for one in your mail, or ask " + by + "."}
	default:
		m.Link, m.LinkText = s.LoginURL(t, ""), "Sign in"
	}
	s.message(c, t, http.StatusGone, m)
	return nil
}
