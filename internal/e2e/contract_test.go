package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"latchkey/internal/testenv"
)

// An example is one good call of an operation: what the contract tests vary to
// get bad ones.
type example struct {
	path   map[string]string // besides tenant
	query  string
	body   any
	status int // 0: 200
	// foreign names things of the other tenant, of the same kind, under path's keys.
	foreign map[string]string
	// unchecked says why a check of the suite makes no sense here.
	unchecked map[string]string
}

// contract is a running platform with one of everything.
type contract struct {
	*testing.T
	p    *Platform
	spec *openapi3.T
	keys map[string]string // by who: admin, auditor, operator, stranger
	made map[string]string // ids of what was made, acme's and globex's (globex.…)
}

// TestContract holds the running platform to its own document: each operation
// succeeds with an answer of the document's form, refuses bad input with the
// place, hides other tenants, names the right that is missing, answers an unknown
// id as a foreign one, repeats idempotently, notices a stale ETag and is on
// record.
func TestContract(t *testing.T) {
	t.Parallel()
	c := newContract(t, Start(t))
	examples := c.examples()
	maps.Copy(examples, c.upstreamExamples())
	maps.Copy(examples, c.taskExamples())
	maps.Copy(examples, c.accountExamples())
	var ops []operation
	for path, item := range c.spec.Paths.Map() {
		for method, o := range item.Operations() {
			ops = append(ops, operation{o.OperationID, method, path, item, o})
		}
	}
	slices.SortFunc(ops, func(a, b operation) int { return strings.Compare(a.id, b.id) })
	for _, op := range ops {
		if examples[op.id] == nil {
			t.Errorf("%s has no example here: add one", op.id)
		}
	}
	// What deletes goes last: others need what it deletes.
	slices.SortStableFunc(ops, func(a, b operation) int {
		return rank(a.method) - rank(b.method)
	})
	for _, op := range ops {
		if examples[op.id] != nil {
			t.Run(op.id, func(t *testing.T) { c.in(t).hold(op, examples[op.id]) })
		}
	}
}

func rank(method string) int {
	if method == http.MethodDelete {
		return 1
	}
	return 0
}

type operation struct {
	id, method, path string
	item             *openapi3.PathItem
	spec             *openapi3.Operation
}

func (o operation) needs() string { s, _ := o.spec.Extensions["x-permission"].(string); return s }

func (o operation) parameter(in, name string) bool {
	for _, list := range []openapi3.Parameters{o.item.Parameters, o.spec.Parameters} {
		if list.GetByInAndName(in, name) != nil {
			return true
		}
	}
	return false
}

func newContract(t *testing.T, p *Platform) *contract {
	t.Helper()
	spec, err := openapi3.NewLoader().LoadFromFile(filepath.Join(testenv.RepoRoot(t), "internal/api/openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{T: t, p: p, spec: spec, made: map[string]string{}, keys: map[string]string{"admin": p.APIKey, "operator": p.Operator.APIKey, "nobody": "lk_live_nothing"}}
	c.keys["auditor"] = c.makeKey("admin", "acme", "usage:read")
	c.keys["stranger"] = c.makeKey("operator", "globex", "admin")
	return c
}

func (c *contract) in(t *testing.T) *contract {
	sub := *c
	sub.T = t
	return &sub
}

func (c *contract) makeKey(who, tenant string, permissions ...string) string {
	c.Helper()
	var k struct{ Secret string }
	c.must(who, "POST", "/tenants/"+tenant+"/api-keys", map[string]any{"name": "contract", "permissions": permissions}, http.StatusCreated, &k)
	return k.Secret
}

// A response with its body.
type response struct {
	*http.Response
	body string
}

// call does a request; headers are names and values in turn.
func (c *contract) call(who, method, path string, body any, headers ...string) response {
	c.Helper()
	var send io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		send = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			c.Fatal(err)
		}
		send = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(c.Context(), method, c.p.APIURL+path, send)
	if err != nil {
		c.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.keys[who])
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.p.HTTP.Do(r)
	if err != nil {
		c.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.Fatal(err)
	}
	return response{res, string(b)}
}

func (c *contract) must(who, method, path string, body any, status int, into any) {
	c.Helper()
	res := c.call(who, method, path, body)
	if res.StatusCode != status {
		c.Fatalf("%s %s: %d, want %d: %s", method, path, res.StatusCode, status, res.body)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(res.body), into); err != nil {
			c.Fatal(err)
		}
	}
}

type problem struct {
	Code, Detail, Permission string
	Errors                   []struct{ Pointer, Detail string }
}

func (r response) problem() (p problem) {
	json.Unmarshal([]byte(r.body), &p)
	return p
}

