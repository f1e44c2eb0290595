package e2e

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// wantRefused checks an answer from before any message was read.
func wantRefused(t *testing.T, a Answer, err error, status int, says string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != status || !strings.Contains(a.Body, says) {
		t.Errorf("got %d %.400s\nwant %d %q", a.Status, a.Body, status, says)
	}
}

// wantFailure checks how a call failed.
func wantFailure(t *testing.T, a Answer, code string) *Failure {
	t.Helper()
	f, err := a.Failure()
	if err != nil {
		t.Fatal(err)
	}
	if f == nil || f.Code != code {
		t.Fatalf("got %d %.600s\nwant the failure %s", a.Status, a.Body, code)
	}
	return f
}

const callBody = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},%s}}`

func TestBatchArrayRefused(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k, orders := p.Token(t, "fred@acme.test", "orders", read), p.Resource("acme", "orders")
	call := fmt.Sprintf(callBody, fmt.Sprintf(`"name":"issue_refund","arguments":{"order_id":%d,"amount":0.01,"reason":"batch"}`, payable(t, p)))
	for name, body := range map[string]string{"alone": "[" + call + "]", "behind a harmless one": `[{"jsonrpc":"2.0","id":0,"method":"ping"},` + call + "]", "after a space": " \n[" + call + "]"} {
		for _, version := range []string{Modern, "2025-03-26", ""} {
			a, err := p.Post(t.Context(), orders, k.Access, body, "MCP-Protocol-Version", version)
			if wantRefused(t, a, err, http.StatusBadRequest, "batches are not accepted"); t.Failed() {
				t.Fatalf("%s, version %q", name, version)
			}
		}
	}
	if l := p.LedgerOf(t, "acme", "batch"); len(l) != 0 {
		t.Errorf("the ledger has %+v", l)
	}
}

// encoding/json ignores the case of keys and takes the last of several. The
// check must be of what runs.
func TestDuplicateNameKeyCannotPassScopeCheck(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k, orders := p.Token(t, "fred@acme.test", "orders", read), p.Resource("acme", "orders")
	order, reason := payable(t, p), unique("duplicate key ")
	arguments := fmt.Sprintf(`"arguments":{"order_id":%d,"amount":0.01,"reason":"%s"}`, order, reason)
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	bodies := []string{
		fmt.Sprintf(callBody, `"name":"search_orders","NAME":"issue_refund",`+arguments),
		fmt.Sprintf(callBody, `"NAME":"issue_refund","name":"search_orders",`+arguments),
		fmt.Sprintf(callBody, `"name":"search_orders","name":"issue_refund",`+arguments),
		fmt.Sprintf(callBody, `"name":"issue_refund","name":"search_orders",`+arguments),
		fmt.Sprintf(callBody, `"NAME":"issue_refund",`+arguments),
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"search_orders"},"params":{` + meta + `,"name":"issue_refund",` + arguments + `}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"search_orders"},"PARAMS":{` + meta + `,"name":"issue_refund",` + arguments + `}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","METHOD":"tools/call","params":{` + meta + `,"name":"issue_refund",` + arguments + `}}`,
	}
	for _, body := range bodies {
		for _, name := range []string{"search_orders", "issue_refund", ""} {
			if _, err := p.Post(t.Context(), orders, k.Access, body, "MCP-Protocol-Version", Modern, "Mcp-Method", "tools/call", "Mcp-Name", name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.Post(t.Context(), orders, k.Access, body); err != nil {
			t.Fatal(err)
		}
		if l := p.LedgerOf(t, "acme", reason); len(l) != 0 {
			t.Fatalf("%s\npaid %+v with a token for reading", body, l)
		}
	}
	// The same refund with the scope goes through, so that the test is known to
	// look at the right place.
	k = p.Token(t, "fred@acme.test", "orders", read, write)
	p.MustCall(t, orders, k.Access, "issue_refund", refundOf(order, reason))
	if l := p.LedgerOf(t, "acme", reason); len(l) != 1 {
		t.Errorf("the ledger has %+v", l)
	}
}

func TestArgumentTwiceRefused(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "fred@acme.test", "orders", read, write)
	body := fmt.Sprintf(callBody, fmt.Sprintf(`"name":"issue_refund","arguments":{"order_id":%d,"amount":0.01,"amount":5,"reason":"amount twice"}`, payable(t, p)))
	a, err := p.Post(t.Context(), p.Resource("acme", "orders"), k.Access, body, "MCP-Protocol-Version", Modern, "Mcp-Method", "tools/call", "Mcp-Name", "issue_refund")
	if err != nil {
		t.Fatal(err)
	}
	wantFailure(t, a, "invalid_arguments")
	if l := p.LedgerOf(t, "acme", "amount twice"); len(l) != 0 {
		t.Errorf("the ledger has %+v", l)
	}
}

