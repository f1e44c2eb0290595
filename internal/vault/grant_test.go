package vault

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

func testGrant(now time.Time) Grant {
	return Grant{Tenant: "tnaaaaaaaaaaaaaaaaaa", Server: "svbbbbbbbbbbbbbbbbbb", Revision: "rvcccccccccccccccccc", Tool: "search_orders",
		Access: registry.ReadAccess, User: "usdddddddddddddddddd", CallID: "cleeeeeeeeeeeeeeeeee", OpenHash: strings.Repeat("ab", 32), Deadline: now.Add(30 * time.Second)}
}

// The hand-written JWT is one that a JOSE library reads as it was meant.
func TestGrantIsAJWT(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, tool := range []string{"search_orders", `orders://order/"1"` + "\n\u2028</x>", "日本", "bad \xff utf-8"} {
		g := testGrant(now)
		g.Tool = tool
		text, err := signer.Sign(g)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := jwt.ParseSigned(text.Reveal(), []jose.SignatureAlgorithm{jose.EdDSA})
		if err != nil {
			t.Fatal(err)
		}
		var std jwt.Claims
		var own claims
		if err := parsed.Claims(key.Public(), &std, &own); err != nil {
			t.Fatal(err)
		}
		if err := std.Validate(jwt.Expected{Issuer: "latchkey", AnyAudience: jwt.Audience{"vault"}, Subject: "tnaaaaaaaaaaaaaaaaaa:usdddddddddddddddddd", ID: g.CallID, Time: now}); err != nil {
			t.Error(err)
		}
		if own.Tenant != string(g.Tenant) || own.Server != string(g.Server) || own.Access != "read" || own.Tool != strings.ToValidUTF8(tool, "\ufffd") ||
			own.Revision != string(g.Revision) || own.OpenHash != g.OpenHash || parsed.Headers[0].KeyID != key.ID || parsed.Headers[0].Algorithm != "EdDSA" {
			t.Errorf("claims %+v, header %+v", own, parsed.Headers[0])
		}
		got, err := NewVerifier(key.Public()).Verify(text)
		if err != nil {
			t.Fatal(err)
		}
		g.Deadline, g.Tool = got.Deadline, own.Tool
		if got != g {
			t.Errorf("Verify gives %+v, want %+v", got, g)
		}
	}
}

func TestGrantLivesAMinuteAtMost(t *testing.T) {
	key, _ := NewKey()
	signer, _ := NewSigner(key)
	now := time.Now()
	signer.now = func() time.Time { return now }
	for _, c := range []struct{ deadline, most time.Duration }{
		{time.Hour, time.Minute}, {time.Minute, time.Minute}, {10 * time.Second, 11 * time.Second}, {time.Millisecond, time.Second},
	} {
		g := testGrant(now)
		g.Deadline = now.Add(c.deadline)
		text, err := signer.Sign(g)
		if err != nil {
			t.Fatal(err)
		}
		got, err := NewVerifier(key.Public()).Verify(text)
		if err != nil {
			t.Fatal(err)
		}
		if life := got.Deadline.Sub(now); life <= 0 || life > c.most {
			t.Errorf("deadline in %s: the grant lives %s", c.deadline, life)
		}
	}
	g := testGrant(now)
	g.Deadline = now
	if _, err := signer.Sign(g); !fault.HasCode(err, fault.DeadlineExceeded) {
		t.Errorf("a call without time left: %v", err)
	}
}

func TestGrantNeverPrints(t *testing.T) {
	key, _ := NewKey()
	signer, _ := NewSigner(key)
	text, err := signer.Sign(testGrant(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{fmt.Sprint(text, key), fmt.Sprintf("%v %+v %#v", text, key, key)} {
		if strings.Contains(out, "eyJ") || strings.Contains(out, fmt.Sprint([]byte(key.private))[1:20]) {
			t.Errorf("printed: %s", out)
		}
	}
}

func FuzzVerify(f *testing.F) {
	key, _ := NewKey()
	other, _ := NewKey()
	signer, _ := NewSigner(key)
	good, err := signer.Sign(testGrant(time.Now().Add(time.Hour)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Reveal())
	f.Add(forge(other, map[string]any{"iss": issuer}).Reveal())
	f.Add("..")
	verifier := NewVerifier(key.Public())
	f.Fuzz(func(t *testing.T, s string) {
		g, err := verifier.Verify(secret.Text(s))
		if err == nil && s != good.Reveal() {
			t.Errorf("a grant that nobody signed: %+v", g)
		}
		var none *Verifier
		if g, err := none.Verify(secret.Text(s)); err == nil {
			if _, err := tenants.ParseID(string(g.Tenant)); err != nil {
				t.Error(err)
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	key, _ := NewKey()
	signer, _ := NewSigner(key)
	g := testGrant(time.Now().Add(time.Hour))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := signer.Sign(g); err != nil {
			b.Fatal(err)
		}
	}
}

// The same with a JOSE library, for comparison.
func BenchmarkSignJOSE(b *testing.B) {
	key, _ := NewKey()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: key.private, KeyID: key.ID}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jwt.Signed(signer).Claims(claims{Issuer: issuer, Audience: audience, Tool: "search_orders"}).Serialize(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	key, _ := NewKey()
	signer, _ := NewSigner(key)
	text, _ := signer.Sign(testGrant(time.Now().Add(time.Hour)))
	verifier := NewVerifier(key.Public())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verifier.Verify(text); err != nil {
			b.Fatal(err)
		}
	}
}
