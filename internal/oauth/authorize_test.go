package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"latchkey/internal/oauth"
	"latchkey/internal/registry"
)

// wantPage checks that a request is answered with a page, and nowhere else.
func wantPage(t *testing.T, res answer, status int, text string) {
	t.Helper()
	if res.StatusCode != status || res.Header.Get("Location") != "" || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") || !strings.Contains(res.body, text) {
		t.Errorf("got %d to %q, want a page with %q and status %d: %.700s", res.StatusCode, res.Header.Get("Location"), text, status, res.body)
	}
}

func wantRedirectError(t *testing.T, res answer, w *world, code string) {
	t.Helper()
	to, q := res.location(t)
	if to != loopbackRedirect || q.Get("error") != code || q.Get("iss") != w.acme.base || q.Get("code") != "" {
		t.Errorf("sent to %s with %v, want %s", to, q, code)
	}
}

func TestUnregisteredRedirectGetsPageNotRedirect(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme, "https://app.example/callback", "http://127.0.0.1/callback", "https://127.0.0.1/secure", "cursor://anysphere.cursor-retrieval/oauth")
	for _, redirect := range []string{
		"https://evil.example/callback",
		"https://app.example/callback/more",
		"https://app.example/callbackmore",
		"https://app.example/call",
		"https://app.example/Callback",
		"https://APP.example/callback",
		"https://app.example/%63allback",
		"https://app.example/callback?x=1",
		"https://app.example/x/../callback",
		"https://app.example/callback#fragment",
		"https://app.example:444/callback",
		"https://app.example.evil.example/callback",
		"https://app.example@evil.example/callback",
		"https://app.example\\@evil.example/callback",
		"http://app.example/callback",
		"http://127.0.0.1:9/callback/",
		"http://127.0.0.1:9/secure",
		"http://127.0.0.2:9/callback",
		"http://localhost:9/callback",
		"http://[::1]:9/callback",
		"https://127.0.0.1:9/secure",
		"http://user:pw@127.0.0.1:9/callback",
		"http://127.0.0.1:9@evil.example/callback",
		"http://127.0.0.1.evil.example/callback",
		"http://127.0.0.1:99999/callback",
		"http://127.0.0.1:/callback",
		"http://127.0.0.1:9/%63allback",
		"cursor://anysphere.cursor-retrieval/oauth/x",
		"javascript:alert(1)",
		"",
	} {
		res := a.authorize(browser, set("redirect_uri", redirect))
		wantPage(t, res, http.StatusBadRequest, "not registered")
	}
	wantPage(t, w.get(a.at.base+"/authorize?"+a.request().Encode()+"&redirect_uri=https://evil.example/", browser), http.StatusBadRequest, "invalid_request")
}

func TestMissingOrWeakPKCERefused(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	for name, change := range map[string]func(url.Values){
		"none":           func(q url.Values) { q.Del("code_challenge"); q.Del("code_challenge_method") },
		"plain":          set("code_challenge_method", "plain"),
		"missing method": del("code_challenge_method"),
		"short":          set("code_challenge", "abc"),
		"padded":         set("code_challenge", challengeOf("x")[:42]+"="),
	} {
		t.Run(name, func(t *testing.T) {
			wantRedirectError(t, a.authorize(browser, change), w, "invalid_request")
			form := a.request(change)
			wantError(t, w.post(w.acme.base+"/par", form, ""), 400, "invalid_request")
		})
	}
}

func TestImplicitAndHybridRefused(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	for _, typ := range []string{"token", "id_token", "code token", "code id_token", "none", ""} {
		wantRedirectError(t, a.authorize("", set("response_type", typ)), w, "unsupported_response_type")
	}
	for _, mode := range []string{"fragment", "form_post", "web_message"} {
		res := a.authorize("", set("response_mode", mode))
		wantRedirectError(t, res, w, "invalid_request")
		if strings.Contains(res.Header.Get("Location"), "#") {
			t.Errorf("an error in the fragment: %s", res.Header.Get("Location"))
		}
	}
}

