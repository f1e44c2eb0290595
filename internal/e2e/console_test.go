package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// api calls the platform API with a key or a token.
func (p *Platform) api(ctx context.Context, t *testing.T, method, to, bearer string, body any) (int, map[string]any) {
	t.Helper()
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, to, &b)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	res, text, err := send(p.HTTP, r)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if len(text) > 0 {
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatalf("%s %s: %d %.300s", method, to, res.StatusCode, text)
		}
	}
	return res.StatusCode, m
}

func TestKeysOfTheFirstRun(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	ctx := t.Context()
	for _, at := range []string{p.APIURL, p.Tenants["acme"] + "/api/v1"} {
		if status, me := p.api(ctx, t, "GET", at+"/me", p.APIKey, nil); status != 200 || me["kind"] != "api_key" {
			t.Errorf("%s: %d %v", at, status, me)
		}
		if status, page := p.api(ctx, t, "GET", at+"/tenants/acme/members", p.APIKey, nil); status != 200 {
			t.Errorf("%s: %d %v", at, status, page)
		}
		if status, _ := p.api(ctx, t, "GET", at+"/tenants/globex/members", p.APIKey, nil); status != 404 {
			t.Errorf("%s: another tenant's people: %d", at, status)
		}
	}
	if status, page := p.api(ctx, t, "GET", p.APIURL+"/tenants", p.Operator.APIKey, nil); status != 200 || len(page["data"].([]any)) < 2 {
		t.Errorf("%d %v", status, page)
	}
	if status, health := p.api(ctx, t, "GET", p.APIURL+"/health", p.Operator.APIKey, nil); status != 200 || health["ok"] != true {
		t.Errorf("%d %v", status, health)
	}
	// A key that is made over the API works until it is revoked.
	status, made := p.api(ctx, t, "POST", p.APIURL+"/tenants/acme/api-keys", p.APIKey, map[string]any{"name": "e2e", "permissions": []string{"members:read"}})
	if status != 201 {
		t.Fatalf("%d %v", status, made)
	}
	secret, id := made["secret"].(string), made["key"].(map[string]any)["id"].(string)
	r, err := http.NewRequestWithContext(ctx, "POST", p.Tenants["acme"]+"/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(id, secret)
	res, text, err := send(p.HTTP, r)
	var answer struct {
		Token string `json:"access_token"`
	}
	if err != nil || res.StatusCode != 200 || json.Unmarshal([]byte(text), &answer) != nil {
		t.Fatalf("%v %v", res, err)
	}
	for what, bearer := range map[string]string{"key": secret, "token": answer.Token} {
		if status, m := p.api(ctx, t, "GET", p.APIURL+"/tenants/acme/members", bearer, nil); status != 200 {
			t.Errorf("%s: %d %v", what, status, m)
		}
		// At an MCP endpoint it is nothing.
		if status, m := p.api(ctx, t, "POST", p.MCP["orders"], bearer, map[string]any{"jsonrpc": "2.0", "id": 1, "method": "ping"}); status != 401 {
			t.Errorf("%s at an MCP endpoint: %d %v", what, status, m)
		}
	}
	if status, m := p.api(ctx, t, "DELETE", p.APIURL+"/tenants/acme/api-keys/"+id, p.APIKey, nil); status != 204 {
		t.Errorf("%d %v", status, m)
	}
	for what, bearer := range map[string]string{"key": secret, "token": answer.Token} {
		if status, m := p.api(ctx, t, "GET", p.APIURL+"/me", bearer, nil); status != 401 {
			t.Errorf("%s after it was revoked: %d %v", what, status, m)
		}
	}
}

func TestConsoleOfTheFirstRun(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	ctx := t.Context()
	dana, err := p.SignIn(ctx, "dana@acme.test")
	if err != nil {
		t.Fatal(err)
	}
	at := p.Console + "/sign-in"
	for range 3 { // authorize, callback, console
		res, body, err := dana.get(ctx, at)
		if err != nil || res.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s: %v %v %.300s", at, res, err, body)
		}
		at = res.Header.Get("Location")
	}
	if at != p.Console+"/" {
		t.Errorf("signed in, the window is at %s", at)
	}
	res, body, err := dana.get(ctx, p.Tenants["acme"]+"/api/v1/me")
	if err != nil || res.StatusCode != 200 || !strings.Contains(body, `"admin"`) {
		t.Errorf("%v %v %s", res, err, body)
	}
	// Whether it was built or not, the page is there and says which it is.
	if res, body, err := dana.get(ctx, p.Console+"/"); err != nil || res.StatusCode != 200 && !strings.Contains(body, "npm run build") {
		t.Errorf("%v %v", res, err)
	}
	res, _, err = dana.post(ctx, p.Console+"/sign-out", nil)
	if err != nil || res.StatusCode != http.StatusSeeOther {
		t.Errorf("%v %v", res, err)
	}
	if res, _, err := dana.get(ctx, p.Tenants["acme"]+"/api/v1/me"); err != nil || res.StatusCode != 401 {
		t.Errorf("signed out: %v %v", res, err)
	}
}

func TestOperatorOfTheFirstRun(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	ctx := t.Context()
	dana, err := p.SignIn(ctx, "dana@acme.test") // any browser
	if err != nil {
		t.Fatal(err)
	}
	origin := strings.TrimSuffix(p.Operator.URL, "/ops")
	res, body, err := dana.post(ctx, p.Operator.URL+"/login", url.Values{"email": {p.Operator.Email}, "password": {p.Operator.Password}})
	if err != nil || res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%v %v %.300s", res, err, body)
	}
	if res, body, err := dana.get(ctx, origin+"/api/v1/me"); err != nil || res.StatusCode != 200 || !strings.Contains(body, `"operator"`) {
		t.Errorf("%v %v %s", res, err, body)
	}
}

func TestOperatorsCommand(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	own, err := p.secrets()
	if err != nil {
		t.Fatal(err)
	}
	run := func(stdin string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(Binaries(t), "platform"), append([]string{"operators"}, args...)...)
		cmd.Env = append(os.Environ(), noRaceSleep, "DATABASE_URL="+own.DatabaseURL)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	const email = "cli@latchkey.test"
	if out, err := run("", "add", email, "--name", "Cli"); err != nil || !strings.Contains(out, "no password yet") {
		t.Fatalf("%v %s", err, out)
	}
	if out, err := run("short\n", "password", email); err == nil || !strings.Contains(out, "at least 12") {
		t.Errorf("%v %s", err, out)
	}
	if out, err := run("correct horse battery\n", "password", email); err != nil || strings.Contains(out, "horse") {
		t.Errorf("%v %s", err, out)
	}
	out, err := run("", "password", email, "--random")
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	made, _, _ := strings.Cut(out, "\n")
	if res, _, err := (&Person{http: p.HTTP}).post(t.Context(), p.Operator.URL+"/login", url.Values{"email": {email}, "password": {made}}); err != nil || res.StatusCode != http.StatusSeeOther {
		t.Errorf("%v %v", res, err)
	}
	if out, err := run("", "list"); err != nil || !strings.Contains(out, email) || !strings.Contains(out, "active") {
		t.Errorf("%v %s", err, out)
	}
	if out, err := run("x\n", "password", "nobody@latchkey.test", "--random"); err == nil || !strings.Contains(out, "platform operators add") {
		t.Errorf("%v %s", err, out)
	}
}
