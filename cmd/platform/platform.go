package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"latchkey/internal/accounts"
	"latchkey/internal/api"
	"latchkey/internal/approvals"
	"latchkey/internal/audit"
	"latchkey/internal/authn"
	"latchkey/internal/catalog"
	"latchkey/internal/console"
	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/idempotency"
	"latchkey/internal/limits"
	"latchkey/internal/mcpgateway"
	"latchkey/internal/oauth"
	"latchkey/internal/operations"
	"latchkey/internal/peers"
	"latchkey/internal/postgres"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/switches"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
	"latchkey/internal/upstreams"
	"latchkey/internal/vault"
)

// platform is one edge with everything it is wired to.
type platform struct {
	log      *slog.Logger
	sites    *site.Sites
	db       *postgres.DB
	cached   *postgres.Cached
	vault    *vault.Client
	signin   *signin.Service
	oauth    *oauth.Server
	audit    *audit.Writer
	edge     *natsrt.Edge
	conn     *nats.Conn
	tails    *audit.Tails
	keys     []vault.Key
	console  *console.Console
	api      *api.API
	server   *http.Server
	post     post
	work     *operations.Runner
	events   *events.Queue
	accounts *accounts.Service
	board    switches.Board
	gateway  *mcpgateway.Gateway
	toggles  toggles
	limits   *limits.Limiter
	peers    *peers.Directory
	// decisions wake calls that wait for an approval.
	decisions approvals.Waiters

	keeper      *upstreams.Keeper
	doubts      doubts
	healthCount atomic.Pointer[map[health.State]int] // nil: not counted yet
	catalog     *catalog.API

	tasksOpen atomic.Pointer[map[tasks.State]int] // nil: not counted yet
	usageUpto atomic.Int64                        // Unix seconds up to when calls were added up
	stateDir  string                              // of `platform dev`

	closers []func()
}

// parts are what differs between `serve` and `dev`.
type parts struct {
	cfg   config
	sites *site.Sites
	db    *postgres.DB
	vault *vault.Client
	conn  *nats.Conn
	sys   *nats.Conn // nil with an external NATS
	dev   bool       // allows client documents from loopback
	// mailbox is the folder for letters where no mail server is set; empty: none.
	mailbox string
	// stateDir is the folder of `platform dev`.
	stateDir string
}

