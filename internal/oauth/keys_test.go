package oauth_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/tenants"
)

func (w *world) kid(g granted) string { return payload(w.t, g.access, 0)["kid"].(string) }

// verifies checks a token with the keys that an edge has.
func (w *world) verifies(s *oauth.Server, p place, g granted) bool {
	w.t.Helper()
	keys, err := s.Keys(w.t.Context(), p.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	i := strings.LastIndexByte(g.access, '.')
	sig, err := base64.RawURLEncoding.DecodeString(g.access[i+1:])
	if err != nil {
		w.t.Fatal(err)
	}
	key, ok := keys[w.kid(g)]
	return ok && ed25519.Verify(key, []byte(g.access[:i]), sig)
}

func (w *world) jwks(p place) []any {
	w.t.Helper()
	res := w.get(p.base+"/jwks", "")
	if res.StatusCode != 200 || strings.Contains(res.body, `"d"`) {
		w.t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	return res.json(w.t)["keys"].([]any)
}

func TestNextKeyIsPublishedBeforeItSigns(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	g := w.connect(a)
	first := w.kid(g)
	other, _ := w.edge() // looked at the keys before the rotation
	if !w.verifies(other, w.acme, g) || len(w.jwks(w.acme)) != 1 {
		t.Fatal("before rotation")
	}
	for range 3 { // once is enough
		if err := w.server.RotateKeys(t.Context(), w.acme.ID); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.jwks(w.acme)) != 2 {
		t.Error("the next key is not published")
	}
	w.clock.add(9*time.Minute + 59*time.Second)
	if g = w.granted(a.refresh(g.refresh)); w.kid(g) != first {
		t.Error("the next key signs too early")
	}
	w.clock.add(time.Second)
	old := g
	if g = w.granted(a.refresh(g.refresh)); w.kid(g) == first {
		t.Error("the next key does not sign")
	}
	for _, edge := range []*oauth.Server{w.server, other} {
		if !w.verifies(edge, w.acme, g) || !w.verifies(edge, w.acme, old) {
			t.Error("an edge does not know a key that signs")
		}
	}
	// The old key goes when its last token has.
	w.clock.add(10 * time.Minute)
	if !w.verifies(other, w.acme, old) {
		t.Error("the old key went before its tokens")
	}
	w.clock.add(6 * time.Minute)
	if keys, _ := other.Keys(t.Context(), w.acme.ID); len(keys) != 1 {
		t.Errorf("%d keys", len(keys))
	}
	if err := w.server.RotateKeys(t.Context(), w.acme.ID); err != nil {
		t.Fatal(err)
	}
	if rows, _ := w.db.SigningKeys(t.Context(), w.acme.ID); len(rows) != 2 || rows[0].ID == first {
		t.Errorf("%d rows", len(rows))
	}
	if len(w.jwks(w.globex)) != 1 || w.jwks(w.globex)[0].(map[string]any)["kid"] == first {
		t.Error("the other tenant's keys")
	}
}

func TestOnlyDueKeysAreRotated(t *testing.T) {
	w := newWorld(t)
	count := func(want int) {
		t.Helper()
		if err := w.server.RotateDueKeys(t.Context(), w.acme.ID); err != nil {
			t.Fatal(err)
		}
		if rows, _ := w.db.SigningKeys(t.Context(), w.acme.ID); len(rows) != want {
			t.Errorf("%d keys, want %d", len(rows), want)
		}
	}
	count(1)
	w.clock.add(29 * 24 * time.Hour)
	count(1)
	w.clock.add(24 * time.Hour)
	count(2)
	w.clock.add(time.Minute)
	count(2)
	w.clock.add(time.Hour)
	count(1) // the old one's last token has expired
}

func TestRotationNeverYieldsA5xx(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	g := w.connect(a)
	// A rotation runs beside each refresh, and time passes as it does for tokens:
	// not so much between two steps that one expires.
	turn := make(chan struct{})
	var rotating sync.WaitGroup
	rotating.Go(func() {
		for range turn {
			if err := w.server.RotateKeys(t.Context(), w.acme.ID); err != nil {
				t.Error(err)
			}
			w.clock.add(10 * time.Second)
		}
	})
	for range 150 {
		turn <- struct{}{}
		res := a.refresh(g.refresh)
		if res.StatusCode != http.StatusOK {
			t.Errorf("%d %s", res.StatusCode, res.body)
			break
		}
		g = w.granted(res)
		if !w.verifies(w.server, w.acme, g) {
			t.Error("a fresh token does not verify")
		}
	}
	close(turn)
	rotating.Wait()
}

func TestSigningSurvivesVaultAndStoreBeingAway(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	g := w.connect(a)
	opened := w.sealer.opens.Load()
	w.sealer.away.Store(true)
	w.clock.add(2 * time.Minute) // past what is fresh
	g = w.granted(a.refresh(g.refresh))
	if w.sealer.opens.Load() != opened {
		t.Error("a key that was open was opened again")
	}
	// A key that appears meanwhile is published, and the old one goes on.
	w.sealer.away.Store(false)
	helper, _ := w.edge()
	if err := helper.RotateKeys(t.Context(), w.acme.ID); err != nil {
		t.Fatal(err)
	}
	w.sealer.away.Store(true)
	old := w.kid(g)
	w.clock.add(11 * time.Minute)
	if g = w.granted(a.refresh(g.refresh)); w.kid(g) != old || len(w.jwks(w.acme)) != 2 {
		t.Error("Vault away: the old key does not go on")
	}
	w.sealer.away.Store(false)
	w.clock.add(time.Minute)
	if g = w.granted(a.refresh(g.refresh)); w.kid(g) == old {
		t.Error("Vault is back: the new key does not sign")
	}
	// An edge that starts while Vault is away can verify and cannot sign, says
	// so, and uses nothing up.
	w.sealer.away.Store(true)
	w.restart()
	res := a.refresh(g.refresh)
	wantError(t, res, 503, "temporarily_unavailable")
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if !w.verifies(w.server, w.acme, g) {
		t.Error("cannot verify")
	}
	w.sealer.away.Store(false)
	g = w.granted(a.refresh(g.refresh))

	w.db.Close()
	w.clock.add(time.Hour)
	if !w.verifies(w.server, w.acme, g) {
		t.Error("the store is away: cannot verify")
	}
}

// awayStore does not answer when it is told so.
type awayStore struct {
	oauth.Store
	away atomic.Bool
}

func (s *awayStore) OAuthClient(ctx context.Context, t tenants.ID, id string) (oauth.Client, error) {
	if s.away.Load() {
		return oauth.Client{}, fault.New(fault.StoreAway, "The store does not answer.").After(5 * time.Second).Because(errors.New("dial tcp 10.1.2.3:5432"))
	}
	return s.Store.OAuthClient(ctx, t, id)
}

func TestStoreAwayIs503(t *testing.T) {
	store := &awayStore{}
	w := newWorld(t, func(c *oauth.Config) { store.Store, c.Store = c.Store, store })
	a := w.register(w.acme)
	g := w.connect(a)
	browser := w.signIn.begin(w.acme.user)
	store.away.Store(true)
	for path, res := range map[string]answer{
		"/token":     a.refresh(g.refresh),
		"/revoke":    w.post(w.acme.base+"/revoke", url.Values{"client_id": {a.id}, "token": {"x"}}, ""),
		"/authorize": a.authorize(browser),
	} {
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Location") != "" || res.Header.Get("Retry-After") != "5" || strings.Contains(res.body, "10.1.2.3") {
			t.Errorf("%s: %d %v %.300s", path, res.StatusCode, res.Header, res.body)
		}
	}
	store.away.Store(false)
	w.granted(a.refresh(g.refresh))
}

func TestManyEdgesMakeOneFirstKey(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for range 6 {
		s, _ := w.edge()
		all.Go(func() {
			if err := s.EnsureKeys(t.Context(), w.acme.ID); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if rows, err := w.db.SigningKeys(t.Context(), w.acme.ID); err != nil || len(rows) != 1 {
		t.Errorf("%d keys, %v", len(rows), err)
	}
}

// What is sealed for one tenant's key opens for no other.
func TestSealedKeyIsBoundToItsTenant(t *testing.T) {
	w := newWorld(t)
	if err := w.server.EnsureKeys(t.Context(), w.acme.ID); err != nil {
		t.Fatal(err)
	}
	rows, err := w.db.SigningKeys(t.Context(), w.acme.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.db.AddSigningKey(t.Context(), w.globex.ID, rows[0], func([]oauth.Key) bool { return true }); err != nil {
		t.Fatal(err)
	}
	a := w.register(w.globex)
	code := a.code(w.signIn.begin(w.globex.user))
	wantError(t, a.token(a.exchangeForm(code)), 503, "temporarily_unavailable")
}
