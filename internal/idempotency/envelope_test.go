package idempotency_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/idempotency"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
	"latchkey/internal/vault"
)

// asked counts what a real Vault is asked.
type asked struct {
	*vault.Sealer
	seals, opens atomic.Int32
}

func (a *asked) Seal(ctx context.Context, name string, b []byte) ([]byte, error) {
	a.seals.Add(1)
	return a.Sealer.Seal(ctx, name, b)
}

func (a *asked) Open(ctx context.Context, name string, b []byte) ([]byte, error) {
	a.opens.Add(1)
	return a.Sealer.Open(ctx, name, b)
}

func newAsked(t *testing.T) *asked {
	t.Helper()
	v := testenv.Vault(t)
	c, err := vault.NewClient(vault.Config{Address: v.Addr(), Token: secret.Text(v.RootToken())})
	if err == nil {
		err = vault.Setup(t.Context(), c, vault.SetupConfig{LoginRate: 1000})
	}
	if err != nil {
		t.Fatal(err)
	}
	return &asked{Sealer: vault.NewSealer(c)}
}

func TestEnvelopeOpensInItsPlaceOnly(t *testing.T) {
	v := newAsked(t)
	a, b := tenants.NewID(), tenants.NewID()
	e := idempotency.NewEnvelope(v, nil)
	sealed, err := e.Seal(t.Context(), a, "row 1", []byte("answer"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("answer")) {
		t.Error("it is not sealed")
	}
	other := idempotency.NewEnvelope(v, nil) // of another edge
	for name, at := range map[string]*idempotency.Envelope{"the same edge": e, "another edge": other} {
		if got, err := at.Open(t.Context(), a, "row 1", sealed); err != nil || string(got) != "answer" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if _, err := at.Open(t.Context(), a, "row 2", sealed); err == nil {
			t.Errorf("%s: it opens as another row", name)
		}
		if _, err := at.Open(t.Context(), b, "row 1", sealed); err == nil {
			t.Errorf("%s: it opens in another tenant", name)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if got, err := e.Open(t.Context(), a, "row 1", bad); err == nil {
			t.Fatalf("with byte %d changed it opens: %q", i, got)
		}
		if i < 4 {
			if _, err := e.Open(t.Context(), a, "row 1", sealed[:i]); err == nil {
				t.Fatalf("%d bytes of it open", i)
			}
		}
	}
	if err := empty(e, t, a); err != nil {
		t.Error(err)
	}
}

func empty(e *idempotency.Envelope, t *testing.T, a tenants.ID) error {
	sealed, err := e.Seal(t.Context(), a, "", nil)
	if err != nil {
		return err
	}
	if got, err := e.Open(t.Context(), a, "", sealed); err != nil || len(got) != 0 {
		return fmt.Errorf("nothing became %q, %w", got, err)
	}
	return nil
}

// Vault is asked once for each key, however many answers there are.
func TestEnvelopeAsksVaultOnceAKey(t *testing.T) {
	v := newAsked(t)
	a, b := tenants.NewID(), tenants.NewID()
	var ahead atomic.Int64
	e := idempotency.NewEnvelope(v, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	var all sync.WaitGroup
	var mu sync.Mutex
	var kept [][]byte
	round := func() {
		for range 8 {
			all.Go(func() {
				for range 50 {
					sealed, err := e.Seal(t.Context(), a, "row", []byte("answer"))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					kept = append(kept, sealed)
					mu.Unlock()
				}
			})
		}
		all.Wait()
	}
	round()
	if n := v.seals.Load(); n != 1 {
		t.Errorf("%d keys were sealed", n)
	}
	ahead.Store(int64(13 * time.Hour))
	round()
	if n := v.seals.Load(); n != 2 {
		t.Errorf("after half a day %d keys were sealed", n)
	}
	if _, err := e.Seal(t.Context(), b, "row", []byte("answer")); err != nil || v.seals.Load() != 3 {
		t.Errorf("another tenant's key: %v, %d", err, v.seals.Load())
	}
	other := idempotency.NewEnvelope(v, nil)
	for _, sealed := range kept {
		if _, err := other.Open(t.Context(), a, "row", sealed); err != nil {
			t.Fatal(err)
		}
	}
	if n := v.opens.Load(); n != 2 {
		t.Errorf("another edge opened %d keys, want 2", n)
	}
}

func FuzzEnvelopeOpen(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0})
	f.Add([]byte{1, 0xff, 0xff, 1, 2, 3})
	f.Add(append([]byte{1, 0, 1, 'k'}, make([]byte, 40)...))
	e := idempotency.NewEnvelope(nothing{}, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := e.Open(t.Context(), "tn1", "row", b); err == nil {
			t.Fatalf("%x opens as %q", b, got)
		}
	})
}

// nothing opens no key: what is fuzzed is the form around it.
type nothing struct{}

func (nothing) Seal(context.Context, string, []byte) ([]byte, error) { return nil, fmt.Errorf("no") }
func (nothing) Open(context.Context, string, []byte) ([]byte, error) { return make([]byte, 31), nil }
