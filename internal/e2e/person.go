package e2e

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Person is somebody who is signed in to a tenant, and answers what apps ask.
type Person struct {
	User
	base string
	http *http.Client
}

// Person signs somebody in, once a platform: guessing passwords is slowed.
func (p *Platform) Person(ctx context.Context, email string) (*Person, error) {
	p.mu.Lock()
	o := p.people[email]
	if o == nil {
		o = &onceValue[*Person]{}
		p.people[email] = o
	}
	p.mu.Unlock()
	return o.get(func() (*Person, error) { return p.SignIn(context.WithoutCancel(ctx), email) })
}

// SignIn is a new browser in which somebody signs in.
func (p *Platform) SignIn(ctx context.Context, email string) (*Person, error) {
	u, err := p.User(email)
	if err != nil {
		return nil, err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	browser := *p.HTTP
	browser.Jar = jar
	pn := &Person{User: u, base: p.Tenants[u.Tenant], http: &browser}
	res, body, err := pn.post(ctx, pn.base+"/login", url.Values{"email": {u.Email}, "password": {u.Password}})
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSeeOther {
		return nil, fmt.Errorf("sign in as %s: %s %.300s", email, res.Status, body)
	}
	return pn, nil
}

func (pn *Person) get(ctx context.Context, u string) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, "", err
	}
	return send(pn.http, r)
}

func (pn *Person) post(ctx context.Context, u string, form url.Values) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(pn.http, r)
}

func send(c *http.Client, r *http.Request) (*http.Response, string, error) {
	res, err := c.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}

// Question is a consent page.
type Question struct {
	Offered, Ticked []string // scopes
	Ticket          string
	Text            string
}

var (
	ticketField = regexp.MustCompile(`name="ticket" value="([^"]+)"`)
	scopeField  = regexp.MustCompile(`<input[^>]*name="scope" value="([^"]+)"[^>]*>`)
	tags        = regexp.MustCompile(`<[^>]+>`)
)

// Ask follows an app's authorization URL to the consent page.
func (pn *Person) Ask(ctx context.Context, authURL string) (Question, error) {
	res, body, err := pn.get(ctx, authURL)
	if err != nil {
		return Question{}, err
	}
	m := ticketField.FindStringSubmatch(body)
	if res.StatusCode != http.StatusOK || m == nil {
		return Question{}, fmt.Errorf("no consent page: %s, to %s %.600s", res.Status, res.Header.Get("Location"), body)
	}
	q := Question{Ticket: html.UnescapeString(m[1]), Text: html.UnescapeString(tags.ReplaceAllString(body, " "))}
	for _, f := range scopeField.FindAllStringSubmatch(body, -1) {
		q.Offered = append(q.Offered, html.UnescapeString(f[1]))
		if strings.Contains(f[0], " checked") {
			q.Ticked = append(q.Ticked, html.UnescapeString(f[1]))
		}
	}
	return q, nil
}

const thirtyDays = "2592000"

// Answer sends the consent form, and returns where the browser is sent then.
func (pn *Person) Answer(ctx context.Context, q Question, answer string, ticks ...string) (*url.URL, error) {
	res, body, err := pn.post(ctx, pn.base+"/consent", url.Values{"ticket": {q.Ticket}, "answer": {answer}, "for": {thirtyDays}, "scope": ticks})
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSeeOther {
		return nil, fmt.Errorf("consent: %s %.600s", res.Status, body)
	}
	return url.Parse(res.Header.Get("Location"))
}

// Approve answers an app's question by ticking exactly the given scopes. Those
// that are not offered are left out.
func (pn *Person) Approve(ctx context.Context, authURL string, ticks ...string) (*url.URL, error) {
	q, err := pn.Ask(ctx, authURL)
	if err != nil {
		return nil, err
	}
	return pn.Answer(ctx, q, "allow", slices.DeleteFunc(slices.Clone(ticks), func(s string) bool { return !slices.Contains(q.Offered, s) })...)
}

// App is a client that registered itself.
type App struct {
	ID, Redirect string
	p            *Platform
	tenant       string
}

