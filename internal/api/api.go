package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// Config of New. What has a nil-able type is needed, but for Log and Now.
type Config struct {
	Sites   *site.Sites
	Tenants interface {
		TenantBySlug(ctx context.Context, slug string) (tenants.Tenant, error)
	}
	// Authenticate says who calls. fault.Unauthenticated: nobody that is known.
	Authenticate func(r *http.Request) (Principal, error)
	Changes      Changes
	Sealer       Sealer
	Audit        interface {
		Add(ctx context.Context, e audit.Event) error
	}
	Observe func(Observation) // may be nil
	Log     *slog.Logger
	Now     func() time.Time
	Rate    Rate

	// One struct for each area, declared where its operations are.
	People  People
	Apps    Apps
	Servers Servers
	Records Records
	Safety  Safety
	Limits  Limits
	// Accounts are at servers' upstreams.
	Accounts Accounts
	// The parts of Safety.
	Approvals Approvals
	Tasks     Tasks
}

// Changes keeps what a change needs besides itself.
type Changes interface {
	// Exclusive runs fn while no other change of the tenant runs, on any edge.
	Exclusive(ctx context.Context, t tenants.ID, fn func(ctx context.Context) error) error
	idempotency.Store
}

// Sealer encrypts what is kept to be given out once more.
type Sealer interface {
	Seal(ctx context.Context, context string, plaintext []byte) ([]byte, error)
	Open(ctx context.Context, context string, sealed []byte) ([]byte, error)
}

// Observation is an answered request, for metrics.
type Observation struct {
	Operation string
	Status    int
	Took      time.Duration
}

// Base is the path below which everything is.
const Base = "/api/v1"

// API answers the platform API. It is an http.Handler for paths below Base,
// at the platform's root and, with the tenant of the site in the context, below
// a tenant's base.
type API struct {
	Config
	document *document
	echo     *echo.Echo
	rates    *rates
	large    running // requests with large bodies
}

// New makes the server. It fails where the document and the code disagree.
func New(c Config) (*API, error) {
	if c.Sites == nil || c.Tenants == nil || c.Authenticate == nil || c.Changes == nil || c.Sealer == nil || c.Audit == nil {
		return nil, errors.New("api: Sites, Tenants, Authenticate, Changes, Sealer and Audit are needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observe == nil {
		c.Observe = func(Observation) {}
	}
	doc, err := loadDocument()
	if err != nil {
		return nil, err
	}
	a := &API{Config: c, document: doc, echo: echo.New(), rates: newRates(c.Rate, c.Now), large: running{all: maxLarge, each: maxLargeEach}}
	a.echo.HTTPErrorHandler = func(err error, c echo.Context) { a.writeProblem(c, err) }
	a.echo.GET(Base+"/openapi.json", a.showDocument)
	a.echo.GET(Base+"/openapi.yaml", a.showDocument)
	a.echo.GET(Base+"/docs", a.showReference)
	a.echo.GET(Base+"/docs/", a.showReference)
	a.echo.Use(a.answer)
	RegisterHandlersWithBaseURL(a.echo, NewStrictHandler(a, nil), Base)
	a.registerStreams(a.echo)
	mounted := map[string]bool{}
	for _, r := range a.echo.Routes() {
		mounted[r.Method+" "+r.Path] = true
	}
	for _, op := range doc.operations {
		if !mounted[op.method+" "+op.route] {
			return nil, fmt.Errorf("api: %s is in the document and not mounted", op.id)
		}
	}
	return a, nil
}

// ServeHTTP answers a path below Base.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawPath == "" { // one form for the router: escaped
		u := *r.URL
		u.RawPath = r.URL.EscapedPath()
		r = r.WithContext(r.Context())
		r.URL = &u
	}
	w.Header().Set("X-Request-Id", tenants.RandomID("rq"))
	a.echo.ServeHTTP(w, r)
}

// Handler fits the server to a route of echo's.
func (a *API) Handler(c echo.Context) error {
	a.ServeHTTP(c.Response(), c.Request())
	return nil
}

var errNoRoute = fault.New(fault.NotFound, "There is no such path here. The reference is at %s/docs.", Base)

func ptr[T any](v T) *T { return &v }

// optional is nil for a zero value: what is not there is left out.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// optionalTime is nil for the zero time.
func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// deref is the value, or the zero one.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func lower(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
