// Package accounts connects an account at an upstream, the tenant's one or each
// person's own: it is the OAuth client (MCP Authorization, OAuth 2.1) through
// which somebody lets the platform act for them there, and renews what it got.
//
// It owns how an upstream's authorization server is found, how the platform is
// known there, the way of an authorization through a browser, and the life of
// tokens. Refresh tokens and client secrets are in Vault, where no call's grant
// opens them; access tokens are where workers trade a grant for them, and
// nowhere else. It leaves calls to the gateway, which asks Ready before each.
package accounts

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"latchkey/internal/consent"
	"latchkey/internal/egress"
	"latchkey/internal/events"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// State of an account.
type State string

const (
	Connected State = "connected"
	// Expired: the upstream does not renew it any more. Somebody has to connect
	// it again.
	Expired State = "expired"
)

// Account is a connected account. It holds no token.
type Account struct {
	Server registry.ServerID
	User   tenants.UserID // empty: the tenant's
	State  State
	Issuer string
	Scopes []string
	// ExpiresAt is when the access token ends; zero: it does not say.
	ExpiresAt time.Time
	// Renewable: there is a refresh token.
	Renewable   bool
	ConnectedBy tenants.UserID
	ConnectedAt time.Time
	RenewedAt   time.Time
	// Failure is why it has expired, for people.
	Failure string
	// Version counts what was written: who renews an account holds it to what
	// they read.
	Version int
}

// Client is how the platform is known at an authorization server, for one
// server of a tenant.
type Client struct {
	Server registry.ServerID
	ID     string
	How    How
	// AuthMethod is none, client_secret_basic or client_secret_post.
	AuthMethod string
	Issuer     string
	Resource   string // what tokens are asked for (RFC 8707)
	Authorize  string // its endpoints
	Token      string
	Revoke     string // empty: it has none
	// SaysIssuer: answers of the authorization endpoint must name it (RFC 9207).
	SaysIssuer bool
	Scopes     []string // what to ask for
	FoundAt    time.Time
}

// How a client came to be known.
type How string

const (
	Given      How = "given"      // by an administrator, in the connection
	Document   How = "document"   // by the URL of its metadata (CIMD)
	Registered How = "registered" // by dynamic registration (RFC 7591)
)

// Flow is an authorization on its way through a browser.
type Flow struct {
	State    Hash
	Server   registry.ServerID
	User     tenants.UserID // whose account; empty: the tenant's
	By       tenants.UserID // who is at the browser
	Verifier secret.Text    // PKCE (RFC 7636)
	ReturnTo string         // a path of the tenant's, or empty
	Expires  time.Time
}

// Hash is SHA-256 of what went through the browser.
type Hash [32]byte

// Store keeps it, inside a tenant. Unknown things are fault.NotFound.
type Store interface {
	UpstreamAccount(ctx context.Context, t tenants.ID, s registry.ServerID, u tenants.UserID) (Account, error)
	// UpstreamAccounts lists those of a server, the tenant's first, then by person.
	UpstreamAccounts(ctx context.Context, t tenants.ID, s registry.ServerID) ([]Account, error)
	// UpstreamAccountsOf lists those of a person.
	UpstreamAccountsOf(ctx context.Context, t tenants.ID, u tenants.UserID) ([]Account, error)
	// PutUpstreamAccount creates or replaces one and gives it the next version.
	// Its Version must be that of what is stored, 0 of what is not, or nothing is
	// changed: fault.Stale.
	PutUpstreamAccount(ctx context.Context, t tenants.ID, a Account) (Account, error)
	DeleteUpstreamAccount(ctx context.Context, t tenants.ID, s registry.ServerID, u tenants.UserID) error
	// ClaimRenewal lets one edge renew an account until then, and nobody else. It
	// is over with the next PutUpstreamAccount.
	ClaimRenewal(ctx context.Context, t tenants.ID, a Account, now, until time.Time) (bool, error)

	UpstreamClient(ctx context.Context, t tenants.ID, s registry.ServerID) (Client, error)
	PutUpstreamClient(ctx context.Context, t tenants.ID, c Client) error

	// BeginUpstreamFlow also removes flows that have ended. A person has
	// MaxFlows at a time at most: the oldest goes.
	BeginUpstreamFlow(ctx context.Context, t tenants.ID, f Flow, now time.Time) error
	// TakeUpstreamFlow gives a flow once.
	TakeUpstreamFlow(ctx context.Context, t tenants.ID, state Hash) (Flow, error)
}