// newPlatform wires an edge. Nothing is served yet.
func newPlatform(ctx context.Context, p parts, log *slog.Logger) (_ *platform, err error) {
	pl := &platform{log: log, sites: p.sites, db: p.db, vault: p.vault, conn: p.conn, stateDir: p.stateDir}
	defer func() {
		if err != nil {
			pl.close()
		}
	}()
	sealer := vault.NewSealer(p.vault)
	if pl.keys, err = grantKeys(ctx, p.db, sealer); err != nil {
		return nil, err
	}
	signer, err := vault.NewSigner(pl.keys...)
	if err != nil {
		return nil, err
	}
	if pl.post, err = openPost(p.cfg, p.mailbox); err != nil {
		return nil, err
	}
	pl.work = newRunner(p.db, p.vault, log)
	pl.cached = postgres.NewCached(p.db)
	pl.toggles.wake = make(chan struct{}, 1)
	pl.cached.OnChange = func(c postgres.Change) {
		pl.tellListeners(c)
		switch c.Topic {
		case "operation":
			pl.work.Wake()
		case "switch":
			pl.toggles.look()
		case "approval":
			pl.decisions.Wake(tenants.ID(c.Tenant), c.ID)
		case "server", "offer", "tenant":
			pl.keeper.Changed()
		case "probe":
			pl.keeper.Hint(tenants.ID(c.Tenant), registry.ServerID(c.ID))
		case "task":
			pl.gateway.TaskChanged(c.ID)
		case postgres.Reconnected:
			pl.gateway.TaskChanged("")
			pl.toggles.look()
			pl.decisions.WakeAll()
			pl.keeper.Changed()
		}
	}
	client := clientAddr(p.cfg.TrustedProxies)
	pl.signin = signin.New(signin.Config{Sites: p.sites, Tenants: pl.cached, Sessions: p.db, Invitations: p.db, Log: log, Client: client})
	pl.events = events.NewQueue(p.db, events.QueueOptions{Raised: countEvent, Dropped: eventsDropped.Inc, Log: log})
	pl.closers = append(pl.closers, pl.events.Close)
	pl.accounts = pl.newAccounts(p)
	pl.oauth, err = oauth.New(oauth.Config{
		Sites: p.sites, Tenants: pl.cached, Registry: pl.cached, Store: p.db, APIKeys: p.db, Sealer: sealer, SignIn: pl.signin,
		AllowLoopbackCIMD: p.dev, Client: client, Log: log, Accounts: pl.accounts.Mine,
	})
	if err != nil {
		return nil, err
	}
	pl.audit = audit.NewWriter(p.db, log)
	pl.closers = append(pl.closers, pl.audit.Close)
	pl.board = switches.Board{Store: p.db, Changed: pl.tellOfSwitch}
	pl.tails = audit.NewTails(p.db, log)
	pl.closers = append(pl.closers, pl.tails.Close)
	if err := pl.openLimits(ctx, p.cfg); err != nil {
		return nil, err
	}
	pl.edge, err = natsrt.NewEdge(natsrt.EdgeConfig{Conn: p.conn, Sys: p.sys, Opening: pl.opening, People: pl.db.UsersAmong, Log: log})
	if err != nil {
		return nil, err
	}
	pl.closers = append(pl.closers, func() { pl.edge.Close() })

	edge := peers.Edge{ID: tenants.RandomID("ed"), URL: p.cfg.PeerURL}
	pl.peers = peers.New(p.db, edge, log)
	tokens := authn.NewVerifier(pl.oauth, pl.cached, nil)
	envelope := idempotency.NewEnvelope(sealer, nil) // one for all that is kept: keys are shared
	pl.gateway = mcpgateway.New(mcpgateway.Config{
		Sites: p.sites, Verifier: tokens, Registry: pl.cached, People: pl.cached, Versions: pl.cached,
		Challenged: pl.oauth.NoteChallenge, Signer: signer, Dispatch: dispatcher{pl.edge}, Kinds: kinds.ByName,
		Edge: edge.ID, Peers: mcpgateway.NewForwarder(edge.ID, pl.peers), Grants: pl.cached, Tenants: pl.cached, Limits: pl.limits, Audit: pl.audit,
		Once: mcpgateway.Once{Store: p.db, Sealer: envelope}, Results: p.db, Sealer: envelope,
		Approvals: p.db, Decisions: &pl.decisions, Mail: pl.post.send,
		Accounts: pl.accounts, Switches: pl.cached, Health: pl.cached, Doubt: pl.doubt, OfferChanged: pl.doubt, Events: pl.events, AllowedOrigins: p.cfg.AllowedOrigins, Observe: observeCall(log), Log: log,
		Tasks: mcpgateway.Tasks{Store: p.db, Tenant: pl.cached.TenantBySlug, GrantActive: pl.cached.GrantActive, Observe: observeTask(log)},
	})
	pl.toggles.stop = pl.gateway.StopSwitchedOff
	pl.keeper = pl.newKeeper(pl.gateway)
	pl.closers = append(pl.closers, func() { // before the edge that has its calls, and the audit that records them
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		pl.gateway.Close(ctx)
	})
	if err := pl.openAPI(p, client, tokens, pl.gateway); err != nil {
		return nil, err
	}
	pl.server = &http.Server{
		Handler:           boundBodies(p.sites.Resolve(pl.cached, pl.tenantRoutes(pl.gateway), pl.otherRoutes())),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	pl.server.RegisterOnShutdown(pl.tails.Close) // else their readers keep it waiting
	pl.server.RegisterOnShutdown(pl.decisions.Close)
	pl.server.RegisterOnShutdown(pl.gateway.Drain)
	if err := prometheus.Register(gauges{pl}); err != nil {
		return nil, err
	}
	pl.closers = append(pl.closers, func() { prometheus.Unregister(gauges{pl}) })
	return pl, nil
}

// newRouter answers errors that handlers return with what may be said of them.
func (pl *platform) newRouter() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		if c.Response().Committed {
			return
		}
		var he *echo.HTTPError
		if errors.As(err, &he) {
			http.Error(c.Response(), http.StatusText(he.Code), he.Code)
			return
		}
		pl.log.ErrorContext(c.Request().Context(), "request failed", "path", c.Request().URL.Path, "error", err)
		f := fault.Of(err)
		status := http.StatusInternalServerError
		if f.Code.Category == fault.Downstream {
			status = http.StatusServiceUnavailable
		}
		http.Error(c.Response(), f.Message, status)
	}
	return e
}