// sameRefusal is an answer without what differs in every one.
func (r response) sameRefusal() string {
	return regexp.MustCompile(`"request_id":"[^"]*"`).ReplaceAllString(fmt.Sprint(r.StatusCode, " ", r.body), "")
}

var pathName = regexp.MustCompile(`\{(\w+)\}`)

// fill writes a path with its parameters.
func fill(path, tenant string, params map[string]string) string {
	return pathName.ReplaceAllStringFunc(path, func(m string) string {
		name := m[1 : len(m)-1]
		if name == "tenant" {
			return tenant
		}
		return url.PathEscape(params[name])
	})
}

// hold runs the suite on one operation.
func (c *contract) hold(op operation, x *example) {
	who := "admin"
	if op.needs() == "operator" {
		who = "operator"
	}
	good := fill(op.path, "acme", x.path) + x.query
	ofTenant := strings.HasPrefix(op.path, "/tenants/{tenant}")
	check := func(name string, f func(c *contract)) {
		if x.unchecked[name] == "" {
			c.Run(name, func(t *testing.T) { f(c.in(t)) })
		}
	}

	check("nobody", func(c *contract) { c.refused("nobody", op.method, good, x.body, 401, "unauthenticated") })
	check("bad input", func(c *contract) { c.badInput(op, x, who, good) })
	if ofTenant {
		check("other tenant", func(c *contract) {
			foreign := c.call("stranger", op.method, good, x.body)
			unknown := c.call("stranger", op.method, fill(op.path, "no-such-tenant", x.path)+x.query, x.body)
			if foreign.StatusCode != http.StatusNotFound || foreign.sameRefusal() != unknown.sameRefusal() {
				c.Errorf("the other tenant answers %s\nan unknown one %s", foreign.sameRefusal(), unknown.sameRefusal())
			}
		})
	}
	check("missing right", func(c *contract) {
		switch needs := op.needs(); needs {
		case "any", "usage:read":
		case "operator":
			c.refused("admin", op.method, good, x.body, 404, "not_found")
		default:
			if p := c.refused("auditor", op.method, good, x.body, 403, "role_not_allowed"); p.Permission != strings.Fields(needs)[0] {
				c.Errorf("the missing permission is said to be %q, it is %s", p.Permission, needs)
			}
		}
	})
	if x.foreign != nil {
		check("unknown id", func(c *contract) { c.unknownID(op, x, who) })
	}
	if op.parameter("header", "If-Match") {
		check("stale ETag", func(c *contract) {
			c.refused(who, op.method, good, x.body, http.StatusPreconditionFailed, "stale", "If-Match", `"of another time"`)
		})
	}
	check("success", func(c *contract) { c.succeeds(op, x, who, good) })
	if op.method != http.MethodGet && !op.flag("x-unrecorded") && ofTenant && op.id != "deleteTenant" {
		check("on record", func(c *contract) { c.onRecord(op, who) })
	}
}

// volatile says that the answer has members that change by themselves, so that
// it is sent anew each time.
func (o operation) volatile() bool {
	m := o.spec.Responses.Status(http.StatusOK).Value.Content.Get("application/json")
	for _, member := range m.Schema.Value.Properties {
		if v, _ := member.Value.Extensions["x-volatile"].(bool); v {
			return true
		}
	}
	return false
}

func (o operation) flag(name string) bool { b, _ := o.spec.Extensions[name].(bool); return b }

func (c *contract) refused(who, method, path string, body any, status int, code string, headers ...string) problem {
	c.Helper()
	res := c.call(who, method, path, body, headers...)
	p := res.problem()
	if res.StatusCode != status || p.Code != code || p.Detail == "" || res.Header.Get("Content-Type") != "application/problem+json" {
		c.Errorf("as %s: %d %s, want %d %s: %s", who, res.StatusCode, p.Code, status, code, res.body)
	}
	return p
}

func (c *contract) badInput(op operation, x *example, who, good string) {
	join := "?"
	if strings.Contains(good, "?") {
		join = "&"
	}
	p := c.refused(who, op.method, good+join+"surprise=1", x.body, 400, "invalid_request")
	if len(p.Errors) == 0 || p.Errors[0].Pointer != "?surprise" {
		c.Errorf("the parameter is not pointed at: %+v", p)
	}
	if op.parameter("query", "limit") {
		if p := c.refused(who, op.method, good+join+"limit=100000", x.body, 400, "invalid_request"); len(p.Errors) == 0 || p.Errors[0].Pointer != "?limit" {
			c.Errorf("the limit is not pointed at: %+v", p)
		}
		c.refused(who, op.method, good+join+"cursor=bm9uZQ", x.body, 400, "invalid_request")
	}
	if x.body == nil {
		return
	}
	body := map[string]any{}
	b, _ := json.Marshal(x.body)
	json.Unmarshal(b, &body)
	body["surprise"] = true
	p = c.refused(who, op.method, good, body, 400, "invalid_request")
	if !slices.ContainsFunc(p.Errors, func(e struct{ Pointer, Detail string }) bool { return e.Pointer == "/surprise" }) {
		c.Errorf("the unknown field is not pointed at: %+v", p)
	}
	c.refused(who, op.method, good, `{"half": `, 400, "invalid_request")
}

