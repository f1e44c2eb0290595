package oauth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"latchkey/internal/tenants"
)

// accessTokenType is RFC 9068 section 2.1. It keeps any other JWT of ours from
// passing as an access token.
const accessTokenType = "at+jwt"

// claims of an access token (RFC 9068 section 2.2).
type claims struct {
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"`
	Audience  string `json:"aud"` // exactly one
	Client    string `json:"client_id"`
	Scope     string `json:"scope"`
	Grant     string `json:"gid,omitempty"` // of a person's token
	ID        string `json:"jti"`
	IssuedAt  int64  `json:"iat"`
	ExpiresAt int64  `json:"exp"`
}

// accessToken mints a token of a grant. It lives no longer than the grant.
func (s *Server) accessToken(t tenants.Tenant, k openKey, g Grant, scopes []string) (token string, life time.Duration, err error) {
	return s.mint(t, k, claims{
		Subject: string(g.User), Audience: s.audience(t, g), Client: g.Client, Scope: strings.Join(scopes, " "), Grant: g.ID,
	}, g.ExpiresAt)
}

// audience is what a grant's tokens are good for: one MCP endpoint, or the
// platform API.
func (s *Server) audience(t tenants.Tenant, g Grant) string {
	if g.forConsole() {
		return s.Sites.API(t.Slug)
	}
	return s.Sites.Resource(t.Slug, g.ServerSlug)
}

// mint signs a token, which lives no longer than until: zero is no bound.
func (s *Server) mint(t tenants.Tenant, k openKey, c claims, until time.Time) (token string, life time.Duration, err error) {
	now := s.Now()
	expires := now.Add(s.AccessTokenLifetime)
	if !until.IsZero() && until.Before(expires) {
		expires = until
	}
	c.Issuer, c.ID, c.IssuedAt, c.ExpiresAt = s.Sites.Base(t.Slug), rand.Text(), now.Unix(), expires.Unix()
	payload, err := json.Marshal(c)
	if err != nil {
		return "", 0, err
	}
	signed, err := k.signer.Sign(payload)
	if err != nil {
		return "", 0, err
	}
	token, err = signed.CompactSerialize()
	return token, expires.Sub(now), err
}

var errNotOurToken = errors.New("not an access token of this tenant")

// readAccessToken verifies a token of the tenant that has not expired, for
// revocation and introspection. Edges use authn.
func (s *Server) readAccessToken(ctx context.Context, t tenants.Tenant, token string) (claims, error) {
	var c claims
	jws, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || len(jws.Signatures) != 1 {
		return c, errNotOurToken
	}
	header := jws.Signatures[0].Protected
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != accessTokenType {
		return c, errNotOurToken
	}
	keys, err := s.keys.published(ctx, t.ID)
	if err != nil {
		return c, err
	}
	key, ok := keys[header.KeyID]
	if !ok {
		return c, errNotOurToken
	}
	payload, err := jws.Verify(key)
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return claims{}, errNotOurToken
	}
	if c.Issuer != s.Sites.Base(t.Slug) || s.Now().Unix() >= c.ExpiresAt {
		return claims{}, errNotOurToken
	}
	return c, nil
}

// Opaque secrets have a prefix, so that a scanner of leaked secrets can tell
// them, and 256 random bits.
const (
	prefixCode         = "lkc_"
	prefixRefresh      = "lkr_"
	prefixTicket       = "lkt_"
	prefixHandle       = "lkh_"
	prefixSecret       = "lks_"
	prefixRegistration = "lkm_"
)

func newSecret(prefix string) string {
	var b [32]byte
	rand.Read(b[:])
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}
