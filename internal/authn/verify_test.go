package authn

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

const (
	acme, globex     = tenants.ID("tn222222222222222222"), tenants.ID("tn333333333333333333")
	issuer, resource = "https://acme.example.com", "https://acme.example.com/mcp/orders"
	otherIssuer      = "https://globex.example.com"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// world is two tenants whose keys have the same kid, and their grants.
type world struct {
	*testing.T
	mu      sync.Mutex
	now     time.Time
	keys    map[tenants.ID]ed25519.PrivateKey
	keysErr error
	asked   int
	revoked map[string]bool
	grants  error
	v       *Verifier
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, now: start, keys: map[tenants.ID]ed25519.PrivateKey{}, revoked: map[string]bool{}}
	for _, id := range []tenants.ID{acme, globex} {
		_, w.keys[id], _ = ed25519.GenerateKey(rand.Reader)
	}
	w.v = NewVerifier(w, w, func() time.Time { return w.now })
	return w
}

func (w *world) Keys(_ context.Context, t tenants.ID) (map[string]ed25519.PublicKey, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	return map[string]ed25519.PublicKey{"k1": w.keys[t].Public().(ed25519.PublicKey)}, w.keysErr
}

func (w *world) GrantActive(_ context.Context, t tenants.ID, grant string) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.revoked[string(t)+grant], w.grants
}

type object = map[string]any

func header(more ...object) object {
	return with(object{"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"}, more...)
}

func payload(more ...object) object {
	return with(object{
		"iss": issuer, "aud": resource, "sub": "us222222222222222222", "client_id": "client", "gid": "gr1", "jti": "j1",
		"scope": "tool:a tool:b", "iat": start.Unix(), "exp": start.Add(10 * time.Minute).Unix(),
	}, more...)
}

// with sets keys; a nil value removes one.
func with(o object, more ...object) object {
	for _, m := range more {
		for k, v := range m {
			if o[k] = v; v == nil {
				delete(o, k)
			}
		}
	}
	return o
}

func part(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// token signs whatever it is given: no library stands between.
func (w *world) token(h, p object) string { return w.tokenOf(acme, h, p) }

func (w *world) tokenOf(t tenants.ID, h, p object) string {
	s := part(h) + "." + part(p)
	return s + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(w.keys[t], []byte(s)))
}

func (w *world) verify(token string) (Principal, error) {
	return w.v.Verify(context.Background(), acme, issuer, resource, token)
}

func (w *world) refused(what, token string) {
	w.Helper()
	for range 2 { // the second time from what is remembered, if anything is
		if p, err := w.verify(token); !fault.HasCode(err, fault.Unauthenticated) || p.User != "" {
			w.Errorf("%s: got %+v, %v", what, p, err)
		}
	}
}

func TestValidToken(t *testing.T) {
	w := newWorld(t)
	token := w.token(header(), payload())
	for range 3 {
		p, err := w.verify(token)
		if err != nil {
			t.Fatal(err)
		}
		if p.Tenant != acme || p.User != "us222222222222222222" || p.Client != "client" || p.Grant != "gr1" || p.TokenID != "j1" || p.Audience != resource ||
			!slices.Equal(p.Scopes, []string{"tool:a", "tool:b"}) || !p.Has("tool:a") || p.Has("tool:") || !p.ExpiresAt.Equal(start.Add(10*time.Minute)) {
			t.Fatalf("%+v", p)
		}
		p.Scopes[0] = "tool:everything" // a caller's slice is the caller's
	}
	if w.asked != 1 {
		t.Errorf("the signature was checked %d times", w.asked)
	}
}

func TestAlgNoneRefused(t *testing.T) {
	w := newWorld(t)
	for _, alg := range []string{"none", "None", "NONE", "nOnE", ""} {
		s := part(header(object{"alg": alg})) + "." + part(payload())
		w.refused(alg+" without signature", s+".")
		w.refused(alg+" without dot", s)
		w.refused(alg+" with a good signature", w.token(header(object{"alg": alg}), payload()))
	}
	w.refused("no alg", w.token(header(object{"alg": nil}), payload()))
}

