package postgres_test

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/guard"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/tenants"
)

func TestKeptResultIsReadByItsParts(t *testing.T) {
	db := postgrestest.New(t)
	p := settle(t, db, "acme")
	k := keptOf(p)
	k.Parts = []guard.KeptPart{{MIME: "application/json", Sealed: []byte("one")}, {MIME: "text/plain", Sealed: bytes.Repeat([]byte{0, 255}, 300_000)}}
	check(t, db.KeepResult(t.Context(), p.id, k, 1<<20))
	for i, want := range k.Parts {
		got, err := db.KeptPart(t.Context(), p.id, k.ID, i+1, began)
		check(t, err)
		if got.Parts[0].MIME != want.MIME || !bytes.Equal(got.Parts[0].Sealed, want.Sealed) || got.Server != k.Server || got.User != k.User ||
			got.Grant != k.Grant || got.Scope != k.Scope || got.Tool != k.Tool || !got.ExpiresAt.Equal(k.ExpiresAt) {
			t.Errorf("part %d: %+v", i+1, got)
		}
	}
	for _, c := range []struct {
		part int
		at   time.Time
	}{{0, began}, {3, began}, {1, k.ExpiresAt}} {
		_, err := db.KeptPart(t.Context(), p.id, k.ID, c.part, c.at)
		wantCode(t, "a part that is not there", err, fault.NotFound)
	}
	if n, err := db.CollectResults(t.Context(), began.Add(guard.KeepFor-time.Second)); n != 0 || err != nil {
		t.Errorf("collected %d too early, %v", n, err)
	}
	if n, err := db.CollectResults(t.Context(), k.ExpiresAt); n != 3 || err != nil { // with the one of settle
		t.Errorf("collected %d, %v", n, err)
	}
}

func TestKeptResultsStayWithinTheirRoom(t *testing.T) {
	db := postgrestest.New(t)
	p := settle(t, db, "acme") // one byte is kept
	var wg sync.WaitGroup
	var kept, refused atomic.Int64
	for range 8 {
		wg.Go(func() {
			k := keptOf(p)
			k.ID, k.Parts[0].Sealed = tenants.RandomID("kr"), make([]byte, 100)
			switch err := db.KeepResult(t.Context(), p.id, k, 301); {
			case err == nil:
				kept.Add(1)
			case errors.Is(err, guard.ErrNoRoom):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if kept.Load() != 3 || refused.Load() != 5 {
		t.Errorf("%d kept and %d refused", kept.Load(), refused.Load())
	}
	late := keptOf(p)
	late.ID, late.Parts[0].Sealed, late.CreatedAt, late.ExpiresAt = tenants.RandomID("kr"), make([]byte, 300), began.Add(2*time.Hour), began.Add(3*time.Hour)
	check(t, db.KeepResult(t.Context(), p.id, late, 301)) // the others had their hour
}