func TestTokenElsewhereRefused(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "dana@acme.test", "orders", read)
	if a := p.MustCall(t, p.Resource("acme", "orders"), k.Access, "search_orders", map[string]any{"query": "x"}); a.Status != http.StatusOK {
		t.Fatalf("at its own server: %d %s", a.Status, a.Body)
	}
	for attack, at := range map[string]string{
		"token of acme at globex": p.Resource("globex", "orders"), "token of orders at diagnostics": p.Resource("acme", "diagnostics"),
	} {
		a := p.MustCall(t, at, k.Access, "search_orders", map[string]any{"query": "x"})
		if c := a.Header.Get("WWW-Authenticate"); a.Status != http.StatusUnauthorized || !strings.Contains(c, `error="invalid_token"`) || !strings.Contains(c, strings.TrimPrefix(at, "http://"+host(t, at))+`"`) {
			t.Errorf("%s: %d %s", attack, a.Status, c)
		}
	}
}

func TestTokenInQueryRefused(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "dana@acme.test", "orders", read)
	for _, name := range []string{"access_token", "token"} {
		for _, header := range []string{"", k.Access} {
			a, err := p.RPC(t.Context(), p.Resource("acme", "orders")+"?"+name+"="+k.Access, header, "tools/list", nil)
			if err != nil {
				t.Fatal(err)
			}
			if name == "token" && header != "" {
				continue // an unknown parameter beside a good header is nobody's token
			}
			if a.Status != http.StatusBadRequest && a.Status != http.StatusUnauthorized {
				t.Errorf("?%s=… with the header %.8q: %d %s", name, header, a.Status, a.Body)
			}
		}
	}
}