func TestPublicKeyAsHMACSecretRefused(t *testing.T) {
	w := newWorld(t)
	public := w.keys[acme].Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"HS256", "EdDSA"} {
		for _, secret := range [][]byte{public, der, []byte(base64.RawURLEncoding.EncodeToString(public))} {
			s := part(header(object{"alg": alg})) + "." + part(payload())
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(s))
			w.refused(alg, s+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
		}
	}
}

func TestES256Refused(t *testing.T) {
	w := newWorld(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := part(header(object{"alg": "ES256"})) + "." + part(payload())
	sum := sha256.Sum256([]byte(s))
	r, q, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	w.refused("signed", s+"."+base64.RawURLEncoding.EncodeToString(append(fill(r), fill(q)...)))
	w.refused("a zero signature", s+"."+base64.RawURLEncoding.EncodeToString(make([]byte, 64)))
}

func fill(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }

func TestForeignKidRefused(t *testing.T) {
	w := newWorld(t)
	for _, kid := range []any{"k2", "", nil, "../k1", "K1", 1, []string{"k1"}} {
		w.refused(fmt.Sprint(kid), w.token(header(object{"kid": kid}), payload()))
	}
}

func TestKeyBroughtAlongRefused(t *testing.T) {
	w := newWorld(t)
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	w.keys[globex] = private
	jwk := jose.JSONWebKey{Key: public, KeyID: "k1", Algorithm: "EdDSA"}
	for what, h := range map[string]object{
		"jwk": {"jwk": jwk}, "jku": {"jku": "https://evil.example/jwks"}, "x5u": {"x5u": "https://evil.example/cert"}, "x5c": {"x5c": []string{"MIIB"}},
		"crit": {"crit": []string{"exp"}}, "crit of nothing": {"crit": []string{}}, "b64": {"b64": false, "crit": []string{"b64"}}, "zip": {"zip": "DEF"}, "cty": {"cty": "JWT"}, "unknown": {"surprise": 1},
	} {
		w.refused(what+", signed by the attacker", w.tokenOf(globex, header(h), payload()))
		w.refused(what+", signed by the tenant", w.token(header(h), payload()))
	}
}

func TestIDTokenAsAccessTokenRefused(t *testing.T) {
	w := newWorld(t)
	for _, typ := range []any{"JWT", "jwt", nil, "", "id_token", "at+jwt ", "AT+JWT", "oauth-id-jag+jwt", 1} {
		w.refused(fmt.Sprint(typ), w.token(header(object{"typ": typ}), payload()))
	}
}

func TestMissingOrWrongClaimRefused(t *testing.T) {
	w := newWorld(t)
	for _, claim := range []string{"iss", "aud", "sub", "client_id", "gid", "jti", "iat", "exp"} {
		w.refused("no "+claim, w.token(header(), payload(object{claim: nil})))
		for _, wrong := range []any{"", 0, []string{}, object{}, true, []any{resource}} {
			w.refused(fmt.Sprintf("%s is %v", claim, wrong), w.token(header(), payload(object{claim: wrong})))
		}
	}
	for _, sub := range []string{"us", "tn222222222222222222", "us22222222222222222*", "US222222222222222222", "us2222222222222222222"} {
		w.refused("sub "+sub, w.token(header(), payload(object{"sub": sub})))
	}
	w.refused("scope as a list", w.token(header(), payload(object{"scope": []string{"tool:a"}})))
	if p, err := w.verify(w.token(header(), payload(object{"scope": nil}))); err != nil || len(p.Scopes) != 0 {
		t.Errorf("a token without scopes: %+v, %v", p, err)
	}
}

func TestAudienceOfOtherServerRefused(t *testing.T) {
	w := newWorld(t)
	for _, aud := range []any{
		issuer + "/mcp/crm", issuer, resource + "/", resource + "/x", issuer + "/mcp/", "https://ACME.example.com/mcp/orders", "http://acme.example.com/mcp/orders", resource + "?a=b", "*", resource[:len(resource)-1],
		[]string{resource}, []string{resource, issuer + "/mcp/crm"}, []string{issuer + "/mcp/crm", resource}, resource + " " + issuer,
	} {
		w.refused(fmt.Sprint(aud), w.token(header(), payload(object{"aud": aud})))
	}
	// Also when the token is known from its own server.
	token := w.token(header(), payload())
	if _, err := w.verify(token); err != nil {
		t.Fatal(err)
	}
	if _, err := w.v.Verify(context.Background(), acme, issuer, issuer+"/mcp/crm", token); !fault.HasCode(err, fault.Unauthenticated) {
		t.Errorf("at another server: %v", err)
	}
}

func TestTokenOfOtherTenantRefused(t *testing.T) {
	w := newWorld(t)
	w.refused("the other tenant's key under the same kid", w.tokenOf(globex, header(), payload()))
	w.refused("the other tenant's issuer", w.tokenOf(globex, header(), payload(object{"iss": otherIssuer})))
	w.refused("another issuer", w.token(header(), payload(object{"iss": otherIssuer})))
	w.refused("the issuer with a slash", w.token(header(), payload(object{"iss": issuer + "/"})))
	// A token that is known at acme, shown to globex: with its own address and with acme's.
	token := w.token(header(), payload())
	if _, err := w.verify(token); err != nil {
		t.Fatal(err)
	}
	for _, iss := range []string{issuer, otherIssuer} {
		if _, err := w.v.Verify(context.Background(), globex, iss, resource, token); !fault.HasCode(err, fault.Unauthenticated) {
			t.Errorf("at the other tenant as %s: %v", iss, err)
		}
	}
	if _, err := w.verify(token); err != nil {
		t.Errorf("at its own tenant afterwards: %v", err)
	}
}

func TestExpiredTokenRefused(t *testing.T) {
	w := newWorld(t)
	token := w.token(header(), payload())
	for _, step := range []struct {
		at   time.Duration
		good bool
	}{{0, true}, {10*time.Minute - 1, true}, {10 * time.Minute, false}, {time.Hour, false}, {0, true}, {-30 * time.Second, true}, {-31 * time.Second, false}} {
		w.now = start.Add(step.at)
		if _, err := w.verify(token); (err == nil) != step.good {
			t.Errorf("after %s: %v", step.at, err)
		}
	}
	w.now = start
	w.refused("expired", w.token(header(), payload(object{"exp": start.Add(-time.Second).Unix()})))
	w.refused("from the future", w.token(header(), payload(object{"iat": start.Add(time.Minute).Unix()})))
	w.refused("expires before all time", w.token(header(), payload(object{"exp": -1})))
	w.refused("expires in words", w.token(header(), payload(object{"exp": "tomorrow"})))
	w.refused("expires after all time", w.token(header(), payload(object{"exp": json.Number("1e300")})))
}

func TestRevokedGrantRefusedAtOnce(t *testing.T) {
	w := newWorld(t)
	token := w.token(header(), payload())
	if _, err := w.verify(token); err != nil {
		t.Fatal(err)
	}
	w.revoked[string(globex)+"gr1"] = true
	if _, err := w.verify(token); err != nil {
		t.Errorf("the other tenant's grant of that id was revoked: %v", err)
	}
	w.revoked[string(acme)+"gr1"] = true
	w.refused("known", token)
	w.refused("new", w.token(header(), payload(object{"jti": "j2"})))
}

func TestTokenOfWithdrawnKeyRefused(t *testing.T) {
	w := newWorld(t)
	token := w.token(header(), payload(object{"exp": start.AddDate(10, 0, 0).Unix()}))
	if _, err := w.verify(token); err != nil {
		t.Fatal(err)
	}
	_, w.keys[acme], _ = ed25519.GenerateKey(rand.Reader)
	w.now = start.Add(recheckAfter)
	w.refused("known from before", token)
}

func TestStoreAwayIsNotARefusal(t *testing.T) {
	w := newWorld(t)
	w.keysErr = fault.New(fault.StoreAway, "away")
	if _, err := w.verify(w.token(header(), payload())); !fault.HasCode(err, fault.StoreAway) {
		t.Errorf("keys: %v", err)
	}
	w.keysErr, w.grants = nil, fault.New(fault.StoreAway, "away")
	if p, err := w.verify(w.token(header(), payload())); !fault.HasCode(err, fault.StoreAway) || p.User != "" {
		t.Errorf("grants: %+v, %v", p, err)
	}
}

func TestChangedTokenRefusedAfterTheGoodOne(t *testing.T) {
	w := newWorld(t)
	token := w.token(header(), payload())
	if _, err := w.verify(token); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
	for i := range sig {
		changed := bytes.Clone(sig)
		changed[i] ^= 1
		w.refused(fmt.Sprint("signature byte ", i), parts[0]+"."+parts[1]+"."+base64.RawURLEncoding.EncodeToString(changed))
	}
	w.refused("another payload", parts[0]+"."+part(payload(object{"scope": "tool:everything"}))+"."+parts[2])
	w.refused("another header", part(header(object{"x": 1}))+"."+parts[1]+"."+parts[2])
	w.refused("no signature", parts[0]+"."+parts[1]+".")
	w.refused("a fourth part", token+".x")
	w.refused("twice", token+token)
	// A group of order eight: S + L is refused by Ed25519 as it must be.
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := new(big.Int).SetBytes(reversed(sig[32:]))
	malleable := append(bytes.Clone(sig[:32]), reversed(s.Add(s, order).FillBytes(make([]byte, 32)))...)
	w.refused("S plus the order", parts[0]+"."+parts[1]+"."+base64.RawURLEncoding.EncodeToString(malleable))
}

func reversed(b []byte) []byte {
	b = bytes.Clone(b)
	slices.Reverse(b)
	return b
}

func TestOversizedTokenRefused(t *testing.T) {
	w := newWorld(t)
	w.refused("signed", w.token(header(), payload(object{"scope": strings.Repeat("a ", maxToken)})))
	w.refused("no token", strings.Repeat("e", 1<<20))
	w.refused("dots", strings.Repeat(".", maxToken))
	w.refused("empty", "")
	w.refused("JSON serialization", `{"payload":"`+part(payload())+`","signatures":[]}`)
	if w.asked != 0 {
		t.Errorf("keys were looked up %d times", w.asked)
	}
}

func TestKnownTokensAreBounded(t *testing.T) {
	w := newWorld(t)
	w.v.known = map[[32]byte]verified{}
	for i := range maxKnown {
		var h [32]byte
		h[0], h[1], h[2] = byte(i), byte(i>>8), byte(i>>16)
		exp := start.Add(time.Hour)
		if i < 100 {
			exp = start
		}
		w.v.remember(h, verified{principal: Principal{ExpiresAt: exp}})
	}
	if _, err := w.verify(w.token(header(), payload())); err != nil {
		t.Fatal(err)
	}
	if n := len(w.v.known); n != maxKnown*3/4+1 {
		t.Errorf("%d tokens are known", n)
	}
	for _, k := range w.v.known {
		if k.principal.ExpiresAt.Equal(start) {
			t.Error("one that has run out was kept")
		}
	}
}

func TestVerifyAtTheSameTime(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				jti := fmt.Sprint("j", (i+j)%5)
				if p, err := w.verify(w.token(header(), payload(object{"jti": jti}))); err != nil || p.TokenID != jti {
					t.Errorf("%+v, %v", p, err)
				}
			}
		})
	}
	wg.Wait()
}

