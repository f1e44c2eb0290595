package oauth

import (
	"context"
	"crypto/sha256"
	"time"

	"latchkey/internal/callers"
	"latchkey/internal/tenants"
)

// Hash is the SHA-256 of a secret of 256 random bits (a code, a token, a
// ticket, a client's secret), which is all that is stored of it.
type Hash [sha256.Size]byte

func hashOf(s string) Hash { return sha256.Sum256([]byte(s)) }

// ClientKind tells how a client became known.
type ClientKind string

const (
	Registered ClientKind = "registered" // by RFC 7591
	Document   ClientKind = "document"   // by a document at its client_id (CIMD)
	Console    ClientKind = "console"    // built in: ConsoleClient
)

// Client is an app of one tenant's people.
type Client struct {
	ID           string
	Kind         ClientKind
	Name         string // its own word, not verified
	URI          string // its own word, not verified
	AuthMethod   string // as in token_endpoint_auth_method
	Secret       *Hash  // nil: a public client
	Registration *Hash  // of the token that manages the registration; nil: none
	RedirectURIs []string
	GrantTypes   []string
	Scope        string // what it registered for; a hint, not a bound
	CreatedAt    time.Time
	AuthorizedAt time.Time // when a person first let it in; zero: never
}

// Pushed is an authorization request that a client sent ahead (RFC 9126).
type Pushed struct {
	Handle     Hash
	Client     string
	Parameters string // form encoding
	ExpiresAt  time.Time
}

// Shown is an authorization request whose consent page was shown. Its ticket
// is good for one answer from the same browser session.
type Shown struct {
	Ticket     Hash
	Client     string
	Parameters string // form encoding
	Session    string
	User       tenants.UserID
	Scopes     []string // that the page listed: an answer cannot hold more
	Pushed     *Hash    // the pushed request it came from, used up by the answer
	ExpiresAt  time.Time
}

// ConsentKey is what a consent is remembered for, with its scopes.
type ConsentKey struct {
	User         tenants.UserID
	Client       string
	RedirectHost string
	Server       tenants.ServerID // empty: the platform API, which only the console asks for
}

// Consent is what a person agreed to for one key.
type Consent struct {
	ConsentKey
	Scopes    []string
	GivenAt   time.Time
	ExpiresAt time.Time // zero: until it is revoked
}

// Live reports whether the consent still stands.
func (c Consent) Live(now time.Time) bool { return c.ExpiresAt.IsZero() || now.Before(c.ExpiresAt) }

// Grant is one consent in force: what the tokens that come from it may do.
type Grant struct {
	ID string // `gr` and 90 random bits; `gid` in tokens
	ConsentKey
	Scopes        []string
	CreatedAt     time.Time
	ExpiresAt     time.Time // no token outlives it; zero: until it is revoked
	UsedAt        time.Time // when tokens were last issued; zero: never
	RevokedAt     time.Time // zero: in force
	RevokedReason string
	ChallengedAt  time.Time // see Server.NoteChallenge

	// Read along with the grant.
	ClientName  string
	UserEmail   string
	ServerSlug  string
	ServerTitle string
}

// forConsole reports whether the grant is for the platform API and not for a
// server.
func (g Grant) forConsole() bool { return g.Client == ConsoleClient && g.Server == "" }

// Live reports whether tokens may be issued from the grant.
func (g Grant) Live(now time.Time) bool {
	return g.RevokedAt.IsZero() && (g.ExpiresAt.IsZero() || now.Before(g.ExpiresAt))
}

// Code is an authorization code.
type Code struct {
	Hash        Hash
	Grant       string
	RedirectURI string
	Challenge   string // code_challenge, S256
	ExpiresAt   time.Time
	UsedAt      time.Time // zero: not used
}

// RefreshToken is one link of a grant's chain.
type RefreshToken struct {
	Hash      Hash
	Grant     string
	ExpiresAt time.Time
	UsedAt    time.Time // zero: not used
	Successor []byte    // sealed, once used
}

// Issue is what an approved request leads to.
type Issue struct {
	Grant   Grant
	Code    Code
	Consent *Consent // to be remembered from now on; nil: what is remembered stays
	Ticket  *Hash    // of the page that was answered; nil: none was shown
}

// Turn is what is to be written after a code or refresh token was looked at
// under lock. The zero Turn writes nothing.
type Turn struct {
	Use            time.Time     // mark what was looked at as used at this time
	Successor      []byte        // with Use, for a refresh token
	Next           *RefreshToken // a new link of the chain
	Revoke         string        // end the grant, for this reason
	At             time.Time     // when; with Revoke
	ClearChallenge bool
}

// Key is a tenant's signing key.
type Key struct {
	ID        string
	Public    []byte // Ed25519
	Sealed    []byte // the private half, sealed
	CreatedAt time.Time
	SignsFrom time.Time // signs from then until the next one does
}

// ClientFilter of ListClients. The zero one is all.
type ClientFilter struct {
	Search     string // part of the name or of the id
	Authorized *bool  // somebody let it in, or nobody did
}

// ListedClient is a client with what became of it.
type ListedClient struct {
	Client
	Grants     int       // in force
	LastUsedAt time.Time // when tokens were last issued to it; zero: never
}

// GrantStatus is what became of a grant.
type GrantStatus string

