package httptool

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/openapi"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// connection is the normalized form. There is no secret in it: those are named by
// their paths, such as auth.token.
type connection struct {
	BaseURL string `json:"base_url"`
	// Headers are sent with each request; SecretHeaders name those whose values
	// are secrets.
	Headers       map[string]string `json:"headers,omitempty"`
	SecretHeaders []string          `json:"secret_headers,omitempty"`
	Auth          auth              `json:"auth"`
	// Write is how calls that write log in, where that is another way.
	Write *auth       `json:"write,omitempty"`
	TLS   *tlsOptions `json:"tls,omitempty"`
	// PlainHTTP allows http:// to addresses that are not public.
	PlainHTTP bool `json:"plain_http,omitempty"`
	// Redirects is how many are followed; Origins are where to, beside the
	// connection's own.
	Redirects         int      `json:"redirects,omitempty"`
	Origins           []string `json:"origins,omitempty"`
	IdempotencyHeader string   `json:"idempotency_header,omitempty"` // empty: not sent
	Retries           int      `json:"retries"`
}

// auth is a way to log in.
type auth struct {
	Type string `json:"type"`
	// In and Name of an api_key, and what stands before it.
	In     string `json:"in,omitempty"`
	Name   string `json:"name,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	// Username of basic.
	Username string `json:"username,omitempty"`
	// Of oauth and jwt.
	TokenURL string            `json:"token_url,omitempty"`
	ClientID string            `json:"client_id,omitempty"`
	Scope    string            `json:"scope,omitempty"`
	Extra    map[string]string `json:"extra,omitempty"` // parameters of the token request
	InBody   bool              `json:"in_body,omitempty"`
	Key      *signing          `json:"key,omitempty"`
	// prefix of the paths of its secrets
	At string `json:"at"`
}

// signing is how an assertion is made.
type signing struct {
	Algorithm string                     `json:"algorithm"`
	KeyID     string                     `json:"key_id,omitempty"`
	Issuer    string                     `json:"issuer,omitempty"`
	Subject   string                     `json:"subject,omitempty"`
	Audience  string                     `json:"audience,omitempty"`
	Claims    map[string]json.RawMessage `json:"claims,omitempty"`
	Lifetime  time.Duration              `json:"lifetime"`
}

// Ways to log in.
const (
	authNone   = "none"
	authKey    = "api_key"
	authBasic  = "basic"
	authBearer = "bearer"
	authOAuth  = "oauth_client_credentials"
	authJWT    = "jwt"
)

var authTypes = []string{authNone, authKey, authBasic, authBearer, authOAuth, authJWT}

const (
	defaultIdempotencyHeader = "Idempotency-Key"
	defaultRetries           = 2
)

// checkConnection reads a declared connection (runtime.Kind).
func checkConnection(n *yaml.Node) (json.RawMessage, map[string]secret.Text, []registry.Problem) {
	r := &registry.Reader{}
	o := r.Object(n, "connection", "base_url", "plain_http", "headers", "auth", "write", "tls", "redirects", "redirect_origins", "idempotency_header", "retries")
	cc := connectionChecker{r, map[string]secret.Text{}}
	c := connection{PlainHTTP: o.Flag("plain_http"), Redirects: o.Whole("redirects", 0, 0, 3), Retries: o.Whole("retries", defaultRetries, 0, 5), Auth: auth{Type: authNone}}
	c.BaseURL = cc.address(o, "base_url", c.PlainHTTP)
	cc.headers(o, &c)
	cc.tls(o, &c)
	if v := o.Value("auth"); v != nil {
		c.Auth = cc.auth(v, "auth", c.PlainHTTP)
	}
	if v := o.Value("write"); v != nil {
		w := r.Object(v, o.At("write"), "auth")
		if a := w.Value("auth"); a == nil {
			w.Bad("auth", "is missing", "say how calls that write log in")
		} else {
			one := cc.auth(a, "write.auth", c.PlainHTTP)
			c.Write = &one
		}
	}
	for i, s := range o.Texts("redirect_origins") {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.Scheme != "https" && !(u.Scheme == "http" && (c.PlainHTTP || loopback(u.Hostname()))) {
			o.Bad("redirect_origins", fmt.Sprintf("has %.100q, which is no origin", s), "write one such as https://files.example.com")
			continue
		}
		_ = i
		c.Origins = append(c.Origins, origin(u))
	}
	if c.IdempotencyHeader = o.Text("idempotency_header"); c.IdempotencyHeader == "" {
		c.IdempotencyHeader = defaultIdempotencyHeader
	} else if c.IdempotencyHeader == "none" {
		c.IdempotencyHeader = ""
	} else if !headerName.MatchString(c.IdempotencyHeader) {
		o.Bad("idempotency_header", "is no name of a header", "write one such as Idempotency-Key, or none")
	}
	if len(r.Problems) > 0 {
		slices.SortStableFunc(r.Problems, func(a, b registry.Problem) int { return a.Line - b.Line })
		return nil, nil, r.Problems
	}
	normalized, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return normalized, cc.secrets, nil
}

type connectionChecker struct {
	*registry.Reader
	secrets map[string]secret.Text
}

// address reads the URL of an API or of a token endpoint.
func (c connectionChecker) address(o registry.Object, key string, plain bool) string {
	s := o.Needed(key, "write one such as https://api.example.com/v1")
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		o.Bad(key, "is no address", "write one such as https://api.example.com/v1")
	case u.User != nil:
		o.Bad(key, "holds a name or a password", "write them under auth")
	case u.RawQuery != "" || u.Fragment != "":
		o.Bad(key, "has a query or a fragment", "leave them out")
	case climbs(u.Path):
		o.Bad(key, "climbs with . or ..", "write the path that is meant")
	case u.Scheme == "http" && !plain && !loopback(u.Hostname()):
		o.Bad(key, "is not encrypted", "write https://, or plain_http: true for a service on a private network")
	case u.Scheme != "https" && u.Scheme != "http":
		o.Bad(key, fmt.Sprintf("has the scheme %.20q", u.Scheme), "write https://")
	default:
		return strings.TrimRight(s, "/")
	}
	return ""
}

func loopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback()
	}
	return host == "localhost"
}

// origin is scheme, host and port, all of them.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		if port = "443"; u.Scheme == "http" {
			port = "80"
		}
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func (c connectionChecker) headers(o registry.Object, to *connection) {
	c.Entries(o.Value("headers"), o.At("headers"), func(key, value *yaml.Node, path string) {
		switch {
		case !headerName.MatchString(key.Value):
			c.Problem(key, path, "is no name of a header", "use letters, digits and -")
		case openapi.OwnHeader(key.Value):
			c.Problem(key, path, "is not set here", "log in with auth; the platform sets the rest")
		case value.Kind != yaml.ScalarNode || !headerText(value.Value):
			c.Problem(value, path, "is no value of a header", "write one line of text, or {env: NAME} for a secret")
		case registry.Referred(value):
			to.SecretHeaders = append(to.SecretHeaders, key.Value)
			c.secrets["headers."+key.Value] = secret.Text(value.Value)
		default:
			if to.Headers == nil {
				to.Headers = map[string]string{}
			}
			to.Headers[http.CanonicalHeaderKey(key.Value)] = value.Value
		}
	})
	slices.Sort(to.SecretHeaders)
}

// referred takes a secret only if it was referred to.
func (c connectionChecker) referred(o registry.Object, at, key string) {
	n := o.Value(key)
	fix := fmt.Sprintf("write %s: {env: NAME} or {file: PATH}", key)
	switch {
	case n == nil:
		o.Bad(key, "is missing", fix)
	case !registry.Referred(n):
		o.Bad(key, "is written in the file", fix+"; secrets do not belong into files that are shared")
	case n.Value == "":
		o.Bad(key, "refers to something that is empty", "set it")
	default:
		c.secrets[at+"."+key] = secret.Text(n.Value)
	}
}

// authKeys are what each way to log in takes, beside type.
var authKeys = map[string][]string{
	authNone: {}, authKey: {"in", "name", "prefix", "key"}, authBasic: {"username", "password"}, authBearer: {"token"},
	authOAuth: {"token_url", "client_id", "client_secret", "client_auth", "scope", "parameters", "algorithm", "private_key", "key_id"},
	authJWT:   {"algorithm", "private_key", "key_id", "issuer", "subject", "audience", "lifetime", "claims", "token_url", "scope", "parameters"},
}

// auth reads a way to log in; at is its path below the connection.
func (c connectionChecker) auth(n *yaml.Node, at string, plain bool) (a auth) {
	path := "connection." + at
	kind := ""
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "type" {
				kind = n.Content[i+1].Value
			}
		}
	}
	keys, known := authKeys[kind]
	if !known {
		c.Problem(n, path+".type", fmt.Sprintf("%.40q is no way to log in", kind), "write type: and one of "+strings.Join(authTypes, ", "))
		return a
	}
	o := c.Object(n, path, append([]string{"type"}, keys...)...)
	a = auth{Type: kind, At: at}
	switch kind {
	case authKey:
		c.apiKey(o, &a)
	case authBasic:
		a.Username = o.Text("username")
		c.referred(o, at, "password")
	case authBearer:
		c.referred(o, at, "token")
	case authOAuth:
		a.TokenURL = c.address(o, "token_url", plain)
		a.ClientID = o.Needed("client_id", "write the client's name")
		c.tokenRequest(o, &a)
		if o.Has("private_key") || o.Has("algorithm") {
			a.Key = c.signing(o, &a, a.ClientID, a.ClientID)
			break
		}
		c.referred(o, at, "client_secret")
		switch how := o.Text("client_auth"); how {
		case "", "header":
		case "body":
			a.InBody = true
		default:
			o.Bad("client_auth", fmt.Sprintf("%.40q is not known", how), "write header or body")
		}
	case authJWT:
		a.Key = c.signing(o, &a, o.Text("issuer"), o.Text("subject"))
		a.Key.Audience = o.Text("audience")
		if o.Has("token_url") {
			a.TokenURL = c.address(o, "token_url", plain)
			c.tokenRequest(o, &a)
		} else if o.Has("scope") || o.Has("parameters") {
			o.Bad("scope", "means nothing without token_url", "write token_url, or put it into claims")
		}
		c.Entries(o.Value("claims"), o.At("claims"), func(key, value *yaml.Node, path string) {
			if slices.Contains([]string{"iss", "sub", "aud", "exp", "iat", "nbf", "jti"}, key.Value) {
				c.Problem(key, path, "is set by another key", "write issuer, subject, audience or lifetime")
				return
			}
			if a.Key.Claims == nil {
				a.Key.Claims = map[string]json.RawMessage{}
			}
			a.Key.Claims[key.Value] = registry.JSONOf(value)
		})
	}
	return a
}

func (c connectionChecker) apiKey(o registry.Object, a *auth) {
	if a.In = o.Text("in"); a.In == "" {
		a.In = openapi.InHeader
	}
	a.Prefix = o.Text("prefix")
	switch a.Name = o.Needed("name", "name the header or the parameter, such as X-API-Key"); {
	case a.In != openapi.InHeader && a.In != openapi.InQuery:
		o.Bad("in", fmt.Sprintf("%.40q is not known", a.In), "write header or query")
	case a.In == openapi.InHeader && a.Name != "" && !headerName.MatchString(a.Name):
		o.Bad("name", "is no name of a header", "use letters, digits and -")
	case !headerText(a.Prefix):
		o.Bad("prefix", "cannot stand in a header", "write one such as \"Token \"")
	}
	c.referred(o, a.At, "key")
}

// tokenRequest reads what is asked of a token endpoint.
func (c connectionChecker) tokenRequest(o registry.Object, a *auth) {
	a.Scope = o.Text("scope")
	c.Entries(o.Value("parameters"), o.At("parameters"), func(key, value *yaml.Node, path string) {
		if value.Kind != yaml.ScalarNode || registry.Referred(value) || slices.Contains([]string{"grant_type", "assertion", "client_secret", "client_assertion"}, key.Value) {
			c.Problem(value, path, "cannot be given here", "write plain texts such as audience: https://api.example.com; secrets have keys of their own")
			return
		}
		if a.Extra == nil {
			a.Extra = map[string]string{}
		}
		a.Extra[key.Value] = value.Value
	})
}

const (
	defaultLifetime = 5 * time.Minute
	maxLifetime     = time.Hour
)

func (c connectionChecker) signing(o registry.Object, a *auth, issuer, subject string) *signing {
	s := &signing{Algorithm: o.Needed("algorithm", "write RS256, ES256 or EdDSA"), KeyID: o.Text("key_id"), Issuer: issuer, Subject: subject}
	s.Lifetime = o.Duration("lifetime", defaultLifetime, 10*time.Second, maxLifetime)
	c.referred(o, a.At, "private_key")
	if key, has := c.secrets[a.At+".private_key"]; has && key.Reveal() != registry.Set && s.Algorithm != "" {
		if _, err := newSigner(*s, key); err != nil {
			o.Bad("private_key", err.Error(), "give a private key in PEM (PKCS#8, PKCS#1 or SEC 1) that fits the algorithm RS256, ES256 or EdDSA")
		}
	}
	return s
}

// authFor is how a call logs in.
func (c *connection) authFor(a registry.Access) *auth {
	if a == registry.WriteAccess && c.Write != nil {
		return c.Write
	}
	return &c.Auth
}

// provision keeps the connection's secrets at Vault (runtime.Kind). What is only
// for calls that write is not there for calls that read.
func provision(ctx context.Context, v *vault.Servers, t tenants.ID, s registry.Server, secrets map[string]secret.Text) error {
	var c connection
	if err := json.Unmarshal(s.Connection, &c); err != nil {
		return fmt.Errorf("httptool: read connection: %w", err)
	}
	if c.Write == nil {
		return v.PutSecrets(ctx, t, s.ID, secrets, nil)
	}
	read, write := map[string]secret.Text{}, map[string]secret.Text{}
	for path, value := range secrets {
		switch {
		case strings.HasPrefix(path, c.Write.At+"."):
			write[path] = value
		case strings.HasPrefix(path, "auth."):
			read[path] = value
		default:
			read[path], write[path] = value, value
		}
	}
	return v.PutSecrets(ctx, t, s.ID, read, write)
}

// secretPaths are those that a call of an access needs.
func (c *connection) secretPaths(a registry.Access) (out []string) {
	one := c.authFor(a)
	out = append(out, c.secretsOfTLS()...)
	for _, h := range c.SecretHeaders {
		out = append(out, "headers."+h)
	}
	switch {
	case one.Type == authKey:
		out = append(out, one.At+".key")
	case one.Type == authBasic:
		out = append(out, one.At+".password")
	case one.Type == authBearer:
		out = append(out, one.At+".token")
	case one.Key != nil:
		out = append(out, one.At+".private_key")
	case one.Type == authOAuth:
		out = append(out, one.At+".client_secret")
	}
	return out
}

// source says where the credentials come from (runtime.Kind).
func source(normalized json.RawMessage) string {
	var c connection
	if json.Unmarshal(normalized, &c) != nil || c.BaseURL == "" {
		return ""
	}
	words := map[string]string{authKey: "an API key", authBasic: "a name and a password", authBearer: "a token", authOAuth: "tokens of its OAuth server, for a client of yours", authJWT: "tokens that a private key of yours signs"}
	u, err := url.Parse(c.BaseURL)
	if err != nil {
		return ""
	}
	what, has := words[c.Auth.Type]
	switch {
	case !has && c.TLS != nil && c.TLS.Client:
		what = "a certificate"
	case !has && len(c.SecretHeaders) == 0:
		return fmt.Sprintf("Nobody logs in to %s.", u.Host)
	case !has:
		what = "secret headers"
	}
	text := fmt.Sprintf("Workers log in to %s with %s; Vault keeps the secret, and a worker has it for five minutes at most.", u.Host, what)
	if has && c.TLS != nil && c.TLS.Client {
		text += " They show a certificate, too."
	}
	if c.Write != nil {
		text += " Calls that write log in with one of their own."
	}
	return text
}
