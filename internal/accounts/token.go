package accounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"latchkey/internal/egress"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

const (
	httpTimeout = 10 * time.Second
	maxAnswer   = 256 << 10
	maxToken    = 64 << 10
	// A token that says it lasts longer is looked at again all the same.
	maxLife = 30 * 24 * time.Hour
)

// client talks to authorization servers. It follows no redirect: a request there
// holds a code or a secret, and an answer of theirs has no reason to be elsewhere.
func client(p *egress.Policy) *http.Client {
	if p == nil {
		p = &egress.Policy{}
	}
	tr := p.Transport()
	tr.ResponseHeaderTimeout = httpTimeout
	return &http.Client{
		Transport: tr, Timeout: httpTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// tokens is what a token endpoint gave (RFC 6749 section 5.1).
type tokens struct {
	Access, Refresh secret.Text
	ExpiresAt       time.Time // zero: it does not say
	Scopes          []string  // empty: those that were asked for
}

// refusal is an answer that is none (RFC 6749 section 5.2).
type refusal struct {
	status int
	code   string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("accounts: the token endpoint answered %d %s", r.status, r.code)
}

// final reports that the same request will be refused for ever.
func (r *refusal) final() bool {
	switch r.code {
	case "invalid_grant", "unauthorized_client", "invalid_client", "unsupported_grant_type", "invalid_scope":
		return true
	}
	return false
}

func (s *Service) refresh(ctx context.Context, t tenants.ID, c Client, token secret.Text) (tokens, error) {
	return s.ask(ctx, t, c, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.Reveal()}})
}

func (s *Service) exchange(ctx context.Context, t tenants.ID, c Client, code string, verifier secret.Text, redirect string) (tokens, error) {
	return s.ask(ctx, t, c, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier.Reveal()}, "redirect_uri": {redirect}})
}

// ask sends one request to the token endpoint.
func (s *Service) ask(ctx context.Context, t tenants.ID, c Client, form url.Values) (tokens, error) {
	form.Set("resource", c.Resource)
	res, err := s.post(ctx, t, c, c.Token, form)
	if err != nil {
		return tokens{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return tokens{}, err
	}
	return readTokens(res, raw, s.Now())
}

// post authenticates as the client (RFC 6749 section 2.3) and sends a form.
func (s *Service) post(ctx context.Context, t tenants.ID, c Client, to string, form url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, nil)
	if err != nil {
		return nil, err
	}
	switch c.AuthMethod {
	case "client_secret_basic", "client_secret_post":
		kept, err := s.Vault.Account(ctx, t, c.Server, vault.AccountClient)
		if err != nil {
			return nil, err
		}
		if c.AuthMethod == "client_secret_basic" {
			req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(kept[fieldSecret].Reveal()))
			break
		}
		form.Set("client_id", c.ID)
		form.Set("client_secret", kept[fieldSecret].Reveal())
	default:
		form.Set("client_id", c.ID)
	}
	body := form.Encode()
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "Latchkey")
	return s.http.Do(req)
}

var errAnswer = errors.New("accounts: the token endpoint's answer cannot be read")

// readTokens reads an answer, of which nothing is believed but its form.
func readTokens(res *http.Response, raw []byte, now time.Time) (tokens, error) {
	var in struct {
		Access    string      `json:"access_token"`
		Type      string      `json:"token_type"`
		Refresh   string      `json:"refresh_token"`
		ExpiresIn json.Number `json:"expires_in"` // some write it as a text
		Scope     string      `json:"scope"`
		Error     string      `json:"error"`
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	readable := len(raw) <= maxAnswer && kind == "application/json" && json.Unmarshal(raw, &in) == nil
	if in.Error != "" || res.StatusCode != http.StatusOK {
		return tokens{}, &refusal{res.StatusCode, clean(in.Error, 60)}
	}
	switch {
	case !readable, in.Access == "", len(in.Access) > maxToken, len(in.Refresh) > maxToken, !visible(in.Access), !visible(in.Refresh):
		return tokens{}, errAnswer
	case !strings.EqualFold(in.Type, "bearer"):
		return tokens{}, fmt.Errorf("%w: it is of another type than bearer", errAnswer)
	}
	out := tokens{Access: secret.Text(in.Access), Refresh: secret.Text(in.Refresh), Scopes: scopes(in.Scope)}
	if n, err := in.ExpiresIn.Int64(); err == nil && n > 0 {
		out.ExpiresAt = now.Add(min(time.Duration(min(n, int64(maxLife/time.Second)))*time.Second, maxLife)).Truncate(time.Second)
	}
	return out, nil
}

// visible holds of what can stand in a header (RFC 6750 section 2.1).
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// scopes reads a list of them (RFC 6749 section 3.3), of which a bounded number
// is kept.
func scopes(s string) (all []string) {
	for one := range strings.FieldsSeq(s) {
		if len(all) < 100 && len(one) <= 200 && visible(one) {
			all = append(all, one)
		}
	}
	return all
}

// clean makes a stranger's word fit for a log and a page.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), n)]
}

// revoke tells the upstream that a token is not needed any more (RFC 7009). It is
// a courtesy: nothing depends on the answer.
func (s *Service) revoke(ctx context.Context, t tenants.ID, c Client, token secret.Text) {
	if c.Revoke == "" || token == "" {
		return
	}
	res, err := s.post(ctx, t, c, c.Revoke, url.Values{"token": {token.Reveal()}, "token_type_hint": {"refresh_token"}})
	if err != nil {
		s.Log.InfoContext(ctx, "an upstream was not told of a disconnection", "tenant", t, "server", c.Server, "error", err)
		return
	}
	res.Body.Close()
}
