package consent

import (
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

func render(t *testing.T, p Page) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	Render(w, 200, p)
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w
}

// visible is the page's text as a person reads it, with single spaces.
func visible(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.TextNode {
			words = append(words, n.Data)
		}
		block := n.Type == html.ElementNode && !slices.Contains([]string{"a", "b", "bdi", "code"}, n.Data)
		for _, a := range n.Attr {
			block = block && a.Val != "title" && a.Val != "tag"
		}
		if block {
			words = append(words, " ")
		}
		for c := range n.ChildNodes() {
			walk(c)
		}
	}
	walk(doc)
	return strings.Join(strings.Fields(strings.Join(words, "")), " ")
}

func TestPageSaysEverythingInOrder(t *testing.T) {
	p := demo("https://acme.example.com")
	p.Client = Client{Name: "Claude Code", PublishedBy: "claude.ai", Redirect: "http://localhost:41234/callback"}
	p.Before = noon
	for i := range p.Server.Scopes[:2] {
		p.Server.Scopes[i].Allowed = true
	}
	text := visible(t, render(t, p))
	for _, want := range []string{
		"Acme", "dana@acme.test", "Not you?",
		"Claude Code wants to use Orders", "not verified: the app chose this name",
		"Published by claude.ai", "Answer goes to localhost:41234 on this computer http://localhost:41234/callback",
		"This app runs on your computer.",
		"https://acme.example.com/mcp/orders", "This asks for more than before. You allowed this app 2 tools until now",
		"Reads", "Search orders search_orders Finds orders by customer", "Summarize an order",
		"orders:read new One tick for 2 resources and 1 prompt, which come together:", "Resources: orders://order/{id}, orders://recent", "Prompts: Explain a late order",
		"Changes", "Add a note add_note new",
		"Cannot be undone", "refunds:write new One tick for 2 tools, which come together:",
		"Issue a refund issue_refund asks an approver", "Void a refund void_refund can be undone", "Delete an order delete_order new",
		"3 more tools are not open to your role.",
		"How long 1 hour 8 hours 30 days Until I revoke it", "Cancel Allow what is ticked",
	} {
		i := strings.Index(text, want)
		if i < 0 {
			t.Fatalf("missing, or too early: %q in\n%s", want, text)
		}
		text = text[i+len(want):]
	}
}

func TestOnlyReadsAndWhatWasAllowedAreTicked(t *testing.T) {
	tool := func(r registry.Risk) []Tool { return []Tool{{Name: "x", Risk: r}} }
	p := demo("https://acme.example.com")
	p.Server.Scopes = []Scope{
		{Name: "reads", Tools: tool(registry.Reads)},
		{Name: "writes", Tools: tool(registry.Writes)},
		{Name: "destructive", Tools: tool(registry.Destructive)},
		{Name: "unknown", Tools: tool("")},
		{Name: "mixed", Tools: append(tool(registry.Reads), tool(registry.Writes)...)},
		{Name: "before", Tools: tool(registry.Destructive), Allowed: true},
		{Name: "resource", Resources: []string{"x://y"}},
	}
	v := newView(p)
	got := map[string][]string{}
	for _, g := range v.Groups {
		for _, s := range g.Scopes {
			mark := ""
			if s.Ticked {
				mark = " ticked"
			}
			got[g.Label] = append(got[g.Label], s.Name+mark)
		}
	}
	for group, want := range map[string][]string{
		"Reads": {"reads ticked", "resource ticked"}, "Changes": {"writes", "mixed"},
		"Cannot be undone": {"destructive", "unknown", "before ticked"},
	} {
		if !slices.Equal(got[group], want) {
			t.Errorf("%s: %v, want %v", group, got[group], want)
		}
	}
}

func TestDangerousToolIsNotFoldedAway(t *testing.T) {
	p := demo("https://acme.example.com")
	s := Scope{Name: "many"}
	for range 20 {
		s.Tools = append(s.Tools, Tool{Name: "harmless", Risk: registry.Reads})
	}
	s.Tools = append(s.Tools, Tool{Name: "wipe", Risk: registry.Destructive})
	p.Server.Scopes = []Scope{s}
	first := newView(p).Groups[2].Scopes[0].First
	if first[0].Name != "wipe" {
		t.Errorf("in the open: %+v", first)
	}
}

