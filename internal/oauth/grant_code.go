package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"

	"github.com/ory/fosite"

	"latchkey/internal/fault"
	"latchkey/internal/site"
)

// codeGrant is the authorization code grant with PKCE (RFC 6749 section 4.1,
// RFC 7636): at /authorize it stores a code, at /token it takes one.
type codeGrant struct{ s *Server }

const grantAuthorizationCode = "authorization_code"

func (codeGrant) name() string { return grantAuthorizationCode }

var (
	challengePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`) // of S256
	verifierPattern  = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)
)

// checkChallenge wants S256 from every client, also through /par.
func checkChallenge(form url.Values) error {
	switch {
	case form.Get("code_challenge") == "":
		return say(errInvalidRequest, "PKCE is needed: send code_challenge and code_challenge_method=S256.")
	case form.Get("code_challenge_method") != "S256":
		return say(errInvalidRequest, "Send code_challenge_method=S256, the only method that is served.")
	case !challengePattern.MatchString(form.Get("code_challenge")):
		return say(errInvalidRequest, "code_challenge is not a base64url-encoded SHA-256.")
	}
	return nil
}

func verifies(challenge, verifier string) bool {
	if !verifierPattern.MatchString(verifier) {
		return false
	}
	h := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(h[:])), []byte(challenge)) == 1
}

// HandleAuthorizeEndpointRequest stores what was approved, with a code.
func (g codeGrant) HandleAuthorizeEndpointRequest(ctx context.Context, ar fosite.AuthorizeRequester, resp fosite.AuthorizeResponder) error {
	sess, ok := ar.GetSession().(*session)
	if !ok || !ar.GetResponseTypes().ExactOne("code") {
		return nil // fosite then answers unsupported_response_type
	}
	form := ar.GetRequestForm()
	if err := checkChallenge(form); err != nil {
		return err
	}
	code, now := newSecret(prefixCode), g.s.Now()
	sess.issue.Code = Code{
		Hash: hashOf(code), Grant: sess.issue.Grant.ID, RedirectURI: ar.GetRedirectURI().String(),
		Challenge: form.Get("code_challenge"), ExpiresAt: now.Add(g.s.CodeLifetime),
	}
	if err := g.s.Store.Issue(ctx, site.From(ctx).ID, sess.issue); err != nil {
		return err
	}
	resp.AddParameter("code", code)
	ar.SetResponseTypeHandled("code")
	return nil
}

func (codeGrant) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

func (codeGrant) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantAuthorizationCode)
}

var errBadCode = say(errInvalidGrant, "The authorization code is not good: it was used, has expired, or belongs to another client. Authorize again.")

// HandleTokenEndpointRequest takes a code. It is good once: a second time, by
// the client that it belongs to, ends the grant with all of its tokens (RFC
// 6749 section 4.1.2). A wrong verifier uses nothing up, and nothing is gained
// by guessing at 256 bits.
func (g codeGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	e, err := g.s.begin(ctx, r, grantAuthorizationCode)
	if err != nil {
		return err
	}
	var (
		grant   Grant
		refresh string
		refused error
		reused  bool
	)
	decide := func(c Code, of Grant) (turn Turn) {
		now := g.s.Now()
		grant = of
		switch {
		case of.Client != e.client.ID:
			refused = errBadCode // and the victim is not hurt
			return turn
		case !c.UsedAt.IsZero():
			refused, reused = errBadCode, true
			return Turn{Revoke: "authorization code used twice", At: now}
		case !now.Before(c.ExpiresAt) || !of.Live(now):
			refused = errBadCode
			return turn
		case e.form.Has("redirect_uri") && e.form.Get("redirect_uri") != c.RedirectURI:
			refused = say(errInvalidGrant, "redirect_uri is not the one of the authorization request.")
			return turn
		case !verifies(c.Challenge, e.form.Get("code_verifier")):
			refused = say(errInvalidGrant, "code_verifier does not belong to the code_challenge of the authorization request.")
			return turn
		}
		if refused = g.s.sameTarget(e.tenant, e.form, of); refused != nil {
			return turn
		}
		turn.Use = now
		if slices.Contains(e.client.GrantTypes, grantRefreshToken) {
			refresh, turn.Next = g.s.nextRefreshToken(of, now)
		}
		return turn
	}
	err = g.s.Store.WithCode(ctx, e.tenant.ID, hashOf(e.form.Get("code")), decide)
	switch {
	case fault.HasCode(err, fault.NotFound):
		return errBadCode
	case err != nil:
		return err
	case reused:
		g.s.Log.WarnContext(ctx, "grant revoked: an authorization code was used twice", "tenant", e.tenant.ID, "grant", grant.ID, "user", grant.User, "client", grant.Client)
		return refused
	case refused != nil:
		return refused
	}
	return g.s.finish(r, e, grant, grant.Scopes, refresh)
}

func (codeGrant) PopulateTokenEndpointResponse(_ context.Context, r fosite.AccessRequester, to fosite.AccessResponder) error {
	return populate(r, to, grantAuthorizationCode)
}
