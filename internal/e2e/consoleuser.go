package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"latchkey/internal/pages/pagestest"
)

// Console is a browser in which somebody uses the console. It finds things as a
// person does who cannot see the page: by role and accessible name.
type Console struct {
	*pagestest.Browser
	t    *testing.T
	base string // of the console, without a slash at its end
	seen int
}

// OpenConsole signs somebody in to a tenant's console, through the tenant's own
// authorization server.
func OpenConsole(t *testing.T, p *Platform, email string) *Console {
	t.Helper()
	u, err := p.User(email)
	if err != nil {
		t.Fatal(err)
	}
	c := &Console{Browser: pagestest.New(t), t: t, base: p.Tenants[u.Tenant] + "/admin"}
	c.Do(chromedp.Navigate(c.base + "/"))
	c.logIn(email, u.Password)
	c.See("Overview")
	return c
}

// OpenOps signs the operator in.
func OpenOps(t *testing.T, p *Platform) *Console {
	t.Helper()
	c := &Console{Browser: pagestest.New(t), t: t, base: strings.TrimSuffix(p.Operator.URL, "/")}
	c.Do(chromedp.Navigate(c.base + "/"))
	c.logIn(p.Operator.Email, p.Operator.Password)
	c.See("Tenants")
	return c
}

func (c *Console) logIn(email, password string) {
	c.t.Helper()
	c.Do(
		chromedp.WaitReady(chromedp.CSS(`input[name="password"]`)),
		chromedp.SendKeys(chromedp.CSS(`input[name="email"]`), email),
		chromedp.SendKeys(chromedp.CSS(`input[name="password"]`), password),
		chromedp.Click(chromedp.CSS(`form button[type="submit"], form[action$="/login"] button`)),
	)
}

// finder is JavaScript that finds what is shown by kind and name, and marks it.
// What is named exactly comes before what only begins so.
const finder = `((kind, name, mark) => {
  const shown = e => e.checkVisibility({opacityProperty: false, visibilityProperty: true}) && !e.closest('[aria-hidden="true"],[inert]');
  const text = e => (e.getAttribute('aria-label') || (e.getAttribute('aria-labelledby') || '').split(' ').map(i => document.getElementById(i)?.innerText || '').join(' ').trim() || e.innerText || e.title || '').replace(/\s+/g, ' ').trim();
  const kinds = {
    press: 'button,a[href],input[type=checkbox],input[type=radio],[role=tab],[role=menuitem],[role=option],[role=checkbox],[role=radio],summary,label',
    field: 'input:not([type=hidden]),textarea,[contenteditable=true],[role=textbox]',
    group: '[role=group],section',
  };
  const label = e => text(e) || [...(e.labels || [])].map(l => l.innerText).join(' ') || e.placeholder || '';
  const all = [...document.querySelectorAll(kinds[kind])].filter(shown);
  const named = kind === 'field' ? e => label(e).replace(/\s*\*\s*$/, '').replace(/\s+/g, ' ').trim() : text;
  const found = all.find(e => named(e) === name) || all.find(e => named(e).startsWith(name)) ;
  if (!found) return 'there is: ' + [...new Set(all.map(named))].filter(Boolean).slice(0, 60).join(' · ');
  if (found.disabled || found.getAttribute('aria-disabled') === 'true') return name + ' is disabled';
  found.setAttribute('data-e2e', mark);
  found.scrollIntoView({block: 'center', inline: 'center'});
  return '';
})`

// find waits for something to be there and returns a selector of it.
func (c *Console) find(kind, name string) string {
	c.t.Helper()
	c.seen++
	mark := fmt.Sprint(c.seen)
	args, err := json.Marshal([]string{kind, name, mark})
	if err != nil {
		c.t.Fatal(err)
	}
	call := "document.body ? " + finder + "(" + strings.Trim(string(args), "[]") + ") : 'no page yet'"
	err = poll(20*time.Second, func() error {
		if no := pagestest.Get(c.Browser, chromedp.Evaluate[string](call)); no != "" {
			return fmt.Errorf("%s %q: %s", kind, name, no)
		}
		return nil
	})
	if err != nil {
		c.Shot("lost-" + strings.ReplaceAll(c.t.Name(), "/", "-"))
		c.t.Fatalf("%v\nat %s:\n%.3000s", err, c.Location(), c.Text())
	}
	return `[data-e2e="` + mark + `"]`
}