func TestIssuerAndStateOnSuccessAndError(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	for _, state := range []string{"", "s", "a b&c=d", strings.Repeat("x", 3000)} {
		ticket, scopes := question(t, a.authorize(browser, set("state", state)))
		_, ok := a.answer(browser, ticket, scopes...).location(t)
		_, bad := a.authorize(browser, set("state", state), set("resource", "https://elsewhere.example/mcp")).location(t)
		for _, q := range []url.Values{ok, bad} {
			if q.Get("iss") != w.acme.base || len(q["iss"]) != 1 || q.Get("state") != state || q.Has("state") != (state != "") {
				t.Errorf("state %.20q came back as %.200v", state, q)
			}
		}
		if ok.Get("code") == "" || bad.Get("error") != "invalid_target" {
			t.Errorf("%v; %v", ok, bad)
		}
	}
}

func TestFramingOfConsentRefused(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme, "https://app.example/callback")
	for _, res := range []answer{a.authorize(browser), a.authorize(browser, set("redirect_uri", "https://evil.example/")), w.get(w.acme.base+"/connections", browser)} {
		csp := res.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "default-src 'none'") || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("headers %v", res.Header)
		}
		if res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Error("a page may be read by other sites")
		}
	}
	if csp := a.authorize(browser).Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' https://app.example") {
		t.Errorf("the redirect that answers the form is not in form-action: %s", csp)
	}
}

func TestConsentFromOtherSiteRefused(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	ticket, scopes := question(t, a.authorize(browser))
	form := url.Values{"ticket": {ticket}, "answer": {"allow"}, "for": {thirtyDays}, "scope": scopes}
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
		wantPage(t, w.post(w.acme.base+"/consent", form, browser, header...), http.StatusForbidden, "another site")
	}
	if _, q := a.answer(browser, ticket, scopes...).location(t); q.Get("code") == "" {
		t.Errorf("the person's own answer was lost: %v", q)
	}
	wantPage(t, a.answer(browser, ticket, scopes...), http.StatusBadRequest, "answered already")
}

func TestConsentTicketIsSingleUse(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	ticket, scopes := question(t, a.authorize(browser))
	results := make(chan answer, 8)
	for range cap(results) {
		go func() { results <- a.answer(browser, ticket, scopes...) }()
	}
	codes := 0
	for range cap(results) {
		res := <-results
		if res.StatusCode == http.StatusSeeOther {
			codes++
		} else if res.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d", res.StatusCode)
		}
	}
	if codes != 1 {
		t.Errorf("%d codes from one ticket", codes)
	}
	ticket, scopes = question(t, a.authorize(browser))
	w.clock.add(11 * time.Minute)
	wantPage(t, a.answer(browser, ticket, scopes...), http.StatusBadRequest, "expired")
	wantPage(t, a.answer(browser, "lkt_unknown", scopes...), http.StatusBadRequest, "answered already")
}

func TestConsentInOtherBrowserRefused(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	begun := w.signIn.begin(w.acme.user)
	other := w.signIn.begin(w.acme.user) // the same person in another browser
	ticket, scopes := question(t, a.authorize(begun))
	wantPage(t, a.answer(other, ticket, scopes...), http.StatusForbidden, "another sign-in")
	wantPage(t, a.answer("", ticket, scopes...), http.StatusForbidden, "another sign-in")
	// Another tenant's person, at their own tenant, has no such ticket.
	stranger := w.signIn.begin(w.globex.user)
	res := w.post(w.globex.base+"/consent", url.Values{"ticket": {ticket}, "answer": {"allow"}, "for": {thirtyDays}, "scope": scopes}, stranger)
	wantPage(t, res, http.StatusBadRequest, "answered already")
	if _, q := a.answer(begun, ticket, scopes...).location(t); q.Get("code") == "" {
		t.Error("the refusals used the ticket up")
	}
}