// unknownID asks for what does not exist, and for what exists at the other
// tenant: both answer alike.
func (c *contract) unknownID(op operation, x *example, who string) {
	for name, foreign := range x.foreign {
		params, unknown := map[string]string{}, map[string]string{}
		for k, v := range x.path {
			params[k], unknown[k] = v, v
		}
		params[name] = foreign
		unknown[name] = otherOf(foreign)
		a := c.call(who, op.method, fill(op.path, "acme", params)+x.query, x.body)
		b := c.call(who, op.method, fill(op.path, "acme", unknown)+x.query, x.body)
		if a.StatusCode != http.StatusNotFound || a.sameRefusal() != b.sameRefusal() {
			c.Errorf("%s of the other tenant answers %s\nan unknown one %s", name, a.sameRefusal(), b.sameRefusal())
		}
	}
}

// otherOf makes a well-formed name that nothing has.
func otherOf(id string) string {
	if strings.Contains(id, "@") {
		return "nobody." + id
	}
	if strings.HasPrefix(id, "https://") {
		return id + ".none"
	}
	return id[:len(id)-6] + "zzzzzz"
}

func (c *contract) succeeds(op operation, x *example, who, good string) {
	status := x.status
	if status == 0 {
		status = http.StatusOK
	}
	var headers []string
	repeats := op.method == http.MethodPost && op.parameter("header", "Idempotency-Key")
	if repeats {
		headers = []string{"Idempotency-Key", "contract-" + op.id}
	}
	res := c.call(who, op.method, good, x.body, headers...)
	if res.StatusCode != status {
		c.Fatalf("%d, want %d: %s", res.StatusCode, status, res.body)
	}
	c.ofForm(op, res)
	if op.method == http.MethodGet && res.Header.Get("ETag") != "" && !op.volatile() {
		if again := c.call(who, op.method, good, nil, "If-None-Match", res.Header.Get("ETag")); again.StatusCode != http.StatusNotModified && again.Header.Get("ETag") == res.Header.Get("ETag") {
			c.Errorf("If-None-Match of what it is: %d", again.StatusCode)
		}
	}
	if !repeats {
		return
	}
	again := c.call(who, op.method, good, x.body, headers...)
	if again.StatusCode != status || again.body != res.body || again.Header.Get("Idempotent-Replayed") != "true" {
		c.Errorf("the repeat answers %d %s\nthe first %d %s", again.StatusCode, again.body, res.StatusCode, res.body)
	}
	if x.body != nil {
		other := map[string]any{}
		b, _ := json.Marshal(x.body)
		json.Unmarshal(b, &other)
		for k, v := range other {
			if s, ok := v.(string); ok && k != "kind" && k != "decision" {
				other[k] = s + "x"
				c.refused(who, op.method, good, other, http.StatusUnprocessableEntity, "key_reused", headers...)
				break
			}
		}
	}
}

// ofForm holds an answer against the document.
func (c *contract) ofForm(op operation, res response) {
	c.Helper()
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: res.Request, Route: &routers.Route{Spec: c.spec, Path: op.path, PathItem: op.item, Method: op.method, Operation: op.spec},
		},
		Status: res.StatusCode, Header: res.Header, Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	if op.flag("x-stream") {
		return // its form is a line's, not the whole's
	}
	in.SetBodyBytes([]byte(res.body))
	if err := openapi3filter.ValidateResponse(context.Background(), in); err != nil {
		c.Errorf("the answer is not of the document's form: %v\n%.2000s", err, res.body)
	}
}

// onRecord finds the last change in the audit, with who made it.
func (c *contract) onRecord(op operation, who string) {
	var page struct {
		Data []struct{ Tool, Method, Outcome, Client string }
	}
	c.must("admin", "GET", "/tenants/acme/audit/events?method=api&outcome=done&limit=5&tool="+op.id, nil, http.StatusOK, &page)
	if len(page.Data) == 0 || page.Data[0].Tool != op.id || page.Data[0].Client == "" {
		c.Errorf("no record of %s: %+v", op.id, page.Data)
	}
}