func TestToolTextIsEscaped(t *testing.T) {
	const evil = `"><script>alert(1)</script><form action=https://evil.test><button name=answer value=allow>`
	p := demo("https://acme.example.com")
	p.Tenant, p.User, p.Ticket, p.Problem = evil, evil, evil, evil
	p.Client = Client{Name: evil, PublishedBy: evil, Redirect: "https://claude.ai/" + evil}
	p.Server.Title, p.Server.URL = evil, evil
	p.Server.Scopes = []Scope{
		{Name: evil, Tools: []Tool{{Name: evil, Title: evil, Description: evil}}},
		{Name: evil, Tools: []Tool{{Name: evil, Title: evil, Description: evil}, {Name: evil}}, Resources: []string{evil}, Prompts: []string{evil}},
	}
	p.Durations = []Duration{{Label: evil}}
	pages := map[string]*httptest.ResponseRecorder{"consent": render(t, p)}
	show := func(name string, write func(*httptest.ResponseRecorder)) {
		pages[name] = httptest.NewRecorder()
		write(pages[name])
	}
	show("error", func(w *httptest.ResponseRecorder) {
		Error(w, 400, ErrorPage{Tenant: evil, Title: evil, What: evil, Why: evil, Next: evil, Reference: evil, Steps: []Steps{{evil, []string{evil}}}})
	})
	show("connections", func(w *httptest.ResponseRecorder) {
		Connections(w, ConnectionsPage{Tenant: evil, User: evil, Notice: evil, Token: evil, Connections: []Connection{{ID: evil, Client: evil, PublishedBy: evil, Server: evil, Scopes: []GrantedScope{{evil, evil, "read"}}}}})
	})
	show("return", func(w *httptest.ResponseRecorder) {
		Return(w, ReturnPage{Tenant: evil, Client: evil, Redirect: "javascript:alert(1)"})
		if w.Header().Get("Refresh") != "" || strings.Contains(w.Body.String(), "javascript:") {
			t.Error("the return page goes to a script")
		}
	})
	for name, w := range pages {
		body := w.Body.String()
		if strings.Contains(body, "<script") || strings.Contains(body, "<form action=https://evil") {
			t.Errorf("%s: not escaped:\n%s", name, body)
		}
		if strings.Count(body, `value="allow"`) > 1 {
			t.Errorf("%s: a second button allows", name)
		}
		if csp := w.Header().Get("Content-Security-Policy"); strings.Contains(csp, "evil") {
			t.Errorf("%s: policy %s", name, csp)
		}
	}
}

