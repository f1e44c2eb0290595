package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"latchkey/internal/authn"
	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// Authenticator finds out who calls: by an API key, by an access token that was
// got with one, or, from the console's own pages only, by its cookie. All but
// Log and Now are needed.
type Authenticator struct {
	Sites   *site.Sites
	Tenants interface {
		TenantBySlug(ctx context.Context, slug string) (tenants.Tenant, error)
	}
	People interface {
		Access(ctx context.Context, t tenants.ID, id tenants.UserID) (tenants.Access, error)
	}
	Tokens interface {
		VerifyCaller(ctx context.Context, t tenants.ID, issuer, audience, token string) (authn.Principal, error)
	}
	Keys      callers.Keys
	Operators callers.Operators
	Console   interface {
		// Person is who sits at the tenant's console.
		Person(r *http.Request) (tenants.User, bool, error)
		// Operator is who sits at the operators' part.
		Operator(r *http.Request) (callers.Operator, bool, error)
	}
	Log *slog.Logger
	Now func() time.Time

	guard http.CrossOriginProtection
}

var (
	errNobody = fault.New(fault.Unauthenticated, "Send an API key or an access token as `Authorization: Bearer …`, or sign in at the console.")
	errBadKey = fault.New(fault.Unauthenticated, "This key or token is not good: it is unknown, was revoked or has expired. Make a new one.")
	errHeader = fault.New(fault.Unauthenticated, "The Authorization header must hold one bearer token.")
)

// Authenticate says who calls. Below a tenant's base it is only good for its
// own callers and for operators: all others get the answer of a path that is
// not there.
func (a *Authenticator) Authenticate(r *http.Request) (Principal, error) {
	p, err := a.authenticate(r)
	if err != nil {
		return Principal{}, err
	}
	here := site.From(r.Context())
	if !p.Operator() && (p.Tenant.Suspended || here.ID != "" && here.ID != p.Tenant.ID) {
		return Principal{}, notFound()
	}
	return p, nil
}

func (a *Authenticator) authenticate(r *http.Request) (Principal, error) {
	token, ok, err := bearer(r.Header)
	switch {
	case err != nil:
		return Principal{}, err
	case !ok:
		return a.byCookie(r)
	}
	ctx := r.Context()
	switch {
	case strings.HasPrefix(token, callers.PrefixKey):
		return a.byKey(ctx, token)
	case strings.HasPrefix(token, callers.PrefixOperatorKey):
		return a.byOperatorKey(ctx, token)
	case strings.HasPrefix(token, callers.PrefixOperatorToken):
		return a.byOperatorToken(ctx, token)
	}
	return a.byAccessToken(ctx, token)
}

// bearer reads the Authorization header, which is there once or not at all. A
// cookie is no second chance for who sends a wrong one.
func bearer(h http.Header) (token string, ok bool, err error) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", false, nil
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	token = strings.Trim(token, " ")
	if len(values) > 1 || !ok || !strings.EqualFold(scheme, "bearer") || token == "" || strings.ContainsAny(token, " \t,") {
		return "", false, errHeader
	}
	return token, true, nil
}

func (a *Authenticator) byKey(ctx context.Context, token string) (Principal, error) {
	s, ok := callers.ParseSecret(callers.PrefixKey, token)
	if !ok {
		return Principal{}, errBadKey
	}
	t, k, err := a.Keys.APIKeyByHash(ctx, callers.HashOf(s))
	if err != nil {
		return Principal{}, unlessAway(err)
	}
	return a.ofKey(ctx, t, k, k.Permissions)
}

func (a *Authenticator) ofKey(ctx context.Context, t tenants.Tenant, k callers.Key, held []tenants.Permission) (Principal, error) {
	now := a.now()
	if !k.Live(now) {
		return Principal{}, errBadKey
	}
	if k.UseDue(now) {
		a.used(ctx, k.ID, a.Keys.UseAPIKey(ctx, t.ID, k.ID, now))
	}
	return Principal{Kind: MeKindApiKey, ID: k.ID, Name: k.Name, Tenant: t, Permissions: held, Via: k.ID}, nil
}

func (a *Authenticator) byOperatorKey(ctx context.Context, token string) (Principal, error) {
	s, ok := callers.ParseSecret(callers.PrefixOperatorKey, token)
	if !ok {
		return Principal{}, errBadKey
	}
	k, err := a.Operators.OperatorKeyByHash(ctx, callers.HashOf(s))
	return a.ofOperatorKey(ctx, k, err)
}

func (a *Authenticator) byOperatorToken(ctx context.Context, token string) (Principal, error) {
	s, ok := callers.ParseSecret(callers.PrefixOperatorToken, token)
	if !ok {
		return Principal{}, errBadKey
	}
	k, err := a.Operators.OperatorKeyByToken(ctx, callers.HashOf(s), a.now())
	return a.ofOperatorKey(ctx, k, err)
}

