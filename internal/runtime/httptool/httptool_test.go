package httptool

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/runtimetest"
)

const suiteSpec = `
tools:
- name: normal
  description: Answers at once.
  request: {path: /normal, query: {id: "{id}"}}
  parameters: [{name: id, type: integer}]
- name: failing
  description: Is refused.
  request: {path: /refused}
- name: slow
  description: Takes long.
  timeout: 1m
  request: {path: /slow}
- name: big
  description: Answers with much.
  max_bytes: 8000000
  request: {path: /big}
- name: canary
  description: Gives back what it got.
  request: {path: /echo, query: {text: "{text}"}}
  parameters: [{name: text, type: string}]
`

// suiteUpstream does what the suite needs, to whoever logs in.
func suiteUpstream(t *testing.T, allowed func(*http.Request) bool) *upstream {
	var u *upstream
	u = newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":"%s-issued","token_type":"Bearer","expires_in":3600}`, canary)
			return
		}
		if !allowed(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/normal":
			// An upstream that tells what it was sent is none of our making.
			fmt.Fprintf(w, `{"ok":true,"sent":%q}`, r.Header.Get("Authorization")+r.Header.Get("X-API-Key")+r.URL.Query().Get("api_key"))
		case "/refused":
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprintf(w, `{"message":"not with %s"}`, r.Header.Get("Authorization")+r.Header.Get("X-API-Key"))
		case "/slow":
			u.working.Add(1)
			defer u.working.Add(-1)
			<-r.Context().Done()
		case "/big":
			io.WriteString(w, `{"rows":["`+strings.Repeat("x", 3<<20)+`"]}`)
		case "/echo":
			fmt.Fprintf(w, `{"text":%q}`, r.URL.Query().Get("text"))
		}
	})
	return u
}

func TestKind(t *testing.T) {
	bearer := func(token string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+token }
	}
	anyBearer := func(r *http.Request) bool { return strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") }
	for name, way := range map[string]struct {
		auth    string
		allowed func(*http.Request) bool
	}{
		"none":  {"", func(*http.Request) bool { return true }},
		"key":   {"auth: {type: api_key, name: X-API-Key, key: {env: KEY}}", func(r *http.Request) bool { return r.Header.Get("X-API-Key") == testSecrets["KEY"] }},
		"query": {"auth: {type: api_key, in: query, name: api_key, key: {env: KEY}}", func(r *http.Request) bool { return r.URL.Query().Get("api_key") == testSecrets["KEY"] }},
		"basic": {"auth: {type: basic, username: acme, password: {env: PASSWORD}}", func(r *http.Request) bool {
			u, p, _ := r.BasicAuth()
			return u == "acme" && p == testSecrets["PASSWORD"]
		}},
		"bearer": {"auth: {type: bearer, token: {env: TOKEN}}", bearer(testSecrets["TOKEN"])},
		"oauth":  {"auth: {type: oauth_client_credentials, token_url: BASE/token, client_id: us, client_secret: {env: CLIENT}}", bearer(canary + "-issued")},
		"jwt":    {"auth: {type: jwt, algorithm: EdDSA, private_key: {env: ED25519}, issuer: us}", anyBearer},
		"grant":  {"auth: {type: jwt, algorithm: RS256, private_key: {env: RSA}, issuer: us, token_url: BASE/token}", bearer(canary + "-issued")},
	} {
		t.Run(name, func(t *testing.T) {
			u := suiteUpstream(t, way.allowed)
			runSuite(t, serve(t, u, "base_url: BASE\nretries: 0\n"+way.auth, suiteSpec), u, u)
		})
	}
	t.Run("certificate", func(t *testing.T) {
		u := suiteUpstream(t, func(*http.Request) bool { return true })
		g := newGuarded(t, tls.VersionTLS13, u.answer)
		cert, key := g.issue(t, "worker", time.Now().Add(time.Hour))
		keep(t, "MTLS", cert, key)
		runSuite(t, serve(t, g.upstream, "base_url: BASE\nretries: 0\n"+tlsOf(g.pem, "MTLS", "MTLS_KEY"), suiteSpec), g.upstream, u)
	})
}