// signingKey finds the key with which the tenant signs access tokens, in what
// Vault has handled: with it, tokens can be made that are wrong in one place.
func signingKey(t *testing.T, p *Platform, token string) ed25519.PrivateKey {
	t.Helper()
	secrets, err := p.Issued()
	if err != nil {
		t.Fatal(err)
	}
	signed, signature, _ := cutLast(token, ".")
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	for value := range secrets {
		for _, size := range []int{ed25519.SeedSize, ed25519.PrivateKeySize} {
			if len(value) != size {
				continue
			}
			key := ed25519.NewKeyFromSeed([]byte(value[:ed25519.SeedSize]))
			if ed25519.Verify(key.Public().(ed25519.PublicKey), []byte(signed), sig) {
				return key
			}
		}
	}
	t.Fatal("the key that signs access tokens is not among what Vault handled")
	return nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func TestForgedTokensRefused(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "dana@acme.test", "orders", read)
	key := signingKey(t, p, k.Access)
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	var header map[string]any
	parts := strings.Split(k.Access, ".")
	if b, err := base64.RawURLEncoding.DecodeString(parts[0]); err != nil || json.Unmarshal(b, &header) != nil {
		t.Fatal("no header")
	}
	segment := func(m map[string]any) string {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	change := func(m map[string]any, changes ...any) map[string]any {
		out := map[string]any{}
		for name, v := range m {
			out[name] = v
		}
		for i := 0; i < len(changes); i += 2 {
			if changes[i+1] == nil {
				delete(out, changes[i].(string))
				continue
			}
			out[changes[i].(string)] = changes[i+1]
		}
		return out
	}
	sign := func(with ed25519.PrivateKey, h, c map[string]any) string {
		text := segment(h) + "." + segment(c)
		return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(with, []byte(text)))
	}
	claims := k.Claims()
	jwk := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(other.Public().(ed25519.PublicKey))}
	hs := segment(change(header, "alg", "HS256")) + "." + segment(claims)
	mac := hmac.New(sha256.New, key.Public().(ed25519.PublicKey))
	mac.Write([]byte(hs))
	flipped := []byte(k.Access)
	flipped[len(flipped)-20] ^= 1
	now := float64(time.Now().Unix())

	try := func(token string) int {
		a, err := p.Call(t.Context(), p.Resource("acme", "orders"), token, "search_orders", map[string]any{"query": "x"})
		if err != nil {
			t.Fatal(err)
		}
		if a.Status == http.StatusUnauthorized && !strings.Contains(a.Header.Get("WWW-Authenticate"), "resource_metadata=") {
			t.Errorf("no way to sign in is shown: %v", a.Header)
		}
		return a.Status
	}
	if got := try(sign(key, header, claims)); got != http.StatusOK {
		t.Fatalf("a token made here that is right in all places: %d. The others show nothing", got)
	}
	for attack, token := range map[string]string{
		"alg none":                        segment(change(header, "alg", "none")) + "." + parts[1] + ".",
		"alg none with the signature":     segment(change(header, "alg", "none")) + "." + parts[1] + "." + parts[2],
		"HS256 with the public key":       hs + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"foreign key":                     sign(other, header, claims),
		"foreign kid":                     sign(other, change(header, "kid", "kyaaaaaaaaaaaaaaaaaa"), claims),
		"no kid":                          sign(key, change(header, "kid", nil), claims),
		"key in the header":               sign(other, change(header, "jwk", jwk, "kid", nil), claims),
		"key at an address":               sign(other, change(header, "jku", "http://127.0.0.1:1/jwks"), claims),
		"id token as access token":        sign(key, change(header, "typ", "JWT"), claims),
		"no type":                         sign(key, change(header, "typ", nil), claims),
		"unknown critical header":         sign(key, change(header, "crit", []string{"b64"}, "b64", false), claims),
		"scope added":                     parts[0] + "." + segment(change(claims, "scope", "orders:read refunds:write")) + "." + parts[2],
		"signature altered":               string(flipped),
		"expired":                         sign(key, header, change(claims, "exp", now-61)),
		"no expiry":                       sign(key, header, change(claims, "exp", nil)),
		"from the future":                 sign(key, header, change(claims, "iat", now+3600, "exp", now+4000)),
		"issuer of another tenant":        sign(key, header, change(claims, "iss", p.Tenants["globex"])),
		"audience with a slash":           sign(key, header, change(claims, "aud", p.Resource("acme", "orders")+"/")),
		"audience by prefix":              sign(key, header, change(claims, "aud", p.Tenants["acme"])),
		"two audiences":                   sign(key, header, change(claims, "aud", []string{p.Resource("acme", "orders"), p.Resource("globex", "orders")})),
		"no subject":                      sign(key, header, change(claims, "sub", nil)),
		"a word":                          "hello",
		"a refresh token":                 k.Refresh,
		"somebody's password":             p.Users[0].Password,
		"two tokens":                      k.Access + " " + k.Access,
		"much":                            strings.Repeat("A", 20_000),
		"a token with a dot too many":     k.Access + ".",
		"padded":                          k.Access + "==",
		"JSON serialization, not compact": `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
	} {
		if got := try(token); got != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", attack, got)
		}
	}
}

func TestForeignOriginRefused(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "dana@acme.test", "orders", read)
	for _, origin := range []string{"https://evil.example", "null", "http://127.0.0.1.evil.example", "http://evil.example:" + port(t, p.BaseURL), "file://"} {
		for _, method := range []string{http.MethodPost, http.MethodOptions} {
			a, err := p.Do(t.Context(), method, p.Resource("acme", "orders"), k.Access, `{}`, "Origin", origin)
			wantRefused(t, a, err, http.StatusForbidden, "")
			if got := a.Header.Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("%s is allowed as %s", origin, got)
			}
		}
	}
	a, err := p.RPC(t.Context(), p.Resource("acme", "orders"), k.Access, "tools/list", nil, "Origin", "http://localhost:6274")
	if err != nil || a.Status != http.StatusOK || a.Header.Get("Access-Control-Allow-Origin") != "http://localhost:6274" {
		t.Errorf("a page of this machine: %v %d %v", err, a.Status, a.Header)
	}
}

func host(t *testing.T, base string) string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func port(t *testing.T, base string) string {
	t.Helper()
	_, port, _ := cutLast(host(t, base), ":")
	return port
}

func TestForeignHostRefused(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "dana@acme.test", "orders", read)
	for _, host := range []string{"evil.example", "evil.example:" + port(t, p.BaseURL), "localhost:" + port(t, p.BaseURL), "127.0.0.1", "127.0.0.1:1"} {
		a, err := p.RPC(t.Context(), p.Resource("acme", "orders"), k.Access, "tools/list", nil, "Host", host)
		wantRefused(t, a, err, http.StatusMisdirectedRequest, "not served here")
	}
}

func TestUnreadableBodiesRefused(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k, orders := p.Token(t, "dana@acme.test", "orders", read), p.Resource("acme", "orders")
	for name, test := range map[string]struct {
		body   string
		status int
		says   string
	}{
		"oversized":     {`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`, http.StatusRequestEntityTooLarge, "larger than"},
		"empty":         {``, http.StatusBadRequest, "one JSON-RPC message"},
		"malformed":     {`{"jsonrpc":"2.0",`, http.StatusBadRequest, "-32700"},
		"two":           {`{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}`, http.StatusBadRequest, "-32700"},
		"a word":        {`hello`, http.StatusBadRequest, "one JSON-RPC message"},
		"not a request": {`{"a":1}`, http.StatusBadRequest, ""},
		"deep":          {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + strings.Repeat(`{"a":`, 20000) + `1` + strings.Repeat(`}`, 20000) + `}`, http.StatusBadRequest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := p.Post(t.Context(), orders, k.Access, test.body, "MCP-Protocol-Version", Modern)
			wantRefused(t, a, err, test.status, test.says)
		})
	}
	// The platform still answers.
	if a := p.MustCall(t, orders, k.Access, "search_orders", map[string]any{"query": "x"}); a.Status != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.Status, a.Body)
	}
}

func TestStreamsWithoutSessionRefused(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k, orders := p.Token(t, "dana@acme.test", "orders", read), p.Resource("acme", "orders")
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		for _, session := range []string{"", "made-up"} {
			a, err := p.Do(t.Context(), method, orders, k.Access, "", "Mcp-Session-Id", session)
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != http.StatusBadRequest && a.Status != http.StatusNotFound && a.Status != http.StatusMethodNotAllowed {
				t.Errorf("%s with session %q: %d %s", method, session, a.Status, a.Body)
			}
		}
	}
	a, err := p.Do(t.Context(), http.MethodPut, orders, k.Access, "{}")
	wantRefused(t, a, err, http.StatusMethodNotAllowed, "")
}

// A session's id is no ticket: only the person who began it may go on with it,
// and nobody else learns that there is one.
func TestSessionOfAnotherPersonRefused(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	orders := p.Resource("acme", "orders")
	dana, vic := p.Token(t, "dana@acme.test", "orders", read), p.Token(t, "vic@acme.test", "orders", read)
	a, err := p.Post(t.Context(), orders, dana.Access, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`)
	if err != nil || a.Status != http.StatusOK {
		t.Fatalf("%v %d %s", err, a.Status, a.Body)
	}
	session := a.Header.Get("Mcp-Session-Id")
	list := `{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}`
	if a, err := p.Post(t.Context(), orders, vic.Access, list, "Mcp-Session-Id", session, "MCP-Protocol-Version", "2025-11-25"); err != nil || a.Status != http.StatusNotFound {
		t.Errorf("somebody else: %v %d %s", err, a.Status, a.Body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if a, err := p.Do(ctx, http.MethodGet, orders, vic.Access, "", "Mcp-Session-Id", session, "Accept", "text/event-stream"); err != nil || a.Status != http.StatusNotFound {
		t.Errorf("somebody else's stream: %v %d %s", err, a.Status, a.Body)
	}
	if a, err := p.Post(t.Context(), orders, dana.Access, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Mcp-Session-Id", session, "MCP-Protocol-Version", "2025-11-25"); err != nil || a.Status != http.StatusAccepted {
		t.Errorf("notification: %v %d %s", err, a.Status, a.Body)
	}
	if a, err := p.Post(t.Context(), orders, dana.Access, list, "Mcp-Session-Id", session, "MCP-Protocol-Version", "2025-11-25"); err != nil || a.Status != http.StatusOK {
		t.Errorf("the owner: %v %d %s", err, a.Status, a.Body)
	}
}

func TestUnknownToolRefused(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "fred@acme.test", "orders", read, write)
	for _, name := range []string{"drop_table", "Issue_Refund", "issue_refund ", "orders/issue_refund", "", strings.Repeat("x", 5000)} {
		a, err := p.Call(t.Context(), p.Resource("acme", "orders"), k.Access, name, refundOf(payable(t, p), "unknown tool"), "Mcp-Name", strings.TrimSpace(name))
		if err != nil {
			t.Fatal(err)
		}
		m, err := a.Message()
		if err != nil || m.Error == nil {
			t.Errorf("%.40q: %v %d %.300s", name, err, a.Status, a.Body)
		}
	}
	if l := p.LedgerOf(t, "acme", "unknown tool"); len(l) != 0 {
		t.Errorf("the ledger has %+v", l)
	}
}

