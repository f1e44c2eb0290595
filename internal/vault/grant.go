package vault

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

const (
	// MaxGrantLife bounds a grant whatever the call's deadline is: Vault does
	// not remember which grants it has seen.
	MaxGrantLife = time.Minute
	// clockDrift is how far Vault's and a worker's clock may lag behind the
	// edge's. A grant is dated back by it, because Vault is told to give no
	// leeway: with any, it takes tokens that are expired or never do.
	clockDrift = 5 * time.Second
)

// Grant is the right to make one call, and nothing else.
type Grant struct {
	Tenant   tenants.ID
	Server   tenants.ServerID
	Revision registry.RevisionID
	Tool     string // tool name, or resource URI
	Access   registry.Access
	User     tenants.UserID
	CallID   string
	OpenHash string // of the Opening that the worker must use, hex
	Rule     string // the output guard of a resource; a tool's is that of its name
	Deadline time.Time
}

// claims is the JWT's payload. Vault binds tenant, server and access exactly.
type claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Subject  string `json:"sub"` // tenant:user, the alias in Vault
	Tenant   string `json:"tenant"`
	Server   string `json:"server"`
	Access   string `json:"access"`
	Revision string `json:"revision"`
	Tool     string `json:"tool"`
	OpenHash string `json:"open_hash"`
	Rule     string `json:"rule,omitempty"`
	CallID   string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// Key is a signing key of the platform.
type Key struct {
	ID      string
	private ed25519.PrivateKey
}

// NewKey makes a key.
func NewKey() (Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, err
	}
	return keyOf(private), nil
}

func keyOf(private ed25519.PrivateKey) Key {
	return Key{ID: keyID(private.Public().(ed25519.PublicKey)), private: private}
}

