package oauth

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ory/fosite"
)

// A handler that fosite would drop without a word stops the start.
func TestDroppedGrantFailsAtStart(t *testing.T) {
	var c fosite.Config
	c.TokenEndpointHandlers.Append(codeGrant{})
	c.TokenEndpointHandlers.Append(codeGrant{&Server{}})
	if len(c.TokenEndpointHandlers) != 1 {
		t.Fatal("fosite no longer drops handlers of one type: newFosite's check can go")
	}
	f, err := newFosite(&Server{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if got := len(f.Config.GetTokenEndpointHandlers(ctx)); got != len((&Server{}).grants()) {
		t.Errorf("%d handlers", got)
	}
	if got := len(f.Config.GetAuthorizeEndpointHandlers(ctx)); got != 1 {
		t.Errorf("%d handlers of /authorize", got)
	}
	if len(f.Config.GetTokenIntrospectionHandlers(ctx))+len(f.Config.GetRevocationHandlers(ctx)) != 0 {
		t.Error("fosite's own introspection and revocation are reachable")
	}
}

func TestStockHasherAndFetcherAreOutOfReach(t *testing.T) {
	f, err := newFosite(&Server{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	h := f.Config.GetSecretsHasher(ctx)
	hash, err := h.Hash(ctx, []byte("secret"))
	if err != nil || h.Compare(ctx, hash, []byte("secret")) != nil || h.Compare(ctx, hash, []byte("Secret")) == nil {
		t.Error("the hasher is wrong")
	}
	best := time.Hour
	for range 10 { // of which a busy machine leaves one alone
		start := time.Now()
		h.Compare(ctx, hash, []byte("secret"))
		best = min(best, time.Since(start))
	}
	if _, slow := h.(*fosite.BCrypt); slow || best > 20*time.Millisecond {
		t.Errorf("client secrets are hashed slowly: %s", best)
	}
	if _, err := f.Config.GetJWKSFetcherStrategy(ctx).Resolve(ctx, "http://169.254.169.254/", true); err == nil {
		t.Error("a client's keys are fetched")
	}
	if f.Config.GetClientAuthenticationStrategy(ctx) == nil {
		t.Error("fosite authenticates clients by itself")
	}
}

func TestSuccessorOpensOnlyWithItsToken(t *testing.T) {
	old, next := newSecret(prefixRefresh), newSecret(prefixRefresh)
	sealed := sealSuccessor(old, next)
	if strings.Contains(string(sealed), next) {
		t.Error("the successor is in the clear")
	}
	if got, err := unsealSuccessor(old, sealed); err != nil || got != next {
		t.Errorf("%q, %v", got, err)
	}
	for _, wrong := range []string{next, old + "x", ""} {
		if _, err := unsealSuccessor(wrong, sealed); err == nil {
			t.Errorf("opened with %q", wrong)
		}
	}
	if _, err := unsealSuccessor(old, sealed[:5]); err == nil {
		t.Error("a cut one opens")
	}
}

func TestLimiterMemoryIsBounded(t *testing.T) {
	now := time.Now()
	l := newLimiter(Rates{NetworkBurst: 1, NetworkEvery: time.Hour, TenantBurst: 1, TenantEvery: time.Hour}, func() time.Time { return now })
	for i := range maxBuckets * 2 {
		l.bucket(i, time.Hour, 1, now).AllowN(now, 1)
	}
	if len(l.have) > maxBuckets {
		t.Errorf("%d buckets", len(l.have))
	}
}

func TestConfigThatCanOnlyFailLaterFailsAtOnce(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration is accepted")
	}
}
