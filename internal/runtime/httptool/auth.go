package httptool

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"latchkey/internal/fault"
	"latchkey/internal/openapi"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// login is what a call shows of itself to the upstream.
type login struct {
	header http.Header
	query  string // escaped, name=value
	// hide are texts that nothing which comes back may hold.
	hide []string
	// refresh drops the token that was made for it, so that the next login makes
	// another; nil where there is none to make.
	refresh func()
}

// login makes the credential of a call into what is sent.
func (cl *client) login(ctx context.Context, cred runtime.Credential, a registry.Access, own schemes) (l login, err error) {
	l.header = http.Header{}
	for name, value := range cl.connection.Headers {
		l.header.Set(name, value)
	}
	for _, path := range cl.connection.secretPaths(a) {
		v, has := cred.Fields[path]
		if !has {
			if cred.Discard != nil {
				cred.Discard()
			}
			return l, fault.New(fault.CredentialsAway, "The credential of this server is not complete. Nothing was done. Tell your administrator to set its connection again.").Because(fmt.Errorf("Vault has no %s", path))
		}
		l.hide = append(l.hide, hidden(v)...)
		if name, is := strings.CutPrefix(path, "headers."); is {
			if err := setHeader(l.header, name, v.Reveal()); err != nil {
				return l, err
			}
		}
	}
	one := cl.connection.authFor(a)
	value := func(key string) secret.Text { return cred.Fields[one.At+"."+key] }
	switch one.Type {
	case authKey:
		text := one.Prefix + value("key").Reveal()
		if one.In == openapi.InQuery {
			l.query = escapeQuery(one.Name) + "=" + escapeQuery(text)
			l.hide = append(l.hide, escapeQuery(text))
			return l, nil
		}
		return l, setHeader(l.header, one.Name, text)
	case authBasic:
		basic := base64.StdEncoding.EncodeToString([]byte(one.Username + ":" + value("password").Reveal()))
		l.hide = append(l.hide, basic)
		return l, setHeader(l.header, "Authorization", "Basic "+basic)
	case authBearer:
		return l, setHeader(l.header, "Authorization", "Bearer "+value("token").Reveal())
	case authOAuth, authJWT:
		token, drop, err := cl.tokens.get(ctx, tokenKey{cred.ID, one.At}, func(ctx context.Context) (token, error) {
			return cl.makeToken(ctx, one, value, own)
		})
		if err != nil {
			return l, err
		}
		l.hide, l.refresh = append(l.hide, token), drop
		return l, setHeader(l.header, "Authorization", "Bearer "+token)
	}
	return l, nil
}

// setHeader refuses a secret that is none of a header: the error of net/http would
// show it. The line end of a file is no part of it.
func setHeader(h http.Header, name, value string) error {
	value = strings.TrimRight(value, "\r\n")
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return fault.New(fault.CredentialsAway, "The credential of this server cannot be sent: it holds what no header can. Nothing was done. Tell your administrator to set it again.")
		}
	}
	h.Set(name, value)
	return nil
}

// token is one for the upstream, with its end.
type token struct {
	value string
	end   time.Time // zero: not known
}

// tokenKey is a version of the secrets that a token was made with, and the place
// of these in the connection.
type tokenKey struct{ lease, at string }

// tokens keeps those of a server, each made by one call however many ask.
type tokens struct {
	mu  sync.Mutex
	all map[tokenKey]*tokenSlot
}

type tokenSlot struct {
	turn chan struct{} // holds one who makes a token
	now  token
}

const (
	maxTokens = 64
	// earlyBy is how long before its end a token is replaced, or a fifth of its
	// life where that is less.
	earlyBy = time.Minute
)

func (s *tokens) slot(key tokenKey) *tokenSlot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[tokenKey]*tokenSlot{}
	}
	one := s.all[key]
	if one == nil {
		for len(s.all) >= maxTokens { // of versions that are over, most likely
			for k := range s.all {
				delete(s.all, k)
				break
			}
		}
		one = &tokenSlot{turn: make(chan struct{}, 1)}
		s.all[key] = one
	}
	return one
}

