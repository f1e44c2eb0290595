package httptool

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"latchkey/internal/registry"
)

const shop = `
openapi: 3.0.3
info: {title: Shop, version: '1'}
paths:
  /orders:
    get:
      operationId: listOrders
      tags: [orders]
      parameters:
      - {name: state, in: query, style: form, explode: false, schema: {type: array, items: {type: string}}}
      - {name: filter, in: query, style: deepObject, explode: true, schema: {type: object, properties: {min: {type: integer}, tags: {type: array, items: {type: string}}}}}
      - {name: X-Acting-User, in: header, required: true, schema: {type: string}}
      responses: {'200': {description: D, content: {application/json: {schema: {type: array, items: {$ref: '#/components/schemas/Order'}}}}}}
    post:
      operationId: createOrder
      tags: [orders]
      requestBody: {required: true, content: {application/x-www-form-urlencoded: {schema: {type: object, required: [item], properties: {item: {type: string}, lines: {type: array, items: {type: object, properties: {n: {type: integer}}}}, meta: {type: object}}}, encoding: {lines: {style: deepObject}}}}}
      responses: {'201': {description: D, content: {application/json: {schema: {$ref: '#/components/schemas/Order'}}}}}
  /orders/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string}}]
    get: {operationId: getOrder, tags: [orders], responses: {'200': {description: D, content: {application/json: {schema: {$ref: '#/components/schemas/Order'}}}}}}
    patch:
      operationId: changeOrder
      requestBody: {content: {application/merge-patch+json: {schema: {type: object, properties: {id: {type: string}, note: {type: string, nullable: true}}}}}}
      responses: {'200': {description: D}}
    delete: {operationId: deleteOrder, responses: {'204': {description: D}}}
  /upload: {post: {operationId: upload, requestBody: {required: true, content: {multipart/form-data: {schema: {type: object}}}}, responses: {}}}
components: {schemas: {Order: {type: object, properties: {id: {type: string}, total: {type: number}, error: {type: string}}}}}
`

func shopSpec(operations string) string {
	return "openapi:\n  document: |\n" + "    " + strings.ReplaceAll(strings.TrimSpace(shop), "\n", "\n    ") + "\n" + operations
}