func TestConsentFormCannotWiden(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	exchange := func(ticket string, scopes ...string) string {
		t.Helper()
		_, q := a.answer(browser, ticket, scopes...).location(t)
		return w.granted(a.token(a.exchangeForm(q.Get("code")))).scope
	}
	// Asked for reading only: writing is open to the role, but was not shown.
	ticket, shown := question(t, a.authorize(browser))
	if got := exchange(ticket, append(shown, "refunds:write", "tool:delete_order", "customers:read", "admin")...); got != "orders:read" {
		t.Errorf("widened to %q", got)
	}
	// Shown, but taken from the role before the answer came.
	ticket, shown = question(t, a.authorize(browser, set("scope", "orders:read refunds:write")))
	if len(shown) != 2 {
		t.Fatalf("shown %q", shown)
	}
	w.open(w.acme, "orders:read")
	if got := exchange(ticket, shown...); got != "orders:read" {
		t.Errorf("a scope that the role lost was granted: %q", got)
	}
	// Opened after the page was shown: not on it.
	ticket, _ = question(t, a.authorize(browser, set("scope", "orders:read refunds:write")))
	w.open(w.acme, "orders:read", "refunds:write")
	if got := exchange(ticket, "orders:read", "refunds:write"); got != "orders:read" {
		t.Errorf("a scope that was not shown was granted: %q", got)
	}
	// A duration that was not offered.
	ticket, shown = question(t, a.authorize(browser))
	res := w.post(w.acme.base+"/consent", url.Values{"ticket": {ticket}, "answer": {"allow"}, "for": {"315000000"}, "scope": shown}, browser)
	wantPage(t, res, http.StatusBadRequest, "not one of the choices")
	// Nothing ticked is asked again, on the same ticket.
	res = a.answer(browser, ticket)
	if again, _ := question(t, res); again != ticket || res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("nothing ticked: %d", res.StatusCode)
	}
	if got := exchange(ticket, "orders:read"); got != "orders:read" {
		t.Errorf("granted %q", got)
	}
}

func TestCancelSendsAccessDenied(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	ticket, scopes := question(t, a.authorize(browser))
	res := w.post(w.acme.base+"/consent", url.Values{"ticket": {ticket}, "answer": {"cancel"}}, browser)
	wantRedirectError(t, res, w, "access_denied")
	wantPage(t, a.answer(browser, ticket, scopes...), http.StatusBadRequest, "answered already")
}

func TestNewClientWithKnownNamePrompts(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	const redirect = "https://app.example/callback"
	a := w.register(w.acme, redirect)
	a.code(browser)
	if _, q := a.authorize(browser).location(t); q.Get("code") == "" {
		t.Error("the very same request is asked again")
	}
	question(t, w.register(w.acme, redirect).authorize(browser)) // same name, same redirect, another client
	// The same client asks for more, for another server, or in another's name.
	question(t, a.authorize(browser, set("scope", "orders:read refunds:write")))
	question(t, a.authorize(browser, set("resource", w.acme.crm), set("scope", "customers:read")))
	question(t, a.authorize(browser, set("prompt", "consent")))
	second, err := w.db.PutUser(t.Context(), w.acme.ID, "sam@acme.test", "Sam", []string{"member"})
	if err != nil {
		t.Fatal(err)
	}
	question(t, a.authorize(w.signIn.begin(second)))
	// What was allowed until a time has to be asked after it.
	w.clock.add(31 * 24 * time.Hour)
	question(t, a.authorize(browser))
}

func TestLoopbackAndSchemesAreAskedEachTime(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	for _, redirect := range []string{loopbackRedirect, "http://localhost:7777/callback", "cursor://anysphere.cursor-retrieval/oauth", "https://127.0.0.1/callback", "https://app.localhost/callback"} {
		a := w.register(w.acme, redirect)
		a.code(browser)
		page := a.authorize(browser)
		question(t, page)
		if !strings.Contains(page.body, "Nothing is new.") {
			t.Errorf("%s: the page does not say that this was allowed before", redirect)
		}
	}
}

func TestWiderRequestShowsTheDifference(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	a.code(browser)
	page := a.authorize(browser, set("scope", "orders:read refunds:write"))
	if _, scopes := question(t, page); len(scopes) != 2 || !strings.Contains(page.body, "asks for more than before") {
		t.Errorf("%q %.600s", scopes, page.body)
	}
	// What was allowed before comes ticked, what is new does not.
	box := regexpOf(`<input[^>]*value="(orders:read|refunds:write)"[^>]*>`)
	for _, m := range box.FindAllStringSubmatch(page.body, -1) {
		if strings.Contains(m[0], "checked") != (m[1] == "orders:read") {
			t.Errorf("%s", m[0])
		}
	}
}

func TestPromptNoneNeverShowsAPage(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	wantRedirectError(t, a.authorize("", set("prompt", "none")), w, "login_required")
	wantRedirectError(t, a.authorize(w.signIn.begin(w.acme.user), set("prompt", "none")), w, "consent_required")
}

