package oauth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/labstack/echo/v4"
	"golang.org/x/sync/singleflight"

	"latchkey/internal/fault"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// keysFreshFor is how long an edge goes without looking for new keys. It is
// shorter than the time by which a key is published before it signs, so that
// no edge ever meets a token of a key that it does not know.
const keysFreshFor = time.Minute

// keyring keeps the tenants' keys in memory, opened. Once a tenant's key is
// open, neither the store nor Vault is needed to sign and verify.
type keyring struct {
	store  Store
	sealer Sealer
	now    func() time.Time
	log    *slog.Logger
	ahead  time.Duration // from publication to first signature
	keep   time.Duration // after the successor began to sign

	flight singleflight.Group
	mu     sync.RWMutex
	rings  map[tenants.ID]*ring
}

// ring is one tenant's keys, oldest first. It is never changed, only replaced.
type ring struct {
	readAt time.Time
	keys   []openKey
}

type openKey struct {
	id        string
	public    ed25519.PublicKey
	signer    jose.Signer // nil: not opened, because Vault was away
	signsFrom time.Time
}

// live reports which keys a verifier still needs: all but those whose
// successor has been signing for longer than a token lives.
func (r *ring) live(now time.Time, keep time.Duration) []openKey {
	from := 0
	for i := 1; i < len(r.keys); i++ {
		if now.Sub(r.keys[i].signsFrom) > keep {
			from = i
		}
	}
	return r.keys[from:]
}

// signing is the newest opened key whose time has come. If Vault was away when
// that one appeared, its predecessor goes on: it is published still.
func (r *ring) signing(now time.Time) (openKey, bool) {
	for i := len(r.keys) - 1; i >= 0; i-- {
		if k := r.keys[i]; k.signer != nil && !now.Before(k.signsFrom) {
			return k, true
		}
	}
	return openKey{}, false
}

// ring returns the tenant's keys, at most keysFreshFor old. What is older goes
// on being used while the store does not answer.
func (k *keyring) ring(ctx context.Context, t tenants.ID) (*ring, error) {
	k.mu.RLock()
	r := k.rings[t]
	k.mu.RUnlock()
	if r != nil && k.now().Sub(r.readAt) < keysFreshFor {
		return r, nil
	}
	got, err, _ := k.flight.Do(string(t), func() (any, error) { return k.read(context.WithoutCancel(ctx), t) })
	if err == nil {
		return got.(*ring), nil
	}
	if r != nil {
		k.log.WarnContext(ctx, "signing keys not refreshed; those in memory go on", "tenant", t, "error", err)
		return r, nil
	}
	return nil, err
}

func (k *keyring) read(ctx context.Context, t tenants.ID) (*ring, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	readAt := k.now()
	rows, err := k.store.SigningKeys(ctx, t)
	if err != nil {
		return nil, err
	}
	k.mu.RLock()
	old := k.rings[t]
	k.mu.RUnlock()
	opened := map[string]openKey{}
	if old != nil {
		for _, o := range old.keys {
			opened[o.id] = o
		}
	}
	r := &ring{readAt: readAt}
	for _, row := range rows {
		key, ok := opened[row.ID]
		if !ok || key.signer == nil {
			if key, err = k.open(ctx, t, row); err != nil {
				k.log.ErrorContext(ctx, "signing key not opened; it is published, but cannot sign yet", "tenant", t, "key", row.ID, "error", err)
			}
		}
		r.keys = append(r.keys, key)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rings[t] = r
	return r, nil
}

// sealedAs binds a sealed key to its tenant and id.
func sealedAs(t tenants.ID, kid string) string { return "oauth/" + string(t) + "/" + kid }

func (k *keyring) open(ctx context.Context, t tenants.ID, row Key) (openKey, error) {
	key := openKey{id: row.ID, public: ed25519.PublicKey(row.Public), signsFrom: row.SignsFrom}
	seed, err := k.sealer.Open(ctx, sealedAs(t, row.ID), row.Sealed)
	if err != nil {
		return key, err
	}
	if len(seed) != ed25519.SeedSize {
		return key, fault.New(fault.Unexpected, "A signing key is damaged.")
	}
	private := ed25519.NewKeyFromSeed(seed)
	if !private.Public().(ed25519.PublicKey).Equal(key.public) {
		return key, fault.New(fault.Unexpected, "A signing key does not belong to its public half.")
	}
	key.signer, err = jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: row.ID}},
		(&jose.SignerOptions{}).WithType(accessTokenType))
	return key, err
}

