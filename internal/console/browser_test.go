package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"latchkey/internal/pages/pagestest"
)

// A person opens the console, is sent to sign in, and comes back to the page
// that they asked for, under the policy that its pages have.
func TestConsoleInABrowser(t *testing.T) {
	w := newWorld(t, "", built())
	b := pagestest.New(t)
	base := w.sites.Base("acme")
	b.Do(chromedp.Navigate(base+"/admin/servers?status=draft"), chromedp.WaitReady(chromedp.CSS("#email")))
	b.Do(chromedp.SendKeys(chromedp.CSS("#email"), "pat@acme.test"), chromedp.SendKeys(chromedp.CSS("#password"), password.Reveal()))
	b.Do(chromedp.Click(chromedp.CSS("button")))
	b.WaitAt(base + "/admin/servers?status=draft")
	b.Do(chromedp.WaitReady(chromedp.CSS("#hello-Pat")))
	if got := pagestest.Get(b, chromedp.Evaluate[string](`document.cookie`)); got != "" {
		t.Errorf("a script sees %s", got)
	}
	// Another site cannot act with the session, nor end it, nor frame it.
	evil := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(rw, `<main><form method=post action="%s/admin/sign-out"><button>Win</button></form></main>`, base)
	}))
	t.Cleanup(evil.Close)
	b.Open(evil.URL)
	b.Submit(chromedp.Click(chromedp.CSS("button")))
	if text := b.Text(); !strings.Contains(text, "came from another site") {
		t.Errorf("%s", text)
	}
	b.Do(chromedp.Navigate(base+"/admin/"), chromedp.WaitReady(chromedp.CSS("#hello-Pat")))
	// Its own form does.
	b.Do(chromedp.Evaluate[chromedp.Void](`const f = document.createElement("form"); f.method = "post"; f.action = "` + base + `/admin/sign-out"; document.body.append(f); f.submit()`))
	b.WaitAt(base + "/signed-out")
	if v := b.Violations(); len(v) > 0 {
		t.Errorf("content security policy: %s", strings.Join(v, "\n"))
	}
}

func TestOperatorsLoginInABrowser(t *testing.T) {
	w := newWorld(t, "", built())
	b := pagestest.New(t)
	base := w.sites.Platform()
	b.Check("ops-login", base+"/ops/login")
	b.Do(chromedp.Navigate(base+"/ops/tenants"), chromedp.WaitReady(chromedp.CSS("#email")))
	b.Do(chromedp.SendKeys(chromedp.CSS("#email"), operator), chromedp.SendKeys(chromedp.CSS("#password"), "not the password"))
	b.Submit(chromedp.Click(chromedp.CSS("button")))
	b.CheckHere("ops-login-wrong")
	b.Do(chromedp.SendKeys(chromedp.CSS("#password"), opsPassword.Reveal()))
	b.Do(chromedp.Click(chromedp.CSS("button")))
	b.WaitAt(base + "/ops/tenants")
	b.Do(chromedp.WaitReady(chromedp.CSS("#hello-Olga")))
	if v := b.Violations(); len(v) > 0 {
		t.Errorf("content security policy: %s", strings.Join(v, "\n"))
	}
}
