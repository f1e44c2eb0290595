package authn

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// tokenType is the `typ` of access tokens (RFC 9068 section 2.1).
const tokenType = "at+jwt"

// maxToken bounds what is parsed, in bytes.
const maxToken = 8 << 10

// Keys gives the public keys that a tenant's tokens may be signed with, by kid.
type Keys interface {
	Keys(ctx context.Context, t tenants.ID) (map[string]ed25519.PublicKey, error)
}

// Grants says whether the consent behind a token still stands.
type Grants interface {
	GrantActive(ctx context.Context, t tenants.ID, grant string) (bool, error)
}

// Verifier checks access tokens of all tenants.
type Verifier struct {
	keys   Keys
	grants Grants
	now    func() time.Time

	mu sync.RWMutex
	// known holds tokens whose signature was checked, by SHA-256: a client
	// sends the same token for ten minutes. Time, audience and revocation are
	// checked at every call.
	known map[[32]byte]verified
}

type verified struct {
	tenant    tenants.ID
	issuer    string
	principal Principal
	at        time.Time // when its signature was checked
}

// recheckAfter bounds how long a key that was withdrawn still opens: whoever
// stole it may have signed tokens that never expire.
const recheckAfter = time.Minute

// maxKnown bounds the memory of checked signatures; one takes about 500 bytes.
const maxKnown = 20_000

// NewVerifier makes a verifier. now is nil outside of tests.
func NewVerifier(keys Keys, grants Grants, now func() time.Time) *Verifier {
	if now == nil {
		now = time.Now
	}
	return &Verifier{keys: keys, grants: grants, now: now, known: map[[32]byte]verified{}}
}

// Verify returns which person's agent presents the token, or a
// fault.Unauthenticated that tells a client nothing about why beyond what RFC
// 6750 section 3.1 allows. The issuer and the audience are compared byte for
// byte (RFC 9068 section 4).
func (v *Verifier) Verify(ctx context.Context, t tenants.ID, issuer, audience, token string) (Principal, error) {
	p, err := v.VerifyCaller(ctx, t, issuer, audience, token)
	if err == nil && p.Key != "" {
		return Principal{}, refuse("it is not a person's", nil)
	}
	return p, err
}

// VerifyCaller is Verify that also takes a token got with an API key. Whether
// the key is still in force is for the caller to look up.
func (v *Verifier) VerifyCaller(ctx context.Context, t tenants.ID, issuer, audience, token string) (Principal, error) {
	if len(token) > maxToken {
		return Principal{}, refuse("it is too long", nil)
	}
	hash := sha256.Sum256([]byte(token))
	v.mu.RLock()
	known, ok := v.known[hash]
	v.mu.RUnlock()
	now := v.now()
	if !ok || known.tenant != t || known.issuer != issuer || now.Sub(known.at) >= recheckAfter {
		p, err := v.check(ctx, t, issuer, token)
		if err != nil {
			return Principal{}, err
		}
		known = verified{t, issuer, p, now}
		v.remember(hash, known)
	}
	p := known.principal
	switch {
	case !now.Before(p.ExpiresAt):
		return Principal{}, refuse("it has expired", nil)
	case p.IssuedAt.After(now.Add(30 * time.Second)):
		return Principal{}, refuse("it is from the future", nil)
	case p.Audience != audience:
		return Principal{}, refuse("it is for another server", nil)
	}
	if p.Key == "" {
		active, err := v.grants.GrantActive(ctx, t, p.Grant)
		if err != nil {
			return Principal{}, err
		}
		if !active {
			return Principal{}, refuse("the access was revoked", nil)
		}
	}
	p.Scopes = slices.Clone(p.Scopes)
	return p, nil
}

// claims are those of RFC 9068 section 2.2; aud must be one string.
type claims struct {
	Issuer   string          `json:"iss"`
	Subject  string          `json:"sub"`
	Audience string          `json:"aud"`
	Client   string          `json:"client_id"`
	Scope    string          `json:"scope"`
	Grant    string          `json:"gid"`
	ID       string          `json:"jti"`
	IssuedAt jwt.NumericDate `json:"iat"`
	Expires  jwt.NumericDate `json:"exp"`
}

// check verifies form, signature and the claims that do not change.
func (v *Verifier) check(ctx context.Context, t tenants.ID, issuer, token string) (Principal, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return Principal{}, refuse("it is not a token of this issuer", err)
	}
	h := parsed.Headers[0]
	// A key that the token brings itself, or any extension, is never followed.
	if typ, _ := h.ExtraHeaders[jose.HeaderType].(string); typ != tokenType || h.JSONWebKey != nil || len(h.ExtraHeaders) != 1 {
		return Principal{}, refuse("it is not an access token", nil)
	}
	keys, err := v.keys.Keys(ctx, t)
	if err != nil {
		return Principal{}, err
	}
	key, ok := keys[h.KeyID]
	if !ok {
		return Principal{}, refuse("its key is not one of this issuer", nil)
	}
	var c claims
	if err := parsed.Claims(key, &c); err != nil {
		return Principal{}, refuse("its signature or form is wrong", err)
	}
	p := Principal{
		Tenant: t, Client: c.Client, Grant: c.Grant, TokenID: c.ID, Audience: c.Audience,
		Scopes: strings.Fields(c.Scope), IssuedAt: c.IssuedAt.Time(), ExpiresAt: c.Expires.Time(),
	}
	if err := p.setSubject(c); err != nil || c.Issuer != issuer || c.Audience == "" || c.Client == "" || c.ID == "" || c.Expires == 0 || c.IssuedAt == 0 {
		return Principal{}, refuse("a claim is missing or of another issuer", err)
	}
	return p, nil
}

// setSubject tells the two kinds of token apart: a person's comes from a
// grant, a key's is the key's own (RFC 9068 section 2.2: sub is client_id).
func (p *Principal) setSubject(c claims) (err error) {
	if c.Grant != "" {
		p.User, err = tenants.ParseUserID(c.Subject)
		return err
	}
	if !isKeyID(c.Subject) || c.Subject != c.Client {
		return errors.New("neither a person's token nor a key's")
	}
	p.Key = c.Subject
	return nil
}

func isKeyID(s string) bool {
	return len(s) == 20 && strings.HasPrefix(s, "ak") && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

func (v *Verifier) remember(hash [32]byte, k verified) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= maxKnown {
		// First what has run out, then any, down to three quarters: so that the
		// next search is many tokens away.
		now := v.now()
		for h, old := range v.known {
			if !now.Before(old.principal.ExpiresAt) {
				delete(v.known, h)
			}
		}
		for h := range v.known {
			if len(v.known) <= maxKnown*3/4 {
				break
			}
			delete(v.known, h)
		}
	}
	v.known[hash] = k
}

func refuse(why string, cause error) error {
	if cause == nil {
		cause = errors.New(why)
	}
	return fault.New(fault.Unauthenticated, "The access token cannot be used: %s. Sign in again.", why).Because(cause)
}
