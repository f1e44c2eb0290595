package console

import (
	"encoding/base64"
	"strings"
	"testing"

	"latchkey/internal/callers"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// What is read back from the cookie of a sign-in is what was written, and what
// it returns to stays below the console.
func FuzzBegunCookie(f *testing.F) {
	good := begun{callers.NewCookie(), "/t/acme/admin/servers?x=y"}
	f.Add(good.cookie())
	f.Add("")
	f.Add(strings.Repeat("A", 43) + ".Li4vLi4")
	f.Add(strings.Repeat("A", 43) + "." + base64.RawURLEncoding.EncodeToString([]byte("/t/acme/admin/\\evil")))
	sites, err := site.Parse("http://127.0.0.1:8080/t/{tenant}")
	if err != nil {
		f.Fatal(err)
	}
	s, acme := &Console{Config: Config{Sites: sites}}, tenants.Tenant{Slug: "acme"}
	f.Fuzz(func(t *testing.T, value string) {
		b, ok := parseBegun(value)
		if !ok {
			return
		}
		if b.cookie() != value {
			t.Fatalf("%q is read as %q", value, b.cookie())
		}
		to := s.returnTo(acme, b.returnTo)
		if !strings.HasPrefix(to, "/t/acme/admin/") || strings.ContainsAny(to, "\\#\r\n\t ") || strings.Contains(strings.SplitN(to, "?", 2)[0], "/../") {
			t.Fatalf("%q", to)
		}
		if len(b.state()) != 43 || len(b.verifier()) != 43 || b.state() == b.verifier() {
			t.Fatal("derived wrongly")
		}
	})
}

func FuzzAcceptEncoding(f *testing.F) {
	for _, s := range []string{"br, gzip", "br;q=0", "*;q=0.5", "identity;q=1", ";;,,", "gzip;q=NaN", "br;q=1e400"} {
		f.Add(s)
	}
	have := map[string][]byte{"br": {1}, "gzip": {2}}
	f.Fuzz(func(t *testing.T, accept string) {
		coding := chooseCoding([]string{accept}, have)
		if coding != "" && have[coding] == nil {
			t.Fatalf("%q", coding)
		}
		lower := strings.ToLower(accept)
		if coding == "br" && !strings.Contains(lower, "br") && !strings.Contains(accept, "*") {
			t.Fatalf("%q was not asked for in %q", coding, accept)
		}
	})
}

func TestStateSaysNothingOfTheVerifier(t *testing.T) {
	a, b := begun{nonce: callers.NewCookie()}, begun{nonce: secret.Text(strings.Repeat("A", 43))}
	if a.state() == b.state() || a.verifier() == b.verifier() || a.challenge() == a.verifier() || strings.Contains(a.state(), a.nonce.Reveal()) {
		t.Error("derived wrongly")
	}
}
