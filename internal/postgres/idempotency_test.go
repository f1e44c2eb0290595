package postgres_test

import (
	"testing"
	"time"

	"latchkey/internal/idempotency"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/tenants"
)

// What was answered is kept for a day and no longer, of tenants and of the
// platform: some of it was to be shown once.
func TestAnswersAreKeptForADay(t *testing.T) {
	db := postgrestest.New(t)
	acme, _ := postgrestest.Tenant(t, db, "acme")
	old, fresh := idempotency.Name{Caller: "c", Key: "old"}, idempotency.Name{Caller: "c", Key: "fresh"}
	now := began.Add(idempotency.Life)
	request := idempotency.Hash(randomHash())
	for _, id := range []tenants.ID{acme.ID, tenants.Platform} {
		for name, at := range map[idempotency.Name]time.Time{old: began.Add(-time.Second), fresh: began.Add(time.Second)} {
			if _, taken, err := db.ClaimName(t.Context(), id, name, request, at); err != nil || !taken {
				t.Fatal(taken, err)
			}
			check(t, db.KeepAnswer(t.Context(), id, name, []byte("sealed")))
		}
	}
	if n, err := db.CollectAnswers(t.Context(), now); err != nil || n != 2 {
		t.Errorf("%d were collected, %v", n, err)
	}
	for _, id := range []tenants.ID{acme.ID, tenants.Platform} {
		was, taken, err := db.ClaimName(t.Context(), id, fresh, request, now)
		if check(t, err); taken || !was.Done || was.Request != request {
			t.Errorf("the younger answer: %v, %+v", taken, was)
		}
	}
}