func TestNamesAreEscaped(t *testing.T) {
	w := newWorld(t)
	evil := `<script>alert(1)</script>"'><img src=x>`
	d := ordersDefinition
	d.Tools = append([]registry.Tool(nil), d.Tools...)
	d.Tools[0].Title, d.Tools[0].Description = evil, evil
	w.host(w.acme.ID, "orders", d)
	browser := w.signIn.begin(w.acme.user)
	a := w.registerAs(w.acme, map[string]any{"redirect_uris": []string{loopbackRedirect}, "token_endpoint_auth_method": "none", "client_name": evil, "client_uri": "javascript:alert(1)"})
	a.code(browser)
	w.granted(a.token(a.exchangeForm(a.code(browser))))
	for _, res := range []answer{a.authorize(browser), w.get(w.acme.base+"/connections", browser), a.authorize(browser, set("redirect_uri", "https://x/"+evil))} {
		if strings.Contains(res.body, "<script") || strings.Contains(res.body, "<img src=x") || strings.Contains(res.body, "javascript:") {
			t.Errorf("not escaped: %.900s", res.body)
		}
	}
}

func TestDuplicateParametersRefused(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	for _, name := range []string{"scope", "state", "code_challenge", "response_type"} {
		u := w.acme.base + "/authorize?" + a.request().Encode() + "&" + name + "=x"
		to, q := w.get(u, browser).location(t)
		if to != loopbackRedirect || q.Get("error") != "invalid_request" {
			t.Errorf("%s twice: %s %v", name, to, q)
		}
	}
	form := a.exchangeForm("lkc_x")
	form.Add("code", "lkc_y")
	wantError(t, a.token(form), 400, "invalid_request")
	form = a.exchangeForm("lkc_x")
	form["resource"] = []string{w.acme.orders, w.acme.crm}
	form.Set("code", a.code(browser))
	wantError(t, a.token(form), 400, "invalid_target")
}

func TestResourceMustBeOneServerOfThisTenant(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	for _, resource := range []string{
		w.globex.orders, w.acme.base + "/mcp/unknown", w.acme.orders + "/deeper", w.acme.orders + "x", w.acme.orders + "?x=1", w.acme.orders + "#x",
		w.acme.orders + "//", "https://evil.example/mcp/orders", "orders", "/mcp/orders", w.acme.base + "/mcp/../mcp/orders",
		strings.Replace(w.acme.orders, "127.0.0.1", "user@127.0.0.1", 1), strings.Replace(w.acme.orders, "http:", "https:", 1),
	} {
		wantRedirectError(t, a.authorize(browser, set("resource", resource)), w, "invalid_target")
	}
	wantRedirectError(t, a.authorize(browser, func(q url.Values) { q["resource"] = []string{w.acme.orders, w.acme.crm} }), w, "invalid_target")
	for _, resource := range []string{w.acme.base + "/sse/orders", w.acme.base + "/sse/orders/", w.acme.orders, w.acme.orders + "/", strings.Replace(w.acme.orders, "http://", "HTTP://", 1)} {
		if got := w.connect(a, set("resource", resource)).claims["aud"]; got != w.acme.orders {
			t.Errorf("%s became the audience %v", resource, got)
		}
	}
}

func TestMissingResourceIsResolvedOnlyWithoutChoice(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	// Two servers, no scope: there is a choice, which the client has to make.
	res := a.authorize(browser, del("resource"), del("scope"))
	wantRedirectError(t, res, w, "invalid_target")
	if _, q := res.location(t); !strings.Contains(q.Get("error_description"), "resource="+w.acme.base+"/mcp/") {
		t.Errorf("it does not say what to send: %s", q.Get("error_description"))
	}
	// The scopes leave none, also where only the tenant is named.
	for _, change := range []func(url.Values){del("resource"), set("resource", w.acme.base), set("resource", w.acme.base+"/")} {
		if got := w.connect(a, change, set("scope", "customers:read")).claims["aud"]; got != w.acme.crm {
			t.Errorf("audience %v", got)
		}
	}
	h, err := w.db.Hosted(t.Context(), w.acme.ID, "crm")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.db.DeleteServer(t.Context(), w.acme.ID, h.Server.ID); err != nil {
		t.Fatal(err)
	}
	if got := w.connect(a, del("resource"), del("scope")).claims["aud"]; got != w.acme.orders {
		t.Errorf("one server only: audience %v", got)
	}
}

