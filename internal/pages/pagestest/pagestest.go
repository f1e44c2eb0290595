// Package pagestest looks at pages with a real browser: Chromium over its
// debugging protocol, axe-core for accessibility, and screenshots for people.
package pagestest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"latchkey/internal/testenv"
)

const axePackage = "axe-core@4.14.1"

// Browser is one window of a fresh Chromium.
type Browser struct {
	t   *testing.T
	ctx context.Context

	mu    sync.Mutex
	wrong []string
	sent  []string
	at    string // the URL of the window's page
	// changed is closed and replaced when one of them does.
	changed chan struct{}
}

// New starts a Chromium until the test ends.
func New(t *testing.T) *Browser {
	t.Helper()
	if testing.Short() {
		t.Skip("browsers are for make test")
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(testenv.Chromium(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless, chromedp.DisableGPU, chromedp.NoSandbox,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("disable-features", "PasswordManagerOnboarding,AutofillServerCommunication,OptimizationHints,MediaRouter"),
	}
	ctx, expire := context.WithTimeout(context.Background(), 6*time.Minute)
	t.Cleanup(expire)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	t.Cleanup(func() { chromedp.Cancel(ctx) })
	b := &Browser{t: t, ctx: ctx, changed: make(chan struct{})}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, audits.Enable, cdp.Empty{})
	b.Size(1100, 900)
	return b
}

// Context is for chromedp.Run.
func (b *Browser) Context() context.Context { return b.ctx }

// Do runs actions and fails the test with what went wrong.
func (b *Browser) Do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// Get runs an action that has a result.
func Get[T any](b *Browser, action chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func call[P, R any](b *Browser, c cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, c, params); err != nil {
		b.t.Fatal(err)
	}
}

// Open goes to a page and waits for it.
func (b *Browser) Open(url string) {
	b.t.Helper()
	b.Do(chromedp.Navigate(url), chromedp.WaitReady(chromedp.CSS("main")))
}

// Submit does what sends a form and waits for the page that answers it.
func (b *Browser) Submit(action chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	Get(b, chromedp.WaitEvent(page.LoadEventFired, func(page.EventLoadEventFired) bool { return true }, action))
}

// Theme is what the browser says the person prefers: light or dark, and no
// motion, so that what is looked at has arrived.
func (b *Browser) Theme(name string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
}

// Size sets the window.
func (b *Browser) Size(width, height int64) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600,
	})
}