// MaxFlows is how many authorizations one person may have on their way.
const MaxFlows = 20

// Vault is where tokens go.
type Vault interface {
	PutAccount(ctx context.Context, t tenants.ID, s tenants.ServerID, of string, fields map[string]secret.Text) error
	Account(ctx context.Context, t tenants.ID, s tenants.ServerID, of string) (map[string]secret.Text, error)
	PutUserSecrets(ctx context.Context, t tenants.ID, s tenants.ServerID, u tenants.UserID, fields map[string]secret.Text) error
	DeleteUserSecrets(ctx context.Context, t tenants.ID, s tenants.ServerID, u tenants.UserID) error
	PutSharedToken(ctx context.Context, t tenants.ID, s tenants.ServerID, fields map[string]secret.Text) error
}

// Config is what a Service is made of.
type Config struct {
	Store Store
	Vault Vault
	Sites *site.Sites
	// Of says which account a server's calls run with.
	Of     func(s *registry.Server) (registry.Account, bool)
	Server func(ctx context.Context, t tenants.ID, slug string) (registry.Server, error)
	// Hosted lists what clients may see.
	Hosted func(ctx context.Context, t tenants.ID) ([]registry.Hosted, error)
	SignIn interface {
		Current(r *http.Request) (signin.Session, bool, error)
		LoginURL(t tenants.Tenant, returnTo string) string
	}
	// Opens reports whether a person's roles open anything of a server.
	Opens func(ctx context.Context, t tenants.ID, u tenants.UserID, s registry.ServerID) (bool, error)
	// Egress says where authorization servers may be.
	Egress *egress.Policy
	Events events.Raiser
	// OnConnected is told of each account that is connected, of the tenant where
	// user is empty. It does not wait.
	OnConnected func(t tenants.ID, s registry.ServerID, user tenants.UserID)
	Now         func() time.Time
	Log         *slog.Logger
}

// Service connects accounts. It is safe for concurrent use.
type Service struct {
	Config
	http *http.Client

	mu    sync.Mutex
	fresh map[key]time.Time // until when an account is known to be good
}

type key struct {
	tenant tenants.ID
	server registry.ServerID
	user   tenants.UserID
}

// New makes a Service.
func New(c Config) *Service {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Events == nil {
		c.Events = events.Discard{}
	}
	return &Service{Config: c, http: client(c.Egress), fresh: map[key]time.Time{}}
}

// Mine lists, for a person, the accounts of their own that servers work with which
// their roles open.
func (s *Service) Mine(ctx context.Context, t tenants.Tenant, u tenants.UserID) (mine []consent.Account, err error) {
	hosted, err := s.Hosted(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	var have map[registry.ServerID]Account
	for i := range hosted {
		server := &hosted[i].Server
		if need, ok := s.Of(server); !ok || !need.PerUser {
			continue
		}
		if opens, err := s.Opens(ctx, t.ID, u, server.ID); err != nil || !opens {
			if err != nil {
				return nil, err
			}
			continue
		}
		if have == nil {
			all, err := s.Store.UpstreamAccountsOf(ctx, t.ID, u)
			if err != nil {
				return nil, err
			}
			have = map[registry.ServerID]Account{}
			for _, a := range all {
				have[a.Server] = a
			}
		}
		state := "not connected"
		switch have[server.ID].State {
		case Connected:
			state = "connected"
		case Expired:
			state = "has to be connected again"
		}
		mine = append(mine, consent.Account{Server: titleOf(server), URL: s.ConnectURL(t, server), State: state})
	}
	return mine, nil
}
