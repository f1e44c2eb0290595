package remotetool

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"gopkg.in/yaml.v3"

	"latchkey/internal/egress"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/mcptool"
	"latchkey/internal/secret"
)

// connection is the normalized form. There is no secret in it.
type connection struct {
	URL       string            `json:"url"`
	Transport string            `json:"transport"`          // auto, streamable, sse
	Protocol  string            `json:"protocol,omitempty"` // the newest revision that is spoken
	Headers   map[string]string `json:"headers,omitempty"`
	Auth      authentication    `json:"auth"`
	// Credentials is where every kind says whose they are.
	Credentials struct {
		PerUser bool `json:"per_user,omitempty"`
	} `json:"credentials"`
}

type authentication struct {
	Type   string   `json:"type"`             // none, bearer, header, oauth
	Header string   `json:"header,omitempty"` // of header
	Scopes []string `json:"scopes,omitempty"` // of oauth, at the upstream
	// Client is how the platform is known at the upstream's authorization server,
	// and Issuer which that is, where neither is to be found out.
	Client string `json:"client,omitempty"`
	Issuer string `json:"issuer,omitempty"`
}

// Types of authentication and transports.
const (
	noAuth = "none"
	bearer = "bearer"
	header = "header"
	oauth  = "oauth"

	auto       = "auto"
	streamable = "streamable"
	sse        = "sse"
)

// Names of credential fields: the secrets of a connection by their paths, and the
// token of an account that somebody connected.
const (
	fieldToken  = "auth.token"
	fieldValue  = "auth.value"
	fieldAccess = "access_token"
	// fieldClientSecret is the platform's, and no call's.
	fieldClientSecret = "auth.client_secret"
)

const (
	maxURL         = 2048
	maxHeaders     = 20
	maxHeaderValue = 1024
)

// checkConnection reads a declared connection (runtime.Kind).
func checkConnection(n *yaml.Node) (json.RawMessage, map[string]secret.Text, []registry.Problem) {
	r := &registry.Reader{}
	o := r.Object(n, "connection", "url", "transport", "protocol", "headers", "auth")
	c := connection{URL: readURL(o), Transport: o.Text("transport"), Protocol: mcptool.ReadProtocol(o), Auth: authentication{Type: noAuth}}
	switch c.Transport {
	case "":
		c.Transport = auto
	case auto, streamable, sse:
	default:
		o.Bad("transport", fmt.Sprintf("%.40q is not known", c.Transport), "write auto, streamable, or sse for a server of before 2025")
	}
	c.Headers = readHeaders(o)
	secrets := map[string]secret.Text{}
	if v := o.Value("auth"); v != nil {
		readAuth(r.Object(v, "connection.auth", "type", "token", "header", "value", "per", "scopes", "client_id", "client_secret", "issuer"), &c, secrets)
	}
	if len(r.Problems) > 0 {
		slices.SortStableFunc(r.Problems, func(a, b registry.Problem) int { return a.Line - b.Line })
		return nil, nil, r.Problems
	}
	normalized, err := json.Marshal(c)
	if err != nil { // texts only
		panic(err)
	}
	return normalized, secrets, nil
}

// readURL takes an address that says nothing but where the server is. A token
// does not go over a network in the clear.
func readURL(o registry.Object) string {
	text := o.Needed("url", "write the server's address, such as https://mcp.example.com/mcp")
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL || err != nil || u.Host == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http":
		o.Bad("url", "is no address of a server", "write one such as https://mcp.example.com/mcp")
	case u.User != nil:
		o.Bad("url", "has a name or password in it", "write it under auth")
	case u.Fragment != "":
		o.Bad("url", "has a part after #", "remove it")
	case u.Scheme == "http" && !egress.OwnNetwork(u.Hostname()):
		o.Bad("url", "is not encrypted", "write https://; only servers of your own network may be reached by http://")
	default:
		return u.String()
	}
	return ""
}

// ours are headers that the platform writes.
var ours = []string{"Authorization", "Cookie", "Host", "Origin", "Accept", "Accept-Encoding", "Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Last-Event-Id", "Traceparent", "Tracestate", "Forwarded"}

func reservedHeader(name string) bool {
	name = http.CanonicalHeaderKey(name)
	return slices.Contains(ours, name) || strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "Mcp-") || strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, "X-Forwarded-")
}