// Text is what the page says, as it is shown.
func (b *Browser) Text() string {
	b.t.Helper()
	return Get(b, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`))
}

// Location is where the window is.
func (b *Browser) Location() string {
	b.t.Helper()
	return Get(b, chromedp.Location())
}

func (b *Browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, at := len(b.wrong)+len(b.sent), b.at
	defer func() {
		if len(b.wrong)+len(b.sent) > before || b.at != at {
			close(b.changed)
			b.changed = make(chan struct{})
		}
	}()
	switch e := event.(type) {
	case *audits.EventIssueAdded:
		if p := e.Issue.Details.ContentSecurityPolicyIssueDetails; p != nil {
			b.wrong = append(b.wrong, fmt.Sprintf("%s: %s", p.ViolatedDirective, p.BlockedURL))
		}
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity || strings.Contains(e.Entry.Text, "Content Security Policy") {
			b.wrong = append(b.wrong, e.Entry.Text)
		}
	case *network.EventRequestWillBeSent:
		b.sent = append(b.sent, e.Request.URL)
	case *page.EventFrameNavigated:
		if e.Frame.ParentID == "" {
			b.at = e.Frame.URL
		}
	case *page.EventFrameRequestedNavigation:
		b.sent = append(b.sent, e.URL)
	}
}

// Violations are breaches of the content security policy so far.
func (b *Browser) Violations() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.wrong...)
}

// Axe returns the breaches of WCAG 2.2 A and AA that axe-core finds in the
// page, one line each.
func (b *Browser) Axe() []string {
	b.t.Helper()
	return b.axe("{}")
}

// axe runs with some rules switched on or off, as axe-core's option `rules`, or
// with only those that `only` lists.
func (b *Browser) axe(rules string, only ...string) []string {
	b.t.Helper()
	run := `["wcag2a","wcag2aa","wcag21a","wcag21aa","wcag22aa","best-practice"]`
	if len(only) > 0 {
		run = `{type: "rule", values: ["` + strings.Join(only, `","`) + `"]}`
	}
	source, err := os.ReadFile(filepath.Join(testenv.NPM(b.t, axePackage), "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		b.t.Fatal(err)
	}
	Get(b, chromedp.Evaluate[int](string(source)+"\n;0"))
	found := Get(b, chromedp.Evaluate[string](`axe.run(document, {preload: false, rules: `+rules+`, runOnly: `+run+`})
		.then(r => JSON.stringify(r.violations.map(v => v.id + ": " + v.help + " " + v.nodes.map(n => n.html + " " + n.failureSummary).join(" | "))))`,
		chromedp.EvalAwaitPromise))
	var lines []string
	if err := json.Unmarshal([]byte(found), &lines); err != nil {
		b.t.Fatal(err)
	}
	return lines
}

// Check runs axe in both themes and at the width of a phone, takes a
// screenshot of each, and fails the test on any breach, on a page that is
// wider than its window, and on a breach of the policy.
func (b *Browser) Check(name, url string) {
	b.t.Helper()
	b.Open(url)
	if v := b.Violations(); len(v) > 0 {
		b.t.Errorf("%s: content security policy: %s", name, strings.Join(v, "\n"))
	}
	b.CheckHere(name)
}

// CheckHere is Check of the page that is open.
func (b *Browser) CheckHere(name string) {
	b.t.Helper()
	for _, width := range []int64{1100, 390} {
		b.Size(width, 900)
		for _, theme := range []string{"light", "dark"} {
			b.Theme(theme)
			b.settle(theme)
			for _, v := range b.axeFor(theme, width) {
				b.t.Errorf("%s, %s, %d px: %s", name, theme, width, v)
			}
			over := Get(b, chromedp.Evaluate[int](`document.documentElement.scrollWidth - document.documentElement.clientWidth`))
			if over > 0 {
				b.t.Errorf("%s, %d px: the page is %d px wider than the window, because of %s", name, width, over, Get(b, chromedp.Evaluate[string](widest)))
			}
			b.Shot(fmt.Sprintf("%s-%s-%d", name, theme, width))
		}
	}
	b.Size(1100, 900)
	b.Theme("light")
}

// axeFor runs the rules that a theme and a width can break. A theme is colours
// and nothing else, and those are the same at both widths.
func (b *Browser) axeFor(theme string, width int64) []string {
	b.t.Helper()
	switch {
	case width > 390 && theme == "light":
		return b.Axe()
	case width > 390:
		return b.axe("{}", "color-contrast", "link-in-text-block")
	case theme == "light":
		return b.axe(`{"color-contrast": {enabled: false}}`)
	}
	return nil
}

// widest names what reaches out of the window and is in nothing that scrolls.
const widest = `[...document.querySelectorAll('body *')].filter(e => {
	if (e.getBoundingClientRect().right <= document.documentElement.clientWidth + 0.5) return false;
	for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) if (getComputedStyle(p).overflowX !== 'visible') return false;
	return true;
}).filter(e => !e.closest('header')).map(e => e.outerHTML.slice(0, 160)).slice(0, 4).join(' | ')`

// settle waits until a page has followed the theme: one whose script does it
// says so on its root, and colours may take a moment to change.
func (b *Browser) settle(theme string) {
	b.t.Helper()
	Get(b, chromedp.Evaluate[int](`(async theme => {
		const frame = () => new Promise(requestAnimationFrame);
		const root = document.documentElement;
		for (let i = 0; i < 600 && root.dataset.mantineColorScheme && root.dataset.mantineColorScheme !== theme; i++) await frame();
		await frame(); await frame();
		await Promise.all(document.getAnimations().filter(a => a instanceof CSSTransition).map(a => a.finished.catch(() => {})));
		await frame();
		return 0;
	})("`+theme+`")`, chromedp.EvalAwaitPromise))
}

// Shot writes a picture of the whole page into the folder that
// LATCHKEY_SCREENSHOTS names, and nothing without it.
func (b *Browser) Shot(name string) {
	b.t.Helper()
	dir := os.Getenv("LATCHKEY_SCREENSHOTS")
	if dir == "" {
		return
	}
	png := Get(b, chromedp.FullScreenshot(100))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// WaitAt waits until the window has arrived at a URL, whatever pages lead there.
func (b *Browser) WaitAt(url string) {
	b.t.Helper()
	for {
		b.mu.Lock()
		changed, at, wrong := b.changed, b.at, b.wrong
		b.mu.Unlock()
		if at == url {
			return
		}
		if len(wrong) > 0 {
			b.t.Fatalf("the window is at %s and not %s: %s", at, url, strings.Join(wrong, "\n"))
		}
		select {
		case <-changed:
		case <-b.ctx.Done():
			b.t.Fatalf("the window is at %s and not %s", at, url)
		}
	}
}

// WaitSent waits until a URL with the prefix was asked for, or refused.
func (b *Browser) WaitSent(prefix string) {
	b.t.Helper()
	for {
		b.mu.Lock()
		changed := b.changed
		done := len(b.wrong) > 0 || slices.ContainsFunc(b.sent, func(u string) bool { return strings.HasPrefix(u, prefix) })
		b.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-b.ctx.Done():
			b.t.Fatalf("%s was not asked for", prefix)
		}
	}
}