func keyID(public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Public is the half that Vault pins and workers check grants with.
func (k Key) Public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// String keeps a key out of logs.
func (k Key) String() string { return "key " + k.ID }

// GoString keeps a key out of logs.
func (k Key) GoString() string { return k.String() }

// keySealer is the part of Sealer that keys need.
type keySealer interface {
	Seal(ctx context.Context, name string, plaintext []byte) ([]byte, error)
	Open(ctx context.Context, name string, sealed []byte) ([]byte, error)
}

const keySealName = "platform/grant-key"

// Seal gives the key as it may be stored.
func (k Key) Seal(ctx context.Context, s keySealer) ([]byte, error) {
	return s.Seal(ctx, keySealName, k.private.Seed())
}

// OpenKey reads a key that Seal made.
func OpenKey(ctx context.Context, s keySealer, sealed []byte) (Key, error) {
	seed, err := s.Open(ctx, keySealName, sealed)
	if err != nil {
		return Key{}, err
	}
	if len(seed) != ed25519.SeedSize {
		return Key{}, errors.New("vault.OpenKey: not a signing key")
	}
	return keyOf(ed25519.NewKeyFromSeed(seed)), nil
}

// Signer signs grants with the newest key.
type Signer struct {
	key    Key
	header string
	now    func() time.Time
}

// NewSigner makes a Signer. The first key signs; later ones are those that are
// still pinned and kept only by the caller.
func NewSigner(keys ...Key) (*Signer, error) {
	if len(keys) == 0 || len(keys[0].private) != ed25519.PrivateKeySize {
		return nil, errors.New("vault.NewSigner: no signing key")
	}
	return &Signer{key: keys[0], header: header(keys[0].ID), now: time.Now}, nil
}

func header(kid string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","kid":"` + kid + `","typ":"JWT"}`))
}

// Sign makes the JWT of a grant. It is written by hand because it stands in
// the way of every call; a test holds it against a JOSE library.
func (s *Signer) Sign(g Grant) (secret.Text, error) {
	if err := g.check(); err != nil {
		return "", err
	}
	now := s.now()
	if !g.Deadline.After(now) {
		return "", fault.New(fault.DeadlineExceeded, "The call's time was over before it could start. Call again with more time.")
	}
	tool, err := json.Marshal(g.Tool)
	if err != nil {
		return "", err
	}
	life := g.Deadline
	if limit := now.Add(MaxGrantLife - time.Second); life.After(limit) {
		life = limit
	}
	expires := life.Unix() + 1 // seconds: rounded up, so that a short call has a grant at all

	p := make([]byte, 0, 512)
	p = append(p, `{"iss":"`+issuer+`","aud":"`+audience+`","sub":"`...)
	p = append(append(append(p, g.Tenant...), ':'), g.User...)
	p = field(p, "tenant", string(g.Tenant))
	p = field(p, "server", string(g.Server))
	p = field(p, "access", string(g.Access))
	p = field(p, "revision", string(g.Revision))
	p = field(p, "open_hash", g.OpenHash)
	p = field(p, "jti", g.CallID)
	p = append(append(p, `","tool":`...), tool...)
	if g.Rule != "" {
		rule, err := json.Marshal(g.Rule)
		if err != nil {
			return "", err
		}
		p = append(append(p, `,"rule":`...), rule...)
	}
	p = strconv.AppendInt(append(p, `,"iat":`...), now.Add(-clockDrift).Unix(), 10)
	p = strconv.AppendInt(append(p, `,"exp":`...), expires, 10)
	p = append(p, '}')

	enc := base64.RawURLEncoding
	out := make([]byte, 0, len(s.header)+2+enc.EncodedLen(len(p))+enc.EncodedLen(ed25519.SignatureSize))
	out = append(append(out, s.header...), '.')
	out = enc.AppendEncode(out, p)
	sig := ed25519.Sign(s.key.private, out)
	out = enc.AppendEncode(append(out, '.'), sig)
	return secret.Text(out), nil
}

// field appends `","name":"value` to an object whose last value is open. The
// values are checked ids: nothing in them needs escaping.
func field(p []byte, name, value string) []byte {
	p = append(append(append(p, `","`...), name...), `":"`...)
	return append(p, value...)
}

// check holds every id to its charset. Vault reads them in policies, where a
// tenant named `+` would be every tenant.
func (g *Grant) check() error {
	if _, err := tenants.ParseID(string(g.Tenant)); err != nil {
		return fmt.Errorf("grant: tenant: %w", err)
	}
	if _, err := tenants.ParseServerID(string(g.Server)); err != nil {
		return fmt.Errorf("grant: server: %w", err)
	}
	if _, err := tenants.ParseUserID(string(g.User)); err != nil {
		return fmt.Errorf("grant: user: %w", err)
	}
	if g.Access != registry.ReadAccess && g.Access != registry.WriteAccess {
		return fmt.Errorf("grant: access %q is neither read nor write", g.Access)
	}
	if g.CallID == "" {
		return errors.New("grant: no call id")
	}
	if len(g.Tool) > 4096 {
		return errors.New("grant: the tool's name is longer than 4096 bytes")
	}
	for _, v := range []string{string(g.Revision), g.CallID, g.OpenHash} {
		if !plain(v) {
			return fmt.Errorf("grant: %.40q is not of letters, digits, - and _, 128 at most", v)
		}
	}
	return nil
}

func plain(s string) bool {
	if len(s) > 128 {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// Verifier checks grants on a worker, before a cached credential is used for
// one: there Vault would not be asked.
type Verifier struct {
	keys map[string]ed25519.PublicKey // by the encoded header
	now  func() time.Time
}

// NewVerifier makes a Verifier that takes grants signed with any of the keys.
func NewVerifier(keys ...ed25519.PublicKey) *Verifier {
	v := &Verifier{keys: map[string]ed25519.PublicKey{}, now: time.Now}
	for _, k := range keys {
		v.keys[header(keyID(k))] = k
	}
	return v
}

var errGrant = errors.New("not a valid grant")

// Verify checks signature and time. A nil Verifier only reads the grant.
func (v *Verifier) Verify(grant secret.Text) (Grant, error) {
	raw := []byte(grant)
	first, last := bytes.IndexByte(raw, '.'), bytes.LastIndexByte(raw, '.')
	if first < 0 || first == last {
		return Grant{}, errGrant
	}
	enc := base64.RawURLEncoding.Strict()
	if v != nil {
		key, known := v.keys[string(raw[:first])]
		sig, err := enc.AppendDecode(nil, raw[last+1:])
		if !known || err != nil || !ed25519.Verify(key, raw[:last], sig) {
			return Grant{}, errGrant
		}
	}
	payload, err := enc.AppendDecode(nil, raw[first+1:last])
	if err != nil {
		return Grant{}, errGrant
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return Grant{}, errGrant
	}
	g := Grant{
		Tenant: tenants.ID(c.Tenant), Server: tenants.ServerID(c.Server), Revision: registry.RevisionID(c.Revision),
		Tool: c.Tool, Access: registry.Access(c.Access), CallID: c.CallID, OpenHash: c.OpenHash, Rule: c.Rule,
		Deadline: time.Unix(c.Expires, 0),
	}
	if len(c.Subject) > len(c.Tenant)+1 && c.Subject[:len(c.Tenant)+1] == c.Tenant+":" {
		g.User = tenants.UserID(c.Subject[len(c.Tenant)+1:])
	}
	now := time.Now()
	if v != nil {
		now = v.now()
	}
	if c.Issuer != issuer || c.Audience != audience || g.check() != nil || now.After(g.Deadline) {
		return Grant{}, errGrant
	}
	return g, nil
}