func readHeaders(o registry.Object) map[string]string {
	all := map[string]string{}
	o.Entries(o.Value("headers"), o.At("headers"), func(k, v *yaml.Node, path string) {
		name := http.CanonicalHeaderKey(k.Value)
		switch {
		case !httpguts.ValidHeaderFieldName(k.Value):
			o.Problem(k, path, "is no name of a header", "write one such as X-Region")
		case reservedHeader(k.Value):
			o.Problem(k, path, "is a header that the platform writes", "remove it; what authenticates belongs under auth")
		case v.Kind != yaml.ScalarNode || !httpguts.ValidHeaderFieldValue(v.Value) || len(v.Value) > maxHeaderValue:
			o.Problem(v, path, "is no value of a header", fmt.Sprintf("write a text of %d bytes at most", maxHeaderValue))
		case registry.Referred(v):
			o.Problem(v, path, "is a secret, and headers are kept in the clear", "write it under auth: {type: header, header: "+name+", value: …}")
		default:
			all[name] = v.Value
		}
	})
	if len(all) > maxHeaders {
		o.Bad("headers", fmt.Sprintf("has more than %d entries", maxHeaders), "remove some")
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

func readAuth(o registry.Object, c *connection, secrets map[string]secret.Text) {
	c.Auth.Type = o.Needed("type", "write none, bearer, header or oauth")
	own := map[string][]string{noAuth: nil, bearer: {"token"}, header: {"header", "value"}, oauth: {"per", "scopes", "client_id", "client_secret", "issuer"}}
	mine, known := own[c.Auth.Type]
	if !known {
		if c.Auth.Type != "" {
			o.Bad("type", fmt.Sprintf("%.40q is not known", c.Auth.Type), "write none, bearer, header or oauth")
		}
		return
	}
	for _, key := range []string{"token", "header", "value", "per", "scopes", "client_id", "client_secret", "issuer"} {
		if o.Has(key) && !slices.Contains(mine, key) {
			o.Bad(key, "does not belong to auth of type "+c.Auth.Type, "remove it")
		}
	}
	switch c.Auth.Type {
	case bearer:
		secrets[fieldToken] = referred(o, "token")
	case header:
		name := o.Needed("header", "name the header, such as X-Api-Key")
		if name != "" && (!httpguts.ValidHeaderFieldName(name) || reservedHeader(name) && !strings.EqualFold(name, "Authorization")) {
			o.Bad("header", "cannot be that of a credential", "write one such as X-Api-Key or Authorization")
		}
		c.Auth.Header = http.CanonicalHeaderKey(name)
		secrets[fieldValue] = referred(o, "value")
	case oauth:
		switch o.Text("per") {
		case "", "tenant":
		case "user":
			c.Credentials.PerUser = true
		default:
			o.Bad("per", "is not known", "write tenant for one account of yours, or user for one of each person's own")
		}
		c.Auth.Scopes = o.Texts("scopes")
		readClient(o, c, secrets)
	}
}

// readClient reads how the platform was registered by hand.
func readClient(o registry.Object, c *connection, secrets map[string]secret.Text) {
	c.Auth.Client = o.Text("client_id")
	if len(c.Auth.Client) > 500 || strings.ContainsFunc(c.Auth.Client, func(r rune) bool { return r < ' ' || r > '~' }) {
		o.Bad("client_id", "is no client id", "write the one that the authorization server gave to the platform")
	}
	if o.Has("client_secret") {
		if c.Auth.Client == "" {
			o.Bad("client_secret", "has no client_id beside it", "write both, or neither")
		}
		secrets[fieldClientSecret] = referred(o, "client_secret")
	}
	if c.Auth.Issuer = o.Text("issuer"); c.Auth.Issuer == "" {
		return
	}
	u, err := url.Parse(c.Auth.Issuer)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" || u.Scheme != "https" && (u.Scheme != "http" || !egress.OwnNetwork(u.Hostname())) || len(c.Auth.Issuer) > maxURL {
		o.Bad("issuer", "is no authorization server", "write its issuer, such as https://login.example.com")
	}
}

// account says which account calls run with (runtime.Kind).
func account(normalized json.RawMessage) (registry.Account, bool) {
	var c connection
	if json.Unmarshal(normalized, &c) != nil || c.Auth.Type != oauth {
		return registry.Account{}, false
	}
	return registry.Account{Resource: c.URL, Scopes: c.Auth.Scopes, PerUser: c.Credentials.PerUser, Client: c.Auth.Client, Issuer: c.Auth.Issuer}, true
}

// referred takes a secret only if it was referred to.
func referred(o registry.Object, key string) secret.Text {
	n := o.Value(key)
	fix := fmt.Sprintf("write %s: {env: NAME} or {file: PATH}", key)
	switch {
	case n == nil:
		o.Bad(key, "is missing", fix)
	case !registry.Referred(n):
		o.Bad(key, "is written in the file", fix+"; secrets do not belong into files that are shared")
	case n.Value == "":
		o.Bad(key, "refers to something that is empty", "set it")
	case !httpguts.ValidHeaderFieldValue(strings.TrimSpace(n.Value)):
		o.Bad(key, "cannot stand in a header", "check that it is one line of plain text")
	default:
		return secret.Text(strings.TrimSpace(n.Value))
	}
	return ""
}

// source says where the credentials come from (runtime.Kind).
func source(normalized json.RawMessage) string {
	var c connection
	if json.Unmarshal(normalized, &c) != nil || c.URL == "" {
		return ""
	}
	at := c.URL
	if u, err := url.Parse(c.URL); err == nil {
		at = u.Host
	}
	switch {
	case c.Auth.Type == noAuth:
		return at + " asks for no credential."
	case c.Auth.Type == bearer:
		return "Vault keeps a token for " + at + "."
	case c.Auth.Type == header:
		return "Vault keeps the value of " + c.Auth.Header + " for " + at + "."
	case c.Credentials.PerUser:
		return "Vault keeps a token for " + at + " of each person's own, from when they connect their account."
	}
	return "Vault keeps a token for " + at + ", from when an administrator connects an account."
}
