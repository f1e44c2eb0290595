package signin_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"latchkey/internal/pages/pagestest"
)

func TestPagesInABrowser(t *testing.T) {
	w := newWorld(t, "")
	b := pagestest.New(t)
	base := w.sites.Base("acme")
	b.Check("login", base+"/login?return_to=%2Fconnections")
	b.Check("signed-out", base+"/signed-out")

	submit := func(password string) {
		t.Helper()
		b.Open(base + "/login?return_to=%2Fconnections")
		b.Do(chromedp.SendKeys(chromedp.CSS("#email"), "pat@acme.test"), chromedp.SendKeys(chromedp.CSS("#password"), password))
		b.Submit(chromedp.Click(chromedp.CSS("button")))
	}
	submit("not the password")
	if text := b.Text(); !strings.Contains(text, "do not go together") {
		t.Errorf("wrong password: %s", text)
	}
	b.CheckHere("login-wrong")
	if got := pagestest.Get(b, chromedp.Evaluate[string](`document.activeElement.id + " " + document.querySelector("#email").value`)); got != "password pat@acme.test" {
		t.Errorf("after a wrong password the focus and the address are %q", got)
	}
	for range 6 {
		submit("not the password")
	}
	if text := b.Text(); !strings.Contains(text, "Too many tries. Wait 15 seconds") {
		t.Errorf("throttled: %s", text)
	}
	b.CheckHere("login-throttled")

	w.pass(time.Minute)
	submit(password.Reveal())
	b.WaitAt(base + "/connections")
	b.Check("login-again", base+"/login")
	b.Check("logout", base+"/logout")
	b.Submit(chromedp.Click(chromedp.CSS("button.primary")))
	if got := b.Location(); got != base+"/signed-out" {
		t.Errorf("signed out, the window is at %s", got)
	}
	if v := b.Violations(); len(v) > 0 {
		t.Errorf("content security policy: %s", strings.Join(v, "\n"))
	}
}

func TestSignInByKeyboardAlone(t *testing.T) {
	w := newWorld(t, "")
	b := pagestest.New(t)
	base := w.sites.Base("acme")
	b.Open(base + "/login?return_to=%2Fconnections")
	// The address has the focus at once; what is focused is outlined.
	b.Do(chromedp.KeyEvent("pat@acme.test"), chromedp.KeyEvent(kb.Tab))
	if got := pagestest.Get(b, chromedp.Evaluate[string](`document.activeElement.id + " " + getComputedStyle(document.activeElement).outlineStyle`)); got != "password solid" {
		t.Errorf("after Tab: %q", got)
	}
	b.Do(chromedp.KeyEvent(password.Reveal()))
	b.Do(chromedp.KeyEvent(kb.Enter))
	b.WaitAt(base + "/connections")
}

// An authorization that was given before redirects to the app at once.
func TestRedirectToAnAppAfterLoginIsNotBlocked(t *testing.T) {
	w := newWorld(t, "")
	app := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { rw.Write([]byte("the app")) }))
	t.Cleanup(app.Close)
	b := pagestest.New(t)
	b.Open(w.service.LoginURL(w.acme, "/elsewhere?to="+app.URL+"/callback"))
	b.Do(chromedp.SendKeys(chromedp.CSS("#email"), "pat@acme.test"), chromedp.SendKeys(chromedp.CSS("#password"), password.Reveal()))
	b.Do(chromedp.Click(chromedp.CSS("button")))
	b.WaitAt(app.URL + "/callback")
	if v := b.Violations(); len(v) > 0 {
		t.Errorf("content security policy: %s", strings.Join(v, "\n"))
	}
}