func TestPushedRequest(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	a := w.registerAs(w.acme, map[string]any{"redirect_uris": []string{loopbackRedirect}, "token_endpoint_auth_method": "client_secret_post"})
	push := func(change ...func(url.Values)) answer {
		return w.post(w.acme.base+"/par", a.request(append([]func(url.Values){set("client_secret", a.secret)}, change...)...), "")
	}
	res := push()
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	uri := res.json(t)["request_uri"].(string)
	open := func(client, uri string, more ...string) answer {
		q := url.Values{"client_id": {client}, "request_uri": {uri}}
		for i := 0; i+1 < len(more); i += 2 {
			q.Set(more[i], more[i+1])
		}
		return w.get(w.acme.base+"/authorize?"+q.Encode(), browser)
	}
	other := w.register(w.acme)
	wantPage(t, open(other.id, uri), http.StatusBadRequest, "invalid_request_uri")
	wantPage(t, open(a.id, uri+"x"), http.StatusBadRequest, "invalid_request_uri")
	// Parameters beside it count for nothing.
	ticket, scopes := question(t, open(a.id, uri, "scope", "orders:read refunds:write", "redirect_uri", "https://evil.example/"))
	if len(scopes) != 1 {
		t.Errorf("offered %q", scopes)
	}
	question(t, open(a.id, uri)) // a reload
	_, q := a.answer(browser, ticket, scopes...).location(t)
	w.granted(a.token(a.exchangeForm(q.Get("code"))))
	wantPage(t, open(a.id, uri), http.StatusBadRequest, "invalid_request_uri") // answered

	wantError(t, push(set("client_secret", "wrong")), 401, "invalid_client")
	wantError(t, push(set("redirect_uri", "https://evil.example/")), 400, "invalid_request")
	wantError(t, push(set("request_uri", "https://evil.example/")), 400, "request_uri_not_supported")
	wantError(t, push(set("resource", w.globex.orders)), 400, "invalid_target")
	uri = push().json(t)["request_uri"].(string)
	w.clock.add(11 * time.Minute)
	wantPage(t, open(a.id, uri), http.StatusBadRequest, "invalid_request_uri")

	wantRedirectError(t, a.authorize(browser, set("request_uri", "https://evil.example/x")), w, "request_uri_not_supported")
	wantRedirectError(t, a.authorize(browser, set("request", "eyJ")), w, "request_not_supported")
}

func TestNothingOpenToTheRoleOffersOnlyCancel(t *testing.T) {
	w := newWorld(t)
	w.open(w.acme)
	a := w.register(w.acme)
	browser := w.signIn.begin(w.acme.user)
	page := a.authorize(browser)
	ticket, scopes := question(t, page)
	if len(scopes) != 0 || strings.Contains(page.body, `value="allow"`) || !regexpOf("4 (more )?tools are not open").MatchString(page.body) {
		t.Errorf("%q %s", scopes, page.body[strings.Index(page.body, "<form"):])
	}
	if res := a.answer(browser, ticket, "orders:read"); res.StatusCode == http.StatusSeeOther {
		t.Error("allowed what nobody offered")
	}
}

func TestShownDurationBoundsTheGrant(t *testing.T) {
	w := newWorld(t, func(c *oauth.Config) { c.Durations = []time.Duration{time.Hour, 5 * time.Minute, 0} })
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	ticket, scopes := question(t, a.authorize(browser))
	_, q := w.post(w.acme.base+"/consent", url.Values{"ticket": {ticket}, "answer": {"allow"}, "for": {"300"}, "scope": scopes}, browser).location(t)
	w.clock.add(30 * time.Second)
	res := a.token(a.exchangeForm(q.Get("code")))
	g := w.granted(res)
	if res.json(t)["expires_in"] != float64(270) {
		t.Errorf("the access token outlives the permission: %s", res.body)
	}
	w.clock.add(5 * time.Minute)
	wantError(t, a.refresh(g.refresh), 400, "invalid_grant")

	ticket, scopes = question(t, a.authorize(browser))
	_, q = w.post(w.acme.base+"/consent", url.Values{"ticket": {ticket}, "answer": {"allow"}, "for": {"0"}, "scope": scopes}, browser).location(t)
	g = w.granted(a.token(a.exchangeForm(q.Get("code"))))
	for range 40 { // until it is revoked
		w.clock.add(25 * 24 * time.Hour)
		g = w.granted(a.refresh(g.refresh))
	}
}