// runSuite runs the suite of all kinds on a server in front of the suite's upstream.
func runSuite(t *testing.T, s *served, front, u *upstream) {
	secrets := []string{canary}
	for _, v := range s.fields {
		if strings.HasPrefix(v.Reveal(), "-----BEGIN ") {
			secrets = append(secrets, strings.Split(v.Reveal(), "\n")[1])
			continue
		}
		secrets = append(secrets, v.Reveal())
	}
	var down atomic.Bool
	inner := front.answer
	front.answer = func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler)
		}
		inner(w, r)
	}
	h := runtimetest.Harness{
		Kind: Kind, Opening: s.opening, Host: loopbackHost(), Secrets: secrets,
		Normal: runtimetest.Tool{Name: "normal", Input: `{"id":1}`}, Failing: runtimetest.Tool{Name: "failing", Input: `{}`}, Slow: runtimetest.Tool{Name: "slow", Input: `{}`},
		Big: runtimetest.Tool{Name: "big", Input: `{}`}, Canary: runtimetest.Tool{Name: "canary", Input: `{"text":"` + runtimetest.CanarySecret + `"}`},
		Working: func(*testing.T) int { return int(u.working.Load()) },
		Break:   func(*testing.T) func() { down.Store(true); return func() { down.Store(false) } },
	}
	if len(s.fields) > 0 {
		h.Leases = fixedLeases(s.fields)
	}
	runtimetest.Run(t, h)
}

const handSpec = `
tools:
- name: find
  description: Finds tickets.
  request:
    path: /projects/{project}/tickets
    query: {q: "{q}", state: "is:{state}", label: "{labels}", fixed: "yes"}
    headers: {X-Acting-User: "{me}"}
    cookies: {lang: "{lang}"}
  parameters:
  - {name: project, type: string, required: true}
  - {name: q, type: string}
  - {name: state, type: string, default: open, enum: [open, closed]}
  - {name: labels, type: array, items: string}
  - {name: lang, type: string}
  - {name: me, from: caller.email}
- name: create
  description: Creates a ticket.
  request:
    method: POST
    path: /tickets
    body: {title: "{title}", weight: "{weight}", labels: "{labels}", by: "by {me}", meta: {source: latchkey, "{{x": "{{y}}"}}
  parameters:
  - {name: title, type: string, required: true}
  - {name: weight, type: number}
  - {name: labels, type: array, items: string}
  - {name: me, from: caller.email}
- name: rest
  description: Has no places.
  request: {method: PATCH, path: "/tickets/{id}"}
  parameters: [{name: id, type: integer, required: true}, {name: title, type: string}, {name: done, type: boolean}]
- name: form
  description: Sends a form.
  request: {method: POST, path: /form, content_type: application/x-www-form-urlencoded}
  parameters: [{name: a, type: string}, {name: b, type: array, items: integer}]
`

func TestArgumentsReachTheirPlaces(t *testing.T) {
	u := newUpstream(t, answersJSON(`{}`))
	s := serve(t, u, "base_url: BASE/v1\nheaders: {X-Tenant: acme}", handSpec)
	for _, c := range []struct{ tool, input, method, path, query, body string }{
		{"find", `{"project":"a b/ü?x","q":"1&2=3 #","labels":["x,y","z"]}`, "GET", "/v1/projects/a%20b%2F%C3%BC%3Fx/tickets", "q=1%262%3D3%20%23&state=is%3Aopen&label=x%2Cy&label=z&fixed=yes", ""},
		{"find", `{"project":"p","state":"closed","labels":[]}`, "GET", "/v1/projects/p/tickets", "state=is%3Aclosed&fixed=yes", ""},
		{"create", `{"title":"say \"hi\" {title} {{","labels":["a"]}`, "POST", "/v1/tickets", "", `{"title":"say \"hi\" {title} {{","labels":["a"],"by":"by sam@acme.test","meta":{"source":"latchkey","{{x":"{y}"}}`},
		{"create", `{"title":"t","weight":12345678901234567890.5}`, "POST", "/v1/tickets", "", `{"title":"t","weight":12345678901234567890.5,"by":"by sam@acme.test","meta":{"source":"latchkey","{{x":"{y}"}}`},
		{"rest", `{"id":7,"done":false}`, "PATCH", "/v1/tickets/7", "", `{"done":false}`},
		{"form", `{"a":"1&2 =","b":[1,2]}`, "POST", "/v1/form", "", `a=1%262%20%3D&b=1&b=2`},
	} {
		s.structured(c.tool, c.input)
		got := u.last(t)
		if got.method != c.method || got.path != c.path || got.query != c.query || got.body != c.body {
			t.Errorf("%s %s\n sent %s %s?%s %s\n want %s %s?%s %s", c.tool, c.input, got.method, got.path, got.query, got.body, c.method, c.path, c.query, c.body)
		}
		if got.header.Get("X-Tenant") != "acme" || !strings.HasPrefix(got.header.Get("Traceparent"), "00-0af765") {
			t.Errorf("%s: header %v", c.tool, got.header)
		}
	}
	s.structured("find", `{"project":"p","lang":"de; x=1"}`)
	if got := u.last(t); got.header.Get("X-Acting-User") != "sam@acme.test" || got.header.Get("Cookie") != "lang=de%3B%20x%3D1" {
		t.Errorf("header %v", got.header)
	}
}

