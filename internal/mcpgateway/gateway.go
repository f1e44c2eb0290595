// Package mcpgateway serves tenants' servers over MCP and takes a call from
// its HTTP request to its recorded answer. call.go is the table of contents;
// each step has a file.
//
// It decides whether a call may run. It leaves tokens to authn, execution to
// runtime, and records to audit. Everything that it refuses, it refuses on the
// typed call: what the HTTP layer sees of a body only chooses a transport.
package mcpgateway

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/approvals"
	"latchkey/internal/audit"
	"latchkey/internal/authn"
	"latchkey/internal/events"
	"latchkey/internal/guard"
	"latchkey/internal/limits"
	"latchkey/internal/mail"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// Config is what a gateway is made of.
type Config struct {
	Sites    *site.Sites
	Verifier interface {
		Verify(ctx context.Context, t tenants.ID, issuer, audience, token string) (authn.Principal, error)
	}
	Registry interface {
		Hosted(ctx context.Context, t tenants.ID, slug string) (registry.Hosted, error)
	}
	People interface {
		Access(ctx context.Context, t tenants.ID, u tenants.UserID) (tenants.Access, error)
	}
	// Challenged hears that a call of this grant was refused for want of a
	// scope, so that the authorization server can make clients that only
	// refresh ask again.
	Challenged func(ctx context.Context, t tenants.ID, grant string)
	Signer     interface {
		Sign(g vault.Grant) (secret.Text, error)
	}
	Dispatch Dispatcher
	// Kinds finds a kind of server: what its calls may need on their way. Nil:
	// they need nothing.
	Kinds func(name string) (runtime.Kind, bool)
	// Edge names this edge among its Peers, in letters and digits; empty: by
	// chance. Without Peers, what lives in another edge is lost to callers.
	Edge  string
	Peers Peers
	// Grants says whether the access that a person gave stands; nil: who listens
	// may do so until their token ends.
	Grants interface {
		GrantActive(ctx context.Context, t tenants.ID, grant string) (bool, error)
	}
	// Tenants says whether a tenant is suspended; nil: none is.
	Tenants site.Directory
	// OfferChanged hears that an upstream said that what it offers has changed. It
	// must not wait.
	OfferChanged func(t tenants.ID, s registry.ServerID)
	// KeepAlive is how long a stream may be silent; 0: 20 s.
	KeepAlive time.Duration
	// Limits counts calls; without it, the gateway counts by itself and by the
	// default limits.
	Limits interface {
		Spend(ctx context.Context, c limits.Call) (limits.Spent, error)
	}
	Audit interface {
		Add(ctx context.Context, e audit.Event) error
	}
	// Approvals keep what a call has to wait for.
	Approvals ApprovalStore
	// Decisions wake calls that wait for one; nil: they look when they give up.
	Decisions *approvals.Waiters
	// Mail takes letters to who may approve; nil where none are sent.
	Mail interface {
		Send(ctx context.Context, m mail.Message) error
	}
	// Accounts say whether a call has an account to run with at its upstream; nil:
	// none needs one.
	Accounts Accounts
	// Switches say what is switched off; nil: nothing is.
	Switches Switches
	// Health says which servers do not answer; nil: all do.
	Health Health
	// Doubt hears of servers whose call failed for want of their upstream, so that
	// somebody looks at once. It must not wait; nil: nobody does.
	Doubt func(t tenants.ID, s registry.ServerID)
	// Events takes what somebody should look at; nil: nobody.
	Events events.Raiser
	// Results keeps what is too large to give at once, sealed by Sealer. Without
	// both it is only cut.
	Results guard.Results
	Sealer  interface {
		Seal(ctx context.Context, t tenants.ID, place string, plaintext []byte) ([]byte, error)
		Open(ctx context.Context, t tenants.ID, place string, sealed []byte) ([]byte, error)
	}
	// AllowedOrigins are browser origins that may call besides the tenant's own
	// and loopback ones; "*" allows all.
	AllowedOrigins []string
	Once           Once
	// Tasks is what calls that outlive their request are made of.
	Tasks Tasks
	// Observe hears of every call once, when its record is made.
	Observe func(Observation)
	// Versions remembers what sessions listed; nil: nothing is, and every call
	// gets the active revision.
	Versions Versions
	Now      func() time.Time // nil: the clock; of days, such as sunsets
	Log      *slog.Logger
}

// ApprovalStore is what the gateway asks of approvals.Store.
type ApprovalStore interface {
	CreateConfirmation(ctx context.Context, t tenants.ID, c approvals.Confirmation) error
	UseConfirmation(ctx context.Context, t tenants.ID, token approvals.Hash, s approvals.Subject, grant string, u approvals.Use) (approvals.Confirmation, error)
	DropConfirmation(ctx context.Context, t tenants.ID, token approvals.Hash, by tenants.UserID) error
	AskApproval(ctx context.Context, t tenants.ID, a approvals.Approval, u approvals.Use) (approvals.Approval, approvals.Outcome, error)
	Approval(ctx context.Context, t tenants.ID, id string) (approvals.Approval, error)
	ApproversToTell(ctx context.Context, t tenants.ID, a approvals.Approval, at time.Time) ([]tenants.User, error)
}

// Observation is a call as it was recorded.
type Observation struct{ Event audit.Event }

// Dispatcher runs a call on a worker. It is declared here, by its user, so
// that the gateway does not depend on a transport.
type Dispatcher interface {
	Dispatch(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error)
}