// Register registers an app at a tenant (RFC 7591).
func (p *Platform) Register(ctx context.Context, tenant, redirect string) (*App, error) {
	b, err := json.Marshal(map[string]any{
		"client_name": "End-to-end test", "redirect_uris": []string{redirect}, "token_endpoint_auth_method": "none",
	})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Tenants[tenant]+"/register", strings.NewReader(string(b)))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	res, body, err := send(p.HTTP, r)
	if err != nil {
		return nil, err
	}
	var made struct {
		ID string `json:"client_id"`
	}
	if err := json.Unmarshal([]byte(body), &made); err != nil || res.StatusCode != http.StatusCreated {
		return nil, fmt.Errorf("register: %s %.300s", res.Status, body)
	}
	return &App{ID: made.ID, Redirect: redirect, p: p, tenant: tenant}, nil
}

const nowhere = "http://127.0.0.1:9/callback" // the harness reads redirects and follows none

// app is one for all tests that need no own.
func (p *Platform) app(ctx context.Context, tenant string) (*App, error) {
	p.mu.Lock()
	o := p.apps[tenant]
	if o == nil {
		o = &onceValue[*App]{}
		p.apps[tenant] = o
	}
	p.mu.Unlock()
	return o.get(func() (*App, error) { return p.Register(context.WithoutCancel(ctx), tenant, nowhere) })
}

// Token is what an app got.
type Token struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
	Error   string `json:"error"`
}

// Claims reads the access token without checking it.
func (k Token) Claims() map[string]any {
	var m map[string]any
	if parts := strings.Split(k.Access, "."); len(parts) == 3 {
		if b, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(b, &m) // nil claims fail whoever needs them
		}
	}
	return m
}

// Grant is the id of the grant that the token belongs to.
func (k Token) Grant() string { s, _ := k.Claims()["gid"].(string); return s }

// AuthorizeURL is where the app sends the browser.
func (a *App) AuthorizeURL(resource, verifier string, scopes ...string) string {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {a.ID}, "redirect_uri": {a.Redirect}, "resource": {resource}, "state": {"st"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	if len(scopes) > 0 {
		q.Set("scope", strings.Join(scopes, " "))
	}
	return a.p.Tenants[a.tenant] + "/authorize?" + q.Encode()
}

// Connect lets the app in: it asks for the scopes and the person ticks ticks.
func (a *App) Connect(ctx context.Context, pn *Person, resource string, scopes, ticks []string) (Token, error) {
	verifier := rand.Text() + rand.Text()
	to, err := pn.Approve(ctx, a.AuthorizeURL(resource, verifier, scopes...), ticks...)
	if err != nil {
		return Token{}, err
	}
	if to.Query().Get("code") == "" {
		return Token{}, fmt.Errorf("the answer is %s", to.RawQuery)
	}
	return a.exchange(ctx, url.Values{
		"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")}, "code_verifier": {verifier}, "redirect_uri": {a.Redirect},
	})
}

// Renew trades a refresh token.
func (a *App) Renew(ctx context.Context, refresh string) (Token, error) {
	return a.exchange(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
}

func (a *App) exchange(ctx context.Context, form url.Values) (Token, error) {
	form.Set("client_id", a.ID)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.p.Tenants[a.tenant]+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return Token{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, body, err := send(a.p.HTTP, r)
	if err != nil {
		return Token{}, err
	}
	var k Token
	if err := json.Unmarshal([]byte(body), &k); err != nil {
		return k, fmt.Errorf("token: %s %.300s", res.Status, body)
	}
	if k.Error != "" || k.Access == "" {
		return k, fmt.Errorf("token: %s %s", res.Status, body)
	}
	return k, nil
}

// Token connects an app for somebody to one of their tenant's servers, with
// just the given scopes.
func (p *Platform) Token(t testing.TB, email, server string, scopes ...string) Token {
	t.Helper()
	k, err := p.connect(t.Context(), email, server, scopes...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (p *Platform) connect(ctx context.Context, email, server string, scopes ...string) (Token, error) {
	pn, err := p.Person(ctx, email)
	if err != nil {
		return Token{}, err
	}
	a, err := p.app(ctx, pn.Tenant)
	if err != nil {
		return Token{}, err
	}
	k, err := a.Connect(ctx, pn, p.Resource(pn.Tenant, server), scopes, scopes)
	if err != nil {
		return k, err
	}
	if k.Scope != strings.Join(scopes, " ") {
		return k, errors.New("got the scopes " + k.Scope)
	}
	return k, nil
}
