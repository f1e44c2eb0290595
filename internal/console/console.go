// Package console serves the admin console and signs people in to it: tenants'
// people at {base}/admin/, who runs the platform at /ops/.
//
// It is the console's backend for the browser. To a tenant's authorization
// server it is a client like others; the browser gets a cookie and never a
// token. Operators sign in here themselves.
//
// It leaves to web/admin what the console looks like, to oauth who may have a
// grant, to api what a session may do, and to signin how a password is checked.
package console

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/authn"
	"latchkey/internal/callers"
	"latchkey/internal/consent"
	"latchkey/internal/fault"
	"latchkey/internal/pages"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// Config of New. All but the last three are needed.
type Config struct {
	Sites     *site.Sites
	Files     fs.FS // what was built of web/admin; without index.html there is a help page
	Sessions  callers.Sessions
	Operators callers.Operators
	// Grants ends the grant that a session stands on.
	Grants interface {
		RevokeGrant(ctx context.Context, t tenants.ID, id, reason string) error
	}
	Tokens interface {
		VerifyCaller(ctx context.Context, t tenants.ID, issuer, audience, token string) (authn.Principal, error)
	}
	SignIn interface {
		SignOut(w http.ResponseWriter, r *http.Request) error
	}
	Passwords *signin.Gate
	// Transport reaches the tenants' token endpoints; see InProcess.
	Transport http.RoundTripper

	// Client is the address a request comes from. nil: unknown.
	Client func(*http.Request) netip.Addr
	Log    *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: time.Now
}

// Console serves all tenants and the operators.
type Console struct {
	Config
	bundle *bundle
	guard  *http.CrossOriginProtection
	http   *http.Client
}

//go:embed ops.html message.html
var files embed.FS

var (
	opsView     = pages.Parse(files, "ops.html")
	messageView = pages.Parse(files, "message.html")
)

// New makes the console.
func New(c Config) (*Console, error) {
	if c.Sites == nil || c.Files == nil || c.Sessions == nil || c.Operators == nil || c.Grants == nil || c.Tokens == nil || c.SignIn == nil || c.Passwords == nil || c.Transport == nil {
		return nil, errors.New("console: all of Config but Client, Log and Now is needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Client == nil {
		c.Client = func(*http.Request) netip.Addr { return netip.Addr{} }
	}
	b, err := loadBundle(c.Files)
	if err != nil {
		return nil, err
	}
	return &Console{
		Config: c, bundle: b, guard: http.NewCrossOriginProtection(),
		http: &http.Client{Transport: c.Transport, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// Built reports whether there is a console to serve.
func (s *Console) Built() bool { return s.bundle.index != "" }

var reading = []string{http.MethodGet, http.MethodHead}

// Register mounts the console below a tenant's base, which site.Resolve has
// cut off and put into the request's context.
func (s *Console) Register(e *echo.Echo) {
	e.GET("/admin/sign-in", s.signIn)
	e.GET("/admin/callback", s.callback)
	e.POST("/admin/sign-out", s.signOut)
	e.Match(reading, "/admin", func(c echo.Context) error { return s.toSlash(c, s.tenantBoot(c).Console) })
	e.Match(reading, "/admin/*", func(c echo.Context) error { return s.serve(c, s.tenantBoot(c)) })
}

// RegisterOperators mounts the operators' part at the platform's root.
func (s *Console) RegisterOperators(e *echo.Echo) {
	e.GET("/ops/login", s.showOpsLogin)
	e.POST("/ops/login", s.opsLogin)
	e.GET("/ops/sign-in", s.opsSignIn)
	e.POST("/ops/sign-out", s.opsSignOut)
	e.POST("/ops/token", s.opsToken)
	e.Match(reading, "/ops", func(c echo.Context) error { return s.toSlash(c, s.opsBoot().Console) })
	e.Match(reading, "/ops/*", func(c echo.Context) error { return s.serve(c, s.opsBoot()) })
	e.Match(reading, pages.AssetPath+"*", echo.WrapHandler(http.HandlerFunc(pages.Assets)))
}

// boot is what the server knows and the page needs before it can ask.
type boot struct {
	Mode       string `json:"mode"` // tenant, ops
	Tenant     string `json:"tenant"`
	TenantName string `json:"tenantName"`
	Base       string `json:"base"`
	Console    string `json:"console"`
	API        string `json:"api"`
}

func (s *Console) tenantBoot(c echo.Context) boot {
	t := site.From(c.Request().Context())
	base := pathOf(s.Sites.Base(t.Slug))
	return boot{Mode: "tenant", Tenant: t.Slug, TenantName: t.Name, Base: base, Console: base + "/admin", API: pathOf(s.Sites.API(t.Slug))}
}

func (s *Console) opsBoot() boot {
	base := pathOf(s.Sites.Platform())
	return boot{Mode: "ops", Base: base, Console: base + "/ops", API: base + "/api/v1"}
}

func pathOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil { // of Sites, which wrote it
		panic(err)
	}
	return u.Path
}

func (s *Console) toSlash(c echo.Context, console string) error {
	pages.Headers(c.Response().Header())
	return c.Redirect(http.StatusPermanentRedirect, console+"/")
}

// problem shows what went wrong at sign-in, with the way to begin anew.
func (s *Console) problem(c echo.Context, status int, what, why string) error {
	t := site.From(c.Request().Context())
	consent.Error(c.Response(), status, consent.ErrorPage{
		Base: s.Sites.Base(t.Slug), Tenant: t.Name, Title: "You are not signed in to the console", What: what, Why: why,
		Next: "Open the console again: " + s.Sites.Base(t.Slug) + "/admin/",
	})
	return nil
}

// failed shows what the platform could not do; the cause goes to the log.
func (s *Console) failed(c echo.Context, err error) error {
	r := c.Request()
	s.Log.ErrorContext(r.Context(), "console", "tenant", site.From(r.Context()).ID, "path", c.Path(), "error", err)
	status := http.StatusInternalServerError
	if f := fault.Of(err); f.Code.Category == fault.Downstream {
		status = http.StatusServiceUnavailable
		c.Response().Header().Set("Retry-After", "5")
	}
	t := site.From(r.Context())
	base := s.Sites.Platform()
	if t.ID != "" {
		base = s.Sites.Base(t.Slug)
	}
	s.message(c, base, t.Name, status, message{
		Title: "Signing in does not work at the moment", What: "Nothing is wrong on your side, and nothing was changed. Try again in a few seconds.",
	})
	return nil
}

// message is a page that says one thing.
type message struct{ Title, What, Link, LinkText string }

func (s *Console) message(c echo.Context, base, tenant string, status int, m message) {
	messageView.Render(c.Response(), pages.Response{Status: status}, pages.Frame{Base: base, Tenant: tenant, Title: m.Title, Narrow: true}, m)
}
