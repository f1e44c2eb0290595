package console_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"latchkey/internal/api"
	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// trade gets a token for a key by client credentials.
func (w *world) trade(at string, id string, s secret.Text, more ...string) (int, string) {
	w.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {s.Reveal()}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	a := w.browser(w.acme).post(at, form)
	var answer struct {
		Token string `json:"access_token"`
	}
	check(w.T, json.Unmarshal([]byte(a.body), &answer))
	return a.StatusCode, answer.Token
}

func (w *world) refused(a reply, status int, code fault.Code) {
	w.Helper()
	var p api.Problem
	if json.Unmarshal([]byte(a.body), &p) != nil || a.StatusCode != status || p.Code != code.Name {
		w.Errorf("%s: %d %s, want %d %s", a.Request.URL.Path, a.StatusCode, a.body, status, code)
	}
}

func TestAPIKey(t *testing.T) {
	w := newWorld(t, "", built())
	k, s := w.key(w.acme, tenants.ClientsRead, tenants.KeysRead)
	a := w.call("GET", "/me", s.Reveal(), nil)
	var me api.Me
	check(t, json.Unmarshal([]byte(a.body), &me))
	if me.Kind != "api_key" || me.Id != k.ID || me.Name != "CI" || me.Tenant.Slug != "acme" || len(me.Permissions) != 2 {
		t.Errorf("%s", a.body)
	}
	for _, at := range []string{"/tenants/acme/grants", w.sites.API("acme") + "/tenants/acme/grants"} {
		if a := w.call("GET", at, s.Reveal(), nil); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", at, a.StatusCode, a.body)
		}
	}
	w.refused(w.call("GET", "/tenants/acme/roles", s.Reveal(), nil), 403, fault.RoleNotAllowed)
	w.refused(w.call("GET", "/workers", s.Reveal(), nil), 404, fault.NotFound)
	got, err := w.db.APIKey(t.Context(), w.acme.ID, k.ID)
	if err != nil || got.LastUsedAt.IsZero() || got.LastUsedAt.Second() != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	// A key of one tenant finds nothing of another, wherever it asks.
	for _, at := range []string{"/tenants/globex/grants", "/tenants/nosuch/grants", w.sites.API("globex") + "/tenants/globex/grants", w.sites.API("globex") + "/tenants/acme/grants", w.sites.API("globex") + "/me", w.sites.API("acme") + "/tenants/globex/grants"} {
		w.refused(w.call("GET", at, s.Reveal(), nil), 404, fault.NotFound)
	}
}

func TestRevokedKeyRefusedAtOnce(t *testing.T) {
	w := newWorld(t, "", built())
	k, s := w.key(w.acme, tenants.Admin)
	if a := w.call("GET", "/me", s.Reveal(), nil); a.StatusCode != http.StatusOK {
		t.Fatal(a.body)
	}
	check(t, w.db.RevokeAPIKey(t.Context(), w.acme.ID, k.ID, w.now()))
	w.refused(w.call("GET", "/me", s.Reveal(), nil), 401, fault.Unauthenticated)
	_, s = w.key(w.acme, tenants.Admin)
	w.pass(24 * time.Hour)
	w.refused(w.call("GET", "/me", s.Reveal(), nil), 401, fault.Unauthenticated)
}

func TestRevokedKeyEndsItsTokens(t *testing.T) {
	w := newWorld(t, "", built())
	k, s := w.key(w.acme, tenants.ClientsWrite)
	status, token := w.trade("/token", k.ID, s)
	if status != http.StatusOK {
		t.Fatal(status)
	}
	for _, at := range []string{"/tenants/acme/grants", w.sites.API("acme") + "/tenants/acme/grants"} {
		if a := w.call("GET", at, token, nil); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", at, a.StatusCode, a.body)
		}
	}
	for _, at := range []string{"/tenants/globex/grants", w.sites.API("globex") + "/tenants/globex/grants"} {
		if a := w.call("GET", at, token, nil); a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", at, a.StatusCode, a.body)
		}
	}
	check(t, w.db.RevokeAPIKey(t.Context(), w.acme.ID, k.ID, w.now()))
	w.refused(w.call("GET", "/tenants/acme/grants", token, nil), 401, fault.Unauthenticated)

	k, s = w.key(w.acme, tenants.ClientsWrite)
	_, token = w.trade("/token", k.ID, s)
	w.pass(10*time.Minute + time.Second)
	w.refused(w.call("GET", "/me", token, nil), 401, fault.Unauthenticated)
}

