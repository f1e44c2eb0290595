package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v3"
	"github.com/ory/fosite"

	"latchkey/internal/callers"
)

// grantType is one way to a token: a file of its own, and a line in grants.
type grantType interface {
	fosite.TokenEndpointHandler
	name() string
}

// grants lists every grant that is served; the metadata is computed from it.
func (s *Server) grants() []grantType {
	return []grantType{
		codeGrant{s},
		refreshGrant{s},
		clientGrant{s},
	}
}

// newFosite puts fosite together from typed parts. compose.Compose is not
// used: it takes anything and drops what fits nowhere.
func newFosite(s *Server) (*fosite.Fosite, error) {
	c := &fosite.Config{
		EnforcePKCE: true, // by codeGrant; a reader of this struct expects it here
		// The default strategies match by prefix and by wildcard.
		ScopeStrategy:            fosite.ExactScopeStrategy,
		AudienceMatchingStrategy: fosite.ExactAudienceMatchingStrategy,
		// 1 is the least that fosite takes; a request without state gets one
		// for the time that fosite looks at it.
		MinParameterEntropy:          1,
		ClientAuthenticationStrategy: s.authenticateClient,
		// Every getter that would write its default on first use, which races,
		// finds a value. These two are reached by nothing that is mounted.
		ClientSecretsHasher: hasher{},
		JWKSFetcherStrategy: noFetcher{},
	}
	seen := map[string]bool{}
	for _, g := range s.grants() {
		if seen[g.name()] {
			return nil, fmt.Errorf("oauth: the grant %s is listed twice", g.name())
		}
		seen[g.name()] = true
		c.TokenEndpointHandlers.Append(g)
		if h, ok := g.(fosite.AuthorizeEndpointHandler); ok {
			c.AuthorizeEndpointHandlers.Append(h)
		}
	}
	// Append drops a second handler of the same type without a word.
	if len(c.TokenEndpointHandlers) != len(s.grants()) || len(c.AuthorizeEndpointHandlers) != 1 {
		return nil, errors.New("oauth: a grant was dropped: each needs a type of its own, and one answers /authorize")
	}
	return fosite.NewOAuth2Provider(preparedClients{}, c), nil
}

// hasher is for secrets of 256 random bits, which need no slow hash.
type hasher struct{}

func (hasher) Hash(_ context.Context, secret []byte) ([]byte, error) {
	h := sha256.Sum256(secret)
	return h[:], nil
}

func (hasher) Compare(_ context.Context, hash, secret []byte) error {
	h := sha256.Sum256(secret)
	if subtle.ConstantTimeCompare(hash, h[:]) != 1 {
		return errors.New("the secret does not match")
	}
	return nil
}

// noFetcher stands where fosite would fetch keys from any URL.
type noFetcher struct{}

func (noFetcher) Resolve(context.Context, string, bool) (*jose.JSONWebKeySet, error) {
	return nil, errors.New("keys of clients are not fetched")
}

// preparedClients is fosite's storage: the client of a request, which was
// looked up and fitted to it before.
type preparedClients struct{}

type preparedKey struct{}

func withPrepared(ctx context.Context, c protocolClient) context.Context {
	return context.WithValue(ctx, preparedKey{}, c)
}

func (preparedClients) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	c, ok := ctx.Value(preparedKey{}).(protocolClient)
	if !ok || c.ID != id {
		return nil, fosite.ErrNotFound
	}
	return c, nil
}

func (preparedClients) ClientAssertionJWTValid(context.Context, string) error {
	return fosite.ErrJTIKnown
}

func (preparedClients) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return errors.New("client assertions are not accepted")
}

// protocolClient is a client as fosite sees it in one request: with the one
// redirect URI, scopes and audience that our own rules have let through.
type protocolClient struct {
	Client
	redirect string
	scopes   []string
	audience []string
	key      *callers.Key // it is an API key, which stands for itself
}

func (c protocolClient) GetID() string                      { return c.ID }
func (c protocolClient) GetHashedSecret() []byte            { return nil } // see authenticateClient
func (c protocolClient) GetRedirectURIs() []string          { return []string{c.redirect} }
func (c protocolClient) GetGrantTypes() fosite.Arguments    { return c.GrantTypes }
func (c protocolClient) GetResponseTypes() fosite.Arguments { return fosite.Arguments{"code"} }
func (c protocolClient) GetScopes() fosite.Arguments        { return c.scopes }
func (c protocolClient) IsPublic() bool                     { return c.Secret == nil }
func (c protocolClient) GetAudience() fosite.Arguments      { return c.audience }

// session carries what our handlers know from one step of fosite to the next
// within one request. It is never stored.
type session struct {
	fosite.DefaultSession
	issue  Issue   // /authorize: what is to be stored with the code
	tokens *tokens // /token: what is to be answered
}

// Clone is for fosite, which never calls it on the way through our handlers.
func (s *session) Clone() fosite.Session {
	c := *s
	return &c
}
