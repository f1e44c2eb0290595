package idempotency

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Sealer seals under a name with a key that never leaves Vault.
type Sealer interface {
	Seal(ctx context.Context, name string, plaintext []byte) ([]byte, error)
	Open(ctx context.Context, name string, sealed []byte) ([]byte, error)
}

// Envelope seals what calls answered. Each tenant has data keys of its own, one
// at a time in each process, which Vault seals; what is sealed holds the sealed
// key, so that any process opens it. Vault is asked once for each key, not for
// each answer. It is safe for concurrent use.
type Envelope struct {
	sealer Sealer
	now    func() time.Time
	making singleflight.Group

	mu     sync.Mutex
	using  map[tenants.ID]dataKey
	opened map[string]cipher.AEAD // by tenant and sealed key
}

type dataKey struct {
	sealed []byte
	aead   cipher.AEAD
	until  time.Time
}

const (
	dataKeyLife = 12 * time.Hour
	// Far fewer than 2^32 answers go under one key in that time: a random nonce
	// of 96 bits does not come twice.

	maxDataKeys  = 5000 // of each kind in memory
	vaultTimeout = 3 * time.Second
	sealedFormat = 1
)

// NewEnvelope makes an Envelope. A nil now is the clock.
func NewEnvelope(s Sealer, now func() time.Time) *Envelope {
	if now == nil {
		now = time.Now
	}
	return &Envelope{sealer: s, now: now, using: map[tenants.ID]dataKey{}, opened: map[string]cipher.AEAD{}}
}

func sealName(t tenants.ID) string { return "calls once " + string(t) }

// Seal encrypts plaintext so that it opens in the same tenant and place only.
func (e *Envelope) Seal(ctx context.Context, t tenants.ID, place string, plaintext []byte) (sealed []byte, err error) {
	defer fault.Wrap(&err, "idempotency.Seal(%s)", t)
	k, err := e.key(ctx, t)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 3+len(k.sealed)+k.aead.Overhead()+len(plaintext))
	out = binary.BigEndian.AppendUint16(append(out, sealedFormat), uint16(len(k.sealed)))
	out = append(out, k.sealed...)
	return k.aead.Seal(out, nil, plaintext, placed(t, place, out)), nil
}

// Open decrypts what Seal made for the same tenant and place.
func (e *Envelope) Open(ctx context.Context, t tenants.ID, place string, sealed []byte) (plaintext []byte, err error) {
	defer fault.Wrap(&err, "idempotency.Open(%s)", t)
	if len(sealed) < 3 || sealed[0] != sealedFormat {
		return nil, errors.New("an answer is not in a form that was ever sealed")
	}
	n := int(binary.BigEndian.Uint16(sealed[1:]))
	if len(sealed) < 3+n {
		return nil, errors.New("a sealed answer is cut off")
	}
	aead, err := e.open(ctx, t, sealed[3:3+n])
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, sealed[3+n:], placed(t, place, sealed[:3+n]))
}

// placed is what a sealed answer is bound to: its place, and the key before it.
func placed(t tenants.ID, place string, head []byte) []byte {
	return append([]byte(string(t)+"\x00"+place+"\x00"), head...)
}

// key is the tenant's data key of now.
func (e *Envelope) key(ctx context.Context, t tenants.ID) (dataKey, error) {
	now := e.now()
	e.mu.Lock()
	k, ok := e.using[t]
	e.mu.Unlock()
	if ok && now.Before(k.until) {
		return k, nil
	}
	made, err, _ := e.making.Do(string(t), func() (any, error) { return e.make(context.WithoutCancel(ctx), t, now) })
	if err != nil {
		return dataKey{}, err
	}
	return made.(dataKey), nil
}

func (e *Envelope) make(ctx context.Context, t tenants.ID, now time.Time) (k dataKey, err error) {
	ctx, cancel := context.WithTimeout(ctx, vaultTimeout)
	defer cancel()
	var plain [32]byte
	rand.Read(plain[:])
	if k.sealed, err = e.sealer.Seal(ctx, sealName(t), plain[:]); err != nil {
		return k, err
	}
	if len(k.sealed) > 1<<16-1 {
		return k, fmt.Errorf("a sealed key has %d bytes", len(k.sealed))
	}
	if k.aead, err = aeadOf(plain[:]); err != nil {
		return k, err
	}
	k.until = now.Add(dataKeyLife)
	e.mu.Lock()
	defer e.mu.Unlock()
	makeRoom(e.using)
	e.using[t] = k
	makeRoom(e.opened)
	e.opened[openedAs(t, k.sealed)] = k.aead
	return k, nil
}

func (e *Envelope) open(ctx context.Context, t tenants.ID, sealed []byte) (cipher.AEAD, error) {
	e.mu.Lock()
	aead := e.opened[openedAs(t, sealed)]
	e.mu.Unlock()
	if aead != nil {
		return aead, nil
	}
	ctx, cancel := context.WithTimeout(ctx, vaultTimeout)
	defer cancel()
	plain, err := e.sealer.Open(ctx, sealName(t), sealed)
	if err != nil {
		return nil, err
	}
	if aead, err = aeadOf(plain); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	makeRoom(e.opened)
	e.opened[openedAs(t, sealed)] = aead
	return aead, nil
}

func openedAs(t tenants.ID, sealed []byte) string { return string(t) + " " + string(sealed) }

// makeRoom drops any entry of a map that is full: Vault opens it again.
func makeRoom[K comparable, V any](m map[K]V) {
	for k := range m {
		if len(m) < maxDataKeys {
			return
		}
		delete(m, k)
	}
}

func aeadOf(key []byte) (cipher.AEAD, error) {
	if len(key) != 32 {
		return nil, errors.New("a data key is damaged")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
