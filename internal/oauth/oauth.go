// Package oauth is the authorization server of each tenant: metadata, client
// registration, authorization with consent, tokens, revocation and keys.
//
// The protocol's frame is fosite: it reads requests, authenticates clients and
// dispatches to the grants, each of which is one file and one line in grants.
// What is stored is plain rows behind Store; each decision about a code or a
// refresh token is made under its lock, in one transaction.
//
// It leaves to signin who sits at the browser, to consent and pages how
// questions look, to tenants what roles open, to authn the checking of access
// tokens at an edge, and to mcpgateway the challenges at the MCP endpoint.
package oauth

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"latchkey/internal/callers"
	"latchkey/internal/consent"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// People is what oauth asks of tenants.Store.
type People interface {
	Access(ctx context.Context, t tenants.ID, id tenants.UserID) (tenants.Access, error)
}

// Servers is what oauth asks of registry.Store.
type Servers interface {
	Hosted(ctx context.Context, t tenants.ID, slug string) (registry.Hosted, error)
	HostedAll(ctx context.Context, t tenants.ID) ([]registry.Hosted, error)
}

// APIKeys is what oauth asks of callers.Keys.
type APIKeys interface {
	APIKey(ctx context.Context, t tenants.ID, id string) (callers.Key, error)
	UseAPIKey(ctx context.Context, t tenants.ID, id string, at time.Time) error
}

// SignIn says who is sitting at the browser.
type SignIn interface {
	Current(r *http.Request) (signin.Session, bool, error)
	LoginURL(t tenants.Tenant, returnTo string) string
}

// Sealer encrypts private keys for the store. context binds a sealed value to
// its place: what is sealed for one tenant's key opens for no other.
type Sealer interface {
	Seal(ctx context.Context, context string, plaintext []byte) ([]byte, error)
	Open(ctx context.Context, context string, sealed []byte) ([]byte, error)
}

// Config of New. The interfaces and Sites are needed, the rest may be zero.
type Config struct {
	Sites    *site.Sites
	Tenants  People
	Registry Servers
	Store    Store
	APIKeys  APIKeys
	Sealer   Sealer
	SignIn   SignIn
	// Accounts lists a person's accounts at upstreams, to show beside what they
	// let in; nil: there are none.
	Accounts func(ctx context.Context, t tenants.Tenant, u tenants.UserID) ([]consent.Account, error)

	// AllowLoopbackCIMD lets client documents be fetched from this machine,
	// also by http: for development only.
	AllowLoopbackCIMD bool
	// Client is the address a request comes from. nil: the connection's, which
	// is wrong behind a proxy.
	Client func(*http.Request) netip.Addr
	Log    *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: time.Now

	AccessTokenLifetime time.Duration   // 0: 10 min; at most 1 h
	RefreshTokenIdle    time.Duration   // a refresh token lives that long unused. 0: 30 days
	RefreshGrace        time.Duration   // a used one still yields its successor. 0: 60 s
	CodeLifetime        time.Duration   // 0: 60 s
	RequestLifetime     time.Duration   // of a pushed request and of a consent page. 0: 10 min
	UnauthorizedClients time.Duration   // CollectClients spares younger ones. 0: 24 h
	PublishAhead        time.Duration   // a key is published that long before it signs. 0: 10 min
	KeyLifetime         time.Duration   // RotateDueKeys replaces a key that has signed for that long. 0: 30 days
	Durations           []time.Duration // offered on the consent page, the first preselected; 0 is until revoked. nil: 30, 1, 90 days, until revoked
	Registrations       Rates           // zero: see defaultRegistrations
	Fetches             Rates           // of client documents and pushed requests. zero: see defaultFetches
}

// Server is the authorization server of all tenants.
type Server struct {
	Config
	fosite    *fosite.Fosite
	keys      *keyring
	documents *documents
	guard     *http.CrossOriginProtection
	register  *limiter
	fetch     *limiter
}

