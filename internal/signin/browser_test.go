package signin_test

import (
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
	if got := b.Location(); got != base+"/connections" {
		t.Errorf("signed in, the window is at %s", got)
	}
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
	b.Submit(chromedp.KeyEvent(kb.Enter))
	if got := b.Location(); got != base+"/connections" {
		t.Errorf("signed in, the window is at %s", got)
	}
}