func TestOperationsBecomeTools(t *testing.T) {
	u := newUpstream(t, answersJSON(`[{"id":"7"}]`))
	s := serve(t, u, "base_url: BASE/v2", shopSpec(`
  operations:
  - "*"
  - operation: listOrders
    name: find_orders
    scope: orders:read
    arguments: {X-Acting-User: {from: caller.email}, state: {name: states, description: Which.}}
  - operation: createOrder
    idempotency: {repeatable: true}
    arguments: {meta: {value: {source: latchkey}}}
  - {operation: 'GET /orders/{id}', response: {pick: '0', fields: [id]}}
  except: [upload]
`))
	got := map[string]string{}
	for _, tool := range s.def.Tools {
		got[tool.Name] = fmt.Sprintf("%s %s %v", tool.Risk, tool.Scope, tool.OutputSchema != nil)
	}
	for name, want := range map[string]string{
		"find_orders": "read orders:read true", "createOrder": "write tool:createorder true", "getOrder": "read tool:getorder false",
		"changeOrder": "write tool:changeorder false", "deleteOrder": "destructive tool:deleteorder false",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if len(got) != 5 {
		t.Errorf("%v", got)
	}
	find, _ := s.def.Tool("find_orders")
	if in := string(find.InputSchema); strings.Contains(in, "Acting") || !strings.Contains(in, `"states"`) || !strings.Contains(in, "Which.") {
		t.Errorf("%s\n%s", in, find.OutputSchema)
	}
	// A failure answers with a member error of its own, under the same schema.
	if made, _ := s.def.Tool("createOrder"); strings.Contains(string(made.OutputSchema), `"error"`) || !strings.Contains(string(made.OutputSchema), `"total"`) {
		t.Errorf("%s", made.OutputSchema)
	}
	for _, c := range []struct{ tool, input, method, path, query, body string }{
		{"find_orders", `{"states":["a,b","c"],"filter":{"min":2,"tags":["x y","&"]}}`, "GET", "/v2/orders", "state=a%2Cb,c&filter[min]=2&filter[tags][0]=x%20y&filter[tags][1]=%26", ""},
		{"find_orders", `{"X-Acting-User":"mallory@acme.test"}`, "GET", "/v2/orders", "", ""},
		{"createOrder", `{"item":"a=b","lines":[{"n":1},{"n":2}]}`, "POST", "/v2/orders", "", "item=a%3Db&lines[0][n]=1&lines[1][n]=2&meta[source]=latchkey"},
		{"changeOrder", `{"id":"a/b","note":null}`, "PATCH", "/v2/orders/a%2Fb", "", `{"note":null}`},
		{"changeOrder", `{"id":"1","body_id":"2"}`, "PATCH", "/v2/orders/1", "", `{"id":"2"}`},
		{"deleteOrder", `{"id":"1"}`, "DELETE", "/v2/orders/1", "", ""},
	} {
		s.structured(c.tool, c.input)
		r := u.last(t)
		if r.method != c.method || r.path != c.path || r.query != c.query || r.body != c.body {
			t.Errorf("%s %s\n sent %s %s?%s %s\n want %s %s?%s %s", c.tool, c.input, r.method, r.path, r.query, r.body, c.method, c.path, c.query, c.body)
		}
		if c.tool == "find_orders" && r.header.Get("X-Acting-User") != "sam@acme.test" {
			t.Errorf("for %q", r.header.Get("X-Acting-User"))
		}
	}
	if got := s.structured("getOrder", `{"id":"7"}`); got != `{"id":"7"}` {
		t.Error(got)
	}
}

func TestOnlyWhatIsChosenIsKept(t *testing.T) {
	n := yamlNode(t, shopSpec("  operations: [getOrder]\n"))
	checked, problems := registry.CheckSpec(onlyHTTP{}, "http", n)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, text := range map[string]string{"normalized": string(checked.Normalized), "declared": string(checked.Declared)} {
		if strings.Contains(text, "createOrder") || strings.Contains(text, "deepObject") || !strings.Contains(text, "/orders/{id}") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if strings.Contains(string(checked.Normalized), "components") {
		t.Errorf("a worker is sent the document: %s", checked.Normalized)
	}
	// What was declared is read again as the same.
	back, problems := registry.ReadJSON(checked.Declared)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	again, problems := registry.CheckSpec(onlyHTTP{}, "http", back)
	if len(problems) > 0 || string(again.Normalized) != string(checked.Normalized) || string(again.Declared) != string(checked.Declared) {
		t.Errorf("%v\n%s\n%s", problems, checked.Declared, again.Declared)
	}
	was, _ := json.Marshal(checked.Definition)
	is, _ := json.Marshal(again.Definition)
	if string(was) != string(is) {
		t.Errorf("the tools differ:\n%s\n%s", was, is)
	}
}

func TestBadSpecsSayWhere(t *testing.T) {
	for name, c := range map[string]struct{ spec, want string }{
		"unknown operation":           {shopSpec("  operations: [getOrders]\n"), "spec.openapi.operations[0]: \"getOrders\" is no operation of the document; it has"},
		"operation that cannot be":    {shopSpec("  operations: [upload]\n"), `multipart/form-data, and the document does not name its parts; leave it out: except: ["POST /upload"]`},
		"one name for several":        {shopSpec("  operations: [{operation: 'tag:orders', name: x}]\n"), "gives one name or text to 3 operations"},
		"unknown argument":            {shopSpec("  operations: [{operation: getOrder, arguments: {no: {}}}]\n"), `GET /orders/{id} has no argument "no"; its arguments are id`},
		"required and hidden":         {shopSpec("  operations: [{operation: getOrder, arguments: {id: {hide: true}}}]\n"), "hide: is set for an argument that is required"},
		"risk that is a lie":          {shopSpec("  operations: [{operation: deleteOrder, risk: read}]\n"), "risk: is read, and DELETE changes something"},
		"file of somebody's machine":  {"openapi: {document: {file: /etc/passwd}, operations: ['*']}", "refers to something on the sender's machine"},
		"no document":                 {"openapi: {operations: ['*']}", "spec.openapi.document: is missing"},
		"place that is no parameter":  {"tools: [{name: x, description: d, request: {path: '/a/{b}'}}]", "spec.tools[0].request.path: has the place {b}, which is no parameter"},
		"place that may be missing":   {"tools: [{name: x, description: d, request: {path: '/a/{b}'}, parameters: [{name: b, type: string}]}]", `needs "b", which may be left out`},
		"parameter that is not used":  {"tools: [{name: x, description: d, request: {method: POST, path: /a, body: {c: 1}}, parameters: [{name: b, type: string}]}]", `the parameter "b" is not used`},
		"header of the platform":      {"tools: [{name: x, description: d, request: {path: /a, headers: {authorization: x}}}]", "is not a tool's to set"},
		"path that climbs":            {"tools: [{name: x, description: d, request: {path: /a/../b}}]", "is no path below"},
		"body of a GET":               {"tools: [{name: x, description: d, request: {path: /a, body: {a: 1}}}]", "is sent with GET"},
		"open brace":                  {"tools: [{name: x, description: d, request: {path: /a, query: {q: '{b'}}}]", "has a { without a }"},
		"pick that is none":           {"tools: [{name: x, description: d, request: {path: /a}, response: {pick: 'a..b'}}]", "is no way into an answer"},
		"resource that writes":        {"resources: [{name: x, uri: 'a://b', request: {method: POST, path: /a}}]", "a resource is only read"},
		"nothing":                     {"instructions: x", "offers nothing"},
		"content that cannot be sent": {"tools: [{name: x, description: d, request: {method: POST, path: /a, content_type: multipart/mixed, body: x}}]", "cannot be sent"},
		"content that is no type":     {"tools: [{name: x, description: d, request: {method: POST, path: /a, content_type: \"text/x\\r\\nX: y\", body: x}}]", "cannot be sent"},
		"file in a query":             {"tools: [{name: x, description: d, request: {path: /a, query: {q: '{f}'}}, parameters: [{name: f, type: file}]}]", `the file "f" has no place in the request`},
		"file in a part and a query":  {"tools: [{name: x, description: d, request: {method: POST, path: /a, query: {q: '{f}'}, content_type: multipart/form-data, body: {f: '{f}'}}, parameters: [{name: f, type: file}]}]", `the file "f" has no place in the request`},
		"file in JSON":                {"tools: [{name: x, description: d, request: {method: POST, path: /a, body: {f: '{f}'}}, parameters: [{name: f, type: file}]}]", `the file "f" has no place in the request`},
		"types of no file":            {"tools: [{name: x, description: d, request: {path: /a}, parameters: [{name: f, type: string, accept: [image/png]}]}]", "accept: means nothing for type string"},
		"type that is none":           {"tools: [{name: x, description: d, request: {path: /a}, parameters: [{name: f, type: file, accept: [pictures]}]}]", "is no media type"},
		"part whose name ends it":     {"tools: [{name: x, description: d, request: {method: POST, path: /a, content_type: multipart/form-data, body: {\"a\\\"b\": x}}}]", "whose name cannot be sent"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, problems := check(yamlNode(t, c.spec))
			if text := (&registry.Problems{List: problems}).Error(); !strings.Contains(text, c.want) {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

func TestBadConnectionsSayWhere(t *testing.T) {
	for name, c := range map[string]struct{ connection, want string }{
		"not encrypted":           {"base_url: http://api.example.com", "is not encrypted; write https://"},
		"a password in it":        {"base_url: https://a:b@api.example.com", "holds a name or a password"},
		"another scheme":          {"base_url: ftp://api.example.com", "has the scheme \"ftp\""},
		"a query":                 {"base_url: https://api.example.com/?key=1", "has a query"},
		"a secret in plain":       {"base_url: https://a.example\nauth: {type: bearer, token: abc}", "connection.auth.token: is written in the file"},
		"no way to log in":        {"base_url: https://a.example\nauth: {type: magic}", `"magic" is no way to log in; write type: and one of none, api_key, basic`},
		"a key of another":        {"base_url: https://a.example\nauth: {type: jwt, algorithm: RS256, private_key: {env: EC}}", "private_key: is no key for RS256"},
		"no key at all":           {"base_url: https://a.example\nauth: {type: jwt, algorithm: RS256, private_key: {env: KEY}}", "private_key: is no PEM"},
		"keys of another way":     {"base_url: https://a.example\nauth: {type: basic, token: {env: KEY}}", "is not known; the keys are type, username, password"},
		"a header of ours":        {"base_url: https://a.example\nheaders: {Host: x}", "is not set here"},
		"origin with a path":      {"base_url: https://a.example\nredirect_origins: [https://b.example/x]", "which is no origin"},
		"token over plain HTTP":   {"base_url: https://a.example\nauth: {type: oauth_client_credentials, token_url: 'http://b.example/t', client_id: c, client_secret: {env: KEY}}", "token_url: is not encrypted"},
		"a claim that is set":     {"base_url: https://a.example\nauth: {type: jwt, algorithm: EdDSA, private_key: {env: ED25519}, claims: {iss: x}}", "is set by another key"},
		"too many redirects":      {"base_url: https://a.example\nredirects: 9", "write a number from 0 to 3"},
		"secret in a parameter":   {"base_url: https://a.example\nauth: {type: oauth_client_credentials, token_url: 'https://b.example/t', client_id: c, client_secret: {env: KEY}, parameters: {x: {env: KEY}}}", "cannot be given here"},
		"a header with a break":   {"base_url: https://a.example\nheaders: {X-A: \"a\\nb\"}", "is no value of a header"},
		"key without a reference": {"base_url: https://a.example\nauth: {type: api_key, name: X-K}", "connection.auth.key: is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := registry.CheckConnection(onlyHTTP{}, "http", yamlNode(t, c.connection), func(_, name string) (string, error) { return testSecrets[name], nil })
			text := (&registry.Problems{List: problems}).Error()
			if !strings.Contains(text, c.want) || strings.Contains(text, canary) {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

// FuzzArguments: whatever a value is, it stays in its place.
func FuzzArguments(f *testing.F) {
	for _, v := range []string{`"a"`, `"../x"`, `"a?b#c"`, `["a","b"]`, `{"k":"v"}`, `1e5`, `null`, `"%2e%2e"`, `"\u0000"`, `"é/\\"`} {
		f.Add(v, "simple", "form", true)
	}
	declared := `tools: [{name: x, description: d, request: {path: "/a/{p}/z", query: {q: "{q}", fixed: "1"}, headers: {X-H: "{q}"}}, parameters: [{name: p, type: string, required: true}, {name: q, type: string}]}]`
	raw, _, problems := check(yamlNode(f, declared))
	if len(problems) > 0 {
		f.Fatal(problems)
	}
	f.Fuzz(func(t *testing.T, value, pathStyle, queryStyle string, explode bool) {
		var s spec
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		r := &s.Tools[0].request
		for i := range r.Places {
			r.Places[i].Explode = explode
			if r.Places[i].In == "query" && r.Places[i].Name == "q" {
				r.Places[i].Style = queryStyle
			}
		}
		r.Places = append(r.Places, place{In: "path", Name: "p", Text: "{p}", Style: pathStyle, Explode: explode, Wire: "p"})
		if err := r.compile(); err != nil {
			t.Fatal(err)
		}
		if !json.Valid([]byte(value)) {
			return
		}
		out, err := r.build(map[string]json.RawMessage{"p": json.RawMessage(value), "q": json.RawMessage(value)})
		if err != nil {
			return
		}
		req, err := http.NewRequest("GET", "http://host.example"+out.path+"?"+out.query, nil)
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		parts := strings.Split(req.URL.EscapedPath(), "/")
		if req.URL.Host != "host.example" || len(parts) != 4 || parts[1] != "a" || parts[3] != "z" || parts[2] == "" || parts[2] == ".." || parts[2] == "." || req.URL.Fragment != "" {
			t.Fatalf("%s became the path %s", value, req.URL.EscapedPath())
		}
		if req.URL.Query().Get("fixed") != "1" && queryStyle != "form" {
			t.Fatalf("%s became the query %s", value, out.query)
		}
		for _, all := range out.header {
			for _, h := range all {
				if strings.ContainsAny(h, "\r\n\x00") {
					t.Fatalf("%s became the header %q", value, h)
				}
			}
		}
	})
}