// New makes the server. It fails where something could only fail later.
func New(c Config) (*Server, error) {
	if c.Sites == nil || c.Tenants == nil || c.Registry == nil || c.Store == nil || c.APIKeys == nil || c.Sealer == nil || c.SignIn == nil {
		return nil, errors.New("oauth: Sites, Tenants, Registry, Store, APIKeys, Sealer and SignIn are needed")
	}
	orDuration(&c.AccessTokenLifetime, 10*time.Minute)
	orDuration(&c.RefreshTokenIdle, 30*24*time.Hour)
	orDuration(&c.RefreshGrace, time.Minute)
	orDuration(&c.CodeLifetime, time.Minute)
	orDuration(&c.RequestLifetime, 10*time.Minute)
	orDuration(&c.UnauthorizedClients, 24*time.Hour)
	orDuration(&c.PublishAhead, 10*time.Minute)
	orDuration(&c.KeyLifetime, 30*24*time.Hour)
	if c.Durations == nil {
		c.Durations = []time.Duration{30 * 24 * time.Hour, 24 * time.Hour, 90 * 24 * time.Hour, 0}
	}
	if c.AccessTokenLifetime > time.Hour {
		return nil, errors.New("oauth: an access token lives for an hour at most: it cannot be narrowed once it is issued")
	}
	if c.PublishAhead < 2*keysFreshFor {
		return nil, errors.New("oauth: a key must be published for two minutes before it signs: edges look for new keys once a minute")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Client == nil {
		c.Client = connectionAddr
	}
	s := &Server{
		Config: c,
		keys: &keyring{
			store: c.Store, sealer: c.Sealer, now: c.Now, log: c.Log,
			ahead: c.PublishAhead, keep: c.AccessTokenLifetime + 5*time.Minute,
			rings: map[tenants.ID]*ring{},
		},
		documents: newDocuments(c.AllowLoopbackCIMD, c.Now),
		guard:     http.NewCrossOriginProtection(),
		register:  newLimiter(c.Registrations.or(defaultRegistrations), c.Now),
		fetch:     newLimiter(c.Fetches.or(defaultFetches), c.Now),
	}
	if c.AllowLoopbackCIMD {
		c.Log.Warn("client documents may be fetched from this machine: a setting for development, never for a platform that others reach")
	}
	var err error
	s.fosite, err = newFosite(s)
	return s, err
}

func orDuration(d *time.Duration, def time.Duration) {
	if *d == 0 {
		*d = def
	}
}

// An endpoint of the table below. Member is its name in the metadata.
type endpoint struct {
	method, path string
	member       string
	cors         bool // callable from any web page; never what a browser navigates to
	handle       echo.HandlerFunc
}

// endpoints lists everything that is mounted. The metadata is computed from
// it, so that the two cannot disagree.
func (s *Server) endpoints() []endpoint {
	return []endpoint{
		{http.MethodGet, "/.well-known/oauth-authorization-server", "", true, s.showMetadata},
		{http.MethodGet, "/.well-known/openid-configuration", "", true, s.showOpenIDMetadata},
		{http.MethodGet, "/.well-known/oauth-protected-resource", "", true, s.showTenantResource},
		{http.MethodGet, "/.well-known/oauth-protected-resource/mcp/:server", "", true, s.showResource},
		{http.MethodGet, "/.well-known/oauth-protected-resource/mcp/:server/", "", true, s.showResource},
		{http.MethodGet, "/.well-known/oauth-protected-resource/sse/:server", "", true, s.showSSEResource},
		{http.MethodGet, "/.well-known/oauth-protected-resource/sse/:server/", "", true, s.showSSEResource},
		{http.MethodGet, "/.well-known/oauth-protected-resource/api/v1", "", true, s.showAPIResource},
		{http.MethodGet, "/jwks", "jwks_uri", true, s.showKeys},

		{http.MethodPost, "/register", "registration_endpoint", true, s.registerClient},
		{http.MethodGet, "/register/:client", "", true, s.showRegistration},
		{http.MethodPut, "/register/:client", "", true, s.updateRegistration},
		{http.MethodDelete, "/register/:client", "", true, s.deleteRegistration},

		{http.MethodGet, "/authorize", "authorization_endpoint", false, s.authorize},
		{http.MethodPost, "/par", "pushed_authorization_request_endpoint", true, s.push},
		{http.MethodPost, "/consent", "", false, s.decide},

		{http.MethodPost, "/token", "token_endpoint", true, s.token},
		{http.MethodPost, "/revoke", "revocation_endpoint", true, s.revoke},
		{http.MethodPost, "/introspect", "introspection_endpoint", false, s.introspect},

		{http.MethodGet, "/connections", "", false, s.showConnections},
		{http.MethodPost, "/connections/revoke", "", false, s.revokeConnection},
	}
}

// Register mounts the endpoints below a tenant's base, which site.Resolve has
// cut off and put into the request's context.
func (s *Server) Register(e *echo.Echo) {
	preflight := map[string][]string{}
	for _, p := range s.endpoints() {
		handle := p.handle
		if p.cors {
			preflight[p.path] = append(preflight[p.path], p.method)
			handle = withCORS(handle)
		}
		e.Add(p.method, p.path, s.answered(handle))
	}
	for path, methods := range preflight {
		e.OPTIONS(path, answerPreflight(methods))
	}
}

// answered writes the error that a handler returns, as RFC 6749 section 5.2
// has it; handlers of pages show theirs themselves. It logs one line for each
// request that may change something.
func (s *Server) answered(h echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		noStore(c.Response().Header())
		outcome := "answered"
		if err := h(c); err != nil {
			outcome = s.writeError(c, err)
		}
		if r := c.Request(); r.Method != http.MethodGet {
			s.Log.InfoContext(r.Context(), "oauth", "tenant", site.From(r.Context()).ID, "path", c.Path(), "client", r.PostForm.Get("client_id"), "status", c.Response().Status, "outcome", outcome)
		}
		return nil
	}
}