func TestBidiAndControlCharactersInNames(t *testing.T) {
	p := demo("https://acme.example.com")
	p.Client.Name = "Clau\u202Eed\u202C \x1b[31m\u200BDesk\u2066top\u0000"
	p.Server.Scopes = []Scope{{Name: "tool:x", Tools: []Tool{{Name: "x\u200Fy", Title: "Search\nAllow all\U000E0041\U000E0042", Description: "one\nTWO"}}}}
	w := render(t, p)
	body, text := w.Body.String(), visible(t, w)
	for _, r := range "\u202E\u202C\u200B\u2066\u200F\x1b\x00\U000E0041" {
		if strings.ContainsRune(body, r) {
			t.Errorf("the page holds %U", r)
		}
	}
	for _, want := range []string{"Clau[U+202E]ed[U+202C] ␛[31mDesk[U+2066]top␀", "x[U+200F]y", "Search Allow all x", "one"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestLookalikeHostIsShownAsItIs(t *testing.T) {
	p := demo("https://acme.example.com")
	p.Client = Client{Name: "Claude", PublishedBy: "\u0441laude.ai", Redirect: "https://\u0441laude.ai/cb"} // Cyrillic с
	w := render(t, p)
	if text := visible(t, w); strings.Count(text, "xn--laude-0ye.ai") != 2 {
		t.Errorf("%s", text)
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' https://xn--laude-0ye.ai;") {
		t.Error(csp)
	}
}

func TestDestinationCannotBeDisguised(t *testing.T) {
	for redirect, want := range map[string]destination{
		"https://claude.ai@evil.test/cb":          {Host: "evil.test"},
		"https://evil.test\\@claude.ai/cb":        {Host: "an address that cannot be read"},
		"http://127.0.0.1.evil.test/cb":           {Host: "127.0.0.1.evil.test"},
		"http://localhost.evil.test/cb":           {Host: "localhost.evil.test"},
		"http://127.0.0.1:8787/cb":                {Host: "127.0.0.1:8787 on this computer", Local: true},
		"http://[::ffff:127.0.0.1]:8787/cb":       {Host: "[::ffff:127.0.0.1]:8787 on this computer", Local: true},
		"http://0.0.0.0:8787/cb":                  {Host: "0.0.0.0:8787 on this computer", Local: true},
		"cursor://anysphere.cursor-mcp/oauth/cb":  {Host: "the app for cursor:// links on this computer", App: true, Scheme: "cursor://"},
		"com.example.app:/oauth":                  {Host: "the app for com.example.app:// links on this computer", App: true, Scheme: "com.example.app://"},
		"https://vscode.dev/redirect?url=claude.": {Host: "vscode.dev"},
	} {
		want.URI = redirect
		if got := destinationOf(redirect); got != want {
			t.Errorf("%s: %+v", redirect, got)
		}
	}
}

func TestHeadersOfPages(t *testing.T) {
	w := render(t, demo("https://acme.example.com"))
	for name, want := range map[string]string{
		"Content-Security-Policy":    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self' https://claude.ai; frame-ancestors 'none'",
		"Cache-Control":              "no-store",
		"Referrer-Policy":            "no-referrer",
		"X-Content-Type-Options":     "nosniff",
		"X-Frame-Options":            "DENY",
		"Cross-Origin-Opener-Policy": "", // a popup's opener hears the answer
		"Content-Type":               "text/html; charset=utf-8",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestAnswerPagesWhereARedirectWouldBeBlocked(t *testing.T) {
	for _, test := range []struct {
		redirect   string
		form, link int // status for a browser that sent a form, and that followed a link
	}{
		{"http://127.0.0.1:33418/?code=x", 303, 303}, {"http://localhost:1/callback?code=x", 303, 303}, {"http://[::1]:9/cb?code=x", 303, 303},
		{"https://vscode.dev/redirect?code=x", 200, 303}, {"cursor://anysphere.cursor-mcp/cb?code=x", 200, 200},
	} {
		answer := func(method, mode string, status int) {
			t.Helper()
			w, r := httptest.NewRecorder(), httptest.NewRequest(method, "/consent", nil)
			r.Header.Set("Sec-Fetch-Mode", mode)
			Answer(w, r, ReturnPage{Redirect: test.redirect, Client: "x"})
			to := w.Header().Get("Location")
			if status == 200 {
				to = strings.TrimPrefix(w.Header().Get("Refresh"), "0;url=")
			}
			if w.Code != status || to != test.redirect {
				t.Errorf("%s, %q: %d to %q", method, mode, w.Code, to)
			}
		}
		answer("POST", "navigate", test.form)
		answer("GET", "navigate", test.link)
		answer("POST", "", 303) // a program
	}
}

func TestParseDecision(t *testing.T) {
	form := func(kv ...string) url.Values {
		v := url.Values{"ticket": {"t"}, "answer": {"allow"}, "for": {"3600"}, "scope": {"a", "b", "a"}}
		for i := 0; i+1 < len(kv); i += 2 {
			v.Add(kv[i], kv[i+1])
		}
		return v
	}
	d, err := ParseDecision(form("unknown", "x"))
	if err != nil || !d.Allow || d.Ticket != "t" || d.For != time.Hour || !slices.Equal(d.Scopes, []string{"a", "b"}) {
		t.Errorf("%+v %v", d, err)
	}
	if d, err := ParseDecision(url.Values{"ticket": {"t"}, "answer": {"cancel"}, "scope": {"a"}}); err != nil || d.Allow || d.Scopes != nil {
		t.Errorf("%+v %v", d, err)
	}
	many := form()
	for range maxScopes {
		many.Add("scope", "x")
	}
	for name, v := range map[string]url.Values{
		"empty": {}, "no ticket": {"answer": {"allow"}, "for": {"1"}}, "two tickets": form("ticket", "u"), "two answers": form("answer", "cancel"),
		"odd answer": {"ticket": {"t"}, "answer": {"yes"}}, "two durations": form("for", "9"), "no duration": {"ticket": {"t"}, "answer": {"allow"}},
		"negative": {"ticket": {"t"}, "answer": {"allow"}, "for": {"-1"}}, "for ever": {"ticket": {"t"}, "answer": {"allow"}, "for": {"999999999999"}},
		"a space in a scope": form("scope", "a b"), "an empty scope": form("scope", ""), "a long scope": form("scope", strings.Repeat("a", 257)), "many scopes": many,
		"a long ticket": {"ticket": {strings.Repeat("t", maxToken+1)}, "answer": {"cancel"}},
	} {
		if d, err := ParseDecision(v); !fault.HasCode(err, fault.InvalidRequest) || d.Allow {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func FuzzParseDecision(f *testing.F) {
	f.Add("ticket=t&answer=allow&for=3600&scope=tool:x&scope=refunds:write")
	f.Add("ticket=t&answer=cancel&scope=a+b")
	f.Add("ticket=t&ticket=u&answer=allow&for=-1")
	f.Fuzz(func(t *testing.T, body string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		d, err := ParseDecision(form)
		if err != nil {
			if d.Allow || !fault.HasCode(err, fault.InvalidRequest) {
				t.Fatalf("%+v %v", d, err)
			}
			return
		}
		if d.Ticket == "" || len(d.Ticket) > maxToken || len(d.Scopes) > maxScopes || d.For < 0 || d.For > maxFor || !d.Allow && d.Scopes != nil {
			t.Fatalf("%+v", d)
		}
		for _, s := range d.Scopes {
			if !scopeToken(s) || !slices.Contains(form["scope"], s) {
				t.Fatalf("scope %q", s)
			}
		}
	})
}

func TestParseRevocation(t *testing.T) {
	if r, err := ParseRevocation(url.Values{"grant": {"gr1"}, "token": {"t"}}); err != nil || r != (Revocation{"gr1", "t"}) {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := ParseRevocation(url.Values{"grant": {"gr1", "gr2"}, "token": {"t"}}); err == nil {
		t.Error("two grants were taken")
	}
}

func TestTimesInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "just now", -30 * time.Second: "just now", -90 * time.Second: "1 minute ago", -3 * time.Hour: "3 hours ago",
		-49 * time.Hour: "2 days ago", 30 * time.Second: "in a moment", 26 * time.Hour: "in 1 day",
	} {
		if got := when(noon.Add(d), noon); got.Ago != want || got.Never {
			t.Errorf("%s: %+v", d, got)
		}
	}
	if !when(time.Time{}, noon).Never {
		t.Error("the zero time has happened")
	}
}