// get gives the token of a key and how to drop it.
func (s *tokens) get(ctx context.Context, key tokenKey, fetch func(context.Context) (token, error)) (string, func(), error) {
	slot := s.slot(key)
	select {
	case slot.turn <- struct{}{}:
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
	defer func() { <-slot.turn }()
	if slot.now.value == "" || !slot.now.end.IsZero() && !time.Now().Before(slot.now.end) {
		t, err := fetch(ctx)
		if err != nil {
			return "", nil, err
		}
		slot.now = t
	}
	value := slot.now.value
	return value, func() {
		slot.turn <- struct{}{}
		defer func() { <-slot.turn }()
		if slot.now.value == value { // another call may have replaced it already
			slot.now = token{}
		}
	}, nil
}

// makeToken asks the upstream's authorization server for one, or signs it.
func (cl *client) makeToken(ctx context.Context, a *auth, value func(string) secret.Text, own schemes) (token, error) {
	if a.Type == authJWT && a.TokenURL == "" {
		s, err := newSigner(*a.Key, value("private_key"))
		if err != nil {
			return token{}, unusableKey(err)
		}
		text, end, err := s.sign(a.Key.Audience, time.Now())
		return token{text, end.Add(-min(earlyBy, a.Key.Lifetime/5))}, err
	}
	form := url.Values{}
	for k, v := range a.Extra {
		form.Set(k, v)
	}
	if a.Scope != "" {
		form.Set("scope", a.Scope)
	}
	header := http.Header{"Content-Type": {openapi.Form}, "Accept": {openapi.JSON}}
	var hide []string
	switch {
	case a.Key != nil:
		s, err := newSigner(*a.Key, value("private_key"))
		if err != nil {
			return token{}, unusableKey(err)
		}
		audience := a.Key.Audience
		if audience == "" {
			audience = a.TokenURL
		}
		assertion, _, err := s.sign(audience, time.Now())
		if err != nil {
			return token{}, err
		}
		hide = append(hide, assertion)
		if a.Type == authJWT { // RFC 7523 section 2.1
			form.Set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
			form.Set("assertion", assertion)
		} else { // section 2.2
			form.Set("grant_type", "client_credentials")
			form.Set("client_id", a.ClientID)
			form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
			form.Set("client_assertion", assertion)
		}
	case a.InBody:
		form.Set("grant_type", "client_credentials")
		form.Set("client_id", a.ClientID)
		form.Set("client_secret", value("client_secret").Reveal())
	default: // RFC 6749 section 2.3.1
		form.Set("grant_type", "client_credentials")
		pair := url.QueryEscape(a.ClientID) + ":" + url.QueryEscape(value("client_secret").Reveal())
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	return cl.askForToken(ctx, cl.toTokens(a.TokenURL, own), a.TokenURL, header, form.Encode(), append(hide, value("client_secret").Reveal()))
}

func unusableKey(err error) error {
	return fault.New(fault.CredentialsAway, "The private key of this server cannot be used. Nothing was done. Tell your administrator to set it again.").Because(err)
}

const (
	tokenTimeout  = 10 * time.Second
	maxTokenBytes = 64 << 10
)

// askForToken follows no redirect: the request holds a credential.
func (cl *client) askForToken(ctx context.Context, via schemes, address string, header http.Header, body string, hide []string) (t token, err error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return t, errors.New("the address of the token endpoint cannot be used")
	}
	req.Header = header
	res, err := via.RoundTrip(req)
	if err != nil {
		return t, cl.unreachable(ctx, err, "The authorization server of the system behind this tool")
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxTokenBytes))
	if err != nil {
		return t, cl.unreachable(ctx, err, "The authorization server of the system behind this tool")
	}
	var answer struct {
		Token   string          `json:"access_token"`
		Type    string          `json:"token_type"`
		Expires json.RawMessage `json:"expires_in"`
		Error   string          `json:"error"`
	}
	parsed := json.Unmarshal(raw, &answer)
	switch {
	case res.StatusCode == http.StatusTooManyRequests:
		return t, tooMany(res.Header)
	case res.StatusCode >= 500:
		return t, fault.New(fault.UpstreamAway, "The authorization server of the system behind this tool failed. Nothing was done. Call again in 5 s.").After(5 * time.Second).Because(fmt.Errorf("the token endpoint answered %d", res.StatusCode))
	case res.StatusCode != http.StatusOK || parsed != nil || answer.Token == "" || !headerText(answer.Token):
		return t, fault.New(fault.CredentialsAway, "The authorization server of the system behind this tool gave no token. Nothing was done. Do not retry; tell your administrator to look at the client and its secret.").
			Because(fmt.Errorf("the token endpoint answered %d, error %q", res.StatusCode, scrub(words(answer.Error), hide)))
	}
	var seconds float64
	if json.Unmarshal(answer.Expires, &seconds) != nil {
		var text string // some send it as one
		if json.Unmarshal(answer.Expires, &text) == nil {
			fmt.Sscan(text, &seconds)
		}
	}
	t.value = answer.Token
	life := 5 * time.Minute // where nothing is said of it
	if seconds > 0 {
		life = time.Duration(min(seconds, 86400) * float64(time.Second))
	}
	t.end = time.Now().Add(life - min(earlyBy, life/5))
	return t, nil
}

// signer makes assertions with a private key.
type signer struct {
	signing
	signer jose.Signer
}

func newSigner(s signing, key secret.Text) (*signer, error) {
	private, err := parseKey(key.Reveal())
	if err != nil {
		return nil, err
	}
	fits := false
	switch k := private.(type) {
	case *rsa.PrivateKey:
		fits = s.Algorithm == "RS256" && k.N.BitLen() >= 2048
	case *ecdsa.PrivateKey:
		fits = s.Algorithm == "ES256" && k.Curve == elliptic.P256()
	case ed25519.PrivateKey:
		fits = s.Algorithm == "EdDSA"
	}
	if !fits {
		return nil, fmt.Errorf("is no key for %.20s", s.Algorithm)
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if s.KeyID != "" {
		options = options.WithHeader("kid", s.KeyID)
	}
	one, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(s.Algorithm), Key: private}, options)
	if err != nil {
		return nil, errors.New("cannot sign")
	}
	return &signer{s, one}, nil
}

// parseKey reads a private key; its errors say nothing of it.
func parseKey(text string) (any, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("is no PEM")
	}
	if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	return nil, errors.New("is no private key")
}

func (s *signer) sign(audience string, now time.Time) (string, time.Time, error) {
	end := now.Add(s.Lifetime)
	claims := map[string]any{"iat": now.Unix(), "exp": end.Unix(), "jti": tenants.RandomID("as")}
	for k, v := range s.Claims {
		claims[k] = v
	}
	for k, v := range map[string]string{"iss": s.Issuer, "sub": s.Subject, "aud": audience} {
		if v != "" {
			claims[k] = v
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", end, err
	}
	signed, err := s.signer.Sign(payload)
	if err != nil {
		return "", end, errors.New("the assertion could not be signed")
	}
	text, err := signed.CompactSerialize()
	return text, end, err
}
