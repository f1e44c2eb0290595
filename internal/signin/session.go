package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

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

// Session is a person at a browser. Its ID may be logged and bound to: it is
// not what the cookie holds.
type Session struct {
	ID         string
	User       tenants.User
	SignedInAt time.Time
}

// TokenHash is the SHA-256 of a cookie's value, which is all that is stored.
type TokenHash [sha256.Size]byte

// Record is a session as it is stored.
type Record struct {
	ID         string // `bs` and 90 random bits
	User       tenants.UserID
	Token      TokenHash
	SignedInAt time.Time
	LastSeenAt time.Time
}

// Sessions keeps browser sessions, inside a tenant. An unknown token is
// fault.NotFound; touching or deleting an unknown session is no error.
type Sessions interface {
	// CreateSession also drops what was last seen before staleBefore.
	CreateSession(ctx context.Context, t tenants.ID, s Record, staleBefore time.Time) error
	SessionByToken(ctx context.Context, t tenants.ID, token TokenHash) (Record, tenants.User, error)
	TouchSession(ctx context.Context, t tenants.ID, id string, seen time.Time) error
	DeleteSession(ctx context.Context, t tenants.ID, id string) error
	DeleteSessionsOf(ctx context.Context, t tenants.ID, user tenants.UserID) error
}

// Current finds the session of a request to a tenant's page. There is none
// without a cookie, after the limits, and for a disabled person. An error
// means that the store could not say.
func (s *Service) Current(r *http.Request) (Session, bool, error) {
	t := site.From(r.Context())
	hash, ok := s.cookie(r, t)
	if !ok {
		return Session{}, false, nil
	}
	rec, user, err := s.sessions.SessionByToken(r.Context(), t.ID, hash)
	switch {
	case fault.HasCode(err, fault.NotFound):
		return Session{}, false, nil
	case err != nil:
		return Session{}, false, err
	case user.Tenant != t.ID || user.Disabled:
		return Session{}, false, nil
	}
	now := s.now()
	if now.Sub(rec.LastSeenAt) > idleLimit || now.Sub(rec.SignedInAt) > absoluteLimit {
		return Session{}, false, s.sessions.DeleteSession(r.Context(), t.ID, rec.ID)
	}
	if now.Sub(rec.LastSeenAt) >= touchEvery {
		if err := s.sessions.TouchSession(r.Context(), t.ID, rec.ID, now); err != nil {
			return Session{}, false, err
		}
	}
	return Session{ID: rec.ID, User: user, SignedInAt: rec.SignedInAt}, true, nil
}

// begin makes a new session and its cookie. Whatever cookie the browser came
// with is not used on: an attacker may have planted it (session fixation).
func (s *Service) begin(w http.ResponseWriter, r *http.Request, t tenants.Tenant, user tenants.UserID) (string, error) {
	if err := s.end(r, t); err != nil {
		return "", err
	}
	var token [32]byte
	rand.Read(token[:])
	now := s.now()
	rec := Record{
		ID: tenants.RandomID("bs"), User: user, Token: sha256.Sum256(token[:]),
		SignedInAt: now, LastSeenAt: now,
	}
	if err := s.sessions.CreateSession(r.Context(), t.ID, rec, now.Add(-idleLimit)); err != nil {
		return "", err
	}
	s.setCookie(w, t, base64.RawURLEncoding.EncodeToString(token[:]), int(absoluteLimit/time.Second))
	return rec.ID, nil
}

// end revokes the session that the request's cookie names, if any.
func (s *Service) end(r *http.Request, t tenants.Tenant) error {
	hash, ok := s.cookie(r, t)
	if !ok {
		return nil
	}
	rec, _, err := s.sessions.SessionByToken(r.Context(), t.ID, hash)
	if fault.HasCode(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.sessions.DeleteSession(r.Context(), t.ID, rec.ID)
}

// cookieName carries the tenant, because a base URL with the tenant in the
// path shares its origin, and __Host- fixes the path to /. The prefix makes
// browsers refuse the cookie from anywhere but this very host over https;
// plain http is for loopback only, where browsers do not take the prefix.
func (s *Service) cookieName(t tenants.Tenant) string {
	if s.sites.Secure() {
		return "__Host-latchkey-" + t.Slug
	}
	return "latchkey-" + t.Slug
}

func (s *Service) setCookie(w http.ResponseWriter, t tenants.Tenant, value string, maxAge int) {
	c := &http.Cookie{
		Name: s.cookieName(t), Value: value, MaxAge: maxAge,
		Path: s.sites.CookiePath(t.Slug), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if s.sites.Secure() {
		c.Path, c.Secure = "/", true
	}
	http.SetCookie(w, c)
}

func (s *Service) cookie(r *http.Request, t tenants.Tenant) (TokenHash, bool) {
	// Two of one name are somebody's work, on plain http: browsers send the
	// one of the longer path first, which is not ours.
	cs := r.CookiesNamed(s.cookieName(t))
	if len(cs) != 1 {
		return TokenHash{}, false
	}
	token, err := base64.RawURLEncoding.Strict().DecodeString(cs[0].Value)
	if err != nil || len(token) != 32 {
		return TokenHash{}, false
	}
	return sha256.Sum256(token), true
}
