package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"latchkey/internal/pages/pagestest"
)

// listener is an app on this computer that waits for the browser to come back.
type listener struct {
	*App
	p        *Platform
	verifier string
	answers  chan url.Values
}

func listen(t *testing.T, p *Platform) *listener {
	t.Helper()
	l := &listener{p: p, verifier: rand.Text() + rand.Text(), answers: make(chan url.Values, 4)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			l.answers <- r.URL.Query()
		}
		fmt.Fprint(w, "<!doctype html><title>App</title><main>You can close this window.</main>")
	}))
	t.Cleanup(s.Close)
	var err error
	if l.App, err = p.Register(t.Context(), "acme", s.URL+"/callback"); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *listener) url() string {
	return l.AuthorizeURL(l.p.Resource("acme", "orders"), l.verifier, read, write)
}

// answer is what the browser brought back.
func (l *listener) answer(t *testing.T) url.Values {
	t.Helper()
	select {
	case q := <-l.answers:
		if q.Get("iss") != l.p.Tenants["acme"] || q.Get("state") != "st" {
			t.Errorf("the answer is %v", q)
		}
		return q
	case <-time.After(20 * time.Second):
		t.Fatal("the browser did not come back to the app")
		return nil
	}
}

func (l *listener) token(t *testing.T) Token {
	t.Helper()
	q := l.answer(t)
	k, err := l.exchange(t.Context(), url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "code_verifier": {l.verifier}, "redirect_uri": {l.Redirect}})
	if err != nil {
		t.Fatalf("%v: %v", q, err)
	}
	return k
}

const (
	allowButton  = `button[value="allow"]`
	cancelButton = `button[value="cancel"]`
)

func tick(scope string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.CSS(`input[name="scope"][value="` + scope + `"]`))
}

// signIn fills in the login form that the browser shows, and waits for the
// consent page.
func signIn(t *testing.T, b *pagestest.Browser, p *Platform, email string) {
	t.Helper()
	u, err := p.User(email)
	if err != nil {
		t.Fatal(err)
	}
	b.Do(
		chromedp.WaitReady(chromedp.CSS(`input[name="password"]`)),
		chromedp.SendKeys(chromedp.CSS(`input[name="email"]`), u.Email),
		chromedp.SendKeys(chromedp.CSS(`input[name="password"]`), u.Password),
		chromedp.Click(chromedp.CSS(`form[action$="/login"] button`)),
		chromedp.WaitReady(chromedp.CSS(cancelButton)),
	)
}

func wantText(t *testing.T, b *pagestest.Browser, wants ...string) {
	t.Helper()
	text := b.Text()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
}

// The way of everybody's first minute, in a real browser: sign in, read what
// the app wants, tick the refund, allow, and the app pays; then take it back
// on the connections page, and the app's next call fails.
func TestBrowserConnectsAndRevokes(t *testing.T) {
	external(t)
	t.Parallel()
	p := Shared(t)
	l, b, reason := listen(t, p), pagestest.New(t), unique("browser ")
	b.Open(l.url())
	wantText(t, b, "Sign in to Acme Corp")
	signIn(t, b, p, "fred@acme.test")
	wantText(t, b, "End-to-end test wants to use Orders", "not verified", "fred@acme.test", "on this computer", "Search orders", "Issue a refund", "Cannot be undone")
	ticked := pagestest.Get(b, chromedp.Evaluate[[]string](`[...document.querySelectorAll('input[name="scope"]:checked')].map(e => e.value)`))
	if !slices.Equal(ticked, []string{read}) {
		t.Errorf("ticked from the start: %v", ticked)
	}
	b.CheckHere("e2e-consent")
	b.Do(tick(write))
	b.Submit(chromedp.Click(chromedp.CSS(allowButton)))
	k := l.token(t)
	if k.Scope != read+" "+write {
		t.Errorf("granted: %s", k.Scope)
	}
	if v := b.Violations(); len(v) > 0 {
		t.Errorf("content security policy: %v", v)
	}
	a := p.MustCall(t, p.Resource("acme", "orders"), k.Access, "issue_refund", refundOf(payable(t, p), reason))
	if f, err := a.Failure(); f != nil || err != nil {
		t.Fatalf("%v %v", f, err)
	}
	if r := p.LedgerOf(t, "acme", reason); len(r) != 1 || r[0].By != "fred@acme.test" {
		t.Errorf("the ledger has %+v", r)
	}

	b.Open(p.Tenants["acme"] + "/connections")
	wantText(t, b, "Your connections", "End-to-end test", "Orders")
	revoke := `form:has(input[name="grant"][value="` + k.Grant() + `"]) button`
	b.Submit(chromedp.Click(chromedp.CSS(revoke)))
	if a := p.MustCall(t, p.Resource("acme", "orders"), k.Access, "search_orders", map[string]any{"query": "x"}); a.Status != http.StatusUnauthorized {
		t.Errorf("the call after revoking: %d %s", a.Status, a.Body)
	}
	if k, err := l.Renew(t.Context(), k.Refresh); err == nil {
		t.Errorf("the refresh token still gives %s", k.Scope)
	}
}

func TestBrowserDeniesAndChangesPerson(t *testing.T) {
	external(t)
	t.Parallel()
	p := Shared(t)
	l, b := listen(t, p), pagestest.New(t)
	b.Open(l.url())
	signIn(t, b, p, "vic@acme.test")
	wantText(t, b, "vic@acme.test", "1 more tool is not open to your role")

	// Not you? Sign in as somebody else, and the question is theirs.
	b.Do(chromedp.Click(chromedp.CSS(`a[href*="/login"]`)), chromedp.WaitReady(chromedp.CSS(`input[name="password"]`)))
	wantText(t, b, "You are signed in as", "vic@acme.test")
	signIn(t, b, p, "dana@acme.test")
	wantText(t, b, "dana@acme.test", "Issue a refund")

	// Nothing ticked is no answer.
	b.Do(tick(read))
	b.Submit(chromedp.Click(chromedp.CSS(allowButton)))
	wantText(t, b, "Tick what you want to allow, or cancel.")

	b.Submit(chromedp.Click(chromedp.CSS(cancelButton)))
	if q := l.answer(t); q.Get("error") != "access_denied" || q.Has("code") {
		t.Errorf("the app got %v", q)
	}

	// Signed in already: only the question, and reads alone.
	b.Open(l.url())
	b.Do(chromedp.WaitReady(chromedp.CSS(allowButton)))
	b.Submit(chromedp.Click(chromedp.CSS(allowButton)))
	k := l.token(t)
	if k.Scope != read {
		t.Errorf("granted: %s", k.Scope)
	}
	a := p.MustCall(t, p.Resource("acme", "orders"), k.Access, "issue_refund", refundOf(payable(t, p), "browser denied"))
	if a.Status != http.StatusForbidden || !strings.Contains(a.Header.Get("WWW-Authenticate"), "insufficient_scope") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}