const (
	GrantActive  GrantStatus = "active"
	GrantExpired GrantStatus = "expired"
	GrantRevoked GrantStatus = "revoked"
)

// Status of the grant at a time.
func (g Grant) Status(now time.Time) GrantStatus {
	switch {
	case !g.RevokedAt.IsZero():
		return GrantRevoked
	case !g.Live(now):
		return GrantExpired
	}
	return GrantActive
}

// GrantFilter of ListGrants. The zero one is all.
type GrantFilter struct {
	Member string // address or id
	Client string
	Server string // slug
	Status GrantStatus
}

// ClientUse counts what hangs on a client.
type ClientUse struct {
	Grants   int // in force
	People   int // who gave them
	Consents int // that are remembered
}

// Collected counts what a collection removed.
type Collected struct{ Clients, Requests, Consents, Grants, Codes, RefreshTokens int64 }

// Deadlines of a collection: what is older goes.
type Deadlines struct {
	Now          time.Time
	Unauthorized time.Time // clients that nobody ever let in, by creation
	Ended        time.Time // grants that expired or were revoked, deleted clients, codes that expired
	Spent        time.Time // refresh tokens that were used
	Idle         time.Time // grants that were last used before
}

// Store keeps the authorization server's records, each inside its tenant.
// Unknown things are fault.NotFound.
type Store interface {
	OAuthClient(ctx context.Context, t tenants.ID, id string) (Client, error)
	CreateOAuthClient(ctx context.Context, t tenants.ID, c Client) error
	// UpdateOAuthClient replaces what a client says of itself.
	UpdateOAuthClient(ctx context.Context, t tenants.ID, c Client) error
	// PutOAuthClient creates or updates a client that did not register: one of
	// kind Document, or the Console.
	PutOAuthClient(ctx context.Context, t tenants.ID, c Client) error
	// DeleteOAuthClient also revokes the client's grants.
	DeleteOAuthClient(ctx context.Context, t tenants.ID, id string, at time.Time) error

	PushRequest(ctx context.Context, t tenants.ID, p Pushed) error
	PushedRequest(ctx context.Context, t tenants.ID, handle Hash) (Pushed, error)
	ShowRequest(ctx context.Context, t tenants.ID, s Shown) error
	// ShownRequest reads without using up; TakeShownRequest can succeed once,
	// and takes the pushed request along.
	ShownRequest(ctx context.Context, t tenants.ID, ticket Hash) (Shown, error)
	TakeShownRequest(ctx context.Context, t tenants.ID, ticket Hash) error

	Consent(ctx context.Context, t tenants.ID, k ConsentKey) (Consent, error)
	// Issue stores all of it or nothing. fault.NotFound means that the ticket
	// was taken by somebody else.
	Issue(ctx context.Context, t tenants.ID, i Issue) error

	// WithCode and WithRefreshToken find what a hash stands for, lock it and
	// its grant, let decide look at both, and write what it returns, all in one
	// transaction. decide must not use the store.
	WithCode(ctx context.Context, t tenants.ID, h Hash, decide func(Code, Grant) Turn) error
	WithRefreshToken(ctx context.Context, t tenants.ID, h Hash, decide func(RefreshToken, Grant) Turn) error

	Grant(ctx context.Context, t tenants.ID, id string) (Grant, error)
	// GrantOfRefreshToken reads without lock.
	GrantOfRefreshToken(ctx context.Context, t tenants.ID, h Hash) (RefreshToken, Grant, error)
	// Grants lists a person's grants that are in force now and were used since,
	// newest first.
	Grants(ctx context.Context, t tenants.ID, user tenants.UserID, now, since time.Time) ([]Grant, error)
	// RevokeGrant is done for a revoked grant already. It forgets the consent.
	RevokeGrant(ctx context.Context, t tenants.ID, id, reason string, at time.Time) error
	// NoteChallenge marks a grant; an unknown one is no error.
	NoteChallenge(ctx context.Context, t tenants.ID, grant string, at time.Time) error

	// ListClients and ListGrants are for administrators: pages of all that there
	// is, the newest first, those after the given one. A deleted client is not
	// listed; its grants are, as revoked. ListedClient has one of the clients.
	ListClients(ctx context.Context, t tenants.ID, f ClientFilter, after callers.Position, limit int, now time.Time) ([]ListedClient, error)
	ListedClient(ctx context.Context, t tenants.ID, id string, now time.Time) (ListedClient, error)
	ListGrants(ctx context.Context, t tenants.ID, f GrantFilter, after callers.Position, limit int, now time.Time) ([]Grant, error)
	// ClientUse counts what deleting a client takes along.
	ClientUse(ctx context.Context, t tenants.ID, id string, now time.Time) (ClientUse, error)

	SigningKeys(ctx context.Context, t tenants.ID) ([]Key, error)
	// AddSigningKey stores k if admit, given the keys there are, says so. Calls
	// for one tenant wait for each other.
	AddSigningKey(ctx context.Context, t tenants.ID, k Key, admit func([]Key) bool) error
	// DeleteSigningKeys removes keys by id.
	DeleteSigningKeys(ctx context.Context, t tenants.ID, kids []string) error

	CollectOAuth(ctx context.Context, d Deadlines) (Collected, error)
}
