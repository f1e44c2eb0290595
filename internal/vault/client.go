package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/sony/gobreaker/v2"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
)

const (
	// requestTimeout bounds one request. The library's defaults took up to
	// 10 s to notice a Vault that is away.
	requestTimeout = 2 * time.Second
	// issueTimeout bounds a request in which Vault itself waits for a tenant's
	// database.
	issueTimeout = 5 * time.Second
	// slowTimeout is for the control plane: verifying a connection, and
	// revoking every lease of a server.
	slowTimeout = 30 * time.Second

	breakerFailures = 3
	breakerPause    = 2 * time.Second
)

// ErrRefused is the cause when Vault is there and says no: a grant that is
// expired, forged or for something else, or a server that is gone.
var ErrRefused = errors.New("refused by Vault")

// Config says where Vault is and how to log in. A worker's client has neither
// Token nor AppRole: it only ever has what the grants it was handed open.
type Config struct {
	Address string
	CACert  []byte // PEM; empty for the system's authorities
	Token   secret.Text
	AppRole AppRole
}

// AppRole is the platform's own way in.
type AppRole struct {
	RoleID   string
	SecretID secret.Text
}

// Client talks to one Vault. It never retries: a call has a deadline, and the
// caller knows whether another attempt fits into it.
type Client struct {
	api     *api.Client
	breaker *gobreaker.CircuitBreaker[*api.Secret]
	token   secret.Text
	role    AppRole

	mu      sync.Mutex // guards the AppRole's token, and lets one login run at a time
	issued  string
	renewAt time.Time
}

// NewClient makes a client. It does not connect. The VAULT_* variables of the
// environment, which the library reads, are without effect.
func NewClient(cfg Config) (*Client, error) {
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: requestTimeout}).DialContext,
		TLSHandshakeTimeout:   requestTimeout,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: slowTimeout,
	}
	if len(cfg.CACert) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(cfg.CACert) {
			return nil, errors.New("the certificate authority for Vault holds no PEM certificate")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	c, err := api.NewClient(&api.Config{
		Address:    cfg.Address,
		MaxRetries: 0,
		Timeout:    slowTimeout, // the upper bound; do sets the real one
		HttpClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make a client for Vault at %s: %w", cfg.Address, err)
	}
	c.SetHeaders(http.Header{"X-Vault-Request": {"true"}})
	c.ClearToken()
	return &Client{
		api:   c,
		token: cfg.Token,
		role:  cfg.AppRole,
		breaker: gobreaker.NewCircuitBreaker[*api.Secret](gobreaker.Settings{
			Name:         "vault",
			Timeout:      breakerPause,
			ReadyToTrip:  func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerFailures },
			IsSuccessful: func(err error) bool { return err == nil || !isAway(err) },
			// A caller who gives up says nothing about Vault, and neither does
			// a credential that is slow: there Vault waits for a tenant's
			// database, and one tenant's must not stop the others.
			IsExcluded: func(err error) bool {
				return errors.Is(err, errGaveUp) || errors.Is(err, errSlowUpstream)
			},
		}),
	}, nil
}

var (
	errGaveUp       = errors.New("the caller gave up")
	errSlowUpstream = errors.New("no credential within the time")
)

type request struct {
	method string
	path   string
	body   map[string]any
	token  secret.Text // "" for none
	callID string      // goes into Vault's audit
	slow   bool        // a control-plane request
	waits  bool        // Vault itself waits for a tenant's database
}

// do sends one request. A path that does not exist is a nil secret.
func (c *Client) do(ctx context.Context, r request) (*api.Secret, error) {
	limit := requestTimeout
	switch {
	case r.slow:
		limit = slowTimeout
	case r.waits:
		limit = issueTimeout
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.breaker.Execute(func() (*api.Secret, error) {
		// A shallow copy: the token belongs to this request only.
		one := c.api.WithRequestCallbacks(func(q *api.Request) {
			q.ClientToken = r.token.Reveal()
			if r.callID != "" {
				q.Headers.Set(callIDHeader, r.callID)
			}
		}).Logical()
		var s *api.Secret
		var err error
		switch r.method {
		case http.MethodGet:
			s, err = one.ReadWithContext(ctx, r.path)
		case "LIST":
			s, err = one.ListWithContext(ctx, r.path)
		case http.MethodDelete:
			s, err = one.DeleteWithContext(ctx, r.path)
		default:
			s, err = one.WriteWithContext(ctx, r.path, r.body)
		}
		if err != nil && ctx.Err() != nil {
			switch {
			case parent.Err() != nil:
				return nil, fmt.Errorf("%w: %w", errGaveUp, parent.Err())
			case r.waits || r.slow:
				return nil, errSlowUpstream
			}
		}
		return s, err
	})
}

// isAway reports whether the error means that Vault cannot serve anybody now:
// no connection, no answer, sealed, or a standby without its active node.
func isAway(err error) bool {
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return true
	}
	var re *api.ResponseError
	if !errors.As(err, &re) {
		return true // the transport's
	}
	switch re.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 472, 473:
		return true
	}
	return false
}

// away is what an agent is told when no credential can be had for a while.
func away(cause error) error {
	return fault.New(fault.CredentialsAway,
		"Credentials for this tool cannot be issued at the moment. Nothing was done. Call again in %d s.", int(breakerPause.Seconds())).
		After(breakerPause).Because(cause)
}

