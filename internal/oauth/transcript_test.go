package oauth_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// transcript records exchanges as a reader of the specification wants to see
// them. What is random is masked by its kind.
type transcript struct {
	t       *testing.T
	w       *world
	file    string
	archive txtar.Archive
}

func newTranscript(t *testing.T, w *world, file, guards string) *transcript {
	return &transcript{t: t, w: w, file: filepath.Join("testdata", file), archive: txtar.Archive{Comment: []byte(guards + "\n\n")}}
}

var masks = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`), "‹JWT›"},
	{regexp.MustCompile(`(lk[a-z]_)[\w-]{43}`), "$1‹secret›"},
	{regexp.MustCompile(`(cl|gr|us|ky)[a-km-np-z2-9]{18}`), "$1‹id›"},
	{regexp.MustCompile(`"x":"[\w-]{43}"`), `"x":"‹key›"`},
	{regexp.MustCompile(`"jti": "[A-Z2-7]{26}"`), `"jti": "‹id›"`},
}

func (tr *transcript) add(step string, res answer, sent string) answer {
	tr.t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n%d %s\n", sent, res.StatusCode, http.StatusText(res.StatusCode))
	for _, name := range []string{"Location", "Content-Type", "Cache-Control", "WWW-Authenticate", "Retry-After"} {
		if v := res.Header.Get(name); v != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		var v any
		if err := json.Unmarshal([]byte(res.body), &v); err != nil {
			tr.t.Fatal(err)
		}
		pretty, _ := json.MarshalIndent(v, "", "  ")
		fmt.Fprintf(&b, "\n%s\n", pretty)
	}
	tr.note(step, b.String())
	return res
}

func (tr *transcript) note(step, text string) {
	for _, m := range masks {
		text = m.find.ReplaceAllString(text, m.put)
	}
	tr.archive.Files = append(tr.archive.Files, txtar.File{Name: step, Data: []byte(text + "\n")})
}

func (tr *transcript) get(step, path, session string) answer {
	return tr.add(step, tr.w.get(tr.w.acme.base+path, session), "GET "+spread(path))
}

func (tr *transcript) post(step, path string, form url.Values, session string) answer {
	var lines []string
	for name, values := range form {
		for _, v := range values {
			lines = append(lines, name+"="+v)
		}
	}
	slices.Sort(lines)
	return tr.add(step, tr.w.post(tr.w.acme.base+path, form, session), "POST "+path+"\n\n"+strings.Join(lines, "\n"))
}

// spread puts each parameter of a query on a line of its own.
func spread(path string) string {
	at, query, ok := strings.Cut(path, "?")
	if !ok {
		return path
	}
	return at + "\n  ? " + strings.ReplaceAll(query, "&", "\n  & ")
}

func (tr *transcript) check() {
	tr.t.Helper()
	got := txtar.Format(&tr.archive)
	if *update {
		if err := os.WriteFile(tr.file, got, 0o644); err != nil {
			tr.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(tr.file)
	if err != nil {
		tr.t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		tr.t.Errorf("%s differs; go test -run %s -update rewrites it. Got:\n%s", tr.file, tr.t.Name(), got)
	}
}

func TestTranscriptOfPublicClient(t *testing.T) {
	w := newWorld(t)
	tr := newTranscript(t, w, "public_client.txtar", `A public client from discovery to revocation. It guards what a client sees: the
members of each document and answer, iss on the redirect (RFC 9207), the claims
of an access token (RFC 9068), rotation, and that errors are those of RFC 6749
section 5.2.`)
	browser := w.signIn.begin(w.acme.user)
	tr.get("protected resource (RFC 9728)", "/.well-known/oauth-protected-resource/mcp/orders", "")
	tr.get("authorization server (RFC 8414)", "/.well-known/oauth-authorization-server", "")
	body := `{"client_name":"App","redirect_uris":["http://127.0.0.1/callback"],"token_endpoint_auth_method":"none"}`
	res := tr.add("registration (RFC 7591)", w.json(http.MethodPost, w.acme.base+"/register", []byte(body)), "POST /register\n\n"+body)
	a := &app{w: w, at: w.acme, id: res.json(t)["client_id"].(string), redirect: "http://127.0.0.1:5678/callback", verifier: strings.Repeat("v", 43)}
	tr.get("authorization, nobody signed in", "/authorize?"+a.request().Encode(), "")
	ticket, scopes := question(t, tr.get("authorization, signed in: the question", "/authorize?"+a.request().Encode(), browser))
	_, q := tr.post("the answer", "/consent", url.Values{"ticket": {ticket}, "answer": {"allow"}, "for": {thirtyDays}, "scope": scopes}, browser).location(t)
	g := w.granted(tr.post("exchange", "/token", with(a.exchangeForm(q.Get("code")), "client_id", a.id), ""))
	claims, _ := json.MarshalIndent(payload(t, g.access, 1), "", "  ")
	header, _ := json.MarshalIndent(payload(t, g.access, 0), "", "  ")
	tr.note("the access token", string(header)+"\n"+string(claims))
	refresh := func(step, token string) answer {
		return tr.post(step, "/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {a.id}}, "")
	}
	next := w.granted(refresh("refresh", g.refresh))
	w.clock.add(2 * time.Minute)
	refresh("the old token again, two minutes later", g.refresh)
	refresh("which ended the grant", next.refresh)
	tr.post("introspection (RFC 7662)", "/introspect", url.Values{"client_id": {a.id}, "token": {next.access}}, "")
	tr.post("revocation (RFC 7009)", "/revoke", url.Values{"client_id": {a.id}, "token": {next.refresh}}, "")
	tr.check()
}

func TestTranscriptOfErrors(t *testing.T) {
	w := newWorld(t)
	tr := newTranscript(t, w, "errors.txtar", `What clients get that do something wrong, in words that a developer can act on.
It guards that errors go to the client only when it is certain where that is.`)
	browser := w.signIn.begin(w.acme.user)
	a := w.register(w.acme)
	ask := func(step string, change ...func(url.Values)) {
		tr.get(step, "/authorize?"+a.request(change...).Encode(), browser)
	}
	ask("unregistered redirect: a page", set("redirect_uri", "https://evil.example/callback"))
	ask("unknown client: a page", set("client_id", "nobody"))
	ask("no PKCE", del("code_challenge"))
	ask("PKCE plain", set("code_challenge_method", "plain"))
	ask("implicit", set("response_type", "token"))
	ask("no resource, and a choice", del("resource"), del("scope"))
	ask("unknown scope", set("scope", "mcp:tools"))
	ask("without a question", set("prompt", "none"))
	token := func(step string, form url.Values) { tr.post(step, "/token", form, "") }
	token("unknown client at the token endpoint", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}, "client_id": {"nobody"}})
	token("unknown grant", url.Values{"grant_type": {"password"}, "client_id": {a.id}})
	token("unknown code", with(a.exchangeForm("lkc_x"), "client_id", a.id))
	token("nothing", url.Values{})
	tr.check()
}

func with(form url.Values, name, value string) url.Values {
	form.Set(name, value)
	return form
}
