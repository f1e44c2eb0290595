package signin

import (
	"context"
	"net/netip"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Gate checks passwords of people who are no tenant's, such as operators, by
// the same policy, with the same work, and slowed in the same way.
type Gate struct {
	hasher   *hasher
	throttle *throttle
}

// Gate makes one. It shares the service's bound on how many passwords are
// hashed at once, and counts tries for itself.
func (s *Service) Gate() *Gate { return &Gate{s.hasher, newThrottle(s.now)} }

// Check reports whether a password belongs to an account. encoded is the hash
// of that account, empty for one that does not exist, which takes as long. An
// error with RetryAfter means that it is too early for another try.
func (g *Gate) Check(ctx context.Context, account string, from netip.Addr, password secret.Text, encoded string) (bool, error) {
	try := newAttempt("", account, from)
	if wait := g.throttle.take(try); wait > 0 {
		return false, fault.New(fault.LimitReached, "Too many tries. Wait, then try again.").After(max(wait, time.Second))
	}
	if len(password) > maxPassword { // never set, and not to be hashed
		password, encoded = password[:maxPassword], ""
	}
	ok, _, err := g.hasher.matches(ctx, password, encoded)
	if err == nil && ok {
		g.throttle.succeeded(try)
	}
	return ok, err
}

// HashPassword encodes a new password of somebody with that address, if it is
// one that can be used.
func HashPassword(ctx context.Context, password secret.Text, email string) (string, error) {
	if err := acceptable(password, tenants.User{Email: email}); err != nil {
		return "", err
	}
	return newHasher(1).hash(ctx, password)
}