func refused(cause error) error {
	return fault.New(fault.CredentialsAway,
		"The credential for this call was refused: the call took too long, or the server was changed meanwhile. Nothing was done. Call again; if it goes on, name the call id to your administrator.").
		Because(fmt.Errorf("%w: %w", ErrRefused, cause))
}

// explain turns an error of trading a grant into one for the agent. With login
// every refusal is about the grant; afterwards most are about the system that
// Vault asks for the credential.
func explain(err error, login bool) error {
	var re *api.ResponseError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errGaveUp) && errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.DeadlineExceeded, "The call's time was over before its credential was issued. Nothing was done. Call again with more time.").Because(err)
	case errors.Is(err, errGaveUp):
		return fault.New(fault.Cancelled, "The call was cancelled before it began.").Because(err)
	case errors.Is(err, errSlowUpstream) || isAway(err) || !errors.As(err, &re):
		return away(err)
	case re.StatusCode == http.StatusTooManyRequests:
		return fault.New(fault.CredentialsAway, "Too many credentials are asked for at the moment. Nothing was done. Call again in 1 s.").
			After(time.Second).Because(err)
	case re.StatusCode == http.StatusForbidden, login && re.StatusCode < 500, saysAny(err, "unknown role"):
		return refused(err)
	case login:
		return away(err)
	}
	return fault.New(fault.UpstreamAway, "The system behind this server did not issue a credential. Nothing was done. Call again in 5 s; if it goes on, tell your administrator.").
		After(5 * time.Second).Because(err)
}

// own sends a request with the client's own authority: the platform's side.
func (c *Client) own(ctx context.Context, method, path string, body map[string]any) (*api.Secret, error) {
	token, err := c.ownToken(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.do(ctx, request{method: method, path: path, body: body, token: token, slow: true})
	if hasStatus(err, http.StatusForbidden) && c.role.RoleID != "" {
		// The token may have been revoked or lost with Vault's memory.
		c.forget(token)
		if token, err = c.ownToken(ctx); err != nil {
			return nil, err
		}
		s, err = c.do(ctx, request{method: method, path: path, body: body, token: token, slow: true})
	}
	if err != nil && (isAway(err) || errors.Is(err, errSlowUpstream)) {
		return nil, away(err)
	}
	return s, err
}

func (c *Client) ownToken(ctx context.Context) (secret.Text, error) {
	if c.role.RoleID == "" {
		if c.token == "" {
			return "", errors.New("this client of Vault has no authority of its own")
		}
		return c.token, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.issued != "" && time.Now().Before(c.renewAt) {
		return secret.Text(c.issued), nil
	}
	s, err := c.do(ctx, request{method: http.MethodPost, path: "auth/" + appRoleMount + "/login",
		body: map[string]any{"role_id": c.role.RoleID, "secret_id": c.role.SecretID.Reveal()}})
	if err != nil {
		if isAway(err) {
			return "", away(err)
		}
		return "", fmt.Errorf("log in to Vault as the platform: %w", err)
	}
	if s == nil || s.Auth == nil {
		return "", errors.New("log in to Vault as the platform: no token in the answer")
	}
	c.issued = s.Auth.ClientToken
	c.renewAt = time.Now().Add(time.Duration(s.Auth.LeaseDuration) * time.Second * 2 / 3)
	return secret.Text(c.issued), nil
}

func (c *Client) forget(token secret.Text) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if token.Equal(c.issued) {
		c.issued = ""
	}
}

func (c *Client) write(ctx context.Context, path string, body map[string]any) error {
	_, err := c.own(ctx, http.MethodPost, path, body)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (c *Client) read(ctx context.Context, path string) (map[string]any, error) {
	s, err := c.own(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if s == nil {
		return nil, nil
	}
	return s.Data, nil
}

// remove deletes what may not be there.
func (c *Client) remove(ctx context.Context, path string) error {
	_, err := c.own(ctx, http.MethodDelete, path, nil)
	if err != nil && !hasStatus(err, http.StatusNotFound) {
		return fmt.Errorf("delete %s: %w", path, err)
	}
	return nil
}

func (c *Client) list(ctx context.Context, path string) ([]string, error) {
	s, err := c.own(ctx, "LIST", path, nil)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	if s == nil {
		return nil, nil
	}
	return stringList(s.Data["keys"]), nil
}

// Ready reports whether Vault answers and is unsealed.
func (c *Client) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s, err := c.api.Sys().SealStatusWithContext(ctx)
	if err != nil {
		return away(err)
	}
	if s.Sealed {
		return away(errors.New("sealed"))
	}
	return nil
}

// Status is what a Vault says of itself to anybody.
type Status struct {
	Version     string
	Initialized bool
	Sealed      bool
}

// Status asks without logging in.
func (c *Client) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s, err := c.api.Sys().SealStatusWithContext(ctx)
	if err != nil {
		return Status{}, away(err)
	}
	return Status{Version: s.Version, Initialized: s.Initialized, Sealed: s.Sealed}, nil
}

func hasStatus(err error, status int) bool {
	var re *api.ResponseError
	return errors.As(err, &re) && re.StatusCode == status
}

func saysAny(err error, words ...string) bool {
	var re *api.ResponseError
	if !errors.As(err, &re) {
		return false
	}
	for _, e := range re.Errors {
		for _, w := range words {
			if strings.Contains(e, w) {
				return true
			}
		}
	}
	return false
}

func stringList(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