// signer finds the key to sign with now, and makes the tenant's first one.
func (k *keyring) signer(ctx context.Context, t tenants.ID) (openKey, error) {
	r, err := k.ring(ctx, t)
	if err == nil && len(r.keys) == 0 {
		if err := k.ensure(ctx, t); err != nil {
			return openKey{}, err
		}
		r, err = k.ring(ctx, t)
	}
	if err != nil {
		return openKey{}, err
	}
	if key, ok := r.signing(k.now()); ok {
		return key, nil
	}
	// Vault was away when the keys were read: it may be back.
	k.forget(t)
	if r, err = k.ring(ctx, t); err != nil {
		return openKey{}, err
	}
	if key, ok := r.signing(k.now()); ok {
		return key, nil
	}
	return openKey{}, fault.New(fault.CredentialsAway, "The keys that sign tokens cannot be opened at the moment. Try again in a few seconds.").After(5 * time.Second)
}

func (k *keyring) published(ctx context.Context, t tenants.ID) (map[string]ed25519.PublicKey, error) {
	r, err := k.ring(ctx, t)
	if err != nil {
		return nil, err
	}
	out := map[string]ed25519.PublicKey{}
	for _, key := range r.live(k.now(), k.keep) {
		out[key.id] = key.public
	}
	return out, nil
}

func (k *keyring) forget(t tenants.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.rings[t]; r != nil { // what is opened stays so
		k.rings[t] = &ring{keys: r.keys}
	}
}

// ensure makes a first key, which signs at once.
func (k *keyring) ensure(ctx context.Context, t tenants.ID) (err error) {
	defer fault.Wrap(&err, "oauth.EnsureKeys(%s)", t)
	rows, err := k.store.SigningKeys(ctx, t)
	if err != nil || len(rows) > 0 {
		return err
	}
	return k.add(ctx, t, k.now(), func(have []Key) bool { return len(have) == 0 })
}

// rotate publishes the next key, unless one is waiting or the newest has not
// signed for as long as age, and removes the keys that no token can need.
func (k *keyring) rotate(ctx context.Context, t tenants.ID, age time.Duration) (err error) {
	defer fault.Wrap(&err, "oauth.RotateKeys(%s)", t)
	if err := k.ensure(ctx, t); err != nil {
		return err
	}
	now := k.now()
	due := func(have []Key) bool {
		return len(have) > 0 && now.Sub(have[len(have)-1].SignsFrom) >= age
	}
	rows, err := k.store.SigningKeys(ctx, t)
	if err != nil {
		return err
	}
	if due(rows) {
		if err := k.add(ctx, t, now.Add(k.ahead), due); err != nil {
			return err
		}
	}
	var retired []string
	for i := 1; i < len(rows); i++ {
		if now.Sub(rows[i].SignsFrom) > k.keep {
			retired = append(retired, rows[i-1].ID)
		}
	}
	if len(retired) == 0 {
		return nil
	}
	return k.store.DeleteSigningKeys(ctx, t, retired)
}

func (k *keyring) add(ctx context.Context, t tenants.ID, signsFrom time.Time, admit func([]Key) bool) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	row := Key{ID: tenants.RandomID("ky"), Public: public, CreatedAt: k.now(), SignsFrom: signsFrom}
	if row.Sealed, err = k.sealer.Seal(ctx, sealedAs(t, row.ID), private.Seed()); err != nil {
		return err
	}
	if err := k.store.AddSigningKey(ctx, t, row, admit); err != nil {
		return err
	}
	k.forget(t)
	return nil
}

type jwk struct {
	Type  string `json:"kty"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	ID    string `json:"kid"`
	Use   string `json:"use"`
	Alg   string `json:"alg"`
}

func (s *Server) showKeys(c echo.Context) error {
	ctx := c.Request().Context()
	t := site.From(ctx)
	if _, err := s.keys.signer(ctx, t.ID); err != nil && !fault.HasCode(err, fault.CredentialsAway) {
		return err
	}
	r, err := s.keys.ring(ctx, t.ID)
	if err != nil {
		return err
	}
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, k := range r.live(s.Now(), s.keys.keep) {
		set.Keys = append(set.Keys, jwk{Type: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(k.public), ID: k.id, Use: "sig", Alg: "EdDSA"})
	}
	return cached(c, set)
}