func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
}

// Keys gives the tenant's published verification keys by id, from memory.
func (s *Server) Keys(ctx context.Context, t tenants.ID) (map[string]ed25519.PublicKey, error) {
	return s.keys.published(ctx, t)
}

// EnsureKeys makes the tenant's first signing key if there is none.
func (s *Server) EnsureKeys(ctx context.Context, t tenants.ID) error {
	return s.keys.ensure(ctx, t)
}

// RotateKeys publishes a new key, which signs after Config.PublishAhead, and
// removes keys whose last token has expired. While one waits for its turn
// there is nothing to rotate.
func (s *Server) RotateKeys(ctx context.Context, t tenants.ID) error {
	return s.keys.rotate(ctx, t, 0)
}

// RotateDueKeys rotates if the tenant's key has signed for Config.KeyLifetime.
// It is to be called now and then for each tenant, by any process.
func (s *Server) RotateDueKeys(ctx context.Context, t tenants.ID) error {
	return s.keys.rotate(ctx, t, s.KeyLifetime)
}

// Grants lists what a person has let in and is in force.
func (s *Server) Grants(ctx context.Context, t tenants.ID, user tenants.UserID) ([]Grant, error) {
	now := s.Now()
	return s.Store.Grants(ctx, t, user, now, now.Add(-s.RefreshTokenIdle))
}

// RevokeGrant ends a grant and all of its tokens, those in flight within a
// second. The reason is for the log and the audit.
func (s *Server) RevokeGrant(ctx context.Context, t tenants.ID, id, reason string) error {
	return s.Store.RevokeGrant(ctx, t, id, reason, s.Now())
}

// challengeWindow is how long a refusal for want of a scope is remembered.
const challengeWindow = 15 * time.Second

// NoteChallenge remembers that a call under the grant was just refused for
// want of a scope. The TypeScript SDK v1 then refreshes, and gives up when the
// scopes did not grow: its refresh within 15 s is refused once, so that it
// authorizes anew with the scopes that the challenge named.
func (s *Server) NoteChallenge(ctx context.Context, t tenants.ID, grant string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.Store.NoteChallenge(ctx, t, grant, s.Now()); err != nil {
		s.Log.WarnContext(ctx, "step-up challenge not noted", "tenant", t, "grant", grant, "error", err)
	}
}

// CollectClients removes registered clients that nobody let in for a day, and
// with them all else that has run out: requests, codes, tokens, grants. Used
// clients stay. It is to be called every few minutes, by any one process.
func (s *Server) CollectClients(ctx context.Context) (n Collected, err error) {
	defer fault.Wrap(&err, "oauth.CollectClients")
	now := s.Now()
	return s.Store.CollectOAuth(ctx, Deadlines{
		Now:          now,
		Unauthorized: now.Add(-s.UnauthorizedClients),
		Ended:        now.Add(-24 * time.Hour),     // replays are recognized until then
		Spent:        now.Add(-7 * 24 * time.Hour), // so are used refresh tokens
		Idle:         now.Add(-s.RefreshTokenIdle - 24*time.Hour),
	})
}

func connectionAddr(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr()
}
