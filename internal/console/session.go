package console

import (
	"context"
	"net/http"
	"time"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

const (
	idleLimit     = 12 * time.Hour
	absoluteLimit = 7 * 24 * time.Hour
	// touchEvery bounds how often a busy browser writes to the store.
	touchEvery = 5 * time.Minute
)

// cookieName carries the tenant, because a base URL with the tenant in the
// path shares its origin, and __Host- fixes the path to /. Plain http is for
// loopback only, where browsers do not take the prefix.
func (s *Console) cookieName(t tenants.Tenant) string {
	return s.prefixed("latchkey-console-" + t.Slug)
}

func (s *Console) prefixed(name string) string {
	if s.Sites.Secure() {
		return "__Host-" + name
	}
	return name
}

// setCookie sets or, with a negative age, removes a cookie. path is where plain
// http has it.
func (s *Console) setCookie(w http.ResponseWriter, name, path, value string, age time.Duration, same http.SameSite) {
	c := &http.Cookie{Name: name, Value: value, MaxAge: int(age / time.Second), Path: path, HttpOnly: true, SameSite: same}
	if s.Sites.Secure() {
		c.Path, c.Secure = "/", true
	}
	if age < 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// token reads a session's cookie.
func token(r *http.Request, name string) (callers.Hash, bool) {
	value, ok := named(r, name)
	if !ok {
		return callers.Hash{}, false
	}
	s, ok := callers.ParseSecret("", value)
	return callers.HashOf(s), ok
}

// Person is who sits at the tenant's console, if anybody does. There is nobody
// without a cookie, after the limits, once the grant is revoked, and for a
// disabled person.
func (s *Console) Person(r *http.Request) (tenants.User, bool, error) {
	ctx, t := r.Context(), site.From(r.Context())
	hash, ok := token(r, s.cookieName(t))
	if !ok {
		return tenants.User{}, false, nil
	}
	rec, state, err := s.Sessions.ConsoleSession(ctx, t.ID, hash)
	switch {
	case fault.HasCode(err, fault.NotFound):
		return tenants.User{}, false, nil
	case err != nil:
		return tenants.User{}, false, err
	case state.User.Tenant != t.ID || state.User.ID != rec.User:
		return tenants.User{}, false, nil
	}
	now := s.Now()
	if state.User.Disabled || !state.GrantActive || now.Sub(rec.LastSeenAt) > idleLimit || now.Sub(rec.CreatedAt) > absoluteLimit {
		return tenants.User{}, false, s.Sessions.DeleteConsoleSession(ctx, t.ID, rec.ID)
	}
	if now.Sub(rec.LastSeenAt) >= touchEvery {
		if err := s.Sessions.TouchConsoleSession(ctx, t.ID, rec.ID, now); err != nil {
			return tenants.User{}, false, err
		}
	}
	return state.User, true, nil
}

// begin makes a new session and its cookie. Whatever cookie the browser came
// with is not used on: an attacker may have planted it (session fixation).
func (s *Console) begin(w http.ResponseWriter, r *http.Request, t tenants.Tenant, user tenants.UserID, grant string) error {
	if err := s.end(r, t, "signed in to the console anew"); err != nil {
		return err
	}
	value, now := callers.NewCookie(), s.Now()
	rec := callers.Session{ID: tenants.RandomID("cs"), User: user, Grant: grant, Token: callers.HashOf(value), CreatedAt: now, LastSeenAt: now}
	if err := s.Sessions.CreateConsoleSession(r.Context(), t.ID, rec, now.Add(-idleLimit)); err != nil {
		return err
	}
	s.setCookie(w, s.cookieName(t), s.Sites.CookiePath(t.Slug), value.Reveal(), absoluteLimit, http.SameSiteLaxMode)
	return nil
}

// end ends the session that the request's cookie names, if any, with the grant
// that it stands on.
func (s *Console) end(r *http.Request, t tenants.Tenant, reason string) error {
	hash, ok := token(r, s.cookieName(t))
	if !ok {
		return nil
	}
	rec, _, err := s.Sessions.ConsoleSession(r.Context(), t.ID, hash)
	if fault.HasCode(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.revoke(r.Context(), t.ID, rec.Grant, reason); err != nil {
		return err
	}
	return s.Sessions.DeleteConsoleSession(r.Context(), t.ID, rec.ID)
}

func (s *Console) revoke(ctx context.Context, t tenants.ID, grant, reason string) error {
	err := s.Grants.RevokeGrant(ctx, t, grant, reason)
	if fault.HasCode(err, fault.NotFound) {
		return nil
	}
	return err
}