func TestWrongArgumentsSayPointerAndReason(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "fred@acme.test", "orders", read, write)
	for _, test := range []struct {
		arguments any
		pointer   string
	}{
		{map[string]any{"order_id": 1002, "amount": -5, "reason": "wrong arguments"}, "/amount"},
		{map[string]any{"order_id": "1002; DROP TABLE refunds", "amount": 0.01, "reason": "wrong arguments"}, "/order_id"},
		{map[string]any{"order_id": 1002, "amount": 0.01, "reason": "x"}, "/reason"},
		{map[string]any{"order_id": 1002, "amount": 0.01}, ""},
		{map[string]any{"order_id": 1002, "amount": 0.01, "reason": "wrong arguments", "requested_by": "boss@acme.test"}, ""},
		{map[string]any{"order_id": 1002.5, "amount": 0.01, "reason": "wrong arguments"}, "/order_id"},
		{[]any{1002}, ""},
	} {
		a := p.MustCall(t, p.Resource("acme", "orders"), k.Access, "issue_refund", test.arguments)
		f := wantFailure(t, a, "invalid_arguments")
		if f.Category != "validation" || len(f.Details) == 0 || f.Details[0].Pointer != test.pointer || f.Details[0].Reason == "" {
			t.Errorf("%v: %+v", test.arguments, f)
		}
		if r := p.RecordsOf(t, f.CallID); len(r) != 1 || r[0].Phase != "refusal" || r[0].Code != "invalid_arguments" {
			t.Errorf("%v: on record is %v", test.arguments, r)
		}
	}
	if l := p.LedgerOf(t, "acme", "wrong arguments"); len(l) != 0 {
		t.Errorf("the ledger has %+v", l)
	}
}