func TestValueCannotChangeTheFormOfARequest(t *testing.T) {
	u := newUpstream(t, answersJSON(`{}`))
	s := serve(t, u, "base_url: BASE/v1", `
tools:
- name: one
  description: Has all places.
  request: {path: "/a/{x}/b", headers: {X-H: "{h}"}}
  parameters: [{name: x, type: string, required: true}, {name: h, type: string}]
`)
	for _, input := range []string{`{"x":".."}`, `{"x":"."}`, `{"x":""}`, `{"x":"a/../../c"}`, `{"x":"..\\.."}`, `{"x":"a","h":"1\r\nX-Evil: 1"}`, `{"x":"a","h":"\u0000"}`, `{"x":"a","more":1}`, `{"x":["a"]}`, `{"x":{"a":1}}`, `[]`} {
		if res, err := s.tool("one", input); err == nil {
			t.Errorf("%s was sent: %+v", input, res.Tool.StructuredContent)
		}
	}
	if n := len(u.requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	s.structured("one", `{"x":"%2e%2e"}`)
	if got := u.last(t); got.path != "/v1/a/%252e%252e/b" {
		t.Errorf("sent %s", got.path)
	}
}

func TestAnswersBecomeResults(t *testing.T) {
	for _, c := range []struct{ name, response, media, body, want string }{
		{"an object", "", "application/json", `{"b":1,"a":{"x":1.50}}`, `{"b":1,"a":{"x":1.50}}`},
		{"a list", "", "application/json", `[1,2]`, `{"items":[1,2],"count":2}`},
		{"a value", "", "application/json", `"x"`, `{"value":"x"}`},
		{"what is picked", "response: {pick: data.items}", "application/json", `{"data":{"items":[{"id":1}]}}`, `{"items":[{"id":1}],"count":1}`},
		{"one of a list", "response: {pick: 'data[1].x'}", "application/json", `{"data":[{},{"x":{"y":2}}]}`, `{"y":2}`},
		{"nothing there", "response: {pick: data.items}", "application/json", `{}`, `{"value":null,"note":"The answer has nothing at data.items."}`},
		{"chosen members", "response: {pick: d, fields: [id, o.n, none], rename: {o.n: owner}}", "application/json", `{"d":[{"x":9,"o":{"n":"a"},"id":1},3]}`, `{"items":[{"id":1,"owner":"a"},3],"count":2}`},
		{"text", "", "text/plain; charset=utf-8", "plain <b>", `{"text":"plain <b>"}`},
		{"problem media", "", "application/problem+json", `{"a":1}`, `{"a":1}`},
		{"nothing", "", "", "", `{"status":200}`},
		{"a picture", "", "image/png", "\x89PNG", `{"content_type":"image/png","bytes":4}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUpstream(t, answers(200, c.media, c.body))
			s := serve(t, u, "base_url: BASE", "tools:\n- name: x\n  description: x.\n  request: {path: /x}\n  "+c.response+"\n")
			got := s.structured("x", `{}`)
			if strings.ReplaceAll(strings.ReplaceAll(got, `\u003c`, "<"), `\u003e`, ">") != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestResources(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/customers/7" {
			http.NotFound(w, r)
			return
		}
		answersJSON(`{"data":{"id":7,"secret":1}}`)(w, r)
	})
	s := serve(t, u, "base_url: BASE", `
resources:
- name: customer
  uri: crm://customer/{id}
  request: {path: "/customers/{id}"}
  parameters: [{name: id, type: integer}]
  response: {pick: data, fields: [id]}
`)
	read := func(uri string) (*runtime.Result, error) {
		c := s.call(uri, "")
		c.Op = runtime.ReadResource
		return s.in.ReadResource(t.Context(), c, s.env())
	}
	res, err := read("crm://customer/7")
	if err != nil || res.Resource.Contents[0].Text != `{"id":7}` || res.Resource.Contents[0].MIMEType != "application/json" {
		t.Fatalf("%+v, %v", res, err)
	}
	for _, uri := range []string{"crm://customer/8", "crm://customer/x", "crm://customer/7/8", "crm://other"} {
		if _, err := read(uri); !isCode(err, "not_found") {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if s.def.Resources[0].URITemplate != "crm://customer/{id}" || s.def.Resources[0].Scope != "resource:customer" {
		t.Errorf("%+v", s.def.Resources[0])
	}
}

func TestTemplateIsChecked(t *testing.T) {
	if _, d, problems := check(yamlNode(t, template)); len(problems) > 0 || len(d.Tools) != 1 || d.Tools[0].Risk != registry.Reads {
		t.Errorf("%v, %+v", problems, d)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal(what)
		}
		<-time.After(5 * time.Millisecond)
	}
}
