package mcpgateway

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"latchkey/internal/authn"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// exchange is one HTTP request with what is known about it. It travels to the
// typed call in the SDK's TokenInfo: the context of a legacy session's call is
// that of the session's first request.
type exchange struct {
	tenant      tenants.Tenant
	hosted      registry.Hosted
	principal   authn.Principal
	session     string
	traceparent string
	info        *auth.TokenInfo
	answer      *answer // of a request that the SDK answers; nil elsewhere
	// missing is the scope for want of which the call was refused; the shaper
	// turns the answer into a 403 with a challenge.
	missing atomic.Pointer[string]
}

const exchangeKey = "latchkey/exchange"

func exchangeOf(info *auth.TokenInfo) *exchange {
	if info == nil {
		return nil
	}
	ex, _ := info.Extra[exchangeKey].(*exchange)
	return ex
}

// authenticate is step 2: bearer → Principal. A token in the query is refused
// however good it is (RFC 6750 section 2.3, OAuth 2.1 section 5.1).
func (g *Gateway) authenticate(r *http.Request, t tenants.Tenant, h registry.Hosted) (*exchange, error) {
	if r.URL.Query().Has("access_token") {
		return nil, fault.New(fault.InvalidRequest, "An access token in the URL is not accepted: URLs are logged. Send it as `Authorization: Bearer …`.")
	}
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return nil, fault.New(fault.Unauthenticated, "This server needs a sign-in. Your client should open the browser now.").Because(errNoToken)
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if token = strings.TrimSpace(token); len(values) > 1 || !ok || !strings.EqualFold(scheme, "bearer") || token == "" {
		return nil, fault.New(fault.Unauthenticated, "The Authorization header must hold one bearer token.")
	}
	p, err := g.cfg.Verifier.Verify(r.Context(), t.ID, g.cfg.Sites.Base(t.Slug), g.cfg.Sites.Resource(t.Slug, h.Server.Slug), token)
	if err != nil {
		return nil, err
	}
	ex := &exchange{
		tenant: t, hosted: h, principal: p,
		session:     r.Header.Get("Mcp-Session-Id"),
		traceparent: validTraceparent(r.Header.Get("Traceparent")),
	}
	ex.info = &auth.TokenInfo{
		Scopes: p.Scopes, Expiration: p.ExpiresAt,
		// A legacy session belongs to one person and server: the SDK looks
		// sessions up by id alone and compares this. The client is left out:
		// some register anew at each step-up and go on with their session.
		UserID: string(t.ID) + "/" + string(h.Server.ID) + "/" + string(p.User),
		Extra:  map[string]any{exchangeKey: ex},
	}
	return ex, nil
}

// carry hands the exchange to the SDK, whose context key is private.
func (ex *exchange) carry(next http.Handler) http.Handler {
	return auth.RequireBearerToken(func(context.Context, string, *http.Request) (*auth.TokenInfo, error) {
		return ex.info, nil
	}, nil)(next)
}

// validTraceparent accepts version 00 of W3C Trace Context.
func validTraceparent(s string) string {
	if len(s) != 55 || s[:3] != "00-" || s[35] != '-' || s[52] != '-' {
		return ""
	}
	for i, c := range []byte(s) {
		if i != 2 && i != 35 && i != 52 && !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return ""
		}
	}
	return s
}