// DispatchOptions say where a call runs.
type DispatchOptions struct {
	Pool       string
	Repeatable bool // read-only or idempotent: it may run again when its worker is lost
	Progress   func(done, total float64, message string)
	// Notify and Ask are how the upstream reaches the caller while the call runs;
	// nil where nobody is there.
	Notify func(n runtime.Notification)
	Ask    func(ctx context.Context, q runtime.Question) (json.RawMessage, error)
	// Home keeps calls together: those with the same one go to the same worker
	// while it lives. Empty: any.
	Home string
}

// DispatchOutcome is what is known of a call, also when it failed.
type DispatchOutcome struct {
	Result *runtime.Result
	Worker string
	// Started: with an error, the call may have had effects.
	Started bool
}

// Gateway serves MCP. It is safe for concurrent use.
type Gateway struct {
	cfg     Config
	servers *servers
	// listings are what grants listed.
	listings  *listings
	flights   flights
	running   running
	letters   *letters
	sessions  *sessions
	streams   counts // open streams, by person
	listeners listeners
	upstreams upstreams
	parking   *parking
	kinds     struct {
		sync.RWMutex
		of map[string]traits
	}
	typed     typed
	processes *processes
	tasks     *taskRunner // nil: there are none
	polls     *limits.Limiter
	// A modern request is stateless; whether it may be answered by plain JSON
	// is decided for each. A legacy session lives in the stateful handler.
	stateless, streaming, stateful http.Handler
}

// New makes a gateway.
func New(cfg Config) *Gateway {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Challenged == nil {
		cfg.Challenged = func(context.Context, tenants.ID, string) {}
	}
	if cfg.Events == nil {
		cfg.Events = events.Discard{}
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Observation) {}
	}
	if cfg.Limits == nil {
		cfg.Limits = limits.New(limits.Config{Store: limits.NewMemory()})
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Switches == nil {
		cfg.Switches = nothingOff{}
	}
	if cfg.Kinds == nil {
		cfg.Kinds = func(string) (runtime.Kind, bool) { return runtime.Kind{}, false }
	}
	if cfg.Edge == "" {
		cfg.Edge = strings.ToLower(rand.Text())
	}
	if cfg.Peers == nil {
		cfg.Peers = alone{}
	}
	if cfg.Health == nil {
		cfg.Health = allHealthy{}
	}
	if cfg.Doubt == nil {
		cfg.Doubt = func(tenants.ID, registry.ServerID) {}
	}
	if cfg.OfferChanged == nil {
		cfg.OfferChanged = func(tenants.ID, registry.ServerID) {}
	}
	if cfg.KeepAlive <= 0 {
		cfg.KeepAlive = defaultKeepAlive
	}
	if cfg.Decisions == nil {
		cfg.Decisions = &approvals.Waiters{}
	}
	g := &Gateway{
		cfg: cfg, listings: &listings{store: cfg.Versions, log: cfg.Log, pending: map[listedKey]registry.RevisionID{}},
		running:  running{calls: map[*call]context.CancelCauseFunc{}},
		sessions: newSessions(), streams: counts{max: maxStreams}, listeners: listeners{all: map[tenants.ID]map[*listener]bool{}},
	}
	g.upstreams = upstreams{g: g, all: map[upstreamKey]*upstream{}, of: map[*listener]upstreamKey{}}
	g.letters = newLetters(&g.cfg)
	g.processes = newProcesses()
	g.kinds.of = map[string]traits{}
	g.parking = newParking(cfg.Edge)
	g.typed.gateway = g
	g.tasks, g.polls = newTaskRunner(g), limits.New(limits.Config{Store: limits.NewMemory(), Settings: pollLimits{}})
	g.servers = newServers(g)
	pick := func(r *http.Request) *mcp.Server {
		if ex := exchangeOf(auth.TokenInfoFromContext(r.Context())); ex != nil {
			return g.servers.get(ex.hosted)
		}
		return nil
	}
	handler := func(o mcp.StreamableHTTPOptions) http.Handler {
		o.DisableLocalhostProtection = true // site checks Host, edge.go checks Origin
		o.MaxRequestBodyBytes = maxBody
		o.PropagateRequestCancellation = true
		return mcp.NewStreamableHTTPHandler(pick, &o)
	}
	g.stateless = handler(mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true})
	g.streaming = handler(mcp.StreamableHTTPOptions{Stateless: true})
	events := newReplay()
	events.opened, events.closed = g.opened, g.sessions.forget
	g.stateful = handler(mcp.StreamableHTTPOptions{EventStore: events})
	return g
}

// Close ends the calls that wait here for an answer of their clients, and puts
// on record what is counted, until ctx is done. No request may come any more.
func (g *Gateway) Close(ctx context.Context) {
	g.parking.shut(ctx)
	g.typed.flush()
}

// traits are what the gateway has to know of a kind of server.
type traits struct {
	asks     bool // its upstream may put questions to the caller
	stateful bool // its calls belong together on one worker
}

func (g *Gateway) traits(kind string) traits {
	g.kinds.RLock()
	t, known := g.kinds.of[kind]
	g.kinds.RUnlock()
	if known {
		return t
	}
	k, _ := g.cfg.Kinds(kind)
	t = traits{asks: k.Asks || k.Define != nil || k.Compose != nil, stateful: k.Stateful}
	g.kinds.Lock()
	defer g.kinds.Unlock()
	g.kinds.of[kind] = t
	return t
}
