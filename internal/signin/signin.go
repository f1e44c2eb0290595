// Package signin knows who is sitting at the browser: it checks passwords,
// keeps browser sessions, and shows the pages for both.
//
// It leaves to oauth what a client may do for that person, to tenants who the
// people are, and to pages how a page looks.
package signin

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
	"latchkey/internal/pages"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// People is what signin asks of tenants.Store.
type People interface {
	UserByEmail(ctx context.Context, t tenants.ID, email string) (tenants.User, error)
	UserByID(ctx context.Context, t tenants.ID, id tenants.UserID) (tenants.User, error)
	PasswordHash(ctx context.Context, t tenants.ID, id tenants.UserID) (string, error)
	SetPasswordHash(ctx context.Context, t tenants.ID, id tenants.UserID, hash string) error
}

// Config of New. Sites, Tenants and Sessions are needed.
type Config struct {
	Sites    *site.Sites
	Tenants  People
	Sessions Sessions
	// Invitations brings people in by links; nil: there are none.
	Invitations Invitations
	Log         *slog.Logger     // nil: nothing is logged
	Now         func() time.Time // nil: time.Now
	// Client is the address a request comes from. nil: the connection's, which
	// is wrong behind a proxy.
	Client func(*http.Request) netip.Addr
	// Home is where a person goes who signed in for no particular page.
	// Empty: /connections.
	Home string
	// Hashes is how many passwords are hashed at once, at 19 MiB each.
	// 0: as many as there are processors.
	Hashes int
}

// Service answers for all tenants.
type Service struct {
	sites       *site.Sites
	people      People
	sessions    Sessions
	invitations Invitations
	log         *slog.Logger
	now         func() time.Time
	client      func(*http.Request) netip.Addr
	home        string
	hasher      *hasher
	throttle    *throttle
	guard       *http.CrossOriginProtection
}

// New makes the service.
func New(c Config) *Service {
	s := &Service{
		sites: c.Sites, people: c.Tenants, sessions: c.Sessions, invitations: c.Invitations,
		log: c.Log, now: c.Now, client: c.Client, home: c.Home,
		guard: http.NewCrossOriginProtection(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.client == nil {
		s.client = connectionAddr
	}
	if validReturnTo(s.home) != nil {
		s.home = "/connections"
	}
	if c.Hashes <= 0 {
		c.Hashes = runtime.GOMAXPROCS(0)
	}
	s.hasher = newHasher(c.Hashes)
	s.throttle = newThrottle(s.now)
	return s
}

// Register mounts the pages below a tenant's base.
func (s *Service) Register(e *echo.Echo) {
	e.GET("/login", s.showLogin)
	e.POST("/login", s.login)
	e.GET("/logout", s.showLogout)
	e.POST("/logout", s.logout)
	e.GET("/signed-out", s.showSignedOut)
	if s.invitations != nil {
		e.GET("/invitation", s.showInvitation)
		e.POST("/invitation", s.accept)
	}
	e.Match([]string{http.MethodGet, http.MethodHead}, pages.AssetPath+"*", echo.WrapHandler(http.HandlerFunc(pages.Assets)))
}

// SetPassword gives a person a new password and ends all their sessions. The
// error says what is wrong with the password, never the password.
func (s *Service) SetPassword(ctx context.Context, t tenants.ID, user tenants.UserID, password secret.Text) (err error) {
	defer fault.Wrap(&err, "signin.SetPassword(%s, %s)", t, user)
	u, err := s.people.UserByID(ctx, t, user)
	if err != nil {
		return err
	}
	if err := acceptable(password, u); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	if err := s.people.SetPasswordHash(ctx, t, user, hash); err != nil {
		return err
	}
	return s.SignOutEverywhere(ctx, t, user)
}

// SignOutEverywhere ends all browser sessions of a person.
func (s *Service) SignOutEverywhere(ctx context.Context, t tenants.ID, user tenants.UserID) error {
	return s.sessions.DeleteSessionsOf(ctx, t, user)
}

// SignOut ends the session of the request's browser, if it has one.
func (s *Service) SignOut(w http.ResponseWriter, r *http.Request) error {
	t := site.From(r.Context())
	if err := s.end(r, t); err != nil {
		return err
	}
	s.setCookie(w, t, "", -1)
	s.note(r, t, "", "signed out")
	return nil
}

func connectionAddr(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr()
}