func (a *Authenticator) ofOperatorKey(ctx context.Context, k callers.Key, err error) (Principal, error) {
	if err != nil {
		return Principal{}, unlessAway(err)
	}
	now := a.now()
	if !k.Live(now) {
		return Principal{}, errBadKey
	}
	if k.UseDue(now) {
		a.used(ctx, k.ID, a.Operators.UseOperatorKey(ctx, k.ID, now))
	}
	return Principal{Kind: MeKindOperatorKey, ID: k.ID, Name: k.Name, Via: k.ID}, nil
}

// used logs that a use could not be noted, which is no reason to refuse it.
func (a *Authenticator) used(ctx context.Context, key string, err error) {
	if err != nil && a.Log != nil {
		a.Log.WarnContext(ctx, "use of a key not noted", "key", key, "error", err)
	}
}

// byAccessToken takes a token for the platform API: of a key, or of the
// console, which acts for a person. Its state is looked up at each call.
func (a *Authenticator) byAccessToken(ctx context.Context, token string) (Principal, error) {
	t := site.From(ctx)
	if t.ID == "" {
		var err error
		if t, err = a.issuerOf(ctx, token); err != nil {
			return Principal{}, err
		}
	}
	p, err := a.Tokens.VerifyCaller(ctx, t.ID, a.Sites.Base(t.Slug), a.Sites.API(t.Slug), token)
	if err != nil {
		return Principal{}, err
	}
	if p.Key == "" {
		if p.Client != oauth.ConsoleClient || !p.Has(oauth.ScopeConsole) {
			return Principal{}, errBadKey
		}
		return a.member(ctx, t, p.User)
	}
	k, err := a.Keys.APIKey(ctx, t.ID, p.Key)
	if err != nil {
		return Principal{}, unlessAway(err)
	}
	var held []tenants.Permission
	for _, scope := range p.Scopes {
		if p := tenants.Permission(scope); tenants.ValidPermission(p) && tenants.Holds(k.Permissions, p) {
			held = append(held, p)
		}
	}
	return a.ofKey(ctx, t, k, held)
}

// issuerOf finds the tenant that a token says it is of, which nothing follows
// from but whose keys it is held against.
func (a *Authenticator) issuerOf(ctx context.Context, token string) (tenants.Tenant, error) {
	parts := strings.Split(token, ".")
	if len(token) > 8<<10 || len(parts) != 3 {
		return tenants.Tenant{}, errBadKey
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(b, &claims) != nil {
		return tenants.Tenant{}, errBadKey
	}
	u, err := url.Parse(claims.Issuer)
	if err != nil {
		return tenants.Tenant{}, errBadKey
	}
	slug, _, ok := a.Sites.Locate(u.Host, u.EscapedPath())
	if !ok || a.Sites.Base(slug) != claims.Issuer {
		return tenants.Tenant{}, errBadKey
	}
	t, err := a.Tenants.TenantBySlug(ctx, slug)
	return t, unlessAway(err)
}

// byCookie is for the pages of the console. Cookies come along with requests
// that other sites cause: none of those is answered, whatever its method.
func (a *Authenticator) byCookie(r *http.Request) (Principal, error) {
	ctx := r.Context()
	t := site.From(ctx)
	if t.ID == "" {
		o, ok, err := a.Console.Operator(r)
		if err := a.admitPage(r, ok, err); err != nil {
			return Principal{}, err
		}
		return Principal{Kind: MeKindOperator, ID: o.Email, Name: o.Name, Email: o.Email, Via: "latchkey-ops"}, nil
	}
	u, ok, err := a.Console.Person(r)
	if err := a.admitPage(r, ok, err); err != nil {
		return Principal{}, err
	}
	return a.member(ctx, t, u.ID)
}

// admitPage refuses who has no session, and what another site, or another host
// of ours, made a browser send.
func (a *Authenticator) admitPage(r *http.Request, session bool, err error) error {
	switch {
	case err != nil:
		return err
	case !session:
		return errNobody
	}
	from := r.Header.Get("Sec-Fetch-Site")
	if a.guard.Check(r) != nil || !slices.Contains([]string{"", "same-origin", "none"}, from) {
		return fault.New(fault.RoleNotAllowed, "This request came from another site. Nothing was done.")
	}
	return nil
}

// member is a person with what their roles open now.
func (a *Authenticator) member(ctx context.Context, t tenants.Tenant, id tenants.UserID) (Principal, error) {
	access, err := a.People.Access(ctx, t.ID, id)
	if err != nil {
		return Principal{}, unlessAway(err)
	}
	u := access.User
	if u.Disabled || u.Tenant != t.ID {
		return Principal{}, errNobody
	}
	return Principal{
		Kind: MeKindMember, ID: string(u.ID), Name: u.Name, Email: u.Email, Tenant: t, User: u.ID, Roles: u.Roles,
		Permissions: slices.Clone(access.Permissions), Via: oauth.ConsoleClient,
	}, nil
}

// unlessAway turns what is not there into a key that is not good.
func unlessAway(err error) error {
	if fault.HasCode(err, fault.NotFound) {
		return errBadKey
	}
	return err
}

func (a *Authenticator) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}
