package callers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"latchkey/internal/tenants"
)

func TestNewKey(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		k, s := NewKey(Key{Name: "x", Permissions: []tenants.Permission{tenants.Admin}})
		o, os := NewOperatorKey(Key{Name: "x", Permissions: []tenants.Permission{tenants.Admin}})
		if !strings.HasPrefix(k.ID, "ak") || !strings.HasPrefix(o.ID, "ok") || len(o.Permissions) != 0 || k.Hash != HashOf(s) || seen[s.Reveal()] || seen[os.Reveal()] {
			t.Fatalf("%+v %+v", k, o)
		}
		seen[s.Reveal()], seen[os.Reveal()] = true, true
		if _, ok := ParseSecret(PrefixKey, s.Reveal()); !ok {
			t.Fatal(s.Reveal())
		}
		if _, ok := ParseSecret(PrefixKey, os.Reveal()); ok {
			t.Fatal("an operator's key was taken for a tenant's")
		}
		v := s.Reveal()
		if k.Hint != "lk_live_…"+v[len(v)-4:] || !strings.HasPrefix(o.Hint, "lk_ops_…") {
			t.Fatal(k.Hint, o.Hint)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", s, k, s), v[8:40]) {
			t.Fatal("it prints")
		}
	}
}

func TestKeyLive(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		k    Key
		live bool
	}{
		{Key{}, true}, {Key{ExpiresAt: now.Add(1)}, true}, {Key{ExpiresAt: now}, false}, {Key{RevokedAt: now.Add(-1)}, false}, {Key{RevokedAt: now, ExpiresAt: now.Add(time.Hour)}, false},
	} {
		if c.k.Live(now) != c.live {
			t.Errorf("%+v", c.k)
		}
	}
	if (Key{LastUsedAt: now.Add(-59 * time.Second)}).UseDue(now) || !(Key{}).UseDue(now) || !(Key{LastUsedAt: now.Add(-time.Minute)}).UseDue(now) {
		t.Error("written down too often, or not often enough")
	}
}

// A secret has one spelling, or it could be listed twice.
func FuzzParseSecret(f *testing.F) {
	f.Add(PrefixKey, newSecret(PrefixKey).Reveal())
	f.Add("", newSecret("").Reveal())
	f.Add(PrefixKey, PrefixKey+strings.Repeat("A", 42)+"B")
	f.Add(PrefixOperatorToken, PrefixOperatorToken+strings.Repeat("=", 43))
	f.Fuzz(func(t *testing.T, prefix, s string) {
		if got, ok := ParseSecret(prefix, s); ok && (got.Reveal() != s || !strings.HasPrefix(s, prefix) || strings.Trim(s[len(prefix):], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "") {
			t.Fatalf("%q", s)
		}
	})
}