func TestEmptySearchIsSuccess(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "dana@acme.test", "orders", read)
	for _, query := range []string{"nobody is called this", "'; DROP TABLE orders; --", "%_\\", strings.Repeat("é", 100)} {
		a := p.MustCall(t, p.Resource("acme", "orders"), k.Access, "search_orders", map[string]any{"query": query})
		rows, err := a.rows()
		if err != nil || a.Status != http.StatusOK || rows == nil || len(rows) != 0 {
			t.Errorf("%q: %v, %d %s", query, err, a.Status, a.Body)
		}
	}
}

// The tenant's own row-level security hears who calls.
func TestPersonSeesOnlyTheirRegion(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	regions := func(email string) []string {
		k := p.Token(t, email, "orders", read)
		rows, err := p.MustCall(t, p.Resource("acme", "orders"), k.Access, "search_orders", map[string]any{"query": "", "limit": 50}).rows()
		if err != nil || len(rows) == 0 {
			t.Fatalf("%s: %v, %d rows", email, err, len(rows))
		}
		var out []string
		for _, r := range rows {
			out = append(out, r["region"].(string))
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	if got := regions("sam@acme.test"); !slices.Equal(got, []string{"north"}) {
		t.Errorf("sam sees %v", got)
	}
	if got := regions("dana@acme.test"); !slices.Equal(got, []string{"north", "south", "west"}) {
		t.Errorf("dana sees %v", got)
	}
	// One connection serves both, one after the other and at once.
	for range 5 {
		if got := regions("sam@acme.test"); !slices.Equal(got, []string{"north"}) {
			t.Errorf("sam sees %v", got)
		}
	}
}

func TestTenantsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	acme, globex := p.Token(t, "dana@acme.test", "orders", read), p.Token(t, "gina@globex.test", "orders", read)
	for _, test := range []struct{ tenant, token, query string }{{"acme", acme.Access, "7001"}, {"globex", globex.Access, "1001"}} {
		rows, err := p.MustCall(t, p.Resource(test.tenant, "orders"), test.token, "search_orders", map[string]any{"query": test.query}).rows()
		if err != nil || len(rows) != 0 {
			t.Errorf("%s finds order %s of the other: %v %v", test.tenant, test.query, err, rows)
		}
	}
}

// What Vault issues for one tenant's tool opens that tenant's database and
// nothing else on the same server, and a reader cannot write there.
func TestIssuedCredentialOpensOnlyItsTenant(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "dana@acme.test", "orders", read)
	p.MustCall(t, p.Resource("acme", "orders"), k.Access, "search_orders", map[string]any{"query": "x"})
	users, err := p.IssuedUsers()
	if err != nil || len(users) == 0 {
		t.Fatalf("Vault issued %v, %v", users, err)
	}
	dsn, err := p.secrets()
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(dsn.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	open := func(u IssuedUser, database string) (*pgx.Conn, error) {
		d := *base
		d.User, d.Path = url.UserPassword(u.Name, u.Password), "/"+database
		return pgx.Connect(t.Context(), d.String())
	}
	opened := 0
	for _, u := range users {
		for _, database := range []string{"demo_acme", "demo_globex", "latchkey", "postgres", "template1"} {
			conn, err := open(u, database)
			if err != nil {
				continue
			}
			defer conn.Close(context.Background())
			if !strings.HasPrefix(database, "demo_") {
				var sees int
				if conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND has_table_privilege(schemaname || '.' || tablename, 'SELECT')`).Scan(&sees); sees > 0 {
					t.Errorf("%s reads %d tables in %s", u.Name, sees, database)
				}
				if database == "latchkey" {
					t.Errorf("%s gets into the platform's own database", u.Name)
				}
				continue
			}
			opened++
			if got := strings.Contains(u.Path, p.tenantID(t, strings.TrimPrefix(database, "demo_"))); !got {
				t.Errorf("%s, issued at %s, opens %s", u.Name, u.Path, database)
			}
		}
	}
	if opened == 0 {
		t.Error("no issued user could connect anywhere: this test sees nothing")
	}
}