// Go opens a page of the console by its path.
func (c *Console) Go(path string) {
	c.t.Helper()
	c.Do(chromedp.Navigate(c.base+path), chromedp.WaitReady(chromedp.CSS("main h1")))
}

// Press clicks a button, link, tab, option or checkbox.
func (c *Console) Press(names ...string) {
	c.t.Helper()
	for _, name := range names {
		at := c.find("press", name)
		// The element may move while a dialog opens: the click goes to itself.
		c.Do(chromedp.Evaluate[chromedp.Void](`(e => { e.focus(); for (const t of ['pointerdown', 'mousedown', 'pointerup', 'mouseup']) e.dispatchEvent(new (t[0] === 'p' ? PointerEvent : MouseEvent)(t, {bubbles: true, cancelable: true, pointerType: 'mouse', button: 0})); e.click(); })(document.querySelector('` + at + `'))`))
	}
}

// Fill types into a field in place of what is there.
func (c *Console) Fill(label, text string) {
	c.t.Helper()
	at := c.find("field", label)
	if strings.Contains(text, "\n") { // pasted: typed, an editor would indent it
		value, err := json.Marshal(text)
		if err != nil {
			c.t.Fatal(err)
		}
		c.Do(chromedp.Evaluate[chromedp.Void](`(e => { e.focus(); e.select(); document.execCommand('insertText', false, ` + string(value) + `); })(document.querySelector('` + at + `'))`))
		return
	}
	c.Do(chromedp.Evaluate[chromedp.Void](`(e => { e.focus(); e.select(); })(document.querySelector('`+at+`'))`), chromedp.SendKeys(chromedp.CSS(at), text))
}

// Choose picks an option of a list that opens below a field.
func (c *Console) Choose(label, option string) {
	c.t.Helper()
	at := c.find("field", label)
	c.Do(chromedp.Click(chromedp.CSS(at)))
	c.Press(option)
}

// Shown is what stands in a box to copy from.
func (c *Console) Shown(label string) string {
	c.t.Helper()
	return pagestest.Get(c.Browser, chromedp.Evaluate[string](`document.querySelector('`+c.find("group", label)+` code').innerText`))
}

// See waits until the page says all of these.
func (c *Console) See(texts ...string) {
	c.t.Helper()
	err := poll(20*time.Second, func() error {
		page := strings.ToLower(strings.Join(strings.Fields(c.Text()), " "))
		for _, t := range texts {
			if !strings.Contains(page, strings.ToLower(t)) {
				return fmt.Errorf("the page does not say %q", t)
			}
		}
		return nil
	})
	if err != nil {
		c.Shot("lost-" + strings.ReplaceAll(c.t.Name(), "/", "-"))
		c.t.Fatalf("%v\nat %s:\n%.3000s", err, c.Location(), c.Text())
	}
}

// Settled waits until nothing is loading any more.
func (c *Console) Settled() {
	c.t.Helper()
	err := poll(20*time.Second, func() error {
		busy := pagestest.Get(c.Browser, chromedp.Evaluate[int](`document.querySelectorAll('.mantine-Skeleton-root,[aria-busy=true],.mantine-Loader-root').length`))
		if busy > 0 {
			return fmt.Errorf("%d things are loading", busy)
		}
		return nil
	})
	if err != nil {
		c.t.Fatalf("%v at %s:\n%.2000s", err, c.Location(), c.Text())
	}
}

// Clean fails the test if the page broke its security policy.
func (c *Console) Clean() {
	c.t.Helper()
	if v := c.Violations(); len(v) > 0 {
		c.t.Errorf("content security policy: %s", strings.Join(v, "\n"))
	}
}