func TestNarrowedTokenStaysNarrow(t *testing.T) {
	w := newWorld(t, "", built())
	k, s := w.key(w.acme, tenants.Admin)
	_, token := w.trade("/token", k.ID, s, "scope", "clients:read keys:write")
	if a := w.call("GET", "/tenants/acme/clients", token, nil); a.StatusCode != http.StatusOK {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	w.refused(w.call("GET", "/tenants/acme/roles", token, nil), 403, fault.RoleNotAllowed)
	// It cannot make itself a key with more.
	w.refused(w.call("POST", "/tenants/acme/api-keys", token, map[string]any{"name": "more", "permissions": []string{"admin"}}), 403, fault.RoleNotAllowed)
	if a := w.call("POST", "/tenants/acme/api-keys", token, map[string]any{"name": "same", "permissions": []string{"clients:read"}}); a.StatusCode != http.StatusCreated {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestCreatedKeyWorksAndIsShownOnce(t *testing.T) {
	w := newWorld(t, "", built())
	_, s := w.key(w.acme, tenants.Admin)
	a := w.call("POST", "/tenants/acme/api-keys", s.Reveal(), map[string]any{"name": "CI two", "permissions": []string{"keys:write"}, "expires_in_days": 2})
	if a.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	var made struct {
		Key    api.APIKey
		Secret string
	}
	check(t, json.Unmarshal([]byte(a.body), &made))
	if !strings.HasPrefix(made.Secret, "lk_live_") || len(made.Secret) != 51 || !strings.HasSuffix(made.Key.Hint, made.Secret[47:]) || made.Key.CreatedBy != "key CI" ||
		made.Key.ExpiresAt.Sub(made.Key.CreatedAt) != 48*time.Hour {
		t.Errorf("%s", a.body)
	}
	if a := w.call("GET", "/me", made.Secret, nil); a.StatusCode != http.StatusOK {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for _, at := range []string{"/tenants/acme/api-keys", "/tenants/acme/api-keys/" + made.Key.Id} {
		if a := w.call("GET", at, s.Reveal(), nil); a.StatusCode != http.StatusOK || strings.Contains(a.body, made.Secret[8:40]) || !strings.Contains(a.body, made.Key.Id) {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
	w.refused(w.call("POST", "/tenants/acme/api-keys", made.Secret, map[string]any{"name": "x", "permissions": []string{"keys:read", "audit:read"}}), 403, fault.RoleNotAllowed)
	w.refused(w.call("POST", "/tenants/acme/api-keys", s.Reveal(), map[string]any{"name": "x", "permissions": []string{"tools:try"}}), 422, fault.InvalidArguments)
	if a := w.call("DELETE", "/tenants/acme/api-keys/"+made.Key.Id, s.Reveal(), nil); a.StatusCode != http.StatusNoContent {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	w.refused(w.call("GET", "/me", made.Secret, nil), 401, fault.Unauthenticated)
	for _, id := range []string{"ak222222222222222222", "ok222222222222222222"} {
		w.refused(w.call("DELETE", "/tenants/acme/api-keys/"+id, s.Reveal(), nil), 404, fault.NotFound)
	}
	if strings.Contains(w.log.String(), made.Secret) || strings.Contains(w.log.String(), s.Reveal()) {
		t.Error("a key is in the log")
	}
	es, err := w.db.AuditEvents(t.Context(), w.acme.ID, w.now().Add(-time.Hour), 100)
	check(t, err)
	for _, e := range es {
		if b, _ := json.Marshal(e); strings.Contains(string(b), made.Secret) {
			t.Errorf("a key is in the audit: %s", b)
		}
	}
}

func TestOperatorsKeysAndTokens(t *testing.T) {
	w := newWorld(t, "", built())
	k, s := w.opsKey()
	status, token := w.trade(w.sites.Platform()+"/ops/token", k.ID, s)
	if status != http.StatusOK || !strings.HasPrefix(token, "lko_") {
		t.Fatalf("%d %s", status, token)
	}
	for what, bearer := range map[string]string{"key": s.Reveal(), "token": token} {
		a := w.call("GET", "/me", bearer, nil)
		if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"operator_key"`) || strings.Contains(a.body, "tools:try") || strings.Contains(a.body, `"tenant"`) {
			t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
		}
		for _, at := range []string{"/tenants/acme/grants", "/tenants/globex/api-keys", "/operators", w.sites.API("acme") + "/tenants/acme/grants"} {
			if a := w.call("GET", at, bearer, nil); a.StatusCode != http.StatusOK {
				t.Errorf("%s: %s: %d %s", what, at, a.StatusCode, a.body)
			}
		}
	}
	if got, err := w.db.OperatorKey(t.Context(), k.ID); err != nil || got.LastUsedAt.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	check(t, w.db.RevokeOperatorKey(t.Context(), k.ID, w.now()))
	w.refused(w.call("GET", "/me", token, nil), 401, fault.Unauthenticated)
	w.refused(w.call("GET", "/me", s.Reveal(), nil), 401, fault.Unauthenticated)
	if status, _ := w.trade(w.sites.Platform()+"/ops/token", k.ID, s); status != http.StatusUnauthorized {
		t.Errorf("%d", status)
	}
	k, s = w.opsKey()
	_, token = w.trade(w.sites.Platform()+"/ops/token", k.ID, s)
	w.pass(10*time.Minute + time.Second)
	w.refused(w.call("GET", "/me", token, nil), 401, fault.Unauthenticated)
	if strings.Contains(w.log.String(), token) || strings.Contains(w.log.String(), s.Reveal()) {
		t.Error("a secret is in the log")
	}
}

func TestOpsTokenRefusals(t *testing.T) {
	w := newWorld(t, "", built())
	k, s := w.opsKey()
	tk, ts := w.key(w.acme, tenants.Admin)
	at := w.sites.Platform() + "/ops/token"
	b := w.browser(w.acme)
	good := func(more ...string) url.Values {
		f := url.Values{"grant_type": {"client_credentials"}, "client_id": {k.ID}, "client_secret": {s.Reveal()}}
		for i := 0; i+1 < len(more); i += 2 {
			f.Set(more[i], more[i+1])
		}
		return f
	}
	for what, c := range map[string]struct {
		form   url.Values
		status int
		code   string
	}{
		"wrong key":               {good("client_secret", callers.PrefixOperatorKey+strings.Repeat("A", 43)), 401, "invalid_client"},
		"no key":                  {good("client_secret", ""), 401, "invalid_client"},
		"another id":              {good("client_id", "ok222222222222222222"), 401, "invalid_client"},
		"a tenant's key":          {good("client_id", tk.ID, "client_secret", ts.Reveal()), 401, "invalid_client"},
		"another grant":           {good("grant_type", "authorization_code"), 400, "unsupported_grant_type"},
		"no grant":                {good("grant_type", ""), 400, "invalid_request"},
		"a scope":                 {good("scope", "admin"), 400, "invalid_scope"},
		"a parameter given twice": {url.Values{"grant_type": {"client_credentials", "x"}}, 400, "invalid_request"},
	} {
		a := b.post(at, c.form)
		if a.StatusCode != c.status || !strings.Contains(a.body, `"`+c.code+`"`) || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
		}
	}
	if a := b.post(at+"?client_secret="+s.Reveal(), good()); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a query: %d", a.StatusCode)
	}
	if a := b.get(at); a.StatusCode == http.StatusOK && strings.Contains(a.body, "access_token") {
		t.Errorf("GET: %s", a.body)
	}
	// A tenant's token endpoint knows no operator.
	if status, _ := w.trade("/token", k.ID, s); status != http.StatusUnauthorized {
		t.Errorf("at a tenant: %d", status)
	}
}

func TestClientsAndGrantsOverTheAPI(t *testing.T) {
	w := newWorld(t, "", built())
	w.browser(w.acme).enter("pat@acme.test")
	_, s := w.key(w.acme, tenants.ClientsWrite)
	doc := oauth.Client{ID: "https://app.example/a/client.json", Kind: oauth.Document, Name: "Doc", AuthMethod: "none", RedirectURIs: []string{"https://app.example/cb", "http://127.0.0.1/cb", "cursor://x/y"}, GrantTypes: []string{"authorization_code"}, CreatedAt: w.now().Add(time.Minute)}
	check(t, w.db.PutOAuthClient(t.Context(), w.acme.ID, doc))
	var page struct {
		Data []api.Client
		api.ClientPage
	}
	a := w.call("GET", "/tenants/acme/clients?limit=1", s.Reveal(), nil)
	check(t, json.Unmarshal([]byte(a.body), &page.ClientPage))
	if p := page.ClientPage; len(p.Data) != 1 || p.Data[0].Id != doc.ID || !p.HasMore || p.NextCursor == nil || strings.Join(p.Data[0].RedirectHosts, " ") != "app.example 127.0.0.1 cursor:" {
		t.Fatalf("%s", a.body)
	}
	a = w.call("GET", "/tenants/acme/clients?limit=1&cursor="+*page.NextCursor, s.Reveal(), nil)
	check(t, json.Unmarshal([]byte(a.body), &page.ClientPage))
	if p := page.ClientPage; len(p.Data) != 1 || p.Data[0].Kind != "console" || p.Data[0].Grants != 1 || p.Data[0].LastUsedAt == nil {
		t.Errorf("%s", a.body)
	}
	w.refused(w.call("GET", "/tenants/acme/grants?cursor="+*page.NextCursor+"x", s.Reveal(), nil), 400, fault.InvalidRequest)
	if a := w.call("GET", "/tenants/acme/clients/"+url.PathEscape(doc.ID), s.Reveal(), nil); a.StatusCode != http.StatusOK || !strings.Contains(a.body, doc.ID) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	w.refused(w.call("DELETE", "/tenants/acme/clients/"+oauth.ConsoleClient, s.Reveal(), nil), 409, fault.Conflict)
	if a := w.call("DELETE", "/tenants/acme/clients/"+url.PathEscape(doc.ID)+"?dry_run=true", s.Reveal(), nil); a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"dry_run":true`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := w.call("DELETE", "/tenants/acme/clients/"+url.PathEscape(doc.ID), s.Reveal(), nil); a.StatusCode != http.StatusOK {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	w.refused(w.call("GET", "/tenants/acme/clients/"+url.PathEscape(doc.ID), s.Reveal(), nil), 404, fault.NotFound)

	var grants api.GrantPage
	a = w.call("GET", "/tenants/acme/grants?member=pat@acme.test&status=active", s.Reveal(), nil)
	check(t, json.Unmarshal([]byte(a.body), &grants))
	if len(grants.Data) != 1 || grants.Data[0].Server != nil || grants.Data[0].Member != "pat@acme.test" || grants.Data[0].Scopes[0] != "console" {
		t.Fatalf("%s", a.body)
	}
	at := "/tenants/acme/grants/" + grants.Data[0].Id
	if a := w.call("DELETE", at+"?reason=laptop+lost", s.Reveal(), nil); a.StatusCode != http.StatusNoContent {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := w.call("GET", at, s.Reveal(), nil); !strings.Contains(a.body, `"laptop lost"`) || !strings.Contains(a.body, `"revoked"`) {
		t.Errorf("%s", a.body)
	}
	w.refused(w.call("DELETE", "/tenants/acme/grants/gr222222222222222222", s.Reveal(), nil), 404, fault.NotFound)
	_, other := w.key(w.globex, tenants.Admin)
	w.refused(w.call("GET", at, other.Reveal(), nil), 404, fault.NotFound)
	w.refused(w.call("GET", strings.Replace(at, "acme", "globex", 1), other.Reveal(), nil), 404, fault.NotFound)
}

func TestOperatorsOverTheAPI(t *testing.T) {
	w := newWorld(t, "", built())
	_, s := w.opsKey()
	w.refused(w.call("DELETE", "/operators/"+operator, s.Reveal(), nil), 409, fault.Conflict) // the last one
	w.refused(w.call("PUT", "/operators/"+operator, s.Reveal(), map[string]any{"name": "O", "disabled": true}), 409, fault.Conflict)
	if a := w.call("PUT", "/operators/New@Example.test", s.Reveal(), map[string]any{"name": "New"}); a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"new@example.test"`) || !strings.Contains(a.body, `"has_password":false`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := w.call("DELETE", "/operators/"+operator, s.Reveal(), nil); a.StatusCode != http.StatusNoContent {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	w.refused(w.call("DELETE", "/operators/nobody@example.test", s.Reveal(), nil), 404, fault.NotFound)
	a := w.call("POST", "/operator-keys", s.Reveal(), map[string]any{"name": "second"})
	var made struct {
		Key    api.APIKey
		Secret string
	}
	check(t, json.Unmarshal([]byte(a.body), &made))
	if a := w.call("GET", "/operators", made.Secret, nil); a.StatusCode != http.StatusOK || strings.Contains(a.body, operator) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := w.call("GET", "/operator-keys", made.Secret, nil); !strings.Contains(a.body, made.Key.Id) || strings.Contains(a.body, made.Secret[8:40]) {
		t.Errorf("%s", a.body)
	}
	if a := w.call("DELETE", "/operator-keys/"+made.Key.Id, s.Reveal(), nil); a.StatusCode != http.StatusNoContent {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	w.refused(w.call("GET", "/operators", made.Secret, nil), 401, fault.Unauthenticated)
	_, tenant := w.key(w.acme, tenants.Admin)
	w.refused(w.call("GET", "/operators", tenant.Reveal(), nil), 404, fault.NotFound)
}
