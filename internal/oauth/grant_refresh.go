package oauth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/ory/fosite"

	"latchkey/internal/fault"
)

// refreshGrant is the refresh token grant (RFC 6749 section 6) with rotation.
//
// A token is good once, and for 60 s more it yields the same successor again:
// several processes that share it, or an answer lost on the way, do no harm.
// The successor is stored sealed under a key that only the old token yields,
// so that the store alone holds nothing to refresh with. After that time a
// used token means that two parties have it: the grant ends, and no other.
type refreshGrant struct{ s *Server }

const grantRefreshToken = "refresh_token"

func (refreshGrant) name() string { return grantRefreshToken }

func (refreshGrant) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

func (refreshGrant) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantRefreshToken)
}

var (
	errBadRefresh = say(errInvalidGrant, "The refresh token is not good: it was used, has expired, was revoked, or belongs to another client. Authorize again.")
	errStepUp     = say(errInvalidGrant, "A call needs a scope that this grant does not have, and a refresh cannot add it. Authorize again with the scopes of the challenge.")
)

// HandleTokenEndpointRequest turns the chain by one link.
func (g refreshGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	e, err := g.s.begin(ctx, r, grantRefreshToken)
	if err != nil {
		return err
	}
	old := e.form.Get("refresh_token")
	var (
		grant     Grant
		successor string
		refused   error
		reused    bool
	)
	decide := func(token RefreshToken, of Grant) (turn Turn) {
		// The clock is read under the lock: what waited for it comes after.
		now := g.s.Now()
		grant = of
		used := !token.UsedAt.IsZero()
		switch {
		case of.Client != e.client.ID:
			refused = errBadRefresh // and the victim is not hurt
			return turn
		case !of.Live(now):
			refused = errBadRefresh
			return turn
		case used && now.Sub(token.UsedAt) >= g.s.RefreshGrace:
			refused, reused = errBadRefresh, true
			return Turn{Revoke: "refresh token used twice", At: now}
		case !used && !now.Before(token.ExpiresAt):
			refused = errBadRefresh
			return turn
		case !of.ChallengedAt.IsZero() && now.Sub(of.ChallengedAt) < challengeWindow:
			refused = errStepUp
			return Turn{ClearChallenge: true}
		}
		if refused = g.narrows(e, of); refused != nil {
			return turn
		}
		if used {
			successor, refused = unsealSuccessor(old, token.Successor)
			return turn
		}
		turn.Use = now
		successor, turn.Next = g.s.nextRefreshToken(of, now)
		turn.Successor = sealSuccessor(old, successor)
		return turn
	}
	err = g.s.Store.WithRefreshToken(ctx, e.tenant.ID, hashOf(old), decide)
	switch {
	case fault.HasCode(err, fault.NotFound):
		return errBadRefresh
	case err != nil:
		return err
	case reused:
		g.s.Log.WarnContext(ctx, "grant revoked: a refresh token was used twice", "tenant", e.tenant.ID, "grant", grant.ID, "user", grant.User, "client", grant.Client)
		return refused
	case refused != nil:
		return refused
	}
	// Roles are looked up outside of the lock. If that fails, the client comes
	// again with the old token and gets the same successor.
	scopes, err := g.allowedNow(ctx, e, grant)
	if err != nil {
		return err
	}
	return g.s.finish(r, e, grant, scopes, successor)
}

// narrows checks what the request asks for against the grant, which stays as
// it is: a later refresh may ask for all of it again.
func (g refreshGrant) narrows(e exchange, of Grant) error {
	if extra := without(g.asked(e, of), of.Scopes); len(extra) > 0 {
		return say(errInvalidScope, "A refresh cannot add scopes. Authorize again for: %.200s", extra[0])
	}
	return g.s.sameTarget(e.tenant, e.form, of)
}

// asked is the scope parameter, or all of the grant.
func (g refreshGrant) asked(e exchange, of Grant) []string {
	asked := slices.DeleteFunc(scopeList(e.form.Get("scope")), func(s string) bool { return habitual[s] && !contains(of.Scopes, s) })
	if len(asked) == 0 {
		return of.Scopes
	}
	return asked
}

// allowedNow holds the grant against what the person's roles open now. A
// person who is gone or disabled has no grants any more.
func (g refreshGrant) allowedNow(ctx context.Context, e exchange, of Grant) ([]string, error) {
	access, err := g.s.Tenants.Access(ctx, e.tenant.ID, of.User)
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return nil, err
	}
	if err != nil || access.User.Disabled {
		if err := g.s.RevokeGrant(ctx, e.tenant.ID, of.ID, "person disabled"); err != nil {
			return nil, err
		}
		return nil, errBadRefresh
	}
	return slices.DeleteFunc(slices.Clone(g.asked(e, of)), func(scope string) bool { return !access.Allows(of.Server, scope) }), nil
}

func (refreshGrant) PopulateTokenEndpointResponse(_ context.Context, r fosite.AccessRequester, to fosite.AccessResponder) error {
	return populate(r, to, grantRefreshToken)
}

// successorCipher is AES-256-GCM under a key that only the token yields.
func successorCipher(token string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(token), nil, "latchkey: successor of a refresh token", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func sealSuccessor(token, successor string) []byte {
	gcm, err := successorCipher(token)
	if err != nil {
		panic(err) // the key has the right length
	}
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce)
	return gcm.Seal(nonce, nonce, []byte(successor), nil)
}

func unsealSuccessor(token string, sealed []byte) (string, error) {
	gcm, err := successorCipher(token)
	if err != nil {
		return "", err
	}
	if len(sealed) < gcm.NonceSize() {
		return "", errors.New("a sealed successor is cut short")
	}
	plain, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], nil)
	return string(plain), err
}