// FuzzVerify changes a good token. What is accepted must say exactly what the
// good one says, and nothing else than an Unauthenticated may come back.
func FuzzVerify(f *testing.F) {
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	w := &world{now: start, keys: map[tenants.ID]ed25519.PrivateKey{acme: private, globex: private}, revoked: map[string]bool{}}
	w.v = NewVerifier(w, w, func() time.Time { return w.now })
	good := w.token(header(), payload())
	parts := strings.Split(good, ".")
	f.Add(parts[0], parts[1], parts[2])
	f.Add(part(header(object{"alg": "none"})), parts[1], "")
	f.Add(part(object{"alg": "HS256", "kid": "k1", "typ": "at+jwt", "jwk": object{"kty": "oct", "k": "AA"}}), parts[1], parts[2])
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, h, p, s string) {
		got, err := w.verify(h + "." + p + "." + s)
		var e *fault.Error
		switch {
		case err == nil && (got.User != "us222222222222222222" || got.Grant != "gr1" || !slices.Equal(got.Scopes, []string{"tool:a", "tool:b"})):
			t.Fatalf("%+v", got)
		case err != nil && (!errors.As(err, &e) || e.Code != fault.Unauthenticated || strings.Contains(e.Message, "k1")):
			t.Fatal(err)
		}
	})
}