// tenantRoutes are everything below a tenant's base URL.
func (pl *platform) tenantRoutes(gateway *mcpgateway.Gateway) http.Handler {
	e := pl.newRouter()
	pl.signin.Register(e)
	pl.oauth.Register(e)
	pl.accounts.Register(e)
	pl.console.Register(e)
	e.Any(api.Base+"/*", pl.api.Handler)
	e.GET("/", func(c echo.Context) error {
		return c.Redirect(http.StatusSeeOther, pl.sites.Base(site.From(c.Request().Context()).Slug)+"/connections")
	})
	mcp := func(c echo.Context) error {
		gateway.ServeMCP(c.Response().Writer, c.Request(), c.Param("server"))
		return nil
	}
	e.Any("/mcp/:server", mcp)
	e.Any("/mcp/:server/", mcp) // accepted, and never given out
	e.Any("/mcp/:server/health", func(c echo.Context) error {
		gateway.ServeHealth(c.Response().Writer, c.Request(), c.Param("server"))
		return nil
	})
	e.Any(catalog.Path+"/*", func(c echo.Context) error {
		pl.catalog.ServeHTTP(c.Response().Writer, c.Request())
		return nil
	})
	sse := func(c echo.Context) error {
		gateway.ServeSSE(c.Response().Writer, c.Request(), c.Param("server"))
		return nil
	}
	e.Any("/sse/:server", sse)
	e.Any("/sse/:server/", sse)
	return e
}

// boundBodies gives a request's body 30 s to arrive. http.Server's ReadTimeout
// is not used for it: it also ends calls that run for longer than that. The
// MCP endpoint lifts the bound when it has read its body.
func boundBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			// HTTP/2 streams have bounds of their own and may say no.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(30 * time.Second))
		}
		next.ServeHTTP(w, r)
	})
}

// otherRoutes are what belongs to no tenant.
func (pl *platform) otherRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := pl.db.Ping(ctx); err != nil {
			http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	e := pl.newRouter()
	pl.console.RegisterOperators(e)
	e.Any(api.Base+"/*", pl.api.Handler)
	mux.Handle("/", e)
	return mux
}

