package oauth

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/url"

	"github.com/ory/fosite"

	"latchkey/internal/fault"
	"latchkey/internal/site"
)

// credentials are what a client shows of itself.
type credentials struct {
	id, secret string
	shown      bool // there is something besides the id
}

// An authMethod is one way for a client to show who it is: a function that
// finds its credentials in a request, and a line in authMethods.
type authMethod struct {
	name string
	read func(r *http.Request, form url.Values) (credentials, error)
}

// authMethods are advertised in this order.
var authMethods = []authMethod{
	{"none", readNone},
	{"client_secret_basic", readBasic},
	{"client_secret_post", readPost},
}

func knownAuthMethod(name string) bool {
	for _, m := range authMethods {
		if m.name == name {
			return true
		}
	}
	return false
}

func readNone(_ *http.Request, form url.Values) (credentials, error) {
	return credentials{id: form.Get("client_id")}, nil
}

func readPost(_ *http.Request, form url.Values) (credentials, error) {
	return credentials{form.Get("client_id"), form.Get("client_secret"), form.Get("client_secret") != ""}, nil
}

// readBasic decodes both parts as RFC 6749 section 2.3.1 encodes them. A
// client without a secret may send its id like this.
func readBasic(r *http.Request, _ url.Values) (credentials, error) {
	if r.Header.Get("Authorization") == "" {
		return credentials{}, nil
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		return credentials{}, say(errInvalidClient, "The Authorization header is not of the Basic scheme, which is the one that is read here.")
	}
	id, err1 := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	if err1 != nil || err2 != nil {
		return credentials{}, say(errInvalidClient, "The id and the secret in the Authorization header must be percent-encoded.")
	}
	return credentials{id, secret, secret != ""}, nil
}

// authenticateClient is fosite's ClientAuthenticationStrategy. Secrets are 256
// random bits, so that SHA-256 and a comparison in constant time are enough. A
// client with a secret may send it either way: which way it registered for is
// what its SDK chose, and no secret of ours.
func (s *Server) authenticateClient(ctx context.Context, r *http.Request, form url.Values) (fosite.Client, error) {
	var got credentials
	for _, m := range authMethods {
		c, err := m.read(r, form)
		switch {
		case err != nil:
			return nil, err
		case c.shown && got.shown:
			return nil, say(errInvalidRequest, "The client authenticates in two ways at once. Use one.")
		case c.id != "" && got.id != "" && c.id != got.id:
			return nil, say(errInvalidRequest, "The request names two clients.")
		case c.shown || got.id == "":
			got = c
		}
	}
	if got.id == "" {
		return nil, say(errInvalidClient, "The request names no client. Send client_id.")
	}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		return nil, say(errInvalidClient, "Client assertions are not accepted here; see token_endpoint_auth_methods_supported.")
	}
	t := site.From(ctx)
	switch {
	case got.id == ConsoleClient:
		if got.shown {
			return nil, errWrongSecret
		}
		return protocolClient{Client: s.consoleClient(t)}, nil
	case isAPIKey(got.id):
		return s.authenticateKey(ctx, t, got)
	}
	client, err := s.Store.OAuthClient(ctx, t.ID, got.id)
	if fault.HasCode(err, fault.NotFound) {
		return nil, say(errInvalidClient, "This client is not registered here. Register again.")
	}
	if err != nil {
		return nil, err
	}
	if !provesSecret(client, got) {
		return nil, errWrongSecret
	}
	return protocolClient{Client: client}, nil
}

var errWrongSecret = say(errInvalidClient, "The client's authentication is wrong.")

// provesSecret also refuses a secret from a client that was given none: it
// mistakes itself for another.
func provesSecret(c Client, got credentials) bool {
	if c.Secret == nil {
		return !got.shown
	}
	h := hashOf(got.secret)
	return got.shown && subtle.ConstantTimeCompare(h[:], c.Secret[:]) == 1
}