// run serves until ctx ends, then finishes what is under way.
func (pl *platform) run(ctx context.Context, ln net.Listener) error {
	listening, stopListening := context.WithCancel(context.WithoutCancel(ctx))
	var working sync.WaitGroup
	defer func() { stopListening(); working.Wait() }()
	working.Go(func() { pl.work.Run(listening) })
	working.Go(func() { pl.gateway.RunTasks(ctx) })
	go pl.cached.Run(listening)
	working.Go(func() { pl.peers.Run(ctx) }) // others stop passing on what this one no longer takes
	go pl.housekeeping(listening)
	go pl.addUpUsage(listening)
	go pl.watchSwitches(listening)
	working.Go(func() { pl.keepUpstreams(listening) })
	go pl.countHealth(listening)
	go pl.countTasks(listening)
	served := make(chan error, 1)
	go func() { served <- pl.server.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := pl.server.Shutdown(drain); err != nil {
		pl.server.Close()
	}
	return nil
}

// housekeeping is what an edge does now and then. Several edges may do it at
// once.
func (pl *platform) housekeeping(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := pl.db.AddAuditPartitions(ctx, time.Now()); err != nil && ctx.Err() == nil {
			pl.log.Error("audit partitions", "error", err)
		}
		if err := pl.rotateDueKeys(ctx); err != nil && ctx.Err() == nil {
			pl.log.Error("rotate signing keys", "error", err)
		}
		if _, err := pl.db.CollectAnswers(ctx, time.Now()); err != nil && ctx.Err() == nil {
			pl.log.Error("collect answers kept for repeats", "error", err)
		}
		if _, err := pl.db.CollectCalls(ctx, time.Now()); err != nil && ctx.Err() == nil {
			pl.log.Error("collect outcomes of calls kept for repeats", "error", err)
		}
		if _, err := pl.db.CollectEvents(ctx, time.Now().Add(-events.Life)); err != nil && ctx.Err() == nil {
			pl.log.Error("collect events", "error", err)
		}
		if _, err := pl.db.CollectResults(ctx, time.Now()); err != nil && ctx.Err() == nil {
			pl.log.Error("collect large results", "error", err)
		}
		if _, err := pl.db.CollectAgreements(ctx, time.Now()); err != nil && ctx.Err() == nil {
			pl.log.Error("collect confirmations and approvals", "error", err)
		}
		if _, err := pl.db.CollectTasks(ctx, time.Now()); err != nil && ctx.Err() == nil {
			pl.log.Error("collect tasks", "error", err)
		}
		if n, err := pl.oauth.CollectClients(ctx); err != nil && ctx.Err() == nil {
			pl.log.Error("collect clients", "error", err)
		} else if n.Clients > 0 {
			pl.log.Info("collected clients that were never authorized", "clients", n.Clients)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// rotateDueKeys publishes the next signing key of each tenant whose key has
// signed for a month: often enough to be known to work.
func (pl *platform) rotateDueKeys(ctx context.Context) error {
	all, err := pl.db.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if err := pl.oauth.RotateDueKeys(ctx, t.ID); err != nil {
			return err
		}
	}
	return nil
}

func (pl *platform) close() {
	for i := len(pl.closers) - 1; i >= 0; i-- {
		pl.closers[i]()
	}
}

// opening answers a worker that opens a server.
func (pl *platform) opening(ctx context.Context, t tenants.ID, s registry.ServerID, r registry.RevisionID) (runtime.Opening, error) {
	rev, err := pl.db.Revision(ctx, t, r)
	if fault.HasCode(err, fault.NotFound) { // of what is tried before it is saved
		trial, err := pl.db.Trial(ctx, t, r)
		if err == nil && trial.Server != s {
			err = fault.New(fault.NotFound, "The revision is not one of this server.")
		}
		return trial, err
	}
	if err != nil {
		return runtime.Opening{}, err
	}
	server, err := pl.db.Server(ctx, t, s)
	if err != nil {
		return runtime.Opening{}, err
	}
	if rev.Server != server.ID {
		return runtime.Opening{}, fault.New(fault.NotFound, "The revision is not one of this server.")
	}
	return mcpgateway.OpeningOf(server, rev), nil
}

// dispatcher fits the edge of natsrt to what the gateway asks for.
type dispatcher struct{ edge *natsrt.Edge }

func (d dispatcher) Dispatch(ctx context.Context, c *runtime.Call, o mcpgateway.DispatchOptions) (mcpgateway.DispatchOutcome, error) {
	out, err := d.edge.Do(ctx, c, natsrt.DoOptions{Pool: o.Pool, Retryable: o.Repeatable, Progress: o.Progress, Notify: o.Notify, Ask: o.Ask, Home: o.Home})
	// What the worker itself answered is not in doubt, unless it stumbled.
	sure := out.Answered && !fault.HasCode(err, fault.Unexpected)
	return mcpgateway.DispatchOutcome{Result: out.Result, Worker: out.Worker, Started: out.Started && !sure}, err
}

// grantKeys loads the keys that grants are signed with, newest first.
func grantKeys(ctx context.Context, db *postgres.DB, sealer *vault.Sealer) ([]vault.Key, error) {
	sealed, err := db.GrantKeys(ctx)
	if err != nil {
		return nil, err
	}
	if len(sealed) == 0 {
		return nil, errors.New("there is no key to sign grants with yet: run `platform vault setup`")
	}
	var keys []vault.Key
	for _, s := range sealed {
		k, err := vault.OpenKey(ctx, sealer, s)
		if err != nil {
			return nil, fmt.Errorf("open the key that signs grants: %w; Vault must be reachable and be the one that sealed it", err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// publicKeys in the form that a worker's LATCHKEY_GRANT_KEYS takes.
func publicKeys(keys []vault.Key) (list []ed25519.PublicKey, setting string) {
	var text []string
	for _, k := range keys {
		list = append(list, k.Public())
		text = append(text, base64.StdEncoding.EncodeToString(k.Public()))
	}
	return list, strings.Join(text, ",")
}

// clientAddr is where a request comes from. Behind a proxy that is the last
// entry of X-Forwarded-For: earlier ones are the caller's own words.
func clientAddr(proxied bool) func(*http.Request) netip.Addr {
	return func(r *http.Request) netip.Addr {
		if proxied {
			list := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
			if a, err := netip.ParseAddr(strings.TrimSpace(list[len(list)-1])); err == nil {
				return a.Unmap()
			}
		}
		ap, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return netip.Addr{}
		}
		return ap.Addr().Unmap()
	}
}
